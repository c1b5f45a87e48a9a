//go:build cgo

package abi

import (
	"bytes"
	"compress/gzip"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// shipped returns what the shipped rules ask of events, once each.
func shipped(t testing.TB) *questions {
	files, err := filepath.Glob("../../rules/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no rules: ", err)
	}
	set, err := rules.Load(rules.Options{}, files...)
	if err != nil {
		t.Fatal(err)
	}
	q := newQuestions(extract.Fields())
	asked := map[string]bool{}
	for _, r := range set.Rules {
		if !r.Enabled || r.Skipped != "" {
			continue
		}
		for _, name := range r.Fields {
			bare, arg, present := strings.Cut(strings.TrimSuffix(name, "]"), "[")
			id, ours := q.table.Find(bare)
			if !ours || asked[name] {
				continue
			}
			asked[name] = true
			argument, err := q.table[id].ParseArg(arg, present)
			if err != nil {
				t.Fatal(err)
			}
			q.add(id, argument, slog.New(slog.DiscardHandler))
		}
	}
	return q
}

// A filling is a handler that writes events into a batch, over and over.
type filling struct {
	batch  *Batch
	events int
}

func (f *filling) Event(e *audit.Event, stamp time.Time, _ audit.Marks) {
	for !f.batch.Add(e, stamp) {
		f.batch.Reset()
	}
	f.events++
}

func (f *filling) Rejected(audit.Reason, int, int) {}

// ordinary is the recording of a cluster at work.
func ordinary(t testing.TB) []byte {
	packed, err := os.Open("../../testdata/recordings/ordinary.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// BenchmarkBatch is all a worker does to an event: recorded events are split, read, and written into batches with the
// answers to whatever the shipped rules ask.
func BenchmarkBatch(b *testing.B) {
	payload := ordinary(b)
	none := newQuestions(extract.Fields())
	for name, q := range map[string]*questions{"shipped": shipped(b), "none": none} {
		b.Run(name, func(b *testing.B) {
			f := filling{batch: newBatch(q, func(q *extract.Question, why any) { b.Fatal(q.Field.Name, why) })}
			defer f.batch.Free()
			var d audit.Decoder
			events := bytes.Count(payload, []byte("\n"))
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			best := time.Duration(1 << 62)
			for b.Loop() {
				begin := time.Now()
				d.Decode(payload, true, &f)
				best = min(best, time.Since(begin))
			}
			if f.events != events*b.N {
				b.Fatalf("%d events, want %d", f.events, events*b.N)
			}
			b.ReportMetric(float64(best)/float64(events), "best-ns/event") // what a busy machine spoils least
			b.ReportMetric(float64(len(q.all())), "questions")
		})
	}
}

// What a worker does to an event, with all that the shipped rules ask, hardly allocates.
func TestWritingHardlyAllocates(t *testing.T) {
	payload := ordinary(t)
	f := filling{batch: newBatch(shipped(t), func(q *extract.Question, why any) { t.Error(q.Field.Name, why) })}
	defer f.batch.Free()
	var d audit.Decoder
	n := testing.AllocsPerRun(3, func() { d.Decode(payload, true, &f) })
	// A parser's memory after so many values is not kept for the next event.
	if per := n / float64(bytes.Count(payload, []byte("\n"))); per > 1 {
		t.Errorf("%.2f allocations an event", per)
	}
}

package extract_test

import (
	"bytes"
	"testing"
	"time"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/test/e2e"
)

// typical is what an ordinary set of rules asks of nearly every event.
var typical = []string{
	"ka.auditid", "ka.stage", "ka.verb", "ka.user.name", "ka.user.groups", "ka.impuser.name", "ka.target.name", "ka.target.namespace", "ka.target.resource", "ka.target.subresource",
	"ka.response.code", "ka.code", "ka.uri", "ka.useragent", "ka.auth.decision", "ka.req.pod.containers.image", "ka.req.pod.containers.privileged", "ka.pod.privileged", "ka.done", "ka.sourceips",
}

// answering is a handler that asks questions of every event.
type answering struct {
	questions []extract.Question
	event     extract.Event
	value     extract.Value
	events    int
	bytes     int
}

func (h *answering) Event(e *audit.Event, _ time.Time, _ audit.Marks) {
	h.events++
	h.event.Reset(e)
	for i := range h.questions {
		h.value.Reset()
		h.questions[i].Answer(&h.event, &h.value)
		texts, _ := h.value.Texts()
		h.bytes += len(texts)
	}
}

func (h *answering) Rejected(audit.Reason, int, int) {}

func newAnswering(t testing.TB) *answering {
	a, h := newAsker(t), &answering{}
	for _, name := range typical {
		h.questions = append(h.questions, *a.question(name))
	}
	return h
}

// recorded returns about as many bytes of recorded events, one a line.
func recorded(t testing.TB, most int) (payload []byte, events int) {
	for _, file := range recordings(t) {
		for _, line := range e2e.Lines(t, file) {
			if len(payload) < most && !bytes.HasPrefix(line, []byte(`{"kind":"EventList"`)) {
				payload = append(append(payload, line...), '\n')
				events++
			}
		}
	}
	if events == 0 {
		t.Fatal("there are no recordings in testdata/recordings")
	}
	return payload, events
}

// BenchmarkDecode is what a worker does, but for writing the answers: recorded events are split, read, and asked 20
// questions each. BenchmarkRecorded in pkg/audit is the measure beside it.
func BenchmarkDecode(b *testing.B) {
	payload, events := recorded(b, 64<<20)
	h := newAnswering(b)
	var d audit.Decoder
	d.Decode(payload, true, h)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	best := time.Duration(1 << 62)
	for b.Loop() {
		begin := time.Now()
		d.Decode(payload, true, h)
		best = min(best, time.Since(begin))
	}
	b.ReportMetric(float64(len(payload))/float64(events), "bytes/event")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
	b.ReportMetric(float64(best)/float64(events), "best-ns/event") // what a busy machine spoils least
}

func TestDecodingHardlyAllocates(t *testing.T) {
	payload, events := recorded(t, 1<<20)
	h := newAnswering(t)
	var d audit.Decoder
	n := testing.AllocsPerRun(5, func() { d.Decode(payload, true, h) })
	// Large bodies, and a parser's memory after so many values, are not kept for the next event.
	if per := n / float64(events); per > 0.5 {
		t.Errorf("%.2f allocations an event", per)
	}
}

package audit_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"testing"
	"time"

	"github.com/valyala/fastjson"

	"kaudit/pkg/audit"
)

// BenchmarkRecorded is what recorded events cost before anybody asks for a field: "split" finds them and their members,
// "parser" is the JSON library alone, which reads all of each event. best-ns/event is that of the quickest pass, which
// a busy machine spoils least.
func BenchmarkRecorded(b *testing.B) {
	f, err := os.Open("../../testdata/recordings/ordinary.jsonl.gz")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	payload, err := io.ReadAll(z)
	if err != nil {
		b.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(payload), []byte("\n"))
	var parser fastjson.Parser
	var d audit.Decoder
	n := 0
	for name, pass := range map[string]func(){
		"split": func() { d.Decode(payload, true, counting{&n}) },
		"parser": func() {
			for _, line := range lines {
				if _, err := parser.ParseBytes(line); err != nil {
					b.Fatal(err)
				}
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(payload)))
			best := time.Duration(1 << 62)
			for b.Loop() {
				begin := time.Now()
				pass()
				best = min(best, time.Since(begin))
			}
			b.ReportMetric(float64(best)/float64(len(lines)), "best-ns/event")
			b.ReportMetric(float64(len(payload))/float64(len(lines)), "bytes/event")
		})
	}
}

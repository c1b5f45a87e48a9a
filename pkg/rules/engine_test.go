package rules_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
)

// shipped loads the rules of this project.
func shipped(t testing.TB) *rules.Ruleset {
	t.Helper()
	set, err := rules.Load(rules.Options{}, "../../rules")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// recordings returns the lines of all recordings.
func recordings(t testing.TB) [][]byte {
	t.Helper()
	files, err := filepath.Glob("../../testdata/recordings/*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings: ", err)
	}
	var lines [][]byte
	for _, f := range files {
		lines = append(lines, e2e.Lines(t, f)...)
	}
	return lines
}

// evaluate runs an engine over lines and returns how many events and matches there were.
func evaluate(t testing.TB, engine *rules.Engine, lines [][]byte, m rules.Matching) (matches int) {
	t.Helper()
	var a audit.Event
	var e extract.Event
	for i, line := range lines {
		if !a.Load(line) {
			t.Fatalf("line %d is broken", i+1)
		}
		e.Reset(&a)
		matches += len(engine.Evaluate(rules.Event{Event: &e, Number: uint64(i + 1), Time: uint64(i) * uint64(time.Second)}, m))
	}
	return matches
}

// The shipped rules on the recordings, one event after another, from bytes to verdict:
//
//	go test ./pkg/rules -run '^$' -bench Evaluate -cpu 1
func BenchmarkEvaluate(b *testing.B) {
	lines := recordings(b)
	engine := shipped(b).Engine()
	b.ReportAllocs()
	for b.Loop() {
		evaluate(b, engine, lines, rules.First)
	}
	b.ReportMetric(float64(b.N*len(lines))/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		shipped(b)
	}
}

func TestEventsOnWhichNothingHoldsCostNoMemory(t *testing.T) {
	engine := shipped(t).Engine()
	var quiet [][]byte
	for _, line := range recordings(t) {
		if evaluate(t, engine, [][]byte{line}, rules.All) == 0 && len(line) < 1<<13 {
			quiet = append(quiet, line)
		}
	}
	quiet = quiet[:min(300, len(quiet))]
	var a audit.Event
	var e extract.Event
	each := func(f func(*extract.Event)) float64 {
		return testing.AllocsPerRun(5, func() {
			for _, line := range quiet {
				a.Load(line)
				e.Reset(&a)
				f(&e)
			}
		})
	}
	decoding := each(func(e *extract.Event) { e.IsAudit(); e.Get(audit.ResponseObject); e.Get(audit.RequestObject) })
	both := each(func(e *extract.Event) { engine.Evaluate(rules.Event{Event: e, Number: 1}, rules.All) })
	if both > decoding+float64(len(quiet))/10 {
		t.Errorf("%d events: %.0f allocations, and %.0f for decoding alone", len(quiet), both, decoding)
	}
}

func TestAlerts(t *testing.T) {
	set, err := rules.Read(rules.Options{}, rules.File{Name: "r.yaml", Content: []byte(`
- rule: r
  desc: d
  condition: ka.verb exists
  output: ' * %ka.verb %evt.num [%ka.user.groups] %5ka.verb|%2ka.verb| %ka.impuser.name %ka.sourceips.net %ka.dryrun %evt.time.iso8601 %ka.value["/a=b"] %toupper(ka.verb) '
  priority: info
  source: k8s_audit
  tags: [b, a]
`)})
	if err != nil {
		t.Fatal(err)
	}
	var a audit.Event
	if !a.Load([]byte(`{"auditID":"1","verb":"get","user":{"username":"é\"\\\u0007\u2028<","groups":["a","b c"]},"sourceIPs":["10.0.0.1"]}`)) {
		t.Fatal("broken")
	}
	var e extract.Event
	e.Reset(&a)
	engine := set.Engine()
	engine.SetHostname("node-1")
	m := engine.Evaluate(rules.Event{Event: &e, Number: 7, Time: 1767323045000000006}, rules.All)
	if len(m) != 1 {
		t.Fatalf("%d matches", len(m))
	}
	const message = `* get 7 [(a,b c)] get  |ge| <NA> (<IPNET>) false 2026-01-02T03:04:05.000000006+0000 <NA> GET`
	if got := m[0].Message(); got != message[1:] {
		t.Errorf("message\n got %q\nwant %q", got, message[1:])
	}
	var alert map[string]any
	text := m[0].AppendJSON(nil, rules.Style{Message: true, ISO8601: true})
	if err := json.Unmarshal(text, &alert); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	const want = `{"hostname":"node-1","message":" get 7 [(a,b c)] get  |ge| <NA> (<IPNET>) false 2026-01-02T03:04:05.000000006+0000 <NA> GET",` +
		`"output":"2026-01-02T03:04:05.000000006+0000: Informational  get 7 [(a,b c)] get  |ge| <NA> (<IPNET>) false 2026-01-02T03:04:05.000000006+0000 <NA> GET",` +
		`"output_fields":{"evt.num":7,"evt.time.iso8601":1767323045000000006,"ka.dryrun":false,"ka.impuser.name":null,"ka.sourceips.net":["<IPNET>"],"ka.user.groups":["a","b c"],"ka.value[\"/a=b\"]":null,"ka.verb":"get"},` +
		`"priority":"Informational","rule":"r","source":"k8s_audit","tags":["a","b"],"time":"2026-01-02T03:04:05.000000006Z"}`
	if string(text) != want {
		t.Errorf("JSON\n got %s\nwant %s", text, want)
	}
}

func TestQuestionsAreAskedOnce(t *testing.T) {
	q := shipped(t).Engine().Questions()
	if n := len(slices.Compact(slices.Sorted(slices.Values(q)))); n != len(q) || n == 0 {
		t.Errorf("%d questions, %d distinct", len(q), n)
	}
}

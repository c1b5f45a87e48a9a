//go:build linux

package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// What an event costs Falco that fires no rule, as nearly all do, in calls of plugin_extract_fields. Falco tries each
// enabled rule on each event: it has an index by type of event, and events of plugins have one type. What a rule asked
// is remembered for that rule and event, and for no other rule (falcosecurity/libs: userspace/libsinsp/filter.cpp,
// falcosecurity/falco: userspace/engine/rule_loader_compiler.cpp). So a rule costs one call at least, and a condition
// is cheap that begins with what hardly any event has.
//
// A comparison costs Falco about as much as a call, and half of that if the event does not have the field: then nothing
// is copied and nothing compared.
//
// maxCalls and maxChecks are the figures for the shipped rules on every fifth event of
// testdata/recordings/ordinary.jsonl.gz, in hundredths of a call and of a comparison. They may grow with the number of
// rules, by about one for each.
const maxCalls, maxChecks = 20611, 22554

// A count says how often fields are asked for on events, and compared.
type count struct{ rules, events, calls, checks int }

// perEvent returns hundredths.
func (c count) perEvent(n int) int { return (100*n + c.events - 1) / c.events }

// ordinary returns the recorded events of ordinary work, or some of them, on which no rule of these files holds.
func ordinary(t testing.TB, every int, sets ...[]string) [][]byte {
	t.Helper()
	var engines []*goEngine
	for _, files := range sets {
		set, err := rules.Load(rules.Options{}, files...)
		if err != nil {
			t.Fatal(err)
		}
		engines = append(engines, &goEngine{engine: set.Engine()})
	}
	var quiet [][]byte
next:
	for i, line := range e2e.Lines(t, filepath.Join(e2e.Root(t), "testdata", "recordings", "ordinary.jsonl.gz")) {
		if i%every != 0 {
			continue
		}
		for _, g := range engines {
			if len(g.fired(t, line, rules.First)) > 0 {
				continue next
			}
		}
		quiet = append(quiet, line)
	}
	return quiet
}

// counted evaluates rules as Falco does, each for itself, and counts what it would ask plugins.
func counted(t testing.TB, events [][]byte, files ...string) count {
	t.Helper()
	set, err := rules.Load(rules.Options{}, files...)
	if err != nil {
		t.Fatal(err)
	}
	c := count{events: len(events)}
	var rule []*rules.Explainer
	for _, r := range set.Rules {
		if !r.Enabled || r.Skipped != "" {
			continue
		}
		e, err := set.Explainer(r.Name)
		if err != nil {
			t.Fatal(err)
		}
		rule = append(rule, e)
	}
	c.rules = len(rule)
	var raw audit.Event
	var event extract.Event
	for _, line := range events {
		if !raw.Load(line) {
			t.Fatalf("broken event: %.200s", line)
		}
		event.Reset(&raw)
		for _, e := range rule {
			asked := map[string]bool{}
			c.checks += ask(e.Explain(rules.Event{Event: &event, Number: 1, Time: 1}), asked)
			c.calls += len(asked)
		}
	}
	return c
}

// ask collects the fields of those checks that were evaluated, and counts these.
func ask(t *rules.Trace, asked map[string]bool) (checks int) {
	if !t.Evaluated {
		return 0
	}
	if check, ok := t.Expr.(*rules.Check); ok {
		checks++
		rules.Walk(check.Left, func(x rules.Expr) bool {
			if f, ok := x.(*rules.Field); ok && !strings.HasPrefix(f.Name, "evt.") { // which the engine answers itself
				asked[f.String()] = true
			}
			return true
		})
	}
	for _, p := range t.Parts {
		checks += ask(p, asked)
	}
	return checks
}

func TestAnOrdinaryEventCostsFewCalls(t *testing.T) {
	files := e2e.RuleFiles(t)
	c := counted(t, ordinary(t, 5, files), files...)
	t.Logf("%d rules, %d events", c.rules, c.events)
	for _, of := range []struct {
		what     string
		got, max int
	}{{"calls", c.perEvent(c.calls), maxCalls}, {"comparisons", c.perEvent(c.checks), maxChecks}} {
		got := fmt.Sprintf("%d.%02d %s an event", of.got/100, of.got%100, of.what)
		t.Log(got)
		if of.got > of.max {
			t.Errorf("%s, and %d.%02d before: let conditions begin with what is rare; docs/performance.md says more", got, of.max/100, of.max%100)
		}
		if of.got < of.max-50 {
			t.Errorf("%s only: write that above, so that it stays", got)
		}
	}
}

// official returns the file of the official rules and the plugins that these need.
func official(t testing.TB) (file string, plugins []engine.Plugin) {
	t.Helper()
	file, json := os.Getenv("OFFICIAL_RULES"), os.Getenv("JSON_PLUGIN")
	if file == "" || json == "" {
		t.Skip("OFFICIAL_RULES and JSON_PLUGIN do not say where the official rules and the plugin they need are")
	}
	library := os.Getenv("OFFICIAL_PLUGIN") // if there is none, ours answers as it does
	if library == "" {
		library = e2e.Library(t)
	}
	return file, []engine.Plugin{{Path: library, Name: "k8saudit", Init: `{"useAsync": false}`}, {Path: json, Name: "json", Init: `{"useAsync": false}`}}
}

// What is counted in Go is what the engine asks.
func TestFalcoAsksWhatIsCounted(t *testing.T) {
	files := e2e.RuleFiles(t)
	events := ordinary(t, 1, files)
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	compareCalls(t, e, events, []engine.Plugin{{Path: e2e.Library(t)}}, files...)
}

func TestFalcoAsksMoreForAnOfficialRule(t *testing.T) {
	file, plugins := official(t)
	e, err := engine.SetupSid(t.Context()) // the json plugin is made for newer engines than the other
	if err != nil {
		t.Skip(err)
	}
	files := e2e.RuleFiles(t)
	events := ordinary(t, 1, files, []string{file})
	ours := compareCalls(t, e, events, []engine.Plugin{{Path: e2e.Library(t)}}, files...)
	theirs := compareCalls(t, e, events, plugins, file)
	if theirs.calls*ours.rules <= ours.calls*theirs.rules {
		t.Errorf("an official rule asks %d / %d / %d times an event, one of ours %d / %d / %d times",
			theirs.calls, theirs.rules, theirs.events, ours.calls, ours.rules, ours.events)
	}
}

func compareCalls(t *testing.T, e *engine.Engine, events [][]byte, plugins []engine.Plugin, files ...string) count {
	t.Helper()
	list, err := engine.LoadRules(rules.Source, files...)
	if err != nil {
		t.Fatal(err)
	}
	result, err := e.Run(t.Context(), engine.Run{Plugins: plugins, Open: e2e.WriteLines(t, events), Rules: list, Calls: true, NoOutput: true})
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	for name, c := range result.Stats[0].Calls {
		t.Logf("%d rules: %.1f calls an event to %s", len(list), float64(c.Extract)/float64(len(events)), name)
		got += int(c.Extract)
	}
	c := counted(t, events, files...)
	if got != c.calls {
		t.Errorf("the engine called %d times, counted are %d", got, c.calls)
	}
	return c
}

// BenchmarkOrdinaryEvents measures what rules cost on Falco's thread, and the official ones where they are. Compare
// the lines of one run only:
//
//	go test ./test/e2e/rules -run '^$' -bench OrdinaryEvents -benchtime 1x -count 6
func BenchmarkOrdinaryEvents(b *testing.B) {
	files := e2e.RuleFiles(b)
	sets := [][]string{files}
	if file := os.Getenv("OFFICIAL_RULES"); file != "" {
		sets = append(sets, []string{file})
	}
	quiet := ordinary(b, 1, sets...)
	var events [][]byte
	for range 40 { // so that starting up counts for nothing
		events = append(events, quiet...)
	}
	file := e2e.WriteLines(b, events)
	e, err := engine.SetupSid(b.Context())
	if err != nil {
		b.Skip(err)
	}
	run := func(b *testing.B, plugins []engine.Plugin, files ...string) {
		list, err := engine.LoadRules(rules.Source, files...)
		if err != nil {
			b.Fatal(err)
		}
		var evaluate time.Duration
		var thread, process float64
		for range b.N {
			result, err := e.Run(b.Context(), engine.Run{Plugins: plugins, Open: file, Rules: list, NoOutput: true})
			if err != nil {
				b.Fatal(err)
			}
			evaluate += result.Stats[0].Evaluate
			thread += result.Stats[0].ThreadCPU
			process += result.Stats[0].CPU
		}
		n := float64(b.N * len(events))
		b.ReportMetric(float64(evaluate.Microseconds())/n, "µs-in-rules/event")
		b.ReportMetric(1e6*thread/n, "µs-of-thread/event")
		b.ReportMetric(1e6*process/n, "µs-of-process/event")
		b.ReportMetric(0, "ns/op")
	}
	b.Run("shipped", func(b *testing.B) { run(b, []engine.Plugin{{Path: e2e.Library(b)}}, files...) })
	b.Run("official", func(b *testing.B) {
		file, plugins := official(b)
		run(b, plugins, file)
	})
}

//go:build linux

// Package differential has the rule engine of pkg/rules and the real ones run the same rules on the same events: what
// one accepts the other has to accept, what holds in one has to hold in the other, and alerts have to be the same to
// the byte.
//
// The real engines are libsinsp in the versions of Debian 13 and of its development suite, and the falco program where
// there is one (see test/e2e/engine). Rules of others are compared too: OFFICIAL_RULES names the rule file of the
// official plugin. What such rules need of a json plugin is asked of this project's, and of Falco's own where JSON_PLUGIN
// names its library.
package differential

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// A peer is a real engine.
type peer struct {
	name string
	// falco is the version of Falco that has this engine.
	falco rules.Falco
	host  *engine.Engine // or
	prog  engine.Falco
}

// peers returns the real engines this machine has.
func peers(t *testing.T) []peer {
	t.Helper()
	trixie, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := []peer{{name: "libs 0.20", falco: 40, host: trixie}}
	if sid, err := engine.SetupSid(t.Context()); err == nil {
		list = append(list, peer{name: "libs 0.23", falco: 43, host: sid})
	} else {
		t.Log("without Debian's development suite: ", err)
	}
	if falco, err := engine.FindFalco(); err == nil {
		list = append(list, peer{name: "falco", falco: rules.Newest, prog: falco})
	} else {
		t.Log("without falco: ", err)
	}
	return list
}

// plugins returns our plugin, and the others.
func plugins(t *testing.T, others ...engine.Plugin) []engine.Plugin {
	return append([]engine.Plugin{{Path: e2e.Library(t)}}, others...)
}

// takes skips the test if the engine is too old for Falco's json plugin: its SDK asks for plugin API 3.11, which Falco
// has since 0.41.
func (p peer) takes(t *testing.T, others []engine.Plugin) {
	t.Helper()
	if len(others) > 0 && others[0].Path == os.Getenv("JSON_PLUGIN") && p.falco < 41 {
		t.Skip("Falco's json plugin is made for newer engines")
	}
}

// run has the engine evaluate rules.
func (p peer) run(t *testing.T, list []engine.Rule, events string, first bool, others ...engine.Plugin) []engine.Match {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	run := engine.Run{Plugins: plugins(t, others...), Open: events, Rules: list, First: first}
	var result engine.Result
	var err error
	if p.host != nil {
		run.MatchFields, run.Notices = true, notices(t)
		result, err = p.host.Run(ctx, run)
	} else {
		// As JSON, which every reader of YAML reads alike.
		var items []any
		for _, r := range list {
			items = append(items, ruleItem(r.Name, r.Condition, r.Output, r.Priority))
		}
		text, _ := json.Marshal(items)
		path := filepath.Join(t.TempDir(), "rules.yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		run.Rules = nil
		result, err = p.prog.Run(ctx, run, []string{path})
	}
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	return result.Matches
}

// ruleItem is a rule in a rule file.
func ruleItem(name, condition, output, priority string) map[string]any {
	return map[string]any{"rule": name, "desc": name, "condition": condition, "output": output, "priority": priority, "source": rules.Source}
}

// ours evaluates rules with pkg/rules.
func ours(t *testing.T, set *rules.Ruleset, events [][]byte, m rules.Matching) []engine.Match {
	t.Helper()
	c := collector{engine: set.Engine(), matching: m}
	d := audit.Decoder{Notices: true}
	d.Decode(bytes.Join(events, []byte("\n")), true, &c)
	if c.rejected > 0 {
		t.Fatalf("%d events are broken", c.rejected)
	}
	return c.matches
}

// collector evaluates what a decoder finds.
type collector struct {
	engine   *rules.Engine
	matching rules.Matching
	event    extract.Event
	number   uint64
	matches  []engine.Match
	rejected int
}

func (c *collector) Event(e *audit.Event, stamp time.Time, _ audit.Marks) {
	c.number++
	c.event.Reset(e)
	for _, m := range c.engine.Evaluate(rules.Event{Event: &c.event, Number: c.number, Time: uint64(stamp.UnixNano())}, c.matching) {
		match := engine.Match{Rule: m.Rule.Name, Priority: m.Rule.Priority.String(), Output: m.Message(), Event: c.number, Time: uint64(stamp.UnixNano())}
		d := json.NewDecoder(bytes.NewReader(m.AppendFields(nil)))
		d.UseNumber()
		if err := d.Decode(&match.Fields); err != nil {
			panic(fmt.Sprintf("%s: fields are not JSON: %v", m.Rule.Name, err))
		}
		c.matches = append(c.matches, match)
	}
}

func (c *collector) Rejected(audit.Reason, int, int) { c.rejected++ }

// A key is what a match is compared by.
type key struct {
	event uint64
	rule  string
}

// compare compares matches and returns how many there were. Only the first differences are told.
func compare(t *testing.T, p peer, got, want []engine.Match) int {
	t.Helper()
	index := func(list []engine.Match) map[key]engine.Match {
		m := map[key]engine.Match{}
		for _, x := range list {
			m[key{x.Event, x.Rule}] = x
		}
		return m
	}
	mine, theirs := index(got), index(want)
	differences := 0
	tell := func(format string, args ...any) {
		if differences++; differences <= 20 {
			t.Errorf(format, args...)
		}
	}
	for _, w := range want {
		g, ok := mine[key{w.Event, w.Rule}]
		if !ok {
			tell("%s: rule %q holds on event %d, and not here", p.name, w.Rule, w.Event)
			continue
		}
		if valid(g.Output) != w.Output || g.Time != w.Time || g.Priority != w.Priority {
			tell("%s: rule %q on event %d\n got %d %s %s\nwant %d %s %s", p.name, w.Rule, w.Event, g.Time, g.Priority, g.Output, w.Time, w.Priority, w.Output)
		}
		compareFields(p, g, w, tell)
	}
	for _, g := range got {
		if _, ok := theirs[key{g.Event, g.Rule}]; !ok {
			tell("%s: rule %q holds on event %d here, and not there", p.name, g.Rule, g.Event)
		}
	}
	if differences == 0 {
		for i := range got {
			if got[i].Rule != want[i].Rule || got[i].Event != want[i].Event {
				t.Errorf("%s: match %d is rule %q on event %d here, and rule %q on event %d there", p.name, i, got[i].Rule, got[i].Event, want[i].Rule, want[i].Event)
				break
			}
		}
	}
	return len(want)
}

// valid replaces what is not UTF-8, as the engines do when they print: a list is cut after 1023 bytes.
func valid(s string) string { return strings.ToValidUTF8(s, "\ufffd") }

// compareFields compares the values in an alert. Falco adds the time, and the number of the event that
// test/e2e/engine asks for. Before libs 0.24 a field in an output may have an argument in quotes, with the quotes.
func compareFields(p peer, got, want engine.Match, tell func(string, ...any)) {
	for name, w := range want.Fields {
		g, ok := got.Fields[name]
		switch {
		case ok && reflect.DeepEqual(g, w):
		case !ok && p.host == nil && (name == "evt.time" || name == "evt.num"):
		default:
			tell("%s: rule %q on event %d, field %s\n got %v\nwant %v", p.name, want.Rule, want.Event, name, g, w)
		}
	}
	for name := range got.Fields {
		if _, ok := want.Fields[name]; !ok {
			tell("%s: rule %q on event %d has no field %s", p.name, want.Rule, want.Event, name)
		}
	}
}

// events returns all fixtures and recordings but notices.
func events(t *testing.T) [][]byte {
	t.Helper()
	_, list := e2e.Split(t, lines(t))
	return list
}

// notices returns the fixtures that are notices, and some that are odd.
func notices(t *testing.T) [][]byte {
	t.Helper()
	list, _ := e2e.Split(t, append(lines(t),
		[]byte(`{"kind":"Notice","apiVersion":"kaudit/v1","name":"spool_full","time":"2020-02-01T00:00:00Z"}`),
		[]byte(`{"kind":"Notice","apiVersion":"kaudit/v1","name":"spool_full","source":"","cluster":"a\u0000b","count":18446744073709551615,"message":"é \"x\"","verb":"get","user":{"username":"x"},"time":"2020-02-01T00:00:01Z"}`),
	))
	return list
}

// all returns the events in the order in which the engine has them: notices, which only the host can be sent, come first.
func (p peer) all(t *testing.T, events [][]byte) [][]byte {
	t.Helper()
	if p.host == nil {
		return events
	}
	return append(notices(t), events...)
}

func lines(t *testing.T) [][]byte {
	t.Helper()
	var all [][]byte
	for _, pattern := range []string{"rules/testdata/*/*.jsonl", "testdata/recordings/*.jsonl.gz"} {
		files, err := filepath.Glob(filepath.Join(e2e.Root(t), pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("nothing matches %s: %v", pattern, err)
		}
		for _, f := range files {
			all = append(all, e2e.Lines(t, f)...)
		}
	}
	return all
}

// engineRules are the rules for a real engine: it has no loader of its own.
func engineRules(set *rules.Ruleset) []engine.Rule {
	var list []engine.Rule
	for _, r := range set.Rules {
		if r.Enabled && r.Skipped == "" {
			list = append(list, engine.Rule{Name: r.Name, Condition: r.Condition.String(), Output: r.Output, Priority: r.Priority.String()})
		}
	}
	return list
}

func TestShippedRules(t *testing.T) {
	evaluate(t, e2e.RuleFiles(t))
}

// officialJSON is Falco's json plugin, if there is one.
func officialJSON() (p engine.Plugin, ok bool) {
	path := os.Getenv("JSON_PLUGIN")
	return engine.Plugin{Path: path, Name: "json", Init: `{"useAsync": false}`}, path != ""
}

// jsonPlugins are this project's json plugin, and Falco's, if there is one.
func jsonPlugins(t *testing.T) map[string]engine.Plugin {
	list := map[string]engine.Plugin{"our json": {Path: e2e.JSONLibrary(t)}}
	if official, ok := officialJSON(); ok {
		list["official json"] = official
	}
	return list
}

func TestOfficialRules(t *testing.T) {
	path := os.Getenv("OFFICIAL_RULES")
	if path == "" {
		t.Skip("OFFICIAL_RULES does not say where the official rules are")
	}
	for name, plugin := range jsonPlugins(t) {
		t.Run(name, func(t *testing.T) { evaluate(t, []string{path}, plugin) })
	}
}

// evaluate compares all rules of some files on all events, under both ways of matching.
func evaluate(t *testing.T, files []string, others ...engine.Plugin) {
	events := events(t)
	file := e2e.WriteLines(t, events)
	for _, p := range peers(t) {
		t.Run(p.name, func(t *testing.T) {
			p.takes(t, others)
			set, err := rules.Load(rules.Options{Falco: p.falco}, files...)
			if err != nil {
				t.Fatal(err)
			}
			list := engineRules(set)
			for _, m := range []rules.Matching{rules.First, rules.All} {
				n := compare(t, p, ours(t, set, p.all(t, events), m), p.run(t, list, file, m == rules.First, others...))
				t.Logf("%d verdicts of %d rules on %d events, %d alerts are the same", len(list)*len(events), len(list), len(events), n)
			}
		})
	}
}

// TestFalcoLoadsTheFiles has falco itself read the files, with its own loader.
func TestFalcoLoadsTheFiles(t *testing.T) {
	falco, err := engine.FindFalco()
	if err != nil {
		t.Skip(err)
	}
	events := events(t)
	sets := map[string][]string{"shipped": e2e.RuleFiles(t)}
	if path := os.Getenv("OFFICIAL_RULES"); path != "" {
		sets["official"] = []string{path}
	}
	for name, files := range sets {
		t.Run(name, func(t *testing.T) {
			set, err := rules.Load(rules.Options{}, files...)
			if err != nil {
				t.Fatal(err)
			}
			want, file := ours(t, set, events, rules.All), e2e.WriteLines(t, events)
			for name, plugin := range jsonPlugins(t) {
				result, err := falco.Run(t.Context(), engine.Run{Plugins: plugins(t, plugin), Open: file}, files, "rule_matching=all")
				if err != nil {
					t.Fatal(err)
				}
				p := peer{name: "falco, " + name, falco: rules.Newest, prog: falco}
				n := compare(t, p, want, result.Matches)
				t.Logf("%s: %d alerts of %d rules on %d events are the same", name, n, len(set.Rules), len(events))
			}
		})
	}
}

//go:build linux

package rules

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kaudit/internal/ruletest"
	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
)

// A sample is an event that was made for a rule. What the recorder writes is in fires.jsonl and quiet.jsonl; what the API
// server of test/e2e/cluster cannot make is beside it in fires.handmade.jsonl and quiet.handmade.jsonl, and handmade.txt
// says why.
type sample struct {
	rule, where string
	line        []byte
	fires       bool
}

func samples(t testing.TB, rule string) (list []sample) {
	t.Helper()
	for _, kind := range []string{"fires", "quiet"} {
		for _, suffix := range []string{".jsonl", ".handmade.jsonl"} {
			path := filepath.Join(e2e.Root(t), "rules", "testdata", ruletest.Slug(rule), kind+suffix)
			if _, err := os.Stat(path); err != nil {
				continue
			}
			if strings.Contains(suffix, "handmade") {
				if _, err := os.Stat(filepath.Join(filepath.Dir(path), "handmade.txt")); err != nil {
					t.Errorf("%s: handmade.txt has to say why these events are made by hand", path)
				}
			}
			for i, line := range e2e.Lines(t, path) {
				list = append(list, sample{rule, fmt.Sprintf("%s/%s%s line %d", ruletest.Slug(rule), kind, suffix, i+1), line, kind == "fires"})
			}
		}
	}
	return list
}

// A goEngine evaluates the ruleset in Go.
type goEngine struct {
	engine *rules.Engine
	raw    audit.Event
	event  extract.Event
}

func newGoEngine(t testing.TB, all bool) (*goEngine, *rules.Ruleset) {
	t.Helper()
	set, err := rules.Load(rules.Options{}, e2e.RuleFiles(t)...)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range set.Rules {
		r.Enabled = r.Enabled || all
	}
	return &goEngine{engine: set.Engine()}, set
}

func (g *goEngine) fired(t testing.TB, line []byte, m rules.Matching) (fired []*rules.Rule) {
	t.Helper()
	if !g.raw.Load(line) {
		t.Fatalf("broken event: %.200s", line)
	}
	g.event.Reset(&g.raw)
	for _, m := range g.engine.Evaluate(rules.Event{Event: &g.event, Number: 1, Time: 1}, m) {
		fired = append(fired, m.Rule)
	}
	return fired
}

// The trail of activity is there to fire on what others fire on.
func activity(r *rules.Rule) bool { return filepath.Base(r.Pos.File) == "activity.yaml" }

// What fires on them, and what else, is for kaudit test: TestTheShippedRulesPassTheirTests in cmd/kaudit.
func TestEveryRuleHasEventsAndNearMisses(t *testing.T) {
	_, set := newGoEngine(t, true)
	for _, r := range set.Rules {
		count := map[bool]int{}
		for _, s := range samples(t, r.Name) {
			count[s.fires]++
		}
		if count[true] < 1 || count[false] < 2 {
			t.Errorf("%q: %d events on which it fires and %d near misses, want at least 1 and 2", r.Name, count[true], count[false])
		}
	}
}

func id(line []byte) string {
	_, rest, _ := bytes.Cut(line, []byte(`"auditID":"`))
	id, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(id)
}

// Whether Falco stops at the first rule that holds or not, the most serious finding is told.
func TestNoRuleHidesAMoreSeriousOne(t *testing.T) {
	g, set := newGoEngine(t, true)
	var lines [][]byte
	for _, r := range set.Rules {
		for _, s := range samples(t, r.Name) {
			lines = append(lines, s.line)
		}
	}
	for _, name := range []string{"ordinary", "attacks"} {
		lines = append(lines, e2e.Lines(t, filepath.Join(e2e.Root(t), "testdata", "recordings", name+".jsonl.gz"))...)
	}
	told := map[string]bool{}
	for _, line := range lines {
		all := slices.DeleteFunc(g.fired(t, line, rules.All), activity) // its file says that it has to be loaded last
		if len(all) < 2 {
			continue
		}
		first := all[0]
		worst := slices.MinFunc(all, func(a, b *rules.Rule) int { return int(a.Priority) - int(b.Priority) })
		if key := first.Name + worst.Name; first.Priority > worst.Priority && !told[key] {
			told[key] = true
			t.Errorf("%q (%v) stands before %q (%v) on %s", first.Name, first.Priority, worst.Name, worst.Priority, id(line))
		}
	}
}

// An ordinary cluster is quiet.
func TestOrdinaryWorkRaisesNoAlarm(t *testing.T) {
	g, _ := newGoEngine(t, false)
	for _, name := range []string{"ordinary", "addons"} {
		count := map[rules.Priority]int{}
		lines := e2e.Lines(t, filepath.Join(e2e.Root(t), "testdata", "recordings", name+".jsonl.gz"))
		for _, line := range lines {
			for _, r := range g.fired(t, line, rules.All) {
				count[r.Priority]++
				if r.Priority <= rules.Notice {
					t.Errorf("%q (%v) on %.600s", r.Name, r.Priority, line)
				}
			}
		}
		t.Logf("%s: %d events, alerts by priority: %v", name, len(lines), count)
	}
}

// The 42 ways around rules that are known are closed, and have the events that show it, or say why no event can.
func TestBypassesHaveEvents(t *testing.T) {
	_, set := newGoEngine(t, true)
	known := map[string]bool{}
	for _, r := range set.Rules {
		for _, s := range samples(t, r.Name) {
			known[id(s.line)] = true
		}
	}
	text, err := os.ReadFile(filepath.Join(e2e.Root(t), "rules", "testdata", "bypasses.txt"))
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]int{} // how many events, by the number of the way
	way := ""
	for _, line := range strings.Split(string(text), "\n") {
		event, indented := strings.CutPrefix(line, "\t")
		switch {
		case !indented:
			way, _, _ = strings.Cut(line, " ")
		case strings.HasPrefix(event, "none: "), known[event]:
			shown[way]++
		default:
			t.Errorf("bypasses.txt: there is no event %s", event)
		}
	}
	for n := 1; n <= 42; n++ {
		if shown[fmt.Sprint(n)] == 0 {
			t.Errorf("bypasses.txt: nothing shows that way %d is closed", n)
		}
	}
}

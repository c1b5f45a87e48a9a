//go:build linux

// Package rules runs the ruleset inside the engine of Falco on the events that a real API server recorded for each rule.
package rules

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kaudit/pkg/rules"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// A verdict is what a rule has to say to one event.
type verdict struct {
	rule, id string
	event    int // its number in the fixtures
	fires    bool
}

// fixtures returns the events of all rules, and what is expected of each.
func fixtures(t *testing.T, rules []engine.Rule) (events [][]byte, expected []verdict) {
	for _, r := range rules {
		list := samples(t, r.Name)
		if len(list) == 0 {
			t.Errorf("rule %q has no events", r.Name)
		}
		for _, s := range list {
			events = append(events, s.line)
			expected = append(expected, verdict{r.Name, s.where, len(events) - 1, s.fires})
		}
	}
	return events, expected
}

// ruleFiles returns the files of the ruleset, and one that switches on the rules that are off.
func ruleFiles(t *testing.T) []string {
	t.Helper()
	files := e2e.RuleFiles(t)
	set, err := rules.Load(rules.Options{}, files...)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, r := range set.Rules {
		if !r.Enabled {
			fmt.Fprintf(&text, "- rule: %s\n  enabled: true\n", r.Name)
		}
	}
	path := filepath.Join(t.TempDir(), "switched-on.yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return append(files, path)
}

func TestEveryRuleFiresAndStaysQuiet(t *testing.T) {
	library := e2e.Library(t)
	files := ruleFiles(t)
	rules, err := engine.LoadRules("k8s_audit", files...)
	if err != nil {
		t.Fatal(err)
	}
	all, expected := fixtures(t, rules)
	notices, events := e2e.Split(t, all)
	file := e2e.WriteLines(t, events)
	// In the order in which the engine has them: what is expected of notices comes first.
	place := func(list [][]byte, v verdict) int {
		return slices.IndexFunc(list, func(line []byte) bool { return bytes.Equal(line, all[v.event]) })
	}
	first := slices.DeleteFunc(slices.Clone(expected), func(v verdict) bool { return place(notices, v) < 0 })
	slices.SortStableFunc(first, func(a, b verdict) int { return place(notices, a) - place(notices, b) })
	expected = slices.DeleteFunc(expected, func(v verdict) bool { return place(notices, v) >= 0 })
	engine.Each(t, func(t *testing.T, e *engine.Engine) {
		result, err := e.Run(t.Context(), engine.Run{Plugins: []engine.Plugin{{Path: library}}, Open: file, Rules: rules, Notices: notices})
		if err != nil {
			t.Fatal(err)
		}
		if got := result.Stats[0].Events; got != uint64(len(all)) {
			t.Fatalf("%d events of %d arrived", got, len(all))
		}
		judge(t, result, slices.Concat(first, expected))
	})
	t.Run("falco", func(t *testing.T) {
		falco, err := engine.FindFalco()
		if err != nil {
			t.Skip("no Falco here: ", err)
		}
		result, err := falco.Run(t.Context(), engine.Run{Plugins: []engine.Plugin{{Path: library}}, Open: file, Rules: rules}, files, "rule_matching=all")
		if err != nil {
			t.Fatal(err)
		}
		judge(t, result, expected)
	})
}

// judge compares which rules fired on which events with what is expected. Events are numbered from 1.
func judge(t *testing.T, result engine.Result, expected []verdict) {
	t.Helper()
	fired := map[string]bool{}
	for _, m := range result.Matches {
		fired[fmt.Sprint(m.Event, m.Rule)] = true
		if strings.Contains(m.Output, "%ka.") {
			t.Errorf("rule %q: output has a field nobody knows: %s", m.Rule, m.Output)
		}
	}
	count := map[bool]int{}
	for i, v := range expected {
		count[v.fires]++
		if got := fired[fmt.Sprint(i+1, v.rule)]; got != v.fires {
			t.Errorf("rule %q: fired is %t on %s", v.rule, got, v.id)
		}
	}
	t.Logf("%d events on which a rule has to fire, %d on which it must not", count[true], count[false])
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kaudit/internal/golden"
)

// prints compares what a command prints, and its exit code, with a golden file.
func prints(t *testing.T, name string, args ...string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code := run(args, &out, &errOut)
	got := fmt.Sprintf("$ kaudit %s\n%s%sexit %d\n", strings.Join(args, " "), out.String(), errOut.String(), code)
	golden.Compare(t, "testdata/"+name+".golden", got)
	if strings.Contains(errOut.String(), "secret") {
		t.Errorf("what is in events is in an error: %s", errOut.String())
	}
}

func TestExplain(t *testing.T) {
	const own, events = "testdata/explain-rules.yaml", "testdata/explain-events.jsonl"
	for name, args := range map[string][]string{
		"no-rules":          {"-r", "testdata/run/empty.yaml", "Exec"},
		"help":              {"--help"},
		"rule":              {"-r", own, "Shell in Pod"},
		"rule-as-json":      {"-r", own, "Shell in Pod", "-o", "json"},
		"rule-disabled":     {"-r", own, "Old"},
		"rule-of-syscalls":  {"-r", own, "Syscall"},
		"events":            {"-r", own, "Shell in Pod", events},
		"events-most":       {"-r", own, "Shell in Pod", events, "--most", "4"},
		"events-none-fires": {"-r", own, "Old", events, "--most", "1"},
		"event-by-number":   {"-r", own, "Shell in Pod", events, "--event", "3"},
		"event-by-audit-id": {"-r", own, "Shell in Pod", events, "--audit-id", "e-4"},
		"event-as-json":     {"-r", own, "Shell in Pod", events, "--event", "3", "-o", "json"},
		"event-missing":     {"-r", own, "Shell in Pod", events, "--event", "17"},
		"event-of-syscalls": {"-r", own, "Syscall", events},
		"events-unreadable": {"-r", own, "Shell in Pod", "testdata/nowhere.jsonl"},
		"events-no-json":    {"-r", own, "Shell in Pod", "testdata/extract-no-json.txt"},
		"event-of-nothing":  {"-r", own, "Shell in Pod", "--event", "1"},
		"event-two-ways":    {"-r", own, "Shell in Pod", events, "--event", "1", "--audit-id", "e-1"},
		"most-wrong":        {"-r", own, "Shell in Pod", events, "--most", "0"},
		"no-rule":           {},
		"unknown":           {"-r", own, "Shell in Pods"},
		"unknown-built-in":  {"exec in pod"},
		"unlike-any":        {"-r", own, "zzz"},
		"part-of-names":     {"-r", own, "in"},
		"rules-too-new":     {"-r", own, "Shell in Pod", "--falco", "0.36"},
		"rules-unreadable":  {"-r", "testdata/nowhere.yaml", "Shell in Pod"},
	} {
		t.Run(name, func(t *testing.T) { prints(t, "explain-"+name, append([]string{"explain"}, args...)...) })
	}
}

// Rules that come with kaudit are explained, each on the events on which it fires, and the first trace says so. They are
// loaded once, so this is the command without its flags.
func TestShippedRulesAreExplained(t *testing.T) {
	set, err := (&ruleFlags{falco: "0.44"}).load()
	if err != nil {
		t.Fatal(err)
	}
	c := explainCommand()
	c.SetContext(t.Context())
	for _, rule := range set.Rules {
		var out bytes.Buffer
		x := explanation{set: set, rule: rule, own: true}
		if err := x.print(&out); err != nil || !strings.HasPrefix(out.String(), rule.Name+"\n") {
			t.Errorf("%s: %v\n%s", rule.Name, err, out.String())
		}
		if slices.Contains(rule.Fields, "ka.notice") {
			continue // it is about delivery, and what it fires on is no audit event
		}
		folder := strings.NewReplacer(" ", "-", "/", "-").Replace(strings.ToLower(rule.Name))
		fires, err := filepath.Glob("../../rules/testdata/" + folder + "/fires*.jsonl")
		if err != nil || len(fires) == 0 {
			t.Errorf("%s: there are no events on which it fires: %v", rule.Name, err)
			continue
		}
		all := traces{most: 3}
		if all.explainer, err = set.Explainer(rule.Name); err != nil {
			t.Fatal(err)
		}
		for _, file := range fires {
			if err := (&eventChoice{}).read(c, consoleOf(c), file, all.add); err != nil {
				t.Fatal(err)
			}
		}
		first := all.all[0]
		if all.fire == 0 || all.fire != all.read || !first.Fires || !first.Trace.Holds || first.Output == "" {
			t.Errorf("%s fires on %d of %d events; the first: %+v", rule.Name, all.fire, all.read, first)
		}
		out.Reset()
		if err := all.print(&out); err != nil || !strings.Contains(out.String(), rule.Name+" fires") {
			t.Errorf("%s: %v\n%s", rule.Name, err, out.String())
		}
		text, err := json.Marshal(all.data())
		if err != nil || !strings.Contains(string(text), `"fires":true`) {
			t.Errorf("%s: %v\n%s", rule.Name, err, text)
		}
	}
}

func TestTracesOnTerminal(t *testing.T) {
	for line, want := range map[string]string{
		"✗ all of":                   "\x1b[31m✗\x1b[0m all of",
		"    ✓ ka.verb = get  ← get": "    \x1b[32m✓\x1b[0m ka.verb = get  ← get",
		"  · ka.user.name = ✓":       "  \x1b[2m·\x1b[0m ka.user.name = ✓",
		"  what goes on in a list ✗": "  what goes on in a list ✗",
	} {
		if got := paintTrace(true, line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
		if got := paintTrace(false, line); got != line {
			t.Errorf("without colours: %q", got)
		}
	}
}

func TestShellsCompleteRules(t *testing.T) {
	for written, want := range map[string]string{"exec into": "Exec into Pod\tSomebody ran a command in a pod.", "zzz": ":4"} {
		var out, errOut bytes.Buffer
		if code := run([]string{"__complete", "explain", written}, &out, &errOut); code != exitOK {
			t.Fatalf("exit %d: %s", code, errOut.String())
		}
		if !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: got %q", written, out.String())
		}
	}
}

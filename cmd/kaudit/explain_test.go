package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// prints compares what a command prints, and its exit code, with a golden file.
func prints(t *testing.T, name string, args ...string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code := run(args, &out, &errOut)
	got := fmt.Sprintf("$ kaudit %s\n%s%sexit %d\n", strings.Join(args, " "), out.String(), errOut.String(), code)
	golden(t, name+".golden", got)
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

// Rules that come with kaudit, every twentieth, are explained, and each has a trace on each of its fixtures: of those on which it fires one
// that says so.
func TestShippedRulesAreExplained(t *testing.T) {
	var out bytes.Buffer
	names, err := filepath.Glob("../../rules/testdata/*/fires.jsonl")
	if err != nil || len(names) == 0 {
		t.Fatal("no fixtures: ", err)
	}
	set, err := (&ruleFlags{falco: "0.44"}).load()
	if err != nil {
		t.Fatal(err)
	}
	byFolder := map[string]string{}
	for _, r := range set.Rules {
		byFolder[strings.ReplaceAll(strings.ToLower(strings.ReplaceAll(r.Name, "/", "-")), " ", "-")] = r.Name
	}
	for i, fires := range names {
		if i%20 != 0 { // each loads all rules anew
			continue
		}
		rule := byFolder[filepath.Base(filepath.Dir(fires))]
		if rule == "" {
			continue // a folder of another rule, or of one that is written another way
		}
		out.Reset()
		if code := run([]string{"explain", rule}, &out, &out); code != exitOK || !strings.HasPrefix(out.String(), rule+"\n") {
			t.Errorf("%s: exit %d\n%s", rule, code, out.String())
		}
		out.Reset()
		if code := run([]string{"explain", rule, fires, "-o", "json"}, &out, &out); code != exitOK {
			t.Fatalf("%s: exit %d\n%s", rule, code, out.String())
		}
		var result struct {
			Rule        string
			Read, Fires int
			Events      []struct {
				Fires  bool
				Output string
				Trace  struct{ Holds bool }
			}
		}
		if err := json.Unmarshal(out.Bytes(), &result); err != nil {
			t.Fatal(err)
		}
		if result.Rule != rule || result.Fires == 0 || !result.Events[0].Fires || !result.Events[0].Trace.Holds || result.Events[0].Output == "" {
			t.Errorf("%s: %+v", rule, result)
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

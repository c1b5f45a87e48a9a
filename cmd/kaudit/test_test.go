package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kaudit/pkg/rules"

	"kaudit/internal/golden"
)

// durations differ from run to run.
var durations = regexp.MustCompile(`\b[0-9]+(\.[0-9]+)?(ns|µs|ms|s)\b|("seconds": )[0-9.e-]+|(time=")[0-9.]+`)

func TestTestOutput(t *testing.T) {
	for name, args := range map[string]string{
		"help":              "--help",
		"passes":            "testdata/test/passes.yaml",
		"passes-verbose":    "-v testdata/test/passes.yaml",
		"fails":             "testdata/test/fails.yaml",
		"fails-verbose":     "--verbose testdata/test/fails.yaml",
		"fails-explained":   "--explain --run trusted|another testdata/test/fails.yaml",
		"fails-as-json":     "-o json --explain --run trusted|passes testdata/test/fails.yaml",
		"first":             "--explain testdata/test/first.yaml",
		"coverage":          "--coverage --run first testdata/test/first.yaml testdata/test/fails.yaml",
		"wrong":             "testdata/test/wrong.yaml",
		"broken-events":     "testdata/test/badevents.yaml",
		"broken-rules":      "testdata/test/brokenrules.yaml",
		"no-rules":          "-r testdata/test/nowhere.yaml testdata/test/defaults.yaml",
		"rules-by-flag":     "-r testdata/test/shells.rules.yaml testdata/test/defaults.yaml",
		"rules-built-in":    "testdata/test/defaults.yaml",
		"not-yaml":          "testdata/test/notyaml.yaml",
		"one-is-broken":     "testdata/test/passes.yaml testdata/test/notyaml.yaml testdata/test/fails.yaml testdata/test/nowhere.yaml",
		"one-broken-json":   "-o json --run matches-nothing testdata/test/passes.yaml testdata/test/notyaml.yaml",
		"none":              "testdata/test/nothing",
		"none-of-a-name":    "--run zzz testdata/test/passes.yaml",
		"run-is-wrong":      "--run ( testdata/test/passes.yaml",
		"falco-is-wrong":    "--falco 0.12 testdata/test/passes.yaml",
		"junit-unwritable":  "--junit testdata/nowhere/report.xml testdata/test/passes.yaml",
		"flag-unknown":      "--explian testdata/test/passes.yaml",
		"transformer-older": "--falco 0.37 testdata/test/newer.yaml",
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			code := run(append([]string{"test"}, strings.Fields(args)...), &out, &errOut)
			got := fmt.Sprintf("$ kaudit test %s\n%s%sexit %d\n", args, out.String(), errOut.String(), code)
			got = durations.ReplaceAllString(got, "${3}${4}0")
			golden.Compare(t, "testdata/test-"+name+".golden", got)
		})
	}
}

func TestTheShippedRulesPassTheirTests(t *testing.T) {
	var out bytes.Buffer
	if code := run([]string{"test", "-o", "json", "../../rules"}, &out, &out); code != exitOK {
		out.Reset()
		run([]string{"test", "../../rules"}, &out, &out)
		t.Fatalf("exit %d\n%s", code, out.String())
	}
	var report struct {
		Events, Rules int
		Seconds       float64
		Uncovered     []struct{ Rule string }
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if report.Rules < 30 || report.Events < 500 || len(report.Uncovered) > 0 {
		t.Errorf("%d rules, %d events, no test of %v", report.Rules, report.Events, report.Uncovered)
	}
	t.Logf("%d rules, %d events, %v s", report.Rules, report.Events, report.Seconds)
}

func TestTestsAreFoundInTheCurrentFolder(t *testing.T) {
	t.Chdir("../../rules")
	var out bytes.Buffer
	if code := run([]string{"test"}, &out, &out); code != exitOK || !strings.Contains(out.String(), "testdata/rules_test.yaml") {
		t.Errorf("exit %d\n%s", code, out.String())
	}
}

func TestJUnit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.xml")
	var out bytes.Buffer
	if code := run([]string{"test", "--junit", file, "testdata/test/passes.yaml", "testdata/test/fails.yaml", "testdata/test/notyaml.yaml"}, &out, &out); code != exitUsage {
		t.Fatalf("exit %d\n%s", code, out.String())
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
	}
	if err := xml.Unmarshal(content, &report); err != nil {
		t.Fatal(err)
	}
	if report.Tests != 19 || report.Failures != 7 || report.Errors != 1 {
		t.Errorf("%+v", report)
	}
	got := durations.ReplaceAllString(string(content), "${3}${4}0")
	golden.Compare(t, "testdata/test-junit.golden", got)
}

// A pipe hands on what is written to it, a piece at a time.
type pipe chan string

func (p pipe) Write(b []byte) (int, error) {
	p <- string(b)
	return len(b), nil
}

// wait waits until all of some words were written.
func (p pipe) wait(t *testing.T, words ...string) {
	t.Helper()
	var all strings.Builder
	for _, w := range words {
		for !strings.Contains(all.String(), w) {
			select {
			case s := <-p:
				all.WriteString(s)
			case <-time.After(time.Minute):
				t.Fatalf("%q did not come, but %q", w, all.String())
			}
		}
	}
}

func TestWatchGoesOnWhenRulesAreBroken(t *testing.T) {
	shells, err := os.ReadFile("testdata/test/shells.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(name+".new", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	text := asText
	out := make(pipe, 100)
	w := &tests{paths: []string{"."}, format: &text, rules: ruleFlags{falco: rules.Newest.String()}, out: out, errOut: out}
	tick := make(chan time.Time)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.watch(ctx, tick)
	}()
	go func() { // a clock that does not wait
		for ctx.Err() == nil {
			select {
			case tick <- time.Time{}:
			case <-ctx.Done():
			}
		}
	}()
	out.wait(t, "no tests: looked for *_test.yaml")
	write("rules.yaml", string(shells))
	out.wait(t, "changed", "no tests")
	write("x_test.yaml", "rules: rules.yaml\ntests: [{name: x, event: {verb: get, objectRef: {resource: pods, subresource: exec}}, fires: Any Exec}]\n")
	out.wait(t, "changed", "all pass")
	write("rules.yaml", "- rule: Broken\n")
	out.wait(t, "changed", "rules.yaml:1:3: rule Broken: there is no")
	write("rules.yaml", strings.ReplaceAll(string(shells), "Any Exec", "Other Exec"))
	out.wait(t, "changed", `there is no rule "Any Exec"`)
	write("rules.yaml", string(shells))
	out.wait(t, "changed", "all pass")
	if err := os.Remove("rules.yaml"); err != nil {
		t.Fatal(err)
	}
	out.wait(t, "changed", "rules.yaml: read it: no such file")
	cancel()
	<-done
}

// The test in the help passes with the rules that come with kaudit.
func TestTheTestInTheHelpPasses(t *testing.T) {
	_, example, _ := strings.Cut(testCommand().Long, "  rules: my_rules.yaml\n")
	example, _, _ = strings.Cut(example, "\n\n")
	file := filepath.Join(t.TempDir(), "help_test.yaml")
	if err := os.WriteFile(file, []byte(example+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := run([]string{"test", file}, &out, &out); code != exitOK {
		t.Errorf("exit %d\n%s%s", code, example, out.String())
	}
}

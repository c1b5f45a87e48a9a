package rules_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kaudit/pkg/rules"
)

// Events on which fuzzed rules are tried.
var fuzzEvents = []string{
	`{"auditID":"1","stage":"ResponseComplete","verb":"create","requestURI":"/api/v1/namespaces/shop/pods/web/exec?command=sh&command=-c&stdin=true","user":{"username":"jane","groups":["dev","system:authenticated"]},"sourceIPs":["10.1.2.3","2001:db8::1"],"objectRef":{"resource":"pods","namespace":"shop","name":"web","subresource":"exec"},"responseStatus":{"code":101},"stageTimestamp":"2026-01-02T03:04:05.000006Z"}`,
	`{"auditID":"2","verb":"Z2V0","user":{"username":"a\u0000b\\","groups":[]},"requestObject":{"spec":{"containers":[{"image":"x"}]}}}`,
	`{"auditID":"3"}`,
}

// tryRules loads rule files, and evaluates them on events.
func tryRules(t *testing.T, o rules.Options, files ...rules.File) (*rules.Ruleset, error) {
	start := time.Now()
	set, err := rules.Read(o, files...)
	if d := time.Since(start); d > 20*time.Second {
		t.Fatalf("loading took %v", d)
	}
	if err != nil {
		var load *rules.LoadError
		if !errors.As(err, &load) || len(load.Problems) == 0 {
			t.Fatal(err)
		}
		for _, p := range load.Problems {
			if p.Text == "" || p.Code == "" || p.Pos.File != files[0].Name || p.Pos.Line < 1 || p.Pos.Column < 1 {
				t.Fatalf("%#v", p)
			}
			if strings.Contains(p.Error(), "\n") {
				t.Fatalf("an error of several lines: %q", p.Error())
			}
			p.Render()
		}
		return nil, err
	}
	for _, p := range set.Warnings {
		if p.Pos.Line < 1 || p.Code == "" {
			t.Fatalf("%#v", p)
		}
		p.Render()
	}
	engine := set.Engine()
	var l eventLoader
	for _, text := range fuzzEvents {
		event := l.load(t, []byte(text))
		hold := map[string]bool{}
		for _, m := range engine.Evaluate(event, rules.All) {
			hold[m.Rule.Name] = true
			if text := m.AppendJSON(nil, rules.Style{Message: true}); !json.Valid(text) {
				t.Fatalf("not JSON: %s", text)
			}
		}
		for _, r := range set.Rules {
			if r.Source != rules.Source || !r.Enabled || r.Skipped != "" || strings.Contains(r.Condition.String(), "evt.reltime") {
				continue
			}
			trace, err := set.Explain(r.Name, event)
			if err != nil {
				t.Fatal(err)
			}
			if trace.Holds != hold[r.Name] {
				t.Fatalf("%v: the trace holds: %t, the engine says %t", r.Condition, trace.Holds, hold[r.Name])
			}
			if bytes.ContainsFunc(trace.AppendText(nil), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
				t.Fatalf("unprintable: %q", trace)
			}
		}
	}
	return set, nil
}

// ruleOf is a file with one rule.
func ruleOf(t *testing.T, condition, output string) rules.File {
	text, err := json.Marshal([]any{map[string]any{"rule": "r", "desc": "d", "priority": "INFO", "source": rules.Source, "condition": condition, "output": output}})
	if err != nil {
		t.Fatal(err)
	}
	return rules.File{Name: "f.yaml", Content: text}
}

// eachCase calls add for the texts of a key in the rule files of the tests.
func eachCase(f *testing.F, key string, add func(string)) {
	_, files := cases(f)
	for _, list := range files {
		for _, file := range list {
			for line := range strings.Lines(string(file.Content)) {
				if _, text, ok := strings.Cut(line, key+": "); ok {
					add(strings.TrimSpace(text))
				}
			}
		}
	}
}

// What is accepted can be written again, and then is the same; it compiles or is refused.
func FuzzParse(f *testing.F) {
	eachCase(f, "condition", func(s string) { f.Add(s) })
	f.Fuzz(func(t *testing.T, in string) {
		x, err := rules.Parse(in)
		if err != nil {
			var p *rules.Problem
			if !errors.As(err, &p) || p.Text == "" || p.Pos.Line < 1 || p.Pos.Column < 1 {
				t.Fatalf("%v", err)
			}
			return
		}
		text := x.String()
		y, err := rules.Parse(text)
		if err != nil {
			t.Fatalf("%q is written as %q: %v", in, text, err)
		}
		ignore := cmpopts.IgnoreUnexported(rules.And{}, rules.Or{}, rules.Not{}, rules.Macro{}, rules.Check{}, rules.Field{}, rules.Transform{}, rules.Value{}, rules.List{}, rules.Tuple{})
		if diff := cmp.Diff(x, y, ignore, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q is written as %q, which is another condition\n%s", in, text, diff)
		}
		laid := rules.Layout(x, 60)
		if y, err = rules.Parse(laid); err != nil {
			t.Fatalf("%q is laid out as %q: %v", in, laid, err)
		}
		if diff := cmp.Diff(x, y, ignore, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%q is laid out as %q, which is another condition\n%s", in, laid, diff)
		}
		_, _ = tryRules(t, rules.Options{}, ruleOf(t, in, "x"))
	})
}

// Whatever the file, there is a ruleset that works or an error that says where it is, soon.
func FuzzRead(f *testing.F) {
	_, files := cases(f)
	for _, list := range files {
		for _, file := range list {
			f.Add(file.Content, 44)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, falco int) {
		if falco < int(rules.Oldest) || falco > int(rules.Newest) {
			falco = 0
		}
		_, _ = tryRules(t, rules.Options{Falco: rules.Falco(falco), Plugins: loaded}, rules.File{Name: "f.yaml", Content: content})
	})
}

// Whatever the output and an extra field, they are printed or refused.
func FuzzOutput(f *testing.F) {
	eachCase(f, "output", func(s string) { f.Add(s, "ka.verb", "") })
	f.Fuzz(func(t *testing.T, output, name, format string) {
		o := rules.Options{Additions: []rules.Addition{{Fields: []rules.ExtraField{{Name: name, Format: format}}}}}
		_, _ = tryRules(t, o, ruleOf(t, "evt.num exists", output))
	})
}

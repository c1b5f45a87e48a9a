package rules_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"kaudit/pkg/rules"
)

const optionRules = `
- rule: loud
  desc: d
  condition: ka.verb exists
  output: loud %ka.verb
  priority: WARNING
  source: k8s_audit
  tags: [a, b]
- rule: quiet
  desc: d
  condition: ka.user.name exists
  output: quiet %ka.value["/verb"]
  priority: NOTICE
  source: k8s_audit
  tags: [b]
- {rule: other, desc: d, condition: evt.type = open, output: "other %proc.name", priority: WARNING, tags: [a]}
`

func readOptions(t *testing.T, o rules.Options) *rules.Ruleset {
	t.Helper()
	set, err := rules.Read(o, rules.File{Name: "o.yaml", Content: []byte(optionRules)})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestMinPriority(t *testing.T) {
	var l eventLoader
	for least, want := range map[rules.Priority]string{
		rules.Emergency: "", rules.Error: "", rules.Warning: "loud", rules.Notice: "loud quiet", rules.Debug: "loud quiet",
	} {
		set := readOptions(t, rules.Options{MinPriority: &least})
		var got []string
		for _, m := range set.Engine().Evaluate(l.load(t, []byte(`{"auditID":"1","verb":"get","user":{"username":"jane"}}`)), rules.All) {
			got = append(got, m.Rule.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v: %q, want %q", least, got, want)
		}
		if trace, err := set.Explain("quiet", l.load(t, []byte(`{"auditID":"1","user":{"username":"jane"}}`))); err != nil || !trace.Holds {
			t.Errorf("%v: %v, %v", least, trace, err)
		}
	}
	set := readOptions(t, rules.Options{MinPriority: new(rules.Alert)})
	if r, _ := set.Rule("loud"); r.Skipped != "its priority, Warning, is lower than Alert" {
		t.Errorf("skipped: %q", r.Skipped)
	}
}

// What falco 0.44.1 prints with the same append_output.
func TestAdditions(t *testing.T) {
	set := readOptions(t, rules.Options{Additions: []rules.Addition{
		{Output: "num=%evt.num", Fields: []rules.ExtraField{
			{Name: "ka.user.groups"},
			{Name: "who", Format: "%ka.user.name from %ka.sourceips"},
			{Name: "ka.verb", Format: "another %ka.verb"},
			{Name: "evt.time", Format: "now"},
			{Name: "tolower(ka.verb)"},
		}},
		{Rule: "loud", Output: "rule"},
		{Source: rules.Source, Output: "source"},
		{Source: "syscall", Output: "none"},
		{Tags: []string{"b", "a"}, Output: "tags %ka.user.name"},
	}})
	var l eventLoader
	engine := set.Engine()
	engine.SetHostname("h")
	var got []string
	for _, m := range engine.Evaluate(l.load(t, []byte(`{"auditID":"1","verb":"get","user":{"username":"jane","groups":["x","y"]}}`)), rules.All) {
		got = append(got, m.Message(), string(m.AppendFields(nil)), string(m.AppendJSON(nil, rules.Style{NoOutput: true})))
	}
	want := []string{
		"loud get num=1 rule source tags jane",
		`{"evt.num":1,"evt.time":"now","ka.user.groups":["x","y"],"ka.user.name":"jane","ka.verb":"another get","tolower(ka.verb)":null,"who":"jane from <NA>"}`,
		`{"hostname":"h","output_fields":{"evt.num":1,"evt.time":"now","ka.user.groups":["x","y"],"ka.user.name":"jane","ka.verb":"another get","tolower(ka.verb)":null,"who":"jane from <NA>"},"priority":"Warning","rule":"loud","source":"k8s_audit","tags":["a","b"],"time":"1970-01-01T00:00:01.000000000Z"}`,
		"quiet get num=1 source",
		`{"evt.num":1,"evt.time":"now","ka.user.groups":["x","y"],"ka.value[/verb]":"get","ka.verb":"another get","tolower(ka.verb)":null,"who":"jane from <NA>"}`,
		`{"hostname":"h","output_fields":{"evt.num":1,"evt.time":"now","ka.user.groups":["x","y"],"ka.value[/verb]":"get","ka.verb":"another get","tolower(ka.verb)":null,"who":"jane from <NA>"},"priority":"Notice","rule":"quiet","source":"k8s_audit","tags":["b"],"time":"1970-01-01T00:00:01.000000000Z"}`,
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("line %d\n got %q\nwant %q", i, got, want)
		}
	}
	if r, _ := set.Rule("loud"); r.Output != "loud %ka.verb num=%evt.num rule source tags %ka.user.name" || fmt.Sprint(r.OutputFields) != "[evt.num ka.user.name ka.verb]" || fmt.Sprint(r.AllFields()) != "[ka.verb evt.num ka.user.name]" {
		t.Errorf("output %q of %q, all fields %v", r.Output, r.OutputFields, r.AllFields())
	}
	for _, a := range []rules.Addition{
		{Output: "%ka.usr.name"}, {Fields: []rules.ExtraField{{Name: "ka.usr.name"}}}, {Fields: []rules.ExtraField{{Name: "x", Format: "%ka.usr.name"}}},
	} {
		_, err := rules.Read(rules.Options{Additions: []rules.Addition{a}}, rules.File{Name: "o.yaml", Content: []byte(optionRules)})
		if err == nil || !strings.Contains(err.Error(), "there is no field ka.usr.name") || !strings.HasPrefix(err.Error(), "o.yaml:5:") {
			t.Errorf("%v: %v", a, err)
		}
	}
}

// What an older Falco does not know is refused, or ignored if it ignores it and nothing is lost.
func TestOlderFalco(t *testing.T) {
	rule := func(more string) string {
		return "- {rule: r, desc: d, condition: ka.verb exists, output: x, priority: INFO, source: k8s_audit" + more + "}\n"
	}
	for _, c := range []struct {
		name  string
		since rules.Falco
		text  string
	}{
		{"override of a rule", 37, rule("") + "- {rule: r, enabled: false, override: {enabled: replace}}"},
		{"override of a macro", 37, "- {macro: m, condition: ka.verb exists}\n- {macro: m, condition: or ka.code exists, override: {condition: append}}\n"},
		{"override of a list", 37, "- {list: l, items: [a]}\n- {list: l, items: [b], override: {items: append}}\n"},
		{"version with dots", 37, "- required_engine_version: 0.17.0\n"},
		{"capture in override", 42, rule("") + "- {rule: r, capture: true, override: {capture: replace}}"},
		{"tolower in an exception", 38, rule("")[:len(rule(""))-2] + ", exceptions: [{name: e, fields: [tolower(ka.verb)], values: [[get]]}]}"},
		{"regex", 39, "- {rule: r, desc: d, condition: ka.verb regex g.., output: x, priority: INFO, source: k8s_audit}"},
		{"len in an output", 40, "- {rule: r, desc: d, condition: ka.verb exists, output: '%len(ka.verb)', priority: INFO, source: k8s_audit}"},
		{"oneof", 44, "- {rule: r, desc: d, condition: ka.verb = oneof (a), output: x, priority: INFO, source: k8s_audit}"},
	} {
		for f := rules.Oldest; f <= rules.Newest; f++ {
			_, err := rules.Read(rules.Options{Falco: f}, rules.File{Name: "o.yaml", Content: []byte(c.text)})
			if (err == nil) != (f >= c.since) {
				t.Errorf("%s, falco %v: %v", c.name, f, err)
			}
			var load *rules.LoadError
			if err != nil && (!errors.As(err, &load) || load.Problems[0].Pos.Line == 0 || !strings.Contains(err.Error(), fmt.Sprintf("falco %v does not know ", f)) || !strings.Contains(err.Error(), "came with falco 0.")) {
				t.Errorf("%s, falco %v: %v", c.name, f, err)
			}
		}
	}
	for f := rules.Oldest; f <= rules.Newest; f++ {
		set, err := rules.Read(rules.Options{Falco: f}, rules.File{Name: "o.yaml", Content: []byte(rule(", capture: true"))})
		if err != nil {
			t.Fatal(err)
		}
		if warned := len(set.Warnings) == 1 && set.Warnings[0].Code == rules.WarnUnknownKey; warned != (f < 42) {
			t.Errorf("capture, falco %v: %v", f, set.Warnings)
		}
	}
}

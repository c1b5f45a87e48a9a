package ruletest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// Selection says which tests to run, and how much to say of those that fail.
type Selection struct {
	Only    *regexp.Regexp // tests whose name it matches; nil is all of them
	Explain bool           // says of a failure which part of the condition decided
}

// Run evaluates the tests of the files that could be read. It is done again for each call.
func (s *Suite) Run(o Selection) *Report {
	r := &Report{covered: map[string]bool{}}
	began := time.Now()
	for _, f := range s.Files {
		result := FileResult{Name: f.Name, Problems: f.Problems}
		if len(f.Problems) == 0 {
			began := time.Now()
			r.loads(f.rules.set)
			for _, t := range f.Tests {
				if o.Only == nil || o.Only.MatchString(t.Name) {
					result.Tests = append(result.Tests, r.run(f, t, o))
				}
			}
			result.Took = time.Since(began)
		}
		r.Files = append(r.Files, result)
	}
	r.Took = s.took + time.Since(began)
	return r
}

// run runs one test.
func (r *Report) run(f *File, t *Test, o Selection) TestResult {
	began := time.Now()
	result := TestResult{Name: t.Name, Pos: t.Pos, Events: len(t.events)}
	trial := trial{file: f, test: t, explain: o.Explain}
	if t.off != "" {
		if x, err := f.rules.set.Explainer(t.off); err == nil { // else the rule does not fire, and because says why
			x.SetHostname(hostname)
			trial.off = x
		}
	}
	fired := map[string]bool{}
	for i, e := range t.events {
		result.Failures = append(result.Failures, trial.run(e, uint64(i+1), fired)...)
	}
	for _, e := range t.fires {
		if fired[e.rule] {
			if rule, ok := f.rules.set.Rule(e.rule); ok {
				r.covered[key(rule)] = true
			}
		}
	}
	result.Took = time.Since(began)
	return result
}

// A trial is a test while it runs.
type trial struct {
	file    *File
	test    *Test
	explain bool
	off     *rules.Explainer // of the rule that is tried although it is disabled; nil if there is none

	event   event
	now     rules.Event
	matches []rules.Match
	fired   []string
	failed  []Failure
}

// run evaluates one event, and adds the rules that fire to fired.
func (t *trial) run(e event, number uint64, fired map[string]bool) []Failure {
	var a audit.Event
	if !a.Load(e.raw) {
		return []Failure{{Event: e.from, AuditID: e.id, Kind: Missing, Text: "the event cannot be read"}} // never: it was
	}
	var x extract.Event
	x.Reset(&a)
	t.event, t.failed, t.fired = e, nil, nil
	t.now = rules.Event{Event: &x, Number: number, Time: uint64(e.stamp.UnixNano())}
	t.matches = t.file.rules.engine.Evaluate(t.now, t.file.matching)
	if t.off != nil && t.off.Explain(t.now).Holds {
		t.matches = append(t.matches, t.off.Match())
	}
	for _, m := range t.matches {
		t.fired = append(t.fired, m.Rule.Name)
		fired[m.Rule.Name] = true
	}
	for _, want := range t.test.fires {
		i := slices.Index(t.fired, want.rule)
		if i < 0 {
			t.fail(Failure{Rule: want.rule, Kind: Missing, Text: "did not fire"}, true)
			continue
		}
		t.compare(want, t.matches[i])
	}
	for _, name := range t.fired {
		wanted := slices.ContainsFunc(t.test.fires, func(e expectation) bool { return e.rule == name })
		switch {
		case slices.Contains(t.test.quiet, name):
			t.fail(Failure{Rule: name, Kind: Unexpected, Text: "fired, and must not"}, true)
		case t.test.exact && !wanted && !slices.Contains(t.test.also, name):
			t.fail(Failure{Rule: name, Kind: Unexpected, Text: "fired, and is not among those that may"}, true)
		}
	}
	return t.failed
}

// fail notes a failure. because says that the rule's condition is what explains it.
func (t *trial) fail(f Failure, because bool) {
	f.Event, f.AuditID, f.Fired = t.event.from, t.event.id, t.fired
	if f.Kind == Missing {
		f.Fired = slices.DeleteFunc(slices.Clone(t.fired), func(name string) bool {
			return slices.ContainsFunc(t.test.fires, func(e expectation) bool { return e.rule == name })
		})
	}
	if because {
		t.because(&f)
	}
	t.failed = append(t.failed, f)
}

// because says why a rule fired or did not.
func (t *trial) because(f *Failure) {
	rule, ok := t.file.rules.set.Rule(f.Rule)
	if !ok {
		return
	}
	if f.Kind == Missing && !rule.Enabled && t.off == nil {
		f.Why = fmt.Sprintf("it is disabled at %v", rule.Pos)
		return
	}
	if f.Kind == Missing && rule.Skipped != "" {
		f.Why = "it is not evaluated: " + rule.Skipped
		return
	}
	explainer, err := t.file.rules.set.Explainer(f.Rule)
	if err != nil {
		f.Why = err.Error()
		return
	}
	explainer.SetHostname(hostname)
	trace := explainer.Explain(t.now)
	if t.explain {
		f.Trace = trace
	}
	if f.Kind == Missing && trace.Holds && len(t.fired) > 0 {
		f.Why = fmt.Sprintf("its condition holds, but with matching: first rule %s before it takes the event", t.fired[0])
		return
	}
	f.Why = why(trace)
}

// most is how many parts of a condition a short reason names.
const most = 3

// why says in a line which part of a condition decided.
func why(t *rules.Trace) string {
	parts := deciding(t)
	if t.Holds && len(parts) > most { // all parts of a long and hold; that says nothing
		return ""
	}
	var texts []string
	for i, p := range parts {
		if i == most {
			texts = append(texts, fmt.Sprintf("%d more", len(parts)-i))
			break
		}
		line := string(p.AppendText(nil))
		if _, rest, ok := strings.Cut(line, " "); ok { // behind the mark
			line = rest
		}
		if p.Holds != t.Holds { // it is inside of a not
			line = "not: " + line
		}
		texts = append(texts, strings.TrimSpace(line))
	}
	return strings.Join(texts, "; ")
}

// deciding returns those smallest parts of a condition because of which it holds or does not.
func deciding(t *rules.Trace) []*rules.Trace {
	if not, ok := t.Expr.(*rules.Not); ok {
		if _, check := not.Part.(*rules.Check); check {
			return []*rules.Trace{t}
		}
	}
	if len(t.Parts) == 0 {
		return []*rules.Trace{t}
	}
	var parts []*rules.Trace
	_, not := t.Expr.(*rules.Not)
	for _, p := range t.Parts {
		if p.Evaluated && (not || p.Holds == t.Holds) {
			parts = append(parts, deciding(p)...)
		}
	}
	return parts
}

// compare compares an alert with what is expected of it.
func (t *trial) compare(want expectation, m rules.Match) {
	differs := func(format string, args ...any) {
		t.fail(Failure{Rule: want.rule, Kind: Differs, Text: fmt.Sprintf(format, args...)}, false)
	}
	if want.priority != nil && *want.priority != m.Rule.Priority {
		differs("has priority %s, want %s", m.Rule.Priority, *want.priority)
	}
	if want.text != nil {
		if message := m.Message(); !want.text.MatchString(message) {
			differs("has an output that %q does not match: %s", want.text, message)
		}
	}
	if len(want.fields) == 0 {
		return
	}
	var have map[string]json.RawMessage
	if err := json.Unmarshal(m.AppendFields(nil), &have); err != nil {
		differs("has an output that cannot be read: %v", err)
		return
	}
	got := map[string]printed{}
	for name, value := range have {
		got[plainName(name)] = printValue(value)
	}
	for _, w := range want.fields {
		g, ok := got[plainName(w.name)]
		switch {
		case !ok:
			differs("has no field %s in its output", w.name)
		case w.many && (!g.many || !slices.Equal(g.list, w.list)):
			differs("has %s = %s, want %s", w.name, g.text, asList(w.list))
		case !w.many && g.text != w.want:
			differs("has %s = %s, want %s", w.name, shown(g.text), shown(w.want))
		}
	}
}

// shown puts a text in quotes if one could not see where it ends.
func shown(s string) string {
	if s == "" || strings.TrimSpace(s) != s {
		return fmt.Sprintf("%q", s)
	}
	return s
}

// printed is a value of an output field, as Falco prints it.
type printed struct {
	text string
	list []string
	many bool
}

func asList(values []string) string { return "(" + strings.Join(values, ",") + ")" }

// printValue renders a value that an alert has in its output_fields as the alert's text has it.
func printValue(raw json.RawMessage) printed {
	switch raw = bytes.TrimSpace(raw); {
	case string(raw) == "null":
		return printed{text: absent}
	case len(raw) > 0 && raw[0] == '"':
		var s string
		if json.Unmarshal(raw, &s) == nil {
			return printed{text: s}
		}
	case len(raw) > 0 && raw[0] == '[':
		var elements []json.RawMessage
		if json.Unmarshal(raw, &elements) == nil {
			p := printed{many: true}
			for _, e := range elements {
				p.list = append(p.list, printValue(e).text)
			}
			p.text = asList(p.list)
			return p
		}
	}
	return printed{text: string(raw)}
}

package rules_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kaudit/internal/golden"
	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// An eventLoader loads events one after the other; each is good until the next one is loaded.
type eventLoader struct {
	audit audit.Event
	event extract.Event
	n     uint64
}

func (l *eventLoader) load(t testing.TB, line []byte) rules.Event {
	t.Helper()
	if !l.audit.Load(line) {
		t.Fatalf("broken event: %.80s", line)
	}
	l.event.Reset(&l.audit)
	l.n++
	return rules.Event{Event: &l.event, Number: l.n, Time: l.n * uint64(time.Second)}
}

// A trace has the verdict of the engine, for every rule on every event.
func TestTracesHaveTheVerdictOfTheEngine(t *testing.T) {
	set := shipped(t)
	lines := recordings(t)
	for i := range lines {
		lines = slices.Delete(lines, min(i+1, len(lines)), min(i+7, len(lines)))
	}
	for _, dir := range []string{"fires", "quiet"} {
		files, err := filepath.Glob("../../rules/testdata/*/" + dir + ".jsonl")
		if err != nil || len(files) == 0 {
			t.Fatal("no fixtures: ", err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, bytes.Split(bytes.TrimSpace(text), []byte("\n"))...)
		}
	}
	verdicts, matches := compareTraces(t, set, lines)
	t.Logf("%d verdicts on %d events, %d hold", verdicts, len(lines), matches)
	if matches == 0 {
		t.Error("nothing holds")
	}
}

// compareTraces compares traces with the engine, and checks that each trace agrees with itself.
func compareTraces(t *testing.T, set *rules.Ruleset, lines [][]byte) (verdicts, matches int) {
	t.Helper()
	engine := set.Engine()
	explainers := map[string]*rules.Explainer{}
	for _, r := range set.Rules {
		if r.Enabled && r.Skipped == "" {
			e, err := set.Explainer(r.Name)
			if err != nil {
				t.Fatal(err)
			}
			explainers[r.Name] = e
		}
	}
	var l eventLoader
	for i, line := range lines {
		event := l.load(t, line)
		hold := map[string]bool{}
		for _, m := range engine.Evaluate(event, rules.All) {
			hold[m.Rule.Name] = true
		}
		matches += len(hold)
		for name, e := range explainers {
			trace := e.Explain(event)
			if trace.Holds != hold[name] {
				t.Fatalf("event %d, rule %s: the trace holds: %t, the engine says %t\n%v\n%s", i+1, name, trace.Holds, hold[name], e.Rule().Condition, trace)
			}
			if text := consistent(trace, true); text != "" {
				t.Fatalf("event %d, rule %s: %s\n%s", i+1, name, text, trace)
			}
			verdicts++
		}
	}
	return verdicts, matches
}

// consistent says what is wrong with a trace, if something is.
func consistent(t *rules.Trace, evaluated bool) string {
	if t.Evaluated != evaluated {
		return fmt.Sprintf("%v: evaluated is %t, want %t", t.Expr, t.Evaluated, evaluated)
	}
	if !evaluated && (t.Holds || t.Values != nil) {
		return fmt.Sprintf("%v: there is an answer, and it was not evaluated", t.Expr)
	}
	want := evaluated
	switch x := t.Expr.(type) {
	case *rules.Check:
		if t.Holds && t.Values == nil {
			return fmt.Sprintf("%v holds, and there is no value", t.Expr)
		}
		if t.Left != x.Left.String() {
			return fmt.Sprintf("%v: the left side is %s", t.Expr, t.Left)
		}
		return ""
	case *rules.And:
		for _, part := range t.Parts {
			if text := consistent(part, want); text != "" {
				return text
			}
			want = want && part.Holds
		}
	case *rules.Or:
		holds := false
		for _, part := range t.Parts {
			if text := consistent(part, want && !holds); text != "" {
				return text
			}
			holds = holds || part.Holds
		}
		want = holds
	case *rules.Not:
		if text := consistent(t.Parts[0], want); text != "" {
			return text
		}
		want = want && !t.Parts[0].Holds
	}
	if t.Holds != want {
		return fmt.Sprintf("%v: holds is %t, want %t", t.Expr, t.Holds, want)
	}
	return ""
}

// The same for conditions put together at random from the checks of the shipped rules and from others.
func TestTracesOfRandomConditions(t *testing.T) {
	g := rand.New(rand.NewPCG(1, 2))
	checks := []string{
		"evt.num > 20", "evt.reltime.s > 10", "evt.is_async = false", "ka.code != 200", "ka.sourceips.net in (10.0.0.0/8, 127.0.0.0/8)", "ka.value[/nowhere] exists",
		"tolower(ka.verb) = val(ka.verb)", "ka.user.groups in (a)", "ka.user.groups intersects (system:masters)", "len(ka.user.groups) > 1", `join("-", ka.user.groups) endswith authenticated`,
		"ka.verb != oneof (get, list)", "ka.uri pmatch (/api/v1)", "ka.user.name regex 'system:.*'", "ka.user.groups in ()", "jevt.value[/verb] in (get, list)",
	}
	for _, r := range shipped(t).Rules {
		rules.Walk(r.Condition, func(x rules.Expr) bool {
			if c, ok := x.(*rules.Check); ok && !slices.Contains(checks, c.String()) {
				checks = append(checks, c.String())
			}
			return true
		})
	}
	var build func(depth int) string
	build = func(depth int) string {
		if depth == 0 || g.IntN(4) == 0 {
			return checks[g.IntN(len(checks))]
		}
		if g.IntN(4) == 0 {
			return "not (" + build(depth-1) + ")"
		}
		parts := []string{"(" + build(depth-1) + ")", "(" + build(depth-1) + ")", "(" + build(depth-1) + ")"}
		return strings.Join(parts[:2+g.IntN(2)], []string{" and ", " or "}[g.IntN(2)])
	}
	const conditions = 300
	var items []any
	for i := range conditions {
		item := map[string]any{"condition": build(1 + g.IntN(3)), "macro": fmt.Sprint("m", i)}
		if i%3 > 0 {
			item = map[string]any{
				"rule": fmt.Sprint(i), "desc": "d", "output": "x", "priority": "INFO", "source": rules.Source,
				"condition": "(" + build(1+g.IntN(3)) + ") or m" + fmt.Sprint(i-i%3),
			}
		}
		items = append(items, item)
	}
	text, err := json.Marshal(items)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Read(rules.Options{}, rules.File{Name: "random.yaml", Content: text})
	if err != nil {
		t.Fatal(err)
	}
	var lines [][]byte
	for i, line := range recordings(t) {
		if i%50 == 0 {
			lines = append(lines, line)
		}
	}
	verdicts, matches := compareTraces(t, set, lines)
	t.Logf("%d verdicts of %d conditions of %d checks, %d hold", verdicts, len(set.Rules), len(checks), matches)
}

const traceRules = `
- list: verbs
  items: [create, get, patch, update, delete, deletecollection, list, watch, connect, proxy, approve, sign]
- macro: exec
  condition: ka.verb in (verbs) and ka.target.subresource in (exec, attach)
- macro: pod
  condition: ka.target.resource = pods
- macro: the_pod
  condition: pod
- macro: system
  condition: ka.user.name startswith system or ka.user.groups intersects (system:nodes, "a b")
- macro: not_system
  condition: not system
- rule: Exec
  desc: d
  condition: the_pod and exec and not_system and not ka.dryrun = true and ka.target.namespace exists
  output: x
  priority: INFO
  source: k8s_audit
  enabled: false
- rule: Compared
  desc: d
  condition: tolower(ka.user.name) = val(ka.target.name) or ka.sourceips.net in (10.0.0.0/8) or not (ka.code > 399 and ka.impuser.name exists)
  exceptions:
    - {name: none, fields: ka.verb, values: []}
    - {name: verbs, fields: ka.verb, values: [sign, "a b"]}
    - {name: groups, fields: [ka.user.groups, ka.user.name], comps: [intersects, startswith], values: [[[dev, ops], J], [x, b]]}
  output: x
  priority: INFO
  source: k8s_audit
- {rule: Other, desc: d, condition: evt.type = open, output: x, priority: INFO}
`

func TestTrace(t *testing.T) {
	set, err := rules.Read(rules.Options{}, rules.File{Name: "t.yaml", Content: []byte(traceRules)})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var l eventLoader
	for _, line := range []string{
		`{"auditID":"1","verb":"create","objectRef":{"resource":"pods","subresource":"exec","name":"jane","namespace":"shop"},"user":{"username":"Jane","groups":["dev"]}}`,
		`{"auditID":"2","verb":"create","objectRef":{"resource":"pods","subresource":"attach"},"user":{"username":"bob","groups":["dev","a b","x"]},"sourceIPs":["192.0.2.1","2001:db8::1"],"responseStatus":{"code":403}}`,
		`{"auditID":"3","verb":"get","objectRef":{"resource":"pods","subresource":"log"},"user":{"username":"","groups":[]},"sourceIPs":["10.0.0.1"]}`,
		`{"auditID":"4","verb":"` + strings.Repeat("é", 100) + `","objectRef":{"resource":"pods"},"user":{"username":"\u001b[31mred\u0007"},"responseStatus":{"code":500},"impersonatedUser":{"username":"x"}}`,
	} {
		fmt.Fprintf(&out, "=== %s\n", line)
		for _, rule := range []string{"Exec", "Compared"} {
			trace, err := set.Explain(rule, l.load(t, []byte(line)))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "--- %s\n%s", rule, trace)
		}
	}
	trace, err := set.Explain("Compared", l.load(t, []byte(`{"auditID":"5","user":{"username":"a"},"objectRef":{"name":"b"},"sourceIPs":["10.0.0.1"]}`)))
	if err != nil {
		t.Fatal(err)
	}
	out.WriteString("=== JSON\n")
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(trace); err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/trace.golden", out.String())
}

func TestExplainRefuses(t *testing.T) {
	set, err := rules.Read(rules.Options{}, rules.File{Name: "t.yaml", Content: []byte(traceRules)})
	if err != nil {
		t.Fatal(err)
	}
	var l eventLoader
	event := l.load(t, []byte(`{"auditID":"1"}`))
	for rule, want := range map[string]string{
		"Comparde": `there is no rule "Comparde"; did you mean Compared?`,
		"compared": `there is no rule "compared"; did you mean Compared?`,
		"zzz":      `there is no rule "zzz" among the 3 there are`,
		"ompar":    `there is no rule "ompar"; did you mean Compared?`,
		"Other":    "the rule Other cannot be evaluated: events of source syscall are not evaluated here",
	} {
		if _, err := set.Explain(rule, event); err == nil || err.Error() != want {
			t.Errorf("%s\n got %v\nwant %s", rule, err, want)
		}
	}
}

//go:build linux

package differential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// How many conditions and outputs are generated for each engine.
const (
	generatedConditions = 4000
	generatedOutputs    = 800
)

// seed is where the generators begin. DIFFERENTIAL_SEED sets another, to look for more.
func seed(t *testing.T) uint64 {
	text := os.Getenv("DIFFERENTIAL_SEED")
	if text == "" {
		return 20260101
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal("DIFFERENTIAL_SEED: ", err)
	}
	return n
}

// known are differences between the engines and this one that stay, with the reason. A condition for which one of
// them says yes is not compared.
var known = []struct {
	why string
	is  func(p peer, condition string, mine error) bool
}{
	{
		"before libs 0.24 a word that begins like an operator is half read, and the rest of it taken for another operator",
		func(p peer, c string, _ error) bool { return p.falco < 44 && halfOperator(c) },
	},
	{
		"libs 0.25 accepts a comparison of join, concat or getopt with a field and crashes when it is evaluated; here it is refused",
		func(_ peer, _ string, mine error) bool {
			return mine != nil && strings.Contains(mine.Error(), "the engine would crash")
		},
	},
}

// halfOperator reports whether there is an operator of letters without a blank behind it.
func halfOperator(c string) bool {
	for _, op := range []string{"glob", "iglob", "contains", "icontains", "bcontains", "startswith", "bstartswith", "endswith", "regex"} {
		for rest := c; ; {
			i := strings.Index(rest, op)
			if i < 0 {
				break
			}
			rest = rest[i+len(op):]
			if rest == "" || !strings.ContainsAny(rest[:1], " \t\b\r\n") {
				return true
			}
		}
	}
	return false
}

// A verdict is what an engine thinks of a condition.
type verdict struct {
	accepted bool
	why      string
}

// mine is what pkg/rules thinks of a rule.
func mine(falco rules.Falco, condition, output string) (*rules.Ruleset, error) {
	return rules.Read(rules.Options{Falco: falco}, ruleFile("generated", condition, output))
}

func ruleFile(name, condition, output string) rules.File {
	text, err := json.Marshal([]any{ruleItem(name, condition, output, "INFO")})
	if err != nil {
		panic(err)
	}
	return rules.File{Name: name + ".yaml", Content: text}
}

// check asks an engine which conditions it accepts.
func (p peer) check(t *testing.T, conditions, outputs []string) []verdict {
	t.Helper()
	verdicts := make([]verdict, 0, len(conditions))
	if p.host == nil {
		return p.validate(t, conditions, outputs)
	}
	for chunk := range slices.Chunk(conditions, 500) {
		checks, err := p.host.CheckFilters(t.Context(), plugins(t), chunk...)
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		for _, c := range checks {
			verdicts = append(verdicts, verdict{c.Error == "", c.Error})
		}
	}
	return verdicts
}

// validate has falco validate a file for each rule. All rules have one name, so each takes the place of the one before,
// and a file is judged by its own rule alone.
func (p peer) validate(t *testing.T, conditions, outputs []string) []verdict {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "falco.yaml")
	writeConfig(t, path, plugins(t))
	var files []string
	for i := range conditions {
		f := ruleFile("generated", conditions[i], outputs[i])
		f.Name = filepath.Join(dir, fmt.Sprintf("%05d.yaml", i))
		if err := os.WriteFile(f.Name, f.Content, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, f.Name)
	}
	verdicts := make([]verdict, len(files))
	p.validateFiles(t, path, files, verdicts)
	return verdicts
}

// validateFiles asks falco about files at once, and about fewer if it ends without an answer: what one file does to it
// is that file's verdict.
func (p peer) validateFiles(t *testing.T, config string, files []string, out []verdict) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	results, failed := validate(ctx, p.prog.Path, config, files)
	if len(results) == len(files) {
		for i, r := range results {
			out[i] = verdict{r.Successful, r.why()}
		}
		return
	}
	if len(files) == 1 {
		out[0] = verdict{false, "falco ended: " + failed}
		return
	}
	half := len(files) / 2
	p.validateFiles(t, config, files[:half], out[:half])
	p.validateFiles(t, config, files[half:], out[half:])
}

// someEvents are events that differ from each other: fixtures, a part of the recordings, the examples of the fields,
// and some that nobody sends.
func someEvents(t *testing.T) [][]byte {
	var some [][]byte
	for i, e := range events(t) {
		if i%24 == 0 && len(e) < 1<<14 {
			some = append(some, e)
		}
	}
	for i, f := range extract.Fields() {
		event := strings.TrimPrefix(f.Example.Event, "{")
		if event != "}" {
			event = "," + event
		}
		if i%3 == 0 && !strings.Contains(event, `"auditID"`) {
			some = append(some, []byte(`{"auditID":"ex1","stageTimestamp":"2026-01-01T00:00:01.500000Z"`+event))
		}
	}
	odd := []string{
		`{"auditID":"o1","verb":"","user":{"username":"a\\","groups":["","b",""]},"requestURI":"/a//b/../c?x=1&x=2&y"}`,
		`{"auditID":"o2","verb":"GeT","user":{"username":"é日本\u0000x","groups":["a b","c,d","(e)"]},"objectRef":{"name":"a\nb\tc"}}`,
		`{"auditID":"o3","verb":"Z2V0","user":{"username":"c3lzdGVt","groups":["Z2V0","bGlzdA==","!"]},"sourceIPs":["10.1.2.3","2001:db8::1","::ffff:10.1.2.3","x"]}`,
		`{"auditID":"o4","verb":"get","responseStatus":{"code":18446744073709551615},"stageTimestamp":"2026-03-04T05:06:07.000000001Z"}`,
		`{"auditID":"o5","verb":"` + strings.Repeat("long ", 400) + `","user":{"groups":["` + strings.Repeat(`é","`, 700) + `"]}}`,
		`{"auditID":"o6","verb":null,"user":null,"objectRef":[],"sourceIPs":{},"requestObject":"text","responseObject":7}`,
		`{"auditID":"o7","verb":"-a","user":{"username":"[a]","groups":["-a","-b","--","-c"]},"requestURI":"[a-z]*?"}`,
	}
	for i, o := range odd {
		if !strings.Contains(o, "stageTimestamp") {
			o = strings.TrimSuffix(o, "}") + fmt.Sprintf(`,"stageTimestamp":"2026-02-03T04:05:%02d.%09dZ"}`, i, i*i*i*1001)
		}
		some = append(some, []byte(o))
	}
	return some
}

// valuesOf returns the values each field has in some events, as constants for conditions.
func valuesOf(t *testing.T, events [][]byte) map[string][]string {
	t.Helper()
	g := newGenerator(1, rules.Newest, nil)
	var b strings.Builder
	for _, f := range g.fields {
		b.WriteString("%" + f.text + "\x1f")
	}
	set, err := mine(rules.Newest, "evt.num exists", b.String())
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]string{}
	for _, m := range ours(t, set, events, rules.All) {
		for i, v := range strings.Split(strings.TrimSuffix(m.Output, "\x1f"), "\x1f") {
			f := g.fields[i]
			list := []string{v}
			if f.list {
				list = strings.Split(strings.Trim(v, "()"), ",")
			}
			for _, v := range list {
				if v != "<NA>" && len(v) < 200 && !slices.Contains(values[f.text], v) && len(values[f.text]) < 12 {
					values[f.text] = append(values[f.text], v)
				}
			}
		}
	}
	return values
}

// accepted compares what two engines accept, and returns which conditions both do.
func accepted(t *testing.T, p peer, conditions, outputs []string) []int {
	t.Helper()
	var both []int
	differences, refused, excluded := 0, 0, 0
	for i, v := range p.check(t, conditions, outputs) {
		_, err := mine(p.falco, conditions[i], outputs[i])
		excused := false
		for _, k := range known {
			excused = excused || k.is(p, conditions[i], err)
		}
		if excused {
			excluded++
			continue
		}
		switch {
		case v.accepted && err == nil:
			both = append(both, i)
		case !v.accepted && err != nil:
			refused++
			checkPlace(t, conditions[i], err)
		default:
			if differences++; differences <= 25 {
				t.Errorf("%s: accepted is %t (%s), and here %t (%v)\n%s\n%q", p.name, v.accepted, v.why, err == nil, err, conditions[i], outputs[i])
			}
		}
	}
	t.Logf("%d conditions: %d accepted and %d refused by both, %d excluded by the table of known differences, %d differences", len(conditions), len(both), refused, excluded, differences)
	return both
}

// checkPlace checks that an error says where it is.
func checkPlace(t *testing.T, condition string, err error) {
	t.Helper()
	load := (*rules.LoadError)(nil)
	if !errors.As(err, &load) || load.Problems[0].Pos.Line != 1 || load.Problems[0].Pos.Column < 1 {
		t.Errorf("%q: no position in %v", condition, err)
	}
}

func TestGeneratedConditions(t *testing.T) {
	events := someEvents(t)
	file := e2e.WriteLines(t, events)
	values := valuesOf(t, events)
	for _, p := range peers(t) {
		t.Run(p.name, func(t *testing.T) {
			g := newGenerator(seed(t)<<8+uint64(p.falco), p.falco, values)
			var conditions, outputs []string
			for range generatedConditions {
				conditions = append(conditions, strings.ToValidUTF8(g.condition(), "?"))
				outputs = append(outputs, "x")
			}
			both := accepted(t, p, conditions, outputs)
			verdicts(t, p, conditions, outputs, both, events, file)
		})
	}
}

// verdicts compares what rules find in events.
func verdicts(t *testing.T, p peer, conditions, outputs []string, which []int, events [][]byte, file string) {
	t.Helper()
	var list []engine.Rule
	var items []any
	for _, i := range which {
		name := fmt.Sprintf("%d: %s %s", i, conditions[i], outputs[i])
		output := outputs[i]
		if p.host != nil { // which takes them as they are, with an asterisk before them
			output = strings.TrimPrefix(strings.Trim(output, " \t\n\v\f\r"), "*")
		}
		list = append(list, engine.Rule{Name: name, Condition: conditions[i], Output: output, Priority: "INFO"})
		items = append(items, ruleItem(name, conditions[i], outputs[i], "INFO"))
	}
	text, err := json.Marshal(items)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Read(rules.Options{Falco: p.falco}, rules.File{Name: "generated.yaml", Content: text})
	if err != nil {
		t.Fatal(err)
	}
	want := p.run(t, list, file, false)
	for i := range want { // the host has it as it was given
		want[i].Priority = "Informational"
	}
	n := compare(t, p, ours(t, set, p.all(t, events), rules.All), want)
	t.Logf("%d verdicts of %d conditions on %d events; %d hold", len(which)*len(events), len(which), len(events), n)
}

func TestGeneratedOutputs(t *testing.T) {
	events := someEvents(t)
	for _, p := range peers(t) {
		t.Run(p.name, func(t *testing.T) {
			g := newGenerator(seed(t)<<8+100+uint64(p.falco), p.falco, nil)
			var conditions, outputs []string
			for range generatedOutputs {
				output := g.output()
				if p.host != nil && !plainOutput(output) {
					continue
				}
				conditions = append(conditions, "evt.num exists")
				outputs = append(outputs, output)
			}
			var both []int
			if p.host != nil { // it loads all rules or none
				for i := range outputs {
					if _, err := mine(p.falco, conditions[i], outputs[i]); err == nil {
						both = append(both, i)
					}
				}
			} else {
				both = accepted(t, p, conditions, outputs)
			}
			few := events[:min(60, len(events))]
			few = append(slices.Clip(few), events[len(events)-7:]...)
			verdicts(t, p, conditions, outputs, both, few, e2e.WriteLines(t, few))
		})
	}
}

// plainOutput reports whether an output has only what engines before libs 0.24 read as later ones do. They take
// brackets that follow a field for its argument, as it stands, with quotes.
func plainOutput(s string) bool { return !strings.ContainsAny(s, `"'`) }

// regressions are conditions on which the engines and this one once differed.
func TestRegressions(t *testing.T) {
	text, err := os.ReadFile("testdata/regressions.txt")
	if err != nil {
		t.Fatal(err)
	}
	var conditions, outputs []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		var c string
		if json.Unmarshal([]byte(line), &c) != nil {
			c = line
		}
		conditions = append(conditions, c)
		outputs = append(outputs, "x")
	}
	events := someEvents(t)
	file := e2e.WriteLines(t, events)
	for _, p := range peers(t) {
		t.Run(p.name, func(t *testing.T) {
			verdicts(t, p, conditions, outputs, accepted(t, p, conditions, outputs), events, file)
		})
	}
}

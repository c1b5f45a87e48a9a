package convert_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaudit/internal/convert"
	"kaudit/internal/golden"
	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
)

var original = flag.String("rules", "testdata/before.yaml", "the rules that are converted and compared")

func TestFiles(t *testing.T) {
	for name, test := range map[string]struct {
		before, after string
		notes         []string
	}{
		"a field that has its own name here": {
			before: "- macro: m\n  condition: jevt.value[/stage]=Panic # why\n",
			after:  "- macro: m\n  condition: ka.stage=Panic # why\n",
		},
		"any other value keeps its argument": {
			before: "- macro: m\n  condition: json.value[\"/metadata/a b\"] exists or jevt.value[x/0] = 1\n",
			after:  "- macro: m\n  condition: ka.value[\"/metadata/a b\"] exists or ka.value[x/0] = 1\n",
		},
		"texts and comments stay": {
			before: "# jevt.value[/stage]\n- rule: r\n  desc: jevt.value[/stage]\n  condition: ka.verb = \"jevt.value[/stage]\"\n  output: jevt.value[/stage] is %ka.stage\n",
			after:  "# jevt.value[/stage]\n- rule: r\n  desc: jevt.value[/stage]\n  condition: ka.verb = \"jevt.value[/stage]\"\n  output: jevt.value[/stage] is %ka.stage\n",
		},
		"an output in quotes, with width and transformer": {
			before: "- rule: r\n  output: \"a %10jevt.value[/verb] %toupper(json.value[/verb])\\n%jevt.rawtime\"\n",
			after:  "- rule: r\n  output: \"a %10ka.verb %toupper(ka.verb)\\n%evt.rawtime\"\n",
		},
		"the time as a number": {
			before: "- macro: m\n  condition: jevt.rawtime exists and jevt.rawtime=0 and not json.rawtime in (1, 2)\n",
			after:  "- macro: m\n  condition: evt.rawtime exists and evt.rawtime=0 and not evt.rawtime in (1, 2)\n",
		},
		"the time as a text has no equivalent": {
			before: "- macro: m\n  condition: jevt.rawtime startswith 17\n",
			after:  "- macro: m\n  condition: jevt.rawtime startswith 17\n",
			notes:  []string{"2:14 jevt.rawtime: evt.rawtime is a number, and startswith compares the json plugin's as a text; compare evt.rawtime, which is a number; left"},
		},
		"the whole event is printed on one line": {
			before: "- rule: r\n  output: x %jevt.obj\n  condition: json.obj contains x\n",
			after:  "- rule: r\n  output: x %evt.plugininfo\n  condition: json.obj contains x\n",
			notes: []string{
				"2:14 jevt.obj: evt.plugininfo prints the event as it came, on one line; ; changed",
				"3:14 json.obj: no field compares the whole event with the white space the json plugin puts into it; ask for the part that matters: ka.value[/requestObject/spec]; left",
			},
		},
		"an index that is none here": {
			before: "- macro: m\n  condition: jevt.value[/a/00] exists\n",
			after:  "- macro: m\n  condition: jevt.value[/a/00] exists\n",
			notes:  []string{"2:14 jevt.value[/a/00]: to the json plugin 00 may be an index, and to this one it is a key; write the index without sign and leading zeros; left"},
		},
		"what is appended begins with and": {
			before: "- rule: r\n  condition: and not (jevt.value[/verb] = get)\n  override:\n    condition: append\n",
			after:  "- rule: r\n  condition: and not (ka.verb = get)\n  override:\n    condition: append\n",
		},
		"what cannot be read is left": {
			before: "- macro: m\n  condition: (jevt.value[/verb] =\n",
			after:  "- macro: m\n  condition: (jevt.value[/verb] =\n",
			notes:  []string{"2:14 : the condition cannot be read; kaudit check says why; left"},
		},
		"escapes of YAML": {
			before: "- macro: m\n  condition: \"jevt.value[\\x2fverb] exists\\n and jevt.value[/verb]=get\"\n",
			after:  "- macro: m\n  condition: \"jevt.value[\\x2fverb] exists\\n and jevt.value[/verb]=get\"\n",
			notes: []string{
				"2:15 jevt.value[/verb]: it is written with escapes of YAML; write ka.verb for it; left",
				"2:31 jevt.value[/verb]: it is written with escapes of YAML; write ka.verb for it; left",
			},
		},
		"json is no longer required": {
			before: "- required_plugin_versions:\n  - name: k8saudit\n    version: 0.18.0\n  - name: json # for jevt\n    version: 0.7.0\n\n# next\n- macro: m\n  condition: jevt.value[/stage]=x\n",
			after:  "- required_plugin_versions:\n  - name: k8saudit\n    version: 0.18.0\n\n# next\n- macro: m\n  condition: ka.stage=x\n",
		},
		"nothing else was required": {
			before: "- required_plugin_versions:\n    - name: json\n      version: 0.7.0\n- macro: m\n  condition: jevt.value[/stage]=x\n",
			after:  "- macro: m\n  condition: ka.stage=x\n",
		},
		"this plugin is required where only it has the field": {
			before: "- required_plugin_versions:\n    - name: json\n      version: 0.7.0\n    - name: k8saudit\n      version: 0.18.0\n      alternatives:\n        - name: k8saudit-eks\n          version: 0.12.0\n- macro: m\n  condition: jevt.value[/a]=x",
			after:  "- required_plugin_versions:\n    - name: k8saudit\n      version: 0.100.0\n- macro: m\n  condition: ka.value[/a]=x",
		},
		"a requirement on one line is left to the reader": {
			before: "- required_plugin_versions: [{name: k8saudit, version: 0.18.0}, {name: json, version: 0.7.0}]\n",
			after:  "- required_plugin_versions: [{name: k8saudit, version: 0.18.0}, {name: json, version: 0.7.0}]\n",
			notes:  []string{"1:65 : the json plugin is no longer needed; take it out by hand; changed"},
		},
		"json stays required while it is needed": {
			before: "- required_plugin_versions:\n    - name: json\n      version: 0.7.0\n- macro: m\n  condition: jevt.obj contains x and jevt.value[/verb]=get\n",
			after:  "- required_plugin_versions:\n    - name: json\n      version: 0.7.0\n- macro: m\n  condition: jevt.obj contains x and ka.verb=get\n",
			notes:  []string{"5:14 jevt.obj: no field compares the whole event with the white space the json plugin puts into it; ask for the part that matters: ka.value[/requestObject/spec]; left"},
		},
		"an anchor is edited once": {
			before: "- rule: a\n  condition: &c jevt.value[/verb]=get\n- rule: b\n  condition: *c\n",
			after:  "- rule: a\n  condition: &c ka.verb=get\n- rule: b\n  condition: *c\n",
		},
		"line ends of Windows": {
			before: "- rule: a\r\n  condition: >\r\n    jevt.value[/verb]=get\r\n    and jevt.value[/x]=y\r\n",
			after:  "- rule: a\r\n  condition: >\r\n    ka.verb=get\r\n    and ka.value[/x]=y\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := converted(t, []byte(test.before))
			if diff := cmp.Diff(test.after, string(got.After)); diff != "" {
				t.Error(diff)
			}
			var notes []string
			for _, n := range got.Notes {
				what := "changed"
				if n.Left {
					what = "left"
				}
				notes = append(notes, fmt.Sprintf("%d:%d %s: %s; %s; %s", n.Pos.Line, n.Pos.Column, n.Field, n.Text, n.Hint, what))
			}
			if diff := cmp.Diff(test.notes, notes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func converted(t testing.TB, content []byte) *convert.Result {
	t.Helper()
	results, err := convert.Files(rules.File{Name: "rules.yaml", Content: content})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

func TestDiff(t *testing.T) {
	before, err := os.ReadFile("testdata/before.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "testdata/diff.golden", converted(t, before).Diff())
}

func TestWhatIsNotYAMLIsAnError(t *testing.T) {
	_, err := convert.Files(rules.File{Name: "a.yaml", Content: []byte("- macro: [\n")})
	if err == nil || !strings.Contains(err.Error(), "a.yaml:") {
		t.Errorf("got %v", err)
	}
}

// both are a ruleset and what convert made of it, without the requirement of plugins.
func both(t testing.TB, content []byte) (before, after *rules.Ruleset) {
	t.Helper()
	load := func(content []byte) *rules.Ruleset {
		set, err := rules.Read(rules.Options{}, rules.File{Name: "rules.yaml", Content: content})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	result := converted(t, content)
	if result.Left() > 0 {
		t.Errorf("left: %v", result.Notes)
	}
	if strings.Contains(strings.Join(fieldsOf(load(result.After)), " "), "jevt.") {
		t.Error("there are fields of the json plugin left")
	}
	return load(content), load(result.After)
}

func fieldsOf(set *rules.Ruleset) (all []string) {
	for _, r := range set.Rules {
		all = append(append(all, r.Fields...), r.OutputFields...)
	}
	return all
}

// An alert is what two rulesets must agree on.
type alert struct {
	Output string
	Rule   string
	Fields map[string]any
}

func TestConvertedRulesGiveTheSameAlerts(t *testing.T) {
	content, err := os.ReadFile(*original)
	if err != nil {
		t.Fatal(err)
	}
	before, after := both(t, content)
	engines := []*rules.Engine{before.Engine(), after.Engine()}
	events, alerts, values := 0, 0, 0
	fired := map[string]int{}
	eachEvent(t, func(e rules.Event) {
		events++
		var got [2][]alert
		for i, engine := range engines {
			for _, m := range engine.Evaluate(e, rules.All) {
				a := alert{Rule: m.Rule.Name, Output: m.Message(), Fields: map[string]any{}}
				if err := json.Unmarshal(m.AppendFields(nil), &a.Fields); err != nil {
					t.Fatal(err)
				}
				got[i] = append(got[i], a)
			}
		}
		for i, a := range got[0] {
			if i >= len(got[1]) || got[1][i].Rule != a.Rule {
				t.Fatalf("event %d: the original rules give %v, the converted ones %v", e.Number, names(got[0]), names(got[1]))
			}
			b := got[1][i]
			alerts++
			fired[a.Rule]++
			if strings.Contains(ruleOf(before, a.Rule).Output, ".obj") {
				continue // its white space is not the same
			}
			if a.Output != b.Output {
				t.Fatalf("event %d: %s printed\n%s\nand prints\n%s", e.Number, a.Rule, a.Output, b.Output)
			}
			for name, v := range a.Fields {
				if _, same := b.Fields[name]; same {
					values++
					if !reflect.DeepEqual(v, b.Fields[name]) {
						t.Fatalf("event %d: %s: %s was %v and is %v", e.Number, a.Rule, name, v, b.Fields[name])
					}
				}
			}
		}
		if len(got[0]) != len(got[1]) {
			t.Fatalf("event %d: the original rules give %v, the converted ones %v", e.Number, names(got[0]), names(got[1]))
		}
	})
	if *original == "testdata/before.yaml" {
		for _, r := range before.Rules {
			if fired[r.Name] == 0 {
				t.Errorf("%s never fired", r.Name)
			}
		}
	}
	t.Logf("%d events, %d alerts of %d rules, %d fields of the same name", events, alerts, len(fired), values)
}

func names(alerts []alert) (all []string) {
	for _, a := range alerts {
		all = append(all, a.Rule)
	}
	return all
}

func ruleOf(set *rules.Ruleset, name string) *rules.Rule {
	r, _ := set.Rule(name)
	return r
}

// TestNamedFieldsAreTheValues compares each field that has a name here with the value the json plugin finds.
func TestNamedFieldsAreTheValues(t *testing.T) {
	var text strings.Builder
	pointers := convert.Pointers()
	for i, p := range pointers {
		fmt.Fprintf(&text, "- rule: r%d\n  desc: d\n  condition: jevt.value[%s] exists\n  output: \"%%jevt.value[%s]\"\n  priority: INFO\n  source: k8s_audit\n", i, p, p)
	}
	before, after := both(t, []byte(text.String()))
	engines := []*rules.Engine{before.Engine(), after.Engine()}
	found := map[string]bool{}
	eachEvent(t, func(e rules.Event) {
		var got [2][]string
		for i, engine := range engines {
			for _, m := range engine.Evaluate(e, rules.All) {
				got[i] = append(got[i], m.Rule.Name+" "+m.Message())
				found[m.Rule.Name] = true
			}
		}
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			t.Fatalf("event %d: %s", e.Number, diff)
		}
	})
	for i, p := range pointers {
		if !found[fmt.Sprintf("r%d", i)] {
			t.Logf("no recorded event has %s", p)
		}
	}
	if len(found)*4 < len(pointers)*3 {
		t.Errorf("recorded events have only %d of %d fields", len(found), len(pointers))
	}
}

// eachEvent calls visit for every event of the recordings.
func eachEvent(t *testing.T, visit func(rules.Event)) {
	t.Helper()
	files, err := filepath.Glob("../../testdata/recordings/*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings", err)
	}
	h := &handler{visit: visit}
	for i, name := range files {
		if testing.Short() && i > 0 {
			return
		}
		for _, line := range e2e.Lines(t, name) {
			new(audit.Decoder).Decode(line, true, h)
		}
	}
}

type handler struct {
	visit func(rules.Event)
	n     uint64
	event extract.Event
}

func (h *handler) Event(e *audit.Event, stamp time.Time, _ audit.Marks) {
	h.n++
	h.event.Reset(e)
	h.visit(rules.Event{Event: &h.event, Number: h.n, Time: uint64(stamp.UnixNano())})
}

func (h *handler) Rejected(audit.Reason, int, int) {}

func FuzzFiles(f *testing.F) {
	if b, err := os.ReadFile("testdata/before.yaml"); err == nil {
		f.Add(b)
	}
	f.Add([]byte("- rule: r\n  condition: jevt.value[/a] = x\n  output: '%jevt.value[\"a]b\"] %jevt.obj %toupper(jevt.value[/verb])'\n"))
	f.Add([]byte("- macro: m\n  condition: \"(jevt.rawtime=0\\n or json.value[\\x2f] in (a))\"\n- required_plugin_versions:\n  - {name: json, version: 0.7.0}\n"))
	f.Add([]byte("- &a\n  macro: m\n  condition: >-\n\n    jevt.value[/stage]=a and\n      jevt.value[/00]=b\n---\n- *a\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		results, err := convert.Files(rules.File{Name: "a.yaml", Content: content})
		if err != nil {
			return
		}
		r := results[0]
		r.Diff()
		before, err := rules.Read(rules.Options{}, rules.File{Name: "a.yaml", Content: content})
		if err != nil {
			return
		}
		after, err := rules.Read(rules.Options{}, rules.File{Name: "a.yaml", Content: r.After})
		if err != nil {
			t.Fatalf("%q is not\n%q\n%v", content, r.After, err)
		}
		if len(before.Rules) != len(after.Rules) || len(before.Macros) != len(after.Macros) || len(before.Lists) != len(after.Lists) {
			t.Fatalf("%q is not\n%q", content, r.After)
		}
	})
}

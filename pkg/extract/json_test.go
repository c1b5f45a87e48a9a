package extract_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
)

const stamp = 1_700_000_000_000_000_000

// The fields of Falco's json plugin, by the numbers it has given them.
func TestJSONFields(t *testing.T) {
	table := extract.JSONFields()
	for id, name := range []string{"json.value", "json.obj", "json.rawtime", "jevt.value", "jevt.obj", "jevt.rawtime"} {
		f := table[id]
		if f.Name != name || f.From.Type != extract.Text || f.From.List || (f.Arg == extract.RequiredKey) != strings.HasSuffix(name, ".value") {
			t.Errorf("number %d is %+v, want %s", id, f, name)
		}
		q := ask(t, table, f.Name, f.Example.Arg)
		var e extract.Event
		var v extract.Value
		if !e.ResetJSON([]byte(f.Example.Event), stamp) {
			t.Fatalf("the example is not JSON: %s", f.Example.Event)
		}
		q.Answer(&e, &v)
		if got := shown(&f, &v); got != f.Example.Want {
			t.Errorf("%s on %s\n got %s\nwant %s", name, f.Example.Event, got, f.Example.Want)
		}
		e.Forget()
		v.Reset()
		if q.Answer(&e, &v); shown(&f, &v) != f.Example.Want {
			t.Errorf("%s has no value any more", name)
		}
		v.Reset()
		if e.ResetJSON([]byte("no JSON"), stamp); e.Stamp != stamp {
			t.Errorf("the stamp is %d", e.Stamp)
		}
		if q.Answer(&e, &v); v.Len() > 0 {
			t.Errorf("%s is %s where there is no JSON", name, shown(&f, &v))
		}
	}
	if len(table) != 6 {
		t.Errorf("%d fields", len(table))
	}
}

// They are asked of audit events as well, with what was added to these on the way.
func TestJSONFieldsOfAnAuditEvent(t *testing.T) {
	var a audit.Event
	var e extract.Event
	var v extract.Value
	for _, verb := range []string{"get", "list"} {
		a.Load([]byte(`{"auditID":"1","verb":"` + verb + `"}`))
		a.Tag([]byte(`{"cluster":"prod"}`))
		e.Reset(&a)
		e.Stamp = stamp
		for field, want := range map[string]string{"/verb": verb, "/kaudit/cluster": "prod"} {
			q := ask(t, extract.JSONFields(), "jevt.value", field)
			v.Reset()
			if q.Answer(&e, &v); v.Len() != 1 || string(v.Text(0)) != want {
				t.Errorf("%s: %d values, want %s", field, v.Len(), want)
			}
		}
	}
	q := ask(t, extract.JSONFields(), "jevt.rawtime", "")
	v.Reset()
	if q.Answer(&e, &v); string(v.Text(0)) != "1700000000000000000" {
		t.Errorf("the time is %s", v.Text(0))
	}
}

func TestJSONFieldsDoNotAllocate(t *testing.T) {
	raw := withID(`{"verb":"get","requestObject":{"spec":{"a":[1, 2]}}}`)
	for _, arg := range []string{"/verb", "/requestObject"} {
		q := ask(t, extract.JSONFields(), "jevt.value", arg)
		var e extract.Event
		var v extract.Value
		if n := testing.AllocsPerRun(20, func() {
			e.ResetJSON(raw, stamp)
			v.Reset()
			q.Answer(&e, &v)
		}); n > 0 || v.Len() != 1 {
			t.Errorf("%s: %v allocations, %d values", arg, n, v.Len())
		}
	}
}

// TestJSONFieldsAnswerAsTheOfficialPlugin holds the fields to what Falco's json plugin 0.7.4 answered inside libsinsp, which
// test/e2e/differential asks and writes down: one event a line, with answers by question, null for none. Where ours
// is another, the line has that, too, and why.
func TestJSONFieldsAnswerAsTheOfficialPlugin(t *testing.T) {
	file, err := os.ReadFile("testdata/json-plugin.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(file) {
		var row struct {
			Event          string
			Official, Ours map[string]*string
			Why            string
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if (len(row.Ours) > 0) != (row.Why != "") {
			t.Errorf("%.200s: what differs and why do not go together", row.Event)
		}
		var e extract.Event
		e.ResetJSON([]byte(row.Event), stamp)
		for question, want := range row.Official {
			if ours, differs := row.Ours[question]; differs {
				want = ours
			}
			field, arg, _ := strings.Cut(strings.TrimSuffix(question, "]"), "[")
			q := ask(t, extract.JSONFields(), field, arg)
			var v extract.Value
			q.Answer(&e, &v)
			switch {
			case v.Len() == 0 && want != nil:
				t.Errorf("%.200s\n%s: nothing, want %s", row.Event, question, *want)
			case v.Len() > 0 && want == nil:
				t.Errorf("%.200s\n%s: got %s, want nothing", row.Event, question, v.Text(0))
			case v.Len() > 0 && string(v.Text(0)) != *want:
				t.Errorf("%.200s\n%s: got %s, want %s", row.Event, question, v.Text(0), *want)
			}
			n++
		}
	}
	if n < 300 {
		t.Errorf("only %d answers", n)
	}
}

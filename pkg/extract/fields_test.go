package extract_test

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
)

// shown renders a value as the host prints it: lists in parentheses, what does not exist as <NA>.
func shown(f *extract.Field, v *extract.Value) string {
	var list []string
	switch f.From.Type {
	case extract.Text:
		for i := range v.Len() {
			list = append(list, string(v.Text(i)))
		}
	case extract.Network:
		for i := range v.Len() {
			ip, _ := netip.AddrFromSlice(v.Text(i))
			list = append(list, ip.String())
		}
	case extract.Bool:
		for _, n := range v.Numbers() {
			list = append(list, strconv.FormatBool(n == 1))
		}
	default:
		for _, n := range v.Numbers() {
			list = append(list, strconv.FormatUint(n, 10))
		}
	}
	switch {
	case len(list) == 0:
		return "<NA>"
	case f.From.List:
		return "(" + strings.Join(list, ",") + ")"
	}
	return list[0]
}

// withID adds an audit ID to an event fragment, so that it is an audit event, unless it is a notice.
func withID(fragment string) []byte {
	if strings.Contains(fragment, `"auditID"`) || strings.Contains(fragment, `"kind":"Notice"`) {
		return []byte(fragment)
	}
	rest := strings.TrimPrefix(fragment, "{")
	if rest != "}" {
		rest = "," + rest
	}
	return []byte(`{"auditID":"ex1"` + rest)
}

func ask(t *testing.T, table extract.Table, name, arg string) extract.Question {
	t.Helper()
	id, ok := table.Find(name)
	if !ok {
		t.Fatalf("no field %s", name)
	}
	a, err := table[id].ParseArg(arg, arg != "" || table[id].Arg == extract.RequiredKey)
	if err != nil {
		t.Fatal(err)
	}
	q, err := table.Ask(id, a)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestEveryExampleHolds(t *testing.T) {
	table := extract.Fields()
	for _, f := range table {
		t.Run(f.Name, func(t *testing.T) {
			q := ask(t, table, f.Name, f.Example.Arg)
			var a audit.Event
			if !a.Load(withID(f.Example.Event)) {
				t.Fatalf("the example is not JSON: %s", f.Example.Event)
			}
			var e extract.Event
			var v extract.Value
			e.Reset(&a)
			q.Answer(&e, &v)
			if got := shown(&f, &v); got != f.Example.Want {
				t.Errorf("on %s\n got %s\nwant %s", f.Example.Event, got, f.Example.Want)
			}
		})
	}
}

func TestEveryRowIsWhole(t *testing.T) {
	table := extract.Fields()
	seen := map[string]bool{}
	for _, f := range table {
		switch {
		case seen[f.Name]:
			t.Errorf("%s is there twice", f.Name)
		case !strings.HasPrefix(f.Name, "ka."):
			t.Errorf("%s does not begin with ka.", f.Name)
		case !strings.HasSuffix(f.Doc, "."):
			t.Errorf("%s: the doc is not a sentence: %q", f.Name, f.Doc)
		case (f.Arg == extract.NoArg) != (f.ArgDoc == ""):
			t.Errorf("%s: argument and its doc do not go together", f.Name)
		case f.Example.Event == "" || f.Example.Want == "" || f.Example.Want == "<NA>":
			t.Errorf("%s has no example, or one that shows nothing", f.Name)
		}
		seen[f.Name] = true
	}
	t.Logf("%d fields", len(table))
}

func TestFieldsDoNotAllocate(t *testing.T) {
	// These decode base64, PEM and ASN.1, of requests that are rare.
	waived := map[string]bool{"ka.csr.subject": true, "ka.csr.subject.name": true, "ka.csr.subject.groups": true, "ka.data.credentials": true}
	table := extract.Fields()
	for _, f := range table {
		if waived[f.Name] {
			continue
		}
		q := ask(t, table, f.Name, f.Example.Arg)
		var a audit.Event
		var e extract.Event
		var v extract.Value
		raw := withID(f.Example.Event)
		if n := testing.AllocsPerRun(20, func() {
			a.Load(raw)
			e.Reset(&a)
			v.Reset()
			q.Answer(&e, &v)
		}); n > 0 {
			t.Errorf("%s allocates %v times an event", f.Name, n)
		}
	}
}

func BenchmarkFields(b *testing.B) {
	table := extract.Fields()
	for _, f := range table {
		b.Run(f.Name, func(b *testing.B) {
			id, _ := table.Find(f.Name)
			arg, _ := f.ParseArg(f.Example.Arg, f.Example.Arg != "" || f.Arg == extract.RequiredKey)
			q, _ := table.Ask(id, arg)
			var a audit.Event
			var e extract.Event
			var v extract.Value
			a.Load(withID(f.Example.Event))
			b.ReportAllocs()
			for b.Loop() {
				e.Reset(&a)
				v.Reset()
				q.Answer(&e, &v)
			}
		})
	}
}

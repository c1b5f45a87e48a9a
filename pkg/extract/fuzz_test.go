package extract_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
)

// questions makes every question of the table that takes the argument, and those of the examples.
func questions(table extract.Table, arg string) (list []extract.Question) {
	for id, f := range table {
		args := []string{f.Example.Arg}
		if f.Arg != extract.NoArg {
			args = append(args, arg)
		}
		if f.Arg == extract.OptionalIndex {
			args = append(args, "0", "1")
		}
		for i, s := range args {
			a, err := f.ParseArg(s, f.Arg == extract.RequiredKey || s != "" || i > 0)
			if err != nil {
				continue
			}
			q, _ := table.Ask(id, a)
			list = append(list, q) // also what is refused: it has no answer
		}
	}
	return list
}

// answer returns the values of a question in one piece.
func answer(q *extract.Question, e *extract.Event, v *extract.Value) (string, []string) {
	v.Reset()
	q.Answer(e, v)
	var texts []string
	for i := range v.Len() - len(v.Numbers()) {
		texts = append(texts, string(v.Text(i)))
	}
	var b strings.Builder
	for _, s := range texts {
		b.WriteString(s)
		b.WriteByte(0)
	}
	for _, n := range v.Numbers() {
		b.WriteString(string(rune('a'+n%26)) + "#")
	}
	return b.String(), texts
}

func FuzzExtract(f *testing.F) {
	table := extract.Fields()
	for _, name := range []string{"ka.req.pod.containers.image", "ka.pod.hostpath.under", "ka.role.grants", "ka.binding.self", "ka.exec.args", "ka.patch.paths", "ka.csr.subject", "ka.data.credentials", "ka.containers.kind", "ka.sourceips.in", "ka.proxy.path", "ka.admission.mutated_by"} {
		id, _ := table.Find(name)
		f.Add(withID(table[id].Example.Event), table[id].Example.Arg)
	}
	f.Add([]byte(`{"auditID":"a","verb":"patch","objectRef":{"resource":"pods"},"requestObject":[{"op":"add","path":"/spec/containers/-","value":{"image":"a@b","securityContext":{"privileged":true}}},{"op":"replace","path":"/spec/hostPID","value":true}]}`), "/spec")
	f.Add([]byte(`{"auditID":"a","verb":"patch","objectRef":{"resource":"cronjobs","apiGroup":"batch"},"requestObject":{"spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"name":"\u0000","$patch":"delete"},null,[],{"env":[{"name":"x","valueFrom":{}}]}]}}}}}}}`), "7")
	f.Add([]byte("{\"auditID\":\"\xff\",\"requestURI\":\"/a?%00=%zz&b;c&d=%e4\",\"sourceIPs\":[\"::ffff:10.0.0.1\",\"x\",7,null,\"fe80::1%eth0\"],\"user\":{\"username\":\"system:serviceaccount::\",\"groups\":[1,null]}}"), "10.0.0.0/8")
	f.Fuzz(func(t *testing.T, raw []byte, arg string) {
		var a audit.Event
		if len(raw) > 1<<14 || len(arg) > 1<<10 || !a.Load(raw) {
			return
		}
		list := questions(table, arg)
		var e extract.Event
		var v extract.Value
		e.Reset(&a)
		before := make([]string, len(list))
		for i := range list {
			q := &list[i]
			all, texts := answer(q, &e, &v)
			before[i] = all
			switch {
			case !q.Field.From.List && v.Len() > 1:
				t.Fatalf("%s: %d values", q.Field.Name, v.Len())
			case v.Len() > 0 && (q.Field.From.Type == extract.Text || q.Field.From.Type == extract.Network) != (len(v.Numbers()) == 0):
				t.Fatalf("%s: of another type", q.Field.Name)
			case q.Field.From.Type == extract.Text:
				if err := sound(texts, q.Field.From.List); err != nil {
					t.Fatalf("%s: %v", q.Field.Name, err)
				}
			case q.Field.From.Type == extract.Bool && slices.Max(append(v.Numbers(), 0)) > 1:
				t.Fatalf("%s: %v", q.Field.Name, v.Numbers())
			case v.Len() > 0 && !a.IsAudit():
				t.Fatalf("%s: a value of what is no audit event", q.Field.Name)
			}
			if again, _ := answer(q, &e, &v); again != all {
				t.Fatalf("%s: first %q, then %q", q.Field.Name, all, again)
			}
		}
		// What was asked before does not matter: ask of the event anew, last question first.
		var b audit.Event
		b.Load(bytes.Clone(raw))
		e.Reset(&b)
		for i := len(list) - 1; i >= 0; i-- {
			if got, _ := answer(&list[i], &e, &v); got != before[i] {
				t.Fatalf("%s: %q, and in another order %q", list[i].Field.Name, before[i], got)
			}
		}
	})
}

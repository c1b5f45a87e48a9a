package extract_test

import (
	"strings"
	"testing"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
)

// A notice has no field of audit events, not even those that every audit event has, and the other way round.
func TestFieldsAreOfOneKind(t *testing.T) {
	const members = `"kind":"Notice","apiVersion":"kaudit/v1","name":"events_lost","source":"s","cluster":"c","count":1,"message":"m","verb":"get","stage":"ResponseComplete",` +
		`"user":{"username":"u","groups":["g"]},"requestURI":"/api?x=y","objectRef":{"resource":"pods"},"sourceIPs":["1.2.3.4"],"requestObject":{"kind":"Pod"}`
	table := extract.Fields()
	for _, tt := range []struct {
		event         string
		notice, audit bool // which fields may be there
	}{
		{`{` + members + `}`, true, false},
		{`{"auditID":"1",` + members + `}`, false, true},
		{`{"verb":"get"}`, false, false},
	} {
		var a audit.Event
		if !a.Load([]byte(tt.event)) {
			t.Fatal("not JSON: ", tt.event)
		}
		var e extract.Event
		e.Reset(&a)
		there := map[bool]int{}
		for _, f := range table {
			ofNotice := f.Name == "ka.notice" || strings.HasPrefix(f.Name, "ka.notice.")
			q := ask(t, table, f.Name, f.Example.Arg)
			var v extract.Value
			if q.Answer(&e, &v); v.Len() == 0 {
				continue
			}
			there[ofNotice]++
			if ofNotice && !tt.notice || !ofNotice && !tt.audit {
				t.Errorf("%s is %s of %s", f.Name, shown(&f, &v), tt.event)
			}
		}
		if tt.notice && there[true] != 5 || tt.audit && there[false] < 20 {
			t.Errorf("%d fields of notices and %d others are there of %s", there[true], there[false], tt.event)
		}
	}
}

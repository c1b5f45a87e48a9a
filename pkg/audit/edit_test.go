package audit_test

import (
	"testing"

	"kaudit/pkg/audit"
)

func TestAppendEdited(t *testing.T) {
	for _, row := range []struct{ name, event, want string }{
		{"first and last go", `{"kind":"Event","level":"Request","requestObject":{"a":[1,2]}}`, `{"level":"Metadata"}`},
		{"what is not known stays", `{"level":"Request", "x" : {"y":1} ,"requestObject":{}}`, `{"level":"Metadata","x" : {"y":1}}`},
		{"a key with escapes", `{"\u006cevel":"Request","auditID":"1"}`, `{"\u006cevel":"Metadata","auditID":"1"}`},
		{"twice the same", `{"requestObject":1,"auditID":"1","requestObject":2}`, `{"auditID":"1"}`},
		{"all go", `{"kind":"Event"}`, `{}`},
		{"nothing is there", ` { } `, `{}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			var e audit.Event
			if !e.Load([]byte(row.event)) {
				t.Fatal("the event is not JSON")
			}
			got := string(e.AppendEdited([]byte("> "), func(m audit.Member, value []byte) []byte {
				switch m {
				case audit.Kind, audit.RequestObject:
					return nil
				case audit.Level:
					return []byte(`"Metadata"`)
				}
				return value
			}))
			if got != "> "+row.want {
				t.Errorf("got %s\nwant > %s", got, row.want)
			}
		})
	}
}

func TestLooked(t *testing.T) {
	var e audit.Event
	for range 2 { // loading forgets
		e.Load([]byte(`{"verb":"get","requestObject":{"a":1}}`))
		if e.Looked(audit.Verb) || e.Looked(audit.ResponseObject) {
			t.Error("nothing was asked for yet")
		}
		e.Object()
		if !e.Looked(audit.RequestObject) || !e.Looked(audit.ResponseObject) || e.Looked(audit.User) {
			t.Error("the object is looked for in the response, then in the request")
		}
	}
}

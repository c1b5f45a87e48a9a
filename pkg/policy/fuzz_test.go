package policy_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"kaudit/pkg/audit"
	"kaudit/pkg/policy"
	"kaudit/pkg/rules"
)

// Whatever a policy file holds, it is a policy or there is an error that names a place; and whatever event it is asked
// about, what is left is an event that the policy leaves as it is.
func FuzzPolicy(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	const event = `{"auditID":"1","level":"RequestResponse","stage":"ResponseComplete","verb":"create","user":{"username":"jane"},"objectRef":{"resource":"pods"},"requestObject":{"metadata":{"managedFields":[]}},"annotations":{}}`
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, []byte(event))
	}
	for _, text := range []string{
		"", "- a", "rules:", head + "rules: [null]", head + "rules: [{level: None, resources: [null]}]", head + "rules: &a [*a]",
		head + "rules: [{level: None, level: None}]", head + "rules: [{level: [None]}]", head + "omitManagedFields: maybe\nrules: [{level: None}]",
		head + "rules: [{<<: {level: None}}]", "{\"apiVersion\":\"audit.k8s.io/v1\",\"kind\":\"Policy\",\"rules\":[{\"level\":\"None\"}]}",
		head + "rules: [{level: None}]\n---\n" + head, head + "metadata: [x]\nrules: [{level: None}]",
	} {
		f.Add([]byte(text), []byte(event))
	}
	f.Fuzz(func(t *testing.T, text, event []byte) {
		p, err := policy.Load("p.yaml", text)
		if err != nil {
			var load *rules.LoadError
			if !errors.As(err, &load) || len(load.Problems) == 0 || load.Problems[0].Pos.Line == 0 {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		var e audit.Event
		if !e.Load(event) {
			return
		}
		reduced, _, kept := p.Reduce(nil, &e)
		if !kept {
			return
		}
		if !e.Load(reduced) {
			t.Fatalf("what is left is no event: %s", reduced)
		}
		if again, _, kept := p.Reduce(nil, &e); !kept || string(again) != string(reduced) {
			t.Fatalf("what is left is not left as it is:\n%s\n%s", reduced, again)
		}
	})
}

package rules_test

import (
	"testing"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

func TestChecksAreThoseOfTheEngine(t *testing.T) {
	set, err := rules.Read(rules.Options{}, rules.File{Name: "r.yaml", Content: []byte(`
- rule: a
  desc: d
  condition: ka.verb in (get, list) and not ka.target.name exists
  output: o
  priority: INFO
  source: k8s_audit
`)})
	if err != nil {
		t.Fatal(err)
	}
	var list []*rules.Check
	rules.Walk(set.Rules[0].Condition, func(x rules.Expr) bool {
		if c, ok := x.(*rules.Check); ok {
			list = append(list, c)
		}
		return true
	})
	checks, err := set.Checks(list)
	if err != nil {
		t.Fatal(err)
	}
	for event, want := range map[string][2]bool{
		`{"auditID":"1","verb":"get","objectRef":{"name":"n"}}`: {true, true},
		`{"auditID":"1","verb":"create"}`:                       {false, false},
	} {
		var a audit.Event
		var e extract.Event
		a.Load([]byte(event))
		e.Reset(&a)
		checks.Load(rules.Event{Event: &e})
		if got := [2]bool{checks.Holds(0), checks.Holds(1)}; got != want {
			t.Errorf("on %s got %v, want %v", event, got, want)
		}
	}
}

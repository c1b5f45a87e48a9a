//go:build linux

package engine_test

import (
	"testing"

	"kaudit/test/e2e/engine"
)

func TestSysdig(t *testing.T) {
	p := plugin(t)
	p.Name = "k8saudit"
	sysdig, err := engine.SetupSysdig(t.Context())
	if err != nil {
		t.Skip(err)
	}
	run := engine.Run{Plugins: []engine.Plugin{p}, Open: eventsFile(t), Fields: []string{"ka.verb", "ka.target.subresource"}}
	result, err := sysdig.Run(t.Context(), run, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Events) != 2 {
		t.Fatalf("%d events, want 2: %+v", len(result.Events), result)
	}
	second := result.Events[1]
	if second.Number != 2 || second.Time != 1767323046000001000 || second.Text("ka.verb") != "delete" || second.Text("ka.target.subresource") != "<NA>" {
		t.Errorf("second event: %+v", second)
	}
	result, err = sysdig.Run(t.Context(), run, "ka.verb = get")
	if err != nil || len(result.Events) != 1 || result.Events[0].Number != 1 {
		t.Errorf("filtered: %+v, %v", result, err)
	}
	if _, err := sysdig.Run(t.Context(), run, "no.such = 1"); err == nil {
		t.Error("a filter with an unknown field: no error")
	}
}

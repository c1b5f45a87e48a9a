//go:build linux

package engine_test

import (
	"testing"

	"kaudit/test/e2e/engine"
)

// Falco and the host must tell the same, or what the host tells about rules is worth nothing.
func TestFalco(t *testing.T) {
	p := plugin(t)
	falco, err := engine.FindFalco()
	if err != nil {
		t.Skip(err)
	}
	p.Name = "k8saudit"
	run := engine.Run{Plugins: []engine.Plugin{p}, Open: eventsFile(t), Rules: rules}
	got, err := falco.Run(t.Context(), run, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := e.Run(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Matches) != len(want.Matches) {
		t.Fatalf("falco has %d matches, the host %d", len(got.Matches), len(want.Matches))
	}
	for i, m := range got.Matches {
		if w := want.Matches[i]; m.Rule != w.Rule || m.Event != w.Event || m.Time != w.Time || m.Output != w.Output {
			t.Errorf("match %d\nfalco %+v\n host %+v", i, m, w)
		}
	}
}

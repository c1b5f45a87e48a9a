//go:build linux

package rules

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"kaudit/internal/noise"
	"kaudit/pkg/audit"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// With dropNoise the engine has the events that are no noise, in their order, and says of them what it says without; only
// the trail of everything is shorter.
func TestDroppedNoiseChangesNoAlert(t *testing.T) {
	var lines [][]byte
	for _, name := range []string{"ordinary", "addons", "attacks"} {
		lines = append(lines, e2e.Lines(t, filepath.Join(e2e.Root(t), "testdata", "recordings", name+".jsonl.gz"))...)
	}
	var dropped [noise.Kinds]uint64
	for _, line := range lines {
		var event audit.Event
		if !event.Load(line) {
			t.Fatalf("broken event: %.200s", line)
		}
		dropped[noise.Of(&event)]++
	}
	if dropped[noise.Lease] == 0 || dropped[noise.NodeStatus] == 0 {
		t.Fatalf("there is no noise: %v", dropped)
	}
	list, err := engine.LoadRules("k8s_audit", ruleFiles(t)...)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run := func(init string) (alerts []string, events, trail int, metrics map[string]string) {
		result, err := e.Run(t.Context(), engine.Run{
			Plugins: []engine.Plugin{{Path: e2e.Library(t), Init: init}}, Open: e2e.WriteLines(t, lines), Rules: list,
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range result.Matches {
			if m.Rule == "All K8s Audit Events" {
				trail++
				continue
			}
			alerts = append(alerts, m.Rule+": "+m.Output)
		}
		metrics = map[string]string{}
		for _, m := range result.Metrics {
			metrics[m.Name] = m.Value.String()
		}
		return alerts, int(result.Stats[0].Events), trail, metrics
	}
	all, events, trail, metrics := run(`{}`)
	if events != len(lines) || metrics["k8saudit.noise_dropped_lease"] != "0" {
		t.Errorf("nobody said that noise is to be dropped: %d of %d events, %v", events, len(lines), metrics)
	}
	alerts, rest, shorter, metrics := run(`{"dropNoise":true}`)
	noisy := len(lines) - int(dropped[noise.None])
	if rest != events-noisy || shorter != trail-noisy {
		t.Errorf("%d of %d events and %d of %d of the trail are left, of which %d are noise", rest, events, shorter, trail, noisy)
	}
	if !slices.Equal(alerts, all) || len(all) == 0 {
		t.Errorf("%d alerts with all events, %d without noise", len(all), len(alerts))
	}
	for kind := noise.Lease; int(kind) < noise.Kinds; kind++ {
		name := "k8saudit.noise_dropped_" + kind.String()
		if want := fmt.Sprint(dropped[kind]); metrics[name] != want {
			t.Errorf("%s is %q, want %s", name, metrics[name], want)
		}
	}
	t.Logf("%d events, %d of them noise: %d alerts with and without", len(lines), noisy, len(alerts))
}

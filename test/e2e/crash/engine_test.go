//go:build linux

package crash

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// An observer keeps the audit IDs of the events that engines evaluated, by run.
type observer struct {
	mu sync.Mutex
	evaluation
}

func (o *observer) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.runs = append(o.runs, nil)
}

func (o *observer) event(e engine.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := len(o.runs) - 1
	o.runs[last] = append(o.runs[last], e.Text("ka.auditid"))
}

func (o *observer) missing(acknowledged []string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.evaluation.missing(acknowledged)
}

// TestNothingIsLostInTheEngine does the same with the library in the engine of Falco. Whatever the engine has told of an
// event before it is killed, it has evaluated.
func TestNothingIsLostInTheEngine(t *testing.T) {
	library := e2e.Library(t)
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "spool")
	init, err := json.Marshal(map[string]any{"spool": map[string]any{"dir": dir, "maxBytes": 256 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	address := e2e.FreeAddress(t)
	var seen observer
	run := engine.Run{
		Plugins: []engine.Plugin{{Path: library, Init: string(init)}},
		Open:    "http://" + address + "/k8s-audit",
		Fields:  []string{"ka.auditid"},
		OnEvent: seen.event,
	}
	s := newSender(address, 20*time.Second)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var sending sync.WaitGroup
	for name := range 2 {
		sending.Go(func() { s.send(ctx, name) })
	}
	n := max(5, kills(t)/10)
	for range n {
		seen.begin()
		p, err := e.Start(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		p.Kill()
		if _, err := p.Wait(); err == nil {
			t.Fatal("the engine ended by itself")
		}
	}
	stop()
	sending.Wait()

	seen.begin()
	last := run
	last.DryRun = true // a second plugin object comes and goes meanwhile
	p, err := e.Start(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	for deadline, missing := time.Now().Add(2*time.Minute), s.acknowledged; len(missing) > 0; time.Sleep(50 * time.Millisecond) {
		missing = seen.missing(missing)
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d acknowledged events were never evaluated, the first %s", len(missing), len(s.acknowledged), missing[0])
		}
	}
	// A second one that opens the same folder is told so, and the first goes on.
	second := run
	second.Open = "http://" + e2e.FreeAddress(t) + "/k8s-audit"
	second.OnEvent = nil
	if _, err := e.Run(t.Context(), second); err == nil || !strings.Contains(err.Error(), "spool") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second engine opened the same spool: %v", err)
	}
	p.Stop()
	result, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if files := result.Stats[0].Files; files > 10 {
		t.Errorf("%d descriptors are left after everything was closed", files)
	}
	metrics := map[string]string{}
	for _, m := range result.Metrics {
		metrics[m.Name] = m.Value.String()
	}
	if lost := metrics["k8saudit.spool.lost_records"]; lost != "0" {
		t.Errorf("spool.lost_records is %q; the metrics are %v", lost, metrics)
	}
	repeated := seen.repeats(t)
	if len(repeated) > n {
		t.Errorf("%d deliveries were repeated in %d kills", len(repeated), n)
	}
	if len(s.acknowledged) == 0 {
		t.Error("nothing was acknowledged")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
		t.Errorf("the spool is not where it was configured: %v", err)
	}
	t.Logf("%d kills of the engine, %d deliveries sent, %d events acknowledged, %d deliveries repeated, 0 events lost", n, s.sent, len(s.acknowledged), len(repeated))
}

//go:build linux

// Package live has a real API server post its audit events to the library inside Falco's engine, over TLS and with a
// client certificate, by the kubeconfig that kaudit certs makes, while the cluster works and is attacked, and compares what
// arrived with what the API server wrote to its audit log.
package live

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// cluster is the name that the path of the webhook has in it.
const cluster = "prod-eu"

// A listener keeps what the engine tells.
type listener struct {
	mu      sync.Mutex
	events  []string
	matches []string
}

func (l *listener) event(e engine.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e.Text("ka.auditid")+" "+e.Text("ka.stage"))
}

func (l *listener) match(m engine.Match) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.matches = append(l.matches, m.Rule+": "+m.Output)
}

// sorted returns what was told, in an order that does not depend on when it came.
func (l *listener) sorted() (events, matches []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(slices.Values(l.events)), slices.Sorted(slices.Values(l.matches))
}

func (l *listener) run(t *testing.T, open, init string) engine.Run {
	t.Helper()
	rules, err := engine.LoadRules("k8s_audit", e2e.RuleFiles(t)...)
	if err != nil {
		t.Fatal(err)
	}
	return engine.Run{
		Plugins: []engine.Plugin{{Path: e2e.Library(t), Init: init}}, Open: open, Rules: rules,
		Fields: []string{"ka.auditid", "ka.stage"}, OnEvent: l.event, OnMatch: l.match,
	}
}

func TestWhatAnAPIServerLogsReachesTheRulesThroughItsWebhook(t *testing.T) {
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address := e2e.FreeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	certs := filepath.Join(t.TempDir(), "certs")
	made := exec.Command("go", "run", "./cmd/kaudit", "certs", "--dir", certs, "--host", "127.0.0.1", "--port", port, "--client", cluster, "--path", "/k8s-audit/"+cluster)
	made.Dir = e2e.Root(t)
	if text, err := made.CombinedOutput(); err != nil {
		t.Fatalf("certs: %v\n%s", err, text)
	}
	init, err := json.Marshal(map[string]any{
		"sslCertificate": filepath.Join(certs, "server.pem"), "sslClientCA": filepath.Join(certs, "ca.crt"), "sslClientNames": []string{cluster},
		"clusterFrom": "path", "clusters": map[string]any{cluster: []string{cluster}},
		"spool": map[string]any{"dir": filepath.Join(t.TempDir(), "spool")},
	})
	if err != nil {
		t.Fatal(err)
	}

	var posted listener
	p, err := e.Start(t.Context(), posted.run(t, "https://"+address+"/k8s-audit", string(init)))
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	record(t, filepath.Join(certs, "webhook.yaml"), out)

	// The audit log is complete; the last batch of the webhook may be on its way.
	log := filepath.Join(out, "audit.log")
	var lines [][]byte
	var logged []string
	for _, name := range []string{"ordinary", "addons", "attacks"} {
		for _, line := range e2e.Lines(t, filepath.Join(out, "testdata", "recordings", name+".jsonl.gz")) {
			var event struct{ AuditID, Stage string }
			if err := json.Unmarshal(line, &event); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, append(line, '\n'))
			logged = append(logged, event.AuditID+" "+event.Stage)
		}
	}
	slices.Sort(logged)
	if err := os.WriteFile(log, slices.Concat(lines...), 0o600); err != nil {
		t.Fatal(err)
	}
	var arrived, alerts []string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if arrived, alerts = posted.sorted(); len(arrived) >= len(logged) || time.Now().After(deadline) {
			break
		}
	}
	p.Stop()
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(logged, within(arrived, logged)); diff != "" {
		t.Errorf("events of the audit log that did not arrive, or twice:\n%s", diff)
	}

	var replayed listener
	if _, err := e.Run(t.Context(), replayed.run(t, log, "")); err != nil {
		t.Fatal(err)
	}
	_, want := replayed.sorted()
	for i, alert := range alerts { // a file has no cluster
		alerts[i] = strings.Replace(alert, "cluster="+cluster+" ", "cluster=<NA> ", 1)
		if alerts[i] == alert {
			t.Errorf("the cluster is not %s: %s", cluster, alert)
		}
	}
	slices.Sort(alerts)
	if len(want) < 100 {
		t.Errorf("only %d alerts", len(want))
	}
	if diff := cmp.Diff(want, within(alerts, want)); diff != "" {
		t.Errorf("alerts while it happened are not those of the audit log:\n%s", diff)
	}
	t.Logf("%d events and %d alerts", len(logged), len(want))
}

// record has the cluster work and be attacked, and its audit log written below out.
func record(t *testing.T, webhook, out string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", ".", "record", "-webhook-config", webhook, "-out", out)
	cmd.Dir = filepath.Join(e2e.Root(t), "test", "e2e", "cluster")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("record: %v\n%s", err, text)
	}
}

// within returns what of a sorted list is in another one: the cluster goes on for some moments after its log was read.
func within(list, other []string) []string {
	var in []string
	for _, s := range list {
		if _, found := slices.BinarySearch(other, s); found {
			in = append(in, s)
		}
	}
	return in
}

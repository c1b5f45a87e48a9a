//go:build linux

// Package reload opens and closes the library a hundred times in one process, as Falco does when it is told to reload, and
// looks for what is left behind.
package reload

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// cycles is how often everything is set up and torn down. The Go runtime makes its threads in the first ones and keeps
// them.
const (
	cycles = 100
	warm   = 20
)

func TestAHundredReloadsLeaveNothing(t *testing.T) {
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	made := exec.Command("go", "run", "./cmd/kaudit", "certs", "--dir", filepath.Join(dir, "certs"), "--host", "127.0.0.1")
	made.Dir = e2e.Root(t)
	if text, err := made.CombinedOutput(); err != nil {
		t.Fatalf("certs: %v\n%s", err, text)
	}
	log := e2e.WriteLines(t, e2e.Lines(t, filepath.Join(e2e.Root(t), "testdata", "recordings", "attacks.jsonl.gz"))[:200])
	init := fmt.Sprintf(`{"spool":{"dir":%q},"metricsListen":%q,"silenceAfter":"1s","sources":[
		{"name":"hook","open":"https://%s/k8s-audit","sslCertificate":%q,"sslClientCA":%q},
		{"name":"log","open":"file://%s","fileCheckpointDir":%q},
		{"name":"once","open":%q}]}`,
		filepath.Join(dir, "spool"), e2e.FreeAddress(t), e2e.FreeAddress(t), filepath.Join(dir, "certs", "server.pem"), filepath.Join(dir, "certs", "ca.crt"),
		log, filepath.Join(dir, "positions"), log)
	result, err := e.Run(t.Context(), engine.Run{
		Plugins: []engine.Plugin{{Path: e2e.Library(t), Init: init}}, Cycles: cycles, Duration: 300 * time.Millisecond, NoOutput: true, DryRun: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Stats) != cycles {
		t.Fatalf("%d cycles, want %d", len(result.Stats), cycles)
	}
	early, late := result.Stats[warm], result.Stats[cycles-1]
	t.Logf("after %d cycles and after %d: %d and %d threads, %d and %d descriptors, at most %d and %d KiB resident", warm+1, cycles, early.Threads, late.Threads, early.Files, late.Files, early.MaxRSS, late.MaxRSS)
	if late.Threads > early.Threads+4 {
		t.Errorf("%d threads, and %d later", early.Threads, late.Threads)
	}
	if late.Files > early.Files {
		t.Errorf("%d descriptors, and %d later", early.Files, late.Files)
	}
	if late.MaxRSS > early.MaxRSS*3/2 {
		t.Errorf("%d KiB resident, and %d later", early.MaxRSS, late.MaxRSS)
	}
	for i, s := range result.Stats {
		// The file is read to its end each time, the log only once: the checkpoint says that it was evaluated. After the first
		// cycle the log may bring its last batch again.
		if s.Events < 200 {
			t.Errorf("cycle %d: %d events", i+1, s.Events)
		}
	}
}

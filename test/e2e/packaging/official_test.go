//go:build linux

package packaging

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// Where a falco is installed, it loads both libraries by the configuration for the official rules, and alerts.
func TestFalcoReadsTheConfigurationForTheOfficialRules(t *testing.T) {
	falco, err := engine.FindFalco()
	if err != nil {
		t.Skip(err)
	}
	files, dir, address := distRules(t, distribution(t)), t.TempDir(), e2e.FreeAddress(t)
	rules, err := filepath.Abs(officialRules())
	if err != nil {
		t.Fatal(err)
	}
	config, log := filepath.Join(dir, "falco.yaml"), filepath.Join(dir, "log")
	err = os.WriteFile(config, []byte(strings.NewReplacer(
		"libk8saudit.so", filepath.Join(files, "libk8saudit.so"), "libjson.so", filepath.Join(files, "libjson.so"),
		"127.0.0.1:9765", address, "/etc/falco/k8s_audit_rules.yaml", rules,
	).Replace(string(content(t, filepath.Join(e2e.Root(t), "build", "falco", "official-rules.yaml"))))), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command(falco.Path, "-c", config, "-o", "webserver.enabled=false", "-o", "log_stderr=true", "-o", "log_level=info", "-o", "stdout_output.enabled=true")
	cmd.Stdout, cmd.Stderr = file, file
	t.Cleanup(func() { t.Logf("%.3000s", content(t, log)) })
	start(t, cmd)
	await(t, "falco to listen", func() bool {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	for _, body := range e2e.Lines(t, filepath.Join(e2e.Root(t), "testdata", "recordings", "webhook.jsonl.gz")) {
		response, err := http.Post("http://"+address+"/k8s-audit", "application/json", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	await(t, "an alert", func() bool { return strings.Contains(string(content(t, log)), "(user=") })
	for _, loaded := range []string{"Loaded plugin 'k8saudit@0.", "Loaded plugin 'json@0.100.0'"} {
		if !strings.Contains(string(content(t, log)), loaded) {
			t.Errorf("falco does not say %q", loaded)
		}
	}
}

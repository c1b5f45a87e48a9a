//go:build linux

package packaging

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kaudit"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// A user has falcoctl, a home, and the folders of a Falco.
type user struct {
	t       *testing.T
	home    string
	plugins string
	rules   string
	env     []string
}

// newUser returns one whose configuration has indexes, by their name. Without any, falcoctl would ask for Falco's own
// from the internet; here one that is empty stands for it.
func newUser(t *testing.T, indexes map[string][]byte) *user {
	t.Helper()
	u := &user{t: t, home: t.TempDir(), plugins: t.TempDir(), rules: t.TempDir()}
	u.env = append(os.Environ(), "HOME="+u.home, "XDG_CONFIG_HOME=", "DOCKER_CONFIG="+u.home)
	config := "indexes:\n"
	if indexes["falcosecurity"] == nil {
		config += fmt.Sprintf("- {name: falcosecurity, url: %q}\n", serve(t, []byte("[]\n")))
	}
	for name, text := range indexes {
		config += fmt.Sprintf("- {name: %q, url: %q}\n", name, serve(t, text))
	}
	if err := os.WriteFile(filepath.Join(u.home, "falcoctl.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return u
}

func (u *user) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(programs(u.t), "falcoctl"), append(args, "--config", filepath.Join(u.home, "falcoctl.yaml"))...)
	cmd.Env = u.env
	return cmd
}

// folders are the flags for where things go.
func (u *user) folders() []string {
	return []string{"--plugins-dir", u.plugins, "--rulesfiles-dir", u.rules, "--state-dir", u.home, "--plain-http"}
}

// falcoctl runs a command to its end, and returns what it printed.
func (u *user) falcoctl(args ...string) (string, error) {
	u.t.Helper()
	out, err := u.command(args...).CombinedOutput()
	u.t.Logf("falcoctl %s\n%s", strings.Join(args, " "), out)
	return string(out), err
}

// must runs a command that has to succeed.
func (u *user) must(args ...string) string {
	u.t.Helper()
	out, err := u.falcoctl(args...)
	if err != nil {
		u.t.Fatalf("falcoctl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (u *user) library() string  { return filepath.Join(u.plugins, "libk8saudit.so") }
func (u *user) ruleFile() string { return filepath.Join(u.rules, "kaudit_rules.yaml") }

// serve serves a text under an address.
func serve(t *testing.T, text []byte) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
	t.Cleanup(s.Close)
	return s.URL
}

// nextVersion makes packages of this tree with another version, and rules that need it.
func nextVersion(t *testing.T, version string) string {
	t.Helper()
	tree, now := copyTree(t), kaudit.Plugin().Version
	for name, what := range map[string]string{"plugin.yaml": "version: ", "rules/00_lists_and_macros.yaml": "      version: "} {
		file := filepath.Join(tree, name)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		next := bytes.Replace(text, []byte(what+now+"\n"), []byte(what+version+"\n"), 1)
		if bytes.Equal(next, text) {
			t.Fatalf("%s does not say %s%s", name, what, now)
		}
		if err := os.WriteFile(file, next, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return distributionOf(t, tree)
}

func TestFalcoctlInstallsWhatFalcoLoads(t *testing.T) {
	dist, registry := distribution(t), startRegistry(t)
	index := push(t, dist, registry+"/kaudit")
	u := newUser(t, nil)
	u.must("index", "add", "kaudit", serve(t, index))
	found := u.must("artifact", "search", "kubernetes")
	for _, want := range []string{"kaudit-rules", "rulesfile", "kaudit/plugin/kaudit", "kaudit/ruleset/kaudit"} {
		if !strings.Contains(found, want) {
			t.Errorf("search does not show %s", want)
		}
	}

	// The rules alone are asked for; the plugin comes as what they depend on.
	u.must(append([]string{"artifact", "install", "kaudit-rules"}, u.folders()...)...)
	version := kaudit.Plugin().Version
	if got := pluginVersion(t, u); got != version {
		t.Errorf("installed plugin %s, want %s", got, version)
	}
	if _, err := os.Stat(filepath.Join(u.rules, "kaudit", "audit-policy.yaml")); err != nil {
		t.Errorf("the audit policy is not beside the rules: %v", err)
	}
	alertsOnDelivery(t, u.library(), u.ruleFile())

	const newer = "0.999.0"
	next := nextVersion(t, newer)
	push(t, next, registry+"/kaudit")

	// Who asks for an older plugin with newer rules gets the plugin that the rules need, and is told so.
	t.Run("older plugin, newer rules", func(t *testing.T) {
		u := newUser(t, map[string][]byte{"kaudit": index})
		u.must(append([]string{"artifact", "install", "kaudit:" + version, "kaudit-rules:" + newer}, u.folders()...)...)
		if got := pluginVersion(t, u); got != newer {
			t.Errorf("installed plugin %s, want %s", got, newer)
		}
		// By hand, without falcoctl, the loader says it.
		_, err := rules.Load(rules.Options{Plugins: []rules.Plugin{{Name: "k8saudit", Version: version}}}, u.ruleFile())
		if err == nil || !strings.Contains(err.Error(), newer) {
			t.Errorf("plugin %s loads rules that need %s: %v", version, newer, err)
		}
	})

	t.Run("official plugin, our rules", func(t *testing.T) {
		// A plugin as the official one is published: its name and version, which our rules know as an alternative.
		u := newUser(t, map[string][]byte{"falcosecurity": officialPlugin(t, registry), "kaudit": index})
		out, err := u.falcoctl(append([]string{"artifact", "install", "k8saudit:0.18.0", "kaudit-rules"}, u.folders()...)...)
		if err == nil || !strings.Contains(out, "k8saudit:"+newer+": not found") {
			t.Errorf("the official plugin in place of ours: %v", err)
		}
	})

	t.Run("rules that need json", func(t *testing.T) {
		// Rules as the official ones are published depend on json; no index has an artifact of that name here.
		rules := jsonRules(t, registry)
		u := newUser(t, map[string][]byte{"falcosecurity": rules, "kaudit": index})
		if out, err := u.falcoctl(append([]string{"artifact", "install", "k8saudit-rules"}, u.folders()...)...); err == nil || !strings.Contains(out, "json") {
			t.Errorf("rules without the plugin they need: %v", err)
		}
		u.must(append([]string{"artifact", "install", "k8saudit-rules", "kaudit-json"}, u.folders()...)...)
		for _, file := range []string{filepath.Join(u.plugins, "libjson.so"), filepath.Join(u.rules, "json_rules.yaml")} {
			if _, err := os.Stat(file); err != nil {
				t.Error(err)
			}
		}
		e, err := engine.Setup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		info, err := e.Info(t.Context(), engine.Plugin{Path: filepath.Join(u.plugins, "libjson.so")})
		if err != nil || len(info) != 1 || info[0].Name != "json" {
			t.Errorf("it is %+v, %v", info, err)
		}
	})

	t.Run("follow", func(t *testing.T) {
		engineVersions := serve(t, []byte(`{"engine_version_semver":"0.43.0","plugin_api_version":"3.10.0"}`))
		cmd := u.command(append([]string{
			"artifact", "follow", "kaudit-rules:latest", "kaudit:latest",
			"--every", "1s", "--startup-behavior", "immediate", "--falco-versions", engineVersions,
		}, u.folders()...)...)
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &log, &log
		start(t, cmd)
		want, err := os.ReadFile(filepath.Join(distRules(t, next), "kaudit_rules.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		await(t, "falcoctl to follow", func() bool {
			text, _ := os.ReadFile(u.ruleFile())
			return bytes.Equal(text, want) && pluginVersion(t, u) == newer
		})
		alertsOnDelivery(t, u.library(), u.ruleFile())
	})

	t.Run("follow with an old Falco", func(t *testing.T) {
		u := newUser(t, map[string][]byte{"kaudit": index})
		versions := serve(t, []byte(`{"engine_version_semver":"0.17.0","plugin_api_version":"2.0.0"}`))
		cmd := u.command(append([]string{
			"artifact", "follow", "kaudit:latest", "--every", "1s", "--startup-behavior", "immediate", "--falco-versions", versions,
		}, u.folders()...)...)
		log := filepath.Join(t.TempDir(), "log")
		file, err := os.Create(log)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		cmd.Stdout, cmd.Stderr = file, file
		start(t, cmd)
		await(t, "falcoctl to refuse", func() bool {
			text, _ := os.ReadFile(log)
			return bytes.Contains(text, []byte("Unmet requirements")) && bytes.Contains(text, []byte("plugin_api_version:3.0.0"))
		})
		if _, err := os.Stat(u.library()); err == nil {
			t.Error("and installed it all the same")
		}
	})
}

func TestAWrongRegistryIsNamed(t *testing.T) {
	nobody := e2e.FreeAddress(t)
	u := newUser(t, nil)
	out, err := u.falcoctl(append([]string{"artifact", "install", nobody + "/ruleset/kaudit:latest"}, u.folders()...)...)
	if err == nil || !strings.Contains(out, nobody) || !strings.Contains(out, "connection refused") {
		t.Errorf("installing from %s: %v", nobody, err)
	}
	program, err := release()
	if err != nil {
		t.Fatal(err)
	}
	err = run(exec.Command(program, "-out", distribution(t), "-plain-http", "push", nobody))
	if err == nil || !strings.Contains(err.Error(), "push "+nobody+"/plugin/kaudit") || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("pushing to %s: %v", nobody, err)
	}
	registry := startRegistry(t)
	out, err = u.falcoctl(append([]string{"artifact", "install", registry + "/ruleset/kaudit:latest"}, u.folders()...)...)
	if err == nil || !strings.Contains(out, "/ruleset/kaudit:latest: not found") {
		t.Errorf("installing what %s has not: %v", registry, err)
	}
}

// pluginVersion asks an installed library which version it is, or returns "" when it cannot be asked now.
func pluginVersion(t *testing.T, u *user) string {
	t.Helper()
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := e.Info(t.Context(), engine.Plugin{Path: u.library()})
	if err != nil || len(info) != 1 {
		t.Logf("ask the plugin: %v", err)
		return ""
	}
	return info[0].Version
}

// officialPlugin pushes an artifact with the name and version of the official plugin, and returns an index that has it.
func officialPlugin(t *testing.T, registry string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "k8saudit.tar.gz")
	if err := run(exec.Command("tar", "-czf", file, "-C", e2e.Root(t), "plugin.yaml")); err != nil {
		t.Fatal(err)
	}
	newUser(t, nil).must("registry", "push", "--type", "plugin", "--platform", "linux/"+runtime.GOARCH, "--plain-http",
		"--name", "k8saudit", "--version", "0.18.0", registry+"/plugins/plugin/k8saudit:0.18.0", file)
	return fmt.Appendf(nil, "- {name: k8saudit, type: plugin, registry: %q, repository: plugins/plugin/k8saudit}\n", registry)
}

// jsonRules pushes an artifact of rules that depend on the json plugin as the official ones do, and returns an index that
// has it.
func jsonRules(t *testing.T, registry string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rules.tar.gz")
	if err := run(exec.Command("tar", "-czf", file, "-C", "testdata", "json_rules.yaml")); err != nil {
		t.Fatal(err)
	}
	newUser(t, nil).must("registry", "push", "--type", "rulesfile", "--plain-http", "--depends-on", "json:0.7.0",
		"--name", "k8saudit-rules", "--version", "0.11.0", "--tag", "latest", registry+"/plugins/ruleset/k8saudit:0.11.0", file)
	return fmt.Appendf(nil, "- {name: k8saudit-rules, type: rulesfile, registry: %q, repository: plugins/ruleset/k8saudit}\n", registry)
}

// distRules unpacks the rules of a distribution.
func distRules(t *testing.T, dist string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dist, "kaudit-*-linux-*.tar.gz"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d archives in %s, want 1: %v", len(found), dist, err)
	}
	dir := t.TempDir()
	if err := run(exec.Command("tar", "-xzf", found[0], "-C", dir, "--strip-components=1")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// alertsOnDelivery runs a library with rules inside Falco's engine by the shipped configuration for a webhook with TLS, and
// posts to it with the API server's certificate what an API server posted.
func alertsOnDelivery(t *testing.T, library, ruleFile string) {
	t.Helper()
	list, err := engine.LoadRules("k8s_audit", ruleFile)
	if err != nil {
		t.Fatal(err)
	}
	alertsWith(t, fragments(t)["webhook-tls.yaml"], library, filepath.Join(distRules(t, distribution(t)), "kaudit"), list)
}

// alertsOf starts the engine, sends attacks to it, and waits for an alert. send tells whether they were taken, and is called
// again until they were.
func alertsOf(t *testing.T, plugins []engine.Plugin, open string, list []engine.Rule, send func() bool) {
	t.Helper()
	f := startFalco(t, plugins, open, list)
	sent := false
	for deadline := time.Now().Add(30 * time.Second); !sent && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		f.runs(t)
		sent = send()
	}
	if !sent {
		t.Fatal("the events were not taken")
	}
	f.alert(t, "")
	f.stop(t)
}

// A falco is the engine, running, with what it alerted.
type falco struct {
	process *engine.Process
	mu      sync.Mutex
	alerts  []engine.Match
}

func startFalco(t *testing.T, plugins []engine.Plugin, open string, list []engine.Rule) *falco {
	t.Helper()
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := new(falco)
	f.process, err = e.Start(t.Context(), engine.Run{
		Plugins: plugins, Open: open, Rules: list,
		OnMatch: func(m engine.Match) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.alerts = append(f.alerts, m)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// runs fails the test if the engine has ended.
func (f *falco) runs(t *testing.T) {
	t.Helper()
	select {
	case <-f.process.Done():
		_, err := f.process.Wait()
		t.Fatalf("the engine ended: %v", err)
	default:
	}
}

// alert waits for an alert that has a text in it, and returns the first.
func (f *falco) alert(t *testing.T, text string) (found engine.Match) {
	t.Helper()
	await(t, "an alert with "+strconv.Quote(text), func() bool {
		f.runs(t)
		f.mu.Lock()
		defer f.mu.Unlock()
		i := slices.IndexFunc(f.alerts, func(m engine.Match) bool { return strings.Contains(m.Output, text) })
		if i >= 0 {
			found = f.alerts[i]
		}
		return i >= 0
	})
	t.Logf("%s: %s", found.Rule, found.Output)
	return found
}

func (f *falco) stop(t *testing.T) {
	t.Helper()
	f.process.Stop()
	if _, err := f.process.Wait(); err != nil {
		t.Fatal(err)
	}
}

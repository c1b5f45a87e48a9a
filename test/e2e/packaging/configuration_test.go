//go:build linux

package packaging

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"kaudit"
	"kaudit/internal/docs"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// A falcoConfig is what a fragment of falco.yaml says. Other keys are not expected in one.
type falcoConfig struct {
	Engine struct {
		Kind string `yaml:"kind"`
	} `yaml:"engine,omitempty"`
	Plugins []struct {
		Name    string   `yaml:"name"`
		Library string   `yaml:"library_path"`
		Init    settings `yaml:"init_config"`
		Open    string   `yaml:"open_params"`
	} `yaml:"plugins"`
	Load   []string `yaml:"load_plugins"`
	Stdout struct {
		Enabled bool `yaml:"enabled"`
	} `yaml:"stdout_output,omitempty"`
	Rules []string `yaml:"rules_files"`
}

// settings are a plugin's. Falco makes null of an empty map, which the plugin's schema refuses, so none are "".
type settings map[string]any

func (s *settings) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && n.Value == "" {
		return nil
	}
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return fmt.Errorf("line %d: init_config is neither settings nor \"\"", n.Line)
	}
	return n.Decode((*map[string]any)(s))
}

// text is what Falco hands to the plugin.
func (s settings) text(t *testing.T) string {
	if len(s) == 0 {
		return ""
	}
	return jsonText(t, map[string]any(s))
}

// fragments are the configurations that are shipped, by file name.
func fragments(t *testing.T) map[string]falcoConfig {
	t.Helper()
	all := map[string]falcoConfig{}
	files, err := filepath.Glob(filepath.Join(e2e.Root(t), "build", "falco", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no fragments: %v", err)
	}
	for _, file := range files {
		var c falcoConfig
		decode(t, file, &c)
		all[filepath.Base(file)] = c
	}
	all["values-kaudit.yaml"] = values(t).Falco
	return all
}

// helmValues is the part of the values that is ours to check.
type helmValues struct {
	Driver, Collectors struct{ Enabled bool }
	Controller         struct{ Kind string }
	Falcoctl           struct {
		Config struct {
			Artifact struct {
				Install, Follow struct{ Refs []string }
			}
		}
	}
	Services []struct {
		Name  string
		Ports []struct{ Port int }
	}
	Mounts struct {
		Volumes []struct {
			Secret struct {
				Name string `yaml:"secretName"`
			}
		}
		VolumeMounts []struct {
			MountPath string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
	}
	Falco falcoConfig
}

func values(t *testing.T) (v helmValues) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(e2e.Root(t), "build", "helm", "values-kaudit.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func decode(t *testing.T, file string, to any) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	d := yaml.NewDecoder(in)
	d.KnownFields(true)
	if err := d.Decode(to); err != nil {
		t.Fatalf("%s: %v", filepath.Base(file), err)
	}
}

// Each fragment does what it is for, once its address, its certificate and its log are those of the test.
func TestFalcoRunsWithEachFragment(t *testing.T) {
	files := distRules(t, distribution(t))
	list, err := engine.LoadRules("k8s_audit", filepath.Join(files, "kaudit_rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range fragments(t) {
		t.Run(name, func(t *testing.T) {
			if name == "official-rules.yaml" {
				runsOfficialRules(t, c, files)
				return
			}
			if len(c.Plugins) != 1 || c.Plugins[0].Name != kaudit.Plugin().Name || c.Plugins[0].Library != "libk8saudit.so" ||
				len(c.Load) != 1 || c.Load[0] != c.Plugins[0].Name || c.Rules[0] != "/etc/falco/kaudit_rules.yaml" {
				t.Fatalf("it loads something else: %+v", c)
			}
			if p := c.Plugins[0]; p.Open == "/var/log/kubernetes/audit" {
				replaysFiles(t, filepath.Join(files, "libk8saudit.so"), p.Init, list)
				return
			}
			alertsWith(t, c, filepath.Join(files, "libk8saudit.so"), filepath.Join(files, "kaudit"), list)
		})
	}
}

// runsOfficialRules runs the fragment for the official rules: with those, if OFFICIAL_RULES names them, else with a rule that
// asks for what they ask.
func runsOfficialRules(t *testing.T, c falcoConfig, files string) {
	t.Helper()
	id := kaudit.JSONPlugin()
	if len(c.Plugins) != 2 || c.Plugins[1].Name != id.Name || c.Plugins[1].Library != "libjson.so" || c.Plugins[1].Open != "" ||
		!slices.Equal(c.Load, []string{kaudit.Plugin().Name, id.Name}) || c.Rules[0] != "/etc/falco/k8s_audit_rules.yaml" {
		t.Fatalf("it loads something else: %+v", c)
	}
	list, err := engine.LoadRules("k8s_audit", officialRules())
	if err != nil {
		t.Fatal(err)
	}
	second := engine.Plugin{Path: filepath.Join(files, "libjson.so"), Name: id.Name, Init: c.Plugins[1].Init.text(t)}
	alertsWith(t, c, filepath.Join(files, "libk8saudit.so"), filepath.Join(files, "kaudit"), list, second)
}

func officialRules() string {
	if path := os.Getenv("OFFICIAL_RULES"); path != "" {
		return path
	}
	return "testdata/json_rules.yaml"
}

// alertsWith starts the engine with a fragment, sends attacks as the fragment has them sent, and waits for an alert.
func alertsWith(t *testing.T, c falcoConfig, library, kaudit string, list []engine.Rule, others ...engine.Plugin) {
	t.Helper()
	p, here := c.Plugins[0], newPlaces(t, kaudit)
	plugin, open := engine.Plugin{Path: library, Name: p.Name, Init: here.of(p.Init.text(t))}, here.of(p.Open)
	if strings.HasPrefix(open, "file://") {
		alertsOf(t, append([]engine.Plugin{plugin}, others...), open, list, here.write)
		return
	}
	url, client := open, http.DefaultClient
	if sources, several := p.Init["sources"].([]any); several {
		url = here.of(sources[0].(map[string]any)["open"].(string)) + "/prod-eu"
	}
	if strings.HasPrefix(url, "https:") {
		client = trusting(t, filepath.Join(here.certs, "webhook.yaml"))
	}
	alertsOf(t, append([]engine.Plugin{plugin}, others...), open, list, func() bool { return here.post(client, url) })
}

// places are what fragments name, where the test has it.
type places struct {
	certs, logs string
	*strings.Replacer
	lines []byte // events
}

func newPlaces(t *testing.T, kaudit string) *places {
	t.Helper()
	dir := t.TempDir()
	address := e2e.FreeAddress(t)
	p := &places{certs: filepath.Join(dir, "certs"), logs: filepath.Join(dir, "logs")}
	if err := run(exec.Command(kaudit, "certs", "--dir", p.certs, "--host", "127.0.0.1", "--client", "prod-eu")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.logs, 0o700); err != nil {
		t.Fatal(err)
	}
	p.Replacer = strings.NewReplacer(
		"//:9765/", "//"+address+"/", "//127.0.0.1:9765/", "//"+address+"/",
		"/etc/falco/certs", p.certs, "/var/log/kubernetes/audit", p.logs, "/var/lib/falco", filepath.Join(dir, "lib", "falco"),
	)
	lines := e2e.Lines(t, filepath.Join(e2e.Root(t), "testdata", "recordings", "attacks.jsonl.gz"))
	p.lines = bytes.Join(lines[:min(len(lines), 200)], []byte("\n"))
	return p
}

// of returns a text with the test's places in it.
func (p *places) of(text string) string { return p.Replace(text) }

// post posts events, and tells whether they were accepted.
func (p *places) post(client *http.Client, url string) bool {
	items := bytes.ReplaceAll(p.lines, []byte("\n"), []byte(","))
	body := fmt.Appendf(nil, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[%s]}`, items)
	response, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// write writes an audit log.
func (p *places) write() bool {
	f, err := os.OpenFile(filepath.Join(p.logs, "audit.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return false
	}
	defer f.Close()
	_, err = f.Write(append(bytes.Clone(p.lines), '\n'))
	return err == nil
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// trusting returns a client that trusts whom a kubeconfig for the audit webhook trusts, and proves to be who that says.
func trusting(t *testing.T, file string) *http.Client {
	t.Helper()
	var c struct {
		Clusters []struct {
			Cluster struct {
				Server string
				CA     string `yaml:"certificate-authority-data"`
			}
		}
		Users []struct {
			User struct {
				Certificate string `yaml:"client-certificate-data"`
				Key         string `yaml:"client-key-data"`
			}
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &c); err != nil || len(c.Clusters) != 1 {
		t.Fatalf("%s: %v", file, err)
	}
	ca, err := base64.StdEncoding.DecodeString(c.Clusters[0].Cluster.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("%s has no authority", file)
	}
	if len(c.Users) != 1 {
		t.Fatalf("%s has no user", file)
	}
	cert, err := base64.StdEncoding.DecodeString(c.Users[0].User.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(c.Users[0].User.Key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{client}}}}
}

func replaysFiles(t *testing.T, library string, init settings, list []engine.Rule) {
	t.Helper()
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Dir(e2e.WriteLines(t, e2e.Lines(t, filepath.Join(e2e.Root(t), "testdata", "recordings", "attacks.jsonl.gz"))))
	result, err := e.Run(t.Context(), engine.Run{
		Plugins: []engine.Plugin{{Path: library, Name: "k8saudit", Init: init.text(t)}}, Open: folder, Rules: list,
	})
	if err != nil || len(result.Fired()) < 10 {
		t.Errorf("%d rules fired: %v", len(result.Fired()), err)
	}
}

// Where a falco is installed, it says and alerts what the docs show, with the shipped configuration for a webhook with TLS.
func TestFalcoSaysWhatTheDocsSay(t *testing.T) {
	falco, err := engine.FindFalco()
	if err != nil {
		t.Skip(err)
	}
	blocks := docs.Commands(t, e2e.Root(t), "build/README.md")
	if len(blocks) != 2 {
		t.Fatalf("%d blocks, want what falco says, and what it alerts", len(blocks))
	}
	m := newMachine(t)
	_, port, _ := strings.Cut(m.address, ":")
	fragment := content(t, filepath.Join(e2e.Root(t), "build", "falco", "webhook-tls.yaml"))
	m.write(configured, []byte(strings.NewReplacer(
		"//:9765/", "//:"+port+"/", "library_path: ", "library_path: /usr/share/falco/plugins/", // where Falco looks
	).Replace(string(fragment))))
	m.shell("kaudit certs --host 127.0.0.1 --dir certs; cp -R certs /etc/falco/certs")
	cmd := exec.Command(falco.Path, "-c", filepath.Join(m.root, "etc/falco/falco.yaml"), "-o", "webserver.enabled=false", "-o", "log_stderr=true", "-o", "log_level=info")
	log := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	t.Cleanup(func() { t.Logf("%s", content(t, log)) })
	start(t, cmd)
	for i, b := range blocks {
		for _, c := range transcript(b) {
			if i > 0 {
				m.shell(strings.NewReplacer(m.here...).Replace(c.command))
			}
			await(t, c.command, func() bool { return c.missing(m.below, string(content(t, log))) == "" })
		}
	}
}

func TestTheValuesFitTogether(t *testing.T) {
	v := values(t)
	if v.Driver.Enabled || v.Collectors.Enabled || v.Controller.Kind != "deployment" {
		t.Errorf("not a deployment without drivers: %+v", v)
	}
	p := v.Falco.Plugins[0]
	if len(v.Services) != 1 || len(v.Services[0].Ports) != 1 || v.Services[0].Ports[0].Port != 9765 {
		t.Errorf("the service does not lead to %s: %+v", p.Open, v.Services)
	}
	if len(v.Mounts.VolumeMounts) != 1 || !strings.HasPrefix(p.Init["sslCertificate"].(string), v.Mounts.VolumeMounts[0].MountPath+"/") {
		t.Errorf("%v is not in what is mounted: %+v", p.Init, v.Mounts)
	}
	parts := strings.Split(kaudit.Plugin().Version, ".")
	want := "kaudit-rules:" + parts[0] + "." + parts[1]
	for _, refs := range [][]string{v.Falcoctl.Config.Artifact.Install.Refs, v.Falcoctl.Config.Artifact.Follow.Refs} {
		if len(refs) != 1 || refs[0] != want {
			t.Errorf("it installs or follows %q, want %q", refs, want)
		}
	}
}

// With the image instead of falcoctl, what is copied where Falco looks for it is in the image.
func TestTheValuesWithTheImageFitTogether(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(e2e.Root(t), "build", "helm", "values-image.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Extra struct {
			InitContainers []struct {
				Image   string
				Command []string
			} `yaml:"initContainers"`
		}
		Falco falcoConfig
	}
	if err := yaml.Unmarshal(text, &v); err != nil || len(v.Extra.InitContainers) != 1 || len(v.Falco.Plugins) != 1 {
		t.Fatalf("%+v, %v", v, err)
	}
	c, p, base := v.Extra.InitContainers[0], v.Falco.Plugins[0], values(t).Falco.Plugins[0]
	if want := ":" + kaudit.Plugin().Version; !strings.HasSuffix(c.Image, want) {
		t.Errorf("the image is %s, and the version %s", c.Image, want)
	}
	want := []string{"/usr/bin/place", "/usr/share/falco/plugins/libk8saudit.so=/kaudit", "/etc/falco/kaudit_rules.yaml=/kaudit"}
	if !slices.Equal(c.Command, want) { // TestTheImageBringsPluginAndRules runs it
		t.Errorf("it runs %q, want %q", c.Command, want)
	}
	if p.Library != "/opt/kaudit/libk8saudit.so" || v.Falco.Rules[0] != "/opt/kaudit/kaudit_rules.yaml" || p.Open != base.Open ||
		p.Init["sslCertificate"] != base.Init["sslCertificate"] {
		t.Errorf("Falco is told %+v", v.Falco)
	}
}

// installs is how a chart is installed, by a repository's name or its address.
var installs = regexp.MustCompile(`helm install falco \S+( --repo \S+)? `)

// KAUDIT_FALCO_CHART names a folder with Falco's chart, its dependencies removed or built; helm is on PATH.
func TestTheOfficialChartTakesTheValues(t *testing.T) {
	chart := os.Getenv("KAUDIT_FALCO_CHART")
	if chart == "" {
		t.Skip("KAUDIT_FALCO_CHART does not name a folder with Falco's chart")
	}
	webhook := slices.Clip([]string{
		"kind: Deployment", "name: falco-k8saudit-webhook", "port: 9765", "sslCertificate: /etc/falco/certs/server.pem",
		"mountPath: /etc/falco/certs", "secretName: kaudit-webhook", "--disable-source",
	})
	quick, files := docs.Commands(t, e2e.Root(t), quickstart), docs.Commands(t, e2e.Root(t), "docs/files.md")
	if len(quick) != 1 || len(files) != 1 {
		t.Fatalf("%d and %d blocks, want what installs Falco, and values for it", len(quick), len(files))
	}
	follow := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(follow, []byte(files[0].Text), 0o600); err != nil {
		t.Fatal(err)
	}
	const install = "helm install falco falcosecurity/falco -n falco -f values-kaudit.yaml "
	for name, one := range map[string]struct {
		command string
		want    []string
		not     string
	}{
		"falcoctl": {install, append(webhook, "name: falcoctl-artifact-install", "kaudit-rules:0.100"), "kind: DaemonSet"},
		"image":    {install + "-f values-image.yaml", append(webhook, "- /usr/bin/place", "mountPath: /opt/kaudit"), "kind: DaemonSet"},
		"kind": {
			quick[0].Text, append(webhook, "- /usr/bin/place", "image: kaudit:"+kaudit.Plugin().Version, "clusterIP: 10.96.0.50"),
			"kind: DaemonSet",
		},
		"files": {
			install + "-f " + follow,
			[]string{"kind: DaemonSet", "path: /var/log/kubernetes/audit", "mountPath: /var/lib/kaudit/checkpoints"},
			"kind: Deployment",
		},
	} {
		command := installs.ReplaceAllLiteralString(one.command, "helm template falco "+chart+" ")
		cmd := exec.Command("bash", "-c", strings.NewReplacer(" -f build/helm/", " -f ", "\\\n", " ").Replace(command))
		cmd.Dir = filepath.Join(e2e.Root(t), "build", "helm")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		for _, want := range one.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: the manifests do not have %q", name, want)
			}
		}
		for _, not := range []string{one.not, "privileged: true"} {
			if strings.Contains(string(out), not) {
				t.Errorf("%s: the manifests have %q", name, not)
			}
		}
	}
}

//go:build linux

package packaging

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"kaudit/internal/docs"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// The shell of a page works, one block after another, on a machine that has nothing but the repository. Blocks that cannot
// run so say why, or who runs them; cmd/kaudit looks at all.
func TestCommandsInTheDocsWork(t *testing.T) {
	n := 0
	for _, p := range docs.Pages(t, e2e.Root(t)) {
		var script []docs.Block
		for _, b := range p.Blocks {
			if b.Runnable() {
				script = append(script, b)
			}
		}
		if n += len(script); len(script) > 0 {
			t.Run(p.Name, func(t *testing.T) { work(t, p, script) })
		}
	}
	if n == 0 {
		t.Error("no page has a block to run")
	}
}

func work(t *testing.T, p docs.Page, script []docs.Block) {
	m := newMachine(t)
	if strings.Contains(p.Text, "falcoctl") {
		m.publishes()
	}
	for _, b := range p.Blocks { // the page may have a configuration of its own
		if b.Language == "yaml" && strings.HasPrefix(b.Text, "plugins:") {
			m.write(configured, []byte(b.Text))
			break
		}
	}
	var f *falco
	for _, b := range script {
		m.run(b)
		if _, err := os.Stat(filepath.Join(m.root, "started")); err == nil && f == nil {
			var c falcoConfig
			decode(t, filepath.Join(m.root, configured), &c)
			f = m.falco(c, filepath.Join(m.root, "etc/falco/certs"))
		}
	}
	if f != nil { // who starts it is shown an alert
		f.alert(t, "")
		f.stop(t)
	}
}

// configured is where a machine's Falco is told of the plugin.
const configured = "etc/falco/config.d/kaudit.yaml"

// kaudit doctor prints what the page about it shows, of a Falco that is configured in two places. Whether it runs, too, is
// left out: tests start none by that name.
func TestDoctorSaysWhatTheDocsSay(t *testing.T) {
	m := newMachine(t)
	const before = "config_files: [/etc/falco/config.d]\nstdout_output: {enabled: true}\nsyslog_output: {enabled: true}\n"
	const plugin = "plugins:\n  - name: k8saudit\n    library_path: /usr/share/falco/plugins/libk8saudit.so\n    init_config: \"\"\n" +
		"    open_params: http://127.0.0.1:9765/k8s-audit\nload_plugins: [k8saudit]\n"
	lines := strings.Repeat("#\n", 116-strings.Count(before, "\n")) // falco.yaml is long
	m.write("etc/falco/falco.yaml", []byte(before+lines+plugin+"rules_files: [/etc/falco/kaudit_rules.yaml]\n"))
	m.shell("kaudit certs --host audit.example.com --dir certs; cp certs/webhook.yaml .")
	for _, b := range docs.Commands(t, e2e.Root(t), "docs/troubleshooting.md") {
		for _, c := range transcript(b) {
			cmd := exec.Command("bash", "-c", m.below(strings.NewReplacer(m.here...).Replace(c.command)))
			cmd.Dir, cmd.Env = m.dir, m.env
			out, _ := cmd.CombinedOutput() // it has found something, and ends with 1
			c.lines = slices.DeleteFunc(c.lines, func(line string) bool { return strings.HasPrefix(line, "ok   process: ") })
			if line := c.missing(m.below, string(out)); line != "" {
				t.Errorf("%s: %s does not print %q, but\n%s", b.Where(), c.command, line, out)
			}
		}
	}
}

// A machine is what pages are about: a copy of the repository, where commands run, and a root folder for what they put
// into /etc, /usr and /var. Falco is configured there, kaudit is installed, and there are audit logs. Programs that would
// need another machine are in testdata/bin.
type machine struct {
	t         *testing.T
	dir, root string
	address   string // of Falco's webhook
	env       []string
	here      []string // what pages say, and what it is here
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := copyTree(t)
	m := &machine{t: t, dir: dir, root: filepath.Join(dir, "dist", "root"), address: e2e.FreeAddress(t)}
	files, repository := distRules(t, distribution(t)), e2e.Root(t)
	recordings := filepath.Join(repository, "testdata", "recordings")
	for name, text := range map[string][]byte{
		"etc/falco/falco.yaml":                   []byte("config_files: [/etc/falco/config.d]\nstdout_output: {enabled: true}\n"),
		"etc/falco/kaudit_rules.yaml":            content(t, filepath.Join(files, "kaudit_rules.yaml")),
		"usr/share/falco/plugins/libk8saudit.so": content(t, filepath.Join(files, "libk8saudit.so")),
		"var/log/kubernetes/audit.log":           bytes.Join(e2e.Lines(t, filepath.Join(recordings, "attacks.jsonl.gz"))[:200], []byte("\n")),
		configured:                               content(t, filepath.Join(repository, "build", "falco", "webhook-local.yaml")),
		filepath.Join("../..", "audit.log"):      e2e.Lines(t, filepath.Join(recordings, "ordinary.jsonl.gz"))[0],
	} {
		m.write(name, text)
	}
	path := []string{filepath.Join(repository, "test/e2e/packaging/testdata/bin"), files, programs(t), clusterPrograms(t), os.Getenv("PATH")}
	m.env = append(os.Environ(), "PATH="+strings.Join(path, ":"), "DESTDIR="+m.root, "ARCH="+runtime.GOARCH, "MACHINE="+m.root)
	m.here = []string{
		"127.0.0.1:9765", m.address,
		"kaudit doctor", "kaudit doctor --offline -c /etc/falco/falco.yaml --plugins-dir /usr/share/falco/plugins",
		"dist/kaudit run --from http", "timeout --preserve-status -s INT 3 dist/kaudit run --from http", // it would wait for ever
	}
	return m
}

// write puts a file below the machine's root.
func (m *machine) write(name string, text []byte) {
	m.t.Helper()
	name = filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// edit replaces a text in a file that has to have it.
func (m *machine) edit(name, old, is string) {
	m.t.Helper()
	text, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(text), old) {
		m.t.Fatalf("%s does not have %q: %v", name, old, err)
	}
	if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(text), old, is)), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) run(b docs.Block) {
	m.t.Helper()
	m.t.Log(b.Where())
	m.shell(strings.NewReplacer(m.here...).Replace(b.Text))
}

// shell runs commands. What they and configurations name is below the machine's root.
func (m *machine) shell(script string) {
	m.t.Helper()
	for _, name := range []string{"etc/falco/falco.yaml", configured} {
		name = filepath.Join(m.root, name)
		if text := string(content(m.t, name)); !strings.Contains(text, m.root) {
			if err := os.WriteFile(name, []byte(m.below(text)), 0o600); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	cmd := exec.Command("bash", "-eux", "-c", m.below(script)) // and no pipefail: head ends when it has enough
	cmd.Dir, cmd.Env = m.dir, m.env
	if err := run(cmd); err != nil {
		m.t.Fatal(err)
	}
}

// falco starts the engine by a configuration, with the certificates of a folder.
func (m *machine) falco(c falcoConfig, certs string) *falco {
	m.t.Helper()
	list, err := engine.LoadRules("k8s_audit", filepath.Join(m.root, "etc/falco/kaudit_rules.yaml"))
	if err != nil {
		m.t.Fatal(err)
	}
	p := c.Plugins[0]
	here := strings.NewReplacer("//:9765/", "//"+m.address+"/", "//127.0.0.1:9765/", "//"+m.address+"/",
		m.root+"/etc", m.root+"/etc", m.root+"/var", m.root+"/var", // said already
		"/etc/falco/certs", certs, "/var/lib/falco", filepath.Join(m.root, "var/lib/falco"))
	f := startFalco(m.t, []engine.Plugin{{Path: filepath.Join(m.root, "usr/share/falco/plugins/libk8saudit.so"), Name: p.Name, Init: here.Replace(p.Init.text(m.t))}}, here.Replace(p.Open), list)
	m.t.Cleanup(func() { f.process.Kill() })
	await(m.t, "Falco to listen", func() bool { f.runs(m.t); return listens(m.address) })
	return f
}

// publishes gives the machine a registry, a key pair, an address to serve the index at, and a falcoctl to install from there.
func (m *machine) publishes() {
	m.t.Helper()
	u, registry, keys := newUser(m.t, nil), startRegistry(m.t), keyPair(m.t)
	index := httptest.NewServer(http.FileServerFS(os.DirFS(filepath.Join(m.dir, "dist", "release"))))
	m.t.Cleanup(index.Close)
	versions := serve(m.t, []byte(`{"engine_version_semver":"0.43.0","plugin_api_version":"3.10.0"}`))
	m.here = append(m.here, "ghcr.io/example", registry+"/example", "https://example.com/index.yaml", index.URL+"/index.yaml")
	m.env = append(m.env, "PUSHFLAGS=-plain-http", "COSIGN_PASSWORD=", "COSIGNFLAGS=--key "+filepath.Join(keys, "cosign.key")+
		" --allow-http-registry --use-signing-config=false --tlog-upload=false --new-bundle-format=false",
		"FALCOCTL="+filepath.Join(programs(m.t), "falcoctl"), "FALCOCTL_CONFIG="+filepath.Join(u.home, "falcoctl.yaml"),
		"FALCOCTL_INSTALL="+strings.Join(u.folders(), " "), "FALCOCTL_FOLLOW=--falco-versions "+versions,
		"HOME="+u.home, "DOCKER_CONFIG="+u.home, "GOMODCACHE="+goEnv(m.t, "GOMODCACHE"), "GOCACHE="+goEnv(m.t, "GOCACHE"))
	m.env = append(m.env, sigstore(m.t)...)
}

// below has the machine's folders in place of those that a text names.
func (m *machine) below(text string) string {
	for _, folder := range []string{"/etc/falco", "/usr/share/falco", "/usr/share/kaudit", "/var/log/kubernetes", "/var/lib/falco"} {
		text = strings.ReplaceAll(text, folder, m.root+folder)
	}
	return text
}

func content(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// A shown is a command on a page with the lines that it prints, or some of them, in their order.
type shown struct {
	command string
	lines   []string
}

// transcript splits a block of console into its commands.
func transcript(b docs.Block) (all []shown) {
	for line := range strings.Lines(b.Text) {
		if command, is := strings.CutPrefix(line, "$ "); is {
			all = append(all, shown{command: strings.TrimSpace(command)})
		} else if line = strings.TrimSpace(line); line != "" && len(all) > 0 {
			last := &all[len(all)-1]
			last.lines = append(last.lines, line)
		}
	}
	return all
}

// varies is what is another one each time, ports and times; spaces are more or fewer with the width of a column.
var (
	varies = regexp.MustCompile(`:\d{4,5}\b|\b\d\d:\d\d:\d\d\.\d+`)
	number = regexp.MustCompile(`\d+`)
	spaces = regexp.MustCompile(`\s+`)
)

// missing returns the first line of a page that was not printed. … stands for anything; below says what else stands for what.
func (s shown) missing(below func(string) string, printed string) string {
	for _, line := range s.lines {
		want := line
		if below != nil {
			want = below(line)
		}
		pattern, last := "", 0
		for _, part := range append(varies.FindAllStringIndex(want, -1), []int{len(want), len(want)}) {
			pattern += regexp.QuoteMeta(want[last:part[0]]) + number.ReplaceAllLiteralString(regexp.QuoteMeta(want[part[0]:part[1]]), `\d+`)
			last = part[1]
		}
		pattern = spaces.ReplaceAllLiteralString(strings.ReplaceAll(pattern, "…", ".*"), `\s+`)
		at := regexp.MustCompile(pattern).FindStringIndex(printed)
		if at == nil {
			return line
		}
		printed = printed[at[1]:]
	}
	return ""
}

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	goformat "go/format"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"

	"kaudit/internal/config"
	"kaudit/internal/docs"
	"kaudit/internal/feed"
	"kaudit/pkg/audit"
	"kaudit/pkg/rules"
	"kaudit/pkg/source"
	"kaudit/pkg/source/all"
)

const root = "../.."

// Each fenced block of the documentation is what its language says, and what is in it can be done: commands and their
// flags are there, files are there, configurations are taken. Whether commands work is for those who run them: shell
// make e2e (test/e2e/packaging), console the test beside, and the tests that blocks name.
func TestBlocksOfTheDocs(t *testing.T) {
	tests := testNames(t)
	for _, p := range docs.Pages(t, root) {
		if n := len(fence.FindAllString(p.Text, -1)); n != 2*len(p.Blocks) {
			t.Errorf("%s has %d fences, and %d blocks that begin and end with ``` at the start of a line", p.Name, n, len(p.Blocks))
		}
		marked := 0
		for _, b := range p.Blocks {
			if b.RunBy != "" || b.NotRun != "" {
				marked++
			}
			if b.RunBy != "" && !tests[b.RunBy] {
				t.Errorf("%s: no %s takes blocks by docs.Commands", b.Where(), b.RunBy)
			}
			if err := checkBlock(t, p, b); err != nil {
				t.Errorf("%s: %v", b.Where(), err)
			}
		}
		if n := len(mark.FindAllString(p.Text, -1)); n != marked {
			t.Errorf("%s has %d comments on who runs a block, and %d blocks below one", p.Name, n, marked)
		}
		for _, m := range inline.FindAllStringSubmatch(p.Text, -1) {
			if err := checkShell(strings.ReplaceAll(m[1], "…", ""), false); err != nil {
				t.Errorf("%s: `%s`: %v", p.Name, m[1], err)
			}
		}
	}
}

func TestWrongBlocksAreFound(t *testing.T) {
	for _, tt := range []struct{ language, text, err string }{
		{"sh", "kaudit run -r rules audit.log | head -n 3\nsudo make install PREFIX=/usr\n", ""},
		{"sh", "zcat audit.log.gz |\n\tdist/kaudit run --form -\n", "--from"},
		{"sh", "kaudit rum audit.log\n", `did you mean "run"`},
		{"sh", "kaudit version now\n", "takes no argument"},
		{"sh", "sudo make instal\n", "instal"},
		{"sh", "make push # without REGISTRY\n", "say where to"},
		{"sh", "helm install falco -f build/helm/values.yaml\n", "there is no build/helm/values.yaml"},
		{"sh", "echo 'no end\n", "without closing quote"},
		{"console", "$ kaudit fields --all exec\n", "--all"},
		{"console", "kaudit fields exec\n", "no line begins with $"},
		{"", "$ kaudit fields exec\n", "are console"},
		{"bash", "kaudit fields exec\n", "nothing is known of bash"},
		{"json", `{"kind":"Event",}`, "not a JSON object"},
		{"go", "func {", "expected"},
		{"yaml", "plugins: [{name: k8saudit, init_config: {maxEventsize: many}}]\n", "maxEventSize"},
		{"yaml", "init_config: {maxEvent: 1}\n", "maxEvent"},
		{"yaml", "plugins: [{name: k8saudit, open_params: \"ftp://:9765\"}]\n", "ftp"},
		{"yaml", "- rule: R\n  desc: D\n  condition: ka.vreb = get\n  output: O\n  priority: INFO\n  source: k8s_audit\n", "ka.vreb"},
		{"yaml", "sinks: {}\n", "nothing is known of such YAML"},
		{"yaml", "a: [\n", "yaml"},
	} {
		err := checkBlock(t, docs.Page{}, docs.Block{Language: tt.language, Text: tt.text})
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s %q: %v, want %q", tt.language, tt.text, err, tt.err)
		}
	}
}

// Commands in the comments of what is shipped are there, too.
func TestCommandsInShippedComments(t *testing.T) {
	n := 0
	err := filepath.WalkDir(filepath.Join(root, "build"), func(file string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, m := range append(commentLine.FindAllSubmatch(text, -1), inline.FindAllSubmatch(text, -1)...) {
			n++
			if err := checkShell(string(m[1]), false); err != nil {
				t.Errorf("%s: %s: %v", file, m[1], err)
			}
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Errorf("%d commands in comments: %v", n, err)
	}
}

var (
	fence       = regexp.MustCompile("(?m)^\\s*(```|~~~)")
	mark        = regexp.MustCompile(`(?m)^\s*<!-- (not )?run\b`)
	inline      = regexp.MustCompile("`((?:dist/)?kaudit [^`\n]+|make [^`\n]+)`")
	commentLine = regexp.MustCompile(`(?m)^#   (\S.*)$`)
	testName    = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	alert       = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d+: `)
	prompt      = regexp.MustCompile(`(?m)^\$ (.*)$`)
)

// testNames are those of the tests in files that take blocks of pages.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		text, err := os.ReadFile(file)
		if !bytes.Contains(text, []byte("docs.Commands(")) {
			return err
		}
		for _, m := range testName.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// checkBlock checks a block by its language.
func checkBlock(t *testing.T, p docs.Page, b docs.Block) error {
	switch b.Language {
	case "sh":
		return checkShell(b.Text, true)
	case "console":
		commands := prompt.FindAllStringSubmatch(b.Text, -1)
		if len(commands) == 0 {
			return fmt.Errorf("no line begins with $")
		}
		for _, m := range commands {
			if err := checkShell(m[1], true); err != nil {
				return err
			}
		}
		return nil
	case "yaml":
		return checkYAML(t, p, b)
	case "json":
		var e audit.Event
		if !json.Valid([]byte(b.Text)) || !e.Load([]byte(b.Text)) {
			return fmt.Errorf("not a JSON object")
		}
		return nil
	case "go":
		_, err := goformat.Source([]byte(b.Text))
		if err != nil { // a row of a table
			_, err = goformat.Source([]byte("var _ = []any{\n" + b.Text + "\n}"))
		}
		return err
	case "":
		if prompt.MatchString(b.Text) {
			return fmt.Errorf("commands with what they print are console")
		}
		return nil
	}
	return fmt.Errorf("nothing is known of %s; commands are sh, or console with what they print", b.Language)
}

// checkShell checks commands by what can be known without running them. whole says that they are complete.
func checkShell(script string, whole bool) error {
	file, err := syntax.NewParser().Parse(strings.NewReader(script), "")
	if err != nil {
		return err
	}
	syntax.Walk(file, func(node syntax.Node) bool {
		call, is := node.(*syntax.CallExpr)
		if !is || len(call.Args) == 0 || err != nil {
			return err == nil
		}
		var words []string
		for _, w := range call.Args {
			word, failed := expand.Literal(literal, w)
			if failed != nil {
				err = failed
				return false
			}
			words = append(words, word)
		}
		if words[0] == "sudo" {
			words = words[1:]
		}
		err = isThere(words, whole)
		return true
	})
	return err
}

// literal leaves variables as they are, and runs nothing.
var literal = &expand.Config{
	Env:      expand.FuncEnviron(func(name string) string { return "$" + name }),
	CmdSubst: func(w io.Writer, _ *syntax.CmdSubst) error { _, err := io.WriteString(w, "x"); return err },
}

// isThere checks that a command of ours is there, with its flags, and so are files of the repository.
func isThere(words []string, whole bool) error {
	for _, w := range words[1:] {
		for folder := range strings.SplitSeq("build docs internal pkg plugin rules test testdata", " ") {
			if !strings.HasPrefix(strings.TrimPrefix(w, "./"), folder+"/") {
				continue
			}
			if found, err := filepath.Glob(filepath.Join(root, w)); err != nil || len(found) == 0 {
				return fmt.Errorf("there is no %s", w)
			}
		}
	}
	switch strings.TrimPrefix(words[0], "dist/") {
	case "kaudit":
		top, _ := command()
		c, rest, err := top.Find(words[1:])
		if err != nil {
			return err
		}
		c.InitDefaultHelpFlag()
		if err := c.ParseFlags(rest); err != nil {
			return c.FlagErrorFunc()(c, err)
		}
		if !whole && c.Flags().NArg() == 0 {
			return nil
		}
		return c.ValidateArgs(c.Flags().Args())
	case "make":
		cmd := exec.Command("make", append([]string{"--no-print-directory", "-n", "-C", root}, words[1:]...)...)
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") })
		if !whole {
			cmd.Env = append(cmd.Env, "REGISTRY=registry.example.com/kaudit")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w: %s", words, err, out)
		}
	}
	return nil
}

// checkYAML checks a block of YAML by what it is a part of.
func checkYAML(t *testing.T, p docs.Page, b docs.Block) error {
	decoder := yaml.NewDecoder(strings.NewReader(b.Text))
	for {
		var document yaml.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if p.Name == "docs/rule-checks.md" { // where each is wrong in its way, by internal/rulecheck
			continue
		}
		var list []map[string]any
		if document.Decode(&list) == nil && len(list) > 0 {
			files, err := builtInRuleFiles()
			if err != nil {
				return err
			}
			if _, err := rules.Read(rules.Options{}, append(files, rules.File{Name: b.Where(), Content: []byte(b.Text)})...); err != nil {
				return err
			}
			continue
		}
		var keys map[string]any
		if err := document.Decode(&keys); err != nil {
			return err
		}
		if err := checkKeys(t, b, keys); err != nil {
			return err
		}
	}
}

// checkKeys checks YAML that is a mapping.
func checkKeys(t *testing.T, b docs.Block, keys map[string]any) error {
	has := func(some ...string) bool {
		return slices.ContainsFunc(some, func(key string) bool { _, is := keys[key]; return is })
	}
	switch {
	case has("plugins"): // of falco.yaml
		list, _ := keys["plugins"].([]any)
		for _, p := range list {
			plugin, _ := p.(map[string]any)
			open, _ := plugin["open_params"].(string)
			if err := opens(t, plugin["init_config"], open); err != nil {
				return err
			}
		}
		return nil
	case has("init_config"):
		open := "http://:9765/k8s-audit"
		if settings, _ := keys["init_config"].(map[string]any); settings["sslCertificate"] != nil {
			open = "https://:9765/k8s-audit"
		}
		return opens(t, keys["init_config"], open)
	case has("rules_files"): // of falco.yaml
		_, is := keys["rules_files"].([]any)
		if !is || len(keys) > 1 {
			return fmt.Errorf("rules_files is a list, and stands alone")
		}
		return nil
	case has("tests", "fires", "patch", "fixtures"): // of tests of rules, which are run by commands on the page where they are whole
		return nil
	case has("apiServer", "kube-apiserver-arg"): // of kubeadm, k3s and RKE2: TestAPIServersTakeTheFlagsInTheDocs
		return nil
	case b.RunBy != "", b.NotRun != "": // of a program that is elsewhere
		return nil
	}
	return fmt.Errorf("nothing is known of such YAML; if it is for a program that tests do not have, write above it: <!-- not run: whose it is -->")
}

// opens opens the sources of a configuration, with files and ports of the test's own in place of those it names.
func opens(t *testing.T, settings any, open string) error {
	t.Helper()
	dir := t.TempDir()
	certs, logs := filepath.Join(dir, "certs"), filepath.Join(dir, "log")
	if code := run([]string{"certs", "--dir", certs, "--host", "127.0.0.1"}, io.Discard, io.Discard); code != exitOK {
		t.Fatalf("certs: exit code %d", code)
	}
	for name, text := range map[string]string{
		filepath.Join(certs, "tokens"): strings.Repeat("0123456789abcdef", 4) + " fluent-bit\n", filepath.Join(logs, "edge", "audit"): "{}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	here := strings.NewReplacer("/etc/falco/certs", certs, "/var/log", logs, "/var/lib", dir, ":9765/", ":0/")
	text, err := json.Marshal(settings)
	if err != nil {
		return err
	}
	if string(text) == `""` { // what falco.yaml has where there are no settings
		text = nil
	}
	var said bytes.Buffer
	c, err := config.Parse(here.Replace(string(text)), all.Kinds(), slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil || said.Len() > 0 {
		return fmt.Errorf("init_config: %s %w", &said, err)
	}
	s, err := feed.OpenAll(c, here.Replace(open), source.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if s, is := s.(interface{ Close() error }); is {
		return s.Close()
	}
	return nil
}

// An alert that a page shows is one of the recording, up to … .
func TestAlertsInTheDocsAreReal(t *testing.T) {
	var alerts, notes bytes.Buffer
	if code := run([]string{"run", "-q", filepath.Join(root, "testdata/recordings/attacks.jsonl.gz")}, &alerts, &notes); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &notes)
	}
	n := 0
	for _, p := range docs.Pages(t, root) {
		for _, b := range p.Blocks {
			if b.Language != "" || !alert.MatchString(b.Text) {
				continue
			}
			n++
			for line := range strings.Lines(b.Text) {
				if shown, _, _ := strings.Cut(strings.TrimSpace(line), "…"); !strings.Contains(alerts.String(), shown) {
					t.Errorf("%s: the recording fires no such alert: %s", b.Where(), shown)
				}
			}
		}
	}
	if n == 0 {
		t.Error("no page shows an alert")
	}
}

// sent are the events that docs have people send to their Falco.
var sent = regexp.MustCompile(`zcat (testdata/\S+) \| head -n 1 \|`)

// Who sends what the docs say to send gets the alert that they promise.
func TestEventsInTheDocsFire(t *testing.T) {
	for _, page := range []string{"README.md", "docs/quickstart.md"} {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		m := sent.FindSubmatch(text)
		if m == nil {
			t.Errorf("%s sends no event", page)
			continue
		}
		f, err := os.Open(filepath.Join(root, string(m[1])))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(z).ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		event := filepath.Join(t.TempDir(), "audit.log")
		if err := os.WriteFile(event, line, 0o600); err != nil {
			t.Fatal(err)
		}
		var alerts, notes bytes.Buffer
		if code := run([]string{"run", "-q", event}, &alerts, &notes); code != exitOK || alerts.Len() == 0 {
			t.Errorf("%s: the first event of %s fires nothing: exit code %d, %s", page, m[1], code, &notes)
		}
	}
}

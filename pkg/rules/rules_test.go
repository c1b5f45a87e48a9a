package rules_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kaudit/internal/golden"
	"kaudit/pkg/rules"
)

// cases are the rule files of testdata/load.txt, by case.
func cases(t testing.TB) (names []string, files map[string][]rules.File) {
	t.Helper()
	text, err := os.ReadFile("testdata/load.txt")
	if err != nil {
		t.Fatal(err)
	}
	files = map[string][]rules.File{}
	for _, c := range strings.Split(string(text), "\n=== ")[1:] {
		name, body, _ := strings.Cut(c, "\n")
		names = append(names, name)
		for i, content := range strings.Split(body, "\n---\n") {
			files[name] = append(files[name], rules.File{Name: fmt.Sprintf("%d.yaml", i), Content: []byte(content + "\n")})
		}
	}
	return names, files
}

var loaded = []rules.Plugin{{Name: "k8saudit", Version: "0.100.0"}, {Name: "json", Version: "0.7.4"}}

func TestLoad(t *testing.T) {
	var out bytes.Buffer
	names, files := cases(t)
	for _, name := range names {
		fmt.Fprintf(&out, "=== %s\n", name)
		set, err := rules.Read(rules.Options{Plugins: loaded}, files[name]...)
		if err != nil {
			var load *rules.LoadError
			if !errors.As(err, &load) {
				t.Fatalf("%s: %v", name, err)
			}
			for _, p := range load.Problems {
				fmt.Fprintf(&out, "error %s: %s", p.Code, p.Render())
			}
			continue
		}
		for _, p := range set.Warnings {
			fmt.Fprintf(&out, "warning %s: %s", p.Code, p.Render())
		}
		for _, l := range set.Lists {
			fmt.Fprintf(&out, "list %s at %v: %q\n", l.Name, l.Pos, l.Items)
		}
		for _, m := range set.Macros {
			fmt.Fprintf(&out, "macro %s at %v: %s\n", m.Name, m.Pos, m.Condition)
		}
		for _, r := range set.Rules {
			fmt.Fprintf(&out, "rule %s at %v: %s %s %q enabled=%t\n", r.Name, r.Pos, r.Source, r.Priority, r.Tags, r.Enabled)
			if r.Skipped != "" {
				fmt.Fprintf(&out, "\tskipped: %s\n", r.Skipped)
			}
			fmt.Fprintf(&out, "\tdesc: %s\n\tcondition: %v\n\tfields: %q\n\toutput: %q %q\n", r.Desc, r.Condition, r.Fields, r.Output, r.OutputFields)
		}
	}
	golden.Compare(t, "testdata/load.golden", out.String())
}

func TestLoadFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rule := func(name string) string {
		return "- {rule: " + name + ", desc: d, condition: used, output: x, priority: INFO, source: k8s_audit}\n"
	}
	write("first.yaml", "- {macro: used, condition: ka.verb exists}\n")
	write("rules.d/b.yml", rule("b"))
	write("rules.d/a.yaml", rule("a"))
	write("rules.d/ignored.txt", "no rules")
	write("rules.d/below/c.yaml", rule("c"))
	write("last.yaml", rule("last"))
	write("other.txt", "no rules")
	paths := []string{"first.yaml", "rules.d", "other.txt", "last.yaml"}
	full := make([]string, len(paths))
	for i, p := range paths {
		full[i] = filepath.Join(dir, p)
	}
	for name, load := range map[string]func() (*rules.Ruleset, error){
		"files": func() (*rules.Ruleset, error) { return rules.Load(rules.Options{}, full...) },
		"fs":    func() (*rules.Ruleset, error) { return rules.LoadFS(rules.Options{}, os.DirFS(dir), paths...) },
	} {
		set, err := load()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(set.RuleNames(), " "); got != "a b last" {
			t.Errorf("%s: rules %s, want a b last", name, got)
		}
		if len(set.Warnings) != 1 || !strings.Contains(set.Warnings[0].Error(), "other.txt: the file is ignored") {
			t.Errorf("%s: warnings %v", name, set.Warnings)
		}
	}
	_, err := rules.Load(rules.Options{}, filepath.Join(dir, "missing.yaml"))
	if err == nil || !strings.Contains(err.Error(), "missing.yaml: read the file: no such file") {
		t.Errorf("a missing file: %v", err)
	}
}

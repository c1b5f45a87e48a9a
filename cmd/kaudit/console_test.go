package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"mvdan.cc/sh/v3/shell"

	"kaudit/internal/docs"
	"kaudit/internal/golden"
)

// Blocks of console begin with a command, and have what it prints, unless they say that they are run otherwise. This test
// runs those of a page in a folder with the files that the page shows (YAML whose first line is a comment with a name),
// those that it only speaks of (testdata/docs/<page>), and a recording.
func TestConsoleBlocksPrintWhatTheySay(t *testing.T) {
	commands := 0
	for _, p := range docs.Pages(t, root) {
		var script []docs.Block
		for _, b := range p.Blocks {
			if b.Language == "console" && b.RunBy == "" && b.NotRun == "" {
				script = append(script, b)
			}
		}
		if len(script) == 0 {
			continue
		}
		commands += len(script)
		t.Run(filepath.Base(p.Name), func(t *testing.T) { printsOnPage(t, p, script) })
	}
	if commands == 0 {
		t.Error("no page has a command to run")
	}
}

func printsOnPage(t *testing.T, p docs.Page, script []docs.Block) {
	page, err := filepath.Abs(filepath.Join(root, p.Name))
	if err != nil {
		t.Fatal(err)
	}
	recording, err := filepath.Abs(filepath.Join(root, "testdata/recordings/attacks.jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	dir, own := t.TempDir(), filepath.Join("testdata", "docs", strings.TrimSuffix(filepath.Base(p.Name), ".md"))
	if _, err := os.Stat(own); err == nil {
		if err := os.CopyFS(dir, os.DirFS(own)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	if err := os.Symlink(recording, "audit.jsonl.gz"); err != nil {
		t.Fatal(err)
	}
	for _, b := range p.Blocks {
		first, _, _ := strings.Cut(b.Text, "\n")
		name, is := strings.CutPrefix(first, "# ")
		if b.Language != "yaml" || !is || !strings.HasSuffix(name, ".yaml") {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(b.Text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := p.Text
	for _, b := range script {
		first, _, _ := strings.Cut(b.Text, "\n")
		words, err := shell.Fields(strings.TrimPrefix(first, "$ "), nil)
		if err != nil || words[0] != "kaudit" {
			t.Errorf("%s: begins with %q, and not with $ kaudit: %v", b.Where(), first, err)
			continue
		}
		var out bytes.Buffer
		run(words[1:], &out, &out)
		is := first + "\n" + timeless(out.String())
		if diff := cmp.Diff(timeless(b.Text), is); diff != "" && !golden.Update() {
			t.Errorf("%s: prints something else; to accept it: go test ./cmd/kaudit -update\n%s", b.Where(), diff)
		}
		text = strings.Replace(text, b.Text, is, 1)
	}
	if golden.Update() {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// timeless replaces what depends on how quick the machine is.
func timeless(s string) string {
	s = regexp.MustCompile(`[0-9.]+(µs|ms|s)\b`).ReplaceAllString(s, "11ms")
	return regexp.MustCompile(`[0-9]+ events/s`).ReplaceAllString(s, "200000 events/s")
}

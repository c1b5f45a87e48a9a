package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fenced are the blocks of a page: yaml whose first line is a comment with a file's name, and console.
var fenced = regexp.MustCompile("(?ms)^```(yaml|console)\n(.*?)^```\n")

// TestRuleAuthoringPage does what docs/rule-authoring.md tells people to do, and compares what is printed.
func TestRuleAuthoringPage(t *testing.T) {
	page, err := filepath.Abs("../../docs/rule-authoring.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	recording, err := filepath.Abs("../../testdata/recordings/attacks.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.Symlink(recording, "audit.jsonl.gz"); err != nil {
		t.Fatal(err)
	}
	commands := 0
	is := fenced.ReplaceAllFunc(text, func(block []byte) []byte {
		parts := fenced.FindSubmatch(block)
		first, _, _ := strings.Cut(string(parts[2]), "\n")
		if name, is := strings.CutPrefix(first, "# "); is && strings.HasSuffix(name, ".yaml") {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, parts[2], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		command, is := strings.CutPrefix(first, "$ kaudit ")
		if !is {
			return block
		}
		commands++
		var out bytes.Buffer
		run(words(command), &out, &out)
		return []byte("```console\n" + first + "\n" + timeless(out.String()) + "```\n")
	})
	if commands == 0 {
		t.Fatal("there is no command on the page")
	}
	if *update {
		if err := os.WriteFile(page, is, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(timeless(string(text)), timeless(string(is))); !*update && diff != "" {
		t.Errorf("commands print something else than docs/rule-authoring.md says; to accept it: go test ./cmd/kaudit -update\n%s", diff)
	}
}

// timeless replaces what depends on how quick the machine is.
func timeless(s string) string {
	s = regexp.MustCompile(`[0-9.]+(µs|ms|s)\b`).ReplaceAllString(s, "11ms")
	return regexp.MustCompile(`[0-9]+ events/s`).ReplaceAllString(s, "200000 events/s")
}

// words splits a command line as a shell does, as far as the page needs it.
func words(line string) (list []string) {
	for _, m := range regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(line, -1) {
		list = append(list, m[1]+m[2])
	}
	return list
}

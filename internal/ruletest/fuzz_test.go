package ruletest_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"kaudit/internal/ruletest"
)

// Whatever stands in a test file, reading it ends, says what is wrong in a place that there is, and what is right runs.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"../../cmd/kaudit/testdata/test/*.yaml", "../../rules/testdata/*_test.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("no seeds %s: %v", pattern, err)
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	f.Add([]byte("tests: [{name: a, event: &a {<<: [*a, {verb: !!binary x}], user: {uid: 0x1f}}, patch: [{op: copy, from: /verb, path: /user/extra/-}], fires: {}}]"))
	f.Add([]byte("rules: r.yaml\nfixtures: [{folder: f, also: {Shell: [Exec]}}, f]\nmatching: first\n"))
	f.Add([]byte("events: {a: [b, {event: b}], b: '{\"auditID\":\"\\ud800\"}'}\ntests: [{name: é, event: a, quiet: Exec}]\n"))
	dir := f.TempDir() // and not the current one: inputs that fail are written below that
	for name, content := range map[string]string{"r.yaml": ruleFile, "e.jsonl": shell, "exec.jsonl": shell, "f/shell/fires.jsonl": shell, "f/exec/quiet.jsonl": shell, "shells.rules.yaml": ruleFile} {
		write(f, filepath.Join(dir, name), content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if bytes.Contains(content, []byte("/dev")) || bytes.Contains(content, []byte("/proc")) {
			t.Skip("there are files without an end")
		}
		name := filepath.Join(dir, "x_test.yaml")
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s := load(name)
		lines := yamlLines(content)
		for _, p := range s.Problems() {
			if p.Text == "" || p.Pos.File == "" {
				t.Errorf("%+v", p)
			}
			if p.Pos.File == name && (p.Pos.Line < 1 || p.Pos.Line > lines || p.Pos.Column < 1) {
				t.Errorf("%v is nowhere in %d lines", p.Pos, lines)
			}
			if r := p.Render(); utf8.Valid(content) && !utf8.ValidString(r) {
				t.Errorf("%q", r)
			}
		}
		r := s.Run(ruletest.Selection{Explain: true})
		var out bytes.Buffer
		if err := r.WriteJUnit(&out); err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(&out)
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if err := r.WriteText(io.Discard, ruletest.Look{Verbose: true, Coverage: true, Colour: true}); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteJSON(io.Discard); err != nil {
			t.Fatal(err)
		}
	})
}

// yamlLines counts lines as YAML does.
func yamlLines(content []byte) int {
	return 1 + strings.Count(strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(string(content)), "\n")
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(shell + "\n" + shell))
	f.Add([]byte(`[{"auditID":"1"},{"kind":"EventList","items":[{"auditID":"2"}]}]`))
	f.Add([]byte("{\"auditID\":\"1\"\n,}"))
	f.Add([]byte("\xef\xbb\xbf{}"))
	dir := f.TempDir()
	write(f, filepath.Join(dir, "x_test.yaml"), "tests: [{name: x, event: {file: e.jsonl}, fires: []}, {name: y, event: {file: e.yaml}, quiet: Exec}]\n")
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, name := range []string{"e.jsonl", "e.yaml"} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := load(filepath.Join(dir, "x_test.yaml"))
		for _, p := range s.Problems() {
			if p.Text == "" || p.Pos.Line > yamlLines(content) {
				t.Errorf("%+v", p)
			}
		}
		s.Run(ruletest.Selection{})
	})
}

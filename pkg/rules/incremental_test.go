package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kaudit/pkg/extract"
)

// TestOnlyChangesAreCompiled reads files entry by entry, so that each changes something of those before, and compiles
// behind each entry what it changed. What comes out is what comes out when everything is compiled anew.
func TestOnlyChangesAreCompiled(t *testing.T) {
	text, err := os.ReadFile("testdata/load.txt")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	var all []File // what refuses to load ends a case, so here are those that load behind each other
	for _, c := range strings.Split(string(text), "\n=== ")[1:] {
		_, body, _ := strings.Cut(c, "\n")
		files := entries(strings.ReplaceAll(body, "\n---\n", "\n"))
		compared += compareFiles(t, files)
		if _, err := Read(Options{}, append(all, files...)...); err == nil {
			all = append(all, files...)
		}
	}
	if compared += compareFiles(t, all); compared < 400 {
		t.Errorf("only %d entries were compared", compared)
	}
}

// The shipped rules, with their lists and macros changed behind them.
func TestOnlyChangesOfShippedRulesAreCompiled(t *testing.T) {
	names, err := filepath.Glob("../../rules/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatal("no rules: ", err)
	}
	a, b := newIncremental(), newIncremental()
	add := func(name, content string) {
		b.forget()
		got, want := a.add(name, content), b.add(name, content)
		if got != want {
			t.Fatalf("behind %s:\n%s", name, firstDifference(got, want))
		}
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		add(name, string(content))
	}
	for i := 0; i < len(a.lists.all); i += 9 {
		add(fmt.Sprintf("list%d.yaml", i), fmt.Sprintf("- {list: %s, items: [added], override: {items: append}}", a.lists.all[i].name))
	}
	for i := 0; i < len(a.macros.all); i += 9 {
		add(fmt.Sprintf("macro%d.yaml", i), fmt.Sprintf("- {macro: %s, condition: (ka.auditid != added)}", a.macros.all[i].name))
	}
}

// entries makes a file of each entry.
func entries(body string) (files []File) {
	for i, line := range strings.SplitAfter(body, "\n") {
		if i == 0 || strings.HasPrefix(line, "- ") {
			files = append(files, File{Name: fmt.Sprintf("%d.yaml", i)})
		}
		last := &files[len(files)-1]
		last.Content = append(last.Content, line...)
	}
	return files
}

func compareFiles(t *testing.T, files []File) (compared int) {
	t.Helper()
	a, b := newIncremental(), newIncremental()
	for _, f := range files {
		b.forget()
		got, want := a.add(f.Name, string(f.Content)), b.add(f.Name, string(f.Content))
		if got != want {
			t.Fatalf("behind\n%s\n%s", f.Content, firstDifference(got, want))
		}
		compared++
		if strings.HasPrefix(want, "error") {
			break
		}
	}
	return compared
}

func newIncremental() *collection {
	return &collection{fields: newFields(extract.Fields())}
}

// add reads a file into the collection as Read does, and renders what comes out.
func (c *collection) add(name, content string) string {
	var b strings.Builder
	r := &reader{file: newFile(name, content), into: c}
	problem := r.read([]byte(content))
	if problem != nil {
		return "error " + problem.Render()
	}
	var out Ruleset
	for _, p := range c.compile(&out) {
		b.WriteString("error " + p.Render())
	}
	if b.Len() > 0 {
		return b.String()
	}
	for _, p := range out.Warnings {
		fmt.Fprintf(&b, "warning %s %s", p.Code, p.Render())
	}
	for _, l := range out.Lists {
		fmt.Fprintf(&b, "%+v\n", l)
	}
	for _, m := range out.Macros {
		fmt.Fprintf(&b, "%+v %s\n", m, places(m.Condition))
	}
	for _, r := range out.Rules {
		fmt.Fprintf(&b, "%s %s %s %v %q %t %q %q %s %q %q %v %q\n%s\n", r.Name, r.Desc, r.Source, r.Priority, r.Tags, r.Enabled,
			r.Output, r.Text, r.Condition, r.Fields, r.OutputFields, r.Pos, r.Skipped, places(r.Condition))
	}
	return b.String()
}

// places renders where the parts of a condition come from.
func places(x Expr) string {
	var b strings.Builder
	Walk(x, func(x Expr) bool {
		at := x.at()
		fmt.Fprintf(&b, "%v %s %s\n", x.Pos(), at.macro, at.except)
		return true
	})
	return b.String()
}

// forget makes the next compilation one of everything.
func (c *collection) forget() {
	c.items = nil
	for _, m := range c.macros.all {
		m.parsed, m.expanded = nil, nil
	}
	for _, r := range c.rules.all {
		r.compiled = nil
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d\n got %s\nwant %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(g), len(w))
}

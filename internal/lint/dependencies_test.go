package lint

import (
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// modules are the folders of our modules.
var modules = []string{".", "build/release", "test/e2e/cluster", "test/e2e/sender", "test/e2e/packaging/tools"}

var (
	required = regexp.MustCompile(`(?m)^(?:require)?\s+(\S+\.\S+) v\S+`)
	row      = regexp.MustCompile("(?m)^\\| (`[^|]+`) \\|")
	quoted   = regexp.MustCompile("`([^`]+)`")
)

func TestEveryDependencyIsExplained(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]bool{}
	for _, r := range row.FindAllSubmatch(page, -1) {
		for _, q := range quoted.FindAllSubmatch(r[1], -1) {
			explained[string(q[1])] = true
		}
	}
	all := map[string]bool{}
	requires := map[string][]string{} // by folder of the module
	for _, m := range modules {
		text, err := os.ReadFile(filepath.Join(root, m, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range required.FindAllSubmatch(text, -1) {
			requires[m] = append(requires[m], string(r[1]))
			all[string(r[1])] = true
		}
	}
	for name := range explained {
		if !all[name] {
			t.Errorf("docs/dependencies.md explains %s, which no go.mod requires", name)
		}
	}
	walk(t, func(file string, source []byte) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			return
		}
		for _, i := range parsed.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			if m := moduleOf(name, requires[home(file)]); m != "" && !explained[m] {
				t.Errorf("%s imports %s: docs/dependencies.md has no row for %s", file, name, m)
				explained[m] = true // once is enough
			}
		}
	})
}

// home returns the folder of the module a file belongs to.
func home(file string) string {
	for _, m := range modules[1:] {
		if strings.HasPrefix(path.Dir(file)+"/", m+"/") {
			return m
		}
	}
	return modules[0]
}

// moduleOf returns the module that holds a package, or "" for the standard library's and our own.
func moduleOf(name string, modules []string) (longest string) {
	for _, m := range modules {
		if matches(m+"/...", name) && len(m) > len(longest) {
			longest = m
		}
	}
	return longest
}

package lint

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fenced  = regexp.MustCompile("(?s)\n```.*?\n```")
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	marks   = regexp.MustCompile(`[^\p{L}\p{N}\s_-]`)
)

// pages visits every page of the repository, by its path from the root.
func pages(t *testing.T, visit func(name, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, p)
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (d.Name()[0] == '.' || d.Name() == "testdata" || name == "dist"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(p) != ".md":
			return nil
		}
		text, err := os.ReadFile(p)
		if err == nil {
			visit(filepath.ToSlash(name), string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Links inside the repository lead somewhere, those to a heading to one that is there.
func TestLinksLeadSomewhere(t *testing.T) {
	pages(t, func(name, text string) {
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, ":") {
				continue // elsewhere
			}
			file := filepath.Join(root, name)
			if target != "" {
				file = filepath.Join(root, filepath.Dir(name), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
				continue
			}
			if anchor == "" || filepath.Ext(file) != ".md" {
				continue
			}
			page, err := os.ReadFile(file)
			if err != nil {
				t.Error(err)
				continue
			}
			if !hasHeading(string(page), anchor) {
				t.Errorf("%s links to %s, which has no such heading", name, m[1])
			}
		}
	})
}

// hasHeading reports whether a page has the heading that GitHub gives an anchor.
func hasHeading(page, anchor string) bool {
	for _, h := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		if strings.ReplaceAll(strings.ToLower(marks.ReplaceAllString(h[1], "")), " ", "-") == anchor {
			return true
		}
	}
	return false
}

// The index of the documentation has every page.
func TestTheIndexHasEveryPage(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(root, "docs", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages(t, func(name, _ string) {
		page, is := strings.CutPrefix(name, "docs/")
		if !is || strings.Contains(page, "/") || page == "README.md" {
			return
		}
		if !strings.Contains(string(index), "]("+page+")") {
			t.Errorf("docs/README.md has no link to %s", page)
		}
	})
}

// What was tested with is what is written down: the versions that go.mod files and the tests name.
func TestCompatibilityNamesWhatIsTested(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct{ file, pattern, says string }{
		{"plugin.yaml", `(?m)^requiredAPIVersion: (\S+)$`, "plugin API %s"},
		{"test/e2e/cluster/binaries.go", `kubernetesVersion = "v([^"]+)"`, "Kubernetes %s"},
		{"test/e2e/packaging/tools/go.mod", `falcosecurity/falcoctl v(\S+)`, "falcoctl %s"},
		{"test/e2e/packaging/tools/go.mod", `sigstore/cosign/v3 v(\S+)`, "cosign %s"},
		{"test/e2e/packaging/same_test.go", `minor > (\d+)`, "glibc 2.%s"},
		{"rules/00_lists_and_macros.yaml", `(?m)^- required_engine_version: (\S+)$`, "engine %s"},
	} {
		text, err := os.ReadFile(filepath.Join(root, at.file))
		if err != nil {
			t.Fatal(err)
		}
		m := regexp.MustCompile(at.pattern).FindSubmatch(text)
		if m == nil {
			t.Errorf("%s does not have %s", at.file, at.pattern)
			continue
		}
		if says := strings.Replace(at.says, "%s", string(m[1]), 1); !strings.Contains(string(page), says) {
			t.Errorf("docs/compatibility.md does not say %q, as %s does", says, at.file)
		}
	}
}

package lint

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kaudit/internal/docs"
)

var (
	link      = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	reference = regexp.MustCompile(`(?m)^ *\[[^\]]+\]: .*|\]\([^)\s]+\s[^)]*\)`)
	fenced    = regexp.MustCompile("(?s)\n```.*?\n```")
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
	marks     = regexp.MustCompile(`[^\p{L}\p{N}\s_-]`)
)

// Links inside the repository lead somewhere, those to a heading to one that is there. Links elsewhere are ones.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, p := range docs.Pages(t, root) {
		name, text := p.Name, fenced.ReplaceAllString(p.Text, "")
		if m := reference.FindString(text); m != "" {
			t.Errorf("%s: links are written [text](address), for this test to find them: %s", name, m)
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, ":") {
				if u, err := url.Parse(m[1]); err != nil || u.Scheme != "https" || !strings.Contains(u.Hostname(), ".") {
					t.Errorf("%s links to %s, which is no https address: %v", name, m[1], err)
				}
				continue
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
	}
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
	for _, p := range docs.Pages(t, root) {
		page, is := strings.CutPrefix(p.Name, "docs/")
		if !is || strings.Contains(page, "/") || page == "README.md" {
			continue
		}
		if !strings.Contains(string(index), "]("+page+")") {
			t.Errorf("docs/README.md has no link to %s", page)
		}
	}
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
		{"test/e2e/packaging/tools/go.mod", `sigs.k8s.io/kind v(\S+)`, "kind %s"},
		{"test/e2e/packaging/apiserver_test.go", `certManagerVersion = "v([^"]+)"`, "cert-manager %s"},
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

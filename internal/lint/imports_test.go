// Package lint holds what tests can hold of the design: which way imports point, and that files are formatted.
package lint

import (
	"bytes"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// A layer says which of our own packages some packages may import. As for the go command, /... stands for a folder and
// all below it. Tests may import what they like.
type layer struct {
	folders string
	may     []string
	why     string
}

// layers, from the bottom up. The first that fits a folder counts.
var layers = []layer{
	{"pkg/audit", nil, "the wire format stands on its own"},
	{"pkg/extract", []string{"pkg/audit"}, "fields know events, and not where they come from"},
	{"pkg/rules", []string{"internal/nearest", "pkg/audit", "pkg/extract"}, "rules know fields, and nothing of the host"},
	{"pkg/policy", []string{"internal/nearest", "pkg/audit", "pkg/extract", "pkg/rules"}, "policies know what rules ask, and nothing of the host"},
	{"pkg/source", nil, "what a source is, is said without any"},
	{"pkg/source/all", []string{"pkg/source/..."}, "the list of sources names each of them"},
	{"pkg/source/...", []string{"internal/cursor", "internal/logfile", "pkg/source"}, "a source knows its transport, and neither events nor fields nor other sources"},
	{"internal/nearest", nil, "it knows words"},
	{"internal/cputime", nil, "it knows clocks"},
	{"internal/golden", nil, "it compares texts"},
	{"internal/cursor", nil, "it keeps positions, and does not know of what"},
	{"internal/config", []string{"internal/nearest", "pkg/audit", "pkg/source"}, "settings know what is set, which does not know where its settings come from"},
	{"internal/spool", []string{"internal/cursor", "pkg/source"}, "the spool keeps deliveries, and knows neither what is in them nor who takes them"},
	{"internal/metric", nil, "it knows names"},
	{"internal/endpoint", []string{"internal/metric"}, "it shows readings, and takes none"},
	{"internal/watch", []string{"pkg/source"}, "it looks at deliveries from outside"},
	{"internal/feed", []string{"internal/config", "internal/metric", "internal/spool", "internal/watch", "pkg/source"}, "it runs sources, and names none"},
	{"internal/noise", []string{"pkg/audit"}, "it knows events, and not what becomes of them"},
	{"internal/stream", []string{"internal/noise", "pkg/audit", "pkg/source"}, "the stream knows deliveries and events, and neither fields nor the host"},
	{"internal/abi", []string{"pkg/audit", "pkg/extract"}, "the boundary knows events and fields, and not where events come from"},
	{"internal/abi/sourcing", []string{"internal/abi", "internal/endpoint", "internal/metric", "internal/noise", "internal/stream", "pkg/audit", "pkg/source"}, "it knows the stream, and no source by name"},
	{"internal/docgen", []string{"", "internal/config", "internal/metric", "internal/ruletest", "pkg/..."}, "docs are made from the tables"},
	{"internal/ruletest", []string{"internal/nearest", "pkg/audit", "pkg/extract", "pkg/rules"}, "tests of rules know rules and events"},
	{"internal/convert", []string{"pkg/audit", "pkg/rules"}, "it rewrites the text of rule files"},
	{"internal/rulecheck", []string{"internal/convert", "internal/nearest", "pkg/audit", "pkg/extract", "pkg/rules"}, "checks of rules know rules and fields"},
	{"internal/logfile", nil, "it knows what programs that write logs do to their files"},
	{"internal/doctor", []string{"", "internal/config", "internal/nearest", "pkg/policy", "pkg/rules", "pkg/source", "pkg/source/all"}, "it looks at what others are told, and names no source but by its kind"},
	{"internal/lint", nil, "it reads files"},
	{"plugin", []string{"", "internal/abi", "internal/abi/sourcing", "internal/config", "internal/feed", "pkg/extract", "pkg/source", "pkg/source/all"}, "the library wires the parts"},
	{"plugin/json", []string{"", "internal/abi", "pkg/extract"}, "the library wires the parts"},
	{"cmd/...", []string{"", "internal/config", "internal/convert", "internal/doctor", "internal/feed", "internal/nearest", "internal/rulecheck", "internal/ruletest", "internal/stream", "pkg/..."}, "the command has no C in it"},
	{"build/release", []string{""}, "packages are made of files"},
	{"build/image/place", nil, "it copies files"},
	{"test/...", []string{"", "internal/...", "pkg/...", "test/..."}, "tests"},
	{"", nil, "the root says who we are"},
}

// keepers are packages of others that only some of ours may import, tests included.
var keepers = map[string]struct {
	folders []string
	why     string
}{
	"C":                               {[]string{"internal/abi", "internal/abi/sourcing"}, "everything else builds with CGO_ENABLED=0"},
	"unsafe":                          {[]string{"internal/abi", "internal/abi/sourcing"}, "memory shared with the host is its business alone"},
	"github.com/valyala/fastjson/...": {[]string{"pkg/audit"}, "the JSON library can be changed in one place (docs/adr/0001-scanner-and-fastjson.md)"},
	"k8s.io/apiserver/pkg/audit/...":  {[]string{"pkg/policy", "test/e2e/sender"}, "the API server's policies bring its machinery with them, which the library must not have"},
	"github.com/falcosecurity/plugin-sdk-go/...": {[]string{"internal/abi", "internal/abi/sourcing", "plugin", "plugin/json"}, "the boundary speaks it and the library wires it (docs/adr/0002-own-symbols.md)"},
}

func TestImportsPointOneWay(t *testing.T) {
	walk(t, func(file string, source []byte) {
		folder := path.Dir(file)
		if folder == "." {
			folder = ""
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			return
		}
		for _, i := range parsed.Imports {
			name, _ := strconv.Unquote(i.Path.Value)
			if ours, is := strings.CutPrefix(name+"/", "kaudit/"); is {
				if !strings.HasSuffix(file, "_test.go") {
					own(t, file, folder, strings.TrimSuffix(ours, "/"))
				}
				continue
			}
			for kept, by := range keepers {
				if matches(kept, name) && !slices.Contains(by.folders, folder) {
					t.Errorf("%s imports %s, which is for %s only: %s", file, name, strings.Join(by.folders, " and "), by.why)
				}
			}
		}
	})
}

// own checks an import of one of our own packages.
func own(t *testing.T, file, folder, imported string) {
	for _, l := range layers {
		if !matches(l.folders, folder) {
			continue
		}
		if !slices.ContainsFunc(l.may, func(m string) bool { return matches(m, imported) }) {
			t.Errorf("%s imports kaudit/%s, and may import only %q of ours: %s", file, imported, l.may, l.why)
		}
		return
	}
	t.Errorf("%s: no layer says what %s may import; add one in internal/lint/imports_test.go", file, folder)
}

// matches reports whether a package is one of those a pattern stands for.
func matches(pattern, name string) bool {
	folder, all := strings.CutSuffix(pattern, "/...")
	return name == folder || all && strings.HasPrefix(name, folder+"/")
}

func TestFilesAreFormatted(t *testing.T) {
	walk(t, func(file string, source []byte) {
		if formatted, err := format.Source(source); err != nil {
			t.Errorf("%s: %v", file, err)
		} else if !bytes.Equal(source, formatted) {
			t.Errorf("%s is not formatted; run gofmt -w %s", file, file)
		}
	})
}

// walk calls visit with every Go file of the tree, by its path from the root.
func walk(t *testing.T, visit func(file string, source []byte)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, p)
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (d.Name()[0] == '.' || d.Name() == "testdata" || name == "dist"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(p) != ".go":
			return nil
		}
		source, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		n++
		visit(filepath.ToSlash(name), source)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Fatal("found no Go files")
	}
}

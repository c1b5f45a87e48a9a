package ruletest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kaudit/pkg/rules"
)

// suffixes are how names of test files end. Rules and tests of them both are YAML: the name tells which is which.
var suffixes = []string{"_test.yaml", "_test.yml"}

// IsTestFile reports whether a file of this name is a test file.
func IsTestFile(name string) bool {
	return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) })
}

// Found is what [Find] finds.
type Found struct {
	Files    []string         // the test files, each once
	Seen     Seen             // the folders they were looked for in: those given, and those below
	Problems []*rules.Problem // of folders that cannot be read
}

// Find finds test files. A file that is named is one whatever its name; of a folder it is those named *_test.yaml or
// *_test.yml in it and below. Folders whose names begin with a dot are left out, and so is what package managers fill.
func Find(paths ...string) Found {
	f := Found{Seen: Seen{}}
	add := func(name string) {
		if !slices.Contains(f.Files, name) {
			f.Files = append(f.Files, name)
		}
	}
	for _, p := range paths {
		p = filepath.Clean(p)
		if info, err := os.Stat(p); err != nil || !info.IsDir() {
			add(p) // if it is not there, Load says so
			continue
		}
		err := filepath.WalkDir(p, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil && name == p:
				return err
			case err != nil: // one folder that may not be read does not hide the others
				f.Problems = append(f.Problems, unreadable(name, err))
				return fs.SkipDir
			case d.IsDir() && name != p && leftOut(d.Name()):
				return fs.SkipDir
			case d.IsDir():
				f.Seen.add(name)
			case IsTestFile(name):
				add(name)
			}
			return nil
		})
		if err != nil {
			f.Problems = append(f.Problems, unreadable(p, err))
		}
	}
	return f
}

func leftOut(folder string) bool {
	return strings.HasPrefix(folder, ".") || folder == "node_modules" || folder == "vendor"
}

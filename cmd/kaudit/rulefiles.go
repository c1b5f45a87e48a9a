package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"kaudit"
	"kaudit/pkg/rules"
)

// readRuleFiles reads rule files, and those in folders, in the order in which Falco does. - is standard input.
func readRuleFiles(stdin io.Reader, paths ...string) ([]rules.File, error) {
	var files []rules.File
	for _, p := range paths {
		if p == "-" {
			content, err := io.ReadAll(stdin)
			if err != nil {
				return nil, badInput{fmt.Errorf("standard input: %w", err)}
			}
			files = append(files, rules.File{Name: "-", Content: content})
			continue
		}
		names := []string{p}
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			if names = yamlIn(os.DirFS(p)); len(names) == 0 {
				return nil, badInput{fmt.Errorf("%s: there are no rule files in the folder, *.yaml or *.yml", p)}
			}
			for i := range names {
				names[i] = filepath.Join(p, names[i])
			}
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				var of *fs.PathError
				if errors.As(err, &of) {
					err = of.Err
				}
				return nil, badInput{fmt.Errorf("%s: %w", name, err)}
			}
			files = append(files, rules.File{Name: name, Content: content})
		}
	}
	return files, nil
}

// yamlIn returns the rule files in a folder.
func yamlIn(folder fs.FS) []string {
	var names []string
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		found, _ := fs.Glob(folder, pattern)
		names = append(names, slices.DeleteFunc(found, func(name string) bool {
			info, err := fs.Stat(folder, name)
			return err != nil || !info.Mode().IsRegular()
		})...)
	}
	slices.Sort(names)
	return names
}

// builtInRuleFiles are the rules that come with kaudit.
func builtInRuleFiles() ([]rules.File, error) {
	var files []rules.File
	folder, err := fs.Sub(kaudit.Rules, "rules")
	if err != nil {
		return nil, err
	}
	for _, name := range yamlIn(folder) {
		content, err := fs.ReadFile(folder, name)
		if err != nil {
			return nil, err
		}
		files = append(files, rules.File{Name: "rules/" + name, Content: content})
	}
	return files, nil
}

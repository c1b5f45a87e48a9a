// Command docgen writes the pages of docs/ that are made from the code: the fields, the sources, the rules, the
// metrics, and the schema of the configuration; the audit policy that serves the rules, with its figures; and the number
// of fields in plugin.yaml. It runs in the root of the repository.
//
//	go run ./internal/docgen          writes the pages that changed
//	go run ./internal/docgen -check   fails if a page is missing or not as it would be written
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "write nothing; fail if a page is missing or stale")
	flag.Parse()
	if err := run(".", *check); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

// run writes the pages of the repository at root, or checks them.
func run(root string, check bool) error {
	if _, err := os.Stat(filepath.Join(root, "plugin.yaml")); err != nil {
		return errors.New("this is not the root of the repository; run make generate there")
	}
	pages, err := render(os.DirFS(root))
	if err != nil {
		return err
	}
	var stale []string
	for _, p := range pages {
		file := filepath.Join(root, p.path)
		now, err := os.ReadFile(file)
		switch {
		case err == nil && bytes.Equal(now, p.content):
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		case check && err != nil:
			stale = append(stale, p.path+" is missing")
		case check:
			stale = append(stale, p.path+" is stale")
		default:
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(file, p.content, 0o644); err != nil {
				return err
			}
			fmt.Println("wrote", p.path)
		}
	}
	if stale != nil {
		return fmt.Errorf("%s; run make generate", strings.Join(stale, ", "))
	}
	return nil
}

// Package docs reads the pages of the repository for the tests that hold them true: fenced blocks, and what the comment
// above one says of who runs it.
package docs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A Page is a file of Markdown.
type Page struct {
	Name   string // path from the root of the repository, with slashes
	Text   string
	Blocks []Block
}

// Generated reports whether the page is made by internal/docgen, whose tests answer for what is on it.
func (p Page) Generated() bool { return strings.HasPrefix(p.Text, "<!-- Made by internal/docgen") }

// A Block is fenced. What is above it may be one of two comments:
//
//	<!-- run by TestName -->    a test takes it by Commands
//	<!-- not run: reason -->    it cannot be run where tests run
//
// A block of shell without either is run by make e2e, after those before it on the page, in a copy of the repository.
type Block struct {
	Page     string
	Line     int // of its first line, as editors count
	Language string
	Text     string
	RunBy    string // name of a test
	NotRun   string // reason
}

// Where says where a block is, as compilers do.
func (b Block) Where() string { return fmt.Sprintf("%s:%d", b.Page, b.Line) }

// Runnable reports whether the block is shell that runs as it stands.
func (b Block) Runnable() bool { return b.Language == "sh" && b.RunBy == "" && b.NotRun == "" }

// fenced is a block with the comment above it. In a list it is indented.
var fenced = regexp.MustCompile("(?ms)^(?: *<!-- (?:run by (\\w+)|not run: ([^\n]+?)) -->\n)?( *)```(\\w*)\n(.*?)^ *```$")

// Pages reads every page of the repository that root is the folder of.
func Pages(t testing.TB, root string) (pages []Page) {
	t.Helper()
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, file)
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (d.Name()[0] == '.' || d.Name() == "testdata" || name == "dist"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(file) != ".md":
			return nil
		}
		text, err := os.ReadFile(file)
		if err == nil {
			pages = append(pages, read(filepath.ToSlash(name), string(text)))
		}
		return err
	})
	if err != nil || len(pages) == 0 {
		t.Fatalf("found %d pages: %v", len(pages), err)
	}
	return pages
}

func read(name, text string) Page {
	p := Page{Name: name, Text: text}
	for _, m := range fenced.FindAllStringSubmatchIndex(text, -1) {
		part := func(i int) string {
			if m[2*i] < 0 {
				return ""
			}
			return text[m[2*i]:m[2*i+1]]
		}
		p.Blocks = append(p.Blocks, Block{
			Page: name, Line: 1 + strings.Count(text[:m[10]], "\n"), RunBy: part(1), NotRun: part(2), Language: part(4),
			Text: strings.ReplaceAll(strings.TrimPrefix(part(5), part(3)), "\n"+part(3), "\n"),
		})
	}
	return p
}

// Commands returns the blocks of a page that name the test as the one that runs them. A test without any has nothing to
// answer for, and fails.
func Commands(t testing.TB, root, page string) (blocks []Block) {
	t.Helper()
	test, _, _ := strings.Cut(t.Name(), "/")
	for _, p := range Pages(t, root) {
		for _, b := range p.Blocks {
			if p.Name == page && b.RunBy == test {
				blocks = append(blocks, b)
			}
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no block that is run by %s", page, test)
	}
	return blocks
}

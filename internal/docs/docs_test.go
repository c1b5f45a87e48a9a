package docs_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kaudit/internal/docs"
)

func TestPages(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"docs/a.md": "# A\n\n```sh\nmake run\n```\n\n<!-- run by TestB -->\n```console\n$ b\nB\n```\n\n- in a list:\n\n" +
			"  <!-- not run: C is elsewhere -->\n  ```yaml\n  c:\n    d: 1\n  ```\n\n```\ntext\n```\n",
		"testdata/b.md": "```sh\nnone\n```\n", "dist/c.md": "", ".d/d.md": "", "docs/e.txt": "",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pages := docs.Pages(t, root)
	if len(pages) != 1 {
		t.Fatalf("%d pages, want 1", len(pages))
	}
	want := []docs.Block{
		{Page: "docs/a.md", Line: 4, Language: "sh", Text: "make run\n"},
		{Page: "docs/a.md", Line: 9, Language: "console", Text: "$ b\nB\n", RunBy: "TestB"},
		{Page: "docs/a.md", Line: 17, Language: "yaml", Text: "c:\n  d: 1\n", NotRun: "C is elsewhere"},
		{Page: "docs/a.md", Line: 22, Text: "text\n"},
	}
	if diff := cmp.Diff(want, pages[0].Blocks); diff != "" {
		t.Error(diff)
	}
	if b := pages[0].Blocks; !b[0].Runnable() || b[1].Runnable() || b[2].Runnable() || b[3].Runnable() {
		t.Error("other blocks than the first are run as they stand, or it is not")
	}
}

//go:build linux

package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kaudit/test/e2e"
)

// A block of shell below this mark is run by the test.
var runnable = regexp.MustCompile("(?s)\n<!-- run -->\n```sh\n(.*?)\n```")

// The marked commands of a page work, one after another, in a fresh copy of the repository.
func TestCommandsInTheDocsWork(t *testing.T) {
	root := e2e.Root(t)
	var files []string
	for _, pattern := range []string{"*.md", "docs/*.md", "build/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	n := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var script strings.Builder
		for _, block := range runnable.FindAllSubmatch(text, -1) {
			script.Write(append(block[1], '\n'))
			n++
		}
		if script.Len() == 0 {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			cmd := exec.Command("bash", "-euxo", "pipefail", "-c", script.String())
			cmd.Dir = copyTree(t)
			if err := run(cmd); err != nil {
				t.Error(err)
			}
		})
	}
	if n == 0 {
		t.Error("no page has a block to run")
	}
}

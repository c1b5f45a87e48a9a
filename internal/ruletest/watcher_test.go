package ruletest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestTestsWaitUntilFilesAreWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	size := 0
	write := func() {
		size++
		if err := os.WriteFile(file, []byte(strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	seen := Seen{}
	seen.add(file)
	w := watcher{seen, seen}
	for range 3 {
		write()
		if got := w.look(); got != nil {
			t.Fatalf("while it is written: %q", got)
		}
	}
	if got := w.look(); !slices.Equal(got, []string{file}) {
		t.Fatalf("when it is written: %q", got)
	}
}

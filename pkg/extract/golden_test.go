package extract_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kaudit/internal/golden"
)

// TestGoldenEvents compares every field of every event in testdata/events with the golden file beside it, which has a
// line for each field that exists: its name with the argument of its example, and its value as the host prints it. The
// events are what a real API server wrote.
func TestGoldenEvents(t *testing.T) {
	files, err := filepath.Glob("testdata/events/*.json")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d events, %v", len(files), err)
	}
	a := newAsker(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !a.load(bytes.TrimSpace(raw)) {
				t.Fatal("not JSON")
			}
			var out strings.Builder
			for _, f := range a.table {
				name := f.Name
				if f.Example.Arg != "" {
					name += "[" + f.Example.Arg + "]"
				}
				q := a.question(name)
				a.value.Reset()
				if q.Answer(&a.event, &a.value); a.value.Len() > 0 {
					fmt.Fprintf(&out, "%s = %s\n", name, shown(q.Field, &a.value))
				}
			}
			golden.Compare(t, strings.TrimSuffix(file, ".json")+".golden", out.String())
		})
	}
}

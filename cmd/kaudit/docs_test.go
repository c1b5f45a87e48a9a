package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// sent are the events that docs have people send to their Falco.
var sent = regexp.MustCompile(`zcat (testdata/\S+) \| head -n 1 \|`)

// Who sends what the docs say to send gets the alert that they promise.
func TestEventsInTheDocsFire(t *testing.T) {
	const root = "../.."
	for _, page := range []string{"README.md", "docs/quickstart.md"} {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		m := sent.FindSubmatch(text)
		if m == nil {
			t.Errorf("%s sends no event", page)
			continue
		}
		f, err := os.Open(filepath.Join(root, string(m[1])))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(z).ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		event := filepath.Join(t.TempDir(), "audit.log")
		if err := os.WriteFile(event, line, 0o600); err != nil {
			t.Fatal(err)
		}
		var alerts, notes bytes.Buffer
		if code := run([]string{"run", "-q", event}, &alerts, &notes); code != exitOK || alerts.Len() == 0 {
			t.Errorf("%s: the first event of %s fires nothing: exit code %d, %s", page, m[1], code, &notes)
		}
	}
}

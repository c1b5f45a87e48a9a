package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const threeEvents = `{"auditID":"fires-x-a","stage":"ResponseStarted","verb":"get","user":{"username":"mallory"}}
{"auditID":"fires-x-a","stage":"ResponseComplete","verb":"get","user":{"username":"mallory"}}
{"auditID":"1","stage":"ResponseComplete","verb":"create","user":{"username":"system:apiserver"}}
`

func TestFind(t *testing.T) {
	r, err := readRecording([]byte(threeEvents))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		f    fixture
		want int
	}{
		{"by ID and stage", fixture{auditID: "fires-x-a", stage: "ResponseStarted"}, 0},
		{"later stage", fixture{auditID: "fires-x-a", stage: "ResponseComplete"}, 1},
		{"by content", fixture{auditID: "bootstrap", stage: "ResponseComplete", match: func(e *event) bool { return e.Verb == "create" }}, 2},
		{"wrong stage", fixture{auditID: "fires-x-a", stage: "Panic"}, -1},
		{"no such request", fixture{auditID: "fires-x-b", stage: "ResponseComplete"}, -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			line, err := r.find(test.f)
			if test.want < 0 {
				if err == nil {
					t.Fatalf("found %s", line)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Split(threeEvents, "\n")[test.want]; string(line) != want {
				t.Errorf("found %s, want %s", line, want)
			}
		})
	}
}

func TestReadRecordingNamesTheBadLine(t *testing.T) {
	if _, err := readRecording([]byte("{}\n{\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error is %v, want one that names line 2", err)
	}
}

func TestWriteFixturesKeepsBytes(t *testing.T) {
	r, err := readRecording([]byte(threeEvents))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	fixtures := []fixture{
		{slug: "x", verdict: "fires", auditID: "fires-x-a", stage: "ResponseComplete"},
		{slug: "x", verdict: "quiet", auditID: "fires-x-a", stage: "ResponseStarted"},
	}
	if _, err := writeFixtures(root, r, fixtures); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"quiet", "fires"} {
		content, err := os.ReadFile(filepath.Join(root, "rules", "testdata", "x", name+".jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.SplitAfter(threeEvents, "\n")[i]; string(content) != want {
			t.Errorf("%s.jsonl has %s, want %s", name, content, want)
		}
	}
	if _, err := writeFixtures(root, r, append(fixtures, fixtures[0])); err == nil {
		t.Error("the same name twice is no error")
	}
}

func TestWriteCompressedIsDeterministic(t *testing.T) {
	var files [2][]byte
	for i := range files {
		path := filepath.Join(t.TempDir(), "r.gz")
		if _, err := writeCompressed(path, [][]byte{[]byte("a"), []byte("b")}); err != nil {
			t.Fatal(err)
		}
		files[i], _ = os.ReadFile(path)
	}
	if len(files[0]) == 0 || !bytes.Equal(files[0], files[1]) {
		t.Error("two files of the same lines differ")
	}
}

func TestChooseBodies(t *testing.T) {
	var bodies [][]byte
	for i := range 100 {
		bodies = append(bodies, bytes.Repeat([]byte{'x'}, i+1))
	}
	chosen := chooseBodies(bodies, 5, 90)
	if len(chosen) != 5 || len(chosen[0]) != 1 || len(chosen[4]) != 90 {
		t.Errorf("chose %d bodies, first %d bytes, last %d bytes", len(chosen), len(chosen[0]), len(chosen[len(chosen)-1]))
	}
}

// TestKeptEvents checks what the last recording left in the repository.
func TestKeptEvents(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	files, err := filepath.Glob(filepath.Join(root, "testdata", "recordings", "*.jsonl.gz"))
	if err != nil || len(files) == 0 {
		t.Skip("nothing is recorded")
	}
	total := int64(0)
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
		unzipped, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(unzipped)
		lines.Buffer(nil, 4<<20)
		for n := 1; lines.Scan(); n++ {
			if !json.Valid(lines.Bytes()) {
				t.Errorf("%s:%d is not JSON", name, n)
			}
			// The beginning of a JSON Web Token, in base64 of base64 too.
			for _, token := range []string{`"eyJhbGciOi`, "Bearer eyJ", "ZXlKaGJHY2lPa"} {
				if bytes.Contains(lines.Bytes(), []byte(token)) {
					t.Errorf("%s:%d holds a token", name, n)
				}
			}
		}
		if err := lines.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if total > 2<<20 {
		t.Errorf("the recordings have %d bytes, which is too much for a repository", total)
	}
}

// Package e2e has what the end-to-end tests share, and other tests that read recordings: the library as it is built, the
// rules and recordings of the repository. The tests themselves are in the folders below; make e2e runs them.
package e2e

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kaudit/pkg/audit"
)

// Root returns the folder of the repository.
func Root(t testing.TB) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "kaudit").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return strings.TrimSpace(string(out))
}

var build, buildJSON sync.Once

// Library builds the library, once in a process, and returns its path: dist/libk8saudit.so.
func Library(t testing.TB) string { return library(t, &build, "libk8saudit.so", "kaudit/plugin") }

// JSONLibrary builds the library for any JSON, once in a process, and returns its path: dist/libjson.so.
func JSONLibrary(t testing.TB) string {
	return library(t, &buildJSON, "libjson.so", "kaudit/plugin/json")
}

func library(t testing.TB, once *sync.Once, file, pkg string) string {
	t.Helper()
	path := filepath.Join(Root(t), "dist", file)
	once.Do(func() {
		cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", path, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // tests that need no C themselves run without
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build the library: %v\n%s", err, out)
		}
	})
	return path
}

// RuleFiles returns the files of the ruleset in load order.
func RuleFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(Root(t), "rules", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no rule files: %v", err)
	}
	return files
}

// Lines reads a file of JSON lines, compressed or not.
func Lines(t testing.TB, path string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(path, ".gz") {
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if data, err = io.ReadAll(r); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	if len(lines) == 0 || len(lines[0]) == 0 {
		t.Fatalf("%s is empty", path)
	}
	return lines
}

// FreeAddress returns a loopback address at which nobody listens now.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// WriteLines writes JSON lines to a file in a temporary folder.
func WriteLines(t testing.TB, lines [][]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, append(bytes.Join(lines, []byte("\n")), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Split takes the notices out of events. An engine is sent them as asynchronous events, and has them before all others:
// their times are older.
func Split(t testing.TB, lines [][]byte) (notices, events [][]byte) {
	t.Helper()
	var e audit.Event
	for _, line := range lines {
		if !e.Load(line) {
			t.Fatalf("not a JSON object: %.200s", line)
		}
		if e.IsNotice() {
			notices = append(notices, line)
		} else {
			events = append(events, line)
		}
	}
	stamp := func(line []byte) (at time.Time) {
		e.Load(line)
		at, _ = e.NoticeTime()
		return at
	}
	slices.SortStableFunc(notices, func(a, b []byte) int { return stamp(a).Compare(stamp(b)) })
	return notices, events
}

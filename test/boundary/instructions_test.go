//go:build linux

package boundary

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/instructions.txt anew")

// instructionsFile has what was counted last, of code that was found good, and what compiled it.
const instructionsFile = "testdata/instructions.txt"

// tolerance is how far a count may be off before somebody has to say why. Two runs of one build differ by half a
// percent: goroutines meet in another order.
const tolerance = 0.03

// TestInstructions counts the instructions an event takes from a file to the host, twenty questions included, and those
// of one call of plugin_extract_fields. Unlike seconds they are the same on a busy machine. What the library takes to
// start is left out: it is in the short run and in the long one.
func TestInstructions(t *testing.T) {
	if testing.Short() || runtime.GOARCH != "amd64" {
		t.Skip("takes half a minute, and the counts are those of amd64")
	}
	if _, err := exec.LookPath("valgrind"); err != nil {
		t.Skip("valgrind is not installed")
	}
	library, host := build(t, nil, nil)
	one, err := os.ReadFile(sample(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Count(one, []byte("\n"))
	write := func(name string, content []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	first := write("first.log", one[:bytes.IndexByte(one, '\n')+1])
	count := func(times int, args ...string) float64 {
		file := write("audit.log", bytes.Repeat(one, times))
		return float64(instructions(t, times*lines, append(args, host, library, "bench", file, first)...))
	}
	const short, long = 1, 2
	per := func(unit int, args ...string) float64 {
		return (count(long, args...) - count(short, args...)) / float64((long-short)*lines*unit)
	}
	fields := strings.Count(typical, "\n")
	got := map[string]float64{
		"event": per(1),
		"call":  per(fields, "--toggle-collect=plugin_extract_fields"),
	}
	with := compilers(t)
	if *update {
		text := fmt.Sprintf("%s\nevent %.0f\ncall %.1f\n", with, got["event"], got["call"])
		if err := os.WriteFile(instructionsFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(instructionsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, counts, _ := strings.Cut(string(text), "\n")
	for line := range strings.Lines(counts) {
		var what string
		var want float64
		if _, err := fmt.Sscan(line, &what, &want); err != nil {
			t.Fatalf("%s: %q: %v", instructionsFile, line, err)
		}
		t.Logf("%s: %.1f instructions, %.1f before", what, got[what], want)
		if before != with {
			continue
		}
		if off := got[what]/want - 1; off > tolerance || off < -tolerance {
			t.Errorf("%s: %.1f instructions, %.1f before (%+.1f %%): if that is meant, write it down with go test ./test/boundary -run Instructions -update",
				what, got[what], want, 100*off)
		}
	}
	if before != with {
		t.Skipf("counted with %s; what is written down is of %s", with, before)
	}
}

// compilers names those of Go and C: others make other instructions.
func compilers(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("gcc", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return runtime.Version() + ", " + first
}

var collected = regexp.MustCompile(`Collected : (\d+)`)

// instructions runs the host's bench of so many events under callgrind, whose arguments come first, and returns how many
// instructions it took.
func instructions(t *testing.T, events int, args ...string) int {
	t.Helper()
	cmd := exec.Command("valgrind", append([]string{"--tool=callgrind", "--callgrind-out-file=/dev/null"}, args...)...)
	// Without collections and preemption by signals, which come when they like; and valgrind does not take the signals.
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	cmd.Stdin = strings.NewReader(typical)
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("valgrind: %v\n%s", err, log.Bytes())
	}
	var result struct{ Events int }
	last := bytes.TrimSpace(out)[bytes.LastIndexByte(bytes.TrimSpace(out), '\n')+1:]
	if err := json.Unmarshal(last, &result); err != nil || result.Events != events {
		t.Fatalf("the host saw %d events of %d (%v): %s", result.Events, events, err, out)
	}
	found := collected.FindSubmatch(log.Bytes())
	if found == nil {
		t.Fatalf("valgrind counted nothing:\n%s", log.Bytes())
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

//go:build linux

package tail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kaudit/internal/stream"
	"kaudit/pkg/audit"
	"kaudit/pkg/source"
	"kaudit/pkg/source/tail"
)

// readerEnv is set in processes that read: to where to read from, the directory for checkpoints and of results.
const readerEnv = "KAUDIT_TAIL_READER"

func TestMain(m *testing.M) {
	if where := os.Getenv(readerEnv); where != "" {
		if err := read(strings.Split(where, "|")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// read follows logs as the library does, evaluates events by writing their IDs to a file, and stops when asked to.
func read(where []string) error {
	results := where[2]
	ids, err := os.OpenFile(filepath.Join(results, "ids"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	notices, err := os.OpenFile(filepath.Join(results, "notices"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(results, "log"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	src, err := tail.Kind.Open(where[0], map[string]any{"fileCheckpointDir": where[1]}, source.Env{
		Log:    slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Notify: func(n source.Notice) { fmt.Fprintf(notices, "%s %s: %s\n", n.Name, n.Source, n.Message) },
	})
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	s := stream.Open(src, stream.Config{NewBatch: func() stream.Batch { return new(batch) }})
	slow := rand.IntN(4) == 0
	for {
		b, err := s.Next(100 * time.Millisecond)
		switch {
		case errors.Is(err, stream.ErrIdle):
		case err != nil:
			return err
		default:
			if _, err := io.WriteString(ids, b.(*batch).ids.String()); err != nil {
				return err
			}
			if slow {
				time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
			}
		}
		select {
		case <-stop:
			s.Close()
			return nil
		default:
		}
	}
}

// A batch holds the IDs of its events, one a line.
type batch struct {
	ids strings.Builder
	n   int
}

func (b *batch) Add(e *audit.Event, _ time.Time) bool {
	if b.n == 256 {
		return false
	}
	b.n++
	b.ids.Write(e.Get(audit.AuditID).Bytes())
	b.ids.WriteByte('\n')
	return true
}

func (b *batch) Len() int { return b.n }
func (b *batch) Reset()   { *b = batch{} }
func (b *batch) Free()    {}

// A reader is a process that reads.
type reader struct {
	cmd *exec.Cmd
}

func startReader(t *testing.T, open, checkpoints, results string) *reader {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), readerEnv+"="+strings.Join([]string{open, checkpoints, results}, "|"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &reader{cmd}
}

// end kills the process, or asks it to stop.
func (r *reader) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	err := r.cmd.Wait()
	if status := r.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() && status.Signal() == signal {
		return
	}
	if err != nil {
		t.Fatalf("the reader: %v", err)
	}
}

// results reads what readers have written so far.
type results struct {
	t         *testing.T
	directory string
	file      *os.File
	rest      []byte
	seen      map[string][]byte // how often each event was, by producer and number
	events    map[string]int    // how many different ones of each producer
	disorder  map[string]bool   // producers whose events did not come in order
	repeated  map[string]int    // how many came again, since again was called
}

func newResults(t *testing.T, directory string) *results {
	file, err := os.OpenFile(filepath.Join(directory, "ids"), os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return &results{
		t: t, directory: directory, file: file, seen: make(map[string][]byte), events: make(map[string]int),
		disorder: make(map[string]bool), repeated: make(map[string]int),
	}
}

// read reads on.
func (r *results) read() {
	r.t.Helper()
	buf := make([]byte, 1<<20)
	for {
		n, err := r.file.Read(buf)
		data := append(r.rest, buf[:n]...)
		end := bytes.LastIndexByte(data, '\n') + 1
		for id := range bytes.Lines(data[:end]) {
			r.note(string(bytes.TrimSuffix(id, []byte("\n"))))
		}
		r.rest = append([]byte(nil), data[end:]...)
		if err != nil {
			return
		}
	}
}

// ended reads on after a reader ended. What one that was killed wrote of its last line is no result: what it read was not
// done, and comes again.
func (r *results) ended() {
	r.t.Helper()
	r.read()
	if len(r.rest) == 0 {
		return
	}
	at, err := r.file.Seek(-int64(len(r.rest)), io.SeekCurrent)
	if err == nil {
		err = os.Truncate(r.file.Name(), at)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.rest = nil
}

// A line of results that a killed reader did not end is not taken for the beginning of the next one's.
func TestResultsOfAKilledReader(t *testing.T) {
	r := newResults(t, t.TempDir())
	for _, text := range []string{"a-1\na-", "a-2\n"} {
		ids, err := os.OpenFile(r.file.Name(), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ids.WriteString(text); err != nil {
			t.Fatal(err)
		}
		ids.Close()
		r.ended()
	}
	if r.total() != 2 {
		t.Errorf("%d events, want 2", r.total())
	}
}

// again returns how many events came again since the last call, of all producers and of the one with most.
func (r *results) again() (all, most int) {
	for _, n := range r.repeated {
		all, most = all+n, max(most, n)
	}
	clear(r.repeated)
	return all, most
}

// total returns how many different events were read.
func (r *results) total() (n int) {
	for _, events := range r.events {
		n += events
	}
	return n
}

func (r *results) note(id string) {
	name, number, _ := strings.Cut(id, "-")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 {
		r.t.Errorf("%q was read, and never written", id)
		return
	}
	seen := r.seen[name]
	if n >= len(seen) {
		seen = append(seen, make([]byte, n+1-len(seen))...)
		r.seen[name] = seen
	}
	if seen[n]++; seen[n] > 1 {
		r.repeated[name]++
		return
	}
	// After a restart some come again, and then it goes on.
	if r.events[name]++; n != r.events[name] && !r.disorder[name] {
		r.disorder[name] = true
		r.t.Errorf("%s: event %d came when it was the turn of %d", name, n, r.events[name])
	}
}

func (r *results) notices() string {
	text, _ := os.ReadFile(filepath.Join(r.directory, "notices"))
	return string(text)
}

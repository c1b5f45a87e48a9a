package tail_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kaudit/pkg/source"
	"kaudit/pkg/source/tail"
)

// A follower follows in a test, and is stopped and started again. Payloads are done at once unless they are held.
type follower struct {
	t        *testing.T
	open     string
	settings map[string]any

	mu      sync.Mutex
	ids     []string // of all lines, in the order they came
	notices []source.Notice
	log     bytes.Buffer
	held    []func()
	hold    bool
	full    bool
	refuses bool   // it says that it is full
	last    string // the event behind which it is full
	deaf    bool   // the kernel tells nothing

	src    source.Source
	cancel context.CancelFunc
	ended  chan error
}

func follow(t *testing.T, open string, settings map[string]any) *follower {
	t.Helper()
	f := &follower{t: t, open: "file://" + open, settings: settings}
	f.start()
	t.Cleanup(f.stop)
	return f
}

func checkpoints(t *testing.T) map[string]any {
	return map[string]any{"fileCheckpointDir": filepath.Join(t.TempDir(), "checkpoints")}
}

func (f *follower) start() {
	f.t.Helper()
	src, err := tail.Kind.Open(f.open, f.settings, source.Env{
		Log: slog.New(slog.NewTextHandler(locked{f}, nil)),
		Notify: func(n source.Notice) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.notices = append(f.notices, n)
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if f.deaf {
		tail.Deafen(src)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.src, f.cancel, f.ended = src, cancel, make(chan error, 1)
	go func() { f.ended <- src.Run(ctx, f) }()
}

// locked writes to a follower's log.
type locked struct{ *follower }

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(b)
}

func (f *follower) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.String()
}

// stop stops it as the host does: what is not done then never is.
func (f *follower) stop() {
	f.t.Helper()
	if f.cancel == nil {
		return
	}
	f.cancel()
	f.cancel = nil
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		f.t.Errorf("Run returned %v", err)
	}
	f.mu.Lock()
	f.held = nil
	f.mu.Unlock()
}

// followed returns a log whose first three events were delivered.
func followed(t *testing.T) (log string, f *follower) {
	t.Helper()
	log = filepath.Join(t.TempDir(), "audit.log")
	write(t, log, events(1, 3))
	f = follow(t, log, checkpoints(t))
	f.wait(1, 3)
	return log, f
}

// fill says whether the sink takes nothing from now on.
func (f *follower) fill(full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full = full
}

// refuse says whether the sink refuses what it gets from now on.
func (f *follower) refuse(refuses bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuses = refuses
}

func (f *follower) Deliver(ctx context.Context, d source.Delivery) error {
	f.mu.Lock()
	full, refuses := f.full, f.refuses
	f.mu.Unlock()
	if refuses {
		return source.ErrFull
	}
	if full {
		<-ctx.Done()
		return ctx.Err()
	}
	var done func()
	f.mu.Lock()
	for line := range bytes.Lines(d.Payload) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			f.ids = append(f.ids, id(string(line)))
			f.full = f.full || f.ids[len(f.ids)-1] == f.last
		}
	}
	if f.hold {
		f.held = append(f.held, d.Done)
	} else {
		done = d.Done
	}
	f.mu.Unlock()
	if done != nil {
		done()
	}
	return nil
}

// release does the first n payloads that are held.
func (f *follower) release(n int) {
	f.mu.Lock()
	held := f.held[:n]
	f.held = f.held[n:]
	f.mu.Unlock()
	for _, done := range held {
		done()
	}
}

// event returns a line. Its beginning differs from that of others, as an audit ID does.
func event(n int) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"%d","pad":"%s"}`+"\n", n, strings.Repeat("x", n%50))
}

func events(from, to int) string {
	var b strings.Builder
	for n := from; n <= to; n++ {
		b.WriteString(event(n))
	}
	return b.String()
}

// id returns the ID of a line that is an event, and the line in quotes if it is none.
func id(line string) string {
	_, rest, found := strings.Cut(line, `"auditID":"`)
	id, _, whole := strings.Cut(rest, `"`)
	if !found || !whole || !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}") {
		return fmt.Sprintf("%q", line)
	}
	return id
}

// wait waits until just these events have come, in order. Numbers stand for ranges: 1, 3 are 1 to 3.
func (f *follower) wait(ranges ...int) {
	f.t.Helper()
	var want []string
	for i := 0; i < len(ranges); i += 2 {
		for n := ranges[i]; n <= ranges[i+1]; n++ {
			want = append(want, fmt.Sprint(n))
		}
	}
	f.waitIDs(want...)
}

func (f *follower) waitIDs(want ...string) {
	f.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		f.mu.Lock()
		got := slices.Clone(f.ids)
		f.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		if len(got) > len(want) || time.Now().After(deadline) {
			f.t.Fatalf("got  %.2000q\nwant %.2000q\nlog:\n%s", got, want, f.logged())
		}
	}
}

func (f *follower) count(name string) (n uint64) {
	f.src.(source.Counter).Counts(func(other string, count uint64) {
		if other == "tail."+name {
			n = count
		}
	})
	return n
}

// nothingLost fails if something was said to be lost.
func (f *follower) nothingLost() {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.notices) > 0 {
		f.t.Errorf("notices: %+v\nlog:\n%s", f.notices, f.log.String())
	}
}

// waitLost waits for one notice of lost events that says something.
func (f *follower) waitLost(says string) {
	f.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		f.mu.Lock()
		notices := slices.Clone(f.notices)
		f.mu.Unlock()
		if len(notices) == 1 && notices[0].Name == source.EventsLost && notices[0].Count == 1 && strings.Contains(notices[0].Message, says) {
			return
		}
		if len(notices) > 1 || time.Now().After(deadline) {
			f.t.Fatalf("notices: %+v; want one that says %q", notices, says)
		}
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	f := appender(t, path)
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

func gzipped(content string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(content))
	w.Close()
	return b.String()
}

func rename(t testing.TB, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// compress does what whoever compresses rotated files does: the original goes last.
func compress(t testing.TB, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path+".gz", gzipped(string(content)))
	remove(t, path)
}

// copyTruncate does what logrotate does with copytruncate.
func copyTruncate(t testing.TB, path, to string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(content))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
}

// A step of a rotation. Readers see what is there after each, or only after all of them.
type step func(t *testing.T, log string)

func appending(from, to int) step {
	return func(t *testing.T, log string) { write(t, log, events(from, to)) }
}

func text(s string) step {
	return func(t *testing.T, log string) { write(t, log, s) }
}

func renaming(to string) step {
	return func(t *testing.T, log string) { rename(t, log, filepath.Join(filepath.Dir(log), to)) }
}

func compressing(name string) step {
	return func(t *testing.T, log string) { compress(t, filepath.Join(filepath.Dir(log), name)) }
}

func copying(to string) step {
	return func(t *testing.T, log string) { copyTruncate(t, log, filepath.Join(filepath.Dir(log), to)) }
}

func moving(from, to string) step {
	return func(t *testing.T, log string) {
		rename(t, filepath.Join(filepath.Dir(log), from), filepath.Join(filepath.Dir(log), to))
	}
}

// Whatever is done to a log, its events come once and in order: to who follows, and to who was stopped after the first
// events came and is started when everything has happened.
func TestRotation(t *testing.T) {
	const a, b = "audit-2026-07-23T18-32-12.345.log", "audit-2026-07-23T18-32-13.345.log"
	half, rest := event(5)[:30], event(5)[30:]
	for _, test := range []struct {
		name  string
		steps []step
		want  []int // as follower.wait takes them
		gone  bool  // who was stopped cannot know what he missed
	}{
		{"nothing", nil, []int{1, 3}, false},
		{"more lines", []step{appending(4, 5)}, []int{1, 5}, false},
		{"lumberjack", []step{appending(4, 4), renaming(a), appending(5, 6), renaming(b), appending(7, 7)}, []int{1, 7}, false},
		{"lumberjack, compressed", []step{appending(4, 4), renaming(a), appending(5, 6), compressing(a), renaming(b), appending(7, 7), compressing(b)}, []int{1, 7}, false},
		{"rotated by number", []step{appending(4, 4), renaming("audit.log.1"), appending(5, 6), moving("audit.log.1", "audit.log.2"), renaming("audit.log.1"), appending(7, 7)}, []int{1, 7}, false},
		{
			"rotated by number, compressed later",
			[]step{renaming("audit.log.1"), appending(4, 6), moving("audit.log.1", "audit.log.2"), renaming("audit.log.1"), compressing("audit.log.2"), appending(7, 7)},
			[]int{1, 7},
			false,
		},
		{"rotated by date", []step{appending(4, 4), renaming("audit.log-20260723"), appending(5, 6), compressing("audit.log-20260723")}, []int{1, 6}, false},
		{"the new file is empty", []step{appending(4, 4), renaming(a), text("")}, []int{1, 4}, false},
		{"no new file yet", []step{appending(4, 4), renaming(a)}, []int{1, 4}, false},
		{"copytruncate", []step{appending(4, 4), copying("audit.log.1"), appending(5, 6)}, []int{1, 6}, false},
		{"copytruncate, compressed", []step{appending(4, 4), copying("audit.log.1"), appending(5, 6), compressing("audit.log.1")}, []int{1, 6}, false},
		{
			"copytruncate twice",
			[]step{appending(4, 4), copying("audit.log.1"), appending(5, 6), moving("audit.log.1", "audit.log.2"), copying("audit.log.1"), appending(7, 7)},
			[]int{1, 7},
			false,
		},
		{"copytruncate within a line", []step{appending(4, 4), text(half), copying("audit.log.1"), text(rest), appending(6, 6)}, []int{1, 6}, false},
		{"renamed within a line", []step{appending(4, 4), text(half), renaming(a), text(rest), appending(6, 6)}, []int{1, 6}, false},
		{"half a line at the end", []step{appending(4, 4), text(half)}, []int{1, 4}, false},
		{"a hole", []step{text(strings.Repeat("\x00", 700<<10)), appending(4, 5)}, []int{1, 5}, false},
		{"replaced", []step{text(""), func(t *testing.T, log string) {
			write(t, log+".new", events(4, 5))
			rename(t, log+".new", log)
		}}, []int{1, 5}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Run("followed", func(t *testing.T) {
				log, f := followed(t)
				for _, do := range test.steps {
					do(t, log)
					time.Sleep(5 * time.Millisecond)
				}
				f.wait(test.want...)
				f.nothingLost()
			})
			t.Run("at once", func(t *testing.T) {
				log, f := followed(t)
				for _, do := range test.steps {
					do(t, log)
				}
				f.wait(test.want...)
				f.nothingLost()
			})
			t.Run("stopped", func(t *testing.T) {
				log, f := followed(t)
				f.stop()
				for _, do := range test.steps {
					do(t, log)
				}
				f.start()
				f.wait(test.want...)
				if !test.gone {
					f.nothingLost()
				}
			})
			t.Run("stopped before each step", func(t *testing.T) {
				log, f := followed(t)
				for _, do := range test.steps {
					f.stop()
					do(t, log)
					f.start()
					time.Sleep(5 * time.Millisecond)
				}
				f.wait(test.want...)
				if !test.gone {
					f.nothingLost()
				}
			})
		})
	}
}

package tail_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kaudit/pkg/source/tail"
)

// A script decides what happens, by bytes that are chosen at random or by the fuzzer. After its end it says 0.
type script []byte

func (s *script) below(n int) int {
	if len(*s) == 0 {
		return 0
	}
	c := (*s)[0]
	*s = (*s)[1:]
	return int(c) % n
}

// A writer writes a log and rotates it, in steps as small as system calls.
type writer struct {
	script
	log   string
	next  int // number of the next event
	old   int // how many rotated files there are
	steps []move
}

// A move is a step and what it does.
type move struct {
	does string
	do   func() error
}

func (w *writer) do(does string, step func() error) { w.steps = append(w.steps, move{does, step}) }

func (w *writer) write(path, content string) {
	w.do(fmt.Sprintf("write %d bytes to %s", len(content), filepath.Base(path)), func() error { return appendTo(path, content) })
}

func appendTo(path, content string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(content)
	return err
}

func (w *writer) rename(from, to string) {
	w.do(fmt.Sprintf("rename %s to %s", filepath.Base(from), filepath.Base(to)), func() error { return os.Rename(from, to) })
}

// copy writes what is in a file to another, which is made first.
func (w *writer) copy(from, to string, as func(string) string) {
	var content string
	w.do("create "+filepath.Base(to), func() error {
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		content = as(string(b))
		return appendTo(to, "")
	})
	w.do("copy half", func() error { return appendTo(to, content[:len(content)/2]) })
	w.do("copy the rest", func() error { return appendTo(to, content[len(content)/2:]) })
}

// name returns what the rotated file is called that was made n rotations ago.
func (w *writer) name(n int) string { return fmt.Sprintf("%s.%d", w.log, n+1) }

// append appends an event to a file, perhaps in two parts.
func (w *writer) append(path string) {
	line := event(w.next)
	w.next++
	if half := w.below(2) * w.below(len(line)); half > 0 {
		w.write(path, line[:half])
		line = line[half:]
	}
	w.write(path, line)
}

// gzip compresses a file as gzip and lumberjack do: the original goes last.
func (w *writer) gzip(path string) {
	w.copy(path, path+".gz", gzipped)
	w.do("remove "+filepath.Base(path), func() error { return os.Remove(path) })
}

// shift renames the rotated files, so that there is a name for another.
func (w *writer) shift(compressed int) {
	for n := w.old - 1; n >= 0; n-- {
		from, to := w.name(n), w.name(n+1)
		if n >= compressed {
			from, to = from+".gz", to+".gz"
		}
		w.rename(from, to)
	}
	w.old++
}

// byTime rotates as lumberjack does, which API servers have.
func (w *writer) byTime(compress bool) {
	path := strings.TrimSuffix(w.log, ".log") + fmt.Sprintf("-2026-07-23T18-32-%02d.345.log", w.old)
	w.old++
	w.rename(w.log, path)
	if w.below(2) > 0 {
		w.append(w.log)
	}
	if compress {
		w.gzip(path)
	}
}

// byNumber rotates as logrotate does, perhaps with a writer that goes on in the old file for a while.
func (w *writer) byNumber(compress bool) {
	w.shift(w.compressed(compress))
	w.rename(w.log, w.name(0))
	if w.below(2) > 0 {
		w.append(w.name(0))
	}
	w.append(w.log)
	if compress && w.old > 1 {
		w.gzip(w.name(1)) // delaycompress
	}
}

// byCopy rotates as logrotate does with copytruncate.
func (w *writer) byCopy(compress bool) {
	w.shift(w.compressed(compress))
	w.copy(w.log, w.name(0), func(s string) string { return s })
	w.do("truncate", func() error { return os.Truncate(w.log, 0) })
	w.append(w.log)
	if compress && w.old > 1 {
		w.gzip(w.name(1))
	}
}

// compressed returns the number of the first rotated file that is compressed.
func (w *writer) compressed(compress bool) int {
	if compress {
		return 1
	}
	return w.old
}

// interrupt has the reader stopped before a step, and started some steps later.
func (w *writer) interrupt(at, steps int) {
	w.steps = slices.Insert(w.steps, min(at+steps, len(w.steps)), move{does: starts})
	w.steps = slices.Insert(w.steps, at, move{does: stops})
}

const stops, starts = "the reader is stopped", "the reader is started"

// schedule lets a log be rotated at exact moments: before this or that look the reader takes, or when it waits.
func schedule(t *testing.T, s script) {
	log, f := followed(t)
	w := &writer{script: s, log: log, next: 4}
	rotate := []func(bool){w.byTime, w.byNumber, w.byCopy}[w.below(3)]
	compress := w.below(2) > 0
	for range 1 + w.below(3) {
		for range 1 + w.below(2) {
			w.append(log)
		}
		rotate(compress)
	}
	w.append(log)
	if w.below(2) > 0 {
		w.interrupt(w.below(len(w.steps)), w.below(8))
	}

	var mu sync.Mutex
	gap := w.below(2 * gaps)
	last := time.Now()
	looks, stopped := 0, false
	var trace []string
	step := func() {
		trace = append(trace, fmt.Sprintf("before look %d: %s", looks, w.steps[0].does))
		switch w.steps[0].does {
		case stops:
			stopped = true
			f.cancel()
		case starts:
			stopped = false
		default:
			if err := w.steps[0].do(); err != nil {
				t.Error(err)
			}
		}
		w.steps = w.steps[1:]
		gap = w.below(2 * gaps)
	}
	tail.HookLook(func() {
		mu.Lock()
		defer mu.Unlock()
		last = time.Now()
		looks++
		for len(w.steps) > 0 && gap == 0 && !stopped {
			step()
		}
		if gap < gaps {
			gap--
		}
	})
	defer tail.HookLook(func() {})
	defer func() {
		if t.Failed() {
			t.Logf("what happened:\n%s", strings.Join(trace, "\n"))
		}
	}()
	for done := false; !done; time.Sleep(time.Millisecond) {
		mu.Lock()
		if stopped {
			mu.Unlock()
			f.stop()
			for mu.Lock(); stopped; {
				step()
			}
			f.start()
		} else if len(w.steps) > 0 && time.Since(last) > 2*time.Millisecond {
			step()
		}
		done = len(w.steps) == 0
		mu.Unlock()
	}
	f.wait(1, w.next-1)
	time.Sleep(20 * time.Millisecond)
	f.wait(1, w.next-1)
	f.nothingLost()
	f.stop()
}

// gaps is how many looks may pass before the next step of a schedule. With more, it comes when the reader waits.
const gaps = 24

// Whatever moment a log is rotated at, its events come once and in order.
func FuzzSchedule(f *testing.F) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		s := make(script, 64)
		for i := range s {
			s[i] = byte(random.Uint32())
		}
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) { schedule(t, s) })
}

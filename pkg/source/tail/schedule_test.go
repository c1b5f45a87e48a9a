package tail_test

import (
	"bytes"
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

// A writer writes a log and rotates it, in steps as small as system calls, while it is followed.
type writer struct {
	*follower
	log  string
	next int // number of the next event
	old  int // how many rotated files there are

	mu sync.Mutex // guards the rest
	script
	began   bool
	steps   []move
	gap     int       // how many looks there are before the next step, or waits
	last    time.Time // when the reader looked last
	looks   int
	stopped bool // the reader is
	trace   []string
}

// waits is the gap before a step that comes when the reader waits.
const waits = -1

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

// interrupt has the reader interrupted before a step, for some steps.
func (w *writer) interrupt(at, steps int, begins, ends move) {
	w.steps = slices.Insert(w.steps, min(at+steps, len(w.steps)), ends)
	w.steps = slices.Insert(w.steps, at, begins)
}

const stops, starts = "the reader is stopped", "the reader is started"

// pause decides how many looks there are before the next step: often none, since much happens at once.
func (w *writer) pause() int {
	switch w.below(4) {
	case 0:
		return waits
	case 1:
		return w.below(24)
	}
	return 0
}

// step does the next step, and decides when the one after that comes.
func (w *writer) step() {
	next := w.steps[0]
	w.trace = append(w.trace, fmt.Sprintf("before look %d: %s", w.looks, next.does))
	w.steps, w.gap = w.steps[1:], w.pause()
	switch next.does {
	case stops:
		w.stopped = true
		w.cancel()
	case starts:
		w.stopped = false
	default:
		if err := next.do(); err != nil {
			w.t.Error(err)
		}
	}
}

// look is called before the reader looks at something.
func (w *writer) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.began {
		return
	}
	w.last = time.Now()
	w.looks++
	for len(w.steps) > 0 && w.gap == 0 && !w.stopped {
		w.step()
	}
	if w.gap > 0 {
		w.gap--
	}
}

// run has all steps done, and looks what came.
func (w *writer) run() {
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("what happened:\n%s", strings.Join(w.trace, "\n"))
		}
	})
	w.act()
	w.wait(1, w.next-1)
	time.Sleep(20 * time.Millisecond)
	w.wait(1, w.next-1)
	w.nothingLost()
}

// act does all steps. The reader has them done when it looks; here is done what comes when it waits, or is stopped.
func (w *writer) act() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began, w.last, w.gap = true, time.Now(), w.pause()
	for len(w.steps) > 0 || w.stopped {
		w.mu.Unlock()
		time.Sleep(time.Millisecond)
		if w.mu.Lock(); w.stopped {
			w.mu.Unlock()
			w.stop()
			for w.mu.Lock(); w.stopped; {
				w.step()
			}
			w.start()
		} else if len(w.steps) > 0 && time.Since(w.last) > 2*time.Millisecond {
			w.step()
		}
	}
}

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
	f.Fuzz(func(t *testing.T, s []byte) {
		w := follows(t, s)
		w.rotate(w.below(3), w.below(2) > 0, 1+w.below(3))
		switch w.below(3) {
		case 1:
			w.interrupt(w.below(len(w.steps)), w.below(16), move{does: stops}, move{does: starts})
		case 2:
			refuse := func(refuses bool) func() error {
				return func() error { w.refuse(refuses); return nil }
			}
			w.interrupt(w.below(len(w.steps)), w.below(16), move{"the sink is full", refuse(true)}, move{"the sink is not full any more", refuse(false)})
		}
		w.run()
	})
}

// A reader is stopped while a log is rotated, and before one of its first looks after the start the rest happens at once.
func TestStartWhileItIsRotated(t *testing.T) {
	for _, test := range []struct {
		name     string
		how      int
		compress bool
		stopped  int    // before this step
		script   script // what else is decided about the steps
		burst    int    // how much happens at once, if not all; what is left happens at once again, some looks later
	}{
		{"before a file is renamed", byTime, false, 1, nil, 0},
		{"before a renamed file is compressed", byTime, true, 2, nil, 0},
		{"before the new file's first line is whole", byNumber, false, 3, nil, 0},
		{"before the last but one is compressed", byNumber, true, 8, nil, 0},
		{"before a file is compressed that had half a line", byTime, true, 8, script{0, 1, 25, 0, 0, 1, 25, 1}, 5},
		{"while a copy is made", byCopy, false, 3, nil, 0},
		{"before a file is truncated", byCopy, true, 4, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			for look := range byte(24) {
				t.Run(fmt.Sprint(look), func(t *testing.T) {
					w := follows(t, test.script)
					w.rotate(test.how, test.compress, 2)
					w.interrupt(test.stopped, 0, move{does: stops}, move{does: starts})
					w.script = append(make(script, test.stopped+2), 1, look)
					if test.burst > 0 {
						w.script = append(w.script, bytes.Repeat([]byte{2}, test.burst-1)...)
						w.script = append(w.script, 1, 14)
					}
					w.script = append(w.script, bytes.Repeat([]byte{2}, len(w.steps))...)
					w.run()
				})
			}
		})
	}
}

// follows returns a writer of a log that is followed.
func follows(t *testing.T, s script) *writer {
	w := &writer{script: s, next: 4}
	tail.HookLook(w.look)
	t.Cleanup(func() { tail.HookLook(func() {}) })
	w.log, w.follower = followed(t)
	return w
}

// How a log is rotated.
const (
	byTime = iota
	byNumber
	byCopy
)

// rotate makes the steps of some rotations, with events before, between and after them.
func (w *writer) rotate(how int, compress bool, times int) {
	for range times {
		for range 1 + w.below(2) {
			w.append(w.log)
		}
		[]func(bool){w.byTime, w.byNumber, w.byCopy}[how](compress)
	}
	w.append(w.log)
}

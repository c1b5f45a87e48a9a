package tail_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaudit/pkg/source/tail"
)

// seen waits until files were looked at although nothing can be delivered.
func seen(*testing.T, string) { time.Sleep(1500 * time.Millisecond) }

func copied(to, content string) step {
	return func(t *testing.T, log string) { write(t, log+to, content) }
}

func removing(name string) step {
	return func(t *testing.T, log string) { remove(t, log+name) }
}

func truncating(t *testing.T, log string) {
	t.Helper()
	if err := os.Truncate(log, 0); err != nil {
		t.Fatal(err)
	}
}

// A reader is behind: event 4 waits to be taken while the log is rotated.
func TestRotatedWhileBehind(t *testing.T) {
	for _, test := range []struct {
		name  string
		steps []step
		want  []int // as follower.wait takes them
		lost  string
	}{
		{
			"a copy is shorter than what was seen of the log, which is written to before it is truncated",
			[]step{renaming("audit.log.2"), appending(5, 5), seen, copied(".1", event(5)), appending(6, 6), seen, truncating, appending(7, 7), seen},
			[]int{1, 5, 7, 7},
			"", // nothing tells that 6 was there when it was truncated
		},
		{
			"half a line is copied and goes on after the truncation",
			[]step{renaming("audit.log.2"), text(event(5)[:40]), seen, copied(".1", event(5)[:40]), seen, truncating, text(event(5)[40:]), appending(6, 6), seen},
			[]int{1, 6},
			"",
		},
		{
			"the first of two copies is gone",
			[]step{renaming("audit.log.2"), appending(5, 5), seen, copying("audit.log.1"), appending(6, 6), removing(".1"), copying("audit.log.1"), appending(7, 7), seen},
			[]int{1, 4, 6, 7},
			"before all of it was read",
		},
		{
			"the copy of what was read is gone, and another is there",
			[]step{copying("audit.log.1"), appending(5, 7), removing(".1"), copying("audit.log.1"), appending(8, 8)},
			[]int{1, 8},
			"",
		},
		{
			"the copy of what was read is shorter than that",
			[]step{copied(".1", events(1, 3)), seen, truncating, appending(5, 5)},
			[]int{1, 5},
			"",
		},
		{
			"a file that was listed empty is compressed",
			[]step{renaming("audit.log.2"), text(""), seen, appending(5, 6), renaming("audit.log.1"), appending(7, 7), compressing("audit.log.1")},
			[]int{1, 7},
			"",
		},
		{
			"a file that was listed with half a line is compressed",
			[]step{renaming("audit.log.2"), text(event(5)[:30]), seen, text(events(5, 6)[30:]), renaming("audit.log.1"), appending(7, 7), compressing("audit.log.1")},
			[]int{1, 7},
			"",
		},
		{
			"a file that was listed with a line is compressed",
			[]step{renaming("audit.log.2"), appending(5, 5), seen, appending(6, 6), renaming("audit.log.1"), appending(7, 7), compressing("audit.log.1")},
			[]int{1, 7},
			"",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			log, f := followed(t)
			f.fill(true)
			write(t, log, event(4))
			time.Sleep(50 * time.Millisecond)
			for _, do := range test.steps {
				do(t, log)
			}
			f.fill(false)
			f.wait(test.want...)
			time.Sleep(50 * time.Millisecond)
			f.wait(test.want...)
			if test.lost != "" {
				f.waitLost(test.lost)
			} else {
				f.nothingLost()
			}
		})
	}
}

// A first start while a copy is there, and the log is not truncated yet.
func TestFirstStartBesideACopy(t *testing.T) {
	for _, truncated := range []bool{false, true} {
		t.Run(fmt.Sprintf("truncated %t", truncated), func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "audit.log")
			write(t, log, events(1, 3))
			write(t, log+".1", events(1, 3))
			f := &follower{t: t, open: "file://" + log, settings: checkpoints(t), full: truncated}
			f.start()
			t.Cleanup(f.stop)
			f.waitFollowing(1)
			if truncated {
				time.Sleep(50 * time.Millisecond)
				truncating(t, log)
			}
			write(t, log, event(4))
			f.fill(false)
			f.wait(1, 4)
			time.Sleep(50 * time.Millisecond)
			f.wait(1, 4)
			f.nothingLost()
		})
	}
}

// Another log has all buffers while one that was not read yet is copied and truncated.
func TestCopiedWhileABufferIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.log"), filepath.Join(dir, "b.log")
	write(t, a, "")
	f := &follower{t: t, open: "file://" + a + "," + b, settings: checkpoints(t), hold: true}
	f.start()
	t.Cleanup(f.stop)
	f.waitFollowing(1)
	for n := range 32 {
		write(t, a, event(1+n))
		f.wait(1, n+1)
	}
	write(t, b, event(33))
	seen(t, b)
	copyTruncate(t, b, b+".1")
	write(t, b, event(34))
	seen(t, b)
	f.mu.Lock()
	held := len(f.held)
	f.hold = false
	f.mu.Unlock()
	f.release(held)
	f.wait(1, 34)
	f.nothingLost()
}

// A link moves, and is stopped when of the file it led to not all was evaluated.
func TestStoppedAfterALinkMoved(t *testing.T) {
	dir := t.TempDir()
	link, a, b := filepath.Join(dir, "current.log"), filepath.Join(dir, "a.log"), filepath.Join(dir, "b.log")
	point := func(to string) {
		os.Remove(link)
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	write(t, a, events(1, 2))
	point(a)
	f := follow(t, link, checkpoints(t))
	f.wait(1, 2)
	f.mu.Lock()
	f.hold = true
	f.mu.Unlock()
	write(t, a, event(3))
	f.wait(1, 3)
	write(t, a, event(4))
	f.wait(1, 4)
	write(t, b, event(5))
	point(b)
	f.wait(1, 5)
	f.release(1) // 3
	f.stop()
	f.mu.Lock()
	f.hold = false
	f.mu.Unlock()
	f.start()
	f.wait(1, 5, 4, 5)
	f.nothingLost()
}

// A link leads nowhere for a while, since what it led to is renamed: whoever is behind reads each file once.
func TestLinkLeadsNowhereWhileBehind(t *testing.T) {
	dir := t.TempDir()
	pods, link := filepath.Join(dir, "pods"), filepath.Join(dir, "c.log")
	if err := os.Mkdir(pods, 0o700); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(pods, "0.log")
	write(t, log+".20260723-183212", event(1))
	write(t, log, event(2))
	if err := os.Symlink(log, link); err != nil {
		t.Fatal(err)
	}
	f := follow(t, link, checkpoints(t))
	f.wait(1, 2)
	f.fill(true)
	write(t, log, event(3)) // is read and waits
	time.Sleep(50 * time.Millisecond)
	rename(t, log, log+".20260723-183213")
	write(t, log, event(4))
	seen(t, log)
	rename(t, log, log+".20260723-183214")
	seen(t, log)
	seen(t, log)
	write(t, log, event(5))
	seen(t, log)
	f.fill(false)
	f.wait(1, 5)
	f.nothingLost()
}

// A file that begins with a hole is copied and truncated while its first lines are read.
func TestHoleTruncatedWhileItIsRead(t *testing.T) {
	for look := range 24 {
		t.Run(fmt.Sprint(look), func(t *testing.T) {
			w := &writer{next: 7}
			tail.HookLook(w.look)
			t.Cleanup(func() { tail.HookLook(func() {}) })
			w.log = filepath.Join(t.TempDir(), "audit.log")
			write(t, w.log, "")
			w.follower = follow(t, w.log, checkpoints(t))
			w.waitFollowing(1)
			content := strings.Repeat("\x00", 200) + event(1)
			w.write(w.log, content)
			w.do("copy, truncate and write on", func() error {
				if err := appendTo(w.log+".1", content); err != nil {
					return err
				}
				if err := os.Truncate(w.log, 0); err != nil {
					return err
				}
				return appendTo(w.log, events(2, 6))
			})
			w.script = script{0, 1, byte(look)}
			w.run()
		})
	}
}

package tail_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kaudit/pkg/source"
	"kaudit/pkg/source/tail"
)

func TestWhereToBegin(t *testing.T) {
	const rotated = "audit-2026-07-23T18-32-12.345.log"
	for _, test := range []struct {
		name        string
		start       string
		checkpoints bool
		want        []int // of 1, 2 in a rotated file, 3, 4 there when it starts, 5, 6 written later
	}{
		{"checkpoints, and none yet", "", true, []int{1, 6}},
		{"no checkpoints", "", false, []int{5, 6}},
		{"no checkpoints, beginning", "beginning", false, []int{1, 6}},
		{"checkpoints, end", "end", true, []int{5, 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "audit.log")
			write(t, filepath.Join(filepath.Dir(log), rotated), events(1, 2))
			write(t, log, events(3, 4)+event(5)[:10])
			settings := map[string]any{}
			if test.checkpoints {
				settings = checkpoints(t)
			}
			if test.start != "" {
				settings["fileStart"] = test.start
			}
			f := follow(t, log, settings)
			for deadline := time.Now().Add(10 * time.Second); !strings.Contains(f.logged(), "following a log") && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			write(t, log, event(5)[10:]+event(6))
			f.wait(test.want...)
			if test.checkpoints {
				f.stop()
				write(t, log, event(7))
				f.start()
				f.wait(append(slices.Clone(test.want), 7, 7)...)
			}
			f.nothingLost()
		})
	}
}

// A checkpoint is never ahead of what was evaluated, in whatever order that is.
func TestCheckpointsAreOfWhatWasEvaluated(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.log")
	write(t, log, event(1))
	f := &follower{t: t, open: "file://" + log, settings: checkpoints(t), hold: true}
	f.start()
	t.Cleanup(f.stop)
	f.wait(1, 1)
	for n := 2; n <= 4; n++ {
		write(t, log, event(n))
		f.wait(1, n)
	}
	f.mu.Lock()
	held := f.held
	f.mu.Unlock()
	held[2]() // 3, while 1 and 2 are not
	f.stop()
	f.start()
	f.wait(1, 4, 1, 4)
	f.release(1) // all four came at once
	f.stop()
	held[0]() // late, and without effect
	write(t, log, event(5))
	f.start()
	f.wait(1, 4, 1, 4, 5, 5)
}

func TestLossIsNoticed(t *testing.T) {
	prepare := func(t *testing.T) (string, *follower) {
		log, f := followed(t)
		return log, f
	}
	t.Run("rotated away while stopped", func(t *testing.T) {
		log, f := prepare(t)
		f.stop()
		write(t, log, event(4))
		remove(t, log)
		write(t, log, events(5, 6))
		f.start()
		f.wait(1, 3, 5, 6)
		f.waitLost("file of the checkpoint is gone")
		if f.count("lost") != 1 {
			t.Errorf("%d counted", f.count("lost"))
		}
	})
	t.Run("truncated without a copy, bytes unread", func(t *testing.T) {
		log, f := prepare(t)
		f.fill(true)
		write(t, log, event(4)) // is read and waits
		time.Sleep(50 * time.Millisecond)
		write(t, log, event(5)) // is not read
		time.Sleep(1500 * time.Millisecond)
		if err := os.Truncate(log, 0); err != nil {
			t.Fatal(err)
		}
		write(t, log, event(6))
		f.fill(false)
		f.wait(1, 4, 6, 6)
		f.waitLost(fmt.Sprintf("truncated before all of it was read (%d bytes)", len(event(5))))
		if f.count("truncations") != 1 || f.count("lost_bytes") != uint64(len(event(5))) {
			t.Errorf("%d truncations, %d bytes lost", f.count("truncations"), f.count("lost_bytes"))
		}
	})
	t.Run("truncated, and its writer goes on where it was", func(t *testing.T) {
		log := filepath.Join(t.TempDir(), "audit.log")
		w, err := os.Create(log)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		w.WriteString(events(1, 3))
		f := follow(t, log, checkpoints(t))
		f.wait(1, 3)
		f.fill(true)
		w.WriteString(event(4)) // is read and waits
		time.Sleep(50 * time.Millisecond)
		w.WriteString(event(5))
		if err := os.Truncate(log, 0); err != nil {
			t.Fatal(err)
		}
		w.WriteString(event(6)) // behind a hole
		f.fill(false)
		f.wait(1, 4, 6, 6)
		f.waitLost(fmt.Sprintf("(%d bytes)", len(event(5))))
	})
	t.Run("damaged", func(t *testing.T) {
		log := filepath.Join(t.TempDir(), "audit.log")
		whole := gzipped(strings.Repeat(event(1), 20000))
		write(t, filepath.Join(filepath.Dir(log), "audit-2026-07-23T18-32-12.345.log.gz"), whole[:len(whole)/2])
		write(t, log, event(2))
		f := follow(t, log, checkpoints(t))
		f.waitLost("damaged")
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			f.mu.Lock()
			last := f.ids[len(f.ids)-1]
			f.mu.Unlock()
			if last == "2" {
				return
			}
		}
		t.Error("what comes after it was not read")
	})
}

// A file that is deleted is read to its end, also if that was not begun.
func TestDeletedFilesAreRead(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.log")
	write(t, log, event(1))
	f := follow(t, log, checkpoints(t))
	f.wait(1, 1)
	f.fill(true)
	write(t, log, event(2))
	time.Sleep(20 * time.Millisecond)
	write(t, log, event(3))
	for n, to := range []string{"audit-2026-07-23T18-32-12.345.log", "audit-2026-07-23T18-32-13.345.log"} {
		to = filepath.Join(filepath.Dir(log), to)
		rename(t, log, to)
		write(t, log, event(4+n))
		time.Sleep(1500 * time.Millisecond) // it is seen, although nothing can be delivered
		remove(t, to)
	}
	f.fill(false)
	f.wait(1, 5)
	f.nothingLost()
}

// A log that is truncated several times before it is read: copies come once, and in order.
func TestCopiesOfWhatIsNotRead(t *testing.T) {
	log, f := followed(t)
	f.stop()
	write(t, log, event(4))
	copyTruncate(t, log, log+".1")
	write(t, log, event(5))
	f.full = true
	f.start()
	f.waitFollowing(2)
	for n := range 3 {
		for old := n + 1; old > 0; old-- {
			rename(t, fmt.Sprintf("%s.%d", log, old), fmt.Sprintf("%s.%d", log, old+1))
		}
		copyTruncate(t, log, log+".1")
		write(t, log, event(6+n))
		time.Sleep(1500 * time.Millisecond) // it is seen, although nothing can be delivered
	}
	f.fill(false)
	f.wait(1, 8)
	f.nothingLost()
}

// A file that is truncated after what was read of it was compared: its head stays what it was, so that its copy is found.
func TestTruncatedWhileItIsLookedAt(t *testing.T) {
	for _, test := range []struct{ name, before, after string }{
		{"to nothing", events(1, 2), ""},
		{"to another line", events(1, 2), event(3)},
		{"to a hole", events(1, 2), strings.Repeat("\x00", 4096) + event(3)},
		{"from a hole to a line", strings.Repeat("\x00", 4096) + events(1, 2), event(3)},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := filepath.Join(t.TempDir(), "audit.log")
			write(t, log, test.before)
			known, err := tail.Extended(log, func() {
				if err := os.Truncate(log, 0); err != nil {
					t.Fatal(err)
				}
				write(t, log, test.after)
			})
			if want := len(events(1, 2)); !errors.Is(err, tail.ErrTruncated) || known != want {
				t.Errorf("got %d known bytes, %v; want %d, %v", known, err, want, tail.ErrTruncated)
			}
		})
	}
}

// A watcher is closed while the end of its context is told.
func TestWatcherEndsWithItsContext(t *testing.T) {
	for range 2000 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := tail.Waits(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// A copy that the live file still is the same as when it is found, and not any more when it is its turn.
func TestCopyOfWhatIsTruncatedAgain(t *testing.T) {
	log, f := followed(t)
	f.fill(true)
	write(t, log, event(4)) // is read and waits
	time.Sleep(50 * time.Millisecond)
	write(t, log, event(5))
	copyTruncate(t, log, log+".2")
	write(t, log, events(6, 7))
	write(t, log+".1", events(6, 7))
	f.mu.Lock()
	f.full, f.last = false, "4"
	f.mu.Unlock()
	f.wait(1, 4)
	time.Sleep(500 * time.Millisecond) // the truncation is seen, and 5 waits
	if err := os.Truncate(log, 0); err != nil {
		t.Fatal(err)
	}
	write(t, log, event(8))
	f.fill(false)
	f.wait(1, 8)
	f.nothingLost()
}

// A start while a copy is being made.
func TestCopyBegun(t *testing.T) {
	for _, test := range []struct{ name, begun string }{
		{"there is nothing in it yet", ""},
		{"a hole", strings.Repeat("\x00", 200<<10)},
		{"the first lines", strings.Repeat("\x00", 200<<10) + event(5)},
	} {
		t.Run(test.name, func(t *testing.T) {
			log, f := followed(t)
			f.stop()
			write(t, log, event(4))
			rename(t, log, log+".2")
			content := events(5, 20)
			if test.begun != "" {
				content = strings.Repeat("\x00", 200<<10) + content
			}
			write(t, log, content)
			write(t, log+".1", test.begun)
			f.full = true
			f.start()
			f.waitFollowing(2)
			write(t, log+".1", content[len(test.begun):])
			if err := os.Truncate(log, 0); err != nil {
				t.Fatal(err)
			}
			write(t, log, event(21))
			f.fill(false)
			f.wait(1, 21)
			f.nothingLost()
		})
	}
}

func TestContainerLogs(t *testing.T) {
	dir := t.TempDir()
	pods := filepath.Join(dir, "pods", "kube-system_kube-apiserver", "kube-apiserver")
	links := filepath.Join(dir, "containers")
	if err := errors.Join(os.MkdirAll(pods, 0o700), os.Mkdir(links, 0o700)); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(pods, "0.log")
	line := func(stream, tag, text string) string {
		return "2026-07-23T18:32:12.345678901+02:00 " + stream + " " + tag + " " + text + "\n"
	}
	e := func(n int) string { return strings.TrimSuffix(event(n), "\n") }
	write(t, log, line("stdout", "F", e(1))+line("stderr", "F", "I0723 18:32:12 a message")+
		line("stdout", "P", e(2)[:20])+line("stderr", "P", "half a mess")+line("stdout", "P", e(2)[20:30])+
		line("stdout", "F", e(2)[30:])+line("stderr", "F", "age")+line("stderr", "F:x", e(3))+line("stdout", "P", e(4)[:40]))
	if err := os.Symlink(log, filepath.Join(links, "kube-apiserver-0123.log")); err != nil {
		t.Fatal(err)
	}
	f := follow(t, filepath.Join(links, "kube-apiserver-*.log"), checkpoints(t))
	f.wait(1, 3)
	rename(t, log, log+".20260723-183212")
	write(t, log, line("stdout", "F", e(4)[40:])+line("stdout", "F", e(5)))
	f.wait(1, 5)
	f.stop()
	compress(t, log+".20260723-183212")
	write(t, log, line("stdout", "F", e(6)))
	rename(t, log, log+".20260723-183312")
	write(t, log, line("stdout", "F", e(7)))
	f.start()
	f.wait(1, 7)
	f.nothingLost()
	f.stop()
	// A new container: the link is another one, and so is the log.
	second := filepath.Join(pods, "1.log")
	write(t, second, line("stdout", "F", e(8)))
	if err := os.Symlink(second, filepath.Join(links, "kube-apiserver-4567.log")); err != nil {
		t.Fatal(err)
	}
	f.start()
	f.wait(1, 8)
	if f.count("files") != 2 {
		t.Errorf("%d logs are followed", f.count("files"))
	}
}

// A link that leads to the next file is a rotation, too.
func TestLinksThatMove(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "current.log")
	point := func(name string) {
		os.Remove(link)
		if err := os.Symlink(filepath.Join(dir, name), link); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "a.log"), events(1, 2))
	point("a.log")
	f := follow(t, link, checkpoints(t))
	f.wait(1, 2)
	write(t, filepath.Join(dir, "a.log"), event(3))
	write(t, filepath.Join(dir, "b.log"), event(4))
	point("b.log")
	f.wait(1, 4)
	f.stop()
	write(t, filepath.Join(dir, "b.log"), event(5))
	write(t, filepath.Join(dir, "c.log"), event(6))
	point("c.log")
	f.start()
	f.wait(1, 6)
	f.nothingLost()
}

func TestSeveralLogs(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"a", "b", "c"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "a", "audit.log"), event(1))
	write(t, filepath.Join(dir, "c", "one,two.log"), event(2))
	f := follow(t, fmt.Sprintf("%[1]s/[ab]/audit*.log, %[1]s/c,file://%[1]s/a/audit.log", dir), checkpoints(t))
	f.wait(1, 2)
	write(t, filepath.Join(dir, "b", "audit.log"), event(3))
	f.wait(1, 3)
	write(t, filepath.Join(dir, "c", ".hidden.log"), event(4))
	write(t, filepath.Join(dir, "c", "new.log"), event(5))
	f.wait(1, 3, 5, 5)
	if f.count("files") != 4 {
		t.Errorf("%d logs are followed", f.count("files"))
	}
}

// A line over the limit is delivered up to there, and the next one is whole, also after a restart in between.
func TestLongLines(t *testing.T) {
	const limit = 64 << 20
	log := filepath.Join(t.TempDir(), "audit.log")
	write(t, log, event(1)+`{"auditID":"long","pad":"`+strings.Repeat("x", limit))
	f := follow(t, log, checkpoints(t))
	for deadline := time.Now().Add(20 * time.Second); f.count("oversized") == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	f.stop()
	write(t, log, strings.Repeat("x", limit)+"\"}\n"+event(2))
	f.start()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		f.mu.Lock()
		n := len(f.ids)
		f.mu.Unlock()
		if n >= 3 {
			break
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.ids) != 3 || f.ids[0] != "1" || f.ids[2] != "2" || !strings.HasPrefix(f.ids[1], `"{\"auditID\":\"long\"`) {
		for i := range f.ids {
			f.ids[i] = f.ids[i][:min(len(f.ids[i]), 40)]
		}
		t.Errorf("%q", f.ids)
	}
}

// What cannot be read does not keep the others from being read, and is read when it can be.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "a.log")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "b.log"), event(1))
	f := follow(t, loop+","+filepath.Join(dir, "b.log"), checkpoints(t))
	f.wait(1, 1)
	for deadline := time.Now().Add(5 * time.Second); f.count("unreadable") == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(1200 * time.Millisecond)
	if n := strings.Count(f.logged(), "cannot be read"); n != 1 || f.count("unreadable") != 1 {
		t.Errorf("said %d times, counted %d:\n%s", n, f.count("unreadable"), f.logged())
	}
	remove(t, loop)
	write(t, loop, event(2))
	f.wait(1, 2)
}

func TestCheckpointsInUse(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.log")
	write(t, log, event(1))
	first := follow(t, log, checkpoints(t))
	first.wait(1, 1)
	second := follow(t, log, first.settings)
	for deadline := time.Now().Add(5 * time.Second); second.count("unreadable") == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if !strings.Contains(second.logged(), "in use by another") {
		t.Errorf("it says %s", second.logged())
	}
	first.stop()
	write(t, log, event(2))
	second.wait(2, 2)
}

// What the kernel tells is a hint only: looking finds everything.
func TestWithoutBeingTold(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "audit.log")
	write(t, log, events(1, 3))
	f := &follower{t: t, open: "file://" + dir, settings: checkpoints(t), deaf: true}
	f.start()
	t.Cleanup(f.stop)
	f.wait(1, 3)
	write(t, log, event(4))
	rename(t, log, filepath.Join(dir, "audit-2026-07-23T18-32-12.345.log"))
	write(t, log, events(5, 6))
	f.wait(1, 6)
	write(t, log, event(7))
	copyTruncate(t, log, log+".1")
	write(t, log, event(8))
	f.wait(1, 8)
	write(t, filepath.Join(dir, "other.log"), event(9))
	f.wait(1, 9)
	f.nothingLost()
	if !strings.Contains(f.logged(), "kernel does not tell") {
		t.Errorf("it says %s", f.logged())
	}
}

// Many logs take no goroutine each, and none is forgotten.
func TestManyLogs(t *testing.T) {
	const logs = 300
	dir := t.TempDir()
	f := follow(t, dir, checkpoints(t))
	for round := range 3 {
		for n := range logs {
			write(t, filepath.Join(dir, fmt.Sprintf("%d.log", n)), event(1+round*logs+n))
		}
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			f.mu.Lock()
			n := len(f.ids)
			f.mu.Unlock()
			if n == (round+1)*logs {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d events came", n, (round+1)*logs)
			}
		}
	}
}

// How long an event is on its way if there is no other, and what following costs when nothing is written.
func BenchmarkLoneEvent(b *testing.B) {
	log := filepath.Join(b.TempDir(), "audit.log")
	w := appender(b, log)
	defer w.Close()
	src, err := tail.Kind.Open("file://"+log, nil, source.Env{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	arrived, ended := make(chan time.Time, 1), make(chan error)
	go func() {
		ended <- src.Run(ctx, sinkFunc(func(_ context.Context, d source.Delivery) error {
			arrived <- time.Now()
			d.Done()
			return nil
		}))
	}()
	time.Sleep(200 * time.Millisecond)
	before := processor()
	time.Sleep(5 * time.Second)
	idle := 100 * (processor() - before).Seconds() / 5
	var times []time.Duration
	line := []byte(event(1))
	for b.Loop() {
		time.Sleep(2 * time.Millisecond)
		began := time.Now()
		w.Write(line)
		times = append(times, (<-arrived).Sub(began))
	}
	cancel()
	<-ended
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "µs-p99")
	b.ReportMetric(idle, "%-of-a-core-idle")
	b.ReportMetric(0, "ns/op")
}

func processor() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type sinkFunc func(ctx context.Context, d source.Delivery) error

func (f sinkFunc) Deliver(ctx context.Context, d source.Delivery) error { return f(ctx, d) }

// The backlog of a log, from disk cache to sink, on one goroutine.
func BenchmarkFile(b *testing.B) {
	var lines strings.Builder
	pad := strings.Repeat(`{\"name\":\"web\",\"image\":\"registry.example.com/web:v1\"}`, 18)
	for n := 0; lines.Len() < 256<<20; n++ {
		fmt.Fprintf(&lines, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"%016x","verb":"get","responseObject":"%s"}`+"\n", n*7919, pad)
	}
	plain := lines.String()
	var wrapped strings.Builder
	for line := range strings.Lines(plain[:64<<20]) {
		wrapped.Write(wrap("stdout", []byte(strings.TrimSuffix(line, "\n"))))
	}
	for _, bench := range []struct{ name, file, content string }{
		{"plain", "audit.log", plain},
		{"container", "0.log", wrapped.String()},
		{"gzip", "audit.log.1.gz", gzipped(plain)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			dir := b.TempDir()
			path := filepath.Join(dir, bench.file)
			write(b, path, bench.content)
			size := len(plain)
			if bench.name == "container" {
				size = len(bench.content)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				ctx, cancel := context.WithCancel(b.Context())
				src, err := tail.Kind.Open("file://"+strings.TrimSuffix(path, ".1.gz"), map[string]any{
					"fileStart": "beginning", "fileCheckpointDir": filepath.Join(b.TempDir(), "checkpoints"),
				}, source.Env{})
				if err != nil {
					b.Fatal(err)
				}
				lines := 0
				err = src.Run(ctx, sinkFunc(func(_ context.Context, d source.Delivery) error {
					if lines += len(d.Payload); lines >= size*9/10 && lines+1<<20 > size || bench.name == "container" && lines > 60<<20 {
						cancel()
					}
					d.Done()
					return nil
				}))
				if !errors.Is(err, context.Canceled) {
					b.Fatal(err)
				}
			}
		})
	}
}

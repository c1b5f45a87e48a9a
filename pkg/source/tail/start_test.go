package tail_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaudit/pkg/source"
	"kaudit/pkg/source/tail"
)

// waitFollowing waits until the log is followed for the nth time.
func (f *follower) waitFollowing(n int) {
	f.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); strings.Count(f.logged(), "following a log") < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("it is not followed:\n%s", f.logged())
		}
	}
}

// rotated writes rotated files of a log, the oldest first, with one event each from the first on.
func rotated(t *testing.T, log string, files, first int, content func(event string) string) {
	t.Helper()
	for n := range files {
		write(t, fmt.Sprintf("%s.%d", log, files-n), content(event(first+n)))
	}
}

func plainly(event string) string { return event }

// A start opens none but a few of a log's files to look at what is in them, however many there are.
func TestStartLooksAtFewFiles(t *testing.T) {
	const files = 28 // each is a payload, and 32 may be under way
	for _, test := range []struct {
		name    string
		content func(event string) string
	}{
		{"plain", plainly},
		{"compressed", gzipped},
		{"holes", func(event string) string { return strings.Repeat("\x00", 100<<10) + event }},
	} {
		for _, read := range []struct {
			name   string
			events int // were evaluated before the start
		}{{"none was read", 0}, {"half were read", files / 2}, {"all were read", files + 1}} {
			t.Run(test.name+", "+read.name, func(t *testing.T) {
				log := filepath.Join(t.TempDir(), "audit.log")
				rotated(t, log, files, 1, test.content)
				write(t, log, event(files+1))
				f := &follower{t: t, open: "file://" + log, settings: checkpoints(t), hold: true}
				f.start()
				t.Cleanup(f.stop)
				f.wait(1, files+1)
				f.release(read.events)
				f.stop()
				f.ids, f.full = nil, true
				f.start()
				f.waitFollowing(2)
				f.stop()
				if looked, all := tail.Looked(f.src); looked > 4 || all != files+1 {
					t.Errorf("%d of %d files were looked at", looked, all)
				}
				f.full = false
				f.start()
				f.wait(read.events+1, files+1)
				f.nothingLost()
			})
		}
	}
}

// Files that were not looked at are known all the same when they are compressed.
func TestCompressedAfterTheStart(t *testing.T) {
	t.Run("evaluated before", func(t *testing.T) {
		log := filepath.Join(t.TempDir(), "audit.log")
		rotated(t, log, 6, 1, plainly)
		f := follow(t, log, checkpoints(t))
		f.wait(1, 6)
		f.stop()
		write(t, log, "")
		f.start()
		f.waitFollowing(2)
		compress(t, log+".3")
		compress(t, log+".5")
		write(t, log, event(7))
		f.wait(1, 7)
		f.nothingLost()
	})
	t.Run("empty when it was listed", func(t *testing.T) {
		log, f := followed(t)
		f.stop()
		write(t, log, event(4))
		rename(t, log, log+".2")
		write(t, log+".1", "")
		write(t, log, "")
		f.full = true
		f.start()
		f.waitFollowing(2)
		write(t, log+".1", events(5, 6))
		write(t, log, event(7))
		compress(t, log+".1")
		time.Sleep(1500 * time.Millisecond) // it is seen, although nothing can be delivered
		f.fill(false)
		f.wait(1, 7)
		f.nothingLost()
	})
	t.Run("more than are opened", func(t *testing.T) {
		const files = 530
		log := filepath.Join(t.TempDir(), "audit.log")
		rotated(t, log, files, 1, plainly)
		write(t, log, event(files+1))
		f := &follower{t: t, open: "file://" + log, settings: checkpoints(t), full: true}
		f.start()
		t.Cleanup(f.stop)
		f.waitFollowing(1)
		for n := 1; n <= 10; n++ {
			compress(t, fmt.Sprintf("%s.%d", log, n))
		}
		f.fill(false)
		f.wait(1, files+1)
		f.nothingLost()
	})
}

// A log whose writer leaves a hole whenever it is truncated is found again, whatever its files have become.
func TestHolesAtTheBeginning(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.log")
	w, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.WriteString(events(1, 3))
	f := follow(t, log, checkpoints(t))
	f.wait(1, 3)
	copyTruncate(t, log, log+".1")
	w.WriteString(events(4, 5))
	f.wait(1, 5)
	f.stop()
	rename(t, log+".1", log+".2")
	w.WriteString(event(6))
	copyTruncate(t, log, log+".1")
	compress(t, log+".1")
	w.WriteString(event(7))
	f.start()
	f.wait(1, 7)
	f.stop()
	rename(t, log+".2", log+".3")
	rename(t, log+".1.gz", log+".2.gz")
	copyTruncate(t, log, log+".1")
	f.start()
	f.waitFollowing(3)
	w.WriteString(event(8))
	f.wait(1, 8)
	f.nothingLost()
}

// A start with a long backlog, up to the first delivery. A reader that is killed over and over makes progress only in
// what is left of its life after that.
func BenchmarkStart(b *testing.B) {
	began := time.Date(2026, 7, 23, 18, 32, 12, 0, time.UTC)
	dated := func(n int) string {
		return began.Add(time.Duration(n) * time.Minute).Format("audit-2006-01-02T15-04-05.000.log")
	}
	number := func(n int) string { return fmt.Sprintf("audit.log.%d", 1000-n) }
	for _, bench := range []struct {
		name string
		file func(n int) string
		hole int
		gzip bool
	}{
		{"times, compressed", func(n int) string { return dated(n) + ".gz" }, 0, true},
		{"numbers", number, 0, false},
		{"numbers, holes", number, 2 << 20, false},
	} {
		for _, files := range []int{50, 400} {
			b.Run(fmt.Sprintf("%s, %d files", bench.name, files), func(b *testing.B) {
				log := filepath.Join(b.TempDir(), "audit.log")
				for n := range files {
					content := strings.Repeat("\x00", bench.hole) + events(100*n+1, 100*n+100)
					if bench.gzip {
						content = gzipped(content)
					}
					write(b, filepath.Join(filepath.Dir(log), bench.file(n)), content)
				}
				write(b, log, event(100*files+1))
				settings := map[string]any{"fileCheckpointDir": filepath.Join(b.TempDir(), "checkpoints")}
				var spent time.Duration
				start := func(done bool) {
					before := processor()
					src, err := tail.Kind.Open("file://"+log, settings, source.Env{})
					if err != nil {
						b.Fatal(err)
					}
					ctx, cancel := context.WithCancel(b.Context())
					err = src.Run(ctx, sinkFunc(func(_ context.Context, d source.Delivery) error {
						b.StopTimer()
						spent += processor() - before
						if done {
							d.Done()
						}
						cancel()
						return nil
					}))
					b.StartTimer()
					if !errors.Is(err, context.Canceled) {
						b.Fatal(err)
					}
				}
				start(true) // the first file was evaluated
				spent = 0
				for b.Loop() {
					start(false)
				}
				b.ReportMetric(float64(spent.Microseconds())/float64(b.N), "µs-of-a-core")
			})
		}
	}
}

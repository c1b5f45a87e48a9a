//go:build linux

// Package tail follows logs that are written, rotated, compressed and truncated at random, with readers that are
// stopped and killed at random, and counts every event.
package tail

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// For 30 minutes instead of some seconds: KAUDIT_TAIL_FOR=30m go test -timeout 40m ./test/e2e/tail
func TestNothingIsLost(t *testing.T) {
	long, err := time.ParseDuration(cmp.Or(os.Getenv("KAUDIT_TAIL_FOR"), "8s"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp("", "kaudit-tail-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Logf("logs, checkpoints and what was read are left in %s", root)
		} else {
			os.RemoveAll(root)
		}
	}()
	directory, checkpoints, out := filepath.Join(root, "logs"), filepath.Join(root, "checkpoints"), filepath.Join(root, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	list, open := producers(t, directory, 700*time.Millisecond, 1<<20)

	stop := make(chan struct{})
	var writing sync.WaitGroup
	for _, p := range list {
		writing.Go(func() {
			if err := p.run(stop); err != nil {
				t.Error(err)
			}
		})
	}
	results := newResults(t, out)
	var kills, stops, idle, repeats, most, behind int
	var about string
	again := func() {
		all, ofOne := results.again()
		repeats, most = repeats+all, max(most, ofOne)
	}
	for end := time.Now().Add(long); time.Now().Before(end); {
		r := startReader(t, open, checkpoints, out)
		time.Sleep(time.Duration(100+rand.IntN(1500)) * time.Millisecond)
		if rand.IntN(3) > 0 {
			r.end(t, syscall.SIGKILL)
			kills++
		} else {
			r.end(t, syscall.SIGTERM)
			stops++
		}
		before := results.total()
		results.ended()
		again()
		if results.total() == before {
			idle++
		}
		for _, p := range list {
			if n := int(p.made.Load()) - results.events[p.name]; n > behind {
				behind, about = n, fmt.Sprintf("%d events of %s, %d%% of what was written until then", n, p.name, 100*int64(n)/p.made.Load())
			}
		}
		if rand.IntN(2) == 0 {
			time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
		}
		if t.Failed() {
			break
		}
	}
	close(stop)
	writing.Wait()

	r := startReader(t, open, checkpoints, out)
	made := 0
	for _, p := range list {
		made += int(p.made.Load())
	}
	for deadline := time.Now().Add(20 * time.Second); results.total() < made && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		results.read()
	}
	time.Sleep(200 * time.Millisecond)
	r.end(t, syscall.SIGTERM)
	results.ended()
	again()
	for _, p := range list {
		made, seen := int(p.made.Load()), results.seen[p.name]
		delete(results.seen, p.name)
		missing, first := 0, 0
		for n := 1; n <= made; n++ {
			if n >= len(seen) || seen[n] == 0 {
				missing, first = missing+1, cmp.Or(first, n)
			}
		}
		if missing > 0 {
			t.Errorf("%s: %d of %d events are missing, number %d first", p.name, missing, made, first)
		}
		if len(seen) > made+1 {
			t.Errorf("%s: number %d was read, and never written", p.name, len(seen)-1)
		}
	}
	for name := range results.seen {
		t.Errorf("events of %q were read, and never written", name)
	}
	if notices := results.notices(); notices != "" {
		t.Errorf("said to be lost:\n%s", notices)
	}
	// A delivery is 256 KiB, or one line that is longer. Events have 1,200 bytes and more on average, and vary so little
	// that one with more than this many never comes.
	if limit := 256 << 10 / 1000; most > limit {
		t.Errorf("%d events of a log came twice after one end, a delivery holds %d at most", most, limit)
	}
	t.Logf("%d events, %d kills, %d stops, %d came twice, %d of a log at most after one end", made, kills, stops, repeats, most)
	t.Logf("%d lives without an event; furthest behind by %s", idle, about)
}

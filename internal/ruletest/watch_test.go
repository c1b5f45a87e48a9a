package ruletest_test

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"kaudit/internal/ruletest"
)

// A watched is a Watch whose clock is the test's.
type watched struct {
	t    *testing.T
	tick chan time.Time
	runs chan []string
}

// looks lets Watch look n times. It has done so, and has run if it was going to, when it is ready to look again, so the
// last look is waited for with one more.
func (w *watched) looks(n int) {
	w.t.Helper()
	for range n {
		select {
		case w.tick <- time.Time{}:
		case <-time.After(time.Minute):
			w.t.Fatal("it does not look any more")
		}
	}
}

// ran checks what the run was told that came of the looks before, if any.
func (w *watched) ran(want ...string) {
	w.t.Helper()
	var got [][]string
	for {
		select {
		case r := <-w.runs:
			got = append(got, r)
			continue
		default:
		}
		break
	}
	switch {
	case want == nil && len(got) > 0:
		w.t.Fatalf("it ran for %q", got)
	case want != nil && (len(got) != 1 || !slices.Equal(got[0], want)):
		w.t.Fatalf("it ran for %q, want %q once", got, want)
	}
}

func TestWatch(t *testing.T) {
	folder(t, map[string]string{"a.yaml": "1", "d/b.yaml": "1"})
	w := &watched{t, make(chan time.Time), make(chan []string, 10)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ruletest.Watch(ctx, w.tick, func(changed []string) ruletest.Seen {
			seen := load("a.yaml", "d/b.yaml", "later.yaml").Seen
			maps.Copy(seen, ruletest.Find("d").Seen)
			w.runs <- changed
			return seen
		})
	}()
	if first := <-w.runs; first != nil {
		t.Errorf("at first it is told of %q", first)
	}
	w.looks(4)
	w.ran()

	write(t, "a.yaml", "22")
	w.looks(3)
	w.ran("a.yaml")
	w.looks(3)
	w.ran()

	// An editor puts a new file in place of the old one.
	write(t, "d/.b.yaml.swp", "4444")
	if err := os.Rename("d/.b.yaml.swp", "d/b.yaml"); err != nil {
		t.Fatal(err)
	}
	w.looks(3)
	w.ran("d/b.yaml")

	write(t, "d/new.yaml", "")
	w.looks(3)
	w.ran("d")

	write(t, "later.yaml", "")
	w.looks(3)
	w.ran("later.yaml")

	if err := os.Remove("a.yaml"); err != nil {
		t.Fatal(err)
	}
	w.looks(3)
	w.ran("a.yaml")
	write(t, "a.yaml", "1")
	w.looks(3)
	w.ran("a.yaml")

	cancel()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("it goes on behind its context's end")
	}
}

func TestWatchSeesWhatChangesWhileTestsRun(t *testing.T) {
	folder(t, map[string]string{"a.yaml": "1"})
	w := &watched{t, make(chan time.Time), make(chan []string, 10)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	go ruletest.Watch(ctx, w.tick, func(changed []string) ruletest.Seen {
		seen := load("a.yaml").Seen
		if n++; n < 3 {
			write(t, "a.yaml", strings.Repeat("x", 100*n))
		}
		w.runs <- changed
		return seen
	})
	<-w.runs
	w.looks(3)
	w.ran("a.yaml")
	w.looks(3)
	w.ran("a.yaml")
	w.looks(3)
	w.ran()
}

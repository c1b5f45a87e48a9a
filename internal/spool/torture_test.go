package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"kaudit/pkg/source"
)

// TestTorture has disks fail, processes end and be killed, and deliveries come and be evaluated in random order. At the
// end everything acknowledged was evaluated, in order, and nothing is taken for lost.
func TestTorture(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			torture(t, rand.New(rand.NewPCG(seed, 99)))
		})
	}
}

func torture(t *testing.T, random *rand.Rand) {
	disk := newFaulty()
	var dir string
	var s *Spool
	var k *sink // holds what the process that runs has read
	var stop func()
	begin := func(in string) {
		dir, k = in, &sink{hold: true}
		var err error
		if s, err = Open(Config{Dir: in, MaxBytes: MinBytes, disk: disk}); err != nil {
			t.Fatal(err)
		}
		stop = read(t, s, k)
	}
	begin(t.TempDir())
	var acknowledged, evaluated []int
	next := 0
	deliver := func(n int) {
		for range n {
			err := s.Deliver(t.Context(), source.Delivery{Payload: payload(next, random.IntN(30_000)), Source: "test"})
			switch {
			case err == nil:
				acknowledged = append(acknowledged, next)
			case !errors.Is(err, source.ErrFull):
				t.Fatal(err)
			}
			next++
		}
	}
	// evaluate has some of what was handed on evaluated, or all.
	released := 0
	evaluate := func(all bool) {
		for last := -1; last != k.count(); time.Sleep(5 * time.Millisecond) {
			last = k.count()
		}
		got := k.numbers(t)[released:]
		n := len(got)
		if !all && n > 0 {
			n = random.IntN(n)
		}
		evaluated = append(evaluated, got[:n]...)
		released += n
		k.release(n)
	}
	heal := func() {
		for _, operation := range []string{"create", "write", "sync", "syncdir", "remove", "truncate"} {
			disk.set(operation, nil)
		}
	}
	lost := uint64(0)
	leave := func() {
		stop()
		released = 0
		lost += counts(s)["spool.lost_records"]
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 60 {
		switch random.IntN(10) {
		case 0, 1, 2, 3:
			deliver(1 + random.IntN(60))
		case 4, 5:
			evaluate(false)
		case 6:
			operations := []string{"create", "write", "sync", "syncdir", "truncate"}
			for range 1 + random.IntN(3) {
				disk.short = random.Int64N(20_000)
				disk.set(operations[random.IntN(len(operations))], syscall.EIO)
			}
			deliver(3)
		case 7:
			heal()
		case 8: // a clean end
			heal()
			leave()
			begin(dir)
		case 9: // a kill: what the kernel has is what the next one finds
			heal()
			stop() // it removes files while they are copied
			after := t.TempDir()
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				data, err := os.ReadFile(filepath.Join(dir, e.Name()))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(after, e.Name()), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			leave()
			begin(after)
		}
	}
	heal()
	until(t, "the disk takes deliveries", func() bool { return s.Ready() == nil || errors.Is(s.Ready(), errFull) })
	until(t, "all is evaluated", func() bool { evaluate(true); return counts(s)["spool.records"] == 0 })
	leave()
	if lost != 0 {
		t.Errorf("%d records are taken for lost", lost)
	}
	var first []int // of each that was acknowledged, when it was evaluated first
	seen := map[int]bool{}
	for _, n := range evaluated {
		if _, acked := slices.BinarySearch(acknowledged, n); acked && !seen[n] {
			first = append(first, n)
		}
		seen[n] = true
	}
	equal(t, fmt.Sprintf("of %d", next), first, acknowledged)
	if len(acknowledged) == 0 {
		t.Error("nothing was acknowledged")
	}
}

package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kaudit/pkg/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is how long anything here may take before a test gives up.
const soon = 20 * time.Second

func open(t testing.TB, cfg Config) *Spool {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = MinBytes
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// payload makes the payload number n, of about size bytes.
func payload(n, size int) []byte {
	return append(fmt.Appendf(nil, "%d ", n), bytes.Repeat([]byte{byte('a' + n%26)}, size)...)
}

// put delivers payloads from number to number, and fails if one is refused.
func put(t testing.TB, s *Spool, from, to, size int) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := s.Deliver(context.Background(), source.Delivery{Payload: payload(n, size), Source: "test"}); err != nil {
			t.Fatalf("payload %d: %v", n, err)
		}
	}
}

// A sink takes what a spool hands on.
type sink struct {
	hold bool // Done is called by release only

	mu   sync.Mutex
	got  []source.Delivery
	held []func()
}

func (k *sink) Deliver(_ context.Context, d source.Delivery) error {
	k.mu.Lock()
	own := d
	own.Payload = bytes.Clone(d.Payload)
	k.got = append(k.got, own)
	if k.hold {
		k.held = append(k.held, d.Done)
	}
	k.mu.Unlock()
	if !k.hold {
		d.Done()
	}
	return nil
}

// numbers returns the numbers of the payloads that came, and fails if one is not as it was made.
func (k *sink) numbers(t testing.TB) (list []int) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range k.got {
		var n int
		if _, err := fmt.Sscanf(string(d.Payload), "%d ", &n); err != nil {
			t.Fatalf("a payload begins with %.20q", d.Payload)
		}
		_, rest, _ := bytes.Cut(d.Payload, []byte(" "))
		if len(bytes.Trim(rest, string(rune('a'+n%26)))) > 0 {
			t.Fatalf("payload %d is not what it was", n)
		}
		list = append(list, n)
	}
	return list
}

func (k *sink) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.got)
}

// release calls the next n Dones that are held.
func (k *sink) release(n int) {
	k.mu.Lock()
	held := k.held[:n]
	k.held = k.held[n:]
	k.mu.Unlock()
	for _, done := range held {
		done()
	}
}

// read runs the reader of a spool until stop is called.
func read(t testing.TB, s *Spool, to source.Sink) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.drain(ctx, to, nil) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the reader ended with %v", err)
			}
		case <-time.After(soon):
			t.Error("the reader does not stop")
		}
	})
	t.Cleanup(stop)
	return stop
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// counts returns the counters of a spool.
func counts(s *Spool) map[string]uint64 {
	m := map[string]uint64{}
	s.Counts(func(name string, n uint64) { m[name] = n })
	return m
}

// upTo returns the numbers from from to before to.
func upTo(from, to int) (list []int) {
	for n := from; n < to; n++ {
		list = append(list, n)
	}
	return list
}

func equal(t testing.TB, what string, got, want []int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %s, want %s", what, ranges(got), ranges(want))
	}
}

// ranges writes numbers so that people can read them.
func ranges(list []int) string {
	var b strings.Builder
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[j+1] == list[j]+1 {
			j++
		}
		fmt.Fprintf(&b, "%d-%d ", list[i], list[j])
		i = j + 1
	}
	return strings.TrimSpace(b.String())
}

func TestWhatIsDeliveredIsHandedOnInOrder(t *testing.T) {
	s := open(t, Config{})
	var k sink
	put(t, s, 0, 10, 100)
	read(t, s, &k)
	put(t, s, 10, 500, 10_000)
	done := false
	want := source.Delivery{Payload: payload(500, 1), Source: "eu", Cluster: "prod", Lines: true, Done: func() { done = true }}
	if err := s.Deliver(t.Context(), want); err != nil || !done {
		t.Fatalf("delivered with %v, Done called: %v", err, done)
	}
	until(t, "everything is evaluated", func() bool { return counts(s)["spool.records"] == 0 && k.count() == 501 })
	equal(t, "payloads", k.numbers(t), upTo(0, 501))
	got := k.got[500]
	if got.Source != want.Source || got.Cluster != want.Cluster || !got.Lines || k.got[499].Source != "test" || k.got[499].Lines {
		t.Errorf("the last delivery came as %+v", got)
	}
	c := counts(s)
	for name, n := range map[string]uint64{"spool.written_records": 501, "spool.evaluated_records": 501, "spool.lost_records": 0, "spool.skipped_bytes": 0, "spool.oldest_ms": 0} {
		if c[name] != n {
			t.Errorf("%s is %d, want %d", name, c[name], n)
		}
	}
}

func TestWhatIsNotEvaluatedComesAgain(t *testing.T) {
	dir := t.TempDir()
	at := 0 // evaluated so far
	total := 0
	for round := range 6 {
		s := open(t, Config{Dir: dir})
		k := sink{hold: true}
		stop := read(t, s, &k)
		put(t, s, total, total+100, 40_000)
		total += 100
		until(t, "all are handed on", func() bool { return k.count() == total-at })
		equal(t, fmt.Sprintf("round %d", round), k.numbers(t), upTo(at, total))
		k.release(83)
		at += 83
		if n := counts(s)["spool.records"]; n != uint64(total-at) {
			t.Errorf("%d records are not evaluated, want %d", n, total-at)
		}
		stop()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		k.release(len(k.held)) // too late: it must neither count nor crash
	}
}

func TestDoneOutOfOrderMovesThePositionToTheFirstThatIsNotEvaluated(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	k := sink{hold: true}
	stop := read(t, s, &k)
	put(t, s, 0, 10, 100)
	until(t, "all are handed on", func() bool { return k.count() == 10 })
	for _, n := range []int{0, 1, 2, 5, 9, 4} {
		k.held[n]()
	}
	stop()
	s.Close()

	s = open(t, Config{Dir: dir})
	var again sink
	read(t, s, &again)
	until(t, "the rest comes again", func() bool { return again.count() == 7 })
	equal(t, "after the restart", again.numbers(t), upTo(3, 10))
}

func TestUsedSegmentsAreRemoved(t *testing.T) {
	s := open(t, Config{MaxBytes: MinBytes}) // segments of 2 MiB
	var k sink
	read(t, s, &k)
	for n := range 100 { // six times the limit
		until(t, "there is room", func() bool {
			return s.Deliver(t.Context(), source.Delivery{Payload: payload(n, 1<<20), Source: "test"}) == nil
		})
	}
	until(t, "all are evaluated", func() bool { return counts(s)["spool.records"] == 0 })
	until(t, "all but the last segment are removed", func() bool { return counts(s)["spool.segments"] <= 1 })
	equal(t, "payloads", k.numbers(t), upTo(0, 100))
	files, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "*"+extension))
	if len(files) > 1 {
		t.Errorf("segments are left: %v", files)
	}
}

func TestAFullSpoolRefusesAtOnceAndTakesAgain(t *testing.T) {
	var notices []source.Notice
	s := open(t, Config{Name: "webhook", Notify: func(n source.Notice) { notices = append(notices, n) }})
	n := 0
	var err error
	for ; err == nil; n++ {
		err = s.Deliver(t.Context(), source.Delivery{Payload: payload(n, 1<<20), Source: "test"})
	}
	n--
	if !errors.Is(err, source.ErrFull) || n != 15 {
		t.Fatalf("after %d MiB: %v", n, err)
	}
	began := time.Now()
	for range 100 {
		if err := s.Deliver(t.Context(), source.Delivery{Payload: payload(0, 1), Source: "test"}); !errors.Is(err, source.ErrFull) {
			t.Fatalf("a small one: %v", err)
		}
	}
	if since := time.Since(began); since > time.Second {
		t.Errorf("100 refusals took %v", since)
	}
	if err := s.Ready(); !errors.Is(err, source.ErrFull) || !strings.Contains(err.Error(), "maxBytes") {
		t.Errorf("Ready says %v", err)
	}
	if len(notices) != 1 || notices[0].Name != source.SpoolFull || notices[0].Source != "webhook" || notices[0].Count != 1 {
		t.Errorf("the notices are %+v", notices)
	}
	if n := counts(s)["spool.refused_full"]; n != 101 {
		t.Errorf("%d refusals are counted", n)
	}
	if size := onDisk(t, s.cfg.Dir); size > MinBytes+64<<10 {
		t.Errorf("%d bytes are on disk", size)
	}
	var k sink
	read(t, s, &k)
	until(t, "there is room again", func() bool { return s.Ready() == nil })
	put(t, s, n, n+50, 100_000)
	until(t, "everything is evaluated", func() bool { return k.count() == n+50 })
	equal(t, "payloads", k.numbers(t), upTo(0, n+50))
	if len(notices) != 1 {
		t.Errorf("one episode had %d notices", len(notices))
	}
}

// onDisk returns how much the files of a folder take.
func onDisk(t testing.TB, dir string) (size int64) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			size += info.Size()
		}
	}
	return size
}

func TestEpisodesOfRefusalsAreToldOnceEach(t *testing.T) {
	s := open(t, Config{})
	refuse := func(what string, want uint64) {
		t.Helper()
		notice := s.refuse(1)
		if notice.Count != want || want > 0 && notice.Name != source.SpoolFull {
			t.Errorf("%s: the notice is %+v, want one of %d", what, notice, want)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = true
	refuse("the first", 1)
	refuse("the next", 0)
	s.full = false
	s.settled()
	s.full = true
	refuse("a moment after there was room", 0)
	if refuse("while it is full", 0); !s.taking.IsZero() {
		t.Errorf("a full spool takes deliveries since %v", s.taking)
	}
	s.full = false
	s.settled()
	s.taking = s.taking.Add(-episode)
	s.failing = errors.New("no disk")
	refuse("long after there was room", 4)
	s.failing = nil
}

// TestClocksDoNotMatter has deliveries whose times say that they came in another order, or from the future.
func TestClocksDoNotMatter(t *testing.T) {
	dir := t.TempDir()
	seg := newSegment(dir, 1, 1)
	var data []byte
	for n, stamp := range []int64{1 << 62, 0, time.Now().Add(24 * time.Hour).UnixNano(), -1 << 63, time.Now().UnixNano()} {
		d := source.Delivery{Payload: payload(n, 10)}
		h := head{sum: sum(d), number: uint64(n + 1), stamp: stamp, payload: uint32(len(d.Payload))}
		var b [headSize]byte
		h.put(&b, seg.marker)
		data = append(append(data, b[:]...), d.Payload...)
	}
	if err := os.WriteFile(seg.path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Dir: dir})
	put(t, s, 5, 7, 10)
	k := sink{hold: true}
	read(t, s, &k)
	until(t, "all come", func() bool { return k.count() == 7 })
	equal(t, "payloads", k.numbers(t), upTo(0, 7))
	for _, most := range []uint64{0, 1 << 50, 0} { // the future has no age, 1970 has a great one
		if age := counts(s)["spool.oldest_ms"]; age > most || most > 0 && age == 0 {
			t.Errorf("the oldest is %d ms old", age)
		}
		k.release(1)
	}
}

// TestOpenedAHundredTimes leaves neither a descriptor nor a segment behind.
func TestOpenedAHundredTimes(t *testing.T) {
	dir := t.TempDir()
	before := descriptors(t)
	for round := range 100 {
		s := open(t, Config{Dir: dir})
		var k sink
		stop := read(t, s, &k)
		put(t, s, round, round+1, 1000)
		until(t, "it is evaluated", func() bool { return counts(s)["spool.records"] == 0 })
		stop()
		s.Close()
		if n := len(k.numbers(t)); n != 1 {
			t.Fatalf("round %d: %d deliveries came", round, n)
		}
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors are open, %d were", n, before)
	}
	if list, err := segments(dir); err != nil || len(list) > 1 {
		t.Errorf("%d segments are left: %v", len(list), err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(entries)
}

func TestADeliveryLargerThanASegment(t *testing.T) {
	s := open(t, Config{})
	var k sink
	read(t, s, &k)
	put(t, s, 0, 1, 10)
	put(t, s, 1, 2, 12<<20)
	put(t, s, 2, 3, 10)
	until(t, "all are evaluated", func() bool { return k.count() == 3 })
	equal(t, "payloads", k.numbers(t), upTo(0, 3))
	// What is evaluated must not keep it out for ever.
	until(t, "a second one fits", func() bool {
		return s.Deliver(t.Context(), source.Delivery{Payload: payload(3, 15<<20), Source: "test"}) == nil
	})
	err := s.Deliver(t.Context(), source.Delivery{Payload: make([]byte, MinBytes), Source: "test"})
	if !errors.Is(err, source.ErrRejected) {
		t.Errorf("what never fits: %v", err)
	}
}

func TestRestFreesTheDisk(t *testing.T) {
	s := open(t, Config{})
	var k sink
	read(t, s, &k)
	put(t, s, 0, 3, 1000)
	until(t, "all are evaluated", func() bool { return counts(s)["spool.records"] == 0 })
	(&reader{Spool: s}).askSeal() // what the reader does after half a minute
	until(t, "no segment is left", func() bool { return counts(s)["spool.segments"] == 0 })
	if c := counts(s); c["spool.bytes"] != 0 {
		t.Errorf("the spool has %d bytes", c["spool.bytes"])
	}
	put(t, s, 3, 6, 1000)
	until(t, "all are evaluated", func() bool { return k.count() == 6 })
	equal(t, "payloads", k.numbers(t), upTo(0, 6))
}

func TestManySenders(t *testing.T) {
	s := open(t, Config{MaxBytes: 256 << 20})
	var k sink
	read(t, s, &k)
	const senders, each = 16, 60
	var wg sync.WaitGroup
	for g := range senders {
		wg.Go(func() {
			for i := range each {
				n := g*each + i
				if err := s.Deliver(context.Background(), source.Delivery{Payload: payload(n, rand.IntN(100_000)), Source: "test"}); err != nil {
					t.Errorf("payload %d: %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	until(t, "all are evaluated", func() bool { return k.count() == senders*each })
	last := map[int]int{}
	for _, n := range k.numbers(t) {
		if before, ok := last[n/each]; ok && n != before+1 {
			t.Fatalf("of sender %d, %d came after %d", n/each, n, before)
		}
		last[n/each] = n
	}
	if c := counts(s); c["spool.syncs"] >= senders*each {
		t.Errorf("%d syncs for %d deliveries: they are not committed in groups", c["spool.syncs"], senders*each)
	}
}

func TestOneAtATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	if _, err := Open(Config{Dir: dir, MaxBytes: MinBytes}); err == nil || !strings.Contains(err.Error(), "spool: dir") || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second spool opens the folder: %v", err)
	}
	put(t, s, 0, 1, 10) // and has not disturbed the first
	s.Close()
	s = open(t, Config{Dir: dir})
	if n := counts(s)["spool.records"]; n != 1 {
		t.Errorf("%d records are there", n)
	}
}

func TestWrongSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for says, cfg := range map[string]Config{
		"spool: dir is empty": {MaxBytes: MinBytes},
		"spool: maxBytes":     {Dir: t.TempDir(), MaxBytes: MinBytes - 1},
		"spool: dir: ":        {Dir: filepath.Join(file, "x"), MaxBytes: MinBytes},
	} {
		if s, err := Open(cfg); err == nil {
			s.Close()
			t.Errorf("%+v opens", cfg)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not say %q", err, says)
		}
	}
}

func TestOnlyTheOwnerMayLook(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "spool")
	s := open(t, Config{Dir: dir})
	put(t, s, 0, 1, 10)
	for _, path := range []string{dir, filepath.Join(dir, "position"), s.segments[0].path} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	var log bytes.Buffer
	wide := t.TempDir()
	if err := os.Chmod(wide, 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Dir: wide, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "chmod 0700") {
		t.Errorf("a folder everybody may look into is not complained of: %s", &log)
	}
}

func TestClosedSpool(t *testing.T) {
	s := open(t, Config{})
	s.Close()
	if err := s.Deliver(t.Context(), source.Delivery{Payload: []byte("x")}); !errors.Is(err, source.ErrClosed) {
		t.Errorf("Deliver says %v", err)
	}
	if err := s.Ready(); !errors.Is(err, source.ErrClosed) {
		t.Errorf("Ready says %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close says %v", err)
	}
}

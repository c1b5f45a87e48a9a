package stream_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kaudit/internal/stream"
	"kaudit/pkg/audit"
	"kaudit/pkg/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sourceFunc is a source that is a function.
type sourceFunc func(ctx context.Context, sink source.Sink) error

func (f sourceFunc) Run(ctx context.Context, sink source.Sink) error { return f(ctx, sink) }

// delivering is a source that delivers and returns.
func delivering(list ...source.Delivery) sourceFunc {
	return func(ctx context.Context, sink source.Sink) error {
		for _, d := range list {
			if err := sink.Deliver(ctx, d); err != nil {
				return err
			}
		}
		return nil
	}
}

// memory makes batches and watches what becomes of them.
type memory struct {
	t         testing.TB
	room      int // events a batch takes
	made      atomic.Int64
	freed     atomic.Int64
	out, most atomic.Int64
	broken    atomic.Bool // Add panics
}

func (m *memory) batch() stream.Batch {
	m.made.Add(1)
	n := m.out.Add(1)
	for most := m.most.Load(); n > most && !m.most.CompareAndSwap(most, n); most = m.most.Load() {
	}
	return &batch{memory: m}
}

// check reports batches that were not given back.
func (m *memory) check() {
	m.t.Helper()
	if made, freed := m.made.Load(), m.freed.Load(); made != freed {
		m.t.Errorf("%d batches were made and %d freed", made, freed)
	}
}

type batch struct {
	memory *memory
	ids    []string
	inUse  atomic.Int32
	freed  bool
}

func (b *batch) use() func() {
	if b.inUse.Add(1) != 1 || b.freed {
		b.memory.t.Error("a batch is used by two, or after it was freed")
	}
	return func() { b.inUse.Add(-1) }
}

func (b *batch) Add(e *audit.Event, _ time.Time) bool {
	defer b.use()()
	if b.memory.broken.Load() && e.Get(audit.AuditID).Is("broken") {
		panic("the batch is broken")
	}
	if len(b.ids) == b.memory.room {
		return false
	}
	b.ids = append(b.ids, string(e.Get(audit.AuditID).Bytes()))
	return true
}

func (b *batch) Len() int { defer b.use()(); return len(b.ids) }
func (b *batch) Reset()   { defer b.use()(); b.ids = b.ids[:0] }
func (b *batch) Free() {
	defer b.use()()
	b.freed = true
	b.memory.freed.Add(1)
	b.memory.out.Add(-1)
}

// payload is lines of events numbered from first on.
func payload(first, n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"auditID\":\"%d\",\"stageTimestamp\":\"2026-01-01T00:00:00Z\"}\n", first+i)
	}
	return []byte(b.String())
}

func lines(first, n int, done func()) source.Delivery {
	return source.Delivery{Payload: payload(first, n), Source: "test", Lines: true, Done: done}
}

// open opens a stream whose memory is checked when the test ends.
func open(t testing.TB, src source.Source, m *memory, cfg stream.Config) *stream.Stream {
	t.Helper()
	m.t = t
	if m.room == 0 {
		m.room = 3
	}
	cfg.NewBatch = m.batch
	return stream.Open(src, cfg)
}

// read calls Next until the source has no more, and returns the IDs of all events.
func read(t testing.TB, s *stream.Stream) (ids []string) {
	t.Helper()
	for {
		b, err := s.Next(time.Second)
		switch {
		case errors.Is(err, io.EOF):
			return ids
		case errors.Is(err, stream.ErrIdle):
		case err != nil:
			t.Fatal(err)
		case b.Len() == 0:
			t.Error("a batch is empty")
		default:
			ids = append(ids, b.(*batch).ids...)
		}
	}
}

// numbers is the IDs of events from 0 on.
func numbers(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return out
}

// within fails the test if f takes long: a stream that hangs hangs the host.
func within(t testing.TB, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it hangs")
	}
}

func TestEventsComeInTheOrderOfTheirDeliveries(t *testing.T) {
	for workers := 1; workers <= 8; workers++ {
		for _, sizes := range []string{"small", "large", "mixed"} {
			t.Run(fmt.Sprintf("%s deliveries, %d workers", sizes, workers), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(workers), 7))
				var list []source.Delivery
				total, acknowledged := 0, atomic.Int64{}
				for range 300 {
					n := 1
					if sizes == "large" || sizes == "mixed" && r.IntN(10) == 0 {
						n = r.IntN(60)
					}
					list = append(list, lines(total, n, func() { acknowledged.Add(1) }))
					total += n
				}
				var m memory
				s := open(t, delivering(list...), &m, stream.Config{Workers: workers, QueueBytes: 8 << 10})
				within(t, func() {
					if got := read(t, s); !slices.Equal(got, numbers(total)) {
						t.Errorf("%d events, not in order or not %d", len(got), total)
					}
					s.Close()
				})
				if n := acknowledged.Load(); n != int64(len(list)) {
					t.Errorf("%d of %d deliveries were acknowledged", n, len(list))
				}
				m.check()
				if most := m.most.Load(); most > int64(workers)*3+6 {
					t.Errorf("%d batches for %d workers", most, workers)
				}
			})
		}
	}
}

func TestADeliveryIsDoneWhenAllOfItWasEvaluated(t *testing.T) {
	var done [3]atomic.Int64
	m := memory{room: 2}
	s := open(t, delivering(
		lines(0, 5, func() { done[0].Add(1) }),
		lines(5, 0, func() { done[1].Add(1) }), // no events at all
		lines(5, 2, func() { done[2].Add(1) }),
	), &m, stream.Config{Workers: 2})
	defer m.check()
	defer s.Close()
	for i, want := range []struct {
		events int
		done   [3]int64
	}{{2, [3]int64{}}, {2, [3]int64{}}, {1, [3]int64{}}, {2, [3]int64{1, 1, 0}}, {0, [3]int64{1, 1, 1}}, {0, [3]int64{1, 1, 1}}} {
		b, err := s.Next(5 * time.Second)
		events := 0
		if err == nil {
			events = b.Len()
		} else if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		got := [3]int64{done[0].Load(), done[1].Load(), done[2].Load()}
		if events != want.events || got != want.done {
			t.Errorf("call %d: %d events, done %v; want %d and %v", i, events, got, want.events, want.done)
		}
	}
}

func TestNothingIsAcknowledgedAfterClose(t *testing.T) {
	for _, calls := range []int{0, 1, 2, 3} {
		var done atomic.Int64
		delivered := make(chan struct{})
		var m memory
		s := open(t, sourceFunc(func(ctx context.Context, sink source.Sink) error {
			for i := range 50 {
				if err := sink.Deliver(ctx, lines(10*i, 10, func() { done.Add(1) })); err != nil {
					return err
				}
			}
			close(delivered)
			<-ctx.Done()
			return ctx.Err()
		}), &m, stream.Config{Workers: 3})
		<-delivered
		for range calls {
			if _, err := s.Next(5 * time.Second); err != nil {
				t.Fatal(err)
			}
		}
		before := done.Load()
		within(t, s.Close)
		time.Sleep(10 * time.Millisecond)
		if after := done.Load(); before != 0 || after != 0 {
			t.Errorf("%d calls: %d deliveries acknowledged, after Close %d", calls, before, after)
		}
		m.check()
	}
}

func TestAFullQueueMakesTheSourceWait(t *testing.T) {
	errs := make(chan error, 10)
	counters := new(stream.Counters)
	first := make(chan struct{})
	var m memory
	s := open(t, sourceFunc(func(ctx context.Context, sink source.Sink) error {
		d := lines(0, 10, nil)
		errs <- sink.Deliver(ctx, d)
		limited, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		errs <- sink.Deliver(limited, lines(10, 10, nil)) // no room: refused
		cancelled, cancel2 := context.WithCancel(ctx)
		cancel2()
		errs <- sink.Deliver(cancelled, lines(10, 10, nil))
		close(first)
		errs <- sink.Deliver(ctx, lines(10, 10, nil)) // waits until the first one is evaluated
		return nil
	}), &m, stream.Config{Workers: 1, QueueBytes: int64(len(payload(0, 10))) + 10, Counters: counters})
	defer m.check()
	defer s.Close()
	<-first
	for i, want := range []error{nil, source.ErrFull, context.Canceled} {
		if err := <-errs; !errors.Is(err, want) {
			t.Errorf("delivery %d: %v, want %v", i, err, want)
		}
	}
	if n := counters.Refused.Load(); n != 2 {
		t.Errorf("%d deliveries count as refused", n)
	}
	time.Sleep(10 * time.Millisecond)
	if len(errs) > 0 {
		t.Error("a delivery was accepted without room")
	}
	within(t, func() {
		if got := read(t, s); !slices.Equal(got, numbers(20)) {
			t.Errorf("got %v", got)
		}
	})
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

func TestTooManyDeliveriesMakeTheSourceWaitToo(t *testing.T) {
	accepted := make(chan int, 1)
	var m memory
	s := open(t, sourceFunc(func(ctx context.Context, sink source.Sink) error {
		n := 0
		for ; ; n++ {
			limited, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			err := sink.Deliver(limited, source.Delivery{})
			cancel()
			if err != nil {
				accepted <- n
				return nil
			}
		}
	}), &m, stream.Config{Workers: 1})
	defer m.check()
	defer s.Close()
	if n := <-accepted; n < 100 || n > 100_000 {
		t.Errorf("%d empty deliveries were accepted", n)
	}
	within(t, func() { read(t, s) })
}

func TestAPayloadLargerThanTheQueueIsTakenAlone(t *testing.T) {
	counters := new(stream.Counters)
	var m memory
	s := open(t, delivering(lines(0, 1, nil), lines(1, 500, nil), lines(501, 1, nil)), &m, stream.Config{Workers: 2, QueueBytes: 100, Counters: counters})
	defer m.check()
	within(t, func() {
		if got := read(t, s); !slices.Equal(got, numbers(502)) {
			t.Errorf("%d events", len(got))
		}
		s.Close()
	})
	if n := counters.Queued.Load(); n != 0 {
		t.Errorf("%d bytes are still counted as queued", n)
	}
}

func TestCloseEndsWhatWaits(t *testing.T) {
	forever := func(ctx context.Context, sink source.Sink) error {
		for i := 0; ; i++ {
			if err := sink.Deliver(ctx, lines(i*50, 50, nil)); err != nil {
				return err
			}
		}
	}
	for what, src := range map[string]sourceFunc{
		"a source that waits for room":              forever,
		"a source that waits for room without end":  func(_ context.Context, sink source.Sink) error { return forever(context.Background(), sink) },
		"a source that waits for something else":    func(ctx context.Context, _ source.Sink) error { <-ctx.Done(); return ctx.Err() },
		"a source that has ended":                   delivering(),
		"a source that has ended, with events left": delivering(lines(0, 100, nil), lines(100, 100, nil)),
	} {
		for _, next := range []int{0, 1, 5} { // workers wait, since nobody calls Next
			t.Run(fmt.Sprintf("%s, %d calls of Next", what, next), func(t *testing.T) {
				m := memory{room: 1}
				s := open(t, src, &m, stream.Config{Workers: 4, QueueBytes: 20 << 10})
				time.Sleep(5 * time.Millisecond)
				for range next {
					_, _ = s.Next(time.Millisecond)
				}
				within(t, s.Close)
				within(t, s.Close) // once more does no harm
				m.check()
			})
		}
	}
}

func TestADeliveryAfterCloseIsRefused(t *testing.T) {
	var sink source.Sink
	got := make(chan struct{})
	counters := new(stream.Counters)
	var m memory
	s := open(t, sourceFunc(func(ctx context.Context, k source.Sink) error {
		sink = k
		close(got)
		<-ctx.Done()
		return nil
	}), &m, stream.Config{Counters: counters})
	<-got
	s.Close()
	if err := sink.Deliver(context.Background(), lines(0, 1, nil)); !errors.Is(err, source.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if n := counters.Refused.Load(); n != 0 {
		t.Errorf("%d deliveries count as refused for want of room", n)
	}
	m.check()
}

func TestASourceThatDeliversAfterItsEndIsRefused(t *testing.T) {
	var sink source.Sink
	counters := new(stream.Counters)
	var m memory
	s := open(t, sourceFunc(func(_ context.Context, k source.Sink) error { sink = k; return nil }), &m, stream.Config{Counters: counters})
	defer m.check()
	defer s.Close()
	if _, err := s.Next(time.Second); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	for range 3 {
		if err := sink.Deliver(context.Background(), lines(0, 1, nil)); !errors.Is(err, source.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if n := counters.Deliveries.Load(); n != 0 {
		t.Errorf("%d deliveries count as taken in", n)
	}
	if _, err := s.Next(time.Millisecond); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

func TestTheErrorOfASourceComesAfterItsEvents(t *testing.T) {
	for what, end := range map[string]func() error{
		"an error": func() error { return errors.New("the disk is gone") },
		"a panic":  func() error { panic("the disk is gone") },
	} {
		t.Run(what, func(t *testing.T) {
			var done atomic.Int64
			var m memory
			s := open(t, sourceFunc(func(ctx context.Context, sink source.Sink) error {
				if err := sink.Deliver(ctx, lines(0, 7, func() { done.Add(1) })); err != nil {
					return err
				}
				return end()
			}), &m, stream.Config{Workers: 2})
			defer m.check()
			defer s.Close()
			events := 0
			for {
				b, err := s.Next(time.Second)
				if err == nil {
					events += b.Len()
					continue
				}
				if !strings.Contains(err.Error(), "the disk is gone") {
					t.Error(err)
				}
				break
			}
			if events != 7 || done.Load() != 1 {
				t.Errorf("%d events, %d acknowledged", events, done.Load())
			}
		})
	}
}

func TestABatchThatPanicsCostsItsDelivery(t *testing.T) {
	counters := new(stream.Counters)
	var done atomic.Int64
	broken := []byte(`{"auditID":"0"}` + "\n" + `{"auditID":"broken"}` + "\n" + `{"auditID":"lost"}` + "\n")
	var m memory
	m.broken.Store(true)
	s := open(t, delivering(
		source.Delivery{Payload: broken, Lines: true, Done: func() { done.Add(1) }},
		lines(1, 2, func() { done.Add(1) }),
	), &m, stream.Config{Workers: 1, Counters: counters})
	defer m.check()
	defer s.Close()
	within(t, func() {
		if got := read(t, s); !slices.Equal(got, numbers(3)) {
			t.Errorf("got %v", got)
		}
	})
	if n := counters.Failed.Load(); n != 1 || done.Load() != 2 {
		t.Errorf("%d failures, %d acknowledged", n, done.Load())
	}
}

// libs takes a success without events for a failure, and Falco ends with it.
func TestNoBatchIsEmpty(t *testing.T) {
	var m memory
	m.broken.Store(true)
	s := open(t, delivering(
		source.Delivery{Payload: []byte(`{"auditID":"broken"}` + "\n"), Lines: true},
		lines(0, 2, nil),
	), &m, stream.Config{Workers: 1})
	defer m.check()
	defer s.Close()
	if got := read(t, s); !slices.Equal(got, numbers(2)) {
		t.Errorf("got %q", got)
	}
}

func TestADoneThatPanicsDoesNotEndTheStream(t *testing.T) {
	counters := new(stream.Counters)
	var m memory
	s := open(t, delivering(
		lines(0, 1, func() { panic("the source is broken") }),
		lines(1, 1, nil),
	), &m, stream.Config{Workers: 1, Counters: counters})
	defer m.check()
	defer s.Close()
	if got := read(t, s); !slices.Equal(got, numbers(2)) {
		t.Errorf("got %q", got)
	}
	if n := counters.Failed.Load(); n != 1 {
		t.Errorf("%d failures were counted", n)
	}
}

func TestNextWaitsAsLongAsItIsTold(t *testing.T) {
	var m memory
	s := open(t, sourceFunc(func(ctx context.Context, _ source.Sink) error { <-ctx.Done(); return nil }), &m, stream.Config{})
	defer m.check()
	defer s.Close()
	for _, wait := range []time.Duration{0, time.Millisecond, 30 * time.Millisecond} {
		begin := time.Now()
		if _, err := s.Next(wait); !errors.Is(err, stream.ErrIdle) {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < wait || took > wait+2*time.Second {
			t.Errorf("told %v, waited %v", wait, took)
		}
	}
}

func TestNextDoesNotWaitWhenThereIsSomething(t *testing.T) {
	delivered := make(chan struct{})
	var m memory
	s := open(t, sourceFunc(func(ctx context.Context, sink source.Sink) error {
		for i := range 20 {
			_ = sink.Deliver(ctx, lines(i, 1, nil))
		}
		close(delivered)
		<-ctx.Done()
		return nil
	}), &m, stream.Config{Workers: 4})
	defer m.check()
	defer s.Close()
	<-delivered
	for i := range 20 {
		begin := time.Now()
		for {
			b, err := s.Next(0)
			if err == nil {
				if got := b.(*batch).ids; !slices.Equal(got, []string{fmt.Sprint(i)}) {
					t.Fatalf("got %v", got)
				}
				break
			}
			if !errors.Is(err, stream.ErrIdle) || time.Since(begin) > 5*time.Second { // it may not be decoded yet
				t.Fatal(err)
			}
		}
	}
}

func TestAFloodWithoutEventsDoesNotHoldTheHost(t *testing.T) {
	flood(t, []byte("no event\n"), stream.Config{Workers: 2})
}

// flood delivers a payload of which nothing is handed out, without end, and looks at how long Next takes.
func flood(t *testing.T, payload []byte, cfg stream.Config) {
	t.Helper()
	var m memory
	s := open(t, sourceFunc(func(ctx context.Context, sink source.Sink) error {
		for sink.Deliver(ctx, source.Delivery{Payload: payload, Lines: true}) == nil {
		}
		return nil
	}), &m, cfg)
	defer m.check()
	within(t, func() {
		for range 5 {
			begin := time.Now()
			if _, err := s.Next(5 * time.Millisecond); !errors.Is(err, stream.ErrIdle) {
				t.Fatal(err)
			}
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("told to wait 5ms, waited %v", took)
			}
		}
		s.Close()
	})
}

func TestCountersCount(t *testing.T) {
	counters := new(stream.Counters)
	payload := []byte(`{"auditID":"a","stageTimestamp":"2026-01-01T00:00:00Z"}
{"auditID":"b"}
hello
{"kind":"Pod"}
{"au
{"auditID":"c","stageTimestamp":"2026-01-01T00:00:00Z","verb":"g
{"auditID":"d","stageTimestamp":"2026-01-01T00:00:00Z","requestObject":"` + strings.Repeat("x", 2000) + `"}
`)
	m := memory{room: 100}
	var notices []source.Notice
	var found []source.Contents
	decoded := func(c source.Contents) { found = append(found, c) }
	s := open(t, delivering(source.Delivery{Payload: payload, Lines: true, Source: "s", Cluster: "c", Decoded: decoded}), &m, stream.Config{
		Workers: 1, MaxEventSize: 1000, Counters: counters, Notify: func(n source.Notice) { notices = append(notices, n) },
	})
	defer m.check()
	b, err := s.Next(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.(*batch).ids; !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("got %v", got)
	}
	if n := counters.Queued.Load(); n != int64(len(payload)) {
		t.Errorf("%d bytes are queued", n)
	}
	time.Sleep(10 * time.Millisecond)
	if age := s.Oldest(); age < 10*time.Millisecond || age > time.Minute {
		t.Errorf("the oldest delivery is %v old", age)
	}
	if _, err := s.Next(time.Second); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if age := s.Oldest(); age != 0 {
		t.Errorf("after all was evaluated the oldest delivery is %v old", age)
	}
	s.Close()
	if want := []source.Contents{{Events: 4, Cut: 1, Salvaged: 1, Rejected: 3}}; !slices.Equal(found, want) {
		t.Errorf("found %+v, want %+v", found, want)
	}
	// What is JSON of another kind is not lost.
	if len(notices) != 1 || notices[0].Name != source.EventsLost || notices[0].Source != "s" || notices[0].Cluster != "c" || notices[0].Count != 2 {
		t.Errorf("notices %+v", notices)
	}
	if lag := time.Duration(counters.Lag.Load()); lag < 24*time.Hour || lag > 100*365*24*time.Hour {
		t.Errorf("events of 2026 are %v late", lag)
	}
	for what, c := range map[string]struct{ got, want uint64 }{
		"events":        {counters.Events.Load(), 4},
		"deliveries":    {counters.Deliveries.Load(), 1},
		"bytes":         {counters.Bytes.Load(), uint64(len(payload))},
		"evaluated":     {counters.Evaluated.Load(), 1},
		"not JSON":      {counters.Rejected[audit.NotJSON].Load(), 1},
		"not audit":     {counters.Rejected[audit.NotAudit].Load(), 1},
		"broken":        {counters.Rejected[audit.Broken].Load(), 1},
		"cut":           {counters.Cut.Load(), 1},
		"salvaged":      {counters.Salvaged.Load(), 1},
		"untimed":       {counters.Untimed.Load(), 1},
		"failed":        {counters.Failed.Load(), 0},
		"refused":       {counters.Refused.Load(), 0},
		"queued":        {uint64(counters.Queued.Load()), 0},
		"bytes of them": {min(counters.EventBytes.Load(), 200), 200},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", what, c.got, c.want)
		}
	}
}

// TestManySendersOneHost delivers from many goroutines at random, reads at random, and closes at random: each goroutine's
// deliveries keep their order, nothing is lost, done twice, or left behind.
func TestManySendersOneHost(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	for round := range rounds {
		seed := uint64(round)
		workers := 1 + round%8
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			const senders, each = 6, 40
			var done [senders * each]atomic.Int32
			var accepted [senders * each]atomic.Bool
			closeEarly := round%3 == 2
			m := memory{room: 1 + round%5}
			counters := new(stream.Counters)
			s := open(t, sourceFunc(func(ctx context.Context, sink source.Sink) error {
				var wg sync.WaitGroup
				for k := range senders {
					wg.Go(func() {
						r := rand.New(rand.NewPCG(seed, uint64(k)))
						for i := range each {
							n := r.IntN(4)
							if r.IntN(8) == 0 {
								n = r.IntN(120)
							}
							var b strings.Builder
							for line := range n {
								fmt.Fprintf(&b, "{\"auditID\":\"%d/%d/%d\"}\n", k, i, line)
							}
							id := k*each + i
							d := source.Delivery{Payload: []byte(b.String()), Lines: true, Done: func() { done[id].Add(1) }}
							if r.IntN(4) == 0 {
								time.Sleep(time.Duration(r.IntN(200)) * time.Microsecond)
							}
							err := sink.Deliver(ctx, d)
							if err != nil {
								return
							}
							accepted[id].Store(true)
						}
					})
				}
				wg.Wait()
				return ctx.Err()
			}), &m, stream.Config{Workers: workers, QueueBytes: int64(200 << (round % 6)), Counters: counters})
			within(t, func() {
				r := rand.New(rand.NewPCG(seed, 99))
				last := map[int]int{}
				for calls := 0; !closeEarly || calls < 60; calls++ {
					b, err := s.Next(time.Duration(r.IntN(3)) * time.Millisecond)
					if errors.Is(err, stream.ErrIdle) {
						continue
					}
					if err != nil {
						if !errors.Is(err, io.EOF) {
							t.Error(err)
						}
						break
					}
					for _, id := range b.(*batch).ids {
						var k, i, line int
						if _, err := fmt.Sscanf(id, "%d/%d/%d", &k, &i, &line); err != nil {
							t.Error(err)
						}
						at := i*1000 + line + 1
						if at <= last[k] || line > 0 && at != last[k]+1 {
							t.Errorf("sender %d: %d behind %d", k, at, last[k])
						}
						last[k] = at
						if done[k*each+i].Load() != 0 {
							t.Errorf("delivery %s is done before all of it was evaluated", id)
						}
					}
					if r.IntN(6) == 0 {
						time.Sleep(time.Duration(r.IntN(300)) * time.Microsecond)
					}
				}
				s.Close()
			})
			for id := range done {
				n := done[id].Load()
				if n > 1 || n == 1 && !accepted[id].Load() || !closeEarly && (n != 1 || !accepted[id].Load()) {
					t.Errorf("delivery %d: accepted %v, done %d times", id, accepted[id].Load(), n)
				}
			}
			m.check()
			if n := counters.Queued.Load(); n != 0 {
				t.Errorf("%d bytes are still counted as queued", n)
			}
		})
	}
}

package feed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"kaudit/internal/feed"
	"kaudit/pkg/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fake is a source that does what run says, and counts.
type fake struct {
	run    func(ctx context.Context, sink source.Sink) error
	closed bool
	n      uint64
}

func (f *fake) Run(ctx context.Context, sink source.Sink) error { return f.run(ctx, sink) }
func (f *fake) Close() error                                    { f.closed = true; return nil }
func (f *fake) Progress() (float64, string)                     { return 0.5, "half" }
func (f *fake) Counts(yield func(string, uint64))               { yield("fake.things", f.n) }

// opens returns an Open that gives these, one after the other, sources or errors.
func opens(list ...any) func() (source.Source, error) {
	next := 0
	return func() (source.Source, error) {
		x := list[min(next, len(list)-1)]
		next++
		if err, ok := x.(error); ok {
			return nil, err
		}
		return x.(source.Source), nil
	}
}

func delivering(payloads ...string) *fake {
	return &fake{n: 1, run: func(ctx context.Context, sink source.Sink) error {
		for _, p := range payloads {
			if err := sink.Deliver(ctx, source.Delivery{Payload: []byte(p), Source: "fake"}); err != nil {
				return err
			}
		}
		return nil
	}}
}

func waiting() *fake {
	return &fake{run: func(ctx context.Context, _ source.Sink) error { <-ctx.Done(); return ctx.Err() }}
}

func failing(why error) *fake {
	return &fake{n: 10, run: func(context.Context, source.Sink) error { return why }}
}

// A sink keeps what comes, and is done with it at once unless it holds.
type sink struct {
	mu   sync.Mutex
	got  []string
	hold bool
	held []func()
}

func (s *sink) Deliver(_ context.Context, d source.Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, d.Cluster+"/"+string(d.Payload))
	d.Decoded(source.Contents{Events: 7, Cut: 3, Salvaged: 2, Rejected: 5})
	if s.hold {
		s.held = append(s.held, d.Done)
	} else {
		d.Done()
	}
	return nil
}

func (s *sink) has(want ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Equal(slices.Sorted(slices.Values(s.got)), want)
}

func open(t *testing.T, queue int64, members ...feed.Member) source.Source {
	t.Helper()
	src, err := feed.Open(members, feed.Config{QueueBytes: queue, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func counts(src source.Source) map[string]uint64 {
	m := map[string]uint64{}
	src.(source.Counter).Counts(func(name string, n uint64) { m[name] = n })
	return m
}

func TestAllSourcesAreRead(t *testing.T) {
	var s sink
	src := open(t, 1<<20,
		feed.Member{Name: "a", Cluster: "prod", Open: opens(delivering("1", "2"))},
		feed.Member{Name: "b", Open: opens(delivering("3"))})
	if err := src.Run(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	if !s.has("/3", "prod/1", "prod/2") {
		t.Errorf("got %q", s.got)
	}
	want := map[string]uint64{
		"a.failures": 0, "a.deliveries": 2, "a.delivery_bytes": 2, "a.evaluated": 2, "a.refused": 0,
		"a.events": 14, "a.cut": 6, "a.salvaged": 4, "a.rejected": 10, "a.oldest_ms": 0, "a.queue_bytes": 0, "a.fake.things": 1,
		"b.failures": 0, "b.deliveries": 1, "b.delivery_bytes": 1, "b.evaluated": 1, "b.refused": 0,
		"b.events": 7, "b.cut": 3, "b.salvaged": 2, "b.rejected": 5, "b.oldest_ms": 0, "b.queue_bytes": 0, "b.fake.things": 1,
	}
	if got := counts(src); !maps.Equal(got, want) {
		t.Errorf("counts\n%v, want\n%v", got, want)
	}
	if done, words := src.(source.Progresser).Progress(); done != 1 || words != "" {
		t.Errorf("progress %v %q", done, words)
	}
}

func TestAClusterTheSourceKnowsIsKept(t *testing.T) {
	var s sink
	knows := &fake{run: func(ctx context.Context, sink source.Sink) error {
		return sink.Deliver(ctx, source.Delivery{Payload: []byte("1"), Source: "fake", Cluster: "own"})
	}}
	src := open(t, 1<<20, feed.Member{Name: "a", Cluster: "prod", Open: opens(knows)})
	if err := src.Run(t.Context(), &s); err != nil || !s.has("own/1") {
		t.Errorf("%v, got %q", err, s.got)
	}
}

func TestAFailureIsTriedAgainAndStopsNobody(t *testing.T) {
	for name, failure := range map[string]any{
		"run":   failing(errors.New("connection lost")),
		"open":  &fs.PathError{Op: "open", Path: "/x", Err: syscall.ENOENT},
		"panic": &fake{n: 10, run: func(context.Context, source.Sink) error { panic("a mistake") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s sink
				src := open(t, 1<<20,
					feed.Member{Name: "bad", Open: opens(failure, failure, delivering("late"))},
					feed.Member{Name: "good", Open: opens(delivering("early"))})
				done := make(chan error)
				began := time.Now()
				go func() { done <- src.Run(t.Context(), &s) }()
				synctest.Wait()
				if !s.has("/early") {
					t.Errorf("before the second try, got %q", s.got)
				}
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if !s.has("/early", "/late") {
					t.Errorf("got %q", s.got)
				}
				// When it could not be opened at first, the first try after that is at once.
				if took := time.Since(began); took < time.Second || took > 3*time.Second {
					t.Errorf("took %v", took)
				}
				got := counts(src)
				wantThings := uint64(21) // two of ten, then one of one
				if name == "open" {
					wantThings = 1
				}
				if got["bad.fake.things"] != wantThings || got["bad.failures"] == 0 {
					t.Errorf("counts %v", got)
				}
			})
		})
	}
}

func TestOpenFails(t *testing.T) {
	inUse := fmt.Errorf("listen: %w", syscall.EADDRINUSE)
	wrong := errors.New("sslCertificate: no key in it")
	good := waiting()
	for _, tt := range []struct {
		name    string
		members []feed.Member
		want    string // "" for no error
	}{
		{"a mistake", []feed.Member{{Name: "a", Open: opens(good)}, {Name: "b", Open: opens(wrong)}}, "sources: b: sslCertificate: no key in it"},
		{"what may pass", []feed.Member{{Name: "a", Open: opens(waiting())}, {Name: "b", Open: opens(inUse)}}, ""},
		{"nothing left", []feed.Member{{Name: "a", Open: opens(inUse)}, {Name: "b", Open: opens(inUse)}}, "sources: a: listen: address already in use\nsources: b: listen: address already in use"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			src, err := feed.Open(tt.members, feed.Config{QueueBytes: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if tt.want == "" {
				if err != nil || !strings.Contains(log.String(), "sources: b: listen: address already in use") {
					t.Errorf("%v, logged %s", err, &log)
				}
				src.(interface{ Close() error }).Close()
				return
			}
			if err == nil || err.Error() != tt.want {
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
	if !good.closed {
		t.Error("a source was left open")
	}
}

func TestAFloodLeavesTheOthersTheirRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sink{hold: true}
		flood := &fake{run: func(ctx context.Context, sink source.Sink) error {
			for {
				if err := sink.Deliver(ctx, source.Delivery{Payload: []byte("flood"), Source: "fake"}); err != nil {
					return err
				}
			}
		}}
		quiet := &fake{run: func(ctx context.Context, sink source.Sink) error {
			time.Sleep(time.Second)
			defer func() { <-ctx.Done() }()
			return sink.Deliver(ctx, source.Delivery{Payload: []byte("quiet"), Source: "fake"})
		}}
		src := open(t, 128<<10, feed.Member{Name: "flood", Open: opens(flood)}, feed.Member{Name: "quiet", Open: opens(quiet)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- src.Run(ctx, &s) }()
		time.Sleep(1500 * time.Millisecond)
		want := []string{"/flood", "/flood", "/flood", "/flood", "/quiet"} // 16 KiB each, of 64
		if !s.has(want...) {
			t.Errorf("got %q, want %q", s.got, want)
		}
		if got := counts(src); got["flood.oldest_ms"] != 1500 || got["quiet.oldest_ms"] != 500 || got["flood.queue_bytes"] == 0 || got["flood.evaluated"] != 0 {
			t.Errorf("counts %v", got)
		}
		s.mu.Lock()
		held := s.held
		s.held, s.hold = nil, false
		s.mu.Unlock()
		held[0]()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestAFullLaneSaysSo(t *testing.T) {
	s := sink{hold: true}
	var err error
	src := open(t, 1, feed.Member{Name: "a", Open: opens(&fake{run: func(ctx context.Context, sink source.Sink) error {
		if err := sink.Deliver(ctx, source.Delivery{Payload: []byte("larger than all room")}); err != nil {
			return err
		}
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		err = sink.Deliver(short, source.Delivery{Payload: []byte("one more")})
		return nil
	}})})
	if err := src.Run(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, source.ErrFull) || !s.has("/larger than all room") || counts(src)["a.refused"] != 1 {
		t.Errorf("%v, got %q, counts %v", err, s.got, counts(src))
	}
}

// A listener is a source that waits at an address.
type listener struct{ *fake }

func (listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9765} }

// A follower is a source that waits for more of a log.
type follower struct{ *fake }

func (follower) Follows() []string { return []string{"audit.log"} }

func TestWhatSourcesWaitAt(t *testing.T) {
	src := open(t, 1<<20,
		feed.Member{Name: "a", Open: opens(listener{waiting()})},
		feed.Member{Name: "b", Open: opens(waiting())},
		feed.Member{Name: "c", Open: opens(follower{waiting()})})
	defer src.(interface{ Close() error }).Close()
	if got, want := source.Waits(src), []string{"127.0.0.1:9765", "audit.log"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	src := open(t, 1<<20, feed.Member{Name: "a", Open: opens(waiting())}, feed.Member{Name: "b", Open: opens(waiting())})
	defer src.(interface{ Close() error }).Close()
	var sum uint64
	yield := func(_ string, n uint64) { sum += n }
	c := src.(source.Counter)
	c.Counts(yield) // names are made once
	if n := testing.AllocsPerRun(100, func() { c.Counts(yield) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

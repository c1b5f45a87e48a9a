package stream_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kaudit/internal/noise"
	"kaudit/internal/stream"
	"kaudit/pkg/source"
)

// probe is an event that is noise (see package noise), with an ID.
func probe(id string) string {
	return `{"auditID":"` + id + `","stage":"ResponseComplete","requestURI":"/livez","verb":"get","user":{"username":"system:anonymous","groups":["system:unauthenticated"]},` +
		`"sourceIPs":["10.0.0.7"],"userAgent":"kube-probe/1.36","responseStatus":{"code":200},"stageTimestamp":"2026-01-01T00:00:00Z"}` + "\n"
}

func TestADeliveryOfNoiseIsDoneInItsTurn(t *testing.T) {
	var done [4]atomic.Int64
	counters := new(stream.Counters)
	noisy := func(n int) source.Delivery {
		return source.Delivery{Payload: []byte(probe("x") + probe("y")), Lines: true, Done: func() { done[n].Add(1) }}
	}
	mixed := lines(1, 2, func() { done[2].Add(1) })
	mixed.Payload = append([]byte(probe("x")), mixed.Payload...)
	var found source.Contents
	mixed.Decoded = func(c source.Contents) { found = c }
	var m memory
	s := open(t, delivering(noisy(0), lines(0, 1, func() { done[1].Add(1) }), mixed, noisy(3)), &m, stream.Config{DropNoise: true, Counters: counters})
	defer m.check()
	defer s.Close()
	for i, want := range []struct {
		ids  []string
		done [4]int64
	}{{[]string{"0"}, [4]int64{1, 0, 0, 0}}, {[]string{"1", "2"}, [4]int64{1, 1, 0, 0}}, {nil, [4]int64{1, 1, 1, 1}}, {nil, [4]int64{1, 1, 1, 1}}} {
		var ids []string
		if b, err := s.Next(5 * time.Second); err == nil {
			ids = slices.Clone(b.(*batch).ids)
		} else if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		got := [4]int64{done[0].Load(), done[1].Load(), done[2].Load(), done[3].Load()}
		if !slices.Equal(ids, want.ids) || got != want.done {
			t.Errorf("call %d: %v, done %v; want %v and %v", i, ids, got, want.ids, want.done)
		}
	}
	if found.Events != 2 {
		t.Errorf("a delivery of two events and noise is said to hold %d events", found.Events)
	}
	for what, c := range map[string]struct{ got, want uint64 }{
		"dropped":   {counters.Dropped[noise.Probe].Load(), 5},
		"events":    {counters.Events.Load(), 3},
		"evaluated": {counters.Evaluated.Load(), 4},
		"queued":    {uint64(counters.Queued.Load()), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", what, c.got, c.want)
		}
	}
}

func TestNoiseIsKept(t *testing.T) {
	for _, row := range []struct {
		what    string
		cfg     stream.Config
		payload string
	}{
		{"when nobody said that it is to be dropped", stream.Config{}, probe("0")},
		{"when it is cut", stream.Config{DropNoise: true, MaxEventSize: 200}, probe("0")},
		{"when it is salvaged", stream.Config{DropNoise: true}, strings.Replace(probe("0"), `"stageTimestamp":"2026-01-01T00:00:00Z"}`, `"stageTimestamp":"2026-01-01T00:00:00Z","x":"`, 1)},
		{"when it has no time", stream.Config{DropNoise: true}, strings.Replace(probe("0"), `"stageTimestamp"`, `"x"`, 1)},
	} {
		var m memory
		s := open(t, delivering(source.Delivery{Payload: []byte(row.payload), Lines: true}), &m, row.cfg)
		if got := read(t, s); !slices.Equal(got, numbers(1)) {
			t.Errorf("%s: got %q", row.what, got)
		}
		s.Close()
		m.check()
	}
}

// The lag is that of the last event that was read, whether it was handed on or not.
func TestNoiseSaysHowLateEventsAre(t *testing.T) {
	counters := new(stream.Counters)
	var m memory
	s := open(t, delivering(source.Delivery{Payload: []byte(probe("x")), Lines: true}), &m, stream.Config{DropNoise: true, Counters: counters})
	defer m.check()
	defer s.Close()
	if got := read(t, s); len(got) > 0 {
		t.Errorf("got %q", got)
	}
	if lag := time.Duration(counters.Lag.Load()); lag < 24*time.Hour {
		t.Errorf("an event of 2026 is %v late", lag)
	}
}

func TestEventsAmongNoiseKeepTheirOrder(t *testing.T) {
	for workers := 1; workers <= 4; workers++ {
		r := rand.New(rand.NewPCG(uint64(workers), 11))
		var list []source.Delivery
		var acknowledged atomic.Int64
		total, dropped := 0, 0
		for range 300 {
			var b strings.Builder
			for range r.IntN(8) {
				if r.IntN(2) == 0 {
					b.WriteString(probe("x"))
					dropped++
					continue
				}
				fmt.Fprintf(&b, "{\"auditID\":\"%d\"}\n", total)
				total++
			}
			list = append(list, source.Delivery{Payload: []byte(b.String()), Lines: true, Done: func() { acknowledged.Add(1) }})
		}
		counters := new(stream.Counters)
		var m memory
		s := open(t, delivering(list...), &m, stream.Config{Workers: workers, QueueBytes: 8 << 10, DropNoise: true, Counters: counters})
		within(t, func() {
			if got := read(t, s); !slices.Equal(got, numbers(total)) {
				t.Errorf("%d workers: %d events, not in order or not %d", workers, len(got), total)
			}
			s.Close()
		})
		m.check()
		if n := acknowledged.Load(); n != int64(len(list)) {
			t.Errorf("%d workers: %d of %d deliveries were acknowledged", workers, n, len(list))
		}
		if n := counters.Dropped[noise.Probe].Load(); n != uint64(dropped) {
			t.Errorf("%d workers: %d were dropped, want %d", workers, n, dropped)
		}
	}
}

func TestAFloodOfNoiseDoesNotHoldTheHost(t *testing.T) {
	flood(t, []byte(probe("x")), stream.Config{Workers: 2, DropNoise: true})
}

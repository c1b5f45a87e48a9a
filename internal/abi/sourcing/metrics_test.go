//go:build cgo

package sourcing

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"kaudit/internal/abi"
	"kaudit/internal/metric"
	"kaudit/pkg/extract"
	"kaudit/pkg/source"
)

func quiet() abi.Config {
	return abi.Config{Fields: extract.Fields(), Log: slog.New(slog.DiscardHandler)}
}

// Every row of the table is read, and nothing else is.
func TestTheTableOfMetricsIsWhatIsRead(t *testing.T) {
	read := map[string]bool{}
	for _, r := range readers {
		place := metric.Find(r.name)
		if !place.Known || place.Source != "" {
			t.Errorf("%s is not in the table of metrics", r.name)
		}
		read[place.Name] = true
	}
	for _, m := range metric.Plugin {
		if !read[m.Name] {
			t.Errorf("%s is in the table, and nothing reads it", m.Name)
		}
	}
}

// counting is a source that counts.
type counting struct{ n uint64 }

func (c *counting) Run(ctx context.Context, _ source.Sink) error { <-ctx.Done(); return ctx.Err() }

func (c *counting) Counts(yield func(name string, n uint64)) {
	yield("webhook.requests", c.n)
	yield("prod.webhook.refused_full", 2*c.n)
	yield("prod.queue_bytes", 3*c.n)
}

// What a source counted stays when it is closed; what it measured does not.
func TestCountsOutliveTheirSource(t *testing.T) {
	p := New(Config{Config: quiet()})
	defer p.Destroy()
	read := func() map[string]uint64 {
		m := map[string]uint64{}
		p.readings(func(name string, n uint64) { m[name] = n })
		return m
	}
	one, two := &counting{5}, &counting{7}
	check := func(requests, full, queued uint64) {
		t.Helper()
		for range 2 {
			got := read()
			if got["webhook.requests"] != requests || got["prod.webhook.refused_full"] != full || got["prod.queue_bytes"] != queued {
				t.Errorf("got %v, want %d, %d, %d", got, requests, full, queued)
			}
		}
	}
	one.Counts(p.tally.End) // before anybody has asked
	check(5, 10, 0)
	two.Counts(p.tally.End)
	check(12, 24, 0)
}

func TestReadingMetricsAllocatesNothing(t *testing.T) {
	p := New(Config{Config: quiet()})
	defer p.Destroy()
	p.mu.Lock()
	defer p.mu.Unlock()
	(&counting{5}).Counts(p.tally.End)
	if n := testing.AllocsPerRun(100, func() { p.measure() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Metrics are shown while one instance is open, and the port is free when none is.
func TestMetricsAreShownWhileSomethingIsOpen(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	p := New(Config{Config: quiet(), MetricsListen: address})
	defer p.Destroy()
	if err := p.show(); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("while another listens: %v", err)
	}
	l.Close()
	listens := func(want bool) {
		t.Helper()
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		if got := err == nil; got != want {
			t.Errorf("listens: %t, want %t", got, want)
		}
	}
	for range 3 {
		listens(false)
		for range 2 {
			if err := p.show(); err != nil {
				t.Fatal(err)
			}
			listens(true)
		}
		p.hide()
		listens(true)
		p.hide()
	}
	listens(false)
}

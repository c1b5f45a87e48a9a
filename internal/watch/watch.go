// Package watch tells when a source that delivered falls silent.
package watch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"kaudit/pkg/source"
)

// maxClusters is how many clusters of one source are watched. They are configured, or else named by those who send.
const maxClusters = 1 << 10

// Config is how a source is watched.
type Config struct {
	// After is how long a source may be silent.
	After time.Duration
	// Notify is told of silence, once each time.
	Notify func(source.Notice)
	// Log is told when a source that was silent delivers again.
	Log *slog.Logger
}

// Source returns src with an eye on what it delivers. Each cluster is watched on its own, from its first delivery to the end
// of the source: one source may stand for many, and the others' events must not hide that one has stopped.
func Source(src source.Source, cfg Config) source.Source {
	return &watched{Source: src, cfg: cfg, heard: map[string]*heard{}}
}

type watched struct {
	source.Source
	cfg Config

	mu    sync.Mutex
	heard map[string]*heard // by cluster
}

// heard is what is known of a cluster.
type heard struct {
	from   string // the source's name in its last delivery
	at     time.Time
	silent bool
}

// Run implements [source.Source].
func (w *watched) Run(ctx context.Context, sink source.Sink) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { w.look(ctx) })
	defer wg.Wait()
	defer stop()
	return w.Source.Run(ctx, watchedSink{w, sink})
}

// look looks for silence until ctx ends.
func (w *watched) look(ctx context.Context) {
	tick := time.NewTicker(min(max(w.cfg.After/8, 10*time.Millisecond), time.Minute))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, n := range w.silent(time.Now()) {
				w.cfg.Notify(n)
			}
		}
	}
}

// silent returns notices of those that have become silent.
func (w *watched) silent(now time.Time) (notices []source.Notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for cluster, h := range w.heard {
		if h.silent || now.Sub(h.at) < w.cfg.After {
			continue
		}
		h.silent = true
		notices = append(notices, source.Notice{
			Name: source.SourceSilent, Source: h.from, Cluster: cluster, Count: 1,
			Message: fmt.Sprintf("nothing has come for %s; look at the API server and at what carries its events", w.cfg.After),
		})
	}
	return notices
}

// delivered notes a delivery.
func (w *watched) delivered(from, cluster string) {
	now := time.Now()
	w.mu.Lock()
	h := w.heard[cluster]
	if h == nil {
		if len(w.heard) >= maxClusters {
			w.mu.Unlock()
			return
		}
		h = &heard{}
		w.heard[cluster] = h
	}
	again, pause := h.silent, now.Sub(h.at)
	h.from, h.at, h.silent = from, now, false
	w.mu.Unlock()
	if again {
		w.cfg.Log.Info("a source that was silent delivers again", "source", from, "cluster", cluster, "after", pause.Round(time.Second))
	}
}

// Counts implements [source.Counter], for a source that does.
func (w *watched) Counts(yield func(name string, n uint64)) {
	if c, ok := w.Source.(source.Counter); ok {
		c.Counts(yield)
	}
}

// Follows lists what the source waits at.
func (w *watched) Follows() []string { return source.Waits(w.Source) }

// Progress implements [source.Progresser], for a source that does.
func (w *watched) Progress() (float64, string) {
	if p, ok := w.Source.(source.Progresser); ok {
		return p.Progress()
	}
	return 0, ""
}

// Close gives back what opening the source took, if Run is never called.
func (w *watched) Close() error {
	if c, ok := w.Source.(interface{ Close() error }); ok {
		return c.Close()
	}
	return nil
}

type watchedSink struct {
	w  *watched
	to source.Sink
}

// Deliver implements [source.Sink].
func (s watchedSink) Deliver(ctx context.Context, d source.Delivery) error {
	from, cluster := d.Source, d.Cluster
	err := s.to.Deliver(ctx, d)
	if err == nil {
		s.w.delivered(from, cluster)
	}
	return err
}

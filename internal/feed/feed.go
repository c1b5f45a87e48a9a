// Package feed runs several sources as one: each has a name, perhaps a cluster, and a share of the room that the others
// cannot take from it. When one fails, the others go on, and it is opened again.
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"kaudit/internal/metric"
	"kaudit/pkg/source"
)

const (
	// firstPause and longestPause bound the time between a failure and the next try. It doubles with each failure.
	firstPause   = time.Second
	longestPause = time.Minute
)

// A Member is one of the sources.
type Member struct {
	// Name is in logs and in the names of counters, and nothing else has it.
	Name string
	// Cluster is what the events of this source carry, unless the source knows better. May be empty.
	Cluster string
	// Open makes the source, again after each failure.
	Open func() (source.Source, error)
}

// Config is how sources are run together.
type Config struct {
	// QueueBytes is the room that all share: how many bytes of payloads may be between Deliver and Done.
	QueueBytes int64
	// Log takes what an operator should know.
	Log *slog.Logger
}

// Open opens all members. What the operating system refuses (a port in use, a file that is not there yet) may pass:
// such a member is tried again while the others run, and only if there is none to run is it an error. Any
// other error is a mistake in the configuration: then nothing stays open.
//
// The source is also a [source.Counter] and a [source.Progresser], and has a Close method that gives back what opening
// took if Run is never called.
func Open(members []Member, cfg Config) (source.Source, error) {
	f := &feed{log: cfg.Log}
	var failed []error
	for _, m := range members {
		r := &runner{
			member: m,
			log:    cfg.Log.With("name", m.Name),
			lane:   newLane(m.Cluster, max(1, cfg.QueueBytes/int64(len(members)))),
			tally:  metric.Tally{Prefix: m.Name + "."},
		}
		r.count = r.tally.Add
		f.runners = append(f.runners, r)
		src, err := m.Open()
		if err != nil {
			err = fmt.Errorf("sources: %s: %w", m.Name, err)
			failed = append(failed, err)
			if !passing(err) {
				f.Close()
				return nil, err
			}
			continue
		}
		r.set(src)
	}
	if len(failed) == len(members) {
		return nil, errors.Join(failed...)
	}
	for _, err := range failed {
		f.log.Error("a source could not be opened; it is tried again", "error", err)
	}
	return f, nil
}

// passing tells whether an error comes from the operating system.
func passing(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno)
}

// A feed is the sources that run together.
type feed struct {
	log     *slog.Logger
	runners []*runner
}

// Run runs all sources until each has no more, or ctx ends. It returns nil or ctx.Err(): a failure is never the end.
func (f *feed) Run(ctx context.Context, sink source.Sink) error {
	var wg sync.WaitGroup
	for _, r := range f.runners {
		wg.Go(func() { r.run(ctx, sink) })
	}
	wg.Wait()
	return ctx.Err()
}

// Close gives back what opening took. It is needed only if Run is never called.
func (f *feed) Close() error {
	var errs []error
	for _, r := range f.runners {
		errs = append(errs, r.close())
	}
	return errors.Join(errs...)
}

// Follows lists what the sources wait at.
func (f *feed) Follows() []string {
	var all []string
	for _, r := range f.runners {
		r.mu.Lock()
		if r.src != nil {
			all = append(all, source.Waits(r.src)...)
		}
		r.mu.Unlock()
	}
	return all
}

// Progress implements [source.Progresser]: the mean of all, and the words of those that have some.
func (f *feed) Progress() (float64, string) {
	var sum float64
	var words []string
	for _, r := range f.runners {
		done, text := r.progress()
		sum += done
		if text != "" {
			words = append(words, r.member.Name+": "+text)
		}
	}
	return sum / float64(len(f.runners)), strings.Join(words, ", ")
}

// Counts implements [source.Counter]: what each source counts, and what passed its lane, under its name.
func (f *feed) Counts(yield func(name string, n uint64)) {
	for _, r := range f.runners {
		r.counts(yield)
	}
}

// A runner runs one source, over and over until it has no more.
type runner struct {
	member   Member
	log      *slog.Logger
	lane     *lane
	failures atomic.Uint64

	mu    sync.Mutex
	src   source.Source // nil while there is none: it could not be opened, or has ended
	ended bool          // it had no more
	tally metric.Tally
	count func(name string, n uint64) // into tally; made once so that counting allocates nothing
}

// run runs the source until it has no more or ctx ends.
func (r *runner) run(ctx context.Context, sink source.Sink) {
	pause := firstPause
	for ctx.Err() == nil {
		src, err := r.opened()
		if err == nil {
			began := time.Now()
			err = r.once(ctx, src, sink)
			r.set(nil)
			if ctx.Err() != nil || errors.Is(err, source.ErrClosed) {
				return
			}
			if err == nil {
				r.mu.Lock()
				r.ended = true
				r.mu.Unlock()
				r.log.Info("a source has no more")
				return
			}
			if time.Since(began) > longestPause {
				pause = firstPause
			}
		}
		r.failures.Add(1)
		r.log.Error("a source failed; it is opened again", "error", err, "in", pause)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
	}
	if err := r.close(); err != nil {
		r.log.Error("closing a source that was not running", "error", err)
	}
}

// opened returns the source, which may have to be opened first.
func (r *runner) opened() (source.Source, error) {
	r.mu.Lock()
	src := r.src
	r.mu.Unlock()
	if src != nil {
		return src, nil
	}
	src, err := r.member.Open()
	if err != nil {
		return nil, err
	}
	r.set(src)
	return src, nil
}

// once runs the source once; a panic in it becomes its error.
func (r *runner) once(ctx context.Context, src source.Source, sink source.Sink) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the source failed inside: %v", p)
		}
	}()
	return src.Run(ctx, laneSink{r.lane, sink})
}

// set makes src the source there is, and keeps what the one before has counted.
func (r *runner) set(src source.Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.src.(source.Counter); ok {
		c.Counts(r.tally.End)
	}
	r.src = src
}

func (r *runner) close() error {
	r.mu.Lock()
	src := r.src
	r.mu.Unlock()
	r.set(nil)
	if c, ok := src.(interface{ Close() error }); ok {
		return c.Close()
	}
	return nil
}

func (r *runner) progress() (float64, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return 1, ""
	}
	if p, ok := r.src.(source.Progresser); ok {
		return p.Progress()
	}
	return 0, ""
}

func (r *runner) counts(yield func(name string, n uint64)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tally.Begin()
	r.count("failures", r.failures.Load())
	r.lane.counts(r.count)
	if c, ok := r.src.(source.Counter); ok {
		c.Counts(r.count)
	}
	for _, sum := range r.tally.Sums() {
		yield(sum.Name, sum.N)
	}
}

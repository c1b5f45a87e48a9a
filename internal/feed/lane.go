package feed

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"kaudit/pkg/source"
)

// lightest is what a delivery takes of its lane at least, so that a flood of small ones is bounded, too.
const lightest = 16 << 10

// A lane is one source's share of the room. A source that floods fills its own lane, and the others find theirs free.
type lane struct {
	cluster string
	size    int64
	room    *semaphore.Weighted // bytes

	deliveries, bytes, refused, evaluated atomic.Uint64
	events, cut, salvaged, rejected       atomic.Uint64
	queued                                atomic.Int64 // bytes on their way

	mu  sync.Mutex
	out list.List // when the deliveries that are not yet evaluated came, the oldest first
}

func newLane(cluster string, size int64) *lane {
	return &lane{cluster: cluster, size: size, room: semaphore.NewWeighted(size)}
}

// A laneSink is a lane and where it leads.
type laneSink struct {
	*lane
	to source.Sink
}

// Deliver implements [source.Sink].
func (l laneSink) Deliver(ctx context.Context, d source.Delivery) error {
	weight := min(max(int64(len(d.Payload)), lightest), l.size)
	if err := l.room.Acquire(ctx, weight); err != nil {
		l.refused.Add(1)
		if errors.Is(err, context.DeadlineExceeded) {
			return source.ErrFull
		}
		return err
	}
	if d.Cluster == "" {
		d.Cluster = l.cluster
	}
	size, done, came := len(d.Payload), d.Done, l.begin()
	d.Done = func() {
		l.end(came, weight)
		l.queued.Add(-int64(size))
		l.evaluated.Add(1)
		if done != nil {
			done()
		}
	}
	d.Decoded = l.decoded
	l.queued.Add(int64(size)) // Done may be called before Deliver returns
	if err := l.to.Deliver(ctx, d); err != nil {
		l.queued.Add(-int64(size))
		l.end(came, weight)
		l.refused.Add(1)
		return err
	}
	l.deliveries.Add(1)
	l.bytes.Add(uint64(size))
	return nil
}

func (l *lane) decoded(c source.Contents) {
	l.events.Add(c.Events)
	l.cut.Add(c.Cut)
	l.salvaged.Add(c.Salvaged)
	l.rejected.Add(c.Rejected)
}

func (l *lane) begin() *list.Element {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.PushBack(time.Now())
}

func (l *lane) end(came *list.Element, weight int64) {
	l.mu.Lock()
	l.out.Remove(came)
	l.mu.Unlock()
	l.room.Release(weight)
}

// oldest returns how long the oldest delivery that is not yet evaluated has been on its way.
func (l *lane) oldest() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.out.Front(); e != nil {
		return time.Since(e.Value.(time.Time))
	}
	return 0
}

// counts yields what passed.
func (l *lane) counts(yield func(name string, n uint64)) {
	yield("deliveries", l.deliveries.Load())
	yield("delivery_bytes", l.bytes.Load())
	yield("evaluated", l.evaluated.Load())
	yield("refused", l.refused.Load())
	yield("events", l.events.Load())
	yield("cut", l.cut.Load())
	yield("salvaged", l.salvaged.Load())
	yield("rejected", l.rejected.Load())
	yield("oldest_ms", uint64(l.oldest().Milliseconds()))
	yield("queue_bytes", uint64(max(0, l.queued.Load())))
}

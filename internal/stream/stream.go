// Package stream stands between a source and the host: it takes deliveries in, bounds them by bytes, splits and decodes
// them on goroutines of its own, keeps their order, and tells the source when every event of a delivery has been
// evaluated.
//
// What an event becomes is a [Batch]'s business: for the host it is a piece of C memory, for tests a list.
package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"kaudit/internal/noise"
	"kaudit/pkg/audit"
	"kaudit/pkg/source"
)

// A Batch takes events in and is handed to the host whole. It is used by one goroutine at a time.
type Batch interface {
	// Add adds an event, or returns false and adds nothing if there is no room. An empty batch has room for any event.
	// e is good only during the call.
	Add(e *audit.Event, stamp time.Time) bool
	// Len returns the number of events.
	Len() int
	// Reset empties the batch: the host is done with it.
	Reset()
	// Free gives the batch's memory back. The batch is not used again.
	Free()
}

// ErrIdle means there is nothing to hand out now.
var ErrIdle = errors.New("no events now")

// Config is how a stream is set up.
type Config struct {
	// NewBatch makes an empty batch.
	NewBatch func() Batch
	// MaxEventSize is how many bytes an event may have before its bodies are cut.
	MaxEventSize int
	// DropNoise says that events no rule wants are counted and not handed out. Their deliveries are done in their turn.
	DropNoise bool
	// QueueBytes is how many bytes of payloads may be between Deliver and the end of their evaluation; a single
	// payload may be larger if it comes alone.
	QueueBytes int64
	// Workers is how many goroutines decode; zero means one for each processor.
	Workers int
	// Counters is counted into; nil means nobody looks.
	Counters *Counters
	// Log takes what an operator should know; nil means nobody reads.
	Log *slog.Logger
	// Notify is told of deliveries that were not read whole; nil means nobody wants to know. It must not block.
	Notify func(source.Notice)
}

// DefaultQueueBytes is the usual Config.QueueBytes: as much as the largest webhook body.
const DefaultQueueBytes = 64 << 20

// Counters counts what passes. They only grow, but for Queued and Lag, and may be read at any time.
type Counters struct {
	Events     atomic.Uint64 // handed to the host
	EventBytes atomic.Uint64
	Rejected   [audit.Reasons]atomic.Uint64 // pieces of payloads that were no events, by reason
	Cut        atomic.Uint64                // events whose bodies were taken out for their size
	Salvaged   atomic.Uint64                // events of which a part was read
	Untimed    atomic.Uint64                // events without a timestamp
	Dropped    [noise.Kinds]atomic.Uint64   // events that were noise, by kind
	Failed     atomic.Uint64                // what failed inside: a delivery, an answer; a mistake in this program
	Refused    atomic.Uint64                // deliveries for which there was no room
	Deliveries atomic.Uint64                // deliveries taken in
	Bytes      atomic.Uint64                // bytes of deliveries taken in
	Evaluated  atomic.Uint64                // deliveries of which every event has been evaluated
	Queued     atomic.Int64                 // bytes of deliveries not yet evaluated
	Lag        atomic.Int64                 // nanoseconds from an event's timestamp to its decoding, for the last one
}

const (
	// jobs is how many deliveries may be under way; small ones are bounded by this and large ones by their bytes.
	jobs = 4096
	// ahead is how many batches of one delivery may be ready before the host has taken any.
	ahead = 2
)

// A Stream runs one source and decodes what it delivers. Deliver is the source's side, Next the host's.
type Stream struct {
	cfg    Config
	ctx    context.Context // ends when the stream closes
	cancel context.CancelFunc
	room   *semaphore.Weighted // bytes
	slots  chan struct{}       // deliveries
	pool   *pool
	wg     sync.WaitGroup

	mu    sync.Mutex // holds order and work in step
	last  uint64     // number of the last delivery taken in
	since queue      // when those that are not yet evaluated were taken in
	over  bool       // the source has returned: there is no more work
	order chan *job  // for Next
	work  chan *job  // for the workers

	ended  chan struct{} // closed when the source has returned
	endErr error         // why, if not nil

	// The host's side.
	job   *job
	given Batch
	timer *time.Timer
	calm  calm

	throttle [audit.Reasons + 1]rate.Sometimes
}

// A job is a delivery under way. A worker sends its batches on out and closes it.
type job struct {
	n      uint64
	d      source.Delivery
	weight int64
	out    chan Batch
}

// Open starts src and the workers.
func Open(src source.Source, cfg Config) *Stream {
	if cfg.Workers <= 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.QueueBytes <= 0 {
		cfg.QueueBytes = DefaultQueueBytes
	}
	if cfg.Counters == nil {
		cfg.Counters = new(Counters)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Notify == nil {
		cfg.Notify = func(source.Notice) {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Stream{
		cfg:    cfg,
		ctx:    ctx,
		cancel: cancel,
		room:   semaphore.NewWeighted(cfg.QueueBytes),
		slots:  make(chan struct{}, jobs),
		pool:   newPool(cfg.Workers*(ahead+1)+1, cfg.NewBatch),
		order:  make(chan *job, jobs),
		work:   make(chan *job, jobs),
		ended:  make(chan struct{}),
		timer:  time.NewTimer(0),
	}
	for i := range s.throttle {
		s.throttle[i].Interval = 10 * time.Second
	}
	for range cfg.Workers {
		s.wg.Go(s.decode)
	}
	go func() {
		defer close(s.ended)
		s.endErr = s.run(src)
		s.mu.Lock()
		s.over = true
		close(s.work)
		s.mu.Unlock()
	}()
	return s
}

// run runs the source; a panic in it becomes its error.
func (s *Stream) run(src source.Source) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the source failed inside: %v", p)
			s.cfg.Log.Error("the source failed inside", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	return src.Run(s.ctx, s)
}

// Deliver implements [source.Sink].
func (s *Stream) Deliver(ctx context.Context, d source.Delivery) error {
	weight := min(int64(len(d.Payload)), s.cfg.QueueBytes)
	if err := s.acquire(ctx, weight); err != nil {
		if !errors.Is(err, source.ErrClosed) {
			s.cfg.Counters.Refused.Add(1)
		}
		return err
	}
	j := &job{d: d, weight: weight, out: make(chan Batch, ahead)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over { // a source that returns and goes on delivering breaks its promise, but must not break the host
		s.room.Release(weight)
		<-s.slots
		return source.ErrClosed
	}
	s.cfg.Counters.Deliveries.Add(1)
	s.cfg.Counters.Bytes.Add(uint64(len(d.Payload)))
	s.cfg.Counters.Queued.Add(int64(len(d.Payload)))
	// Both channels have room for every slot, so nobody waits here; a worker always takes the job that Next waits for
	// before any later one.
	s.last++
	j.n = s.last
	s.since.push(time.Now())
	s.order <- j
	s.work <- j
	return nil
}

// Oldest returns how long the oldest delivery that is not yet evaluated has been waiting. It may be called at any time.
func (s *Stream) Oldest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.len() == 0 {
		return 0
	}
	return time.Since(s.since.first())
}

// acquire waits for room for one more delivery.
func (s *Stream) acquire(ctx context.Context, weight int64) error {
	if s.ctx.Err() != nil {
		return source.ErrClosed
	}
	select {
	case s.slots <- struct{}{}:
	default:
		select {
		case s.slots <- struct{}{}:
		case <-s.ctx.Done():
			return source.ErrClosed
		case <-ctx.Done():
			return full(ctx)
		}
	}
	if s.room.TryAcquire(weight) {
		return nil
	}
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	if s.room.Acquire(both, weight) == nil {
		return nil
	}
	<-s.slots
	if s.ctx.Err() != nil {
		return source.ErrClosed
	}
	return full(ctx)
}

// full returns what to tell a source whose context ended while it waited for room.
func full(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return source.ErrFull
	}
	return ctx.Err()
}

// decode is what a worker does.
func (s *Stream) decode() {
	w := worker{stream: s, decoder: audit.Decoder{MaxEventSize: s.cfg.MaxEventSize}}
	for j := range s.work {
		w.do(j)
	}
}

// A worker decodes one delivery after the other.
type worker struct {
	stream  *Stream
	decoder audit.Decoder
	job     *job
	batch   Batch
	found   source.Contents // in the job
	lost    uint64          // pieces of the job that should have been events
	stamp   time.Time       // of the last event since flush
}

func (w *worker) do(j *job) {
	s := w.stream
	w.job, w.found, w.lost = j, source.Contents{}, 0
	defer close(j.out)
	defer w.tell()
	defer w.flush()
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Counters.Failed.Add(1)
			w.lost++
			w.decoder = audit.Decoder{MaxEventSize: s.cfg.MaxEventSize}
			s.throttle[audit.Reasons].Do(func() {
				s.cfg.Log.Error("decoding a delivery failed inside; the rest of it is lost", "source", j.d.Source, "panic", p, "stack", string(debug.Stack()))
			})
		}
	}()
	if s.ctx.Err() == nil {
		w.decoder.Cluster = j.d.Cluster
		w.decoder.Decode(j.d.Payload, j.d.Lines, w)
	}
}

// Event implements [audit.Handler].
func (w *worker) Event(e *audit.Event, stamp time.Time, marks audit.Marks) {
	c := w.stream.cfg.Counters
	if marks&audit.Cut != 0 {
		c.Cut.Add(1)
		w.found.Cut++
	}
	if marks&audit.Salvaged != 0 {
		c.Salvaged.Add(1)
		w.found.Salvaged++
	}
	if marks&audit.Untimed != 0 {
		c.Untimed.Add(1)
	}
	if w.stream.cfg.DropNoise && marks == 0 { // what is cut or salvaged is not all there
		if kind := noise.Of(e); kind != noise.None {
			c.Dropped[kind].Add(1)
			w.stamp = stamp
			return
		}
	}
	for {
		if w.batch == nil {
			if w.batch = w.stream.pool.take(w.job.n); w.batch == nil {
				return // closing
			}
		}
		if w.batch.Add(e, stamp) {
			w.stamp = stamp
			w.found.Events++
			c.EventBytes.Add(uint64(e.Size()))
			return
		}
		w.flush()
	}
}

// Rejected implements [audit.Handler].
func (w *worker) Rejected(why audit.Reason, offset, length int) {
	s := w.stream
	s.cfg.Counters.Rejected[why].Add(1)
	w.found.Rejected++
	if why != audit.NotAudit { // other JSON on the same way is no event that was lost
		w.lost++
	}
	s.throttle[why].Do(func() {
		s.cfg.Log.Warn("left out what is no audit event", "source", w.job.d.Source, "reason", why.String(),
			"offset", offset, "bytes", length, "so far", s.cfg.Counters.Rejected[why].Load())
	})
}

// tell tells what the job held, and raises a notice if events were lost.
func (w *worker) tell() {
	if told := w.job.d.Decoded; told != nil {
		told(w.found)
	}
	if w.lost > 0 {
		w.stream.cfg.Notify(source.Notice{
			Name: source.EventsLost, Source: w.job.d.Source, Cluster: w.job.d.Cluster, Count: w.lost,
			Message: "what should have been audit events could not be read and reaches no rule; look at what writes or carries them",
		})
	}
}

func (w *worker) flush() {
	b := w.batch
	w.batch = nil
	if !w.stamp.IsZero() {
		w.stream.cfg.Counters.Lag.Store(int64(max(0, time.Since(w.stamp))))
		w.stamp = time.Time{}
	}
	switch {
	case b == nil:
		return
	case b.Len() == 0: // its first event panicked; the host takes a batch without events for a failure
		w.stream.pool.put(b)
		return
	}
	select {
	case w.job.out <- b:
	case <-w.stream.ctx.Done():
		w.stream.pool.put(b)
	}
	runtime.Gosched() // who answers senders does not wait while a large delivery is decoded
}

// Next hands out the next batch that is ready, at once if there is one, else it waits and returns [ErrIdle]. Calling it
// says that the batch before has been evaluated. It returns [io.EOF] when the source has no more, and the source's
// error when it could not go on. The batch is good until the next call of Next or Close. One goroutine calls it.
func (s *Stream) Next(wait time.Duration) (Batch, error) {
	b, err := s.next(wait)
	if s.calm.after(errors.Is(err, ErrIdle), wait, s.cfg.Counters.Bytes.Load()) {
		go debug.FreeOSMemory() // it takes milliseconds, for which the host's thread does not wait
	}
	return b, err
}

func (s *Stream) next(wait time.Duration) (Batch, error) {
	s.release()
	waiting := false
	for {
		if s.job != nil {
			b, more, ok := s.receive(wait, &waiting)
			switch {
			case !ok:
				return nil, ErrIdle
			case more:
				s.given = b
				s.cfg.Counters.Events.Add(uint64(b.Len()))
				return b, nil
			}
			s.finish()
			if !waiting {
				s.timer.Reset(wait)
				waiting = true
			} else if s.late() { // deliveries without events could come for ever
				return nil, ErrIdle
			}
		}
		select {
		case j := <-s.order:
			s.begin(j)
			continue
		default:
		}
		if !waiting {
			s.timer.Reset(wait)
			waiting = true
		}
		select {
		case j := <-s.order:
			s.begin(j)
		case <-s.ended:
			select {
			case j := <-s.order:
				s.begin(j)
				continue
			default:
			}
			if s.endErr != nil {
				return nil, s.endErr
			}
			return nil, io.EOF
		case <-s.timer.C:
			return nil, ErrIdle
		}
	}
}

// late reports whether the timer has run out.
func (s *Stream) late() bool {
	select {
	case <-s.timer.C:
		return true
	default:
		return false
	}
}

// begin makes j the delivery whose batches are handed out.
func (s *Stream) begin(j *job) {
	s.job = j
	s.pool.advance(j.n)
}

// receive waits for the next batch of the job; more is false when there is none left, ok when time is up.
func (s *Stream) receive(wait time.Duration, waiting *bool) (b Batch, more, ok bool) {
	select {
	case b, more = <-s.job.out:
		return b, more, true
	default:
	}
	if !*waiting {
		s.timer.Reset(wait)
		*waiting = true
	}
	select {
	case b, more = <-s.job.out:
		return b, more, true
	case <-s.timer.C:
		return nil, false, false
	}
}

// release takes back the batch handed out last.
func (s *Stream) release() {
	if s.given != nil {
		s.pool.put(s.given)
		s.given = nil
	}
}

// finish ends the job: every event of it has been evaluated.
func (s *Stream) finish() {
	j := s.job
	s.job = nil
	s.mu.Lock()
	s.since.pop()
	s.mu.Unlock()
	s.cfg.Counters.Evaluated.Add(1)
	s.room.Release(j.weight)
	<-s.slots
	s.cfg.Counters.Queued.Add(-int64(len(j.d.Payload)))
	if j.d.Done != nil {
		s.acknowledge(j)
	}
}

// acknowledge calls Done. The host must not end because a source panics there.
func (s *Stream) acknowledge(j *job) {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Counters.Failed.Add(1)
			s.cfg.Log.Error("acknowledging a delivery failed inside", "source", j.d.Source, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	j.d.Done()
}

// Close ends the source and the workers and waits for them, then frees all batches. What has not been evaluated is not
// acknowledged: Done is not called for it.
func (s *Stream) Close() {
	s.cancel()
	s.pool.close()
	<-s.ended
	s.wg.Wait()
	s.release()
	s.timer.Stop()
	for s.job != nil || len(s.order) > 0 {
		if s.job == nil {
			s.job = <-s.order
		}
		for b := range s.job.out {
			s.pool.put(b)
		}
		s.cfg.Counters.Queued.Add(-int64(len(s.job.d.Payload)))
		s.job = nil
	}
}

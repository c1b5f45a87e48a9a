package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"kaudit/pkg/source"
)

const (
	// again is the time between two tries to read what the disk does not give, or to hand on what the sink does not take.
	again = 50 * time.Millisecond
	// readTries is how often a segment is tried again before what the disk does not give is given up.
	readTries = 60
	// block is how much is left out then, before the next try.
	block = 4096
	// Buffers from smallBuffer on are used again.
	smallBuffer = 64 << 10
	// idle is how long a segment whose records are all evaluated stays when no more come.
	idle = 30 * time.Second
	// lossEvery is how often rules are told of losses at most.
	lossEvery = 10 * time.Second
)

// A reader reads records in their order and hands them on. One goroutine has it.
type reader struct {
	*Spool
	sink  source.Sink
	from  *segment // nil between two
	index uint64   // of the last one
	file  *os.File
	scan  *scanner
	tries int // to read from it

	source, cluster string // of the last record
	buffers         sync.Pool

	lost     uint64    // records rules were not told of
	lostTold time.Time // when they were last
}

// A lease is the memory of a record that was handed on.
type lease struct {
	payload []byte
	number  uint64
	done    func()
}

// drain hands on what was not evaluated, and then what comes, until ctx ends or the sink is closed. Once finish is
// closed it returns nil when everything is handed on.
func (s *Spool) drain(ctx context.Context, sink source.Sink, finish <-chan struct{}) (err error) {
	r := &reader{Spool: s, sink: sink}
	defer func() {
		if p := recover(); p != nil { // the host must not end
			err = fmt.Errorf("spool: reading failed inside: %v", p)
			s.cfg.Log.Error("spool: reading failed inside", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	defer r.leave()
	defer r.tellLost(true)
	timer := time.NewTimer(idle)
	defer timer.Stop()
	finished := false
	for {
		r.release()
		r.tellLost(false)
		switch more, err := r.step(ctx); {
		case err != nil:
			return err
		case more:
			continue
		case finished:
			return nil
		}
		timer.Reset(idle)
		select {
		case <-r.moved:
		case <-timer.C:
			r.askSeal()
		case <-finish:
			finished, finish = true, nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// step handles the next record, or goes on to the next segment. It reports false if there is neither.
func (r *reader) step(ctx context.Context) (more bool, err error) {
	if r.from == nil {
		return r.enter(ctx)
	}
	r.mu.Lock()
	sealed, next := r.from.sealed, r.from.next // before the end is looked for
	r.mu.Unlock()

	at := r.scan.at
	h, skipped, err := r.scan.next()
	r.counters.skipped.Add(uint64(skipped))
	switch {
	case err == nil && !(sealed && h.number >= next):
		return true, r.record(ctx, at+skipped, h)
	case err == nil: // it was refused when it could not be synced, and its number given again: the end
	case !errors.Is(err, io.EOF):
		return true, r.unread(ctx, at, err)
	case !sealed:
		return false, nil
	}
	r.pass(next, r.from.unknown)
	r.leave()
	return r.enter(ctx)
}

// enter goes on to the segment after the last one, if there is one.
func (r *reader) enter(ctx context.Context) (bool, error) {
	r.mu.Lock()
	var to *segment
	for _, s := range r.segments {
		if s.index > r.index {
			to = s
			break
		}
	}
	r.mu.Unlock()
	if to == nil {
		return false, nil
	}
	file, err := os.Open(to.path)
	if err == nil {
		r.file, r.from, r.index, r.tries = file, to, to.index, 0
		r.seek(0)
		return true, nil
	}
	r.counters.readErrors.Add(1)
	r.quiet[quietRead].Do(func() { r.cfg.Log.Error("spool: a segment cannot be opened", "error", err) })
	r.mu.Lock()
	sealed, next := to.sealed, to.next
	r.mu.Unlock()
	r.tries++
	if sealed && !scarce(err) && (errors.Is(err, fs.ErrNotExist) || r.tries > readTries) {
		r.index, r.tries = to.index, 0
		r.pass(next, to.unknown)
		return true, nil
	}
	return true, pause(ctx, again)
}

// scarce tells whether an error is about what the process lacks, and not about the file.
func scarce(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// seek goes on reading at a place in the segment.
func (r *reader) seek(at int64) {
	from := r.from
	r.scan = newScanner(r.file, from.marker, at, func() int64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return from.end
	})
}

// leave closes the segment.
func (r *reader) leave() {
	if r.file != nil {
		r.file.Close()
	}
	r.file, r.from, r.scan = nil, nil, nil
}

// unread is called when the disk does not give what is in a record that begins at a place.
func (r *reader) unread(ctx context.Context, at int64, err error) error {
	r.counters.readErrors.Add(1)
	r.quiet[quietRead].Do(func() { r.cfg.Log.Error("spool: a segment cannot be read", "file", r.from.path, "error", err) })
	if r.tries++; r.tries <= readTries {
		r.seek(at)
		return pause(ctx, again)
	}
	to := (r.scan.at + block) / block * block
	r.counters.skipped.Add(uint64(to - at))
	r.seek(to)
	return ctx.Err()
}

// record hands on the record whose header was read at a place.
func (r *reader) record(ctx context.Context, at int64, h head) error {
	if h.number < r.read { // it was evaluated before the restart
		if err := r.scan.discard(h.follows()); err != nil {
			return r.unread(ctx, at, err)
		}
		return nil
	}
	l := r.lease(int(h.payload))
	name, cluster, ok, err := r.scan.content(&h, l.payload)
	if err != nil {
		return r.unread(ctx, at, err)
	}
	if !ok {
		r.counters.skipped.Add(uint64(headSize + h.follows()))
		r.pass(h.number+1, false)
		r.buffers.Put(l)
		return nil
	}
	// Nearly always these are the names of the record before.
	if string(name) != r.source {
		r.source = string(name)
	}
	if string(cluster) != r.cluster {
		r.cluster = string(cluster)
	}
	r.pass(h.number, false)
	l.number = h.number
	r.mu.Lock()
	r.read = h.number + 1
	r.inFlight = append(r.inFlight, flight{number: h.number, stamp: h.stamp})
	r.mu.Unlock()
	return r.deliver(ctx, l, source.Delivery{
		Payload: l.payload,
		Source:  r.source,
		Cluster: r.cluster,
		Lines:   h.flags&flagLines != 0,
		Done:    l.done,
	})
}

// lease returns memory for a payload of n bytes. Memory much larger than that is not lent: what is in flight is bounded
// by what payloads weigh.
func (r *reader) lease(n int) *lease {
	l, _ := r.buffers.Get().(*lease)
	if l == nil {
		l = new(lease)
		l.done = func() {
			r.evaluated(l.number)
			r.buffers.Put(l)
		}
	}
	if n < smallBuffer || cap(l.payload) < n || cap(l.payload) > 2*n {
		l.payload = make([]byte, n)
	}
	l.payload = l.payload[:n]
	return l
}

// deliver gives a record to the sink.
func (r *reader) deliver(ctx context.Context, l *lease, d source.Delivery) error {
	for {
		err := r.sink.Deliver(ctx, d)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, source.ErrRejected):
			r.counters.lost.Add(1)
			r.lost++
			l.done()
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, source.ErrClosed):
			return err
		}
		if err := pause(ctx, again); err != nil {
			return err
		}
	}
}

// pass goes on to the record with a number. Those before it that were not read are lost; if it is unknown how many there
// were, one is counted.
func (r *reader) pass(number uint64, unknown bool) {
	if number <= r.read { // only the reader changes it
		return
	}
	n := number - r.read
	if unknown {
		n = 1
	}
	r.mu.Lock()
	r.read = number
	r.mu.Unlock()
	r.counters.lost.Add(n)
	r.lost += n
	r.advance()
}

// tellLost tells rules of records that are lost, now and then, or at once.
func (r *reader) tellLost(now bool) {
	if r.lost == 0 || !now && time.Since(r.lostTold) < lossEvery {
		return
	}
	r.cfg.Log.Error("spool: deliveries are damaged on disk, or gone from it, and lost", "dir", r.cfg.Dir, "deliveries", r.lost)
	r.cfg.Notify(source.Notice{
		Name: source.EventsLost, Source: r.cfg.Name, Count: r.lost,
		Message: "Deliveries of audit events were damaged on the spool's disk, or removed from it, before Falco had evaluated them. Check the disk, and who may write to the folder.",
	})
	r.lost, r.lostTold = 0, time.Now()
}

// release removes the segments whose records are all evaluated.
func (r *reader) release() {
	for {
		r.mu.Lock()
		var s *segment
		if len(r.segments) > 0 && r.segments[0].sealed && r.segments[0].next <= r.position() {
			s = r.segments[0]
		}
		full := r.full
		r.mu.Unlock()
		if s == nil {
			if full {
				r.askSeal()
			}
			return
		}
		if s == r.from {
			r.leave()
		}
		if err := r.cfg.disk.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.counters.writeErrors.Add(1)
			r.quiet[quietRemove].Do(func() { r.cfg.Log.Error("spool: an evaluated segment cannot be removed", "error", err) })
			return
		}
		r.mu.Lock()
		r.segments = r.segments[1:]
		r.used -= s.size
		r.full = false
		r.settled()
		r.mu.Unlock()
	}
}

// askSeal asks the writer to end its segment if everything in it is evaluated, so that it can be removed.
func (r *reader) askSeal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.segments); n > 0 && !r.segments[n-1].sealed && r.position() == r.next {
		r.seal = true
		signal(r.wake)
	}
}

// pause waits, or returns why it did not.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

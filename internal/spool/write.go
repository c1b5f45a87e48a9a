package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"kaudit/pkg/source"
)

const (
	// probeEvery is how often a failing disk is tried again, with probeBytes.
	probeEvery = time.Second
	probeBytes = 1 << 20
	probeName  = "probe"
)

// A disk is what the spool writes to.
type disk interface {
	// Create makes a file that is not there yet.
	Create(path string) (file, error)
	Remove(path string) error
	// SyncDir makes durable which files there are.
	SyncDir(path string) error
}

// A file is one that is written from its beginning on.
type file interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

// system is the disk of the operating system.
type system struct{}

func (system) Create(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (system) Remove(path string) error { return os.Remove(path) }

func (system) SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// A writer writes entries to segments. One goroutine has it.
type writer struct {
	*Spool
	file  file
	to    *segment // nil if there is none to write to; then file is, too
	buf   *bufio.Writer
	index uint64    // of the last segment
	began time.Time // the last sync
	tried time.Time // the last time that a failing disk was written to
}

func newWriter(s *Spool) *writer {
	w := &writer{Spool: s, buf: bufio.NewWriterSize(nil, window)}
	if n := len(s.segments); n > 0 {
		w.index = s.segments[n-1].index
	}
	return w
}

// write is the goroutine that writes.
func (w *writer) write() {
	timer := time.NewTimer(0)
	<-timer.C
	for {
		group, pause, over := w.gather()
		switch {
		case len(group) > 0:
			w.commit(group)
			continue
		case over:
			w.end()
			return
		}
		if pause == 0 {
			<-w.wake
			continue
		}
		timer.Reset(pause)
		select {
		case <-w.wake:
		case <-timer.C:
			w.probe()
		}
	}
}

// gather takes what is there to be written. If that is nothing it returns how long to wait at most, or 0 to wait until
// there is.
func (w *writer) gather() (group []*entry, pause time.Duration, over bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) == 0 {
		if w.seal && w.to != nil && w.position() == w.next {
			w.mu.Unlock()
			w.end()
			w.mu.Lock()
		}
		w.seal = false
		if w.failing != nil {
			pause = max(time.Millisecond, probeEvery-time.Since(w.tried))
		}
		return nil, pause, w.closed
	}
	if w.waiting < lingerBytes && !w.closed {
		if pause = linger - time.Since(w.began); pause > 0 {
			return nil, pause, false
		}
	}
	group, w.pending, w.waiting = w.pending, nil, 0
	for _, e := range group {
		e.taken = true
	}
	return group, 0, false
}

// commit writes and syncs entries and answers them. Those after a failure are refused.
func (w *writer) commit(group []*entry) {
	defer func() {
		if p := recover(); p != nil { // the host must not end
			w.cfg.Log.Error("spool: writing failed inside", "panic", p, "stack", string(debug.Stack()))
			w.fail(fmt.Errorf("writing failed inside: %v", p), group)
		}
	}()
	for len(group) > 0 {
		n, size, err := w.append(group)
		if err != nil {
			w.fail(err, group)
			return
		}
		w.mu.Lock()
		w.next += uint64(n)
		w.to.next = w.next
		w.to.size += size
		w.to.end += size
		w.settled()
		signal(w.moved)
		w.mu.Unlock()
		w.counters.records.Add(uint64(n))
		w.counters.bytes.Add(uint64(size))
		for _, e := range group[:n] {
			e.result <- nil
		}
		group = group[n:]
	}
}

// append writes as many entries as the segment takes, and syncs them.
func (w *writer) append(group []*entry) (n int, size int64, err error) {
	if w.to != nil && w.to.size > 0 && w.to.size+group[0].size > w.segmentSize {
		w.end()
	}
	if w.to == nil {
		if err := w.begin(); err != nil {
			return 0, 0, err
		}
	}
	var head [headSize]byte
	for _, e := range group {
		if at := w.to.size + size; at > 0 && at+e.size > w.segmentSize {
			break
		}
		e.head.number = w.next + uint64(n)
		e.head.put(&head, w.to.marker)
		_, _ = w.buf.Write(head[:]) // an error comes again with Flush
		_, _ = w.buf.WriteString(e.d.Source)
		_, _ = w.buf.WriteString(e.d.Cluster)
		_, _ = w.buf.Write(e.d.Payload)
		n++
		size += e.size
	}
	if err := w.buf.Flush(); err != nil {
		return n, size, err
	}
	return n, size, w.sync(w.file)
}

func (w *writer) sync(f file) error {
	w.began = time.Now()
	err := f.Sync()
	w.counters.syncs.Add(1)
	w.counters.syncNanoseconds.Add(uint64(time.Since(w.began)))
	return err
}

// begin makes a new segment.
func (w *writer) begin() error {
	w.index++
	to := newSegment(w.cfg.Dir, w.index, w.next)
	f, err := w.cfg.disk.Create(to.path)
	if err != nil {
		return err
	}
	if err := w.cfg.disk.SyncDir(w.cfg.Dir); err != nil {
		f.Close()
		_ = w.cfg.disk.Remove(to.path) // an empty one does no harm
		return err
	}
	w.file, w.to = f, to
	w.buf.Reset(f)
	w.mu.Lock()
	w.segments = append(w.segments, to)
	w.mu.Unlock()
	return nil
}

// end ends the segment that is written to. Everything in it is synced.
func (w *writer) end() {
	if w.to == nil {
		return
	}
	w.file.Close()
	w.mu.Lock()
	w.to.sealed = true
	signal(w.moved)
	w.mu.Unlock()
	w.to, w.file = nil, nil
}

// fail refuses entries that could not be written. What the segment holds of them is cut off and it is not written to
// again: after a failed sync the kernel takes what it could not write for written, so that the next sync would not tell.
// What was synced before is on disk and stays.
func (w *writer) fail(err error, group []*entry) {
	w.counters.writeErrors.Add(1)
	w.tried = time.Now()
	if w.to != nil {
		if w.file.Truncate(w.to.size) != nil {
			w.remains()
		}
		w.end()
	}
	w.mu.Lock()
	group = append(group, w.pending...)
	w.pending, w.waiting = nil, 0
	failing := fmt.Errorf("spool: %w: %w", source.ErrFull, err)
	w.failing = failing
	for _, e := range group {
		w.used -= e.size
	}
	notice := w.refuse(uint64(len(group)))
	w.mu.Unlock()
	w.tell(notice)
	for _, e := range group {
		e.result <- failing
	}
}

// remains counts what the segment takes of the disk beyond what is good.
func (w *writer) remains() {
	info, err := os.Stat(w.to.path)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used += info.Size() - w.to.size
	w.to.size = info.Size()
}

// probe looks whether a disk that failed takes something again.
func (w *writer) probe() {
	w.mu.Lock()
	failing := w.failing != nil
	w.mu.Unlock()
	if !failing || time.Since(w.tried) < probeEvery {
		return
	}
	w.tried = time.Now()
	path := filepath.Join(w.cfg.Dir, probeName)
	_ = w.cfg.disk.Remove(path) // it may be there when it could not be removed
	f, err := w.cfg.disk.Create(path)
	if err == nil {
		_, err = f.Write(make([]byte, probeBytes))
		err = errors.Join(err, w.sync(f), f.Close(), w.cfg.disk.Remove(path))
	}
	if err != nil {
		return
	}
	w.quiet[quietRecovery].Do(func() { w.cfg.Log.Info("spool: the disk takes deliveries again", "dir", w.cfg.Dir) })
	w.mu.Lock()
	w.failing = nil
	w.settled()
	w.mu.Unlock()
}

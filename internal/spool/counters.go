package spool

import (
	"sync/atomic"
	"time"
)

// counters count what passes. They only grow.
type counters struct {
	records, bytes           atomic.Uint64 // written
	evaluated                atomic.Uint64 // records
	refusedFull, refusedDisk atomic.Uint64
	tooLarge                 atomic.Uint64
	lost                     atomic.Uint64 // records
	skipped                  atomic.Uint64 // bytes
	syncs, syncNanoseconds   atomic.Uint64
	writeErrors, readErrors  atomic.Uint64
	positionErrors           atomic.Uint64
}

// Counts tells, as a [source.Counter] does, what was written, evaluated, refused and lost, and what the disk had to do.
// The first four go up and down (internal/metric has them all).
func (s *Spool) Counts(yield func(name string, n uint64)) {
	s.mu.Lock()
	records, used, segments := s.next-min(s.next, s.position()), s.used, len(s.segments)
	var age time.Duration
	if len(s.inFlight) > 0 {
		age = max(0, time.Since(time.Unix(0, s.inFlight[0].stamp)))
	}
	s.mu.Unlock()
	yield("spool.records", records)
	yield("spool.bytes", uint64(max(0, used)))
	yield("spool.segments", uint64(segments))
	yield("spool.oldest_ms", uint64(age.Milliseconds()))
	c := &s.counters
	yield("spool.written_records", c.records.Load())
	yield("spool.written_bytes", c.bytes.Load())
	yield("spool.evaluated_records", c.evaluated.Load())
	yield("spool.refused_full", c.refusedFull.Load())
	yield("spool.refused_disk", c.refusedDisk.Load())
	yield("spool.too_large", c.tooLarge.Load())
	yield("spool.lost_records", c.lost.Load())
	yield("spool.skipped_bytes", c.skipped.Load())
	yield("spool.syncs", c.syncs.Load())
	yield("spool.sync_nanoseconds", c.syncNanoseconds.Load())
	yield("spool.write_errors", c.writeErrors.Load())
	yield("spool.read_errors", c.readErrors.Load())
	yield("spool.position_errors", c.positionErrors.Load())
}

package tail

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"kaudit/internal/cursor"
)

// A mark is a place in a log.
type mark struct {
	piece  *piece
	offset int64 // in the content
	skip   bool  // what follows up to the line's end is the rest of something oversized
}

// A position is a mark as it is on disk.
type position struct {
	id     inode
	print  fingerprint
	offset int64
	skip   bool
	after  int64  // as in piece
	at     int64  // when it was stored, in nanoseconds
	real   string // path of the file behind symbolic links, for people and for links that point elsewhere later; may be empty
}

const (
	positionSize = 480
	longestReal  = positionSize - 80
	// suffix ends the names of files of positions.
	suffix = ".position"
)

func (p *position) encode(buf *[positionSize]byte) {
	le := binary.LittleEndian
	*buf = [positionSize]byte{}
	le.PutUint64(buf[0:], p.id.device)
	le.PutUint64(buf[8:], p.id.number)
	le.PutUint64(buf[16:], uint64(p.offset))
	le.PutUint64(buf[24:], uint64(p.print.at))
	le.PutUint16(buf[32:], uint16(p.print.n))
	copy(buf[34:50], p.print.sum[:])
	le.PutUint64(buf[50:], uint64(p.after))
	le.PutUint64(buf[58:], uint64(p.at))
	if p.skip {
		buf[66] = 1
	}
	if len(p.real) <= longestReal {
		le.PutUint16(buf[68:], uint16(len(p.real)))
		copy(buf[80:], p.real)
	}
}

func decodePosition(buf []byte) (p position) {
	le := binary.LittleEndian
	p.id = inode{le.Uint64(buf[0:]), le.Uint64(buf[8:])}
	p.offset = int64(le.Uint64(buf[16:]))
	p.print.at = int64(le.Uint64(buf[24:]))
	p.print.n = int(le.Uint16(buf[32:]))
	copy(p.print.sum[:], buf[34:50])
	p.after = int64(le.Uint64(buf[50:]))
	p.at = int64(le.Uint64(buf[58:]))
	p.skip = buf[66] == 1
	p.real = string(buf[80 : 80+min(int(le.Uint16(buf[68:])), longestReal)])
	return p
}

// positionFile returns the path of the file with a log's position.
func positionFile(directory, path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(directory, filepath.Base(path)+"-"+hex.EncodeToString(sum[:8])+suffix)
}

// A ledger holds the deliveries of one log that are under way, and knows how far all before was evaluated.
type ledger struct {
	mu      sync.Mutex
	first   *delivery // the oldest that is not done
	last    *delivery
	done    mark         // up to here all was evaluated
	file    *cursor.File // nil without checkpoints
	buf     [positionSize]byte
	certain bool           // what was stored last will be recognised
	changed bool           // since the last sync
	failed  error          // the last store
	stored  *atomic.Uint64 // counts
}

// A delivery holds one payload, then, when that was evaluated, another. One without data only marks a place.
type delivery struct {
	data []byte // written from the front; its length is the room there is
	end  mark
	over bool // evaluated, or nothing to evaluate
	next *delivery

	ledger *ledger
	done   func() // finish
	free   chan<- *delivery
}

// add puts a delivery at the end of the ledger, before it is handed to the sink.
func (l *ledger) add(d *delivery, end mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.ledger, d.end, d.over, d.next = l, end, false, nil
	if l.last == nil {
		l.first = d
	} else {
		l.last.next = d
	}
	l.last = d
}

// pass notes that nothing up to end needs to be evaluated but what is in the ledger already.
func (l *ledger) pass(end mark) {
	d := &delivery{}
	l.add(d, end)
	d.finish()
}

// finish notes that a delivery was evaluated. It is called on the host's thread.
func (d *delivery) finish() {
	l := d.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	d.over = true
	moved := false
	for l.first != nil && l.first.over {
		d := l.first
		l.first, l.done, moved = d.next, d.end, true
		d.next = nil
		d.release()
	}
	if l.first == nil {
		l.last = nil
	}
	if moved {
		l.store()
	}
}

// release gives the buffer back. There is room for all there are.
func (d *delivery) release() {
	if d.free != nil {
		d.free <- d
	}
}

// store puts the position where a kill does not reach it.
func (l *ledger) store() {
	if l.file == nil || l.done.piece == nil {
		return
	}
	p := l.done.piece
	print := p.print.Load()
	if print.n == 0 && l.certain && p.id != (inode{}) {
		return // the end of the file before says more than the beginning of an empty one
	}
	l.certain = print.n > 0
	at := position{id: p.id, print: *print, offset: l.done.offset, skip: l.done.skip, after: p.after, at: time.Now().UnixNano(), real: p.real}
	at.encode(&l.buf)
	if err := l.file.Store(0, l.buf[:]); err != nil {
		l.failed = err
		return
	}
	l.failed, l.changed = nil, true
	l.stored.Add(1)
}

// sync makes the position durable.
func (l *ledger) sync() error {
	l.mu.Lock()
	file, changed, failed := l.file, l.changed, l.failed
	l.changed = false
	l.mu.Unlock()
	if file == nil || !changed {
		return failed
	}
	if err := file.Sync(); err != nil {
		l.mu.Lock()
		l.changed = true
		l.mu.Unlock()
		return err
	}
	return failed
}

// close syncs, and lets go of the file. Deliveries may still finish, which then has no effect.
func (l *ledger) close() error {
	l.mu.Lock()
	file := l.file
	l.file = nil
	l.mu.Unlock()
	if file == nil {
		return nil
	}
	return file.Close()
}

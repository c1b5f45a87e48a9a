package tail

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"time"

	"kaudit/pkg/source"
)

var newline = []byte("\n")

const white = " \t\r\n"

func blank(b []byte) bool { return len(bytes.TrimLeft(b, white)) == 0 }

// A log is one log with its rotated files.
type log struct {
	*follower
	path  string // of the live file
	alone bool   // no other files belong to it
	real  string // the same without symbolic links
	late  bool   // it came while others were followed

	begun  bool
	pieces []*piece         // what is to be read, in order; the first is being read
	known  map[inode]member // as listed last; none is younger than the last piece
	ledger ledger

	carry []byte // read and not delivered: the beginning of a line
	uncut bool   // carry may hold whole lines
	seam  int    // how much of carry is from files before; whether the first file's next line belongs to it is to be seen
	next  mark   // where carry begins
	skip  bool   // the rest of a line that was too long
	cut   int64  // how long the file before a truncation was, as far as it could be read
	unwrapper

	ready   bool // there is, or may be, something to read
	relist  bool // files have come or gone
	due     time.Time
	pause   time.Duration
	ends    int       // how often the first piece was at its end while its successor had something
	failing time.Time // since when the first piece cannot be read
	fault   string    // the last thing logged about that
	missing time.Time // since when no file is left
	gone    bool
	lag     int64
}

// turn reads and delivers one buffer of the log if there is something to read.
func (l *log) turn(ctx context.Context, now time.Time, sink source.Sink) error {
	woken := l.ready
	l.ready = false
	l.due = now.Add(l.pause)
	read := l.counts.bytes.Load()
	err := l.try(ctx, sink, woken)
	switch {
	case err == nil:
		l.failing, l.fault = time.Time{}, ""
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errSink):
		return err
	case moving(err) && (l.failing.IsZero() || now.Sub(l.failing) < unsettled):
		l.ready, l.relist, l.due = false, true, now.Add(shortest)
		if l.failing.IsZero() {
			l.failing = now
		}
	default:
		l.trouble(now, err)
	}
	if !woken {
		if l.counts.bytes.Load() != read {
			l.pause = shortest
		} else {
			l.pause = min(2*l.pause, l.longest)
		}
	}
	l.account()
	return nil
}

// errSink wraps errors after which nothing can be delivered any more.
var errSink = errors.New("the sink takes no more")

// try does what turn does. Its errors are the log's.
func (l *log) try(ctx context.Context, sink source.Sink, woken bool) error {
	if !l.begun {
		if err := l.begin(); err != nil {
			return err
		}
		l.begun = true
	} else if err := l.refresh(woken); err != nil && (len(l.pieces) == 0 || l.pieces[0].file == nil) {
		return err // what is open can be read on all the same
	}
	if len(l.pieces) == 0 {
		return nil
	}
	p := l.pieces[0]
	if p.file == nil {
		if err := l.openPiece(p); err != nil {
			return err
		}
	}
	if !p.ready {
		if err := l.beginPiece(p); errors.Is(err, errTruncated) {
			return l.truncated(p)
		} else if err != nil {
			return l.damaged(p, err)
		}
	}
	if !woken && !l.ready && len(l.pieces) == 1 && p.in == nil && p.size == p.read && l.missing.IsZero() {
		return nil // refresh has looked
	}
	return l.advance(ctx, sink, p)
}

// trouble notes that the log cannot be read on now. It is tried again; a rotated file is given up in the end, since
// what comes after it counts, too.
func (l *log) trouble(now time.Time, err error) {
	l.ready = false
	l.due = now.Add(again)
	if l.failing.IsZero() {
		l.failing = now
	}
	if text := err.Error(); text != l.fault {
		l.fault = text
		l.counts.unreadable.Add(1)
		l.env.Log.Error("a log cannot be read; it is tried again", "log", l.path, "error", err)
	}
	if len(l.pieces) > 1 && now.Sub(l.failing) > giveUp {
		p := l.pieces[0]
		l.lose(l, p.size, "a rotated file cannot be read", "file", p.path, "error", err)
		l.failing, l.fault = time.Time{}, ""
		l.leave(p)
	}
}

// account tells how much is left to read.
func (l *log) account() {
	var lag int64
	for i, p := range l.pieces {
		n := p.size
		if i == 0 && p.in == nil {
			n = max(0, p.size-p.read+int64(len(l.carry)))
		}
		lag += n
	}
	l.counts.lag.Add(lag - l.lag)
	l.lag = lag
}

// openPiece opens a piece.
func (l *log) openPiece(p *piece) error {
	if err := p.open(); err != nil {
		return err
	}
	l.follower.open++
	return nil
}

// beginPiece prepares the piece to be read now. Where it is to be read on, a line begins: if not, the file is not as long
// any more as it was, as after a power cut.
func (l *log) beginPiece(p *piece) error {
	if err := p.begin(); err != nil {
		return err
	}
	if p.in != nil {
		return nil
	}
	l.watch(p)
	if l.next.piece != p || p.read == 0 || l.skip {
		return nil
	}
	from, err := lineBefore(p.file, min(p.read, p.size))
	if err != nil || from == p.read {
		return err
	}
	if same, err := p.same(); err != nil || !same {
		return cmp.Or(err, errTruncated)
	}
	p.read, l.next.offset = from, from
	return nil
}

// watch watches the file of a piece, if it is open. Only the one that is read and the youngest are: the others are not
// written to, or are read to their ends later anyway.
func (l *log) watch(p *piece) {
	if p.file == nil || p.wd != 0 {
		return
	}
	if p.wd = l.watcher.open(p.file); p.wd != 0 {
		l.watched[p.wd] = l
	}
}

func (l *log) closePiece(p *piece) {
	if p.file == nil {
		return
	}
	if p.wd != 0 {
		l.watcher.forget(p.wd)
		delete(l.watched, p.wd)
		p.wd = 0
	}
	p.close()
	l.follower.open--
}

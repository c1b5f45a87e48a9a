package tail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"kaudit/internal/logfile"
	"kaudit/pkg/source"
)

// advance reads and delivers one buffer of a piece.
func (l *log) advance(ctx context.Context, sink source.Sink, p *piece) error {
	d, err := l.pool.take(ctx, len(l.carry), l.keepUp)
	if err != nil {
		return err
	}
	if l.pieces[0] != p { // copies came before it while a buffer was waited for
		d.release()
		l.ready = true
		if len(l.carry) == 0 {
			l.next = mark{piece: l.pieces[0]}
		}
		return nil
	}
	n := copy(d.data, l.carry)
	for {
		m, ended, err := l.read(p, d.data[n:])
		if errors.Is(err, errTruncated) {
			d.release()
			return l.truncated(p)
		}
		if err != nil && m == 0 {
			d.release()
			return l.damaged(p, err)
		}
		if m > 0 && p.in == nil && !p.begun {
			if first, err := l.isFirst(p); err != nil || !first {
				d.release()
				l.ready = err == nil
				return err
			}
		}
		n += m
		full := n == len(d.data)
		if m == 0 && ended && !l.uncut {
			l.hold(d.data[:n])
			d.release()
			return l.atEnd(ctx, sink, p)
		}
		if m > 0 {
			l.ends = 0
		}
		l.uncut = false
		var whole int
		n, whole = l.whole(p, d.data[:n], full)
		switch {
		case whole > 0:
			l.ready = full || len(l.pieces) > 1 || p.in != nil || l.uncut
			return l.hand(ctx, sink, d, n, whole, mark{piece: p, offset: p.read - int64(n-whole)})
		case !full:
			l.hold(d.data[:n])
			d.release()
			l.ready = m == 0 || len(l.pieces) > 1 || p.in != nil
			return nil
		case n < len(d.data): // something was skipped
		case l.grow(d):
		default:
			return l.oversize(ctx, sink, p, d, n)
		}
	}
}

var errTruncated = errors.New("truncated")

// read reads on. ended says that there is no more now; in a compressed file, ever.
func (l *log) read(p *piece, buf []byte) (n int, ended bool, err error) {
	n, err = p.fill(buf)
	if p.in != nil {
		if errors.Is(err, io.EOF) {
			return n, true, nil
		}
		return n, false, err
	}
	if err != nil {
		return 0, false, err
	}
	same, err := p.same()
	if err == nil && n == 0 {
		testHookLook()
		var info fs.FileInfo
		if info, err = p.file.Stat(); err == nil {
			same = same && info.Size() >= p.read
			p.size = max(p.size, info.Size())
			ended = info.Size() <= p.read
		}
	}
	if err != nil || !same {
		p.read -= int64(n)
		if err == nil {
			err = errTruncated
		}
		return 0, false, err
	}
	p.size = max(p.size, p.read)
	if n > 0 && len(p.head) < headSize {
		if err := p.extend(); err != nil {
			p.read -= int64(n)
			return 0, false, err
		}
		if at := p.print.Load().at; at > 0 && l.cut > 0 {
			// The hole tells how long the file was when it was truncated, if its writer goes on where it was.
			if at > l.cut {
				l.lose(l, at-l.cut, "a log was truncated before all of it was read or copied", "file", p.path)
			}
			l.cut = 0
		}
	}
	return n, ended, nil
}

// whole returns how much of data is whole lines, and how much data there is: what is to be skipped is taken out.
func (l *log) whole(p *piece, data []byte, full bool) (n, whole int) {
	n = len(data)
	if p.format == unknown {
		p.format = formatOf(data[l.seam:])
	}
	if l.skip {
		n = l.skipRest(p, data)
		data = data[:n]
	}
	if l.seam > 0 {
		var alone bool
		if n, alone = l.join(p, data, full); alone {
			whole, l.seam, l.uncut = l.seam, 0, true
			return n, whole
		}
		if l.seam > 0 {
			return n, 0
		}
		data = data[:n]
	}
	if bytes.IndexByte(data, 0) >= 0 {
		end := len(bytes.TrimRight(data, "\x00"))
		if end == 0 && full {
			return n, n // in the middle of a hole
		}
		// What comes after a hole does not belong to what was before it. A hole at the end may be filled yet.
		if p.format != cri {
			return n, bytes.LastIndexAny(data[:end], "\n\x00") + 1
		}
		for i, c := range data[:end] {
			if c == 0 {
				data[i] = '\n'
			}
		}
	}
	if p.format == cri {
		return n, wholeWrapped(data)
	}
	return n, bytes.LastIndexByte(data, '\n') + 1
}

// skipRest takes out what belongs to a line that was too long.
func (l *log) skipRest(p *piece, data []byte) (n int) {
	var end int
	if p.format == cri {
		end, l.skip = skipWrapped(data)
		l.skip = !l.skip
	} else {
		end = bytes.IndexByte(data, '\n') + 1
		l.skip = end == 0
		if l.skip {
			end = len(data)
		}
	}
	return copy(data, data[end:])
}

// join decides whether the first line of a file goes on with the unfinished line at the end of the file before: after
// truncation, and when a writer changes files within a line, it does. A line that stands alone as JSON does
// not. It returns how much data there is; alone says that what came before the seam is a line of its own.
func (l *log) join(p *piece, data []byte, full bool) (n int, alone bool) {
	rest := bytes.TrimLeft(data[l.seam:], "\x00")
	if len(rest) == 0 && full {
		return l.seam, false // in the middle of a hole
	}
	first, _, found := bytes.Cut(rest, newline)
	if !found {
		return len(data), false
	}
	if p.format == plain && json.Valid(first) {
		return len(data), true
	}
	n = l.seam + copy(data[l.seam:], rest)
	l.seam = 0
	return n, false
}

// grow doubles the buffer, if a line may be that long.
func (l *log) grow(d *delivery) bool {
	size := len(d.data)
	if size >= maxSize || size >= keptSize && l.held+size > maxHeld {
		return false
	}
	data := make([]byte, min(2*size, maxSize))
	copy(data, d.data)
	d.data = data
	return true
}

// oversize delivers the beginning of a line that is too long, for whoever salvages it.
func (l *log) oversize(ctx context.Context, sink source.Sink, p *piece, d *delivery, n int) error {
	l.counts.oversized.Add(1)
	l.env.Log.Warn("a line is longer than the limit: delivered up to there, the rest is skipped", "file", p.path, "offset", p.read-int64(n), "limit", len(d.data))
	l.skip, l.seam = true, 0
	if p.format == cri {
		n = bytes.LastIndexByte(d.data[:n], '\n') + 1 // the rest of the line is skipped anyway
	}
	l.ready = true
	return l.hand(ctx, sink, d, n, n, mark{piece: p, offset: p.read, skip: true})
}

// hold keeps what is not a whole line yet.
func (l *log) hold(data []byte) {
	l.held += len(data) - len(l.carry)
	if cap(l.carry) > keptSize && len(data) < bufferSize {
		l.carry = nil
	}
	l.carry = append(l.carry[:0], data...)
}

// hand delivers the first bytes of a buffer that holds n, and holds the others.
func (l *log) hand(ctx context.Context, sink source.Sink, d *delivery, n, whole int, end mark) error {
	l.hold(d.data[whole:n])
	l.next = end
	payload := logfile.WithoutNULs(d.data[:whole])
	if end.piece.format == cri {
		payload = payload[:l.unwrap(payload)]
		l.counts.stderr.Add(uint64(l.left))
		l.left = 0
	}
	if blank(payload) {
		d.release()
		l.ledger.pass(end)
		return nil
	}
	l.ledger.add(d, end)
	return l.deliver(ctx, sink, d, source.Delivery{Payload: payload[:len(payload):len(payload)], Source: l.path, Lines: true, Done: d.done})
}

// deliver hands a payload to the sink, and waits until it takes it.
func (l *log) deliver(ctx context.Context, sink source.Sink, d *delivery, payload source.Delivery) error {
	size, lines := len(payload.Payload), bytes.Count(payload.Payload, newline)
	for {
		began := time.Now()
		patient, cancel := context.WithTimeout(ctx, patience)
		err := sink.Deliver(patient, payload)
		cancel()
		switch {
		case err == nil:
			l.counts.bytes.Add(uint64(size))
			l.counts.lines.Add(uint64(lines))
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, source.ErrRejected):
			l.counts.rejected.Add(1)
			l.env.Log.Error("a part of a log was not accepted", "log", l.path, "bytes", size, "error", err)
			d.finish()
			return nil
		case !errors.Is(err, source.ErrFull) && !errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("%w: %w", errSink, err)
		}
		l.keepUp()
		if time.Since(began) < patience/2 { // it does not wait itself
			select {
			case <-ctx.Done():
			case <-time.After(shortest):
			}
		}
	}
}

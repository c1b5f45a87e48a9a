package tail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"kaudit/internal/cursor"
	"kaudit/internal/logfile"
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
		if err := l.openFirst(p); err != nil {
			return err
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

// openPiece opens a piece and watches it.
func (l *log) openPiece(p *piece) error {
	if err := p.open(); err != nil {
		return err
	}
	l.follower.open++
	l.watch(p)
	return nil
}

// openFirst opens the piece to be read now. Where it is to be read on, a line begins: if not, the file is not as long
// any more as it was, as after a power cut.
func (l *log) openFirst(p *piece) error {
	if err := l.openPiece(p); err != nil {
		return err
	}
	if p.in != nil || l.next.piece != p || p.read == 0 || l.skip {
		return nil
	}
	from, err := lineBefore(p.file, min(p.read, p.size))
	if err != nil {
		l.closePiece(p)
		return err
	}
	p.read, l.next.offset = from, from
	return nil
}

func (l *log) watch(p *piece) {
	if p.in == nil {
		if p.wd = l.watcher.open(p.file); p.wd != 0 {
			l.watched[p.wd] = l
		}
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

// begin finds where to begin.
func (l *log) begin() error {
	saved, err := l.load()
	if err != nil {
		return err
	}
	members, err := l.survey()
	if err == nil && saved != nil && saved.real != "" && saved.real != l.real { // the link led elsewhere
		if members, err = after(saved.real, l.alone, members); err == nil {
			err = l.identify(members)
		}
	}
	if err != nil {
		return err
	}
	from, offset := 0, int64(0)
	switch {
	case saved != nil:
		from, err = saved.find(members)
		if err != nil {
			return err
		}
		if from >= 0 {
			offset, l.skip = saved.offset, saved.skip
			break
		}
		if saved.offset > 0 {
			l.lose(l, 0, "the file of the checkpoint is gone, and with it what was written to it after the checkpoint; see how many rotated files are kept")
		}
		from = saved.younger(members)
	case l.end && !l.late && len(members) > 0:
		from = len(members) - 1
		if offset, err = lastLine(members[from].path); err != nil {
			return err
		}
	}
	if len(members) == 0 {
		l.env.Log.Warn("a log is not there yet; waiting for it", "log", l.path)
	}
	l.append(members, from)
	if len(l.pieces) > 0 {
		l.pieces[0].read, l.pieces[0].begun = offset, offset > 0
		l.next = mark{l.pieces[0], offset, l.skip}
		l.ledger.pass(l.next)
		l.env.Log.Info("following a log", "log", l.path, "from", l.pieces[0].path, "offset", offset, "files", len(l.pieces))
	}
	l.ready = true
	return nil
}

// load opens the log's position and returns it, or nil if there is none.
func (l *log) load() (*position, error) {
	if l.keep == "" {
		return nil, nil
	}
	if l.ledger.file == nil {
		file, err := cursor.Open(positionFile(l.keep, l.path), positionSize)
		if err != nil {
			return nil, err
		}
		l.ledger.mu.Lock()
		l.ledger.file = file
		l.ledger.stored = &l.counts.checkpoints
		l.ledger.mu.Unlock()
		l.syncing.Lock()
		l.kept = append(l.kept, l)
		l.syncing.Unlock()
	}
	value := l.ledger.file.Load(0)
	if value == nil {
		return nil, nil
	}
	p := decodePosition(value)
	l.ledger.mu.Lock()
	l.ledger.certain = p.print.n > 0
	l.ledger.mu.Unlock()
	return &p, nil
}

// find returns the number of the member that the position is in, or -1. The same file under another name is better
// than the same content in another file, which may be a copy of it.
func (p *position) find(members []member) (int, error) {
	for i, m := range members {
		if m.id == p.id && m.begins(p.print) {
			return i, nil
		}
	}
	for i, m := range slices.Backward(members) {
		if p.print.certain(p.offset) && m.begins(p.print) {
			return i, nil
		}
	}
	for _, m := range members {
		if m.err != nil {
			return -1, m.err // it may be the one
		}
	}
	return -1, nil
}

// younger returns the number of the first member that may hold something written after the position.
func (p *position) younger(members []member) int {
	for i, m := range members {
		switch {
		case m.at > 0 && p.after > 0:
			if m.at > p.after {
				return i
			}
		case m.mod.UnixNano() >= p.at-int64(time.Minute): // clocks of file systems are coarse
			return i
		}
	}
	return max(0, len(members)-1)
}

// lastLine returns where the last line begins that is not complete: the end of the file, if all are.
func lastLine(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	var magic [4]byte
	if n, _ := file.ReadAt(magic[:], 0); logfile.Compressed(magic[:n]) {
		plain, stop, err := logfile.Decompress(io.NewSectionReader(file, 0, info.Size()))
		if err != nil {
			return 0, err
		}
		defer stop()
		n, _ := io.Copy(io.Discard, plain) // as far as it can be read
		return n, nil
	}
	return lineBefore(file, info.Size())
}

// lineBefore returns the last place up to end where a line begins.
func lineBefore(file *os.File, end int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for at := end; at > 0; {
		n := min(at, int64(len(buf)))
		m, err := file.ReadAt(buf[:n], at-n)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexAny(buf[:m], "\n\x00"); i >= 0 {
			return at - n + int64(i) + 1, nil
		}
		at -= n
	}
	return 0, nil
}

// survey lists the log's files, and those of the file a link led to before, and knows what they begin with.
func (l *log) survey() ([]member, error) {
	real := resolve(l.path)
	members, err := list(real, l.alone)
	if err != nil {
		return nil, err
	}
	if real != l.real {
		if members, err = after(l.real, l.alone, members); err != nil {
			return nil, err
		}
		delete(l.byReal, l.real)
		l.real, l.byReal[real] = real, l
		l.ledger.mu.Lock()
		l.ledger.real = real
		l.ledger.mu.Unlock()
		l.watcher.directory(filepath.Dir(real))
	}
	return members, l.identify(members)
}

// after puts the files of the log that a link led to before those of the one that it leads to now.
func after(before string, alone bool, members []member) ([]member, error) {
	older, err := list(before, alone)
	older = slices.DeleteFunc(older, func(m member) bool {
		return slices.ContainsFunc(members, func(o member) bool { return o.id == m.id })
	})
	return append(older, members...), err
}

// identify reads the beginnings of members, but for those that are known and have not changed.
func (l *log) identify(members []member) error {
	for i := range members {
		m := &members[i]
		if k, ok := l.known[m.id]; ok && k.err == nil && k.mod.Equal(m.mod) && k.size == m.size {
			m.begin, m.head = k.begin, k.head
			continue
		}
		if m.identify(); moving(m.err) {
			return errMoved
		}
	}
	return nil
}

// refresh finds out whether the log goes on in files that were not there before.
func (l *log) refresh(woken bool) error {
	if woken && !l.relist {
		return nil
	}
	info, err := os.Stat(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var last *piece
	if n := len(l.pieces); n > 0 {
		last = l.pieces[n-1]
	}
	if err == nil && last != nil && inodeOf(info) == last.id && !l.relist {
		l.ready = l.ready || info.Size() < last.size
		last.size = max(last.size, info.Size())
		return nil
	}
	members, err := l.survey()
	if err != nil {
		return err
	}
	l.relist = false
	l.reconcile(members)
	last = nil
	if n := len(l.pieces); n > 0 {
		last = l.pieces[n-1]
	}
	from := -1
	if last != nil {
		from = last.among(members) + 1
	}
	switch {
	case from > 0 && last.read == 0:
		l.insertNew(members[:from-1], last)
	case from <= 0:
		// It was deleted. Whatever was not there when it was the youngest is younger.
		if from = slices.IndexFunc(members, func(m member) bool { return !l.isKnown(m, inode{}) }); from < 0 {
			from = len(members)
		}
	}
	begins := len(l.pieces) == 0
	l.append(members, from)
	if begins && len(l.pieces) > 0 {
		l.next = mark{piece: l.pieces[0]}
		l.ledger.pass(l.next)
	}
	l.ready = l.ready || from < len(members)
	if len(members) > 0 || len(l.pieces) > 1 {
		l.missing = time.Time{}
	} else if l.missing.IsZero() {
		l.missing = time.Now()
	}
	return nil
}

// among returns the number of the member that the piece is, or has become when it was compressed, or -1.
func (p *piece) among(members []member) int {
	print := *p.print.Load()
	for i, m := range members {
		if m.id == p.id && (p.file != nil || print.n == 0 || m.begins(print)) {
			return i
		}
	}
	for i, m := range slices.Backward(members) {
		if (print.telling || print.certain(p.read)) && m.begins(print) {
			return i
		}
	}
	return -1
}

// isKnown tells whether a member was there before, perhaps not compressed yet, and not as the file but.
func (l *log) isKnown(m member, but inode) bool {
	if k, ok := l.known[m.id]; ok && (k.mod.Equal(m.mod) && k.size == m.size || k.print().telling && m.begins(k.print())) {
		return true
	}
	for _, k := range l.known {
		if p := k.print(); k.id != but && p.telling && m.begins(p) {
			return true
		}
	}
	return false
}

// insertNew inserts those of the members that were not there before.
func (l *log) insertNew(members []member, last *piece) {
	l.insert(slices.DeleteFunc(slices.Clone(members), func(m member) bool { return m.id == last.id || l.isKnown(m, last.id) }), 0)
}

// insert puts members before the youngest file, which was truncated before it was read: they are copies of what it
// held then. The first is read from an offset on.
func (l *log) insert(members []member, offset int64) {
	last := len(l.pieces) - 1
	for _, m := range members {
		if len(m.head) == 0 || slices.ContainsFunc(l.pieces, func(p *piece) bool { return p.id == m.id || m.copies(*p.print.Load()) }) {
			continue
		}
		p := newPiece(m.path, m.id, m.print())
		p.size, p.after, p.copied, p.read = m.size, l.pieces[last].after, true, offset
		l.pieces = slices.Insert(l.pieces, last, p)
		last++
		offset = 0
		_ = l.openPiece(p) // when it is its turn, it is tried again
	}
}

// reconcile finds the files that are to be read later and are not open under the names they have now.
func (l *log) reconcile(members []member) {
	l.pieces = slices.DeleteFunc(l.pieces, func(p *piece) bool {
		if p.file != nil {
			return false
		}
		at := p.among(members)
		if at >= 0 {
			p.path, p.id = members[at].path, members[at].id
			return false
		}
		if p.size > 0 { // else it may be there, not recognised, and is new
			l.lose(l, p.size, "a rotated file was deleted before it was read", "file", p.path)
		}
		return true
	})
}

// append adds members to what is to be read, and opens them while that is no burden.
func (l *log) append(members []member, from int) {
	after := int64(0)
	if n := len(l.pieces); n > 0 {
		after = l.pieces[n-1].after
	}
	for i, m := range members {
		// A copy of the live file is being made. When that is truncated, the rest is read from there.
		copied := i < len(members)-1 && m.copies(members[len(members)-1].print())
		if i >= from && (!copied || i == from) {
			p := newPiece(m.path, m.id, m.print())
			p.size, p.after = m.size, after
			l.pieces = append(l.pieces, p)
			if l.follower.open < handles && len(l.pieces) > 1 {
				_ = l.openPiece(p) // when it is its turn, it is tried again
			}
		}
		after = max(after, m.at)
	}
	l.note(members)
}

// note remembers which files there are.
func (l *log) note(members []member) {
	l.known = make(map[inode]member, len(members))
	for _, m := range members {
		l.known[m.id] = m
	}
}

// advance reads and delivers one buffer of a piece.
func (l *log) advance(ctx context.Context, sink source.Sink, p *piece) error {
	d, err := l.pool.take(ctx, len(l.carry), l.keepUp)
	if err != nil {
		return err
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
			if first, err := l.isFirst(p, m); err != nil || !first {
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

// isFirst looks whether the youngest file was truncated before the first n bytes were read from it: then what it held
// before comes first. From now on, its beginning is known, and shows when it is truncated.
func (l *log) isFirst(p *piece, n int) (bool, error) {
	if len(l.pieces) == 1 {
		at := p.read
		p.read, l.relist = 0, true
		err := l.refresh(true)
		if err != nil || l.pieces[0] != p {
			p.read = at - int64(n)
			if l.pieces[0] != p && len(l.carry) == 0 {
				l.next = mark{piece: l.pieces[0]}
				l.ledger.pass(l.next)
			}
			return false, err
		}
		p.read = at
	}
	p.begun = true
	return true, nil
}

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

// atEnd does what is to be done at the end of a piece: nothing, unless the log goes on in another.
func (l *log) atEnd(ctx context.Context, sink source.Sink, p *piece) error {
	if len(l.pieces) == 1 {
		return l.atLast(ctx, sink, p)
	}
	if p.in == nil {
		// A writer may keep the old file for a while after the new one was made. It writes to the new one when it is
		// done with the old one, so what was read to its end after that was read to its end.
		if !l.successor() {
			return nil
		}
		if l.ends++; l.ends < 2 {
			l.ready = true
			return nil
		}
	}
	l.counts.rotations.Add(1)
	l.leave(p)
	return nil
}

// successor tells whether there is something in a file after the first.
func (l *log) successor() bool {
	if len(l.pieces) > 2 {
		return true
	}
	p := l.pieces[1]
	info, err := os.Stat(p.path)
	if p.file != nil {
		info, err = p.file.Stat()
	}
	if err != nil {
		l.relist = true // renamed again
		return false
	}
	p.size = info.Size()
	return p.size > 0
}

// leave goes over to the next piece. A line that was not complete may go on there.
func (l *log) leave(p *piece) {
	if p.copied {
		l.cut = p.read
	}
	l.closePiece(p)
	l.pieces = l.pieces[1:]
	l.ends, l.skip, l.ready = 0, false, true
	if len(l.carry) == 0 {
		l.next = mark{piece: l.pieces[0]}
		l.ledger.pass(l.next)
		return
	}
	if p.format == cri && l.carry[len(l.carry)-1] != '\n' {
		l.hold(append(l.carry, '\n'))
	}
	l.seam = len(l.carry)
}

// atLast is at the end of the youngest file. If all files are gone, nothing more comes but by the open handle.
func (l *log) atLast(ctx context.Context, sink source.Sink, p *piece) error {
	if l.missing.IsZero() || time.Since(l.missing) < gone {
		return nil
	}
	if len(l.carry) > 0 {
		d, err := l.pool.take(ctx, len(l.carry)+1, l.keepUp)
		if err != nil {
			return err
		}
		n := copy(d.data, l.carry)
		d.data[n] = '\n'
		l.seam = 0
		return l.hand(ctx, sink, d, n+1, n+1, mark{piece: p, offset: p.read})
	}
	if p.in == nil && l.real == resolve(l.path) && slices.Contains(l.patterns, l.path) {
		// It was asked for by its name: it may come again.
		l.closePiece(p)
		l.pieces, l.known, l.missing = nil, nil, time.Time{}
		l.ledger.pass(mark{piece: newPiece("", inode{}, fingerprint{})})
		return nil
	}
	l.env.Log.Info("a log is gone", "log", l.path)
	l.gone = true
	return nil
}

// damaged gives up the rest of a compressed file that cannot be decompressed.
func (l *log) damaged(p *piece, err error) error {
	if p.in == nil || len(l.pieces) == 1 {
		return err
	}
	l.counts.unreadable.Add(1)
	l.lose(l, 0, "a compressed file is damaged; the rest of it cannot be read", "file", p.path, "error", err)
	l.leave(p)
	return nil
}

// truncated goes on after the first piece was truncated. With copytruncate, what was not read is in a copy.
func (l *log) truncated(p *piece) error {
	members, err := l.survey()
	if err != nil {
		return err
	}
	l.counts.truncations.Add(1)
	fresh := newPiece(p.path, p.id, fingerprint{})
	fresh.file, fresh.wd, fresh.after = p.file, p.wd, p.after
	p.file, p.wd = nil, 0
	l.ends, l.skip, l.ready = 0, false, true

	offset := int64(0)
	if l.next.piece == p {
		offset = l.next.offset
	}
	copied := p.copyAmong(members, offset)
	pieces := l.pieces[1:]
	l.pieces = append([]*piece{fresh}, pieces...)
	if copied >= 0 {
		// What comes after the copy was in the file after what it is a copy of.
		l.pieces = l.pieces[:1]
		l.insert(slices.DeleteFunc(slices.Clone(members[copied:]), func(m member) bool { return m.id == p.id }), offset)
		l.pieces = append(l.pieces, pieces...)
		l.note(members)
		l.hold(l.carry[:l.seam])
		if l.next.piece == p {
			l.next.piece = l.pieces[0]
		}
		return nil
	}
	if !p.begun {
		l.insertNew(members, fresh)
	}
	l.note(members)
	if l.pieces[0] != fresh {
		if len(l.carry) == 0 {
			l.next = mark{piece: l.pieces[0]}
			l.ledger.pass(l.next)
		}
		return nil
	}
	// A hole tells how long the file was when it was truncated.
	if _, at, err := readHead(fresh.file, -1); err == nil && at > 0 {
		p.size = at
	}
	l.cut = max(p.size, p.read)
	if unread := p.size - p.read; unread > 0 {
		l.lose(l, unread, "a log was truncated before all of it was read", "file", p.path)
	}
	if len(l.carry) > 0 {
		l.seam = len(l.carry) // its writer may go on within the line
		return nil
	}
	l.next = mark{piece: fresh}
	l.ledger.pass(l.next)
	return nil
}

// copyAmong returns the number of the member that is a copy of the piece as it was, or -1.
func (p *piece) copyAmong(members []member, offset int64) int {
	print := *p.print.Load()
	if !print.telling && !print.certain(p.read) {
		return -1
	}
	for i, m := range slices.Backward(members) {
		if m.id != p.id && m.begins(print) && (m.size >= offset || logfile.Uncompressed(m.path) != m.path) {
			return i
		}
	}
	return -1
}

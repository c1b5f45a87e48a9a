package tail

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"kaudit/internal/logfile"
	"kaudit/pkg/source"
)

// survey lists the log's files, and those of the file a link led to before. Once the log was begun, it knows what new ones
// begin with.
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
	if !l.begun {
		return nil
	}
	for i := range members {
		m := &members[i]
		if k, ok := l.known[m.id]; ok && k.start.err == nil && k.mod.Equal(m.mod) && k.size == m.size {
			m.start = k.start
			continue
		}
		if moving(m.look().err) {
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
	testHookLook()
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
		l.precede(members[:from-1], &members[from-1], last)
	case from > 0:
		for _, m := range l.unknown(members[:from-1], last.id) {
			last.copies = append(last.copies, m.id) // perhaps: if it is truncated, that shows when it is read
		}
	case from <= 0:
		// It was deleted. Whatever was not there when it was the youngest is younger.
		from = len(members)
		if fresh := l.unknown(members, inode{}); len(fresh) > 0 {
			from = slices.IndexFunc(members, func(m member) bool { return m.id == fresh[0].id })
		}
	}
	begins := len(l.pieces) == 0
	if err = l.append(members, from); err != nil {
		l.relist = true
	}
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
	return err
}

// among returns the number of the member that the piece is, or has become when it was compressed, or -1.
func (p *piece) among(members []member) int {
	print := p.now()
	for i, m := range members {
		if m.id == p.id && (p.file != nil || print.n == 0 && m.compressed() == p.compressed() || m.begins(print)) {
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

// unknown returns those of the members that were not there before, but for one.
func (l *log) unknown(members []member, but inode) []member {
	var fresh []member
	unlooked, younger := false, false
	for _, k := range l.known {
		unlooked = unlooked || !k.start.looked && !k.compressed()
	}
	for _, m := range slices.Backward(members) {
		switch {
		case m.id == but:
		case l.isKnown(m, but):
			younger = true
		case younger && unlooked && m.compressed():
			// It may be one that was not looked at when it was not compressed. What is really new is younger than all
			// that was there.
		default:
			fresh = append(fresh, m)
		}
	}
	slices.Reverse(fresh)
	return fresh
}

// isKnown tells whether a member was there before, perhaps not compressed yet, and not as the file but.
func (l *log) isKnown(m member, but inode) bool {
	if k, ok := l.known[m.id]; ok && (k.mod.Equal(m.mod) && k.size == m.size || k.start.print.telling && m.begins(k.start.print)) {
		return true
	}
	for _, k := range l.known {
		if p := k.start.print; k.id != but && p.telling && m.begins(p) {
			return true
		}
	}
	return false
}

// precede puts before the youngest file, which is not read yet, what comes before it: those of the older members that
// were not there before, and, if it was truncated since it was looked at, perhaps not for the last time, the copies of
// what it held.
func (l *log) precede(older []member, live *member, last *piece) {
	was := *last.print.Load()
	now, head := last.peek(live)
	copied := len(older)
	truncated := was.n > 0 && (now.at != was.at || !was.matches(head))
	if truncated {
		if at := last.copyAmong(older, 0); at >= 0 {
			copied = at
		}
	}
	earlier := l.earlier(last, older, copied)
	if truncated && len(earlier) == 0 {
		return // the copy is not there yet, or never will be: that it was truncated shows when it is read
	}
	if !truncated || copied < len(older) || !was.telling {
		last.sees(now, head) // else what it held is lost, and that has to show
	}
	l.insert(earlier, 0)
}

// earlier returns those of the members that come before what a file holds now: those from a place on, those that were not
// there before, and copies of what it held that were left out because it did.
func (l *log) earlier(p *piece, members []member, from int) []member {
	fresh := l.unknown(members, p.id)
	var earlier []member
	for i, m := range members {
		if m.id != p.id && (i >= from || slices.Contains(p.copies, m.id) || slices.ContainsFunc(fresh, func(f member) bool { return f.path == m.path })) {
			earlier = append(earlier, m)
		}
	}
	return earlier
}

// insert puts members before the youngest file, which is not read yet: they come before what it holds, as copies of what it
// held before it was truncated. The first is read from an offset on.
func (l *log) insert(members []member, offset int64) {
	last := len(l.pieces) - 1
	live := l.pieces[last]
	for _, m := range members {
		live.copies = slices.DeleteFunc(live.copies, func(id inode) bool { return id == m.id })
		if live.holds(&m) {
			live.copies = append(live.copies, m.id)
			continue // when it is truncated before it is read, its beginning shows that
		}
		if len(m.look().head) == 0 || slices.ContainsFunc(l.pieces, func(p *piece) bool { return p.id == m.id || m.copies(p.now()) }) {
			continue
		}
		p := newPiece(m.path, m.id, m.start.print)
		p.real, p.size, p.after, p.copied, p.read = m.real, m.size, l.pieces[last].after, true, offset
		l.pieces = slices.Insert(l.pieces, last, p)
		last++
		offset = 0
		_ = l.openPiece(p) // when it is its turn, it is tried again
	}
}

// holds tells whether a piece that is not read yet begins as a copy does, which may not be complete.
func (p *piece) holds(copied *member) bool {
	print, of := *p.print.Load(), copied.look().print
	return copied.copies(print) || of.at == print.at && of.matches(p.head)
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
		// As long as it did not have a line, it may be there, not recognised, and is new.
		if p.size > 0 && (p.compressed() || p.print.Load().telling || len(l.unknown(members, inode{})) == 0) {
			l.lose(l, p.size, "a rotated file was deleted before it was read", "file", p.path)
		}
		return true
	})
}

// append adds members to what is to be read, and opens them while that is no burden.
func (l *log) append(members []member, from int) error {
	after := int64(0)
	if n := len(l.pieces); n > 0 {
		after = l.pieces[n-1].after
	}
	last := len(members) - 1
	var copies []inode
	for i, m := range members {
		// A copy of the live file is being made. When that is truncated, the rest is read from there.
		copied := i == last-1 && !m.compressed() && m.copying(&members[last])
		if copied {
			copies = []inode{m.id}
		}
		if i >= from && !copied {
			p := newPiece(m.path, m.id, m.start.print)
			p.real, p.size, p.after, p.copies = m.real, m.size, after, copies
			l.pieces = append(l.pieces, p)
			if l.follower.open < handles && len(l.pieces) > 1 {
				_ = l.openPiece(p) // when it is its turn, it is tried again
			}
			if p.file == nil && !m.compressed() {
				// When it is compressed, it is found by what it begins with.
				b := m.look()
				if moving(b.err) {
					return errMoved
				}
				p.setPrint(b.print)
			}
		}
		after = max(after, m.at)
	}
	if n := len(l.pieces); n > 0 {
		l.watch(l.pieces[n-1])
	}
	l.note(members)
	return nil
}

// note remembers which files there are.
func (l *log) note(members []member) {
	l.known = make(map[inode]member, len(members))
	for _, m := range members {
		l.known[m.id] = m
	}
}

// isFirst looks whether the youngest file was truncated before the first bytes were read from it: then what it held
// before comes first. Once a whole line was read, its beginning is known, and shows when it is truncated.
func (l *log) isFirst(p *piece) (bool, error) {
	if len(l.pieces) == 1 {
		at := p.read
		p.read, l.relist = 0, true
		err := l.refresh(true)
		if err != nil || l.pieces[0] != p {
			p.read = 0
			l.hold(l.carry[:l.seam]) // less than a line was read before
			if l.pieces[0] != p && len(l.carry) == 0 {
				l.next = mark{piece: l.pieces[0]}
			}
			return false, err
		}
		p.read = at
	}
	p.begun = p.print.Load().telling // files begin with the same few bytes
	return true, nil
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
		if p.copied && len(l.pieces) == 2 {
			if done, err := l.backFrom(p); done || err != nil {
				return err
			}
		}
	}
	l.counts.rotations.Add(1)
	l.leave(p)
	return nil
}

// backFrom goes back from a copy to the live file, if that still holds what the copy is made of: then the copy may not
// be complete.
func (l *log) backFrom(p *piece) (done bool, err error) {
	live := l.pieces[1]
	if live.file == nil {
		if err := l.openPiece(live); err != nil {
			return false, err
		}
	}
	l.watch(live)
	print := *p.print.Load()
	head, _, err := readHead(live.file, print.at)
	if err != nil || live.read > 0 || !print.telling || !print.matches(head) {
		return false, err
	}
	live.setPrint(print)
	live.head, live.read, live.format, live.ready, live.begun = p.head, p.read, p.format, true, true
	if l.next.piece == p {
		l.next.piece = live
	}
	l.closePiece(p)
	l.pieces = l.pieces[1:]
	l.ends, l.ready = 0, true
	return true, nil
}

// successor tells whether there is something in a file after the first.
func (l *log) successor() bool {
	if len(l.pieces) > 2 {
		return true
	}
	p := l.pieces[1]
	testHookLook()
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
	// It is known by more than there was of it when it was listed.
	if k, ok := l.known[p.id]; ok && len(p.head) > 0 {
		k.start = &beginning{looked: true, head: p.head, print: *p.print.Load()}
		l.known[p.id] = k
	}
	l.closePiece(p)
	l.pieces = l.pieces[1:]
	l.ends, l.skip, l.ready = 0, false, true
	if len(l.carry) == 0 {
		// The checkpoint stays at the end of the file before until something of the next was evaluated: that may still
		// turn out to have been truncated before it was read.
		l.next = mark{piece: l.pieces[0]}
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
	if len(l.pieces) == 1 || p.ready && p.in == nil || !p.ready && !errors.Is(err, errDamaged) {
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
	fresh.real, fresh.file, fresh.wd, fresh.after, fresh.ready = p.real, p.file, p.wd, p.after, true
	p.file, p.wd = nil, 0
	l.ends, l.skip, l.ready = 0, false, true

	if head, at, err := readHead(fresh.file, -1); err == nil {
		fresh.sees(fingerprintOf(at, head), head)
	}

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
	earlier := l.earlier(p, members, len(members))
	if p.begun { // what begins as it did was read: a copy may be shorter
		earlier = slices.DeleteFunc(earlier, func(m member) bool { return p.holds(&m) })
	}
	l.insert(earlier, 0)
	l.note(members)
	if l.pieces[0] != fresh {
		if len(l.carry) == 0 {
			l.next = mark{piece: l.pieces[0]}
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
	return nil
}

// copyAmong returns the number of the member that is a copy of the piece as it was, or -1.
func (p *piece) copyAmong(members []member, offset int64) int {
	print := *p.print.Load()
	if !print.telling && !(p.begun && print.certain(p.read)) {
		return -1
	}
	for i, m := range slices.Backward(members) {
		if m.id != p.id && m.begins(print) && (m.size >= offset || logfile.Uncompressed(m.path) != m.path) {
			return i
		}
	}
	return -1
}

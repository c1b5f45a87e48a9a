package tail

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"kaudit/internal/cursor"
	"kaudit/internal/logfile"
)

// begin finds where to begin.
func (l *log) begin() error {
	saved, err := l.load()
	if err != nil {
		return err
	}
	members, err := l.survey()
	if err == nil && saved != nil && saved.real != "" && saved.real != l.real { // the link led elsewhere
		members, err = after(saved.real, l.alone, members)
	}
	if err != nil {
		return err
	}
	from, offset, lost := 0, int64(0), false
	switch {
	case saved != nil:
		from, err = saved.find(members)
		if err != nil && (moving(err) || l.failing.IsZero() || time.Since(l.failing) < giveUp) {
			return err
		}
		if from >= 0 {
			offset, l.skip = saved.offset, saved.skip
			break
		}
		if again, err := list(l.real, l.alone); err != nil || !includes(members, again) {
			return cmp.Or(err, errMoved) // it may have been renamed, and its inode given to another, before it was looked at
		}
		lost = saved.offset > 0
		from = saved.younger(members)
	case l.end && !l.late && len(members) > 0:
		from = len(members) - 1
		if offset, err = lastLine(members[from].path); err != nil {
			return err
		}
	}
	// There may be hundreds of files. These are looked at, since a checkpoint in the first has to be found again, and the
	// youngest are still written, copied and compressed. The others keep their inodes, or are known by their handles.
	for i := range members {
		if (i == from || i >= len(members)-2) && moving(members[i].look().err) {
			return errMoved
		}
	}
	if err := l.append(members, from); err != nil {
		for _, p := range l.pieces {
			l.closePiece(p)
		}
		l.pieces = nil
		return err
	}
	if lost {
		l.lose(l, 0, "the file of the checkpoint is gone, and with it what was written to it after the checkpoint; see how many rotated files are kept")
	}
	if len(members) == 0 {
		l.env.Log.Warn("a log is not there yet; waiting for it", "log", l.path)
	}
	if len(l.pieces) > 0 {
		l.pieces[0].read, l.pieces[0].begun = offset, offset > 0
		l.next = mark{l.pieces[0], offset, l.skip}
		l.ledger.pass(l.next)
		l.env.Log.Info("following a log", "log", l.path, "from", l.pieces[0].path, "offset", offset, "files", len(l.pieces))
	}
	l.ready = true
	return nil
}

// includes tells whether all of some files were there when others were listed.
func includes(members, some []member) bool {
	return !slices.ContainsFunc(some, func(m member) bool {
		return !slices.ContainsFunc(members, func(o member) bool { return o.path == m.path && o.id == m.id })
	})
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
	for n := range members {
		i := len(members) - 1 - n
		if p.after > 0 {
			i = n // many may have to be read, and it is the first of them
		}
		if m := members[i]; p.print.certain(p.offset) && (m.at == 0 || m.at > p.after) && m.begins(p.print) {
			return i, nil
		}
	}
	for _, m := range members {
		if m.start.err != nil {
			return -1, m.start.err // it may be the one
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
		testHookLook()
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

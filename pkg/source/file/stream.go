package file

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"kaudit/internal/logfile"
	"kaudit/pkg/source"
)

const (
	// bufferSize is the size of a payload unless a line is longer.
	bufferSize = 256 << 10
	// keptSize is how large a buffer may stay after a long line.
	keptSize = 1 << 20
	// maxSize is the longest line, or the largest document, that is delivered whole.
	maxSize = 64 << 20
	// buffers is how many payloads may be with the sink at once.
	buffers = 6
)

// A buffer holds one payload, then, when that was evaluated, another.
type buffer struct {
	data []byte // written from the front; its length is the room there is
	done func() // puts the buffer back into its pool
}

// grow doubles the buffer and keeps its content. It reports whether it could.
func (b *buffer) grow() bool {
	if len(b.data) >= maxSize {
		return false
	}
	data := make([]byte, min(2*len(b.data), maxSize))
	copy(data, b.data)
	b.data = data
	return true
}

// A pool makes buffers when needed, up to its capacity. After that, whoever wants one waits.
type pool struct {
	free chan *buffer // has room for all, so that giving one back never blocks
	made int
}

func newPool() *pool { return &pool{free: make(chan *buffer, buffers)} }

// take returns a buffer with room for more than content, and content copied into it.
func (p *pool) take(ctx context.Context, content []byte) (*buffer, error) {
	var b *buffer
	select {
	case b = <-p.free:
	default:
		if p.made < buffers {
			b = p.add()
			break
		}
		select {
		case b = <-p.free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if len(b.data) <= len(content) {
		b.data = make([]byte, max(bufferSize, min(2*len(content), maxSize)))
	}
	copy(b.data, content)
	return b, nil
}

func (p *pool) add() *buffer {
	p.made++
	b := &buffer{}
	b.done = func() {
		if len(b.data) > keptSize { // the next long line may be hours away
			b.data = nil
		}
		p.free <- b
	}
	return b
}

// A stream is one part on its way to the sink.
type stream struct {
	*reader
	in     io.Reader
	path   string
	prompt bool // deliver what has come rather than wait for a full buffer

	shape     shape
	documents documents
	skipping  bool  // the rest of something oversized
	offset    int64 // how much of in was read
}

// run delivers everything in has. The buffer it fills begins where the last payload ended.
func (s *stream) run(ctx context.Context, sink source.Sink) error {
	b, err := s.pool.take(ctx, nil)
	if err != nil {
		return err
	}
	for n := 0; ; {
		var failed error
		n, failed = s.fill(ctx, b, n)
		if ctx.Err() != nil {
			b.done()
			return ctx.Err()
		}
		if s.skipping {
			n = s.skip(b, n)
		}
		n = s.look(b, n, failed != nil)
		end := s.cut(b.data[:n], failed != nil)
		if end == 0 && failed == nil && (n < len(b.data) || b.grow()) {
			continue
		}
		if end == 0 && failed == nil {
			end = n
			s.oversize(n)
		}
		s.carry = append(s.carry[:0], b.data[end:n]...)
		if err := s.deliver(ctx, sink, b, end); err != nil {
			return err
		}
		if errors.Is(failed, io.EOF) {
			return nil
		}
		if failed != nil {
			return &fault{s.path, failed}
		}
		if b, err = s.pool.take(ctx, s.carry); err != nil {
			return err
		}
		n = len(s.carry)
	}
}

// fill reads into the buffer from n on, until it is full or nothing more is to be had now.
func (s *stream) fill(ctx context.Context, b *buffer, n int) (int, error) {
	for n < len(b.data) && ctx.Err() == nil {
		m, err := s.in.Read(b.data[n:])
		s.offset += int64(m)
		n += len(logfile.WithoutNULs(b.data[n : n+m]))
		if err != nil || s.prompt {
			return n, err
		}
	}
	return n, nil
}

// look finds out how the file is laid out, at its beginning, and returns how much is left without the mark some
// editors put there.
func (s *stream) look(b *buffer, n int, ended bool) int {
	if s.shape != unknown {
		return n
	}
	if bytes.HasPrefix(b.data[:n], byteOrderMark) {
		n = copy(b.data, b.data[len(byteOrderMark):n])
	}
	s.shape = shapeOf(b.data[:n], ended)
	return n
}

// cut returns where the last whole line or document ends. At the end of the file that is the end of the data.
func (s *stream) cut(data []byte, ended bool) int {
	switch {
	case ended:
		return len(data)
	case s.shape == lines:
		return bytes.LastIndexByte(data, '\n') + 1
	case s.shape == whole:
		return s.documents.cut(data)
	}
	return 0
}

// oversize notes that what is in the buffer is delivered without its end, for whoever salvages it, and the rest is
// skipped.
func (s *stream) oversize(n int) {
	s.skipping = true
	s.oversized.Add(1)
	s.log.Warn("a line or document is longer than the limit: delivered up to there, the rest is skipped",
		"file", s.path, "offset", s.offset-int64(n), "limit", maxSize)
}

// skip drops what belongs to something oversized, and returns how much is left. After a line, the next line follows.
// After a document, it is the next line that begins an object at its very start, be it a document or a line.
func (s *stream) skip(b *buffer, n int) int {
	from := -1
	if s.shape == whole {
		from = bytes.Index(b.data[:n], []byte("\n{"))
	} else {
		from = bytes.IndexByte(b.data[:n], '\n')
	}
	if from < 0 {
		if n > 0 && b.data[n-1] == '\n' {
			b.data[0] = '\n' // the object may begin with what is read next
			return 1
		}
		return 0
	}
	s.skipping, s.documents = false, documents{}
	if s.shape == whole {
		s.shape = unknown
	}
	return copy(b.data, b.data[from+1:n])
}

// deliver hands the first n bytes to the sink, and takes the buffer back at once if the sink does not want them.
func (s *stream) deliver(ctx context.Context, sink source.Sink, b *buffer, n int) error {
	if blank(b.data[:n]) {
		b.done()
		return nil
	}
	d := source.Delivery{Payload: b.data[:n:n], Source: s.path, Lines: s.shape != whole, Done: b.done}
	err := sink.Deliver(ctx, d)
	for errors.Is(err, source.ErrFull) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			err = sink.Deliver(ctx, d)
		}
	}
	if err == nil {
		s.bytes.Add(uint64(n))
		return nil
	}
	b.done()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, source.ErrRejected):
		s.rejected.Add(1)
		s.log.Error("a part of an audit log was not accepted", "file", s.path, "offset", s.offset, "bytes", n, "error", err)
		return nil
	}
	return err
}

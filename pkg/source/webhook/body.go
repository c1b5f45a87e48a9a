package webhook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// firstRead is how much memory a body gets before anything of it has come. The rest it gets as it arrives, so that
	// it does not pay to announce much and send nothing.
	firstRead = 4 << 10
	// spare is room for the read that finds the end.
	spare = 512
	// maxWindow bounds the memory that a zstd body is decompressed with: what RFC 9659 allows a sender to ask for.
	maxWindow = 8 << 20

	// A body has to bring pace bytes in each lull, and end in wholeBody: the API server gives up after 30 seconds.
	pace      = 64 << 10
	lull      = 5 * time.Second
	wholeBody = 35 * time.Second
)

// A room is how much memory bodies may take together.
type room struct {
	size int64
	used atomic.Int64
	kept [classes]sync.Pool // buffers for use again: the large ones cost more to make than to fill
}

// Buffers come in classes of smallest bytes and its doubles. What is larger is gathered in several of the largest, so that
// what turns out to be too large leaves nothing to collect.
const (
	smallest = 64 << 10
	classes  = 7
	largest  = smallest << (classes - 1)
)

// take reports whether n more bytes fit, and if so, takes them.
func (r *room) take(n int64) bool {
	if r.used.Add(n) <= r.size {
		return true
	}
	r.used.Add(-n)
	return false
}

func (r *room) give(n int64) { r.used.Add(-n) }

func (r *room) fits(n int64) bool { return r.used.Load()+n <= r.size }

// class returns the class of buffers for size bytes, and their size; no class if there is none so large.
func class(size int64) (int, int64) {
	for c := range classes {
		if of := int64(smallest) << c; size <= of {
			return c, of
		}
	}
	return classes, size
}

// buffer returns an empty buffer of size bytes, for which room was taken. size is that of a class if there is one for it.
func (r *room) buffer(size int64) []byte {
	if c, of := class(size); of == size && c < classes {
		if b, ok := r.kept[c].Get().(*[]byte); ok {
			return (*b)[:0]
		}
	}
	return make([]byte, 0, size)
}

// keep keeps a buffer for use again.
func (r *room) keep(b []byte) {
	if c, of := class(int64(cap(b))); of == int64(cap(b)) && c < classes {
		r.kept[c].Put(&b)
	}
}

// A body is one payload.
type body struct {
	data  []byte
	parts [][]byte // what came before data, each as large as a buffer may be; nothing once the body is whole
	room  *room
}

// size returns how much has come.
func (b *body) size() int64 { return int64(len(b.parts))*largest + int64(len(b.data)) }

// free gives the room back. The data is not used again.
func (b *body) free() {
	for _, part := range append(b.parts, b.data) {
		b.room.give(int64(cap(part)))
		b.room.keep(part)
	}
	b.data, b.parts = nil, nil
}

// grow makes room for more, up to most bytes at all. It reports false if bodies take too much together.
func (b *body) grow(most int64) bool {
	old := b.data
	if cap(old) >= largest {
		if !b.room.take(largest) {
			return false
		}
		b.parts, b.data = append(b.parts, old), b.room.buffer(largest)
		return true
	}
	_, size := class(min(max(4*int64(cap(old)), smallest), most, largest)) // what is copied on the way is little then
	if !b.room.take(size - int64(cap(old))) {
		return false
	}
	b.data = append(b.room.buffer(size), old...)
	b.room.keep(old)
	return true
}

// join makes one piece of all parts.
func (b *body) join() {
	if len(b.parts) == 0 {
		return
	}
	whole := bytes.Join(append(b.parts, b.data), nil)
	for _, part := range append(b.parts, b.data) {
		b.room.give(int64(cap(part)))
		b.room.keep(part)
	}
	b.room.used.Add(int64(cap(whole)))
	b.data, b.parts = whole, nil
}

// fill reads in to its end, which comes behind limit bytes at the latest. arrived is called with how much there is.
func (b *body) fill(in io.Reader, most, limit int64, arrived func(int64)) answer {
	first := min(firstRead, most)
	if !b.room.take(first) {
		return crowded
	}
	b.data = make([]byte, 0, first)
	for {
		if len(b.data) == cap(b.data) && !b.grow(most) {
			b.free()
			return crowded
		}
		n, err := in.Read(b.data[len(b.data):cap(b.data)])
		b.data = b.data[:len(b.data)+n]
		size := b.size()
		arrived(size)
		switch {
		case size > limit:
			b.free()
			return tooLarge
		case err == io.EOF:
			b.join()
			return accepted
		case err != nil:
			b.free()
			return unreadable(err)
		}
	}
}

// read reads the body of a request, decompressed. With any answer but accepted there is none.
func (r *receiver) read(w http.ResponseWriter, req *http.Request) (*body, answer) {
	encoding := strings.ToLower(strings.Join(req.Header.Values("Content-Encoding"), ","))
	length := req.ContentLength // -1 if unknown
	switch {
	case !expands(encoding):
		return nil, wrongEncoding
	case length > r.limit:
		return nil, tooLarge
	case !r.room.fits(max(length, 0)):
		return nil, crowded
	}
	most := r.limit + spare
	if length >= 0 {
		most = length + spare
	}
	t := newTempo(w)
	b := &body{room: &r.room}
	if a := b.fill(http.MaxBytesReader(w, req.Body, r.limit), most, r.limit, t.arrived); a != accepted {
		return nil, a
	}
	t.end()
	if encoding == "" || encoding == "identity" {
		return b, accepted
	}
	// What is compressed is expanded when it is whole: then it takes as long as that takes, and not as long as a sender
	// likes, and the memory it takes is not held meanwhile.
	defer b.free()
	return r.expand(req.Context(), encoding, b.data)
}

// A tempo ends the reading of a body that comes too slowly.
type tempo struct {
	control *http.ResponseController
	last    time.Time
	next    int64 // how many bytes have to be there for the next lull
}

func newTempo(w http.ResponseWriter) *tempo {
	now := time.Now()
	t := &tempo{control: http.NewResponseController(w), last: now.Add(wholeBody), next: pace}
	t.until(now.Add(lull))
	return t
}

func (t *tempo) arrived(n int64) {
	if n < t.next {
		return
	}
	t.next = n + pace
	next := time.Now().Add(lull)
	if next.After(t.last) {
		next = t.last
	}
	t.until(next)
}

// end lets the server set its own times again.
func (t *tempo) end() { t.until(time.Time{}) }

func (t *tempo) until(when time.Time) {
	_ = t.control.SetReadDeadline(when) // a server that cannot is a test's
}

// unreadable tells why a body could not be read.
func unreadable(err error) answer {
	var large *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &large):
		return tooLarge
	case errors.As(err, &network) && network.Timeout():
		return slow
	}
	return broken
}

// expands reports whether a content encoding is known.
func expands(encoding string) bool {
	switch encoding {
	case "", "identity", "gzip", "x-gzip", "zstd":
		return true
	}
	return false
}

// An expander decompresses one body at a time. There are half as many as processors: whose bodies are not compressed does
// not wait for a processor that is busy with what somebody made small.
type expander struct {
	gzip gzip.Reader
	zstd *zstd.Decoder // nil until it is needed
}

// expand decompresses a body. It waits for an expander, but not long.
func (r *receiver) expand(ctx context.Context, encoding string, data []byte) (*body, answer) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var x *expander
	select {
	case x = <-r.expanders:
	case <-ctx.Done():
		return nil, crowded
	}
	defer func() { r.expanders <- x }()
	in, err := x.open(encoding, bytes.NewReader(data))
	if err != nil {
		return nil, broken
	}
	b := &body{room: &r.room}
	if a := b.fill(in, r.limit+spare, r.limit, func(int64) { runtime.Gosched() }); a != accepted {
		return nil, a
	}
	return b, accepted
}

func (x *expander) open(encoding string, in io.Reader) (io.Reader, error) {
	if encoding != "zstd" {
		return &x.gzip, x.gzip.Reset(in)
	}
	var err error
	if x.zstd == nil {
		x.zstd, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecodeBuffersBelow(0))
		return x.zstd, err
	}
	return x.zstd, x.zstd.Reset(in)
}

// close lets go of memory and whatever else the libraries hold.
func (x *expander) close() {
	if x.zstd != nil {
		x.zstd.Close()
	}
}

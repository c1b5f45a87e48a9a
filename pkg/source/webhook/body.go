package webhook

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// firstRead is how much memory a body gets on the word of its sender. The rest it gets as it arrives.
	firstRead = 1 << 20
	// spare is room for the read that finds the end.
	spare = 512
	// maxWindow bounds the memory of a zstd body: what RFC 9659 allows a sender to ask for.
	maxWindow = 8 << 20
)

// A room is how much memory bodies may take together.
type room struct {
	size int64
	used atomic.Int64
}

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

// A body is one payload.
type body struct {
	data []byte
	room *room
}

// free gives the room back. The data is not used again.
func (b *body) free() { b.room.give(int64(cap(b.data))) }

// grow makes room for more, up to limit. It reports false if bodies take too much together.
func (b *body) grow(limit int64) bool {
	old := int64(cap(b.data))
	size := min(max(2*old, 4<<10), limit)
	if !b.room.take(size - old) {
		return false
	}
	data := make([]byte, len(b.data), size)
	copy(data, b.data)
	b.data = data
	return true
}

// read reads the body of a request, decompressed. With any answer but accepted there is none.
func (r *receiver) read(w http.ResponseWriter, req *http.Request) (*body, answer) {
	length := req.ContentLength // -1 if unknown
	if length > r.limit {
		return nil, tooLarge
	}
	if !r.room.fits(max(length, 0)) {
		return nil, crowded
	}
	wire := http.MaxBytesReader(w, req.Body, r.limit)
	in, done, a := r.decompress(req, wire)
	if a != accepted {
		return nil, a
	}
	defer done()

	most := r.limit + spare
	if in == io.Reader(wire) && length >= 0 {
		most = length + spare
	}
	b := &body{room: &r.room}
	first := min(max(length, 0), firstRead) + spare
	if !r.room.take(first) {
		return nil, crowded
	}
	b.data = make([]byte, 0, first)
	for {
		if len(b.data) == cap(b.data) && !b.grow(most) {
			b.free()
			return nil, crowded
		}
		n, err := in.Read(b.data[len(b.data):cap(b.data)])
		b.data = b.data[:len(b.data)+n]
		switch {
		case int64(len(b.data)) > r.limit:
			b.free()
			return nil, tooLarge
		case err == io.EOF:
			return b, accepted
		case err != nil:
			b.free()
			return nil, unreadable(err)
		}
	}
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

// decompress returns the content of a body, and what to call when it was read.
func (r *receiver) decompress(req *http.Request, in io.Reader) (io.Reader, func(), answer) {
	switch strings.ToLower(strings.Join(req.Header.Values("Content-Encoding"), ",")) {
	case "", "identity":
		return in, func() {}, accepted
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, unreadable(err)
		}
		return z, func() { z.Close() }, accepted
	case "zstd":
		if !r.room.take(maxWindow) {
			return nil, nil, crowded
		}
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			r.room.give(maxWindow)
			return nil, nil, unreadable(err)
		}
		return z, func() { z.Close(); r.room.give(maxWindow) }, accepted
	}
	return nil, nil, wrongEncoding
}

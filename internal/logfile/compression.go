package logfile

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory a zstd file may ask for: 128 MiB, as much as the zstd command grants without being asked.
const maxWindow = 128 << 20

// Decompress returns the plain content of in, recognised by its first bytes, and what to call when done with it.
// It waits for as many bytes as it takes to tell: one, if that is no beginning of compressed data.
func Decompress(in io.Reader) (io.Reader, func(), error) {
	var magic [4]byte
	n, err := 0, error(nil)
	for n < len(magic) && err == nil && maybeCompressed(magic[:n]) {
		var m int
		m, err = in.Read(magic[n:])
		n += m
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	whole := &prefixed{prefix: magic[:n], in: in}
	switch head := magic[:n]; {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(bufio.NewReaderSize(whole, 64<<10))
		if err != nil {
			return nil, nil, err
		}
		return z, func() { z.Close() }, nil
	case Compressed(head):
		z, err := zstd.NewReader(whole, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return whole, func() {}, nil
}

// Compressed tells from the first bytes of a file, four are enough, whether Decompress would decompress it.
func Compressed(head []byte) bool {
	return bytes.HasPrefix(head, gzipMagic) || bytes.HasPrefix(head, zstdMagic) || len(head) >= 4 && skippable(head[:4])
}

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// maybeCompressed tells whether more bytes are needed after head: JSON never begins like this.
func maybeCompressed(head []byte) bool {
	return len(head) == 0 || head[0] == 0x1f || head[0] == 0x28 || head[0]&0xf0 == 0x50
}

// skippable tells the frame that parallel zstd compressors put first.
func skippable(head []byte) bool {
	return head[0]&0xf0 == 0x50 && bytes.Equal(head[1:], []byte{0x2a, 0x4d, 0x18})
}

// A prefixed reader gives back what was read too early, then the rest.
type prefixed struct {
	prefix []byte
	in     io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	return p.in.Read(b)
}

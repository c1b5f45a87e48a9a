package tail

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"

	"kaudit/internal/logfile"
)

// testHookLook is called before a file or a directory is looked at. A test lets the log be rotated there.
var testHookLook = func() {}

// headSize is how much of a file's beginning tells it from others. An event begins with its level and its ID, so one
// line would do.
const headSize = 1 << 10

// An inode is what a file is, whatever its name. When the file is gone, another may become the same inode.
type inode struct{ device, number uint64 }

func inodeOf(info fs.FileInfo) inode {
	st := info.Sys().(*syscall.Stat_t)
	return inode{uint64(st.Dev), st.Ino} //nolint:unconvert // Dev is narrower on some systems
}

// A fingerprint is what a file's content is, whatever its inode and compression.
type fingerprint struct {
	at  int64 // where the content begins: a truncated file may begin with a hole
	n   int   // how much of it was looked at, up to headSize
	sum [16]byte
	// telling says that no other file begins like that: there is a whole line, or as much as is ever looked at. It is
	// not kept with positions, which know more.
	telling bool
}

func fingerprintOf(at int64, head []byte) fingerprint {
	f := fingerprint{at: at, n: len(head), telling: len(head) == headSize || bytes.IndexByte(head, '\n') >= 0}
	sum := sha256.Sum256(head)
	copy(f.sum[:], sum[:])
	return f
}

// matches tells whether a file begins with what the fingerprint is of, by the head of its content at f.at.
func (f fingerprint) matches(head []byte) bool {
	return f.n > 0 && len(head) >= f.n && fingerprintOf(f.at, head[:f.n]).sum == f.sum
}

// certain tells that a match proves something, if offset bytes were read: the whole head, or at least one line.
func (f fingerprint) certain(offset int64) bool {
	return f.n == headSize || f.n > 0 && offset > 0 && int64(f.n) >= offset-f.at
}

// readHead reads the head of a file's content, decompressed if it is compressed, from at on. With at < 0 it is from
// where the content begins; where that is, is returned.
func readHead(file *os.File, at int64) ([]byte, int64, error) {
	testHookLook()
	buf := make([]byte, headSize)
	n, err := file.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	var in io.Reader = io.NewSectionReader(file, max(0, at), 1<<62)
	switch {
	case logfile.Compressed(buf[:n]):
		plain, stop, err := logfile.Decompress(io.NewSectionReader(file, 0, 1<<62))
		if err != nil {
			return nil, 0, err
		}
		defer stop()
		in = plain
		if _, err := io.CopyN(io.Discard, plain, max(0, at)); err != nil {
			return nil, 0, nil // shorter than that, as far as it can be read
		}
	case at < 0 && n > 0 && buf[0] != 0:
		return buf[:n], 0, nil
	}
	testHookLook()
	if at < 0 {
		large := bufio.NewReaderSize(in, 64<<10)
		if at, err = hole(large); err != nil {
			return nil, 0, err
		}
		in = large
	}
	n, err = io.ReadFull(in, buf)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, 0, err
	}
	return buf[:n], at, nil
}

// hole reads the NULs that a file begins with, and returns how many there are.
func hole(in *bufio.Reader) (size int64, err error) {
	for {
		if _, err := in.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return size, err
		}
		some, _ := in.Peek(in.Buffered())
		n := len(some)
		if some[0] != 0 || !bytes.Equal(some[1:], some[:n-1]) { // much faster than to look at each
			n -= len(bytes.TrimLeft(some, "\x00"))
		}
		size += int64(n)
		_, _ = in.Discard(n) // it is there
		if n < len(some) {
			return size, nil
		}
	}
}

// A piece is a part of a log: one file, until it is truncated. What comes after that is another piece.
type piece struct {
	path  string // when it was last seen
	real  string // of the live file of its log, then
	id    inode
	print atomic.Pointer[fingerprint] // never nil; another when the file has grown
	after int64                       // the time in the name of the youngest file before this one, in nanoseconds, or 0
	size  int64                       // on disk, when it was last looked at

	ready  bool    // it is known how to read it
	begun  bool    // it is certain that what was read first is what comes first
	copied bool    // it is the copy of a file that was truncated
	copies []inode // files that may be copies of it, and are read once it is truncated

	file *os.File // nil before it is opened
	wd   int32    // its watch, if any

	in     io.Reader // decompresses; nil for plain files
	stop   func()
	read   int64  // how much was read, of the content
	head   []byte // of a plain file: the bytes the fingerprint is of
	format format
}

func newPiece(path string, id inode, print fingerprint) *piece {
	p := &piece{path: path, id: id}
	p.setPrint(print)
	return p
}

// open opens the piece. The file has to be the one that was listed.
func (p *piece) open() error {
	testHookLook()
	file, err := os.OpenFile(p.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && inodeOf(info) != p.id {
		err = errMoved
	}
	if err == nil {
		p.file, p.size = file, info.Size()
		return nil
	}
	file.Close()
	return err
}

// errMoved means that a file is not the one that was listed under its name.
var errMoved = errors.New("moved since it was listed")

// errDamaged means that a file cannot be decompressed.
var errDamaged = errors.New("decompress")

// begin finds out how to read the file, and goes to where it was read to.
func (p *piece) begin() error {
	testHookLook()
	var magic [4]byte
	n, err := p.file.ReadAt(magic[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !logfile.Compressed(magic[:n]) {
		before := *p.print.Load()
		if before.n == 0 {
			if err := p.extend(); err != nil {
				return err
			}
		} else {
			head, _, err := readHead(p.file, before.at)
			if err != nil {
				return err
			}
			if !before.matches(head) {
				return errTruncated
			}
			p.head = head
			p.setPrint(fingerprintOf(before.at, head))
		}
		p.ready = true
		return nil
	}
	head, at, err := readHead(p.file, -1)
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	p.setPrint(fingerprintOf(at, head))
	if p.in, p.stop, err = logfile.Decompress(io.NewSectionReader(p.file, 0, 1<<62)); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	_, err = io.CopyN(io.Discard, p.in, p.read)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		p.stop()
		p.in = nil
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	p.ready = true
	return nil
}

// extend looks at more of a plain file's head, as the file has grown. If what was known of it is not there any more, it
// returns errTruncated, and goes on to know that.
func (p *piece) extend() error {
	known := *p.print.Load()
	at := known.at
	if len(p.head) == 0 {
		at = -1
	}
	head, at, err := readHead(p.file, at)
	if err != nil {
		return err
	}
	if known.n > 0 && (at != known.at || !known.matches(head)) {
		return errTruncated
	}
	if len(head) == 0 {
		at = 0 // nothing but a hole so far
	}
	p.head = head
	p.setPrint(fingerprintOf(at, head))
	return nil
}

// now returns the fingerprint, of the open file if that tells more: it may have been listed before its first line was
// whole.
func (p *piece) now() fingerprint {
	print := *p.print.Load()
	if print.telling || p.file == nil {
		return print
	}
	head, at, err := readHead(p.file, -1)
	if err != nil || print.n > 0 && (at != print.at || !print.matches(head)) {
		return print
	}
	return fingerprintOf(at, head)
}

// peek returns what a piece that is not read yet begins with now, by the open file if there is one, or as it was listed.
func (p *piece) peek(m *member) (fingerprint, []byte) {
	if p.file != nil {
		if head, at, err := readHead(p.file, -1); err == nil {
			return fingerprintOf(at, head), head
		}
	}
	b := m.look()
	return b.print, b.head
}

// sees notes what a piece that is not read yet begins with.
func (p *piece) sees(print fingerprint, head []byte) {
	p.setPrint(print)
	p.head = nil
	if !p.compressed() {
		p.head = head
	}
}

// compressed tells whether the file is compressed, by its name.
func (p *piece) compressed() bool { return logfile.Uncompressed(p.path) != p.path }

func (p *piece) setPrint(f fingerprint) { p.print.Store(&f) }

// same reports whether a plain file still begins as it did: if not, it was truncated, and what was read last may be
// of what was written after that.
func (p *piece) same() (bool, error) {
	testHookLook()
	var now [headSize]byte
	n, err := p.file.ReadAt(now[:len(p.head)], p.print.Load().at)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return bytes.Equal(now[:n], p.head), nil
}

// fill reads on, into buf, as far as there is something now. At the end of a compressed file it returns io.EOF, and
// any other error if the rest cannot be read.
func (p *piece) fill(buf []byte) (n int, err error) {
	if p.in == nil {
		if p.read == 0 {
			if len(p.head) == 0 {
				if err := p.extend(); err != nil {
					return 0, err
				}
			}
			p.read = p.print.Load().at
		}
		testHookLook()
		n, err = p.file.ReadAt(buf, p.read)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		p.read += int64(n)
		return n, err
	}
	for n < len(buf) && err == nil {
		testHookLook()
		var m int
		m, err = p.in.Read(buf[n:])
		n += m
	}
	p.read += int64(n)
	return n, err
}

// close lets go of the file.
func (p *piece) close() {
	if p.in != nil {
		p.stop()
		p.in = nil
	}
	if p.file != nil {
		p.file.Close()
		p.file = nil
	}
}

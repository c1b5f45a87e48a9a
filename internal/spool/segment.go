package spool

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	// headSize is the size of a record's header:
	//
	//	 0  marker of the segment
	//	 8  CRC32C of the rest of the header
	//	12  CRC32C of what follows the header
	//	16  number of the record
	//	24  when it was taken, in nanoseconds since 1970; only its age is made of it
	//	32  size of the payload
	//	36  size of the source's name
	//	38  size of the cluster's name
	//	40  flags
	headSize = 44

	// extension has the version of the format. Files with another one are left alone.
	extension = ".spool1"

	// window is how much of a segment is read at once, and how far is looked for the next record in one go.
	window = 256 << 10

	// largest is the largest payload.
	largest = math.MaxInt32
)

const flagLines = 1

type marker [8]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A head is what a record's header says.
type head struct {
	sum             uint32 // of what follows
	number          uint64
	stamp           int64
	payload         uint32
	source, cluster uint16
	flags           uint32
}

// follows is how many bytes follow the header.
func (h *head) follows() int64 { return int64(h.payload) + int64(h.source) + int64(h.cluster) }

// put writes the header to b.
func (h *head) put(b *[headSize]byte, m marker) {
	le := binary.LittleEndian
	copy(b[:], m[:])
	le.PutUint32(b[12:], h.sum)
	le.PutUint64(b[16:], h.number)
	le.PutUint64(b[24:], uint64(h.stamp))
	le.PutUint32(b[32:], h.payload)
	le.PutUint16(b[36:], h.source)
	le.PutUint16(b[38:], h.cluster)
	le.PutUint32(b[40:], h.flags)
	le.PutUint32(b[8:], crc32.Checksum(b[12:], castagnoli))
}

// parse reads a header. It reports false if that is none of the segment with marker m.
func (h *head) parse(b []byte, m marker) bool {
	le := binary.LittleEndian
	if !bytes.Equal(b[:8], m[:]) || le.Uint32(b[8:]) != crc32.Checksum(b[12:headSize], castagnoli) {
		return false
	}
	*h = head{
		sum:     le.Uint32(b[12:]),
		number:  le.Uint64(b[16:]),
		stamp:   int64(le.Uint64(b[24:])),
		payload: le.Uint32(b[32:]),
		source:  le.Uint16(b[36:]),
		cluster: le.Uint16(b[38:]),
		flags:   le.Uint32(b[40:]),
	}
	return h.payload <= largest
}

// A segment is one file of the log.
type segment struct {
	path   string
	index  uint64
	first  uint64 // number of its first record
	marker marker

	// Guarded by the spool's lock.
	size   int64  // what it takes of the disk
	end    int64  // how far it may be read: what is synced
	next   uint64 // the number after that of its last record
	sealed bool   // nothing is added
	// unknown says that the disk did not give all of the segment when next was looked for.
	unknown bool
}

// manyRecords is more than a segment has.
const manyRecords = 1 << 32

func newSegment(dir string, index, first uint64) *segment {
	s := &segment{index: index, first: first, next: first}
	rand.Read(s.marker[:]) // it never fails
	s.path = filepath.Join(dir, s.name())
	return s
}

func (s *segment) name() string {
	return fmt.Sprintf("%08x-%016x-%x%s", s.index, s.first, s.marker[:], extension)
}

// parseName returns the segment that a file's name stands for.
func parseName(dir, name string) (*segment, bool) {
	stem, ours := strings.CutSuffix(name, extension)
	parts := strings.Split(stem, "-")
	if !ours || len(parts) != 3 || len(parts[2]) != 16 {
		return nil, false
	}
	s := &segment{path: filepath.Join(dir, name)}
	var mark uint64
	for i, to := range []*uint64{&s.index, &s.first, &mark} {
		n, err := strconv.ParseUint(parts[i], 16, 64)
		if err != nil {
			return nil, false
		}
		*to = n
	}
	binary.BigEndian.PutUint64(s.marker[:], mark)
	return s, true
}

// segments lists the segments of a folder in their order, with the sizes of their files.
func segments(dir string) ([]*segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []*segment
	for _, e := range entries {
		s, ours := parseName(dir, e.Name())
		if !ours {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		s.size, s.end, s.sealed = info.Size(), info.Size(), true
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *segment) int {
		switch {
		case a.index < b.index:
			return -1
		case a.index > b.index:
			return 1
		}
		return 0
	})
	return list, nil
}

// A scanner reads the records of a segment one after the other. What is damaged it leaves out.
type scanner struct {
	in     *bufio.Reader
	marker marker
	end    func() int64 // how far may be read
	at     int64        // where the next byte of in comes from
	names  []byte
}

// A reach reads a file up to an end that may move on.
type reach struct {
	file io.ReaderAt
	end  func() int64
	at   int64
}

func (r *reach) Read(p []byte) (int, error) {
	left := r.end() - r.at
	if left <= 0 {
		return 0, io.EOF
	}
	n, err := r.file.ReadAt(p[:min(int64(len(p)), left)], r.at)
	r.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func newScanner(file io.ReaderAt, m marker, at int64, end func() int64) *scanner {
	return &scanner{in: bufio.NewReaderSize(&reach{file: file, end: end, at: at}, window), marker: m, end: end, at: at}
}

// discard leaves out n bytes that are there.
func (s *scanner) discard(n int64) error {
	for n > 0 {
		// The reader counts in int, which may have 32 bits.
		d, err := s.in.Discard(int(min(n, 1<<30)))
		s.at += int64(d)
		n -= int64(d)
		if err != nil {
			return err
		}
	}
	return nil
}

// next returns the header of the next record that is there as a whole, and how many bytes before it were left out. The
// record's content has to be read with content, or left out with discard. At the end it returns io.EOF; the bytes
// left out may then be those of a record that was never finished.
func (s *scanner) next() (h head, skipped int64, err error) {
	from := s.at
	for {
		b, err := s.in.Peek(headSize)
		if err == nil && h.parse(b, s.marker) && s.at+headSize+h.follows() <= s.end() {
			skipped = s.at - from
			return h, skipped, s.discard(headSize)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return h, s.at - from, err
		}
		if len(b) == 0 {
			return h, s.at - from, io.EOF
		}
		if err := s.search(); err != nil {
			return h, s.at - from, err
		}
	}
}

// search goes on to the next place after this one where a record may begin, or to the end.
func (s *scanner) search() error {
	if err := s.discard(1); err != nil {
		return err
	}
	for {
		b, err := s.in.Peek(window)
		if at := bytes.Index(b, s.marker[:]); at >= 0 {
			return s.discard(int64(at))
		}
		if errors.Is(err, io.EOF) {
			return s.discard(int64(len(b)))
		}
		// The marker may begin in the last bytes.
		if e := s.discard(int64(max(0, len(b)-len(s.marker)+1))); e != nil || err != nil {
			return errors.Join(e, err)
		}
	}
}

// content reads what follows a header, the payload into a buffer of its size. It reports false if it is damaged.
func (s *scanner) content(h *head, payload []byte) (source, cluster []byte, ok bool, err error) {
	if n := int(h.source) + int(h.cluster); cap(s.names) < n {
		s.names = make([]byte, n)
	}
	s.names = s.names[:int(h.source)+int(h.cluster)]
	for _, to := range [][]byte{s.names, payload} {
		n, err := io.ReadFull(s.in, to)
		s.at += int64(n)
		if err != nil {
			return nil, nil, false, err
		}
	}
	sum := crc32.Update(crc32.Checksum(s.names, castagnoli), castagnoli, payload)
	return s.names[:h.source], s.names[h.source:], sum == h.sum, nil
}

// verify reads and checks what follows a header, and keeps nothing of it.
func (s *scanner) verify(h *head) (ok bool, err error) {
	sum := crc32.New(castagnoli)
	n, err := io.CopyN(sum, s.in, h.follows())
	s.at += n
	return sum.Sum32() == h.sum, err
}

// survey reads a whole segment that nobody has said the end of, and sets how far it is good and which number comes
// after it. What the disk does not give is left to the reader, who tries again.
func (s *segment) survey() error {
	file, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer file.Close()
	size := s.size
	scan := newScanner(file, s.marker, 0, func() int64 { return size })
	s.end, s.next = 0, s.first
	for {
		h, _, err := scan.next()
		ok := false
		if err == nil {
			ok, err = scan.verify(&h)
		}
		switch {
		case errors.Is(err, io.EOF):
			// What a killed process had written and not synced has its number from now on.
			_ = file.Sync() // else it is counted as lost after a power cut
			return nil
		case err != nil:
			s.end, s.next, s.unknown = size, s.first+manyRecords, true
			return nil
		case ok:
			s.end, s.next = scan.at, h.number+1
		}
	}
}

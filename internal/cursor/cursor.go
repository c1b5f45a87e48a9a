// Package cursor keeps positions on disk: how far something was read, by whoever goes on there after a restart.
//
// A stored value survives the end of the process at once, kill -9 included, since the kernel has it; and the end of the
// machine once Sync has returned. So Store is cheap enough to be called for every batch, and Sync is called now and
// then, from another goroutine.
package cursor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// page keeps slots apart: what the kernel or a disk writes as one never holds two of them. A write that is torn by
	// a power cut costs one slot, and Store does not wait for a page that is on its way to the disk.
	page = 4096
	// slots a cell has. One holds what the last Sync made durable and is left alone until a later one is, one may be
	// on its way to the disk, and one is free to take the next value.
	slots = 3
	// head is what precedes a value: CRC32C of all that follows it in the slot, the cell's number, the value's.
	head = 4 + 4 + 8
	// MaxSize is the size of the largest value. With its head it fits in a sector of 512 bytes, the least that any
	// disk writes as a whole.
	MaxSize = 512 - head
)

// A File holds cells, numbered from 0, each with one value of the same size. It may be used by several goroutines.
type File struct {
	size int
	file *os.File

	sync sync.Mutex // one Sync at a time

	mu     sync.Mutex
	cells  []cell
	buf    []byte // a slot, on its way to the kernel
	made   bool   // by this File: the folder does not have it durably yet
	failed bool   // the last Sync: what it was to write may have been dropped by the kernel
}

// A cell is what is known of the three slots of one value.
type cell struct {
	value []byte // nil if none was stored
	n     uint64 // counts values
	// durable is the slot that survives a power cut, pending the one with a newer value, syncing the one that is being
	// made durable; none if there is no such slot.
	durable, pending, syncing int8
}

const none = -1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Open opens the file of cursors at path, with values of size bytes, or makes it. The folder has to be there. Only one
// File at a time is open for a path, in all processes together.
func Open(path string, size int) (*File, error) {
	if size < 1 || size > MaxSize {
		panic(fmt.Sprintf("cursor: values of %d bytes", size))
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f := &File{size: size, file: file, buf: make([]byte, head+size)}
	if err := f.load(); err != nil {
		file.Close()
		return nil, fmt.Errorf("positions in %s: %w", path, err)
	}
	return f, nil
}

func (f *File) load() error {
	if err := unix.Flock(int(f.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return errors.New("in use by another process or plugin object; give each its own folder")
		}
		return os.NewSyscallError("flock", err)
	}
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	title := fmt.Appendf(nil, "kaudit positions 1, %d bytes each\n", f.size)
	found := make([]byte, len(title))
	if _, err := f.file.ReadAt(found, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(found, title) {
		if info.Size() > page {
			return errors.New("written by another version, or by another program; move the file away to start without")
		}
		f.made = true
		_, err := f.file.WriteAt(append(title, make([]byte, page-len(title))...), 0)
		return err
	}
	for at := int64(page); at < info.Size(); at += slots * page {
		c, err := f.read(len(f.cells))
		if err != nil {
			return err
		}
		f.cells = append(f.cells, c)
	}
	// After a kill, the newest values are in the kernel only.
	return f.syncFile(true)
}

// read finds the newest value of a cell among its slots. A slot that does not add up was torn, or never written.
func (f *File) read(number int) (cell, error) {
	c := cell{durable: none, pending: none, syncing: none}
	for slot := range int8(slots) {
		if _, err := f.file.ReadAt(f.buf, offset(number, slot)); errors.Is(err, io.EOF) {
			continue
		} else if err != nil {
			return c, err
		}
		n := binary.LittleEndian.Uint64(f.buf[8:])
		if n > c.n && binary.LittleEndian.Uint32(f.buf) == crc32.Checksum(f.buf[4:], castagnoli) &&
			binary.LittleEndian.Uint32(f.buf[4:]) == uint32(number) {
			c.n, c.durable, c.value = n, slot, bytes.Clone(f.buf[head:])
		}
	}
	return c, nil
}

func offset(number int, slot int8) int64 {
	return page * (1 + slots*int64(number) + int64(slot))
}

// syncFile waits until the disk has the file; its name, too, if asked for.
func (f *File) syncFile(name bool) error {
	if err := datasync(f.file); err != nil {
		return err
	}
	if !name {
		return nil
	}
	folder, err := os.Open(filepath.Dir(f.file.Name()))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

// Len returns the number of cells.
func (f *File) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.cells)
}

// Load returns a copy of the value of a cell, or nil if it has none.
func (f *File) Load(number int) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if number >= len(f.cells) {
		return nil
	}
	return bytes.Clone(f.cells[number].value)
}

// Store gives a cell a new value. It is one write to the kernel's memory, about a microsecond; it does not wait for the
// value to reach the disk, but may for the journal of the file system, some milliseconds during a Sync. The file grows to hold the cell, so numbers should be taken from 0 on without gaps.
func (f *File) Store(number int, value []byte) error {
	if len(value) != f.size {
		panic(fmt.Sprintf("cursor: a value of %d bytes in a file of values of %d", len(value), f.size))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for number >= len(f.cells) {
		f.cells = append(f.cells, cell{durable: none, pending: none, syncing: none})
	}
	c := &f.cells[number]
	c.n++
	c.value = append(c.value[:0], value...)
	if c.pending == none || c.pending == c.syncing {
		c.pending = 0
		for c.pending == c.durable || c.pending == c.syncing {
			c.pending++
		}
	}
	return f.write(number)
}

// write writes the value of a cell to its pending slot.
func (f *File) write(number int) error {
	c := &f.cells[number]
	binary.LittleEndian.PutUint32(f.buf[4:], uint32(number))
	binary.LittleEndian.PutUint64(f.buf[8:], c.n)
	copy(f.buf[head:], c.value)
	binary.LittleEndian.PutUint32(f.buf, crc32.Checksum(f.buf[4:], castagnoli))
	_, err := f.file.WriteAt(f.buf, offset(number, c.pending))
	return err
}

// Sync makes all values stored before it durable: it waits for the disk. Values may be stored meanwhile.
func (f *File) Sync() error {
	f.sync.Lock()
	defer f.sync.Unlock()
	numbers, err := f.begin()
	if err == nil && len(numbers) > 0 {
		err = f.syncFile(f.made)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = err != nil
	f.made = f.made && (f.failed || len(numbers) == 0)
	for _, n := range numbers {
		c := &f.cells[n]
		if err == nil {
			c.durable = c.syncing
			if c.pending == c.syncing {
				c.pending = none
			}
		}
		c.syncing = none
	}
	if err != nil {
		return fmt.Errorf("positions in %s: %w", f.file.Name(), err)
	}
	return nil
}

// begin returns the cells whose pending slots a Sync is to make durable.
func (f *File) begin() (numbers []int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := range f.cells {
		c := &f.cells[n]
		if c.pending == none {
			continue
		}
		// When fdatasync fails, the kernel takes what it could not write for written.
		if f.failed {
			if err := f.write(n); err != nil {
				return numbers, err
			}
		}
		c.syncing = c.pending
		numbers = append(numbers, n)
	}
	return slices.Clip(numbers), nil
}

// Close syncs, and lets the next File open the path.
func (f *File) Close() error {
	return errors.Join(f.Sync(), f.file.Close())
}

package abi

/*
#include "abi.h"
#include <stdlib.h>
*/
import "C"

import (
	"encoding/binary"
	"time"
	"unsafe"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
)

const (
	// blockSize is the memory of a batch, unless one event needs more.
	blockSize = 512 << 10
	// payloadOffset is where an event's payload begins.
	payloadOffset = C.sizeof_plugin_event
	pointerSize   = unsafe.Sizeof(uintptr(0))
	slotSize      = C.sizeof_slot
	tableSize     = C.sizeof_table // its count; the slots follow
)

// A block is C memory that is written from its beginning on.
type block struct {
	mem  []byte // in C
	base uintptr
	used int
}

func newBlock(size int) block {
	p := C.malloc(C.size_t(size))
	return block{mem: unsafe.Slice((*byte)(p), size), base: uintptr(p)}
}

func (b *block) free() {
	if b.mem != nil {
		C.free(unsafe.Pointer(unsafe.SliceData(b.mem)))
	}
	*b = block{}
}

// reserve sets n bytes aside, aligned for pointers, and returns where they begin.
func (b *block) reserve(n int) (at int, ok bool) {
	at = (b.used + 7) &^ 7
	if at+n > len(b.mem) {
		return 0, false
	}
	b.used = at + n
	return at, true
}

func (b *block) put64(at int, v uint64) { binary.NativeEndian.PutUint64(b.mem[at:], v) }

func (b *block) put32(at int, v uint32) { binary.NativeEndian.PutUint32(b.mem[at:], v) }

// putAddress writes the address of what begins at the given place in the block.
func (b *block) putAddress(at, of int) { b.put64(at, uint64(b.base)+uint64(of)) }

// A slot is C.slot: where the values of an answer are, and how many.
type slot struct {
	values uintptr
	n      uint64
}

// slots returns the n slots of the table that begins at t.
func slots(t unsafe.Pointer, n int) []slot {
	return unsafe.Slice((*slot)(unsafe.Add(t, tableSize)), n)
}

// An encoder answers questions about events and writes the answers as tables.
type encoder struct {
	failed func(q *extract.Question, why any) // told of a question whose answer failed inside
	event  extract.Event
	value  extract.Value
}

// table writes the answers to questions about e into b and returns where the table begins.
func (c *encoder) table(b *block, e *audit.Event, questions []extract.Question) (at int, ok bool) {
	at, ok = b.reserve(tableSize + len(questions)*slotSize)
	if !ok {
		return 0, false
	}
	b.put32(at, uint32(len(questions)))
	b.put32(at+4, uint32(len(questions)))
	c.event.Reset(e)
	to := slots(unsafe.Pointer(&b.mem[at]), len(questions))
	for done := 0; done < len(questions); {
		n := c.answer(b, to[done:], questions[done:])
		if n == 0 {
			return 0, false
		}
		done += n
	}
	return at, true
}

// answer answers questions about the event at hand, one after the other, and returns how many: none if there is no room
// for the first. It may stop before the last, since a mistake in one field must not take the others' answers with it, nor
// the event: the question is left without an answer.
func (c *encoder) answer(b *block, to []slot, questions []extract.Question) (done int) {
	defer func() {
		if why := recover(); why != nil {
			c.failed(&questions[done], why)
			to[done] = slot{}
			c.value = extract.Value{}
			c.event.Forget()
			done++
		}
	}()
	for ; done < len(questions); done++ {
		q := &questions[done]
		c.value.Reset()
		q.Answer(&c.event, &c.value)
		at, ok := c.values(b, q)
		if !ok {
			break
		}
		to[done] = slot{b.base + uintptr(at), uint64(c.value.Len())}
	}
	return done
}

// values writes the value as the array the host expects for the field's type.
func (c *encoder) values(b *block, q *extract.Question) (at int, ok bool) {
	n := c.value.Len()
	if n == 0 {
		return 0, true
	}
	switch q.Field.From.Type {
	case extract.Text:
		texts, ends := c.value.Texts()
		at, ok = b.reserve(n*int(pointerSize) + len(texts))
		if !ok {
			return 0, false
		}
		from := at + n*int(pointerSize)
		copy(b.mem[from:], texts)
		for i, end := range ends {
			b.putAddress(at+i*int(pointerSize), from)
			from = at + n*int(pointerSize) + end + 1
		}
	case extract.Network:
		texts, ends := c.value.Texts()
		if at, ok = b.reserve(n*C.sizeof_byte_buffer + len(texts)); !ok {
			return 0, false
		}
		from := at + n*C.sizeof_byte_buffer
		copy(b.mem[from:], texts)
		for i, end := range ends {
			last := at + n*C.sizeof_byte_buffer + end
			b.put32(at+i*C.sizeof_byte_buffer, uint32(last-from))
			b.putAddress(at+i*C.sizeof_byte_buffer+int(pointerSize), from)
			from = last + 1
		}
	case extract.Bool:
		if at, ok = b.reserve(4 * n); !ok {
			return 0, false
		}
		for i, v := range c.value.Numbers() {
			b.put32(at+4*i, uint32(v))
		}
	default:
		if at, ok = b.reserve(8 * n); !ok {
			return 0, false
		}
		for i, v := range c.value.Numbers() {
			b.put64(at+8*i, v)
		}
	}
	return at, true
}

// A Batch is the memory of events on their way through the host. Each event stands behind a pointer to its table.
type Batch struct {
	block
	questions *questions
	encoder   encoder
	events    []uintptr // where events begin, for the host; in C
	n         int
}

func newBatch(q *questions, failed func(*extract.Question, any)) *Batch {
	b := &Batch{block: newBlock(blockSize), questions: q, encoder: encoder{failed: failed}}
	b.growEvents(512)
	return b
}

func (b *Batch) growEvents(n int) {
	p := C.realloc(unsafe.Pointer(unsafe.SliceData(b.events)), C.size_t(n)*C.size_t(pointerSize))
	b.events = unsafe.Slice((*uintptr)(p), n)
}

// Add implements [stream.Batch].
func (b *Batch) Add(e *audit.Event, stamp time.Time) bool {
	before := b.used
	for {
		if b.write(e, stamp) {
			return true
		}
		b.used = before
		if b.n > 0 {
			return false
		}
		// One event alone does not fit: take more memory, for this batch.
		size := max(2*len(b.mem), 2*e.Size())
		b.free()
		b.block = newBlock(size)
		before = 0
	}
}

func (b *Batch) write(e *audit.Event, stamp time.Time) bool {
	size := e.Size()
	at, ok := b.reserve(int(pointerSize) + payloadOffset + size)
	if !ok {
		return false
	}
	event := at + int(pointerSize)
	table, ok := b.encoder.table(&b.block, e, b.questions.all())
	if !ok {
		return false
	}
	b.putAddress(at, table)
	h := b.mem[event:]
	native := binary.NativeEndian
	native.PutUint64(h[0:], uint64(stamp.UnixNano()))
	native.PutUint64(h[8:], ^uint64(0)) // no thread
	native.PutUint32(h[16:], uint32(payloadOffset+size))
	native.PutUint16(h[20:], C.PLUGIN_EVENT_TYPE)
	native.PutUint32(h[22:], 2) // parameters: the plugin's id and the payload
	native.PutUint32(h[26:], 4)
	native.PutUint32(h[30:], uint32(size))
	native.PutUint32(h[34:], C.PLUGIN_ID)
	e.AppendTo(b.mem[event+payloadOffset : event+payloadOffset : event+payloadOffset+size])
	if b.n == len(b.events) {
		b.growEvents(2 * b.n)
	}
	b.events[b.n] = b.base + uintptr(event)
	b.n++
	return true
}

// Len implements [stream.Batch].
func (b *Batch) Len() int { return b.n }

// Events returns the address of the list of events, for the host.
func (b *Batch) Events() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b.events)) }

// Reset implements [stream.Batch]. Memory that one large event needed is given back.
func (b *Batch) Reset() {
	b.used, b.n = 0, 0
	if len(b.mem) > blockSize {
		b.block.free()
		b.block = newBlock(blockSize)
	}
}

// Free implements [stream.Batch].
func (b *Batch) Free() {
	b.block.free()
	C.free(unsafe.Pointer(unsafe.SliceData(b.events)))
	b.events = nil
}

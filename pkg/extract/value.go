package extract

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"unicode/utf8"

	"kaudit/pkg/audit"
)

// A Value collects what a field yields. The zero Value is ready to use; Reset makes it ready again and keeps its
// memory.
type Value struct {
	texts   []byte // each followed by a zero byte
	ends    []int  // where each text ends, its zero byte not included
	numbers []uint64
	full    bool
	Scratch []byte // for extractors to build texts in; its content means nothing between two calls
}

const (
	// maxTexts is how many bytes the texts of one value may have together; what comes behind is left out. Objects that
	// etcd stores are a tenth of that. Some fields repeat one part of an event for each of another, and so a request of
	// a megabyte could ask for a terabyte.
	maxTexts = 16 << 20
	// keepTexts is how many bytes of memory a value keeps for the next one.
	keepTexts = 1 << 20
)

// Reset empties v.
func (v *Value) Reset() {
	if cap(v.texts)+cap(v.Scratch)+8*cap(v.ends) > keepTexts {
		*v = Value{}
	}
	v.texts, v.ends, v.numbers, v.full = v.texts[:0], v.ends[:0], v.numbers[:0], false
}

// Len returns how many values there are: none if the event does not have the field.
func (v *Value) Len() int { return len(v.ends) + len(v.numbers) }

// Text returns the i-th text. It is good until the next Reset.
func (v *Value) Text(i int) []byte {
	from := 0
	if i > 0 {
		from = v.ends[i-1] + 1
	}
	return v.texts[from:v.ends[i]]
}

// Texts returns all texts, or addresses, in one piece, each followed by a zero byte, and where each ends, its zero byte
// not included.
func (v *Value) Texts() (texts []byte, ends []int) { return v.texts, v.ends }

// Numbers returns the numbers; a boolean is 0 or 1, a duration is in nanoseconds.
func (v *Value) Numbers() []uint64 { return v.numbers }

// AddText adds a text. The host reads texts as C strings and prints them as UTF-8, so a NUL byte and what is not UTF-8
// are replaced by U+FFFD: they must neither cut the text short nor spoil what it is printed in.
func (v *Value) AddText(b []byte) {
	if v.full {
		return
	}
	if len(v.ends) > 0 && len(v.texts)+len(b) > maxTexts {
		v.full = true
		return
	}
	if !ascii(b) && (bytes.IndexByte(b, 0) >= 0 || !utf8.Valid(b)) {
		for len(b) > 0 {
			r, n := utf8.DecodeRune(b)
			if r == 0 {
				r = utf8.RuneError
			}
			v.texts = utf8.AppendRune(v.texts, r)
			b = b[n:]
		}
	} else {
		v.texts = append(v.texts, b...)
	}
	v.ends = append(v.ends, len(v.texts))
	v.texts = append(v.texts, 0)
}

// ascii reports whether b is ASCII without NUL, which most texts are.
func ascii(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b)
		if (w|(w-0x0101010101010101))&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range b {
		if c-1 >= utf8.RuneSelf-1 {
			return false
		}
	}
	return true
}

// AddAddress adds an IP address, as its bytes.
func (v *Value) AddAddress(ip netip.Addr) {
	if v.full {
		return
	}
	b := ip.As16()
	if ip.Is4() {
		v.texts = append(v.texts, b[12:]...)
	} else {
		v.texts = append(v.texts, b[:]...)
	}
	v.ends = append(v.ends, len(v.texts))
	v.texts = append(v.texts, 0)
}

// AddString adds a text.
func (v *Value) AddString(s string) {
	v.Scratch = append(v.Scratch[:0], s...)
	v.AddText(v.Scratch)
}

// AddNode adds a JSON value: a string as its text, anything else as compact JSON. A value that is not there adds
// nothing.
func (v *Value) AddNode(n audit.Node) {
	switch {
	case !n.Exists(), v.full:
	case n.IsString():
		v.AddText(n.Bytes())
	default:
		v.Scratch = n.AppendJSON(v.Scratch[:0])
		v.AddText(v.Scratch)
	}
}

// AddNodes adds every element of an array.
func (v *Value) AddNodes(array audit.Node) {
	for i := range array.Len() {
		v.AddNode(array.At(i))
	}
}

// AddNumber adds a number.
func (v *Value) AddNumber(n uint64) { v.numbers = append(v.numbers, n) }

// AddBool adds a boolean.
func (v *Value) AddBool(b bool) {
	if b {
		v.AddNumber(1)
	} else {
		v.AddNumber(0)
	}
}

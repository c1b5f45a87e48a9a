package audit

import (
	"unicode/utf8"

	"github.com/valyala/fastjson"
)

// A Node is a JSON value inside an event. The zero Node stands for a value that is not there, and every method works
// on it, so that paths need no checks on the way. A Node is good until its Event loads the next event.
//
// Where an object has a key twice the last one counts, as in the API server's own decoder: a patch that hides its
// second thought behind its first is read as the API server reads it.
type Node struct{ v *fastjson.Value }

// Exists reports whether there is a value, null included.
func (n Node) Exists() bool { return n.v != nil }

// IsObject reports whether the value is an object.
func (n Node) IsObject() bool { return n.v != nil && n.v.Type() == fastjson.TypeObject }

// IsArray reports whether the value is an array.
func (n Node) IsArray() bool { return n.v != nil && n.v.Type() == fastjson.TypeArray }

// IsString reports whether the value is a string.
func (n Node) IsString() bool { return n.v != nil && n.v.Type() == fastjson.TypeString }

// IsNull reports whether the value is null.
func (n Node) IsNull() bool { return n.v != nil && n.v.Type() == fastjson.TypeNull }

// IsTrue reports whether the value is true.
func (n Node) IsTrue() bool { return n.v != nil && n.v.Type() == fastjson.TypeTrue }

// Bool returns the value of a boolean and whether it is one.
func (n Node) Bool() (value, ok bool) {
	if n.v == nil {
		return false, false
	}
	switch n.v.Type() {
	case fastjson.TypeTrue:
		return true, true
	case fastjson.TypeFalse:
		return false, true
	}
	return false, false
}

// Get returns the member of an object with the given key.
func (n Node) Get(key string) Node {
	if n.v == nil || n.v.Type() != fastjson.TypeObject {
		return Node{}
	}
	var found *fastjson.Value
	n.v.GetObject().Visit(func(k []byte, v *fastjson.Value) {
		if string(k) == key {
			found = v
		}
	})
	return Node{found}
}

// Path returns the value at the end of a path of keys.
func (n Node) Path(keys ...string) Node {
	for _, k := range keys {
		n = n.Get(k)
	}
	return n
}

// Len returns the number of elements of an array, else 0.
func (n Node) Len() int {
	if !n.IsArray() {
		return 0
	}
	return len(n.v.GetArray())
}

// At returns an element of an array.
func (n Node) At(i int) Node {
	if !n.IsArray() {
		return Node{}
	}
	if a := n.v.GetArray(); i >= 0 && i < len(a) {
		return Node{a[i]}
	}
	return Node{}
}

// Has reports whether the value is an array that has one of the texts as an element.
func (n Node) Has(texts ...string) bool {
	if !n.IsArray() {
		return false
	}
	for _, v := range n.v.GetArray() {
		if v.Type() != fastjson.TypeString {
			continue
		}
		b := v.GetStringBytes()
		for _, text := range texts {
			if string(b) == text {
				return true
			}
		}
	}
	return false
}

// Each calls visit for every member of an object, in their order. key is good only during the call.
func (n Node) Each(visit func(key []byte, value Node)) {
	if n.IsObject() {
		n.v.GetObject().Visit(func(k []byte, v *fastjson.Value) { visit(k, Node{v}) })
	}
}

// Bytes returns the text of a string, unescaped, else nil. Nobody may write to it.
func (n Node) Bytes() []byte {
	if n.v == nil {
		return nil
	}
	return n.v.GetStringBytes()
}

// Is reports whether the value is the string s.
func (n Node) Is(s string) bool { return n.IsString() && string(n.v.GetStringBytes()) == s }

// Int returns the value of a whole number and whether it is one.
func (n Node) Int() (int64, bool) {
	if n.v == nil || n.v.Type() != fastjson.TypeNumber {
		return 0, false
	}
	i, err := n.v.Int64()
	return i, err == nil
}

// AppendJSON appends the value as compact JSON. Strings are escaped as Go's encoder does, and so as the API server
// does: what it wrote comes out as it was.
func (n Node) AppendJSON(dst []byte) []byte {
	if n.v == nil {
		return dst
	}
	switch n.v.Type() {
	case fastjson.TypeObject:
		dst = append(dst, '{')
		start := len(dst)
		n.v.GetObject().Visit(func(k []byte, v *fastjson.Value) {
			if len(dst) > start {
				dst = append(dst, ',')
			}
			dst = appendQuoted(dst, k)
			dst = append(dst, ':')
			dst = Node{v}.AppendJSON(dst)
		})
		return append(dst, '}')
	case fastjson.TypeArray:
		dst = append(dst, '[')
		for i, v := range n.v.GetArray() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = Node{v}.AppendJSON(dst)
		}
		return append(dst, ']')
	case fastjson.TypeString:
		return appendQuoted(dst, n.v.GetStringBytes())
	default: // numbers as they were written, true, false, null
		return n.v.MarshalTo(dst)
	}
}

// appendQuoted appends s as a JSON string with the escapes of encoding/json.
func appendQuoted(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c == '\n':
				dst = append(dst, '\\', 'n')
			case c == '\r':
				dst = append(dst, '\\', 'r')
			case c == '\t':
				dst = append(dst, '\\', 't')
			case c == '\b':
				dst = append(dst, '\\', 'b')
			case c == '\f':
				dst = append(dst, '\\', 'f')
			case c < ' ' || c == '<' || c == '>' || c == '&':
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				dst = append(dst, c)
			}
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, `\ufffd`...)
		case r == '\u2028' || r == '\u2029':
			dst = append(dst, '\\', 'u', '2', '0', '2', hex[r&15])
		default:
			dst = append(dst, s[i:i+size]...)
		}
		i += size
	}
	return append(dst, '"')
}

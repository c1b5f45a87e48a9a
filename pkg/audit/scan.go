package audit

import (
	"encoding/binary"
	"math/bits"
)

// maxDepth is how deep arrays and objects may nest. Go's own JSON decoder, which every request body went through in
// the API server, stops at 10,000 too (encoding/json, maxNestingDepth).
const maxDepth = 10_000

// A span is where a JSON value stands in the bytes of its event.
type span struct {
	from, to int // zero to: no such value
	values   int // how many values it holds, itself included
	depth    int // how deep it nests; 0 for scalars
}

func (s span) of(b []byte) []byte { return b[s.from:s.to] }

func (s span) present() bool { return s.to > s.from }

// scanner checks JSON as RFC 8259 has it and finds where values end, without building anything. It is the one place
// that decides whether bytes are JSON, so that what comes after it meets only well-formed values of known size.
type scanner struct {
	kinds [maxDepth/64 + 1]uint64 // one bit a level: 1 inside an object, 0 inside an array

	// Of a value that broke: where the last whole value inside it ends, and how many levels were open there.
	whole, open int
}

// closers appends what closes the first n levels of the value scanned last, innermost first.
func (s *scanner) closers(dst []byte, n int) []byte {
	for n--; n >= 0; n-- {
		if s.kinds[n>>6]>>(n&63)&1 == 1 {
			dst = append(dst, '}')
		} else {
			dst = append(dst, ']')
		}
	}
	return dst
}

// space returns the first position from i on that is not JSON white space.
func space(b []byte, i int) int {
	for i < len(b) && b[i] <= ' ' && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// text returns the position behind the closing quote of the string whose opening quote is at i, and false if the
// string is broken: then the position is where.
func text(b []byte, i int) (int, bool) {
	i++
	for {
		// Eight bytes at a time: in stop is set the high bit of the first byte that is a quote, a backslash or a control
		// character, and perhaps of some behind it. Bytes with their own high bit set are none of these. 0x22^2 is
		// 0x20, and what is below 0x20 stays there, so one subtraction finds both.
		for i+8 <= len(b) {
			w := binary.LittleEndian.Uint64(b[i:])
			stop := (((w ^ 0x0202020202020202) - 0x2121212121212121) | ((w ^ 0x5c5c5c5c5c5c5c5c) - 0x0101010101010101)) & ^w & 0x8080808080808080
			if stop == 0 {
				i += 8
				continue
			}
			if i += bits.TrailingZeros64(stop) >> 3; b[i] == '"' {
				return i + 1, true
			}
			break
		}
		for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= ' ' {
			i++
		}
		if i >= len(b) {
			return i, false
		}
		switch b[i] {
		case '"':
			return i + 1, true
		case '\\':
			if i+1 >= len(b) {
				return len(b), false
			}
			switch b[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
			case 'u':
				for k := i + 2; k < i+6; k++ {
					if k >= len(b) {
						return len(b), false
					}
					if !isHex(b[k]) {
						return k, false
					}
				}
				i += 6
			default:
				return i + 1, false
			}
		default: // a control character: strings never span lines
			return i, false
		}
	}
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// scalar returns the position behind the number or literal at i.
func scalar(b []byte, i int) (int, bool) {
	switch b[i] {
	case 't':
		return word(b, i, "true")
	case 'f':
		return word(b, i, "false")
	case 'n':
		return word(b, i, "null")
	}
	if b[i] == '-' {
		i++
	}
	switch {
	case i >= len(b):
		return i, false
	case b[i] == '0':
		i++
	case '1' <= b[i] && b[i] <= '9':
		i = digits(b, i)
	default:
		return i, false
	}
	if i < len(b) && b[i] == '.' {
		end := digits(b, i+1)
		if end == i+1 {
			return end, false
		}
		i = end
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		end := digits(b, i)
		if end == i {
			return end, false
		}
		i = end
	}
	return i, true
}

// unfinished reports whether a number ends at i without a sign that it does: its further digits may have been cut off.
func unfinished(b []byte, i int) bool {
	if c := b[i-1]; c < '0' || c > '9' {
		return false
	}
	if i == len(b) {
		return true
	}
	switch b[i] {
	case ',', '}', ']', ' ', '\n', '\r', '\t':
		return false
	}
	return true
}

func digits(b []byte, i int) int {
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	return i
}

func word(b []byte, i int, w string) (int, bool) {
	for k := range len(w) {
		if i+k >= len(b) {
			return len(b), false
		}
		if b[i+k] != w[k] {
			return i + k, false
		}
	}
	return i + len(w), true
}

// value finds the end of the JSON value that begins at i. If the value is broken, ok is
// false and the span ends where it broke; at the end of b that means it was cut.
func (s *scanner) value(b []byte, i int) (v span, ok bool) {
	v = span{from: i}
	s.whole, s.open = 0, 0
	depth := 0
	var object bool // what the innermost open level is

	for {
		// A value begins here.
		i = space(b, i)
		if i >= len(b) {
			v.to = i
			return v, false
		}
		v.values++
		switch c := b[i]; c {
		case '"':
			if i, ok = text(b, i); !ok {
				v.to = i
				return v, false
			}
		case '{', '[':
			if depth == maxDepth {
				v.to = i
				return v, false
			}
			bit := uint64(1) << (depth & 63)
			if object = c == '{'; object {
				s.kinds[depth>>6] |= bit
			} else {
				s.kinds[depth>>6] &^= bit
			}
			if depth++; depth > v.depth {
				v.depth = depth
			}
			i = space(b, i+1)
			if i < len(b) && b[i] == c+2 { // '{'+2 is '}', '['+2 is ']'
				goto ended
			}
			if !object {
				continue
			}
			goto key
		default:
			if i, ok = scalar(b, i); !ok || depth > 0 && unfinished(b, i) {
				v.to = i
				return v, false
			}
		}

		// A value has ended; close what closes here.
	after:
		if depth == 0 {
			v.to = i
			return v, true
		}
		s.whole, s.open = i, depth
		i = space(b, i)
		if i >= len(b) {
			v.to = i
			return v, false
		}
		switch {
		case b[i] == ',':
			i++
			if !object {
				continue
			}
			i = space(b, i)
			goto key
		case object && b[i] == '}', !object && b[i] == ']':
			goto ended
		default:
			v.to = i
			return v, false
		}

	ended:
		i++
		depth--
		if depth > 0 {
			object = s.kinds[(depth-1)>>6]>>((depth-1)&63)&1 == 1
		}
		goto after

	key:
		if i >= len(b) || b[i] != '"' {
			v.to = i
			return v, false
		}
		if i, ok = text(b, i); !ok {
			v.to = i
			return v, false
		}
		i = space(b, i)
		if i >= len(b) || b[i] != ':' {
			v.to = i
			return v, false
		}
		i++
	}
}

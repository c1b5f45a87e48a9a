package file

import "bytes"

// A shape is how a file is laid out.
type shape int

const (
	unknown shape = iota
	lines         // each line stands alone
	whole         // documents over several lines
)

var byteOrderMark = []byte{0xef, 0xbb, 0xbf}

const white = " \t\r\n"

func blank(b []byte) bool { return len(bytes.TrimLeft(b, white)) == 0 }

// shapeOf tells from the beginning of a file how it is laid out, or unknown if it needs to see more.
//
// A document shows in a first line that opens more brackets than it closes. So does a line that was torn, but there
// the text stops inside a string, or the next line begins an object where JSON does not allow one.
func shapeOf(begin []byte, ended bool) shape {
	begin = bytes.TrimLeft(begin, white)
	if len(begin) > 0 && begin[0] != '{' && begin[0] != '[' && begin[0] != byteOrderMark[0] {
		return lines
	}
	first, rest, found := bytes.Cut(begin, []byte("\n"))
	if !found {
		return undecided(ended)
	}
	var d documents
	d.cut(first)
	if d.depth == 0 || d.inString {
		return lines
	}
	rest = bytes.TrimLeft(rest, white)
	if len(rest) == 0 {
		return undecided(ended)
	}
	first = bytes.TrimRight(first, white)
	if rest[0] == '{' && bytes.IndexByte([]byte("[,:"), first[len(first)-1]) < 0 {
		return lines
	}
	return whole
}

func undecided(ended bool) shape {
	if ended {
		return lines
	}
	return unknown
}

// documents finds the ends of JSON documents, in pieces: it goes on where the piece before ended.
type documents struct {
	at                int // how much of the data was looked at
	depth             int
	inString, escaped bool
}

// cut returns where the last whole document ends, or 0. The next call gets the data from there on.
func (d *documents) cut(data []byte) (end int) {
	depth, inString, escaped := d.depth, d.inString, d.escaped
	for i, c := range data[d.at:] {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			depth++
		case (c == '}' || c == ']') && depth > 0:
			depth--
			if depth == 0 {
				end = d.at + i + 1
			}
		}
	}
	*d = documents{at: len(data) - end, depth: depth, inString: inString, escaped: escaped}
	return end
}

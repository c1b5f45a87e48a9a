package audit

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"
)

// A Document is any JSON object or array, of whatever source, read by JSON pointers. Load finds its members and proves it to
// be JSON; nothing is built, and a value is read when it is asked for. A Document is used by one goroutine at a time and
// meant to be used again.
//
// Where an object has a key twice the last one counts, as everywhere in this package (see [Node]).
type Document struct {
	raw     []byte
	root    span
	members []keyed // of an object that has no more than maxMembers; else nil
	indexed bool
	scan    scanner
	parser  fastjson.Parser
	spent   int // how many bytes the parser has read
	key     []byte
}

// keyed is a member of an object: where its key stands, without the quotes, and its value.
type keyed struct {
	from, to int
	value    span
}

// maxMembers is how many members of a document are found once and for all; in an object of more they are looked for each
// time. Memory stays bounded, and no audit event has a tenth of them.
const maxMembers = 256

// A Step is one token of a [Path].
type Step struct {
	Key   string
	index int // what the token is to an array; negative: nothing
}

// A Path is a JSON pointer as Falco's json plugin reads one (falcosecurity/plugins: plugins/json): without its first slash,
// if it has one, every token between two slashes is a step, an empty one too, and an index may have a sign and leading zeros.
// The empty path is the document.
type Path []Step

// ParsePath reads a pointer. All texts are one.
func ParsePath(pointer string) Path {
	if pointer == "" {
		return Path{}
	}
	tokens := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	p := make(Path, len(tokens))
	for i, token := range tokens {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		n, err := strconv.Atoi(token)
		if err != nil {
			n = -1
		}
		p[i] = Step{token, n}
	}
	return p
}

// Load makes d the document in raw, which begins with its brace or bracket: white space before it, or another value, is no
// document, as to Falco's json plugin. d refers to raw until the next Load; nobody may write to it. It returns false if raw
// is no document; d is empty then.
func (d *Document) Load(raw []byte) bool {
	d.raw, d.root, d.members, d.indexed = nil, span{}, d.members[:0], false
	if d.spent > keepBytes {
		d.parser, d.spent = fastjson.Parser{}, 0
	}
	if cap(d.key) > keepBytes {
		d.key = nil
	}
	if len(raw) == 0 {
		return false
	}
	end, ok := 0, false
	switch raw[0] {
	case '{':
		d.indexed = true
		end, ok = d.object(raw)
	case '[':
		var v span
		v, ok = d.scan.value(raw, 0)
		end = v.to
	}
	if !ok || space(raw, end) != len(raw) {
		return false
	}
	d.raw, d.root = raw, span{to: end}
	return true
}

// object finds the members of the object at the beginning of b, and returns where it ends.
func (d *Document) object(b []byte) (end int, ok bool) {
	for i := space(b, 1); ; i = space(b, i+1) {
		if i < len(b) && b[i] == '}' && len(d.members) == 0 {
			return i + 1, true
		}
		if i >= len(b) || b[i] != '"' {
			return i, false
		}
		key, ok := text(b, i)
		if !ok {
			return key, false
		}
		colon := space(b, key)
		if colon >= len(b) || b[colon] != ':' {
			return colon, false
		}
		v, ok := d.scan.value(b, colon+1)
		if !ok {
			return v.to, false
		}
		if len(d.members) == maxMembers {
			d.indexed = false
		} else {
			v.from = space(b, v.from)
			d.members = append(d.members, keyed{i + 1, key - 1, v})
		}
		if i = space(b, v.to); i >= len(b) || b[i] != ',' {
			return i + 1, i < len(b) && b[i] == '}'
		}
	}
}

// Append appends the value that p leads to: a string as its text, any other value as it is written, without the white space
// around and between its parts. It returns false if there is no such value.
func (d *Document) Append(dst []byte, p Path) ([]byte, bool) {
	at, ok := d.find(p)
	if !ok {
		return dst, false
	}
	value := at.of(d.raw)
	if value[0] == '"' {
		return d.unquote(dst, value), true
	}
	return compact(dst, value), true
}

// AppendIndented appends the document with two blanks for each level.
func (d *Document) AppendIndented(dst []byte) []byte {
	b := bytes.NewBuffer(dst)
	if len(d.raw) == 0 || json.Indent(b, d.raw, "", "  ") != nil {
		return dst
	}
	return b.Bytes()
}

// find returns where the value is that p leads to.
func (d *Document) find(p Path) (at span, ok bool) {
	at, ok = d.root, len(d.raw) > 0
	for i := 0; ok && i < len(p); i++ {
		switch {
		case i == 0 && d.indexed:
			at, ok = d.top(p[0].Key)
		case d.raw[at.from] == '{':
			at, ok = d.member(at.from, p[i].Key)
		case d.raw[at.from] == '[':
			at, ok = d.element(at.from, p[i].index)
		default:
			ok = false
		}
	}
	return at, ok
}

// top returns a member of the document by its key.
func (d *Document) top(key string) (span, bool) {
	for i := len(d.members) - 1; i >= 0; i-- {
		if m := &d.members[i]; d.is(m.from, m.to, key) {
			return m.value, true
		}
	}
	return span{}, false
}

// member returns a member of the object at i, which is known to be JSON.
func (d *Document) member(i int, key string) (found span, ok bool) {
	b := d.raw
	for i = space(b, i+1); b[i] != '}'; i = space(b, i+1) {
		end, _ := text(b, i)
		v, _ := d.scan.value(b, space(b, end)+1)
		if d.is(i+1, end-1, key) {
			v.from = space(b, v.from)
			found, ok = v, true
		}
		if i = space(b, v.to); b[i] == '}' {
			break
		}
	}
	return found, ok
}

// element returns an element of the array at i, which is known to be JSON.
func (d *Document) element(i, index int) (span, bool) {
	b := d.raw
	for i = space(b, i+1); index >= 0 && b[i] != ']'; i = space(b, i+1) {
		v, _ := d.scan.value(b, i)
		if index == 0 {
			return v, true
		}
		index--
		if i = space(b, v.to); b[i] == ']' {
			break
		}
	}
	return span{}, false
}

// is reports whether the key between two quotes is the given one.
func (d *Document) is(from, to int, key string) bool {
	b := d.raw[from:to]
	if len(b) < len(key) { // an escape is longer than what it stands for
		return false
	}
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b) == key
	}
	d.key = d.unquote(d.key[:0], d.raw[from-1:to+1])
	return string(d.key) == key
}

// unquote appends the text of a string.
func (d *Document) unquote(dst, quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return append(dst, quoted[1:len(quoted)-1]...)
	}
	d.spent += len(quoted)
	v, err := d.parser.ParseBytes(quoted)
	if err != nil {
		return append(dst, quoted[1:len(quoted)-1]...)
	}
	return append(dst, v.GetStringBytes()...)
}

// compact appends a value without the white space between its parts.
func compact(dst, b []byte) []byte {
	from := 0
	for i := 0; i < len(b); {
		switch c := b[i]; {
		case c == '"':
			i, _ = text(b, i)
		case c <= ' ':
			dst = append(dst, b[from:i]...)
			i = space(b, i)
			from = i
		default:
			i++
		}
	}
	return append(dst, b[from:]...)
}

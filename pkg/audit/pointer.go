package audit

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/valyala/fastjson"
)

// cutPointer takes the first token off a JSON pointer (RFC 6901), unescaped, and returns what is left and whether a
// further token follows.
func cutPointer(pointer string) (token, rest string, more bool) {
	pointer = strings.TrimPrefix(pointer, "/")
	if token, rest, more = strings.Cut(pointer, "/"); more {
		rest = "/" + rest
	}
	if strings.IndexByte(token, '~') >= 0 {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
	}
	return token, rest, more
}

// index reads an array index of a JSON pointer: decimal, no leading zero.
func index(token string) (int, bool) {
	if token == "" || len(token) > 9 || len(token) > 1 && token[0] == '0' {
		return 0, false
	}
	n := 0
	for _, c := range []byte(token) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// A Pointer is a JSON pointer (RFC 6901), taken apart. The token * stands for every element of a list and every member
// of an object, where a method says so.
type Pointer []string

// ParsePointer reads a JSON pointer. The leading slash may be left out; there must be at least one token.
func ParsePointer(s string) (Pointer, error) {
	var p Pointer
	for more := true; more; {
		var token string
		token, s, more = cutPointer(s)
		p = append(p, token)
	}
	if len(p) == 1 && p[0] == "" {
		return nil, errors.New("want a JSON pointer like /requestObject/spec/replicas")
	}
	return p, nil
}

// At returns the value p leads to from the event.
func (e *Event) At(p Pointer) Node {
	if len(p) == 0 {
		return Node{}
	}
	return e.top(p[0]).Follow(p[1:])
}

// All calls visit for every value p leads to from the event, * included.
func (e *Event) All(p Pointer, visit func(Node)) {
	if len(p) > 0 {
		e.top(p[0]).all(p[1:], visit)
	}
}

// Follow returns the value p leads to from n.
func (n Node) Follow(p Pointer) Node {
	for _, token := range p {
		n = n.step(token)
	}
	return n
}

func (n Node) step(token string) Node {
	if !n.IsArray() {
		return n.Get(token)
	}
	if i, ok := index(token); ok {
		return n.At(i)
	}
	return Node{}
}

func (n Node) all(p Pointer, visit func(Node)) {
	for i, token := range p {
		if token == "*" {
			for k := range n.Len() {
				n.At(k).all(p[i+1:], visit)
			}
			if n.IsObject() {
				n.v.GetObject().Visit(func(_ []byte, v *fastjson.Value) { Node{v}.all(p[i+1:], visit) })
			}
			return
		}
		n = n.step(token)
	}
	if n.Exists() {
		visit(n)
	}
}

// PatchPaths calls visit with the JSON pointer of everything the event's patch sets or removes. Lists that a patch
// replaces or merges are followed to their elements, by position. p is good only during the call.
func (e *Event) PatchPaths(visit func(p []byte)) {
	switch body := e.Get(RequestObject); e.PatchType() {
	case NoPatch:
	case JSONPatch:
		for i := range body.Len() {
			op := body.At(i)
			if op.Get("op").Is("test") {
				continue
			}
			visitPath(op.Get("path"), visit)
			if op.Get("op").Is("move") {
				visitPath(op.Get("from"), visit)
			}
		}
	default:
		e.key = leaves(body, e.key[:0], visit)
	}
}

func visitPath(n Node, visit func([]byte)) {
	b := n.Bytes()
	if i := bytes.IndexByte(b, '/'); i >= 0 {
		visit(b[i:]) // see patchPath
	} else if n.IsString() && len(b) == 0 {
		visit(b)
	}
}

// leaves calls visit for every value below n that is not an object or list, and for empty ones. at is the pointer to n
// and scratch; it is returned as it was.
func leaves(n Node, at []byte, visit func([]byte)) []byte {
	from, empty := len(at), true
	n.Each(func(key []byte, child Node) {
		empty = false
		at = append(at[:from], '/')
		for _, c := range key {
			switch c {
			case '~':
				at = append(at, "~0"...)
			case '/':
				at = append(at, "~1"...)
			default:
				at = append(at, c)
			}
		}
		at = leaves(child, at, visit)
	})
	for i := range n.Len() {
		empty = false
		at = strconv.AppendInt(append(at[:from], '/'), int64(i), 10)
		at = leaves(n.At(i), at, visit)
	}
	if empty && from > 0 {
		visit(at[:from])
	}
	return at[:from]
}

package extract

import (
	"bytes"

	"kaudit/pkg/audit"
)

// A query is the query of a request's URI, decoded as the API server decodes it (net/url, ParseQuery): pairs with a
// semicolon or a broken escape are left out, the others count.
type query struct {
	text  []byte // decoded keys and values, one after the other
	pairs []pair
}

type pair struct{ key, value []byte }

func (e *Event) uriQuery() *query {
	if !e.know(knowQuery) {
		e.query.parse(e.Get(audit.RequestURI).Bytes())
	}
	return &e.query
}

func (q *query) parse(uri []byte) {
	q.text, q.pairs = q.text[:0], q.pairs[:0]
	i := bytes.IndexByte(uri, '?')
	if i < 0 {
		return
	}
	rest := uri[i+1:]
	if cap(q.text) < len(rest) { // decoding never makes longer: the text does not move under the pairs
		q.text = make([]byte, 0, 2*len(rest))
	}
	for len(rest) > 0 {
		var part []byte
		part, rest, _ = bytes.Cut(rest, []byte{'&'})
		if len(part) == 0 || bytes.IndexByte(part, ';') >= 0 {
			continue
		}
		k, v, _ := bytes.Cut(part, []byte{'='})
		key, ok := q.decode(k)
		value, ok2 := q.decode(v)
		if ok && ok2 {
			q.pairs = append(q.pairs, pair{key, value})
		}
	}
}

func (q *query) decode(s []byte) ([]byte, bool) {
	from := len(q.text)
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '+':
			q.text = append(q.text, ' ')
		case '%':
			if i+2 >= len(s) {
				return nil, false
			}
			high, ok := unhex(s[i+1])
			low, ok2 := unhex(s[i+2])
			if !ok || !ok2 {
				return nil, false
			}
			q.text = append(q.text, high<<4|low)
			i += 2
		default:
			q.text = append(q.text, s[i])
		}
	}
	return q.text[from:len(q.text):len(q.text)], true
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// first returns the first value of a parameter.
func (q *query) first(key string) ([]byte, bool) {
	for _, p := range q.pairs {
		if string(p.key) == key {
			return p.value, true
		}
	}
	return nil, false
}

// all adds every value of a parameter.
func (q *query) all(key string, out *Value) {
	for _, p := range q.pairs {
		if string(p.key) == key {
			out.AddText(p.value)
		}
	}
}

// path returns the URI without its query.
func path(uri []byte) []byte {
	p, _, _ := bytes.Cut(uri, []byte{'?'})
	return p
}

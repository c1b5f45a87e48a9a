package rules

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// A scalar is a text in a rule file.
type scalar struct {
	file *file
	node *yaml.Node
	// found has where each byte of the text stands in the file; it is worked out when first asked for.
	found []Position
}

func (s *scalar) source(item string) *source {
	text := s.node.Value
	out := &source{text: text, origin: make([]origin, len(text)), item: item}
	for i := range out.origin {
		out.origin[i] = origin{s, i}
	}
	return out
}

// position returns where byte i of the text stands in the file.
func (s *scalar) position(i int) Position {
	if s == nil {
		return Position{}
	}
	if s.found == nil {
		s.locate()
	}
	if i >= 0 && i < len(s.found) {
		return s.found[i]
	}
	return s.start()
}

func (s *scalar) start() Position {
	return Position{s.file.name, s.node.Line, s.node.Column}
}

// locate finds each byte of the text in the lines of the file. YAML changes white space and escapes; what is left
// stands in both in the same order.
func (s *scalar) locate() {
	text := s.node.Value
	s.found = make([]Position, len(text))
	line, column := s.node.Line, s.node.Column // of the byte in the file to look at
	switch s.node.Style &^ yaml.TaggedStyle {
	case yaml.LiteralStyle, yaml.FoldedStyle:
		line, column = line+1, 1
	case yaml.DoubleQuotedStyle, yaml.SingleQuotedStyle:
		column++
	}
	last := s.start()
	for i := range len(text) {
		if isSpace(text[i]) {
			s.found[i] = last
			last.Column++
			continue
		}
		at, ok := s.file.find(text[i], line, column)
		if !ok { // an escape this does not know
			s.found[i] = last
			continue
		}
		s.found[i] = at
		line, column = at.Line, at.Column+1
		last = at
		last.Column++
	}
	// White space stands before what follows it.
	for i := len(text) - 2; i >= 0; i-- {
		if isSpace(text[i]) && !isSpace(text[i+1]) && s.found[i].Line < s.found[i+1].Line {
			s.found[i] = s.found[i+1]
		}
	}
}

// find returns the next position of a byte, behind white space and backslashes.
func (f *file) find(c byte, line, column int) (Position, bool) {
	for ; line >= 1 && line <= len(f.lines); line, column = line+1, 1 {
		text := f.lines[line-1]
		for ; column <= len(text); column++ {
			switch b := text[column-1]; {
			case b == c:
				return Position{f.name, line, column}, true
			case !isSpace(b) && b != '\\' && strings.IndexByte(`'"`, b) < 0:
				return Position{}, false
			}
		}
	}
	return Position{}, false
}

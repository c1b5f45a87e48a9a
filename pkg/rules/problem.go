package rules

import (
	"fmt"
	"slices"
	"strings"

	"kaudit/internal/nearest"
)

// A Position is a place in a rule file. Lines and columns count from 1; columns count bytes.
type Position struct {
	File   string
	Line   int
	Column int
}

func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.File == "":
		return fmt.Sprintf("%d:%d", p.Line, p.Column)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// A Code is what sort of problem it is. Those that Falco has too have its names, so they can be looked up and ignored
// as Falco's are.
type Code string

// The codes of errors.
const (
	ErrFile      Code = "LOAD_ERR_FILE_READ"
	ErrYAML      Code = "LOAD_ERR_YAML_PARSE"
	ErrStructure Code = "LOAD_ERR_YAML_VALIDATE"
	ErrCondition Code = "LOAD_ERR_COMPILE_CONDITION"
	ErrOutput    Code = "LOAD_ERR_COMPILE_OUTPUT"
	ErrValidate  Code = "LOAD_ERR_VALIDATE"
)

// The codes of warnings.
const (
	WarnUnknownSource  Code = "LOAD_UNKNOWN_SOURCE"
	WarnUnsafeNA       Code = "LOAD_UNSAFE_NA_CHECK"
	WarnUnknownFilter  Code = "LOAD_UNKNOWN_FILTER"
	WarnUnusedMacro    Code = "LOAD_UNUSED_MACRO"
	WarnUnusedList     Code = "LOAD_UNUSED_LIST"
	WarnUnknownItem    Code = "LOAD_UNKNOWN_ITEM"
	WarnDeprecated     Code = "LOAD_DEPRECATED_ITEM"
	WarnNoValues       Code = "LOAD_APPEND_NO_VALUES"
	WarnExceptionTwice Code = "LOAD_EXCEPTION_NAME_NOT_UNIQUE"
	WarnMacroName      Code = "LOAD_INVALID_MACRO_NAME"
	WarnListName       Code = "LOAD_INVALID_LIST_NAME"
	WarnCondition      Code = "LOAD_COMPILE_CONDITION"
	WarnUnknownKey     Code = "LOAD_UNKNOWN_KEY"
)

// A Problem is something wrong in a rule file: an error, which Falco has too, or a warning.
type Problem struct {
	Pos     Position
	Code    Code
	Item    string // the rule, macro or list it is in, as "rule Exec Into Pod"; may be empty
	Text    string // lower case, no full stop
	Hint    string // what to write instead; may be empty
	Excerpt string // the line of the file, and below it a caret; empty if there is no such line
}

// Error renders the problem on one line, without the excerpt.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Pos.String())
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if p.Item != "" {
		b.WriteString(p.Item + ": ")
	}
	b.WriteString(p.Text)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return Printable(b.String()) // names and constants may have line ends in them
}

// Render renders the problem for people, with the excerpt.
func (p *Problem) Render() string {
	if p.Excerpt == "" {
		return p.Error() + "\n"
	}
	return p.Error() + "\n" + p.Excerpt
}

// A LoadError says why rules cannot be loaded. It has at least one problem.
type LoadError struct {
	Problems []*Problem
}

func (e *LoadError) Error() string {
	texts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		texts[i] = p.Error()
	}
	return strings.Join(texts, "\n")
}

// meant makes a hint of the word most like the one that was written.
func meant(written string, words []string) string {
	if w := nearest.Word(written, words); w != "" && w != written {
		return "did you mean " + w + "?"
	}
	return ""
}

// A file is a rule file with its text, for excerpts.
type file struct {
	name  string
	lines []string
}

func newFile(name, content string) *file {
	return &file{name, strings.Split(content, "\n")}
}

// excerpt is [Excerpt] of a line of the file, or nothing if there is no such line.
func (f *file) excerpt(line, column int) string {
	if f == nil || line < 1 || line > len(f.lines) {
		return ""
	}
	return Excerpt(f.lines[line-1], line, column)
}

// A source is a text that was written in a rule file, or put together from several pieces of rule files: a condition
// with its lists expanded and its exceptions added. It knows where each byte came from.
type source struct {
	text   string
	origin []origin // of each byte; nil if the text is not from a file
	item   string   // see Problem.Item
}

// origin is a byte of a scalar in a file.
type origin struct {
	scalar *scalar
	offset int
}

// plain makes a source of a text from nowhere.
func plain(text string) *source { return &source{text: text} }

// position returns where a byte of the text stands. Behind the end it is that of the last byte.
func (s *source) position(offset int) Position {
	if s == nil {
		return Position{}
	}
	if s.origin == nil {
		before := s.text[:min(offset, len(s.text))]
		return Position{Line: strings.Count(before, "\n") + 1, Column: len(before) - strings.LastIndexByte(before, '\n')}
	}
	if len(s.origin) == 0 {
		return Position{}
	}
	after := 0
	if offset >= len(s.origin) {
		after = 1
		offset = len(s.origin) - 1
		for offset > 0 && isSpace(s.text[offset]) {
			offset--
		}
	}
	o := s.origin[offset]
	p := o.scalar.position(o.offset)
	p.Column += after
	return p
}

// problem makes a problem of a condition.
func (s *source) problem(offset int, text, hint string) *Problem {
	p := &Problem{Code: ErrCondition, Pos: s.position(offset), Item: s.item, Text: text, Hint: hint}
	if len(s.origin) > 0 {
		p.Excerpt = s.origin[0].scalar.file.excerpt(p.Pos.Line, p.Pos.Column)
		if o := s.origin[min(offset, len(s.origin)-1)]; o.scalar != nil {
			p.Excerpt = o.scalar.file.excerpt(p.Pos.Line, p.Pos.Column)
		}
		return p
	}
	p.Excerpt = newFile("", s.text).excerpt(p.Pos.Line, p.Pos.Column)
	return p
}

// with returns the source of another text put together from parts of s and from texts that stand for them.
func (s *source) with(pieces ...piece) *source {
	out := &source{item: s.item}
	var text strings.Builder
	out.origin = []origin{}
	for _, p := range pieces {
		text.WriteString(p.text)
		out.origin = append(out.origin, p.origin...)
	}
	out.text = text.String()
	return out
}

// A piece is part of a text with the origin of its bytes.
type piece struct {
	text   string
	origin []origin
}

func (s *source) piece(from, to int) piece {
	if s.origin == nil {
		return piece{s.text[from:to], make([]origin, to-from)}
	}
	return piece{s.text[from:to], s.origin[from:to]}
}

// from makes a piece of a text all of which stands at one place.
func from(text string, at origin) piece {
	return piece{text, slices.Repeat([]origin{at}, len(text))}
}

// originAt returns the origin of a byte, or of the last one.
func (s *source) originAt(offset int) origin {
	if len(s.origin) == 0 {
		return origin{}
	}
	return s.origin[min(offset, len(s.origin)-1)]
}

package ruletest

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"unicode/utf8"

	"kaudit/internal/nearest"
	"kaudit/pkg/rules"
)

// A text is a file that people write, in lines, for excerpts.
type text struct {
	name  string
	lines []string
}

func newText(name string, content []byte) *text {
	return &text{name, strings.Split(string(content), "\n")}
}

// lineBreak is what ends a line in YAML 1.1, where more does so than elsewhere.
var lineBreak = regexp.MustCompile("\r\n|[\r\n\u0085\u2028\u2029]")

// newYAML is newText for YAML, whose reader counts lines its own way.
func newYAML(name string, content []byte) *text {
	return &text{name, lineBreak.Split(string(content), -1)}
}

// problem makes a problem of a place in the file. Columns count bytes, from 1.
func (t *text) problem(line, column int, code rules.Code, hint, format string, args ...any) *rules.Problem {
	return &rules.Problem{
		Pos: rules.Position{File: t.name, Line: line, Column: column}, Code: code,
		Text: fmt.Sprintf(format, args...), Hint: hint, Excerpt: t.excerpt(line, column),
	}
}

// bytesBefore turns a column that counts characters, as the YAML reader's do, into one that counts bytes.
func (t *text) bytesBefore(line, column int) int {
	if line < 1 || line > len(t.lines) {
		return column
	}
	n, s := 0, t.lines[line-1]
	for i := 1; i < column && n < len(s); i++ {
		_, size := utf8.DecodeRuneInString(s[n:])
		n += size
	}
	return n + 1
}

// excerpt is [rules.Excerpt] of a line, or nothing if there is no such line.
func (t *text) excerpt(line, column int) string {
	if line < 1 || line > len(t.lines) {
		return ""
	}
	return rules.Excerpt(t.lines[line-1], line, column)
}

// unreadable is the problem of a file or folder that cannot be read.
func unreadable(name string, err error) *rules.Problem {
	return &rules.Problem{Pos: rules.Position{File: name}, Code: rules.ErrFile, Text: "read it: " + cause(err)}
}

// cause renders an error without the path, which is said before it.
func cause(err error) string {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return err.Error()
}

// meant makes a hint of the word most like the one that was written, and else of those there are.
func meant(written string, words []string) string {
	if w := nearest.Word(written, words); w != "" {
		return "did you mean " + w + "?"
	}
	if len(words) > 0 && len(words) <= 12 {
		return "there is: " + strings.Join(words, ", ")
	}
	return ""
}

// printable is [rules.Printable], but line ends and tabs stay.
func printable(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexAny(s, "\n\t")
		if i < 0 {
			b.WriteString(rules.Printable(s))
			return b.String()
		}
		b.WriteString(rules.Printable(s[:i]) + s[i:i+1])
		s = s[i+1:]
	}
}

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

// around is how much of a long line is shown on either side of the column.
const around = 60

// excerpt renders a line with a caret below the column. An event is a line of many thousand bytes: what is far from the
// column is left out.
func (t *text) excerpt(line, column int) string {
	if line < 1 || line > len(t.lines) {
		return ""
	}
	s := strings.TrimSuffix(t.lines[line-1], "\r")
	at := min(max(column-1, 0), len(s))
	before, after := "", ""
	from, to := max(at-around, 0), min(at+around, len(s))
	if len(s) <= 2*around {
		from, to = 0, len(s)
	}
	for from > 0 && from < at && !utf8.RuneStart(s[from]) {
		from++
	}
	for to > at && to < len(s) && !utf8.RuneStart(s[to]) {
		to--
	}
	if from > 0 {
		before = "..."
	}
	if to < len(s) {
		after = "..."
	}
	pad := strings.Repeat(" ", len(before)) + strings.Map(func(c rune) rune {
		if c == '\t' {
			return c
		}
		return ' '
	}, s[from:at])
	number := fmt.Sprintf("%5d | ", line)
	return number + before + printable(s[from:to]) + after + "\n" + strings.Repeat(" ", len(number)-2) + "| " + pad + "^\n"
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

// oneLine is printable, with line ends and tabs replaced, too.
func oneLine(s string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(printable(s))
}

// printable replaces what would do something to a terminal. Line ends and tabs stay.
func printable(s string) string {
	bad := func(c rune) bool {
		return c < ' ' && c != '\n' && c != '\t' || c >= 0x7f && c < 0xa0 || c == utf8.RuneError ||
			c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 // these turn the direction of text around
	}
	if strings.IndexFunc(s, bad) < 0 {
		return s
	}
	var b strings.Builder
	for _, c := range s {
		switch {
		case !bad(c):
			b.WriteRune(c)
		case c < 0x100:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}

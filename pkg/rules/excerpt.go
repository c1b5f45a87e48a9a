package rules

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// around is how much of a long line an excerpt shows on either side of the column, in bytes.
const around = 60

// Excerpt renders a line of a file with its number, and a caret below a column, which counts bytes from 1. What is far
// from the column is left out: an event is a line of many thousand bytes.
func Excerpt(line string, number, column int) string {
	line = strings.TrimSuffix(line, "\r")
	at := min(max(column-1, 0), len(line))
	from, to := 0, len(line)
	if len(line) > 2*around {
		to = min(max(at, around)+around, len(line))
		from = to - 2*around
	}
	for n := 0; n < utf8.UTFMax-1 && from > 0 && !utf8.RuneStart(line[from]); n++ {
		from--
	}
	for n := 0; n < utf8.UTFMax-1 && to < len(line) && to > at && !utf8.RuneStart(line[to]); n++ {
		to--
	}
	before, after := "", ""
	if from > 0 {
		before = "..."
	}
	if to < len(line) {
		after = "..."
	}
	before += printableBut(line[from:at], '\t')
	pad := strings.Map(func(c rune) rune {
		if c == '\t' {
			return c
		}
		return ' '
	}, before)
	lead := fmt.Sprintf("%5d | ", number)
	return lead + before + printableBut(line[at:to], '\t') + after + "\n" + strings.Repeat(" ", len(lead)-2) + "| " + pad + "^\n"
}

// Printable escapes what a terminal would not print, but obey, and what begins a new line: names and values come from
// whoever made a request, or wrote a file.
func Printable(s string) string { return printableBut(s, utf8.RuneError) }

// printableBut is Printable but for one character, which stays.
func printableBut(s string, but rune) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) && r != but }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case strconv.IsPrint(r) || r == but:
			b.WriteString(s[:n])
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[n:]
	}
	return b.String()
}

package ruletest

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"kaudit/pkg/rules"
)

// Look says how a report looks as text.
type Look struct {
	Verbose  bool // each test, and each failure of it
	Coverage bool // the rules that fire in no test
	Colour   bool
}

// shownFailures is how many failures of a test are shown: those of a folder of fixtures are often all alike.
const shownFailures = 3

// The colours.
const (
	red   = "\x1b[31m"
	green = "\x1b[32m"
	dim   = "\x1b[2m"
	plain = "\x1b[0m"
)

// A painter writes lines, in colour if wanted.
type painter struct {
	b      strings.Builder
	colour bool
}

func (p *painter) in(colour, s string) string {
	if !p.colour {
		return s
	}
	return colour + s + plain
}

func (p *painter) line(format string, args ...any) { fmt.Fprintf(&p.b, format+"\n", args...) }

// WriteText writes the report for people: failures first, then a line for each file, then the sum.
func (r *Report) WriteText(w io.Writer, look Look) error {
	p := &painter{colour: look.Colour}
	for _, f := range r.Files {
		if look.Verbose && len(r.Files) > 1 && len(f.Tests) > 0 {
			p.line("%s", rules.Printable(f.Name))
		}
		for _, t := range f.Tests {
			p.test(t, look)
		}
	}
	if p.b.Len() > 0 {
		p.line("")
	}
	p.files(r.Files)
	p.sum(r, look)
	_, err := io.WriteString(w, p.b.String())
	return err
}

func (p *painter) test(t TestResult, look Look) {
	if len(t.Failures) == 0 {
		if look.Verbose {
			p.line("%s  %s  %s", p.in(green, "ok  "), rules.Printable(t.Name), p.in(dim, fmt.Sprintf("%s, %s", count(t.Events, "event"), short(t.Took))))
		}
		return
	}
	p.line("%s  %s  %s", p.in(red, "FAIL"), rules.Printable(t.Name), p.in(dim, fmt.Sprintf("%s:%d", t.Pos.File, t.Pos.Line)))
	for i, failure := range t.Failures {
		if i == shownFailures && !look.Verbose {
			p.line("      and %s; -v shows them all", count(len(t.Failures)-i, "failure"))
			break
		}
		if i == 0 || t.Failures[i-1].Event != failure.Event || t.Failures[i-1].AuditID != failure.AuditID {
			if failure.Event != fmt.Sprintf("%s:%d", t.Pos.File, t.Pos.Line) || t.Events > 1 {
				p.line("      on %s", rules.Printable(failure.event()))
			}
		}
		p.line("      %s", rules.Printable(failure.message()))
		if failure.Trace != nil {
			for _, l := range strings.Split(strings.TrimRight(string(failure.Trace.AppendText(nil)), "\n"), "\n") {
				p.line("        %s", rules.Printable(l))
			}
			if failure.Kind == Missing && failure.Trace.Holds {
				p.line("        %s", rules.Printable(failure.Why))
			}
		} else if failure.Why != "" {
			p.line("        %s", rules.Printable(failure.Why))
		}
	}
}

// files writes the table of test files.
func (p *painter) files(files []FileResult) {
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, f := range files {
		n := f.Tally()
		switch {
		case n.Broken > 0:
			fmt.Fprintf(t, "ERROR\t%s\t%s\n", rules.Printable(f.Name), count(len(f.Problems), "error"))
		case n.Failed > 0:
			fmt.Fprintf(t, "FAIL\t%s\t%d of %s failed\t%s\t%s\n", rules.Printable(f.Name), n.Failed, count(n.Tests, "test"), count(n.Events, "event"), short(f.Took))
		case n.Tests == 0:
			fmt.Fprintf(t, "-\t%s\tno tests run\n", rules.Printable(f.Name))
		default:
			fmt.Fprintf(t, "ok\t%s\t%s\t%s\t%s\n", rules.Printable(f.Name), count(n.Tests, "test"), count(n.Events, "event"), short(f.Took))
		}
	}
	_ = t.Flush() // a strings.Builder takes everything
	for _, l := range strings.SplitAfter(table.String(), "\n") {
		word, rest, _ := strings.Cut(l, " ")
		switch word {
		case "ok":
			word = p.in(green, word)
		case "FAIL", "ERROR":
			word = p.in(red, word)
		}
		p.b.WriteString(word)
		if rest != "" {
			p.b.WriteString(" " + rest)
		}
	}
}

func (p *painter) sum(r *Report, look Look) {
	n := r.Tally()
	p.line("")
	if n.Broken > 0 {
		p.line("%s", p.in(red, count(n.Broken, "file")+" could not be run"))
	}
	if n.Tests == 0 {
		return
	}
	what := "all pass"
	if n.Failed > 0 {
		what = p.in(red, fmt.Sprintf("%d failed", n.Failed))
	}
	all, uncovered := r.Coverage()
	p.line("%s, %s: %s, in %s; %d of %s fire in a test", count(n.Tests, "test"), count(n.Events, "event"), what, short(r.Took), all-len(uncovered), count(all, "rule"))
	if look.Coverage && len(uncovered) > 0 {
		p.line("\nNo test makes these rules fire:")
		for _, rule := range uncovered {
			p.line("  %s  %s", rule.Name, p.in(dim, rule.Pos.String()))
		}
	}
}

// count renders a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// short renders a duration with two or three digits.
func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

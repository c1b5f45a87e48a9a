package rulecheck

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"kaudit/pkg/rules"
)

// A Severity is how bad a finding is.
type Severity uint8

// The severities, from the least.
const (
	Info    Severity = iota // the rules do what they say, and something would be better
	Warning                 // the rules hardly do what was meant
	Error                   // they do not
)

var severities = [...]string{"info", "warning", "error"}

func (s Severity) String() string { return severities[min(int(s), len(severities)-1)] }

// MarshalText renders a severity by its name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Severities returns the names of severities, from the least.
func Severities() []string { return severities[:] }

// ParseSeverity reads the name of a severity.
func ParseSeverity(s string) (Severity, error) {
	if i := slices.Index(severities[:], s); i >= 0 {
		return Severity(i), nil
	}
	return 0, fmt.Errorf("severity %q: want %s", s, strings.Join(severities[:], ", "))
}

// A Check is one thing that may be wrong with rules.
type Check struct {
	ID       string
	Severity Severity
	About    string // what it finds, one sentence
	Reason   string // why that is wrong
	Remedy   string // what to do
	// Bad is an example on which the check reports something, Good one on which none does. An example that does not begin
	// with a dash is the condition of a rule that is otherwise right.
	Bad, Good string

	find func(*pass, report)
}

// A Finding is what a check has found.
type Finding struct {
	Check    string         `json:"check"`
	Severity Severity       `json:"severity"`
	Pos      rules.Position `json:"-"`
	Item     string         `json:"item,omitempty"` // the rule, macro or list
	Text     string         `json:"text"`
	Hint     string         `json:"hint,omitempty"` // what to do
	Excerpt  string         `json:"-"`
}

// Render renders a finding for people.
func (f *Finding) Render() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: ", f.Pos, f.Severity)
	if f.Item != "" {
		b.WriteString(f.Item + ": ")
	}
	b.WriteString(f.Text)
	if f.Hint != "" {
		b.WriteString("; " + f.Hint)
	}
	return b.String() + " [" + f.Check + "]\n" + f.Excerpt
}

// Checks returns the table of checks, in the order in which the docs have them.
func Checks() []Check {
	return slices.Concat(loading, comparing, firing, structure, describing, ways)
}

// report takes a finding of the check in work. Without an item it is that of the position.
type report func(at rules.Position, item, text, hint string)

// Options say what is checked.
type Options struct {
	rules.Options
	Ignore []string // checks that are left out
}

// A Report is what all checks have found.
type Report struct {
	Findings []Finding // in their order in the files
	Ignored  int       // how many findings comments in the files have taken out
	// Falco is the oldest version that takes the rules, and Because what the one before refuses, if there is one.
	Falco   rules.Falco
	Because string
	Rules   int
}

// Refused reports whether Falco would not load the rules.
func (r *Report) Refused() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Check == refused })
}

// Run checks rule files that Falco loads together, in their order.
func Run(o Options, files ...rules.File) *Report {
	p := newPass(o.Options, files)
	out := &Report{}
	out.Falco, out.Because = p.needs, p.because
	if p.set != nil {
		out.Rules = len(p.set.Rules)
	}
	seen := map[string]bool{}
	for _, c := range Checks() {
		if slices.Contains(o.Ignore, c.ID) {
			continue
		}
		c.find(p, func(at rules.Position, item, text, hint string) {
			if item == "" {
				item = p.itemAt(at)
			}
			key := fmt.Sprint(c.ID, at.File, item, text)
			if seen[key] {
				return // once for each item, in how many rules a macro ever is
			}
			seen[key] = true
			if c.ID != refused && p.ignored(c.ID, at) {
				out.Ignored++
				return
			}
			f := Finding{Check: c.ID, Severity: c.Severity, Pos: at, Item: item, Text: text, Hint: hint}
			f.Excerpt = p.excerpt(at)
			out.Findings = append(out.Findings, f)
		})
	}
	if !slices.Contains(o.Ignore, uselessIgnore) {
		out.Findings = append(out.Findings, p.uselessIgnores()...)
	}
	order := map[string]int{}
	for i, f := range files {
		order[f.Name] = i
	}
	slices.SortStableFunc(out.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(order[a.Pos.File], order[b.Pos.File]), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
	return out
}

// Find returns the check of an id.
func Find(id string) (Check, bool) {
	all := Checks()
	i := slices.IndexFunc(all, func(c Check) bool { return c.ID == id })
	if i < 0 {
		return Check{}, false
	}
	return all[i], true
}

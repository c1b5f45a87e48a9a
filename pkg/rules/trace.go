package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"unicode/utf8"

	"kaudit/pkg/extract"
)

// A Trace is why a condition holds for an event or does not: one node for each part of it.
type Trace struct {
	// Expr is the part: an [*And], [*Or], [*Not] or [*Check].
	Expr Expr
	// Holds says whether the part holds. It is false if the part was not evaluated.
	Holds bool
	// Evaluated is false if an earlier part had decided, so that this one was not looked at.
	Evaluated bool
	// Left is the left side of a check, as a rule writes it: a field with its argument, in its transformers.
	Left string
	// Values are what the left side of a check had, each as Falco prints it; but an address is printed, where Falco prints
	// <IPNET>. It is nil if the event does not have the field: Falco prints <NA> then.
	Values []string
	// Right is the right side of a check as Falco reads it, with lists expanded. If that is a field, it is what the field
	// had, nil if the event does not have it. It is nil for the operator exists.
	Right []string
	// Macro is the name of the macro whose condition the part is, if it is one's. Of macros that are nothing but another
	// macro the outermost counts.
	Macro string
	// Parts are those of an [*And], [*Or] or [*Not].
	Parts []*Trace

	list   bool   // the left side is one
	except string // the name of the exception the part is, if it is one
}

// Explain evaluates the condition of one rule on an event, part by part, whether the rule is enabled or not. What
// evt.reltime is relative to is this event; an [Explainer] remembers the first one.
func (r *Ruleset) Explain(rule string, event Event) (*Trace, error) {
	e, err := r.Explainer(rule)
	if err != nil {
		return nil, err
	}
	return e.Explain(event), nil
}

// An Explainer evaluates the condition of one rule on events, part by part. Given all events of a stream, it comes to
// the verdicts of an [Engine]. It is used by one goroutine at a time.
type Explainer struct {
	rule   *Rule
	engine Engine
	root   *part
	output *format
}

// Explainer makes an explainer for a rule, which may be disabled.
func (r *Ruleset) Explainer(rule string) (*Explainer, error) {
	found, ok := r.Rule(rule)
	if !ok {
		return nil, r.NoRule(rule)
	}
	if found.Source != Source || found.Condition == nil {
		return nil, fmt.Errorf("the rule %s cannot be evaluated: %s", rule, found.Skipped)
	}
	c := newCompiler(r.fields, r.options.Falco)
	root, err := c.part(found.Condition)
	if err != nil {
		return nil, fmt.Errorf("the rule %s cannot be evaluated: %w", rule, err)
	}
	output, err := c.output(found, r.options.Additions)
	if err != nil {
		return nil, fmt.Errorf("the rule %s cannot be evaluated: %w", rule, err)
	}
	return &Explainer{rule: found, engine: Engine{state: c.newState()}, root: root, output: output}, nil
}

// Rule returns the rule.
func (e *Explainer) Rule() *Rule { return e.rule }

// SetHostname sets what evt.hostname is: else it is that of the machine.
func (e *Explainer) SetHostname(name string) { e.engine.SetHostname(name) }

// Explain evaluates the condition on an event. The trace stays good.
func (e *Explainer) Explain(event Event) *Trace {
	e.engine.load(event)
	return e.root.trace(e.engine.state, true)
}

// Match returns the alert for the event that was explained last, whether the rule holds for it or not. It is good until
// the next one is explained.
func (e *Explainer) Match() Match { return Match{e.rule, &e.engine, e.output} }

// A part is a part of a condition, compiled on its own.
type part struct {
	expr  Expr
	parts []*part

	// Those of a check.
	holds       func(*state) bool
	left, right *operand // right is nil if it is constant
	tmp         int
}

// part compiles each part of a condition. What decides a check is what decides it in an engine.
func (c *compiler) part(x Expr) (*part, error) {
	p := &part{expr: x}
	var inner []Expr
	switch x := x.(type) {
	case *And:
		inner = x.Parts
	case *Or:
		inner = x.Parts
	case *Not:
		inner = []Expr{x.Part}
	case *Check:
		return p, c.partOfCheck(p, x)
	default:
		return nil, bad(x, "%s is not a condition", x)
	}
	for _, x := range inner {
		below, err := c.part(x)
		if err != nil {
			return nil, err
		}
		p.parts = append(p.parts, below)
	}
	return p, nil
}

func (c *compiler) partOfCheck(p *part, x *Check) (err error) {
	if p.holds, err = c.check(x); err != nil {
		return err
	}
	if p.left, err = c.operand(x.Left); err != nil {
		return err
	}
	if t, ok := x.Right.(*Transform); ok {
		p.right, err = c.operand(t)
	}
	p.tmp = c.scratch()
	return err
}

// trace evaluates a part, or only says that it is not.
func (p *part) trace(s *state, evaluate bool) *Trace {
	t := &Trace{Expr: p.expr, Evaluated: evaluate, Macro: p.expr.at().macro, except: p.expr.at().except}
	switch x := p.expr.(type) {
	case *And:
		for _, part := range p.parts {
			below := part.trace(s, evaluate)
			t.Parts = append(t.Parts, below)
			evaluate = evaluate && below.Holds
		}
		t.Holds = evaluate
	case *Or:
		for _, part := range p.parts {
			below := part.trace(s, evaluate)
			t.Parts = append(t.Parts, below)
			t.Holds = t.Holds || below.Holds
			evaluate = evaluate && !below.Holds
		}
	case *Not:
		below := p.parts[0].trace(s, evaluate)
		t.Parts = []*Trace{below}
		t.Holds = evaluate && !below.Holds
	case *Check:
		p.check(s, t, x)
	}
	return t
}

func (p *part) check(s *state, t *Trace, x *Check) {
	t.Left, t.list = x.Left.String(), p.left.list
	switch right := x.Right.(type) {
	case *Value:
		t.Right = []string{right.Text}
	case *List:
		t.Right = append([]string{}, right.Items...)
	}
	if !t.Evaluated {
		return
	}
	t.Holds = p.holds(s)
	t.Values = p.left.texts(s, p.tmp)
	if p.right != nil {
		t.Right = p.right.texts(s, p.tmp)
	}
}

// texts returns the values of an operand as the engine prints them, or nil if there are none.
func (o *operand) texts(s *state, tmp int) []string {
	vs, ok := o.eval(s, s.scratch[tmp][:0])
	s.scratch[tmp] = vs
	if !ok {
		return nil
	}
	texts := make([]string, len(vs))
	for i, v := range vs {
		if ip, ok := netip.AddrFromSlice(v.b); ok && o.typ == extract.Network {
			texts[i] = ip.String()
			continue
		}
		texts[i] = string(o.appendText(nil, v))
	}
	return texts
}

// How much of something a line of a trace shows, in bytes or so.
const (
	shownList      = 60
	shownValue     = 80
	shownCondition = 100
)

// AppendText appends the trace as an indented tree, a line for each part:
//
//	✗ all of
//	  ✓ macro done: ka.done = true  ← true
//	  ✗ ka.target.subresource in (attach, exec)  ← log
//	  · ka.target.namespace = kube-system
//
// Marked with ✓ is what holds, with ✗ what does not, and with · what was not looked at, as others had decided before.
// What comes from a macro or an exception of the rule begins with its name.
// Behind the arrow stands what the event had, in quotes where a rule would need them; unprintable characters are
// escaped, since the text comes from whoever made the request. Those parts that decided are shown with all that is in
// them; others have one line. Long lists and texts are shortened.
func (t *Trace) AppendText(dst []byte) []byte { return t.appendTree(dst, "", true) }

// String is what [Trace.AppendText] appends.
func (t *Trace) String() string { return string(t.AppendText(nil)) }

func (t *Trace) appendTree(dst []byte, indent string, decided bool) []byte {
	dst = append(dst, indent...)
	dst = append(dst, t.mark()...)
	dst = append(dst, ' ')
	if !decided {
		return append(t.appendLine(dst), '\n')
	}
	if inner := t.negated(); inner != nil { // a check that is negated fits on the line
		dst = t.appendLead(dst)
		dst = append(dst, "not "...)
		return append(inner.appendLine(dst), '\n')
	}
	switch t.Expr.(type) {
	case *And:
		dst = append(t.appendLead(dst), "all of\n"...)
	case *Or:
		dst = append(t.appendLead(dst), "one of\n"...)
	case *Not:
		dst = append(t.appendLead(dst), "not\n"...)
	default:
		return append(t.appendLine(dst), '\n')
	}
	for _, part := range t.Parts {
		dst = part.appendTree(dst, indent+"  ", t.decidedBy(part))
	}
	return dst
}

func (t *Trace) mark() string {
	switch {
	case !t.Evaluated:
		return "·"
	case t.Holds:
		return "✓"
	}
	return "✗"
}

// decidedBy reports whether t is what it is because of a part of it.
func (t *Trace) decidedBy(part *Trace) bool {
	switch t.Expr.(type) {
	case *And:
		return part.Evaluated && part.Holds == t.Holds
	case *Or:
		return part.Evaluated && part.Holds == t.Holds
	}
	return t.Evaluated
}

// negated returns the check in a not that has nothing else in it, or nil.
func (t *Trace) negated() *Trace {
	if _, ok := t.Expr.(*Not); ok {
		if _, ok := t.Parts[0].Expr.(*Check); ok {
			return t.Parts[0]
		}
	}
	return nil
}

// named reports whether the part comes from a macro or an exception.
func (t *Trace) named() bool { return t.Macro != "" || t.except != "" }

// appendName appends the name of the macro or exception a part comes from.
func (t *Trace) appendName(dst []byte) []byte {
	if t.Macro != "" {
		return append(append(dst, "macro "...), t.Macro...)
	}
	return append(append(dst, "exception "...), Printable(t.except)...)
}

// appendLead appends that name for something to stand behind it, if there is one.
func (t *Trace) appendLead(dst []byte) []byte {
	if !t.named() {
		return dst
	}
	return append(t.appendName(dst), ": "...)
}

// appendLine appends a part on one line.
func (t *Trace) appendLine(dst []byte) []byte {
	check, ok := t.Expr.(*Check)
	_, not := t.Expr.(*Not)
	switch {
	case !ok && t.named():
		return t.appendName(dst)
	case not && (t.negated() != nil || t.Parts[0].named()):
		return t.Parts[0].appendLine(append(dst, "not "...))
	case !ok:
		return appendShort(dst, Printable(t.Expr.String()), shownCondition)
	}
	dst = t.appendLead(dst)
	dst = append(append(dst, Printable(t.Left)...), ' ')
	dst = append(dst, check.Op...)
	switch right := check.Right.(type) {
	case nil:
	case *List:
		dst = appendList(append(dst, ' '), right.Items)
	case *Value:
		dst = append(dst, ' ')
		if takesList(check.Op) { // the name of a list there is none of
			dst = appendShort(dst, Printable(right.Text), shownValue)
		} else {
			dst = appendValue(dst, right.Text)
		}
	default:
		dst = append(append(dst, ' '), Printable(right.String())...)
	}
	if !t.Evaluated {
		return dst
	}
	dst = appendValues(append(dst, "  ← "...), t.Values, t.list)
	if _, ok := check.Right.(*Transform); ok {
		dst = appendValues(append(dst, ", right side "...), t.Right, t.list)
	}
	return dst
}

func appendValues(dst []byte, values []string, list bool) []byte {
	switch {
	case values == nil:
		return append(dst, "<NA>"...)
	case !list && len(values) == 1:
		return appendValue(dst, values[0])
	}
	return appendList(dst, values)
}

// appendList appends as many items as there is room for, and how many are left out.
func appendList(dst []byte, items []string) []byte {
	from := len(dst)
	dst = append(dst, '(')
	for i, item := range items {
		if left := len(items) - i; left > 1 && len(dst)-from > shownList {
			return fmt.Appendf(dst, ", … %d more)", left)
		}
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendValue(dst, item)
	}
	return append(dst, ')')
}

// appendValue appends a text as a rule would write it.
func appendValue(dst []byte, s string) []byte {
	return appendShort(dst, Printable(word(s)), shownValue)
}

// appendShort appends a text, without its end if it is long.
func appendShort(dst []byte, s string, most int) []byte {
	if len(s) <= most {
		return append(dst, s...)
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return append(append(dst, s[:most]...), "…"...)
}

// MarshalJSON renders the trace for programs, with each part as a rule would write it.
func (t *Trace) MarshalJSON() ([]byte, error) {
	type node struct {
		Part      string   `json:"part"` // and, or, not, check
		Macro     string   `json:"macro,omitempty"`
		Exception string   `json:"exception,omitempty"`
		Holds     bool     `json:"holds"`
		Evaluated bool     `json:"evaluated"`
		Condition string   `json:"condition,omitempty"`
		Left      string   `json:"left,omitempty"`
		Operator  string   `json:"operator,omitempty"`
		Right     []string `json:"right,omitempty"`
		Values    any      `json:"values,omitempty"` // of a check that was evaluated: null if the field is absent
		At        string   `json:"at,omitempty"`
		Parts     []*Trace `json:"parts,omitempty"`
	}
	n := node{Macro: t.Macro, Exception: t.except, Holds: t.Holds, Evaluated: t.Evaluated, Left: t.Left, Right: t.Right, At: t.Expr.Pos().String(), Parts: t.Parts}
	switch x := t.Expr.(type) {
	case *And:
		n.Part = "and"
	case *Or:
		n.Part = "or"
	case *Not:
		n.Part = "not"
	case *Check:
		n.Part, n.Operator, n.Condition = "check", x.Op, x.String()
		if t.Evaluated {
			n.Values = t.Values
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // > is an operator
	err := enc.Encode(n)
	return b.Bytes(), err
}

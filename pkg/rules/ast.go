package rules

import (
	"slices"
	"strings"
)

// An Expr is a part of a condition, or of what is compared in one. The concrete types are [*And], [*Or], [*Not],
// [*Check] and [*Macro], which are true or false, and [*Field], [*Transform], [*Value], [*List] and [*Tuple], which have
// values.
type Expr interface {
	// Pos is where the expression begins in the rule files.
	Pos() Position
	// String renders the expression so that it can be parsed again.
	String() string

	at() place
}

// place is where in a condition's text an expression begins.
type place struct {
	in     *source
	offset int
	macro  string // whose condition the whole expression is, if it is one's; of nested ones the outermost
	except string // the exception of the rule that the whole expression is, if it is one
}

func (p place) Pos() Position { return p.in.position(p.offset) }
func (p place) at() place     { return p }

// as returns the expression as the condition of a macro. An expression may stand in many places, so it is a copy.
func as(x Expr, macro string) Expr {
	switch x := x.(type) {
	case *And:
		c := *x
		c.macro = macro
		return &c
	case *Or:
		c := *x
		c.macro = macro
		return &c
	case *Not:
		c := *x
		c.macro = macro
		return &c
	case *Check:
		c := *x
		c.macro = macro
		return &c
	}
	return x
}

// And holds if all of its parts hold. They are tried from left to right until one does not.
type And struct {
	place
	Parts []Expr
}

// Or holds if one of its parts holds. They are tried from left to right until one does.
type Or struct {
	place
	Parts []Expr
}

// Not holds if its part does not.
type Not struct {
	place
	Part Expr
}

// Macro is the name of a macro. After loading, [Rule.Condition] has none left.
type Macro struct {
	place
	Name string
}

// Check compares what an event has with something.
type Check struct {
	place
	Left Expr // a Field or a Transform
	// Op is the operator: one word, or two if the second is oneof, anyof or allof.
	Op string
	// Right is a Value, a List, a Field or a Transform, and nil with the operator exists.
	Right Expr
}

// Field is a field of an event.
type Field struct {
	place
	Name   string
	Arg    string
	HasArg bool
}

// Transform is a transformer with what it is applied to. The transformer val leaves a field as it is: it says that the
// right side of a check is a field.
type Transform struct {
	place
	Name   string
	Args   []Expr
	Arg    string // of getopt, in brackets
	HasArg bool
}

// Value is a constant.
type Value struct {
	place
	Text string
}

// List is a list of constants on the right of a check.
type List struct {
	place
	Items []string
}

// Tuple is a list inside of a transformer; its items may be fields, transformers and constants.
type Tuple struct {
	place
	Items []Expr
}

func (x *And) String() string { return joinParts(x.Parts, " and ", isOr) }
func (x *Or) String() string  { return joinParts(x.Parts, " or ", func(Expr) bool { return false }) }

func (x *Macro) String() string {
	if x.Name == "not" { // not followed by something would be read as the word
		return "(not)"
	}
	return x.Name
}

func (x *Not) String() string {
	switch p := x.Part.(type) {
	case *And, *Or, *Not:
		return "not (" + p.String() + ")"
	}
	return "not " + x.Part.String()
}

func isOr(x Expr) bool { _, or := x.(*Or); return or }

// joinParts renders the parts of an And or Or. A part of the same kind keeps its parentheses, so that the tree stays
// what it was.
func joinParts(parts []Expr, sep string, weaker func(Expr) bool) string {
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteString(sep)
		}
		_, and := p.(*And)
		_, or := p.(*Or)
		if weaker(p) || and && sep == " and " || or && sep == " or " {
			b.WriteString("(" + p.String() + ")")
			continue
		}
		b.WriteString(p.String())
	}
	return b.String()
}

func (x *Check) String() string {
	if x.Right == nil {
		return x.Left.String() + " " + x.Op
	}
	if v, ok := x.Right.(*Value); ok && takesList(x.Op) { // a name where a list is wanted has no quotes
		return x.Left.String() + " " + x.Op + " " + v.Text
	}
	return x.Left.String() + " " + x.Op + " " + x.Right.String()
}

func (x *Field) String() string { return x.Name + bracketed(x.Arg, x.HasArg) }

func (x *Transform) String() string {
	return x.Name + "(" + joinAll(x.Args) + ")" + bracketed(x.Arg, x.HasArg)
}

func (x *Tuple) String() string { return "(" + joinAll(x.Items) + ")" }

func joinAll(list []Expr) string {
	texts := make([]string, len(list))
	for i, x := range list {
		if v, ok := x.(*Value); ok { // a bare word is no constant there
			texts[i] = quote(v.Text)
			continue
		}
		texts[i] = x.String()
	}
	return strings.Join(texts, ",")
}

func (x *Value) String() string { return word(x.Text) }

func (x *List) String() string {
	texts := make([]string, len(x.Items))
	for i, v := range x.Items {
		texts[i] = word(v)
	}
	return "(" + strings.Join(texts, ", ") + ")"
}

// bracketed renders the argument of a field.
func bracketed(arg string, has bool) string {
	switch {
	case !has:
		return ""
	case arg == "" || bareLen(arg, argumentByte) != len(arg):
		return "[" + quote(arg) + "]"
	}
	return "[" + arg + "]"
}

// word renders a constant, in quotes if it needs them.
func word(s string) string {
	if s == "" || bareLen(s, bareByte) != len(s) || strings.IndexByte(s, '\b') >= 0 { // a backspace is a blank, too
		return quote(s)
	}
	for _, t := range transformers {
		if strings.HasPrefix(s, t+"(") {
			return quote(s)
		}
	}
	switch s { // these would be read as modifiers of an operator
	case "oneof", "anyof", "allof":
		return quote(s)
	}
	return s
}

// quote renders a constant in quotes. A backslash may not stand before the closing quote, whatever stands before it;
// there it is written with a blank, which stands for a backslash too.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, c := range []byte(s) {
		switch c {
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '"':
			b.WriteString(`\"`)
		case '\\':
			if i == len(s)-1 {
				b.WriteString(`\ `)
			} else {
				b.WriteString(`\\`)
			}
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// engineName renders a field as the engine does where it names the value: in the output_fields of an alert.
func (x *Field) engineName() string {
	switch {
	case !x.HasArg:
		return x.Name
	case x.Arg == "":
		return x.Name + `[""]`
	}
	var b strings.Builder
	quoted := false
	for _, c := range []byte(x.Arg) {
		switch c {
		case '\b', '\f', '\n', '\r', '\t', '\\', '"':
			quoted = true
			q := quote(string(c) + "x")
			b.WriteString(q[1 : len(q)-2])
		case ' ', '=', '\'':
			quoted = true
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	if quoted {
		return x.Name + `["` + b.String() + `"]`
	}
	return x.Name + "[" + b.String() + "]"
}

// Walk calls visit for an expression and, if visit returns true, for everything in it.
func Walk(x Expr, visit func(Expr) bool) {
	if x == nil || !visit(x) {
		return
	}
	each := func(list []Expr) {
		for _, part := range list {
			Walk(part, visit)
		}
	}
	switch x := x.(type) {
	case *And:
		each(x.Parts)
	case *Or:
		each(x.Parts)
	case *Not:
		Walk(x.Part, visit)
	case *Check:
		Walk(x.Left, visit)
		Walk(x.Right, visit)
	case *Transform:
		each(x.Args)
	case *Tuple:
		each(x.Items)
	}
}

// takesList reports whether the right side of an operator is a list.
func takesList(op string) bool { return slices.Contains(listOps, op) || strings.Contains(op, " ") }

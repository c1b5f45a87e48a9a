package rules

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deeply a condition may nest. The engine has no such limit that works; it runs out of its stack.
const maxDepth = 1000

var (
	unaryOps     = []string{"exists"}
	numberOps    = []string{"<=", "<", ">=", ">"}
	textOps      = []string{"==", "=", "!=", "glob", "iglob", "contains", "icontains", "bcontains", "startswith", "bstartswith", "endswith", "regex"}
	listOps      = []string{"intersects", "in", "pmatch"}
	modifiers    = []string{"oneof", "anyof", "allof"}
	transforms   = []string{"tolower", "toupper", "b64", "basename", "len", "join", "concat", "getopt"}
	transformers = append([]string{"val"}, transforms...)
)

// Operators returns the operators, in the order the engine tries them.
func Operators() []string { return slices.Concat(unaryOps, numberOps, textOps, listOps) }

// Transformers returns the names of the transformers.
func Transformers() []string { return slices.Clone(transformers) }

// Parse parses a condition as Falco's engine does, with macros in it left as they are.
func Parse(condition string) (Expr, error) {
	x, err := parse(plain(condition))
	if err != nil {
		return nil, err
	}
	return x, nil
}

// A parser reads a condition. It follows the engine's parser closely, down to where a failed attempt leaves its
// position, because what is accepted depends on that (falcosecurity/libs: userspace/libsinsp/filter/parser.cpp).
type parser struct {
	in    *source
	text  string
	pos   int
	token string // the last one read
	depth int
}

// syntaxError is thrown inside of a parser.
type syntaxError struct {
	pos  int
	text string
	hint string
}

func parse(in *source) (x Expr, problem *Problem) {
	p := parser{in: in, text: in.text}
	defer p.recovered(&problem)
	if p.text == "" {
		p.fail("the condition is empty")
	}
	if i := strings.IndexByte(p.text, 0); i >= 0 {
		p.pos = i
		p.fail("a condition may not have a zero byte in it")
	}
	x = p.or()
	if p.pos != len(p.text) {
		p.fail("unexpected text after '%s', want 'or' or 'and'", p.token)
	}
	return x, nil
}

// recovered turns a syntax error into a problem.
func (p *parser) recovered(problem **Problem) {
	switch e := recover().(type) {
	case nil:
	case syntaxError:
		*problem = p.in.problem(e.pos, e.text, e.hint)
	default:
		panic(e)
	}
}

func (p *parser) fail(format string, args ...any) {
	panic(syntaxError{pos: p.pos, text: fmt.Sprintf(format, args...)})
}

func (p *parser) here() place { return place{in: p.in, offset: p.pos} }

func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail("the condition nests more than %d levels deep", maxDepth)
	}
}

func (p *parser) or() Expr {
	p.enter()
	defer func() { p.depth-- }()
	at := p.here()
	p.blank()
	parts := []Expr{p.and()}
	p.blank()
	for p.lex("or") {
		switch {
		case p.blank():
			parts = append(parts, p.and())
		case p.lex("("):
			parts = append(parts, p.parenthesised())
		default:
			p.fail("want a blank or '(' after 'or'")
		}
		p.blank()
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return &Or{at, parts}
}

func (p *parser) and() Expr {
	at := p.here()
	p.blank()
	parts := []Expr{p.not()}
	p.blank()
	for p.lex("and") {
		switch {
		case p.blank():
			parts = append(parts, p.not())
		case p.lex("("):
			parts = append(parts, p.parenthesised())
		default:
			p.fail("want a blank or '(' after 'and'")
		}
		p.blank()
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return &And{at, parts}
}

func (p *parser) not() Expr {
	at := p.here()
	p.blank()
	not := false
	for p.lexNot() {
		not = !not
	}
	var x Expr
	if p.lex("not(") {
		not = !not
		x = p.parenthesised()
	} else {
		x = p.check()
	}
	if not {
		return &Not{at, x}
	}
	return x
}

// parenthesised reads what follows an opening parenthesis, and the closing one.
func (p *parser) parenthesised() Expr {
	p.blank()
	x := p.or()
	p.blank()
	if !p.lex(")") {
		p.fail("want ')'")
	}
	return x
}

func (p *parser) check() Expr {
	at := p.here()
	p.blank()
	switch {
	case p.lex("("):
		return p.parenthesised()
	case p.lexField():
		return p.comparison(p.field(at), at)
	case p.lexTransformer():
		p.blank()
		return p.comparison(p.transform(at), at)
	case p.lexIdentifier():
		return &Macro{at, p.token}
	}
	panic(p.expected("want '(', a check of a field, or the name of a macro"))
}

// expected makes an error for where a check has to stand, with what was meant if that can be told.
func (p *parser) expected(text string) syntaxError {
	e := syntaxError{pos: p.pos, text: text}
	rest := p.text[p.pos:]
	if n := strings.IndexAny(rest, " \t\r\n()[]=,"); n > 0 {
		if i := strings.IndexByte(rest[:n], '('); i >= 0 {
			rest = rest[:i]
		}
	}
	if strings.HasPrefix(rest, "!") {
		e.hint = "write 'not' for '!'"
	}
	return e
}

// field makes a field of the token just read and the argument that may follow.
func (p *parser) field(at place) *Field {
	f := &Field{place: at, Name: p.token}
	f.Arg, f.HasArg = p.argument()
	return f
}

// argument reads what stands in brackets, if they follow.
func (p *parser) argument() (string, bool) {
	if !p.lex("[") {
		return "", false
	}
	if !p.lexQuoted() && !p.lexBare(argumentByte) {
		p.fail("want the argument of a field, in quotes or without")
	}
	arg := p.token
	if !p.lex("]") {
		p.fail("want ']'")
	}
	return arg, true
}

// transform reads what follows a transformer and its opening parenthesis.
func (p *parser) transform(at place) *Transform {
	p.enter()
	defer func() { p.depth-- }()
	t := &Transform{place: at, Name: strings.TrimSuffix(p.token, "(")}
	p.blank()
	for {
		t.Args = append(t.Args, p.transformed())
		p.blank()
		if !p.lex(",") {
			break
		}
	}
	p.blank()
	if !p.lex(")") {
		p.fail("want ')' after the argument of %s", t.Name)
	}
	t.Arg, t.HasArg = p.argument()
	return t
}

// transformed reads an argument of a transformer.
func (p *parser) transformed() Expr {
	at := p.here()
	p.blank()
	switch {
	case p.lexHex() || p.lexNumber(), p.lexQuoted():
		return &Value{at, p.token}
	case p.lex("("):
		return p.tuple(at)
	case p.lexTransformer():
		return p.transform(at)
	case p.lexField():
		return p.field(at)
	}
	p.fail("want a field, a transformer, a text in quotes, a number or a list")
	return nil
}

func (p *parser) tuple(at place) Expr {
	t := &Tuple{place: at}
	p.blank()
	if p.lex(")") {
		return t
	}
	t.Items = append(t.Items, p.tupleItem(at))
	p.blank()
	for p.lex(",") {
		p.blank()
		t.Items = append(t.Items, p.tupleItem(at))
		p.blank()
	}
	if !p.lex(")") {
		p.fail("want ')'")
	}
	return t
}

func (p *parser) tupleItem(at place) Expr {
	switch {
	case p.lexField():
		return p.field(at)
	case p.lexTransformer():
		p.blank()
		return p.transform(at)
	case p.lexQuoted(), p.lexHex() || p.lexNumber():
		return &Value{at, p.token}
	}
	p.fail("want a field, a transformer, a text in quotes or a number")
	return nil
}

// comparison reads an operator and what is on its right.
func (p *parser) comparison(left Expr, at place) Expr {
	p.blank()
	c := &Check{place: at, Left: left}
	switch {
	case p.lexAny(unaryOps):
		c.Op = p.token
	case p.lexAny(numberOps):
		c.Op = p.token
		c.Right = p.number()
	case p.lexTextOp(textOps):
		c.Op = p.token
		spaced := isLetter(c.Op[0])
		if p.blank() {
			spaced = true
		}
		pos, token := p.pos, p.token
		if spaced && p.lexTextOp(modifiers) && p.listFollows() && !p.keywordFollows() {
			c.Op += " " + p.token
			c.Right = p.list(false)
			break
		}
		p.pos, p.token = pos, token
		c.Right = p.value()
	case p.lexAny(listOps):
		c.Op = p.token
		c.Right = p.list(true)
	default:
		e := syntaxError{pos: p.pos, text: "want an operator: one of " + strings.Join(Operators(), " ")}
		e.hint = p.meantOperator()
		panic(e)
	}
	return c
}

func (p *parser) number() Expr {
	p.blank()
	at := p.here()
	if x := p.rightField(); x != nil {
		return x
	}
	if !p.lexHex() && !p.lexNumber() {
		p.fail("want a number, or a field in val() or another transformer")
	}
	return &Value{at, p.token}
}

func (p *parser) value() Expr {
	p.blank()
	at := p.here()
	if x := p.rightField(); x != nil {
		return x
	}
	return p.constant(at)
}

func (p *parser) constant(at place) *Value {
	if !p.lexQuoted() && !p.lexBare(bareByte) {
		p.fail("want a text, or a field in val() or another transformer")
	}
	return &Value{at, p.token}
}

// list reads the right side of an operator that takes a list.
func (p *parser) list(fields bool) Expr {
	p.blank()
	at := p.here()
	if p.lex("(") {
		return p.listItems(at)
	}
	if fields {
		if x := p.rightField(); x != nil {
			return x
		}
	}
	if !p.lexIdentifier() {
		p.fail("want a list in parentheses, or the name of one")
	}
	return &Value{at, p.token}
}

// listItems reads the items of a list and its closing parenthesis. A first item that cannot be read stands for no
// items at all, wherever the attempt ended: so an empty list is written, and so does the engine.
func (p *parser) listItems(at place) Expr {
	l := &List{place: at}
	p.blank()
	if first, ok := p.try(); ok {
		l.Items = append(l.Items, first)
		p.blank()
		for p.lex(",") {
			p.blank()
			l.Items = append(l.Items, p.constant(p.here()).Text)
			p.blank()
		}
	}
	if !p.lex(")") {
		p.fail("want ')' at the end of the list")
	}
	return l
}

// try reads a constant and reports whether it is one.
func (p *parser) try() (text string, ok bool) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case syntaxError:
			ok = false
		default:
			panic(e)
		}
	}()
	p.blank()
	return p.constant(p.here()).Text, true
}

// rightField reads a field on the right of an operator, which stands in a transformer, or returns nil.
func (p *parser) rightField() Expr {
	p.blank()
	at := p.here()
	if p.lex("val(") {
		p.blank()
		inner := p.here()
		if !p.lexField() {
			p.fail("want a field in val()")
		}
		t := &Transform{place: at, Name: "val", Args: []Expr{p.field(inner)}}
		p.blank()
		if !p.lex(")") {
			p.fail("want ')' after the argument of val")
		}
		t.Arg, t.HasArg = p.argument()
		return t
	}
	if p.lexTransformer() {
		p.blank()
		return p.transform(at)
	}
	return nil
}

// listFollows reports whether a list follows, or the name of one.
func (p *parser) listFollows() bool {
	return p.pos < len(p.text) && (p.text[p.pos] == '(' || isLetter(p.text[p.pos]))
}

func (p *parser) keywordFollows() bool {
	for _, k := range []string{"and", "or", "not"} {
		if rest, ok := strings.CutPrefix(p.text[p.pos:], k); ok && (rest == "" || !isLetter(rest[0]) && !isDigit(rest[0])) {
			return true
		}
	}
	return false
}

// What follows are the tokens. Each reads one and reports whether it was there; p.token then has it.

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isHex(c byte) bool    { return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
func isSpace(c byte) bool  { return c == ' ' || c >= '\t' && c <= '\r' }

// blank skips what separates tokens, and leaves p.token alone.
func (p *parser) blank() bool {
	from := p.pos
	for p.pos < len(p.text) && strings.IndexByte(" \t\b\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
	return p.pos > from
}

func (p *parser) take(n int) bool {
	if n <= 0 {
		return false
	}
	p.token = p.text[p.pos : p.pos+n]
	p.pos += n
	return true
}

func (p *parser) lex(s string) bool {
	return strings.HasPrefix(p.text[p.pos:], s) && p.take(len(s))
}

func (p *parser) lexAny(list []string) bool {
	for _, s := range list {
		if p.lex(s) {
			return true
		}
	}
	return false
}

// lexTextOp reads an operator; one of letters must have a blank behind it.
func (p *parser) lexTextOp(list []string) bool {
	for _, op := range list {
		pos, token := p.pos, p.token
		if !p.lex(op) {
			continue
		}
		if !isLetter(op[0]) || p.blank() {
			return true
		}
		p.pos, p.token = pos, token
	}
	return false
}

func (p *parser) lexTransformer() bool {
	for _, t := range transforms {
		if p.lex(t + "(") {
			return true
		}
	}
	return false
}

// lexNot reads "not" and at least one blank.
func (p *parser) lexNot() bool {
	rest := p.text[p.pos:]
	if !strings.HasPrefix(rest, "not") {
		return false
	}
	n := 3
	for n < len(rest) && isSpace(rest[n]) {
		n++
	}
	return n > 3 && p.take(n)
}

// identifierLen returns the length of the identifier at the beginning of s.
func identifierLen(s string) int {
	n := 0
	for n < len(s) && (isLetter(s[n]) || n > 0 && (isDigit(s[n]) || s[n] == '_')) {
		n++
	}
	return n
}

func (p *parser) lexIdentifier() bool { return p.take(identifierLen(p.text[p.pos:])) }

// lexField reads identifiers with dots between them, at least two.
func (p *parser) lexField() bool {
	rest := p.text[p.pos:]
	n := identifierLen(rest)
	if n == 0 {
		return false
	}
	dots := 0
	for n < len(rest) && rest[n] == '.' {
		k := identifierLen(rest[n+1:])
		if k == 0 {
			break
		}
		n += 1 + k
		dots++
	}
	return dots > 0 && p.take(n)
}

func (p *parser) lexHex() bool {
	rest := p.text[p.pos:]
	if len(rest) < 3 || rest[0] != '0' || rest[1]|0x20 != 'x' {
		return false
	}
	n := 2
	for n < len(rest) && isHex(rest[n]) {
		n++
	}
	return n > 2 && p.take(n)
}

func (p *parser) lexNumber() bool {
	rest := p.text[p.pos:]
	digits := func(n int) int {
		for n < len(rest) && isDigit(rest[n]) {
			n++
		}
		return n
	}
	n := 0
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		n = 1
	}
	from := n
	if n = digits(n); n == from {
		return false
	}
	if n < len(rest) && rest[n] == '.' {
		n = digits(n + 1)
	}
	if n+2 < len(rest) && rest[n]|0x20 == 'e' && (rest[n+1] == '+' || rest[n+1] == '-') && isDigit(rest[n+2]) {
		n = digits(n + 2)
	}
	return p.take(n)
}

// lexQuoted reads a text in quotes, unescaped. A quote behind a backslash does not end it, whatever stands before the
// backslash.
func (p *parser) lexQuoted() bool {
	rest := p.text[p.pos:]
	if rest == "" || rest[0] != '"' && rest[0] != '\'' {
		return false
	}
	for i := 1; i < len(rest); i++ {
		if rest[i] == rest[0] && rest[i-1] != '\\' {
			p.pos += i + 1
			p.token = p.unescape(rest[1:i], rest[0])
			return true
		}
	}
	return false
}

func (p *parser) unescape(s string, delimiter byte) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' {
			b.WriteByte(c)
			continue
		}
		if i++; i == len(s) {
			break
		}
		switch c = s[i]; c {
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case ' ', '\\': // a blank stands for a backslash: rules rely on it
			b.WriteByte('\\')
		case '/':
			b.WriteByte('/')
		case '"', '\'':
			if c != delimiter {
				p.fail(`\%c is not allowed in a text that is quoted with %c`, c, delimiter)
			}
			b.WriteByte(c)
		default:
			panic(syntaxError{p.pos, fmt.Sprintf(`unknown escape \%c`, c), `write \\ for a backslash; known escapes are \b \f \n \r \t \\ \/ and the quote`})
		}
	}
	return b.String()
}

// bareByte reports whether a byte may stand in a text without quotes.
func bareByte(c byte) bool { return !isSpace(c) && strings.IndexByte(`()"'=,`, c) < 0 }

// argumentByte reports whether a byte may stand in an argument without quotes.
func argumentByte(c byte) bool { return !isSpace(c) && strings.IndexByte(`[]"'`, c) < 0 }

// bareLen returns how many bytes at the beginning of s are of the given kind, and UTF-8.
func bareLen(s string, kind func(byte) bool) int {
	n := 0
	for n < len(s) {
		if s[n] < utf8.RuneSelf {
			if !kind(s[n]) {
				break
			}
			n++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

func (p *parser) lexBare(kind func(byte) bool) bool { return p.take(bareLen(p.text[p.pos:], kind)) }

// meantOperator guesses which operator was meant at the current position.
func (p *parser) meantOperator() string {
	rest := p.text[p.pos:]
	n := bareLen(rest, bareByte)
	switch written := rest[:n]; {
	case strings.HasPrefix(rest, "~"), strings.HasPrefix(rest, "matches"):
		return "use regex, glob or contains"
	case strings.HasPrefix(rest, "<>"):
		return "write != for <>"
	case written == "not":
		return "write not before the field: not FIELD in (...)"
	case written == "", strings.EqualFold(written, "and"), strings.EqualFold(written, "or"):
		return ""
	default:
		for _, op := range Operators() {
			switch {
			case op == written:
				return "put a blank behind " + op
			case strings.EqualFold(op, written):
				return "write " + op
			}
		}
		return meant(written, Operators())
	}
}

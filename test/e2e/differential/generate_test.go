//go:build linux

package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// A generator writes conditions and outputs, most of them right, some a little wrong. It is seeded, so they are the
// same every time.
type generator struct {
	*rand.Rand
	fields []genField
	falco  rules.Falco
}

// A genField is a field with its argument, and constants it may be compared with: those that occur, and others.
type genField struct {
	text      string
	typ       extract.Type
	list      bool
	constants []string
}

// newGenerator makes a generator for the fields of the table and those of every event.
func newGenerator(seed uint64, falco rules.Falco, values map[string][]string) *generator {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, seed)), falco: falco}
	for _, f := range extract.Fields() {
		args := []string{""}
		switch f.Arg {
		case extract.RequiredKey:
			args = []string{"[" + f.Example.Arg + "]"}
			switch f.Name {
			case "ka.value":
				args = append(args, "[/verb]", "[/user/username]", "[/user/groups/0]", "[/objectRef]", `["/verb"]`, "['/stage']")
			case "ka.number":
				args = append(args, "[/responseStatus/code]")
			}
		case extract.OptionalIndex:
			args = append(args, "[0]", "[1]")
		}
		for _, a := range args {
			text := f.Name + a
			g.fields = append(g.fields, genField{text, f.From.Type, f.From.List, values[text]})
		}
	}
	for _, f := range []genField{
		{text: "evt.num", typ: extract.Number},
		{text: "evt.rawtime", typ: extract.Moment},
		{text: "evt.rawtime.s", typ: extract.Moment},
		{text: "evt.is_async", typ: extract.Bool},
		{text: "evt.source", typ: extract.Text},
		{text: "evt.pluginname", typ: extract.Text},
		{text: "evt.time.iso8601", typ: extract.Text},
	} {
		f.constants = values[f.text]
		g.fields = append(g.fields, f)
	}
	return g
}

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

var oddities = []string{
	"", "a", "*", "?", "[", "[a-z]*", "[!a]*", "a\\", "\\", "/", "//", "-1", "+3", "007", "0x1F", "1.5", "18446744073709551616", "99999999999999999999999",
	"true", "false", "True", "10.0.0.0/8", "10.0.0.0", "::/0", "2001:db8::/32", "10.0.0.0/33", "10.0.0.0/256", "192.168.0.0/16/1", "::ffff:10.0.0.0/96",
	"<NA>", "not", "and", "or", "in", "oneof", "val", "ka.verb", "val(ka.verb)", "tolower", "é", "日本", "a b", "a,b", "a(b)", "a'b", "a\"b", "a=b", "\t", "a\nb", "system:*", "*kube*",
	".*", "^get$", "get|list", "[[:alpha:]]+", "a{2,1}", "(", "\\d+", "\\w", "a**", "(?i)get", ".", "^.*$", "[^/]+", "sys?tem:.*", "\\.", "a\\.b", "x*?",
	strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("é", 127), strings.Repeat("é", 128),
}

// constant returns a constant for a field, without quotes.
func (g *generator) constant(f genField) string {
	if g.chance(12) {
		return pick(g, oddities...)
	}
	base := ""
	if len(f.constants) > 0 {
		base = pick(g, f.constants...)
	}
	switch f.typ {
	case extract.Number, extract.Moment, extract.Duration:
		if base == "" || g.chance(30) {
			base = pick(g, "0", "1", "2", "200", "403", "1000000000", "1767225600000000000")
		}
		return base
	case extract.Bool:
		return pick(g, "true", "false")
	case extract.Network:
		return pick(g, "10.0.0.0/8", "127.0.0.0/8", "0.0.0.0/0", "192.168.0.0/16", "2001:db8::/32", "::1/128", "203.0.113.9/32", "10.1.2.3/31", "fe80::/10")
	}
	switch g.IntN(9) {
	case 0:
		return base[:g.IntN(len(base)+1)]
	case 1:
		return base[g.IntN(len(base)+1):]
	case 2:
		return strings.ToUpper(base)
	case 3:
		i := g.IntN(len(base) + 1)
		return base[:i] + "*" + base[i+g.IntN(len(base)-i+1):]
	case 4:
		i := g.IntN(len(base) + 1)
		return base[:i] + "?" + base[min(i+1, len(base)):]
	case 5:
		if base != "" {
			i := g.IntN(len(base))
			return base[:i] + pick(g, "[a-z]", "[!a-m]", "[[:alpha:]]", "["+base[i:i+1]+"x]", "[]a]", "\\"+base[i:i+1], ".", ".*", "[^0-9]+") + base[i+1:]
		}
	}
	return base
}

// quoted writes a constant in one of the ways there are.
func (g *generator) quoted(s string) string {
	bare := s != "" && !strings.ContainsAny(s, "()\"' \t\n\r\v\f=,")
	if bare && g.chance(75) || g.chance(3) {
		return s
	}
	q := pick(g, `"`, `"`, "'")
	if g.chance(4) {
		return q + s + q
	}
	s = strings.NewReplacer(`\`, pick(g, `\\`, `\\`, `\ `), q, `\`+q, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s)
	return q + s + q
}

func (g *generator) blank() string { return pick(g, " ", " ", " ", "  ", "\n", "\t", " \r\n ") }

func (g *generator) maybeBlank() string { return pick(g, "", "", " ", "\n") }

// operand writes a field, perhaps in transformers, and returns what type it has.
func (g *generator) operand() (string, genField) {
	f := pick(g, g.fields...)
	text := f.text
	if !g.chance(25) {
		return text, f
	}
	for range 1 + g.IntN(2) {
		name := pick(g, "tolower", "toupper", "b64", "basename", "len")
		text = name + "(" + g.maybeBlank() + text + g.maybeBlank() + ")"
		if name == "len" {
			f = genField{text, extract.Number, false, []string{"0", "1", "3", "6", "20"}}
		}
	}
	if g.falco >= 44 && g.chance(30) {
		return g.several()
	}
	return text, f
}

// several writes a transformer of several arguments.
func (g *generator) several() (string, genField) {
	item := func() string {
		f := pick(g, g.fields...)
		switch g.IntN(6) {
		case 0:
			return `"` + pick(g, "a", "-", "", "x y") + `"`
		case 1:
			return pick(g, "1", "0x2", "-3")
		case 2:
			return "toupper(" + f.text + ")"
		}
		return f.text
	}
	// A number that is not there ends the engine in a list, so there is none.
	listed := func() string {
		for {
			if s := item(); !strings.Contains(s, "number") && !strings.Contains(s, "code") && !strings.Contains(s, "count") && !strings.Contains(s, "latency") {
				return s
			}
		}
	}
	tuple := func() string {
		var items []string
		for range g.IntN(4) {
			items = append(items, listed())
		}
		return "(" + strings.Join(items, pick(g, ",", ", ")) + ")"
	}
	result := genField{"", extract.Text, false, []string{"a", "A-B", "create-pods"}}
	switch g.IntN(4) {
	case 0:
		return fmt.Sprintf("join(%s, %s)", pick(g, `","`, `""`, "'-'", "1"), pick(g, tuple(), "ka.user.groups", "tolower(ka.user.groups)", "ka.verb")), result
	case 1:
		var items []string
		for range 1 + g.IntN(4) {
			items = append(items, item())
		}
		return "concat(" + strings.Join(items, ",") + ")", result
	case 2:
		args := pick(g, `("-a", "-b", "x")`, `("-abx", "--", "-c")`, `("-a", "--long", "-b")`, "ka.exec.command", "ka.uri.params", `("-x", ka.verb)`, `("-a:", "-?")`)
		result.list = true
		result.constants = []string{"a", "b", "x", "?", ""}
		return fmt.Sprintf("getopt(%s, %s)", args, pick(g, `"ab"`, `"a:b"`, `":a:b:"`, `"abx:"`, "ka.verb")), result
	default:
		args := pick(g, `("-a", "1", "-b2")`, `("-b")`, `("-ab", ka.verb)`)
		return fmt.Sprintf("getopt(%s, %s)[%s]", args, pick(g, `"a:b:"`, `"ab:"`), pick(g, "a", "b", "ab")), result
	}
}

var listOps = []string{"in", "intersects", "pmatch"}

// check writes a comparison.
func (g *generator) check() string {
	left, f := g.operand()
	var op string
	switch {
	case g.chance(8):
		return left + g.blank() + "exists"
	case g.chance(12): // whatever
		op = pick(g, rules.Operators()...)
	case f.list:
		op = pick(g, "in", "intersects")
	case f.typ == extract.Text:
		op = pick(g, "=", "==", "!=", "contains", "icontains", "startswith", "endswith", "glob", "iglob", "regex", "in", "intersects", "pmatch", "<", ">=")
	case f.typ == extract.Bool, f.typ == extract.Network:
		op = pick(g, "=", "!=", "in", "intersects")
	default:
		op = pick(g, "=", "!=", "<", "<=", ">", ">=", "in", "intersects")
	}
	if op == "exists" {
		return left + " exists"
	}
	space := g.blank()
	if strings.ContainsAny(op, "=<>!") {
		space = g.maybeBlank()
	}
	list := false
	for _, l := range listOps {
		list = list || l == op
	}
	if g.falco >= 44 && !list && !strings.ContainsAny(op, "<>") && g.chance(20) {
		op += " " + pick(g, "oneof", "anyof", "allof")
		list = true
		space = g.blank()
	}
	right := ""
	switch {
	case g.chance(8):
		if right, _ = g.operand(); g.chance(70) || !strings.Contains(right, "(") {
			right = "val(" + pick(g, g.fields...).text + ")"
		}
		if g.chance(60) { // one that can be compared
			for range 200 {
				o := pick(g, g.fields...)
				if o.typ == f.typ && o.list == f.list {
					right = "val(" + o.text + ")"
					break
				}
			}
		}
	case list:
		var items []string
		for range g.IntN(4) + min(1, g.IntN(8)) {
			items = append(items, g.quoted(g.constant(f)))
		}
		right = "(" + g.maybeBlank() + strings.Join(items, pick(g, ",", ", ")) + g.maybeBlank() + ")"
	default:
		right = g.quoted(g.constant(f))
	}
	if strings.HasSuffix(op, "=") || strings.ContainsAny(op, "<>") {
		return left + g.maybeBlank() + op + space + right
	}
	return left + g.blank() + op + space + right
}

// condition writes a condition.
func (g *generator) condition() string {
	var build func(depth int) string
	build = func(depth int) string {
		if depth == 0 || g.chance(35) {
			return g.check()
		}
		switch g.IntN(5) {
		case 0:
			return "not" + pick(g, " ", "  ", "\n") + g.check()
		case 1:
			return pick(g, "not(", "not (", "(") + g.maybeBlank() + build(depth-1) + g.maybeBlank() + ")"
		}
		word := pick(g, "and", "or")
		parts := []string{build(depth - 1)}
		for range 1 + g.IntN(2) {
			parts = append(parts, build(depth-1))
		}
		return strings.Join(parts, g.blank()+word+g.blank())
	}
	depth := 0
	if g.chance(35) {
		depth = 1 + g.IntN(2)
	}
	s := build(depth)
	if g.chance(8) { // a slip of the pen
		i := g.IntN(len(s))
		switch g.IntN(3) {
		case 0:
			s = s[:i] + s[i+1:]
		case 1:
			s = s[:i] + pick(g, "(", ")", "\"", "'", "[", "]", "=", ",", " ", "x", "!", "\\", ".", "not ") + s[i:]
		case 2:
			s = s[:i] + s[i:i+1] + s[i:]
		}
	}
	return s
}

// output writes an output with fields in it.
func (g *generator) output() string {
	var b strings.Builder
	if g.chance(10) {
		b.WriteByte('*')
	}
	for range 1 + g.IntN(5) {
		b.WriteString(pick(g, "", " ", "x=", "(", "] ", "é ", "\n", "\\", "\"", "*"))
		f := pick(g, g.fields...)
		switch g.IntN(12) {
		case 0:
			b.WriteString("%" + pick(g, "5", "12", "0", "1") + f.text)
		case 1:
			name := pick(g, "len", "tolower", "basename", "toupper")
			if f.typ != extract.Text && g.falco < 44 {
				f = g.fields[0]
			}
			b.WriteString("%" + name + "(" + f.text + ")")
		case 2:
			b.WriteString("%" + f.text)
			if g.falco >= 44 {
				b.WriteString(pick(g, "x", ".x", "[", "[0]", ".", "(", ")"))
			}
		case 3:
			b.WriteString("%" + pick(g, "evt.time", "evt.rawtime.ns", "evt.reltime", "evt.reltime.s", "evt.reltime.ns", "evt.datetime", "evt.datetime.s", "evt.time.s", "evt.plugininfo", "evt.asynctype", "evt.rawtime"))
		case 4:
			if g.falco >= 44 && g.chance(15) {
				b.WriteString(pick(g, "%", "%%", "%5", "%nope", "%ka", "%ka.", "%ka.nope", "%ka.value", "%ka.verb[1]", "%val(ka.verb)", "%tolower(ka.verb", "%ka.value[/a b]"))
			} else if g.falco >= 44 {
				text, _ := g.several()
				b.WriteString("%" + text)
			}
		default:
			b.WriteString("%" + f.text)
		}
		if g.falco < 44 { // which look for brackets up to the next blank
			b.WriteByte(' ')
		}
		b.WriteString(pick(g, "", " ", ",", ")", ".", ": "))
	}
	return b.String()
}

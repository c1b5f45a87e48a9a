package rules

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"kaudit/pkg/extract"
)

// A val is one value of a field. Which of its members counts is a matter of the type.
type val struct {
	// b is a text, or an address. What a transformer made ends with a zero byte, as in the engine, where one operator
	// sees it and another does not; see cstring and trimmed.
	b []byte
	n uint64 // numbers of all kinds, and booleans
}

// cstring is a text as the operators see it that work on C strings.
func cstring(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// trimmed is a text as the operators see it that work on memory.
func trimmed(b []byte) []byte { return bytes.TrimRight(b, "\x00") }

// An operand is a side of a comparison, or a value in an output.
type operand struct {
	name string
	typ  extract.Type
	list bool
	// base is what the operand was before transformers of one argument changed its type. Transformers of several
	// arguments look at that, and so does the engine when it runs.
	base     extract.Type
	baseList bool
	// run is what a transformer sees when it runs; it differs from what it was checked with for getopt.
	runType extract.Type
	runList bool

	printable bool // as a number; if not, the engine prints <NA>
	pad       bool
	time      bool
	signed    bool // in JSON: times of the engine's own wrap around there
	multi     bool // made by a transformer of several arguments
	// eval appends the values, and reports whether the event has any.
	eval func(s *state, dst []val) ([]val, bool)
}

// A compiler turns expressions into functions, and numbers what these functions need: questions, scratch memory,
// results that are worth keeping for an event.
type compiler struct {
	fields *fields
	falco  Falco

	questions []*question
	byName    map[string]int
	buffers   int
	scratches int
	memos     int
	shared    map[string]func(*state) bool // by expression
	uses      map[string]int               // how often an expression occurs
}

func newCompiler(f *fields, falco Falco) *compiler {
	return &compiler{fields: f, falco: falco, byName: map[string]int{}, shared: map[string]func(*state) bool{}, uses: map[string]int{}}
}

func (c *compiler) buffer() int  { c.buffers++; return c.buffers - 1 }
func (c *compiler) scratch() int { c.scratches++; return c.scratches - 1 }

// An invalid is an expression that cannot be compiled, and why.
type invalid struct {
	at   place
	err  error
	hint string
}

func (e *invalid) Error() string { return e.err.Error() }
func (e *invalid) Unwrap() error { return e.err }

func bad(x Expr, format string, args ...any) *invalid {
	return &invalid{at: x.at(), err: fmt.Errorf(format, args...)}
}

// needs says that an expression uses what the version of Falco does not know.
func (c *compiler) needs(x Expr, feature string) error {
	if c.falco.knows(feature) {
		return nil
	}
	return &invalid{at: x.at(), err: fmt.Errorf("falco %v does not know %s", c.falco, feature), hint: fmt.Sprintf("it came with falco %v", since[feature])}
}

// operand compiles a field or transformer.
func (c *compiler) operand(x Expr) (*operand, error) {
	switch x := x.(type) {
	case *Field:
		return c.field(x)
	case *Value:
		return constant(x.Text), nil
	case *Tuple:
		return c.tuple(x)
	case *Transform:
		return c.transform(x)
	}
	return nil, bad(x, "%s is not a field", x)
}

func (c *compiler) field(x *Field) (*operand, error) {
	if x.HasArg && x.Arg == "" && c.falco != 0 && c.falco < 44 { // where an empty argument is none
		x = &Field{place: x.place, Name: x.Name}
	}
	q, err := c.fields.resolve(x)
	if err != nil {
		return nil, &invalid{at: x.place, err: err, hint: c.fields.hint(x.Name)}
	}
	slot, ok := c.byName[q.name]
	if !ok {
		slot = len(c.questions)
		c.questions = append(c.questions, q)
		c.byName[q.name] = slot
	}
	o := &operand{
		name: q.name, typ: q.typ, list: q.list, base: q.typ, baseList: q.list, runType: q.typ, runList: q.list,
		printable: q.typ != extract.Text || q.listed, pad: q.pad, time: q.time,
	}
	o.signed = q.read != nil && (q.typ == extract.Moment || q.typ == extract.Duration)
	if q.read != nil && q.typ == extract.Text && jsonField(q.field) {
		o.printable = true
	}
	o.eval = func(s *state, dst []val) ([]val, bool) { return s.values(slot, dst) }
	return o, nil
}

// jsonField reports whether a field belongs to a plugin; the numbers its transformers make can be printed.
func jsonField(name string) bool { return len(name) > 4 && name[0] == 'j' }

// constant is a text inside of a transformer.
func constant(text string) *operand {
	b := []byte(text)
	return &operand{
		name: text, typ: extract.Text, base: extract.Text, runType: extract.Text,
		eval: func(_ *state, dst []val) ([]val, bool) { return append(dst, val{b: b}), true },
	}
}

// tuple is a list inside of a transformer. Numbers in it become texts.
func (c *compiler) tuple(x *Tuple) (*operand, error) {
	var items []*operand
	for _, item := range x.Items {
		o, err := c.operand(item)
		if err != nil {
			return nil, err
		}
		if o.base == extract.Number {
			o = c.printed(o)
		}
		items = append(items, o)
	}
	return &operand{
		name: "INTERNAL", typ: extract.Text, list: true, base: extract.Text, baseList: true, runType: extract.Text, runList: true,
		eval: func(s *state, dst []val) ([]val, bool) {
			ok := true
			for _, o := range items {
				from := len(dst)
				if dst, ok = o.eval(s, dst); !ok {
					return dst, false
				}
				if o.typ != extract.Text {
					for i := range dst[from:] {
						dst[from+i].b = o.memory(dst[from+i])
					}
				}
			}
			return dst, true
		},
	}, nil
}

// printed is a number as its text.
func (c *compiler) printed(o *operand) *operand {
	buf, tmp := c.buffer(), c.scratch()
	return &operand{
		name: o.name, typ: extract.Text, base: extract.Text, runType: extract.Text,
		eval: func(s *state, dst []val) ([]val, bool) {
			vs, ok := o.eval(s, s.scratch[tmp][:0])
			s.scratch[tmp] = vs
			if !ok || len(vs) == 0 {
				return dst, false // an event without the field ends the engine here
			}
			s.buffers[buf] = o.appendText(s.buffers[buf][:0], vs[0])
			return append(dst, val{b: s.buffers[buf]}), true
		},
	}
}

// transform compiles a transformer with its arguments.
func (c *compiler) transform(x *Transform) (*operand, error) {
	if err := c.needs(x, x.Name); err != nil {
		return nil, err
	}
	var args []*operand
	for _, a := range x.Args {
		if _, isField := a.(*Field); !isField && c.falco != 0 && c.falco < 44 {
			if _, isTransform := a.(*Transform); !isTransform {
				return nil, bad(a, "falco %v takes only fields in transformers", c.falco)
			}
		}
		o, err := c.operand(a)
		if err != nil {
			return nil, err
		}
		args = append(args, o)
	}
	if x.HasArg && (x.Name != "getopt" || len(args) == 1) {
		return nil, bad(x, "%s takes no argument in brackets", x.Name)
	}
	switch {
	case x.Name == "val":
		return args[0], nil
	case x.Name == "join", x.Name == "concat", x.Name == "getopt":
		if len(args) == 1 {
			return nil, bad(x, "%s needs more than one argument", x.Name)
		}
		return c.several(x, args)
	case len(args) > 1:
		return nil, bad(x, "%s takes one argument", x.Name)
	}
	return c.apply(x, args[0])
}

// apply compiles a transformer of one argument.
func (c *compiler) apply(x *Transform, o *operand) (*operand, error) {
	out := *o
	numeric := func() error {
		kind := "a " + string(o.typ)
		if o.list {
			kind = "a list of " + string(o.typ)
		}
		return bad(x, "%s does not work on %s, which is %s", x.Name, o.name, kind)
	}
	if x.Name == "len" {
		if !o.list && o.typ != extract.Text {
			return nil, numeric()
		}
		out.typ, out.list = extract.Number, false
		out.runType, out.runList = extract.Number, false
		counts := o.runList
		tmp := c.scratch()
		out.eval = func(s *state, dst []val) ([]val, bool) {
			vs, ok := o.eval(s, s.scratch[tmp][:0])
			s.scratch[tmp] = vs
			switch {
			case !ok:
				return dst, false
			case counts:
				return append(dst, val{n: uint64(len(vs))}), true
			case len(vs) == 0:
				return dst, false
			}
			return append(dst, val{n: uint64(len(cstring(vs[0].b)))}), true
		}
		return &out, nil
	}
	if o.typ != extract.Text {
		return nil, numeric()
	}
	change := map[string]func(dst, b []byte) ([]byte, bool){"tolower": toLower, "toupper": toUpper, "basename": basename, "b64": decode64}[x.Name]
	buf := c.buffer()
	out.eval = func(s *state, dst []val) ([]val, bool) {
		from := len(dst)
		dst, ok := o.eval(s, dst)
		if !ok {
			return dst, false
		}
		b := s.buffers[buf][:0]
		ends := s.ends[:0]
		for _, v := range dst[from:] {
			if b, ok = change(b, trimmed(v.b)); !ok {
				return dst[:from], false
			}
			start := 0
			if len(ends) > 0 {
				start = ends[len(ends)-1]
			}
			if len(b) == start || b[len(b)-1] != 0 {
				b = append(b, 0)
			}
			ends = append(ends, len(b))
		}
		s.buffers[buf], s.ends = b, ends
		start := 0
		for i, end := range ends {
			dst[from+i] = val{b: b[start:end]}
			start = end
		}
		return dst, true
	}
	return &out, nil
}

func toLower(dst, b []byte) ([]byte, bool) {
	for _, c := range b {
		dst = append(dst, lower(c))
	}
	return dst, true
}

func toUpper(dst, b []byte) ([]byte, bool) {
	for _, c := range b {
		dst = append(dst, upper(c))
	}
	return dst, true
}

func basename(dst, b []byte) ([]byte, bool) {
	return append(dst, b[bytes.LastIndexByte(b, '/')+1:]...), true
}

// decode64 decodes base64 with the standard alphabet, with or without padding; bits that are left over must be zero.
func decode64(dst, b []byte) ([]byte, bool) {
	if len(b) == 0 {
		return dst, true
	}
	for range 2 {
		b = bytes.TrimSuffix(b, []byte("="))
	}
	if len(b) == 0 || len(b)%4 == 1 {
		return dst, false
	}
	var bits uint32
	for i, c := range b {
		var n uint32
		switch {
		case c >= 'A' && c <= 'Z':
			n = uint32(c - 'A')
		case c >= 'a' && c <= 'z':
			n = uint32(c-'a') + 26
		case isDigit(c):
			n = uint32(c-'0') + 52
		case c == '+':
			n = 62
		case c == '/':
			n = 63
		default:
			return dst, false
		}
		bits = bits<<6 | n
		if i%4 == 3 {
			dst = append(dst, byte(bits>>16), byte(bits>>8), byte(bits))
			bits = 0
		}
	}
	switch len(b) % 4 {
	case 2:
		if bits&0xf != 0 {
			return dst, false
		}
		dst = append(dst, byte(bits>>4))
	case 3:
		if bits&3 != 0 {
			return dst, false
		}
		dst = append(dst, byte(bits>>10), byte(bits>>2))
	}
	return dst, true
}

// memory is a value as the engine holds it, for transformers that take any value for a text.
func (o *operand) memory(v val) []byte {
	switch o.typ {
	case extract.Text, extract.Network:
		return v.b
	case extract.Bool:
		return binary.LittleEndian.AppendUint32(nil, uint32(v.n))
	}
	return binary.LittleEndian.AppendUint64(nil, v.n)
}

// several compiles a transformer of several arguments.
func (c *compiler) several(x *Transform, args []*operand) (*operand, error) {
	o := &operand{name: "INTERNAL", typ: extract.Text, base: extract.Text, runType: extract.Text, multi: true}
	buf, sep, tmp := c.buffer(), c.buffer(), c.scratch()
	// evaluate evaluates an argument.
	evaluate := func(s *state, a *operand) ([]val, bool) {
		vs, ok := a.eval(s, s.scratch[tmp][:0])
		s.scratch[tmp] = vs
		return vs, ok && (len(vs) > 0 || a.list)
	}
	switch x.Name {
	case "join":
		switch {
		case len(args) != 2:
			return nil, bad(x, "join takes two arguments: what to put between, and a list")
		case args[0].baseList:
			return nil, bad(x.Args[0], "the first argument of join must not be a list")
		case !args[1].baseList:
			return nil, bad(x.Args[1], "the second argument of join must be a list")
		}
		o.eval = func(s *state, dst []val) ([]val, bool) {
			vs, ok := evaluate(s, args[0])
			if !ok || len(vs) == 0 {
				return dst, false
			}
			between := append(s.buffers[sep][:0], args[0].memory(vs[0])...) // its memory is used again below
			s.buffers[sep] = between
			if vs, ok = evaluate(s, args[1]); !ok {
				return dst, false
			}
			b := s.buffers[buf][:0]
			for i, v := range vs {
				b = append(b, cstring(args[1].memory(v))...)
				if i < len(vs)-1 {
					b = append(b, between...)
				}
			}
			s.buffers[buf] = b
			return append(dst, val{b: b}), true
		}
	case "concat":
		for i, a := range args {
			if a.base != extract.Text || a.baseList {
				return nil, bad(x.Args[i], "the arguments of concat must be texts, and %s is none", x.Args[i])
			}
		}
		o.eval = func(s *state, dst []val) ([]val, bool) {
			b := s.buffers[buf][:0]
			for _, a := range args {
				vs, ok := evaluate(s, a)
				if !ok || len(vs) == 0 {
					return dst, false
				}
				b = append(b, cstring(a.memory(vs[0]))...)
			}
			s.buffers[buf] = b
			return append(dst, val{b: b}), true
		}
	case "getopt":
		return c.getopt(x, args, o)
	}
	return o, nil
}

// getopt compiles the transformer that reads the options of a command.
func (c *compiler) getopt(x *Transform, args []*operand, o *operand) (*operand, error) {
	switch {
	case len(args) != 2:
		return nil, bad(x, "getopt takes two arguments: a list, and the options as getopt(3) takes them")
	case !args[0].baseList:
		return nil, bad(x.Args[0], "the first argument of getopt must be a list")
	case args[1].baseList:
		return nil, bad(x.Args[1], "the second argument of getopt must not be a list")
	case args[0].base != extract.Text || args[1].base != extract.Text:
		return nil, bad(x, "the arguments of getopt must be texts")
	case x.HasArg && len(x.Arg) != 1:
		return nil, bad(x, "want one option in the brackets of getopt, not %q", x.Arg)
	}
	o.list = !x.HasArg
	buf, tmp := c.buffer(), c.scratch()
	selector := -1
	if x.HasArg {
		selector = int(x.Arg[0])
	}
	o.eval = func(s *state, dst []val) ([]val, bool) {
		vs, ok := args[1].eval(s, s.scratch[tmp][:0])
		s.scratch[tmp] = vs
		if !ok || len(vs) == 0 {
			return dst, false
		}
		var options getoptions
		options.parse(args[1].memory(vs[0]))
		vs, ok = args[0].eval(s, s.scratch[tmp][:0])
		s.scratch[tmp] = vs
		if !ok {
			return dst, false
		}
		b, ends := options.scan(vs, selector, s.buffers[buf][:0], s.ends[:0])
		s.buffers[buf], s.ends = b, ends
		if selector >= 0 && len(ends) == 0 {
			return dst, false
		}
		start := 0
		for _, end := range ends {
			dst = append(dst, val{b: b[start:end]})
			start = end
		}
		return dst, true
	}
	return o, nil
}

// getoptions are the options a command knows.
type getoptions struct {
	known, takes [256]bool
}

func (g *getoptions) parse(s []byte) {
	if len(s) > 0 && s[0] == ':' {
		s = s[1:]
	}
	for i := 0; i < len(s); i++ {
		if s[i] == ':' {
			continue
		}
		g.known[s[i]] = true
		if i+1 < len(s) && s[i+1] == ':' {
			g.takes[s[i]] = true
			i++
		}
	}
}

// scan reads the options in front of a command's arguments: each with its value behind it, or with a selector the last
// value of that option. Long options are skipped.
func (g *getoptions) scan(args []val, selector int, b []byte, ends []int) ([]byte, []int) {
	put := func(texts ...[]byte) {
		if selector >= 0 {
			b = append(b[:0], texts[len(texts)-1]...)
			ends = append(ends[:0], len(b))
			return
		}
		for _, t := range texts {
			b = append(b, t...)
			ends = append(ends, len(b))
		}
	}
	for i := 0; i < len(args); i++ {
		arg := args[i].b
		if string(arg) == "--" {
			break
		}
		if len(arg) > 2 && arg[0] == '-' && arg[1] == '-' {
			continue
		}
		if len(arg) < 2 || arg[0] != '-' {
			break
		}
		for k := 1; k < len(arg); k++ {
			c := arg[k]
			if c == ':' || !g.known[c] {
				if selector < 0 {
					put([]byte("?"))
				}
				continue
			}
			wanted := selector < 0 || int(c) == selector
			if !g.takes[c] {
				if wanted {
					put(arg[k : k+1])
				}
				continue
			}
			var value []byte
			switch {
			case k+1 < len(arg):
				value = arg[k+1:]
			case i+1 < len(args):
				i++
				value = args[i].b
			default:
				if wanted {
					put(nil)
				}
				return b, ends
			}
			if wanted {
				put(arg[k:k+1], value)
			}
			break
		}
	}
	return b, ends
}

package rules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"kaudit/pkg/extract"
)

// maxListText is how many bytes of a list the engine prints (falcosecurity/libs:
// userspace/libsinsp/sinsp_filtercheck.cpp, STRPROPERTY_STORAGE_SIZE).
const maxListText = 1023

// maxField is how much of an output is looked at to find a field that ends before the text does.
const maxField = 4096

// A format is the output of a rule, taken apart.
type format struct {
	tokens []token
	fields []namedField // by name, each once
	asked  []*Field     // as they were written, in their order
	tmp    int
}

// A token is a text or a value.
type token struct {
	text  string
	value *operand
	width int
}

// A namedField is a value with the name it has in output_fields.
type namedField struct {
	name  string
	value *operand // nil if it is none
	text  *format  // if the value is a text of its own
	extra bool     // it is not in the output
}

// output compiles the output of a rule with what is added to it. An extra field takes the place of one of the same name
// (falcosecurity/falco: userspace/engine/formats.cpp).
func (c *compiler) output(r *Rule, additions []Addition) (*format, error) {
	f, err := c.parseFormat(r.output)
	if err != nil {
		return nil, err
	}
	for i := range additions {
		a := &additions[i]
		if !a.fits(r) {
			continue
		}
		for _, extra := range a.Fields {
			named, err := c.extra(extra)
			if err != nil {
				return nil, &invalid{at: place{in: r.output}, err: fmt.Errorf("the extra field %s: %w", extra.Name, err)}
			}
			f.fields = slices.DeleteFunc(f.fields, func(n namedField) bool { return n.name == named.name })
			f.fields = append(f.fields, named)
		}
	}
	slices.SortFunc(f.fields, func(a, b namedField) int { return strings.Compare(a.name, b.name) })
	return f, nil
}

// extra compiles an extra field.
func (c *compiler) extra(x ExtraField) (namedField, error) {
	named := namedField{name: x.Name, extra: true}
	text := x.Format
	if text == "" {
		text = "%" + x.Name
	}
	f, err := c.parseFormat(plain(text))
	if err != nil {
		return named, err
	}
	if x.Format != "" {
		named.text = f
		return named, nil
	}
	// The engine looks for the field under the name that was configured, which is not always the one it has.
	if i := slices.IndexFunc(f.fields, func(n namedField) bool { return n.name == x.Name }); i >= 0 {
		named.value = f.fields[i].value
	}
	return named, nil
}

// parseFormat compiles an output. A field is as long as it can be: what is behind it is text, even if the field would
// be another one with it (falcosecurity/libs: userspace/libsinsp/eventformatter.cpp).
func (c *compiler) parseFormat(in *source) (*format, error) {
	f := &format{tmp: c.scratch()}
	s, start := in.text, 0
	if s == "" {
		return nil, &invalid{at: place{in: in}, err: &constantError{"the output is empty", ""}}
	}
	if strings.HasPrefix(s, "*") {
		start = 1
	}
	for i := start; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if start < i {
			f.tokens = append(f.tokens, token{text: s[start:i]})
		}
		if i == len(s)-1 {
			return nil, &invalid{at: place{in: in, offset: i}, err: &constantError{"an output cannot end with %", ""}}
		}
		from, width := i+1, 0
		for from < len(s) && isDigit(s[from]) {
			width = min(width*10+int(s[from]-'0'), 1<<16)
			from++
		}
		if from == len(s) {
			return nil, &invalid{at: place{in: in, offset: i}, err: &constantError{"an output cannot end with a number behind %", ""}}
		}
		x, value, n, err := c.formatField(in, from)
		if err != nil {
			return nil, err
		}
		f.tokens = append(f.tokens, token{value: value, width: width})
		if err := c.name(f, x); err != nil {
			return nil, err
		}
		i = from + n - 1
		start = i + 1
	}
	if start < len(s) {
		f.tokens = append(f.tokens, token{text: s[start:]})
	}
	slices.SortFunc(f.fields, func(a, b namedField) int { return strings.Compare(a.name, b.name) })
	f.fields = slices.CompactFunc(f.fields, func(a, b namedField) bool { return a.name == b.name })
	return f, nil
}

// formatField reads the field or transformer at an offset of an output, and returns its length. If it is not one, the
// longest beginning of it that is one counts.
func (c *compiler) formatField(in *source, from int) (Expr, *operand, int, error) {
	var first error
	fail := func(text, hint string) {
		if first == nil {
			first = &invalid{at: place{in: in, offset: from}, err: unknown{&constantError{text, hint}}, hint: hint}
		}
	}
	for to := len(in.text); to > from; to-- {
		x, n, problem := parseFormatField(in, from, to)
		if problem != nil {
			fail("want a field behind %: "+problem.text, problem.hint)
			to = min(to, from+maxField)
			continue
		}
		value, err := c.operand(x)
		if err == nil {
			return x, value, n, nil
		}
		hint := ""
		if e := (*invalid)(nil); errors.As(err, &e) {
			hint = e.hint
		}
		fail(err.Error(), hint)
		to = from + n // what is behind it changes nothing
	}
	fail("want a field behind %", "")
	return nil, nil, 0, first
}

// parseFormatField reads a field or transformer from a part of an output.
func parseFormatField(in *source, from, to int) (x Expr, n int, problem *syntaxError) {
	p := parser{in: in, text: in.text[:to], pos: from}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case syntaxError:
			problem = &e
		default:
			panic(e)
		}
	}()
	at := p.here()
	switch {
	case p.lexField():
		x = p.field(at)
	case p.lexTransformer():
		p.blank()
		x = p.transform(at)
	default:
		return nil, 0, &syntaxError{text: "this is neither a field nor a transformer"}
	}
	return x, p.pos - from, nil
}

// name adds the fields of an expression to those that an alert has by name. Transformers have no name there.
func (c *compiler) name(f *format, x Expr) error {
	var failed error
	Walk(x, func(x Expr) bool {
		if field, ok := x.(*Field); ok && failed == nil {
			var o *operand
			if o, failed = c.operand(field); failed == nil {
				f.fields = append(f.fields, namedField{name: field.engineName(), value: o})
				f.asked = append(f.asked, field)
			}
		}
		return failed == nil
	})
	return failed
}

// append appends the output for the event in work.
func (f *format) append(dst []byte, s *state) []byte {
	for _, t := range f.tokens {
		if t.value == nil {
			dst = append(dst, t.text...)
			continue
		}
		from := len(dst)
		dst = t.value.appendAll(dst, s, f.tmp)
		if t.width > 0 {
			for len(dst)-from < t.width {
				dst = append(dst, ' ')
			}
			dst = dst[:from+t.width]
		}
	}
	return dst
}

// appendAll appends the values of an operand as the engine prints them: a list in parentheses, and <NA> if there are
// none.
func (o *operand) appendAll(dst []byte, s *state, tmp int) []byte {
	vs, ok := o.eval(s, s.scratch[tmp][:0])
	s.scratch[tmp] = vs
	switch {
	case !ok || o.typ == extract.Number && !o.printable || len(vs) == 0 && !o.list:
		return append(dst, "<NA>"...)
	case !o.list:
		return o.appendText(dst, vs[0])
	}
	from := len(dst)
	dst = append(dst, '(')
	for _, v := range vs {
		if len(dst)-from > 1 {
			dst = append(dst, ',')
		}
		dst = o.appendText(dst, v)
	}
	dst = append(dst, ')')
	return dst[:min(len(dst), from+maxListText)]
}

// appendJSON appends the values of an operand as JSON.
func (o *operand) appendJSON(dst []byte, s *state, tmp int) []byte {
	if o.time {
		return strconv.AppendUint(dst, s.event.Time, 10)
	}
	vs, ok := o.eval(s, s.scratch[tmp][:0])
	s.scratch[tmp] = vs
	if !ok {
		return append(dst, "null"...)
	}
	one := func(v val) {
		switch o.typ {
		case extract.Text:
			dst = appendQuoted(dst, cstring(v.b))
		case extract.Bool:
			dst = strconv.AppendBool(dst, v.n != 0)
		case extract.Network:
			dst = append(dst, `"<IPNET>"`...)
		default:
			if o.signed {
				dst = strconv.AppendInt(dst, int64(v.n), 10)
			} else {
				dst = strconv.AppendUint(dst, v.n, 10)
			}
		}
	}
	if !o.list {
		one(vs[0])
		return dst
	}
	dst = append(dst, '[')
	for i, v := range vs {
		if i > 0 {
			dst = append(dst, ',')
		}
		one(v)
	}
	return append(dst, ']')
}

// appendQuoted appends a JSON string as Falco writes it: as UTF-8, with what is not UTF-8 replaced.
func appendQuoted(dst, b []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for len(b) > 0 {
		c := b[0]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(b)
			dst = utf8.AppendRune(dst, r)
			b = b[n:]
			continue
		}
		b = b[1:]
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			if c < ' ' {
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			} else {
				dst = append(dst, c)
			}
		}
	}
	return append(dst, '"')
}

// AppendMessage appends the rule's output with the values of the event.
func (m Match) AppendMessage(dst []byte) []byte { return m.output.append(dst, m.engine.state) }

// Message returns the rule's output with the values of the event.
func (m Match) Message() string { return string(m.AppendMessage(nil)) }

// AppendFields appends a JSON object of the fields in the rule's output, by name, with their values.
func (m Match) AppendFields(dst []byte) []byte { return m.appendFields(dst, "") }

// appendFields appends the fields, and the time of the event under a name that is not empty.
func (m Match) appendFields(dst []byte, clock string) []byte {
	dst = append(dst, '{')
	from := len(dst)
	put := func(name string) {
		if len(dst) > from {
			dst = append(dst, ',')
		}
		dst = append(appendQuoted(dst, []byte(name)), ':')
	}
	s := m.engine.state
	for _, f := range m.output.fields {
		if clock == f.name && f.extra {
			clock = ""
		}
		if clock != "" && clock <= f.name {
			put(clock)
			dst = strconv.AppendUint(dst, s.event.Time, 10)
			if f.name == clock {
				clock = ""
				continue
			}
			clock = ""
		}
		put(f.name)
		switch {
		case f.text != nil:
			s.line = f.text.append(s.line[:0], s)
			dst = appendQuoted(dst, s.line)
		case f.value != nil:
			dst = f.value.appendJSON(dst, s, m.output.tmp)
		default:
			dst = append(dst, "null"...)
		}
	}
	if clock != "" {
		put(clock)
		dst = strconv.AppendUint(dst, s.event.Time, 10)
	}
	return append(dst, '}')
}

// Style says how an alert looks; its members are settings of falco.yaml, and the zero value has their defaults.
type Style struct {
	ISO8601       bool // time_format_iso_8601
	Message       bool // json_include_message_property
	NoOutput      bool // json_include_output_property: false
	NoTags        bool // json_include_tags_property: false
	NoOutputField bool // json_include_output_fields_property: false
}

// AppendText appends the alert as Falco prints it, without a line end: time, priority, output.
func (m Match) AppendText(dst []byte, style Style) []byte {
	s := m.engine.state
	if style.ISO8601 {
		dst = stamp(s.event.Time).AppendFormat(dst, "2006-01-02T15:04:05.000000000-0700")
	} else {
		dst = stamp(s.event.Time).Add(s.zone).AppendFormat(dst, "15:04:05.000000000")
	}
	dst = append(dst, ": "...)
	dst = append(dst, m.Rule.Priority.String()...)
	dst = append(dst, ' ')
	return m.AppendMessage(dst)
}

// AppendJSON appends the alert as Falco's json_output has it, without a line end.
func (m Match) AppendJSON(dst []byte, style Style) []byte {
	s := m.engine.state
	member := func(name string, value []byte) {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(appendQuoted(dst, []byte(name)), ':')
		if value != nil {
			dst = appendQuoted(dst, value)
		}
	}
	dst = append(dst, '{')
	member("hostname", []byte(s.hostname))
	if style.Message {
		member("message", m.AppendMessage([]byte{}))
	}
	if !style.NoOutput {
		member("output", m.AppendText([]byte{}, style))
	}
	if !style.NoOutputField {
		clock := "evt.time"
		if style.ISO8601 {
			clock = "evt.time.iso8601"
		}
		member("output_fields", nil)
		dst = m.appendFields(dst, clock)
	}
	member("priority", []byte(m.Rule.Priority.String()))
	member("rule", []byte(m.Rule.Name))
	member("source", []byte(m.Rule.Source))
	if !style.NoTags {
		member("tags", nil)
		dst = append(dst, '[')
		for i, t := range slices.Compact(slices.Sorted(slices.Values(m.Rule.Tags))) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendQuoted(dst, []byte(t))
		}
		dst = append(dst, ']')
	}
	member("time", stamp(s.event.Time).AppendFormat(nil, "2006-01-02T15:04:05.000000000Z"))
	return append(dst, '}')
}

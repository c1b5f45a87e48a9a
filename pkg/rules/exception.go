package rules

import (
	"errors"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// An exception is a set of values for which a rule does not hold.
type exception struct {
	name          string
	node          *yaml.Node
	fields, comps entry
	values        []entry
}

// An entry is a text or a list of entries.
type entry struct {
	node  *scalar // where it stands
	list  bool
	text  string
	items []entry
}

func (e *entry) valid() bool { return e.list && len(e.items) > 0 || !e.list && e.text != "" }

// exceptions reads the exceptions of a rule. appends says that they are for an earlier rule, which has their fields.
func (r *reader) exceptions(m *yaml.Node, appends bool) []exception {
	list := get(m, "exceptions")
	if list == nil || isNull(list) {
		return nil
	}
	if list.Kind != yaml.SequenceNode {
		r.throw(list, ErrStructure, "begin each exception with - name:", "exceptions is not a list")
	}
	var all []exception
	for _, n := range list.Content {
		n = resolve(n)
		if n.Kind != yaml.MappingNode {
			r.throw(n, ErrStructure, "write name, fields, comps and values", "an exception is not a mapping")
		}
		e := exception{node: n, name: r.text(n, "name", true).node.Value}
		if slices.ContainsFunc(all, func(other exception) bool { return other.name == e.name }) {
			r.warn(n, WarnExceptionTwice, "", "there are two exceptions of the name %s", e.name)
		}
		r.entryOf(n, "fields", !appends, &e.fields)
		r.entryOf(n, "comps", false, &e.comps)
		if values := get(n, "values"); values != nil {
			if values.Kind != yaml.SequenceNode {
				r.throw(values, ErrStructure, "", "the values of exception %s are not a list", e.name)
			}
			for _, v := range values.Content {
				var value entry
				r.entry(resolve(v), &value)
				e.values = append(e.values, value)
			}
		} else if appends {
			r.warn(n, WarnNoValues, "", "exception %s has no values to append", e.name)
		}
		all = append(all, e)
	}
	return all
}

func (r *reader) entryOf(m *yaml.Node, key string, need bool, out *entry) {
	n := get(m, key)
	if n == nil {
		if need {
			r.throw(m, ErrStructure, r.meantKey(m, key), "an exception has no %s", key)
		}
		return
	}
	r.entry(n, out)
}

// The exceptions of a file may have this many values, lists among them. With aliases a few lines stand for any number of
// values, and a list may be in itself.
const maxEntries = 1 << 18

func (r *reader) entry(n *yaml.Node, out *entry) {
	if r.entries++; r.entries > maxEntries {
		r.throw(n, ErrValidate, "", "the exceptions have more than %d values", maxEntries)
	}
	out.node = &scalar{file: r.file, node: n}
	switch {
	case isScalar(n):
		if n.Value == "" {
			r.throw(n, ErrStructure, "", "a value is empty")
		}
		out.text = n.Value
	case n.Kind == yaml.SequenceNode:
		out.list = true
		for _, v := range n.Content {
			var e entry
			r.entry(resolve(v), &e)
			out.items = append(out.items, e)
		}
	}
}

// checkException checks an exception, and gives it the operators it has if it names none.
func (r *reader) checkException(rule *ruleInfo, e *exception) {
	if e.fields.list {
		if !e.comps.valid() {
			e.comps.list = true
			for range e.fields.items {
				e.comps.items = append(e.comps.items, entry{text: "="})
			}
		}
		if len(e.fields.items) != len(e.comps.items) {
			r.throw(e.node, ErrValidate, "", "exception %s has %d fields and %d comps", e.name, len(e.fields.items), len(e.comps.items))
		}
		for i := range e.comps.items {
			comp := &e.comps.items[i]
			comp.text = strings.Trim(comp.text, " \t\r\n")
			if !slices.Contains(Operators(), comp.text) && !modified(comp.text) {
				r.throw(e.node, ErrValidate, meant(comp.text, Operators()), "exception %s: %q is not an operator", e.name, comp.text)
			}
		}
		for _, f := range e.fields.items {
			r.checkExceptionField(rule, e, f)
		}
		return
	}
	if !e.comps.valid() {
		e.comps.list, e.comps.text = false, "in"
	}
	if e.comps.list {
		r.throw(e.node, ErrValidate, "", "exception %s has one field and a list of comps", e.name)
	}
	e.comps.text = strings.Trim(e.comps.text, " \t\r\n")
	if c := e.comps.text; !slices.Contains(listOps, c) && !modified(c) {
		r.throw(e.node, ErrValidate, "write in, pmatch or intersects, or put the field in a list", "exception %s has one field, and %q does not take a list", e.name, c)
	}
	r.checkExceptionField(rule, e, e.fields)
}

// modified reports whether a text is an operator with a modifier.
func modified(op string) bool {
	name, modifier, ok := strings.Cut(op, " ")
	return ok && slices.Contains(textOps, name) && slices.Contains(modifiers, modifier)
}

func (r *reader) checkExceptionField(rule *ruleInfo, e *exception, f entry) {
	if rule.source != Source {
		return
	}
	ok := r.into.fields.exists(f.text)
	n := e.node
	if f.node != nil {
		n = f.node.node
	}
	if strings.Contains(f.text, "(") {
		x, problem := parse(plain(f.text + " exists"))
		ok = problem == nil
		if ok {
			_, err := newCompiler(r.into.fields, r.into.options.Falco).compile(x)
			if why := (*invalid)(nil); errors.As(err, &why) {
				r.throw(n, ErrValidate, why.hint, "exception %s: %v", e.name, why)
			}
		}
	}
	if !ok {
		name, _, _ := strings.Cut(f.text, "[")
		r.throw(n, ErrValidate, r.into.fields.hint(name), "exception %s: %q is not a field", e.name, f.text)
	}
}

// quoteItem puts a text with blanks in quotes, unless it begins with one.
func quoteItem(s string) string {
	if strings.Contains(s, " ") && s[0] != '"' && s[0] != '\'' {
		return `"` + s + `"`
	}
	return s
}

// withExceptions returns the condition of a rule with its exceptions, as Falco writes it
// (falcosecurity/falco: userspace/engine/rule_loader_compiler.cpp).
func (r *ruleInfo) withExceptions() (*source, *Problem) {
	if len(r.exceptions) == 0 {
		return r.condition, nil
	}
	c := r.condition
	at := c.originAt(0)
	pieces := []piece{from("(", at), c.piece(0, len(c.text)), from(")", c.originAt(len(c.text)))}
	for i := range r.exceptions {
		e := &r.exceptions[i]
		one, problem := e.condition(r)
		if problem != nil {
			return nil, problem
		}
		if len(one) > 0 {
			pieces = append(pieces, from(" and not ", e.origin()))
			pieces = append(pieces, one...)
		}
	}
	return c.with(pieces...), nil
}

// nameExceptions notes in a condition that withExceptions has made which parts are exceptions.
func (r *ruleInfo) nameExceptions(x Expr) {
	var names []string
	for _, e := range r.exceptions {
		if len(e.values) > 0 {
			names = append(names, e.name)
		}
	}
	and, ok := x.(*And)
	if !ok || len(names) == 0 || len(and.Parts) != len(names)+1 { // a text that goes on over the parentheses
		return
	}
	for i, part := range and.Parts[1:] {
		if not, ok := part.(*Not); ok {
			not.except = names[i]
		}
	}
}

func (e *exception) origin() origin {
	if e.fields.node != nil {
		return origin{e.fields.node, 0}
	}
	return origin{}
}

func (e *entry) origin(other origin) origin {
	if e.node != nil {
		return origin{e.node, 0}
	}
	return other
}

func (e *exception) problem(r *ruleInfo, text string) *Problem {
	p := &Problem{Code: ErrValidate, Item: r.condition.item, Text: "exception " + e.name + ": " + text, Pos: Position{Line: e.node.Line, Column: e.node.Column}}
	if o := e.origin(); o.scalar != nil {
		p.Pos.File = o.scalar.file.name
		p.Excerpt = o.scalar.file.excerpt(e.node.Line, e.node.Column)
	}
	return p
}

// condition renders an exception as a condition, or nothing if it has no values.
func (e *exception) condition(r *ruleInfo) ([]piece, *Problem) {
	var out []piece
	put := func(text string, at entry) { out = append(out, from(text, at.origin(e.origin()))) }
	if !e.fields.list {
		for i, v := range e.values {
			if v.list {
				return nil, e.problem(r, "it has one field, so its values must be texts and not lists")
			}
			if i == 0 {
				put("("+e.fields.text+" "+e.comps.text+" (", e.fields)
			} else {
				put(", ", v)
			}
			put(quoteItem(v.text), v)
		}
		if len(out) > 0 {
			put("))", e.fields)
		}
		return out, nil
	}
	if len(e.comps.items) != len(e.fields.items) {
		return nil, e.problem(r, "exceptions that replace others need comps, as many as fields; the engine would crash")
	}
	for i, values := range e.values {
		if len(values.items) != len(e.fields.items) {
			return nil, e.problem(r, "each of its values must be a list with a value for each field")
		}
		if i == 0 {
			put("(", e.fields)
		} else {
			put(" or ", values)
		}
		put("(", values)
		for k, f := range e.fields.items {
			if k > 0 {
				put(" and ", values)
			}
			op, v := e.comps.items[k].text, values.items[k]
			put(" "+f.text, f)
			put(" "+op+" ", e.comps.items[k])
			switch {
			case v.list:
				var texts []string
				for _, item := range v.items {
					texts = append(texts, quoteItem(item.text))
				}
				put("("+strings.Join(texts, ", ")+")", v)
			case slices.Contains(listOps, op) || modified(op):
				if !strings.HasPrefix(v.text, "(") {
					put("("+v.text+")", v)
				} else {
					put(v.text, v)
				}
			default:
				put(quoteItem(v.text), v)
			}
		}
		put(")", values)
	}
	if len(out) > 0 {
		put(")", e.fields)
	}
	return out, nil
}

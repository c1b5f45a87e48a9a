package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A collection is what the files read so far have defined, in the order of the first definitions, as Falco keeps it
// (falcosecurity/falco: userspace/engine/rule_loader_collector.cpp).
type collection struct {
	options  Options
	fields   *fields
	lists    ordered[listInfo]
	items    map[string][]string // of lists, when conditions were parsed last
	macros   ordered[macroInfo]
	rules    ordered[ruleInfo]
	clock    int // counts definitions
	engine   version
	required []requirement
	warnings []*Problem
}

// A requirement is a plugin that rules need, or one of its alternatives.
type requirement struct {
	plugins []Plugin
	at      *Problem
}

// Something defined is visible to what is defined after index, and sees what is defined before visibility.
type order struct{ index, visibility int }

type listInfo struct {
	order
	name  string
	items []string
	nodes []*scalar
	at    *Problem
}

type macroInfo struct {
	order
	name      string
	condition *source
	at        *Problem
	parsed    *parsed // nil if it changed
	expanded  Expr
}

type ruleInfo struct {
	order
	name, desc, source string
	condition, output  *source
	priority           Priority
	tags               []string
	enabled, skip      bool
	unknown            bool // its source
	exceptions         []exception
	at                 *Problem
	compiled           *compiledRule // nil if it changed
}

// ordered keeps things by name, in the order in which they came first.
type ordered[T any] struct {
	all   []*T
	index map[string]int
}

func (o *ordered[T]) get(name string) *T {
	if i, ok := o.index[name]; ok {
		return o.all[i]
	}
	return nil
}

func (o *ordered[T]) put(name string, v *T) {
	if i, ok := o.index[name]; ok {
		o.all[i] = v
		return
	}
	if o.index == nil {
		o.index = map[string]int{}
	}
	o.index[name] = len(o.all)
	o.all = append(o.all, v)
}

// next returns the order of a new definition; prev is the one before under the same name, if there is one.
func (c *collection) next(prev *order) order {
	o := order{c.clock, c.clock}
	c.clock++
	if prev != nil {
		o.index = prev.index
	}
	return o
}

func (c *collection) defineList(l listInfo) {
	var prev *order
	if p := c.lists.get(l.name); p != nil {
		prev = &p.order
	}
	l.order = c.next(prev)
	c.lists.put(l.name, &l)
}

func (c *collection) appendList(l listInfo) bool {
	p := c.lists.get(l.name)
	if p == nil {
		return false
	}
	p.items = append(p.items, l.items...)
	p.nodes = append(p.nodes, l.nodes...)
	p.order = c.next(&p.order)
	return true
}

func (c *collection) defineMacro(m macroInfo) {
	var prev *order
	if p := c.macros.get(m.name); p != nil {
		prev = &p.order
	}
	m.order = c.next(prev)
	c.macros.put(m.name, &m)
}

func (c *collection) appendMacro(m macroInfo) bool {
	p := c.macros.get(m.name)
	if p == nil {
		return false
	}
	p.condition = joinSources(p.condition, m.condition)
	p.order = c.next(&p.order)
	p.parsed = nil
	return true
}

func (c *collection) defineRule(r *ruleInfo) {
	var prev *order
	if p := c.rules.get(r.name); p != nil {
		prev = &p.order
	}
	r.order = c.next(prev)
	c.rules.put(r.name, r)
}

func (c *collection) changed(r *ruleInfo) {
	r.order = c.next(&r.order)
	r.compiled = nil
}

// checkPlugins checks that the plugins the rules require are loaded.
func (c *collection) checkPlugins() *Problem {
	if c.options.Plugins == nil {
		return nil
	}
	for _, r := range c.required {
		p, found := *r.at, false
		var wants []string
		for _, want := range r.plugins {
			wants = append(wants, fmt.Sprintf("%s (>= %s)", want.Name, want.Version))
			i := slices.IndexFunc(c.options.Plugins, func(have Plugin) bool { return have.Name == want.Name })
			if i < 0 || found {
				continue
			}
			found = true
			required, _ := parseVersion(want.Version)
			if have, ok := parseVersion(c.options.Plugins[i].Version); !ok || !have.serves(required) {
				p.Text = fmt.Sprintf("the rules require plugin %s %s, and %s is loaded", want.Name, want.Version, c.options.Plugins[i].Version)
				return &p
			}
		}
		if !found {
			p.Text = "the rules require a plugin that is not loaded: " + strings.Join(wants, ", or ")
			return &p
		}
	}
	return nil
}

// compile expands and checks everything, and puts it into a ruleset. Falco does so behind each file; what neither the
// file nor what it uses has changed is here what it was behind the file before.
func (c *collection) compile(out *Ruleset) []*Problem {
	lists, changed := c.compileLists()
	if problem := c.compileMacros(lists, changed); problem != nil {
		return []*Problem{problem}
	}
	used := map[string]bool{}
	var problems []*Problem
	for _, r := range c.rules.all {
		if r.unknown {
			continue
		}
		if r.compiled == nil || r.compiled.parsed.stale(changed) {
			var problem *Problem
			if r.compiled, problem = c.compileRule(r, lists); problem != nil {
				problems = append(problems, problem)
				continue
			}
		}
		r.compiled.parsed.markUsed(used)
		out.Rules = append(out.Rules, r.compiled.rule)
		out.Warnings = append(out.Warnings, r.compiled.warnings...)
	}
	for _, m := range c.macros.all {
		m.parsed.markUsed(used)
	}
	for _, m := range c.macros.all {
		def := MacroDef{Name: m.name, Text: m.condition.text, Condition: m.expanded, Used: used["macro "+m.name], Pos: m.at.Pos}
		out.Macros = append(out.Macros, def)
		if !def.Used {
			out.Warnings = append(out.Warnings, m.at.as(WarnUnusedMacro, "the macro is not used"))
		}
	}
	for i, l := range lists {
		l.Used = l.Used || used["list "+l.Name]
		out.Lists = append(out.Lists, *l)
		if !l.Used {
			out.Warnings = append(out.Warnings, c.lists.all[i].at.as(WarnUnusedList, "the list is not used"))
		}
	}
	return problems
}

// A parsed is a condition with its lists expanded, and what it was made of.
type parsed struct {
	condition Expr
	text      string
	lists     []string // those that were expanded
	macros    []string // those it names itself
}

// A changeset has the lists that are new or have other items than when conditions were parsed last, and the macros
// that are no longer what they were.
type changeset struct{ lists, macros map[string]bool }

// stale reports whether the condition has to be parsed and expanded anew. A list that is not among those used was
// either there, and its name was not in the text; or it is new, so that it comes behind the others, and finds the text
// as they leave it.
func (p *parsed) stale(c changeset) bool {
	if p == nil {
		return false
	}
	for name := range c.lists {
		if slices.Contains(p.lists, name) || strings.Contains(p.text, name) {
			return true
		}
	}
	return p.names(c.macros)
}

// names reports whether one of the macros is in the condition.
func (p *parsed) names(macros map[string]bool) bool {
	return slices.ContainsFunc(p.macros, func(name string) bool { return macros[name] })
}

func (p *parsed) markUsed(used map[string]bool) {
	if p == nil {
		return
	}
	for _, name := range p.lists {
		used["list "+name] = true
	}
	for _, name := range p.macros {
		used["macro "+name] = true
	}
}

// as returns another problem at the same place.
func (p *Problem) as(code Code, text string) *Problem {
	q := *p
	q.Code, q.Text = code, text
	return &q
}

// compileLists puts the items of lists in place of their names in other lists, one level deep.
func (c *collection) compileLists() ([]*ListDef, changeset) {
	changed := changeset{map[string]bool{}, map[string]bool{}}
	if c.items == nil {
		c.items = map[string][]string{}
	}
	var defs []*ListDef
	used := map[string]bool{}
	for _, l := range c.lists.all {
		def := &ListDef{Name: l.name, Pos: l.at.Pos}
		for _, item := range l.items {
			if ref := c.lists.get(item); ref != nil && ref.index < l.visibility {
				used[item] = true
				def.Items = append(def.Items, ref.items...)
				continue
			}
			def.Items = append(def.Items, item)
		}
		if before, ok := c.items[l.name]; !ok || !slices.Equal(before, def.Items) {
			changed.lists[l.name] = true
			c.items[l.name] = def.Items
		}
		defs = append(defs, def)
	}
	for _, def := range defs {
		def.Used = used[def.Name]
	}
	return defs, changed
}

// A condition may have this many bytes when its lists are expanded, and this many parts when its macros are: lists and
// macros that use each other twice and more grow without end.
const (
	maxConditionText  = 16 << 20
	maxConditionParts = 1 << 20
)

// parseCondition expands the lists in a condition and parses it.
func parseCondition(in *source, lists []*ListDef) (*parsed, *Problem) {
	p := &parsed{}
	for _, l := range lists {
		var used bool
		if in, used = expandList(in, l); used {
			p.lists = append(p.lists, l.Name)
		}
		if len(in.text) > maxConditionText {
			return nil, in.problem(0, fmt.Sprintf("with its lists the condition has more than %d bytes", maxConditionText), "")
		}
	}
	var problem *Problem
	if p.condition, problem = parse(in); problem != nil {
		return nil, problem
	}
	p.text = in.text
	Walk(p.condition, func(x Expr) bool {
		if m, ok := x.(*Macro); ok {
			p.macros = append(p.macros, m.Name)
		}
		return true
	})
	return p, nil
}

// expandList puts the items of a list in place of its name. Falco does this in the text of a condition, wherever the
// name stands between delimiters, in quotes too.
func expandList(in *source, l *ListDef) (out *source, used bool) {
	const blanks = " \t\n\r"
	const delimiters = blanks + "(),="
	isOf := func(set string, i int) bool { return strings.IndexByte(set, in.text[i]) >= 0 }
	for start := strings.Index(in.text, l.Name); start >= 0; {
		end := start + len(l.Name)
		if (start == 0 || isOf(delimiters, start-1)) && (end >= len(in.text) || isOf(delimiters, end)) {
			at := in.originAt(start)
			for start > 0 && isOf(blanks, start-1) {
				start--
			}
			for end < len(in.text) && isOf(blanks, end) {
				end++
			}
			items := make([]string, len(l.Items))
			for i, v := range l.Items {
				items[i] = quoteItem(v)
			}
			text := strings.Join(items, ", ")
			if text == "" { // an empty list takes a comma with it
				if start > 0 && in.text[start-1] == ',' {
					start--
				} else if end < len(in.text) && in.text[end] == ',' {
					end++
				}
			}
			var pieces []piece
			if start > 0 {
				pieces = append(pieces, in.piece(0, start), from(" ", at))
			}
			pieces = append(pieces, from(text+" ", at), in.piece(end, len(in.text)))
			in = in.with(pieces...)
			start += len(text) + 1
			used = true
		}
		next := min(start+1, len(in.text))
		if start = strings.Index(in.text[next:], l.Name); start >= 0 {
			start += next
		}
	}
	return in, used
}

// compileMacros parses the macros that changed and expands those in them, and in what uses them.
func (c *collection) compileMacros(lists []*ListDef, changed changeset) (problem *Problem) {
	for _, m := range c.macros.all {
		if m.parsed == nil || m.parsed.stale(changeset{lists: changed.lists}) {
			if m.parsed, problem = parseCondition(m.condition, lists); problem != nil {
				return problem
			}
			changed.macros[m.name] = true
		}
	}
	for more := true; more; {
		more = false
		for _, m := range c.macros.all {
			if !changed.macros[m.name] && m.parsed.names(changed.macros) {
				changed.macros[m.name], more = true, true
			}
		}
	}
	for _, m := range c.macros.all {
		if changed.macros[m.name] {
			m.expanded = m.parsed.condition
		}
	}
	for _, m := range c.macros.all {
		if changed.macros[m.name] {
			if m.expanded, problem = c.expandMacros(m.parsed.condition, m.visibility); problem != nil {
				return problem
			}
		}
	}
	return nil
}

// expandMacros puts the conditions of macros in place of their names; those count that were defined before.
func (c *collection) expandMacros(x Expr, before int) (Expr, *Problem) {
	e := expander{collection: c, before: before}
	if x = e.expand(x); e.problem != nil {
		return nil, e.problem
	}
	return x, nil
}

// An expander expands the macros of one condition.
type expander struct {
	*collection
	before  int
	within  []string // the macros being expanded
	problem *Problem
	parts   int
}

func (e *expander) expand(x Expr) Expr {
	if e.parts++; e.parts > maxConditionParts {
		if e.problem == nil {
			e.problem = x.at().in.problem(x.at().offset, fmt.Sprintf("with its macros the condition has more than %d parts", maxConditionParts), "")
			e.problem.Code = ErrValidate
		}
		return x
	}
	switch x := x.(type) {
	case *And:
		return &And{x.place, e.each(x.Parts)}
	case *Or:
		return &Or{x.place, e.each(x.Parts)}
	case *Not:
		return &Not{x.place, e.expand(x.Part)}
	case *Macro:
		return e.macro(x)
	}
	return x
}

func (e *expander) each(parts []Expr) []Expr {
	out := make([]Expr, len(parts))
	for i, p := range parts {
		out[i] = e.expand(p)
	}
	return out
}

func (e *expander) macro(x *Macro) Expr {
	info := e.macros.get(x.Name)
	switch {
	case info == nil || info.index >= e.before:
		if e.problem == nil {
			e.problem = x.in.problem(x.offset, "there is no macro "+x.Name+e.later(info), e.hint(x.Name))
			e.problem.Code = ErrValidate
		}
		return x
	case slices.Contains(e.within, x.Name):
		if e.problem == nil || e.problem.Code == ErrValidate {
			e.problem = x.in.problem(x.offset, "the macro "+x.Name+" refers to itself", "")
			e.problem.Code = ErrValidate
		}
		return x
	}
	e.within = append(e.within, x.Name)
	out := e.expand(info.expanded)
	e.within = e.within[:len(e.within)-1]
	return as(out, x.Name)
}

func (e *expander) later(info *macroInfo) string {
	if info != nil {
		return " before this; it is defined later"
	}
	return ""
}

// hint says what may be meant by the name of a macro there is not.
func (e *expander) hint(name string) string {
	for _, op := range Operators() {
		if op == name {
			return "a field stands before " + op
		}
	}
	if e.lists.get(name) != nil {
		return name + " is a list: write FIELD in (" + name + ")"
	}
	var names []string
	for _, m := range e.macros.all {
		if m.index < e.before {
			names = append(names, m.name)
		}
	}
	return meant(name, names)
}

// A compiledRule is a rule, what it was made of unless it was skipped before, and what to warn of.
type compiledRule struct {
	rule     *Rule
	parsed   *parsed
	warnings []*Problem
}

// compileRule expands and checks a rule.
func (c *collection) compileRule(r *ruleInfo, lists []*ListDef) (*compiledRule, *Problem) {
	condition, problem := r.withExceptions()
	if problem != nil {
		return nil, problem
	}
	out := &compiledRule{}
	rule := &Rule{
		Name: r.name, Desc: r.desc, Source: r.source, Priority: r.priority, Tags: slices.Clone(r.tags), Enabled: r.enabled,
		Output: r.output.text, Text: r.condition.text, Pos: r.at.Pos, output: r.output,
	}
	for i := range c.options.Additions {
		if a := &c.options.Additions[i]; a.Output != "" && a.fits(rule) {
			o := rule.output
			rule.output = o.with(o.piece(0, len(o.text)), from(" "+a.Output, o.originAt(len(o.text))))
		}
	}
	out.rule = rule
	compiler := newCompiler(c.fields, c.options.Falco)
	if r.source == Source {
		if problem := c.checkOutput(r, rule, compiler, out); problem != nil || rule.Skipped != "" {
			return out, problem
		}
	} else {
		rule.Skipped = "events of source " + r.source + " are not evaluated here"
	}
	var x Expr
	if out.parsed, problem = parseCondition(condition, lists); problem == nil {
		r.nameExceptions(out.parsed.condition)
		x, problem = c.expandMacros(out.parsed.condition, c.clock+1)
	}
	if problem != nil {
		problem.Item = r.condition.item
		return nil, problem
	}
	rule.Condition = x
	if r.source != Source {
		return out, c.foreign(r, rule, out)
	}
	if unsafe := unsafeNA(x); unsafe != nil {
		p := unsafe.at().in.problem(unsafe.at().offset, "comparing with <NA> does not find out whether there is a value", "use exists")
		p.Code, p.Item = WarnUnsafeNA, r.condition.item
		out.warnings = append(out.warnings, p)
	}
	if _, err := compiler.compile(x); err != nil {
		problem := problemOf(err, r.condition)
		if isUnknown(err) && r.skip {
			problem.Code = WarnUnknownFilter
			out.warnings = append(out.warnings, problem)
			rule.Skipped = problem.Text
			return out, nil
		}
		return nil, problem
	}
	out.warnings = append(out.warnings, c.constantWarnings(x, r.condition.item)...)
	rule.Fields = fieldNames(x)
	if least := c.options.MinPriority; least != nil && rule.Priority > *least {
		rule.Skipped = fmt.Sprintf("its priority, %v, is lower than %v", rule.Priority, *least)
	}
	return out, nil
}

// foreign finds fields of the table in the condition of a rule for events of another source, which do not have them.
// Nothing is known of the fields they do have.
func (c *collection) foreign(r *ruleInfo, rule *Rule, out *compiledRule) *Problem {
	var found *Field
	Walk(rule.Condition, func(x Expr) bool {
		if f, ok := x.(*Field); ok && found == nil {
			if _, ours := c.fields.table.Find(f.Name); ours {
				found = f
			}
		}
		return found == nil
	})
	if found == nil {
		return nil
	}
	problem := found.in.problem(found.offset, "events of source "+r.source+" have no field "+found.Name, "add source: "+Source+" to the rule")
	problem.Item = r.condition.item
	if r.skip {
		problem.Code = WarnUnknownFilter
		out.warnings = append(out.warnings, problem)
		rule.Skipped = problem.Text
		return nil
	}
	return problem
}

// checkOutput compiles the output of a rule.
func (c *collection) checkOutput(r *ruleInfo, rule *Rule, compiler *compiler, out *compiledRule) *Problem {
	if strings.Contains(rule.output.text, "%container.info") {
		p := r.at.as(WarnDeprecated, "%container.info is deprecated and means nothing")
		out.warnings = append(out.warnings, p)
		rule.output = replaceText(rule.output, "%container.info", "")
	}
	rule.Output = rule.output.text
	f, err := compiler.output(rule, c.options.Additions)
	if err != nil {
		problem := problemOf(err, rule.output)
		problem.Code = ErrOutput
		if problem.Pos.Line == 0 { // nothing is left of it
			problem.Pos, problem.Excerpt = r.at.Pos, r.at.Excerpt
		}
		if isUnknown(err) && r.skip {
			problem.Code = WarnUnknownFilter
			out.warnings = append(out.warnings, problem)
			rule.Skipped = problem.Text
			return nil
		}
		return problem
	}
	for _, x := range f.asked {
		rule.OutputFields = append(rule.OutputFields, x.engineName())
	}
	slices.Sort(rule.OutputFields)
	rule.OutputFields = slices.Compact(rule.OutputFields)
	rule.outputFields = f.asked
	return nil
}

// replaceText replaces every occurrence of a text.
func replaceText(s *source, old, text string) *source {
	for i := strings.Index(s.text, old); i >= 0; i = strings.Index(s.text, old) {
		s = s.with(s.piece(0, i), from(text, s.originAt(i)), s.piece(i+len(old), len(s.text)))
	}
	return s
}

func isUnknown(err error) bool { return errors.As(err, new(unknown)) }

// problemOf makes a problem of an error of the compiler.
func problemOf(err error, in *source) *Problem {
	e := (*invalid)(nil)
	if !errors.As(err, &e) {
		p := in.problem(0, err.Error(), "")
		return p
	}
	at := e.at.in
	if at == nil {
		at = in
	}
	p := at.problem(e.at.offset, e.Error(), e.hint)
	p.Item = in.item
	return p
}

// fieldNames returns the fields in an expression, each once, in their order.
func fieldNames(x Expr) []string {
	var names []string
	Walk(x, func(x Expr) bool {
		if f, ok := x.(*Field); ok && !slices.Contains(names, f.String()) {
			names = append(names, f.String())
		}
		return true
	})
	return names
}

// unsafeNA returns a constant <NA> that a field is compared with, or nil. Old rules mean by it that there is no value.
func unsafeNA(x Expr) (found Expr) {
	Walk(x, func(x Expr) bool {
		c, ok := x.(*Check)
		if !ok || found != nil {
			return found == nil
		}
		switch c.Op {
		case "==", "=", "!=", "in", "intersects", "pmatch":
		default:
			return false
		}
		if f, ok := c.Left.(*Field); !ok || !strings.HasPrefix(f.Name, "ka.") && !strings.HasPrefix(f.Name, "jevt.") {
			return false
		}
		switch right := c.Right.(type) {
		case *Value:
			if right.Text == "<NA>" {
				found = right
			}
		case *List:
			if slices.Contains(right.Items, "<NA>") {
				found = right
			}
		}
		return false
	})
	return found
}

// constantWarnings warns of constants that look like something else, and of regular expressions that other operators
// could do.
func (c *collection) constantWarnings(x Expr, item string) []*Problem {
	var out []*Problem
	warn := func(at place, text, hint string) {
		p := at.in.problem(at.offset, text, hint)
		p.Code, p.Item = WarnCondition, item
		out = append(out, p)
	}
	Walk(x, func(x Expr) bool {
		check, ok := x.(*Check)
		if !ok {
			return true
		}
		var texts []string
		switch right := check.Right.(type) {
		case *Value:
			texts = []string{right.Text}
		case *List:
			texts = right.Items
		}
		for _, t := range texts {
			at := check.Right.at()
			if strings.HasPrefix(check.Op, "regex") && simpleRegex(t) {
				warn(at, fmt.Sprintf("the regular expression %q could be a simpler operator", t), "use = contains startswith or endswith, which are faster")
			}
			squeezed := strings.Map(func(r rune) rune {
				if r < 0x80 && isSpace(byte(r)) {
					return -1
				}
				return r
			}, t)
			if c.fields.exists(squeezed) {
				warn(at, fmt.Sprintf("%q is a constant here, and the name of a field", t), "to compare with the field write val("+squeezed+")")
			}
			if name, _, ok := strings.Cut(squeezed, "("); ok && strings.HasSuffix(squeezed, ")") && slices.Contains(transformers, name) {
				warn(at, fmt.Sprintf("%q is a constant here, and looks like a transformer", t), "to compare with its result leave the quotes out")
			}
		}
		return false
	})
	return out
}

// simpleRegex reports whether a regular expression has nothing in it that only a regular expression can do.
func simpleRegex(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if i == 0 && c == '^' || i == len(s)-1 && c == '$' {
			continue
		}
		if (i == 0 && len(s) > 1 || i == len(s)-2) && c == '.' && strings.IndexByte("+*?", s[i+1]) >= 0 {
			i++
			continue
		}
		if strings.IndexByte(`.+*?^$()[]{}|\`, c) >= 0 {
			return false
		}
	}
	return true
}

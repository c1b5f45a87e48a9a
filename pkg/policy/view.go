package policy

import (
	"fmt"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// A verdict is what can be said of a condition of a request of which not all is known.
type verdict uint8

const (
	unseen verdict = iota
	no
	maybe
	yes
)

func (v verdict) not() verdict {
	switch v {
	case no:
		return yes
	case yes:
		return no
	}
	return v
}

// conditions are those of rules, taken apart, so that what they have in common is looked at once.
type conditions struct {
	of        map[*rules.Rule]*node
	nodes     []*node
	checks    []*check
	questions []*question
	evaluate  *rules.Checks
	loaded    *view // whose event the checks are evaluated on

	nodeByParts    map[string]*node
	checkByText    map[string]int
	questionByText map[string]int
}

// A node is a part of a condition; what several conditions have in common is one node.
type node struct {
	id    int
	kind  byte // & | ! or 0 for a check
	parts []*node
	check int
}

type check struct {
	text      string
	expr      *rules.Check
	questions []int
	fields    []string
}

// A question is a field with its argument. It is nil if the table does not have it: nothing is known of its answer.
type question struct {
	text string
	ask  *extract.Question
}

func takeApart(set *rules.Ruleset, list []*rules.Rule) (*conditions, error) {
	c := &conditions{of: map[*rules.Rule]*node{}, nodeByParts: map[string]*node{}, checkByText: map[string]int{}, questionByText: map[string]int{}}
	table := extract.Fields()
	for _, r := range list {
		c.of[r] = c.node(table, r.Condition)
	}
	var exprs []*rules.Check
	for _, k := range c.checks {
		exprs = append(exprs, k.expr)
	}
	var err error
	c.evaluate, err = set.Checks(exprs)
	return c, err
}

func (c *conditions) node(table extract.Table, x rules.Expr) *node {
	n := &node{}
	var parts []rules.Expr
	switch x := x.(type) {
	case *rules.And:
		n.kind, parts = '&', x.Parts
	case *rules.Or:
		n.kind, parts = '|', x.Parts
	case *rules.Not:
		n.kind, parts = '!', []rules.Expr{x.Part}
	case *rules.Check:
		text := x.String()
		i, ok := c.checkByText[text]
		if !ok {
			i = len(c.checks)
			k := &check{text: text, expr: x}
			rules.Walk(x, func(part rules.Expr) bool {
				if f, ok := part.(*rules.Field); ok {
					k.questions = append(k.questions, c.question(table, f))
					k.fields = append(k.fields, f.String())
				}
				return true
			})
			c.checks = append(c.checks, k)
			c.checkByText[text] = i
		}
		n.check = i
	default:
		panic(fmt.Sprintf("policy: a condition has %T in it", x))
	}
	for _, p := range parts {
		n.parts = append(n.parts, c.node(table, p))
	}
	key := fmt.Sprint(n.kind, n.check)
	for _, p := range n.parts {
		key += fmt.Sprint(" ", p.id)
	}
	if same, ok := c.nodeByParts[key]; ok {
		return same
	}
	n.id = len(c.nodes)
	c.nodes = append(c.nodes, n)
	c.nodeByParts[key] = n
	return n
}

func (c *conditions) question(table extract.Table, f *rules.Field) int {
	text := f.String()
	if i, ok := c.questionByText[text]; ok {
		return i
	}
	q := &question{text: text}
	name := f.Name
	if name == "jevt.value" || name == "json.value" {
		name = "ka.value" // what the json plugin reads of an event, by the same pointer
	}
	if id, ok := table.Find(name); ok {
		if a, err := table[id].ParseArg(f.Arg, f.HasArg); err == nil {
			if ask, err := table.Ask(id, a); err == nil {
				q.ask = &ask
			}
		}
	}
	c.questions = append(c.questions, q)
	c.questionByText[text] = len(c.questions) - 1
	return len(c.questions) - 1
}

// A view is a request as an event of one level shows it. Checks are looked at when they are asked for, each once.
type view struct {
	all      *conditions
	one      event // to ask questions of
	other    event
	whole    event // to evaluate checks on
	unknown  members
	nodes    []verdict
	verdicts []verdict
	answers  []answer
}

// An event is one of those of a probe.
type event struct {
	raw   []byte
	audit audit.Event
	event extract.Event
}

func (e *event) load() {
	e.audit.Load(e.raw)
	e.event.Reset(&e.audit)
}

// An answer is what is known of a field.
type answer struct {
	asked  bool
	known  bool
	looked members // where the field has looked
}

func (c *conditions) newView() *view {
	return &view{all: c, nodes: make([]verdict, len(c.nodes)), verdicts: make([]verdict, len(c.checks)), answers: make([]answer, len(c.questions))}
}

func (v *view) set(p *probe) {
	v.one.raw, v.other.raw, v.unknown = p.events()
	v.whole.raw = v.one.raw
	v.whole.load()
	clear(v.nodes)
	clear(v.verdicts)
	clear(v.answers)
	if v.all.loaded == v {
		v.all.loaded = nil
	}
}

// answer asks a question of both events: what they have in common is known if the field has looked nowhere else.
func (v *view) answer(i int) answer {
	a := &v.answers[i]
	if a.asked {
		return *a
	}
	a.asked = true
	q := v.all.questions[i]
	if q.ask == nil {
		// The time of an event is never 0, which is how rules are switched off; and the source is what it is.
		a.known = q.text == "evt.rawtime" || q.text == "jevt.rawtime" || q.text == "json.rawtime" || q.text == "evt.source" || q.text == "evt.is_async" || q.text == "evt.asynctype"
		return *a
	}
	var answers [2]extract.Value
	for k, e := range []*event{&v.one, &v.other} {
		e.load()
		q.ask.Answer(&e.event, &answers[k])
		for m := range audit.Origin + 1 {
			if e.audit.Looked(m) {
				a.looked |= 1 << m
			}
		}
	}
	a.known = a.looked&v.unknown == 0 && same(&answers[0], &answers[1])
	return *a
}

func same(a, b *extract.Value) bool {
	if a.Len() != b.Len() {
		return false
	}
	for i, n := range a.Numbers() {
		if b.Numbers()[i] != n {
			return false
		}
	}
	ta, ea := a.Texts()
	tb, eb := b.Texts()
	if len(ea) != len(eb) || len(ea) > 0 && string(ta) != string(tb) {
		return false
	}
	for i := range ea {
		if ea[i] != eb[i] {
			return false
		}
	}
	return true
}

// check looks at a check.
func (v *view) check(i int) verdict {
	if v.verdicts[i] != unseen {
		return v.verdicts[i]
	}
	known := true
	for _, q := range v.all.checks[i].questions {
		if !v.answer(q).known {
			known = false
			break
		}
	}
	verdict := maybe
	if known {
		if v.all.loaded != v {
			v.all.loaded = v
			v.all.evaluate.Load(rules.Event{Event: &v.whole.event, Number: 1, Time: 1})
		}
		verdict = no
		if v.all.evaluate.Holds(i) {
			verdict = yes
		}
	}
	v.verdicts[i] = verdict
	return verdict
}

// of looks at a part of a condition.
func (v *view) of(n *node) verdict {
	if v.nodes[n.id] == unseen {
		v.nodes[n.id] = v.look(n)
	}
	return v.nodes[n.id]
}

func (v *view) look(n *node) verdict {
	switch n.kind {
	case '&':
		all := yes
		for _, p := range n.parts {
			switch v.of(p) {
			case no:
				return no
			case maybe:
				all = maybe
			}
		}
		return all
	case '|':
		any := no
		for _, p := range n.parts {
			switch v.of(p) {
			case yes:
				return yes
			case maybe:
				any = maybe
			}
		}
		return any
	case '!':
		return v.of(n.parts[0]).not()
	}
	return v.check(n.check)
}

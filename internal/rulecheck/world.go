package rulecheck

import (
	"slices"

	"kaudit/internal/convert"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// A goal is a condition that shall hold, or shall not.
type goal struct {
	x    rules.Expr
	want bool
}

// A world is what is known of an event: for each field the values it may have. Goals are added until they contradict one
// another.
type world struct {
	known map[string]*values
	given *given
	steps *int
	why   bool            // whether clash is asked for
	clash [2]*rules.Check // the last two checks of one field that contradicted each other
}

// given is what is assumed of every event.
type given struct {
	present bool    // each field is there
	sample  *sample // some fields are as they are on an event
	strict  bool    // lists without items have none; else what is in them cannot be told
	// idle says that fields by which rules are switched off may have any value. See rawtime.
	idle bool
}

// maxSteps is how long it is looked for an event. Real conditions take some hundred steps.
const maxSteps = 20_000

func newWorld(g *given) *world {
	return &world{known: map[string]*values{}, given: g, steps: new(int)}
}

// possible reports whether there may be an event for which all goals are met. It says yes when it cannot tell.
func possible(g *given, goals ...goal) bool { return newWorld(g).meet(goals, nil) != nil }

func (w *world) clone() *world {
	c := *w
	c.known = make(map[string]*values, len(w.known))
	for k, v := range w.known {
		c.known[k] = v // never changed in place
	}
	return &c
}

// again is clone, with all the steps to go.
func (w *world) again() *world {
	c := w.clone()
	c.steps = new(int)
	return c
}

// meet adds goals, then looks for a way through the choices they leave. It returns a world in which all are met, or nil
// if there is none.
func (w *world) meet(goals []goal, choices [][]goal) *world {
	choices, ok := w.add(goals, choices)
	if !ok {
		return nil
	}
	for len(choices) > 0 {
		if *w.steps > maxSteps {
			return w
		}
		// Alternatives that contradict what is known are out. A choice with one left is none.
		least, forced := -1, false
		for i, alternatives := range choices {
			var left []goal
			for _, a := range alternatives {
				c := w.clone()
				if _, ok := c.add([]goal{a}, nil); ok {
					left = append(left, a)
				} else {
					w.clash = c.clash
				}
			}
			choices = slices.Clone(choices)
			choices[i] = left
			if len(left) == 0 {
				return nil
			}
			if len(left) == 1 {
				rest := slices.Delete(slices.Clone(choices), i, i+1)
				if choices, ok = w.add(left, rest); !ok {
					return nil
				}
				forced = true
				break
			}
			if least < 0 || len(left) < len(choices[least]) {
				least = i
			}
		}
		if forced {
			continue
		}
		rest := slices.Delete(slices.Clone(choices), least, least+1)
		for _, a := range choices[least] {
			c := w.clone()
			if met := c.meet([]goal{a}, rest); met != nil {
				return met
			}
			w.clash = c.clash
		}
		return nil
	}
	return w
}

// add adds goals. What leaves a choice is appended to choices.
func (w *world) add(goals []goal, choices [][]goal) ([][]goal, bool) {
	all := func(parts []rules.Expr, want bool) []goal {
		out := make([]goal, len(parts))
		for i, p := range parts {
			out[i] = goal{p, want}
		}
		return out
	}
	todo := slices.Clone(goals)
	for len(todo) > 0 {
		g := todo[0]
		todo = todo[1:]
		*w.steps++
		switch x := g.x.(type) {
		case *rules.And:
			if g.want {
				todo = append(all(x.Parts, true), todo...)
			} else {
				choices = append(slices.Clip(choices), all(x.Parts, false))
			}
		case *rules.Or:
			if !g.want {
				todo = append(all(x.Parts, false), todo...)
			} else {
				choices = append(slices.Clip(choices), all(x.Parts, true))
			}
		case *rules.Not:
			todo = append([]goal{{x.Part, !g.want}}, todo...)
		case *rules.Check:
			if !w.assume(x, g.want) {
				return choices, false
			}
			one, every := consequences(x, g.want)
			todo = append(every, todo...)
			if len(one) == 1 {
				todo = append(one, todo...)
			} else if len(one) > 1 {
				choices = append(slices.Clip(choices), one)
			}
		}
	}
	return choices, true
}

// assume adds that a check holds, or does not, and reports whether an event is left.
func (w *world) assume(c *rules.Check, want bool) bool {
	key, field := keyOf(c.Left)
	v, ok := w.known[key]
	if !ok {
		v = w.given.initial(c.Left, field)
	}
	next := v.with(c, want)
	if w.given.idle && isRawtime(field) {
		return true
	}
	w.known[key] = next
	if next.any(w.given.strict) {
		return true
	}
	if !w.why {
		return false
	}
	w.clash = [2]*rules.Check{c, nil}
	for _, t := range slices.Backward(v.tests) {
		if !(&values{typ: v.typ, list: v.list, domain: v.domain, absent: v.absent, none: v.none}).with(t.check, t.want).with(c, want).any(w.given.strict) {
			w.clash[1] = t.check
		}
	}
	return false
}

// keyOf returns the name under which it is noted what is known of the left side of a check, and the field if it is one.
func keyOf(left rules.Expr) (string, *rules.Field) {
	f, ok := left.(*rules.Field)
	if !ok {
		return left.String(), nil
	}
	if name := convert.Named(f); name != "" {
		return name, f
	}
	if f.Name == "jevt.value" || f.Name == "json.value" {
		return "ka.value[" + f.Arg + "]", f
	}
	return f.String(), f
}

// isRawtime reports whether a field is the time of the event, which is always there and never 0: rules are switched on
// and off with it.
func isRawtime(f *rules.Field) bool {
	return f != nil && (f.Name == "jevt.rawtime" || f.Name == "json.rawtime" || f.Name == "evt.rawtime")
}

// initial returns what may be a field's values before anything is said of it.
func (g *given) initial(left rules.Expr, f *rules.Field) *values {
	v := &values{typ: extract.Text, absent: !g.present}
	if f == nil {
		if t, ok := left.(*rules.Transform); ok && t.Name == "len" {
			v.typ = extract.Number
		}
		return v
	}
	known := fieldOf(f)
	if known != nil {
		v.typ, v.list = known.From.Type, known.From.List
		v.domain = domainOf(known)
	}
	if isRawtime(f) {
		v.absent, v.never, v.typ = false, "0", extract.Text
	}
	if g.sample != nil && known != nil && g.sample.fixes(known.Name) {
		switch texts := g.sample.values(known, f); {
		case texts == nil:
			v.none, v.absent = true, true
		case !v.list:
			v.domain, v.absent = texts, false
		}
	}
	return v
}

// fieldOf returns the row of the table of a field, or of the one that is the same.
func fieldOf(f *rules.Field) *extract.Field {
	name := f.Name
	if same := convert.Named(f); same != "" {
		name = same
	}
	if name == "jevt.value" || name == "json.value" {
		name = "ka.value"
	}
	i, ok := table.Find(name)
	if !ok {
		return nil
	}
	return &table[i]
}

var table = extract.Fields()

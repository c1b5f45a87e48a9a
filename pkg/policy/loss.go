package policy

import (
	"slices"

	"kaudit/pkg/audit"
)

// A loss is what a lower level takes from a rule.
type loss struct {
	// blind says that the condition can no longer hold.
	blind bool
	// lost are the checks that can no longer decide for the condition, by their numbers: without the body they never
	// hold, or never fail where they must not hold.
	lost []int
	// partial are those that still can, by what the request sent; but the object as it became is not there.
	partial []int
	// loose are the checks that can no longer decide against the condition: the rule fires where they kept it quiet.
	loose []int
}

func (l *loss) none() bool {
	return !l.blind && len(l.lost) == 0 && len(l.partial) == 0 && len(l.loose) == 0
}

// bodies are the members that levels below RequestResponse leave out.
var bodies = set(audit.RequestObject, audit.ResponseObject)

// levels are a request as events of each level show it.
type levelViews [RequestResponse + 1]*view

func (c *conditions) newLevelViews() (all levelViews) {
	for l := Metadata; l <= RequestResponse; l++ {
		all[l] = c.newView()
	}
	return all
}

func (all *levelViews) set(p probe) {
	for l := Metadata; l <= RequestResponse; l++ {
		p.level = l
		all[l].set(&p)
	}
}

// loss compares what a level shows with what there is to see. The condition may hold when everything is recorded.
func (all *levelViews) loss(n *node, l Level) (out loss) {
	if l == RequestResponse {
		return out
	}
	all.lossOf(n, l, true, &out)
	out.lost = slices.DeleteFunc(out.lost, func(i int) bool {
		return all[l].check(i) == yes && !all[RequestResponse].can(n, i)
	})
	// Without a body that was missed, it is the level that decides: of a deletion that only its body would call a dry
	// run, some rule fires that is about dry runs, or another one, which is about the others.
	out.blind = len(out.lost) > 0 && all[l].of(n) == no
	return out
}

// can reports whether a condition can hold while a check does not. What a rule excludes often has a check in it that the
// rule asks for itself, as "deleted, but not deleted by its owner" has: that this one cannot fail changes nothing then.
func (v *view) can(n *node, check int) bool {
	before := v.verdicts[check]
	v.verdicts[check] = no
	clear(v.nodes)
	holds := v.of(n)
	v.verdicts[check] = before
	clear(v.nodes)
	return holds != no
}

// lossOf notes what is lost in a part of a condition that is wanted to hold, or not to.
func (all *levelViews) lossOf(n *node, l Level, want bool, out *loss) {
	full, less := all[RequestResponse].of(n), all[l].of(n)
	if !want {
		full, less = full.not(), less.not()
	}
	// From here on yes means that the part does what is wanted of it.
	if full == no {
		return // it decides nothing that matters
	}
	if n.kind == 0 {
		all.lossOfCheck(n.check, l, full, less, out)
		return
	}
	if full == yes && less == yes {
		return
	}
	if n.kind == '!' {
		want = !want
	}
	for _, p := range n.parts {
		all.lossOf(p, l, want, out)
	}
}

func (all *levelViews) lossOfCheck(i int, l Level, full, less verdict, out *loss) {
	if full == less && full != maybe || !all[RequestResponse].reads(i, bodies) {
		return
	}
	switch {
	case less == no:
		out.lost = add(out.lost, i)
	case less == yes && full == maybe:
		out.loose = add(out.loose, i)
	case l == Request && all[Request].reads(i, set(audit.ResponseObject)) && all[Metadata].check(i) != maybe:
		out.partial = add(out.partial, i)
	}
}

func add(list []int, i int) []int {
	for _, k := range list {
		if k == i {
			return list
		}
	}
	return append(list, i)
}

// reads reports whether a field of a check has looked at one of some members.
func (v *view) reads(i int, at members) bool {
	for _, q := range v.all.checks[i].questions {
		if v.answer(q).looked&at != 0 {
			return true
		}
	}
	return false
}

package rulecheck

import (
	"slices"
	"strconv"
	"strings"

	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// values are those that a field may have.
type values struct {
	typ    extract.Type
	list   bool
	absent bool     // the event may not have the field
	none   bool     // it cannot have it
	domain []string // the values there are, of a list its elements'; nil if they are not known
	never  string   // a value it never has
	tests  []test   // what is asked of the value, if there is one
}

// A test is a check that the value passes, or does not.
type test struct {
	check *rules.Check
	want  bool
}

// with returns the values for which a check holds, or does not. A check never holds for a field that is not there.
func (v *values) with(c *rules.Check, want bool) *values {
	next := *v
	if want {
		next.absent = false
	}
	if c.Op == "exists" {
		next.none = next.none || !want
		return &next
	}
	next.tests = append(slices.Clip(v.tests), test{c, want})
	return &next
}

// any reports whether there may be an event with such a value, or without one.
func (v *values) any(strict bool) bool {
	if v.absent {
		return true
	}
	if v.none {
		return false
	}
	switch {
	case v.list:
		return v.anyList(strict)
	case v.typ == extract.Bool:
		return v.anyOf(intersection([]string{"true", "false"}, v.domain), strict)
	case v.typ == extract.Number || v.typ == extract.Duration || v.typ == extract.Moment:
		return v.anyOf(v.bounds(), strict)
	case v.typ == extract.Text:
		return v.anyText(strict)
	}
	return !v.opposed()
}

func intersection(a, b []string) []string {
	if b == nil {
		return a
	}
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// anyOf reports whether one of some values passes all tests.
func (v *values) anyOf(candidates []string, strict bool) bool {
	return slices.ContainsFunc(candidates, func(c string) bool {
		for _, t := range v.tests {
			if holds, sure := holds(v.typ, t.check, c, strict); sure && holds != t.want {
				return false
			}
		}
		return c != v.never
	}) && !v.opposed()
}

// opposed reports whether the value shall pass a test and fail the same.
func (v *values) opposed() bool {
	for i, a := range v.tests {
		for _, b := range v.tests[:i] {
			if a.want != b.want && a.check.Op == b.check.Op && same(a.check.Right, b.check.Right) {
				return true
			}
		}
	}
	return false
}

// same reports whether two right sides of checks are written alike. Lists may be long.
func same(a, b rules.Expr) bool {
	one, ok := a.(*rules.List)
	other, also := b.(*rules.List)
	if ok && also {
		return slices.Equal(one.Items, other.Items)
	}
	return ok == also && a.String() == b.String()
}

// bounds are numbers on both sides of each one that the value is compared with: between those, nothing changes.
func (v *values) bounds() []string {
	if v.domain != nil {
		return v.domain
	}
	all := []string{"0", strconv.FormatUint(1<<64-1, 10)}
	for _, t := range v.tests {
		for _, text := range constants(t.check.Right) {
			if n, err := strconv.ParseUint(text, 10, 64); err == nil {
				for _, k := range []uint64{n - 1, n, n + 1} {
					all = append(all, strconv.FormatUint(k, 10))
				}
			}
		}
	}
	return all
}

// anyText reports whether there is a text that passes all tests.
func (v *values) anyText(strict bool) bool {
	candidates, finite := v.domain, v.domain != nil
	for _, t := range v.tests {
		if set, ok := allowed(t, strict); ok {
			candidates, finite = set, true
			break
		}
	}
	if finite {
		return v.anyOf(candidates, strict)
	}
	if v.opposed() {
		return false
	}
	for i, a := range v.tests {
		for k, b := range v.tests {
			if i != k && a.want && contradict(a.check, b.check, b.want) {
				return false
			}
		}
	}
	return true
}

// allowed returns the only values that pass a test, if they can be told.
func allowed(t test, strict bool) ([]string, bool) {
	set := constants(t.check.Right)
	if t.check.Right == nil || set == nil || len(set) == 0 && !strict {
		return nil, false
	}
	switch t.check.Op {
	case "=", "==", "in", "intersects", "= anyof", "== anyof":
		return set, t.want
	case "!=":
		return set, !t.want
	}
	return nil, false
}

// contradict reports whether no text passes check a and passes b, or fails it.
func contradict(a, b *rules.Check, want bool) bool {
	x, ok1 := constant(a.Right)
	y, ok2 := constant(b.Right)
	if !ok1 || !ok2 {
		return false
	}
	switch {
	case want && a.Op == "startswith" && b.Op == "startswith":
		return !strings.HasPrefix(x, y) && !strings.HasPrefix(y, x)
	case want && a.Op == "endswith" && b.Op == "endswith":
		return !strings.HasSuffix(x, y) && !strings.HasSuffix(y, x)
	case want:
		return false
	}
	switch b.Op {
	case "contains":
		return slices.Contains([]string{"startswith", "endswith", "contains"}, a.Op) && strings.Contains(x, y)
	case "icontains":
		return slices.Contains([]string{"startswith", "endswith", "contains", "icontains"}, a.Op) && strings.Contains(strings.ToLower(x), strings.ToLower(y))
	case "startswith":
		return a.Op == "startswith" && strings.HasPrefix(x, y)
	case "endswith":
		return a.Op == "endswith" && strings.HasSuffix(x, y)
	}
	return false
}

// anyList reports whether there is a list with at least one element that passes all tests.
func (v *values) anyList(strict bool) bool {
	var elements []string // those that may be in it, if that can be told
	finite := v.domain != nil
	elements = v.domain
	var out []string
	for _, t := range v.tests {
		set := constants(t.check.Right)
		if set == nil || len(set) == 0 && !strict {
			continue
		}
		switch {
		case t.check.Op == "in" && t.want && finite:
			elements = intersection(elements, set)
		case t.check.Op == "in" && t.want:
			elements, finite = set, true
		case t.check.Op == "intersects" && !t.want:
			out = append(out, set...)
		}
	}
	can := func(s string) bool {
		return !slices.Contains(out, s) && (!finite || slices.Contains(elements, s))
	}
	if finite && !slices.ContainsFunc(elements, can) {
		return false
	}
	for _, t := range v.tests {
		set := constants(t.check.Right)
		if set == nil || len(set) == 0 && !strict {
			continue
		}
		if t.check.Op == "intersects" && t.want && !slices.ContainsFunc(set, can) {
			return false
		}
		if t.check.Op == "in" && !t.want && finite && !slices.ContainsFunc(elements, func(s string) bool { return can(s) && !slices.Contains(set, s) }) {
			return false
		}
	}
	return !v.opposed()
}

// constants are those on the right of a check; nil if there is something else, or nothing.
func constants(x rules.Expr) []string {
	switch x := x.(type) {
	case *rules.Value:
		return []string{x.Text}
	case *rules.List:
		if x.Items == nil {
			return []string{}
		}
		return x.Items
	}
	return nil
}

// constant is the only one on the right of a check.
func constant(x rules.Expr) (string, bool) {
	if v, ok := x.(*rules.Value); ok {
		return v.Text, true
	}
	return "", false
}

// holds reports whether a check holds for a value, and whether that is sure.
func holds(typ extract.Type, c *rules.Check, value string, strict bool) (holds, sure bool) {
	texts := constants(c.Right)
	if texts == nil || len(texts) == 0 && !strict {
		return false, false
	}
	op, modifier, _ := strings.Cut(c.Op, " ")
	n := 0
	for _, t := range texts {
		one, known := compare(typ, op, value, t)
		if !known {
			return false, false
		}
		if one {
			n++
		}
	}
	switch {
	case op == "in" || op == "intersects" || modifier == "anyof":
		return n > 0, true
	case modifier == "oneof":
		return n == 1, true
	}
	return n == len(texts), true
}

// compare compares a value with one constant, and reports whether it can.
func compare(typ extract.Type, op, value, constant string) (holds, sure bool) {
	if typ != extract.Text && typ != extract.Bool {
		a, err1 := strconv.ParseUint(value, 10, 64)
		b, err2 := strconv.ParseUint(constant, 10, 64)
		if err1 != nil || err2 != nil {
			return false, false
		}
		switch op {
		case "=", "==", "in", "intersects":
			return a == b, true
		case "!=":
			return a != b, true
		case "<":
			return a < b, true
		case "<=":
			return a <= b, true
		case ">":
			return a > b, true
		case ">=":
			return a >= b, true
		}
		return false, false
	}
	switch op {
	case "=", "==", "in", "intersects":
		return value == constant, true
	case "!=":
		return value != constant, true
	case "startswith":
		return strings.HasPrefix(value, constant), true
	case "endswith":
		return strings.HasSuffix(value, constant), true
	case "contains":
		return strings.Contains(value, constant), true
	case "icontains":
		return strings.Contains(strings.ToLower(value), strings.ToLower(constant)), true
	case "glob":
		return rules.Glob(constant, value), true
	case "<":
		return value < constant, true
	case "<=":
		return value <= constant, true
	case ">":
		return value > constant, true
	case ">=":
		return value >= constant, true
	}
	return false, false
}

package rules

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"kaudit/pkg/extract"
)

// operatorsOf are the operators that may be used with each type, as in the engine; exists may be used with all of them,
// and lists take only those of lists (falcosecurity/libs: userspace/libsinsp/filter_compare.cpp).
var operatorsOf = map[extract.Type][]string{
	extract.Text: {
		"=", "==", "!=", "<", "<=", ">", ">=", "contains", "in", "icontains", "startswith", "glob", "pmatch", "endswith",
		"intersects", "iglob", "regex",
	},
	extract.Number:   {"=", "==", "!=", "<", "<=", ">", ">=", "in", "intersects"},
	extract.Duration: {"=", "==", "!=", "<", "<=", ">", ">=", "in", "intersects"},
	extract.Moment:   {"=", "==", "!=", "<", "<=", ">", ">=", "in", "intersects"},
	extract.Bool:     {"=", "==", "!=", "in", "intersects"},
	extract.Network:  {"=", "==", "!=", "in", "intersects"},
}

var operatorsOfLists = []string{"in", "intersects"}

// maxConstant is how many bytes a text in a condition may have, in the engine and so here.
const maxConstant = 255

// check compiles a comparison.
func (c *compiler) check(x *Check) (func(*state) bool, error) {
	op, modifier, _ := strings.Cut(x.Op, " ")
	for _, feature := range []string{op, modifier} {
		if err := c.needs(x, feature); err != nil {
			return nil, err
		}
	}
	left, err := c.operand(x.Left)
	if err != nil {
		return nil, err
	}
	tmp := c.scratch()
	if op == "exists" {
		return func(s *state) bool {
			vs, ok := left.eval(s, s.scratch[tmp][:0])
			s.scratch[tmp] = vs
			return ok
		}, nil
	}
	allowed := operatorsOf[left.typ]
	if left.list {
		allowed = operatorsOfLists
	}
	if !slices.Contains(allowed, op) || left.list && modifier != "" {
		e := bad(x, "the operator %s does not work on %s, which is %s", x.Op, x.Left, article(left))
		e.hint = "operators that do: exists " + strings.Join(allowed, " ")
		return nil, e
	}
	if op == "==" {
		op = "="
	}
	if t, ok := x.Right.(*Transform); ok {
		return c.checkFields(x, left, op, t, tmp)
	}
	var texts []string
	switch right := x.Right.(type) {
	case *Value:
		texts = []string{right.Text}
	case *List:
		texts = right.Items
	default:
		return nil, bad(x.Right, "%s cannot stand on the right of %s", x.Right, x.Op)
	}
	holds, err := constants(left, op, modifier, texts, c.falco)
	if err != nil {
		e := bad(x.Right, "%w", err)
		if err := (*constantError)(nil); errors.As(e.err, &err) {
			e.hint = err.hint
		}
		return nil, e
	}
	return func(s *state) bool {
		vs, ok := left.eval(s, s.scratch[tmp][:0])
		s.scratch[tmp] = vs
		return ok && holds(vs)
	}, nil
}

func article(o *operand) string {
	if o.list {
		return "a list of " + string(o.typ)
	}
	return "of type " + string(o.typ)
}

// checkFields compiles a comparison with a field.
func (c *compiler) checkFields(x *Check, left *operand, op string, right *Transform, tmp int) (func(*state) bool, error) {
	r, err := c.operand(right)
	if err != nil {
		return nil, err
	}
	switch {
	case op == "pmatch" || op == "regex":
		return nil, bad(right, "%s cannot be used with a field on its right", op)
	case left.typ == extract.Network:
		return nil, bad(right, "%s holds addresses, which are compared with networks, not with fields", x.Left)
	case left.multi && (op == "in" || op == "intersects"):
		return func(*state) bool { return false }, nil // the engine never looks at the field
	case left.multi:
		return nil, bad(right, "the result of a transformer of several arguments cannot be compared with a field; the engine would crash")
	case left.typ != r.typ || left.list != r.list:
		return nil, bad(right, "%s is %s, and %s is %s: they cannot be compared", x.Left, article(left), right, article(r))
	}
	tmp2 := c.scratch()
	list := left.list
	typ := left.typ
	return func(s *state) bool {
		vs, ok := left.eval(s, s.scratch[tmp][:0])
		s.scratch[tmp] = vs
		if !ok {
			return false
		}
		rs, ok := r.eval(s, s.scratch[tmp2][:0])
		s.scratch[tmp2] = rs
		if !ok || !list && (len(vs) == 0 || len(rs) == 0) {
			return false
		}
		in := func(v val) bool {
			for _, r := range rs {
				if typ == extract.Text && bytes.Equal(v.b, r.b) || typ != extract.Text && v.n == r.n {
					return true
				}
			}
			return false
		}
		switch {
		case list && op == "in":
			for _, v := range vs {
				if !in(v) {
					return false
				}
			}
			return true
		case list:
			return slices.ContainsFunc(vs, in)
		case op == "in" || op == "intersects":
			v := vs[0]
			v.b = trimmed(v.b)
			return in(v)
		case typ == extract.Text:
			return compareTexts(op, cstring(vs[0].b), cstring(rs[0].b))
		}
		return compareNumbers(op, vs[0].n, rs[0].n)
	}, nil
}

func compareNumbers(op string, a, b uint64) bool {
	switch op {
	case "=":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	default:
		return a >= b
	}
}

func compareTexts(op string, a, b []byte) bool {
	switch op {
	case "=":
		return bytes.Equal(a, b)
	case "!=":
		return !bytes.Equal(a, b)
	case "<":
		return bytes.Compare(a, b) < 0
	case "<=":
		return bytes.Compare(a, b) <= 0
	case ">":
		return bytes.Compare(a, b) > 0
	case ">=":
		return bytes.Compare(a, b) >= 0
	case "contains":
		return bytes.Contains(a, b)
	case "icontains":
		return containsFold(a, b)
	case "startswith":
		return bytes.HasPrefix(a, b)
	case "endswith":
		return bytes.HasSuffix(a, b)
	case "glob":
		return glob(b, a, false)
	case "iglob":
		return glob(b, a, true)
	}
	return false
}

// containsFold is bytes.Contains for which upper and lower case letters of ASCII are the same.
func containsFold(a, b []byte) bool {
	for i := 0; i+len(b) <= len(a); i++ {
		k := 0
		for k < len(b) && lower(a[i+k]) == lower(b[k]) {
			k++
		}
		if k == len(b) {
			return true
		}
	}
	return false
}

// constantError is what is wrong with a constant.
type constantError struct {
	text string
	hint string
}

func (e *constantError) Error() string { return e.text }

// constants compiles the right side of a comparison that is written in the condition.
func constants(left *operand, op, modifier string, texts []string, falco Falco) (func([]val) bool, error) {
	for _, t := range texts {
		if left.typ == extract.Text && len(t) > maxConstant {
			return nil, &constantError{fmt.Sprintf("a text in a condition may have %d bytes at most, and this one has %d", maxConstant, len(t)), ""}
		}
	}
	if left.list {
		in, err := member(left.typ, texts, false)
		if err != nil {
			return nil, err
		}
		if op == "intersects" {
			return func(vs []val) bool { return slices.ContainsFunc(vs, in) }, nil
		}
		return func(vs []val) bool {
			for _, v := range vs {
				if !in(v) {
					return false
				}
			}
			return true
		}, nil
	}
	one, err := single(left, op, modifier, texts, falco)
	if err != nil {
		return nil, err
	}
	return func(vs []val) bool { return len(vs) > 0 && one(vs[0]) }, nil
}

// single compiles a comparison of a value that is not a list.
func single(left *operand, op, modifier string, texts []string, falco Falco) (func(val) bool, error) {
	switch op {
	case "in", "intersects":
		return member(left.typ, texts, true)
	case "pmatch":
		paths := newPathSet(texts)
		return func(v val) bool { return paths.has(trimmed(v.b)) }, nil
	}
	var each []func(val) bool
	for _, t := range texts {
		holds, err := compareWith(left.typ, op, t, falco)
		if err != nil {
			return nil, err
		}
		each = append(each, holds)
	}
	switch {
	case len(each) == 0:
		return func(val) bool { return false }, nil
	case modifier == "":
		return each[0], nil
	case op == "=" && modifier == "anyof" || op == "!=" && modifier == "allof":
		// A set in the engine, which compares memory: an address is never a network there.
		in, err := member(left.typ, texts, true)
		if left.typ == extract.Network {
			in = func(val) bool { return false }
		}
		if op == "=" || err != nil {
			return in, err
		}
		return func(v val) bool { return !in(v) }, nil
	}
	return func(v val) bool {
		if left.typ == extract.Text {
			v.b = trimmed(v.b)
		}
		n := 0
		for _, holds := range each {
			if holds(v) {
				n++
			}
		}
		switch modifier {
		case "oneof":
			return n == 1
		case "anyof":
			return n > 0
		}
		return n == len(each)
	}, nil
}

// member compiles whether a value is one of several. trim says that zero bytes at the end of a text do not count.
func member(typ extract.Type, texts []string, trim bool) (func(val) bool, error) {
	switch typ {
	case extract.Text:
		set := make(map[string]struct{}, len(texts))
		for _, t := range texts {
			set[t] = struct{}{}
		}
		if len(texts) == 1 {
			only := texts[0]
			if trim {
				return func(v val) bool { return string(trimmed(v.b)) == only }, nil
			}
			return func(v val) bool { return string(v.b) == only }, nil
		}
		return func(v val) bool {
			b := v.b
			if trim {
				b = trimmed(b)
			}
			_, in := set[string(b)]
			return in
		}, nil
	case extract.Network:
		var nets []netip.Prefix
		for _, t := range texts {
			net, err := parseNetwork(t)
			if err != nil {
				return nil, err
			}
			nets = append(nets, net)
		}
		return func(v val) bool {
			ip, _ := netip.AddrFromSlice(v.b)
			return slices.ContainsFunc(nets, func(n netip.Prefix) bool { return n.Contains(ip) })
		}, nil
	}
	var numbers []uint64
	for _, t := range texts {
		n, err := parseNumber(typ, t)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	return func(v val) bool { return slices.Contains(numbers, v.n) }, nil
}

// compareWith compiles a comparison with one constant.
func compareWith(typ extract.Type, op, text string, falco Falco) (func(val) bool, error) {
	switch typ {
	case extract.Text:
		b := []byte(text)
		switch op {
		case "=":
			return func(v val) bool { return string(cstring(v.b)) == text }, nil
		case "startswith":
			return func(v val) bool { return bytes.HasPrefix(cstring(v.b), b) }, nil
		case "contains":
			return func(v val) bool { return bytes.Contains(cstring(v.b), b) }, nil
		case "regex":
			return matcher(text, falco)
		}
		return func(v val) bool { return compareTexts(op, cstring(v.b), b) }, nil
	case extract.Network:
		net, err := parseNetwork(text)
		if err != nil {
			return nil, err
		}
		return func(v val) bool {
			ip, _ := netip.AddrFromSlice(v.b)
			return net.Contains(ip) == (op == "=")
		}, nil
	}
	n, err := parseNumber(typ, text)
	if err != nil {
		return nil, err
	}
	return func(v val) bool { return compareNumbers(op, v.n, n) }, nil
}

// matcher compiles a regular expression as the engine does: RE2 with the syntax of POSIX, which must match all of the
// text (falcosecurity/libs: userspace/libsinsp/sinsp_filtercheck.cpp; google/re2: re2/re2.cc).
func matcher(text string, falco Falco) (func(val) bool, error) {
	re, err := syntax.Parse(text, syntax.ClassNL)
	if err != nil {
		if falco != 0 && falco < 44 { // compiled without a look at the result, it never matches
			return func(val) bool { return false }, nil
		}
		hint := ""
		if strings.Contains(text, `\d`) || strings.Contains(text, `\w`) || strings.Contains(text, `\s`) || strings.Contains(text, `\b`) {
			hint = `the syntax is that of POSIX: write [0-9] for \d, [[:alnum:]_] for \w, [[:space:]] for \s`
		}
		return nil, &constantError{"invalid regular expression: " + err.Error(), hint}
	}
	compiled, err := regexp.Compile(`\A(?:` + re.String() + `)\z`)
	if err != nil {
		return nil, &constantError{"invalid regular expression: " + err.Error(), ""}
	}
	return func(v val) bool { return compiled.Match(trimmed(v.b)) }, nil
}

// parseNumber reads a constant that is compared with a number or a boolean.
func parseNumber(typ extract.Type, text string) (uint64, error) {
	if typ == extract.Bool {
		switch text {
		case "true":
			return 1, nil
		case "false":
			return 0, nil
		}
		return 0, &constantError{fmt.Sprintf("%q is neither true nor false", text), ""}
	}
	n, ok := parseUint(text)
	if !ok {
		hint := ""
		switch {
		case strings.HasPrefix(text, "0x"), strings.HasPrefix(text, "0X"):
			hint = "write it in decimal"
		case typ == extract.Duration:
			hint = "durations are in nanoseconds: 1000000000 is a second"
		case typ == extract.Moment:
			hint = "moments are in nanoseconds since 1970"
		}
		return 0, &constantError{fmt.Sprintf("%q is not a whole number", text), hint}
	}
	return n, nil
}

// parseNetwork reads a network as the engine does: with a prefix length, which wraps around at 256 there.
func parseNetwork(text string) (netip.Prefix, error) {
	none := netip.Prefix{}
	ip, mask, ok := strings.Cut(text, "/")
	if !ok {
		hint := "add the length of the prefix: /32 for one address of IPv4, /128 for one of IPv6"
		return none, &constantError{fmt.Sprintf("%q is not a network", text), hint}
	}
	mask, _, _ = strings.Cut(mask, "\n")
	addr, err := netip.ParseAddr(ip)
	v4 := strings.Contains(text, ".")
	if err != nil || addr.Zone() != "" || addr.Is4() != v4 {
		return none, &constantError{fmt.Sprintf("%q is not an address", ip), ""}
	}
	n, ok := parseUint(mask)
	bits := int(uint8(n))
	if !ok || bits > addr.BitLen() || !v4 && bits == 0 {
		return none, &constantError{fmt.Sprintf("%q is not the length of a prefix", mask), ""}
	}
	return netip.PrefixFrom(addr, bits).Masked(), nil
}

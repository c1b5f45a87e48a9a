package rulecheck

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"kaudit/internal/nearest"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// comparing has single comparisons that cannot do what was meant.
var comparing = []Check{
	{
		ID: "impossible-value", Severity: Error,
		About:  "A field is compared with a value that it never has.",
		Reason: "The comparison never holds, and nothing says so: verbs and resources are in lower case, stages are not, and each has its own spelling.",
		Remedy: "Write a value the field has: `kaudit fields NAME` says which.",
		Bad:    "ka.verb = CREATE and ka.done = true", Good: "ka.verb = create and ka.done = true",
		find: func(p *pass, report report) {
			p.checks(func(c *rules.Check, _ bool) {
				for _, v := range constants(c.Right) {
					if why, hint := impossible(c, v); why != "" {
						report(c.Right.Pos(), "", why, hint)
					}
				}
			})
		},
	},
	{
		ID: "negative-number", Severity: Error,
		About:  "A whole number is compared with a negative one.",
		Reason: "The field has no sign: Falco reads -1 as 18446744073709551615, the largest number there is.",
		Remedy: "Compare with 0, or ask whether the field exists.",
		Bad:    "ka.code > -1 and ka.done = true", Good: "ka.code exists and ka.done = true",
		find: func(p *pass, report report) {
			p.checks(func(c *rules.Check, _ bool) {
				if typeOf(c.Left) == extract.Text || typeOf(c.Left) == extract.Bool || typeOf(c.Left) == extract.Network {
					return
				}
				for _, v := range constants(c.Right) {
					if strings.HasPrefix(v, "-") {
						report(c.Right.Pos(), "", fmt.Sprintf("%s has no sign, and %s is read as a very large number", c.Left, v), "compare with 0, or use exists")
					}
				}
			})
		},
	},
	{
		ID: "empty-list", Severity: Error,
		About:  "A field is compared with a list that has nothing in it.",
		Reason: "Nothing is in an empty list, so the comparison never holds. (A list by name may be empty: others may add to it.)",
		Remedy: "Write the values, or the name of a list.",
		Bad:    "ka.verb in () and ka.done = true", Good: "ka.verb in (get, list) and ka.done = true",
		find: func(p *pass, report report) {
			p.checks(func(c *rules.Check, _ bool) {
				if l, ok := c.Right.(*rules.List); ok && len(l.Items) == 0 && p.emptyAt(l.Pos()) {
					report(l.Pos(), "", "nothing is in an empty list", "write the values, or the name of a list")
				}
			})
		},
	},
	{
		ID: "always-true", Severity: Warning,
		About:  "A comparison, or several with or between them, hold for every event that has the field.",
		Reason: "`ka.verb != get or ka.verb != list` holds whatever the verb is: one of the two is always true.",
		Remedy: "To leave out several values write `not FIELD in (A, B)`. To find out whether there is a value write `FIELD exists`.",
		Bad:    "(ka.verb != get or ka.verb != list) and ka.done = true", Good: "not ka.verb in (get, list) and ka.done = true",
		find: func(p *pass, report report) { p.conditions(func(x rules.Expr) { alwaysTrue(x, report) }) },
	},
	{
		ID: "list-for-value", Severity: Error,
		About:  "A list has the name of a word that a condition compares with.",
		Reason: "Falco puts the items of a list in the place of its name wherever that stands, also where a value was meant.",
		Remedy: "Give the list another name, best one with an underscore.",
		Bad:    "- list: admin\n  items: [root]\n" + wrap("ka.user.name = admin and ka.done = true"), Good: "- list: admins\n  items: [root]\n" + wrap("ka.user.name in (admins) and ka.done = true"),
		find: listForValue,
	},
	{
		ID: "absent-differs", Severity: Info,
		About:  "`!=` is used with a field that not every event has.",
		Reason: "Every comparison with a field that is not there is false, `!=` too. `ka.target.namespace != kube-system` leaves out whatever has no namespace.",
		Remedy: "Write `not FIELD = VALUE`, which holds for events without the field, too. If those shall be left out, say so with `FIELD exists`.",
		Bad:    "ka.target.namespace != kube-system and ka.done = true", Good: "not ka.target.namespace = kube-system and ka.done = true",
		find: func(p *pass, report report) {
			p.conditions(func(x rules.Expr) {
				eachCheck(x, false, func(c *rules.Check, negated bool) {
					f, ok := c.Left.(*rules.Field)
					if !ok || c.Op != "!=" || negated || slices.Contains(alwaysThere, nameOf(c)) {
						return
					}
					required := in(x, func(d *rules.Check, negated bool) bool {
						return d.Op == "exists" && !negated && d.Left.String() == f.String()
					})
					if row := fieldOf(f); required == nil && row != nil && row.From.Type != extract.Bool {
						report(c.Pos(), "", fmt.Sprintf("%s does not hold for events without %s", c, f), fmt.Sprintf("write not %s = ..., or add %s exists", f, f))
					}
				})
			})
		},
	},
	{
		ID: "number-as-text", Severity: Info,
		About:  "The status code is compared as a text.",
		Reason: "`ka.response.code` is a text, so `<` and `>` compare it letter by letter, and `startswith 2` is not 2xx for streams, which are answered 101.",
		Remedy: "Use `ka.code`, a number, or what it means: `ka.success`, `ka.refused`, `ka.outcome`.",
		Bad:    "ka.response.code >= 400 and ka.done = true", Good: "ka.code >= 400 and ka.done = true",
		find: func(p *pass, report report) {
			p.checks(func(c *rules.Check, _ bool) {
				if nameOf(c) == "ka.response.code" && slices.Contains([]string{"<", "<=", ">", ">=", "startswith", "contains"}, c.Op) {
					report(c.Pos(), "", "the status code is compared as a text", "use ka.code, or ka.success, ka.refused and ka.outcome")
				}
			})
		},
	},
	{
		ID: "foreign-field", Severity: Info,
		About:  "A rule asks a field of the json plugin.",
		Reason: "That plugin reads every event once more, in another library, for what this one has at hand.",
		Remedy: "`kaudit convert` rewrites such rules.",
		Bad:    "jevt.value[/stage] = ResponseComplete", Good: "ka.done = true and ka.verb = get",
		find: func(p *pass, report report) {
			for _, r := range p.ours() {
				for _, f := range r.AllFields() {
					if isForeign(f.Name) {
						report(f.Pos(), "", fmt.Sprintf("%s is a field of the json plugin", f), "kaudit convert rewrites it")
					}
				}
			}
		},
	},
}

// alwaysThere are fields that every event of an API server has.
var alwaysThere = []string{"ka.verb", "ka.stage", "ka.level", "ka.auditid", "ka.uri", "ka.uri.path", "ka.action", "ka.outcome", "ka.size", "ka.user.name", "ka.user.kind", "ka.sourceips.count"}

func isForeign(name string) bool {
	return strings.HasPrefix(name, "jevt.") || strings.HasPrefix(name, "json.")
}

// typeOf returns the type of the left side of a check.
func typeOf(x rules.Expr) extract.Type {
	return (&given{}).initial(x, asField(x)).typ
}

func asField(x rules.Expr) *rules.Field {
	f, _ := x.(*rules.Field)
	return f
}

var upper = regexp.MustCompile(`[A-Z]`)

// impossible says why a comparison with a value never holds, if it never does.
func impossible(c *rules.Check, v string) (why, hint string) {
	f, ok := c.Left.(*rules.Field)
	if t, transformed := c.Left.(*rules.Transform); transformed {
		if t.Name == "tolower" && upper.MatchString(v) && t.Name != "" && c.Op != "icontains" && c.Op != "regex" {
			return fmt.Sprintf("%s is in lower case, and %s is not", t, v), "write " + strings.ToLower(v)
		}
		if t.Name == "toupper" && strings.ToUpper(v) != v && c.Op != "icontains" && c.Op != "regex" {
			return fmt.Sprintf("%s is in upper case, and %s is not", t, v), "write " + strings.ToUpper(v)
		}
		return "", ""
	}
	row := (*extract.Field)(nil)
	if ok {
		row = fieldOf(f)
	}
	if row == nil || isRawtime(f) {
		return "", ""
	}
	op, _, _ := strings.Cut(c.Op, " ")
	exact := slices.Contains([]string{"=", "==", "!=", "in", "intersects"}, op)
	if d := domainOf(row); d != nil && (row.From.Type == extract.Text || row.From.List) {
		if slices.ContainsFunc(d, func(s string) bool { one, sure := compare(extract.Text, equalIf(exact, op), s, v); return one || !sure }) {
			return "", ""
		}
		hint := "it is one of " + strings.Join(d, ", ")
		if len(d) == 1 {
			hint = "it is always " + d[0]
		}
		if w := nearest.Word(v, d); w != "" {
			hint = "did you mean " + w + "?"
		}
		return fmt.Sprintf("%s is never %s", f, v), hint
	}
	switch row.Name {
	case "ka.verb":
		if !exact || slices.Contains(verbs, v) {
			return "", ""
		}
		if why, ok := roleVerbs[v]; ok {
			return "no request has the verb " + v, why
		}
		hint := "verbs are " + strings.Join(verbs[:8], ", ") + ", or a method of HTTP in lower case"
		if w := nearest.Word(v, verbs); w != "" {
			hint = "did you mean " + w + "?"
		}
		return "no request has the verb " + v, hint
	case "ka.target.resource", "ka.target.subresource", "ka.target.path":
		switch {
		case c.Op == "icontains" || c.Op == "regex" || c.Op == "iglob":
			return "", ""
		case upper.MatchString(v):
			return fmt.Sprintf("%s is in lower case, and %s is not", f, v), "write " + meantResource(strings.ToLower(v))
		case exact && row.Name == "ka.target.resource" && strings.Contains(v, "/"):
			return fmt.Sprintf("%s has no subresource in it", f), "write ka.target.path = " + v
		case exact && row.Name == "ka.target.resource" && meantResource(v) != v:
			return fmt.Sprintf("%s is in the plural, and %s is not", f, v), "write " + meantResource(v)
		}
	case "ka.response.code":
		if exact && !regexp.MustCompile(`^[1-5][0-9][0-9]$`).MatchString(v) {
			return v + " is no status code", "to compare ranges use ka.code, a number"
		}
	}
	return "", ""
}

func equalIf(exact bool, op string) string {
	if exact {
		return "="
	}
	return op
}

// singular are names of kinds that are taken for resources.
var singular = []string{
	"pod", "secret", "service", "deployment", "daemonset", "statefulset", "replicaset", "job", "cronjob", "configmap", "namespace", "node",
	"serviceaccount", "role", "rolebinding", "clusterrole", "clusterrolebinding", "persistentvolume", "persistentvolumeclaim",
}

func meantResource(v string) string {
	switch {
	case slices.Contains(singular, v):
		return v + "s"
	case v == "ingress" || v == "networkpolicy":
		return map[string]string{"ingress": "ingresses", "networkpolicy": "networkpolicies"}[v]
	}
	return v
}

// emptyAt reports whether an empty list is written at a position.
func (p *pass) emptyAt(at rules.Position) bool {
	lines := p.lines[at.File]
	if at.Line < 1 || at.Line > len(lines) || at.Column < 1 || at.Column > len(lines[at.Line-1]) {
		return false
	}
	inside, found := strings.CutPrefix(lines[at.Line-1][at.Column-1:], "(")
	for next := at.Line; strings.TrimSpace(inside) == "" && next < len(lines); next++ {
		inside = lines[next]
	}
	return found && strings.HasPrefix(strings.TrimSpace(inside), ")")
}

// alwaysTrue reports parts of a condition for which no event is left out but those without a field.
func alwaysTrue(x rules.Expr, report report) {
	test := func(x rules.Expr) bool {
		if in(x, func(c *rules.Check, _ bool) bool {
			return c.Op == "exists" || isRawtime(asField(c.Left)) || len(constants(c.Right)) == 0
		}) != nil {
			return false
		}
		return !possible(&given{present: true}, goal{x, false})
	}
	rules.Walk(x, func(x rules.Expr) bool {
		switch x := x.(type) {
		case *rules.Or:
			if test(x) {
				report(x.Pos(), "", fmt.Sprintf("%s holds whatever the value is", x), "to leave out several values write not FIELD in (A, B)")
				return false
			}
		case *rules.Check:
			if typeOf(x.Left) != extract.Bool && nameOf(x) != "ka.req.binding.subject.has_name" && test(x) {
				report(x.Pos(), "", fmt.Sprintf("%s holds whatever the value is", x), "to find out whether there is a value use exists")
			}
			return false
		}
		return true
	})
}

// listForValue looks for lists in conditions as they are written.
func listForValue(p *pass, report report) {
	if p.set == nil {
		return
	}
	lists := map[string]bool{}
	for _, l := range p.set.Lists {
		lists[l.Name] = true
	}
	for _, item := range p.items {
		for _, t := range item.Texts {
			if t.Key != "condition" {
				continue
			}
			shift := len(t.Value) - len(strings.TrimPrefix(strings.TrimPrefix(t.Value, "and "), "or "))
			x, err := rules.Parse(t.Value[shift:])
			if err != nil {
				continue
			}
			eachCheck(x, false, func(c *rules.Check, _ bool) {
				v, ok := constant(c.Right)
				if ok && lists[v] && !strings.Contains(c.Op, " ") && !slices.Contains([]string{"in", "intersects", "pmatch"}, c.Op) {
					at := c.Right.Pos()
					report(t.Position(offset(t.Value[shift:], at)+shift), "", fmt.Sprintf("%s is the name of a list, whose items Falco puts here", v), "give the list another name")
				}
			})
		}
	}
}

// offset returns where a position is in a text.
func offset(text string, at rules.Position) int {
	n := 0
	for range at.Line - 1 {
		n += strings.IndexByte(text[n:], '\n') + 1
	}
	return n + at.Column - 1
}

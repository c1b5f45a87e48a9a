package rulecheck

import (
	"fmt"

	"kaudit/pkg/rules"
)

// structure has how items of several files go together.
var structure = []Check{
	{
		ID: "redefined", Severity: Warning,
		About:  "A list or macro is defined twice, and nothing says that this is meant.",
		Reason: "The later one replaces the earlier one, in the rules before it, too.",
		Remedy: "If it is meant, say so: `override: {items: replace}` or `override: {condition: replace}` (Falco 0.37 and later). If not, choose another name.",
		Bad:    "- macro: m\n  condition: ka.verb = get\n- macro: m\n  condition: ka.verb = list\n" + wrap("m and ka.done = true"),
		Good:   "- required_engine_version: 0.31.0\n- macro: m\n  condition: ka.verb = get\n- macro: m\n  condition: ka.verb = list\n  override: {condition: replace}\n" + wrap("m and ka.done = true"),
		find: func(p *pass, report report) {
			twice(p, func(kind string) bool { return kind == "macro" || kind == "list" }, report)
		},
	},
	{
		ID: "redefined-rule", Severity: Warning,
		About:  "Two rules have the same name, and nothing says that this is meant.",
		Reason: "Only the later one is left. The earlier one, whatever it was about, is gone.",
		Remedy: "Choose another name, or say with `override` what is replaced.",
		Bad:    wrap("ka.done = true and ka.verb = get") + wrap("ka.done = true and ka.verb = list"),
		Good:   "- required_engine_version: 0.31.0\n" + wrap("ka.done = true and ka.verb = get") + "- rule: Example\n  priority: ERROR\n  override: {priority: replace}\n",
		find:   func(p *pass, report report) { twice(p, func(kind string) bool { return kind == "rule" }, report) },
	},
	{
		ID: "list-like-macro", Severity: Error,
		About:  "A list and a macro have the same name.",
		Reason: "Falco puts the items of the list in the place of the macro's name, and the macro is never used.",
		Remedy: "Rename one of them.",
		Bad:    "- list: both\n  items: [a]\n- macro: both\n  condition: ka.done = true\n", Good: "- list: names\n  items: [a]\n- macro: done\n  condition: ka.done = true\n" + wrap("done and ka.target.name in (names)"),
		find: func(p *pass, report report) {
			for _, a := range p.items {
				for _, b := range p.items {
					if a.Kind == "macro" && b.Kind == "list" && a.Name == b.Name {
						report(a.Pos, "", fmt.Sprintf("the list at %v has the same name", b.Pos), "rename one of them")
					}
				}
			}
		},
	},
}

// twice reports items of the same name that override nothing.
func twice(p *pass, fits func(kind string) bool, report report) {
	type name struct{ kind, name string }
	first := map[name]rules.Position{}
	for _, item := range p.items {
		n := name{item.Kind, item.Name}
		if !fits(item.Kind) || item.Override {
			continue
		}
		if before, ok := first[n]; ok {
			report(item.Keys[item.Kind], "", fmt.Sprintf("this replaces the %s of this name at %v", item.Kind, before), "say so with override, or choose another name")
			continue
		}
		first[n] = item.Pos
	}
}

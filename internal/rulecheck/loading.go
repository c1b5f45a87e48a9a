package rulecheck

import (
	"fmt"
	"strings"

	"kaudit/pkg/rules"
)

const (
	refused       = "refused"
	uselessIgnore = "useless-ignore"
)

// loading has what Falco says when it loads rules, and what it would say in another version.
var loading = []Check{
	{
		ID: refused, Severity: Error,
		About:  "Falco would not load the rules.",
		Reason: "It ends with an error, or goes on with the rules it had. It stops at the first error of a file; here all are found.",
		Remedy: "Do what the message says. With `--falco` the rules are loaded as an older version does.",
		Bad:    "ka.vreb = get and ka.done = true", Good: "ka.verb = get and ka.done = true",
		find: func(p *pass, report report) {
			for _, problem := range p.errors {
				report(problem.Pos, problem.Item, problem.Text, problem.Hint)
			}
		},
	},
	{
		ID: "falco-warning", Severity: Warning,
		About:  "Falco warns of something: a key that means nothing, a deprecated way to write, a text that looks like a field.",
		Reason: "Falco loads the rules all the same, and reads them otherwise than they look.",
		Remedy: "Do what the message says.",
		Bad:    strings.Replace(wrap("ka.verb = get and ka.done = true"), "  desc:", "  prioritty: x\n  desc:", 1), Good: "ka.verb = get and ka.done = true",
		find: warnings(func(c rules.Code) bool {
			return c != rules.WarnUnsafeNA && c != rules.WarnUnusedList && c != rules.WarnUnusedMacro
		}),
	},
	{
		ID: "compared-with-na", Severity: Warning,
		About:  "A field is compared with `<NA>`.",
		Reason: "`<NA>` is what Falco prints where there is no value. A comparison with it does not find that out: it is false.",
		Remedy: "Write `not FIELD exists`.",
		Bad:    "ka.target.name = <NA> and ka.done = true", Good: "not ka.target.name exists and ka.done = true",
		find: warnings(func(c rules.Code) bool { return c == rules.WarnUnsafeNA }),
	},
	{
		ID: "unused-macro", Severity: Warning,
		About:  "No rule and no macro uses a macro.",
		Reason: "Whoever changes it changes nothing. Often a rule was meant to use it, or its name was changed in one place only.",
		Remedy: "Use it or delete it. If another file uses it, check both files together.",
		Bad:    "- macro: lonely\n  condition: ka.verb = get\n", Good: "- macro: used\n  condition: ka.done = true\n" + wrap("used and ka.verb = get"),
		find: warnings(func(c rules.Code) bool { return c == rules.WarnUnusedMacro }),
	},
	{
		ID: "unused-list", Severity: Warning,
		About:  "No rule, macro or list uses a list.",
		Reason: "Whoever adds to it changes nothing.",
		Remedy: "Use it or delete it. If another file uses it, check both files together.",
		Bad:    "- list: lonely\n  items: [a]\n", Good: "- list: used\n  items: [a]\n" + wrap("ka.target.name in (used) and ka.done = true"),
		find: warnings(func(c rules.Code) bool { return c == rules.WarnUnusedList }),
	},
	{
		ID: "required-engine", Severity: Warning,
		About:  "The rules use what the engine version they require does not have.",
		Reason: "An older Falco should say that the rules need a newer one. It says instead that it does not understand a condition.",
		Remedy: "Write the engine version of the Falco that has it: 0.31.0 for Falco 0.37, 0.40.0 for 0.38, 0.43.0 for 0.39, 0.46.0 for 0.40, 0.62.0 for 0.44.",
		Bad:    wrap("ka.done = true and len(ka.user.name) > 40"), Good: "- required_engine_version: 0.46.0\n" + wrap("ka.done = true and len(ka.user.name) > 40"),
		find: requiredEngine,
	},
	{
		ID: uselessIgnore, Severity: Warning,
		About:  "A comment `kaudit:ignore` takes nothing out, names no check, or gives no reason.",
		Reason: "What it was for is gone, and it hides what comes later.",
		Remedy: "Write `# kaudit:ignore ID REASON` above the item or in it, or take it out.",
		Bad:    "# kaudit:ignore unused-macro the site uses it\n" + wrap("ka.verb = get and ka.done = true"), Good: "# kaudit:ignore unused-macro for files of the site\n- macro: lonely\n  condition: ka.verb = get\n",
		find: func(*pass, report) {}, // when all others are through
	},
}

func warnings(fits func(rules.Code) bool) func(*pass, report) {
	return func(p *pass, report report) {
		if p.set == nil {
			return
		}
		for _, w := range p.set.Warnings {
			if fits(w.Code) {
				report(w.Pos, w.Item, w.Text, w.Hint)
			}
		}
	}
}

// requiredEngine compares the version of Falco whose language the rules need with the one that they require.
func requiredEngine(p *pass, report report) {
	if p.set == nil {
		return
	}
	free := &pass{options: p.options, files: append([]rules.File(nil), p.files...), items: p.items}
	required := rules.Oldest
	var at rules.Position
	for _, item := range p.items {
		if item.Kind != "required_engine_version" {
			continue
		}
		if at.Line == 0 {
			at = item.Keys[item.Kind]
		}
		lines := p.lines[item.Pos.File]
		alone := rules.File{Name: item.Pos.File, Content: []byte(strings.Join(lines[item.Pos.Line-1:min(item.LastLine, len(lines))], "\n"))}
		for v := rules.Oldest; v <= rules.Newest; v++ {
			if _, err := rules.Read(rules.Options{Falco: v}, alone); err == nil {
				required = max(required, v)
				break
			}
		}
		free.blank(item.Pos.File, item)
	}
	set, err := rules.Read(p.options, free.files...)
	if err != nil {
		return
	}
	free.set = set
	free.least()
	if free.needs <= required || free.needs == 0 {
		return
	}
	if at.Line == 0 && len(p.items) > 0 {
		at = p.items[0].Pos
	}
	report(at, "", fmt.Sprintf("the rules need falco %v, and require only what %v has: %s", free.needs, required, free.because), "raise required_engine_version")
}

// wrap makes a rule of a condition, with nothing else to complain of.
func wrap(condition string) string {
	return `- rule: Example
  desc: Somebody did what the rule is about, which is worth a look.
  condition: >-
    ` + condition + `
  output: done | user=%ka.user.name as=%ka.impuser.name from=%ka.sourceips verb=%ka.verb target=%ka.target.path name=%ka.obj.name ns=%ka.target.namespace code=%ka.code
  priority: NOTICE
  source: k8s_audit
  tags: [maturity_incubating, k8s, mitre_execution, T1609]
`
}

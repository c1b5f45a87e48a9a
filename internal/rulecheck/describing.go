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

var (
	maturities = []string{"maturity_stable", "maturity_incubating", "maturity_sandbox", "maturity_deprecated"}
	// The tactics of MITRE ATT&CK, as tags of Falco's own rules write them.
	tactics = []string{
		"mitre_reconnaissance", "mitre_resource_development", "mitre_initial_access", "mitre_execution", "mitre_persistence",
		"mitre_privilege_escalation", "mitre_defense_evasion", "mitre_credential_access", "mitre_discovery", "mitre_lateral_movement",
		"mitre_collection", "mitre_command_and_control", "mitre_exfiltration", "mitre_impact",
	}
	technique = regexp.MustCompile(`^T[0-9]{4}(\.[0-9]{3})?$`)
	likeOne   = regexp.MustCompile(`^[tT][0-9]{2,5}([._-][0-9]+)?$`)
)

// describing has what people read: descriptions, tags, outputs.
var describing = []Check{
	{
		ID: "no-maturity-tag", Severity: Info,
		About:  "A rule has no tag that says how mature it is.",
		Reason: "Sites choose rules by these tags: `maturity_stable` and the like are what Falco's own rules have.",
		Remedy: "Add one of " + codes(maturities) + ".",
		Bad:    strings.Replace(wrap("ka.done = true and ka.verb = get"), "maturity_incubating, ", "", 1), Good: "ka.done = true and ka.verb = get",
		find: tags("maturity_", "the rule has no maturity tag", "add maturity_stable, maturity_incubating or maturity_sandbox"),
	},
	{
		ID: "no-mitre-tag", Severity: Info,
		About:  "A rule has no tag of a MITRE ATT&CK tactic.",
		Reason: "Whoever gets the alert sees from it what the attacker is after; coverage is counted by it.",
		Remedy: "Add a tactic, such as `mitre_execution`, and the techniques, such as `T1609`.",
		Bad:    strings.Replace(wrap("ka.done = true and ka.verb = get"), "mitre_execution, ", "", 1), Good: "ka.done = true and ka.verb = get",
		find: tags("mitre_", "the rule has no tag of a MITRE ATT&CK tactic", "add one, such as mitre_execution"),
	},
	{
		ID: "unknown-tag", Severity: Warning,
		About:  "A tag looks like a maturity, tactic or technique, and is none.",
		Reason: "Whoever selects rules by tags does not get this one.",
		Remedy: "Write it as others do: `maturity_stable`, `mitre_credential_access`, `T1552.007`.",
		Bad:    strings.Replace(wrap("ka.done = true and ka.verb = get"), "mitre_execution", "mitre_executions", 1), Good: "ka.done = true and ka.verb = get",
		find: func(p *pass, report report) {
			for _, r := range p.ours() {
				for _, tag := range r.Tags {
					if hint := misspelt(tag); hint != "" {
						report(p.keyOf(r, "tags"), "rule "+r.Name, "there is no tag "+tag, hint)
					}
				}
			}
		},
	},
	{
		ID: "thin-description", Severity: Info,
		About:  "The description of a rule says hardly more than its name.",
		Reason: "The one who is woken by the alert needs to know what happened, why it matters, and what to do.",
		Remedy: "Write a sentence or two.",
		Bad:    strings.Replace(wrap("ka.done = true and ka.verb = get"), "Somebody did what the rule is about, which is worth a look.", "Example rule", 1), Good: "ka.done = true and ka.verb = get",
		find: func(p *pass, report report) {
			for _, r := range p.ours() {
				if words := strings.Fields(r.Desc); len(words) < 5 || strings.EqualFold(strings.TrimRight(r.Desc, "."), r.Name) {
					report(p.keyOf(r, "desc"), "rule "+r.Name, "the description says hardly more than the name", "say what happened, why it matters, and what to do")
				}
			}
		},
	},
	{
		ID: "no-who", Severity: Warning,
		About:  "The output of a rule does not say who made the request.",
		Reason: "It is the first question about every alert.",
		Remedy: "Add `%ka.user.name`, and `%ka.impuser.name` for whom the user acted as.",
		Bad:    strings.Replace(wrap("ka.done = true and ka.verb = get"), "user=%ka.user.name as=%ka.impuser.name ", "", 1), Good: "ka.done = true and ka.verb = get",
		find: without("who", "add user=%ka.user.name", "ka.user.", "ka.actor.", "ka.impuser.", "jevt.value[/user", "json.value[/user", "ka.value[/user"),
	},
	{
		ID: "no-what", Severity: Warning,
		About:  "The output of a rule does not say what was done to what.",
		Reason: "The name of the rule says it in general only.",
		Remedy: "Add `%ka.verb`, `%ka.target.path` and `%ka.obj.name`.",
		Bad:    strings.Replace(wrap("ka.done = true and ka.verb = get"), "verb=%ka.verb target=%ka.target.path name=%ka.obj.name ns=%ka.target.namespace", "", 1), Good: "ka.done = true and ka.verb = get",
		find: without("what", "add verb=%ka.verb target=%ka.target.path name=%ka.obj.name", "ka.verb", "ka.action", "ka.uri", "ka.target.", "ka.obj.", "ka.resp.name", "ka.req.", "ka.binding.", "ka.role.", "ka.containers.", "ka.exec.", "ka.proxy.", "ka.value[/objectRef", "jevt.value[/objectRef"),
	},
	{
		ID: "no-where", Severity: Info,
		About:  "The output of a rule does not say where: in which namespace, from which address.",
		Reason: "The address tells a stolen credential from its owner.",
		Remedy: "Add `%ka.target.namespace` and `%ka.sourceips`.",
		Bad:    strings.Replace(strings.Replace(wrap("ka.done = true and ka.verb = get"), "from=%ka.sourceips ", "", 1), " ns=%ka.target.namespace", "", 1), Good: "ka.done = true and ka.verb = get",
		find: without("where", "add ns=%ka.target.namespace from=%ka.sourceips", "ka.target.namespace", "ka.obj.namespace", "ka.sourceip", "ka.cluster.name", "ka.value[/objectRef/namespace", "ka.value[/sourceIPs", "jevt.value[/objectRef/namespace", "jevt.value[/sourceIPs"),
	},
	{
		ID: "unprintable", Severity: Warning,
		About:  "An output prints a field that Falco cannot print.",
		Reason: "Networks show as `<IPNET>`.",
		Remedy: "Print `%ka.sourceips`, the same addresses as text.",
		Bad:    strings.Replace(wrap("ka.done = true and ka.verb = get"), "%ka.sourceips", "%ka.sourceips.net", 1), Good: "ka.done = true and ka.verb = get",
		find: func(p *pass, report report) {
			outputs(p, func(r *rules.Rule, f *rules.Field) {
				if row := fieldOf(f); row != nil && row.From.Type == extract.Network {
					report(f.Pos(), "rule "+r.Name, "Falco prints "+f.String()+" as <IPNET>", "print %"+strings.TrimSuffix(f.Name, ".net"))
				}
			})
		},
	},
	{
		ID: "prints-bodies", Severity: Info,
		About:  "An output prints a whole object, or the whole event.",
		Reason: "Secrets, tokens and passwords in it go wherever alerts go, to people who may not read them in the cluster. Long texts are cut on the way.",
		Remedy: "Print the part that matters: `ka.data.keys`, `ka.containers.image`, `ka.value[/requestObject/spec/replicas]`.",
		Bad:    strings.Replace(wrap("ka.done = true and ka.verb = get"), "code=%ka.code", "all=%evt.plugininfo", 1), Good: "ka.done = true and ka.verb = get",
		find: func(p *pass, report report) {
			outputs(p, func(r *rules.Rule, f *rules.Field) {
				if printsBody(f) || f.Name == "ka.data.value" && can(goal{r.Condition, true}, "ka.target.resource = secrets") {
					report(f.Pos(), "rule "+r.Name, f.String()+" prints whatever is in it, secrets too", "print the part that matters")
				}
			})
		},
	},
}

func codes(words []string) string { return "`" + strings.Join(words, "`, `") + "`" }

// keyOf returns where a key of a rule stands, or the rule.
func (p *pass) keyOf(r *rules.Rule, key string) rules.Position {
	if item, ok := p.at(r.Pos); ok {
		if at, ok := item.Keys[key]; ok {
			return at
		}
	}
	return r.Pos
}

func tags(prefix, text, hint string) func(*pass, report) {
	return func(p *pass, report report) {
		for _, r := range p.ours() {
			if !slices.ContainsFunc(r.Tags, func(t string) bool { return strings.HasPrefix(t, prefix) }) {
				report(p.keyOf(r, "tags"), "rule "+r.Name, text, hint)
			}
		}
	}
}

// misspelt says what was meant by a tag that is not of the known form, and nothing of one that is.
func misspelt(tag string) string {
	squeezed := strings.ReplaceAll(strings.ToLower(tag), "-", "_")
	known, prefix := maturities, "maturity_"
	if strings.HasPrefix(squeezed, "mitre_") {
		known, prefix = tactics, "mitre_"
	}
	switch {
	case slices.Contains(known, tag):
		return ""
	case strings.HasPrefix(squeezed, prefix):
		if w := nearest.Word(squeezed, known); w != "" {
			return "did you mean " + w + "?"
		}
		return "write one of " + strings.Join(known, ", ")
	case likeOne.MatchString(tag) && !technique.MatchString(tag):
		return "techniques are written T1609, and T1552.007"
	}
	return ""
}

// without looks for outputs that have none of some fields.
func without(what, hint string, prefixes ...string) func(*pass, report) {
	return func(p *pass, report report) {
		for _, r := range p.aboutRequests() {
			if !slices.ContainsFunc(r.OutputFields, func(f string) bool {
				f = strings.Replace(f, "json.", "jevt.", 1)
				return f == "jevt.obj" || f == "evt.plugininfo" || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(f, p) })
			}) {
				report(p.keyOf(r, "output"), "rule "+r.Name, fmt.Sprintf("the output does not say %s", what), hint)
			}
		}
	}
}

// outputs calls visit for the fields in outputs.
func outputs(p *pass, visit func(*rules.Rule, *rules.Field)) {
	for _, r := range p.ours() {
		for _, f := range r.AllFields() {
			if slices.Contains(r.OutputFields, f.String()) && !slices.Contains(r.Fields, f.String()) {
				visit(r, f)
			}
		}
	}
}

func printsBody(f *rules.Field) bool {
	switch f.Name {
	case "jevt.obj", "json.obj", "evt.plugininfo", "ka.req.configmap.obj":
		return true
	case "jevt.value", "json.value", "ka.value":
		switch strings.Trim(f.Arg, "/") {
		case "", "requestObject", "responseObject", "requestObject/data", "responseObject/data", "requestObject/stringData", "requestObject/spec", "responseObject/spec", "responseObject/status":
			return true
		}
	}
	return false
}

package doctor

import (
	"errors"
	"strings"

	"kaudit/pkg/policy"
	"kaudit/pkg/rules"
)

// shownRules is how many rules are named that a policy blinds.
const shownRules = 3

// policy reads the audit policy as the API server does, and looks which of the rules it blinds. set is nil if Falco
// would not load them.
func (e *examination) policy(set *rules.Ruleset) {
	e.check = "policy"
	p, err := policy.LoadFile(e.Policy)
	var load *rules.LoadError
	if errors.As(err, &load) {
		for _, problem := range load.Problems {
			e.fail(problem.Pos.String(), problem.Hint, "%s: the API server does not start with it", problem.Text)
		}
		return
	}
	if err != nil {
		e.fail(e.Policy, "", "%v", err)
		return
	}
	for _, w := range p.Warnings {
		e.warn(w.Pos.String(), w.Hint, "%s", w.Text)
	}
	if set == nil {
		e.ok(e.Policy, "the policy is one, with %s", several(len(p.Rules), "rule"))
		return
	}
	report, err := policy.Check(set, p, policy.Options{})
	if err != nil {
		e.fail(e.Policy, "", "%v", err)
		return
	}
	do := "kaudit policy check --policy " + e.Policy + " -r " + strings.Join(e.rulePaths, " -r ") + " says why"
	for _, state := range []struct {
		state policy.State
		text  string
	}{{policy.Blind, "never see what they are about"}, {policy.Partly, "see only a part of what they are about"}} {
		var names []string
		for _, r := range report.Results {
			if r.State == state.state {
				names = append(names, r.Rule)
			}
		}
		switch n := len(names); {
		case n == 0:
		case n == len(report.Results) && state.state == policy.Blind:
			e.fail(e.Policy, do, "under this policy no rule sees what it is about")
			return
		default:
			if n > shownRules {
				names = append(names[:shownRules], "…")
			}
			e.warn(e.Policy, do, "under this policy %d of %s %s: %s", n, several(len(report.Results), "rule"), state.text, strings.Join(names, ", "))
		}
	}
	if served := report.Count(policy.Served); served > 0 {
		e.ok(e.Policy, "the policy serves %s", several(served, "rule"))
	}
}

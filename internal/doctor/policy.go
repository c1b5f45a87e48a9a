package doctor

import (
	"errors"
	"strings"

	"kaudit/pkg/policy"
	"kaudit/pkg/rules"
)

// serving is what to write in place of a policy that serves nothing.
const serving = "take rules/policy/audit-policy.yaml, or one by kaudit policy generate for your rules"

// policy reads the audit policy as the API server does, and asks what it leaves of the rules.
func (e *examination) policy(set *rules.Ruleset) {
	e.check = "policy"
	p, err := policy.LoadFile(e.Policy)
	var mistakes *rules.LoadError
	switch {
	case errors.As(err, &mistakes):
		for _, m := range mistakes.Problems {
			e.fail(m.Pos.String(), m.Hint, "%s: the API server does not start with it", strings.ReplaceAll(m.Text, "\n", " "))
		}
		return
	case err != nil:
		e.fail(e.Policy, "name the file of --audit-policy-file", "%v", unwrapped(err))
		return
	}
	if set == nil {
		e.ok(e.Policy, "the policy has %d rules", len(p.Rules))
		return
	}
	left, err := policy.Check(set, p, policy.Options{})
	if err != nil {
		e.warn(e.Policy, "kaudit policy check --policy "+e.Policy, "what the policy leaves of the rules cannot be told: %v", err)
		return
	}
	do := "kaudit policy check --policy " + e.Policy + " says what of each; " + serving
	switch blind, partly := left.Count(policy.Blind), left.Count(policy.Partly); {
	case len(left.Results) > 0 && blind == len(left.Results):
		e.fail(e.Policy, do, "the policy records nothing that a rule could fire on")
	case blind > 0:
		e.fail(e.Policy, do, "the policy records too little for %d of %d rules, which cannot fire, and not all for %d more", blind, len(left.Results), partly)
	case partly > 0:
		e.warn(e.Policy, do, "the policy does not record all for %d of %d rules", partly, len(left.Results))
	default:
		e.ok(e.Policy, "the policy serves all of %s", several(len(left.Results), "rule"))
	}
}

package rules_test

import (
	"fmt"
	"strings"
	"testing"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
	"kaudit/pkg/source"
)

// Each notice has its rule, and no other of the shipped rules fires on it: test/e2e asks Falco's engine the same.
func TestNoticesFireTheirRuleOnly(t *testing.T) {
	set := shipped(t)
	for _, r := range set.Rules {
		r.Enabled = true
	}
	engine := set.Engine()
	seen := map[string]bool{}
	for _, name := range source.NoticeNames() {
		var a audit.Event
		a.Load(fmt.Appendf(nil, `{"kind":"Notice","apiVersion":"kaudit/v1","name":%q,"source":"/var/log/audit.log","count":3,"message":"why"}`, name))
		var e extract.Event
		e.Reset(&a)
		matches := engine.Evaluate(rules.Event{Event: &e, Number: 1, Time: 1}, rules.All)
		if len(matches) != 1 {
			t.Errorf("%s: %d rules fire", name, len(matches))
			continue
		}
		text := matches[0].Message()
		if rule := matches[0].Rule.Name; seen[rule] || !strings.Contains(text, "why") || !strings.Contains(text, "notice="+name) || !strings.Contains(text, "count=3") {
			t.Errorf("%s: rule %q says %s", name, rule, text)
		}
		seen[matches[0].Rule.Name] = true
	}
}

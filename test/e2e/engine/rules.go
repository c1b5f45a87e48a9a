package engine

import (
	"kaudit/pkg/rules"
)

// A Rule is a rule ready for the engine: macros and lists are expanded.
type Rule struct {
	Name      string `json:"rule"`
	Condition string `json:"condition"`
	Output    string `json:"output"`
	Priority  string `json:"priority"`
}

// LoadRules reads rule files in order, as Falco would with all of them in rules_files, and returns the enabled rules of
// an event source. package rules expands their conditions; that they still mean the same is what test/e2e/differential
// finds out, where falco reads the files itself.
func LoadRules(source string, paths ...string) ([]Rule, error) {
	set, err := rules.Load(rules.Options{}, paths...)
	if err != nil {
		return nil, err
	}
	var list []Rule
	for _, r := range set.Rules {
		if r.Enabled && r.Skipped == "" && r.Source == source {
			list = append(list, Rule{r.Name, r.Condition.String(), r.Output, r.Priority.String()})
		}
	}
	return list, nil
}

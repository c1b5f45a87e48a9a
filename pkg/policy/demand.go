package policy

import (
	"cmp"
	"slices"

	"kaudit/pkg/rules"
)

// A Demand is what a policy has to record of some requests for a rule to lose nothing.
type Demand struct {
	Level Level `json:"level"`
	// Least is the lowest level at which the rule can fire at all.
	Least    Level      `json:"least_level"`
	Requests []Requests `json:"requests"`
	// Fields are those that read what levels below do not record.
	Fields []string `json:"fields"`
}

// Demands are what a policy has to record for a rule.
type Demands struct {
	List []Demand `json:"requests"`
	// Anything says that the rule is about any resource, named here or not.
	Anything bool `json:"any_resource"`
	// Long and Short are the stages at which the rule can hold: of requests that are long-running, and of others.
	Long  []Stage `json:"stages_of_long_running_requests"`
	Short []Stage `json:"stages_of_other_requests"`
	// Unauthenticated says that it can hold for requests that fail authentication, which is told at ResponseStarted.
	Unauthenticated bool `json:"unauthenticated"`
}

// Of returns what a policy has to record for a rule, be it enabled or not.
func Of(set *rules.Ruleset, r *rules.Rule) (*Demands, error) {
	a, err := analyse(set, []*rules.Rule{r}, nil, nil)
	if err != nil {
		return nil, err
	}
	s := a.subjects[0]
	d := &Demands{List: []Demand{}, Anything: s.anything, Long: s.at(true), Short: s.at(false), Unauthenticated: s.unauthenticated}
	type key struct{ level, least Level }
	kinds := map[key][]kind{}
	fields := map[key][]string{}
	var keys []key
	for _, i := range s.interests {
		k := key{i.level, i.least}
		if kinds[k] == nil {
			keys = append(keys, k)
		}
		kinds[k] = append(kinds[k], i.kind)
		for _, l := range i.losses[:i.level] {
			for _, c := range slices.Concat(l.lost, l.partial, l.loose) {
				for _, f := range a.conditions.checks[c].fields {
					if !slices.Contains(fields[k], f) {
						fields[k] = append(fields[k], f)
					}
				}
			}
		}
	}
	slices.SortStableFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(b.least, a.least))
	})
	for _, k := range keys {
		d.List = append(d.List, Demand{k.level, k.least, together(kinds[k]), append([]string{}, fields[k]...)})
	}
	return d, nil
}

func (s *subject) at(long bool) []Stage {
	list := []Stage{}
	for stage, can := range s.stages[long] {
		if can {
			list = append(list, Stage(stage))
		}
	}
	return list
}

package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Options say what is looked at beside the rules.
type Options struct {
	// Disabled says that rules count that are off, too.
	Disabled bool
	// Evidence returns recorded events on which a rule fires. It may be nil.
	Evidence func(rule string) [][]byte
}

// rules returns those that count.
func (o *Options) rules(set *rules.Ruleset) (list []*rules.Rule) {
	for _, r := range set.Rules {
		if (r.Enabled || o.Disabled) && r.Skipped == "" && r.Source == rules.Source && r.Condition != nil {
			list = append(list, r)
		}
	}
	return list
}

// A State is what a policy leaves of a rule.
type State uint8

// The states.
const (
	Served State = iota
	Partly       // some of the requests it is about are not recorded, or not enough of them
	Blind        // it cannot fire
)

var stateNames = [...]string{"served", "partly", "blind"}

func (s State) String() string { return stateNames[s] }

// MarshalText renders the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Loss is something a policy takes from a rule.
type Loss struct {
	Requests []Requests `json:"requests"`
	// By names whose requests these are, or in which namespace, if not everybody's and everywhere.
	By string `json:"by,omitempty"`
	// Recorded is what the policy records of them, and Needed what the rule needs.
	Recorded Level `json:"recorded"`
	Needed   Level `json:"needed"`
	// Omitted is the stage at which the rule would hold, if that is what is missing.
	Omitted string `json:"omitted_stage,omitempty"`
	// Blind says that the rule cannot fire on them. If not, the fields tell less.
	Blind bool `json:"blind"`
	// Fields are those that have no value, or only what the request said.
	Fields []string `json:"fields,omitempty"`
	// Rule is the number of the policy's rule, from 1, and where it stands; 0 if none of its rules fits.
	Rule int            `json:"policy_rule"`
	At   rules.Position `json:"-"`
	// Note says why the loss does not count, and is empty if it does.
	Note string `json:"note,omitempty"`
}

// The reasons for which a loss does not count.
const (
	NoteNoise           = "known noise, and the rule is about any resource"
	NoteWithheld        = "bodies of these hold credentials"
	NoteLoose           = "the rule fires more often: it cannot see what would keep it quiet"
	NoteUnauthenticated = "requests that fail authentication"
)

// String renders the loss on one line.
func (l *Loss) String() string {
	var b strings.Builder
	for i, r := range l.Requests {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(r.String())
	}
	if l.By != "" {
		b.WriteString(" " + l.By)
	}
	b.WriteString(": ")
	by := "no rule of the policy fits"
	if l.Rule > 0 {
		by = fmt.Sprintf("rule %d, line %d", l.Rule, l.At.Line)
	}
	switch {
	case l.Omitted != "":
		fmt.Fprintf(&b, "stage %s is omitted (%s)", l.Omitted, by)
	case l.Recorded == None:
		fmt.Fprintf(&b, "not recorded (%s)", by)
	default:
		fmt.Fprintf(&b, "recorded at %s (%s), needs %s", l.Recorded, by, l.Needed)
		if len(l.Fields) > 0 {
			fields := l.Fields
			if n := len(fields) - 3; n > 1 {
				fields = append(slices.Clone(fields[:3]), several(n, "more field"))
			}
			b.WriteString(" for " + and(fields))
		}
		if !l.Blind && l.Recorded == Request && l.Note == "" {
			b.WriteString("; the request alone says less: of a patch what it sets, of an object nothing that admission changed")
		}
	}
	if l.Note != "" {
		b.WriteString("; " + l.Note)
	}
	return b.String()
}

// Evidence is what a policy leaves of recorded events on which a rule fires.
type Evidence struct {
	Events   int `json:"events"`
	Recorded int `json:"recorded"` // of which the policy records something
	Fires    int `json:"fires"`    // on which the rule still fires
}

// A Result is what a policy leaves of a rule.
type Result struct {
	Rule     string         `json:"rule"`
	Pos      rules.Position `json:"-"`
	State    State          `json:"state"`
	Losses   []*Loss        `json:"losses"`
	Notes    []*Loss        `json:"notes"`
	Evidence *Evidence      `json:"evidence,omitempty"`
}

// A Report is what a policy leaves of rules.
type Report struct {
	Results []*Result
}

// Count returns how many rules are in a state.
func (r *Report) Count(s State) (n int) {
	for _, one := range r.Results {
		if one.State == s {
			n++
		}
	}
	return n
}

// Check says what a policy leaves of the rules of a set.
func Check(set *rules.Ruleset, p *Policy, o Options) (*Report, error) {
	named, paths := p.names()
	a, err := analyse(set, o.rules(set), named, paths)
	if err != nil {
		return nil, err
	}
	return a.check(set, p, o)
}

func (a *analysis) check(set *rules.Ruleset, p *Policy, o Options) (*Report, error) {
	k := &checking{analysis: a, policy: p, noise: loadCommon("noise.yaml", noiseText), withheld: loadCommon("withheld.yaml", withheldText), tallies: map[*subject]*tally{}}
	for _, s := range a.subjects {
		k.tallies[s] = &tally{index: map[string]int{}}
	}
	k.run()
	report := &Report{}
	for _, s := range a.subjects {
		r := k.tallies[s].result(s)
		if o.Evidence != nil {
			if err := p.evidence(set, r, o.Evidence(s.rule.Name)); err != nil {
				return nil, err
			}
		}
		report.Results = append(report.Results, r)
	}
	return report, nil
}

// evidence lets a rule fire on what the policy leaves of recorded events.
func (p *Policy) evidence(set *rules.Ruleset, r *Result, events [][]byte) error {
	if len(events) == 0 {
		return nil
	}
	x, err := set.Explainer(r.Rule)
	if err != nil {
		return err
	}
	r.Evidence = &Evidence{}
	var a, b audit.Event
	var e extract.Event
	fires := func(a *audit.Event) bool {
		e.Reset(a)
		return x.Explain(rules.Event{Event: &e, Number: 1, Time: 1}).Holds
	}
	for _, raw := range events {
		if !a.Load(raw) || !fires(&a) {
			continue
		}
		r.Evidence.Events++
		reduced, _, kept := p.Reduce(nil, &a)
		if !kept || !b.Load(reduced) {
			continue
		}
		r.Evidence.Recorded++
		if fires(&b) {
			r.Evidence.Fires++
		}
	}
	if r.Evidence.Fires < r.Evidence.Events && r.State == Served && len(r.Notes) == 0 {
		r.State = Partly
	}
	return nil
}

// names returns the resources and paths that a policy names.
func (p *Policy) names() (list []Resource, paths []string) {
	for _, r := range p.api.Rules {
		for _, g := range r.Resources {
			for _, name := range g.Resources {
				base, sub, _ := strings.Cut(name, "/")
				if g.Group != "*" && !strings.Contains(name, "*") {
					list = append(list, Resource{g.Group, base, sub})
				}
			}
		}
		for _, u := range r.NonResourceURLs {
			if u = strings.TrimRight(u, "*"); u != "" {
				paths = append(paths, u)
			}
		}
	}
	return list, paths
}

// checking is one check of a policy.
type checking struct {
	*analysis
	policy   *Policy
	noise    common
	withheld common
	tallies  map[*subject]*tally
}

// A tally collects the losses of a rule.
type tally struct {
	losses []*Loss
	kinds  [][]kind
	index  map[string]int
	// Of the requests of everybody: how many kinds, and how many of them the rule is blind for.
	all, blind int
}

func (t *tally) add(k kind, l Loss) {
	key := fmt.Sprint(l.By, l.Recorded, l.Needed, l.Omitted, l.Blind, l.Rule, l.Note)
	i, ok := t.index[key]
	if !ok {
		i = len(t.losses)
		t.index[key] = i
		t.losses = append(t.losses, &l)
		t.kinds = append(t.kinds, nil)
	}
	for _, f := range l.Fields {
		if !slices.Contains(t.losses[i].Fields, f) {
			t.losses[i].Fields = append(t.losses[i].Fields, f)
		}
	}
	t.kinds[i] = append(t.kinds[i], k)
}

func (t *tally) result(s *subject) *Result {
	r := &Result{Rule: s.rule.Name, Pos: s.rule.Pos, Losses: []*Loss{}, Notes: []*Loss{}}
	for i, l := range t.losses {
		if l.Requests = together(t.kinds[i]); l.Note != "" {
			r.Notes = append(r.Notes, l)
			continue
		}
		r.Losses = append(r.Losses, l)
		r.State = Partly
	}
	if len(r.Losses) > 0 && t.all == t.blind {
		r.State = Blind
	}
	return r
}

// An about is a subject with one of its interests.
type about struct {
	*subject
	*interest
}

func (k *checking) run() {
	byKind := map[kind][]about{}
	var kinds []kind
	for _, s := range k.subjects {
		for i := range s.interests {
			one := &s.interests[i]
			if byKind[one.kind] == nil {
				kinds = append(kinds, one.kind)
			}
			byKind[one.kind] = append(byKind[one.kind], about{s, one})
		}
	}
	for _, one := range kinds {
		k.kind(one, byKind[one])
	}
}

// everybody makes the request of somebody who is nobody special, about a thing that is nothing special.
func everybody(k kind) *request {
	r := &request{User: "somebody", Groups: []string{"system:authenticated"}, Verb: k.verb, Resource: k.resource, Path: k.path}
	if k.isResource() {
		r.Namespace, r.Name, r.Path = "somewhere", "something", "/somewhere"
	}
	return r
}

// kind looks at the requests of one kind: those of everybody, then those that the policy treats otherwise.
func (k *checking) kind(one kind, list []about) {
	r := everybody(one)
	base := k.policy.decide(r)
	for _, a := range list {
		t := k.tallies[a.subject]
		t.all++
		if l, ok := k.loss(a.subject, one, r, base, a.interest); ok {
			if l.Blind {
				t.blind++
			}
			t.add(one, l)
		}
		if a.unauthenticated && base.Level != None && base.Omitted[ResponseStarted] && !longRunning(one.resource, one.verb) {
			t.add(one, k.note(Loss{Recorded: base.Level, Needed: a.least, Omitted: ResponseStarted.String(), Note: NoteUnauthenticated}, base))
		}
	}
	if list = slices.DeleteFunc(slices.Clone(list), func(a about) bool { return a.anything && one.resource != custom && one.isResource() }); len(list) == 0 {
		return // rules about anything are looked at with custom resources only: there are too many others
	}
	for _, other := range k.policy.others(one, base.Rule) {
		d := k.policy.decide(other.request)
		if d.Level >= base.Level && d.Omitted == base.Omitted {
			continue
		}
		p := k.probe(one)
		other.tell(&p)
		k.views.set(p)
		for _, a := range list {
			if k.views[RequestResponse].of(a.node) == no {
				continue
			}
			less := *a.interest
			less.losses[Metadata], less.losses[Request] = k.views.loss(a.node, Metadata), k.views.loss(a.node, Request)
			less.measure()
			l, ok := k.loss(a.subject, one, other.request, d, &less)
			if _, already := k.loss(a.subject, one, r, base, a.interest); ok && !already {
				l.By = other.by
				k.tallies[a.subject].add(one, l)
			}
		}
	}
}

func (k *checking) note(l Loss, d Decision) Loss {
	if d.Rule >= 0 {
		l.Rule, l.At = d.Rule+1, k.policy.Rules[d.Rule]
	}
	return l
}

// loss says what a decision takes from a rule, if it takes something.
func (k *checking) loss(s *subject, one kind, r *request, d Decision, i *interest) (Loss, bool) {
	l := k.note(Loss{Recorded: d.Level, Needed: i.level}, d)
	switch long := longRunning(one.resource, one.verb); {
	case d.Level == None:
		l.Blind = true
	case !s.served(long, d.Omitted):
		l.Blind = true
		for stage, can := range s.stages[long] {
			if can && d.Omitted[stage] {
				l.Omitted = Stage(stage).String()
			}
		}
	case d.Level >= i.level:
		return l, false
	default:
		less := i.losses[d.Level]
		l.Blind = d.Level < i.least
		for _, c := range slices.Concat(less.lost, less.partial) {
			for _, f := range k.conditions.checks[c].fields {
				if !slices.Contains(l.Fields, f) {
					l.Fields = append(l.Fields, f)
				}
			}
		}
		if !l.Blind && len(less.lost)+len(less.partial) == 0 {
			l.Note = NoteLoose
		}
		if !l.Blind && d.Level >= k.withheld.most(r) {
			l.Note = NoteWithheld
		}
		return l, true
	}
	if s.anything && k.noise.is(r) {
		l.Note = NoteNoise
	}
	return l, true
}

// An other is a request that a policy may treat otherwise than everybody's.
type other struct {
	*request
	by string
}

// tell says what is known of the request beside its kind.
func (o other) tell(p *probe) {
	p.user, p.groups = &o.User, o.Groups
	if p.resource == nil {
		return
	}
	if o.Namespace != "somewhere" {
		p.namespace = &o.Namespace
	}
	if o.Name != "something" {
		p.name = &o.Name
	}
}

// maxOthers is how many users, namespaces and names of one rule of a policy are looked at. They are treated alike.
const maxOthers = 12

// others returns requests of a kind for which an earlier rule of the policy may decide, or none that is left.
func (p *Policy) others(k kind, before int) (list []other) {
	if before < 0 {
		before = len(p.api.Rules)
	}
	for _, rule := range p.api.Rules[:before] {
		var names []string
		for _, g := range rule.Resources {
			names = append(names, g.ResourceNames...)
		}
		if len(rule.Users)+len(rule.UserGroups)+len(rule.Namespaces)+len(names) == 0 || len(rule.Verbs) > 0 && !slices.Contains(rule.Verbs, k.verb) {
			continue
		}
		if k.isResource() != (len(rule.NonResourceURLs) == 0) && len(rule.NonResourceURLs)+len(rule.Resources)+len(rule.Namespaces) > 0 {
			continue
		}
		users := slices.Concat(rule.Users)
		groups := rule.UserGroups
		if len(users) == 0 && len(groups) == 0 {
			users = []string{"somebody"}
		}
		for _, who := range slices.Concat(asUsers(users), asGroups(groups)) {
			for _, namespace := range orElse(rule.Namespaces, "somewhere") {
				for _, name := range orElse(names, "something") {
					o := other{everybody(k), ""}
					o.User, o.Groups = who.name, who.groups
					var by []string
					if len(rule.Users)+len(rule.UserGroups) > 0 {
						by = append(by, "by "+who.by)
					}
					if k.isResource() {
						o.Namespace, o.Name = namespace, name
						if len(rule.Namespaces) > 0 {
							by = append(by, "in namespace "+strconv.Quote(namespace))
						}
						if len(names) > 0 {
							by = append(by, "named "+name)
						}
					}
					o.by = strings.Join(by, " ")
					list = append(list, o)
				}
			}
		}
	}
	return list
}

func orElse(list []string, otherwise string) []string {
	if len(list) == 0 {
		return []string{otherwise}
	}
	return list[:min(len(list), maxOthers)]
}

// A who is a user with the groups that such a user has.
type who struct {
	name   string
	groups []string
	by     string
}

func asUsers(names []string) (list []who) {
	for _, name := range names[:min(len(names), maxOthers)] {
		w := who{name, []string{"system:authenticated"}, name}
		switch rest, account := strings.CutPrefix(name, "system:serviceaccount:"); {
		case account:
			namespace, _, _ := strings.Cut(rest, ":")
			w.groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
		case strings.HasPrefix(name, "system:node:"):
			w.groups = []string{"system:nodes", "system:authenticated"}
		case name == "system:anonymous":
			w.groups = []string{"system:unauthenticated"}
		case name == "system:apiserver":
			w.groups = []string{"system:masters", "system:authenticated"}
		}
		list = append(list, w)
	}
	return list
}

func asGroups(names []string) (list []who) {
	for _, group := range names[:min(len(names), maxOthers)] {
		w := who{"somebody", []string{group, "system:authenticated"}, "group " + group}
		switch namespace, of := strings.CutPrefix(group, "system:serviceaccounts:"); {
		case group == "system:nodes":
			w.name = "system:node:node"
		case group == "system:serviceaccounts":
			w.name, w.groups = "system:serviceaccount:somewhere:account", []string{group, "system:serviceaccounts:somewhere", "system:authenticated"}
		case of:
			w.name, w.groups = "system:serviceaccount:"+namespace+":account", []string{"system:serviceaccounts", group, "system:authenticated"}
		case group == "system:unauthenticated":
			w.name, w.groups = "system:anonymous", []string{group}
		case group == "system:authenticated":
			w.groups = []string{group}
		}
		list = append(list, w)
	}
	return list
}

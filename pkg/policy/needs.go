package policy

import (
	"slices"
	"strings"

	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// A kind is one sort of request that a rule is about.
type kind struct {
	resource Resource // none for a path
	path     string
	verb     string
}

func (k kind) isResource() bool { return k.resource.Name != "" }

// An interest is a kind of request that a rule is about, and what it needs of it.
type interest struct {
	kind
	// level is the least at which the rule loses nothing.
	level Level
	// least is the least at which it can fire at all.
	least  Level
	losses [RequestResponse]loss // at the levels below
}

// A subject is a rule with what it is about.
type subject struct {
	rule      *rules.Rule
	node      *node
	interests []interest
	// anything says that the rule is about resources that nobody named: about all of them.
	anything bool
	// stages are those at which the rule can hold: of requests that are long-running, and of others.
	stages map[bool][stages]bool
	// unauthenticated says that the rule is about requests that fail, those included that fail authentication.
	unauthenticated bool
}

// An analysis is what rules are about.
type analysis struct {
	conditions *conditions
	views      levelViews
	subjects   []*subject
	resources  []Resource
	traits     map[Resource]trait
	paths      []string
	// namedBy has the rules that name a resource which is none of Kubernetes' own. Others that are about it are about
	// all custom resources.
	namedBy map[Resource][]*rules.Rule
}

// analyse finds out what rules are about, among the resources of Kubernetes, those the rules name, and some more.
func analyse(set *rules.Ruleset, list []*rules.Rule, also []Resource, paths []string) (*analysis, error) {
	c, err := takeApart(set, list)
	if err != nil {
		return nil, err
	}
	a := &analysis{conditions: c, views: c.newLevelViews(), namedBy: map[Resource][]*rules.Rule{}}
	a.resources, a.traits = builtIn()
	a.name(also...)
	a.name(custom, customStatus, customScale)
	by, known, view := c.naming(), slices.Clone(a.resources), a.views[RequestResponse]
	about := func(r *rules.Rule, on Resource) bool {
		view.set(&probe{resource: &on, level: RequestResponse})
		return view.of(c.of[r]) != no
	}
	for _, r := range list {
		if about(r, custom) {
			continue // it is about all resources, those it names included
		}
		for _, on := range c.resourcesIn(c.of[r], by, known) {
			if by := a.namedBy[on]; len(by) > 0 && by[len(by)-1] == r || len(by) == 0 && slices.Contains(a.resources, on) || !about(r, on) {
				continue
			}
			a.name(on)
			a.namedBy[on] = append(a.namedBy[on], r)
		}
	}
	a.paths = append(slices.Clone(pathsOfAll), paths...)
	a.paths = append(a.paths, c.pathsIn(by)...)
	slices.Sort(a.paths)
	a.paths = slices.Compact(a.paths)
	for _, r := range list {
		a.subjects = append(a.subjects, &subject{rule: r, node: c.of[r], stages: map[bool][stages]bool{}})
	}
	for i := range a.resources {
		a.resource(&a.resources[i])
	}
	for _, p := range a.paths {
		for _, verb := range httpVerbs {
			a.request(kind{path: p, verb: verb}, probe{path: p, verb: verb}, a.subjects)
		}
	}
	a.stages()
	return a, nil
}

func (a *analysis) name(list ...Resource) {
	for _, r := range list {
		if !slices.Contains(a.resources, r) {
			a.resources = append(a.resources, r)
		}
	}
}

// resource looks at the requests about a resource: first whatever their verb, then by verb for the rules that are left.
func (a *analysis) resource(r *Resource) {
	full := a.views[RequestResponse]
	full.set(&probe{resource: r, clusterWide: a.traits[*r].clusterWide, level: RequestResponse})
	var left []*subject
	for _, s := range a.subjects {
		if by := a.namedBy[*r]; by != nil && !slices.Contains(by, s.rule) {
			continue
		}
		if full.of(s.node) != no {
			left = append(left, s)
			s.anything = s.anything || *r == custom
		}
	}
	if len(left) == 0 {
		return
	}
	of := a.traits[*r].verbs
	if of == nil {
		of = verbs
	}
	for _, verb := range of {
		a.request(kind{resource: *r, verb: verb}, probe{resource: r, clusterWide: a.traits[*r].clusterWide, verb: verb}, left)
	}
}

func (a *analysis) request(k kind, p probe, list []*subject) {
	a.views.set(p)
	for _, s := range list {
		if a.views[RequestResponse].of(s.node) == no {
			continue
		}
		one := interest{kind: k}
		for l := Metadata; l < RequestResponse; l++ {
			one.losses[l] = a.views.loss(s.node, l)
		}
		one.measure()
		s.interests = append(s.interests, one)
	}
}

// measure finds the levels at which something is lost.
func (i *interest) measure() {
	i.level, i.least = Metadata, Metadata
	for l := Metadata; l < RequestResponse; l++ {
		if i.losses[l].blind {
			i.least = l + 1
		}
		if !i.losses[l].none() {
			i.level = l + 1
		}
	}
}

// probe makes the probe of a kind of request.
func (a *analysis) probe(k kind) probe {
	p := probe{path: k.path, verb: k.verb, level: RequestResponse}
	if k.isResource() {
		p.resource, p.clusterWide = &k.resource, a.traits[k.resource].clusterWide
	}
	return p
}

// maxLooked is how many kinds of requests are looked at to find the stages at which a rule can hold: they differ in verb
// and resource, which hardly ever decide about the stage.
const maxLooked = 4

// stages finds out at which stages rules can hold.
func (a *analysis) stages() {
	type looking struct {
		*subject
		long bool
	}
	var kinds []kind
	byKind := map[kind][]*subject{}
	looked, succeeds := map[looking]int{}, map[*subject]bool{}
	for _, s := range a.subjects {
		for _, i := range s.interests {
			l := looking{s, longRunning(i.resource, i.verb)}
			if looked[l]++; looked[l] > maxLooked {
				continue
			}
			if byKind[i.kind] == nil {
				kinds = append(kinds, i.kind)
			}
			byKind[i.kind] = append(byKind[i.kind], s)
		}
	}
	view := a.views[RequestResponse]
	for _, k := range kinds {
		long := longRunning(k.resource, k.verb)
		// each calls note for the rules that can hold for an answer at a stage.
		each := func(stage Stage, code int, note func(*subject)) {
			p := a.probe(k)
			p.stage, p.code = &stage, code
			if code == 401 {
				p.user = new(string)
			}
			view.set(&p)
			for _, s := range byKind[k] {
				if view.of(s.node) != no {
					note(s)
				}
			}
		}
		at := func(stage Stage, code int) {
			each(stage, code, func(s *subject) {
				can := s.stages[long]
				can[stage] = true
				s.stages[long] = can
				succeeds[s] = succeeds[s] || code > 0 && code < 300
			})
		}
		at(RequestReceived, 0)
		for _, code := range []int{101, 200, 201, 403, 404, 409, 422, 500} {
			if long {
				at(ResponseStarted, code)
			}
			at(ResponseComplete, code)
		}
		each(ResponseStarted, 401, func(s *subject) { s.unauthenticated = true })
	}
	for _, s := range a.subjects {
		s.unauthenticated = s.unauthenticated && !succeeds[s]
	}
}

// served reports whether a policy that omits some stages leaves one of a request at which the rule can hold.
func (s *subject) served(long bool, omitted [stages]bool) bool {
	for stage, can := range s.stages[long] {
		if can && !omitted[stage] {
			return true
		}
	}
	return s.stages[long] == [stages]bool{} // the rule cannot be told to hold at any
}

// constantsOf adds the constants with which a condition compares some fields.
func (c *conditions) constantsOf(n *node, fields []string, found *[]string) {
	for _, p := range n.parts {
		c.constantsOf(p, fields, found)
	}
	if n.kind != 0 {
		return
	}
	k := c.checks[n.check]
	if !slices.ContainsFunc(k.fields, func(f string) bool { return slices.Contains(fields, f) }) {
		return
	}
	switch right := k.expr.Right.(type) {
	case *rules.Value:
		*found = append(*found, right.Text)
	case *rules.List:
		*found = append(*found, right.Items...)
	}
}

// thatAnswer returns the fields that answer a text on some request: those that ask for what is called so in it.
func (c *conditions) thatAnswer(p probe, text string) (fields []string) {
	e := &event{}
	e.raw, _, _ = p.events()
	for _, q := range c.questions {
		if q.ask == nil || q.ask.Field.From.Type != extract.Text {
			continue
		}
		var answer extract.Value
		e.load()
		q.ask.Answer(&e.event, &answer)
		if answer.Len() == 1 && string(answer.Text(0)) == text {
			fields = append(fields, q.text)
		}
	}
	return fields
}

// A naming has the fields that ask for each part of what a request is about.
type naming struct{ name, path, group, uri []string }

func (c *conditions) naming() naming {
	r := Resource{custom.Group, custom.Name, "scale"}
	p := probe{resource: &r, verb: "create"}
	return naming{
		c.thatAnswer(p, r.Name), c.thatAnswer(p, r.path()), c.thatAnswer(p, r.Group),
		c.thatAnswer(probe{path: "/somewhere", verb: "get"}, "/somewhere"),
	}
}

// resourcesIn returns the resources that a rule may name beside those of Kubernetes: each name in each group it names.
func (c *conditions) resourcesIn(n *node, by naming, known []Resource) (list []Resource) {
	var names, groups []string
	c.constantsOf(n, slices.Concat(by.name, by.path), &names)
	c.constantsOf(n, by.group, &groups)
	groups = slices.DeleteFunc(groups, func(g string) bool {
		return slices.ContainsFunc(known, func(r Resource) bool { return r.Group == g })
	})
	add := func(group, name string) {
		base, sub, _ := strings.Cut(name, "/")
		if base != "" && !strings.ContainsAny(name, "*?") {
			list = append(list, Resource{group, base, sub})
		}
	}
	for _, name := range names {
		base, sub, _ := strings.Cut(name, "/")
		if !slices.ContainsFunc(known, func(r Resource) bool { return r.Name == base && r.Subresource == sub }) {
			add(custom.Group, name) // a name without a group may be one of any
		}
	}
	for _, g := range groups {
		add(g, custom.Name)
		for _, name := range names {
			add(g, name)
		}
	}
	return list
}

// pathsIn returns the paths that conditions name.
func (c *conditions) pathsIn(by naming) (paths []string) {
	for _, n := range c.of {
		c.constantsOf(n, by.uri, &paths)
	}
	return slices.DeleteFunc(paths, func(p string) bool {
		return !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "/api/v1/") || strings.HasPrefix(p, "/apis/")
	})
}

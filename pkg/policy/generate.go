package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kaudit/pkg/rules"
)

// A Generated is a policy made for rules.
type Generated struct {
	*Policy
	Text []byte
	// Report is what the policy leaves of the rules: nothing that counts is lost.
	Report *Report
	// Credentials are the requests whose bodies hold credentials and are recorded all the same, each with the rule that
	// could never fire without.
	Credentials []string
}

// Generate makes the smallest policy that serves the rules of a set: bodies where a rule reads them and of nothing that
// holds credentials, unless a rule can fire on nothing else; no stage at which no rule can hold; none of the known noise
// that no rule is about. Its error may say that the rules need what nothing can record.
func Generate(set *rules.Ruleset, o Options) (*Generated, error) {
	list := o.rules(set)
	if len(list) == 0 {
		return nil, fmt.Errorf("there is no rule to record something for: all of them are disabled, or about other sources than %s", rules.Source)
	}
	a, err := analyse(set, list, nil, nil)
	if err != nil {
		return nil, err
	}
	g := &generator{analysis: a, noise: loadCommon("noise.yaml", noiseText), withheld: loadCommon("withheld.yaml", withheldText), needs: map[kind]need{}}
	text := g.text(len(list))
	p, err := Load("generated policy", text)
	if err != nil {
		return nil, err
	}
	report, err := a.check(set, p, o)
	if err != nil {
		return nil, err
	}
	return &Generated{p, text, report, g.credentials}, nil
}

// A need is what has to be recorded of a kind of request.
type need struct {
	level Level
	// end says that the end of a long-running request is needed, and not only its beginning.
	end bool
}

type generator struct {
	*analysis
	noise    common
	withheld common
	needs    map[kind]need
	received bool // a rule holds at RequestReceived only
	// credentials are those of Generated.
	credentials []string
}

func (g *generator) need() {
	for _, s := range g.subjects {
		var exposed []kind
		for _, i := range s.interests {
			n := g.needs[i.kind]
			level := i.level
			if most := g.withheld.most(everybody(i.kind)); level > most {
				if level = max(most, i.least); level > most {
					exposed = append(exposed, i.kind)
				}
			}
			n.level = max(n.level, level)
			long := longRunning(i.resource, i.verb)
			if !s.served(long, [stages]bool{RequestReceived: true}) {
				g.received = true
			}
			if long && !s.served(long, [stages]bool{RequestReceived: true, ResponseComplete: true}) {
				n.end = true
			}
			g.needs[i.kind] = n
		}
		for _, r := range together(exposed) {
			g.credentials = append(g.credentials, fmt.Sprintf("%v, for %s", r, s.rule.Name))
		}
	}
}

// A line is a rule of the policy that is made.
type line struct {
	need
	verbs []string
	on    []Resource
}

func (g *generator) text(n int) []byte {
	g.need()
	var b strings.Builder
	fmt.Fprintf(&b, "# The smallest audit policy that serves %s, made by kaudit policy generate. The first rule that fits a\n# request counts.\n", several(n, "rule"))
	for _, c := range g.credentials {
		fmt.Fprintf(&b, "# Bodies are recorded that hold credentials: %s.\n", rules.Printable(c))
	}
	b.WriteString("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitManagedFields: true\n")
	if !g.received {
		b.WriteString("omitStages: [RequestReceived]\n")
	}
	b.WriteString("rules:\n")
	for i, text := range g.noise.texts {
		if recorded, cared := g.noisy(i); recorded && !cared {
			b.WriteString(text)
		}
	}
	said := ""
	for _, l := range g.lines() {
		if comment := l.comment(); comment != said {
			b.WriteString(comment)
			said = comment
		}
		b.WriteString(l.yaml())
	}
	g.rest(&b)
	return []byte(strings.TrimRight(b.String(), "\n") + "\n")
}

// noisy reports whether what a rule of the noise drops would be recorded else, and whether a rule is about just that, and
// not about anything.
func (g *generator) noisy(i int) (recorded, cared bool) {
	only := &Policy{api: g.noise.api, single: g.noise.single[i : i+1], evaluator: g.noise.single[i], Rules: g.noise.Rules[i : i+1]}
	rule := g.noise.api.Rules[i]
	full := g.views[RequestResponse]
	for _, k := range g.kinds() {
		for _, who := range slices.Concat(asUsers(rule.Users), asGroups(rule.UserGroups), asUsers([]string{"somebody"})) {
			r := everybody(k)
			r.User, r.Groups = who.name, who.groups
			if only.decide(r).Rule < 0 {
				continue
			}
			recorded = recorded || g.needs[k].level > None
			p := g.probe(k)
			if len(rule.Users)+len(rule.UserGroups) > 0 {
				p.user, p.groups = &who.name, who.groups
			}
			full.set(&p)
			for _, s := range g.subjects {
				if !s.anything && full.of(s.node) != no {
					return true, true
				}
			}
		}
	}
	return recorded, false
}

// kinds returns the kinds of requests that some rule is about, in order.
func (g *generator) kinds() (list []kind) {
	seen := map[kind]bool{}
	for _, s := range g.subjects {
		for _, i := range s.interests {
			if !seen[i.kind] {
				seen[i.kind] = true
				list = append(list, i.kind)
			}
		}
	}
	return list
}

// The verbs of a class need the same of a resource: people who read the policy see three kinds of requests.
var classes = [][]string{{"get", "list", "watch"}, {"create", "update", "patch"}, {"delete", "deletecollection"}}

// of returns what is needed of a request about a resource.
func (g *generator) of(r Resource, verb string) (n need) {
	for _, class := range classes {
		if slices.Contains(class, verb) {
			for _, v := range class {
				n.level = max(n.level, g.needs[kind{resource: r, verb: v}].level)
			}
		}
	}
	n.end = g.needs[kind{resource: r, verb: verb}].end || !longRunning(r, verb) || n.level == None
	return n
}

// like returns the custom resource that stands for a resource which nobody named.
func like(r Resource) Resource {
	for _, c := range []Resource{customStatus, customScale} {
		if r.Subresource == c.Subresource {
			return c
		}
	}
	return custom
}

// lines returns the rules about resources that somebody named, those with the most recorded first. Each request is in
// one of them at most; what is in none is recorded as custom resources are.
func (g *generator) lines() (list []*line) {
	type group struct {
		need
		verbs string
	}
	byGroup := map[group]*line{}
	for _, r := range g.resources {
		t, builtIn := g.traits[r]
		if r.Group == custom.Group {
			continue
		}
		if t.verbs == nil {
			t.verbs = verbs
		}
		differs, same := map[need][]string{}, map[need]int{}
		for _, verb := range t.verbs {
			n, rest := g.of(r, verb), g.of(like(r), verb)
			if same[n]++; n != rest && (builtIn || n.level > rest.level) {
				differs[n] = append(differs[n], verb)
			}
		}
		for n, some := range differs {
			if same[n] == len(t.verbs) {
				some = nil
			}
			key := group{n, strings.Join(some, " ")}
			if byGroup[key] == nil {
				byGroup[key] = &line{need: n, verbs: some}
			}
			byGroup[key].on = append(byGroup[key].on, r)
		}
	}
	list = slices.Collect(maps.Values(byGroup))
	slices.SortFunc(list, func(a, b *line) int {
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(len(a.on), len(b.on)), cmp.Compare(a.on[0].String(), b.on[0].String()), cmp.Compare(strings.Join(a.verbs, " "), strings.Join(b.verbs, " ")))
	})
	return list
}

func (l *line) comment() string {
	switch l.level {
	case RequestResponse:
		return "\n  # A rule looks into the objects.\n"
	case Request:
		return "\n  # A rule looks into what the request sends; the answer says no more, or holds credentials.\n"
	case Metadata:
		if !l.end {
			return "\n  # Streams and watches: the beginning tells what the end does.\n"
		}
		return "\n  # Who did what; no rule looks into the objects.\n"
	}
	return "\n  # No rule is about these.\n"
}

func (l *line) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  - level: %s\n", l.level)
	if !l.end && l.level != None {
		b.WriteString("    omitStages: [ResponseComplete]\n")
	}
	if l.verbs != nil {
		fmt.Fprintf(&b, "    verbs: [%s]\n", strings.Join(l.verbs, ", "))
	}
	b.WriteString("    resources:\n")
	var groups []string
	names := map[string][]string{}
	for _, r := range l.on {
		if !slices.Contains(groups, r.Group) {
			groups = append(groups, r.Group)
		}
		names[r.Group] = append(names[r.Group], r.path())
	}
	for _, group := range groups {
		fmt.Fprintf(&b, "      - group: %s\n", quoted(group))
		if len(names[group]) == 1 && names[group][0] == "" {
			continue // all of the group
		}
		const start = "        resources: ["
		b.WriteString(start)
		width := len(start)
		for i, name := range names[group] {
			if i > 0 {
				b.WriteString(", ")
				width += 2
			}
			if width+len(name) > 118 {
				b.WriteString("\n          ")
				width = 10
			}
			b.WriteString(quoted(name))
			width += len(name)
		}
		b.WriteString("]\n")
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

func quoted(s string) string {
	if s == "" || s[0] == '*' {
		return `"` + s + `"`
	}
	return s
}

// rest ends the policy with what is recorded of custom resources, and of requests that are about none.
func (g *generator) rest(b *strings.Builder) {
	level := None
	for k, n := range g.needs {
		if !k.isResource() {
			level = max(level, n.level)
		}
	}
	all := g.byNeed(custom)
	if nothing := (need{None, true}); level == None && len(all[nothing]) == len(verbs) {
		b.WriteString("\n  # No rule is about anything else.\n  - level: None\n")
		return
	}
	b.WriteString("\n  # Whatever else there is: custom resources, and what a new version of Kubernetes brings.\n")
	var less []*line
	for _, on := range []Resource{customStatus, customScale} {
		for n, some := range g.byNeed(on) {
			some = slices.DeleteFunc(some, func(verb string) bool { return slices.Contains(all[n], verb) })
			any := Resource{"*", "*", on.Subresource}
			i := slices.IndexFunc(less, func(l *line) bool { return l.need == n && slices.Equal(l.verbs, some) })
			switch {
			case len(some) == 0:
			case i >= 0:
				less[i].on = append(less[i].on, any)
			default:
				less = append(less, &line{n, some, []Resource{any}})
			}
		}
	}
	slices.SortFunc(less, func(a, b *line) int { return cmp.Compare(b.level, a.level) })
	for _, l := range less {
		b.WriteString(l.yaml())
	}
	needs := slices.SortedFunc(maps.Keys(all), func(a, b need) int {
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(len(all[a]), len(all[b])))
	})
	for i, n := range needs {
		l := &line{n, all[n], []Resource{{Group: "*"}}}
		if i == len(needs)-1 {
			l.verbs = nil
		}
		b.WriteString(l.yaml())
	}
	fmt.Fprintf(b, "\n  # What is about no resource: discovery, metrics, what somebody tries.\n  - level: %s\n", level)
}

// byNeed returns the verbs of requests about a resource by what is needed of them.
func (g *generator) byNeed(r Resource) map[need][]string {
	out := map[need][]string{}
	for _, verb := range verbs {
		n := g.of(r, verb)
		out[n] = append(out[n], verb)
	}
	return out
}

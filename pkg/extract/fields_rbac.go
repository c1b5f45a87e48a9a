package extract

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"kaudit/pkg/audit"
)

// What the resulting role grants and whom the resulting binding grants it to.
var rbacFields = Table{
	{"ka.role.grants", "Whether one rule of the resulting role grants a verb on a resource, as RBAC decides it: wildcards, */subresource and API groups count, and a rule limited to names grants only with a name given.", RequiredKey, "verb,resource[.group][/subresource][,name] or verb,/path",
		grants(),
		Example{onRole(`{"verbs":["get","list"],"apiGroups":[""],"resources":["*"]}`), "list,secrets", "true"}},
	{"ka.role.wildcard", "Whether one rule of the resulting role grants every verb on every resource of its API groups.", NoArg, "",
		anyRule(func(r *rule) bool { return r.verbs.Has("*") && r.resources.Has("*") && r.names.Len() == 0 }),
		Example{onRole(`{"verbs":["*"],"apiGroups":[""],"resources":["*"]}`), "", "true"}},
	{"ka.role.everything", "Whether a rule of the resulting role grants every verb on every resource of every API group.", NoArg, "",
		anyRule(func(r *rule) bool {
			return r.verbs.Has("*") && r.resources.Has("*") && r.groups.Has("*") && r.names.Len() == 0
		}),
		Example{onRole(`{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}`), "", "true"}},
	{"ka.role.escalates", "Ways by which the resulting role lets its holder gain more rights: escalate, bind, impersonate.", NoArg, "",
		texts(func(e *Event, out *Value) {
			for _, way := range escalations {
				for i := range way.asks {
					if e.anyRule(way.asks[i].named) {
						out.AddString(way.name)
						break
					}
				}
			}
		}),
		Example{onRole(`{"verbs":["bind"],"apiGroups":["rbac.authorization.k8s.io"],"resources":["clusterroles"]}`), "", "(bind)"}},
	{"ka.role.writes", "Whether a rule of the resulting role grants a verb that changes something.", NoArg, "",
		anyRule(func(r *rule) bool {
			return r.verbs.Has("*", "create", "update", "patch", "delete", "deletecollection")
		}),
		Example{onRole(`{"verbs":["get","patch"],"apiGroups":[""],"resources":["pods"]}`), "", "true"}},
	{"ka.role.rules", "Rules of the resulting role, each as verbs, then resources or paths, in one text.", OptionalIndex, "number of a rule",
		ofRules(func(r audit.Node, out *Value) {
			b := appendList(out.Scratch[:0], r.Get("verbs"))
			b = append(b, ' ')
			if r.Get("nonResourceURLs").Len() > 0 {
				b = appendList(b, r.Get("nonResourceURLs"))
			} else {
				b = appendList(b, r.Get("resources"))
				if g := r.Get("apiGroups"); g.Len() > 1 || len(g.At(0).Bytes()) > 0 {
					b = appendList(append(b, " in "...), g)
				}
			}
			out.Scratch = b
			out.AddText(b)
		}),
		Example{onRole(`{"verbs":["get","list"],"apiGroups":["apps"],"resources":["deployments"]}`), "", "(get,list deployments in apps)"}},
	{"ka.role.verbs", "Verbs of the rules of the resulting role.", OptionalIndex, "number of a rule",
		ofRules(func(r audit.Node, out *Value) { out.AddNodes(r.Get("verbs")) }),
		Example{onRole(`{"verbs":["get","list"]}`), "0", "(get,list)"}},
	{"ka.role.resources", "Resources of the rules of the resulting role.", OptionalIndex, "number of a rule",
		ofRules(func(r audit.Node, out *Value) { out.AddNodes(r.Get("resources")) }),
		Example{onRole(`{"resources":["pods","pods/exec"]}`), "", "(pods,pods/exec)"}},
	{"ka.role.apigroups", "API groups of the rules of the resulting role.", OptionalIndex, "number of a rule",
		ofRules(func(r audit.Node, out *Value) { out.AddNodes(r.Get("apiGroups")) }),
		Example{onRole(`{"apiGroups":["","apps"]}`), "", "(,apps)"}},
	{"ka.role.paths", "Paths outside resources of the rules of the resulting role.", OptionalIndex, "number of a rule",
		ofRules(func(r audit.Node, out *Value) { out.AddNodes(r.Get("nonResourceURLs")) }),
		Example{onRole(`{"verbs":["get"],"nonResourceURLs":["/metrics"]}`), "", "(/metrics)"}},
	{"ka.role.aggregates_to", "Roles that the resulting ClusterRole is added to by its labels: admin, edit, view.", NoArg, "",
		texts(func(e *Event, out *Value) {
			if !e.isRole() {
				return
			}
			e.meta("labels").Each(func(key []byte, value audit.Node) {
				if to, ok := bytes.CutPrefix(key, []byte("rbac.authorization.k8s.io/aggregate-to-")); ok && value.Is("true") {
					out.AddText(to)
				}
			})
		}),
		Example{`{"verb":"create","objectRef":{"resource":"clusterroles","apiGroup":"rbac.authorization.k8s.io"},"requestObject":{"metadata":{"labels":{"rbac.authorization.k8s.io/aggregate-to-admin":"true"}}}}`, "", "(admin)"}},

	{"ka.binding.role", "Name of the role the resulting binding grants.", NoArg, "", ofBinding("roleRef", "name"),
		Example{onBinding(`"roleRef":{"kind":"ClusterRole","name":"cluster-admin"}`), "", "cluster-admin"}},
	{"ka.binding.role.kind", "Kind of the role the resulting binding grants: ClusterRole or Role.", NoArg, "", ofBinding("roleRef", "kind"),
		Example{onBinding(`"roleRef":{"kind":"ClusterRole","name":"cluster-admin"}`), "", "ClusterRole"}},
	{"ka.binding.clusterwide", "Whether the resulting binding grants its role in the whole cluster.", NoArg, "",
		whetherIn(func(e *Event) (bool, bool) { return string(e.target().name) == "clusterrolebindings", e.isBinding() }),
		Example{onBinding(`"roleRef":{"kind":"ClusterRole","name":"view"}`), "", "true"}},
	{"ka.binding.subjects", "Subjects of the resulting binding: User:name, Group:name, ServiceAccount:namespace:name.", NoArg, "",
		ofSubjects("", func(s audit.Node, out *Value) {
			b := append(append(out.Scratch[:0], s.Get("kind").Bytes()...), ':')
			if s.Get("kind").Is("ServiceAccount") {
				b = append(append(b, s.Get("namespace").Bytes()...), ':')
			}
			out.Scratch = append(b, s.Get("name").Bytes()...)
			out.AddText(out.Scratch)
		}),
		Example{onBinding(`"subjects":[{"kind":"User","name":"jane"},{"kind":"ServiceAccount","namespace":"build","name":"ci"}]`), "", "(User:jane,ServiceAccount:build:ci)"}},
	{"ka.binding.users", "Users among the subjects of the resulting binding.", NoArg, "",
		ofSubjects("User", func(s audit.Node, out *Value) { out.AddNode(s.Get("name")) }),
		Example{onBinding(`"subjects":[{"kind":"User","name":"jane"}]`), "", "(jane)"}},
	{"ka.binding.groups", "Groups among the subjects of the resulting binding.", NoArg, "",
		ofSubjects("Group", func(s audit.Node, out *Value) { out.AddNode(s.Get("name")) }),
		Example{onBinding(`"subjects":[{"kind":"Group","name":"dev"}]`), "", "(dev)"}},
	{"ka.binding.serviceaccounts", "Service accounts among the subjects of the resulting binding, as namespace:name.", NoArg, "",
		ofSubjects("ServiceAccount", func(s audit.Node, out *Value) {
			out.Scratch = append(append(append(out.Scratch[:0], s.Get("namespace").Bytes()...), ':'), s.Get("name").Bytes()...)
			out.AddText(out.Scratch)
		}),
		Example{onBinding(`"subjects":[{"kind":"ServiceAccount","namespace":"build","name":"ci"}]`), "", "(build:ci)"}},
	{"ka.binding.anonymous", "Whether the resulting binding grants its role to callers nobody knows.", NoArg, "",
		anySubject(func(_ *Event, kind, name []byte) bool {
			return string(kind) == "User" && string(name) == "system:anonymous" || string(kind) == "Group" && string(name) == "system:unauthenticated"
		}),
		Example{onBinding(`"subjects":[{"kind":"Group","name":"system:unauthenticated"}]`), "", "true"}},
	{"ka.binding.everyone", "Whether the resulting binding grants its role to all who are logged in, or to all service accounts of the cluster or a namespace.", NoArg, "",
		anySubject(func(_ *Event, kind, name []byte) bool {
			return string(kind) == "Group" && (string(name) == "system:authenticated" || string(name) == "system:serviceaccounts" || bytes.HasPrefix(name, []byte("system:serviceaccounts:")))
		}),
		Example{onBinding(`"subjects":[{"kind":"Group","name":"system:authenticated"}]`), "", "true"}},
	{"ka.binding.self", "Whether the resulting binding grants its role to the one who made it, or to one of his groups.", NoArg, "",
		anySubject(func(e *Event, kind, name []byte) bool {
			for _, u := range [...]audit.Node{e.Get(audit.User), e.Get(audit.ImpersonatedUser)} {
				switch string(kind) {
				case "User":
					if len(name) > 0 && bytes.Equal(u.Get("username").Bytes(), name) {
						return true
					}
				case "Group":
					if string(name) != "system:authenticated" && u.Get("groups").Has(string(name)) {
						return true
					}
				}
			}
			return false
		}),
		Example{`{"user":{"username":"jane"},` + onBinding(`"subjects":[{"kind":"User","name":"jane"}]`)[1:], "", "true"}},
}

func onRole(rule string) string {
	return `{"verb":"create","objectRef":{"resource":"clusterroles","apiGroup":"rbac.authorization.k8s.io"},"requestObject":{"rules":[` + rule + `]}}`
}

func onBinding(members string) string {
	return `{"verb":"create","objectRef":{"resource":"clusterrolebindings","apiGroup":"rbac.authorization.k8s.io"},"requestObject":{` + members + `}}`
}

func (e *Event) isRole() bool {
	r := e.target()
	return len(r.subresource) == 0 && (string(r.name) == "clusterroles" || string(r.name) == "roles")
}

func (e *Event) isBinding() bool {
	r := e.target()
	return len(r.subresource) == 0 && (string(r.name) == "clusterrolebindings" || string(r.name) == "rolebindings")
}

// rules returns the rules of the resulting role.
func (e *Event) rules() audit.Node {
	if !e.isRole() {
		return audit.Node{}
	}
	return e.Object().Get("rules")
}

// A rule is one rule of a role, taken apart: a ruleset asks a hundred things of each.
type rule struct{ verbs, groups, resources, names, urls audit.Node }

// parts returns the rules of the resulting role, taken apart.
func (e *Event) parts() []rule {
	if e.know(knowRules) {
		return e.rule
	}
	e.rule = e.rule[:0]
	rules := e.rules()
	for i := range rules.Len() {
		var r rule
		rules.At(i).Each(func(key []byte, value audit.Node) {
			switch string(key) {
			case "verbs":
				r.verbs = value
			case "apiGroups":
				r.groups = value
			case "resources":
				r.resources = value
			case "resourceNames":
				r.names = value
			case "nonResourceURLs":
				r.urls = value
			}
		})
		e.rule = append(e.rule, r)
	}
	return e.rule
}

func (e *Event) anyRule(is func(r *rule) bool) bool {
	rules := e.parts()
	for i := range rules {
		if is(&rules[i]) {
			return true
		}
	}
	return false
}

func anyRule(is func(r *rule) bool) Extractor {
	return whetherIn(func(e *Event) (bool, bool) { return e.anyRule(is), e.isRole() && e.Object().Exists() })
}

func ofRules(read func(rule audit.Node, out *Value)) Extractor {
	return Extractor{Type: Text, List: true, read: func(e *Event, a *Argument, out *Value) {
		pick(e.rules(), a, func(rule audit.Node) { read(rule, out) })
	}}
}

func ofBinding(path ...string) Extractor {
	return text(func(e *Event, out *Value) {
		if e.isBinding() {
			out.AddNode(e.Object().Path(path...))
		}
	})
}

// subjects calls visit for the subjects of the resulting binding that have a name and are not taken away.
func (e *Event) subjects(visit func(s audit.Node)) {
	if !e.isBinding() {
		return
	}
	list := e.Object().Get("subjects")
	for i := range list.Len() {
		if s := list.At(i); s.Get("name").Exists() && !s.Get("$patch").Is("delete") {
			visit(s)
		}
	}
}

func ofSubjects(kind string, read func(s audit.Node, out *Value)) Extractor {
	return texts(func(e *Event, out *Value) {
		e.subjects(func(s audit.Node) {
			if kind == "" || s.Get("kind").Is(kind) {
				read(s, out)
			}
		})
	})
}

// anySubject reports whether one of the subjects is as asked. A service account counts as the user it is, too.
func anySubject(is func(e *Event, kind, name []byte) bool) Extractor {
	return whetherIn(func(e *Event) (bool, bool) {
		found := false
		e.subjects(func(s audit.Node) {
			kind, name := s.Get("kind").Bytes(), s.Get("name").Bytes()
			if string(kind) == "ServiceAccount" {
				user := append(append(append(bytes.Clone(serviceAccountPrefix), s.Get("namespace").Bytes()...), ':'), name...)
				kind, name = []byte("User"), user
			}
			found = found || is(e, kind, name)
		})
		return found, e.isBinding() && e.Object().Exists()
	})
}

// An ask is what ka.role.grants is asked for.
type ask struct {
	verb, group, resource, subresource, name, path string
}

// parseAsk reads "list,secrets", "create,pods/exec", "get,deployments.apps,web", "get,/metrics". Spaces would read
// better, but the rule language takes none in brackets (falcosecurity/libs: userspace/libsinsp/filter/parser.cpp).
func parseAsk(key string) (ask, error) {
	words := strings.FieldsFunc(key, func(r rune) bool { return r == ',' || r == ' ' })
	if len(words) < 2 || len(words) > 3 {
		return ask{}, errors.New("want a verb and a resource, like create,pods/exec, or a verb and a path, like get,/metrics")
	}
	a := ask{verb: words[0]}
	if len(words) == 3 {
		a.name = words[2]
	}
	if strings.HasPrefix(words[1], "/") {
		if a.path = words[1]; a.name != "" {
			return ask{}, fmt.Errorf("a path has no name: %q", a.name)
		}
		return a, nil
	}
	a.resource, a.subresource, _ = strings.Cut(words[1], "/")
	a.resource, a.group, _ = strings.Cut(a.resource, ".")
	if a.group == "" {
		a.group = builtinGroup(a.resource)
	}
	return a, nil
}

// builtinGroup returns the API group of a resource of Kubernetes itself, the core group for others.
func builtinGroup(resource string) string {
	switch resource {
	case "deployments", "daemonsets", "statefulsets", "replicasets", "controllerrevisions":
		return "apps"
	case "jobs", "cronjobs":
		return "batch"
	case "roles", "clusterroles", "rolebindings", "clusterrolebindings":
		return "rbac.authorization.k8s.io"
	case "certificatesigningrequests", "signers":
		return "certificates.k8s.io"
	case "ingresses", "networkpolicies":
		return "networking.k8s.io"
	case "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings":
		return "admissionregistration.k8s.io"
	case "customresourcedefinitions":
		return "apiextensions.k8s.io"
	case "apiservices":
		return "apiregistration.k8s.io"
	case "userextras", "uids":
		return "authentication.k8s.io"
	case "poddisruptionbudgets":
		return "policy"
	}
	return ""
}

// granted reports whether a rule grants what is asked, as RBAC decides it
// (k8s.io/component-helpers: auth/rbac/validation and kubernetes/kubernetes: pkg/apis/rbac/v1/evaluation_helpers.go).
func (a *ask) granted(r *rule) bool {
	return a.named(r) && (r.names.Len() == 0 || a.name != "" && r.names.Has(a.name))
}

// named reports whether a rule names what is asked, whichever objects it is limited to.
func (a *ask) named(r *rule) bool {
	if !r.verbs.Has(a.verb, "*") {
		return false
	}
	if a.path != "" {
		for i := range r.urls.Len() {
			u := r.urls.At(i).Bytes()
			if string(u) == "*" || string(u) == a.path || bytes.HasSuffix(u, []byte("*")) && strings.HasPrefix(a.path, string(bytes.TrimRight(u, "*"))) {
				return true
			}
		}
		return false
	}
	return r.groups.Has(a.group, "*") && a.resourceIn(r.resources)
}

func (a *ask) resourceIn(list audit.Node) bool {
	for i := range list.Len() {
		r := list.At(i).Bytes()
		if string(r) == "*" {
			return true
		}
		resource, subresource, found := bytes.Cut(r, []byte{'/'})
		if found == (a.subresource != "") && string(subresource) == a.subresource && (string(resource) == a.resource || found && string(resource) == "*") {
			return true
		}
	}
	return false
}

func grants() Extractor {
	return Extractor{
		Type: Bool,
		prepare: func(key string) (any, error) {
			a, err := parseAsk(key)
			if err != nil {
				return nil, err
			}
			return &a, nil
		},
		read: func(e *Event, a *Argument, out *Value) {
			if e.isRole() && e.Object().Exists() {
				out.AddBool(e.anyRule(a.ready.(*ask).granted))
			}
		},
	}
}

// escalations are the verbs by which a role gives more than it says
// (https://kubernetes.io/docs/concepts/security/rbac-good-practices/).
var escalations = [...]struct {
	name string
	asks []ask
}{
	{"escalate", []ask{{verb: "escalate", group: "rbac.authorization.k8s.io", resource: "clusterroles"}, {verb: "escalate", group: "rbac.authorization.k8s.io", resource: "roles"}}},
	{"bind", []ask{{verb: "bind", group: "rbac.authorization.k8s.io", resource: "clusterroles"}, {verb: "bind", group: "rbac.authorization.k8s.io", resource: "roles"}}},
	{"impersonate", []ask{{verb: "impersonate", resource: "users"}, {verb: "impersonate", resource: "groups"}, {verb: "impersonate", resource: "serviceaccounts"},
		{verb: "impersonate", group: "authentication.k8s.io", resource: "userextras"}, {verb: "impersonate", group: "authentication.k8s.io", resource: "uids"}}},
}

func appendList(dst []byte, list audit.Node) []byte {
	for i := range list.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, list.At(i).Bytes()...)
	}
	return dst
}

func notAbsolute(path []byte) error {
	return fmt.Errorf("%q is not an absolute path", path)
}

package rulecheck

import (
	"fmt"
	"slices"
	"strings"

	"kaudit/pkg/rules"
)

// ways has ways around rules that are known, and fields that close them. Each is about one thing that can be told from
// the condition alone.
var ways = []Check{
	{
		ID: "only-create", Severity: Info,
		About:  "A rule is about objects that are created, and holds for the verb create only.",
		Reason: "`kubectl apply --server-side` creates with the verb patch, answered 201. And what was harmless when it was created can be changed.",
		Remedy: "`ka.action = create` holds whichever way an object is made; `ka.verb in (create, update, patch)` for changes, too.",
		Bad:    "ka.verb = create and ka.target.resource = services and not ka.target.subresource exists and ka.done = true", Good: "ka.action = create and ka.target.resource = services and not ka.target.subresource exists and ka.done = true",
		find: verbHint(func(_ *pass, x goal) bool { return onlyCreate(x) }, "verb", "server-side apply creates with the verb patch, and objects can be changed later", "use ka.action = create, or ka.verb in (create, update, patch)"),
	},
	{
		ID: "only-delete", Severity: Info,
		About:  "A rule holds for the verb delete and not for deletecollection.",
		Reason: "One request with deletecollection removes all objects of a kind in a namespace, without naming any. A rule of its own may be about that.",
		Remedy: "Write `ka.verb in (delete, deletecollection)`, or `ka.action = delete`.",
		Bad:    "ka.verb = delete and ka.target.resource = secrets and ka.done = true", Good: "ka.verb in (delete, deletecollection) and ka.target.resource = secrets and ka.done = true",
		find: verbHint(func(p *pass, x goal) bool {
			return can(x, "ka.verb = delete and not ka.target.subresource exists") && !can(x, "ka.verb = deletecollection") && !can(x, "ka.verb = get") &&
				can(x, "not ka.target.name exists and ka.verb = delete") && !p.collectionElsewhere(x)
		}, "verb", "deletecollection deletes too, all objects at once", "use ka.action = delete, or ka.verb in (delete, deletecollection)"),
	},
	{
		ID: "only-get", Severity: Info,
		About:  "A rule about reading secrets holds for the verb get and not for list and watch.",
		Reason: "A list, and a watch, hold the content of every secret, whatever the client shows of it.",
		Remedy: "Write `ka.verb in (get, list, watch)`.",
		Bad:    "ka.verb = get and ka.target.resource = secrets and ka.done = true", Good: "ka.verb in (get, list, watch) and ka.target.resource = secrets and ka.done = true",
		find: verbHint(func(_ *pass, x goal) bool {
			return can(x, "ka.verb = get and ka.target.resource = secrets") && !can(x, "ka.target.resource = pods") && !can(x, "ka.verb = list")
		}, "verb", "list and watch give the content of secrets away, too", "use ka.verb in (get, list, watch)"),
	},
	{
		ID: "stream-by-verb", Severity: Info,
		About:  "A rule about exec, attach or port-forward holds for one verb only.",
		Reason: "The verb is that of the connection: create with SPDY, get with websockets, which kubectl uses from 1.31 on.",
		Remedy: "Leave the verb out: `ka.target.path = pods/exec`.",
		Bad:    "ka.verb = create and ka.target.path = pods/exec and ka.done = true", Good: "ka.target.path = pods/exec and ka.done = true",
		find: verbHint(func(_ *pass, x goal) bool {
			return isStream(x) && can(x, stream+" and ka.verb = create") != can(x, stream+" and ka.verb = get")
		}, "verb", "the verb of exec, attach and port-forward is create or get, as the client connects", "leave the verb out"),
	},
	{
		ID: "stream-at-end", Severity: Info,
		About:  "A rule about exec, attach or port-forward holds at the end of the stream only.",
		Reason: "A shell may be open for days, and the alert comes when it is closed.",
		Remedy: "Use `ka.done = true`, which of a stream is the beginning.",
		Bad:    "ka.stage = ResponseComplete and ka.target.path = pods/exec", Good: "ka.done = true and ka.target.path = pods/exec",
		find: verbHint(func(_ *pass, x goal) bool {
			return isStream(x) && !can(x, stream+" and ka.stage = ResponseStarted") && can(x, stream+" and ka.stage = ResponseComplete")
		}, "stage", "the alert comes when the stream ends", "use ka.done = true"),
	},
	{
		ID: "stream-by-code", Severity: Info,
		About:  "A rule about exec, attach or port-forward takes 2xx for success.",
		Reason: "A stream that opens is answered 101.",
		Remedy: "Use `ka.success = true`.",
		Bad:    "ka.target.path = pods/exec and ka.response.code startswith 2", Good: "ka.target.path = pods/exec and ka.success = true and ka.done = true",
		find: verbHint(func(_ *pass, x goal) bool {
			return isStream(x) && (!can(x, stream+" and ka.response.code = 101") && can(x, stream+" and ka.response.code = 200") || !can(x, stream+" and ka.code = 101") && can(x, stream+" and ka.code = 200"))
		}, "code", "a stream that opens is answered 101, not 2xx", "use ka.success = true"),
	},
	{
		ID: "pods-only", Severity: Info,
		About:  "A rule about what is in new pods looks at pods only, not at the workloads that make them.",
		Reason: "People write Deployments, Jobs and CronJobs. Their pods are made by a controller, later, once for each replica, and that controller is what the alert names.",
		Remedy: "Use the fields `ka.pod.*` and `ka.containers.*` with `ka.pod = true` for `ka.target.resource = pods`: they read the template of a workload, too.",
		Bad:    "ka.target.resource = pods and not ka.target.subresource exists and ka.req.pod.host_pid = true and ka.stage = ResponseComplete", Good: "ka.pod = true and ka.pod.host_pid = true and ka.done = true",
		find: verbHint(func(_ *pass, x goal) bool {
			content := in(x.x, func(c *rules.Check, _ bool) bool {
				n := nameOf(c)
				return strings.HasPrefix(n, "ka.req.pod.") || strings.HasPrefix(n, "ka.req.container.") || n == "ka.req.volume.hostpath" ||
					strings.HasPrefix(n, "ka.pod.") || strings.HasPrefix(n, "ka.containers.")
			})
			return content != nil && can(x, "ka.target.path = pods and ka.action = create") && !can(x, "ka.target.resource = deployments")
		}, "resource", "pods that a Deployment, Job or CronJob makes are told of later, in the controller's name", "use ka.pod = true and the fields ka.pod.* and ka.containers.*, which read templates, too"),
	},
	{
		ID: "one-kind-of-container", Severity: Info,
		About:  "A rule looks at ordinary containers, and not at init and ephemeral ones.",
		Reason: "An init container runs with the same rights before the others, an ephemeral one is added to a running pod (GHSA-jhjp-4c2q-xmx4).",
		Remedy: "Use `ka.pod.*`, which looks at all containers, or `ka.containers.*`, which lists all.",
		Bad:    "ka.req.pod.containers.privileged intersects (true) and ka.done = true", Good: "ka.pod.privileged = true and ka.done = true",
		find: func(p *pass, report report) {
			for _, r := range p.ours() {
				eachCheck(r.Condition, false, func(c *rules.Check, _ bool) {
					rest, ok := strings.CutPrefix(nameOf(c), "ka.req.pod.containers.")
					if !ok || in(r.Condition, func(d *rules.Check, _ bool) bool { return nameOf(d) == "ka.req.pod.initContainers."+rest }) != nil {
						return
					}
					report(c.Pos(), "", nameOf(c)+" does not see init and ephemeral containers", "use "+better(nameOf(c)))
				})
			}
		},
	},
	{
		ID: "request-only", Severity: Info,
		About:  "A condition reads the request, where there is a field for the object that came out of it.",
		Reason: "The request of a patch is a part of an object, or a list of operations: fields `ka.req.*` find nothing in it. What admission webhooks change is not in it.",
		Remedy: "The message names the field: `ka.binding.role` for `ka.req.binding.role`, `ka.role.grants` for lists of verbs and resources.",
		Bad:    "ka.req.binding.role = cluster-admin and ka.done = true", Good: "ka.binding.role = cluster-admin and ka.done = true",
		find: func(p *pass, report report) {
			p.checks(func(c *rules.Check, _ bool) {
				name := nameOf(c)
				if b := better(name); b != "" && !strings.HasPrefix(name, "ka.req.pod.containers.") && !strings.HasPrefix(name, "ka.req.pod.initContainers.") && !strings.HasPrefix(name, "ka.req.pod.ephemeralContainers.") {
					report(c.Pos(), "", name+" finds nothing in most patches", "use "+b)
				}
			})
		},
	},
	{
		ID: "exempt-by-prefix", Severity: Info,
		About:  "A rule leaves out everybody whose name begins with `system:`.",
		Reason: "These are all service accounts, all nodes, and anonymous callers: stolen tokens are among them, and so is whoever gets a certificate with such a name.",
		Remedy: "Name those who may: full names in a list, or `ka.user.kind`.",
		Bad:    "not ka.user.name startswith \"system:\" and ka.target.resource = secrets and ka.done = true", Good: "not ka.user.name in (system:kube-scheduler, system:kube-controller-manager) and ka.target.resource = secrets and ka.done = true",
		find: func(p *pass, report report) {
			p.checks(func(c *rules.Check, negated bool) {
				if v, ok := constant(c.Right); ok && negated && nameOf(c) == "ka.user.name" && c.Op == "startswith" && strings.HasPrefix("system:serviceaccount:", v) {
					report(c.Pos(), "", "this leaves out all service accounts, nodes and anonymous callers", "list full names, or use ka.user.kind")
				}
			})
		},
	},
	{
		ID: "exempt-by-claim", Severity: Info,
		About:  "A rule leaves out requests by what the client says of itself: its user agent, or addresses it may have made up.",
		Reason: "The user agent is free text. `ka.sourceips` begins with what the header X-Forwarded-For claims. What is left to another rule is not left out.",
		Remedy: "For addresses use `ka.sourceip.peer.in[...]`: the last one is the peer of the API server. Do not exempt by user agent.",
		Bad:    "not ka.useragent startswith backup and ka.target.resource = secrets and ka.done = true", Good: "not ka.sourceip.peer.in[10.0.0.0/8] = true and ka.target.resource = secrets and ka.done = true",
		find: func(p *pass, report report) {
			p.conditions(func(x rules.Expr) {
				p.exempt(x, false, func(c *rules.Check) {
					switch nameOf(c) {
					case "ka.useragent", "ka.useragent.name", "ka.useragent.version":
						report(c.Pos(), "", "whoever wants to be left out says this user agent", "exempt by ka.user.name, or by ka.sourceip.peer.in")
					case "ka.sourceips", "ka.sourceip", "ka.sourceips.joined", "ka.sourceips.in", "ka.sourceips.net":
						report(c.Pos(), "", "a client can claim this address in X-Forwarded-For", "use ka.sourceip.peer.in, which asks the peer of the API server")
					}
				})
			})
		},
	},
	{
		ID: "first-parameter", Severity: Info,
		About:  "A rule reads the command of an exec from `ka.uri.param[command]`.",
		Reason: "Each word of the command is a parameter, and this is the first: `sh` of `sh -c \"curl ...\"`.",
		Remedy: "Use `ka.exec.command`, all words in one text, `ka.exec.args`, or `ka.exec.program`.",
		Bad:    "ka.target.path = pods/exec and ka.uri.param[command] contains curl and ka.done = true", Good: "ka.target.path = pods/exec and ka.exec.command contains curl and ka.done = true",
		find: func(p *pass, report report) {
			for _, r := range p.ours() {
				for _, f := range r.AllFields() {
					if f.Name == "ka.uri.param" && f.Arg == "command" {
						report(f.Pos(), "rule "+r.Name, f.String()+" is the first word of the command only", "use ka.exec.command")
					}
				}
			}
		},
	},
	{
		ID: "raw-uri", Severity: Info,
		About:  "A path is compared with the whole URI.",
		Reason: "`ka.uri` has the query in it and is still percent-encoded: `/healthz?x` and `/%68ealthz` are not `/healthz`.",
		Remedy: "Use `ka.uri.path`, and `ka.target.*` for requests about resources.",
		Bad:    "not ka.uri = /healthz and ka.user.anonymous = true and ka.done = true", Good: "not ka.uri.path = /healthz and ka.user.anonymous = true and ka.done = true",
		find: func(p *pass, report report) {
			p.checks(func(c *rules.Check, _ bool) {
				if nameOf(c) != "ka.uri" {
					return
				}
				if slices.ContainsFunc(constants(c.Right), func(s string) bool { return strings.HasPrefix(s, "/") }) {
					report(c.Pos(), "", "ka.uri has the query in it, and is percent-encoded", "use ka.uri.path, or ka.target.path for resources")
				}
			})
		},
	},
	{
		ID: "path-by-name", Severity: Info,
		About:  "Paths of the host are compared one by one.",
		Reason: "`/etc/`, `//etc`, `/etc/kubernetes/..`, and what lies above or below a path of the list, pass.",
		Remedy: "Use `ka.pod.hostpath.under[/etc,/root]`: it takes paths apart, and what lies above counts since it brings the path with it.",
		Bad:    "ka.pod.hostpaths intersects (/etc, /root) and ka.done = true", Good: "ka.pod.hostpath.under[/etc,/root] = true and ka.done = true",
		find: func(p *pass, report report) {
			p.checks(func(c *rules.Check, _ bool) {
				switch nameOf(c) {
				case "ka.req.pod.volumes.hostpath", "ka.pod.hostpaths", "ka.req.volume.hostpath":
					if c.Op != "exists" {
						report(c.Pos(), "", "what lies above or below these paths passes", "use ka.pod.hostpath.under")
					}
				}
			})
		},
	},
	{
		ID: "any-subresource", Severity: Info,
		About:  "A rule is about a resource, and holds for a subresource of it that is something else.",
		Reason: "The resource of `serviceaccounts/token` is serviceaccounts: a rule about accounts that are created fires for every token.",
		Remedy: "Add `not ka.target.subresource exists`, or write `ka.target.path` for `ka.target.resource`.",
		Bad:    "ka.target.resource = serviceaccounts and ka.action = create and ka.done = true", Good: "ka.target.path = serviceaccounts and ka.action = create and ka.done = true",
		find: anySubresource,
	},
	{
		ID: "any-outcome", Severity: Info,
		About:  "A rule holds for requests that were refused, and for those that were carried out.",
		Reason: "Nothing has happened when a request is answered 403, 409 or 422. Both kinds in one rule, one of them needs another priority.",
		Remedy: "Add `ka.success = true`. Attempts that are refused are a rule of their own, with `ka.refused = true`.",
		Bad:    "ka.target.path = secrets and ka.action = delete and ka.done = true", Good: "ka.target.path = secrets and ka.action = delete and ka.done = true and ka.success = true",
		find: func(p *pass, report report) {
			for _, r := range p.aboutRequests() {
				x := goal{r.Condition, true}
				if can(x, "ka.verb = get") && can(x, "ka.verb = create") && !isStream(x) {
					continue // a trail of whatever somebody does
				}
				if in(r.Condition, func(c *rules.Check, _ bool) bool {
					n := nameOf(c)
					return n == "ka.auth.decision" || n == "ka.auth.allowed" || isOutcome(n)
				}) == nil && possible(&given{}, x) {
					report(r.Pos, "rule "+r.Name, "the rule holds whether the request was carried out or refused", "add ka.success = true, and make refused attempts a rule of their own")
				}
			}
		},
	},
	{
		ID: "decision-for-outcome", Severity: Info,
		About:  "A rule takes the decision of the authorizer for success.",
		Reason: "What is allowed may be refused later, by admission, quotas, or conflicts. And the decision is there at the beginning of a request only if it was recorded.",
		Remedy: "Use `ka.success = true`.",
		Bad:    "ka.auth.decision = allow and ka.target.path = secrets and ka.done = true", Good: "ka.success = true and ka.target.path = secrets and ka.done = true",
		find: func(p *pass, report report) {
			for _, r := range p.ours() {
				if in(r.Condition, func(c *rules.Check, _ bool) bool { return isOutcome(nameOf(c)) }) != nil {
					continue
				}
				eachCheck(r.Condition, false, func(c *rules.Check, negated bool) {
					v, _ := constant(c.Right)
					if n := nameOf(c); !negated && (n == "ka.auth.decision" && v == "allow" || n == "ka.auth.allowed" && v == "true") {
						report(c.Pos(), "", "what the authorizer allows may still be refused", "use ka.success = true")
					}
				})
			}
		},
	},
	{
		ID: "absent-body", Severity: Info,
		About:  "A rule asks that something is not in an object, and holds for events without any object.",
		Reason: "At level Metadata the audit log has no objects. There, whatever should be missing is.",
		Remedy: "Ask for the object first, with a field that every such object has: `ka.obj.kind exists`.",
		Bad:    "ka.target.path = ingresses and not ka.value[/requestObject/spec/tls] exists and ka.done = true", Good: "ka.target.path = ingresses and ka.ingress.tls = false and ka.done = true",
		find: func(p *pass, report report) {
			for _, r := range p.ours() {
				missing(goal{r.Condition, true}, nil, func(c *rules.Check, with []goal) {
					name := nameOf(c)
					pointed := false
					if f := asField(c.Left); f != nil && f.HasArg && (name == "ka.value" || name == "ka.number" || name == "ka.values") {
						pointed = strings.HasPrefix(strings.TrimPrefix(f.Arg, "/"), "requestObject") || strings.HasPrefix(strings.TrimPrefix(f.Arg, "/"), "responseObject")
					}
					if (pointed || isBody(name)) && possible(&given{sample: bodiless()}, with...) {
						report(c.Pos(), "", fmt.Sprintf("events without bodies do not have %s either", c.Left), "add ka.obj.kind exists")
					}
				})
			}
		},
	},
}

// missing calls visit for every field that a condition asks not to be there, with what has to hold besides. What is left
// out when a field is there and something else holds is an exemption: it needs the object.
func missing(x goal, with []goal, visit func(c *rules.Check, with []goal)) {
	every := func(parts []rules.Expr) {
		for i, part := range parts {
			besides := slices.Clone(with)
			for k, other := range parts {
				if k != i {
					besides = append(besides, goal{other, x.want})
				}
			}
			missing(goal{part, x.want}, besides, visit)
		}
	}
	switch e := x.x.(type) {
	case *rules.And:
		if x.want {
			every(e.Parts)
		}
	case *rules.Or:
		if !x.want {
			every(e.Parts)
			return
		}
		for _, part := range e.Parts {
			missing(goal{part, true}, with, visit)
		}
	case *rules.Not:
		missing(goal{e.Part, !x.want}, with, visit)
	case *rules.Check:
		if !x.want && e.Op == "exists" {
			visit(e, with)
		}
	}
}

// exempt calls visit for every comparison by which a condition leaves something out, but for what is left to another
// rule: one whose condition is the part that is left out.
func (p *pass) exempt(x rules.Expr, negated bool, visit func(c *rules.Check)) {
	if negated && p.wholeCondition(x) {
		return
	}
	switch x := x.(type) {
	case *rules.And:
		for _, part := range x.Parts {
			p.exempt(part, negated, visit)
		}
	case *rules.Or:
		for _, part := range x.Parts {
			p.exempt(part, negated, visit)
		}
	case *rules.Not:
		p.exempt(x.Part, !negated, visit)
	case *rules.Check:
		if negated && x.Op != "exists" {
			visit(x)
		}
	}
}

// wholeCondition reports whether a part is all that an enabled rule asks.
func (p *pass) wholeCondition(part rules.Expr) bool {
	if p.whole == nil {
		p.whole = map[string]bool{}
		for _, r := range p.ours() {
			if r.Enabled {
				p.whole[r.Condition.String()] = true
			}
		}
	}
	return p.whole[part.String()]
}

// collectionElsewhere reports whether an enabled rule names deletecollection, and may hold for what this one is about.
func (p *pass) collectionElsewhere(x goal) bool {
	goals := []goal{{assumption("ka.verb = deletecollection"), true}}
	parts := []rules.Expr{x.x}
	if and, ok := x.x.(*rules.And); ok {
		parts = and.Parts
	}
	for _, part := range parts {
		if in(part, func(c *rules.Check, _ bool) bool { return nameOf(c) == "ka.verb" || nameOf(c) == "ka.action" }) == nil {
			goals = append(goals, goal{part, true})
		}
	}
	return slices.ContainsFunc(p.ours(), func(r *rules.Rule) bool {
		names := in(r.Condition, func(c *rules.Check, negated bool) bool {
			return !negated && nameOf(c) == "ka.verb" && slices.Contains(constants(c.Right), "deletecollection")
		})
		return r.Enabled && names != nil && possible(&given{}, append(slices.Clip(goals), goal{r.Condition, true})...)
	})
}

// can reports whether a condition can hold together with another.
func can(x goal, with string) bool { return possible(&given{}, x, goal{assumption(with), true}) }

const stream = "(ka.target.subresource in (exec, attach, portforward) or ka.target.path in (pods/exec, pods/attach, pods/portforward))"

// isStream reports whether a condition is about exec, attach or port-forward, and nothing else.
func isStream(x goal) bool {
	return in(x.x, func(c *rules.Check, negated bool) bool {
		return !negated && slices.ContainsFunc(constants(c.Right), func(v string) bool {
			switch nameOf(c) {
			case "ka.target.subresource":
				return v == "exec" || v == "attach" || v == "portforward"
			case "ka.target.path":
				return v == "pods/exec" || v == "pods/attach" || v == "pods/portforward"
			}
			return false
		})
	}) != nil && !can(x, "not ka.target.subresource exists and ka.target.path = pods")
}

// verbHint reports rules that fit, where they compare the verb, or what else the hint is about.
func verbHint(fits func(p *pass, x goal) bool, about, text, hint string) func(*pass, report) {
	return func(p *pass, report report) {
		for _, r := range p.ours() {
			if !fits(p, goal{r.Condition, true}) {
				continue
			}
			at := r.Pos
			c := in(r.Condition, func(c *rules.Check, negated bool) bool {
				return !negated && (strings.HasSuffix(nameOf(c), "."+about) || about == "resource" && nameOf(c) == "ka.target.path")
			})
			if c != nil {
				if item, ok := p.at(c.Pos()); ok && item.Name == r.Name {
					at = c.Pos()
				}
			}
			report(at, "rule "+r.Name, text, hint)
		}
	}
}

// reviews are resources that are created only, and read nowhere.
const reviews = "ka.target.resource in (tokenreviews, subjectaccessreviews, selfsubjectaccessreviews, selfsubjectrulesreviews, localsubjectaccessreviews, selfsubjectreviews)"

func onlyCreate(x goal) bool {
	const object = "not ka.target.subresource exists and "
	return can(x, object+"ka.verb = create and ka.success = true and not ("+reviews+")") && !can(x, object+"ka.verb = patch") && !can(x, object+"ka.verb = get") &&
		!can(x, object+"ka.verb = delete")
}

func isOutcome(name string) bool {
	switch name {
	case "ka.success", "ka.refused", "ka.outcome", "ka.code", "ka.response.code", "ka.response.reason", "ka.status", "ka.message":
		return true
	}
	return false
}

// others are subresources by which something else is done to a resource, by verb.
var others = []struct{ resource, verb, subresource string }{
	{"serviceaccounts", "create", "token"},
	{"pods", "create", "exec"},
	{"pods", "create", "eviction"},
	{"pods", "patch", "status"},
	{"pods", "patch", "ephemeralcontainers"},
	{"pods", "get", "log"},
	{"pods", "delete", "proxy"},
	{"services", "create", "proxy"},
	{"services", "patch", "status"},
	{"services", "delete", "proxy"},
	{"nodes", "create", "proxy"},
	{"nodes", "patch", "status"},
	{"nodes", "get", "proxy"},
	{"nodes", "delete", "proxy"},
	{"namespaces", "update", "finalize"},
	{"deployments", "patch", "status"},
	{"daemonsets", "patch", "status"},
	{"statefulsets", "patch", "status"},
}

// anySubresource looks for rules about resources that do not say whether a subresource is meant.
func anySubresource(p *pass, report report) {
	for _, r := range p.ours() {
		x := goal{r.Condition, true}
		if in(r.Condition, func(c *rules.Check, _ bool) bool {
			n := nameOf(c)
			return n == "ka.target.subresource" || n == "ka.target.path" || n == "ka.uri" || n == "ka.uri.path"
		}) != nil {
			continue
		}
		if can(x, "ka.target.resource = nothing-there-is") {
			continue // it is not about resources
		}
		for _, o := range others {
			with := fmt.Sprintf("ka.target.resource = %s and ka.verb = %s and ka.target.subresource = %s", o.resource, o.verb, o.subresource)
			if possible(&given{sample: bodiless()}, x, goal{assumption(with), true}) {
				report(r.Pos, "rule "+r.Name, fmt.Sprintf("the rule holds for %s/%s, too", o.resource, o.subresource), "add not ka.target.subresource exists")
				break
			}
		}
	}
}

// betters are fields of this plugin for those of the official one.
var betters = []struct{ old, use string }{
	{"ka.req.binding.role", "ka.binding.role"},
	{"ka.req.binding.subjects.user_names", "ka.binding.users"},
	{"ka.req.binding.subjects.group_names", "ka.binding.groups"},
	{"ka.req.binding.subjects.serviceaccount_ns_names", "ka.binding.serviceaccounts"},
	{"ka.req.binding.subjects.serviceaccount_names", "ka.binding.serviceaccounts"},
	{"ka.req.binding.subject.has_name", "ka.binding.subjects"},
	{"ka.req.binding.subjects", "ka.binding.subjects"},
	{"ka.req.role.rules.", "ka.role.grants[verb,resource], which asks one rule of the role at a time"},
	{"ka.req.role.rules", "ka.role.rules"},
	{"ka.req.service.type", "ka.service.type"},
	{"ka.req.configmap.obj", "ka.data.credentials, or ka.data.value[key]"},
	{"ka.req.pod.host_network", "ka.pod.host_network"},
	{"ka.req.pod.host_pid", "ka.pod.host_pid"},
	{"ka.req.pod.host_ipc", "ka.pod.host_ipc"},
	{"ka.req.container.host_network", "ka.pod.host_network"},
	{"ka.req.container.privileged", "ka.pod.privileged"},
	{"ka.req.container.image.repository", "ka.containers.image.repository"},
	{"ka.req.container.image", "ka.containers.image"},
	{"ka.req.pod.volumes.hostpath", "ka.pod.hostpath.under"},
	{"ka.req.volume.hostpath", "ka.pod.hostpath.under"},
	{"ka.req.pod.volumes.volume_type", "ka.pod.volumes.types"},
	{"ka.req.pod.containers.privileged", "ka.pod.privileged"},
	{"ka.req.pod.containers.allow_privilege_escalation", "ka.pod.privilege_escalation"},
	{"ka.req.pod.containers.add_capabilities", "ka.pod.capabilities"},
	{"ka.req.pod.containers.host_port", "ka.pod.host_ports"},
	{"ka.req.pod.containers.proc_mount", "ka.pod.unconfined"},
	{"ka.req.pod.containers.eff_run_as_user", "ka.containers.run_as_user"},
	{"ka.req.pod.containers.eff_run_as_group", "ka.containers.run_as_group"},
	{"ka.req.pod.containers.", "ka.containers."},
}

// better returns the field to use for one of the official plugin, "" if there is none.
func better(name string) string {
	for _, b := range betters {
		if name == b.old {
			return b.use
		}
		if rest, ok := strings.CutPrefix(name, b.old); ok && strings.HasSuffix(b.old, ".") {
			if strings.HasSuffix(b.use, ".") {
				return b.use + rest
			}
			return b.use
		}
	}
	return ""
}

package rulecheck

import (
	"slices"
	"strings"

	"kaudit/pkg/rules"
)

const connects = "ka.target.subresource in (exec, attach, portforward, proxy)"

// links say what follows for other fields when a field has a value (package extract says why).
var links = parsedLinks(map[string]string{
	"ka.action=create":         "ka.verb in (create, post, update, patch) and not " + connects,
	"ka.action=update":         "ka.verb in (update, patch, put) and not " + connects,
	"ka.action=delete":         "ka.verb in (delete, deletecollection) and not " + connects,
	"ka.action=get":            "ka.verb in (get, head) and not " + connects,
	"ka.action=list":           "ka.verb = list",
	"ka.action=watch":          "ka.verb = watch",
	"ka.action=connect":        connects,
	"ka.write=true":            "ka.action in (create, update, delete)",
	"ka.read=true":             "ka.action in (get, list, watch)",
	"ka.success=true":          "(ka.code = 101 or ka.code >= 200 and ka.code < 300)",
	"ka.refused=true":          "ka.code in (401, 403)",
	"ka.outcome=success":       "ka.success = true",
	"ka.outcome=forbidden":     "ka.code = 403",
	"ka.outcome=unauthorized":  "ka.code = 401",
	"ka.outcome=pending":       "not ka.code exists",
	"ka.done=true":             "ka.stage in (ResponseStarted, ResponseComplete, Panic)",
	"ka.namespace.system=true": "ka.target.namespace in (kube-system, kube-public, kube-node-lease)",
})

func parsedLinks(texts map[string]string) map[string]rules.Expr {
	out := map[string]rules.Expr{}
	for k, text := range texts {
		out[k] = assumption(text)
	}
	return out
}

// consequences returns what follows of a check: one of some conditions, and all of others.
func consequences(c *rules.Check, want bool) (choice []goal, all []goal) {
	name := nameOf(c)
	set := constants(c.Right)
	if name == "" || len(set) == 0 || len(set) > 40 || !slices.Contains([]string{"=", "==", "in", "intersects"}, c.Op) {
		return nil, nil
	}
	for _, v := range set {
		x, ok := links[name+"="+v]
		if name == "ka.target.path" {
			x, ok = target(v), true
		}
		switch {
		case want && !ok:
			return nil, nil
		case want:
			choice = append(choice, goal{x, true})
		case name == "ka.target.path": // there the two say the same
			all = append(all, goal{x, false})
		}
	}
	return choice, all
}

// target is what resource and subresource are of a path.
func target(path string) rules.Expr {
	resource, subresource, ok := strings.Cut(path, "/")
	is := func(field, value string) rules.Expr {
		return &rules.Check{Left: &rules.Field{Name: field}, Op: "=", Right: &rules.Value{Text: value}}
	}
	if !ok {
		return &rules.And{Parts: []rules.Expr{is("ka.target.resource", resource), &rules.Not{Part: &rules.Check{Left: &rules.Field{Name: "ka.target.subresource"}, Op: "exists"}}}}
	}
	return &rules.And{Parts: []rules.Expr{is("ka.target.resource", resource), is("ka.target.subresource", subresource)}}
}

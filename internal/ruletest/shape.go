package ruletest

import (
	"maps"
	"slices"

	"gopkg.in/yaml.v3"
)

// A shape is what a member of an audit event may be. Events in test files are written by hand, and a member with a wrong
// name makes a near miss that misses by far: the test passes, and proves nothing.
type shape struct {
	kind    string           // of JSON; empty if it may be anything
	members map[string]shape // of an object; nil if it may have any
}

var (
	anything = shape{}
	aText    = shape{kind: "text"}
	aNumber  = shape{kind: "number"}
	someText = shape{kind: "list"}
	anObject = shape{kind: "object"}
	aUser    = shape{kind: "object", members: map[string]shape{
		"username": aText, "uid": aText, "groups": someText, "extra": anObject,
	}}
)

// eventShape is the shape of an audit event: audit.k8s.io/v1 (kubernetes/apiserver: pkg/apis/audit/v1/types.go), what
// v1beta1 and v1alpha1 had besides, and the member this project adds.
var eventShape = shape{kind: "object", members: map[string]shape{
	"kind":             aText,
	"apiVersion":       aText,
	"level":            aText,
	"auditID":          aText,
	"stage":            aText,
	"requestURI":       aText,
	"verb":             aText,
	"user":             aUser,
	"impersonatedUser": aUser,
	"authenticationMetadata": {kind: "object", members: map[string]shape{
		"impersonationConstraint": aText,
	}},
	"sourceIPs": someText,
	"userAgent": aText,
	"objectRef": {kind: "object", members: map[string]shape{
		"resource": aText, "namespace": aText, "name": aText, "uid": aText, "apiGroup": aText, "apiVersion": aText,
		"resourceVersion": aText, "subresource": aText,
	}},
	"responseStatus": {kind: "object", members: map[string]shape{
		"kind": aText, "apiVersion": aText, "metadata": anObject, "status": aText, "message": aText, "reason": aText,
		"details": anObject, "code": aNumber,
	}},
	"requestObject":            anything,
	"responseObject":           anything,
	"requestReceivedTimestamp": aText,
	"stageTimestamp":           aText,
	"annotations":              anObject,
	"metadata":                 anObject,
	"timestamp":                aText,
	"kaudit":                   anObject,
}}

// check notes what of a value is not as it has to be. Null fits everything: it says that nothing is there, and in a merge
// patch that it is to be removed.
func (r *reader) check(n *yaml.Node, s shape, what string) {
	if isNull(n) || s.kind == "" {
		return
	}
	switch got := kindOf(n); {
	case got == s.kind:
	case s.kind == "text" && got == "number":
		r.wrong(n, `write "`+n.Value+`"`, "%s is a number, and in an audit event it is a text", what)
		return
	default:
		r.wrong(n, "", "%s is %s, and in an audit event it is %s", what, article[got], article[s.kind])
		return
	}
	if s.members == nil {
		return
	}
	known := slices.Sorted(maps.Keys(s.members))
	for _, p := range r.pairs(n) {
		below, ok := s.members[p.key.Value]
		if !ok {
			r.wrong(p.key, meant(p.key.Value, known), "there is no %q in %s", p.key.Value, what)
			continue
		}
		r.check(p.value, below, p.key.Value)
	}
}

var article = map[string]string{"text": "a text", "number": "a number", "truth": "true or false", "list": "a list", "object": "an object"}

// kindOf returns the kind of JSON that a value is.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "object"
	case yaml.SequenceNode:
		return "list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "number"
	case "!!bool":
		return "truth"
	}
	return "text"
}

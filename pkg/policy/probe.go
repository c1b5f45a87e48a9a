package policy

import (
	"encoding/json"

	"kaudit/pkg/audit"
)

// A probe is what is known of a request, and of the event that tells of it. What is not set may be anything.
type probe struct {
	resource    *Resource
	clusterWide bool
	path        string // of a request that is about no resource
	verb        string
	user        *string
	groups      []string
	namespace   *string
	name        *string
	level       Level
	stage       *Stage
	code        int
}

// members is a set of members of an event.
type members uint32

func set(list ...audit.Member) (s members) {
	for _, m := range list {
		s |= 1 << m
	}
	return s
}

// never are the members of which nothing is ever known.
var never = set(audit.AuditID, audit.ImpersonatedUser, audit.AuthenticationMetadata, audit.SourceIPs, audit.UserAgent, audit.RequestReceivedTimestamp,
	audit.StageTimestamp, audit.Annotations, audit.Metadata, audit.Timestamp, audit.Origin)

// events returns two events that have all that is known, and differ in the rest where a part of a member is known, and the
// members of which nothing is known.
func (p *probe) events() (one, other []byte, unknown members) {
	type object = map[string]any
	a := object{"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "1", "level": p.level.String()}
	b := object{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "auditID": "2", "level": p.level.String(),
		"impersonatedUser": object{"username": "?"}, "userAgent": "?", "sourceIPs": []string{"192.0.2.1"}, "annotations": object{"?": "?"},
	}
	both := func(key string, value any) { a[key], b[key] = value, value }
	unknown = never
	if p.stage == nil {
		unknown |= set(audit.Stage)
	} else {
		both("stage", p.stage.String())
	}
	if p.verb == "" {
		unknown |= set(audit.Verb)
	} else {
		both("verb", p.verb)
	}
	if p.user == nil {
		unknown |= set(audit.User)
	} else if *p.user != "" {
		both("user", object{"username": *p.user, "groups": p.groups})
	}
	if p.resource == nil {
		a["requestURI"], b["requestURI"] = p.path, p.path+"?timeout=32s"
	} else {
		unknown |= set(audit.RequestURI)
		a["objectRef"], b["objectRef"] = p.reference(false), p.reference(true)
	}
	switch {
	case p.stage != nil && *p.stage == RequestReceived:
	case p.code == 0:
		unknown |= set(audit.ResponseStatus)
	default:
		a["responseStatus"], b["responseStatus"] = object{"code": p.code}, object{"code": p.code, "message": "?", "reason": "?", "status": "?"}
	}
	if p.level >= Request && p.resource != nil && !isRead(p.verb) {
		unknown |= set(audit.RequestObject)
		b["requestObject"] = object{"dryRun": []string{"All"}} // as options of a deletion, if it is one
	}
	if p.level >= RequestResponse && p.resource != nil && (p.stage == nil || *p.stage != RequestReceived) {
		unknown |= set(audit.ResponseObject)
		b["responseObject"] = object{"kind": "?"}
	}
	one, _ = json.Marshal(a) // a map of texts and lists
	other, _ = json.Marshal(b)
	return one, other, unknown
}

func (p *probe) reference(full bool) map[string]any {
	r := map[string]any{"resource": p.resource.Name, "apiVersion": "v1"}
	if full {
		r["uid"], r["resourceVersion"] = "?", "?"
		if p.resource.Group != "" {
			r["apiVersion"] = "v1beta1"
		}
	}
	for key, v := range map[string]string{"apiGroup": p.resource.Group, "subresource": p.resource.Subresource} {
		if v != "" {
			r[key] = v
		}
	}
	switch {
	case p.namespace != nil && *p.namespace != "":
		r["namespace"] = *p.namespace
	case p.namespace == nil && full && (!p.clusterWide || p.resource.Name == "namespaces"):
		r["namespace"] = "?"
	}
	switch {
	case p.name != nil && *p.name != "":
		r["name"] = *p.name
	case p.name == nil && full:
		r["name"] = "?"
	}
	return r
}

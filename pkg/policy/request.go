package policy

import (
	"net/url"
	"strings"

	auditapi "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"kaudit/pkg/audit"
)

// A Level is how much is recorded of a request.
type Level uint8

// The levels.
const (
	None Level = iota
	Metadata
	Request
	RequestResponse
)

var levels = [...]string{"None", "Metadata", "Request", "RequestResponse"}

func (l Level) String() string { return levels[l] }

// MarshalText renders the level as policies write it.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

func parseLevel(s string) Level {
	for l, name := range levels {
		if name == s {
			return Level(l)
		}
	}
	return None
}

// A Stage is when an event is written.
type Stage uint8

// The stages.
const (
	RequestReceived Stage = iota
	ResponseStarted
	ResponseComplete
	Panic

	stages = 4
)

var stageNames = [stages]string{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}

func (s Stage) String() string { return stageNames[s] }

// MarshalText renders the stage as policies write it.
func (s Stage) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Resource is what a request is about.
type Resource struct {
	Group       string
	Name        string
	Subresource string
}

func (r Resource) String() string {
	s := r.Name
	if r.Subresource != "" {
		s += "/" + r.Subresource
	}
	if r.Group != "" {
		s += " in " + r.Group
	}
	return s
}

// path is the resource with its subresource, as policies write it.
func (r Resource) path() string {
	if r.Subresource != "" {
		return r.Name + "/" + r.Subresource
	}
	return r.Name
}

// A request is as much of one as policies ask: who does what with what.
type request struct {
	User      string
	Groups    []string
	Verb      string
	Resource  Resource
	Namespace string
	Name      string
	Path      string // of a request that is about no resource
}

func (r *request) attributes() authorizer.Attributes {
	a := authorizer.AttributesRecord{
		Verb: r.Verb, Namespace: r.Namespace, Name: r.Name, APIGroup: r.Resource.Group, APIVersion: "v1",
		Resource: r.Resource.Name, Subresource: r.Resource.Subresource, ResourceRequest: r.Resource.Name != "", Path: r.Path,
	}
	if r.User != "" || len(r.Groups) > 0 {
		a.User = &user.DefaultInfo{Name: r.User, Groups: r.Groups}
	}
	return a
}

// requestOf reads of an event what policies ask.
func requestOf(e *audit.Event) *request {
	ref := e.Get(audit.ObjectRef)
	r := &request{
		User: string(e.Get(audit.User).Get("username").Bytes()), Verb: string(e.Get(audit.Verb).Bytes()),
		Resource:  Resource{string(ref.Get("apiGroup").Bytes()), string(ref.Get("resource").Bytes()), string(ref.Get("subresource").Bytes())},
		Namespace: string(ref.Get("namespace").Bytes()), Name: string(ref.Get("name").Bytes()),
	}
	if r.Verb == "create" && r.Resource.Subresource == "" {
		r.Name = "" // it is in the body, and the API server completes the event with it after it has asked the policy
	}
	groups := e.Get(audit.User).Get("groups")
	for i := range groups.Len() {
		r.Groups = append(r.Groups, string(groups.At(i).Bytes()))
	}
	path, _, _ := strings.Cut(string(e.Get(audit.RequestURI).Bytes()), "?")
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	r.Path = path
	return r
}

// A Decision is what a policy says of a request.
type Decision struct {
	Level Level
	// Omitted are the stages that are not recorded.
	Omitted [stages]bool
	// Rule is the number of the rule that decided, from 0; -1 if none fits, so that nothing is recorded.
	Rule int

	omitManagedFields bool
}

// decide evaluates the policy as the API server does.
func (p *Policy) decide(r *request) Decision {
	a := r.attributes()
	config := p.evaluator.EvaluatePolicyRule(a)
	d := Decision{Level: parseLevel(string(config.Level)), Rule: -1, omitManagedFields: config.OmitManagedFields}
	for _, s := range config.OmitStages {
		for i, name := range stageNames {
			d.Omitted[i] = d.Omitted[i] || string(s) == name
		}
	}
	for i, one := range p.single {
		if one.EvaluatePolicyRule(a).Level == auditapi.LevelRequestResponse {
			d.Rule = i
			break
		}
	}
	return d
}

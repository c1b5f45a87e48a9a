package extract

import (
	"bytes"

	"kaudit/pkg/audit"
)

// An Event is an audit event with what several fields need of it, worked out once. Like the audit event it stands on
// it is used by one goroutine at a time and again and again.
type Event struct {
	*audit.Event
	// Stamp is the time the host has for the event, in nanoseconds since 1970, for those who ask for that.
	Stamp uint64

	isAudit   bool
	isNotice  bool
	known     uint8
	resource  resource
	pod       audit.Node
	podFrom   podSource
	query     query
	container containers
	addresses [4]address
	rule      []rule
	patch     patch
	json      audit.Document // see isJSON
	valid     bool           // whether it is one
	text      []byte         // scratch: the event in one piece
}

const (
	knowResource = 1 << iota
	knowPod
	knowQuery
	knowContainers
	knowRules
	knowPatch
	knowJSON
)

// Reset makes e the given event.
func (e *Event) Reset(a *audit.Event) {
	e.Event = a
	e.known = 0
	e.isAudit = a.IsAudit()
	e.isNotice = !e.isAudit && a.IsNotice()
	// The memory of an event that was large once is not kept.
	if cap(e.container) > 1<<10 {
		e.container = nil
	}
	if cap(e.rule) > 1<<10 {
		e.rule = nil
	}
	if cap(e.text) > 1<<16 {
		e.text = nil
	}
	if cap(e.query.text) > 1<<16 || cap(e.query.pairs) > 1<<10 {
		e.query = query{}
	}
}

// ResetJSON makes e an event of any source, of which only the fields of [JSONFields] are asked, and reports whether it is
// JSON at all.
func (e *Event) ResetJSON(raw []byte, stamp uint64) bool {
	e.Event, e.isAudit, e.isNotice, e.Stamp = nil, false, false, stamp
	e.known, e.valid = knowJSON, e.json.Load(raw)
	return e.valid
}

// isJSON reports whether the event is JSON, as e.json has it then.
func (e *Event) isJSON() bool {
	if !e.know(knowJSON) {
		raw := e.Raw()
		if e.Size() != len(raw) { // something was added to it
			e.text = e.AppendTo(e.text[:0])
			raw = e.text
		}
		e.valid = e.json.Load(raw)
	}
	return e.valid
}

// Forget forgets what was worked out, which a mistake may have left half done.
func (e *Event) Forget() { e.known &= knowJSON }

func (e *Event) know(what uint8) bool {
	before := e.known&what != 0
	e.known |= what
	return before
}

// A resource is what a request was about: objectRef with the group and version told apart.
type resource struct {
	group, version, name, subresource []byte
}

// target returns what the request was about. In v1alpha1 there was no apiGroup: it stands in apiVersion, before a
// slash.
func (e *Event) target() *resource {
	if !e.know(knowResource) {
		ref := e.Get(audit.ObjectRef)
		r := resource{
			group:       ref.Get("apiGroup").Bytes(),
			version:     ref.Get("apiVersion").Bytes(),
			name:        ref.Get("resource").Bytes(),
			subresource: ref.Get("subresource").Bytes(),
		}
		if i := bytes.IndexByte(r.version, '/'); i >= 0 && len(r.group) == 0 {
			r.group, r.version = r.version[:i], r.version[i+1:]
		}
		e.resource = r
	}
	return &e.resource
}

// is reports whether the request was about the given resource, subresource "" for the object itself.
func (r *resource) is(name, subresource string) bool {
	return string(r.name) == name && string(r.subresource) == subresource
}

// A patch is what a request patches: JSON pointers, one after the other.
type patch struct {
	kind audit.PatchType
	text []byte
	ends []int
	long bool // they are too long to be kept: a few bytes of a patch that nests can make many of path
}

// keepPaths is how many bytes of pointers are kept.
const keepPaths = 1 << 16

func (e *Event) patched() *patch {
	if !e.know(knowPatch) {
		p := &e.patch
		p.kind, p.text, p.ends, p.long = e.PatchType(), p.text[:0], p.ends[:0], false
		e.PatchPaths(func(path []byte) {
			if p.long = p.long || len(p.text)+len(path)+8*len(p.ends) > keepPaths; !p.long {
				p.text = append(p.text, path...)
				p.ends = append(p.ends, len(p.text))
			}
		})
	}
	return &e.patch
}

// touches reports whether the patch sets or removes something at or below a pointer, or all of what holds it.
func (e *Event) touches(at []byte) bool {
	p, from := e.patched(), 0
	if p.long {
		found := false
		e.PatchPaths(func(path []byte) { found = found || under(path, at) || under(at, path) })
		return found
	}
	for _, end := range p.ends {
		if path := p.text[from:end]; under(path, at) || under(at, path) {
			return true
		}
		from = end
	}
	return false
}

// verb reports whether the request's verb is one of those given.
func (e *Event) verb(verbs ...string) bool {
	v := e.Get(audit.Verb).Bytes()
	for _, s := range verbs {
		if string(v) == s {
			return true
		}
	}
	return false
}

// code returns the HTTP status of the response.
func (e *Event) code() (uint64, bool) {
	n, ok := e.Get(audit.ResponseStatus).Get("code").Int()
	return uint64(n), ok && n >= 0
}

func (e *Event) annotation(key string) audit.Node { return e.Get(audit.Annotations).Get(key) }

// meta returns a member of the resulting object's metadata.
func (e *Event) meta(key string) audit.Node { return e.Object().Get("metadata").Get(key) }

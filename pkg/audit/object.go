package audit

import (
	"bytes"
	"strings"

	"github.com/valyala/fastjson"
)

// PatchType is the kind of patch a request sent. The API server does not record it; it is told by its shape.
type PatchType string

// The patch types of the API server (k8s.io/apimachinery: pkg/types/patch.go).
const (
	NoPatch        PatchType = ""
	JSONPatch      PatchType = "json"
	MergePatch     PatchType = "merge"
	StrategicPatch PatchType = "strategic"
	ApplyPatch     PatchType = "apply"
)

// PatchType returns how the event's patch is to be read, and NoPatch if the request was not a patch or its body is not
// recorded.
func (e *Event) PatchType() PatchType {
	if !e.Get(Verb).Is("patch") {
		return NoPatch
	}
	body := e.Get(RequestObject)
	switch {
	case body.IsArray():
		return JSONPatch
	case !body.IsObject():
		return NoPatch
	case body.Get("apiVersion").IsString() && body.Get("kind").IsString():
		return ApplyPatch
	case strategic(body, 0):
		return StrategicPatch
	}
	return MergePatch
}

// strategic reports whether an object holds a directive of strategic merge patches anywhere
// (k8s.io/apimachinery: pkg/util/strategicpatch/patch.go).
func strategic(n Node, depth int) bool {
	if depth > 64 {
		return false
	}
	found := false
	n.Each(func(key []byte, value Node) {
		if len(key) > 0 && key[0] == '$' {
			k := string(key)
			found = found || k == "$patch" || k == "$retainKeys" ||
				strings.HasPrefix(k, "$setElementOrder/") || strings.HasPrefix(k, "$deleteFromPrimitiveList/")
		}
		found = found || strategic(value, depth+1)
	})
	for i := 0; i < n.Len() && !found; i++ {
		found = strategic(n.At(i), depth+1)
	}
	return found
}

// Object returns the object as the request left it, as far as the event tells: the response if it is recorded and is an
// object of its own, else what the request sent. Of a patch whose response is not recorded that is what the patch
// sets: a JSON Patch is put together into the object its operations touch. Of a deletion only the response counts,
// since its request holds options.
func (e *Event) Object() Node {
	if !e.objectLoaded {
		e.objectLoaded = true
		e.object = e.findObject()
	}
	return e.object
}

func (e *Event) findObject() Node {
	response := e.Get(ResponseObject)
	if response.IsObject() && !response.Get("kind").Is("Status") {
		// A response that was cut on the way knows less than a whole request.
		if !e.Get(Origin).Get("salvaged").Exists() || e.Get(Verb).Is("patch") || !e.Get(RequestObject).IsObject() {
			return response
		}
	}
	verb, request := e.Get(Verb), e.Get(RequestObject)
	switch {
	case verb.Is("delete"), verb.Is("deletecollection"):
		return Node{}
	case request.IsArray():
		s := e.spans[RequestObject]
		return e.patch.apply(s.of(e.raw), s.values)
	case request.IsObject():
		return request
	}
	return Node{}
}

// patcher puts the operations of a JSON Patch (RFC 6902) together into the object they touch.
type patcher struct {
	parser fastjson.Parser // its own copy of the patch: values are moved, and other readers must not see that
	arena  fastjson.Arena
	spent  int // values of all patches so far
	heavy  bool
	made   int // values made beside those of the patch
	looked int // members looked at
	copied int // bytes of texts that stand in one more place

	// The lists of which the patch tells only a part, and what it adds to their ends. In the list itself stands what
	// it reaches by number, and null for the elements before of which nothing is known: a number never leads to
	// what was added to the end, since nobody knows how long the list was.
	tails map[*fastjson.Value][]*fastjson.Value
}

// A patch is followed as far as these go, which is further than one that means well comes: a few bytes of a patch can
// ask for much memory, by copies of copies, and for much time.
const (
	maxPatchOperations = 10_000  // what the API server takes (k8s.io/apiserver: pkg/endpoints/handlers/patch.go)
	maxPatchDepth      = 64      // tokens of a path
	maxPatchIndex      = 255     // how far into a list; what lies beyond is appended
	maxPatchMade       = 1 << 16 // see patcher.made
	maxPatchLooked     = 1 << 26 // see patcher.looked
	maxPatchCopied     = 1 << 24 // see patcher.copied
)

// reset gives back the memory of a large patch.
func (p *patcher) reset() {
	if p.heavy || p.spent > renewValues || p.made > keepValues {
		*p = patcher{}
	}
}

// patchPath returns the path of an operation as the API server reads it: what stands before the first slash does not
// matter to it, although it should (gopkg.in/evanphx/json-patch.v4: patch.go, findObject).
func patchPath(n Node) (path string, ok bool) {
	b := n.Bytes()
	if i := bytes.IndexByte(b, '/'); i >= 0 {
		return string(b[i:]), true
	}
	return "", n.IsString() && len(b) == 0
}

func (p *patcher) apply(patch []byte, values int) Node {
	if values > smallValues {
		p.spent += values
	}
	operations, err := p.parser.ParseBytes(patch)
	if err != nil {
		return Node{}
	}
	p.arena.Reset()
	clear(p.tails)
	p.made, p.looked, p.copied, p.heavy = 0, 0, 0, values > keepValues || len(patch) > keepBytes
	root := p.arena.NewObject()
	for n, o := range operations.GetArray() {
		if n >= maxPatchOperations || p.looked > maxPatchLooked || p.made > maxPatchMade || p.copied > maxPatchCopied {
			break
		}
		op := Node{o}
		at, ok := patchPath(op.Get("path"))
		if !ok {
			continue
		}
		switch kind := string(op.Get("op").Bytes()); kind {
		case "add", "replace":
			value := op.Get("value")
			switch {
			case at != "" && value.Exists():
				p.place(root, at, value.v, kind == "replace")
			case at != "": // the API server takes this for null
				p.place(root, at, p.arena.NewNull(), kind == "replace")
			case value.IsObject(): // the whole of it
				root = value.v
			}
		case "remove":
			p.remove(root, at)
		case "copy", "move":
			from, ok := patchPath(op.Get("from"))
			if !ok || from == "" || at == "" {
				continue
			}
			v := p.walk(root, from)
			if v == nil {
				continue
			}
			if kind == "copy" {
				v = p.copy(v)
			} else {
				p.remove(root, from)
			}
			p.place(root, at, v, false)
		}
	}
	for list, tail := range p.tails {
		n := len(list.GetArray())
		for i, v := range tail {
			list.SetArrayItem(n+i, v)
		}
	}
	return Node{root}
}

// get returns the member or element of v a token names, nil if it is not there.
func (p *patcher) get(v *fastjson.Value, token string) *fastjson.Value {
	if v.Type() == fastjson.TypeObject {
		p.looked += v.GetObject().Len()
	}
	return Node{v}.step(token).v
}

// set sets a member of an object. A key that is there several times is there once then.
func (p *patcher) set(object *fastjson.Value, key string, value *fastjson.Value) {
	for {
		object.Set(key, value) // the first of that key
		if p.get(object, key) == value || p.looked > maxPatchLooked {
			return
		}
		object.Del(key)
	}
}

func (p *patcher) walk(v *fastjson.Value, path string) *fastjson.Value {
	for more := path != ""; more && v != nil; {
		var token string
		token, path, more = cutPointer(path)
		v = p.get(v, token)
	}
	return v
}

func (p *patcher) remove(root *fastjson.Value, path string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return
	}
	parent := p.walk(root, path[:i])
	if parent == nil {
		return
	}
	token, _, _ := cutPointer(path[i:])
	switch parent.Type() {
	case fastjson.TypeObject:
		for p.get(parent, token) != nil && p.looked <= maxPatchLooked {
			parent.Del(token)
		}
	case fastjson.TypeArray:
		p.looked += len(parent.GetArray())
		parent.Del(token)
	}
}

// copy returns a copy of v: a value that stood in two places would be changed in both, and could come to hold itself.
func (p *patcher) copy(v *fastjson.Value) *fastjson.Value {
	if p.made++; p.made > maxPatchMade {
		return p.arena.NewNull()
	}
	switch v.Type() {
	case fastjson.TypeObject:
		c := p.arena.NewObject()
		v.GetObject().Visit(func(key []byte, member *fastjson.Value) {
			if p.made <= maxPatchMade {
				p.looked += c.GetObject().Len()
				c.Set(string(key), p.copy(member))
			}
		})
		return c
	case fastjson.TypeArray:
		c := p.arena.NewArray()
		for i, element := range v.GetArray() {
			if p.made > maxPatchMade {
				break
			}
			c.SetArrayItem(i, p.copy(element))
		}
		if tail, partial := p.tails[v]; partial {
			p.tails[c] = nil
			for _, element := range tail {
				p.tails[c] = append(p.tails[c], p.copy(element))
			}
		}
		return c
	}
	p.copied += len(v.GetStringBytes())
	return v // nobody changes a scalar
}

// place sets the value at path, and makes the objects and lists on the way that are not there.
func (p *patcher) place(at *fastjson.Value, path string, value *fastjson.Value, replace bool) {
	if strings.Count(path, "/") > maxPatchDepth {
		return
	}
	for {
		token, rest, more := cutPointer(path)
		next := value
		if more {
			if next = p.get(at, token); next == nil || next.Type() != fastjson.TypeObject && next.Type() != fastjson.TypeArray {
				child, _, _ := cutPointer(rest)
				next = p.container(token, child)
			}
		}
		switch at.Type() {
		case fastjson.TypeObject:
			p.set(at, token, next)
		case fastjson.TypeArray:
			p.setElement(at, token, next, replace || more)
		}
		if !more {
			return
		}
		at, path = next, rest
	}
}

// container makes what stands under key if a patch reaches into it by child.
func (p *patcher) container(key, child string) *fastjson.Value {
	p.made++
	if !listed(key, child) {
		return p.arena.NewObject()
	}
	list := p.arena.NewArray()
	if p.tails == nil {
		p.tails = map[*fastjson.Value][]*fastjson.Value{}
	}
	p.tails[list] = nil
	return list
}

// setElement puts a value into a list: in place of the element there, else before it.
func (p *patcher) setElement(list *fastjson.Value, token string, value *fastjson.Value, replace bool) {
	n := len(list.GetArray())
	tail, partial := p.tails[list]
	i, ok := index(token)
	switch {
	case partial && (!ok || i > maxPatchIndex):
		p.tails[list] = append(tail, value)
		return
	case !ok || i > n && !partial: // the API server takes no index behind the end
		i = n
	case i < n && !replace:
		p.looked += n - i
		for k := n; k > i; k-- {
			list.SetArrayItem(k, list.GetArray()[k-1])
		}
	}
	p.made += max(0, i-n)
	list.SetArrayItem(i, value)
}

// listed tells whether the value under key, into which a patch reaches by child, is a list. A number is a place in
// a list, except in the maps of Kubernetes objects whose keys people choose.
func listed(key, child string) bool {
	switch key {
	case "labels", "annotations", "data", "binaryData", "stringData", "matchLabels", "nodeSelector", "selector", "limits", "requests":
		return false
	}
	_, number := index(child)
	return number || child == "-"
}

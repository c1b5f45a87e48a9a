package extract

import (
	"bytes"

	"kaudit/pkg/audit"
)

// podSource is where a pod specification stands.
type podSource uint8

const (
	noPod       podSource = iota
	podItself             // the object is a pod
	podTemplate           // the object makes pods
)

// podSpec returns the pod specification the resulting object holds: of a pod, or of the template of whatever makes
// pods. Custom resources count if they hold a template where Deployments have it.
func (e *Event) podSpec() (audit.Node, podSource) {
	if !e.know(knowPod) {
		e.pod, e.podFrom = e.findPod()
		if !e.pod.IsObject() {
			e.pod, e.podFrom = audit.Node{}, noPod
		}
	}
	return e.pod, e.podFrom
}

func (e *Event) findPod() (audit.Node, podSource) {
	r := e.target()
	if len(r.subresource) > 0 && !(string(r.name) == "pods" && (string(r.subresource) == "ephemeralcontainers" || string(r.subresource) == "resize")) {
		return audit.Node{}, noPod
	}
	switch string(r.group) {
	case "", "apps", "extensions", "batch":
		switch string(r.name) {
		case "pods":
			return e.Object().Get("spec"), podItself
		case "deployments", "daemonsets", "statefulsets", "replicasets", "replicationcontrollers", "jobs":
			return e.Object().Path("spec", "template", "spec"), podTemplate
		case "cronjobs":
			return e.Object().Path("spec", "jobTemplate", "spec", "template", "spec"), podTemplate
		case "podtemplates":
			return e.Object().Path("template", "spec"), podTemplate
		}
		return audit.Node{}, noPod
	}
	if bytes.HasSuffix(r.group, []byte(".k8s.io")) || !bytes.Contains(r.group, []byte(".")) {
		return audit.Node{}, noPod
	}
	if spec := e.Object().Path("spec", "template", "spec"); spec.Get("containers").IsArray() {
		return spec, podTemplate
	}
	return audit.Node{}, noPod
}

// A container is one of a pod's containers, of any of the three kinds.
type container struct {
	audit.Node
	kind string // container, init, ephemeral
}

type containers []container

// containers returns the pod's containers: the ordinary ones first, then init, then ephemeral ones. Entries that a
// strategic merge patch takes away do not count.
func (e *Event) containers() containers {
	if e.know(knowContainers) {
		return e.container
	}
	e.container = e.container[:0]
	spec, _ := e.podSpec()
	for _, list := range [...]struct{ key, kind string }{
		{"containers", "container"}, {"initContainers", "init"}, {"ephemeralContainers", "ephemeral"},
	} {
		array := spec.Get(list.key)
		for i := range array.Len() {
			if c := array.At(i); c.IsObject() && !c.Get("$patch").Is("delete") {
				e.container = append(e.container, container{c, list.kind})
			}
		}
	}
	return e.container
}

// anyContainer reports whether one of the containers is as asked, and whether there is a pod at all.
func anyContainer(is func(c container) bool) Extractor {
	return whetherIn(func(e *Event) (bool, bool) {
		for _, c := range e.containers() {
			if is(c) {
				return true, true
			}
		}
		_, from := e.podSpec()
		return false, from != noPod
	})
}

// perContainer yields one value for each container, so that lists line up: the i-th value belongs to the i-th
// container. An index picks one. Where read adds nothing the value is the empty text.
func perContainer(read func(e *Event, c container, out *Value)) Extractor {
	return Extractor{Type: Text, List: true, read: func(e *Event, a *Argument, out *Value) {
		for i, c := range e.containers() {
			if a.Present && a.Index != i {
				continue
			}
			before := out.Len()
			if read(e, c, out); out.Len() == before {
				out.AddText(nil)
			}
		}
	}}
}

// ofContainers yields what read adds for each container, all in one list. An index picks one container.
func ofContainers(read func(e *Event, c container, out *Value)) Extractor {
	return Extractor{Type: Text, List: true, read: func(e *Event, a *Argument, out *Value) {
		for i, c := range e.containers() {
			if !a.Present || a.Index == i {
				read(e, c, out)
			}
		}
	}}
}

// addWords adds the elements of arrays in one text, a space between them; nothing if there are none.
func addWords(out *Value, arrays ...audit.Node) {
	b := out.Scratch[:0]
	for _, array := range arrays {
		for i := range array.Len() {
			if len(b) > 0 {
				b = append(b, ' ')
			}
			if n := array.At(i); n.IsString() {
				b = append(b, n.Bytes()...)
			} else {
				b = n.AppendJSON(b)
			}
		}
	}
	if out.Scratch = b; len(b) > 0 {
		out.AddText(b)
	}
}

// appendCapability appends the name of a Linux capability in capitals and without CAP_.
func appendCapability(dst, name []byte) []byte {
	if len(name) > 4 && contain(name[:4], "cap_") {
		name = name[4:]
	}
	for _, c := range name {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// A setting is a member of security contexts: a container's own counts, else the pod's.
type setting struct {
	key string
	pod audit.Node
}

func (e *Event) setting(key string) setting {
	spec, _ := e.podSpec()
	return setting{key, spec.Path("securityContext", key)}
}

func (s *setting) of(c container) audit.Node {
	if n := c.Path("securityContext", s.key); n.Exists() && !n.IsNull() {
		return n
	}
	return s.pod
}

// eachSetting yields a setting of each container, the empty text where there is none.
func eachSetting(key string) Extractor {
	return Extractor{Type: Text, List: true, read: func(e *Event, a *Argument, out *Value) {
		s := e.setting(key)
		for i, c := range e.containers() {
			switch n := s.of(c); {
			case a.Present && a.Index != i:
			case n.Exists():
				out.AddNode(n)
			default:
				out.AddText(nil)
			}
		}
	}}
}

// hostPaths calls visit with the cleaned path of every hostPath volume, and whether a container mounts it writable;
// a path no container mounts counts as writable too, since a later change may mount it.
func (e *Event) hostPaths(visit func(path audit.Node, writable bool)) {
	spec, _ := e.podSpec()
	volumes, looked := spec.Get("volumes"), 0
	for i := range volumes.Len() {
		v := volumes.At(i)
		if p := v.Path("hostPath", "path"); p.IsString() && !v.Get("$patch").Is("delete") {
			visit(p, e.mountedWritable(v.Get("name").Bytes(), &looked))
		}
	}
}

// maxLooked is how many mounts are looked at for all volumes of a pod; behind that, volumes count as writable.
const maxLooked = 1 << 18

func (e *Event) mountedWritable(volume []byte, looked *int) bool {
	mounted := false
	for _, c := range e.containers() {
		mounts := c.Get("volumeMounts")
		if *looked += 1 + mounts.Len(); *looked > maxLooked {
			return true
		}
		for i := range mounts.Len() {
			if m := mounts.At(i); bytes.Equal(m.Get("name").Bytes(), volume) {
				if mounted = true; !m.Get("readOnly").IsTrue() {
					return true
				}
			}
		}
	}
	return !mounted
}

// cleanPath appends an absolute path without doubled slashes, "." and "..", and without a slash at the end.
func cleanPath(dst, p []byte) []byte {
	from := len(dst)
	for len(p) > 0 {
		var part []byte
		part, p, _ = bytes.Cut(p, []byte{'/'})
		switch string(part) {
		case "", ".":
		case "..":
			if i := bytes.LastIndexByte(dst[from:], '/'); i >= 0 {
				dst = dst[:from+i]
			}
		default:
			dst = append(append(dst, '/'), part...)
		}
	}
	if len(dst) == from {
		dst = append(dst, '/')
	}
	return dst
}

// under reports whether the cleaned path p is dir or lies below it.
func under(p, dir []byte) bool {
	if string(dir) == "/" {
		return true
	}
	return bytes.HasPrefix(p, dir) && (len(p) == len(dir) || p[len(dir)] == '/')
}

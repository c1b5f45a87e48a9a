package rules

import (
	"bytes"
	"slices"
	"strings"
)

// A pathSet answers whether one of its paths is a prefix of a path, component by component. A component may have
// wildcards (falcosecurity/libs: userspace/libsinsp/prefix_search.h).
type pathSet struct {
	below    map[string]*pathSet // nil below a path that is in the set
	globs    map[string]*pathSet
	patterns []string // the keys of globs, in order
}

func (s *pathSet) add(components []string) {
	if s.below == nil {
		s.below, s.globs = map[string]*pathSet{}, map[string]*pathSet{}
	}
	m, name := s.below, components[0]
	wild := strings.ContainsAny(name, "?*[")
	if wild {
		m = s.globs
	}
	next, there := m[name]
	switch {
	case len(components) == 1:
		m[name] = nil // what is below it no longer matters
	case there && next == nil: // a prefix of it is in the set
	case there:
		next.add(components[1:])
	default:
		next = &pathSet{}
		next.add(components[1:])
		m[name] = next
	}
	if wild && !there {
		s.patterns = append(s.patterns, name)
		slices.Sort(s.patterns)
	}
}

// match reports whether the set has a prefix of a path. An engine with two patterns in one place compares the second
// with the component behind the one it compared the first with if the first matched and what is below it did not; that
// depends on the order of a hash table, so it is not done here.
func (s *pathSet) match(path []byte) bool {
	name, rest, more := cutComponent(path)
	if next, ok := s.below[string(name)]; ok && next.end(rest, more) {
		return true
	}
	for _, pattern := range s.patterns {
		if glob([]byte(pattern), name, false) && s.globs[pattern].end(rest, more) {
			return true
		}
	}
	return false
}

// end goes on with what is left of a path.
func (s *pathSet) end(rest []byte, more bool) bool {
	if s == nil {
		return true
	}
	return more && s.match(rest)
}

// cutComponent takes the first component off a path, and reports whether there are more.
func cutComponent(path []byte) (name, rest []byte, more bool) {
	path = bytes.TrimLeft(path, "/")
	if i := bytes.IndexByte(path, '/'); i >= 0 {
		name, rest = path[:i], bytes.TrimLeft(path[i:], "/")
		return name, rest, len(rest) > 0
	}
	return path, nil, false
}

// newPathSet makes a set of paths. Each begins with a component of its own, so that a path of no components, like /,
// is a prefix of all.
func newPathSet(paths []string) *pathSet {
	s := &pathSet{}
	for _, p := range paths {
		components := []string{""}
		for _, c := range strings.Split(p, "/") {
			if c != "" {
				components = append(components, c)
			}
		}
		s.add(components)
	}
	return s
}

// has reports whether the set has a prefix of a path.
func (s *pathSet) has(path []byte) bool {
	root, ok := s.below[""]
	if !ok {
		return false
	}
	rest := bytes.TrimLeft(path, "/")
	return root.end(rest, len(rest) > 0)
}

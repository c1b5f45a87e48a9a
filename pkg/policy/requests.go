package policy

import (
	"slices"
	"strings"
)

// Requests are kinds of requests that have something in common, as people read them.
type Requests struct {
	Verbs     []string `json:"verbs"`
	Resources []string `json:"resources,omitempty"` // as "pods/exec", "deployments in apps"; "custom resources" for all others
	Paths     []string `json:"paths,omitempty"`
}

// How resources are told of that nobody named, and of nearly all there are.
const (
	customName  = "custom resources"
	anyResource = "any resource"
	manyKinds   = 40
)

// String renders the requests as "create, patch of pods and deployments in apps".
func (r Requests) String() string {
	on := slices.Concat(r.Resources, r.Paths)
	const most = 6
	if n := len(on) - most; n > 1 {
		on = append(slices.Clone(on[:most]), several(n, "other"))
	}
	verbs := strings.Join(r.Verbs, ", ")
	if len(r.Verbs) == len(verbsOf(len(r.Resources) > 0)) {
		verbs = "any request"
	}
	return verbs + " of " + and(on)
}

func verbsOf(resources bool) []string {
	if resources {
		return verbs
	}
	return httpVerbs
}

func and(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}

func several(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return itoa(n) + " " + what
}

// together puts kinds together that have the same verbs, those of most resources first.
func together(kinds []kind) []Requests {
	type target struct {
		name string
		path bool
	}
	verbsBy := map[target][]string{}
	var targets []target
	for _, k := range kinds {
		t := target{k.path, true}
		if k.isResource() {
			t = target{k.resource.String(), false}
			if k.resource.Group == custom.Group {
				t.name = strings.TrimPrefix(k.resource.path(), custom.Name)
				if t.name = strings.TrimPrefix(t.name, "/"); t.name == "" {
					t.name = customName
				} else if strings.HasPrefix(k.resource.path(), custom.Name) {
					t.name += " of " + customName
				}
			}
		}
		if _, ok := verbsBy[t]; !ok {
			targets = append(targets, t)
		}
		if !slices.Contains(verbsBy[t], k.verb) {
			verbsBy[t] = append(verbsBy[t], k.verb)
		}
	}
	var out []Requests
	index := map[string]int{}
	for _, t := range targets {
		key := strings.Join(verbsBy[t], " ")
		if t.path {
			key += " path"
		}
		i, ok := index[key]
		if !ok {
			i = len(out)
			index[key] = i
			out = append(out, Requests{Verbs: verbsBy[t]})
		}
		if t.path {
			out[i].Paths = append(out[i].Paths, t.name)
		} else {
			out[i].Resources = append(out[i].Resources, t.name)
		}
	}
	for i := range out {
		order := verbsOf(out[i].Paths == nil)
		slices.SortFunc(out[i].Verbs, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) })
	}
	if i := slices.IndexFunc(out, func(r Requests) bool { return slices.Contains(r.Resources, customName) && len(r.Resources) > manyKinds }); i >= 0 {
		any := Requests{Verbs: out[i].Verbs, Resources: []string{anyResource}}
		out = append(slices.DeleteFunc(out, func(r Requests) bool { // what is among that goes without saying
			return r.Resources != nil && !slices.ContainsFunc(r.Verbs, func(verb string) bool { return !slices.Contains(any.Verbs, verb) })
		}), any)
	}
	slices.SortStableFunc(out, func(a, b Requests) int {
		return len(b.Resources) + len(b.Paths) - len(a.Resources) - len(a.Paths)
	})
	return out
}

//go:build linux

package engine

// Cached returns a file or folder that build makes at the path it is given, once for the content named: what build makes
// depends on nothing else. It is kept in the user's cache; several processes may ask for the same.
func Cached(name string, content []string, build func(to string) error) (string, error) {
	return once(name+"-"+hash(content...), build)
}

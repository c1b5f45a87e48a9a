package all_test

import (
	"testing"

	"kaudit/pkg/source"
	"kaudit/pkg/source/all"
)

// Each example in the docs is opened by the kind that shows it, and no two kinds have one name or scheme.
func TestKindsDoNotOverlap(t *testing.T) {
	names, schemes := make(map[string]bool), make(map[string]string)
	for _, k := range all.Kinds() {
		if names[k.Name] {
			t.Errorf("two kinds are named %q", k.Name)
		}
		names[k.Name] = true
		for _, s := range k.Schemes {
			if schemes[s] != "" {
				t.Errorf("%s and %s both answer to %q", schemes[s], k.Name, s)
			}
			schemes[s] = k.Name
		}
		for _, e := range k.Examples {
			if found, err := source.Find(all.Kinds(), e.Open); err != nil || found.Name != k.Name {
				t.Errorf("%q is an example of %s, and opened by %q (%v)", e.Open, k.Name, found.Name, err)
			}
		}
	}
}

package kaudit_test

import (
	"regexp"
	"slices"
	"testing"

	"kaudit"
	"kaudit/pkg/extract"
)

// registered is the form of names in Falco's registry of plugins (falcosecurity/plugins: build/registry/pkg/registry/validate.go).
var registered = regexp.MustCompile(`^[a-z]+[a-z0-9_]*$`)

// What people's rules and configurations check.
func TestIdentity(t *testing.T) {
	id := kaudit.Plugin()
	if id.Name != "k8saudit" || id.ID != 1 || id.Source != "k8s_audit" || id.Version != "0.100.0" || id.RequiredAPIVersion != "3.0.0" {
		t.Errorf("plugin.yaml says %+v", id)
	}
	// What Falco's registry of plugins asks of an entry, beside addresses
	// (falcosecurity/plugins: build/registry/pkg/registry/types.go).
	if id.Description == "" || id.Authors == "" || id.Contact == "" || len(id.Keywords) == 0 || id.License != "Apache-2.0" {
		t.Errorf("plugin.yaml lacks something: %+v", id)
	}
	if !registered.MatchString(id.Name) || !registered.MatchString(id.Source) || !slices.Contains(id.Capabilities, "sourcing") || !slices.Contains(id.Capabilities, "extraction") {
		t.Errorf("Falco's registry would not take %q and %q with %q", id.Name, id.Source, id.Capabilities)
	}
	if id.Fields != len(extract.Fields()) {
		t.Errorf("plugin.yaml says there are %d fields, there are %d; run make generate", id.Fields, len(extract.Fields()))
	}
}

package kaudit_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

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
	if !registered.MatchString(id.Name) || !registered.MatchString(id.Source) || !slices.Contains(id.Capabilities, "sourcing") || !slices.Contains(id.Capabilities, "extraction") {
		t.Errorf("Falco's registry would not take %q and %q with %q", id.Name, id.Source, id.Capabilities)
	}
	if id.Fields != len(extract.Fields()) {
		t.Errorf("plugin.yaml says there are %d fields, there are %d; run make generate", id.Fields, len(extract.Fields()))
	}
}

// What falls in the place of Falco's json plugin: rules ask for json, major 0, at least 0.7.0.
func TestIdentityOfTheJSONPlugin(t *testing.T) {
	id := kaudit.JSONPlugin()
	if id.Name != "json" || id.ID != 0 || id.Source != "" || id.Version != kaudit.Plugin().Version || id.RequiredAPIVersion != "3.0.0" {
		t.Errorf("plugin/json/plugin.yaml says %+v", id)
	}
	if id.Fields != len(extract.JSONFields()) {
		t.Errorf("plugin/json/plugin.yaml says there are %d fields, there are %d", id.Fields, len(extract.JSONFields()))
	}
}

// What Falco's registry of plugins asks of an entry, beside addresses
// (falcosecurity/plugins: build/registry/pkg/registry/types.go).
func TestIdentitiesAreWhole(t *testing.T) {
	for _, id := range []kaudit.Identity{kaudit.Plugin(), kaudit.JSONPlugin()} {
		if id.Description == "" || id.Authors == "" || id.Contact == "" || len(id.Keywords) == 0 || id.License != "Apache-2.0" {
			t.Errorf("%s lacks something: %+v", id.Name, id)
		}
	}
}

func TestAMistakeInAnIdentityIsNamed(t *testing.T) {
	for name, text := range map[string]string{"plugin.yaml": "title: x\n", "plugin/json/plugin.yaml": "fields: many\n"} {
		repo := fstest.MapFS{"plugin.yaml": {Data: []byte("name: x\n")}, "plugin/json/plugin.yaml": {Data: []byte("name: y\n")}}
		repo[name] = &fstest.MapFile{Data: []byte(text)}
		if _, _, err := kaudit.Identities(repo); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

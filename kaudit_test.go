package kaudit_test

import (
	"testing"

	"kaudit"
	"kaudit/pkg/extract"
)

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
	if id.Fields != len(extract.Fields()) {
		t.Errorf("plugin.yaml says there are %d fields, there are %d; run make generate", id.Fields, len(extract.Fields()))
	}
}

package kaudit_test

import (
	"testing"

	"kaudit"
)

// What people's rules and configurations check.
func TestIdentity(t *testing.T) {
	id := kaudit.Plugin()
	if id.Name != "k8saudit" || id.ID != 1 || id.Source != "k8s_audit" || id.Version != "0.100.0" || id.RequiredAPIVersion != "3.0.0" {
		t.Errorf("plugin.yaml says %+v", id)
	}
	if id.Description == "" || id.Contact == "" || id.License != "Apache-2.0" {
		t.Errorf("plugin.yaml lacks something: %+v", id)
	}
}

package engine

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLoadRules(t *testing.T) {
	const file = `
- list: names
  items: [alice, "bob b"]
- macro: get
  condition: ka.verb=get
- rule: r
  desc: d
  condition: get and ka.user.name in (names) and not get
  output: "%ka.user.name "
  priority: INFO
  source: k8s_audit
- rule: off
  desc: d
  condition: get
  output: x
  priority: INFO
  source: k8s_audit
  enabled: false
- rule: other
  desc: d
  condition: evt.type = open
  output: x
  priority: INFO
`
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := LoadRules("k8s_audit", path)
	if err != nil {
		t.Fatal(err)
	}
	want := Rule{"r", `ka.verb = get and ka.user.name in (alice, "bob b") and not ka.verb = get`, "%ka.user.name", "Informational"}
	if len(rules) != 1 || rules[0] != want {
		t.Errorf("got %+v, want %+v", rules, want)
	}
	if _, err := LoadRules("k8s_audit", path+".missing.yaml"); err == nil {
		t.Error("a missing file: no error")
	}
}

package doctor

import (
	"os"
	"strings"

	"gopkg.in/yaml.v3"
	"k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"
)

// policy reads the audit policy as the API server does.
func (e *examination) policy() {
	e.check = "policy"
	content, err := os.ReadFile(e.Policy)
	if err != nil {
		e.fail(e.Policy, "name the file of --audit-policy-file", "%v", unwrapped(err))
		return
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		e.fail(e.Policy, "", "%v: the API server does not start with it", notYAML(e.Policy, err))
		return
	}
	if len(document.Content) == 0 || text(find(document.Content[0], "apiVersion")) != "audit.k8s.io/v1" || text(find(document.Content[0], "kind")) != "Policy" {
		e.fail(e.Policy, "begin it with apiVersion: audit.k8s.io/v1 and kind: Policy", "it is no audit policy: the API server does not start with it")
		return
	}
	p, err := policy.LoadPolicyFromBytes(content)
	if err != nil {
		e.fail(e.Policy, "build/kubernetes/audit-policy.yaml is one that serves all rules", "the API server does not start with it: %s", strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	level := audit.LevelNone
	for _, r := range p.Rules {
		if level.Less(r.Level) {
			level = r.Level
		}
	}
	switch level {
	case audit.LevelNone:
		e.fail(e.Policy, "build/kubernetes/audit-policy.yaml is one that serves all rules", "the policy records nothing: the level of all its rules is None")
	case audit.LevelMetadata:
		e.warn(e.Policy, "write level: Request or RequestResponse for what rules look into; build/kubernetes/audit-policy.yaml does", "the policy records no bodies: rules about what is in pods, roles and bindings see nothing")
	default:
		e.ok(e.Policy, "the policy has %d rules, up to level %s", len(p.Rules), level)
	}
}

package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// attackGuards acts out what is done to what guards and records a cluster.
func (d *driver) attackGuards() {
	d.webhooksWeakened()
	d.admissionPolicies()
	d.apisRedirected()
	d.namespaceLevels()
	d.exemptions()
	d.policyEngines()
	d.securityAgents()
	d.networkPolicies()
}

// guard is an admission webhook that somebody relies on, although nobody runs it: it wants kinds that do not exist.
func guard(kind, name, more string) string {
	return object(admissionV1, kind, "", name, piece(`{webhooks: [{
		name: guard.example.com, admissionReviewVersions: [v1], sideEffects: None, failurePolicy: Fail, timeoutSeconds: 10,
		rules: [{apiGroups: [nothing.example.com], apiVersions: [v1], operations: [CREATE], resources: [nothings]}],
		clientConfig: {service: {namespace: lab, name: guard, path: /validate}}`+more+`}]}`))
}

// replace updates an object whose kind wants to know which version is replaced.
func (r *request) replace(manifest string) {
	_, _, path := r.parse(manifest)
	var old struct {
		Metadata struct{ ResourceVersion string }
	}
	r.driver.fail(path, json.Unmarshal(r.driver.as(r.driver.admin).send(http.MethodGet, path, "", nil), &old))
	m := piece(manifest)
	m["metadata"].(map[string]any)["resourceVersion"] = old.Metadata.ResourceVersion
	r.update(asJSON(m))
}

func (d *driver) webhooksWeakened() {
	s, gone := d.scene("Admission Webhook Weakened"), d.scene("Admission Webhook Deleted")
	for _, v := range []struct{ kind, short, resource string }{
		{"ValidatingWebhookConfiguration", "validating", "validatingwebhookconfigurations"},
		{"MutatingWebhookConfiguration", "mutating", "mutatingwebhookconfigurations"},
	} {
		path := at(admissionV1, v.resource, "", "guard")
		s.quiet(v.short+"-created", d.eve).create(guard(v.kind, "guard", ""))
		s.quiet(v.short+"-labelled", d.eve).patch(mergePatch, path, `{metadata: {labels: {team: unknown}}}`)
		s.quiet(v.short+"-another-service", d.eve).patch(jsonPatch, path, `[{op: replace, path: /webhooks/0/clientConfig/service/path, value: /v2}]`)
		s.fires(v.short+"-ignores-failure", d.eve).patch(jsonPatch, path, `[{op: replace, path: /webhooks/0/failurePolicy, value: Ignore}]`)
		s.fires(v.short+"-leaves-out-namespaces", d.eve).replace(guard(v.kind, "guard", `, namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [lab]}]}`))
		s.quiet(v.short+"-another-service-of-one-that-leaves-out-namespaces", d.eve).patch(jsonPatch, path, `[{op: replace, path: /webhooks/0/clientConfig/service/path, value: /v3}]`)
		s.fires(v.short+"-condition", d.eve).replace(guard(v.kind, "guard", `, matchConditions: [{name: not-eve, expression: "request.userInfo.username != 'eve'"}]`))
		s.fires(v.short+"-redirected", d.eve).patch(mergePatch, path, `{webhooks: [{name: guard.example.com, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {url: "https://192.0.2.66/validate"}}]}`)
		s.fires(v.short+"-emptied", d.eve).patch(jsonPatch, path, `[{op: remove, path: /webhooks}]`)
		s.quiet(v.short+"-refused", d.alice).refused().patch(mergePatch, path, `{webhooks: []}`)
		s.quiet(v.short+"-dry-run", d.eve).dryRun().replace(guard(v.kind, "guard", `, failurePolicy: Ignore`))

		gone.quiet(v.short+"-refused", d.alice).refused().delete(path)
		gone.quiet(v.short+"-dry-run", d.eve).dryRun().delete(path)
		gone.quiet(v.short+"-read", d.eve).get(path)
		gone.fires(v.short+"-delete", d.eve).delete(path)
		d.as(d.admin).create(guard(v.kind, "guard-2", ""))
		gone.fires(v.short+"-delete-with-dry-run-in-the-query-only", d.eve).deletePretending(path + "-2")
		gone.fires(v.short+"-deletecollection", d.eve).with("labelSelector", "no-such-label=x").delete(at(admissionV1, v.resource, ""))
		gone.quiet(v.short+"-not-found", d.eve).answers(http.StatusNotFound).delete(path)
	}

	s = d.scene("Admission Configuration Change Refused")
	s.fires("webhook-create", d.alice).refused().create(guard("MutatingWebhookConfiguration", "guard", ""))
	s.fires("webhook-delete", d.alice).refused().delete(at(admissionV1, "validatingwebhookconfigurations", "", "guard"))
	s.fires("policy-delete", d.alice).refused().delete(at(admissionV1, "validatingadmissionpolicies", "", "guard"))
	s.fires("api-service", d.ciBot).refused().delete(at("apiregistration.k8s.io/v1", "apiservices", "", "v1.apps"))
	s.fires("definition", d.ciBot).refused().delete(at("apiextensions.k8s.io/v1", "customresourcedefinitions", "", "certificates."+certificateGroup))
	s.quiet("read-refused", d.alice).refused().get(at(admissionV1, "validatingwebhookconfigurations", ""))
	s.quiet("configmap-refused", d.alice).refused().delete(at("v1", "configmaps", "lab", "guard"))
}

const policyMatch = `matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]}`

func admissionPolicy(name, failure string) string {
	return object(admissionV1, "ValidatingAdmissionPolicy", "", name, piece(`{spec: {failurePolicy: `+failure+`, `+policyMatch+`,
		validations: [{expression: "!has(object.metadata.labels) || !('forbidden' in object.metadata.labels)", message: "the label forbidden is not wanted"}]}}`))
}

func policyBinding(name, actions string) string {
	return object(admissionV1, "ValidatingAdmissionPolicyBinding", "", name, piece(`{spec: {policyName: `+name+`, validationActions: `+actions+`,
		matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: lab}}}}}`))
}

func (d *driver) admissionPolicies() {
	policies, bindings := at(admissionV1, "validatingadmissionpolicies", ""), at(admissionV1, "validatingadmissionpolicybindings", "")
	s, weak := d.scene("Admission Policy Changed"), d.scene("Admission Policy Removed or Weakened")
	s.fires("policy-create", d.eve).create(admissionPolicy("guard", "Fail"))
	s.fires("binding-apply-new", d.eve).apply(policyBinding("guard", "[Deny]"))
	s.fires("binding-patch", d.eve).patch(mergePatch, bindings+"/guard", `{spec: {matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}}}`)
	s.quiet("read", d.eve).get(policies)
	s.quiet("refused", d.alice).refused().create(admissionPolicy("guard-alice", "Fail"))
	s.quiet("dry-run", d.eve).dryRun().create(admissionPolicy("guard-dry", "Fail"))

	weak.quiet("created", d.eve).create(admissionPolicy("guard-2", "Fail"))
	weak.quiet("labelled", d.eve).patch(mergePatch, bindings+"/guard", `{metadata: {labels: {team: unknown}}}`)
	weak.quiet("refused", d.alice).refused().delete(policies + "/guard")
	weak.quiet("dry-run", d.eve).dryRun().delete(policies + "/guard")
	weak.fires("binding-notes-only", d.eve).patch(jsonPatch, bindings+"/guard", `[{op: replace, path: /spec/validationActions, value: [Audit]}]`)
	weak.fires("binding-warns-only", d.eve).replace(policyBinding("guard", "[Warn]"))
	weak.fires("policy-ignores-failure", d.eve).patch(mergePatch, policies+"/guard", `{spec: {failurePolicy: Ignore}}`)
	weak.fires("binding-delete", d.eve).delete(bindings + "/guard")
	weak.fires("policy-delete", d.eve).delete(policies + "/guard")
	weak.fires("policy-deletecollection", d.eve).with("labelSelector", "no-such-label=x").delete(policies)
	weak.quiet("not-found", d.eve).answers(http.StatusNotFound).delete(policies + "/guard")
	d.as(d.admin).delete(policies + "/guard-2")
}

func (d *driver) apisRedirected() {
	s := d.scene("API Service Changed")
	apiService := func(name, more string) string {
		return object("apiregistration.k8s.io/v1", "APIService", "", name, piece(`{spec: {group: widgets.example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 100,
			service: {namespace: lab, name: widgets}`+more+`}}`))
	}
	path := at("apiregistration.k8s.io/v1", "apiservices", "", "v1.widgets.example.com")
	s.fires("create", d.eve).create(apiService("v1.widgets.example.com", `, insecureSkipTLSVerify: true`))
	s.fires("merge-patch", d.eve).patch(mergePatch, path, `{spec: {service: {namespace: shop, name: web}}}`)
	s.quiet("read", d.eve).get(path)
	s.quiet("refused", d.alice).refused().delete(path)
	s.quiet("dry-run", d.eve).dryRun().patch(mergePatch, path, `{spec: {service: {namespace: shop, name: api}}}`)
	s.fires("delete", d.eve).delete(path)
	s.observed("the API server registering its own", func(e *event) bool {
		return e.User.Username == "system:apiserver" && e.Verb == "create" && e.ObjectRef.Resource == "apiservices"
	})

	definition := func(name string) string {
		return strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(certificateDefinition, certificateGroup, "widgets.example.com"), "certificate", name), "Certificate", "Widget"+name)
	}
	s = d.scene("CRD Conversion Changed")
	conversion := `{strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: "https://192.0.2.66/convert"}}}`
	gadgets := at("apiextensions.k8s.io/v1", "customresourcedefinitions", "", "gadgets.widgets.example.com")
	s.quiet("created", d.eve).create(definition("gadget"))
	s.quiet("labelled", d.eve).patch(mergePatch, gadgets, `{metadata: {labels: {team: unknown}}}`)
	s.quiet("no-conversion", d.eve).patch(mergePatch, gadgets, `{spec: {conversion: {strategy: None}}}`)
	s.fires("merge-patch", d.eve).patch(mergePatch, gadgets, `{spec: {conversion: `+conversion+`}}`)
	s.fires("json-patch", d.eve).patch(jsonPatch, gadgets, `[{op: replace, path: /spec/conversion/webhook/clientConfig/url, value: "https://192.0.2.67/convert"}]`)
	s.quiet("refused", d.alice).refused().patch(mergePatch, gadgets, `{spec: {conversion: `+conversion+`}}`)
	s.quiet("dry-run", d.eve).dryRun().patch(mergePatch, gadgets, `{spec: {conversion: `+conversion+`}}`)

	s = d.scene("CRD Deleted")
	s.quiet("refused", d.alice).refused().delete(gadgets)
	s.quiet("dry-run", d.eve).dryRun().delete(gadgets)
	s.fires("delete", d.eve).delete(gadgets)
	s.fires("deletecollection", d.eve).with("labelSelector", "no-such-label=x").delete(at("apiextensions.k8s.io/v1", "customresourcedefinitions", ""))
	s.quiet("object-deleted", d.admin).delete(at(certificateGroup+"/v1", "certificates", "shop", "web"))
}

func (d *driver) namespaceLevels() {
	s := d.scene("Pod Security Level Lowered")
	labelled := func(name, labels string) string {
		return object("v1", "Namespace", "", name, piece(`{metadata: {labels: {`+labels+`}}}`))
	}
	path := func(name string) string { return at("v1", "namespaces", "", name) }
	const enforce = "pod-security.kubernetes.io/enforce"
	for _, name := range []string{"strict-a", "strict-b", "strict-c", "strict-d"} {
		d.as(d.admin).create(labelled(name, enforce+": restricted"))
	}
	s.fires("created-privileged", d.eve).create(labelled("loose", enforce+": privileged"))
	s.fires("apply-new-privileged", d.eve).apply(labelled("loose-applied", enforce+": privileged"))
	s.fires("set-to-privileged", d.eve).patch(mergePatch, path("strict-a"), `{metadata: {labels: {`+enforce+`: privileged}}}`)
	s.fires("set-to-baseline", d.eve).patch(mergePatch, path("strict-b"), `{metadata: {labels: {`+enforce+`: baseline}}}`)
	s.fires("removed", d.eve).patch(jsonPatch, path("strict-c"), `[{op: remove, path: /metadata/labels/pod-security.kubernetes.io~1enforce}]`)
	s.fires("removed-with-all-labels", d.eve).patch(strategicPatch, path("strict-d"), `{metadata: {labels: {`+enforce+`: null}}}`)
	s.fires("old-version", d.eve).patch(mergePatch, path("strict-a"), `{metadata: {labels: {`+enforce+`: restricted, `+enforce+`-version: v1.22}}}`)
	s.quiet("created-restricted", d.eve).create(labelled("tight", enforce+": restricted"))
	s.quiet("created-without", d.eve).create(bare("v1", "Namespace", "", "plain"))
	s.quiet("warns-only", d.eve).patch(mergePatch, path("plain"), `{metadata: {labels: {pod-security.kubernetes.io/warn: privileged}}}`)
	s.quiet("another-label", d.eve).patch(mergePatch, path("tight"), `{metadata: {labels: {team: unknown}}}`)
	s.quiet("annotated", d.eve).patch(mergePatch, path("loose"), `{metadata: {annotations: {note: changed}}}`)
	s.quiet("set-to-restricted", d.eve).patch(mergePatch, path("loose"), `{metadata: {labels: {`+enforce+`: restricted}}}`)
	s.quiet("refused", d.alice).refused().patch(mergePatch, path("shop"), `{metadata: {labels: {`+enforce+`: privileged}}}`)
	s.quiet("dry-run", d.eve).dryRun().patch(mergePatch, path("tight"), `{metadata: {labels: {`+enforce+`: privileged}}}`)
}

func (d *driver) exemptions() {
	s := d.scene("Security Exemption Added")
	plain := at("v1", "namespaces", "", "plain")
	s.fires("namespace-created", d.eve).create(object("v1", "Namespace", "", "exempt", piece(`{metadata: {labels: {istio-injection: disabled}}}`)))
	s.fires("namespace-labelled", d.eve).patch(mergePatch, plain, `{metadata: {labels: {admission.gatekeeper.sh/ignore: "yes"}}}`)
	s.fires("namespace-json-patch", d.eve).patch(jsonPatch, plain, `[{op: add, path: /metadata/labels/policy.sigstore.dev~1include, value: "false"}]`)
	s.fires("pod", d.eve).create(object("v1", "Pod", "lab", "exempt", piece(`{metadata: {annotations: {sidecar.istio.io/inject: "false"}}, spec: `+plainPod+`}`)))
	s.fires("deployment-template", d.eve).create(object("apps/v1", "Deployment", "lab", "exempt", piece(`{spec: {selector: {matchLabels: {app: exempt}},
		template: {metadata: {labels: {app: exempt, sidecar.istio.io/inject: "false"}}, spec: `+plainPod+`}}}`)))
	s.fires("namespace-says-it-is-the-control-plane", d.eve).create(object("v1", "Namespace", "", "exempt-plane", piece(`{metadata: {labels: {control-plane: "yes"}}}`)))
	s.quiet("pod-of-an-operator", d.eve).create(object("v1", "Pod", "lab", "operator", piece(`{metadata: {labels: {control-plane: controller-manager}}, spec: `+plainPod+`}`)))
	s.quiet("injection-enabled", d.eve).patch(mergePatch, at("v1", "namespaces", "", "tight"), `{metadata: {labels: {istio-injection: enabled}}}`)
	s.quiet("another-label", d.eve).create(object("v1", "Pod", "lab", "not-exempt", piece(`{metadata: {labels: {inject: "false"}}, spec: `+plainPod+`}`)))
	s.quiet("refused", d.alice).refused().patch(mergePatch, at("v1", "namespaces", "", "shop"), `{metadata: {labels: {istio-injection: disabled}}}`)
	s.quiet("dry-run", d.eve).dryRun().patch(mergePatch, at("v1", "namespaces", "", "tight"), `{metadata: {labels: {istio-injection: disabled}}}`)
	s.quiet("label-of-a-config-map", d.eve).create(object("v1", "ConfigMap", "lab", "exempt", piece(`{metadata: {labels: {istio-injection: disabled}}}`)))
}

// define makes a kind of resource as others have it, with anything in it.
func (d *driver) define(group, plural, kind string) {
	d.as(d.admin).create(`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: ` + plural + `.` + group + `},
		spec: {group: ` + group + `, scope: Cluster, names: {kind: ` + kind + `, plural: ` + plural + `, singular: ` + strings.ToLower(kind) + `},
			versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`)
	d.allowed(d.admin, at(group+"/v1", plural, ""))
}

func (d *driver) policyEngines() {
	s := d.scene("Policy Engine Object Removed or Softened")
	d.define("kyverno.io", "clusterpolicies", "ClusterPolicy")
	d.define("kyverno.io", "policyexceptions", "PolicyException")
	d.define("kyverno.io", "updaterequests", "UpdateRequest")
	d.define("constraints.gatekeeper.sh", "k8srequiredlabels", "K8sRequiredLabels")
	policy := func(name, action string) []byte {
		return []byte(object("kyverno.io/v1", "ClusterPolicy", "", name, piece(`{spec: {validationFailureAction: `+action+`, rules: []}}`)))
	}
	constraint := func(name, action string) []byte {
		return []byte(object("constraints.gatekeeper.sh/v1", "K8sRequiredLabels", "", name, piece(`{spec: {enforcementAction: `+action+`}}`)))
	}
	policies, constraints := at("kyverno.io/v1", "clusterpolicies", ""), at("constraints.gatekeeper.sh/v1", "k8srequiredlabels", "")
	s.quiet("policy-that-notes-first", d.eve).send(http.MethodPost, policies, "application/json", policy("lenient", "Audit"))
	s.quiet("policy-created", d.eve).send(http.MethodPost, policies, "application/json", policy("guard", "Enforce"))
	s.quiet("constraint-created", d.eve).send(http.MethodPost, constraints, "application/json", constraint("guard", "deny"))
	s.quiet("labelled", d.eve).patch(mergePatch, policies+"/guard", `{metadata: {labels: {team: unknown}}}`)
	s.quiet("refused", d.alice).refused().delete(policies + "/guard")
	s.quiet("dry-run", d.eve).dryRun().delete(policies + "/guard")
	s.quiet("report-deleted", d.eve).with("labelSelector", "no-such-label=x").delete(at("kyverno.io/v1", "updaterequests", ""))
	s.fires("policy-notes-only", d.eve).patch(mergePatch, policies+"/guard", `{spec: {validationFailureAction: Audit}}`)
	s.fires("constraint-dry-run", d.eve).patch(jsonPatch, constraints+"/guard", `[{op: replace, path: /spec/enforcementAction, value: dryrun}]`)
	s.fires("exception", d.eve).send(http.MethodPost, at("kyverno.io/v1", "policyexceptions", ""), "application/json",
		[]byte(object("kyverno.io/v1", "PolicyException", "", "eve", piece(`{spec: {exceptions: [{policyName: guard, ruleNames: ["*"]}]}}`))))
	s.fires("policy-delete", d.eve).delete(policies + "/guard")
	s.fires("constraints-deletecollection", d.eve).delete(constraints)
}

func (d *driver) securityAgents() {
	s, changed := d.scene("Security Agent Removed"), d.scene("Security Agent Changed")
	d.as(d.admin).create(bare("v1", "Namespace", "", "falco"))
	d.as(d.admin).create(workload("DaemonSet", "falco", "falco", plainPod))
	d.as(d.admin).create(workload("Deployment", "falco", "falcosidekick", plainPod))
	d.as(d.admin).create(configMap("falco", "falco-rules", `{rules.yaml: "[]"}`))
	d.as(d.admin).create(workload("Deployment", "lab", "falcon", plainPod))
	agent, sidekick, rules := at("apps/v1", "daemonsets", "falco", "falco"), at("apps/v1", "deployments", "falco", "falcosidekick"), at("v1", "configmaps", "falco", "falco-rules")
	changed.fires("image", d.eve).patch(strategicPatch, agent, `{spec: {template: {spec: {containers: [{name: app, image: "registry.example.com/nothing:1"}]}}}}`)
	changed.fires("node-selector", d.eve).patch(jsonPatch, agent, `[{op: add, path: /spec/template/spec/nodeSelector, value: {no-such-node: "true"}}]`)
	changed.fires("rules", d.eve).patch(mergePatch, rules, `{data: {rules.yaml: "- rule: nothing"}}`)
	d.as(d.admin).create(binding("falco", "reporter", "ClusterRole/admin", "ServiceAccount/lab/reporter"))
	reporter := d.serviceAccount("lab", "reporter", "reporter/2.0", "127.0.0.160")
	changed.fires("rules-by-a-stolen-token", reporter).patch(mergePatch, rules, `{data: {rules.yaml: "- rule: nothing at all"}}`)
	changed.fires("scaled-down", d.eve).patch(mergePatch, sidekick+"/scale", `{spec: {replicas: 2}}`)
	changed.quiet("read", d.eve).get(agent)
	changed.quiet("refused", d.alice).refused().patch(mergePatch, rules, `{data: {rules.yaml: "[]"}}`)
	changed.quiet("dry-run", d.eve).dryRun().patch(mergePatch, rules, `{data: {rules.yaml: "[]"}}`)
	changed.quiet("workload-of-similar-name", d.eve).patch(mergePatch, at("apps/v1", "deployments", "lab", "falcon"), `{metadata: {labels: {team: unknown}}}`)
	changed.quiet("scaled-to-nothing", d.eve).patch(mergePatch, sidekick+"/scale", `{spec: {replicas: 0}}`)

	s.fires("scaled-to-nothing-by-a-stolen-token", reporter).patch(mergePatch, sidekick+"/scale", `{spec: {replicas: 0}}`)
	s.fires("scaled-to-nothing", d.eve).patch(mergePatch, sidekick+"/scale", `{spec: {replicas: 0}}`)
	s.fires("replicas-set-to-nothing", d.eve).patch(mergePatch, sidekick, `{spec: {replicas: 0}}`)
	s.quiet("refused", d.alice).refused().delete(agent)
	s.quiet("dry-run", d.eve).dryRun().delete(agent)
	s.quiet("changed", d.eve).patch(mergePatch, rules, `{data: {rules.yaml: "[]"}}`)
	s.quiet("workload-of-similar-name", d.eve).delete(at("apps/v1", "deployments", "lab", "falcon"))
	s.fires("daemonset-delete", d.eve).delete(agent)
	s.fires("configmaps-deletecollection", d.eve).delete(at("v1", "configmaps", "falco"))
	s.fires("namespace-delete", d.eve).delete(at("v1", "namespaces", "", "falco"))
}

func (d *driver) networkPolicies() {
	s, gone := d.scene("Network Policy Opened"), d.scene("Network Policy Removed")
	policy := func(name, spec string) string {
		return object("networking.k8s.io/v1", "NetworkPolicy", "lab", name, piece(`{spec: `+spec+`}`))
	}
	path := func(name string) string { return at("networking.k8s.io/v1", "networkpolicies", "lab", name) }
	s.quiet("closed", d.eve).create(policy("closed", `{podSelector: {}, policyTypes: [Ingress, Egress]}`))
	s.quiet("some-peers", d.eve).create(policy("peers", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}`))
	s.quiet("labelled", d.eve).patch(mergePatch, path("closed"), `{metadata: {labels: {team: unknown}}}`)
	s.quiet("refused", d.alice).refused().create(policy("open-alice", `{podSelector: {}, ingress: [{}]}`))
	s.quiet("dry-run", d.eve).dryRun().create(policy("open-dry", `{podSelector: {}, ingress: [{}]}`))
	s.fires("create-ingress", d.eve).create(policy("open", `{podSelector: {}, ingress: [{}]}`))
	s.fires("apply-new-egress", d.eve).apply(policy("open-applied", `{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{}]}`))
	s.fires("json-patch", d.eve).patch(jsonPatch, path("closed"), `[{op: add, path: /spec/ingress, value: [{}]}]`)
	s.quiet("same-namespace", d.eve).create(policy("same", `{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}`))
	s.fires("all-namespaces", d.eve).create(policy("all", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}`))
	s.fires("halves-of-the-internet", d.eve).create(policy("halves", `{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/1}}, {ipBlock: {cidr: 128.0.0.0/1}}]}]}`))
	s.fires("second-rule", d.eve).create(policy("second", `{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}, {}]}`))
	s.fires("everywhere", d.eve).patch(mergePatch, path("peers"), `{spec: {ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}}`)

	gone.quiet("refused", d.alice).refused().delete(path("closed"))
	gone.quiet("dry-run", d.eve).dryRun().delete(path("closed"))
	gone.quiet("read", d.eve).get(path("closed"))
	gone.quiet("ingress-deleted", d.eve).with("labelSelector", "no-such-label=x").delete(at("networking.k8s.io/v1", "ingresses", "lab"))
	gone.fires("delete", d.eve).delete(path("closed"))
	gone.fires("delete-with-dry-run-in-the-query-only", d.eve).deletePretending(path("open"))
	gone.fires("deletecollection", d.eve).delete(at("networking.k8s.io/v1", "networkpolicies", "lab"))
	gone.fires("by-admin", d.admin).with("labelSelector", "no-such-label=x").delete(at("networking.k8s.io/v1", "networkpolicies", "shop"))
}

// attackAnyRequest acts out what makes any request conspicuous, whatever it does.
func (d *driver) attackAnyRequest() {
	d.impersonations()
	d.decoys()
	d.oldTokens()
	d.nodeOutOfRole()
	d.disguises()
	d.admissionFailures()
	d.refusals()
}

func (d *driver) impersonations() {
	pods := at("v1", "pods", "shop")
	s := d.scene("Privileged Identity Impersonated")
	s.fires("masters", d.eve).head("Impersonate-User", "somebody").head("Impersonate-Group", "system:masters").get(pods)
	s.fires("node", d.eve).head("Impersonate-User", "system:node:node-1").head("Impersonate-Group", "system:nodes").get(at("v1", "nodes", "", "node-1"))
	s.fires("component", d.eve).head("Impersonate-User", "system:kube-controller-manager").get(pods)
	s.fires("controller", d.eve).head("Impersonate-User", "system:serviceaccount:kube-system:namespace-controller").get(pods)
	s.fires("write", d.eve).head("Impersonate-User", "somebody").head("Impersonate-Group", "system:masters").create(configMap("lab", "by-masters", `{a: b}`))
	s.fires("then-refused", d.eve).head("Impersonate-User", "system:kube-scheduler").refused().get(at("v1", "secrets", ""))
	s.quiet("person", d.eve).head("Impersonate-User", "alice").head("Impersonate-Group", "developers").get(pods)
	s.quiet("service-account-of-another-namespace", d.eve).head("Impersonate-User", "system:serviceaccount:lab:reporter").get(at("v1", "pods", "lab"))
	s.quiet("impersonation-refused", d.alice).head("Impersonate-User", "somebody").head("Impersonate-Group", "system:masters").refused().get(pods)
	s.quiet("as-oneself", d.breakGlass).get(pods)

	s = d.scene("Impersonation Refused")
	s.fires("user", d.mallory).head("Impersonate-User", "admin").refused().get(pods)
	s.fires("group", d.mallory).head("Impersonate-User", "mallory").head("Impersonate-Group", "system:masters").refused().get(pods)
	s.fires("service-account", d.alice).head("Impersonate-User", "system:serviceaccount:lab:reporter").refused().get(pods)
	s.fires("by-service-account", d.serviceAccount("lab", "reporter", "reporter/2.0", "127.0.0.160")).head("Impersonate-User", "admin").refused().get(pods)
	s.quiet("allowed", d.eve).head("Impersonate-User", "alice").head("Impersonate-Group", "developers").get(pods)
	s.quiet("refused-as-that-user", d.eve).head("Impersonate-User", "nobody").refused().get(pods)
	s.quiet("refused-as-oneself", d.mallory).refused().get(at("storage.k8s.io/v1", "storageclasses", ""))
}

func (d *driver) decoys() {
	const namespace = "payroll-archive-decoy"
	s := d.scene("Decoy Touched")
	s.quiet("put-up-by-administrator", d.admin).create(bare("v1", "Namespace", "", namespace))
	d.as(d.admin).create(bare("v1", "ServiceAccount", namespace, "deployer"))
	deployer := d.tokenOf(namespace, "deployer", kubectlAgent, "127.0.0.172")
	decoy := at("v1", "secrets", "lab", "prod-root-credentials-decoy")
	s.fires("secret-read", d.eve).get(decoy)
	s.fires("secret-refused", d.alice).refused().get(decoy)
	s.fires("secret-by-administrator", d.admin).get(decoy)
	s.fires("namespace", d.mallory).get(at("v1", "pods", namespace))
	s.fires("namespace-refused", d.alice).refused().get(at("v1", "configmaps", namespace))
	s.fires("service-account-used", deployer).refused().get(at("v1", "pods", "lab"))
	s.quiet("another-secret", d.eve).get(at("v1", "secrets", "lab", "database"))
	s.quiet("all-namespaces", d.mallory).get(at("v1", "pods", ""))
	s.quiet("config-map-of-that-name", d.eve).create(configMap("lab", "prod-root-credentials-decoy", `{a: b}`))
	s.observed("the controller putting the root CA into the namespace", func(e *event) bool {
		return e.Verb == "create" && e.ObjectRef.Resource == "configmaps" && e.ObjectRef.Namespace == namespace && strings.HasSuffix(e.User.Username, ":root-ca-cert-publisher")
	})
}

func (d *driver) oldTokens() {
	pods := at("v1", "pods", "lab")
	d.as(d.eve).create(object("v1", "Secret", "lab", "reporter-forever", piece(`{type: kubernetes.io/service-account-token, metadata: {annotations: {kubernetes.io/service-account.name: reporter}}}`)))
	legacy := d.bearer(d.legacyToken("lab", "reporter-forever"), "reporter/2.0", "127.0.0.173")
	d.allowed(legacy, pods)
	s := d.scene("Legacy or Stale Service Account Token Used")
	s.fires("read", legacy).get(pods)
	s.fires("refused", legacy).refused().get(at("v1", "pods", "shop"))
	s.quiet("token-of-a-pod", d.serviceAccount("lab", "reporter", "reporter/2.0", "127.0.0.160")).get(pods)
	s.quiet("requested-token", d.tokenOf("lab", "reporter", "reporter/2.0", "127.0.0.160")).get(pods)
	s.quiet("wrong-token", d.withToken("not-a-token")).answers(http.StatusUnauthorized).get(pods)

	s = d.scene("Invalidated Service Account Token Used")
	s.quiet("still-valid", legacy).get(pods)
	d.as(d.admin).patch(mergePatch, at("v1", "secrets", "lab", "reporter-forever"), `{metadata: {labels: {kubernetes.io/legacy-token-invalid-since: "2026-01-01"}}}`)
	// The API server remembers for some seconds that the token was good. When it refuses it, what the token's check noted is
	// lost on the way through that memory (k8s.io/apiserver: pkg/authentication/token/cache): the event has no annotation.
	time.Sleep(12 * time.Second)
	s.quiet("refused-through-the-cache", legacy).answers(http.StatusUnauthorized).get(pods)
	s.quiet("wrong-token", d.withToken("not-a-token")).answers(http.StatusUnauthorized).get(pods)
}

func (d *driver) nodeOutOfRole() {
	deployments := at("apps/v1", "deployments", "lab")
	s := d.scene("Node Acting Out of Role Refused")
	s.fires("deployments", d.node).refused().get(deployments)
	s.fires("roles", d.node).refused().create(role("", "by-node", `[`+harmlessRule+`]`))
	s.fires("namespaces", d.node).refused().get(at("v1", "namespaces", ""))
	s.quiet("foreign-secret", d.node).refused().get(at("v1", "secrets", "lab", "trail-applied"))
	s.quiet("its-node", d.node).get(at("v1", "nodes", "", nodeName))
	s.quiet("by-person", d.alice).refused().get(deployments)

	d.as(d.admin).create(binding("lab", "node-view", "ClusterRole/view", "User/"+node.name))
	d.allowed(d.node, deployments)
	s = d.scene("Node Acted Out of Role")
	s.fires("list", d.node).get(deployments)
	s.fires("watch", d.node).watch(deployments)
	s.quiet("refused", d.node).refused().get(at("v1", "namespaces", ""))
	s.quiet("its-pods", d.node).with("fieldSelector", "spec.nodeName="+nodeName).get(at("v1", "pods", ""))
	s.quiet("by-person", d.eve).get(deployments)
	d.as(d.admin).delete(at(rbacV1, "rolebindings", "lab", "node-view"))
}

func (d *driver) disguises() {
	pods := at("v1", "pods", "lab")
	reporter := d.serviceAccount("lab", "reporter", "reporter/2.0", "127.0.0.160")
	s := d.scene("Component Identity Mimicked")
	s.fires("person-as-kubelet", d.disguised(d.eve, kubeletAgent)).get(pods)
	s.fires("service-account-as-scheduler", d.disguised(reporter, "kube-scheduler/v1.36.3 (linux/amd64) kubernetes/unknown/scheduler")).get(pods)
	s.fires("node-with-kubectl", d.disguised(d.node, kubectlAgent)).get(at("v1", "nodes", "", nodeName))
	s.fires("anonymous-as-proxy", d.disguised(d.nobody, "kube-proxy/v1.36.3")).refused().get(at("v1", "pods", "shop"))
	s.quiet("kubelet", d.node).get(at("v1", "nodes", "", nodeName))
	s.quiet("program-of-similar-name", d.disguised(d.eve, "kubelet-exporter/1.0")).get(pods)
	s.quiet("person-with-kubectl", d.eve).get(pods)
	s.quiet("machine-joining", d.joiner).get(at(requestsV1, "certificatesigningrequests", "", "joining-1"))

	s = d.scene("Attack Tool User Agent")
	s.fires("kube-hunter", d.disguised(d.nobody, "python-requests/2.32.4 kube-hunter/0.6")).refused().get(at("v1", "pods", "shop"))
	s.fires("stratus", d.disguised(d.eve, "stratus-red-team_4fbc5d44-9e6d-4f4c-8d3a-0d5a5f5a7f9e")).get(pods)
	s.fires("rakkess", d.disguised(d.alice, "Rakkess/v0.5.1 (linux/amd64)")).get(at("v1", "pods", "shop"))
	s.fires("kali", d.disguised(reporter, "kubectl/v1.30.0 (linux/amd64) kali/2026.1")).get(pods)
	s.quiet("kubectl", d.eve).get(pods)
	s.quiet("hunter", d.disguised(d.eve, "bargain-hunter/1.0")).get(pods)
	s.quiet("program", reporter).get(pods)

	s = d.scene("Break-Glass Account Used")
	s.fires("read", d.breakGlass).get(pods)
	s.fires("write", d.breakGlass).create(configMap("lab", "by-break-glass", `{a: b}`))
	s.quiet("another-administrator", d.admin).get(pods)
	s.quiet("name-in-impersonation", d.admin).head("Impersonate-User", "kubernetes-super-admin").refused().get(pods)
	s.quiet("refused", d.alice).refused().get(pods)

	s = d.scene("Full K8s Administrative Access")
	s.fires("read", d.admin).get(pods)
	s.fires("write", d.admin).create(configMap("lab", "by-masters-member", `{a: b}`))
	s.quiet("cluster-admin-by-binding", d.eve).get(pods)
	s.quiet("health", d.admin).get("/readyz")
	s.quiet("impersonating-the-group", d.eve).head("Impersonate-User", "somebody").head("Impersonate-Group", "system:masters").get(pods)

	s = d.scene("Default Service Account at Work")
	lazy := d.tokenOf("lab", "default", "curl/8.5.0", "127.0.0.174")
	s.fires("refused", lazy).refused().get(pods)
	s.fires("secrets-refused", lazy).refused().get(at("v1", "secrets", "lab"))
	d.as(d.admin).create(binding("lab", "lazy-view", "ClusterRole/view", "ServiceAccount/lab/default"))
	d.allowed(lazy, pods)
	s.fires("allowed", lazy).get(pods)
	s.quiet("version", lazy).get("/version")
	s.quiet("account-of-its-own", reporter).get(pods)
	s.quiet("its-permissions", lazy).create(`{apiVersion: authorization.k8s.io/v1, kind: SelfSubjectRulesReview, metadata: {}, spec: {namespace: lab}}`)
	d.as(d.admin).delete(at(rbacV1, "rolebindings", "lab", "lazy-view"))
}

func (d *driver) admissionFailures() {
	hook := func(name, label, policy string) string {
		return object(admissionV1, "ValidatingWebhookConfiguration", "", name, piece(`{webhooks: [{
			name: absent.example.com, admissionReviewVersions: [v1], sideEffects: None, failurePolicy: `+policy+`, timeoutSeconds: 2,
			objectSelector: {matchLabels: {ask: `+label+`}},
			rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}],
			clientConfig: {url: "https://127.0.0.1:9/validate"}}]}`))
	}
	labelled := func(name, labels string) string {
		return object("v1", "ConfigMap", "lab", name, piece(`{metadata: {labels: {`+labels+`}}, data: {a: b}}`))
	}
	d.as(d.admin).create(hook("absent-ignored", "kindly", "Ignore"))
	d.as(d.admin).create(hook("absent-required", "strictly", "Fail"))
	d.as(d.admin).create(admissionPolicy("labels", "Fail"))
	d.as(d.admin).create(policyBinding("labels", "[Audit]"))
	// The API server takes up webhooks and policies within a second or two.
	d.await("the webhook that does not answer", func(ctx context.Context) error {
		err := d.admin.clients.CoreV1().RESTClient().Post().AbsPath(at("v1", "configmaps", "lab")).Param("dryRun", "All").
			Body([]byte(labelled("probe", "ask: strictly"))).Do(ctx).Error()
		if err == nil {
			return context.DeadlineExceeded
		}
		return nil
	})
	time.Sleep(3 * time.Second)
	s := d.scene("Admission Webhook Failed Open")
	s.fires("create", d.eve).create(labelled("fails-open", "ask: kindly"))
	s.fires("by-admin", d.admin).apply(labelled("fails-open-applied", "ask: kindly"))
	s.quiet("not-asked", d.eve).create(labelled("not-asked", "ask: nobody"))
	s.quiet("fails-closed", d.eve).answers(http.StatusInternalServerError).create(labelled("fails-closed", "ask: strictly"))

	s = d.scene("Admission Policy Violated")
	s.fires("create", d.eve).create(labelled("violates", `forbidden: "true"`))
	s.fires("by-admin", d.admin).create(labelled("violates-too", `forbidden: "true"`))
	s.quiet("in-order", d.eve).create(labelled("in-order", `wanted: "true"`))
	s.quiet("another-namespace", d.eve).create(object("v1", "ConfigMap", "shop", "elsewhere", piece(`{metadata: {labels: {forbidden: "true"}}}`)))
	for _, path := range []string{
		at(admissionV1, "validatingwebhookconfigurations", "", "absent-ignored"), at(admissionV1, "validatingwebhookconfigurations", "", "absent-required"),
		at(admissionV1, "validatingadmissionpolicybindings", "", "labels"), at(admissionV1, "validatingadmissionpolicies", "", "labels"),
	} {
		d.as(d.admin).delete(path)
	}
}

func (d *driver) refusals() {
	reporter := d.serviceAccount("lab", "reporter", "reporter/2.0", "127.0.0.160")
	s := d.scene("Create Refused for a Machine")
	s.fires("service-account", reporter).refused().create(configMap("lab", "no", `{a: b}`))
	s.fires("service-account-pod", reporter).refused().create(pod("lab", "no", plainPod))
	s.fires("anonymous", d.nobody).refused().create(pod("shop", "no", plainPod))
	s.quiet("person", d.alice).refused().create(configMap("lab", "no", `{a: b}`))
	s.quiet("read-refused", reporter).refused().get(at("v1", "configmaps", "lab"))
	s.quiet("invalid", d.eve).answers(http.StatusUnprocessableEntity).create(pod("lab", "no", `{containers: []}`))

	s = d.scene("Request Refused")
	s.fires("read", d.alice).refused().get(at("v1", "nodes", "", "node-1", "status"))
	s.fires("list", d.alice).refused().get(at("storage.k8s.io/v1", "storageclasses", ""))
	s.fires("create", d.alice).refused().create(configMap("lab", "no", `{a: b}`))
	s.fires("wrong-token", d.withToken("not-a-token")).answers(http.StatusUnauthorized).get(at("v1", "pods", "lab"))
	s.quiet("allowed", d.alice).get(at("v1", "pods", "shop"))
	s.quiet("not-found", d.alice).answers(http.StatusNotFound).get(at("v1", "pods", "shop", "no-such-pod"))
	s.quiet("secrets", d.alice).refused().get(at("v1", "secrets", "lab"))
	s.quiet("create-by-machine", reporter).refused().create(configMap("lab", "no", `{a: b}`))
}

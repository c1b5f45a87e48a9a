package main

import (
	"context"
	"net/http"
)

// attackRoles acts out what roles may allow and bindings may grant, beyond what attackRights has.
func (d *driver) attackRoles() {
	d.as(d.admin).create(binding("", "stranger", clusterAdmin, "User/eve"))
	d.rolesByRules()
	d.roleAddedToBuiltIn()
	d.builtInRoles()
	d.systemRoles()
	d.bindingsByRole()
	d.bindingsBySubject()
	d.serviceAccountWritesRoles()
	d.refusedRoles()
	d.rolesTrail()
}

// written plays how a rule gets into a role, and what is like it and is not it.
func (s scene) written(prefix, rule string, administratorsMay bool) {
	s.fires("clusterrole-create", s.eve).create(role("", prefix, `[`+rule+`]`))
	s.fires("role-create", s.eve).create(role("lab", prefix, `[`+harmlessRule+`, `+rule+`]`))
	s.fires("clusterrole-apply-new", s.eve).apply(role("", prefix+"-applied", `[`+rule+`]`))
	s.fires("clusterrole-update-to-create", s.eve).update(role("", prefix+"-put", `[`+rule+`]`))
	s.as(s.admin).create(role("", prefix+"-grown", `[`+harmlessRule+`]`))
	grown := at(rbacV1, "clusterroles", "", prefix+"-grown")
	s.fires("clusterrole-rule-added-json-patch", s.eve).patch(jsonPatch, grown, `[{op: add, path: /rules/-, value: `+rule+`}]`)
	s.fires("clusterrole-rule-added-merge-patch", s.eve).patch(mergePatch, grown, `{rules: [`+rule+`]}`)
	s.fires("clusterrole-rule-added-update", s.eve).update(role("", prefix+"-grown", `[`+rule+`, `+harmlessRule+`]`))

	s.quiet("labelled-only", s.eve).patch(mergePatch, grown, `{metadata: {labels: {team: unknown}}}`)
	s.quiet("refused", s.alice).refused().create(role("", prefix+"-alice", `[`+rule+`]`))
	s.quiet("dry-run", s.eve).dryRun().create(role("", prefix+"-dry", `[`+rule+`]`))
	s.quiet("harmless", s.eve).create(role("", prefix+"-harmless", `[`+harmlessRule+`]`))
	s.quiet("deleted", s.eve).delete(at(rbacV1, "clusterroles", "", prefix+"-applied"))
	if administratorsMay {
		s.quiet("by-administrator", s.admin).create(role("", prefix+"-admin", `[`+rule+`]`))
	}
}

func (d *driver) rolesByRules() {
	s := d.scene("Role Grants Everything")
	s.written("everything", wildcardRule, false)
	s.fires("spelled-out", d.eve).create(role("", "everything-spelled", `[
		{apiGroups: [""], resources: [pods, pods/exec, secrets, configmaps, services, serviceaccounts, namespaces, nodes], verbs: [get, list, watch, create, update, patch, delete, deletecollection]},
		{apiGroups: [rbac.authorization.k8s.io], resources: [roles, clusterroles, rolebindings, clusterrolebindings], verbs: [get, list, watch, create, update, patch, delete]}]`))
	s.quiet("core-group", d.eve).create(role("", "everything-core", `[{apiGroups: [""], resources: ["*"], verbs: ["*"]}]`))
	s.quiet("named-objects", d.eve).create(role("", "everything-named", `[{apiGroups: ["*"], resources: ["*"], verbs: ["*"], resourceNames: [web]}]`))

	s = d.scene("Role Allows Escalate Bind or Impersonate")
	s.fires("constrained-impersonation", d.eve).create(role("", "impersonator-constrained", `[{apiGroups: [authentication.k8s.io], resources: [users], verbs: ["impersonate:user-info"]}]`))
	s.fires("constrained-impersonation-on", d.eve).create(role("", "impersonator-constrained-on", `[{apiGroups: [""], resources: [pods], verbs: ["impersonate-on:user-info:list"]}]`))
	s.quiet("labelled-only", d.eve).patch(mergePatch, at(rbacV1, "clusterroles", "", "impersonator-constrained"), `{metadata: {labels: {team: unknown}}}`)

	s = d.scene("Role Allows Kubelet Access Through Node Proxy")
	s.written("node-proxy", `{apiGroups: [""], resources: [nodes/proxy], verbs: [get]}`, false)
	s.fires("proxy-of-everything", d.eve).create(role("", "node-proxy-any", `[{apiGroups: [""], resources: ["*/proxy"], verbs: [create]}]`))
	s.quiet("metrics", d.eve).create(role("", "node-metrics", `[{apiGroups: [""], resources: [nodes/metrics, nodes/stats, nodes/log], verbs: [get]}]`))
	s.quiet("services-proxy", d.eve).create(role("", "service-proxy", `[{apiGroups: [""], resources: [services/proxy], verbs: [get]}]`))

	s = d.scene("Role Allows Writing Roles or Bindings")
	s.written("role-writer", `{apiGroups: [rbac.authorization.k8s.io], resources: [rolebindings], verbs: [create]}`, true)
	s.quiet("reads", d.eve).create(role("", "role-lister", `[{apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: [get, list, watch]}]`))
	s.quiet("another-api-group", d.eve).create(role("", "role-writer-foreign", `[{apiGroups: [iam.example.com], resources: [roles], verbs: [create]}]`))

	s = d.scene("Role Allows Minting Credentials")
	s.written("minter", `{apiGroups: [""], resources: [serviceaccounts/token], verbs: [create]}`, true)
	s.fires("secrets", d.eve).create(role("lab", "minter-secrets", `[{apiGroups: [""], resources: [secrets], verbs: [create]}]`))
	s.fires("certificates", d.eve).create(role("", "minter-certificates", `[{apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests], verbs: [create, get]}]`))
	s.quiet("one-account", d.eve).create(role("lab", "minter-one", `[{apiGroups: [""], resources: [serviceaccounts/token], verbs: [create], resourceNames: [web]}]`))
	s.quiet("service-accounts", d.eve).create(role("lab", "account-maker", `[{apiGroups: [""], resources: [serviceaccounts], verbs: [create]}]`))

	s = d.scene("Role Allows Changing Cluster Plumbing")
	s.written("plumber", `{apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations], verbs: [create, patch]}`, true)
	for name, rule := range map[string]string{
		"api-services": `{apiGroups: [apiregistration.k8s.io], resources: [apiservices], verbs: [update]}`,
		"definitions":  `{apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [patch]}`,
		"approval":     `{apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests/approval], verbs: [update]}`,
		"signers":      `{apiGroups: [certificates.k8s.io], resources: [signers], verbs: [approve, sign], resourceNames: [kubernetes.io/kube-apiserver-client]}`,
		"node-status":  `{apiGroups: [""], resources: [nodes/status], verbs: [patch]}`,
		"eviction":     `{apiGroups: [""], resources: [pods/eviction], verbs: [create]}`,
		"endpoints":    `{apiGroups: [""], resources: [endpoints], verbs: [update]}`,
		"policies":     `{apiGroups: [admissionregistration.k8s.io], resources: [validatingadmissionpolicybindings], verbs: [delete]}`,
	} {
		s.fires(name, d.eve).create(role("", "plumber-"+name, `[`+rule+`]`))
	}
	s.quiet("reads", d.eve).create(role("", "plumber-reader", `[{apiGroups: [admissionregistration.k8s.io, apiextensions.k8s.io], resources: ["mutatingwebhookconfigurations", "customresourcedefinitions"], verbs: [get, list, watch]}]`))

	s = d.scene("Role Allows Creating Pods or Workloads")
	s.written("workloads", `{apiGroups: [apps], resources: [deployments], verbs: [create]}`, true)
	s.fires("pods", d.eve).create(role("lab", "workloads-pods", `[{apiGroups: [""], resources: [pods], verbs: [patch]}]`))
	s.fires("cronjobs", d.eve).create(role("lab", "workloads-cron", `[{apiGroups: [batch], resources: [cronjobs], verbs: ["*"]}]`))
	s.quiet("delete-only", d.eve).create(role("lab", "workloads-delete", `[{apiGroups: [""], resources: [pods], verbs: [delete]}]`))
	s.quiet("scale-only", d.eve).create(role("lab", "workloads-scale", `[{apiGroups: [apps], resources: [deployments/scale], verbs: [update]}]`))

	s = d.scene("Role Allows Reading Secrets")
	secrets := `{apiGroups: [""], resources: [secrets], verbs: [get, list]}`
	s.fires("role-create", d.eve).create(role("lab", "secrets", `[`+secrets+`]`))
	s.fires("role-apply-new", d.eve).apply(role("lab", "secrets-applied", `[`+harmlessRule+`, `+secrets+`]`))
	d.as(d.admin).create(role("lab", "secrets-grown", `[`+harmlessRule+`]`))
	s.fires("rule-added-json-patch", d.eve).patch(jsonPatch, at(rbacV1, "roles", "lab", "secrets-grown"), `[{op: add, path: /rules/0/resources/-, value: secrets}]`)
	s.quiet("clusterrole", d.eve).create(role("", "secrets", `[`+secrets+`]`))
	s.quiet("named-secret-only", d.eve).create(role("lab", "one-secret", `[{apiGroups: [""], resources: [secrets], verbs: [get], resourceNames: [web-tls]}]`))
	s.quiet("by-administrator", d.admin).create(role("lab", "secrets-admin", `[`+secrets+`]`))
	s.quiet("refused", d.alice).refused().create(role("lab", "secrets-alice", `[`+secrets+`]`))
	s.quiet("dry-run", d.eve).dryRun().create(role("lab", "secrets-dry", `[`+secrets+`]`))

	s = d.scene("Role With Partial Wildcard Created")
	s.written("partial", `{apiGroups: [""], resources: ["*"], verbs: [get]}`, true)
	s.fires("verbs", d.eve).create(role("lab", "partial-verbs", `[{apiGroups: [""], resources: [configmaps], verbs: ["*"]}]`))
	s.fires("groups", d.eve).create(role("", "partial-groups", `[{apiGroups: ["*"], resources: [deployments], verbs: [get]}]`))
	s.fires("paths", d.eve).create(role("", "partial-paths", `[{nonResourceURLs: ["*"], verbs: [get]}]`))
	s.fires("subresource", d.eve).create(role("", "partial-subresource", `[{apiGroups: ["apps"], resources: ["*/scale"], verbs: [update]}]`))
	s.quiet("all-of-it", d.eve).create(role("", "partial-all", `[{apiGroups: [""], resources: ["*"], verbs: ["*"]}]`))
	s.quiet("one-path", d.eve).create(role("", "partial-path", `[{nonResourceURLs: [/metrics], verbs: [get]}]`))

	s = d.scene("ClusterRole With Write Privileges Created")
	s.written("writer", `{apiGroups: [""], resources: [configmaps], verbs: [get, patch]}`, false)
	s.quiet("other-verbs", d.eve).create(role("", "writer-use", `[{apiGroups: [policy], resources: [podsecuritypolicies], verbs: [use]}]`))
}

func (d *driver) roleAddedToBuiltIn() {
	s := d.scene("ClusterRole Added to Built-In Role")
	labelled := func(name, to, rules string) string {
		return object(rbacV1, "ClusterRole", "", name, piece(`{metadata: {labels: {`+rbacGroup+`/aggregate-to-`+to+`}}, rules: `+rules+`}`))
	}
	const core = `[{apiGroups: [""], resources: [nodes], verbs: [get, update]}]`
	const custom = `[{apiGroups: [widgets.example.com], resources: [widgets], verbs: [get, list]}]`
	s.fires("core-resources", d.eve).create(labelled("more-admin", `admin: "true"`, core))
	s.fires("core-resources-by-administrator", d.admin).create(labelled("more-view", `view: "true"`, core))
	s.fires("custom-resources-by-stranger", d.eve).create(labelled("more-edit", `edit: "true"`, custom))
	s.fires("apply-new", d.eve).apply(labelled("more-applied", `edit: "true"`, core))
	d.as(d.admin).create(role("", "more-later", core))
	s.fires("labelled-later", d.eve).patch(mergePatch, at(rbacV1, "clusterroles", "", "more-later"), `{metadata: {labels: {`+rbacGroup+`/aggregate-to-edit: "true"}}}`)
	collects := func(name, selector string) string {
		return object(rbacV1, "ClusterRole", "", name, piece(`{aggregationRule: {clusterRoleSelectors: [`+selector+`]}, rules: []}`))
	}
	s.fires("collects-all-but-some", d.eve).create(collects("collector-but", `{matchExpressions: [{key: nobody-has-this, operator: DoesNotExist}]}`))
	s.fires("collects-the-roles-of-kubernetes", d.eve).create(collects("collector-built-in", `{matchLabels: {kubernetes.io/bootstrapping: rbac-defaults}}`))
	s.fires("collects-all-roles", d.eve).create(object(rbacV1, "ClusterRole", "", "collector", piece(`{aggregationRule: {clusterRoleSelectors: [{}]}, rules: []}`)))

	s.quiet("custom-resources-by-administrator", d.admin).create(labelled("widgets-view", `view: "true"`, custom))
	s.quiet("label-says-false", d.eve).create(labelled("more-not", `admin: "false"`, core))
	s.quiet("another-label", d.eve).create(object(rbacV1, "ClusterRole", "", "more-other", piece(`{metadata: {labels: {team: unknown}}, rules: `+core+`}`)))
	s.quiet("collects-some-roles", d.eve).create(object(rbacV1, "ClusterRole", "", "some-collector", piece(`{aggregationRule: {clusterRoleSelectors: [{matchLabels: {collect: widgets}}]}, rules: []}`)))
	s.quiet("refused", d.alice).refused().create(labelled("more-alice", `admin: "true"`, core))
	s.quiet("dry-run", d.eve).dryRun().create(labelled("more-dry", `admin: "true"`, core))
	for _, name := range []string{"more-admin", "more-view", "more-edit", "more-applied", "more-later"} {
		d.as(d.admin).delete(at(rbacV1, "clusterroles", "", name))
	}
}

func (d *driver) builtInRoles() {
	s := d.scene("Built-In Role Changed")
	path := func(name string) string { return at(rbacV1, "clusterroles", "", name) }
	s.fires("json-patch", d.eve).patch(jsonPatch, path("cluster-admin"), `[{op: add, path: /rules/-, value: {apiGroups: [widgets.example.com], resources: [widgets], verbs: [get]}}]`)
	s.fires("merge-patch", d.eve).patch(mergePatch, path("view"), `{metadata: {annotations: {note: changed}}}`)
	s.fires("update", d.eve).update(string(d.as(d.eve).send(http.MethodGet, path("cluster-admin"), "", nil)))
	s.quiet("read", d.eve).get(path("cluster-admin"))
	s.quiet("refused", d.alice).refused().patch(mergePatch, path("view"), `{metadata: {annotations: {note: changed}}}`)
	s.quiet("dry-run", d.eve).dryRun().patch(mergePatch, path("view"), `{metadata: {annotations: {note: dry}}}`)
	d.as(d.admin).create(role("lab", "view", `[`+harmlessRule+`]`))
	s.quiet("role-of-a-namespace", d.eve).patch(mergePatch, at(rbacV1, "roles", "lab", "view"), `{metadata: {annotations: {note: changed}}}`)
	s.observed("the aggregation controller filling admin", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:clusterrole-aggregation-controller" && e.ObjectRef.Resource == "clusterroles" &&
			e.ObjectRef.Name == "admin" && e.ResponseStatus.Code == http.StatusOK
	})
}

func (d *driver) systemRoles() {
	s := d.scene("System ClusterRole Modified/Deleted")
	s.fires("clusterrole-create", d.eve).create(role("", "system:helper", `[`+harmlessRule+`]`))
	s.fires("clusterrole-apply-new", d.eve).apply(role("", "system:helper-applied", `[`+harmlessRule+`]`))
	s.fires("clusterrole-json-patch", d.eve).patch(jsonPatch, at(rbacV1, "clusterroles", "", "system:basic-user"), `[{op: add, path: /rules/-, value: {apiGroups: [widgets.example.com], resources: [widgets], verbs: [get]}}]`)
	s.fires("clusterrolebinding-create", d.eve).create(binding("", "eks:helper", "ClusterRole/view", "User/bob"))
	s.fires("rolebinding-generated-name", d.eve).create(binding("lab", "system:helper-", "ClusterRole/view", "User/bob"))
	s.fires("clusterrolebinding-patched", d.eve).patch(jsonPatch, at(rbacV1, "clusterrolebindings", "", "eks:helper"), `[{op: add, path: /subjects/-, value: `+subjectJSON("User/trudy")+`}]`)
	s.fires("clusterrole-delete", d.eve).delete(at(rbacV1, "clusterroles", "", "system:helper"))
	s.quiet("name-with-system-in-it", d.eve).create(role("", "ecosystem:helper", `[`+harmlessRule+`]`))
	s.quiet("refused", d.alice).refused().delete(at(rbacV1, "clusterroles", "", "system:node"))
	s.quiet("dry-run", d.eve).dryRun().delete(at(rbacV1, "clusterroles", "", "system:helper-applied"))
	s.quiet("read", d.eve).get(at(rbacV1, "clusterroles", "", "system:node"))
	s.observed("the API server's own roles", func(e *event) bool {
		return e.User.Username == "system:apiserver" && e.Verb == "create" && e.ObjectRef.Resource == "clusterroles" && e.ObjectRef.Name == "system:basic-user"
	})
}

// granted plays how a role gets bound.
func (s scene) granted(prefix, role string) {
	s.fires("clusterrolebinding-create", s.eve).create(binding("", prefix, role, "User/bob"))
	s.fires("clusterrolebinding-apply-new", s.eve).apply(binding("", prefix+"-applied", role, "Group/outsiders"))
	s.as(s.admin).create(binding("", prefix+"-grown", role, "User/operator"))
	grown := at(rbacV1, "clusterrolebindings", "", prefix+"-grown")
	s.fires("subject-added-json-patch", s.eve).patch(jsonPatch, grown, `[{op: add, path: /subjects/-, value: `+subjectJSON("User/bob")+`}]`)
	s.fires("subject-added-merge-patch", s.eve).patch(mergePatch, grown, `{subjects: [`+subjectJSON("User/bob")+`]}`)
	s.fires("subject-added-update", s.eve).update(binding("", prefix+"-grown", role, "User/operator", "User/trudy"))
	s.quiet("labelled-only", s.eve).patch(mergePatch, grown, `{metadata: {labels: {team: unknown}}}`)
	s.quiet("role-view", s.eve).create(binding("", prefix+"-view", "ClusterRole/view", "User/bob"))
	s.quiet("refused", s.alice).refused().create(binding("", prefix+"-alice", role, "User/alice"))
	s.quiet("dry-run", s.eve).dryRun().create(binding("", prefix+"-dry", role, "User/bob"))
	s.quiet("deleted", s.eve).delete(at(rbacV1, "clusterrolebindings", "", prefix+"-applied"))
	s.as(s.admin).delete(grown)
	s.as(s.admin).delete(at(rbacV1, "clusterrolebindings", "", prefix))
}

func (d *driver) bindingsByRole() {
	s := d.scene("Attach to cluster-admin Role")
	d.as(d.admin).create(binding("", "labelled", clusterAdmin, "User/operator"))
	s.quiet("labelled-only", d.eve).patch(mergePatch, at(rbacV1, "clusterrolebindings", "", "labelled"), `{metadata: {labels: {team: unknown}}}`)
	s.fires("whole-document-json-patch", d.eve).patch(jsonPatch, at(rbacV1, "clusterrolebindings", "", "labelled"), `[{op: replace, path: "", value: `+binding("", "labelled", clusterAdmin, "User/bob")+`}]`)

	s = d.scene("Role Aggregation Controller Role Granted")
	s.granted("aggregator", "ClusterRole/system:controller:clusterrole-aggregation-controller")
	s.fires("rolebinding-create", d.eve).create(binding("lab", "aggregator", "ClusterRole/system:controller:clusterrole-aggregation-controller", "ServiceAccount/lab/victim"))
	s.quiet("another-controller", d.eve).create(binding("lab", "not-aggregator", "ClusterRole/system:controller:job-controller", "User/bob"))

	s = d.scene("Control Plane Role Granted")
	s.granted("component", "ClusterRole/system:kube-controller-manager")
	s.fires("node", d.eve).create(binding("", "component-node", "ClusterRole/system:node", "User/bob"))
	s.fires("kubelet-api", d.eve).create(binding("", "component-kubelet", "ClusterRole/system:kubelet-api-admin", "User/bob"))
	s.fires("controller", d.eve).create(binding("lab", "component-job", "ClusterRole/system:controller:job-controller", "ServiceAccount/lab/victim"))
	d.as(d.admin).create(role("lab", "system:node", `[`+harmlessRule+`]`))
	s.quiet("role-of-a-namespace-of-that-name", d.eve).create(binding("lab", "component-namesake", "Role/system:node", "User/bob"))
	s.quiet("discovery", d.eve).create(binding("", "component-discovery", "ClusterRole/system:discovery", "User/bob"))
	s.observed("the API server's own bindings", func(e *event) bool {
		return e.User.Username == "system:apiserver" && e.Verb == "create" && e.ObjectRef.Resource == "clusterrolebindings" && e.ObjectRef.Name == "system:controller:job-controller"
	})

	s = d.scene("Admin or Edit Role Granted Widely")
	s.granted("widely", "ClusterRole/edit")
	s.fires("kube-system", d.eve).create(binding("kube-system", "widely", "ClusterRole/admin", "User/bob"))
	s.quiet("one-namespace", d.eve).create(binding("lab", "not-widely", "ClusterRole/edit", "User/bob"))

	s = d.scene("Admin or Edit Role Granted in a Namespace")
	s.fires("edit", d.eve).create(binding("lab", "editors", "ClusterRole/edit", "User/bob"))
	s.fires("admin", d.admin).apply(binding("lab", "owners", "ClusterRole/admin", "Group/auditors"))
	s.quiet("view", d.eve).create(binding("lab", "lookers", "ClusterRole/view", "User/bob"))
	s.quiet("kube-system", d.eve).create(binding("kube-system", "editors", "ClusterRole/edit", "User/bob"))
	s.quiet("refused", d.alice).refused().create(binding("lab", "editors-alice", "ClusterRole/edit", "User/alice"))
}

func (d *driver) bindingsBySubject() {
	s := d.scene("Powerful Role Granted to Default Service Account")
	s.fires("clusterrolebinding-create", d.eve).create(binding("", "default-edit", "ClusterRole/edit", "ServiceAccount/lab/default"))
	s.fires("cluster-admin", d.eve).create(binding("lab", "default-all", clusterAdmin, "User/bob", "ServiceAccount/shop/default"))
	s.fires("by-user-name", d.eve).create(binding("lab", "default-user", "ClusterRole/admin", "User/system:serviceaccount:lab:default"))
	d.as(d.admin).create(binding("lab", "default-grown", "ClusterRole/admin", "User/bob"))
	grown := at(rbacV1, "rolebindings", "lab", "default-grown")
	s.fires("subject-added-json-patch", d.eve).patch(jsonPatch, grown, `[{op: add, path: /subjects/-, value: `+subjectJSON("ServiceAccount/lab/default")+`}]`)
	s.quiet("role-view", d.eve).create(binding("lab", "default-view", "ClusterRole/view", "ServiceAccount/lab/default"))
	s.quiet("account-of-similar-name", d.eve).create(binding("lab", "not-default", "ClusterRole/edit", "ServiceAccount/lab/default-web"))
	s.quiet("user-named-default", d.eve).create(binding("lab", "default-person", "ClusterRole/edit", "User/default"))
	s.quiet("namespace-named-default", d.eve).create(binding("lab", "default-namespace", "ClusterRole/edit", "ServiceAccount/default/web"))
	s.quiet("refused", d.alice).refused().create(binding("", "default-alice", "ClusterRole/edit", "ServiceAccount/lab/default"))
	s.quiet("dry-run", d.eve).dryRun().create(binding("", "default-dry", "ClusterRole/edit", "ServiceAccount/lab/default"))
	for _, name := range []string{"default-all", "default-user", "default-grown", "default-view"} {
		d.as(d.admin).delete(at(rbacV1, "rolebindings", "lab", name))
	}
	d.as(d.admin).delete(at(rbacV1, "clusterrolebindings", "", "default-edit"))

	s = d.scene("Self-Granted Role")
	s.fires("user", d.eve).create(binding("lab", "mine", "ClusterRole/view", "User/eve"))
	s.fires("group", d.eve).create(binding("lab", "ours", "ClusterRole/view", "Group/strangers"))
	s.fires("as-somebody-else", d.eve).head("Impersonate-User", "mallory").head("Impersonate-Group", "contractors").create(binding("lab", "his", "ClusterRole/view", "User/mallory"))
	s.fires("apply-new", d.eve).apply(binding("lab", "mine-applied", "ClusterRole/view", "User/eve", "User/bob"))
	s.fires("subject-added-json-patch", d.eve).patch(jsonPatch, at(rbacV1, "rolebindings", "lab", "lookers"), `[{op: add, path: /subjects/-, value: `+subjectJSON("User/eve")+`}]`)
	s.quiet("somebody-else", d.eve).create(binding("lab", "yours", "ClusterRole/view", "User/bob"))
	s.quiet("service-account-of-that-name", d.eve).create(binding("lab", "account-eve", "ClusterRole/view", "ServiceAccount/lab/eve"))
	s.quiet("everybody", d.eve).create(binding("lab", "everybody", "ClusterRole/view", "Group/system:authenticated"))
	s.quiet("refused", d.alice).refused().create(binding("lab", "mine-alice", "ClusterRole/view", "User/alice"))
	s.quiet("dry-run", d.eve).dryRun().create(binding("lab", "mine-dry", "ClusterRole/view", "User/eve"))
	d.as(d.admin).delete(at(rbacV1, "rolebindings", "lab", "everybody"))

	s = d.scene("Service Account Bound to Role")
	s.fires("rolebinding", d.admin).create(binding("lab", "account-view", "ClusterRole/view", "ServiceAccount/lab/victim"))
	s.fires("another-namespace", d.eve).create(binding("lab", "account-other", "ClusterRole/view", "ServiceAccount/shop/web"))
	s.fires("clusterrolebinding-apply-new", d.admin).apply(binding("", "account-applied", "ClusterRole/view", "ServiceAccount/lab/victim"))
	s.quiet("user", d.admin).create(binding("lab", "person-view", "ClusterRole/view", "User/bob"))
	s.quiet("refused", d.alice).refused().create(binding("lab", "account-alice", "ClusterRole/view", "ServiceAccount/shop/web"))
	s.quiet("deleted", d.admin).delete(at(rbacV1, "clusterrolebindings", "", "account-applied"))
}

func (d *driver) serviceAccountWritesRoles() {
	s := d.scene("Service Account Changed RBAC")
	d.as(d.admin).create(bare("v1", "ServiceAccount", "lab", "operator"))
	d.as(d.admin).create(role("", "lab-operator", `[
		{apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: [get, list, create, update, patch, delete, bind, escalate]},
		{apiGroups: [""], resources: [configmaps], verbs: [get, create]}]`))
	d.as(d.admin).create(binding("lab", "lab-operator", "ClusterRole/lab-operator", "ServiceAccount/lab/operator"))
	operator := d.tokenOf("lab", "operator", "operator/1.0", "127.0.0.170")
	d.allowed(operator, at(rbacV1, "roles", "lab"))
	s.fires("role-create", operator).create(role("lab", "by-operator", `[`+harmlessRule+`]`))
	s.fires("rolebinding-create", operator).create(binding("lab", "by-operator", "Role/by-operator", "User/bob"))
	s.fires("role-json-patch", operator).patch(jsonPatch, at(rbacV1, "roles", "lab", "by-operator"), `[{op: add, path: /rules/0/resources/-, value: services}]`)
	s.fires("rolebinding-delete", operator).delete(at(rbacV1, "rolebindings", "lab", "by-operator"))
	s.quiet("by-person", d.eve).create(role("lab", "by-eve", `[`+harmlessRule+`]`))
	s.quiet("read", operator).get(at(rbacV1, "roles", "lab"))
	s.quiet("refused", operator).refused().create(role("", "by-operator", `[`+harmlessRule+`]`))
	s.quiet("config-map", operator).create(configMap("lab", "by-operator", `{a: b}`))
	s.observed("the aggregation controller", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:clusterrole-aggregation-controller" && e.ObjectRef.Resource == "clusterroles" && e.ResponseStatus.Code == http.StatusOK
	})
}

func (d *driver) refusedRoles() {
	s := d.scene("RBAC Privilege Escalation Refused")
	d.as(d.admin).create(role("ci", "role-maker", `[{apiGroups: [rbac.authorization.k8s.io], resources: [roles, rolebindings], verbs: [create, update, patch]}]`))
	d.as(d.admin).create(binding("ci", "role-maker", "Role/role-maker", "User/ci-bot"))
	d.await("the right of ci-bot to make roles", func(ctx context.Context) error {
		return d.ciBot.clients.CoreV1().RESTClient().Post().AbsPath(at(rbacV1, "roles", "ci")).Param("dryRun", "All").
			Body([]byte(role("ci", "probe", `[{apiGroups: [""], resources: [pods], verbs: [get]}]`))).Do(ctx).Error()
	})
	s.fires("rolebinding", d.ciBot).refused().create(binding("ci", "too-much", clusterAdmin, "User/ci-bot"))
	s.fires("role", d.ciBot).refused().create(role("ci", "too-much", `[{apiGroups: [rbac.authorization.k8s.io], resources: [rolebindings], verbs: [delete, escalate]}]`))
	s.fires("role-apply-new", d.ciBot).refused().apply(role("ci", "too-much", `[`+wildcardRule+`]`))
	s.quiet("no-right-to-write-roles", d.alice).refused().create(role("shop", "too-much", `[`+harmlessRule+`]`))
	s.quiet("rights-he-has", d.ciBot).create(role("ci", "enough", `[`+harmlessRule+`]`))
	s.quiet("read-refused", d.alice).refused().get(at(rbacV1, "roles", "lab"))

	s = d.scene("RBAC Change Refused")
	s.fires("clusterrole-create", d.alice).refused().create(role("", "no", `[`+harmlessRule+`]`))
	s.fires("rolebinding-create", d.alice).refused().create(binding("shop", "no", "ClusterRole/view", "User/alice"))
	s.fires("clusterrolebinding-delete", d.alice).refused().delete(at(rbacV1, "clusterrolebindings", "", "viewers"))
	s.fires("role-patch", d.ciBot).refused().patch(mergePatch, at(rbacV1, "roles", "lab", "reporter"), `{rules: []}`)
	s.quiet("escalation", d.ciBot).refused().create(binding("ci", "too-much", clusterAdmin, "User/ci-bot"))
	s.quiet("read-refused", d.alice).refused().get(at(rbacV1, "clusterroles", ""))
	s.quiet("dry-run-refused", d.alice).refused().dryRun().create(role("", "no", `[`+harmlessRule+`]`))
	s.quiet("configmap-refused", d.alice).refused().create(configMap("lab", "no", `{a: b}`))
}

func (d *driver) rolesTrail() {
	for _, v := range []struct {
		rule, resource string
		object         func(name string) string
		everywhere     string
	}{
		{"K8s Role", "roles", func(name string) string { return role("lab", name, `[`+harmlessRule+`]`) }, role("", "trail-everywhere", `[`+harmlessRule+`]`)},
		{"K8s RoleBinding", "rolebindings", func(name string) string { return binding("lab", name, "ClusterRole/view", "User/bob") }, binding("", "trail-everywhere", "ClusterRole/view", "User/bob")},
	} {
		path := at(rbacV1, v.resource, "lab", "trail")
		s, gone := d.scene(v.rule+" Created"), d.scene(v.rule+" Deleted")
		s.fires("create", d.admin).create(v.object("trail"))
		s.fires("apply-new", d.eve).apply(v.object("trail-applied"))
		s.fires("patch", d.eve).patch(mergePatch, path, `{metadata: {labels: {team: unknown}}}`)
		s.quiet("read", d.eve).get(path)
		s.quiet("refused", d.alice).refused().create(v.object("trail-alice"))
		s.quiet("dry-run", d.eve).dryRun().create(v.object("trail-dry"))
		gone.fires("delete", d.eve).delete(path)
		gone.fires("deletecollection", d.eve).with("labelSelector", "no-such-label=x").delete(at(rbacV1, v.resource, "lab"))
		gone.quiet("refused", d.alice).refused().delete(at(rbacV1, v.resource, "lab", "trail-applied"))
		gone.quiet("dry-run", d.eve).dryRun().delete(at(rbacV1, v.resource, "lab", "trail-applied"))
		everywhere := "cluster" + v.resource
		s.fires("of-the-cluster", d.eve).create(v.everywhere)
		gone.fires("of-the-cluster", d.eve).delete(at(rbacV1, everywhere, "", "trail-everywhere"))
		gone.quiet("not-found", d.eve).answers(http.StatusNotFound).delete(path)
	}
	d.define("iam.example.com", "roles", "Role")
	s := d.scene("K8s Role Created")
	s.quiet("another-api-group", d.eve).create(object("iam.example.com/v1", "Role", "", "trail", piece(`{rules: [{verbs: ["*"], resources: ["*"], apiGroups: ["*"]}]}`)))
	s = d.scene("Role Grants Everything")
	s.quiet("another-api-group", d.eve).create(object("iam.example.com/v1", "Role", "", "everything", piece(`{rules: [{verbs: ["*"], resources: ["*"], apiGroups: ["*"]}]}`)))
}

package main

import (
	"net/http"
)

// attackRights acts out the rules about roles and their bindings.
func (d *driver) attackRights() {
	d.bindClusterAdmin()
	d.bindAnonymous()
	d.bindEveryone()
	d.wildcardRole()
	d.roleEscalationVerbs()
	d.roleGrantsExec()
	d.roleGrantsSecrets()
}

const clusterAdmin = "ClusterRole/cluster-admin"

func (d *driver) bindClusterAdmin() {
	s := d.scene("Attach to cluster-admin Role")
	s.fires("clusterrolebinding-create", d.mallory).create(binding("", "pwn-user", clusterAdmin, "User/mallory"))
	s.fires("clusterrolebinding-create-service-account", d.mallory).create(binding("", "pwn-account", clusterAdmin, "ServiceAccount/lab/reporter"))
	s.fires("clusterrolebinding-create-generated-name", d.mallory).create(binding("", "pwn-", clusterAdmin, "Group/outsiders"))
	s.fires("clusterrolebinding-apply-new", d.admin).apply(binding("", "pwn-applied", clusterAdmin, "User/mallory"))
	s.fires("clusterrolebinding-apply-existing", d.admin).apply(binding("", "pwn-applied", clusterAdmin, "User/mallory", "User/trudy"))
	s.fires("rolebinding-create", d.mallory).create(binding("shop", "pwn-shop", clusterAdmin, "User/mallory"))
	s.fires("rolebinding-apply-new", d.mallory).apply(binding("shop", "pwn-shop-applied", clusterAdmin, "ServiceAccount/shop/web"))

	d.as(d.admin).create(binding("", "operators", clusterAdmin, "User/operator"))
	d.as(d.admin).create(binding("shop", "shop-operators", clusterAdmin, "User/operator"))
	operators := at(rbacV1, "clusterrolebindings", "", "operators")
	shopOperators := at(rbacV1, "rolebindings", "shop", "shop-operators")
	added := `{subjects: [` + subjectJSON("User/operator") + `, ` + subjectJSON("User/mallory") + `]}`
	s.fires("subject-added-json-patch", d.mallory).patch(jsonPatch, operators, `[{op: add, path: /subjects/-, value: `+subjectJSON("User/mallory")+`}]`)
	s.fires("subject-added-merge-patch", d.mallory).patch(mergePatch, operators, added)
	s.fires("subject-added-strategic-patch", d.mallory).patch(strategicPatch, operators, `{subjects: [`+subjectJSON("Group/contractors")+`]}`)
	s.fires("subject-added-update", d.mallory).update(binding("", "operators", clusterAdmin, "User/operator", "User/trudy"))
	s.fires("rolebinding-subject-added-json-patch", d.mallory).patch(jsonPatch, shopOperators, `[{op: add, path: /subjects/-, value: `+subjectJSON("User/mallory")+`}]`)
	s.fires("rolebinding-subject-added-merge-patch", d.mallory).patch(mergePatch, shopOperators, added)

	s.quiet("role-view", d.admin).create(binding("", "viewers", "ClusterRole/view", "User/auditor"))
	s.quiet("rolebinding-role-edit", d.admin).create(binding("shop", "editors", "ClusterRole/edit", "User/bob"))
	d.as(d.admin).create(role("", "cluster-admin-tools", `[{apiGroups: [""], resources: [pods], verbs: [get]}]`))
	s.quiet("role-with-similar-name", d.admin).create(binding("", "tools", "ClusterRole/cluster-admin-tools", "User/bob"))
	d.as(d.admin).create(role("shop", "cluster-admin", `[{apiGroups: [""], resources: [pods], verbs: [get]}]`))
	s.quiet("role-of-a-namespace-named-cluster-admin", d.admin).create(binding("shop", "namesake", "Role/cluster-admin", "User/bob"))
	s.quiet("binding-named-cluster-admin", d.admin).create(binding("", "cluster-admin-viewers", "ClusterRole/view", "User/auditor"))
	s.quiet("subject-added-to-view", d.admin).patch(jsonPatch, at(rbacV1, "clusterrolebindings", "", "viewers"), `[{op: add, path: /subjects/-, value: `+subjectJSON("User/bob")+`}]`)
	s.quiet("refused", d.alice).refused().create(binding("", "pwn-alice", clusterAdmin, "User/alice"))
	s.quiet("refused-by-escalation-check", d.ciBot).refused().create(binding("ci", "pwn-ci", clusterAdmin, "User/ci-bot"))
	s.quiet("dry-run", d.mallory).dryRun().create(binding("", "pwn-dry", clusterAdmin, "User/mallory"))
	s.quiet("deleted", d.admin).delete(at(rbacV1, "clusterrolebindings", "", "pwn-user"))
	s.quiet("read", d.admin).get(operators)
	// What follows needs people who are refused.
	for _, name := range []string{"pwn-account", "pwn-applied", "operators"} {
		d.as(d.admin).delete(at(rbacV1, "clusterrolebindings", "", name))
	}
	for _, name := range []string{"pwn-shop", "pwn-shop-applied", "shop-operators"} {
		d.as(d.admin).delete(at(rbacV1, "rolebindings", "shop", name))
	}
}

func (d *driver) bindAnonymous() {
	s := d.scene("Role Granted to Anonymous Users")
	s.fires("clusterrolebinding-user", d.mallory).create(binding("", "open-user", "ClusterRole/view", "User/system:anonymous"))
	s.fires("clusterrolebinding-group", d.mallory).create(binding("", "open-group", "ClusterRole/view", "Group/system:unauthenticated"))
	s.fires("rolebinding-user", d.mallory).create(binding("lab", "open-user", "ClusterRole/view", "User/system:anonymous"))
	s.fires("rolebinding-second-subject", d.mallory).create(binding("lab", "open-second", "ClusterRole/view", "User/bob", "Group/system:unauthenticated"))
	s.fires("clusterrolebinding-apply-new", d.admin).apply(binding("", "open-applied", clusterAdmin, "Group/system:unauthenticated"))
	const clusterInfo = "kubeadm:bootstrap-signer-clusterinfo" // kubeadm lets everybody read where a cluster is to be joined
	s.quiet("cluster-info-of-kubeadm", d.admin).create(binding("kube-public", clusterInfo, "Role/"+clusterInfo, "User/system:anonymous"))
	d.as(d.admin).delete(at(rbacV1, "rolebindings", "kube-public", clusterInfo))
	s.fires("name-of-kubeadm-and-another-role", d.admin).create(binding("kube-public", clusterInfo, "ClusterRole/view", "User/system:anonymous"))
	d.as(d.admin).create(binding("", "half-open", "ClusterRole/view", "User/bob"))
	halfOpen := at(rbacV1, "clusterrolebindings", "", "half-open")
	s.fires("subject-added-json-patch", d.mallory).patch(jsonPatch, halfOpen, `[{op: add, path: /subjects/-, value: `+subjectJSON("User/system:anonymous")+`}]`)
	s.fires("subject-added-merge-patch", d.mallory).patch(mergePatch, halfOpen, `{subjects: [`+subjectJSON("Group/system:unauthenticated")+`]}`)
	s.fires("subject-added-update", d.mallory).update(binding("", "half-open", "ClusterRole/view", "User/bob", "User/system:anonymous"))

	s.quiet("user-named-anonymous", d.admin).create(binding("", "closed-user", "ClusterRole/view", "User/anonymous"))
	s.quiet("service-account-named-anonymous", d.admin).create(binding("lab", "closed-account", "ClusterRole/view", "ServiceAccount/lab/anonymous"))
	s.quiet("group-of-people", d.admin).create(binding("lab", "closed-group", "ClusterRole/view", "Group/auditors"))
	s.quiet("refused", d.alice).refused().create(binding("", "open-alice", "ClusterRole/view", "User/system:anonymous"))
	s.quiet("dry-run", d.mallory).dryRun().create(binding("", "open-dry", "ClusterRole/view", "User/system:anonymous"))
	for _, name := range []string{"open-user", "open-group", "open-applied", "half-open"} {
		d.as(d.admin).delete(at(rbacV1, "clusterrolebindings", "", name))
	}
	s.quiet("deleted", d.admin).delete(at(rbacV1, "rolebindings", "lab", "open-user"))
	d.as(d.admin).delete(at(rbacV1, "rolebindings", "lab", "open-second"))
	s.observed("the API server's own bindings", func(e *event) bool {
		return e.User.Username == "system:apiserver" && e.Verb == "create" && e.ObjectRef.Resource == "clusterrolebindings" &&
			e.ObjectRef.Name == "system:public-info-viewer"
	})
}

func (d *driver) bindEveryone() {
	s := d.scene("Role Granted to Everyone")
	s.fires("clusterrolebinding-authenticated", d.mallory).create(binding("", "all-users", "ClusterRole/edit", "Group/system:authenticated"))
	s.fires("clusterrolebinding-serviceaccounts", d.mallory).create(binding("", "all-accounts", "ClusterRole/view", "Group/system:serviceaccounts"))
	s.fires("rolebinding-serviceaccounts-of-namespace", d.mallory).create(binding("lab", "shop-accounts", "ClusterRole/edit", "Group/system:serviceaccounts:shop"))
	s.fires("rolebinding-authenticated", d.mallory).create(binding("lab", "all-users", "ClusterRole/view", "Group/system:authenticated"))
	s.fires("clusterrolebinding-apply-new", d.admin).apply(binding("", "all-applied", "ClusterRole/view", "User/bob", "Group/system:authenticated"))
	d.as(d.admin).create(binding("", "some-users", "ClusterRole/view", "User/bob"))
	someUsers := at(rbacV1, "clusterrolebindings", "", "some-users")
	s.fires("subject-added-json-patch", d.mallory).patch(jsonPatch, someUsers, `[{op: add, path: /subjects/-, value: `+subjectJSON("Group/system:authenticated")+`}]`)
	s.fires("subject-added-strategic-patch", d.mallory).patch(strategicPatch, someUsers, `{subjects: [`+subjectJSON("Group/system:serviceaccounts")+`]}`)

	s.quiet("group-of-people", d.admin).create(binding("", "known-users", "ClusterRole/view", "Group/auditors"))
	s.quiet("one-service-account", d.admin).create(binding("lab", "one-account", "ClusterRole/view", "ServiceAccount/shop/web"))
	s.quiet("group-with-similar-name", d.admin).create(binding("", "similar", "ClusterRole/view", "Group/system:serviceaccounts-auditors"))
	s.quiet("user-with-the-groups-name", d.admin).create(binding("lab", "odd-user", "ClusterRole/view", "User/system:authenticated"))
	s.quiet("refused", d.alice).refused().create(binding("", "all-alice", "ClusterRole/view", "Group/system:authenticated"))
	s.quiet("dry-run", d.mallory).dryRun().create(binding("", "all-dry", "ClusterRole/view", "Group/system:authenticated"))
	for _, name := range []string{"all-users", "all-accounts", "all-applied"} {
		d.as(d.admin).delete(at(rbacV1, "clusterrolebindings", "", name))
	}
	s.quiet("deleted", d.admin).delete(someUsers)
	d.as(d.admin).delete(at(rbacV1, "rolebindings", "lab", "all-users"))
	s.observed("the API server's own bindings", func(e *event) bool {
		return e.User.Username == "system:apiserver" && e.Verb == "create" && e.ObjectRef.Resource == "clusterrolebindings" &&
			e.ObjectRef.Name == "system:basic-user"
	})
}

const (
	wildcardRule = `{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}`
	harmlessRule = `{apiGroups: [""], resources: [pods], verbs: [get, list, watch]}`
)

// roles plays the ways in which a rule gets into a role that every scene about roles has: the rule must be found in each.
func (s scene) roles(prefix, rule string) {
	s.fires("clusterrole-create", s.mallory).create(role("", prefix, `[`+rule+`]`))
	s.fires("role-create", s.mallory).create(role("lab", prefix, `[`+rule+`]`))
	s.fires("clusterrole-second-rule", s.mallory).create(role("", prefix+"-second", `[`+harmlessRule+`, `+rule+`]`))
	s.fires("clusterrole-apply-new", s.admin).apply(role("", prefix+"-applied", `[`+rule+`]`))
	s.as(s.admin).create(role("", prefix+"-grown", `[`+harmlessRule+`]`))
	grown := at(rbacV1, "clusterroles", "", prefix+"-grown")
	s.fires("clusterrole-rule-added-json-patch", s.mallory).patch(jsonPatch, grown, `[{op: add, path: /rules/-, value: `+rule+`}]`)
	s.fires("clusterrole-rule-added-merge-patch", s.mallory).patch(mergePatch, grown, `{rules: [`+rule+`]}`)
	s.fires("clusterrole-rule-added-update", s.mallory).update(role("", prefix+"-grown", `[`+rule+`, `+harmlessRule+`]`))
	s.as(s.admin).create(role("lab", prefix+"-grown", `[`+harmlessRule+`]`))
	s.fires("role-rule-added-strategic-patch", s.mallory).patch(strategicPatch, at(rbacV1, "roles", "lab", prefix+"-grown"), `{rules: [`+rule+`]}`)

	s.quiet("refused", s.alice).refused().create(role("", prefix+"-alice", `[`+rule+`]`))
	s.quiet("dry-run", s.mallory).dryRun().create(role("", prefix+"-dry", `[`+rule+`]`))
	s.quiet("rule-taken-out-again", s.admin).patch(mergePatch, grown, `{rules: [`+harmlessRule+`]}`)
	s.quiet("deleted", s.admin).delete(at(rbacV1, "clusterroles", "", prefix+"-applied"))
	s.quiet("harmless", s.admin).create(role("", prefix+"-harmless", `[`+harmlessRule+`]`))
}

func (d *driver) wildcardRole() {
	s := d.scene("ClusterRole With Wildcard Created")
	s.roles("superuser", wildcardRule)
	s.fires("clusterrole-core-group", d.mallory).create(role("", "superuser-core", `[{apiGroups: [""], resources: ["*"], verbs: ["*"]}]`))
	s.quiet("verbs-and-resources-in-different-rules", d.admin).create(role("", "split-wildcards", `[
		{apiGroups: [""], resources: ["*"], verbs: [get]}, {apiGroups: [""], resources: [configmaps], verbs: ["*"]}]`))
	s.quiet("all-subresources-of-one-kind", d.admin).create(role("", "scaler", `[{apiGroups: ["*"], resources: ["*/scale"], verbs: [get, update]}]`))
	s.observed("the API server's own cluster-admin", func(e *event) bool {
		return e.User.Username == "system:apiserver" && e.Verb == "create" && e.ObjectRef.Resource == "clusterroles" && e.ObjectRef.Name == "cluster-admin"
	})
	s.observed("the aggregation controller filling admin", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:clusterrole-aggregation-controller" && e.ObjectRef.Resource == "clusterroles" &&
			e.ObjectRef.Name == "admin" && e.ResponseStatus.Code == http.StatusOK
	})
}

func (d *driver) roleEscalationVerbs() {
	s := d.scene("Role Allows Escalate Bind or Impersonate")
	s.roles("escalator", `{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [get, escalate]}`)
	s.fires("bind", d.mallory).create(role("", "binder", `[{apiGroups: [rbac.authorization.k8s.io], resources: [roles, clusterroles], verbs: [bind]}]`))
	s.fires("impersonate-users", d.mallory).create(role("", "impersonator", `[{apiGroups: [""], resources: [users, groups], verbs: [impersonate]}]`))
	s.fires("impersonate-service-accounts", d.mallory).create(role("lab", "impersonator", `[{apiGroups: [""], resources: [serviceaccounts], verbs: [get, impersonate]}]`))
	s.fires("impersonate-one-user", d.mallory).create(role("", "impersonator-of-one", `[{apiGroups: [""], resources: [users], verbs: [impersonate], resourceNames: [admin]}]`))
	s.quiet("roles-read-only", d.admin).create(role("", "role-reader", `[{apiGroups: [rbac.authorization.k8s.io], resources: [roles, clusterroles], verbs: [get, list, watch]}]`))
	s.quiet("bindings-without-bind", d.admin).create(role("lab", "binding-writer", `[{apiGroups: [rbac.authorization.k8s.io], resources: [rolebindings], verbs: [get, create, delete]}]`))
	s.quiet("service-accounts-without-impersonate", d.admin).create(role("lab", "account-writer", `[{apiGroups: [""], resources: [serviceaccounts], verbs: [get, create, update]}]`))
}

func (d *driver) roleGrantsExec() {
	s := d.scene("ClusterRole With Pod Exec Created")
	s.roles("operator", `{apiGroups: [""], resources: [pods/exec], verbs: [create]}`)
	s.fires("get-is-enough", d.mallory).create(role("", "operator-get", `[{apiGroups: [""], resources: [pods/exec], verbs: [get]}]`))
	s.fires("all-verbs", d.mallory).create(role("lab", "operator-all", `[{apiGroups: [""], resources: [pods, pods/exec], verbs: ["*"]}]`))
	s.fires("subresource-of-everything", d.mallory).create(role("", "operator-any", `[{apiGroups: [""], resources: ["*/exec"], verbs: [create]}]`))
	s.quiet("pods-and-logs", d.admin).create(role("lab", "log-reader", `[{apiGroups: [""], resources: [pods, pods/log], verbs: [get, list, create]}]`))
	s.quiet("verb-and-resource-in-different-rules", d.admin).create(role("lab", "split-exec", `[
		{apiGroups: [""], resources: [pods/exec], verbs: [delete]}, {apiGroups: [""], resources: [pods], verbs: [create, get]}]`))
	s.quiet("another-api-group", d.admin).create(role("lab", "foreign-exec", `[{apiGroups: [example.com], resources: [pods/exec], verbs: [create]}]`))
}

func (d *driver) roleGrantsSecrets() {
	s := d.scene("ClusterRole Allows Reading Secrets")
	rule := `{apiGroups: [""], resources: [secrets], verbs: [list]}`
	s.fires("clusterrole-create", d.mallory).create(role("", "secret-lister", `[`+rule+`]`))
	s.fires("clusterrole-get-list-watch", d.mallory).create(role("", "secret-reader", `[{apiGroups: [""], resources: [configmaps, secrets], verbs: [get, list, watch]}]`))
	s.fires("clusterrole-second-rule", d.mallory).create(role("", "secret-second", `[`+harmlessRule+`, `+rule+`]`))
	s.fires("clusterrole-all-verbs", d.mallory).create(role("", "secret-all", `[{apiGroups: [""], resources: [secrets], verbs: ["*"]}]`))
	s.fires("clusterrole-every-core-resource", d.mallory).create(role("", "core-reader", `[{apiGroups: [""], resources: ["*"], verbs: [get, list]}]`))
	s.fires("clusterrole-apply-new", d.mallory).apply(role("", "secret-applied", `[`+rule+`]`))
	s.quiet("by-administrator", d.admin).create(role("", "secret-operator", `[`+rule+`]`))
	d.as(d.admin).create(role("", "secret-grown", `[`+harmlessRule+`]`))
	grown := at(rbacV1, "clusterroles", "", "secret-grown")
	s.fires("clusterrole-rule-added-json-patch", d.mallory).patch(jsonPatch, grown, `[{op: add, path: /rules/0/resources/-, value: secrets}]`)
	s.fires("clusterrole-rule-added-merge-patch", d.mallory).patch(mergePatch, grown, `{rules: [`+rule+`]}`)
	s.fires("clusterrole-rule-added-update", d.mallory).update(role("", "secret-grown", `[`+rule+`, `+harmlessRule+`]`))

	s.quiet("named-secret-only", d.admin).create(role("", "one-secret", `[{apiGroups: [""], resources: [secrets], verbs: [get], resourceNames: [web-tls]}]`))
	s.quiet("write-only", d.admin).create(role("", "secret-writer", `[{apiGroups: [""], resources: [secrets], verbs: [create, delete]}]`))
	s.quiet("configmaps", d.admin).create(role("", "configmap-reader", `[{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}]`))
	s.quiet("verb-and-resource-in-different-rules", d.admin).create(role("", "split-secrets", `[
		{apiGroups: [""], resources: [secrets], verbs: [create]}, {apiGroups: [""], resources: [pods], verbs: [list]}]`))
	s.quiet("another-api-group", d.admin).create(role("", "foreign-secrets", `[{apiGroups: [vault.example.com], resources: [secrets], verbs: [list]}]`))
	s.quiet("refused", d.alice).refused().create(role("", "secret-alice", `[`+rule+`]`))
	s.quiet("dry-run", d.mallory).dryRun().create(role("", "secret-dry", `[`+rule+`]`))
	s.quiet("deleted", d.admin).delete(at(rbacV1, "clusterroles", "", "secret-applied"))
}

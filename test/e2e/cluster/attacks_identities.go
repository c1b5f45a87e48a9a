package main

import (
	"context"
	"net/http"
)

// attackIdentities acts out what is done to certificates, service accounts, nodes and anonymous access.
func (d *driver) attackIdentities() {
	d.privilegedCertificates()
	d.certificateRequests()
	d.serviceAccountsMade()
	d.awsAuth()
	d.nodesJoining()
	d.anonymousWrite()
	d.ownPermissions()
}

const requestsV1 = "certificates.k8s.io/v1"

func approvalOf(name string) string {
	return at(requestsV1, "certificatesigningrequests", "", name, "approval")
}

func (d *driver) privilegedCertificates() {
	s := d.scene("Certificate for a Privileged Identity")
	s.fires("component", d.eve).create(signingRequest("eve-1", clientSigner, "system:kube-scheduler"))
	s.fires("service-account", d.mallory).create(signingRequest("eve-2", clientSigner, "system:serviceaccount:kube-system:namespace-controller"))
	s.fires("administrators-of-kubeadm", d.eve).apply(signingRequest("eve-3", clientSigner, "eve", "kubeadm:cluster-admins"))
	s.fires("name-that-the-rules-trust", d.eve).create(signingRequest("eve-0", clientSigner, "eks:addon-manager"))
	s.fires("node-for-a-person", d.eve).create(signingRequest("eve-4", kubeletSigner, "system:node:node-7", "system:nodes"))
	s.fires("group-of-nodes", d.eve).create(signingRequest("eve-5", clientSigner, "eve", "system:nodes"))
	s.fires("approved-update", d.admin).put(approvalOf("eve-1"), d.approval("eve-1", "Approved"))
	s.fires("approved-merge-patch", d.eve).patch(mergePatch, approvalOf("eve-2"), `{status: {conditions: [{type: Approved, status: "True", reason: ByHand, message: decided by a person}]}}`)
	s.quiet("ordinary-name", d.eve).create(signingRequest("eve-6", clientSigner, "eve", "strangers"))
	s.quiet("name-with-system-in-it", d.eve).create(signingRequest("eve-7", clientSigner, "ecosystem:kube-scheduler"))
	s.quiet("denied", d.admin).put(approvalOf("eve-3"), d.approval("eve-3", "Denied"))
	s.quiet("refused", d.alice).refused().create(signingRequest("alice-2", clientSigner, "system:kube-scheduler"))
	s.quiet("dry-run", d.eve).dryRun().create(signingRequest("eve-8", clientSigner, "system:kube-scheduler"))
	s.quiet("machine-joining", d.joiner).create(signingRequest("joining-1", kubeletSigner, "system:node:node-8", "system:nodes"))
	s.observed("the kubelet's own request", func(e *event) bool {
		return e.User.Username == node.name && e.Verb == "create" && e.ObjectRef.Resource == "certificatesigningrequests"
	})

	s = d.scene("Certificate for a Privileged Identity Refused")
	s.fires("by-admission", d.eve).refused().create(signingRequest("eve-9", clientSigner, "eve", "system:masters"))
	// RBAC refuses before the body is read, so the event does not say what for.
	s.quiet("by-rbac", d.alice).refused().create(signingRequest("alice-3", clientSigner, "system:kube-controller-manager"))
	s.quiet("ordinary-name", d.alice).refused().create(signingRequest("alice-4", clientSigner, "alice"))
	s.quiet("allowed", d.eve).create(signingRequest("eve-10", clientSigner, "system:kube-scheduler"))
	s.quiet("approval", d.alice).refused().put(approvalOf("eve-10"), d.approval("eve-10", "Approved"))
}

func (d *driver) certificateRequests() {
	s := d.scene("Client Certificate Refused")
	s.fires("create", d.alice).refused().create(signingRequest("alice-5", clientSigner, "alice"))
	s.fires("by-service-account", d.serviceAccount("lab", "reporter", "reporter/2.0", "127.0.0.160")).refused().create(signingRequest("reporter-1", clientSigner, "reporter"))
	s.quiet("by-admission", d.eve).refused().create(signingRequest("eve-12", clientSigner, "eve", "system:masters"))
	s.quiet("allowed", d.eve).create(signingRequest("eve-11", clientSigner, "eve"))
	s.quiet("read-refused", d.alice).refused().get(at(requestsV1, "certificatesigningrequests", ""))

	s = d.scene("CSR Approval Refused")
	s.fires("update", d.alice).refused().put(approvalOf("eve-11"), d.approval("eve-11", "Approved"))
	s.fires("merge-patch", d.mallory).refused().patch(mergePatch, approvalOf("eve-11"), `{status: {conditions: [{type: Approved, status: "True", reason: ByHand, message: decided by a person}]}}`)
	s.quiet("create-refused", d.alice).refused().create(signingRequest("alice-7", clientSigner, "alice"))
	s.quiet("read-refused", d.alice).refused().get(at(requestsV1, "certificatesigningrequests", "", "eve-11"))
	s.quiet("allowed", d.admin).put(approvalOf("eve-11"), d.approval("eve-11", "Denied"))

	s = d.scene("CSR Approved by Hand")
	s.fires("node", d.admin).put(approvalOf("joining-1"), d.approval("joining-1", "Approved"))
	d.as(d.eve).create(signingRequest("internal-1", "example.com/internal", "service.example.com"))
	s.fires("another-signer", d.eve).patch(mergePatch, approvalOf("internal-1"), `{status: {conditions: [{type: Approved, status: "True", reason: ByHand, message: decided by a person}]}}`)
	d.as(d.eve).create(signingRequest("internal-2", "example.com/internal", "service.example.com"))
	s.quiet("denied", d.eve).put(approvalOf("internal-2"), d.approval("internal-2", "Denied"))
	s.quiet("client-certificate", d.eve).put(approvalOf("eve-6"), d.approval("eve-6", "Approved"))
	s.quiet("refused", d.alice).refused().put(approvalOf("eve-10"), d.approval("eve-10", "Approved"))
	s.observed("the controller approving the kubelet's request", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:certificate-controller" && e.ObjectRef.Subresource == "approval" && e.ResponseStatus.Code == http.StatusOK
	})

	s = d.scene("CSR Deleted by Hand")
	requests := at(requestsV1, "certificatesigningrequests", "")
	s.fires("delete", d.eve).delete(requests + "/eve-6")
	s.fires("deletecollection", d.eve).with("fieldSelector", "metadata.name=no-such-request").delete(requests)
	s.quiet("refused", d.alice).refused().delete(requests + "/eve-7")
	s.quiet("dry-run", d.eve).dryRun().delete(requests + "/eve-7")
	s.quiet("not-found", d.eve).answers(http.StatusNotFound).delete(requests + "/eve-6")
	s.quiet("read", d.eve).get(requests + "/eve-7")
}

func (d *driver) serviceAccountsMade() {
	s := d.scene("Service Account Created in Kube Namespace")
	s.fires("create", d.eve).create(bare("v1", "ServiceAccount", "kube-system", "helper"))
	s.fires("apply-new", d.eve).apply(bare("v1", "ServiceAccount", "kube-public", "helper"))
	s.fires("by-admin", d.admin).create(bare("v1", "ServiceAccount", "kube-system", "helper-of-admin"))
	s.quiet("another-namespace", d.eve).create(bare("v1", "ServiceAccount", "lab", "helper"))
	s.quiet("labelled", d.eve).patch(mergePatch, at("v1", "serviceaccounts", "kube-system", "helper"), `{metadata: {labels: {team: unknown}}}`)
	s.quiet("refused", d.alice).refused().create(bare("v1", "ServiceAccount", "kube-system", "helper-of-alice"))
	s.quiet("dry-run", d.eve).dryRun().create(bare("v1", "ServiceAccount", "kube-system", "helper-dry"))
	s.quiet("token", d.eve).post(at("v1", "serviceaccounts", "kube-system", "helper", "token"), `{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, metadata: {}, spec: {expirationSeconds: 3600}}`)
	s.observed("the controller making default accounts", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:service-account-controller" && e.Verb == "create" && e.ObjectRef.Namespace == "kube-system"
	})

	s = d.scene("K8s Serviceaccount Created")
	s.fires("create", d.eve).create(bare("v1", "ServiceAccount", "lab", "trail"))
	s.fires("apply-new", d.eve).apply(bare("v1", "ServiceAccount", "lab", "trail-applied"))
	s.quiet("kube-system", d.eve).create(bare("v1", "ServiceAccount", "kube-system", "trail"))
	s.quiet("labelled", d.eve).patch(mergePatch, at("v1", "serviceaccounts", "lab", "trail"), `{metadata: {labels: {team: unknown}}}`)
	s.quiet("refused", d.alice).refused().create(bare("v1", "ServiceAccount", "lab", "trail-alice"))
	s.quiet("token", d.eve).post(at("v1", "serviceaccounts", "lab", "trail", "token"), `{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, metadata: {}, spec: {expirationSeconds: 3600}}`)

	s = d.scene("Cloud Identity Attached to Service Account")
	annotated := func(name, key, value string) string {
		return object("v1", "ServiceAccount", "lab", name, piece(`{metadata: {annotations: {`+key+`: "`+value+`"}}}`))
	}
	const arn = "arn:aws:iam::111122223333:role/deployer"
	victim := at("v1", "serviceaccounts", "lab", "victim")
	s.fires("create-aws", d.eve).create(annotated("cloud-aws", "eks.amazonaws.com/role-arn", arn))
	s.fires("create-google", d.eve).create(annotated("cloud-google", "iam.gke.io/gcp-service-account", "deployer@example.iam.gserviceaccount.com"))
	s.fires("apply-new-azure", d.eve).apply(annotated("cloud-azure", "azure.workload.identity/client-id", "00000000-0000-0000-0000-000000000000"))
	s.fires("merge-patch", d.eve).patch(mergePatch, victim, `{metadata: {annotations: {eks.amazonaws.com/role-arn: "`+arn+`"}}}`)
	s.fires("json-patch", d.eve).patch(jsonPatch, at("v1", "serviceaccounts", "lab", "trail"), `[{op: add, path: /metadata/annotations, value: {iam.gke.io/gcp-service-account: deployer@example.iam.gserviceaccount.com}}]`)
	s.fires("pull-secret", d.eve).patch(strategicPatch, at("v1", "serviceaccounts", "lab", "helper"), `{imagePullSecrets: [{name: registry}]}`)
	s.quiet("another-annotation", d.eve).create(annotated("cloud-none", "example.com/role-arn", arn))
	s.quiet("labelled", d.eve).patch(mergePatch, victim, `{metadata: {labels: {team: unknown}}}`)
	s.quiet("refused", d.alice).refused().create(annotated("cloud-alice", "eks.amazonaws.com/role-arn", arn))
	s.quiet("dry-run", d.eve).dryRun().create(annotated("cloud-dry", "eks.amazonaws.com/role-arn", arn))
}

func (d *driver) awsAuth() {
	s := d.scene("aws-auth ConfigMap Changed")
	path := at("v1", "configmaps", "kube-system", "aws-auth")
	s.fires("create", d.eve).create(configMap("kube-system", "aws-auth", `{mapRoles: "- rolearn: arn:aws:iam::111122223333:role/nodes\n  username: system:node\n  groups: [system:nodes]\n"}`))
	s.fires("merge-patch", d.eve).patch(mergePatch, path, `{data: {mapUsers: "- userarn: arn:aws:iam::111122223333:user/eve\n  username: eve\n  groups: [system:masters]\n"}}`)
	s.fires("json-patch", d.eve).patch(jsonPatch, path, `[{op: replace, path: /data/mapUsers, value: "[]"}]`)
	s.fires("apply-existing", d.admin).apply(configMap("kube-system", "aws-auth", `{mapAccounts: "[]"}`))
	s.quiet("another-namespace", d.eve).create(configMap("lab", "aws-auth", `{mapRoles: "[]"}`))
	s.quiet("read", d.admin).get(path)
	s.quiet("refused", d.alice).refused().patch(mergePatch, path, `{data: {mapUsers: "[]"}}`)
	s.quiet("dry-run", d.eve).dryRun().patch(mergePatch, path, `{data: {mapUsers: "[]"}}`)
	s.quiet("another-config-map", d.eve).create(configMap("kube-system", "aws-authentication", `{mapRoles: "[]"}`))
	s.fires("delete", d.eve).delete(path)
}

func (d *driver) nodesJoining() {
	s := d.scene("Untrusted Node Successfully Joined the Cluster")
	s.fires("by-person", d.eve).create(bare("v1", "Node", "", "rogue-1"))
	s.fires("apply-new", d.eve).apply(bare("v1", "Node", "", "rogue-2"))
	s.quiet("labelled", d.eve).patch(mergePatch, at("v1", "nodes", "", "rogue-1"), `{metadata: {labels: {team: unknown}}}`)
	s.quiet("refused", d.alice).refused().create(bare("v1", "Node", "", "rogue-3"))
	s.quiet("dry-run", d.eve).dryRun().create(bare("v1", "Node", "", "rogue-4"))
	s.observed("the kubelet registering its node", func(e *event) bool {
		return e.User.Username == node.name && e.Verb == "create" && e.ObjectRef.Resource == "nodes" && e.ResponseStatus.Code == http.StatusCreated
	})

	s = d.scene("Untrusted Node Unsuccessfully Tried to Join the Cluster")
	s.fires("by-person", d.alice).refused().create(bare("v1", "Node", "", "rogue-3"))
	s.fires("by-another-node", d.node).refused().create(bare("v1", "Node", "", "rogue-3"))
	s.fires("by-service-account", d.serviceAccount("lab", "reporter", "reporter/2.0", "127.0.0.160")).refused().create(bare("v1", "Node", "", "rogue-3"))
	s.quiet("read-refused", d.alice).refused().get(at("v1", "nodes", "", "node-1"))
	s.quiet("exists", d.eve).answers(http.StatusConflict).create(bare("v1", "Node", "", "rogue-1"))
	for _, name := range []string{"rogue-1", "rogue-2"} {
		d.as(d.admin).delete(at("v1", "nodes", "", name))
	}
}

func (d *driver) anonymousWrite() {
	s := d.scene("Anonymous Write Succeeded")
	d.as(d.admin).create(role("lab", "wide-open", `[{apiGroups: [""], resources: [pods, configmaps], verbs: [get, list, create, patch, delete]}]`))
	d.as(d.admin).create(binding("lab", "wide-open", "Role/wide-open", "Group/system:unauthenticated"))
	d.await("the rights of anonymous", func(ctx context.Context) error {
		return d.nobody.clients.CoreV1().RESTClient().Post().AbsPath(at("v1", "configmaps", "lab")).Param("dryRun", "All").
			Body([]byte(configMap("lab", "probe", `{a: b}`))).Do(ctx).Error()
	})
	s.fires("config-map", d.nobody).create(configMap("lab", "from-nowhere", `{a: b}`))
	s.fires("pod", d.nobody).create(pod("lab", "from-nowhere", plainPod))
	s.fires("patch", d.nobody).patch(mergePatch, at("v1", "configmaps", "lab", "from-nowhere"), `{data: {a: c}}`)
	s.fires("delete", d.nobody).delete(at("v1", "configmaps", "lab", "from-nowhere"))
	s.quiet("read", d.nobody).get(at("v1", "configmaps", "lab"))
	s.quiet("refused", d.nobody).refused().create(configMap("shop", "from-nowhere", `{a: b}`))
	s.quiet("dry-run", d.nobody).dryRun().create(configMap("lab", "from-nowhere", `{a: b}`))
	s.quiet("known-user", d.eve).create(configMap("lab", "from-eve", `{a: b}`))
	d.as(d.admin).delete(at(rbacV1, "rolebindings", "lab", "wide-open"))

	s = d.scene("Anonymous Request Allowed")
	d.as(d.admin).create(binding("", "discovery-documents", "ClusterRole/system:service-account-issuer-discovery", "Group/system:unauthenticated"))
	d.allowed(d.nobody, "/.well-known/openid-configuration")
	s.quiet("discovery-document", d.nobody).get("/.well-known/openid-configuration")
	s.quiet("keys", d.nobody).get("/openid/v1/jwks")
	d.as(d.admin).delete(at(rbacV1, "clusterrolebindings", "", "discovery-documents"))
}

// ownPermissions is asking what one may do.
func (d *driver) ownPermissions() {
	review := func(attributes string) string {
		return `{apiVersion: authorization.k8s.io/v1, kind: SelfSubjectAccessReview, metadata: {}, spec: {resourceAttributes: ` + attributes + `}}`
	}
	const list = `{apiVersion: authorization.k8s.io/v1, kind: SelfSubjectRulesReview, metadata: {}, spec: {namespace: lab}}`
	const harmless = `{namespace: lab, verb: list, resource: pods}`
	inPod := d.tokenOf("lab", "victim", kubectlAgent, "127.0.0.171")
	program := d.tokenOf("lab", "victim", "victim/1.0", "127.0.0.171")

	s := d.scene("Own Permissions Checked by Service Account or Node")
	s.fires("kubectl-in-a-pod", inPod).create(review(harmless))
	s.fires("curl-in-a-pod", d.disguised(inPod, "curl/8.5.0")).create(review(harmless))
	s.fires("everything-at-once", program).create(list)
	s.fires("node", d.node).create(review(harmless))
	s.quiet("program-asking-one-thing", program).create(review(harmless))
	s.quiet("person", d.alice).create(review(harmless))
	s.quiet("person-everything-at-once", d.alice).create(list)

	s = d.scene("Powerful Permission Checked")
	s.fires("everything", d.alice).create(review(`{verb: "*", group: "*", resource: "*"}`))
	s.fires("secrets", d.alice).create(review(`{verb: list, resource: secrets}`))
	s.fires("exec", d.mallory).create(review(`{namespace: lab, verb: create, resource: pods, subresource: exec}`))
	s.fires("impersonate", d.eve).create(review(`{verb: impersonate, resource: users}`))
	s.fires("roles", d.ciBot).create(review(`{verb: create, group: rbac.authorization.k8s.io, resource: clusterrolebindings}`))
	s.quiet("pods", d.alice).create(review(harmless))
	s.quiet("one-secret", d.alice).create(review(`{namespace: shop, verb: get, resource: secrets, name: web-tls}`))
	s.quiet("by-administrator", d.admin).create(review(`{verb: "*", group: "*", resource: "*"}`))
	s.quiet("about-somebody-else", d.admin).create(`{apiVersion: authorization.k8s.io/v1, kind: SubjectAccessReview, metadata: {}, spec: {user: alice, resourceAttributes: {verb: "*", resource: "*"}}}`)

	s = d.scene("Own Permissions Listed")
	s.fires("person", d.alice).create(list)
	s.fires("machine", d.ciBot).create(list)
	s.quiet("one-permission", d.alice).create(review(harmless))
	s.quiet("by-administrator", d.admin).create(list)
	s.quiet("who-am-i", d.alice).create(`{apiVersion: authentication.k8s.io/v1, kind: SelfSubjectReview, metadata: {}}`)

	s = d.scene("Own Permission Checked")
	s.fires("person", d.alice).create(review(harmless))
	s.fires("program", program).create(review(harmless))
	s.quiet("list", d.alice).create(list)
	s.quiet("about-somebody-else", d.admin).create(`{apiVersion: authorization.k8s.io/v1, kind: SubjectAccessReview, metadata: {}, spec: {user: alice, resourceAttributes: {verb: list, resource: pods}}}`)

	s = d.scene("RBAC Map Read")
	s.fires("clusterrolebindings", d.eve).get(at(rbacV1, "clusterrolebindings", ""))
	s.fires("rolebindings", d.eve).with("limit", "500").get(at(rbacV1, "rolebindings", ""))
	s.fires("clusterroles", d.mallory).get(at(rbacV1, "clusterroles", ""))
	s.quiet("one-role", d.eve).get(at(rbacV1, "clusterroles", "", "view"))
	s.quiet("one-namespace", d.eve).get(at(rbacV1, "rolebindings", "lab"))
	s.quiet("by-administrator", d.admin).get(at(rbacV1, "clusterrolebindings", ""))
	s.quiet("refused", d.alice).refused().get(at(rbacV1, "clusterrolebindings", ""))
}

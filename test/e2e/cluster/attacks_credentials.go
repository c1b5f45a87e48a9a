package main

import (
	"context"
	"net/http"
	"strings"
)

// attackCredentials acts out the rules about secrets, tokens, certificates and acting as somebody else.
func (d *driver) attackCredentials() {
	d.secretsListed()
	d.refusedSecretAccess()
	d.configMapCredentials()
	d.tokenRequest()
	d.clientCertificate()
	d.impersonationUsed()
	d.anonymousRequestAllowed()
}

func (d *driver) secretsListed() {
	s := d.scene("Secrets Listed")
	reporter := d.serviceAccount("lab", "reporter", "python-requests/2.32.4", "127.0.0.160")
	all, lab := at("v1", "secrets", ""), at("v1", "secrets", "lab")
	s.fires("namespace", d.mallory).get(lab)
	s.fires("field-selector", d.mallory).with("fieldSelector", "metadata.name=database").get(lab)
	s.fires("limit", d.mallory).with("limit", "1").get(lab)
	s.fires("as-table", d.mallory).head("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").get(lab)
	s.fires("watch-namespace", d.mallory).watch(lab)
	s.fires("watch-old-path", d.mallory).with("timeoutSeconds", "1").get("/api/v1/watch/namespaces/lab/secrets")
	s.fires("by-service-account", reporter).get(lab)
	s.fires("label-selector-like-helm", d.mallory).with("labelSelector", "owner=helm-user").get(lab)

	s.quiet("one-secret", d.mallory).get(lab + "/database")
	s.quiet("configmaps", d.mallory).get(at("v1", "configmaps", "lab"))
	s.quiet("helm-releases", d.mallory).with("labelSelector", "owner=helm").get(lab)
	s.quiet("refused-namespace", d.ciBot).refused().get(lab)
	s.quiet("refused-watch", d.alice).refused().with("watch", "true").with("timeoutSeconds", "1").get(lab)
	s.quiet("created", d.admin).create(secret("lab", "another", "Opaque", `{user: example}`))

	s.fixtures = append(s.fixtures, fixture{slug: s.slug, verdict: "quiet", auditID: "fires-" + s.slug + "-watch-namespace", stage: "ResponseComplete"})

	s = d.scene("Secrets Listed Across the Cluster")
	s.fires("by-user-with-a-controllers-name", d.impostor).get(all)
	s.fires("cluster", d.mallory).with("limit", "1000").get(all)
	s.fires("kube-system", d.mallory).get(at("v1", "secrets", "kube-system"))
	s.fires("default", d.mallory).get(at("v1", "secrets", "default"))
	s.fires("watch-cluster", d.mallory).watch(all)
	s.fires("watch-cluster-old-path", d.mallory).with("timeoutSeconds", "1").get("/api/v1/watch/secrets")
	s.fires("watch-kube-system", d.mallory).watch(at("v1", "secrets", "kube-system"))
	s.fires("by-admin", d.admin).with("limit", "500").get(all)
	s.fires("as-table", d.mallory).head("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").get(all)

	s.quiet("another-namespace", d.mallory).get(lab)
	s.quiet("configmaps", d.mallory).get(at("v1", "configmaps", ""))
	s.quiet("refused", d.alice).refused().get(all)
	s.quiet("helm-releases", d.mallory).with("labelSelector", "owner=helm").get(all)
	for _, user := range []string{"system:kube-controller-manager", "system:apiserver"} {
		s.fixtures = append(s.fixtures, fixture{slug: s.slug, verdict: "quiet", auditID: user + " watching", stage: "ResponseStarted", match: func(e *event) bool {
			return e.User.Username == user && e.Verb == "watch" && e.ObjectRef.Resource == "secrets" && e.ResponseStatus.Code == http.StatusOK
		}})
	}
}

func (d *driver) refusedSecretAccess() {
	s := d.scene("Secret Access Refused")
	lab := at("v1", "secrets", "lab")
	s.fires("get", d.alice).refused().get(lab + "/database")
	s.fires("list-namespace", d.alice).refused().get(lab)
	s.fires("list-cluster", d.ciBot).refused().get(at("v1", "secrets", ""))
	s.fires("watch", d.alice).refused().with("watch", "true").with("timeoutSeconds", "1").get(lab)
	s.fires("by-service-account", d.serviceAccount("lab", "reporter", "python-requests/2.32.4", "127.0.0.160")).refused().get(at("v1", "secrets", "kube-system"))
	s.fires("by-node", d.node).refused().get(lab + "/database")
	s.fires("anonymous", d.nobody).refused().get(lab)

	s.quiet("allowed", d.mallory).get(lab + "/database")
	s.quiet("not-found", d.mallory).answers(http.StatusNotFound).get(lab + "/no-such-secret")
	s.quiet("configmaps-refused", d.alice).refused().get(at("v1", "configmaps", "lab"))
	s.quiet("pods-refused", d.alice).refused().get(at("v1", "pods", "lab"))
	s.quiet("own-namespace", d.alice).get(at("v1", "secrets", "shop"))
}

// The credentials below are made up, or the examples that the makers of such credentials print in their manuals.
const (
	examplePrivateKey  = "-----BEGIN RSA PRIVATE KEY-----\\nTm90IGEga2V5LCBhbiBleGFtcGxlIG9mIHRoZSBzaGFwZSBvZiBvbmUu\\n-----END RSA PRIVATE KEY-----\\n"
	exampleCertificate = "-----BEGIN CERTIFICATE-----\\nTm90IGEgY2VydGlmaWNhdGUsIGFuIGV4YW1wbGUgb2YgdGhlIHNoYXBlLg==\\n-----END CERTIFICATE-----\\n"
)

func (d *driver) configMapCredentials() {
	s := d.scene("Create/Modify Configmap With Private Credentials")
	s.fires("password-key", d.alice).create(configMap("shop", "leak-password", `{DB_USER: app, DB_PASSWORD: "correct-horse-battery"}`))
	s.fires("aws-key", d.alice).create(configMap("shop", "leak-aws", `{aws_access_key_id: AKIAIOSFODNN7EXAMPLE, aws_secret_access_key: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY}`))
	s.fires("private-key", d.alice).create(configMap("shop", "leak-key", `{server.key: "`+examplePrivateKey+`"}`))
	s.fires("password-in-file", d.alice).create(configMap("shop", "leak-file", `{application.properties: "spring.datasource.username=app\nspring.datasource.password=correct-horse-battery\n"}`))
	s.fires("aws-file", d.ciBot).create(configMap("shop", "leak-aws-file", `{credentials: "[default]\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n"}`))
	s.fires("apply-new", d.alice).apply(configMap("shop", "leak-applied", `{password: "correct-horse-battery"}`))
	d.as(d.alice).create(configMap("shop", "leak-later", `{LOG_LEVEL: info}`))
	later := at("v1", "configmaps", "shop", "leak-later")
	s.fires("merge-patch", d.alice).patch(mergePatch, later, `{data: {DB_PASSWORD: "correct-horse-battery"}}`)
	s.fires("json-patch", d.alice).patch(jsonPatch, later, `[{op: add, path: /data/aws_secret_access_key, value: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY}]`)
	s.fires("update", d.alice).update(configMap("shop", "leak-later", `{tls.key: "`+examplePrivateKey+`"}`))

	s.quiet("ordinary", d.alice).create(configMap("shop", "fine", `{LOG_LEVEL: info, DB_HOST: db.shop.svc, DB_PORT: "5432"}`))
	s.quiet("certificate", d.alice).create(configMap("shop", "fine-ca", `{ca.crt: "`+exampleCertificate+`"}`))
	s.quiet("name-of-a-secret", d.alice).create(configMap("shop", "fine-reference", `{credentialsFrom: database, region: eu-central-1}`))
	s.quiet("refused", d.alice).refused().create(configMap("lab", "leak-alice", `{DB_PASSWORD: "correct-horse-battery"}`))
	s.quiet("dry-run", d.alice).dryRun().create(configMap("shop", "leak-dry", `{DB_PASSWORD: "correct-horse-battery"}`))
	s.quiet("merge-patch", d.alice).patch(mergePatch, at("v1", "configmaps", "shop", "fine"), `{data: {LOG_LEVEL: debug}}`)
	s.quiet("read", d.alice).get(later)
	s.quiet("deleted", d.alice).delete(at("v1", "configmaps", "shop", "leak-password"))
	s.observed("the root CA of a namespace", func(e *event) bool {
		return e.Verb == "create" && e.ObjectRef.Resource == "configmaps" && strings.HasSuffix(e.User.Username, ":root-ca-cert-publisher")
	})
}

func (d *driver) tokenRequest() {
	s := d.scene("Service Account Token Requested")
	token := func(namespace, account string) string {
		return at("v1", "serviceaccounts", namespace, account, "token")
	}
	const hour = `{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, metadata: {}, spec: {expirationSeconds: 3600}}`
	reporter := d.serviceAccount("lab", "reporter", "python-requests/2.32.4", "127.0.0.160")
	s.fires("by-person", d.mallory).post(token("shop", "web"), hour)
	s.fires("of-controller", d.mallory).post(token("kube-system", "clusterrole-aggregation-controller"), hour)
	s.fires("long-lived", d.mallory).post(token("cert-manager", "cert-manager"), `{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, metadata: {}, spec: {expirationSeconds: 315360000}}`)
	s.fires("with-audience", d.mallory).post(token("shop", "web"), `{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, metadata: {}, spec: {audiences: [sts.example.com]}}`)
	s.fires("by-service-account", reporter).post(token("lab", "victim"), hour)
	s.fires("by-admin", d.admin).post(token("monitoring", "node-exporter"), hour)

	s.quiet("refused", d.alice).refused().post(token("lab", "victim"), hour)
	s.quiet("refused-node-without-pod", d.node).refused().post(token("lab", "victim"), hour)
	s.quiet("no-such-account", d.mallory).answers(http.StatusNotFound).post(token("lab", "nobody"), hour)
	s.quiet("service-account-created", d.mallory).create(bare("v1", "ServiceAccount", "lab", "fresh"))
	s.quiet("service-account-read", d.mallory).get(at("v1", "serviceaccounts", "lab", "victim"))
	for _, v := range []struct{ what, user string }{
		{"the kubelet for a pod of its own", node.name},
		{"the controller manager for its controllers", controllerManager.name},
	} {
		s.observed(v.what, func(e *event) bool {
			return e.User.Username == v.user && e.Verb == "create" && e.ObjectRef.Resource == "serviceaccounts" &&
				e.ObjectRef.Subresource == "token" && e.ResponseStatus.Code == http.StatusCreated
		})
	}
}

func (d *driver) clientCertificate() {
	s := d.scene("Client Certificate Requested or Approved")
	requests := func(name string) string {
		return at("certificates.k8s.io/v1", "certificatesigningrequests", "", name, "approval")
	}
	s.fires("create", d.mallory).create(signingRequest("mallory-1", clientSigner, "mallory", "contractors"))
	s.fires("create-other-identity", d.mallory).create(signingRequest("mallory-2", clientSigner, "system:kube-controller-manager"))
	s.fires("apply-new", d.mallory).apply(signingRequest("mallory-3", clientSigner, "trudy"))
	s.fires("approved-update", d.admin).put(requests("mallory-1"), d.approval("mallory-1", "Approved"))
	s.fires("approved-merge-patch", d.admin).patch(mergePatch, requests("mallory-2"),
		`{status: {conditions: [{type: Approved, status: "True", reason: ByHand, message: decided by a person}]}}`)

	s.quiet("another-signer", d.mallory).create(signingRequest("mallory-4", "example.com/internal", "service.example.com"))
	s.quiet("refused", d.alice).refused().create(signingRequest("alice-1", clientSigner, "alice"))
	s.quiet("approval-refused", d.alice).refused().put(requests("mallory-3"), d.approval("mallory-3", "Approved"))
	s.quiet("denied", d.admin).put(requests("mallory-3"), d.approval("mallory-3", "Denied"))
	s.quiet("dry-run", d.mallory).dryRun().create(signingRequest("mallory-5", clientSigner, "mallory"))
	s.quiet("read", d.mallory).get(at("certificates.k8s.io/v1", "certificatesigningrequests", "", "mallory-1"))
	s.received("create")
	s.observed("the kubelet's own request", func(e *event) bool {
		return e.User.Username == node.name && e.Verb == "create" && e.ObjectRef.Resource == "certificatesigningrequests"
	})
	s.observed("the controller approving the kubelet's request", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:certificate-controller" && e.ObjectRef.Subresource == "approval" &&
			e.ObjectRef.Name == "csr-"+nodeName && e.ResponseStatus.Code == http.StatusOK
	})
	s.observed("the controller signing the kubelet's request", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:certificate-controller" && e.ObjectRef.Subresource == "status" &&
			e.ObjectRef.Name == "csr-"+nodeName && e.ResponseStatus.Code == http.StatusOK
	})
}

func (d *driver) impersonationUsed() {
	s := d.scene("Impersonation Used")
	pods := at("v1", "pods", "shop")
	s.fires("user", d.admin).head("Impersonate-User", "ci-bot").get(pods)
	s.fires("user-and-groups", d.admin).head("Impersonate-User", "somebody").head("Impersonate-Group", "system:masters").head("Impersonate-Group", "developers").get(pods)
	s.fires("extra", d.admin).head("Impersonate-User", "alice").head("Impersonate-Group", "developers").
		head("Impersonate-Extra-Scopes", "view").head("Impersonate-Extra-Scopes", "development").head("Impersonate-Extra-example.com%2Fticket", "4711").get(pods)
	s.fires("uid", d.admin).head("Impersonate-User", "alice").head("Impersonate-Uid", "u-1001").head("Impersonate-Group", "developers").get(pods)
	s.fires("service-account", d.admin).head("Impersonate-User", "system:serviceaccount:kube-system:clusterrole-aggregation-controller").get(at(rbacV1, "clusterroles", ""))
	s.fires("write", d.admin).head("Impersonate-User", "alice").head("Impersonate-Group", "developers").create(configMap("shop", "by-impersonation", `{a: b}`))
	s.fires("then-refused-as-that-user", d.admin).head("Impersonate-User", "nobody").refused().get(at("v1", "secrets", ""))

	s.quiet("as-oneself", d.admin).get(pods)
	s.quiet("impersonation-refused", d.mallory).head("Impersonate-User", "admin").refused().get(pods)
	s.quiet("user-named-in-the-query", d.alice).with("labelSelector", "impersonate=admin").get(pods)
}

func (d *driver) anonymousRequestAllowed() {
	s := d.scene("Anonymous Request Allowed")
	pods := at("v1", "pods", "lab")
	s.quiet("refused", d.nobody).refused().get(pods)
	s.quiet("refused-livez-ping", d.nobody).refused().get("/livez/ping")
	s.quiet("refused-openapi", d.nobody).refused().get("/openapi/v3")
	d.as(d.mallory).create(role("lab", "open", `[{apiGroups: [""], resources: [pods, configmaps], verbs: [get, list, watch, create]}]`))
	d.as(d.mallory).create(binding("lab", "open", "Role/open", "User/system:anonymous"))
	d.await("the rights of anonymous", func(ctx context.Context) error {
		return d.nobody.clients.CoreV1().RESTClient().Get().AbsPath(pods).Do(ctx).Error()
	})
	s.fires("list", d.nobody).get(pods)
	s.fires("get", d.nobody).get(pods + "/victim")
	s.fires("watch", d.nobody).watch(pods)
	s.fires("create", d.nobody).create(configMap("lab", "by-nobody", `{hello: world}`))
	s.fires("forged-source", d.nobody).head("X-Forwarded-For", "198.51.100.7").get(pods)

	for _, path := range []string{"/healthz", "/livez", "/readyz", "/version"} {
		s.quiet(strings.ReplaceAll(path[1:], "/", "-"), d.nobody).get(path)
	}
	s.quiet("refused-secrets", d.nobody).refused().get(at("v1", "secrets", "lab"))
	s.quiet("known-user", d.mallory).get(pods)
	s.quiet("wrong-token", d.withToken("not-a-token")).answers(http.StatusUnauthorized).get(pods)
}

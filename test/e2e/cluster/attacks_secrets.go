package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"

	"k8s.io/client-go/rest"
)

// tokenOf is somebody with a fresh token of a service account.
func (d *driver) tokenOf(namespace, account, agent, address string) *actor {
	answer := d.as(d.admin).send(http.MethodPost, at("v1", "serviceaccounts", namespace, account, "token"), "application/json",
		[]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":3600}}`))
	var request struct{ Status struct{ Token string } }
	d.fail("token of "+namespace+"/"+account, json.Unmarshal(answer, &request))
	return d.bearer(request.Status.Token, agent, address)
}

// bearer is somebody with a token.
func (d *driver) bearer(token, agent, address string) *actor {
	config := d.cluster.anonymousConfig(agent, address)
	config.BearerToken = token
	a, err := newActor(config)
	d.fail("token", err)
	return a
}

// disguised is the same user with another program.
func (d *driver) disguised(by *actor, agent string) *actor {
	config := rest.CopyConfig(by.config)
	config.UserAgent = agent
	a, err := newActor(config)
	d.fail("client", err)
	return a
}

// allowed waits until somebody may read a path.
func (d *driver) allowed(by *actor, path string) {
	d.await("the right to read "+path, func(ctx context.Context) error {
		return by.clients.CoreV1().RESTClient().Get().AbsPath(path).Do(ctx).Error()
	})
}

// attackSecrets acts out what is done to secrets, beyond what attackCredentials has.
func (d *driver) attackSecrets() {
	d.secretsRead()
	d.secretsWritten()
	d.configurationRead()
	d.tokensRequested()
}

func (d *driver) secretsRead() {
	lab := at("v1", "secrets", "lab")
	reporter := d.serviceAccount("lab", "reporter", "reporter/2.0", "127.0.0.160")
	for _, name := range []string{"aws-credentials", "prod-root-credentials-decoy"} {
		d.as(d.admin).create(secret("lab", name, "Opaque", `{key: example}`))
	}

	s := d.scene("High-Value Secret Read")
	s.fires("get", d.eve).get(lab + "/aws-credentials")
	s.fires("list-with-field-selector", d.eve).with("fieldSelector", "metadata.name=aws-credentials").get(lab)
	s.fires("watch-with-field-selector", d.eve).with("fieldSelector", "metadata.name=aws-credentials").watch(lab)
	s.fires("by-service-account", reporter).get(lab + "/aws-credentials")
	s.quiet("another-secret", d.eve).get(lab + "/database")
	s.quiet("refused", d.alice).refused().get(lab + "/aws-credentials")
	s.quiet("not-found", d.eve).answers(http.StatusNotFound).get(at("v1", "secrets", "shop", "aws-credentials"))
	s.quiet("config-map-of-that-name", d.eve).create(configMap("lab", "aws-credentials", `{a: b}`))
	s.quiet("deleted", d.eve).delete(lab + "/aws-credentials")

	s = d.scene("Secret Read With a Scripting Agent")
	s.fires("curl", d.disguised(d.eve, "curl/8.5.0")).get(lab + "/database")
	s.fires("python", d.disguised(d.eve, "python-requests/2.32.4")).get(lab + "/database")
	s.fires("go", d.disguised(d.eve, "Go-http-client/2.0")).with("fieldSelector", "metadata.name=database").get(lab)
	s.fires("powershell", d.disguised(d.eve, "Mozilla/5.0 (Windows NT 10.0; en-US) WindowsPowerShell/5.1")).get(lab + "/database")
	s.quiet("kubectl", d.eve).get(lab + "/database")
	s.quiet("curl-reading-config-map", d.disguised(d.eve, "curl/8.5.0")).get(at("v1", "configmaps", "lab"))
	s.quiet("curl-refused", d.disguised(d.alice, "curl/8.5.0")).refused().get(lab + "/database")
	s.quiet("program-with-a-name", d.disguised(d.eve, "curlew/1.0")).get(lab + "/database")

	s = d.scene("Secret Read by Node Beyond Its Pods")
	d.as(d.admin).create(pod("lab", "with-secret", `{containers: [{name: app, image: "registry.example.com/shop/web:1.2.0"}], volumes: [{name: s, secret: {secretName: another}}]}`))
	d.running("lab", "with-secret")
	d.allowed(d.node, lab+"/another")
	s.fires("list-cluster", d.node).refused().get(at("v1", "secrets", ""))
	s.fires("list-namespace", d.node).refused().get(at("v1", "secrets", "kube-system"))
	s.fires("foreign", d.node).refused().get(lab + "/of-no-pod")
	s.quiet("secret-of-a-pod", d.node).get(lab + "/another")
	s.quiet("secret-of-a-pod-watched", d.node).with("fieldSelector", "metadata.name=another").watch(lab)
	s.quiet("by-person", d.alice).refused().get(lab + "/database")
	s.quiet("config-map", d.node).refused().get(at("v1", "configmaps", "lab", "aws-credentials"))

	s = d.scene("Secret Read by Service Account")
	s.fires("get", reporter).get(lab + "/database")
	s.fires("not-found", reporter).answers(http.StatusNotFound).get(lab + "/no-such-secret")
	s.quiet("by-person", d.eve).get(lab + "/database")
	s.quiet("refused", reporter).refused().get(at("v1", "secrets", "shop", "database"))
	s.quiet("pods", reporter).get(at("v1", "pods", "lab"))

	s = d.scene("K8s Secret Get Successfully")
	s.fires("get", d.eve).get(lab + "/database")
	s.fires("by-admin", d.admin).get(lab + "/database")
	s.fires("helm-releases", d.ciBot).with("labelSelector", "owner=helm").get(at("v1", "secrets", "shop"))
	s.quiet("refused", d.alice).refused().get(lab + "/database")
	s.quiet("not-found", d.eve).answers(http.StatusNotFound).get(lab + "/no-such-secret")
	s.quiet("config-map", d.eve).get(at("v1", "configmaps", "lab"))
	s.quiet("secret-of-a-pod-by-its-kubelet", d.node).get(lab + "/another")

	s = d.scene("Secret Access Refused")
	s.quiet("write-refused", d.alice).refused().create(secret("lab", "refused", "Opaque", `{user: example}`))
}

func (d *driver) secretsWritten() {
	lab := at("v1", "secrets", "lab")
	s := d.scene("K8s Secret Created")
	s.fires("create", d.eve).create(secret("lab", "trail", "Opaque", `{user: example}`))
	s.fires("apply-new", d.eve).apply(secret("lab", "trail-applied", "Opaque", `{user: example}`))
	s.fires("patch", d.eve).patch(mergePatch, lab+"/trail", `{metadata: {labels: {team: unknown}}}`)
	s.fires("by-service-account", d.serviceAccount("cert-manager", "cert-manager", "cert-manager-controller/v1.18.2 (linux/amd64) cert-manager/example", "127.0.0.140")).
		create(secret("shop", "web-tls-next", "kubernetes.io/tls", `{tls.crt: "a certificate", tls.key: "a key"}`))
	s.quiet("refused", d.alice).refused().create(secret("lab", "trail-alice", "Opaque", `{user: example}`))
	s.quiet("dry-run", d.eve).dryRun().create(secret("lab", "trail-dry", "Opaque", `{user: example}`))
	s.quiet("helm-release", d.ciBot).create(secret("shop", "sh.helm.release.v1.other.v1", "helm.sh/release.v1", `{release: H4sIAAAAAAAC}`))
	s.quiet("config-map", d.eve).create(configMap("lab", "trail", `{a: b}`))

	gone := d.scene("K8s Secret Deleted")
	gone.fires("delete", d.eve).delete(lab + "/trail")
	gone.fires("deletecollection", d.eve).with("labelSelector", "no-such-label=x").delete(lab)
	gone.quiet("refused", d.alice).refused().delete(lab + "/trail-applied")
	gone.quiet("not-found", d.eve).answers(http.StatusNotFound).delete(lab + "/trail")
	gone.quiet("helm-release", d.ciBot).delete(at("v1", "secrets", "shop", "sh.helm.release.v1.other.v1"))

	s = d.scene("Token Secret Created")
	s.fires("bootstrap-token-by-name", d.eve).create(secret("kube-system", "bootstrap-token-07401b", "bootstrap.kubernetes.io/token",
		`{token-id: 07401b, token-secret: f395accd246ae52d, usage-bootstrap-authentication: "true"}`))
	d.as(d.eve).create(object("v1", "Secret", "lab", "victim-forever", piece(`{type: kubernetes.io/service-account-token, metadata: {annotations: {kubernetes.io/service-account.name: victim}}}`)))
	d.legacyToken("lab", "victim-forever")
	s.fixtures = append(s.fixtures, fixture{slug: s.slug, verdict: "fires", auditID: "the controller filling the secret with a token", stage: "ResponseComplete", match: func(e *event) bool {
		return e.Verb == "update" && e.ObjectRef.Resource == "secrets" && e.ObjectRef.Name == "victim-forever" && e.ResponseStatus.Code == http.StatusOK
	}})
	s.quiet("opaque", d.eve).create(secret("kube-system", "settings", "Opaque", `{token-id: 07401b}`))
	s.quiet("bootstrap-token-of-another-namespace", d.eve).create(secret("lab", "bootstrap-token-07401b", "Opaque", `{token-id: 07401b}`))
	s.quiet("refused", d.alice).refused().create(secret("kube-system", "bootstrap-token-07401c", "bootstrap.kubernetes.io/token", `{token-id: 07401c}`))
	s.quiet("dry-run", d.eve).dryRun().create(secret("kube-system", "bootstrap-token-07401c", "bootstrap.kubernetes.io/token", `{token-id: 07401c}`))
	s.quiet("deleted", d.eve).delete(at("v1", "secrets", "kube-system", "bootstrap-token-07401b"))

	s = d.scene("Credentials in Pod Specification")
	environment := func(name, value string) string {
		return containers(`env: [{name: ` + name + `, ` + value + `}]`)
	}
	s.fires("password", d.eve).create(pod("lab", "env-password", environment("DB_PASSWORD", `value: "correct-horse-battery"`)))
	s.fires("deployment-aws-key", d.eve).create(workload("Deployment", "lab", "env-aws", environment("AWS_SECRET_ACCESS_KEY", `value: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY`)))
	s.fires("cronjob-apply-new", d.eve).apply(workload("CronJob", "lab", "env-cron", environment("API_TOKEN", `value: ghp_0123456789abcdefghijABCDEFGHIJ012345`)))
	s.quiet("from-secret", d.eve).create(pod("lab", "env-secret", environment("DB_PASSWORD", `valueFrom: {secretKeyRef: {name: database, key: password}}`)))
	s.quiet("harmless", d.eve).create(pod("lab", "env-harmless", environment("LOG_LEVEL", `value: info`)))
	s.quiet("refused", d.alice).refused().create(pod("lab", "env-alice", environment("DB_PASSWORD", `value: "correct-horse-battery"`)))
	s.quiet("dry-run", d.eve).dryRun().create(pod("lab", "env-dry", environment("DB_PASSWORD", `value: "correct-horse-battery"`)))
}

// legacyToken waits for the token in a secret and returns it.
func (d *driver) legacyToken(namespace, name string) (token string) {
	d.await("a token in secret "+namespace+"/"+name, func(ctx context.Context) error {
		answer, err := d.admin.clients.CoreV1().RESTClient().Get().AbsPath(at("v1", "secrets", namespace, name)).Do(ctx).Raw()
		if err != nil {
			return err
		}
		var secret struct{ Data struct{ Token string } }
		if err := json.Unmarshal(answer, &secret); err != nil {
			return err
		}
		text, err := base64.StdEncoding.DecodeString(secret.Data.Token)
		if err == nil && len(text) == 0 {
			err = errors.New("it is empty")
		}
		token = string(text)
		return err
	})
	return token
}

func (d *driver) configurationRead() {
	s := d.scene("High-Value ConfigMap Read")
	system := at("v1", "configmaps", "kube-system")
	reader := d.tokenOf("lab", "operator", "operator/1.0", "127.0.0.170")
	s.fires("get", d.eve).get(system + "/extension-apiserver-authentication")
	s.fires("list-with-field-selector", d.eve).with("fieldSelector", "metadata.name=kubeadm-config").get(system)
	s.fires("list-cluster", d.eve).with("limit", "500").get(at("v1", "configmaps", ""))
	s.quiet("another-config-map", d.eve).get(at("v1", "configmaps", "lab", "trail"))
	s.quiet("list-namespace", d.eve).get(at("v1", "configmaps", "lab"))
	s.quiet("by-administrator", d.admin).get(system + "/extension-apiserver-authentication")
	s.quiet("refused", d.alice).refused().get(system + "/extension-apiserver-authentication")
	s.quiet("service-account-refused", reader).refused().get(system + "/aws-auth")

	d.as(d.admin).create(role("", "join", `[{apiGroups: [certificates.k8s.io], resources: [certificatesigningrequests], verbs: [create, get, list, watch]}]`))
	d.as(d.admin).create(binding("", "join", "ClusterRole/join", "Group/system:bootstrappers"))
	requests := at("certificates.k8s.io/v1", "certificatesigningrequests", "")
	d.allowed(d.joiner, requests+"/mallory-1")
	s = d.scene("CSR Read With Bootstrap Credentials")
	s.fires("list", d.joiner).get(requests)
	s.fires("get-with-curl", d.disguised(d.joiner, "curl/8.5.0")).get(requests + "/mallory-1")
	s.fires("watch", d.joiner).watch(requests)
	s.quiet("kubelet-reading-its-own", d.joiner).get(requests + "/mallory-1")
	s.quiet("kubelet-waiting-for-its-own", d.joiner).with("fieldSelector", "metadata.name=mallory-1").get(requests)
	s.quiet("by-person", d.eve).get(requests)
	s.quiet("refused", d.alice).refused().get(requests)
}

func (d *driver) tokensRequested() {
	token := func(namespace, account string) string {
		return at("v1", "serviceaccounts", namespace, account, "token")
	}
	life := func(seconds string) string {
		return `{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, metadata: {}, spec: {expirationSeconds: ` + seconds + `}}`
	}
	s := d.scene("Long-Lived Service Account Token Requested")
	s.fires("ten-years", d.eve).post(token("lab", "victim"), life("315360000"))
	s.fires("two-days", d.mallory).post(token("shop", "web"), life("172800"))
	s.quiet("an-hour", d.eve).post(token("lab", "victim"), life("3600"))
	s.quiet("a-day", d.eve).post(token("lab", "victim"), life("86400"))
	s.quiet("refused", d.alice).refused().post(token("lab", "victim"), life("315360000"))

	s = d.scene("Token of a Powerful Service Account Requested")
	d.as(d.admin).create(bare("v1", "ServiceAccount", "lab", "argocd-application-controller"))
	s.fires("controller", d.mallory).post(token("kube-system", "clusterrole-aggregation-controller"), life("3600"))
	s.fires("by-admin", d.admin).post(token("kube-system", "namespace-controller"), life("3600"))
	s.fires("listed-name", d.eve).post(token("lab", "argocd-application-controller"), life("3600"))
	s.quiet("another-account", d.eve).post(token("lab", "victim"), life("3600"))
	s.quiet("refused", d.alice).refused().post(token("kube-system", "namespace-controller"), life("3600"))
	s.observed("the controller manager for its controllers", func(e *event) bool {
		return e.User.Username == controllerManager.name && e.Verb == "create" && e.ObjectRef.Resource == "serviceaccounts" &&
			e.ObjectRef.Subresource == "token" && e.ResponseStatus.Code == http.StatusCreated
	})

	s = d.scene("Service Account Token Refused")
	s.fires("by-person", d.alice).refused().post(token("lab", "victim"), life("3600"))
	s.fires("of-controller", d.ciBot).refused().post(token("kube-system", "namespace-controller"), life("3600"))
	s.quiet("by-kubelet", d.node).refused().post(token("lab", "victim"), life("3600"))
	s.quiet("allowed", d.eve).post(token("lab", "victim"), life("3600"))
	s.quiet("service-account-refused", d.alice).refused().create(bare("v1", "ServiceAccount", "lab", "no"))
}

package main

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// attackCluster acts out the rules about changing or destroying what a cluster rests on.
func (d *driver) attackCluster() {
	d.webhookConfigChanged()
	d.nodePortService()
	d.eventsDeleted()
	d.namespaceDeleted()
}

const admissionV1 = "admissionregistration.k8s.io/v1"

// webhookConfiguration is an admission webhook that is never called: it wants kinds that do not exist, in namespaces with a
// label no namespace has.
func webhookConfiguration(kind, name, url string) string {
	return object(admissionV1, kind, "", name, piece(`{webhooks: [{
		name: hook.example.com, admissionReviewVersions: [v1], sideEffects: None, failurePolicy: Ignore, timeoutSeconds: 1,
		namespaceSelector: {matchLabels: {no-such-label: "true"}},
		rules: [{apiGroups: [nothing.example.com], apiVersions: [v1], operations: [CREATE], resources: [nothings]}],
		clientConfig: {url: "`+url+`"}}]}`))
}

func (d *driver) webhookConfigChanged() {
	s := d.scene("Admission Webhook Configuration Changed")
	const url = "https://192.0.2.66/mutate"
	for _, v := range []struct{ kind, short, resource string }{
		{"MutatingWebhookConfiguration", "mutating", "mutatingwebhookconfigurations"},
		{"ValidatingWebhookConfiguration", "validating", "validatingwebhookconfigurations"},
	} {
		path := at(admissionV1, v.resource, "", "hook")
		s.fires(v.short+"-create", d.mallory).create(webhookConfiguration(v.kind, "hook", url))
		s.fires(v.short+"-apply-new", d.admin).apply(webhookConfiguration(v.kind, "hook-applied", url))
		s.fires(v.short+"-json-patch", d.mallory).patch(jsonPatch, path, `[{op: replace, path: /webhooks/0/clientConfig/url, value: "https://192.0.2.67/mutate"}]`)
		s.fires(v.short+"-merge-patch", d.mallory).patch(mergePatch, path, `{metadata: {labels: {team: unknown}}}`)
		s.fires(v.short+"-update", d.mallory).update(string(d.as(d.mallory).send(http.MethodGet, path, "", nil)))
		s.quiet(v.short+"-read", d.mallory).get(path)
		s.quiet(v.short+"-refused", d.alice).refused().delete(path)
		s.quiet(v.short+"-dry-run", d.mallory).dryRun().create(webhookConfiguration(v.kind, "hook-dry", url))
		s.fires(v.short+"-delete", d.mallory).delete(path)
	}
	s.quiet("configmap-of-that-name", d.mallory).create(configMap("lab", "mutatingwebhookconfigurations", `{a: b}`))
}

func (d *driver) nodePortService() {
	s := d.scene("Create NodePort Service")
	with := func(kind string) string {
		return `{type: ` + kind + `, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}`
	}
	s.fires("nodeport-create", d.mallory).create(service("lab", "open-port", with("NodePort")))
	s.fires("nodeport-fixed-port", d.alice).create(service("shop", "fixed-port", `{type: NodePort, selector: {app: web}, ports: [{port: 80, nodePort: 30080}]}`))
	s.quiet("loadbalancer-create", d.mallory).create(service("lab", "open-balancer", with("LoadBalancer")))
	s.fires("nodeport-apply-new", d.ciBot).apply(service("shop", "open-applied", with("NodePort")))
	for _, name := range []string{"turned-a", "turned-b", "turned-c", "turned-d"} {
		d.as(d.mallory).create(service("lab", name, with("ClusterIP")))
	}
	path := func(name string) string { return at("v1", "services", "lab", name) }
	s.fires("nodeport-merge-patch", d.mallory).patch(mergePatch, path("turned-a"), `{spec: {type: NodePort}}`)
	s.fires("nodeport-json-patch", d.mallory).patch(jsonPatch, path("turned-b"), `[{op: replace, path: /spec/type, value: NodePort}]`)
	s.fires("nodeport-strategic-patch", d.mallory).patch(strategicPatch, path("turned-c"), `{spec: {type: NodePort}}`)
	s.fires("nodeport-apply-existing", d.mallory).apply(service("lab", "turned-d", with("NodePort")))

	s.quiet("clusterip", d.mallory).create(service("lab", "closed", with("ClusterIP")))
	s.quiet("label-of-an-open-service", d.mallory).patch(mergePatch, path("turned-b"), `{metadata: {labels: {tier: none}}}`)
	s.quiet("services-of-another-group", d.admin).create(object("example.net/v1", "Service", "lab", "open-foreign", piece(`{spec: {type: NodePort}}`)))
	s.quiet("no-type", d.alice).create(service("shop", "closed", `{selector: {app: web}, ports: [{port: 80}]}`))
	s.quiet("headless", d.alice).create(service("shop", "headless", `{clusterIP: None, selector: {app: web}, ports: [{port: 80}]}`))
	s.quiet("externalname", d.alice).create(service("shop", "elsewhere", `{type: ExternalName, externalName: db.example.com}`))
	s.quiet("refused", d.alice).refused().create(service("lab", "open-alice", with("NodePort")))
	s.quiet("dry-run", d.mallory).dryRun().create(service("lab", "open-dry", with("NodePort")))
	s.quiet("closed-again", d.mallory).patch(mergePatch, path("turned-a"), `{spec: {type: ClusterIP}}`)
	s.quiet("deleted", d.mallory).delete(path("open-port"))
}

func (d *driver) eventsDeleted() {
	s := d.scene("Kubernetes Events Deleted")
	for _, name := range []string{"trace-a", "trace-b", "trace-c"} {
		d.as(d.admin).create(object("v1", "Event", "lab", name, piece(`{
			involvedObject: {kind: Pod, namespace: lab, name: victim}, reason: Started, message: Started container, type: Normal, source: {component: kubelet}}`)))
	}
	events := at("v1", "events", "lab")
	s.fires("delete", d.mallory).delete(events + "/trace-a")
	s.fires("delete-new-api", d.mallory).delete(at("events.k8s.io/v1", "events", "lab", "trace-b"))
	s.fires("deletecollection-selected", d.mallory).with("fieldSelector", "involvedObject.name=victim").delete(events)
	s.fires("deletecollection", d.admin).delete(at("v1", "events", "monitoring"))
	s.fires("deletecollection-new-api", d.admin).delete(at("events.k8s.io/v1", "events", "cert-manager"))
	// All that happened in the busiest namespace: the response makes this the largest event of the recording.
	d.as(d.admin).delete(events)

	s.quiet("list", d.mallory).get(events)
	s.quiet("created", d.admin).create(object("v1", "Event", "lab", "trace-d", piece(`{
		involvedObject: {kind: Pod, namespace: lab, name: victim}, reason: Started, message: Started container, type: Normal, source: {component: kubelet}}`)))
	s.quiet("refused", d.alice).refused().delete(events)
	s.quiet("dry-run", d.mallory).dryRun().delete(events)
	s.quiet("not-found", d.mallory).answers(http.StatusNotFound).delete(events + "/trace-z")
	s.quiet("configmap-deleted", d.admin).delete(at("v1", "configmaps", "lab", "by-nobody"))
	s.observed("the namespace controller emptying a deleted namespace", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:namespace-controller" && e.Verb == "deletecollection" && e.ObjectRef.Resource == "events"
	})
}

func (d *driver) namespaceDeleted() {
	s := d.scene("K8s Namespace Deleted")
	for _, name := range []string{"doomed-a", "doomed-b", "doomed-c"} {
		d.as(d.admin).create(bare("v1", "Namespace", "", name))
	}
	d.as(d.mallory).create(configMap("doomed-a", "content", `{a: b}`))
	s.quiet("refused", d.alice).refused().delete(at("v1", "namespaces", "", "doomed-a"))
	s.quiet("dry-run", d.mallory).dryRun().delete(at("v1", "namespaces", "", "doomed-a"))
	s.quiet("not-found", d.mallory).answers(http.StatusNotFound).delete(at("v1", "namespaces", "", "doomed-z"))
	s.quiet("read", d.mallory).get(at("v1", "namespaces", "", "doomed-a"))
	s.quiet("labelled", d.admin).patch(mergePatch, at("v1", "namespaces", "", "doomed-a"), `{metadata: {labels: {doomed: "yes"}}}`)
	s.quiet("created", d.mallory).create(bare("v1", "Namespace", "", "fresh"))
	s.quiet("content-deleted", d.mallory).delete(at("v1", "configmaps", "doomed-a", "content"))
	s.fires("delete", d.mallory).delete(at("v1", "namespaces", "", "doomed-a"))
	s.fires("delete-by-admin", d.admin).delete(at("v1", "namespaces", "", "doomed-b"))
	s.fires("pretended-dry-run", d.mallory).deletePretending(at("v1", "namespaces", "", "doomed-c"))
	s.received("delete")
	s.observed("the namespace controller finishing", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:namespace-controller" && e.ObjectRef.Resource == "namespaces" &&
			e.ObjectRef.Subresource == "finalize" && e.ResponseStatus.Code == http.StatusOK
	})
	d.await("namespace doomed-a to be gone", func(ctx context.Context) error {
		_, err := d.admin.clients.CoreV1().Namespaces().Get(ctx, "doomed-a", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("it is still there"), err)
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// appSpec is the pod of a well-kept application.
const appSpec = `{
	serviceAccountName: %s, securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}},
	containers: [{
		name: app, image: "registry.example.com/shop/%s:1.%d.0", ports: [{containerPort: 8080, name: http}],
		envFrom: [{configMapRef: {name: %s}}],
		resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 128Mi}},
		securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}},
		readinessProbe: {httpGet: {path: /healthz, port: http}}
	}],
	volumes: [{name: config, configMap: {name: %s}}, {name: scratch, emptyDir: {}}]
}`

func app(name, config string, version int) string {
	return fmt.Sprintf(appSpec, "web", name, version, config, config)
}

// prepareOrdinary sets the cluster up the way an administrator does: namespaces, rights, a custom resource and its controller.
func (d *driver) prepareOrdinary() {
	d.log.Info("setting up namespaces, rights and controllers")
	d.discover(d.admin)
	for _, ns := range []string{"shop", "ci", "cert-manager", "monitoring"} {
		d.as(d.admin).create(object("v1", "Namespace", "", ns, map[string]any{
			"metadata": piece(`{labels: {team: ` + ns + `, pod-security.kubernetes.io/warn: baseline}}`),
		}))
	}
	d.as(d.admin).create(object("v1", "ResourceQuota", "shop", "quota", piece(`{spec: {hard: {pods: "5000", services: "2000"}}}`)))
	d.as(d.admin).create(object("v1", "LimitRange", "shop", "limits", piece(`{spec: {limits: [{type: Container, defaultRequest: {cpu: 10m, memory: 16Mi}}]}}`)))
	d.as(d.admin).create(object("scheduling.k8s.io/v1", "PriorityClass", "", "shop-critical", piece(`{value: 100000, description: checkout path}`)))

	d.as(d.admin).create(binding("shop", "developers", "ClusterRole/edit", "Group/developers"))
	d.as(d.admin).create(binding("shop", "ci-deploys", "ClusterRole/edit", "User/ci-bot"))
	d.as(d.admin).create(binding("ci", "ci-deploys", "ClusterRole/edit", "User/ci-bot"))
	d.as(d.admin).create(role("", "metrics-reader", `[{apiGroups: [""], resources: [nodes, nodes/metrics, pods, services, endpoints], verbs: [get, list, watch]}]`))
	d.as(d.admin).create(binding("", "metrics-reader", "ClusterRole/metrics-reader", "ServiceAccount/monitoring/node-exporter"))
	d.as(d.admin).create(binding("", "kubelet-client-certificates", "ClusterRole/system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "Group/system:nodes"))

	d.as(d.admin).create(certificateDefinition)
	d.await("the kind Certificate", func(ctx context.Context) error {
		return d.admin.clients.CoreV1().RESTClient().Get().AbsPath(at(certificateGroup+"/v1", "certificates", "")).Do(ctx).Error()
	})
	d.as(d.admin).create(bare("v1", "ServiceAccount", "cert-manager", "cert-manager"))
	d.as(d.admin).create(role("", "cert-manager-controller", `[
		{apiGroups: [cert-manager.example.com], resources: [certificates, certificates/status], verbs: [get, list, watch, update, patch]},
		{apiGroups: [""], resources: [secrets], verbs: [get, list, watch, create, update]},
		{apiGroups: ["", events.k8s.io], resources: [events], verbs: [create, patch]}]`))
	d.as(d.admin).create(object(rbacV1, "ClusterRole", "", "cert-manager-edit", piece(`{
		metadata: {labels: {`+rbacGroup+`/aggregate-to-edit: "true"}},
		rules: [{apiGroups: [cert-manager.example.com], resources: [certificates], verbs: [get, list, watch, create, update, patch, delete]}]}`)))
	d.as(d.admin).create(binding("", "cert-manager-controller", "ClusterRole/cert-manager-controller", "ServiceAccount/cert-manager/cert-manager"))
	d.as(d.admin).create(role("cert-manager", "leader-election", `[{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}]`))
	d.as(d.admin).create(binding("cert-manager", "leader-election", "Role/leader-election", "ServiceAccount/cert-manager/cert-manager"))
	d.as(d.admin).create(workload("Deployment", "cert-manager", "cert-manager", `{serviceAccountName: cert-manager, containers: [{name: controller, image: "registry.example.com/cert-manager:1.18.2"}]}`))

	d.as(d.admin).create(bare("v1", "ServiceAccount", "monitoring", "node-exporter"))
	d.as(d.ciBot).refusedOnce(workload("DaemonSet", "monitoring", "node-exporter", `{containers: [{name: exporter, image: "registry.example.com/node-exporter:1.9"}]}`))
	d.as(d.admin).apply(workload("DaemonSet", "monitoring", "node-exporter", `{serviceAccountName: node-exporter, containers: [{name: exporter, image: "registry.example.com/node-exporter:1.9", ports: [{containerPort: 9100}]}]}`))
	d.as(d.admin).create(object("networking.k8s.io/v1", "NetworkPolicy", "shop", "default-deny", piece(`{spec: {podSelector: {}, policyTypes: [Ingress]}}`)))

	d.as(d.alice).create(bare("v1", "ServiceAccount", "shop", "web"))
	d.as(d.alice).create(workloadWith(workload("CronJob", "shop", "heartbeat", plainPod), `{schedule: "* * * * *"}`))
	d.nodeCertificate()
}

// refusedOnce is a mistake as people make them: a request that the sender may not make.
func (r *request) refusedOnce(manifest string) { r.refused().create(manifest) }

// ordinary is one round of a cluster's everyday life. Rounds differ in the names they use.
func (d *driver) ordinary(round int) {
	suffix := ""
	if round > 1 {
		suffix = fmt.Sprintf("-%d", round)
	}
	d.developers(suffix)
	d.pipeline(suffix)
	d.certificates(suffix)
	d.lookAround(suffix)
	d.cleanUp(suffix)
}

// developers is a team deploying by hand: every way of writing there is.
func (d *driver) developers(suffix string) {
	web, settings := "web"+suffix, "web-settings"+suffix
	deployment := at("apps/v1", "deployments", "shop", web)
	d.as(d.alice).create(configMap("shop", settings, `{LOG_LEVEL: info, FEATURES: "search,cart"}`))
	d.as(d.alice).create(workload("Deployment", "shop", web, app("web", settings, 1)))
	d.as(d.alice).create(service("shop", web, `{selector: {app: `+web+`}, ports: [{port: 80, targetPort: http, name: http}]}`))
	d.as(d.alice).create(object("networking.k8s.io/v1", "Ingress", "shop", web, piece(`{spec: {
		tls: [{hosts: [shop.example.com], secretName: web-tls}],
		rules: [{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: `+web+`, port: {name: http}}}}]}}]}}`)))
	d.as(d.alice).create(object("policy/v1", "PodDisruptionBudget", "shop", web, piece(`{spec: {minAvailable: 1, selector: {matchLabels: {app: `+web+`}}}}`)))
	d.as(d.alice).create(object("autoscaling/v2", "HorizontalPodAutoscaler", "shop", web, piece(`{spec: {
		minReplicas: 1, maxReplicas: 4, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: `+web+`},
		metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]}}`)))
	d.rolledOut("shop", web, 1)

	d.as(d.alice).patch(strategicPatch, deployment, `{spec: {template: {spec: {containers: [{name: app, image: "registry.example.com/shop/web:1.2.0"}]}}}}`)
	d.rolledOut("shop", web, 1)
	d.as(d.alice).patch(mergePatch, deployment+"/scale", `{spec: {replicas: 3}}`)
	d.rolledOut("shop", web, 3)
	d.as(d.alice).patch(jsonPatch, deployment, `[{op: add, path: /spec/template/metadata/annotations, value: {kubectl.kubernetes.io/restartedAt: "2026-01-01T00:00:00Z"}}]`)
	d.rolledOut("shop", web, 3)
	d.as(d.alice).patch(mergePatch, at("v1", "configmaps", "shop", settings), `{data: {LOG_LEVEL: debug}}`)
	d.as(d.alice).patch(jsonPatch, at("v1", "services", "shop", web), `[{op: add, path: /metadata/labels, value: {tier: front}}]`)

	// A client-side apply: the manifest travels in an annotation, and changes come as a strategic merge patch.
	cart := piece(workload("Deployment", "shop", "cart"+suffix, app("cart", settings, 1)))
	cart["metadata"].(map[string]any)["annotations"] = map[string]any{"kubectl.kubernetes.io/last-applied-configuration": asJSON(cart)}
	d.as(d.alice).with("fieldManager", "kubectl-client-side-apply").create(asJSON(cart))
	d.as(d.alice).with("fieldManager", "kubectl-client-side-apply").patch(strategicPatch, at("apps/v1", "deployments", "shop", "cart"+suffix),
		`{metadata: {labels: {tier: middle}}, spec: {template: {spec: {$setElementOrder/containers: [{name: app}], containers: [{name: app, image: "registry.example.com/shop/cart:1.3.0"}]}}}}`)

	d.as(d.alice).create(workload("StatefulSet", "shop", "queue"+suffix, `{containers: [{name: queue, image: "registry.example.com/queue:4"}]}`))
	d.as(d.alice).create(workload("Job", "shop", "migrate"+suffix, `{containers: [{name: migrate, image: "registry.example.com/shop/migrate:7", command: [./migrate, --to, latest]}]}`))
	d.as(d.alice).create(workload("CronJob", "shop", "report"+suffix, `{containers: [{name: report, image: "registry.example.com/shop/report:3"}]}`))
	d.as(d.alice).create(object("v1", "PersistentVolumeClaim", "shop", "queue"+suffix, piece(`{spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`)))
	d.as(d.alice).dryRun().create(workload("Deployment", "shop", "idea"+suffix, app("idea", settings, 1)))
	d.as(d.alice).answers(http.StatusConflict).create(configMap("shop", settings, `{LOG_LEVEL: info}`))
	d.as(d.alice).answers(http.StatusUnprocessableEntity).create(pod("shop", "broken"+suffix, `{containers: []}`))
}

// pipeline is a machine deploying: server-side apply, and releases kept in secrets as Helm does.
func (d *driver) pipeline(suffix string) {
	api, settings := "api"+suffix, "api-settings"+suffix
	release := func(revision int, status string) string {
		return object("v1", "Secret", "shop", fmt.Sprintf("sh.helm.release.v1.%s.v%d", api, revision), map[string]any{
			"type":       "helm.sh/release.v1",
			"metadata":   piece(`{labels: {owner: helm, name: ` + api + `, status: ` + status + `}}`),
			"stringData": map[string]any{"release": strings.Repeat("H4sIAAAAAAAC", 40)},
		})
	}
	releases := at("v1", "secrets", "shop")
	for revision := 1; revision <= 2; revision++ {
		d.as(d.ciBot).with("labelSelector", "name="+api+",owner=helm").get(releases)
		d.as(d.ciBot).create(release(revision, "pending"))
		d.as(d.ciBot).with("fieldManager", "helm").apply(configMap("shop", settings, fmt.Sprintf(`{REVISION: "%d", UPSTREAM: "http://web.shop.svc"}`, revision)))
		d.as(d.ciBot).with("fieldManager", "helm").apply(workload("Deployment", "shop", api, app("api", settings, revision)))
		d.as(d.ciBot).with("fieldManager", "helm").apply(service("shop", api, `{selector: {app: `+api+`}, ports: [{port: 80, targetPort: http, name: http}]}`))
		d.rolledOut("shop", api, 1)
		d.as(d.ciBot).update(release(revision, "deployed"))
	}
	job := "test-" + api
	d.as(d.ciBot).create(workload("Job", "ci", job, `{containers: [{name: test, image: "registry.example.com/ci/runner:12", args: [test, ./...]}]}`))
	d.await("job ci/"+job, func(ctx context.Context) error {
		j, err := d.admin.clients.BatchV1().Jobs("ci").Get(ctx, job, metav1.GetOptions{})
		if err == nil && j.Status.Succeeded == 0 {
			err = errors.New("not done")
		}
		return err
	})
	d.as(d.ciBot).delete(at("batch/v1", "jobs", "ci", job))
}

// certificates is a controller in a pod doing its work with its pod's token.
func (d *driver) certificates(suffix string) {
	controller := d.serviceAccount("cert-manager", "cert-manager", "cert-manager-controller/v1.18.2 (linux/amd64) cert-manager/example", "127.0.0.140")
	name := "web" + suffix
	certificate := at(certificateGroup+"/v1", "certificates", "shop", name)
	d.as(d.alice).create(object(certificateGroup+"/v1", "Certificate", "shop", name, piece(`{spec: {secretName: `+name+`-tls, dnsNames: [shop.example.com]}}`)))

	lease := at("coordination.k8s.io/v1", "leases", "cert-manager", "controller"+suffix)
	d.as(controller).answers(http.StatusNotFound).get(lease)
	d.as(controller).create(object("coordination.k8s.io/v1", "Lease", "cert-manager", "controller"+suffix, piece(`{spec: {holderIdentity: cert-manager-0, leaseDurationSeconds: 60}}`)))
	d.as(controller).get(at(certificateGroup+"/v1", "certificates", ""))
	d.as(controller).watch(at(certificateGroup+"/v1", "certificates", ""))
	d.as(controller).answers(http.StatusNotFound).get(at("v1", "secrets", "shop", name+"-tls"))
	d.as(controller).create(secret("shop", name+"-tls", "Opaque", `{tls.crt: "a certificate", tls.key: "a key"}`))
	d.as(controller).with("fieldManager", "cert-manager").with("force", "true").send(http.MethodPatch, certificate+"/status", applyPatch,
		[]byte(object(certificateGroup+"/v1", "Certificate", "shop", name, piece(`{status: {conditions: [{type: Ready, status: "True", reason: Issued}]}}`))))
	d.as(controller).create(object("v1", "Event", "shop", "issued-", piece(`{
		involvedObject: {apiVersion: `+certificateGroup+`/v1, kind: Certificate, namespace: shop, name: `+name+`},
		reason: Issuing, message: "The certificate has been issued", type: Normal, source: {component: cert-manager}}`)))
	d.as(controller).update(string(d.as(controller).send(http.MethodGet, lease, "", nil)))
}

// lookAround is people and monitoring reading.
func (d *driver) lookAround(suffix string) {
	for _, path := range []string{
		at("v1", "pods", "shop"), at("v1", "nodes", ""), at("v1", "namespaces", ""), at("apps/v1", "deployments", "shop"),
		at("v1", "services", ""), at("batch/v1", "jobs", "shop"), at("networking.k8s.io/v1", "ingresses", "shop"), at("rbac.authorization.k8s.io/v1", "clusterroles", ""),
	} {
		d.as(d.admin).head("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").with("limit", "500").get(path)
	}
	d.as(d.alice).get(at("apps/v1", "deployments", "shop", "web"+suffix))
	d.as(d.alice).with("fieldSelector", "involvedObject.name=web"+suffix+",involvedObject.namespace=shop").get(at("v1", "events", "shop"))
	d.as(d.alice).with("labelSelector", "app=web"+suffix).watch(at("v1", "pods", "shop"))
	d.as(d.alice).with("tailLines", "20").get(at("v1", "pods", "shop", d.aPod("shop", "app=web"+suffix), "log"))
	d.as(d.alice).refused().get(at("v1", "nodes", ""))
	d.as(d.alice).answers(http.StatusNotFound).get(at("v1", "pods", "shop", "no-such-pod"))
	d.as(d.alice).create(`{apiVersion: authorization.k8s.io/v1, kind: SelfSubjectAccessReview, metadata: {}, spec: {resourceAttributes: {namespace: shop, verb: create, group: apps, resource: deployments}}}`)

	exporter := d.serviceAccount("monitoring", "node-exporter", "Prometheus/3.5.0", "127.0.0.150")
	for _, resource := range []string{"nodes", "pods", "services", "endpoints"} {
		d.as(exporter).get(at("v1", resource, ""))
		d.as(exporter).watch(at("v1", resource, ""))
	}
	d.as(d.admin).create(`{apiVersion: authentication.k8s.io/v1, kind: TokenReview, metadata: {}, spec: {token: not-a-token}}`)
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/version"} {
		d.as(d.nobody).get(path)
	}
}

// cleanUp is deleting what is old.
func (d *driver) cleanUp(suffix string) {
	d.as(d.alice).delete(at("v1", "pods", "shop", d.aPod("shop", "app=web"+suffix)))
	d.as(d.alice).delete(at("batch/v1", "jobs", "shop", "migrate"+suffix))
	d.as(d.ciBot).delete(at("v1", "secrets", "shop", "sh.helm.release.v1.api"+suffix+".v1"))
	d.as(d.alice).patch(mergePatch, at("apps/v1", "deployments", "shop", "web"+suffix, "scale"), `{spec: {replicas: 1}}`)
	d.as(d.alice).delete(at("apps/v1", "statefulsets", "shop", "queue"+suffix))
	d.as(d.alice).delete(at("v1", "persistentvolumeclaims", "shop", "queue"+suffix))
	d.rolledOut("shop", "web"+suffix, 1)
}

// discover is what kubectl does before its first request.
func (d *driver) discover(by *actor) {
	for _, path := range []string{"/version", "/api", "/apis", "/api/v1", "/apis/apps/v1", "/apis/batch/v1", "/openapi/v3"} {
		d.as(by).with("timeout", "32s").get(path)
	}
}

// rolledOut waits until a deployment has what it asked for.
func (d *driver) rolledOut(namespace, name string, replicas int32) {
	d.await("deployment "+namespace+"/"+name, func(ctx context.Context) error {
		w, err := d.admin.clients.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && !complete(w, replicas) {
			err = fmt.Errorf("%d of %d replicas are available", w.Status.AvailableReplicas, replicas)
		}
		return err
	})
}

func complete(w *appsv1.Deployment, replicas int32) bool {
	s := w.Status
	return s.ObservedGeneration >= w.Generation && s.UpdatedReplicas == replicas && s.AvailableReplicas == replicas && s.Replicas == replicas
}

// aPod is the name of a running pod with the given label.
func (d *driver) aPod(namespace, selector string) (name string) {
	d.await("a pod with "+selector, func(ctx context.Context) error {
		pods, err := d.admin.clients.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.Status.Phase == "Running" && p.DeletionTimestamp == nil {
				name = p.Name
				return nil
			}
		}
		return errors.New("none is running")
	})
	return name
}

// await waits for something in the cluster, at a pace that does not fill the recording with questions.
func (d *driver) await(what string, probe func(context.Context) error) {
	d.fail("await", d.cluster.await(d.ctx, what, 60*time.Second, func(ctx context.Context) error {
		err := probe(ctx)
		if err != nil {
			time.Sleep(400 * time.Millisecond)
		}
		return err
	}))
}

const certificateGroup = "cert-manager.example.com"

// certificateDefinition is a custom resource as small as one can be.
const certificateDefinition = `{
	apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: certificates.cert-manager.example.com},
	spec: {group: cert-manager.example.com, scope: Namespaced, names: {kind: Certificate, plural: certificates, singular: certificate},
		versions: [{name: v1, served: true, storage: true, subresources: {status: {}},
			schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`

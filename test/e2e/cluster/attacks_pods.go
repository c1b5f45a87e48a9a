package main

import (
	"context"
	"errors"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// attackPods acts out the rules about what is in a pod, and where it is.
func (d *driver) attackPods() {
	d.privilegedContainer()
	d.sensitiveHostPath()
	d.hostNamespaces()
	d.dangerousCapabilities()
	d.podInSystemNamespace()
	d.ephemeralContainer()
}

// carriers plays the ways in which a pod specification reaches the cluster: bad must be found in each of them.
func (s scene) carriers(prefix, bad string) {
	s.fires("pod-create", s.mallory).create(pod("lab", prefix, bad))
	s.fires("pod-generated-name", s.mallory).create(pod("lab", prefix+"-", bad))
	s.fires("pod-apply-new", s.mallory).apply(pod("lab", prefix+"-applied", bad))
	for _, kind := range []string{"Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job", "CronJob", "ReplicationController"} {
		if kind == "ReplicationController" {
			s.fires("replicationcontroller-create", s.admin).create(workload(kind, "lab", prefix, bad))
			continue
		}
		s.fires(strings.ToLower(kind)+"-create", s.mallory).create(workload(kind, "lab", prefix, bad))
	}
	s.fires("deployment-apply-new", s.mallory).apply(workload("Deployment", "lab", prefix+"-applied", bad))
	s.as(s.mallory).create(workload("Deployment", "lab", prefix+"-turned", plainPod))
	s.fires("deployment-update", s.mallory).update(workload("Deployment", "lab", prefix+"-turned", bad))

	s.quiet("harmless-pod", s.alice).create(pod("shop", prefix+"-harmless", plainPod))
	s.quiet("harmless-deployment", s.alice).create(workload("Deployment", "shop", prefix+"-harmless", plainPod))
	s.quiet("refused", s.alice).refused().create(pod("lab", prefix+"-alice", bad))
	s.quiet("dry-run", s.mallory).dryRun().create(pod("lab", prefix+"-dry", bad))
	s.quiet("deleted", s.mallory).delete(at("v1", "pods", "lab", prefix))
	s.quiet("scaled", s.mallory).patch(mergePatch, at("apps/v1", "deployments", "lab", prefix+"-turned", "scale"), `{spec: {replicas: 2}}`)
}

// customResource defines a kind as loosely as one can be.
func customResource(kind, plural, group string) string {
	return `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: ` + plural + `.` + group + `},
		spec: {group: ` + group + `, scope: Namespaced, names: {kind: ` + kind + `, plural: ` + plural + `, singular: ` + strings.ToLower(kind) + `},
			versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`
}

// turn makes a deployment to be patched, and returns its path.
func (s scene) turn(name string) string {
	s.as(s.mallory).create(workload("Deployment", "lab", name, plainPod))
	return at("apps/v1", "deployments", "lab", name)
}

// running waits until a pod runs, so that the API server lets streams and ephemeral containers reach it.
func (d *driver) running(namespace, name string) {
	d.await("pod "+namespace+"/"+name, func(ctx context.Context) error {
		p, err := d.admin.clients.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && p.Status.Phase != "Running" {
			err = errors.New("it does not run")
		}
		return err
	})
}

func (d *driver) privilegedContainer() {
	s := d.scene("Create Privileged Pod")
	privileged := containers(`securityContext: {privileged: true}`)
	s.carriers("privileged", privileged)
	s.fires("init-container", d.mallory).create(pod("lab", "privileged-init", `{
		initContainers: [{name: setup, image: "registry.example.com/tools:1", securityContext: {privileged: true}}], containers: [{name: app, image: "registry.example.com/shop/web:1.2.0"}]}`))
	s.fires("second-container", d.mallory).create(pod("lab", "privileged-second", `{
		containers: [{name: app, image: "registry.example.com/shop/web:1.2.0"}, {name: sidecar, image: "registry.example.com/tools:1", securityContext: {privileged: true}}]}`))
	deployment := s.turn("privileged-patched")
	s.fires("deployment-json-patch", d.mallory).patch(jsonPatch, deployment, `[{op: add, path: /spec/template/spec/containers/0/securityContext, value: {privileged: true}}]`)
	s.quiet("deployment-json-patch-to-unprivileged", d.admin).patch(jsonPatch, deployment, `[{op: replace, path: /spec/template/spec/containers/0/securityContext/privileged, value: false}]`)
	s.fires("deployment-strategic-patch", d.mallory).patch(strategicPatch, deployment, `{spec: {template: {spec: {containers: [{name: app, securityContext: {privileged: true}}]}}}}`)
	s.fires("deployment-merge-patch", d.mallory).patch(mergePatch, s.turn("privileged-merged"), `{spec: {template: {spec: `+privileged+`}}}`)
	s.fires("deployment-apply-existing", d.mallory).apply(workload("Deployment", "lab", "privileged-merged", privileged))
	s.fires("pod-in-kube-system", d.admin).create(pod("kube-system", "privileged-helper", privileged))

	// Somebody with the token of a controller, at something the controller does not do.
	s.fires("pod-without-owner-by-controller", d.controller("replicaset-controller")).create(pod("lab", "privileged-stolen", privileged))
	s.fires("pod-in-the-name-of-a-controller", d.admin).head("Impersonate-User", "system:serviceaccount:kube-system:replicaset-controller").create(pod("lab", "privileged-as", privileged))
	s.fires("windows-host-process", d.mallory).create(pod("lab", "privileged-windows", `{os: {name: windows}, hostNetwork: true,
		securityContext: {windowsOptions: {hostProcess: true, runAsUserName: 'NT AUTHORITY\SYSTEM'}}, containers: [{name: app, image: "registry.example.com/tools:1"}]}`))
	s.fires("podtemplate", d.admin).create(object("v1", "PodTemplate", "lab", "privileged", map[string]any{"template": map[string]any{
		"metadata": piece(`{labels: {app: privileged}}`), "spec": piece(privileged),
	}}))
	s.fires("dormant-deployment", d.mallory).create(workloadWith(workload("Deployment", "lab", "privileged-dormant", privileged), `{replicas: 0}`))
	s.fires("dormant-cronjob", d.mallory).create(workloadWith(workload("CronJob", "lab", "privileged-dormant", privileged), `{suspend: true}`))
	// A kind of somebody's own that makes pods.
	d.as(d.admin).create(customResource("Rollout", "rollouts", "argoproj.io"))
	d.as(d.admin).create(customResource("Pod", "pods", "example.net"))
	d.as(d.admin).create(customResource("Service", "services", "example.net"))
	for _, path := range []string{at("argoproj.io/v1", "rollouts", "lab"), at("example.net/v1", "pods", "lab"), at("example.net/v1", "services", "lab")} {
		d.await(path, func(ctx context.Context) error {
			return d.admin.clients.CoreV1().RESTClient().Get().AbsPath(path).Do(ctx).Error()
		})
	}
	rollout := piece(workload("Deployment", "lab", "privileged-rollout", privileged))
	rollout["apiVersion"], rollout["kind"] = "argoproj.io/v1", "Rollout"
	s.fires("custom-resource", d.admin).create(asJSON(rollout))
	s.quiet("pods-of-another-group", d.admin).create(object("example.net/v1", "Pod", "lab", "privileged-foreign", map[string]any{"spec": piece(privileged)}))
	d.as(d.admin).create(bare("v1", "Namespace", "", "replicated"))
	s.fires("deployment-elsewhere", d.mallory).create(workload("Deployment", "replicated", "privileged", privileged))
	s.observed("the replica set controller making its pod", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:replicaset-controller" && e.Verb == "create" && e.ObjectRef.Resource == "pods" && e.ObjectRef.Namespace == "replicated"
	})
	d.rolledOut("replicated", "privileged", 1)
	s.quiet("label-of-a-privileged-workload", d.mallory).patch(mergePatch, at("apps/v1", "deployments", "lab", "privileged-merged"), `{metadata: {labels: {tier: none}}}`)
	s.quiet("replicas-of-a-privileged-workload", d.mallory).patch(mergePatch, at("apps/v1", "deployments", "lab", "privileged-merged"), `{spec: {replicas: 2}}`)
	s.quiet("static-pod-of-the-control-plane", d.node).create(d.staticPod("kube-system", "etcd-"+nodeName, `securityContext: {privileged: true}`))
	s.quiet("privileged-false", d.mallory).create(pod("lab", "unprivileged", containers(`securityContext: {privileged: false}`)))
	s.quiet("cronjob-privileged-false", d.mallory).create(workload("CronJob", "lab", "unprivileged", containers(`securityContext: {privileged: false}`)))
	s.quiet("only-named-privileged", d.mallory).create(pod("lab", "privileged-by-name", `{containers: [{name: privileged, image: "registry.example.com/privileged:1", env: [{name: privileged, value: "true"}]}]}`))
	s.quiet("ephemeral-container-unprivileged", d.mallory).patch(strategicPatch, at("v1", "pods", "lab", "reporter", "ephemeralcontainers"),
		`{spec: {ephemeralContainers: [{name: debug-plain, image: "registry.example.com/tools:1", targetContainerName: app}]}}`)
}

func hostPath(path string) string {
	return `{containers: [{name: app, image: "registry.example.com/tools:1", volumeMounts: [{name: host, mountPath: /host}]}], volumes: [{name: host, hostPath: {path: "` + path + `"}}]}`
}

// readOnly mounts a path of the host that no container can write to.
func readOnly(path string) string {
	return `{containers: [{name: app, image: "registry.example.com/tools:1", volumeMounts: [{name: host, mountPath: /host, readOnly: true}]}], volumes: [{name: host, hostPath: {path: "` + path + `"}}]}`
}

func (d *driver) sensitiveHostPath() {
	s := d.scene("Create Sensitive Mount Pod")
	s.carriers("hostpath", hostPath("/"))
	for _, v := range []struct{ what, path string }{
		{"etc", "/etc"},
		{"etc-with-slash", "/etc/"},
		{"etc-doubled-slash", "//etc//kubernetes"},
		{"static-pods", "/etc/kubernetes/manifests"},
		{"docker-socket", "/var/run/docker.sock"},
		{"containerd-socket", "/run/containerd/containerd.sock"},
		{"kubelet", "/var/lib/kubelet"},
		{"kubelet-pods", "/var/lib/kubelet/pods"},
		{"etcd", "/var/lib/etcd"},
		{"var", "/var"},
		{"proc", "/proc"},
		{"root-home", "/root/.ssh"},
	} {
		s.fires(v.what, d.mallory).create(pod("lab", "hostpath-"+v.what, hostPath(v.path)))
	}
	// What kubectl debug node/… makes.
	s.fires("debugging-a-node", d.mallory).create(pod("lab", "node-debugger-"+nodeName+"-x7k2p", `{nodeName: `+nodeName+`, hostPID: true, hostIPC: true, hostNetwork: true, tolerations: [{operator: Exists}],
		containers: [{name: debugger, image: "registry.example.com/tools:1", stdin: true, tty: true, volumeMounts: [{name: host-root, mountPath: /host}]}], volumes: [{name: host-root, hostPath: {path: /}}]}`))
	deployment := s.turn("hostpath-patched")
	s.fires("deployment-json-patch", d.mallory).patch(jsonPatch, deployment, `[{op: add, path: /spec/template/spec/volumes, value: [{name: host, hostPath: {path: /etc}}]}]`)
	s.fires("deployment-strategic-patch", d.mallory).patch(strategicPatch, s.turn("hostpath-merged"), `{spec: {template: {spec: {volumes: [{name: host, hostPath: {path: /var/run/docker.sock}}]}}}}`)
	s.fires("second-volume", d.mallory).create(pod("lab", "hostpath-second", `{containers: [{name: app, image: "registry.example.com/tools:1"}], volumes: [{name: data, emptyDir: {}}, {name: host, hostPath: {path: /etc}}]}`))

	s.fires("read-only-credentials", d.mallory).create(pod("lab", "hostpath-pki", readOnly("/etc/kubernetes/pki")))
	s.fires("read-only-root", d.mallory).create(pod("lab", "hostpath-root-ro", readOnly("/")))
	s.fires("read-only-socket", d.mallory).create(pod("lab", "hostpath-socket-ro", readOnly("/run/containerd/containerd.sock")))
	s.quiet("read-only-logs", d.mallory).create(pod("lab", "hostpath-logs-ro", readOnly("/var/log/pods")))
	s.quiet("data-folder", d.mallory).create(pod("lab", "data-folder", hostPath("/data/app")))
	s.quiet("folder-with-similar-name", d.mallory).create(pod("lab", "etcetera", hostPath("/etcetera")))
	s.quiet("etc-elsewhere", d.mallory).create(workload("Deployment", "lab", "etc-elsewhere", hostPath("/data/etc")))
	s.quiet("emptydir", d.mallory).create(pod("lab", "emptydir", `{containers: [{name: app, image: "registry.example.com/tools:1", volumeMounts: [{name: d, mountPath: /etc}]}], volumes: [{name: d, emptyDir: {}}]}`))
	s.quiet("configmap", d.mallory).create(pod("lab", "configmap", `{containers: [{name: app, image: "registry.example.com/tools:1", volumeMounts: [{name: d, mountPath: /etc/app}]}], volumes: [{name: d, configMap: {name: kube-root-ca.crt}}]}`))
}

func (d *driver) hostNamespaces() {
	with := func(more string) string {
		return `{` + more + `, containers: [{name: app, image: "registry.example.com/tools:1"}]}`
	}
	s := d.scene("Create HostPid Pod")
	s.carriers("host", with("hostPID: true"))
	s.fires("all-three", d.mallory).create(pod("lab", "host-all", with("hostPID: true, hostIPC: true, hostNetwork: true")))
	s.fires("deployment-merge-patch", d.mallory).patch(mergePatch, s.turn("host-merged"), `{spec: {template: {spec: {hostPID: true}}}}`)
	s.quiet("false", d.mallory).create(pod("lab", "host-no-pid", with("hostPID: false")))
	s.quiet("ipc", d.mallory).create(pod("lab", "host-ipc-alone", with("hostIPC: true")))
	s.quiet("shared-within-the-pod", d.mallory).create(pod("lab", "shared", with("shareProcessNamespace: true")))
	s.quiet("label-of-that-name", d.mallory).create(object("v1", "Pod", "lab", "host-label", map[string]any{
		"metadata": piece(`{labels: {hostPID: "true"}}`), "spec": piece(plainPod),
	}))

	s = d.scene("Create HostNetwork Pod")
	s.risk("host-network", with("hostNetwork: true"), "{hostNetwork: true}")
	s.fires("deployment-json-patch", d.mallory).patch(jsonPatch, s.turn("host-patched"), `[{op: add, path: /spec/template/spec/hostNetwork, value: true}]`)
	s.quiet("false", d.mallory).create(pod("lab", "host-no-network", with("hostNetwork: false")))

	s = d.scene("Create HostIPC Pod")
	s.risk("host-ipc", with("hostIPC: true"), "{hostIPC: true}")
	s.fires("daemonset", d.mallory).create(workload("DaemonSet", "lab", "host-ipc-everywhere", with("hostIPC: true")))
	s.quiet("false", d.mallory).create(pod("lab", "host-no-ipc", with("hostIPC: false")))
}

func (d *driver) dangerousCapabilities() {
	s := d.scene("Create Pod with Dangerous Capabilities")
	adds := func(capabilities string) string {
		return containers(`securityContext: {capabilities: {add: [` + capabilities + `]}}`)
	}
	s.carriers("capable", adds("SYS_ADMIN"))
	for _, v := range []struct{ what, capabilities string }{
		{"net-admin", "NET_ADMIN"},
		{"all", "ALL"},
		{"sys-ptrace", "SYS_PTRACE"},
		{"with-prefix", "CAP_SYS_MODULE"},
		{"after-harmless-ones", "CHOWN, NET_BIND_SERVICE, SYS_ADMIN"},
	} {
		s.fires(v.what, d.mallory).create(pod("lab", "capable-"+v.what, adds(v.capabilities)))
	}
	s.fires("init-container", d.mallory).create(pod("lab", "capable-init", `{
		initContainers: [{name: setup, image: "registry.example.com/tools:1", securityContext: {capabilities: {add: [NET_ADMIN]}}}], containers: [{name: app, image: "registry.example.com/shop/web:1.2.0"}]}`))
	s.fires("deployment-json-patch", d.mallory).patch(jsonPatch, s.turn("capable-patched"),
		`[{op: add, path: /spec/template/spec/containers/0/securityContext, value: {capabilities: {add: [SYS_ADMIN]}}}]`)
	s.fires("deployment-strategic-patch", d.mallory).patch(strategicPatch, s.turn("capable-merged"),
		`{spec: {template: {spec: {containers: [{name: app, securityContext: {capabilities: {add: [ALL]}}}]}}}}`)

	s.quiet("net-bind-service", d.mallory).create(pod("lab", "binder", adds("NET_BIND_SERVICE")))
	s.quiet("drop-all", d.mallory).create(pod("lab", "dropper", containers(`securityContext: {capabilities: {drop: [ALL]}}`)))
	s.quiet("drop-all-add-net-bind-service", d.mallory).create(workload("Deployment", "lab", "dropper", containers(`securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}`)))
	s.quiet("drop-sys-admin", d.mallory).create(pod("lab", "dropper-of-one", containers(`securityContext: {capabilities: {drop: [SYS_ADMIN, NET_ADMIN]}}`)))
}

func (d *driver) podInSystemNamespace() {
	s := d.scene("Pod Created in Kube Namespace")
	s.fires("pod-create", d.mallory).create(pod("kube-system", "kube-proxy-x1", plainPod))
	s.fires("pod-generated-name", d.mallory).create(pod("kube-system", "coredns-", plainPod))
	s.fires("pod-apply-new", d.mallory).apply(pod("kube-system", "kube-proxy-x2", plainPod))
	s.fires("pod-by-admin", d.admin).create(pod("kube-system", "toolbox", plainPod))
	s.fires("pod-in-kube-public", d.mallory).create(pod("kube-public", "hidden", plainPod))
	s.fires("pod-in-kube-node-lease", d.mallory).create(pod("kube-node-lease", "hidden", plainPod))
	for _, kind := range []string{"Deployment", "DaemonSet", "StatefulSet", "Job", "CronJob"} {
		s.fires(strings.ToLower(kind)+"-create", d.mallory).create(workload(kind, "kube-system", "metrics-"+strings.ToLower(kind), plainPod))
	}
	s.fires("deployment-apply-new", d.admin).apply(workload("Deployment", "kube-system", "metrics-applied", plainPod))

	s.quiet("pod-in-own-namespace", d.alice).create(pod("shop", "toolbox", plainPod))
	s.quiet("namespace-with-similar-name", d.mallory).create(pod("lab", "kube-system", plainPod))
	s.quiet("refused", d.alice).refused().create(pod("kube-system", "alice", plainPod))
	s.quiet("dry-run", d.mallory).dryRun().create(pod("kube-system", "dry", plainPod))
	s.quiet("configmap-in-kube-system", d.admin).create(configMap("kube-system", "settings", `{level: info}`))
	s.quiet("pod-deleted", d.mallory).delete(at("v1", "pods", "kube-system", "kube-proxy-x2"))
	s.quiet("mirror-pod-of-the-kubelet", d.node).create(d.mirrorPod())
	for _, v := range []struct{ controller, resource string }{
		{"replicaset-controller", "pods"}, {"daemon-set-controller", "pods"}, {"deployment-controller", "replicasets"},
	} {
		s.observed("the "+v.controller+" creating "+v.resource, func(e *event) bool {
			return e.User.Username == "system:serviceaccount:kube-system:"+v.controller && e.Verb == "create" &&
				e.ObjectRef.Resource == v.resource && e.ObjectRef.Subresource == "" && e.ObjectRef.Namespace == "kube-system"
		})
	}
	s.observed("the scheduler binding a pod", func(e *event) bool {
		return e.User.Username == "system:kube-scheduler" && e.Verb == "create" && e.ObjectRef.Resource == "pods" &&
			e.ObjectRef.Subresource == "binding" && e.ObjectRef.Namespace == "kube-system"
	})
	d.rolledOut("kube-system", "metrics-applied", 1)
}

// mirrorPod is how a kubelet shows a static pod of the control plane.
func (d *driver) mirrorPod() string {
	return d.staticPod("kube-system", "kube-proxy-"+nodeName, `tty: false`)
}

// staticPod is how a kubelet shows a static pod, one that a file on the node asks for.
func (d *driver) staticPod(namespace, name, more string) string {
	n, err := d.admin.clients.CoreV1().Nodes().Get(d.ctx, nodeName, metav1.GetOptions{})
	d.fail("node of the mirror pod", err)
	return object("v1", "Pod", namespace, name, map[string]any{
		"metadata": piece(`{
			annotations: {kubernetes.io/config.mirror: 4f7a2c0e, kubernetes.io/config.source: file, kubernetes.io/config.hash: 4f7a2c0e},
			ownerReferences: [{apiVersion: v1, kind: Node, name: ` + nodeName + `, uid: "` + string(n.UID) + `", controller: true}]}`),
		"spec": piece(`{nodeName: ` + nodeName + `, automountServiceAccountToken: false, enableServiceLinks: false,
			containers: [{name: static, image: "registry.example.com/kube-proxy:1.36.3", ` + more + `}]}`),
	})
}

// controller is somebody who took the token of one of Kubernetes' controllers.
func (d *driver) controller(name string) *actor {
	answer := d.as(d.admin).send("POST", at("v1", "serviceaccounts", "kube-system", name, "token"), "application/json",
		[]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":3600}}`))
	token, _ := piece(string(answer))["status"].(map[string]any)["token"].(string)
	return d.withToken(token)
}

func (d *driver) ephemeralContainer() {
	s := d.scene("EphemeralContainers Created")
	d.as(d.mallory).create(pod("lab", "debugged", plainPod))
	d.running("lab", "debugged")
	path := at("v1", "pods", "lab", "debugged", "ephemeralcontainers")
	debug := func(name string) string {
		return `{name: ` + name + `, image: "registry.example.com/debug:1", stdin: true, tty: true, targetContainerName: app}`
	}
	s.fires("strategic-patch", d.mallory).patch(strategicPatch, path, `{spec: {ephemeralContainers: [`+debug("debugger-a")+`]}}`)
	s.fires("json-patch", d.mallory).patch(jsonPatch, path, `[{op: add, path: /spec/ephemeralContainers/-, value: `+debug("debugger-b")+`}]`)
	s.fires("by-admin", d.admin).patch(strategicPatch, path, `{spec: {ephemeralContainers: [`+debug("debugger-c")+`]}}`)
	current := piece(string(d.as(d.mallory).send("GET", at("v1", "pods", "lab", "debugged"), "", nil)))
	spec := current["spec"].(map[string]any)
	spec["ephemeralContainers"] = append(spec["ephemeralContainers"].([]any), piece(debug("debugger-d")))
	s.fires("update", d.mallory).put(path, asJSON(current))

	s.quiet("read", d.mallory).get(path)
	s.quiet("refused", d.alice).refused().patch(strategicPatch, path, `{spec: {ephemeralContainers: [`+debug("debugger-e")+`]}}`)
	s.quiet("dry-run", d.mallory).dryRun().patch(strategicPatch, path, `{spec: {ephemeralContainers: [`+debug("debugger-f")+`]}}`)
	s.quiet("label-of-the-pod", d.mallory).patch(mergePatch, at("v1", "pods", "lab", "debugged"), `{metadata: {labels: {debugged: "yes"}}}`)
	s.quiet("pod-create", d.mallory).create(pod("lab", "ephemeral", plainPod))
}

// workloadWith adds members to the specification of a workload.
func workloadWith(manifest, more string) string {
	m := piece(manifest)
	for key, value := range piece(more) {
		m["spec"].(map[string]any)[key] = value
	}
	return asJSON(m)
}

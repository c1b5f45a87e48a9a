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
	d.cronJobCreated()
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
	s.fires("ephemeral-container", d.mallory).patch(strategicPatch, at("v1", "pods", "lab", "victim", "ephemeralcontainers"),
		`{spec: {ephemeralContainers: [{name: debug-privileged, image: "registry.example.com/tools:1", targetContainerName: app, securityContext: {privileged: true}}]}}`)
	deployment := s.turn("privileged-patched")
	s.fires("deployment-json-patch", d.mallory).patch(jsonPatch, deployment, `[{op: add, path: /spec/template/spec/containers/0/securityContext, value: {privileged: true}}]`)
	s.quiet("deployment-json-patch-to-unprivileged", d.admin).patch(jsonPatch, deployment, `[{op: replace, path: /spec/template/spec/containers/0/securityContext/privileged, value: false}]`)
	s.fires("deployment-strategic-patch", d.mallory).patch(strategicPatch, deployment, `{spec: {template: {spec: {containers: [{name: app, securityContext: {privileged: true}}]}}}}`)
	s.fires("deployment-merge-patch", d.mallory).patch(mergePatch, s.turn("privileged-merged"), `{spec: {template: {spec: `+privileged+`}}}`)
	s.fires("deployment-apply-existing", d.mallory).apply(workload("Deployment", "lab", "privileged-merged", privileged))
	s.fires("pod-in-kube-system", d.admin).create(pod("kube-system", "privileged-helper", privileged))

	s.quiet("privileged-false", d.mallory).create(pod("lab", "unprivileged", containers(`securityContext: {privileged: false}`)))
	s.quiet("cronjob-privileged-false", d.mallory).create(workload("CronJob", "lab", "unprivileged", containers(`securityContext: {privileged: false}`)))
	s.quiet("only-named-privileged", d.mallory).create(pod("lab", "privileged-by-name", `{containers: [{name: privileged, image: "registry.example.com/privileged:1", env: [{name: privileged, value: "true"}]}]}`))
	s.quiet("ephemeral-container-unprivileged", d.mallory).patch(strategicPatch, at("v1", "pods", "lab", "reporter", "ephemeralcontainers"),
		`{spec: {ephemeralContainers: [{name: debug-plain, image: "registry.example.com/tools:1", targetContainerName: app}]}}`)
}

func hostPath(path string) string {
	return `{containers: [{name: app, image: "registry.example.com/tools:1", volumeMounts: [{name: host, mountPath: /host}]}], volumes: [{name: host, hostPath: {path: "` + path + `"}}]}`
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
	deployment := s.turn("hostpath-patched")
	s.fires("deployment-json-patch", d.mallory).patch(jsonPatch, deployment, `[{op: add, path: /spec/template/spec/volumes, value: [{name: host, hostPath: {path: /etc}}]}]`)
	s.fires("deployment-strategic-patch", d.mallory).patch(strategicPatch, s.turn("hostpath-merged"), `{spec: {template: {spec: {volumes: [{name: host, hostPath: {path: /var/run/docker.sock}}]}}}}`)
	s.fires("second-volume", d.mallory).create(pod("lab", "hostpath-second", `{containers: [{name: app, image: "registry.example.com/tools:1"}], volumes: [{name: data, emptyDir: {}}, {name: host, hostPath: {path: /etc}}]}`))

	s.quiet("data-folder", d.mallory).create(pod("lab", "data-folder", hostPath("/data/app")))
	s.quiet("folder-with-similar-name", d.mallory).create(pod("lab", "etcetera", hostPath("/etcetera")))
	s.quiet("etc-elsewhere", d.mallory).create(workload("Deployment", "lab", "etc-elsewhere", hostPath("/data/etc")))
	s.quiet("emptydir", d.mallory).create(pod("lab", "emptydir", `{containers: [{name: app, image: "registry.example.com/tools:1", volumeMounts: [{name: d, mountPath: /etc}]}], volumes: [{name: d, emptyDir: {}}]}`))
	s.quiet("configmap", d.mallory).create(pod("lab", "configmap", `{containers: [{name: app, image: "registry.example.com/tools:1", volumeMounts: [{name: d, mountPath: /etc/app}]}], volumes: [{name: d, configMap: {name: kube-root-ca.crt}}]}`))
}

func (d *driver) hostNamespaces() {
	s := d.scene("Create Pod with Host Namespaces")
	with := func(more string) string {
		return `{` + more + `, containers: [{name: app, image: "registry.example.com/tools:1"}]}`
	}
	s.carriers("host", with("hostPID: true"))
	s.fires("ipc", d.mallory).create(pod("lab", "host-ipc", with("hostIPC: true")))
	s.fires("network", d.mallory).create(pod("lab", "host-network", with("hostNetwork: true")))
	s.fires("all-three", d.mallory).create(pod("lab", "host-all", with("hostPID: true, hostIPC: true, hostNetwork: true")))
	s.fires("network-cronjob", d.mallory).create(workload("CronJob", "lab", "host-network", with("hostNetwork: true")))
	s.fires("ipc-daemonset", d.mallory).create(workload("DaemonSet", "lab", "host-ipc", with("hostIPC: true")))
	s.fires("network-deployment-json-patch", d.mallory).patch(jsonPatch, s.turn("host-patched"), `[{op: add, path: /spec/template/spec/hostNetwork, value: true}]`)
	s.fires("pid-deployment-merge-patch", d.mallory).patch(mergePatch, s.turn("host-merged"), `{spec: {template: {spec: {hostPID: true}}}}`)

	s.quiet("all-false", d.mallory).create(pod("lab", "host-none", with("hostPID: false, hostIPC: false, hostNetwork: false")))
	s.quiet("shared-within-the-pod", d.mallory).create(pod("lab", "shared", with("shareProcessNamespace: true")))
	s.quiet("cronjob-false", d.mallory).create(workload("CronJob", "lab", "host-none", with("hostNetwork: false")))
	s.quiet("label-of-that-name", d.mallory).create(object("v1", "Pod", "lab", "host-label", map[string]any{
		"metadata": piece(`{labels: {hostPID: "true"}}`), "spec": piece(plainPod),
	}))
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
	s.fires("ephemeral-container", d.mallory).patch(strategicPatch, at("v1", "pods", "lab", "victim", "ephemeralcontainers"),
		`{spec: {ephemeralContainers: [{name: debug-capable, image: "registry.example.com/tools:1", targetContainerName: app, securityContext: {capabilities: {add: [SYS_PTRACE]}}}]}}`)
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

// mirrorPod is how a kubelet shows a static pod, one that a file on the node asks for.
func (d *driver) mirrorPod() string {
	n, err := d.admin.clients.CoreV1().Nodes().Get(d.ctx, nodeName, metav1.GetOptions{})
	d.fail("node of the mirror pod", err)
	return object("v1", "Pod", "kube-system", "kube-proxy-"+nodeName, map[string]any{
		"metadata": piece(`{
			annotations: {kubernetes.io/config.mirror: 4f7a2c0e, kubernetes.io/config.source: file, kubernetes.io/config.hash: 4f7a2c0e},
			ownerReferences: [{apiVersion: v1, kind: Node, name: ` + nodeName + `, uid: "` + string(n.UID) + `", controller: true}]}`),
		"spec": piece(`{nodeName: ` + nodeName + `, automountServiceAccountToken: false, enableServiceLinks: false,
			containers: [{name: kube-proxy, image: "registry.example.com/kube-proxy:1.36.3"}]}`),
	})
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
	s.fires("by-admin-in-kube-system", d.admin).patch(strategicPatch, at("v1", "pods", "kube-system", d.aPod("kube-system", "app=metrics-applied"), "ephemeralcontainers"),
		`{spec: {ephemeralContainers: [`+debug("debugger-c")+`]}}`)
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

func (d *driver) cronJobCreated() {
	s := d.scene("CronJob Created")
	reporter := d.serviceAccount("lab", "reporter", "python-requests/2.32.4", "127.0.0.160")
	s.fires("create", d.mallory).create(workload("CronJob", "lab", "persist", plainPod))
	s.fires("apply-new", d.mallory).apply(workload("CronJob", "lab", "persist-applied", plainPod))
	s.fires("generated-name", d.mallory).create(workload("CronJob", "lab", "persist-", plainPod))
	s.fires("by-service-account", reporter).create(workload("CronJob", "lab", "persist-reporter", plainPod))
	s.fires("suspended", d.admin).create(workloadWith(workload("CronJob", "lab", "sleeper", plainPod), `{suspend: true}`))

	s.quiet("apply-existing", d.mallory).apply(workload("CronJob", "lab", "persist-applied", containers(`command: [ls]`)))
	s.quiet("schedule-patched", d.mallory).patch(mergePatch, at("batch/v1", "cronjobs", "lab", "persist"), `{spec: {schedule: "1 1 * * *"}}`)
	s.quiet("deleted", d.mallory).delete(at("batch/v1", "cronjobs", "lab", "persist-applied"))
	s.quiet("job", d.mallory).create(workload("Job", "lab", "once", plainPod))
	s.quiet("refused", d.alice).refused().create(workload("CronJob", "lab", "persist-alice", plainPod))
	s.quiet("dry-run", d.mallory).dryRun().create(workload("CronJob", "lab", "persist-dry", plainPod))
	s.observed("the cron job controller creating a job", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:cronjob-controller" && e.Verb == "create" && e.ObjectRef.Resource == "jobs"
	})
	s.quiet("existing-already", d.mallory).answers(409).create(workload("CronJob", "lab", "persist", plainPod))
}

// workloadWith adds members to the specification of a workload.
func workloadWith(manifest, more string) string {
	m := piece(manifest)
	for key, value := range piece(more) {
		m["spec"].(map[string]any)[key] = value
	}
	return asJSON(m)
}

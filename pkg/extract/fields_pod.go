package extract

import (
	"bytes"

	"kaudit/pkg/audit"
)

// What the resulting pod may do, wherever its specification stands: in a Pod, in the template of a Deployment, DaemonSet,
// StatefulSet, ReplicaSet, ReplicationController, Job, CronJob or PodTemplate, or of a custom resource that has its
// template where Deployments do.
var podFields = Table{
	{"ka.pod", "Whether the resulting object holds a pod specification.", NoArg, "",
		whether(func(e *Event) bool { _, from := e.podSpec(); return from != noPod }),
		Example{onDeployment(`{}`), "", "true"}},
	{"ka.pod.template", "Whether the pod specification is the template of a workload, and not of a pod itself.", NoArg, "",
		whetherIn(func(e *Event) (bool, bool) { _, from := e.podSpec(); return from == podTemplate, from != noPod }),
		Example{onDeployment(`{}`), "", "true"}},
	{"ka.pod.privileged", "Whether a container of any kind is privileged, or runs as a process of a Windows host.", NoArg, "",
		anyPod(func(e *Event, spec audit.Node) bool {
			if spec.Path("securityContext", "windowsOptions", "hostProcess").IsTrue() {
				return true
			}
			for _, c := range e.containers() {
				if s := c.Get("securityContext"); s.Get("privileged").IsTrue() || s.Path("windowsOptions", "hostProcess").IsTrue() {
					return true
				}
			}
			return false
		}),
		Example{onDeployment(`{"initContainers":[{"securityContext":{"privileged":true}}]}`), "", "true"}},
	{"ka.pod.host_network", "Whether the pod shares the host's network.", NoArg, "", podFlag("hostNetwork"),
		Example{onPod(`{"hostNetwork":true}`), "", "true"}},
	{"ka.pod.host_pid", "Whether the pod shares the host's process namespace.", NoArg, "", podFlag("hostPID"),
		Example{onPod(`{"hostPID":true}`), "", "true"}},
	{"ka.pod.host_ipc", "Whether the pod shares the host's IPC namespace.", NoArg, "", podFlag("hostIPC"),
		Example{onPod(`{"hostIPC":true}`), "", "true"}},
	{"ka.pod.host_namespaces", "Namespaces of the host the pod shares: network, pid, ipc.", NoArg, "",
		texts(func(e *Event, out *Value) {
			spec, _ := e.podSpec()
			for _, ns := range [...]struct{ key, name string }{{"hostNetwork", "network"}, {"hostPID", "pid"}, {"hostIPC", "ipc"}} {
				if spec.Get(ns.key).IsTrue() {
					out.AddString(ns.name)
				}
			}
		}),
		Example{onPod(`{"hostPID":true,"hostNetwork":true}`), "", "(network,pid)"}},
	{"ka.pod.share_process_namespace", "Whether the pod's containers see each other's processes.", NoArg, "", podFlag("shareProcessNamespace"),
		Example{onPod(`{"shareProcessNamespace":true}`), "", "true"}},
	{"ka.pod.privilege_escalation", "Whether a container says that its processes may gain more privileges than their parent.", NoArg, "",
		anyContainer(func(c container) bool { return c.Path("securityContext", "allowPrivilegeEscalation").IsTrue() }),
		Example{onPod(`{"containers":[{"securityContext":{"allowPrivilegeEscalation":true}}]}`), "", "true"}},
	{"ka.pod.run_as_root", "Whether the pod or a container says that it runs as root: user 0, group 0, or runAsNonRoot false.", NoArg, "",
		anyPod(func(e *Event, spec audit.Node) bool {
			root := func(s audit.Node) bool {
				user, ok := s.Get("runAsUser").Int()
				group, ok2 := s.Get("runAsGroup").Int()
				nonRoot, ok3 := s.Get("runAsNonRoot").Bool()
				return ok && user == 0 || ok2 && group == 0 || ok3 && !nonRoot
			}
			if root(spec.Get("securityContext")) {
				return true
			}
			for _, c := range e.containers() {
				if root(c.Get("securityContext")) {
					return true
				}
			}
			return false
		}),
		Example{onPod(`{"containers":[{"securityContext":{"runAsUser":0}}]}`), "", "true"}},
	{"ka.pod.capabilities", "Linux capabilities added to containers of any kind, in capitals and without CAP_.", NoArg, "",
		texts(func(e *Event, out *Value) {
			for _, c := range e.containers() {
				add := c.Path("securityContext", "capabilities", "add")
				for i := range add.Len() {
					out.Scratch = appendCapability(out.Scratch[:0], add.At(i).Bytes())
					out.AddText(out.Scratch)
				}
			}
		}),
		Example{onPod(`{"containers":[{"securityContext":{"capabilities":{"add":["cap_sys_admin","NET_RAW"]}}}]}`), "", "(SYS_ADMIN,NET_RAW)"}},
	{"ka.pod.no_seccomp", "Whether a container of any kind runs without a seccomp profile: Unconfined, or none named by it or the pod.", NoArg, "",
		anyPod(func(e *Event, spec audit.Node) bool {
			profile := e.setting("seccompProfile")
			for _, c := range e.containers() {
				if t := profile.of(c).Get("type"); !t.Exists() || t.Is("Unconfined") {
					return true
				}
			}
			return false
		}),
		Example{onPod(`{"containers":[{"name":"a"}]}`), "", "true"}},
	{"ka.pod.unconfined", "What confines the pod's processes and is switched off in it: seccomp, apparmor, selinux, proc_mount.", NoArg, "",
		texts(func(e *Event, out *Value) {
			spec, from := e.podSpec()
			if from == noPod {
				return
			}
			var off [4]bool
			look := func(s audit.Node) {
				off[0] = off[0] || s.Path("seccompProfile", "type").Is("Unconfined")
				off[1] = off[1] || s.Path("appArmorProfile", "type").Is("Unconfined")
				off[2] = off[2] || s.Path("seLinuxOptions", "type").Is("spc_t")
				off[3] = off[3] || s.Get("procMount").Is("Unmasked")
			}
			look(spec.Get("securityContext"))
			for _, c := range e.containers() {
				look(c.Get("securityContext"))
			}
			e.podAnnotations().Each(func(key []byte, value audit.Node) {
				switch {
				case bytes.HasPrefix(key, []byte("container.apparmor.security.beta.kubernetes.io/")):
					off[1] = off[1] || value.Is("unconfined")
				case bytes.HasPrefix(key, []byte("seccomp.security.alpha.kubernetes.io/")):
					off[0] = off[0] || value.Is("unconfined")
				}
			})
			for i, name := range [...]string{"seccomp", "apparmor", "selinux", "proc_mount"} {
				if off[i] {
					out.AddString(name)
				}
			}
		}),
		Example{onPod(`{"containers":[{"securityContext":{"seccompProfile":{"type":"Unconfined"},"procMount":"Unmasked"}}]}`), "", "(seccomp,proc_mount)"}},
	{"ka.pod.sysctls", "Names of the kernel parameters the pod sets.", NoArg, "", inPod("name", "securityContext", "sysctls"),
		Example{onPod(`{"securityContext":{"sysctls":[{"name":"kernel.msgmax","value":"65536"}]}}`), "", "(kernel.msgmax)"}},
	{"ka.pod.host_ports", "Ports of the host that containers ask for.", NoArg, "",
		texts(func(e *Event, out *Value) {
			for _, c := range e.containers() {
				ports := c.Get("ports")
				for i := range ports.Len() {
					if n, ok := ports.At(i).Get("hostPort").Int(); ok && n > 0 {
						out.AddNode(ports.At(i).Get("hostPort"))
					}
				}
			}
		}),
		Example{onPod(`{"containers":[{"ports":[{"containerPort":80,"hostPort":8080}]}]}`), "", "(8080)"}},

	// Volumes.
	{"ka.pod.volumes.types", "Types of the pod's volumes.", NoArg, "",
		texts(func(e *Event, out *Value) {
			spec, _ := e.podSpec()
			volumes := spec.Get("volumes")
			for i := range volumes.Len() {
				volumes.At(i).Each(func(key []byte, _ audit.Node) {
					if string(key) != "name" {
						out.AddText(key)
					}
				})
			}
		}),
		Example{onPod(`{"volumes":[{"name":"a","hostPath":{"path":"/"}},{"name":"b","secret":{}}]}`), "", "(hostPath,secret)"}},
	{"ka.pod.hostpaths", "Paths of the host in the pod's volumes, cleaned of doubled slashes and dots.", NoArg, "",
		texts(func(e *Event, out *Value) {
			e.hostPaths(func(p audit.Node, _ bool) {
				out.Scratch = cleanPath(out.Scratch[:0], p.Bytes())
				out.AddText(out.Scratch)
			})
		}),
		Example{onPod(`{"volumes":[{"hostPath":{"path":"/var//run/../run/docker.sock"}}]}`), "", "(/var/run/docker.sock)"}},
	{"ka.pod.hostpath.under", "Whether the pod mounts a path of the host at, below or above one of the paths given: above counts, since it brings the path with it.", RequiredKey, "absolute paths, a comma between them",
		hostPathUnder(false),
		Example{onPod(`{"volumes":[{"hostPath":{"path":"/etc/kubernetes/"}}]}`), "/etc,/root", "true"}},
	{"ka.pod.hostpath.writable", "Whether the pod mounts a path of the host at, below or above one of the paths given, and can write there.", RequiredKey, "absolute paths, a comma between them",
		hostPathUnder(true),
		Example{onPod(`{"volumes":[{"name":"v","hostPath":{"path":"/etc"}}],"containers":[{"volumeMounts":[{"name":"v","mountPath":"/x","readOnly":true}]}]}`), "/etc", "false"}},
	{"ka.pod.hostpath.any", "Whether the pod has a volume that is a path of the host.", NoArg, "",
		anyPod(func(e *Event, _ audit.Node) bool {
			found := false
			e.hostPaths(func(audit.Node, bool) { found = true })
			return found
		}),
		Example{onPod(`{"volumes":[{"hostPath":{"path":"/data"}}]}`), "", "true"}},
	{"ka.pod.secrets", "Names of the Secrets the pod uses: as volumes, in the environment, to pull images.", NoArg, "",
		texts(func(e *Event, out *Value) { e.references("secret", "secretName", "secretRef", "secretKeyRef", out) }),
		Example{onPod(`{"volumes":[{"secret":{"secretName":"tls"}}],"containers":[{"envFrom":[{"secretRef":{"name":"db"}}]}]}`), "", "(tls,db)"}},
	{"ka.pod.configmaps", "Names of the ConfigMaps the pod uses: as volumes and in the environment.", NoArg, "",
		texts(func(e *Event, out *Value) { e.references("configMap", "name", "configMapRef", "configMapKeyRef", out) }),
		Example{onPod(`{"volumes":[{"configMap":{"name":"settings"}}]}`), "", "(settings)"}},
	{"ka.pod.claims", "Names of the PersistentVolumeClaims the pod uses.", NoArg, "",
		texts(func(e *Event, out *Value) {
			spec, _ := e.podSpec()
			volumes := spec.Get("volumes")
			for i := range volumes.Len() {
				out.AddNode(volumes.At(i).Path("persistentVolumeClaim", "claimName"))
			}
		}),
		Example{onPod(`{"volumes":[{"persistentVolumeClaim":{"claimName":"data-0"}}]}`), "", "(data-0)"}},

	// Where and as whom it runs.
	{"ka.pod.serviceaccount", "Service account the pod runs as.", NoArg, "",
		text(func(e *Event, out *Value) {
			spec, from := e.podSpec()
			switch name := spec.Get("serviceAccountName"); {
			case len(name.Bytes()) > 0:
				out.AddNode(name)
			case len(spec.Get("serviceAccount").Bytes()) > 0: // its name before 1.0, still accepted
				out.AddNode(spec.Get("serviceAccount"))
			case from != noPod && !e.verb("patch"):
				out.AddString("default")
			}
		}),
		Example{onPod(`{"serviceAccountName":"web"}`), "", "web"}},
	{"ka.pod.automount_token", "Whether the pod says that it gets a service account token.", NoArg, "", podFlag("automountServiceAccountToken"),
		Example{onPod(`{"automountServiceAccountToken":true}`), "", "true"}},
	{"ka.pod.node", "Node the pod is bound to.", NoArg, "", podText("nodeName"),
		Example{onPod(`{"nodeName":"worker-1"}`), "", "worker-1"}},
	{"ka.pod.node_selector", "Value in the pod's node selector, by label key.", RequiredKey, "key of the label",
		textFor(func(e *Event, key string, out *Value) {
			spec, _ := e.podSpec()
			out.AddNode(spec.Get("nodeSelector").Get(key))
		}),
		Example{onPod(`{"nodeSelector":{"kubernetes.io/hostname":"cp-1"}}`), "kubernetes.io/hostname", "cp-1"}},
	{"ka.pod.tolerations", "Keys of the taints the pod tolerates; * if it tolerates every taint.", NoArg, "",
		texts(func(e *Event, out *Value) {
			spec, _ := e.podSpec()
			list := spec.Get("tolerations")
			for i := range list.Len() {
				if key := list.At(i).Get("key"); len(key.Bytes()) > 0 {
					out.AddNode(key)
				} else {
					out.AddString("*")
				}
			}
		}),
		Example{onPod(`{"tolerations":[{"operator":"Exists"},{"key":"node-role.kubernetes.io/control-plane"}]}`), "", "(*,node-role.kubernetes.io/control-plane)"}},
	{"ka.pod.runtime_class", "Runtime class of the pod.", NoArg, "", podText("runtimeClassName"),
		Example{onPod(`{"runtimeClassName":"gvisor"}`), "", "gvisor"}},
	{"ka.pod.priority_class", "Priority class of the pod.", NoArg, "", podText("priorityClassName"),
		Example{onPod(`{"priorityClassName":"system-node-critical"}`), "", "system-node-critical"}},
	{"ka.pod.scheduler", "Scheduler of the pod.", NoArg, "", podText("schedulerName"),
		Example{onPod(`{"schedulerName":"mine"}`), "", "mine"}},
	{"ka.pod.restart_policy", "Restart policy of the pod.", NoArg, "", podText("restartPolicy"),
		Example{onPod(`{"restartPolicy":"Never"}`), "", "Never"}},
	{"ka.pod.pull_secrets", "Names of the Secrets the pod pulls images with.", NoArg, "", inPod("name", "imagePullSecrets"),
		Example{onPod(`{"imagePullSecrets":[{"name":"registry"}]}`), "", "(registry)"}},
	{"ka.pod.mirror", "Whether the object is the mirror of a static pod, which a kubelet starts from a file.", NoArg, "",
		whether(func(e *Event) bool {
			return e.target().is("pods", "") && e.meta("annotations").Get("kubernetes.io/config.mirror").Exists()
		}),
		Example{`{"verb":"create","objectRef":{"resource":"pods"},"requestObject":{"metadata":{"annotations":{"kubernetes.io/config.mirror":"x"}}}}`, "", "true"}},
	{"ka.cronjob.schedule", "Schedule of the resulting CronJob.", NoArg, "",
		text(func(e *Event, out *Value) {
			if e.target().is("cronjobs", "") {
				out.AddNode(e.Object().Path("spec", "schedule"))
			}
		}),
		Example{`{"verb":"create","objectRef":{"resource":"cronjobs","apiGroup":"batch"},"requestObject":{"spec":{"schedule":"*/5 * * * *"}}}`, "", "*/5 * * * *"}},
}

// The pod's containers of all three kinds, ordinary ones first, then init, then ephemeral ones. Lists line up: the i-th
// value of each belongs to the i-th container, and an index picks one.
var containerFields = Table{
	{"ka.containers.count", "Number of containers of all kinds.", NoArg, "",
		number(func(e *Event) (uint64, bool) {
			_, from := e.podSpec()
			return uint64(len(e.containers())), from != noPod
		}),
		Example{onPod(threeContainers), "", "3"}},
	{"ka.containers.kind", "Kinds of the containers: container, init or ephemeral.", OptionalIndex, "number of a container",
		perContainer(func(_ *Event, c container, out *Value) { out.AddString(c.kind) }),
		Example{onPod(threeContainers), "", "(container,init,ephemeral)"}},
	{"ka.containers.name", "Names of the containers.", OptionalIndex, "number of a container",
		perContainer(func(_ *Event, c container, out *Value) { out.AddNode(c.Get("name")) }),
		Example{onPod(threeContainers), "", "(web,setup,debug)"}},
	{"ka.containers.image", "Images of the containers, as written.", OptionalIndex, "number of a container",
		perContainer(func(_ *Event, c container, out *Value) { out.AddNode(c.Get("image")) }),
		Example{onPod(threeContainers), "1", "(busybox)"}},
	{"ka.containers.image.joined", "Images of the containers in one text.", NoArg, "",
		joined(perContainer(func(_ *Event, c container, out *Value) { out.AddNode(c.Get("image")) })),
		Example{onPod(threeContainers), "", "reg.example.com:5000/shop/web:1.2 busybox debug@sha256:00"}},
	{"ka.containers.image.registry", "Registries of the images; docker.io where none is named.", OptionalIndex, "number of a container",
		imagePart(func(i image, out *Value) { out.AddText(i.registry) }),
		Example{onPod(threeContainers), "", "(reg.example.com:5000,docker.io,docker.io)"}},
	{"ka.containers.image.repository", "Images without tag and digest, with everything implied: docker.io/library/busybox for busybox.", OptionalIndex, "number of a container",
		imagePart(func(i image, out *Value) {
			out.Scratch = i.appendName(out.Scratch[:0])
			out.AddText(out.Scratch)
		}),
		Example{onPod(threeContainers), "", "(reg.example.com:5000/shop/web,docker.io/library/busybox,docker.io/library/debug)"}},
	{"ka.containers.image.name", "Last part of the images' names, without registry, path, tag and digest.", OptionalIndex, "number of a container",
		imagePart(func(i image, out *Value) { out.AddText(i.path[bytes.LastIndexByte(i.path, '/')+1:]) }),
		Example{onPod(threeContainers), "", "(web,busybox,debug)"}},
	{"ka.containers.image.tag", "Tags of the images; latest where neither tag nor digest is named.", OptionalIndex, "number of a container",
		imagePart(func(i image, out *Value) { out.AddText(i.tag) }),
		Example{onPod(threeContainers), "", "(1.2,latest,)"}},
	{"ka.containers.image.digest", "Digests of the images.", OptionalIndex, "number of a container",
		imagePart(func(i image, out *Value) { out.AddText(i.digest) }),
		Example{onPod(threeContainers), "", "(,,sha256:00)"}},
	{"ka.containers.image.unpinned", "Whether an image is named without a digest.", NoArg, "",
		anyContainer(func(c container) bool {
			i := c.Get("image").Bytes() // a patch may say nothing of it
			return len(i) > 0 && parseImage(i).digest == nil
		}),
		Example{onPod(threeContainers), "", "true"}},
	{"ka.containers.command", "Commands of the containers, with spaces between the words.", OptionalIndex, "number of a container",
		perContainer(func(_ *Event, c container, out *Value) { addWords(out, c.Get("command")) }),
		Example{onPod(threeContainers), "", "(,sh -c,)"}},
	{"ka.containers.args", "Arguments of the containers, with spaces between the words.", OptionalIndex, "number of a container",
		perContainer(func(_ *Event, c container, out *Value) { addWords(out, c.Get("args")) }),
		Example{onPod(threeContainers), "", "(,sleep 1,)"}},
	{"ka.containers.cmdline", "Commands and arguments of the containers, with spaces between the words.", OptionalIndex, "number of a container",
		perContainer(func(_ *Event, c container, out *Value) { addWords(out, c.Get("command"), c.Get("args")) }),
		Example{onPod(threeContainers), "", "(,sh -c sleep 1,)"}},
	{"ka.containers.cmdline.joined", "Everything the containers run, in one text: commands, arguments, life cycle hooks and probes.", NoArg, "",
		joined(ofContainers(func(_ *Event, c container, out *Value) {
			addWords(out, c.Get("command"), c.Get("args"), c.Path("lifecycle", "postStart", "exec", "command"), c.Path("lifecycle", "preStop", "exec", "command"),
				c.Path("livenessProbe", "exec", "command"), c.Path("readinessProbe", "exec", "command"), c.Path("startupProbe", "exec", "command"))
		})),
		Example{onPod(threeContainers), "", "sh -c sleep 1"}},
	{"ka.containers.privileged", "Whether each container is privileged: true or false.", OptionalIndex, "number of a container",
		perContainer(func(_ *Event, c container, out *Value) {
			if c.Path("securityContext", "privileged").IsTrue() {
				out.AddString("true")
			} else {
				out.AddString("false")
			}
		}),
		Example{onPod(threeContainers), "", "(false,true,false)"}},
	{"ka.containers.run_as_user", "User id of each container: its own, else the pod's.", OptionalIndex, "number of a container",
		eachSetting("runAsUser"),
		Example{onPod(threeContainers), "", "(1000,0,1000)"}},
	{"ka.containers.run_as_group", "Group id of each container: its own, else the pod's.", OptionalIndex, "number of a container",
		eachSetting("runAsGroup"),
		Example{onPod(threeContainers), "", "(,,)"}},
	{"ka.containers.read_only_fs", "Whether each container's root file system is read-only, where it says so.", OptionalIndex, "number of a container",
		perContainer(func(_ *Event, c container, out *Value) {
			out.AddNode(c.Path("securityContext", "readOnlyRootFilesystem"))
		}),
		Example{onPod(threeContainers), "", "(true,,)"}},
	{"ka.containers.capabilities", "Capabilities added to each container, in capitals, with spaces between them.", OptionalIndex, "number of a container",
		perContainer(func(_ *Event, c container, out *Value) {
			add := c.Path("securityContext", "capabilities", "add")
			out.Scratch = out.Scratch[:0]
			for i := range add.Len() {
				if i > 0 {
					out.Scratch = append(out.Scratch, ' ')
				}
				out.Scratch = appendCapability(out.Scratch, add.At(i).Bytes())
			}
			out.AddText(out.Scratch)
		}),
		Example{onPod(threeContainers), "", "(,SYS_ADMIN NET_RAW,)"}},
	{"ka.containers.target", "Container whose processes each ephemeral container joins.", OptionalIndex, "number of a container",
		perContainer(func(_ *Event, c container, out *Value) { out.AddNode(c.Get("targetContainerName")) }),
		Example{onPod(threeContainers), "", "(,,web)"}},
	{"ka.containers.mounts", "Paths at which containers mount volumes.", OptionalIndex, "number of a container",
		ofContainers(func(_ *Event, c container, out *Value) {
			mounts := c.Get("volumeMounts")
			for i := range mounts.Len() {
				out.AddNode(mounts.At(i).Get("mountPath"))
			}
		}),
		Example{onPod(threeContainers), "", "(/data)"}},
	{"ka.containers.env", "Literal values of an environment variable in the containers that set it.", RequiredKey, "name of the variable",
		textsFor(func(e *Event, key string, out *Value) {
			for _, c := range e.containers() {
				env := c.Get("env")
				for i := range env.Len() {
					if env.At(i).Get("name").Is(key) {
						out.AddNode(env.At(i).Get("value"))
					}
				}
			}
		}),
		Example{onPod(threeContainers), "MODE", "(fast)"}},
	{"ka.containers.env.names", "Names of the environment variables the containers set.", OptionalIndex, "number of a container",
		ofContainers(func(_ *Event, c container, out *Value) {
			env := c.Get("env")
			for i := range env.Len() {
				out.AddNode(env.At(i).Get("name"))
			}
		}),
		Example{onPod(threeContainers), "", "(MODE)"}},
}

// Fragments for examples.

const threeContainers = `{"securityContext":{"runAsUser":1000},` +
	`"containers":[{"name":"web","image":"reg.example.com:5000/shop/web:1.2","env":[{"name":"MODE","value":"fast"}],"volumeMounts":[{"name":"v","mountPath":"/data"}],"securityContext":{"readOnlyRootFilesystem":true}}],` +
	`"initContainers":[{"name":"setup","image":"busybox","command":["sh","-c"],"args":["sleep","1"],"securityContext":{"privileged":true,"runAsUser":0,"capabilities":{"add":["SYS_ADMIN","cap_net_raw"]}}}],` +
	`"ephemeralContainers":[{"name":"debug","image":"debug@sha256:00","targetContainerName":"web"}]}`

func onPod(spec string) string {
	return `{"verb":"create","objectRef":{"resource":"pods"},"requestObject":{"spec":` + spec + `}}`
}

func onDeployment(spec string) string {
	return `{"verb":"create","objectRef":{"resource":"deployments","apiGroup":"apps"},"requestObject":{"spec":{"template":{"spec":` + spec + `}}}}`
}

// anyPod yields what is says of the pod, if there is one.
func anyPod(is func(e *Event, spec audit.Node) bool) Extractor {
	return whetherIn(func(e *Event) (bool, bool) {
		spec, from := e.podSpec()
		if from == noPod {
			return false, false
		}
		return is(e, spec), true
	})
}

func podFlag(key string) Extractor {
	return anyPod(func(_ *Event, spec audit.Node) bool { return spec.Get(key).IsTrue() })
}

func podText(key string) Extractor {
	return text(func(e *Event, out *Value) {
		spec, _ := e.podSpec()
		out.AddNode(spec.Get(key))
	})
}

// inPod yields a member of each element of a list in the pod specification.
func inPod(member string, path ...string) Extractor {
	return texts(func(e *Event, out *Value) {
		spec, _ := e.podSpec()
		list := spec.Path(path...)
		for i := range list.Len() {
			out.AddNode(list.At(i).Get(member))
		}
	})
}

func imagePart(read func(i image, out *Value)) Extractor {
	return perContainer(func(_ *Event, c container, out *Value) {
		if i := c.Get("image"); len(i.Bytes()) > 0 {
			read(parseImage(i.Bytes()), out)
		}
	})
}

// podAnnotations returns the annotations of the pod, or of the template it is made from.
func (e *Event) podAnnotations() audit.Node {
	if _, from := e.podSpec(); from == podItself {
		return e.meta("annotations")
	}
	if e.target().is("cronjobs", "") {
		return e.Object().Path("spec", "jobTemplate", "spec", "template", "metadata", "annotations")
	}
	if e.target().is("podtemplates", "") {
		return e.Object().Path("template", "metadata", "annotations")
	}
	return e.Object().Path("spec", "template", "metadata", "annotations")
}

func hostPathUnder(writable bool) Extractor {
	return Extractor{
		Type: Bool,
		prepare: func(key string) (any, error) {
			var dirs [][]byte
			for _, d := range bytes.Split([]byte(key), []byte{','}) {
				d = bytes.TrimSpace(d)
				if len(d) == 0 || d[0] != '/' {
					return nil, notAbsolute(d)
				}
				dirs = append(dirs, cleanPath(nil, d))
			}
			return dirs, nil
		},
		read: func(e *Event, a *Argument, out *Value) {
			if _, from := e.podSpec(); from == noPod {
				return
			}
			found := false
			e.hostPaths(func(p audit.Node, w bool) {
				if writable && !w {
					return
				}
				out.Scratch = cleanPath(out.Scratch[:0], p.Bytes())
				for _, dir := range a.ready.([][]byte) {
					found = found || under(out.Scratch, dir) || under(dir, out.Scratch)
				}
			})
			out.AddBool(found)
		},
	}
}

// references adds the names of the objects of one kind that the pod uses.
func (e *Event) references(volume, name, from, keyRef string, out *Value) {
	spec, _ := e.podSpec()
	volumes := spec.Get("volumes")
	for i := range volumes.Len() {
		v := volumes.At(i)
		out.AddNode(v.Get(volume).Get(name))
		sources := v.Path("projected", "sources")
		for k := range sources.Len() {
			out.AddNode(sources.At(k).Get(volume).Get("name"))
		}
	}
	for _, c := range e.containers() {
		env, all := c.Get("env"), c.Get("envFrom")
		for i := range env.Len() {
			out.AddNode(env.At(i).Path("valueFrom", keyRef, "name"))
		}
		for i := range all.Len() {
			out.AddNode(all.At(i).Get(from).Get("name"))
		}
	}
	if volume == "secret" {
		pull := spec.Get("imagePullSecrets")
		for i := range pull.Len() {
			out.AddNode(pull.At(i).Get("name"))
		}
	}
}

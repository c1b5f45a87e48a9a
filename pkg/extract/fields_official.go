package extract

import (
	"bytes"

	"kaudit/pkg/audit"
)

// The fields of the official k8saudit plugin (falcosecurity/plugins: plugins/k8saudit), all 100, with their names,
// types and meaning. They read the request only, as there. What is broken there is mended here, each time with a
// note; docs/upgrade-from-k8saudit.md lists the differences.
var officialFields = Table{
	{"ka.auditid", "Unique id of the audit event.", NoArg, "", at(audit.AuditID),
		Example{`{"auditID":"5b0a"}`, "", "5b0a"}},
	{"ka.stage", "Stage of the request: RequestReceived, ResponseStarted, ResponseComplete or Panic.", NoArg, "", at(audit.Stage),
		Example{`{"stage":"ResponseComplete"}`, "", "ResponseComplete"}},
	{"ka.auth.decision", "Decision of the authorizer: allow or forbid.", NoArg, "", at(audit.Annotations, "authorization.k8s.io/decision"),
		Example{`{"annotations":{"authorization.k8s.io/decision":"allow"}}`, "", "allow"}},
	{"ka.auth.reason", "Reason of the authorizer's decision.", NoArg, "", at(audit.Annotations, "authorization.k8s.io/reason"),
		Example{`{"annotations":{"authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"admins\""}}`, "", `RBAC: allowed by ClusterRoleBinding "admins"`}},
	{"ka.auth.openshift.decision", "Decision of OpenShift's authentication.", NoArg, "", at(audit.Annotations, "authentication.openshift.io/decision"),
		Example{`{"annotations":{"authentication.openshift.io/decision":"deny"}}`, "", "deny"}},
	{"ka.validations.admission.policy.failure", "Failures of ValidatingAdmissionPolicies, as the JSON text the API server notes.", NoArg, "", at(audit.Annotations, "validation.policy.admission.k8s.io/validation_failure"),
		Example{`{"annotations":{"validation.policy.admission.k8s.io/validation_failure":"[{\"policy\":\"p\"}]"}}`, "", `[{"policy":"p"}]`}},
	{"ka.security.pod.violations", "Violations of the Pod Security Standards that admission noted.", NoArg, "", at(audit.Annotations, "pod-security.kubernetes.io/audit-violations"),
		Example{`{"annotations":{"pod-security.kubernetes.io/audit-violations":"would violate PodSecurity"}}`, "", "would violate PodSecurity"}},
	{"ka.auth.openshift.username", "User name of OpenShift's authentication.", NoArg, "", at(audit.Annotations, "authentication.openshift.io/username"),
		Example{`{"annotations":{"authentication.openshift.io/username":"jane"}}`, "", "jane"}},
	{"ka.user.name", "Name of the user who made the request.", NoArg, "", at(audit.User, "username"),
		Example{`{"user":{"username":"jane"}}`, "", "jane"}},
	{"ka.user.groups", "Groups of the user who made the request.", NoArg, "", each(audit.User, "groups"),
		Example{`{"user":{"groups":["dev","system:authenticated"]}}`, "", "(dev,system:authenticated)"}},
	{"ka.impuser.name", "Name of the user the request impersonated.", NoArg, "", at(audit.ImpersonatedUser, "username"),
		Example{`{"impersonatedUser":{"username":"root"}}`, "", "root"}},
	{"ka.verb", "Verb of the request: get, list, watch, create, update, patch, delete, deletecollection, or the HTTP method in lower case.", NoArg, "", at(audit.Verb),
		Example{`{"verb":"create"}`, "", "create"}},
	{"ka.uri", "Request URI as the client sent it, with its query, still percent-encoded.", NoArg, "", at(audit.RequestURI),
		Example{`{"requestURI":"/api/v1/pods?limit=500"}`, "", "/api/v1/pods?limit=500"}},
	{"ka.uri.param", "First value of a query parameter of the URI, decoded.", RequiredKey, "name of the parameter",
		textFor(func(e *Event, key string, out *Value) {
			if v, ok := e.uriQuery().first(key); ok {
				out.AddText(v)
			}
		}), Example{`{"requestURI":"/exec?command=sh&command=-c"}`, "command", "sh"}},
	{"ka.target.name", "Name of the object the request was about.", NoArg, "", at(audit.ObjectRef, "name"),
		Example{`{"objectRef":{"name":"web"}}`, "", "web"}},
	{"ka.target.namespace", "Namespace of the object the request was about.", NoArg, "", at(audit.ObjectRef, "namespace"),
		Example{`{"objectRef":{"namespace":"shop"}}`, "", "shop"}},
	{"ka.target.resource", "Resource the request was about, in its plural form: pods, clusterroles.", NoArg, "", at(audit.ObjectRef, "resource"),
		Example{`{"objectRef":{"resource":"pods"}}`, "", "pods"}},
	{"ka.target.subresource", "Subresource the request was about: exec, status, scale.", NoArg, "", at(audit.ObjectRef, "subresource"),
		Example{`{"objectRef":{"resource":"pods","subresource":"exec"}}`, "", "exec"}},
	// The official field knows the name only from the response and not for subresources.
	{"ka.target.pod.name", "Name of the pod the request was about, from the response if it is recorded.", NoArg, "",
		text(func(e *Event, out *Value) {
			if string(e.target().name) != "pods" {
				return
			}
			if name := e.Get(audit.ResponseObject).Path("metadata", "name"); name.Exists() {
				out.AddNode(name)
				return
			}
			out.AddNode(e.Get(audit.ObjectRef).Get("name"))
		}), Example{`{"objectRef":{"resource":"pods"},"responseObject":{"metadata":{"name":"web-1"}}}`, "", "web-1"}},
	{"ka.req.binding.subjects", "Subjects of the requested binding, each as JSON.", NoArg, "", each(audit.RequestObject, "subjects"),
		Example{`{"requestObject":{"subjects":[{"kind":"User","name":"jane"}]}}`, "", `({"kind":"User","name":"jane"})`}},
	{"ka.req.binding.subjects.user_names", "Names of the users among the subjects of the requested binding.", NoArg, "", subjectNames("User"),
		Example{`{"requestObject":{"subjects":[{"kind":"User","name":"jane"},{"kind":"Group","name":"dev"}]}}`, "", "(jane)"}},
	{"ka.req.binding.subjects.serviceaccount_names", "Names of the service accounts among the subjects of the requested binding.", NoArg, "", subjectNames("ServiceAccount"),
		Example{`{"requestObject":{"subjects":[{"kind":"ServiceAccount","name":"ci","namespace":"build"}]}}`, "", "(ci)"}},
	{"ka.req.binding.subjects.serviceaccount_ns_names", "Service accounts among the subjects of the requested binding, as namespace:name.", NoArg, "",
		texts(func(e *Event, out *Value) {
			eachSubject(e.Get(audit.RequestObject).Get("subjects"), "ServiceAccount", func(s audit.Node) {
				if ns := s.Get("namespace"); ns.Exists() {
					out.Scratch = append(append(append(out.Scratch[:0], ns.Bytes()...), ':'), s.Get("name").Bytes()...)
					out.AddText(out.Scratch)
				}
			})
		}), Example{`{"requestObject":{"subjects":[{"kind":"ServiceAccount","name":"ci","namespace":"build"}]}}`, "", "(build:ci)"}},
	{"ka.req.binding.subjects.group_names", "Names of the groups among the subjects of the requested binding.", NoArg, "", subjectNames("Group"),
		Example{`{"requestObject":{"subjects":[{"kind":"Group","name":"dev"}]}}`, "", "(dev)"}},
	{"ka.req.binding.role", "Name of the role of the requested binding.", NoArg, "", at(audit.RequestObject, "roleRef", "name"),
		Example{`{"requestObject":{"roleRef":{"kind":"ClusterRole","name":"cluster-admin"}}}`, "", "cluster-admin"}},
	{"ka.req.binding.subject.has_name", "Deprecated: always the text true, whatever the argument. Use ka.binding.subjects.", RequiredKey, "a name, not looked at",
		textFor(func(_ *Event, _ string, out *Value) { out.AddString("true") }), Example{`{}`, "jane", "true"}},
	{"ka.req.configmap.name", "Name of the object the request was about; meant for ConfigMaps.", NoArg, "", at(audit.ObjectRef, "name"),
		Example{`{"objectRef":{"resource":"configmaps","name":"settings"}}`, "", "settings"}},
	{"ka.req.configmap.obj", "The data of the requested ConfigMap, as JSON.", NoArg, "", at(audit.RequestObject, "data"),
		Example{`{"requestObject":{"data":{"a":"1"}}}`, "", `{"a":"1"}`}},
	{"ka.req.container.image", "Deprecated: image of the first container of the requested pod. Use ka.req.pod.containers.image.", NoArg, "", firstImage(false),
		Example{`{"requestObject":{"spec":{"containers":[{"image":"nginx:1.27"}]}}}`, "", "nginx:1.27"}},
	{"ka.req.container.image.repository", "Deprecated: repository of the image of the first container of the requested pod. Use ka.req.pod.containers.image.repository.", NoArg, "", firstImage(true),
		Example{`{"requestObject":{"spec":{"containers":[{"image":"nginx:1.27"}]}}}`, "", "nginx"}},
	{"ka.req.pod.host_ipc", "Whether the requested pod shares the host's IPC namespace, as text.", NoArg, "", at(audit.RequestObject, "spec", "hostIPC"),
		Example{`{"requestObject":{"spec":{"hostIPC":true}}}`, "", "true"}},
	{"ka.req.pod.host_network", "Whether the requested pod shares the host's network, as text.", NoArg, "", at(audit.RequestObject, "spec", "hostNetwork"),
		Example{`{"requestObject":{"spec":{"hostNetwork":true}}}`, "", "true"}},
	{"ka.req.container.host_network", "Deprecated: the same as ka.req.pod.host_network.", NoArg, "", at(audit.RequestObject, "spec", "hostNetwork"),
		Example{`{"requestObject":{"spec":{"hostNetwork":true}}}`, "", "true"}},
	{"ka.req.pod.host_pid", "Whether the requested pod shares the host's process namespace, as text.", NoArg, "", at(audit.RequestObject, "spec", "hostPID"),
		Example{`{"requestObject":{"spec":{"hostPID":true}}}`, "", "true"}},
	{"ka.req.container.privileged", "Deprecated: whether a container of the requested pod is privileged, as text. Use ka.pod.privileged.", NoArg, "",
		text(func(e *Event, out *Value) {
			list := e.Get(audit.RequestObject).Path("spec", "containers")
			if !list.Exists() {
				return
			}
			for i := range list.Len() {
				if list.At(i).Path("securityContext", "privileged").IsTrue() {
					out.AddString("true")
					return
				}
			}
			out.AddString("false")
		}), Example{`{"requestObject":{"spec":{"containers":[{},{"securityContext":{"privileged":true}}]}}}`, "", "true"}},
	{"ka.req.pod.run_as_user", "User id of the requested pod.", NoArg, "", at(audit.RequestObject, "spec", "securityContext", "runAsUser"),
		Example{`{"requestObject":{"spec":{"securityContext":{"runAsUser":1000}}}}`, "", "1000"}},
	{"ka.req.pod.run_as_group", "Group id of the requested pod.", NoArg, "", at(audit.RequestObject, "spec", "securityContext", "runAsGroup"),
		Example{`{"requestObject":{"spec":{"securityContext":{"runAsGroup":1000}}}}`, "", "1000"}},
	{"ka.req.role.rules", "Rules of the requested role, each as JSON.", NoArg, "", each(audit.RequestObject, "rules"),
		Example{`{"requestObject":{"rules":[{"verbs":["get"],"resources":["pods"]}]}}`, "", `({"verbs":["get"],"resources":["pods"]})`}},
	{"ka.req.role.rules.apiGroups", "API groups of the rules of the requested role; the core group is the empty text.", OptionalIndex, "number of a rule", requestedRules("apiGroups"),
		Example{`{"requestObject":{"rules":[{"apiGroups":["apps","batch"]}]}}`, "", "(apps,batch)"}},
	{"ka.req.role.rules.nonResourceURLs", "Paths outside resources of the rules of the requested role.", OptionalIndex, "number of a rule", requestedRules("nonResourceURLs"),
		Example{`{"requestObject":{"rules":[{"nonResourceURLs":["/metrics"]}]}}`, "", "(/metrics)"}},
	{"ka.req.role.rules.verbs", "Verbs of the rules of the requested role.", OptionalIndex, "number of a rule", requestedRules("verbs"),
		Example{`{"requestObject":{"rules":[{"verbs":["get"]},{"verbs":["list"]}]}}`, "1", "(list)"}},
	{"ka.req.role.rules.resources", "Resources of the rules of the requested role.", OptionalIndex, "number of a rule", requestedRules("resources"),
		Example{`{"requestObject":{"rules":[{"resources":["pods","secrets"]}]}}`, "", "(pods,secrets)"}},
	{"ka.req.pod.fs_group", "Group id for the volumes of the requested pod.", NoArg, "", at(audit.RequestObject, "spec", "securityContext", "fsGroup"),
		Example{`{"requestObject":{"spec":{"securityContext":{"fsGroup":2000}}}}`, "", "2000"}},
	{"ka.req.pod.supplemental_groups", "Further group ids of the requested pod.", NoArg, "", each(audit.RequestObject, "spec", "securityContext", "supplementalGroups"),
		Example{`{"requestObject":{"spec":{"securityContext":{"supplementalGroups":[1,2]}}}}`, "", "(1,2)"}},
	{"ka.req.service.type", "Type of the requested Service.", NoArg, "", at(audit.RequestObject, "spec", "type"),
		Example{`{"requestObject":{"spec":{"type":"NodePort"}}}`, "", "NodePort"}},
	// The official field yields all ports in one text, with and without an index.
	{"ka.req.service.ports", "Ports of the requested Service, each as JSON.", OptionalIndex, "number of a port",
		requested("spec", "ports", func(port audit.Node, out *Value) { out.AddNode(port) }),
		Example{`{"requestObject":{"spec":{"ports":[{"port":80},{"port":443}]}}}`, "1", `({"port":443})`}},
	{"ka.req.pod.volumes.hostpath", "Paths of the host that the requested pod mounts.", OptionalIndex, "number of a volume",
		requested("spec", "volumes", func(v audit.Node, out *Value) { out.AddNode(v.Path("hostPath", "path")) }),
		Example{`{"requestObject":{"spec":{"volumes":[{"name":"a","hostPath":{"path":"/etc"}},{"name":"b","emptyDir":{}}]}}}`, "", "(/etc)"}},
	{"ka.req.volume.hostpath", "Deprecated: whether the requested pod mounts a path of the host, as text; a * at the end of the path stands for anything. Use ka.pod.hostpath.under.", RequiredKey, "path, or beginning of a path and *",
		textFor(func(e *Event, key string, out *Value) {
			volumes := e.Get(audit.RequestObject).Path("spec", "volumes")
			if !volumes.Exists() {
				return
			}
			prefix := len(key) > 0 && key[len(key)-1] == '*'
			for i := range volumes.Len() {
				p := volumes.At(i).Path("hostPath", "path").Bytes()
				if p != nil && (string(p) == key || prefix && bytes.HasPrefix(p, []byte(key[:len(key)-1]))) {
					out.AddString("true")
					return
				}
			}
			out.AddString("false")
		}), Example{`{"requestObject":{"spec":{"volumes":[{"hostPath":{"path":"/etc/ssl"}}]}}}`, "/etc*", "true"}},
	{"ka.req.pod.volumes.flexvolume_driver", "Drivers of the flexVolumes of the requested pod.", OptionalIndex, "number of a volume",
		requested("spec", "volumes", func(v audit.Node, out *Value) { out.AddNode(v.Path("flexVolume", "driver")) }),
		Example{`{"requestObject":{"spec":{"volumes":[{"flexVolume":{"driver":"acme/disk"}}]}}}`, "", "(acme/disk)"}},
	{"ka.req.pod.volumes.volume_type", "Types of the volumes of the requested pod: hostPath, secret, emptyDir.", OptionalIndex, "number of a volume",
		requested("spec", "volumes", func(v audit.Node, out *Value) {
			v.Each(func(key []byte, _ audit.Node) {
				if string(key) != "name" {
					out.AddText(key)
				}
			})
		}), Example{`{"requestObject":{"spec":{"volumes":[{"name":"a","hostPath":{}},{"name":"b","secret":{}}]}}}`, "", "(hostPath,secret)"}},
	{"ka.resp.name", "Name of the object in the response.", NoArg, "", at(audit.ResponseObject, "metadata", "name"),
		Example{`{"responseObject":{"metadata":{"name":"web-1"}}}`, "", "web-1"}},
	{"ka.response.code", "HTTP status of the response, as text. To compare it as a number use ka.code.", NoArg, "", at(audit.ResponseStatus, "code"),
		Example{`{"responseStatus":{"code":403}}`, "", "403"}},
	{"ka.response.reason", "Reason of the response's status: Forbidden, AlreadyExists.", NoArg, "", at(audit.ResponseStatus, "reason"),
		Example{`{"responseStatus":{"reason":"Forbidden"}}`, "", "Forbidden"}},
	{"ka.useragent", "User agent the client gave.", NoArg, "", at(audit.UserAgent),
		Example{`{"userAgent":"kubectl/v1.36.3"}`, "", "kubectl/v1.36.3"}},
	// The official field looks in the wrong place and never exists.
	{"ka.sourceips", "Addresses the request came from: what proxies and the client claim, the peer of the API server last.", OptionalIndex, "number of an address",
		Extractor{Type: Text, List: true, read: func(e *Event, a *Argument, out *Value) {
			pick(e.Get(audit.SourceIPs), a, out.AddNode)
		}}, Example{`{"sourceIPs":["192.0.2.7","10.0.0.1"]}`, "1", "(10.0.0.1)"}},
	{"ka.cluster.name", "Name of the cluster, as this plugin's configuration or the cloud provider gives it.", NoArg, "",
		text(func(e *Event, out *Value) {
			if name := e.Get(audit.Origin).Get("cluster"); name.Exists() {
				out.AddNode(name)
				return
			}
			out.AddNode(e.annotation("cluster_name"))
		}), Example{`{"annotations":{"cluster_name":"prod-eu"}}`, "", "prod-eu"}},
}

// requestedContainerFields are the official fields that exist for each of a pod's three lists of containers.
func requestedContainerFields(list, what string, hostPorts bool) Table {
	prefix := "ka.req.pod." + list + "."
	example := func(container, arg, want string) Example {
		return Example{`{"requestObject":{"spec":{"` + list + `":[` + container + `]}}}`, arg, want}
	}
	security := func(name, doc, key, value string) Field {
		return Field{prefix + name, doc + " of the " + what + " that say it.", OptionalIndex, "number of a container",
			requested("spec", list, func(c audit.Node, out *Value) { out.AddNode(c.Path("securityContext", key)) }),
			example(`{"securityContext":{"`+key+`":`+value+`}}`, "", "("+value+")")}
	}
	// The official fields look for the ids outside the security context and always yield 0.
	effective := func(name, doc, key string) Field {
		return Field{prefix + name, doc + " the " + what + " run with: their own, else the pod's, else 0.", OptionalIndex, "number of a container",
			Extractor{Type: Text, List: true, read: func(e *Event, a *Argument, out *Value) {
				spec := e.Get(audit.RequestObject).Get("spec")
				pod := spec.Path("securityContext", key)
				pick(spec.Get(list), a, func(c audit.Node) {
					switch own := c.Path("securityContext", key); {
					case own.Exists():
						out.AddNode(own)
					case pod.Exists():
						out.AddNode(pod)
					default:
						out.AddString("0")
					}
				})
			}},
			Example{`{"requestObject":{"spec":{"securityContext":{"` + key + `":7},"` + list + `":[{},{"securityContext":{"` + key + `":8}}]}}}`, "", "(7,8)"}}
	}
	t := Table{
		{prefix + "name", "Names of the " + what + ".", OptionalIndex, "number of a container",
			requested("spec", list, func(c audit.Node, out *Value) { out.AddNode(c.Get("name")) }),
			example(`{"name":"a"},{"name":"b"}`, "", "(a,b)")},
		{prefix + "image", "Images of the " + what + ".", OptionalIndex, "number of a container",
			requested("spec", list, func(c audit.Node, out *Value) { out.AddNode(c.Get("image")) }),
			example(`{"image":"nginx:1.27"}`, "0", "(nginx:1.27)")},
		// The official field cuts at the first colon, so that a registry with a port loses its repository.
		{prefix + "image.repository", "Images of the " + what + " without tag and digest.", OptionalIndex, "number of a container",
			requested("spec", list, func(c audit.Node, out *Value) {
				if i := c.Get("image"); i.IsString() {
					out.AddText(parseImage(i.Bytes()).repository)
				}
			}),
			example(`{"image":"reg.example.com:5000/shop/web:1.2"}`, "", "(reg.example.com:5000/shop/web)")},
		{prefix + "command", "Commands of the " + what + " that have one, each with spaces between its words.", OptionalIndex, "number of a container",
			requested("spec", list, func(c audit.Node, out *Value) { addWords(out, c.Get("command")) }),
			example(`{"command":["sh","-c"]}`, "", "(sh -c)")},
		{prefix + "args", "Arguments of the " + what + " that have some, each with spaces between its words.", OptionalIndex, "number of a container",
			requested("spec", list, func(c audit.Node, out *Value) { addWords(out, c.Get("args")) }),
			example(`{"args":["sleep","60"]}`, "", "(sleep 60)")},
		security("privileged", "Privileged flag", "privileged", "true"),
		security("allow_privilege_escalation", "Flag to allow privilege escalation", "allowPrivilegeEscalation", "true"),
		security("read_only_fs", "Flag for a read-only root file system", "readOnlyRootFilesystem", "true"),
		security("run_as_user", "User id", "runAsUser", "1000"),
		effective("eff_run_as_user", "User ids", "runAsUser"),
		security("run_as_group", "Group id", "runAsGroup", "1000"),
		effective("eff_run_as_group", "Group ids", "runAsGroup"),
		{prefix + "proc_mount", "Kind of /proc mount of the " + what + " that say it.", OptionalIndex, "number of a container",
			requested("spec", list, func(c audit.Node, out *Value) { out.AddNode(c.Path("securityContext", "procMount")) }),
			example(`{"securityContext":{"procMount":"Unmasked"}}`, "", "(Unmasked)")},
		// The official field yields one JSON text a container, which no rule can match.
		{prefix + "add_capabilities", "Linux capabilities added to the " + what + ".", OptionalIndex, "number of a container",
			requested("spec", list, func(c audit.Node, out *Value) { out.AddNodes(c.Path("securityContext", "capabilities", "add")) }),
			example(`{"securityContext":{"capabilities":{"add":["SYS_ADMIN","NET_RAW"]}}}`, "", "(SYS_ADMIN,NET_RAW)")},
	}
	if hostPorts {
		t = append(t, Field{prefix + "host_port", "Ports of the host that the " + what + " ask for; where they ask for none, the container's own ports.", OptionalIndex, "number of a container",
			requested("spec", list, func(c audit.Node, out *Value) {
				ports := c.Get("ports")
				for i := range ports.Len() {
					if p := ports.At(i); p.Get("hostPort").Exists() {
						out.AddNode(p.Get("hostPort"))
					} else {
						out.AddNode(p.Get("containerPort"))
					}
				}
			}),
			example(`{"ports":[{"containerPort":80,"hostPort":8080},{"containerPort":443}]}`, "", "(8080,443)")})
	}
	return t
}

// pick calls visit for every element of an array, or for the one the argument picks.
func pick(array audit.Node, a *Argument, visit func(audit.Node)) {
	if a.Present {
		if n := array.At(a.Index); n.Exists() {
			visit(n)
		}
		return
	}
	for i := range array.Len() {
		visit(array.At(i))
	}
}

// requested reads the elements of a list two keys below the requested object.
func requested(key, list string, read func(element audit.Node, out *Value)) Extractor {
	return Extractor{Type: Text, List: true, read: func(e *Event, a *Argument, out *Value) {
		pick(e.Get(audit.RequestObject).Get(key).Get(list), a, func(n audit.Node) { read(n, out) })
	}}
}

func requestedRules(key string) Extractor {
	return Extractor{Type: Text, List: true, read: func(e *Event, a *Argument, out *Value) {
		pick(e.Get(audit.RequestObject).Get("rules"), a, func(rule audit.Node) { out.AddNodes(rule.Get(key)) })
	}}
}

// eachSubject calls visit for the subjects of a kind that have a name.
func eachSubject(subjects audit.Node, kind string, visit func(audit.Node)) {
	for i := range subjects.Len() {
		if s := subjects.At(i); s.Get("kind").Is(kind) && s.Get("name").Exists() {
			visit(s)
		}
	}
}

func subjectNames(kind string) Extractor {
	return texts(func(e *Event, out *Value) {
		eachSubject(e.Get(audit.RequestObject).Get("subjects"), kind, func(s audit.Node) { out.AddNode(s.Get("name")) })
	})
}

func firstImage(repository bool) Extractor {
	return text(func(e *Event, out *Value) {
		switch n := e.Get(audit.RequestObject).Path("spec", "containers").At(0).Get("image"); {
		case !n.Exists():
		case repository:
			out.AddText(parseImage(n.Bytes()).repository)
		default:
			out.AddNode(n)
		}
	})
}

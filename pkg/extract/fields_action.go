package extract

import (
	"bytes"

	"kaudit/pkg/audit"
)

// What was done, with which outcome, and to which object.
var actionFields = Table{
	{"ka.action", "What the request did: create, update, delete, get, list, watch, or connect for streams and proxies; a server-side apply answered 201 is a create, a patch answered 200 an update.", NoArg, "",
		text(func(e *Event, out *Value) {
			if a := e.action(); a != "" {
				out.AddString(a)
			} else {
				out.AddNode(e.Get(audit.Verb))
			}
		}),
		Example{`{"verb":"patch","responseStatus":{"code":201}}`, "", "create"}},
	{"ka.write", "Whether the request changed something, or would have: any create, update or delete that was not a dry run.", NoArg, "",
		whether((*Event).write),
		Example{`{"verb":"patch","requestURI":"/api/v1/namespaces/shop/pods/web?fieldManager=x"}`, "", "true"}},
	{"ka.read", "Whether the request read: get, list or watch, streams and proxies not included.", NoArg, "",
		whether(func(e *Event) bool {
			switch e.action() {
			case "get", "list", "watch":
				return true
			}
			return false
		}),
		Example{`{"verb":"list"}`, "", "true"}},
	{"ka.success", "Whether the request was carried out: answered 2xx, or 101 for streams.", NoArg, "", whether((*Event).success),
		Example{`{"responseStatus":{"code":201}}`, "", "true"}},
	{"ka.refused", "Whether the request was refused for lack of rights: answered 401 or 403.", NoArg, "",
		whether(func(e *Event) bool { c, _ := e.code(); return c == 401 || c == 403 }),
		Example{`{"responseStatus":{"code":403}}`, "", "true"}},
	{"ka.outcome", "Outcome of the request: success, unauthorized (401), forbidden (403), failure, or pending while there is no answer.", NoArg, "",
		text(func(e *Event, out *Value) {
			switch c, ok := e.code(); {
			case !ok:
				out.AddString("pending")
			case e.success():
				out.AddString("success")
			case c == 401:
				out.AddString("unauthorized")
			case c == 403:
				out.AddString("forbidden")
			default:
				out.AddString("failure")
			}
		}),
		Example{`{"responseStatus":{"code":403}}`, "", "forbidden"}},
	{"ka.done", "Whether this is the event to judge a request by, so that each request counts once: the start of the response of a long-running request (watch, exec, attach, portforward, proxy, log) and of a failed authentication, the end of any other.", NoArg, "",
		whether(func(e *Event) bool {
			switch stage := e.Get(audit.Stage); {
			case stage.Is("ResponseStarted"):
				c, _ := e.code()
				return e.longRunning() || c == 401
			case stage.Is("ResponseComplete"), stage.Is("Panic"):
				return !e.longRunning()
			}
			return false
		}),
		Example{`{"stage":"ResponseComplete","verb":"get"}`, "", "true"}},
	{"ka.namespace.system", "Whether the request was about a namespace of Kubernetes itself: kube-system, kube-public or kube-node-lease.", NoArg, "",
		whether(func(e *Event) bool {
			switch string(e.Get(audit.ObjectRef).Get("namespace").Bytes()) {
			case "kube-system", "kube-public", "kube-node-lease":
				return true
			}
			return false
		}),
		Example{`{"objectRef":{"namespace":"kube-system"}}`, "", "true"}},

	{"ka.obj.kind", "Kind of the resulting object: of the response if it is recorded, else of the request.", NoArg, "", object("kind"),
		Example{`{"verb":"create","requestObject":{"kind":"Pod"}}`, "", "Pod"}},
	{"ka.obj.apiversion", "API group and version of the resulting object.", NoArg, "", object("apiVersion"),
		Example{`{"verb":"create","requestObject":{"apiVersion":"apps/v1"}}`, "", "apps/v1"}},
	{"ka.obj.name", "Name of the resulting object, else of the request's target; of an object to be named by the API server what it begins with.", NoArg, "",
		text(func(e *Event, out *Value) {
			for _, n := range [...]audit.Node{e.meta("name"), e.Get(audit.ObjectRef).Get("name"), e.meta("generateName")} {
				if len(n.Bytes()) > 0 {
					out.AddNode(n)
					return
				}
			}
		}),
		Example{`{"verb":"create","requestObject":{"metadata":{"generateName":"job-"}},"responseObject":{"metadata":{"name":"job-x7"}}}`, "", "job-x7"}},
	{"ka.obj.namespace", "Namespace of the resulting object, else of the request's target.", NoArg, "",
		text(func(e *Event, out *Value) {
			if n := e.meta("namespace"); n.Exists() {
				out.AddNode(n)
				return
			}
			out.AddNode(e.Get(audit.ObjectRef).Get("namespace"))
		}),
		Example{`{"objectRef":{"namespace":"shop"}}`, "", "shop"}},
	{"ka.obj.uid", "UID of the resulting object.", NoArg, "", object("metadata", "uid"),
		Example{`{"responseObject":{"metadata":{"uid":"c0ffee"}}}`, "", "c0ffee"}},
	{"ka.obj.label", "Label of the resulting object, by key.", RequiredKey, "key of the label",
		textFor(func(e *Event, key string, out *Value) { out.AddNode(e.meta("labels").Get(key)) }),
		Example{`{"verb":"create","requestObject":{"metadata":{"labels":{"app":"web"}}}}`, "app", "web"}},
	{"ka.obj.labels", "Labels of the resulting object, each as key=value.", NoArg, "",
		texts(func(e *Event, out *Value) { addPairs(e.meta("labels"), out) }),
		Example{`{"verb":"create","requestObject":{"metadata":{"labels":{"app":"web","tier":"front"}}}}`, "", "(app=web,tier=front)"}},
	{"ka.obj.annotation", "Annotation of the resulting object, by key.", RequiredKey, "key of the annotation",
		textFor(func(e *Event, key string, out *Value) { out.AddNode(e.meta("annotations").Get(key)) }),
		Example{`{"verb":"create","requestObject":{"metadata":{"annotations":{"owner":"shop-team"}}}}`, "owner", "shop-team"}},
	{"ka.obj.annotations.keys", "Keys of the annotations of the resulting object.", NoArg, "",
		texts(func(e *Event, out *Value) { addKeys(e.meta("annotations"), out) }),
		Example{`{"verb":"create","requestObject":{"metadata":{"annotations":{"owner":"shop-team"}}}}`, "", "(owner)"}},
	{"ka.obj.owner.kind", "Kind of the object's controller, such as ReplicaSet; of its first owner if none is the controller.", NoArg, "",
		text(func(e *Event, out *Value) { out.AddNode(e.owner().Get("kind")) }),
		Example{`{"verb":"create","requestObject":{"metadata":{"ownerReferences":[{"kind":"ReplicaSet","name":"web-7d","controller":true}]}}}`, "", "ReplicaSet"}},
	{"ka.obj.owner.name", "Name of the object's controller, or first owner.", NoArg, "",
		text(func(e *Event, out *Value) { out.AddNode(e.owner().Get("name")) }),
		Example{`{"verb":"create","requestObject":{"metadata":{"ownerReferences":[{"kind":"ReplicaSet","name":"web-7d","controller":true}]}}}`, "", "web-7d"}},
	{"ka.obj.owned", "Whether the resulting object has an owner.", NoArg, "",
		whether(func(e *Event) bool { return e.meta("ownerReferences").Len() > 0 }),
		Example{`{"verb":"create","requestObject":{"metadata":{"ownerReferences":[{"kind":"Job","name":"j"}]}}}`, "", "true"}},
	{"ka.obj.finalizers", "Finalizers of the resulting object.", NoArg, "",
		texts(func(e *Event, out *Value) { out.AddNodes(e.meta("finalizers")) }),
		Example{`{"verb":"create","requestObject":{"metadata":{"finalizers":["example.com/hold"]}}}`, "", "(example.com/hold)"}},
	{"ka.obj.value", "Value at a JSON pointer into the resulting object, a string as its text, anything else as JSON.", RequiredKey, "JSON pointer (RFC 6901)",
		pointed(Extractor{Type: Text, read: func(e *Event, a *Argument, out *Value) {
			out.AddNode(e.Object().Follow(a.ready.(audit.Pointer)))
		}}),
		Example{`{"verb":"create","requestObject":{"spec":{"replicas":3}}}`, "/spec/replicas", "3"}},
	{"ka.replicas", "Number of replicas the resulting object asks for.", NoArg, "",
		number(func(e *Event) (uint64, bool) {
			o := e.Object()
			n, ok := o.Path("spec", "replicas").Int()
			if !ok && o.Get("kind").Is("Scale") && e.Has(audit.ResponseObject) {
				return 0, true // the API server leaves a zero out of it
			}
			return uint64(n), ok && n >= 0
		}),
		Example{`{"verb":"update","objectRef":{"resource":"deployments","subresource":"scale"},"requestObject":{"spec":{"replicas":30}}}`, "", "30"}},

	// Data of ConfigMaps and Secrets.
	{"ka.data.keys", "Keys of the data of the resulting ConfigMap or Secret.", NoArg, "",
		texts(func(e *Event, out *Value) {
			for _, part := range dataParts {
				addKeys(e.Object().Get(part), out)
			}
		}),
		Example{`{"verb":"create","requestObject":{"data":{"a":"1"},"binaryData":{"b":"AA=="}}}`, "", "(a,b)"}},
	{"ka.data.value", "Value in the data of the resulting ConfigMap or Secret, by key, as it stands.", RequiredKey, "key of the data",
		textFor(func(e *Event, key string, out *Value) {
			for _, part := range dataParts {
				if v := e.Object().Get(part).Get(key); v.Exists() {
					out.AddNode(v)
					return
				}
			}
		}),
		Example{`{"verb":"create","requestObject":{"data":{"a":"1"}}}`, "a", "1"}},
	{"ka.data.credentials", "What looks like credentials in the data of the resulting ConfigMap or in the environment and arguments of the resulting pod: private-key, aws-access-key, token, password.", NoArg, "",
		texts((*Event).credentials),
		Example{`{"verb":"create","objectRef":{"resource":"configmaps"},"requestObject":{"data":{"db_password":"hunter2"}}}`, "", "(password)"}},
	{"ka.secret.type", "Type of the resulting Secret.", NoArg, "",
		text(func(e *Event, out *Value) {
			if e.target().is("secrets", "") {
				out.AddNode(e.Object().Get("type"))
			}
		}),
		Example{`{"verb":"create","objectRef":{"resource":"secrets"},"requestObject":{"type":"kubernetes.io/service-account-token"}}`, "", "kubernetes.io/service-account-token"}},

	// Services, ingresses, volumes, nodes, webhooks.
	{"ka.service.type", "Type of the resulting Service.", NoArg, "",
		text(func(e *Event, out *Value) {
			if e.target().is("services", "") {
				out.AddNode(e.Object().Path("spec", "type"))
			}
		}),
		Example{`{"verb":"create","objectRef":{"resource":"services"},"requestObject":{"spec":{"type":"LoadBalancer"}}}`, "", "LoadBalancer"}},
	{"ka.service.external_ips", "External addresses of the resulting Service.", NoArg, "",
		texts(func(e *Event, out *Value) {
			if e.target().is("services", "") {
				out.AddNodes(e.Object().Path("spec", "externalIPs"))
			}
		}),
		Example{`{"verb":"create","objectRef":{"resource":"services"},"requestObject":{"spec":{"externalIPs":["198.51.100.4"]}}}`, "", "(198.51.100.4)"}},
	{"ka.service.node_ports", "Node ports of the resulting Service.", NoArg, "",
		texts(func(e *Event, out *Value) {
			ports := e.Object().Path("spec", "ports")
			for i := 0; i < ports.Len() && e.target().is("services", ""); i++ {
				out.AddNode(ports.At(i).Get("nodePort"))
			}
		}),
		Example{`{"verb":"create","objectRef":{"resource":"services"},"requestObject":{"spec":{"ports":[{"port":80,"nodePort":30007}]}}}`, "", "(30007)"}},
	{"ka.ingress.hosts", "Host names of the resulting Ingress; an empty text for a rule that takes every host.", NoArg, "",
		texts(func(e *Event, out *Value) {
			rules := e.Object().Path("spec", "rules")
			for i := 0; i < rules.Len() && e.target().is("ingresses", ""); i++ {
				out.AddText(rules.At(i).Get("host").Bytes())
			}
		}),
		Example{`{"verb":"create","objectRef":{"resource":"ingresses"},"requestObject":{"spec":{"rules":[{"host":"shop.example.com"}]}}}`, "", "(shop.example.com)"}},
	{"ka.ingress.tls", "Whether the resulting Ingress has TLS.", NoArg, "",
		whetherIn(func(e *Event) (bool, bool) {
			return e.Object().Path("spec", "tls").Len() > 0, e.target().is("ingresses", "") && e.Object().Exists()
		}),
		Example{`{"verb":"create","objectRef":{"resource":"ingresses"},"requestObject":{"spec":{"tls":[{"hosts":["a"]}]}}}`, "", "true"}},
	{"ka.volume.host_path", "Path of the host that the resulting PersistentVolume stands for.", NoArg, "",
		text(func(e *Event, out *Value) {
			if !e.target().is("persistentvolumes", "") {
				return
			}
			spec := e.Object().Get("spec")
			if p := spec.Path("hostPath", "path"); p.Exists() {
				out.AddNode(p)
				return
			}
			out.AddNode(spec.Path("local", "path"))
		}),
		Example{`{"verb":"create","objectRef":{"resource":"persistentvolumes"},"requestObject":{"spec":{"hostPath":{"path":"/etc"}}}}`, "", "/etc"}},
	{"ka.node.unschedulable", "Whether the resulting Node takes no new pods.", NoArg, "",
		whetherIn(func(e *Event) (bool, bool) {
			return e.Object().Path("spec", "unschedulable").IsTrue(), e.target().is("nodes", "") && e.Object().Exists()
		}),
		Example{`{"verb":"patch","objectRef":{"resource":"nodes","name":"n"},"requestObject":{"spec":{"unschedulable":true}}}`, "", "true"}},
	{"ka.webhook.clients", "Where the resulting webhook configuration sends objects: URLs, or namespace/name of services.", NoArg, "",
		texts(func(e *Event, out *Value) {
			hooks := e.Object().Get("webhooks")
			for i := range hooks.Len() {
				client := hooks.At(i).Get("clientConfig")
				if u := client.Get("url"); u.Exists() {
					out.AddNode(u)
				} else if s := client.Get("service"); s.Exists() {
					out.Scratch = append(append(append(out.Scratch[:0], s.Get("namespace").Bytes()...), '/'), s.Get("name").Bytes()...)
					out.AddText(out.Scratch)
				}
			}
		}),
		Example{`{"verb":"create","requestObject":{"webhooks":[{"clientConfig":{"url":"https://a.example.com"}},{"clientConfig":{"service":{"namespace":"n","name":"s"}}}]}}`, "", "(https://a.example.com,n/s)"}},

	// Credentials that are made.
	{"ka.token.expiration", "Life time in seconds of the requested service account token.", NoArg, "",
		number(func(e *Event) (uint64, bool) {
			n, ok := e.tokenRequest().Path("spec", "expirationSeconds").Int()
			return uint64(n), ok && n >= 0
		}),
		Example{`{"verb":"create","objectRef":{"resource":"serviceaccounts","subresource":"token"},"requestObject":{"spec":{"expirationSeconds":86400}}}`, "", "86400"}},
	{"ka.token.audiences", "Audiences of the requested service account token.", NoArg, "",
		texts(func(e *Event, out *Value) { out.AddNodes(e.tokenRequest().Path("spec", "audiences")) }),
		Example{`{"verb":"create","objectRef":{"resource":"serviceaccounts","subresource":"token"},"requestObject":{"spec":{"audiences":["vault"]}}}`, "", "(vault)"}},
	{"ka.token.bound", "Kind of the object the requested service account token is bound to.", NoArg, "",
		text(func(e *Event, out *Value) { out.AddNode(e.tokenRequest().Path("spec", "boundObjectRef", "kind")) }),
		Example{`{"verb":"create","objectRef":{"resource":"serviceaccounts","subresource":"token"},"requestObject":{"spec":{"boundObjectRef":{"kind":"Pod","name":"web-1"}}}}`, "", "Pod"}},
	{"ka.csr.signer", "Signer the resulting CertificateSigningRequest asks.", NoArg, "", csr("spec", "signerName"),
		Example{`{"verb":"create","objectRef":{"resource":"certificatesigningrequests"},"requestObject":{"spec":{"signerName":"kubernetes.io/kube-apiserver-client"}}}`, "", "kubernetes.io/kube-apiserver-client"}},
	{"ka.csr.requester", "User who made the resulting CertificateSigningRequest.", NoArg, "", csr("spec", "username"),
		Example{`{"verb":"update","objectRef":{"resource":"certificatesigningrequests","subresource":"approval"},"requestObject":{"spec":{"username":"jane"}}}`, "", "jane"}},
	{"ka.csr.subject", "Subject of the certificate that is requested (RFC 2253), read from the PEM text.", NoArg, "",
		text(func(e *Event, out *Value) {
			if s, ok := e.csrSubject(); ok {
				out.AddString(s.String())
			}
		}),
		Example{`{"verb":"create","objectRef":{"resource":"certificatesigningrequests"},"requestObject":{"spec":{"request":"` + exampleCSR + `"}}}`, "", "CN=jane,O=system:masters"}},
	{"ka.csr.subject.name", "Common name, and so the user, of the certificate that is requested.", NoArg, "",
		text(func(e *Event, out *Value) {
			if s, ok := e.csrSubject(); ok {
				out.AddString(s.CommonName)
			}
		}),
		Example{`{"verb":"create","objectRef":{"resource":"certificatesigningrequests"},"requestObject":{"spec":{"request":"` + exampleCSR + `"}}}`, "", "jane"}},
	{"ka.csr.subject.groups", "Organizations, and so the groups, of the certificate that is requested.", NoArg, "",
		texts(func(e *Event, out *Value) {
			if s, ok := e.csrSubject(); ok {
				for _, o := range s.Organization {
					out.AddString(o)
				}
			}
		}),
		Example{`{"verb":"create","objectRef":{"resource":"certificatesigningrequests"},"requestObject":{"spec":{"request":"` + exampleCSR + `"}}}`, "", "(system:masters)"}},
	{"ka.csr.approved", "Whether the resulting CertificateSigningRequest is approved.", NoArg, "",
		whetherIn(func(e *Event) (bool, bool) {
			if string(e.target().name) != "certificatesigningrequests" || !e.Object().Exists() {
				return false, false
			}
			conditions := e.Object().Path("status", "conditions")
			for i := range conditions.Len() {
				if c := conditions.At(i); c.Get("type").Is("Approved") && !c.Get("status").Is("False") {
					return true, true
				}
			}
			return false, true
		}),
		Example{`{"verb":"update","objectRef":{"resource":"certificatesigningrequests","subresource":"approval"},"requestObject":{"status":{"conditions":[{"type":"Approved","status":"True"}]}}}`, "", "true"}},
}

var dataParts = [...]string{"data", "binaryData", "stringData"}

func object(path ...string) Extractor {
	return text(func(e *Event, out *Value) { out.AddNode(e.Object().Path(path...)) })
}

func csr(path ...string) Extractor {
	return text(func(e *Event, out *Value) {
		if string(e.target().name) == "certificatesigningrequests" {
			out.AddNode(e.Object().Path(path...))
		}
	})
}

func (e *Event) tokenRequest() audit.Node {
	if e.target().is("serviceaccounts", "token") {
		return e.Get(audit.RequestObject)
	}
	return audit.Node{}
}

// action returns what the request did, or "" if it was about no resource and its verb is what it is.
func (e *Event) action() string {
	r := e.target()
	if len(r.name) > 0 {
		switch string(r.subresource) {
		case "exec", "attach", "portforward", "proxy":
			return "connect"
		}
	}
	switch v := e.Get(audit.Verb).Bytes(); string(v) {
	case "create", "post":
		return "create"
	case "patch":
		if c, ok := e.code(); ok && c == 201 {
			return "create"
		}
		return "update"
	case "update", "put":
		if c, ok := e.code(); ok && c == 201 && string(v) == "update" {
			return "create" // an update of what was not there
		}
		return "update"
	case "delete", "deletecollection":
		return "delete"
	case "get", "head":
		return "get"
	case "list":
		return "list"
	case "watch":
		return "watch"
	}
	return ""
}

// longRunning reports whether the API server treats the request as long-running: then it tells of the start of the
// response too (kubernetes/kubernetes: the check that pkg/controlplane/apiserver/config.go passes on).
func (e *Event) longRunning() bool {
	switch string(e.target().subresource) {
	case "attach", "exec", "log", "portforward", "proxy":
		return true
	}
	return e.verb("watch", "proxy")
}

func (e *Event) write() bool {
	switch e.action() {
	case "create", "update", "delete":
		return !e.dryRun()
	}
	return false
}

func (e *Event) success() bool {
	c, _ := e.code()
	return c >= 200 && c < 300 || c == 101
}

func (e *Event) owner() audit.Node {
	refs := e.meta("ownerReferences")
	for i := range refs.Len() {
		if r := refs.At(i); r.Get("controller").IsTrue() {
			return r
		}
	}
	return refs.At(0)
}

func addPairs(object audit.Node, out *Value) {
	object.Each(func(key []byte, value audit.Node) {
		out.Scratch = append(append(append(out.Scratch[:0], key...), '='), value.Bytes()...)
		out.AddText(out.Scratch)
	})
}

// contain reports whether text has word in it, letters of either case; word is lower case.
func contain(text []byte, word string) bool {
	for i := 0; i+len(word) <= len(text); i++ {
		k := 0
		for k < len(word) && lower(text[i+k]) == word[k] {
			k++
		}
		if k == len(word) {
			return true
		}
	}
	return false
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}

func hasAny(text []byte, words ...string) bool {
	for _, w := range words {
		if bytes.Contains(text, []byte(w)) {
			return true
		}
	}
	return false
}

// Package noise tells the events that a cluster at rest has most of and no rule wants: heartbeats of nodes, leader election
// of the control plane, probes of its health.
//
// They are dropped, so nothing that somebody does may pass for one. An event is noise only if Kubernetes itself makes such
// events again and again, in exactly this form, and nothing about it is odd: it succeeded, was made in nobody else's name,
// by the program whose work it is, from one private address, and admission had nothing to say. Who holds a node's
// credentials can make one all the same, and has then said that the node is alive. Leases of service accounts are none:
// whoever is in a pod has its token, and a lease that is taken from another stops a controller.
//
// It is not the list of what audit policies leave out (pkg/policy), which is longer: an event that was recorded was wanted
// by somebody.
package noise

import (
	"bytes"
	"net/netip"
	"regexp"
	"slices"

	"kaudit/pkg/audit"
)

// A Kind is a kind of noise.
type Kind uint8

// The kinds.
const (
	// None: the event is not noise.
	None Kind = iota
	// Lease: a node, the scheduler or the controller manager renewed its lease, or looked at it.
	Lease
	// Probe: a kubelet or a load balancer asked whether the API server is well, and it is.
	Probe
	// NodeStatus: a node reported its conditions, and nothing else.
	NodeStatus

	Kinds = int(NodeStatus) + 1
)

func (k Kind) String() string { return [Kinds]string{"none", "lease", "probe", "node_status"}[k] }

// What noise asks for.
var (
	api          = []byte("/api")
	nodes        = []byte("/api/v1/nodes/")
	nodeLeases   = []byte("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/")
	systemLeases = []byte("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/")
	status       = []byte("/status")

	// health are the paths of probes, and of single checks below them.
	health = regexp.MustCompile(`^/(?:healthz|livez|readyz)(?:/[A-Za-z0-9][A-Za-z0-9.-]*)*$`)
	// timeout is the one parameter that clients of Kubernetes add by themselves.
	timeout = regexp.MustCompile(`^timeout=[0-9]+m?s$`)
)

// Who asks.
var (
	// prober is a kubelet or a load balancer of AWS or Google; HAProxy does not say who it is.
	prober = regexp.MustCompile(`^(?:(?:kube-probe|ELB-HealthChecker|GoogleHC)/[0-9.+]+)?$`)
	// release is what stands behind the name of a component in its user agent (k8s.io/client-go: rest/config.go,
	// DefaultKubernetesUserAgent), for releases of Kubernetes and of distributions. There is no room for free text: rules
	// look there for the names of tools.
	release = regexp.MustCompile(`^v[0-9.]+(?:[-+](?:eks-|gke\.|k3s|rke2r)?[0-9a-f.]+)* ` +
		`\((?:linux|windows)/(?:amd64|arm64|arm|386|ppc64le|s390x|riscv64)\) kubernetes/(?:[0-9a-f]+|unknown)(?:/leader-election)?$`)
)

// Of returns which noise the event is. Nearly all that is none is told by how its URI begins.
func Of(e *audit.Event) Kind {
	uri := e.Get(audit.RequestURI).Bytes()
	path, query, _ := bytes.Cut(uri, []byte{'?'})
	kind := None
	if !bytes.HasPrefix(path, api) {
		if health.Match(uri) && isProbe(e) {
			kind = Probe
		}
	} else if name, ok := bytes.CutPrefix(path, nodeLeases); ok {
		if isNode(e, name) && isLease(e, "kube-node-lease", name) {
			kind = Lease
		}
	} else if name, ok := bytes.CutPrefix(path, systemLeases); ok {
		if isComponent(e, name) && isLease(e, "kube-system", name) {
			kind = Lease
		}
	} else if name, ok := bytes.CutPrefix(path, nodes); ok {
		if name, ok = bytes.CutSuffix(name, status); ok && isNode(e, name) && isHeartbeat(e, name) {
			kind = NodeStatus
		}
	}
	if kind == None || len(query) > 0 && !timeout.Match(query) || !ordinary(e) {
		return None
	}
	return kind
}

// ordinary reports whether nothing is odd about a request, whatever it was: its event is the last one, of success, and
// tells of nothing besides.
func ordinary(e *audit.Event) bool {
	code, _ := e.Get(audit.ResponseStatus).Get("code").Int()
	ips := e.Get(audit.SourceIPs)
	if code != 200 || !e.Get(audit.Stage).Is("ResponseComplete") || ips.Len() != 1 || e.Get(audit.User).Get("groups").Has("system:masters") ||
		e.Has(audit.ImpersonatedUser) || e.Has(audit.AuthenticationMetadata) || e.Get(audit.Origin).Get("salvaged").Exists() {
		return false
	}
	ip, err := netip.ParseAddr(string(ips.At(0).Bytes()))
	if err != nil || !ip.IsPrivate() && !ip.IsLoopback() {
		return false
	}
	// An annotation besides is a finding of admission, a failure of it, or a deprecation.
	const decision, reason = "authorization.k8s.io/decision", "authorization.k8s.io/reason"
	noted := e.Get(audit.Annotations)
	return !e.Has(audit.Annotations) || only(noted, decision, reason) && noted.Get(decision).Is("allow")
}

// isProbe reports whether nobody known asked for a path and sent nothing.
func isProbe(e *audit.Event) bool {
	user := e.Get(audit.User)
	groups := user.Get("groups")
	return e.Get(audit.Verb).Is("get") && !e.Has(audit.ObjectRef) && !e.Has(audit.RequestObject) && !e.Has(audit.ResponseObject) &&
		user.Get("username").Is("system:anonymous") && groups.Len() == 1 && groups.Has("system:unauthenticated") &&
		prober.Match(e.Get(audit.UserAgent).Bytes())
}

// isLease reports whether the request is about this lease and no other, and neither makes nor deletes it.
func isLease(e *audit.Event, namespace string, name []byte) bool {
	verb := e.Get(audit.Verb)
	return (verb.Is("update") || verb.Is("get")) && about(e, "coordination.k8s.io", "leases", "", namespace, name) &&
		absentOr(e, audit.RequestObject, "Lease") && absentOr(e, audit.ResponseObject, "Lease")
}

// isHeartbeat reports whether the request changes the conditions of a node and nothing else: a node may also move itself,
// in the status, to another's address. What is not recorded is not known.
func isHeartbeat(e *audit.Event, name []byte) bool {
	patch := e.Get(audit.RequestObject)
	return e.Get(audit.Verb).Is("patch") && about(e, "", "nodes", "status", "", name) &&
		only(patch, "status") && only(patch.Get("status"), "conditions", "$setElementOrder/conditions") &&
		absentOr(e, audit.ResponseObject, "Node")
}

// about reports whether the event itself names the object that its URI does.
func about(e *audit.Event, group, resource, subresource, namespace string, name []byte) bool {
	ref := e.Get(audit.ObjectRef)
	return string(ref.Get("resource").Bytes()) == resource && string(ref.Get("subresource").Bytes()) == subresource &&
		string(ref.Get("apiGroup").Bytes()) == group && string(ref.Get("namespace").Bytes()) == namespace &&
		bytes.Equal(ref.Get("name").Bytes(), name)
}

// absentOr reports whether a body is not recorded, or can be read and is an object of this kind.
func absentOr(e *audit.Event, body audit.Member, kind string) bool {
	return !e.Has(body) || e.Get(body).Get("kind").Is(kind)
}

// isNode reports whether the kubelet of this node made the request.
func isNode(e *audit.Event, name []byte) bool {
	return isUser(e, "system:node:", name) && e.Get(audit.User).Get("groups").Has("system:nodes") && isProgram(e, "kubelet")
}

// isComponent reports whether it was made by the component of this name, which its lease has, too.
func isComponent(e *audit.Event, name []byte) bool {
	switch component := string(name); component {
	case "kube-controller-manager", "kube-scheduler":
		return isUser(e, "system:", name) && isProgram(e, component)
	}
	return false
}

func isUser(e *audit.Event, prefix string, name []byte) bool {
	user, ok := bytes.CutPrefix(e.Get(audit.User).Get("username").Bytes(), []byte(prefix))
	return ok && len(name) > 0 && bytes.Equal(user, name)
}

// isProgram reports whether a component says that it is itself, or the program in which its distribution has it.
func isProgram(e *audit.Event, component string) bool {
	program, rest, _ := bytes.Cut(e.Get(audit.UserAgent).Bytes(), []byte{'/'})
	switch string(program) {
	case component, "k3s", "kubelite":
		return release.Match(rest)
	}
	return false
}

// only reports whether n is an object with some of these keys, each once, and no other: of a key that stands twice the
// API server may have taken the one that is not looked at here.
func only(n audit.Node, keys ...string) bool {
	is := n.IsObject()
	n.Each(func(key []byte, _ audit.Node) {
		i := slices.Index(keys, string(key))
		if is = is && i >= 0; is {
			keys = slices.Delete(keys, i, i+1)
		}
	})
	return is
}

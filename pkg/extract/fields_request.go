package extract

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"kaudit/pkg/audit"
)

// The request as it was: what stands in the event beside the official fields.
var requestFields = Table{
	{"ka.value", "Value at a JSON pointer into the event, a string as its text, anything else as JSON.", RequiredKey, "JSON pointer (RFC 6901)",
		pointed(Extractor{Type: Text, read: func(e *Event, a *Argument, out *Value) { out.AddNode(e.At(a.ready.(audit.Pointer))) }}),
		Example{`{"requestObject":{"spec":{"replicas":3}}}`, "/requestObject/spec/replicas", "3"}},
	{"ka.values", "Values at a JSON pointer into the event in which * stands for every element of a list or object.", RequiredKey, "JSON pointer (RFC 6901) with *",
		pointed(Extractor{Type: Text, List: true, read: func(e *Event, a *Argument, out *Value) { e.All(a.ready.(audit.Pointer), out.AddNode) }}),
		Example{`{"requestObject":{"spec":{"tls":[{"hosts":["a"]},{"hosts":["b"]}]}}}`, "/requestObject/spec/tls/*/hosts/*", "(a,b)"}},
	{"ka.number", "Whole number at a JSON pointer into the event.", RequiredKey, "JSON pointer (RFC 6901)",
		pointed(Extractor{Type: Number, read: func(e *Event, a *Argument, out *Value) {
			if n, ok := e.At(a.ready.(audit.Pointer)).Int(); ok && n >= 0 {
				out.AddNumber(uint64(n))
			}
		}}),
		Example{`{"requestObject":{"spec":{"replicas":3}}}`, "/requestObject/spec/replicas", "3"}},
	{"ka.level", "Level the event was recorded at: Metadata, Request or RequestResponse.", NoArg, "", at(audit.Level),
		Example{`{"level":"Metadata"}`, "", "Metadata"}},
	{"ka.annotation", "Annotation of the audit event, by key.", RequiredKey, "key of the annotation",
		textFor(func(e *Event, key string, out *Value) { out.AddNode(e.annotation(key)) }),
		Example{`{"annotations":{"k8s.io/deprecated":"true"}}`, "k8s.io/deprecated", "true"}},
	{"ka.annotations.keys", "Keys of the audit event's annotations.", NoArg, "",
		texts(func(e *Event, out *Value) { addKeys(e.Get(audit.Annotations), out) }),
		Example{`{"annotations":{"k8s.io/deprecated":"true","k8s.io/removed-release":"1.25"}}`, "", "(k8s.io/deprecated,k8s.io/removed-release)"}},

	// The answer.
	{"ka.code", "HTTP status of the response.", NoArg, "", number((*Event).code),
		Example{`{"responseStatus":{"code":403}}`, "", "403"}},
	{"ka.status", "Status of the response: Success or Failure; the API server leaves it out of most successes.", NoArg, "", at(audit.ResponseStatus, "status"),
		Example{`{"responseStatus":{"status":"Failure"}}`, "", "Failure"}},
	{"ka.message", "Message of the response's status, in words.", NoArg, "", at(audit.ResponseStatus, "message"),
		Example{`{"responseStatus":{"message":"pods is forbidden"}}`, "", "pods is forbidden"}},
	{"ka.latency", "Time between receiving the request and the end of this stage, in nanoseconds: over a second is ka.latency > 1000000000.", NoArg, "",
		Extractor{Type: Duration, read: func(e *Event, _ *Argument, out *Value) {
			if d, ok := e.latency(); ok {
				out.AddNumber(uint64(d))
			}
		}},
		Example{`{"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:01.500000Z"}`, "", "1500000000"}},
	{"ka.latency.ms", "Time between receiving the request and the end of this stage, in milliseconds.", NoArg, "",
		number(func(e *Event) (uint64, bool) {
			d, ok := e.latency()
			return uint64(d / time.Millisecond), ok
		}),
		Example{`{"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:01.500000Z"}`, "", "1500"}},
	{"ka.received", "When the request was received, in nanoseconds since 1970.", NoArg, "",
		Extractor{Type: Moment, read: func(e *Event, _ *Argument, out *Value) {
			if t, ok := e.Received(); ok {
				out.AddNumber(uint64(t.UnixNano()))
			}
		}},
		Example{`{"requestReceivedTimestamp":"2026-01-01T00:00:00.000001Z"}`, "", "1767225600000001000"}},

	// The target.
	{"ka.target.apigroup", "API group of the resource the request was about; the core group is the empty text.", NoArg, "",
		text(func(e *Event, out *Value) {
			if e.Has(audit.ObjectRef) {
				out.AddText(e.target().group)
			}
		}),
		Example{`{"objectRef":{"resource":"roles","apiGroup":"rbac.authorization.k8s.io","apiVersion":"v1"}}`, "", "rbac.authorization.k8s.io"}},
	{"ka.target.apiversion", "API version of the resource the request was about, without its group.", NoArg, "",
		text(func(e *Event, out *Value) {
			if v := e.target().version; len(v) > 0 {
				out.AddText(v)
			}
		}),
		Example{`{"objectRef":{"resource":"deployments","apiGroup":"apps","apiVersion":"v1"}}`, "", "v1"}},
	{"ka.target.path", "Resource and subresource the request was about, as RBAC writes them: pods, pods/exec.", NoArg, "",
		text(func(e *Event, out *Value) {
			r := e.target()
			if len(r.name) == 0 {
				return
			}
			out.Scratch = append(out.Scratch[:0], r.name...)
			if len(r.subresource) > 0 {
				out.Scratch = append(append(out.Scratch, '/'), r.subresource...)
			}
			out.AddText(out.Scratch)
		}),
		Example{`{"objectRef":{"resource":"pods","subresource":"exec"}}`, "", "pods/exec"}},
	{"ka.target.uid", "UID of the object the request was about.", NoArg, "", at(audit.ObjectRef, "uid"),
		Example{`{"objectRef":{"uid":"c0ffee"}}`, "", "c0ffee"}},
	{"ka.target.resourceversion", "Resource version the request named.", NoArg, "", at(audit.ObjectRef, "resourceVersion"),
		Example{`{"objectRef":{"resourceVersion":"17"}}`, "", "17"}},
	{"ka.target.clusterwide", "Whether the request named a resource without naming a namespace.", NoArg, "",
		whether(func(e *Event) bool {
			return len(e.target().name) > 0 && len(e.Get(audit.ObjectRef).Get("namespace").Bytes()) == 0
		}),
		Example{`{"objectRef":{"resource":"secrets"}}`, "", "true"}},

	// The URI.
	{"ka.uri.path", "Path of the request URI, without the query.", NoArg, "",
		text(func(e *Event, out *Value) {
			if u := e.Get(audit.RequestURI); u.IsString() {
				out.AddText(path(u.Bytes()))
			}
		}),
		Example{`{"requestURI":"/api/v1/pods?limit=500"}`, "", "/api/v1/pods"}},
	{"ka.uri.params", "All values of a query parameter of the URI, decoded.", RequiredKey, "name of the parameter",
		textsFor(func(e *Event, key string, out *Value) { e.uriQuery().all(key, out) }),
		Example{`{"requestURI":"/exec?command=sh&command=-c"}`, "command", "(sh,-c)"}},
	{"ka.uri.params.names", "Names of the query parameters of the URI.", NoArg, "",
		texts(func(e *Event, out *Value) {
			for _, p := range e.uriQuery().pairs {
				out.AddText(p.key)
			}
		}),
		Example{`{"requestURI":"/api/v1/pods?limit=500&watch=true"}`, "", "(limit,watch)"}},
	{"ka.dryrun", "Whether the request was a dry run: checked and answered, but not carried out.", NoArg, "", whether((*Event).dryRun),
		Example{`{"requestURI":"/api/v1/pods?dryRun=All"}`, "", "true"}},
	{"ka.fieldmanager", "Name under which the request manages fields.", NoArg, "",
		text(func(e *Event, out *Value) {
			if v, ok := e.uriQuery().first("fieldManager"); ok {
				out.AddText(v)
			}
		}),
		Example{`{"requestURI":"/api/v1/pods?fieldManager=kubectl-create"}`, "", "kubectl-create"}},

	// Where from.
	{"ka.sourceips.joined", "All source addresses in one text.", NoArg, "", joined(each(audit.SourceIPs)),
		Example{`{"sourceIPs":["192.0.2.7","10.0.0.1"]}`, "", "192.0.2.7 10.0.0.1"}},
	{"ka.sourceips.in", "Whether one of the source addresses lies in a network.", RequiredKey, "networks in CIDR notation or addresses, a comma between them",
		networks(func(e *Event) (from, to int) { return 0, e.Get(audit.SourceIPs).Len() }),
		Example{`{"sourceIPs":["192.0.2.7","10.0.0.1"]}`, "192.0.2.0/24", "true"}},
	{"ka.sourceips.net", "Source addresses, to compare with networks: ka.sourceips.net intersects (10.0.0.0/8, 192.0.2.7/32).", NoArg, "",
		Extractor{Type: Network, List: true, read: func(e *Event, _ *Argument, out *Value) {
			for i := range e.Get(audit.SourceIPs).Len() {
				if ip, ok := e.ip(i); ok {
					out.AddAddress(ip)
				}
			}
		}},
		Example{`{"sourceIPs":["192.0.2.7","10.0.0.1"]}`, "", "(192.0.2.7,10.0.0.1)"}},
	{"ka.sourceip", "First source address: what the client or the first proxy claims.", NoArg, "",
		text(func(e *Event, out *Value) { out.AddNode(e.Get(audit.SourceIPs).At(0)) }),
		Example{`{"sourceIPs":["192.0.2.7","10.0.0.1"]}`, "", "192.0.2.7"}},
	{"ka.sourceip.peer", "Last source address: the peer of the API server, the only one nobody can make up.", NoArg, "",
		text(func(e *Event, out *Value) { out.AddNode(lastIP(e)) }),
		Example{`{"sourceIPs":["192.0.2.7","10.0.0.1"]}`, "", "10.0.0.1"}},
	{"ka.sourceip.peer.in", "Whether the last source address lies in a network.", RequiredKey, "networks in CIDR notation or addresses, a comma between them",
		networks(func(e *Event) (from, to int) { n := e.Get(audit.SourceIPs).Len(); return max(0, n-1), n }),
		Example{`{"sourceIPs":["192.0.2.7","10.0.0.1"]}`, "192.0.2.0/24,10.0.0.0/8", "true"}},
	{"ka.sourceip.peer.net", "Last source address, to compare with networks: ka.sourceip.peer.net in (10.0.0.0/8, 2001:db8::/32).", NoArg, "",
		Extractor{Type: Network, read: func(e *Event, _ *Argument, out *Value) {
			if ip, ok := e.peer(); ok {
				out.AddAddress(ip)
			}
		}},
		Example{`{"sourceIPs":["192.0.2.7","10.0.0.1"]}`, "", "10.0.0.1"}},
	{"ka.sourceip.peer.private", "Whether the last source address is private, loopback or link-local (RFC 1918, 4193, 6890, and shared space of RFC 6598).", NoArg, "",
		whetherIn(func(e *Event) (bool, bool) {
			ip, ok := e.peer()
			return ok && private(ip), ok
		}),
		Example{`{"sourceIPs":["192.0.2.7","10.0.0.1"]}`, "", "true"}},
	{"ka.sourceip.peer.public", "Whether the last source address is one of the public Internet.", NoArg, "",
		whetherIn(func(e *Event) (bool, bool) {
			ip, ok := e.peer()
			return ok && !private(ip), ok
		}),
		Example{`{"sourceIPs":["198.51.100.4"]}`, "", "true"}},
	{"ka.sourceips.count", "How many source addresses there are: more than one if the request passed proxies, or claims to.", NoArg, "",
		number(func(e *Event) (uint64, bool) { return uint64(e.Get(audit.SourceIPs).Len()), e.Has(audit.SourceIPs) }),
		Example{`{"sourceIPs":["192.0.2.7","10.0.0.1"]}`, "", "2"}},
	{"ka.useragent.name", "User agent up to its version: kubectl, helm, curl.", NoArg, "",
		text(func(e *Event, out *Value) {
			if u := e.Get(audit.UserAgent); u.IsString() {
				name := u.Bytes()
				if i := bytes.IndexAny(name, "/ "); i >= 0 {
					name = name[:i]
				}
				out.AddText(name)
			}
		}),
		Example{`{"userAgent":"kubectl/v1.36.3 (linux/amd64) kubernetes/abc"}`, "", "kubectl"}},
	{"ka.useragent.version", "Version in the user agent.", NoArg, "",
		text(func(e *Event, out *Value) {
			_, rest, found := bytes.Cut(e.Get(audit.UserAgent).Bytes(), []byte{'/'})
			if version, _, _ := bytes.Cut(rest, []byte{' '}); found {
				out.AddText(version)
			}
		}),
		Example{`{"userAgent":"kubectl/v1.36.3 (linux/amd64) kubernetes/abc"}`, "", "v1.36.3"}},

	// The bodies.
	{"ka.request.kind", "Kind of the object in the request.", NoArg, "", at(audit.RequestObject, "kind"),
		Example{`{"requestObject":{"kind":"Pod"}}`, "", "Pod"}},
	{"ka.response.kind", "Kind of the object in the response.", NoArg, "", at(audit.ResponseObject, "kind"),
		Example{`{"responseObject":{"kind":"Status"}}`, "", "Status"}},
	{"ka.patch.type", "Type of the patch, told by its shape: json, merge, strategic or apply.", NoArg, "",
		text(func(e *Event, out *Value) {
			if t := e.PatchType(); t != audit.NoPatch {
				out.AddString(string(t))
			}
		}),
		Example{`{"verb":"patch","requestObject":[{"op":"add","path":"/a","value":1}]}`, "", "json"}},
	{"ka.patch.paths", "JSON pointers of everything the patch sets or removes.", NoArg, "",
		texts(func(e *Event, out *Value) { e.PatchPaths(out.AddText) }),
		Example{`{"verb":"patch","requestObject":{"spec":{"replicas":3,"paused":true}}}`, "", "(/spec/replicas,/spec/paused)"}},
	{"ka.patch.touches", "Whether the patch sets or removes something at or below a JSON pointer.", RequiredKey, "JSON pointer (RFC 6901)",
		Extractor{
			Type: Bool,
			prepare: func(key string) (any, error) {
				if _, err := audit.ParsePointer(key); err != nil {
					return nil, err
				}
				return []byte("/" + strings.TrimPrefix(key, "/")), nil
			},
			read: func(e *Event, a *Argument, out *Value) {
				if e.patched().kind != audit.NoPatch {
					out.AddBool(e.touches(a.ready.([]byte)))
				}
			},
		},
		Example{`{"verb":"patch","requestObject":{"spec":{"replicas":3}}}`, "/spec", "true"}},

	// What admission and authorization noted.
	{"ka.auth.allowed", "Whether the authorizer allowed the request.", NoArg, "",
		whetherIn(func(e *Event) (bool, bool) {
			d := e.annotation("authorization.k8s.io/decision")
			return d.Is("allow"), d.Exists()
		}),
		Example{`{"annotations":{"authorization.k8s.io/decision":"allow"}}`, "", "true"}},
	{"ka.auth.rbac.binding", "Name of the binding by which RBAC allowed the request; with its namespace for a RoleBinding, as the reason has it.", NoArg, "", rbacReason("Binding "),
		Example{`{"annotations":{"authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"admins\" of ClusterRole \"cluster-admin\" to Group \"ops\""}}`, "", "admins"}},
	{"ka.auth.rbac.role", "Name of the role by which RBAC allowed the request.", NoArg, "", rbacReason("Role "),
		Example{`{"annotations":{"authorization.k8s.io/reason":"RBAC: allowed by ClusterRoleBinding \"admins\" of ClusterRole \"cluster-admin\" to Group \"ops\""}}`, "", "cluster-admin"}},
	{"ka.auth.impersonation.constraint", "Verb of constrained impersonation that was used (KEP-5284).", NoArg, "", at(audit.AuthenticationMetadata, "impersonationConstraint"),
		Example{`{"authenticationMetadata":{"impersonationConstraint":"impersonate:user-info"}}`, "", "impersonate:user-info"}},
	{"ka.admission.mutated_by", "Admission webhooks that changed the object.", NoArg, "",
		texts(func(e *Event, out *Value) {
			e.Get(audit.Annotations).Each(func(key []byte, value audit.Node) {
				if bytes.HasPrefix(key, []byte("mutation.webhook.admission.k8s.io/")) && bytes.Contains(value.Bytes(), []byte(`"mutated":true`)) {
					_, rest, _ := bytes.Cut(value.Bytes(), []byte(`"webhook":"`))
					name, _, _ := bytes.Cut(rest, []byte{'"'})
					out.AddText(name)
				}
			})
		}),
		Example{`{"annotations":{"mutation.webhook.admission.k8s.io/round_0_index_0":"{\"configuration\":\"mesh\",\"webhook\":\"inject.mesh.io\",\"mutated\":true}"}}`, "", "(inject.mesh.io)"}},
	{"ka.admission.failed_open", "Whether an admission webhook failed and the request went on without it.", NoArg, "",
		whether(func(e *Event) bool {
			found := false
			e.Get(audit.Annotations).Each(func(key []byte, _ audit.Node) {
				found = found || bytes.HasPrefix(key, []byte("failed-open.")) || string(key) == "imagepolicywebhook.image-policy.k8s.io/failed-open"
			})
			return found
		}),
		Example{`{"annotations":{"failed-open.validating.webhook.admission.k8s.io/round_0_index_0":"policy.example.com"}}`, "", "true"}},
	{"ka.podsecurity.exempt", "Why Pod Security admission let the request pass unchecked: user, namespace or runtimeClass.", NoArg, "", at(audit.Annotations, "pod-security.kubernetes.io/exempt"),
		Example{`{"annotations":{"pod-security.kubernetes.io/exempt":"namespace"}}`, "", "namespace"}},
	{"ka.podsecurity.policy", "Pod Security level and version that was enforced.", NoArg, "", at(audit.Annotations, "pod-security.kubernetes.io/enforce-policy"),
		Example{`{"annotations":{"pod-security.kubernetes.io/enforce-policy":"baseline:latest"}}`, "", "baseline:latest"}},
	{"ka.deprecated", "Whether the request used a deprecated API version.", NoArg, "",
		whether(func(e *Event) bool { return e.annotation("k8s.io/deprecated").Is("true") }),
		Example{`{"annotations":{"k8s.io/deprecated":"true"}}`, "", "true"}},

	// The event.
	{"ka.size", "Size of the event in bytes.", NoArg, "",
		number(func(e *Event) (uint64, bool) { return uint64(e.Size()), true }),
		Example{`{}`, "", "17"}},
	{"ka.truncated", "Whether something of the event is missing: its bodies were taken out for their size, or it was cut on the way.", NoArg, "",
		whether(func(e *Event) bool {
			return e.annotation(audit.TruncatedKey).Is("true") || e.Get(audit.Origin).Get("salvaged").Exists() ||
				e.Get(audit.RequestObject).Is(tooBig) || e.Get(audit.ResponseObject).Is(tooBig)
		}),
		Example{`{"annotations":{"audit.k8s.io/truncated":"true"}}`, "", "true"}},
	{"ka.salvaged", "What happened to an event of which only a part could be read: truncated or broken.", NoArg, "", at(audit.Origin, "salvaged"),
		Example{`{"kaudit":{"salvaged":"truncated"}}`, "", "truncated"}},
	{"ka.unreadable", "Members of the event that nest too deeply or hold too many values to be read; somebody may be hiding in them.", NoArg, "",
		texts(func(e *Event, out *Value) {
			for _, m := range [...]struct {
				audit.Member
				name string
			}{{audit.RequestObject, "requestObject"}, {audit.ResponseObject, "responseObject"}, {audit.Annotations, "annotations"}, {audit.User, "user"}} {
				if e.Unreadable(m.Member) {
					out.AddString(m.name)
				}
			}
		}),
		Example{`{"requestObject":` + deep + `}`, "", "(requestObject)"}},
}

// tooBig stands in place of large bodies in Azure's audit log.
const tooBig = "skipped-too-big-size-object"

// deep nests more deeply than is read.
var deep = string(bytes.Repeat([]byte("["), 301)) + string(bytes.Repeat([]byte("]"), 301))

// pointed makes the argument of x a JSON pointer.
func pointed(x Extractor) Extractor {
	x.prepare = func(key string) (any, error) {
		p, err := audit.ParsePointer(key)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
	return x
}

func addKeys(object audit.Node, out *Value) {
	object.Each(func(key []byte, _ audit.Node) { out.AddText(key) })
}

func (e *Event) latency() (time.Duration, bool) {
	from, ok := e.Received()
	to, ok2 := e.Time()
	d := to.Sub(from)
	return d, ok && ok2 && d >= 0
}

// dryRun reports whether a request changed nothing because it asked not to. A deletion whose body has options is asked by
// those alone, whatever the query says (k8s.io/apiserver: pkg/endpoints/handlers/delete.go); where the body would not
// be recorded the query proves nothing.
func (e *Event) dryRun() bool {
	if e.verb("delete", "deletecollection") {
		if e.Has(audit.RequestObject) {
			return e.Get(audit.RequestObject).Get("dryRun").At(0).Is("All")
		}
		if e.Get(audit.Level).Is("Metadata") {
			return false
		}
	}
	for _, p := range e.uriQuery().pairs {
		if string(p.key) == "dryRun" && string(p.value) == "All" {
			return true
		}
	}
	return false
}

func lastIP(e *Event) audit.Node {
	ips := e.Get(audit.SourceIPs)
	return ips.At(ips.Len() - 1)
}

// An address is the text of an address and what it means. Most events come from few addresses.
type address struct {
	text []byte
	ip   netip.Addr
	ok   bool
}

// ip returns the i-th source address, read from its text unless it is the one that stood there in the event before.
func (e *Event) ip(i int) (netip.Addr, bool) {
	text := e.Get(audit.SourceIPs).At(i).Bytes()
	known := &e.addresses[i%len(e.addresses)]
	if !bytes.Equal(known.text, text) {
		text = text[:min(len(text), 64)]
		known.text = append(known.text[:0], text...)
		if known.ip, known.ok = parseIPv4(text); !known.ok {
			ip, err := netip.ParseAddr(string(text))
			known.ip, known.ok = ip.Unmap().WithZone(""), err == nil
		}
	}
	return known.ip, known.ok
}

// parseIPv4 reads what netip.ParseAddr reads of IPv4, without making a string of it.
func parseIPv4(text []byte) (netip.Addr, bool) {
	var ip [4]byte
	part, digits, n := 0, 0, 0
	for i := 0; i <= len(text); i++ {
		switch {
		case i == len(text) || text[i] == '.':
			if digits == 0 || part > 3 || i == len(text) && part != 3 {
				return netip.Addr{}, false
			}
			ip[part] = byte(n)
			part, digits, n = part+1, 0, 0
		case text[i] < '0' || text[i] > '9' || digits > 0 && n == 0: // a zero before other digits may mean octal
			return netip.Addr{}, false
		default:
			if n = 10*n + int(text[i]-'0'); n > 255 {
				return netip.Addr{}, false
			}
			digits++
		}
	}
	return netip.AddrFrom4(ip), true
}

func (e *Event) peer() (netip.Addr, bool) {
	n := e.Get(audit.SourceIPs).Len()
	if n == 0 {
		return netip.Addr{}, false
	}
	return e.ip(n - 1)
}

var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

func private(ip netip.Addr) bool {
	return ip.IsPrivate() || ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsUnspecified() || sharedSpace.Contains(ip)
}

// networks yields whether one of the source addresses in a range lies in one of the networks of the argument.
func networks(which func(e *Event) (from, to int)) Extractor {
	return Extractor{
		Type: Bool,
		prepare: func(key string) (any, error) {
			var list []netip.Prefix
			for _, s := range bytes.Split([]byte(key), []byte{','}) {
				s := string(bytes.TrimSpace(s))
				p, err := netip.ParsePrefix(s)
				if ip, err2 := netip.ParseAddr(s); err != nil && err2 == nil {
					p, err = netip.PrefixFrom(ip, ip.BitLen()), nil
				}
				if err != nil {
					return nil, fmt.Errorf("%q is neither a network like 10.0.0.0/8 nor an address", s)
				}
				if p.Addr().Is4In6() && p.Bits() >= 96 { // source addresses are told of as IPv4 ones
					p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
				}
				list = append(list, p.Masked())
			}
			return list, nil
		},
		read: func(e *Event, a *Argument, out *Value) {
			from, to := which(e)
			if from == to {
				return
			}
			found := false
			for i := from; i < to && !found; i++ {
				if ip, ok := e.ip(i); ok {
					for _, p := range a.ready.([]netip.Prefix) {
						found = found || p.Contains(ip)
					}
				}
			}
			out.AddBool(found)
		},
	}
}

// rbacReason yields the quoted name after a word of the reason RBAC gives (k8s.io/apiserver and
// k8s.io/kubernetes: plugin/pkg/auth/authorizer/rbac/rbac.go).
func rbacReason(word string) Extractor {
	return text(func(e *Event, out *Value) {
		reason, ours := bytes.CutPrefix(e.annotation("authorization.k8s.io/reason").Bytes(), []byte("RBAC: allowed by "))
		_, rest, found := bytes.Cut(reason, []byte(word+`"`))
		if name, _, whole := bytes.Cut(rest, []byte{'"'}); ours && found && whole {
			out.AddText(name)
		}
	})
}

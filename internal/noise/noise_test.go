package noise_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kaudit/internal/noise"
	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
)

// Noise as API servers record it, with what does not matter here left out.
const (
	nodeLease = `{"level":"RequestResponse","auditID":"1","stage":"ResponseComplete","requestURI":"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1?timeout=10s","verb":"update",` +
		`"user":{"username":"system:node:node-1","groups":["system:nodes","system:authenticated"]},"sourceIPs":["10.0.0.7"],"userAgent":"kubelet/v1.36.3 (linux/amd64) kubernetes/abc123f",` +
		`"objectRef":{"resource":"leases","namespace":"kube-node-lease","name":"node-1","uid":"u","apiGroup":"coordination.k8s.io","apiVersion":"v1","resourceVersion":"2"},"responseStatus":{"metadata":{},"code":200},` +
		`"requestObject":{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"node-1"},"spec":{"holderIdentity":"node-1"}},"responseObject":{"kind":"Lease","metadata":{"name":"node-1"}},` +
		`"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}}`
	schedulerLease = `{"level":"Metadata","auditID":"2","stage":"ResponseComplete","requestURI":"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler?timeout=5s","verb":"update",` +
		`"user":{"username":"system:kube-scheduler","groups":["","system:authenticated"]},"sourceIPs":["127.0.0.1"],"userAgent":"kube-scheduler/v1.36.3 (linux/amd64) kubernetes/unknown/leader-election",` +
		`"objectRef":{"resource":"leases","namespace":"kube-system","name":"kube-scheduler","apiGroup":"coordination.k8s.io","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},` +
		`"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":"RBAC: allowed"}}`
	probe = `{"level":"Metadata","auditID":"3","stage":"ResponseComplete","requestURI":"/livez","verb":"get","user":{"username":"system:anonymous","groups":["system:unauthenticated"]},` +
		`"sourceIPs":["10.0.0.7"],"userAgent":"kube-probe/1.36","responseStatus":{"metadata":{},"code":200},"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}}`
	nodeStatus = `{"level":"Request","auditID":"4","stage":"ResponseComplete","requestURI":"/api/v1/nodes/node-1/status?timeout=10s","verb":"patch",` +
		`"user":{"username":"system:node:node-1","groups":["system:nodes","system:authenticated"]},"sourceIPs":["10.0.0.7"],"userAgent":"kubelet/v1.36.3 (linux/amd64) kubernetes/abc123f",` +
		`"objectRef":{"resource":"nodes","name":"node-1","apiVersion":"v1","subresource":"status"},"responseStatus":{"metadata":{},"code":200},` +
		`"requestObject":{"status":{"$setElementOrder/conditions":[{"type":"Ready"}],"conditions":[{"type":"Ready","status":"True"}]}},"annotations":{"authorization.k8s.io/decision":"allow"}}`
)

// A change is one respect in which an event differs.
type change struct{ what, from, to string }

func (c change) of(t testing.TB, event string) []byte {
	t.Helper()
	if c.from != "" && strings.Count(event, c.from) == 0 {
		t.Fatalf("%s: %s is not in %s", c.what, c.from, event)
	}
	return []byte(strings.ReplaceAll(event, c.from, c.to))
}

func of(t testing.TB, raw []byte) noise.Kind {
	t.Helper()
	var e audit.Event
	if !e.Load(raw) {
		t.Fatalf("not a JSON object: %s", raw)
	}
	return noise.Of(&e)
}

// What Kubernetes and its distributions do without end.
var noises = []struct {
	event string
	want  noise.Kind
	changes
}{
	{nodeLease, noise.Lease, changes{
		{what: "as it is"},
		{"read", `"update"`, `"get"`},
		{"with the timeout in milliseconds", `?timeout=10s`, `?timeout=500ms`},
		{"without a timeout", `?timeout=10s`, ``},
		{"by IPv6", `10.0.0.7`, `fd00::7`},
		{"EKS", `v1.36.3`, `v1.29.0-eks-5e0fdde`},
		{"GKE", `v1.36.3`, `v1.27.3-gke.100`},
		{"k3s", `kubelet/v1.36.3`, `k3s/v1.28.2+k3s1`},
		{"MicroK8s", `kubelet/`, `kubelite/`},
		{"OpenShift", `v1.36.3`, `v1.27.6+f67aeb3`},
		{"a node with a long name", `node-1`, `ip-10-0-0-7.eu-west-1.compute.internal`},
		{"on EKS, where nodes are in one more group", `"system:nodes",`, `"system:bootstrappers","system:nodes",`},
		{"by a user with attributes", `"groups"`, `"uid":"aws-iam-authenticator:1:AIDA","extra":{"scopes.authorization.openshift.io":["user:full"],"canonicalArn":["arn:aws:iam::1:role/x"]},"groups"`},
		{"a node with the name of a tool", `node-1`, `kali`},
		{"a lease with what makes a pod dangerous", `"spec":{`, `"spec":{"hostPID":true,"containers":[{"name":"xmrig","image":"xmrig","securityContext":{"privileged":true}}],`},
		{"a lease with odd metadata", `"metadata":{"name"`, `"metadata":{"labels":{"istio-injection":"disabled"},"annotations":{"a":"AKIAIOSFODNN7EXAMPLE"},"name"`},
		{"allowed for another reason", `reason":""`, `reason":"RBAC: allowed by ClusterRoleBinding \"x\" of ClusterRole \"cluster-admin\" to Group \"system:masters\""`},
		{"from a cluster with a name", `"auditID"`, `"kaudit":{"cluster":"prod"},"auditID"`},
	}},
	{schedulerLease, noise.Lease, changes{
		{what: "as it is"},
		{"read by one that waits", `"update"`, `"get"`},
		{"the other component", `kube-scheduler`, `kube-controller-manager`},
	}},
	{probe, noise.Probe, changes{
		{what: "as it is"},
		{"of one check", `/livez`, `/readyz/poststarthook/start-apiextensions-controllers`},
		{"as it was called before", `/livez`, `/healthz`},
		{"from a load balancer of AWS", `kube-probe/1.36`, `ELB-HealthChecker/2.0`},
		{"from one of Google", `kube-probe/1.36`, `GoogleHC/1.0`},
		{"from HAProxy", `"userAgent":"kube-probe/1.36",`, ``},
		{"without annotations", `"annotations":`, `"x":`},
	}},
	{nodeStatus, noise.NodeStatus, changes{
		{what: "as it is"},
		{"with the answer", `"annotations"`, `"responseObject":{"kind":"Node","metadata":{"name":"node-1"}},"annotations"`},
	}},
}

type changes []change

func TestWhatIsNoise(t *testing.T) {
	for _, n := range noises {
		for _, c := range n.changes {
			if got := of(t, c.of(t, n.event)); got != n.want {
				t.Errorf("%v, %s: got %v", n.want, c.what, got)
			}
		}
	}
}

// deep nests more deeply than is read.
var deep = strings.Repeat("[", 400) + strings.Repeat("]", 400)

// Near misses: each is noise but for one respect.
var misses = []struct {
	event string
	changes
}{
	{nodeLease, changes{
		{"another node's", `"system:node:node-1"`, `"system:node:node-2"`},
		{"a node whose name only begins like it", `"system:node:node-1"`, `"system:node:node-11"`},
		{"of no name", `node-1`, ``},
		{"an ordinary user", `"system:node:node-1"`, `"mallory"`},
		{"a service account", `"system:node:node-1"`, `"system:serviceaccount:kube-system:node-1"`},
		{"a node without its group", `"system:nodes",`, ``},
		{"a node with the rights of everybody", `"system:nodes",`, `"system:nodes","system:masters",`},
		{"in the node's name", `"sourceIPs"`, `"impersonatedUser":{"username":"system:node:node-1"},"sourceIPs"`},
		{"in nobody's name", `"sourceIPs"`, `"impersonatedUser":null,"sourceIPs"`},
		{"with constrained impersonation", `"sourceIPs"`, `"authenticationMetadata":{"impersonationConstraint":"x"},"sourceIPs"`},
		{"failed", `"code":200`, `"code":409`},
		{"forbidden", `"code":200`, `"code":403`},
		{"made", `"code":200`, `"code":201`},
		{"without an answer", `"code":200`, `"x":200`},
		{"with the code as a text", `"code":200`, `"code":"200"`},
		{"received", `ResponseComplete`, `RequestReceived`},
		{"panicked", `ResponseComplete`, `Panic`},
		{"deleted", `"update"`, `"delete"`},
		{"created", `"update"`, `"create"`},
		{"patched, as kubelets never do", `"update"`, `"patch"`},
		{"watched", `"update"`, `"watch"`},
		{"in another namespace", `kube-node-lease`, `default`},
		{"in another namespace than its URI says", `"namespace":"kube-node-lease"`, `"namespace":"default"`},
		{"of another name than its URI says", `"name":"node-1","uid"`, `"name":"node-2","uid"`},
		{"of another resource than its URI says", `"resource":"leases"`, `"resource":"secrets"`},
		{"a resource of that name in another group", `"apiGroup":"coordination.k8s.io"`, `"apiGroup":"example.com"`},
		{"of a subresource", `"uid":"u"`, `"subresource":"status"`},
		{"of all of them", `leases/node-1?timeout=10s`, `leases`},
		{"a dry run", `?timeout=10s`, `?dryRun=All`},
		{"with one more parameter", `?timeout=10s`, `?timeout=10s&fieldManager=x`},
		{"from the Internet", `10.0.0.7`, `198.51.100.7`},
		{"from the Internet by IPv6", `10.0.0.7`, `2001:db8::7`},
		{"through a proxy", `["10.0.0.7"]`, `["10.0.0.7","10.0.0.8"]`},
		{"from nowhere", `["10.0.0.7"]`, `[]`},
		{"from what is no address", `10.0.0.7`, `node`},
		{"with kubectl", `kubelet/`, `kubectl/`},
		{"with the scheduler's program", `kubelet/`, `kube-scheduler/`},
		{"with no program", `"userAgent"`, `"x"`},
		{"with a tool's name as the version", `v1.36.3`, `v1.36.3-nmap`},
		{"with a tool's name as the commit", `abc123f`, `kube-hunter`},
		{"with a tool's name behind", `abc123f`, `abc123f kali`},
		{"admitted because a webhook failed", `"authorization.k8s.io/reason":""`, `"failed-open.validating.webhook.admission.k8s.io/round_0_index_0":"x"`},
		{"with an old token", `"authorization.k8s.io/reason":""`, `"authentication.k8s.io/legacy-token-invalidated":"x"`},
		{"without its bodies", `"authorization.k8s.io/reason":""`, `"audit.k8s.io/truncated":"true"`},
		{"refused and answered all the same", `"allow"`, `"forbid"`},
		{"with annotations that are none", `"annotations":{`, `"annotations":"x","x":{`},
		{"with annotations too deep to be read", `"annotations":{`, `"annotations":` + deep + `,"x":{`},
		{"salvaged by another before", `"auditID"`, `"kaudit":{"salvaged":"broken"},"auditID"`},
		{"with a body that was too large", `{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"node-1"},"spec":{"holderIdentity":"node-1"}}`, `"skipped-too-big-size-object"`},
		{"with a body of another kind", `{"kind":"Lease","apiVersion"`, `{"kind":"Pod","apiVersion"`},
		{"answered with another kind", `{"kind":"Lease","metadata"`, `{"kind":"Status","metadata"`},
		{"with a body too deep to be read", `"spec":{`, `"deep":` + deep + `,"spec":{`},
	}},
	{schedulerLease, changes{
		{"another component's", `"system:kube-scheduler"`, `"system:kube-controller-manager"`},
		{"a controller's, by its service account", `system:kube-scheduler`, `system:serviceaccount:kube-system:kube-scheduler`},
		{"another lease of that namespace", `kube-scheduler"`, `my-scheduler"`},
		{"a lease and component nobody knows", `kube-scheduler`, `kube-other`},
		{"in a namespace of its own", `kube-system`, `kube-systems`},
		{"with the other's program", `kube-scheduler/v1`, `kube-controller-manager/v1`},
		{"with credentials that were stolen", `kube-scheduler/v1.36.3 (linux/amd64) kubernetes/unknown/leader-election`, `curl/8.5.0`},
		{"an administrator", `"system:kube-scheduler"`, `"admin"`},
	}},
	{probe, changes{
		{"with more to be told", `/livez`, `/livez?verbose`},
		{"with a parameter that is none", `/livez`, `/livez?`},
		{"with a timeout", `/livez`, `/livez?timeout=1s`},
		{"of another path", `/livez`, `/livezz`},
		{"of the path above", `/livez`, `/`},
		{"of the version", `/livez`, `/version`},
		{"of a path that leads out", `/livez`, `/livez/../api/v1/secrets`},
		{"of a path that leads out, escaped", `/livez`, `/livez/%2e%2e/api`},
		{"of a path with two slashes", `/livez`, `/livez//etcd`},
		{"below the API", `/livez`, `/api/livez`},
		{"posted", `"get"`, `"post"`},
		{"deleted", `"get"`, `"delete"`},
		{"not well", `"code":200`, `"code":500`},
		{"refused", `"code":200`, `"code":403`},
		{"by somebody with a name", `"username":"system:anonymous","groups":["system:unauthenticated"]`, `"username":"mallory","groups":["system:authenticated"]`},
		{"by somebody with that group", `system:anonymous`, `mallory`},
		{"by nobody in more groups", `["system:unauthenticated"]`, `["system:unauthenticated","system:masters"]`},
		{"by nobody in another group", `["system:unauthenticated"]`, `["system:masters"]`},
		{"with curl", `kube-probe/1.36`, `curl/8.5.0`},
		{"with nmap", `kube-probe/1.36`, `kube-probe/1.36 nmap`},
		{"with a component's name", `kube-probe/`, `kubelet/`},
		{"from the Internet", `10.0.0.7`, `35.191.0.1`},
		{"with a body", `"annotations"`, `"requestObject":{},"annotations"`},
		{"with an answer", `"annotations"`, `"responseObject":{},"annotations"`},
		{"of an object", `"annotations"`, `"objectRef":{"resource":"pods"},"annotations"`},
	}},
	{nodeStatus, changes{
		{"by another node", `"system:node:node-1"`, `"system:node:node-2"`},
		{"by an ordinary user", `"system:node:node-1"`, `"mallory"`},
		{"by a controller", `"system:node:node-1"`, `"system:serviceaccount:kube-system:node-controller"`},
		{"of the node, not its status", `/status?timeout=10s`, ``},
		{"that names the node, not its status", `"subresource":"status"`, `"x":"status"`},
		{"replaced", `"patch"`, `"update"`},
		{"with another address", `"conditions":[{"type":"Ready","status":"True"}]`, `"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]`},
		{"with another address besides", `"$setElementOrder/conditions":[{"type":"Ready"}]`, `"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]`},
		{"with the conditions twice", `"$setElementOrder/conditions":`, `"conditions":`},
		{"with the status twice", `{"status":{"$set`, `{"status":{"addresses":[]},"status":{"$set`},
		{"with labels", `{"status":{"$set`, `{"metadata":{"labels":{"a":"b"}},"status":{"$set`},
		{"with a taint taken away", `{"status":{"$set`, `{"spec":{"taints":null},"status":{"$set`},
		{"as a JSON patch", `"requestObject":{"status"`, `"requestObject":[{"op":"replace","path":"/status/addresses"}],"x":{"status"`},
		{"recorded without the body", `"requestObject"`, `"x"`},
		{"answered with a failure", `"annotations"`, `"responseObject":{"kind":"Status"},"annotations"`},
		{"not found", `"code":200`, `"code":404`},
	}},
}

func TestWhatOnlyLooksLikeNoiseIsKept(t *testing.T) {
	for _, m := range misses {
		for _, c := range m.changes {
			if got := of(t, c.of(t, m.event)); got != noise.None {
				t.Errorf("%s: is taken for %v", c.what, got)
			}
		}
	}
	if got := of(t, []byte(`{"kind":"Notice","apiVersion":"kaudit/v1","name":"events_lost"}`)); got != noise.None {
		t.Errorf("a notice is taken for %v", got)
	}
}

// everything is the one rule that wants every request. It is off, and docs/delivery.md says what it does not see then.
const everything = "All K8s Audit Events"

// An engine has all shipped rules, those that are off included.
var engine = sync.OnceValues(func() (*rules.Engine, error) {
	files, err := filepath.Glob("../../rules/*.yaml")
	if err != nil {
		return nil, err
	}
	set, err := rules.Load(rules.Options{}, files...)
	if err != nil {
		return nil, err
	}
	for _, r := range set.Rules {
		if r.Name == everything && r.Enabled {
			return nil, fmt.Errorf("%s is on", everything)
		}
		r.Enabled = r.Name != everything
	}
	return set.Engine(), nil
})

// wanted returns the rules that fire on an event.
func wanted(t testing.TB, e *audit.Event) (names []string) {
	t.Helper()
	g, err := engine()
	if err != nil {
		t.Fatal(err)
	}
	var event extract.Event
	event.Reset(e)
	for _, m := range g.Evaluate(rules.Event{Event: &event, Number: 1, Time: 1}, rules.All) {
		names = append(names, m.Rule.Name)
	}
	return names
}

func TestNoRuleWantsNoise(t *testing.T) {
	files, err := filepath.Glob("../../rules/testdata/*/*.jsonl")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d fixtures of rules: %v", len(files), err)
	}
	recordings, err := filepath.Glob("../../testdata/recordings/*.jsonl.gz")
	if err != nil || len(recordings) < 4 {
		t.Fatalf("%d recordings: %v", len(recordings), err)
	}
	var found [noise.Kinds]int
	for _, file := range append(recordings, files...) {
		h := handler{t: t}
		lines := e2e.Lines(t, file)
		for _, line := range lines { // deliveries and lists among them
			new(audit.Decoder).Decode(line, true, &h)
		}
		for kind, n := range h.found {
			found[kind] += n
		}
		if filepath.Dir(file) == filepath.Dir(recordings[0]) {
			t.Logf("%s: %d of %d bytes of %d events are noise: %d leases, %d probes, %d statuses of nodes", filepath.Base(file),
				h.noise, h.bytes, h.found[noise.None]+h.found[noise.Lease]+h.found[noise.Probe]+h.found[noise.NodeStatus],
				h.found[noise.Lease], h.found[noise.Probe], h.found[noise.NodeStatus])
		}
	}
	if found[noise.Lease] == 0 || found[noise.NodeStatus] == 0 {
		t.Errorf("found %v: recordings have leases and statuses of nodes", found)
	}
	for _, n := range noises {
		for _, c := range n.changes {
			h := handler{t: t}
			new(audit.Decoder).Decode(c.of(t, n.event), true, &h)
			if h.found[n.want] != 1 {
				t.Errorf("%v, %s: decoded as %v", n.want, c.what, h.found)
			}
		}
	}
}

// A handler counts noise, and reports rules that want it.
type handler struct {
	t            testing.TB
	found        [noise.Kinds]int
	bytes, noise int
}

func (h *handler) Event(e *audit.Event, _ time.Time, _ audit.Marks) {
	kind := noise.Of(e)
	h.found[kind]++
	h.bytes += e.Size()
	if kind == noise.None {
		return
	}
	h.noise += e.Size()
	if names := wanted(h.t, e); len(names) > 0 {
		h.t.Errorf("%q want what is taken for %v: %.600s", names, kind, e.Raw())
	}
}

func (h *handler) Rejected(audit.Reason, int, int) {}

// FuzzNoRuleWantsNoise changes what a client chooses, and whatever else an event has, and looks for a rule that fires on
// what would be dropped.
func FuzzNoRuleWantsNoise(f *testing.F) {
	type event struct {
		Stage          string            `json:"stage"`
		RequestURI     string            `json:"requestURI"`
		Verb           string            `json:"verb"`
		User           map[string]any    `json:"user"`
		SourceIPs      []string          `json:"sourceIPs"`
		UserAgent      string            `json:"userAgent"`
		ObjectRef      json.RawMessage   `json:"objectRef,omitempty"`
		ResponseStatus map[string]any    `json:"responseStatus"`
		RequestObject  json.RawMessage   `json:"requestObject,omitempty"`
		ResponseObject json.RawMessage   `json:"responseObject,omitempty"`
		Annotations    map[string]string `json:"annotations,omitempty"`
	}
	add := func(raw []byte) {
		var e event
		if err := json.Unmarshal(raw, &e); err != nil {
			f.Fatalf("%v: %s", err, raw)
		}
		groups, ip := fmt.Sprint(e.User["groups"]), strings.Join(e.SourceIPs, " ")
		code, _ := e.ResponseStatus["code"].(float64)
		f.Add(e.Stage, e.RequestURI, e.Verb, fmt.Sprint(e.User["username"]), strings.Trim(groups, "[]"), ip, e.UserAgent, []byte(e.ObjectRef), int(code),
			[]byte(e.RequestObject), []byte(e.ResponseObject), "authorization.k8s.io/decision", e.Annotations["authorization.k8s.io/decision"])
	}
	for _, n := range noises {
		for _, c := range n.changes {
			add(c.of(f, n.event))
		}
	}
	f.Fuzz(func(t *testing.T, stage, uri, verb, user, groups, ips, agent string, ref []byte, code int, request, response []byte, key, value string) {
		body := func(b []byte) json.RawMessage {
			if !json.Valid(b) {
				return nil
			}
			return b
		}
		raw, err := json.Marshal(event{
			Stage: stage, RequestURI: uri, Verb: verb, User: map[string]any{"username": user, "groups": strings.Split(groups, " ")},
			SourceIPs: strings.Split(ips, " "), UserAgent: agent, ObjectRef: body(ref), ResponseStatus: map[string]any{"code": code},
			RequestObject: body(request), ResponseObject: body(response), Annotations: map[string]string{key: value},
		})
		if err != nil {
			t.Fatal(err)
		}
		var e audit.Event
		if !e.Load(raw) {
			t.Fatalf("not a JSON object: %s", raw)
		}
		if kind := noise.Of(&e); kind != noise.None {
			if names := wanted(t, &e); len(names) > 0 {
				t.Errorf("%q want what is taken for %v: %s", names, kind, raw)
			}
		}
	})
}

// BenchmarkOf compares finding the members of ordinary events, and asking what rules ask of nearly each, with looking for
// noise besides:
//
//	go test ./internal/noise -run '^$' -bench Of -count 6
func BenchmarkOf(b *testing.B) {
	lines := e2e.Lines(b, "../../testdata/recordings/ordinary.jsonl.gz")
	read := func(e *audit.Event) {
		for _, m := range [...]audit.Member{audit.RequestURI, audit.Verb, audit.User, audit.ObjectRef, audit.ResponseStatus, audit.Stage} {
			e.Get(m)
		}
	}
	for _, row := range []struct {
		name string
		of   bool
	}{{"off", false}, {"on", true}} {
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			var e audit.Event
			for i := 0; b.Loop(); i++ {
				if !e.Load(lines[i%len(lines)]) {
					b.Fatal("a recorded event does not load")
				}
				if row.of {
					noise.Of(&e)
				}
				read(&e)
			}
		})
	}
}

package extract_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authn "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	kjson "sigs.k8s.io/json"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/test/e2e"
)

// The oracle is the API server's own types (k8s.io/apiserver: pkg/apis/audit/v1), decoded by its own JSON decoder.
// What an event says by them is what our fields say, with these exceptions, none of which the API server writes:
//
//   - Half of a surrogate pair (\ud800) is U+FFFD there; here the six characters stay as they are.
//   - A NUL character is U+FFFD here, since the host's texts end at it.
//   - A null where a text should be is an empty text there, and the text null here, as in the official plugin.
//   - An object whose key is there twice is the sum of both there, where a type is known, and the last one here.
//     Where no type is known, as in the patches of requests, it is the last one in the API server too.
//   - A timestamp with a sign in its fraction (57.+27890Z) is one there and none here.

var timestamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`)

var surrogate = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

// official decodes an event as the API server would. It returns false if the API server would refuse it or if one of
// the exceptions applies.
func official(raw []byte) (*auditv1.Event, bool) {
	var e auditv1.Event
	strict, err := kjson.UnmarshalStrict(raw, &e, kjson.DisallowDuplicateFields)
	outside := raw // of the bodies
	for _, u := range []*runtime.Unknown{e.RequestObject, e.ResponseObject} {
		if u != nil && len(u.Raw) > 0 {
			outside = bytes.ReplaceAll(outside, u.Raw, nil)
		}
	}
	return &e, err == nil && len(strict) == 0 && !surrogate.Match(raw) && !bytes.Contains(outside, []byte("null"))
}

// asker asks questions by name.
type asker struct {
	t     testing.TB
	table extract.Table
	asked map[string]*extract.Question
	audit audit.Event
	event extract.Event
	value extract.Value
}

func newAsker(t testing.TB) *asker {
	return &asker{t: t, table: extract.Fields(), asked: map[string]*extract.Question{}}
}

func (a *asker) load(raw []byte) bool {
	if !a.audit.Load(raw) {
		return false
	}
	a.event.Reset(&a.audit)
	return true
}

// question makes the question name or name[argument].
func (a *asker) question(name string) *extract.Question {
	a.t.Helper()
	if q, ok := a.asked[name]; ok {
		return q
	}
	bare, arg, present := strings.Cut(strings.TrimSuffix(name, "]"), "[")
	id, ok := a.table.Find(bare)
	if !ok {
		a.t.Fatalf("no field %s", bare)
	}
	argument, err := a.table[id].ParseArg(arg, present)
	if err != nil {
		a.t.Fatal(err)
	}
	q, err := a.table.Ask(id, argument)
	if err != nil {
		a.t.Fatal(err)
	}
	a.asked[name] = &q
	return &q
}

// ask returns the values of a field, numbers in decimals.
func (a *asker) ask(name string) []string {
	a.t.Helper()
	q := a.question(name)
	a.value.Reset()
	q.Answer(&a.event, &a.value)
	var out []string
	for i := range a.value.Len() {
		switch q.Field.From.Type {
		case extract.Text:
			out = append(out, string(a.value.Text(i)))
		case extract.Network:
			ip, _ := netip.AddrFromSlice(a.value.Text(i))
			out = append(out, ip.String())
		case extract.Bool:
			out = append(out, strconv.FormatBool(a.value.Numbers()[i] == 1))
		default:
			out = append(out, strconv.FormatUint(a.value.Numbers()[i], 10))
		}
	}
	return out
}

// told reports what fields say otherwise than the official types. The API server leaves empty members out, or not; to
// its types that is the same, so an empty text and no value are taken for the same.
func (a *asker) told(e *auditv1.Event) (differences []string) {
	same := func(name string, want ...string) {
		a.t.Helper()
		for i := range want {
			want[i] = strings.ReplaceAll(want[i], "\x00", "\ufffd")
		}
		got := a.ask(name)
		if len(got) == 0 {
			got = nil
		}
		if len(want) == 0 || len(want) == 1 && want[0] == "" && len(got) == 0 {
			want = nil
		}
		if len(got) == 1 && got[0] == "" && want == nil {
			got = nil
		}
		if !slices.Equal(got, want) {
			differences = append(differences, fmt.Sprintf("%s is %q, officially %q", name, got, want))
		}
	}
	same("ka.auditid", string(e.AuditID))
	same("ka.level", string(e.Level))
	same("ka.stage", string(e.Stage))
	same("ka.uri", e.RequestURI)
	same("ka.verb", e.Verb)
	same("ka.user.name", e.User.Username)
	same("ka.user.uid", e.User.UID)
	same("ka.user.groups", e.User.Groups...)
	same("ka.user.groups.joined", strings.Join(e.User.Groups, " "))
	for key, values := range e.User.Extra {
		if bracketable(key) {
			same("ka.user.extra["+key+"]", values...)
		}
	}
	same("ka.impersonated", strconv.FormatBool(e.ImpersonatedUser != nil))
	imp := e.ImpersonatedUser
	if imp == nil {
		imp = new(authn.UserInfo)
	}
	same("ka.impuser.name", imp.Username)
	same("ka.impuser.uid", imp.UID)
	same("ka.impuser.groups", imp.Groups...)
	for key, values := range imp.Extra {
		if bracketable(key) {
			same("ka.impuser.extra["+key+"]", values...)
		}
	}
	if m := e.AuthenticationMetadata; m != nil {
		same("ka.auth.impersonation.constraint", m.ImpersonationConstraint)
	}
	same("ka.sourceips", e.SourceIPs...)
	if n := len(e.SourceIPs); n > 0 {
		same("ka.sourceip", e.SourceIPs[0])
		same("ka.sourceip.peer", e.SourceIPs[n-1])
	}
	same("ka.useragent", e.UserAgent)
	ref := e.ObjectRef
	if ref == nil {
		ref = new(auditv1.ObjectReference)
		same("ka.target.apigroup")
	}
	same("ka.target.resource", ref.Resource)
	same("ka.target.namespace", ref.Namespace)
	same("ka.target.name", ref.Name)
	same("ka.target.uid", string(ref.UID))
	same("ka.target.resourceversion", ref.ResourceVersion)
	same("ka.target.subresource", ref.Subresource)
	if !strings.Contains(ref.APIVersion, "/") { // v1alpha1 has the group there
		same("ka.target.apigroup", ref.APIGroup)
		same("ka.target.apiversion", ref.APIVersion)
	}
	if s := e.ResponseStatus; s != nil {
		if s.Code > 0 {
			same("ka.code", strconv.Itoa(int(s.Code)))
			same("ka.success", strconv.FormatBool(s.Code >= 200 && s.Code < 300 || s.Code == 101))
		}
		same("ka.status", s.Status)
		same("ka.response.reason", string(s.Reason))
		same("ka.message", s.Message)
	} else {
		same("ka.code")
		same("ka.outcome", "pending")
	}
	keys := []string{}
	for key, value := range e.Annotations {
		keys = append(keys, strings.ReplaceAll(key, "\x00", "\ufffd"))
		if bracketable(key) {
			same("ka.annotation["+key+"]", value)
		}
	}
	got := slices.Clone(a.ask("ka.annotations.keys"))
	sort.Strings(got)
	sort.Strings(keys)
	if !slices.Equal(got, keys) {
		differences = append(differences, fmt.Sprintf("the annotations are %q, officially %q", got, keys))
	}
	moment := func(what string, n audit.Node, want time.Time) {
		if n.Exists() && !timestamp.Match(n.Bytes()) {
			return
		}
		got, ok := n.Time()
		if fits := want.Year() >= 1970 && want.Year() < 2262; fits != ok || ok && !got.Equal(want) {
			differences = append(differences, fmt.Sprintf("%s is %v, officially %v", what, got, want))
		}
	}
	received, reached := a.audit.Get(audit.RequestReceivedTimestamp), a.audit.Get(audit.StageTimestamp)
	moment("the time of the request", received, e.RequestReceivedTimestamp.Time)
	moment("the time of the stage", reached, e.StageTimestamp.Time)
	if !timestamp.Match(received.Bytes()) || !timestamp.Match(reached.Bytes()) {
		// No latency to compare.
	} else if from, to := e.RequestReceivedTimestamp, e.StageTimestamp; !from.IsZero() && !to.IsZero() && !to.Time.Before(from.Time) && from.Year() >= 1970 && to.Year() < 2262 {
		same("ka.latency", strconv.FormatInt(to.Sub(from.Time).Nanoseconds(), 10))
	}
	body := func(name string, u *runtime.Unknown) {
		got := a.ask("ka.value[/" + name + "]")
		if u == nil || len(u.Raw) == 0 {
			if len(got) > 0 {
				differences = append(differences, fmt.Sprintf("%s is %.100q, officially nothing", name, got))
			}
			return
		}
		if len(got) != 1 {
			differences = append(differences, fmt.Sprintf("%s is %.100q, officially %.100q", name, got, u.Raw))
			return
		}
		have, want := tree([]byte(got[0])), tree(u.Raw)
		if text, ok := want.(string); ok { // a text stands without its quotation marks
			have, want = got[0], strings.ReplaceAll(text, "\x00", "\ufffd")
		}
		if d := cmp.Diff(want, have); d != "" {
			differences = append(differences, name+" is not what it is officially:\n"+d)
		}
	}
	body("requestObject", e.RequestObject)
	body("responseObject", e.ResponseObject)
	return differences
}

// bracketable reports whether a key can stand in the brackets of a question here.
func bracketable(key string) bool {
	return !strings.ContainsAny(key, "[]\x00") && strings.ToValidUTF8(key, "") == key && !strings.Contains(key, "\ufffd")
}

// tree decodes JSON, numbers as they are written.
func tree(b []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return "not JSON"
	}
	return v
}

// objects reports what fields say of pods and roles otherwise than their official types.
func (a *asker) objects(e *auditv1.Event) (differences []string) {
	if e.RequestObject == nil || e.ObjectRef == nil || e.Verb != "create" && e.Verb != "update" || e.ObjectRef.Subresource != "" {
		return nil
	}
	body := e.RequestObject.Raw
	if e.ResponseObject != nil && !bytes.HasPrefix(e.ResponseObject.Raw, []byte(`{"kind":"Status"`)) {
		body = e.ResponseObject.Raw
	}
	same := func(name string, want []string) {
		a.t.Helper()
		if got := a.ask(name); !slices.Equal(got, want) {
			differences = append(differences, fmt.Sprintf("%s is %q, officially %q", name, got, want))
		}
	}
	flag := func(name string, want bool) { a.t.Helper(); same(name, []string{strconv.FormatBool(want)}) }
	var spec *core.PodSpec
	switch e.ObjectRef.Resource {
	case "pods":
		var pod core.Pod
		if kjson.UnmarshalCaseSensitivePreserveInts(body, &pod) != nil {
			return nil
		}
		spec = &pod.Spec
	case "deployments", "daemonsets", "replicasets", "statefulsets", "jobs":
		var workload struct {
			Spec struct {
				Template core.PodTemplateSpec `json:"template"`
			} `json:"spec"`
		}
		if kjson.UnmarshalCaseSensitivePreserveInts(body, &workload) != nil {
			return nil
		}
		spec = &workload.Spec.Template.Spec
	case "clusterroles", "roles":
		var role rbac.ClusterRole
		if kjson.UnmarshalCaseSensitivePreserveInts(body, &role) != nil {
			return nil
		}
		var verbs, resources []string
		for _, r := range role.Rules {
			verbs, resources = append(verbs, r.Verbs...), append(resources, r.Resources...)
		}
		same("ka.role.verbs", verbs)
		same("ka.role.resources", resources)
		for _, ask := range [][3]string{{"list", "", "secrets"}, {"create", "", "pods/exec"}, {"get", "", "pods/log"}, {"update", "apps", "deployments"}, {"bind", "rbac.authorization.k8s.io", "clusterroles"}, {"impersonate", "", "users"}} {
			resource, subresource, _ := strings.Cut(ask[2], "/")
			flag("ka.role.grants["+ask[0]+" "+ask[2]+"]", allows(role.Rules, ask[0], ask[1], resource, subresource))
		}
		return differences
	case "clusterrolebindings", "rolebindings":
		var binding rbac.ClusterRoleBinding
		if kjson.UnmarshalCaseSensitivePreserveInts(body, &binding) != nil {
			return nil
		}
		same("ka.binding.role", []string{binding.RoleRef.Name})
		var users, groups []string
		for _, s := range binding.Subjects {
			switch s.Kind {
			case "User":
				users = append(users, s.Name)
			case "Group":
				groups = append(groups, s.Name)
			}
		}
		same("ka.binding.users", users)
		same("ka.binding.groups", groups)
		return differences
	default:
		return nil
	}
	if a.ask("ka.pod")[0] == "false" && reflect.DeepEqual(*spec, core.PodSpec{}) {
		return nil // no specification is an empty one to the type
	}
	var names, images []string
	privileged := false
	look := func(c core.Container) {
		names, images = append(names, c.Name), append(images, c.Image)
		privileged = privileged || c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
	}
	for _, c := range spec.Containers {
		look(c)
	}
	for _, c := range spec.InitContainers {
		look(c)
	}
	for _, c := range spec.EphemeralContainers {
		look(core.Container(c.EphemeralContainerCommon))
	}
	hostPath := false
	for _, v := range spec.Volumes {
		hostPath = hostPath || v.HostPath != nil && v.HostPath.Path != "" // the API server wants a path
	}
	same("ka.containers.name", names)
	same("ka.containers.image", images)
	flag("ka.pod.privileged", privileged)
	flag("ka.pod.host_network", spec.HostNetwork)
	flag("ka.pod.host_pid", spec.HostPID)
	flag("ka.pod.hostpath.any", hostPath)
	if spec.ServiceAccountName != "" {
		same("ka.pod.serviceaccount", []string{spec.ServiceAccountName})
	}
	return differences
}

// allows decides as RBAC does (kubernetes/kubernetes: pkg/apis/rbac/v1/evaluation_helpers.go and
// plugin/pkg/auth/authorizer/rbac/rbac.go, RuleAllows), for a request without a name.
func allows(rules []rbac.PolicyRule, verb, group, resource, subresource string) bool {
	combined := resource
	if subresource != "" {
		combined += "/" + subresource
	}
	for _, r := range rules {
		matches := func(list []string, s string) bool { return slices.Contains(list, "*") || slices.Contains(list, s) }
		named := matches(r.Resources, combined) || subresource != "" && slices.Contains(r.Resources, "*/"+subresource)
		if matches(r.Verbs, verb) && matches(r.APIGroups, group) && named && len(r.ResourceNames) == 0 {
			return true
		}
	}
	return false
}

var oracleSamples = []string{
	`{"auditID":"a"}`,
	`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"0b4e","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods?a=b\u0026c=d","verb":"create","user":{"username":"jane","uid":"42","groups":["dev","system:authenticated"],"extra":{"scopes":["a","b"],"x/y":[]}},"impersonatedUser":{"username":"root","uid":"0","groups":["system:masters"],"extra":{"k":["v"]}},"authenticationMetadata":{"impersonationConstraint":"impersonate:user-info"},"sourceIPs":["192.0.2.7","::1"],"userAgent":"kubectl/v1.36.3","objectRef":{"resource":"pods","namespace":"shop","name":"web","uid":"u","apiGroup":"","apiVersion":"v1","resourceVersion":"7","subresource":"status"},"responseStatus":{"metadata":{},"status":"Failure","message":"pods \"web\" is forbidden","reason":"Forbidden","details":{"name":"web","kind":"pods"},"code":403},"requestObject":{"kind":"Pod","a":[1,2.50,-0,1e3,true,"\u00e4\n\"\\"],"b":{}},"responseObject":"text","requestReceivedTimestamp":"2026-11-21T03:06:57.100000Z","stageTimestamp":"2026-11-21T03:06:57.127890Z","annotations":{"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":"","a~b/c":"ü"}}`,
	`{"auditID":"a","stageTimestamp":"2026-02-28T23:59:60Z"}`,
	`{"auditID":"a","stageTimestamp":"2028-02-29T23:59:59.999999+01:00","requestReceivedTimestamp":"1969-12-31T23:59:59Z"}`,
	`{"\u0061uditID":"\u0061\u0000b","AuditID":"no","user":{"Username":"no","username":"yes"}}`,
	"{\"auditID\":\"\xff\",\"userAgent\":\"\\u2028\\u003c\"}",
	`{"auditID":"a","requestObject":[{"op":"add","path":"/a","value":1}],"responseObject":17}`,
	`{"auditID":"a","verb":"create","objectRef":{"resource":"pods"},"requestObject":{"spec":{"hostNetwork":true,"serviceAccountName":"x","containers":[{"name":"a","image":"b"}],"initContainers":[{"name":"c","securityContext":{"privileged":true}}],"volumes":[{"name":"v","hostPath":{"path":"/"}}]}}}`,
	`{"auditID":"a","verb":"create","objectRef":{"resource":"clusterroles"},"requestObject":{"rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*/exec","secrets"]},{"verbs":["bind"],"resources":["*"]}]}}`,
}

func TestOurFieldsSayWhatTheOfficialTypesSay(t *testing.T) {
	a := newAsker(t)
	for _, s := range oracleSamples {
		a.compare([]byte(s))
	}
}

// compare compares our fields and the official types on one event, and returns false if the event is left out.
func (a *asker) compare(raw []byte) bool {
	a.t.Helper()
	e, ok := official(raw)
	if !ok || !a.load(raw) || !a.audit.IsAudit() {
		return false
	}
	for _, d := range append(a.told(e), a.objects(e)...) {
		a.t.Errorf("%.300s\n%s", raw, d)
	}
	return true
}

// recordings returns the files of recorded events in testdata/recordings.
func recordings(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../../testdata/recordings/*.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// each is a handler that calls a function for every event.
type eachEvent struct {
	t    testing.TB
	call func(e *audit.Event)
}

func (h eachEvent) Event(e *audit.Event, _ time.Time, marks audit.Marks) {
	if marks != 0 {
		h.t.Errorf("an event of the API server is marked %b", marks)
	}
	h.call(e)
}

func (h eachEvent) Rejected(why audit.Reason, offset, length int) {
	h.t.Errorf("%d bytes at %d: %v", length, offset, why)
}

func TestOurFieldsSayOfRecordedEventsWhatTheOfficialTypesSay(t *testing.T) {
	files := recordings(t)
	if len(files) == 0 {
		t.Fatal("there are no recordings in testdata/recordings")
	}
	a := newAsker(t)
	for _, file := range files {
		events, compared := 0, 0
		for _, line := range e2e.Lines(t, file) {
			new(audit.Decoder).Decode(line, true, eachEvent{t, func(e *audit.Event) {
				events++
				if a.compare(bytes.Clone(e.Raw())) {
					compared++
				}
			}})
		}
		t.Logf("%s: %d of %d events compared", filepath.Base(file), compared, events)
		if compared < events*99/100 {
			t.Errorf("%s: only %d of %d events could be compared", filepath.Base(file), compared, events)
		}
	}
}

func FuzzOracle(f *testing.F) {
	for _, s := range oracleSamples {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < 1<<14 {
			newAsker(t).compare(raw)
		}
	})
}

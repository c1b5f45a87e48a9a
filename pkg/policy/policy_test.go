package policy_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kaudit/internal/golden"
	"kaudit/pkg/audit"
	"kaudit/pkg/policy"
	"kaudit/pkg/rules"
)

const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"

func load(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Load("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestBrokenPolicies(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"no file content", "", "policy.yaml:1:1: the file is empty; a policy begins with apiVersion: audit.k8s.io/v1, kind: Policy, and a list called rules"},
		{"not YAML", head + "rules:\n\t- level: None\n", "policy.yaml:4:1: not YAML: found character that cannot start any token; look at the indentation, and for a tab, a missing colon or quote"},
		{"a list", "- level: None\n", "policy.yaml:1:1: not an audit policy; a policy begins with apiVersion: audit.k8s.io/v1, kind: Policy, and a list called rules"},
		{"something else", "apiVersion: v1\nkind: Pod\n", "policy.yaml:1:1: not an audit policy; a policy begins with apiVersion: audit.k8s.io/v1, kind: Policy, and a list called rules"},
		{"an old version", "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]\n", "policy.yaml:1:13: audit.k8s.io/v1beta1 is no longer read by API servers; write audit.k8s.io/v1; the rules stay as they are"},
		{"no rules", head, "policy.yaml:1:1: there are no rules; without any the API server does not start; what records everything is: rules: [{level: Metadata}]"},
		{"no level", head + "rules:\n  - verbs: [get]\n", "policy.yaml:4:5: rules[0].level: the rule has no level; levels are None, Metadata, Request, RequestResponse"},
		{"level unknown", head + "rules:\n  - level: None\n  - level: metadata\n", `policy.yaml:5:12: rules[1].level: there is no level "metadata"; levels are None, Metadata, Request, RequestResponse`},
		{"stage unknown", head + "omitStages: [Received]\nrules: [{level: None}]\n", `policy.yaml:3:14: omitStages[0]: there is no stage "Received"; stages are RequestReceived, ResponseStarted, ResponseComplete, Panic`},
		{"both", head + "rules:\n- level: None\n  nonResourceURLs: [/x]\n  namespaces: [a]\n", "policy.yaml:5:20: rules[0].nonResourceURLs: a rule is about resources or about nonResourceURLs, not both; make two rules of it"},
		{"version in the group", head + "rules:\n- level: None\n  resources: [{group: apps/v1}]\n", `policy.yaml:5:14: rules[0].resources.group: "apps/v1" is no API group; a group is written without its version: apps, not apps/v1`},
		{"verbs no list", head + "rules:\n- level: None\n  verbs: get\n", "policy.yaml:5:10: verbs is no list; write verbs: [get]"},
		{"rules no list", head + "rules: {level: None}\n", "policy.yaml:3:8: rules is no list; write rules: [...]"},
		{"a rule that is none", head + "rules: [None]\n", "policy.yaml:1:1: cannot unmarshal string"},
		{"twice", head + "rules: [{level: None}]\nrules: [{level: None}]\n", "policy.yaml:4:1: rules is there twice; put both in one"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := policy.Load("policy.yaml", []byte(row.text))
			var load *rules.LoadError
			if !errors.As(err, &load) {
				t.Fatalf("got %v", err)
			}
			if got := load.Error(); !strings.HasPrefix(got, row.want) {
				t.Errorf(" got %s\nwant %s", got, row.want)
			}
		})
	}
}

// What the API server ignores it ignores here, too; but it is said.
func TestUnknownKeysAreIgnoredAndTold(t *testing.T) {
	p := load(t, head+"rules:\n- level: Metadata\n  resource: [{group: apps}]\n- level: None\n  resources: [{group: \"\", resorces: [pods]}]\n")
	var got []string
	for _, w := range p.Warnings {
		got = append(got, w.Error())
	}
	want := []string{
		`policy.yaml:5:3: the API server ignores "resource"; did you mean resources?`,
		`policy.yaml:7:27: the API server ignores "resorces"; did you mean resources?`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var e audit.Event
	e.Load([]byte(`{"auditID":"1","level":"RequestResponse","stage":"ResponseComplete","verb":"get","requestURI":"/x"}`))
	if _, d, kept := p.Reduce(nil, &e); !kept || d.Level != policy.Metadata || d.Rule != 0 {
		t.Errorf("got %+v: the first rule fits everything, as it has no resources", d)
	}
}

func TestReduce(t *testing.T) {
	const event = `{"kind":"Event","level":"RequestResponse","auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/web?x=1","verb":"update","user":{"username":"jane","groups":["system:authenticated"]},` +
		`"objectRef":{"resource":"pods","namespace":"shop","name":"web","apiVersion":"v1"},"requestObject":{"metadata":{"name":"web","managedFields":[{"manager":"x"}]},"spec":{"a":"<&>"}},"responseObject":{"items":[{"metadata":{"managedFields":[]}}]},` +
		`"annotations":{"patch.webhook.admission.k8s.io/round_0_index_0":"{}","authorization.k8s.io/decision":"allow"},"kaudit":{"cluster":"a"}}`
	for _, row := range []struct{ name, policy, event, want string }{
		{"everything", "rules: [{level: RequestResponse}]", event, event},
		{
			"the request", "rules: [{level: Request}]", event,
			strings.Replace(strings.Replace(event, `"level":"RequestResponse"`, `"level":"Request"`, 1), `"responseObject":{"items":[{"metadata":{"managedFields":[]}}]},`, "", 1),
		},
		{
			"without managed fields", "omitManagedFields: true\nrules: [{level: RequestResponse}]", event,
			strings.Replace(strings.Replace(event, `"metadata":{"name":"web","managedFields":[{"manager":"x"}]}`, `"metadata":{"name":"web"}`, 1), `{"metadata":{"managedFields":[]}}`, `{"metadata":{}}`, 1),
		},
		{"a rule keeps them", "omitManagedFields: true\nrules: [{level: RequestResponse, omitManagedFields: false}]", event, event},
		{
			"the head, and no patches of webhooks", "rules: [{level: Metadata}]", event,
			`{"kind":"Event","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods/web?x=1","verb":"update","user":{"username":"jane","groups":["system:authenticated"]},"objectRef":{"resource":"pods","namespace":"shop","name":"web","apiVersion":"v1"},"annotations":{"authorization.k8s.io/decision":"allow"},"kaudit":{"cluster":"a"}}`,
		},
		{"no more than was recorded", "rules: [{level: RequestResponse}]", `{"auditID":"1","level":"Metadata","verb":"get"}`, `{"auditID":"1","level":"Metadata","verb":"get"}`},
		{"nothing", "rules: [{level: None}]", event, ""},
		{"no rule fits", "rules: [{level: Metadata, verbs: [get]}]", event, ""},
		{"the stage is omitted", "omitStages: [ResponseComplete]\nrules: [{level: Metadata}]", event, ""},
		{"by a rule", "rules: [{level: Metadata, omitStages: [ResponseComplete]}]", event, ""},
		{"by user", "rules: [{level: None, users: [jane]}, {level: RequestResponse}]", event, ""},
		{"by group", "rules: [{level: None, userGroups: ['system:authenticated']}, {level: RequestResponse}]", event, ""},
		{"by namespace", "rules: [{level: None, namespaces: [shop]}, {level: RequestResponse}]", event, ""},
		{"by name", "rules: [{level: None, resources: [{group: '', resources: [pods], resourceNames: [web]}]}, {level: RequestResponse}]", event, ""},
		{"by path, without its query", "rules: [{level: None, nonResourceURLs: [/version]}, {level: Metadata}]", `{"auditID":"1","verb":"get","requestURI":"/version?timeout=32s"}`, ""},
		// The name of what is created is in its body, of which the API server knows nothing when it asks the policy.
		{"a name in the body", "rules: [{level: None, resources: [{group: '', resources: [pods], resourceNames: [web]}]}, {level: Metadata}]", `{"auditID":"1","level":"Metadata","verb":"create","objectRef":{"resource":"pods","name":"web"}}`, `{"auditID":"1","level":"Metadata","verb":"create","objectRef":{"resource":"pods","name":"web"}}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			var e audit.Event
			if !e.Load([]byte(row.event)) {
				t.Fatal("the event is not JSON")
			}
			got, _, kept := load(t, head+row.policy+"\n").Reduce(nil, &e)
			if kept != (row.want != "") || string(got) != row.want {
				t.Errorf("kept: %v\n got %s\nwant %s", kept, got, row.want)
			}
		})
	}
}

// What policies that people have leave of a few rules, each of which needs something else.
func TestPoliciesOfOthers(t *testing.T) {
	set := readRules(t, "testdata/rules/rules.yaml")
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			p, err := policy.LoadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			report, err := policy.Check(set, p, policy.Options{})
			if err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, filepath.Join("testdata", name+".golden"), render(report))
		})
	}
}

func readRules(t testing.TB, file string) *rules.Ruleset {
	t.Helper()
	set, err := rules.Load(rules.Options{}, file)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func render(report *policy.Report) string {
	var b strings.Builder
	for _, r := range report.Results {
		fmt.Fprintf(&b, "%v: %s\n", r.State, r.Rule)
		for _, l := range r.Losses {
			fmt.Fprintf(&b, "  %v\n", l)
		}
		for _, l := range r.Notes {
			fmt.Fprintf(&b, "  note: %v\n", l)
		}
	}
	return b.String()
}

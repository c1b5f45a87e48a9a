package policy

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
)

// Every field whose example says less without a body is known to look at one, and every other field at what it reads.
// Nothing declares what a field reads, so a row that is added is tested by being there.
func TestWhatFieldsLookAtIsFound(t *testing.T) {
	table := extract.Fields()
	answer := func(q *extract.Question, raw []byte) string {
		var a audit.Event
		var e extract.Event
		var v extract.Value
		a.Load(raw)
		e.Reset(&a)
		q.Answer(&e, &v)
		texts, _ := v.Texts()
		return strings.Join([]string{string(texts), string(must(json.Marshal(v.Numbers())))}, "|")
	}
	bodily := 0
	for id := range table {
		f := &table[id]
		var example map[string]json.RawMessage
		if err := json.Unmarshal([]byte(f.Example.Event), &example); err != nil {
			t.Fatal(err)
		}
		example["auditID"] = json.RawMessage(`"1"`)
		arg, err := f.ParseArg(f.Example.Arg, f.Example.Arg != "" || f.Arg == extract.RequiredKey)
		if err != nil {
			t.Fatal(err)
		}
		ask, err := table.Ask(id, arg)
		if err != nil {
			t.Fatal(err)
		}
		full := answer(&ask, must(json.Marshal(example)))
		delete(example, "requestObject")
		delete(example, "responseObject")
		if answer(&ask, must(json.Marshal(example))) == full {
			continue
		}
		bodily++
		c := &conditions{questions: []*question{{f.Name, &ask}}}
		v := c.newView()
		v.one.raw, v.other.raw = must(json.Marshal(example)), must(json.Marshal(example))
		if v.answer(0).looked&bodies == 0 && f.Name != "ka.size" && f.Name != "ka.unreadable" { // which read the event as a whole
			t.Errorf("%s is answered by a body, and has not looked at one", f.Name)
		}
	}
	if bodily < 100 {
		t.Errorf("only %d fields look at bodies", bodily)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A request of which nothing is known but the verb and the resource.
func TestVerdicts(t *testing.T) {
	for _, row := range []struct {
		condition string
		want      map[Level]verdict
	}{
		{"ka.verb = create", map[Level]verdict{Metadata: yes, RequestResponse: yes}},
		{"ka.verb = get or ka.target.path = pods/exec", map[Level]verdict{RequestResponse: no}},
		{"ka.target.resource in (deployments, pods) and ka.target.apigroup = apps", map[Level]verdict{Metadata: yes}},
		{"ka.target.name = web", map[Level]verdict{Metadata: maybe}},
		{"ka.target.namespace exists", map[Level]verdict{Metadata: maybe}},
		{"ka.user.name = jane", map[Level]verdict{Metadata: maybe}},
		{"not ka.user.kind in (node)", map[Level]verdict{Metadata: maybe}},
		{"ka.pod = true and ka.pod.privileged = true", map[Level]verdict{Metadata: no, Request: maybe, RequestResponse: maybe}},
		{"ka.req.pod.host_network = true", map[Level]verdict{Metadata: no, Request: maybe}},
		{"ka.response.kind = Deployment", map[Level]verdict{Metadata: no, Request: no, RequestResponse: maybe}},
		{"ka.value[/responseObject/kind] = x", map[Level]verdict{Metadata: no, Request: no, RequestResponse: maybe}},
		{"jevt.value[/requestObject/kind] = x", map[Level]verdict{Metadata: no, Request: maybe}},
		{"not ka.obj.owned = true", map[Level]verdict{Metadata: yes, RequestResponse: maybe}},
		{"ka.level = Request", map[Level]verdict{Metadata: no, Request: yes}},
		{"ka.secret.type = x", map[Level]verdict{RequestResponse: no}}, // it is no secret
		{"ka.done = true", map[Level]verdict{RequestResponse: maybe}},
		{"ka.verb = get and ka.user.name = jane or ka.verb = create", map[Level]verdict{RequestResponse: yes}},
		{"evt.rawtime = 0", map[Level]verdict{RequestResponse: no}},
		{"evt.num = 5", map[Level]verdict{RequestResponse: maybe}},
		{"ka.write = true", map[Level]verdict{RequestResponse: maybe}}, // it may be a dry run
		{"ka.exec.command contains sh", map[Level]verdict{RequestResponse: no}},
	} {
		set, err := rules.Read(rules.Options{}, rules.File{Name: "r.yaml", Content: []byte("- rule: R\n  desc: d\n  condition: " + row.condition + "\n  output: o\n  priority: INFO\n  source: k8s_audit\n")})
		if err != nil {
			t.Fatal(err)
		}
		c, err := takeApart(set, set.Rules)
		if err != nil {
			t.Fatal(err)
		}
		views := c.newLevelViews()
		views.set(probe{resource: &Resource{"apps", "deployments", ""}, verb: "create"})
		for level, want := range row.want {
			if got := views[level].of(c.of[set.Rules[0]]); got != want {
				t.Errorf("%s at %v: got %d, want %d", row.condition, level, got, want)
			}
		}
	}
}

// The list of Kubernetes' resources has all that a cluster was asked for.
func TestResourcesOfKubernetesAreListed(t *testing.T) {
	list, _ := builtIn()
	groups := map[string]bool{}
	for _, r := range list {
		groups[r.Group] = true
	}
	files, err := filepath.Glob("../../testdata/recordings/*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings: ", err)
	}
	seen := 0
	missing := map[Resource]bool{}
	for _, file := range files {
		for _, line := range e2e.Lines(t, file) {
			var e struct {
				ObjectRef      *struct{ APIGroup, Resource, Subresource string }
				ResponseStatus struct{ Code int }
			}
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			if e.ObjectRef == nil || e.ResponseStatus.Code == 404 || e.ResponseStatus.Code == 403 {
				continue
			}
			seen++
			if r := (Resource{e.ObjectRef.APIGroup, e.ObjectRef.Resource, e.ObjectRef.Subresource}); groups[r.Group] && !slices.Contains(list, r) {
				missing[r] = true
			}
		}
	}
	for r := range missing {
		t.Errorf("%v is not in the list", r)
	}
	if seen < 1000 {
		t.Errorf("only %d requests were looked at", seen)
	}
}

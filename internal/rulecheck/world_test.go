package rulecheck

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
)

// asked are comparisons of which conditions are made. Between the operator and the value stands a blank.
var asked = []string{
	"ka.verb = get", "ka.verb = create", "ka.verb in (patch, update)", "ka.verb in (delete, deletecollection, list)", "ka.verb != watch", "ka.verb startswith d",
	"ka.action = create", "ka.action = update", "ka.action in (get, connect)", "ka.action = delete", "ka.action = list", "ka.action = watch",
	"ka.write = true", "ka.write = false", "ka.read = true", "ka.success = true", "ka.success = false", "ka.refused = true", "ka.done = true", "ka.done = false",
	"ka.outcome = success", "ka.outcome in (forbidden, unauthorized)", "ka.outcome = pending", "ka.outcome != success",
	"ka.code = 200", "ka.code = 201", "ka.code = 101", "ka.code >= 400", "ka.code < 300", "ka.code in (403, 404)", "ka.code exists", "ka.response.code startswith 2",
	"ka.stage = ResponseComplete", "ka.stage = ResponseStarted", "jevt.value[/stage] = RequestReceived", "ka.stage contains Response",
	"ka.target.path = pods/exec", "ka.target.path = pods", "ka.target.path in (secrets, pods/log)", "ka.target.path startswith pods/", "ka.target.path exists",
	"ka.target.resource = pods", "ka.target.resource in (secrets, clusterroles)", "ka.target.resource exists", "ka.target.subresource exists", "ka.target.subresource = exec",
	"ka.target.namespace = kube-system", "ka.target.namespace startswith kube-", "ka.namespace.system = true", "ka.target.namespace != kube-system",
	"ka.user.groups intersects (system:masters)", "ka.user.groups in (system:masters, system:authenticated)", "ka.user.groups exists", "ka.user.groups intersects (system:nodes, system:authenticated)",
	"ka.user.name startswith \"system:\"", "ka.user.name contains serviceaccount", "ka.user.kind = user", "ka.user.kind in (node, serviceaccount)",
	"ka.level = Metadata", "ka.level = RequestResponse", "ka.pod = true", "ka.pod.privileged = true", "ka.req.pod.host_pid = true", "ka.req.pod.containers.privileged intersects (true)",
	"ka.patch.type in (json, apply)", "ka.service.type = NodePort", "ka.obj.kind exists", "ka.role.escalates exists", "evt.rawtime = 0", "jevt.rawtime exists",
}

func condition(r *rand.Rand, depth int) string {
	if depth == 0 || r.IntN(4) == 0 {
		return asked[r.IntN(len(asked))]
	}
	switch r.IntN(4) {
	case 0:
		return "not (" + condition(r, depth-1) + ")"
	case 1:
		return "(" + condition(r, depth-1) + " or " + condition(r, depth-1) + ")"
	}
	return "(" + condition(r, depth-1) + " and " + condition(r, depth-1) + ")"
}

// TestWhatHappensIsPossible makes conditions and looks at recorded events: where one holds, possible must say so, and
// where one does not, its opposite must be possible.
func TestWhatHappensIsPossible(t *testing.T) {
	n := 3000
	if testing.Short() {
		n = 300
	}
	r := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "- rule: r%d\n  desc: d\n  condition: '%s'\n  output: x\n  priority: INFO\n  source: k8s_audit\n", i, condition(r, 1+r.IntN(4)))
	}
	set, err := rules.Read(rules.Options{}, rules.File{Name: "a.yaml", Content: []byte(text.String())})
	if err != nil {
		t.Fatal(err)
	}
	engine := set.Engine()
	held := map[string]int{}
	events := 0
	recorded(t, func(e rules.Event) {
		events++
		for _, m := range engine.Evaluate(e, rules.All) {
			held[m.Rule.Name]++
		}
	})
	impossible := 0
	for _, rule := range set.Rules {
		for _, want := range []bool{true, false} {
			n := held[rule.Name]
			if !want {
				n = events - n
			}
			switch can := possible(&given{}, goal{rule.Condition, want}); {
			case !can && n > 0:
				t.Errorf("of %d events %d say that this is possible to be %t: %s", events, n, want, rule.Condition)
			case !can:
				impossible++
			}
		}
	}
	if impossible*20 < len(set.Rules) {
		t.Errorf("only %d of %d conditions are found to be impossible, or their opposite is", impossible, len(set.Rules))
	}
	t.Logf("%d conditions on %d events: %d of them, or their opposite, cannot be", len(set.Rules), events, impossible)
}

// recorded calls visit for some recorded events.
func recorded(t *testing.T, visit func(rules.Event)) {
	t.Helper()
	files, err := filepath.Glob("../../testdata/recordings/*.jsonl.gz")
	if err != nil || len(files) == 0 {
		t.Fatal("no recordings", err)
	}
	h := &handler{visit: visit}
	for _, name := range files {
		for i, line := range e2e.Lines(t, name) {
			if i%6 == 0 {
				new(audit.Decoder).Decode(line, true, h)
			}
		}
	}
}

type handler struct {
	visit func(rules.Event)
	n     uint64
	event extract.Event
}

func (h *handler) Event(e *audit.Event, stamp time.Time, _ audit.Marks) {
	h.n++
	h.event.Reset(e)
	h.visit(rules.Event{Event: &h.event, Number: h.n, Time: uint64(stamp.UnixNano())})
}

func (h *handler) Rejected(audit.Reason, int, int) {}

//go:build linux

// Package fields asks the engine of Falco for every field, and has it compare values of every type.
package fields

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kaudit/pkg/extract"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// example returns the event of a field's example, on one line and with an audit ID.
func example(f extract.Field) []byte {
	event := strings.TrimPrefix(f.Example.Event, "{")
	if event != "}" {
		event = "," + event
	}
	if strings.Contains(event, `"auditID"`) || isNotice(f) {
		return []byte(f.Example.Event)
	}
	return []byte(`{"auditID":"ex1"` + event)
}

// isNotice reports whether a field is one of notices.
func isNotice(f extract.Field) bool { return strings.Contains(f.Example.Event, `"kind":"Notice"`) }

func expression(f extract.Field) string {
	if f.Example.Arg != "" || f.Arg == extract.RequiredKey {
		return f.Name + "[" + f.Example.Arg + "]"
	}
	return f.Name
}

// TestTheEngineShowsEveryField has the engine print each field on its example.
func TestTheEngineShowsEveryField(t *testing.T) {
	library := e2e.Library(t)
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var events, notices [][]byte
	var fields []string
	table := extract.Fields()
	for i, f := range table {
		fields = append(fields, expression(f))
		if isNotice(f) {
			notices = append(notices, fmt.Appendf(nil, `%s,"time":"2020-01-01T00:00:00.%06dZ"}`, strings.TrimSuffix(f.Example.Event, "}"), i))
		} else {
			events = append(events, example(f))
		}
	}
	result, err := e.Run(t.Context(), engine.Run{
		Plugins: []engine.Plugin{{Path: library}},
		Open:    e2e.WriteLines(t, events),
		Notices: notices,
		Fields:  fields,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Events) != len(table) {
		t.Fatalf("%d events of %d arrived", len(result.Events), len(table))
	}
	// The engine has notices first.
	slices.SortStableFunc(table, func(a, b extract.Field) int {
		switch {
		case isNotice(a) == isNotice(b):
			return 0
		case isNotice(a):
			return -1
		}
		return 1
	})
	for i, f := range table {
		if f.From.Type == extract.Network {
			continue // the engine prints none of these; see the comparisons below
		}
		want := f.Example.Want
		if f.From.List { // the engine sets no comma where nothing stands before it
			want = "(" + strings.TrimLeft(want[1:], ",")
		}
		if got := result.Events[i].Text(expression(f)); got != want {
			t.Errorf("%s: the engine shows %s, want %s", expression(f), got, want)
		}
	}
	t.Logf("%d fields", len(table))
}

const comparedEvent = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"a1","stage":"ResponseComplete",` +
	`"requestURI":"/api/v1/namespaces/shop/pods?dryRun=All","verb":"create","user":{"username":"jane","groups":["dev","system:authenticated"]},` +
	`"sourceIPs":["203.0.113.9","2001:db8::7","10.1.2.3"],"objectRef":{"resource":"pods","namespace":"shop","apiVersion":"v1"},"responseStatus":{"code":403},` +
	`"requestObject":{"spec":{"containers":[{"name":"a","image":"reg.example.com:5000/x/y:1","securityContext":{"capabilities":{"add":["NET_RAW"]}}},{"name":"b","image":"busybox"}]}},` +
	`"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:01.500000Z"}`

// TestTheEngineComparesEveryType writes conditions as rule authors do. Those that have to hold and those that must not
// are next to each other.
func TestTheEngineComparesEveryType(t *testing.T) {
	holds := []string{
		// numbers
		"ka.code >= 400", "ka.code = 403", "ka.code != 200", "ka.code in (401, 403)", "ka.latency.ms > 1000", "ka.containers.count = 2",
		// durations and moments, in nanoseconds
		"ka.latency > 1000000000", "ka.latency <= 1500000000", "ka.received >= 1767225600000000000",
		// booleans
		"ka.dryrun = true", "ka.pod.privileged = false", "ka.pod.privileged exists", "ka.success != true",
		// addresses and networks
		"ka.sourceip.peer.net in (10.0.0.0/8, 192.168.0.0/16)", "ka.sourceip.peer.net = 10.1.0.0/16", "ka.sourceips.net intersects (2001:db8::/32)", "ka.sourceips.net intersects (203.0.113.9/32)",
		"ka.sourceips.in[203.0.113.0/24] = true", "ka.sourceip.peer.in[203.0.113.0/24,10.0.0.0/8] = true", "ka.sourceip.peer.private = true",
		// texts
		"ka.user.name = jane", "ka.user.name startswith ja", "ka.containers.image.joined contains busybox", "ka.containers.image.joined glob *reg.example.com*",
		"ka.value[/objectRef/namespace] = shop", "ka.user.groups.joined contains system:auth",
		// lists
		"ka.user.groups intersects (dev, ops)", "ka.user.groups in (dev, system:authenticated, other)", "ka.user.groups exists", "ka.containers.image[1] in (busybox)",
		"ka.pod.capabilities intersects (NET_RAW, SYS_ADMIN)", "ka.containers.image.registry intersects (reg.example.com:5000)",
		// one field with several arguments in one condition
		"ka.value[/verb] = create and ka.value[/objectRef/resource] = pods and ka.value[/verb] = create", "ka.containers.name[0] in (a) and ka.containers.name[1] in (b)",
		// what is not there
		"not ka.impuser.name exists", "not ka.target.subresource exists", "not ka.impuser.name = root",
	}
	fails := []string{
		"ka.code < 400", "ka.code in (200, 201)", "ka.latency.ms > 1500", "ka.latency > 1500000000", "ka.dryrun = false", "ka.pod.privileged = true",
		"ka.sourceip.peer.net in (192.168.0.0/16)", "ka.sourceips.net intersects (198.51.100.0/24)", "ka.sourceips.in[198.51.100.0/24] = true", "ka.sourceip.peer.public = true",
		"ka.user.name = jan", "ka.user.groups intersects (ops)", "ka.user.groups in (dev)", "ka.containers.image[0] in (busybox)", "ka.value[/verb] = pods", "ka.impuser.name exists", "ka.role.grants[get,pods] = true",
	}
	library := e2e.Library(t)
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var rules []engine.Rule
	for i, c := range append(append([]string(nil), holds...), fails...) {
		rules = append(rules, engine.Rule{Name: fmt.Sprint(i), Condition: c, Output: "%ka.auditid", Priority: "INFO"})
	}
	result, err := e.Run(t.Context(), engine.Run{Plugins: []engine.Plugin{{Path: library}}, Open: e2e.WriteLines(t, [][]byte{[]byte(comparedEvent)}), Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	fired := map[string]bool{}
	for _, m := range result.Matches {
		fired[m.Rule] = true
	}
	for i, r := range rules {
		if want := i < len(holds); fired[r.Name] != want {
			t.Errorf("%s is %t, want %t", r.Condition, fired[r.Name], want)
		}
	}
}

// TestACaptureAnswersAsTheSourceDid records the events of a recording in a capture file and asks for fields again from
// there, where events lie in the engine's memory.
func TestACaptureAnswersAsTheSourceDid(t *testing.T) {
	library := e2e.Library(t)
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	recording := filepath.Join(e2e.Root(t), "testdata", "recordings", "attacks.jsonl.gz")
	capture := filepath.Join(t.TempDir(), "audit.scap")
	run := engine.Run{
		Plugins: []engine.Plugin{{Path: library}},
		Open:    recording,
		Write:   capture,
		Fields:  []string{"ka.auditid", "ka.user.name", "ka.verb", "ka.code", "ka.containers.image", "ka.value[/objectRef/name]", "ka.value[/stage]", "ka.role.rules"},
		Payload: true,
	}
	live, err := e.Run(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	run.Open, run.Write, run.Read = "", "", capture
	replayed, err := e.Run(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	lines := e2e.Lines(t, recording)
	if len(live.Events) != len(lines) || len(replayed.Events) != len(lines) {
		t.Fatalf("%d events recorded, %d read live, %d from the capture", len(lines), len(live.Events), len(replayed.Events))
	}
	for i := range lines {
		if !bytes.Equal([]byte(live.Events[i].Payload), lines[i]) {
			t.Fatalf("event %d: the payload is not what was recorded", i)
		}
		if a, b := fmt.Sprint(live.Events[i].Fields), fmt.Sprint(replayed.Events[i].Fields); a != b || live.Events[i].Payload != replayed.Events[i].Payload {
			t.Errorf("event %d: %s live, %s from the capture", i, a, b)
		}
	}
}

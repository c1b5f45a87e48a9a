//go:build linux

package differential

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

var update = flag.Bool("update", false, "write what the official json plugin answers into pkg/extract/testdata/json-plugin.jsonl")

// A row is what is asked of one event, and what the official json plugin answers; nil is no value. Ours has the answers
// of this project's that are others, and why says why.
type row struct {
	Event    string             `json:"event"`
	Official map[string]*string `json:"official"`
	Ours     map[string]*string `json:"ours,omitempty"`
	Why      string             `json:"why,omitempty"`
}

func rowsFile(t *testing.T) string {
	return filepath.Join(e2e.Root(t), "pkg", "extract", "testdata", "json-plugin.jsonl")
}

func readRows(t *testing.T) (rows []row) {
	t.Helper()
	for _, line := range e2e.Lines(t, rowsFile(t)) {
		var r row
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		rows = append(rows, r)
	}
	return rows
}

// linesPlugin compiles a plugin that hands out the lines of a file, whatever is in them, with a source of its own.
func linesPlugin(t *testing.T) engine.Plugin {
	t.Helper()
	to := filepath.Join(t.TempDir(), "liblines.so")
	root := e2e.Root(t)
	out, err := exec.Command("gcc", "-O2", "-shared", "-fPIC", "-I", filepath.Join(root, "internal/abi"), "-o", to, filepath.Join(root, "test/e2e/bench/floor/floor.c"),
		`-DNAME="lines"`, `-DVERSION="0.1.0"`, `-DFIELDS="[{\"name\":\"lines.none\",\"type\":\"string\",\"desc\":\"-\"}]"`, `-DSOURCE="lines"`, "-DID=999").CombinedOutput()
	if err != nil {
		t.Fatalf("compile floor.c: %v: %s", err, out)
	}
	return engine.Plugin{Path: to, Name: "lines"}
}

// answers has an engine ask a json plugin about lines.
func answers(t *testing.T, e *engine.Engine, lines, other engine.Plugin, payloads [][]byte, questions []string) []engine.Event {
	t.Helper()
	result, err := e.Run(t.Context(), engine.Run{
		Plugins: []engine.Plugin{lines, other}, Source: "lines", Open: e2e.WriteLines(t, payloads), Fields: questions,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Events) != len(payloads) {
		t.Fatalf("%d events of %d", len(result.Events), len(payloads))
	}
	return result.Events
}

func textOf(v any) *string {
	if s, ok := v.(string); ok {
		return &s
	}
	return nil
}

func shown(s *string) string {
	if s == nil {
		return "nothing"
	}
	return *s
}

// TestJSONLibrary asks the json library about all sorts of events, from a source that is not of audit events, and compares
// with what the official plugin answered; and has the official one asked again, if there is one.
func TestJSONLibrary(t *testing.T) {
	rows := readRows(t)
	asked := map[string]bool{}
	var payloads [][]byte
	for _, r := range rows {
		payloads = append(payloads, []byte(r.Event))
		for q := range r.Official {
			asked[q] = true
		}
	}
	questions := slices.Sorted(maps.Keys(asked))
	lines := linesPlugin(t)
	if official, ok := officialJSON(); ok {
		sid, err := engine.SetupSid(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// One question a run: what the official plugin answers depends on what it was asked of that event before.
		theirs := map[string][]engine.Event{}
		for _, q := range questions {
			theirs[q] = answers(t, sid, lines, official, payloads, []string{q})
		}
		mine := answers(t, sid, lines, engine.Plugin{Path: e2e.JSONLibrary(t)}, payloads, questions)
		for i := range rows {
			r := &rows[i]
			if *update {
				r.Ours = nil
			}
			for q, want := range r.Official {
				got := textOf(theirs[q][i].Fields[q])
				switch {
				case !*update && shown(got) != shown(want):
					t.Errorf("%.200s\n%s: the official plugin answers %s, and did %s", r.Event, q, shown(got), shown(want))
				case *update:
					r.Official[q] = got
					if ours := textOf(mine[i].Fields[q]); shown(ours) != shown(got) {
						if r.Ours == nil {
							r.Ours = map[string]*string{}
						}
						r.Ours[q] = ours
						if r.Why == "" {
							t.Errorf("%.200s\n%s: the official plugin answers %s, and this one %s; say why", r.Event, q, shown(got), shown(ours))
						}
					}
				}
			}
		}
	}
	if *update {
		writeRows(t, rows)
		return
	}
	for _, p := range peers(t) {
		if p.host == nil {
			continue // Falco has no way to print a field of each event
		}
		t.Run(p.name, func(t *testing.T) {
			n := 0
			for i, e := range answers(t, p.host, lines, engine.Plugin{Path: e2e.JSONLibrary(t)}, payloads, questions) {
				for q, want := range rows[i].Official {
					if ours, differs := rows[i].Ours[q]; differs {
						want = ours
					}
					if got := textOf(e.Fields[q]); shown(got) != shown(want) {
						t.Errorf("%.200s\n%s: got %s, want %s", rows[i].Event, q, shown(got), shown(want))
					}
					n++
				}
			}
			t.Logf("%d answers are the same", n)
		})
	}
}

func writeRows(t *testing.T, rows []row) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, r := range rows {
		if err := enc.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(rowsFile(t), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestJSONLibraryOnACapture asks about events that a capture brings: at one address, one after the other.
func TestJSONLibraryOnACapture(t *testing.T) {
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plugins := []engine.Plugin{linesPlugin(t), {Path: e2e.JSONLibrary(t)}}
	capture := filepath.Join(t.TempDir(), "capture.scap")
	run := engine.Run{
		Plugins: plugins, Source: "lines", Open: e2e.WriteLines(t, someEvents(t)), Write: capture,
		Fields: []string{"jevt.value[/auditID]", "jevt.value[/stage]", "jevt.value[/requestObject]", "jevt.rawtime", "jevt.obj"},
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
	if len(live.Events) == 0 || len(live.Events) != len(replayed.Events) {
		t.Fatalf("%d events live, %d replayed", len(live.Events), len(replayed.Events))
	}
	for i, e := range live.Events {
		if again := replayed.Events[i]; !reflect.DeepEqual(e.Fields, again.Fields) {
			t.Errorf("event %d\n got %v\nwant %v", i, again.Fields, e.Fields)
		}
	}
}

// TestJSONLibraryOnRecordings compares both plugins on everything that was recorded.
func TestJSONLibraryOnRecordings(t *testing.T) {
	official, ok := officialJSON()
	if !ok {
		t.Skip("JSON_PLUGIN does not say where Falco's json plugin is")
	}
	sid, err := engine.SetupSid(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	questions := []string{
		"jevt.value[/stage]", "jevt.rawtime", "jevt.obj", "json.value[]", "jevt.value[/requestObject]", "jevt.value[/responseObject]", "jevt.value[/user]",
		"jevt.value[/requestObject/spec/volumes]", "jevt.value[/requestObject/spec/tls]", "jevt.value[/requestObject/ephemeralContainers/0/image]",
		"jevt.value[/requestObject/metadata/annotations]", "jevt.value[/objectRef/name]", "jevt.value[/annotations/authorization.k8s.io~1decision]", "jevt.value[/requestURI]",
		"jevt.value[/responseObject/items/0/metadata]", "jevt.value[/requestObject/spec/template/spec/containers/0]", "jevt.value[/requestObject/0/value]", "jevt.value[/sourceIPs/0]",
	}
	payloads, lines := events(t), linesPlugin(t)
	theirs := answers(t, sid, lines, official, payloads, questions)
	mine := answers(t, sid, lines, engine.Plugin{Path: e2e.JSONLibrary(t)}, payloads, questions)
	n, differ := 0, 0
	for i := range theirs {
		for _, q := range questions {
			if n++; shown(textOf(theirs[i].Fields[q])) != shown(textOf(mine[i].Fields[q])) {
				if differ++; differ <= 10 {
					t.Errorf("%.300s\n%s: got %.300s, want %.300s", payloads[i], q, shown(textOf(mine[i].Fields[q])), shown(textOf(theirs[i].Fields[q])))
				}
			}
		}
	}
	t.Logf("%d answers about %d events, %d differ", n, len(payloads), differ)
}

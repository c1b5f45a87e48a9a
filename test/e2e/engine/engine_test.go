//go:build linux

package engine_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kaudit/test/e2e/engine"
)

const events = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"a","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/d/secrets/s","verb":"get","user":{"username":"alice"},"objectRef":{"resource":"secrets","namespace":"d","name":"s"},"responseStatus":{"code":200},"stageTimestamp":"2026-01-02T03:04:05.000001Z"}
{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"b","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/d/pods/p","verb":"delete","user":{"username":"bob"},"objectRef":{"resource":"pods","namespace":"d","name":"p"},"responseStatus":{"code":200},"stageTimestamp":"2026-01-02T03:04:06.000001Z"}
`

var rules = []engine.Rule{
	{Name: "secret", Condition: "ka.target.resource = secrets", Output: "%ka.user.name reads %ka.target.name", Priority: "NOTICE"},
	{Name: "any", Condition: "ka.verb exists", Output: "%ka.verb %ka.target.subresource", Priority: "INFO"},
}

// plugin returns the library to test with. It may be any library with the fields of k8saudit and a file source.
func plugin(t *testing.T) engine.Plugin {
	t.Helper()
	library := os.Getenv("KAUDIT_LIBRARY")
	if library == "" {
		t.Skip("KAUDIT_LIBRARY does not name a libk8saudit.so")
	}
	return engine.Plugin{Path: library, Init: "{}"}
}

func eventsFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(path, []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun(t *testing.T) {
	p := plugin(t)
	engine.Each(t, func(t *testing.T, e *engine.Engine) { testRun(t, e, p) })
}

func testRun(t *testing.T, e *engine.Engine, p engine.Plugin) {
	capture := filepath.Join(t.TempDir(), "capture.scap")
	live := engine.Run{
		Plugins: []engine.Plugin{p},
		Open:    eventsFile(t),
		Write:   capture,
		Rules:   rules,
		Fields:  []string{"ka.verb", "ka.target.subresource", "toupper(ka.user.name)"},
		Payload: true,
		Calls:   true,
		DryRun:  true,
		Cycles:  2,
	}
	check := func(t *testing.T, result engine.Result, cycles int) {
		t.Helper()
		if want := 3 * cycles; len(result.Matches) != want {
			t.Fatalf("%d matches, want %d: %v", len(result.Matches), want, result.Matches)
		}
		m := result.Matches[0]
		if m.Rule != "secret" || m.Output != "alice reads s" || m.Event != 1 || m.Time != 1767323045000001000 {
			t.Errorf("first match: %+v", m)
		}
		if got := result.Fired(); !slices.Equal(got, []string{"secret", "any"}) {
			t.Errorf("fired %v", got)
		}
		if got := result.Matches[1].Output; got != "get <NA>" {
			t.Errorf("output with an absent field: %q", got)
		}
		second := result.Events[1]
		if second.Text("ka.verb") != "delete" || second.Text("ka.target.subresource") != "<NA>" || second.Text("toupper(ka.user.name)") != "BOB" {
			t.Errorf("fields: %v", second.Fields)
		}
		if got, want := second.Payload, strings.Split(events, "\n")[1]; got != want {
			t.Errorf("payload\n got %s\nwant %s", got, want)
		}
		if len(result.Stats) != cycles || result.Stats[0].Events != 2 || result.Stats[0].Rules["any"] != 2 {
			t.Errorf("stats: %+v", result.Stats)
		}
	}
	t.Run("live", func(t *testing.T) {
		result, err := e.Run(t.Context(), live)
		if err != nil {
			t.Fatal(err)
		}
		check(t, result, 2)
	})
	t.Run("capture", func(t *testing.T) {
		replay := live
		replay.Read, replay.Write, replay.Cycles = capture, "", 1
		result, err := e.Run(t.Context(), replay)
		if err != nil {
			t.Fatal(err)
		}
		check(t, result, 1)
	})
	t.Run("first", func(t *testing.T) {
		run := engine.Run{Plugins: live.Plugins, Open: live.Open, Rules: rules, First: true, MatchFields: true}
		result, err := e.Run(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		if len(result.Matches) != 2 || result.Matches[0].Fields["ka.user.name"] != "alice" {
			t.Errorf("matches: %v", result.Matches)
		}
	})
	t.Run("stop", func(t *testing.T) {
		matched := make(chan struct{}, 8)
		run := engine.Run{Plugins: live.Plugins, Open: "http://127.0.0.1:0/k8s-audit", Rules: rules}
		run.OnMatch = func(engine.Match) { matched <- struct{}{} }
		process, err := e.Start(t.Context(), run)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		process.Stop()
		result, err := process.Wait()
		if err != nil || len(matched) != 0 || len(result.Stats) != 1 {
			t.Errorf("%v, %d matches, %+v", err, len(matched), result)
		}
	})
	t.Run("error", func(t *testing.T) {
		_, err := e.Run(t.Context(), engine.Run{Plugins: live.Plugins, Open: "/does/not/exist"})
		if err == nil || !strings.Contains(err.Error(), "/does/not/exist") {
			t.Errorf("error: %v", err)
		}
	})
}

func TestInspect(t *testing.T) {
	p := plugin(t)
	engine.Each(t, func(t *testing.T, e *engine.Engine) { testInspect(t, e, p) })
}

func testInspect(t *testing.T, e *engine.Engine, p engine.Plugin) {
	info, err := e.Info(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(info) != 1 || info[0].Name != "k8saudit" || info[0].EventSource != "k8s_audit" || len(info[0].Fields) < 100 {
		t.Errorf("info: %+v", info)
	}
	schema, err := e.InitSchema(t.Context(), p)
	if err != nil || !strings.Contains(schema, `"$schema"`) {
		t.Errorf("schema %q, %v", schema, err)
	}
	if _, err := e.OpenParams(t.Context(), p); err != nil {
		t.Error(err)
	}
	checks, err := e.CheckFilters(t.Context(), []engine.Plugin{p}, "ka.verb = get", "ka.verb = ", "no.such = 1")
	if err != nil {
		t.Fatal(err)
	}
	if checks[0].Error != "" || checks[1].Error == "" || !strings.Contains(checks[2].Error, "no.such") {
		t.Errorf("checks: %+v", checks)
	}
}

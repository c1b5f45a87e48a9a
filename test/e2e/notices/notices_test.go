//go:build linux

// Package notices has the engine of Falco take what the plugin tells of delivery itself: asynchronous events, the fields
// asked of them, and logs through the host's logger.
package notices

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"kaudit/internal/metric"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

const event = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"1","stage":"ResponseComplete","verb":"get","requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","stageTimestamp":"2026-01-01T00:00:00.000000Z"}`

var rules = []engine.Rule{
	{Name: "lost", Condition: "ka.notice = events_lost", Output: "%ka.notice.count lost in %ka.notice.source: %ka.notice.message verb=%ka.verb async=%evt.is_async", Priority: "WARNING"},
	{Name: "async", Condition: "evt.asynctype = events_lost and evt.is_async = true and evt.source = k8s_audit", Output: "%evt.asynctype %evt.pluginname %evt.plugininfo", Priority: "INFO"},
	{Name: "audit", Condition: "ka.verb exists and not ka.notice exists and evt.is_async = false", Output: "%ka.verb", Priority: "INFO"},
	{Name: "not", Condition: "not ka.verb = list", Output: "%ka.verb", Priority: "INFO"},
}

// TestWhatIsLostReachesRules reads a file with pieces that are no events, to its end: the engine hears of them before.
func TestWhatIsLostReachesRules(t *testing.T) {
	library := e2e.Library(t)
	file := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(file, []byte(event+"\nnonsense\n"+event+"\n{\"auditID\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	engine.Each(t, func(t *testing.T, e *engine.Engine) {
		result, err := e.Run(t.Context(), engine.Run{Plugins: []engine.Plugin{{Path: library}}, Open: file, Rules: rules})
		if err != nil {
			t.Fatal(err)
		}
		check(t, result, fmt.Sprintf("2 lost in %s: what should have been", file))
		inTheTable(t, result, 20)
	})
	t.Run("falco", func(t *testing.T) {
		falco, err := engine.FindFalco()
		if err != nil {
			t.Skip(err)
		}
		result, err := falco.Run(t.Context(), engine.Run{Plugins: []engine.Plugin{{Path: library}}, Open: file, Rules: rules}, nil)
		if err != nil {
			t.Fatal(err)
		}
		check(t, result, fmt.Sprintf("2 lost in %s: what should have been", file))
		if want := "k8saudit: left out what is no audit event source=" + file; !strings.Contains(result.Log, want) {
			t.Errorf("Falco's log has no %q:\n%s", want, result.Log)
		}
	})
}

// TestFalcoHasTheMetrics has Falco write its metrics.
func TestFalcoHasTheMetrics(t *testing.T) {
	falco, err := engine.FindFalco()
	if err != nil {
		t.Skip(err)
	}
	hook := e2e.FreeAddress(t)
	init := fmt.Sprintf(`{"sources":[{"name":"prod-eu","cluster":"eu","open":"http://%s/k8s-audit"}]}`, hook)
	snapshots := make(chan engine.Match, 100)
	p, err := falco.Start(t.Context(), engine.Run{
		Plugins: []engine.Plugin{{Path: e2e.Library(t), Init: init}}, Rules: rules,
		OnMatch: func(m engine.Match) {
			if strings.Contains(m.Rule, "metrics snapshot") {
				select {
				case snapshots <- m:
				default:
				}
			}
		},
	}, nil, "metrics.enabled=true", "metrics.interval=500ms", "metrics.output_rule=true", "metrics.plugins_metrics_enabled=true", "metrics.include_empty_values=true")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		p.Stop()
		if _, err := p.Wait(); err != nil {
			t.Error(err)
		}
	}()
	seen := 0
	for deadline := time.After(30 * time.Second); ; {
		// Falco looks at the clock when there is an event.
		if response, err := http.Post("http://"+hook+"/k8s-audit", "application/json", strings.NewReader(event)); err == nil {
			response.Body.Close()
		}
		select {
		case m := <-snapshots:
			if _, ok := m.Fields["scap.evts_rate_sec"]; !ok {
				if seen++; seen > 5 {
					t.Skip("this falco is a minimal build, which has no metrics of plugins")
				}
				continue // the first is of the start alone
			}
			for name, want := range map[string]string{"events": "", "oldest_ms": "", "prod-eu.deliveries": "", "prod-eu.webhook.refused_full": "0"} {
				if v, ok := m.Fields["plugins.k8saudit."+name]; !ok || want != "" && fmt.Sprint(v) != want {
					t.Errorf("%s is %v", name, v)
				}
			}
			return
		case <-deadline:
			t.Fatal("no metrics")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// check wants one notice between two audit events, or beside them.
func check(t *testing.T, result engine.Result, lost string) {
	t.Helper()
	fired := map[string][]string{}
	for _, m := range result.Matches {
		fired[m.Rule] = append(fired[m.Rule], m.Output)
	}
	if got := fired["lost"]; len(got) != 1 || !strings.HasPrefix(got[0], lost) || !strings.HasSuffix(got[0], "verb=<NA> async=true") {
		t.Errorf("lost: %q, want %q", got, lost)
	}
	if got := fired["async"]; len(got) != 1 || got[0] != "events_lost <NA> <NA>" {
		t.Errorf("async: %q", got)
	}
	if len(fired["audit"]) != 2 || len(fired["not"]) != 3 {
		t.Errorf("audit %q, not %q", fired["audit"], fired["not"])
	}
}

// TestLogsAreTheHosts reads a file of which a part is no event, and looks where that is told.
func TestLogsAreTheHosts(t *testing.T) {
	library := e2e.Library(t)
	file := e2e.WriteLines(t, [][]byte{[]byte(event), []byte("secret nonsense")})
	for _, tt := range []struct{ init, want, not string }{
		{`{"maxEventSise":1}`, "log 4: k8saudit: init_config has a key nobody knows; it has no effect key=maxEventSise", "level="},
		{`{"logTo":"falco"}`, "log 4: k8saudit: left out what is no audit event source=", "level="},
		{`{"logTo":"stderr"}`, `level=WARN msg="left out what is no audit event" plugin=k8saudit source=`, "log 4:"},
	} {
		engine.Each(t, func(t *testing.T, e *engine.Engine) {
			var log bytes.Buffer
			if _, err := e.Run(t.Context(), engine.Run{Plugins: []engine.Plugin{{Path: library, Init: tt.init}}, Open: file, Rules: rules, Log: &log}); err != nil {
				t.Fatal(err)
			}
			if got := log.String(); !strings.Contains(got, tt.want) || strings.Contains(got, tt.not) || strings.Contains(got, "secret") {
				t.Errorf("init_config %s: logged\n%s\nwant %s and no %s", tt.init, got, tt.want, tt.not)
			}
		})
	}
}

// TestNoticesAreInCaptures writes a capture file with a notice in the middle. The engine takes asynchronous events at the
// beginning of one for its own.
func TestNoticesAreInCaptures(t *testing.T) {
	library := e2e.Library(t)
	later := strings.ReplaceAll(event, "00:00:00", "00:00:10")
	run := engine.Run{
		Plugins: []engine.Plugin{{Path: library}},
		Open:    e2e.WriteLines(t, [][]byte{[]byte(event), []byte(later)}),
		Rules:   rules,
		Notices: [][]byte{[]byte(`{"kind":"Notice","apiVersion":"kaudit/v1","name":"events_lost","source":"a","count":7,"message":"why","time":"2026-01-01T00:00:05Z"}`)},
	}
	engine.Each(t, func(t *testing.T, e *engine.Engine) {
		live := run
		live.Write = filepath.Join(t.TempDir(), "events.scap")
		result, err := e.Run(t.Context(), live)
		if err != nil {
			t.Fatal(err)
		}
		check(t, result, "7 lost in a: why")
		result, err = e.Run(t.Context(), engine.Run{Plugins: run.Plugins, Rules: rules, Read: live.Write})
		if err != nil {
			t.Fatal(err)
		}
		check(t, result, "7 lost in a: why")
		for _, m := range result.Matches {
			if m.Rule == "lost" && m.Event != 2 {
				t.Errorf("the notice is event %d", m.Event)
			}
		}
	})
}

// inTheTable checks that there are at least so many metrics, and that the table has them all.
func inTheTable(t *testing.T, result engine.Result, least int) {
	t.Helper()
	for _, m := range result.Metrics {
		name := strings.TrimPrefix(m.Name, "k8saudit.")
		if place := metric.Find(name); !place.Known || place.Gauge == m.Monotonic {
			t.Errorf("%s: in the table: %+v; monotonic to the engine: %t", name, place, m.Monotonic)
		}
	}
	if len(result.Metrics) < least {
		t.Errorf("%d metrics", len(result.Metrics))
	}
}

// TestMetricsAreShown asks the endpoint while the engine runs, and the engine at the end: the two have the same names, and
// the table has them all. It is run twice in one process, and set up a second time meanwhile, as Falco does on a reload.
func TestMetricsAreShown(t *testing.T) {
	library := e2e.Library(t)
	engine.Each(t, func(t *testing.T, e *engine.Engine) {
		listen, hook, quiet := e2e.FreeAddress(t), e2e.FreeAddress(t), e2e.FreeAddress(t)
		init := fmt.Sprintf(`{"metricsListen":%q,"spool":{"dir":%q},"sources":[{"name":"prod-eu","cluster":"eu","open":"http://%s/k8s-audit"},{"name":"quiet","open":"http://%s/k8s-audit"}]}`, listen, t.TempDir(), hook, quiet)
		shown := map[string]float64{} // the most that each ever was: a spool is empty again when its events were evaluated
		run := engine.Run{Plugins: []engine.Plugin{{Path: library, Init: init}}, Rules: rules, DryRun: true, Cycles: 2, MaxEvents: 2}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		process, err := e.Start(ctx, run)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				answer, err := http.Post("http://"+hook+"/k8s-audit", "application/json", strings.NewReader(event))
				if err == nil {
					answer.Body.Close()
				}
				if answer, err = http.Get("http://" + listen + "/metrics"); err == nil {
					text, _ := io.ReadAll(answer.Body)
					answer.Body.Close()
					for line := range strings.Lines(string(text)) {
						name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
						if !ok || name == "#" {
							continue
						}
						if n, err := strconv.ParseFloat(value, 64); err == nil {
							shown[name] = max(shown[name], n)
						}
					}
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		result, err := process.Wait()
		cancel()
		<-done
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]float64{
			`kaudit_source_deliveries_total{cluster="eu",source="prod-eu"}`:     1,
			`kaudit_webhook_accepted_total{cluster="eu",source="prod-eu"}`:      1,
			`kaudit_source_deliveries_total{cluster="",source="quiet"}`:         0,
			`kaudit_spool_written_records_total{cluster="eu",source="prod-eu"}`: 1,
			`kaudit_spool_segments{cluster="eu",source="prod-eu"}`:              1,
			`kaudit_rejected_total{reason="broken"}`:                            0,
		} {
			if got, is := shown[name]; !is || got < want {
				t.Errorf("%s is %v (shown: %t), want %v or more", name, got, is, want)
			}
		}
		if len(result.Stats) != 2 {
			t.Errorf("%d cycles", len(result.Stats))
		}
		inTheTable(t, result, 50)
	})
}

// TestAnAddressInUseIsAnErrorOfOpen has somebody listen where metrics are to be shown.
func TestAnAddressInUseIsAnErrorOfOpen(t *testing.T) {
	library := e2e.Library(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	engine.Each(t, func(t *testing.T, e *engine.Engine) {
		_, err := e.Run(t.Context(), engine.Run{
			Plugins: []engine.Plugin{{Path: library, Init: fmt.Sprintf(`{"metricsListen":%q}`, l.Addr())}},
			Open:    e2e.WriteLines(t, [][]byte{[]byte(event)}),
		})
		if err == nil || !strings.Contains(err.Error(), "metricsListen: listen tcp "+l.Addr().String()) {
			t.Errorf("error: %v", err)
		}
	})
}

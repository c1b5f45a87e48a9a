//go:build linux

// Package webhook sends what an API server sent to its webhook to the library inside the engine of Falco.
package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

func post(t *testing.T, url string, body []byte) int {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := http.Post(url, "application/json", bytes.NewReader(body))
		if err == nil {
			response.Body.Close()
			return response.StatusCode
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestWhatAnAPIServerPostsReachesTheRules(t *testing.T) {
	library := e2e.Library(t)
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bodies := e2e.Lines(t, filepath.Join(e2e.Root(t), "testdata", "recordings", "webhook.jsonl.gz"))
	var want []string
	for _, body := range bodies {
		var list struct {
			Items []struct{ AuditID, Stage string }
		}
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			want = append(want, item.AuditID+" "+item.Stage)
		}
	}

	url := "http://" + e2e.FreeAddress(t) + "/k8s-audit"
	arrived := make(chan string, len(want))
	p, err := e.Start(t.Context(), engine.Run{
		Plugins: []engine.Plugin{{Path: library}},
		Open:    url,
		Fields:  []string{"ka.auditid", "ka.stage"},
		OnEvent: func(e engine.Event) { arrived <- e.Text("ka.auditid") + " " + e.Text("ka.stage") },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range bodies {
		if code := post(t, url+"?timeout=30s", body); code != http.StatusOK {
			t.Fatalf("answered %d", code)
		}
	}
	var got []string
	for len(got) < len(want) {
		select {
		case id := <-arrived:
			got = append(got, id)
		case <-time.After(20 * time.Second):
			t.Fatalf("%d events of %d arrived", len(got), len(want))
		}
	}
	if code := post(t, url, []byte(`{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"no-event"}}]}`)); code != http.StatusOK {
		t.Errorf("what is no audit event was answered %d", code)
	}
	if code := post(t, url, []byte(`{"auditID":"last","stage":"ResponseComplete"}`)); code != http.StatusOK {
		t.Errorf("a single event was answered %d", code)
	}
	if id := <-arrived; id != "last ResponseComplete" {
		t.Errorf("%s arrived, and not what was sent last", id)
	}
	p.Stop()
	result, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("events arrived in another order, or others:\n%s\nwant\n%s", a, b)
	}
	if files := result.Stats[0].Files; files > 10 {
		t.Errorf("%d descriptors are left after everything was closed", files)
	}
	metrics := map[string]string{}
	for _, m := range result.Metrics {
		metrics[m.Name] = m.Value.String()
	}
	for name, value := range map[string]string{"k8saudit.events": fmt.Sprint(len(want) + 1), "k8saudit.rejected_not_audit": "1", "k8saudit.queue_bytes": "0"} {
		if metrics[name] != value {
			t.Errorf("metric %s is %q, want %s; there are %v", name, metrics[name], value, metrics)
		}
	}
}

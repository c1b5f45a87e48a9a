package endpoint_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kaudit/internal/endpoint"
	"kaudit/internal/golden"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, listen string, read endpoint.Readings) *endpoint.Endpoint {
	t.Helper()
	e, err := endpoint.Open(endpoint.Config{
		Listen: listen, Read: read, Log: slog.New(slog.DiscardHandler),
		Clusters: map[string]string{"prod-eu": `a "quoted"\cluster`},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// get asks as Prometheus does, without keeping the connection.
func get(t *testing.T, e *endpoint.Endpoint, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answer, err := client.Get("http://" + e.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func TestMetricsAsPrometheusReadsThem(t *testing.T) {
	e := open(t, "127.0.0.1:0", func(yield func(string, uint64)) {
		for i, name := range []string{
			"events", "rejected_not_json", "rejected_broken", "oldest_ms", "queue_bytes", "webhook.requests",
			"prod-eu.deliveries", "prod-eu.oldest_ms", "prod-eu.webhook.refused_full", "prod-eu.webhook.refused_unauthenticated",
			"other.deliveries", "other.webhook.refused_full", "other.new-kind.of_thing",
		} {
			yield(name, uint64(1500+i))
		}
	})
	status, text := get(t, e, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, text)
	}
	golden.Compare(t, "testdata/metrics.golden", text)
	if status, _ := get(t, e, "/"); status != http.StatusNotFound {
		t.Errorf("another path: status %d", status)
	}
}

func TestAnAddressInUseIsAnError(t *testing.T) {
	none := func(func(string, uint64)) {}
	e := open(t, "127.0.0.1:0", none)
	taken := e.Addr().String()
	if _, err := endpoint.Open(endpoint.Config{Listen: taken, Read: none, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "metricsListen: listen tcp "+taken) {
		t.Errorf("error: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	open(t, taken, none) // the port is free at once
}

// A reader that is slow and connections that say nothing do not keep Close from ending all.
func TestCloseEndsWhatRuns(t *testing.T) {
	var reads atomic.Int64
	var closed atomic.Bool
	e := open(t, "127.0.0.1:0", func(yield func(string, uint64)) {
		reads.Add(1)
		time.Sleep(20 * time.Millisecond)
		if closed.Load() {
			t.Error("metrics are read after Close")
		}
		yield("events", 1)
	})
	var askers sync.WaitGroup
	for i := range 8 {
		askers.Go(func() {
			c, err := net.Dial("tcp", e.Addr().String())
			if err != nil {
				return
			}
			defer c.Close()
			if i%2 == 0 {
				fmt.Fprint(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
			}
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.Copy(io.Discard, c)
		})
	}
	for reads.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	closed.Store(true)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	askers.Wait()
}

// A mistake in a source is not the host's end, and not that of the endpoint.
func TestAPanicIsLogged(t *testing.T) {
	var calls atomic.Int64
	e := open(t, "127.0.0.1:0", func(yield func(string, uint64)) {
		yield("events", 1)
		if calls.Add(1) == 1 {
			panic("a mistake")
		}
		yield("refused", 2)
	})
	for _, want := range []string{"kaudit_events_total 1", "kaudit_refused_total 2"} {
		if status, text := get(t, e, "/metrics"); status != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("status %d, without %s: %s", status, want, text)
		}
	}
}

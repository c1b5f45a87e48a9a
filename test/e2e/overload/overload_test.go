//go:build linux

// Package overload has senders offer the library, inside the engine of Falco, ten times what the engine evaluates, and
// asks what became of every event that was acknowledged.
package overload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

const (
	// perBatch is how many events an API server sends at once (--audit-webhook-batch-max-size).
	perBatch = 400
	// senders is how many batches are under way at once.
	senders = 32
	// copies is how often the engine has every rule, so that it is slow enough to be overrun by one sender process.
	copies = 2
	// times is how much more is offered than is evaluated.
	times = 10
	// queueBytes and spoolBytes bound what may wait.
	queueBytes = 8 << 20
	spoolBytes = 64 << 20
	// most is the resident memory the engine may have, in KiB: twice the queue, batches, rules and the engine itself.
	most = 400 << 10
	// apiServerPatience is how long an API server waits for an answer.
	apiServerPatience = 30 * time.Second
)

// seconds is how long the flood lasts: KAUDIT_OVERLOAD=60s for the long form.
func flood(t *testing.T) time.Duration {
	text := os.Getenv("KAUDIT_OVERLOAD")
	if text == "" {
		return 8 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("KAUDIT_OVERLOAD: %v; write a duration like 60s", err)
	}
	return d
}

// A ledger keeps which events were acknowledged and how often each was evaluated. Events are numbered from 0.
type ledger struct {
	mu           sync.Mutex
	acknowledged []int // first numbers of batches
	evaluated    map[int]int
}

func (l *ledger) event(e engine.Event) {
	n, err := strconv.Atoi(strings.TrimPrefix(e.Text("ka.auditid"), "n-"))
	if err != nil {
		return
	}
	l.mu.Lock()
	l.evaluated[n]++
	l.mu.Unlock()
}

// open returns how many acknowledged events have not been evaluated, and how many evaluations were repeats.
func (l *ledger) open() (missing, repeats int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, first := range l.acknowledged {
		for n := first; n < first+perBatch; n++ {
			if l.evaluated[n] == 0 {
				missing++
			}
		}
	}
	for _, times := range l.evaluated {
		repeats += times - 1
	}
	return missing, repeats
}

func (l *ledger) sum() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.evaluated)
}

// A template is an event of the ordinary recording, split where its audit ID stands.
type template struct{ before, after []byte }

func templates(t *testing.T) []template {
	var list []template
	for _, line := range e2e.Lines(t, filepath.Join(e2e.Root(t), "testdata", "recordings", "ordinary.jsonl.gz")) {
		const key = `"auditID":"`
		before, rest, found := bytes.Cut(line, []byte(key))
		_, after, closed := bytes.Cut(rest, []byte(`"`))
		if found && closed && len(line) < 4<<10 {
			list = append(list, template{append(bytes.Clone(before), key+"n-"...), append([]byte(`"`), after...)})
		}
	}
	if len(list) < 100 {
		t.Fatalf("only %d events to send", len(list))
	}
	return list
}

// batch appends an EventList of events numbered from first on.
func batch(dst []byte, list []template, first int) []byte {
	dst = append(dst, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`...)
	for n := first; n < first+perBatch; n++ {
		if n > first {
			dst = append(dst, ',')
		}
		e := list[n%len(list)]
		dst = append(strconv.AppendInt(append(dst, e.before...), int64(n), 10), e.after...)
	}
	return append(dst, "]}"...)
}

func TestNothingAcknowledgedIsLostUnderOverload(t *testing.T) {
	e, err := engine.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rules, err := engine.LoadRules("k8s_audit", e2e.RuleFiles(t)...)
	if err != nil {
		t.Fatal(err)
	}
	var many []engine.Rule
	for range copies {
		many = append(many, rules...)
	}
	l := &ledger{evaluated: map[int]int{}}
	url := "http://" + e2e.FreeAddress(t) + "/k8s-audit"
	p, err := e.Start(t.Context(), engine.Run{
		Plugins: []engine.Plugin{{
			Path: e2e.Library(t),
			Init: fmt.Sprintf(`{"queueBytes":%d,"spool":{"dir":%q,"maxBytes":%d}}`, queueBytes, filepath.Join(t.TempDir(), "spool"), spoolBytes),
		}},
		Open: url, Rules: many, NoOutput: true,
		Fields: []string{"ka.auditid"}, OnEvent: l.event,
	})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, url)

	sent := send(t, url, l, flood(t))
	during := l.sum()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		missing, _ := l.open()
		if missing == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("%d acknowledged events were never evaluated", missing)
			break
		}
	}
	p.Stop()
	result, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	_, repeats := l.open()
	memory := result.Stats[0].MaxRSS
	t.Logf("offered %d events in %v, %.1f times the %d evaluated meanwhile; %d batches acknowledged, %d refused, longest answer %v; %d repeats; at most %d MiB resident",
		sent.offered, sent.took.Round(time.Millisecond), float64(sent.offered)/float64(max(1, during)), during, sent.accepted, sent.refused, sent.longest.Round(time.Millisecond), repeats, memory>>10)
	if sent.offered < times*during {
		t.Errorf("the flood was none: %d events offered while %d were evaluated", sent.offered, during)
	}
	if sent.refused == 0 {
		t.Error("nothing was refused")
	}
	if repeats > 0 {
		t.Errorf("%d events were evaluated more than once", repeats)
	}
	if memory > most {
		t.Errorf("%d KiB resident, want at most %d", memory, most)
	}
}

// A report is what the senders saw.
type report struct {
	offered, accepted, refused int
	longest                    time.Duration // until an answer
	took                       time.Duration
}

// send offers some more than so many times what is evaluated meanwhile. Any answer but 200 and 429, and none at all, is
// an error.
func send(t *testing.T, url string, l *ledger, length time.Duration) report {
	t.Helper()
	list := templates(t)
	client := &http.Client{Timeout: apiServerPatience, Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
	defer client.CloseIdleConnections()
	var next, accepted, refused, longest atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			var body []byte
			for ctx.Err() == nil {
				if int(next.Load())*perBatch > (times+2)*(l.sum()+10*perBatch) {
					time.Sleep(time.Millisecond) // the engine needs a processor, too
					continue
				}
				first := int(next.Add(1)-1) * perBatch
				body = batch(body[:0], list, first)
				sent := time.Now()
				status, wait, err := post(client, url, body)
				for took := int64(time.Since(sent)); took > longest.Load(); {
					longest.Store(took)
				}
				switch {
				case err != nil:
					t.Errorf("no answer: %v", err)
					return
				case status == http.StatusOK:
					accepted.Add(1)
					l.mu.Lock()
					l.acknowledged = append(l.acknowledged, first)
					l.mu.Unlock()
				case status == http.StatusTooManyRequests:
					refused.Add(1)
					if wait != "3" {
						t.Errorf("refused with Retry-After %q", wait)
					}
				default:
					t.Errorf("answered %d", status)
				}
			}
		})
	}
	wg.Wait()
	return report{int(next.Load()) * perBatch, int(accepted.Load()), int(refused.Load()), time.Duration(longest.Load()), time.Since(began)}
}

// post posts once. A server may answer before it has read all of a body, and close: then the client sees either the
// answer or a broken pipe, and asks again, as an API server does.
func post(client *http.Client, url string, body []byte) (status int, retryAfter string, err error) {
	for range 10 {
		var response *http.Response
		if response, err = client.Post(url, "application/json", bytes.NewReader(body)); err != nil {
			var network net.Error
			if errors.As(err, &network) && network.Timeout() {
				return 0, "", err
			}
			continue
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return response.StatusCode, response.Header.Get("Retry-After"), nil
	}
	return 0, "", err
}

// waitFor waits until somebody listens.
func waitFor(t *testing.T, url string) {
	t.Helper()
	address := strings.TrimPrefix(strings.TrimSuffix(url, "/k8s-audit"), "http://")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

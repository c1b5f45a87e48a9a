// Package sender posts to the webhook with what an API server posts with: the webhook, buffered and truncate backends
// of k8s.io/apiserver, set up by a kubeconfig. A module of its own, as they bring half of Kubernetes along.
package sender

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	"k8s.io/apiserver/plugin/pkg/audit/truncate"
	apiwebhook "k8s.io/apiserver/plugin/pkg/audit/webhook"
	"k8s.io/klog/v2"

	"kaudit/internal/stream"
	kauditevent "kaudit/pkg/audit"
	"kaudit/pkg/source"
	"kaudit/pkg/source/sourcetest"
	"kaudit/pkg/source/webhook"
)

// Of what it could not send, the API server's library logs every event.
func TestMain(m *testing.M) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	os.Exit(m.Run())
}

const token = "0123456789abcdef0123456789abcdef"

// A receiver is a webhook and the events that came out of it.
type receiver struct {
	url    string
	src    source.Source
	stream *stream.Stream

	mu        sync.Mutex
	times     map[string]int // how often each event came
	cluster   map[string]bool
	truncated int
}

// A batch implements stream.Batch: it notes what comes.
type batch struct {
	n  int
	of *receiver
}

func (b *batch) Add(e *kauditevent.Event, _ time.Time) bool {
	if b.n == 1000 {
		return false
	}
	b.n++
	b.of.mu.Lock()
	defer b.of.mu.Unlock()
	b.of.times[string(e.Get(kauditevent.AuditID).Bytes())]++
	b.of.cluster[string(e.Get(kauditevent.Origin).Get("cluster").Bytes())] = true
	if e.Get(kauditevent.Annotations).Get(kauditevent.TruncatedKey).Is("true") {
		b.of.truncated++
	}
	return true
}
func (b *batch) Len() int { return b.n }
func (b *batch) Reset()   { b.n = 0 }
func (b *batch) Free()    {}

// receive runs a webhook. Nothing is evaluated before begin is closed.
func receive(t *testing.T, settings map[string]any, queue int64, begin <-chan struct{}) *receiver {
	t.Helper()
	r := &receiver{times: map[string]int{}, cluster: map[string]bool{}}
	var err error
	r.src, err = webhook.Kind.Open("https://127.0.0.1:0/k8s-audit", settings, source.Env{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	r.url = "https://" + r.src.(interface{ Addr() net.Addr }).Addr().String() + "/k8s-audit"
	r.stream = stream.Open(r.src, stream.Config{QueueBytes: queue, NewBatch: func() stream.Batch { return &batch{of: r} }})
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-begin:
		case <-end:
			return
		}
		for {
			select {
			case <-end:
				return
			default:
				r.stream.Next(20 * time.Millisecond)
			}
		}
	}()
	t.Cleanup(func() {
		close(end)
		<-ended
		r.stream.Close()
	})
	return r
}

func (r *receiver) counts() map[string]uint64 {
	counts := map[string]uint64{}
	r.src.(source.Counter).Counts(func(name string, n uint64) { counts[name] = n })
	return counts
}

// check waits until all n events have come, and fails if one came twice or one is not among them.
func (r *receiver) check(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		came := len(r.times)
		r.mu.Unlock()
		if came >= n || time.Now().After(deadline) {
			break
		}
	}
	time.Sleep(100 * time.Millisecond) // for what would come twice
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range n {
		if times := r.times[id(i)]; times != 1 {
			t.Errorf("event %d came %d times; %d of %d came, %v", i, times, len(r.times), n, r.counts())
			return
		}
	}
}

func id(i int) string { return fmt.Sprintf("event-%06d", i) }

// event makes an event with a body of some size.
func event(i, size int) *auditinternal.Event {
	body, err := json.Marshal(map[string]any{"kind": "Pod", "apiVersion": "v1", "pad": strings.Repeat("<x>", size/3)})
	if err != nil {
		panic(err)
	}
	return &auditinternal.Event{
		Level: auditinternal.LevelRequest, AuditID: types.UID(id(i)), Stage: auditinternal.StageResponseComplete, Verb: "create",
		RequestURI: "/api/v1/namespaces/shop/pods?fieldManager=kubectl&dryRun=", RequestObject: &runtime.Unknown{Raw: body, ContentType: runtime.ContentTypeJSON},
	}
}

// backend sets up what the API server sends with, as its flags would.
func backend(t *testing.T, kubeconfig string, cut int64) audit.Backend {
	t.Helper()
	b, err := apiwebhook.NewBackend(kubeconfig, auditv1.SchemeGroupVersion, wait.Backoff{Duration: 200 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b = buffered.NewBackend(b, buffered.BatchConfig{BufferSize: 100_000, MaxBatchSize: 400, MaxBatchWait: 100 * time.Millisecond, AsyncDelegate: true})
	if cut > 0 {
		b = truncate.NewBackend(b, truncate.Config{MaxEventSize: cut, MaxBatchSize: 10 << 20}, auditv1.SchemeGroupVersion)
	}
	stop := make(chan struct{})
	if err := b.Run(stop); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(stop)
		b.Shutdown()
	})
	return b
}

// kubeconfig writes the file for --audit-webhook-config-file. user is what stands under the user.
func kubeconfig(t *testing.T, server string, a *sourcetest.Authority, user string) string {
	t.Helper()
	return sourcetest.WriteFile(t, "webhook.yaml", []byte(fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
  - name: kaudit
    cluster: {server: %q, certificate-authority-data: %s}
users:
  - name: apiserver
    user: {%s}
contexts:
  - name: kaudit
    context: {cluster: kaudit, user: apiserver}
current-context: kaudit
`, server, base64.StdEncoding.EncodeToString(a.PEM), user)))
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// mutual returns the settings of a webhook that wants certificates, and the user of a kubeconfig that has one.
func mutual(t *testing.T, a *sourcetest.Authority) (settings map[string]any, user string) {
	t.Helper()
	cert, key := a.ClientFiles(t, "apiserver")
	return map[string]any{
		"sslCertificate": a.Server(t), "sslClientCA": sourcetest.WriteFile(t, "ca.crt", a.PEM), "sslClientNames": []string{"apiserver"},
	}, fmt.Sprintf("client-certificate: %q, client-key: %q", cert, key)
}

func send(b audit.Backend, from, to, size int) {
	for i := from; i < to; i++ {
		b.ProcessEvents(event(i, size))
	}
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	settings, user := mutual(t, a)
	settings["clusterFrom"], settings["clusters"] = "path", map[string]any{"prod-eu": []string{"apiserver"}}
	r := receive(t, settings, 64<<20, closed())
	const n = 20_000
	send(backend(t, kubeconfig(t, r.url+"/prod-eu", a, user), 0), 0, n, 1500)
	r.check(t, n)
	if counts := r.counts(); counts["webhook.requests"] != counts["webhook.accepted"] || !r.cluster["prod-eu"] || len(r.cluster) != 1 {
		t.Errorf("clusters %v, counts %v", r.cluster, counts)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	file := sourcetest.WriteFile(t, "token", []byte(token))
	for _, user := range []string{"token: " + token, fmt.Sprintf("tokenFile: %q", file)} {
		r := receive(t, map[string]any{"sslCertificate": a.Server(t), "webhookTokens": sourcetest.WriteFile(t, "tokens", []byte(token+" apiserver"))}, 64<<20, closed())
		send(backend(t, kubeconfig(t, r.url, a, user), 0), 0, 1000, 1500)
		r.check(t, 1000)
	}
}

// An API server without a certificate gets nothing in, and one that is let in afterwards loses nothing but what it gave up.
func TestNobody(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	settings, _ := mutual(t, a)
	r := receive(t, settings, 64<<20, closed())
	send(backend(t, kubeconfig(t, r.url, a, ""), 0), 0, 10, 100)
	for deadline := time.Now().Add(20 * time.Second); r.counts()["webhook.refused_unauthenticated"] < 5; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("counts %v", r.counts())
		}
	}
	if len(r.times) > 0 {
		t.Errorf("%d events came", len(r.times))
	}
}

// A full queue is refused with 429, and what was refused comes again: at once within the API server's try, since it heeds
// Retry-After.
func TestOverload(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	settings, user := mutual(t, a)
	begin := make(chan struct{})
	r := receive(t, settings, 4<<20, begin)
	const n = 4_000 // 12 MB
	send(backend(t, kubeconfig(t, r.url, a, user), 0), 0, n, 3000)
	for deadline := time.Now().Add(20 * time.Second); r.counts()["webhook.refused_full"] == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was refused: %v", r.counts())
		}
	}
	time.Sleep(2 * time.Second)
	close(begin)
	r.check(t, n)
	t.Log(r.counts())
}

// Truncation is off by default: an event may have what etcd takes, and a batch has four hundred of them.
func TestLargeEvents(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	settings, user := mutual(t, a)
	r := receive(t, settings, 64<<20, closed())
	b := backend(t, kubeconfig(t, r.url, a, user), 0)
	send(b, 0, 1, 3<<20) // its escapes make more than four times that of it
	send(b, 1, 101, 60<<10)
	r.check(t, 101)
}

func TestTruncatedByTheAPIServer(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	settings, user := mutual(t, a)
	r := receive(t, settings, 64<<20, closed())
	b := backend(t, kubeconfig(t, r.url, a, user), 100<<10)
	send(b, 0, 10, 200<<10)
	send(b, 10, 20, 1000)
	r.check(t, 20)
	if r.truncated != 10 {
		t.Errorf("%d events are marked as truncated", r.truncated)
	}
}

// A certificate that is replaced under load costs nothing.
func TestCertificateIsReplacedUnderLoad(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	settings, user := mutual(t, a)
	r := receive(t, settings, 64<<20, closed())
	b := backend(t, kubeconfig(t, r.url, a, user), 0)
	const n = 10_000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			fresh, err := os.ReadFile(a.Server(t))
			if err == nil {
				// As a mounted secret does: the new one is put in the place of the old.
				next := filepath.Join(filepath.Dir(settings["sslCertificate"].(string)), "next")
				if err = os.WriteFile(next, fresh, 0o600); err == nil {
					err = os.Rename(next, settings["sslCertificate"].(string))
				}
			}
			if err != nil {
				t.Error(err)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	for i := range 10 {
		send(b, i*n/10, (i+1)*n/10, 1500)
		time.Sleep(300 * time.Millisecond)
	}
	r.check(t, n)
	if counts := r.counts(); counts["webhook.files_reloaded"] < 2 || counts["webhook.files_unusable"] > 0 {
		t.Errorf("counts %v", counts)
	}
}

//go:build linux

// Package attack does to a webhook what somebody might who means harm, on loopback, while a good sender goes on sending.
// Nothing of it may end the process, hold up the good sender, or put in an event whose sender was not let in.
//
// It takes some seconds. KAUDIT_ATTACK=30s makes each attack last as long, with ten thousand connections where they are
// the attack, and holds the good sender to a hundred milliseconds more than without, in one of three tries.
package attack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"kaudit/internal/stream"
	"kaudit/pkg/audit"
	"kaudit/pkg/source"
	"kaudit/pkg/source/sourcetest"
	"kaudit/pkg/source/webhook"
)

const token = "0123456789abcdef0123456789abcdef"

// stall is how long nobody may hold up others.
const stall = 100 * time.Millisecond

// An attack is one way to do harm.
type attack struct {
	name string
	// inside is set if the attacker is let in: what it does begins with the body.
	inside bool
	do     func(t *target)
}

var attacks = []attack{
	{"connections that say nothing", false, func(t *target) { t.hold(t.scale(1000, 10000), func(net.Conn) {}) }},
	{"handshakes that stop half-way", false, func(t *target) {
		t.hold(t.scale(500, 5000), func(c net.Conn) { c.Write([]byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")) })
	}},
	{"handshakes without end", false, func(t *target) {
		t.repeat(64, func(*http.Client) {
			if c, err := tls.Dial("tcp", t.address, &tls.Config{RootCAs: t.roots}); err == nil {
				c.Close()
			}
		})
	}},
	{"slow headers", false, func(t *target) {
		t.holdTLS(t.scale(200, 1500), func(c net.Conn) {
			fmt.Fprintf(c, "POST /k8s-audit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n", token)
			t.drip(c, "X-Pad: y\r\n")
		})
	}},
	{"slow bodies", true, func(t *target) {
		t.holdTLS(t.scale(200, 1500), func(c net.Conn) {
			fmt.Fprintf(c, "POST /k8s-audit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\n\r\n{", token)
			t.drip(c, " ")
		})
	}},
	{"slow bodies, many on a connection", true, func(t *target) {
		t.repeat(t.scale(20, 60), func(c *http.Client) {
			var streams sync.WaitGroup
			for range 100 {
				streams.Go(func() { t.post(c, io.MultiReader(strings.NewReader("{"), &slow{t.ctx})) })
			}
			streams.Wait()
		})
	}},
	{"streams that are reset at once", false, func(t *target) {
		t.repeat(4, func(c *http.Client) {
			var streams sync.WaitGroup
			for range 100 {
				streams.Go(func() {
					ctx, cancel := context.WithTimeout(t.ctx, time.Duration(rand.IntN(3000))*time.Microsecond)
					defer cancel()
					t.request(ctx, c, strings.NewReader(forged))
				})
			}
			streams.Wait()
		})
	}},
	{"wrong certificates", false, func(t *target) {
		certificate := sourcetest.NewAuthority(t).Client(t, "apiserver")
		t.repeat(4, func(c *http.Client) {
			c.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{certificate}
			t.post(c, strings.NewReader(forged))
			c.CloseIdleConnections()
		})
	}},
	{"wrong tokens", false, func(t *target) {
		t.repeat(4, func(c *http.Client) {
			t.post(c, strings.NewReader(forged), "Authorization: Bearer "+token[:31]+string("0123456789abcde"[rand.IntN(15)]))
		})
	}},
	{"a gzip bomb", true, func(t *target) { t.bomb("gzip", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }) }},
	{"a zstd bomb", true, func(t *target) {
		t.bomb("zstd", func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
			if err != nil {
				t.Fatal(err)
			}
			return z
		})
	}},
	{"a body of a gigabyte", true, func(t *target) {
		t.repeat(2, func(c *http.Client) {
			t.post(c, io.LimitReader(blanks{}, 1<<30)) // of a length that is not told
			t.request(t.ctx, c, http.MaxBytesReader(nil, io.NopCloser(blanks{}), 1<<30), "Content-Length: 1073741824")
		})
	}},
	{"a body of a gigabyte, from outside", false, func(t *target) {
		t.repeat(2, func(c *http.Client) { t.post(c, io.LimitReader(blanks{}, 1<<30)) })
	}},
	{"deep nesting", true, func(t *target) {
		body := strings.Repeat(`{"a":[`, 1<<20)
		t.repeat(1, func(c *http.Client) { t.post(c, strings.NewReader(`{"log":`+body)) })
	}},
	{"envelopes in envelopes", true, func(t *target) {
		body := strings.Repeat(`{"message":`, 1<<20) + "1" + strings.Repeat("}", 1<<20)
		t.repeat(2, func(c *http.Client) { t.post(c, strings.NewReader(body)) })
	}},
	{"a million tiny events", true, func(t *target) {
		body := "[" + strings.Repeat(`{"auditID":"tiny"},`, 1_000_000) + `{"auditID":"tiny"}]`
		t.repeat(1, func(c *http.Client) { t.post(c, strings.NewReader(body)) })
	}},
	{"headers of megabytes", false, func(t *target) {
		t.repeat(4, func(c *http.Client) {
			t.post(c, strings.NewReader(forged), "X-Pad: "+strings.Repeat("x", 1<<20))
		})
	}},
}

// forged is what an attacker would like to see evaluated.
const forged = `{"auditID":"forged","stage":"ResponseComplete"}`

// A target is the webhook under attack, as the attacker sees it.
type target struct {
	testing.TB
	ctx     context.Context // ends with the attack
	address string
	roots   *x509.CertPool
	inside  bool
	long    bool
	prepare func(what func()) // does something before the time begins
}

func (t *target) scale(short, long int) int {
	if t.long {
		return long
	}
	return short
}

// hold opens n connections, does something with each, and keeps them.
func (t *target) hold(n int, with func(net.Conn)) { t.holding(n, nil, with) }

func (t *target) holdTLS(n int, with func(net.Conn)) {
	t.holding(n, &tls.Config{RootCAs: t.roots}, with)
}

func (t *target) holding(n int, config *tls.Config, with func(net.Conn)) {
	var open sync.WaitGroup
	for range n {
		c, err := net.DialTimeout("tcp", t.address, time.Second)
		if err != nil || t.ctx.Err() != nil {
			continue
		}
		open.Go(func() {
			defer c.Close()
			defer context.AfterFunc(t.ctx, func() { c.SetDeadline(time.Now()) })()
			conn := c
			if config != nil {
				config := config.Clone()
				config.ServerName = "127.0.0.1"
				conn = tls.Client(c, config)
			}
			with(conn)
			io.Copy(io.Discard, conn)
			<-t.ctx.Done() // also if it was closed over there
		})
	}
	open.Wait()
}

// drip sends a little now and then.
func (t *target) drip(c net.Conn, what string) {
	for t.ctx.Err() == nil {
		if _, err := io.WriteString(c, what); err != nil {
			return
		}
		select {
		case <-t.ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// repeat does something again and again, n times at once, each time with the same client.
func (t *target) repeat(n int, what func(c *http.Client)) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: t.roots}, ForceAttemptHTTP2: true}}
			defer c.CloseIdleConnections()
			for t.ctx.Err() == nil {
				what(c)
			}
		})
	}
	all.Wait()
}

func (t *target) post(c *http.Client, body io.Reader, headers ...string) {
	t.request(t.ctx, c, body, headers...)
}

func (t *target) request(ctx context.Context, c *http.Client, body io.Reader, headers ...string) {
	req, err := http.NewRequestWithContext(ctx, "POST", "https://"+t.address+"/k8s-audit", body)
	if err != nil {
		t.Error(err)
		return
	}
	if t.inside {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Content-Length" {
			fmt.Sscan(value, &req.ContentLength)
			continue
		}
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		return
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if !t.inside && resp.StatusCode == 200 {
		t.Error("somebody was let in")
	}
}

// bomb posts what becomes a gigabyte.
func (t *target) bomb(encoding string, compress func(io.Writer) io.WriteCloser) {
	var body bytes.Buffer
	t.prepare(func() {
		w := compress(&body)
		io.Copy(w, io.LimitReader(blanks{}, 1<<30))
		w.Close()
	})
	t.repeat(4, func(c *http.Client) { t.post(c, bytes.NewReader(body.Bytes()), "Content-Encoding: "+encoding) })
}

// slow is a body that never ends and brings a byte now and then.
type slow struct{ ctx context.Context }

func (s *slow) Read(b []byte) (int, error) {
	select {
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	case <-time.After(200 * time.Millisecond):
		b[0] = ' '
		return 1, nil
	}
}

type blanks struct{}

func (blanks) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// events counts what is evaluated.
type events struct{ good, tiny, forged, other atomic.Int64 }

// batch implements stream.Batch: it counts, and holds nothing.
type batch struct {
	n  int
	of *events
}

func (b *batch) Add(e *audit.Event, _ time.Time) bool {
	if b.n == 10_000 {
		return false
	}
	b.n++
	switch id := string(e.Get(audit.AuditID).Bytes()); {
	case strings.HasPrefix(id, "good"):
		b.of.good.Add(1)
	case id == "tiny":
		b.of.tiny.Add(1)
	case id == "forged":
		b.of.forged.Add(1)
	default:
		b.of.other.Add(1)
	}
	return true
}
func (b *batch) Len() int { return b.n }
func (b *batch) Reset()   { b.n = 0 }
func (b *batch) Free()    {}

// serve runs a webhook and evaluates what comes.
func serve(t *testing.T, settings map[string]any, open string, count *events) (address string, stop func() map[string]uint64) {
	t.Helper()
	src, err := webhook.Kind.Open(open, settings, source.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := stream.Open(src, stream.Config{NewBatch: func() stream.Batch { return &batch{of: count} }})
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			default:
				s.Next(20 * time.Millisecond)
			}
		}
	}()
	return src.(interface{ Addr() net.Addr }).Addr().String(), func() map[string]uint64 {
		counts := map[string]uint64{}
		src.(source.Counter).Counts(func(name string, n uint64) { counts[name] = n })
		close(end)
		<-ended
		s.Close()
		return counts
	}
}

// A sender posts a small batch every few milliseconds, and remembers how long each took.
type sender struct {
	client *http.Client
	url    string
	took   []time.Duration
	before time.Duration // how long 99 of 100 took before the attack
	sent   int
	fault  error
	// patient is set where the attacker is let in and may fill the queue for all: then 429 is an answer, as long as it
	// comes soon.
	patient bool
	refused int
}

func (s *sender) run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		resp, err := s.client.Post(s.url, "application/json", strings.NewReader(fmt.Sprintf(`{"kind":"EventList","items":[{"auditID":"good-%d"}]}`, s.sent)))
		s.took = append(s.took, time.Since(began))
		switch {
		case err != nil:
			s.fault = err
			return
		case resp.StatusCode == 429 && s.patient:
			s.refused++
		case resp.StatusCode != 200:
			s.fault = fmt.Errorf("status %d", resp.StatusCode)
			resp.Body.Close()
			return
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode == 200 {
			s.sent++
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// calm takes what was measured so far as what is usual.
func (s *sender) calm() {
	s.before, s.took = s.percentile(99), nil
}

func (s *sender) percentile(p int) time.Duration {
	sorted := slices.Sorted(slices.Values(s.took))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// attackerKey is set for the process that attacks: the number of the attack, the address, the authority, how long it lasts, and
// whether it is the long form. It is another process, and gives way to others, as an attacker has its own processors.
const attackerKey = "KAUDIT_ATTACKER"

func TestAttacker(t *testing.T) {
	words := strings.Fields(os.Getenv(attackerKey))
	if len(words) == 0 {
		t.Skip("this is the other process of TestAttacks")
	}
	var n int
	fmt.Sscan(words[0], &n)
	ca, err := os.ReadFile(words[2])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	lasts, err := time.ParseDuration(words[3])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	clock := time.AfterFunc(lasts, cancel)
	a := attacks[n]
	a.do(&target{TB: t, ctx: ctx, address: words[1], roots: roots, inside: a.inside, long: words[4] == "true", prepare: func(what func()) {
		clock.Stop()
		what()
		clock.Reset(lasts)
	}})
}

// prefer puts this process before others, if it may: what is measured is what an attack does, and not what else runs here.
func prefer(t *testing.T) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, thread := range threads {
		var id int
		fmt.Sscan(thread.Name(), &id)
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, -15); err != nil {
			t.Logf("not preferred to other processes: %v", err)
			return
		}
	}
}

func TestAttacks(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	lasts, long := time.Second, false
	if text := os.Getenv("KAUDIT_ATTACK"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		long = true
		limit := syscall.Rlimit{}
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 11_000 {
			t.Fatalf("ten thousand connections need 11,000 descriptors; there may be %d, %v", limit.Cur, err)
		}
		prefer(t)
	}
	authority := sourcetest.NewAuthority(t)
	settings := map[string]any{
		"sslCertificate": authority.Server(t),
		"sslClientCA":    sourcetest.WriteFile(t, "ca.crt", authority.PEM),
		"sslClientNames": []string{"apiserver"},
		"webhookTokens":  sourcetest.WriteFile(t, "tokens", []byte(token)),
	}
	certificate := authority.Client(t, "apiserver")
	for n, a := range attacks {
		// Tried again where the good sender waited: what an attack does it does each time, what else runs here does not.
		once := func(t *testing.T) (waits string) {
			count := new(events)
			address, stop := serve(t, settings, "https://127.0.0.1:0/k8s-audit", count)
			good := &sender{patient: a.inside, url: "https://" + address + "/k8s-audit", client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{certificate}}, ForceAttemptHTTP2: true,
			}}}
			fresh := &sender{patient: a.inside, url: good.url, client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: authority.Pool(), Certificates: []tls.Certificate{certificate}}, DisableKeepAlives: true,
			}}}
			attacker := exec.Command("nice", "-n", "19", os.Args[0], "-test.run", "^TestAttacker$", "-test.v")
			attacker.Env = append(os.Environ(), attackerKey+"="+fmt.Sprint(n, " ", address, " ", settings["sslClientCA"], " ", lasts, " ", long))
			out, err := attacker.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			if long { // what the machine does to them by itself
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				all.Go(func() { good.run(ctx) })
				all.Go(func() { fresh.run(ctx) })
				all.Wait()
				cancel()
				good.calm()
				fresh.calm()
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			all.Go(func() { good.run(ctx) })
			all.Go(func() { fresh.run(ctx) })
			if err := attacker.Start(); err != nil {
				t.Fatal(err)
			}
			said, _ := io.ReadAll(out)
			if err := attacker.Wait(); err != nil {
				t.Errorf("the attacker says: %v\n%s", err, said)
			}
			cancel()
			all.Wait()
			good.client.CloseIdleConnections()
			want := int64(good.sent + fresh.sent)
			for deadline := time.Now().Add(30 * time.Second); count.good.Load() < want && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			}
			counts := stop()
			for what, s := range map[string]*sender{"with a connection of its own": good, "with a new connection each time": fresh} {
				if s.fault != nil || s.sent == 0 {
					t.Errorf("the good sender %s sent %d and got: %v", what, s.sent, s.fault)
					continue
				}
				t.Logf("the good sender %s: %d requests and %d refused, half within %v, 99 of 100 within %v, all within %v", what, s.sent, s.refused, s.percentile(50), s.percentile(99), s.percentile(100))
				if p := s.percentile(99); long && p > s.before+stall {
					waits = fmt.Sprintf("the good sender %s waits %v, and %v when nobody attacks", what, p, s.before)
				}
			}
			if count.good.Load() != want || count.forged.Load() != 0 {
				t.Errorf("%d good events of %d were evaluated, and %d forged ones", count.good.Load(), want, count.forged.Load())
			}
			t.Logf("%d other events; %v", count.tiny.Load()+count.other.Load(), nonzero(counts))
			return waits
		}
		t.Run(a.name, func(t *testing.T) {
			for try := 1; ; try++ {
				waits := once(t)
				switch {
				case waits == "":
					return
				case try == 3:
					t.Fatal(waits)
				}
				t.Log(waits + ": once more")
			}
		})
	}
}

func nonzero(counts map[string]uint64) map[string]uint64 {
	for name, n := range counts {
		if n == 0 {
			delete(counts, name)
		}
	}
	return counts
}

// What a sender writes into a request does not come out as a cluster, nor gets it in where it may not send.
func TestTricks(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	const body = `{"auditID":"forged"}`
	head := func(first string, headers ...string) string {
		return first + "\r\nHost: x\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n" + body
	}
	auth := "Authorization: Bearer " + token
	for _, from := range []string{"path", "header"} {
		count := new(events)
		address, stop := serve(t, map[string]any{
			"webhookTokens": sourcetest.WriteFile(t, "tokens", []byte(token+" lab")),
			"clusterFrom":   from, "clusters": map[string]any{"prod": []string{"prod"}, "lab": []string{"lab"}},
		}, "http://127.0.0.1:0/k8s-audit", count)
		for _, request := range []string{
			head("POST /k8s-audit/prod HTTP/1.1", auth),
			head("POST /k8s-audit/lab/../prod HTTP/1.1", auth),
			head("POST /k8s-audit/lab%2f..%2fprod HTTP/1.1", auth),
			head("POST /k8s-audit/lab;/prod HTTP/1.1", auth),
			head("POST /k8s-audit//lab HTTP/1.1", auth),
			head("POST //k8s-audit/lab HTTP/1.1", auth),
			head("POST /k8s-audit/./lab HTTP/1.1", auth),
			head("POST /K8S-AUDIT/lab HTTP/1.1", auth),
			head("POST /k8s-audit/l%61b HTTP/1.1", auth),
			head("POST /k8s-audit/lab%00 HTTP/1.1", auth),
			head("POST /k8s-audit/lab%20 HTTP/1.1", auth),
			head(`POST /k8s-audit/lab%22%2C%22x%22%3A%22 HTTP/1.1`, auth),
			head("POST /k8s-audit/lab%0d%0aX-Cluster:%20prod HTTP/1.1", auth),
			head("POST http://elsewhere/k8s-audit/prod HTTP/1.1", auth),
			head("POST /healthz HTTP/1.1", auth),
			head("POST /healthz/../k8s-audit/lab HTTP/1.1"),
			head("GET /k8s-audit/lab HTTP/1.1", auth),
			head("PUT /k8s-audit/lab HTTP/1.1", auth),
			head("POST /k8s-audit/lab HTTP/1.1", "X-HTTP-Method-Override: POST"),
			head("POST /k8s-audit/lab HTTP/1.1", "Proxy-Authorization: Bearer "+token),
			head("POST /k8s-audit/lab HTTP/1.1", auth, "Authorization: Bearer x"),
			head("POST /k8s-audit/lab HTTP/1.1", "Authorization: Bearer "+token+", Bearer "+token),
			head("POST /k8s-audit/lab HTTP/1.1", auth, "Transfer-Encoding: chunked"), // two lengths
			head("POST /k8s-audit/lab HTTP/1.1", auth, "Content-Length: 3"),
			head("POST /k8s-audit HTTP/1.1", auth, "X-Cluster: prod"),
			head("POST /k8s-audit HTTP/1.1", auth, "X-Cluster: lab", "X-Cluster: prod"),
			head("POST /k8s-audit HTTP/1.1", auth, "X-Cluster: lab, prod"),
			head("POST /k8s-audit HTTP/1.1", auth, "X-Cluster: lab\x00"),
			head("POST /k8s-audit HTTP/1.1", auth, "X-Cluster: lab\r\n prod"),
			head("POST /k8s-audit HTTP/1.1", auth, `X-Cluster: lab","user":{"username":"x"},"y":"`),
			head("POST /k8s-audit HTTP/1.1", auth, "X_Cluster: lab"),
			head("POST /k8s-audit HTTP/1.1", auth, "X-Cluster : lab"),
		} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			io.WriteString(conn, request)
			conn.(*net.TCPConn).CloseWrite()
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil && answer.StatusCode < 300 {
				t.Errorf("%s: %q is answered %s", from, request, answer.Status)
			}
			conn.Close()
		}
		if counts := stop(); count.forged.Load() > 0 || counts["webhook.accepted"] > 0 {
			t.Errorf("%s: %d events got in: %v", from, count.forged.Load(), counts)
		}
	}
}

package webhook_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"kaudit/pkg/source"
	"kaudit/pkg/source/sourcetest"
	"kaudit/pkg/source/webhook"
)

func TestPromises(t *testing.T) {
	certificate := filepath.Join(t.TempDir(), "falco.pem")
	roots := writeCertificate(t, certificate)
	broken := filepath.Join(t.TempDir(), "broken.pem")
	if err := os.WriteFile(broken, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Subject{
				Kind: webhook.Kind,
				New: func(*testing.T, [][]byte) sourcetest.Feed {
					client := newClient(roots)
					return sourcetest.Feed{
						Open:     scheme + "://127.0.0.1:0/k8s-audit",
						Settings: map[string]any{"sslCertificate": certificate},
						Send: func(ctx context.Context, src source.Source, event []byte) error {
							return send(ctx, client, fmt.Sprintf("%s://%s/k8s-audit?timeout=30s", scheme, address(src)), event)
						},
						Close: client.CloseIdleConnections,
					}
				},
				Acknowledges: true,
				Wrong: []sourcetest.Wrong{
					{Open: scheme + "://127.0.0.1/k8s-audit", Says: "no port"},
					{Open: scheme + "://user:secret@127.0.0.1:9765/k8s-audit", Says: "user"},
					{Open: scheme + "://127.0.0.1:9765/k8s-audit?x=y", Says: "query"},
					{Open: scheme + "://127.0.0.1:nine/k8s-audit", Says: "open parameters"},
					{Open: scheme + "://" + taken.Addr().String(), Settings: map[string]any{"sslCertificate": certificate}, Says: "address already in use"},
					{Open: "https://127.0.0.1:0", Settings: map[string]any{"sslCertificate": certificate + ".missing"}, Says: "sslCertificate"},
					{Open: "https://127.0.0.1:0", Settings: map[string]any{"sslCertificate": broken}, Says: "sslCertificate"},
					{Open: "https://127.0.0.1:0", Settings: map[string]any{"sslCertificate": 5}, Says: "sslCertificate"},
					{Open: scheme + "://127.0.0.1:0", Settings: map[string]any{"webhookMaxBatchSize": 0}, Says: "webhookMaxBatchSize"},
					{Open: scheme + "://127.0.0.1:0", Settings: map[string]any{"webhookMaxBatchSize": int64(1) << 62}, Says: "webhookMaxBatchSize"},
					{Open: scheme + "://127.0.0.1:0", Settings: map[string]any{"webhook_max_batch_size": "large"}, Says: "webhookMaxBatchSize"},
				},
			})
		})
	}
}

// send posts one event as an API server does.
func send(ctx context.Context, client *http.Client, url string, event []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(event))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusBadRequest:
		return source.ErrRejected
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %s", resp.Status)
	case len(text) > 0:
		return fmt.Errorf("the answer has a body")
	}
	return nil
}

// A server is a running webhook and what it delivered.
type server struct {
	url    string
	addr   string
	client *http.Client
	log    *bytes.Buffer
	src    source.Source

	mu       sync.Mutex
	payloads []source.Delivery
	notices  []source.Notice
	answer   func(context.Context) error
	full     atomic.Bool // what Ready says

	cancel context.CancelFunc
	result chan error
}

func (s *server) Deliver(ctx context.Context, d source.Delivery) error {
	if s.answer != nil {
		if err := s.answer(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.payloads = append(s.payloads, d)
	return nil
}

// Ready implements source.Readier.
func (s *server) Ready() error {
	if s.full.Load() {
		return fmt.Errorf("spool: %w", source.ErrFull)
	}
	return nil
}

// told returns the notices of one name.
func (s *server) told(name string) (list []source.Notice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.notices {
		if n.Name == name {
			list = append(list, n)
		}
	}
	return list
}

func (s *server) delivered() []source.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.payloads
}

// stop ends Run. Only after that may the log be looked at.
func (s *server) stop(t *testing.T) {
	t.Helper()
	s.cancel()
	select {
	case err := <-s.result:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(3 * time.Second):
		t.Fatal("Run does not return")
	}
	s.client.CloseIdleConnections()
}

func (s *server) counts() map[string]uint64 {
	counts := make(map[string]uint64)
	s.src.(source.Counter).Counts(func(name string, n uint64) { counts[name] = n })
	return counts
}

// serve runs a webhook at scheme://127.0.0.1:0 and path.
func serve(t *testing.T, scheme, path string, settings map[string]any, answer func(context.Context) error) *server {
	t.Helper()
	var roots *x509.CertPool
	if scheme == "https" {
		certificate := filepath.Join(t.TempDir(), "falco.pem")
		roots = writeCertificate(t, certificate)
		settings = map[string]any{"sslCertificate": certificate}
	}
	s := &server{client: newClient(roots), log: new(bytes.Buffer), answer: answer, result: make(chan error, 1)}
	s.open(t, scheme, path, settings)
	return s
}

// open opens the webhook at scheme://127.0.0.1:0 and path, and runs it.
func (s *server) open(t *testing.T, scheme, path string, settings map[string]any) {
	t.Helper()
	var err error
	s.src, err = webhook.Kind.Open(scheme+"://127.0.0.1:0"+path, settings, source.Env{
		Log: slog.New(slog.NewTextHandler(&guarded{w: s.log}, nil)),
		Notify: func(n source.Notice) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.notices = append(s.notices, n)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.addr = address(s.src)
	s.url = scheme + "://" + s.addr
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	go func() { s.result <- s.src.Run(ctx, s) }()
}

func address(src source.Source) string { return src.(interface{ Addr() net.Addr }).Addr().String() }

func newClient(roots *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}}
}

func TestRequests(t *testing.T) {
	const event = `{"kind":"Event","auditID":"1"}`
	s := serve(t, "http", "/k8s-audit", map[string]any{"webhookMaxBatchSize": 100_000}, nil)
	large := `{"pad":"` + strings.Repeat("x", 100_000) + `"}`
	exact := `{"pad":"` + strings.Repeat("x", 100_000-10) + `"}`
	for _, test := range []struct {
		name         string
		method, path string
		header       string // "Name: value", several separated by |
		body         string
		chunked      bool
		status       int
		lines        bool
		payload      string
		answerHeader string
	}{
		{name: "as an API server", path: "/k8s-audit?timeout=30s", header: "Content-Type: application/json", body: event, status: 200, payload: event},
		{name: "no content type", body: event, status: 200, payload: event},
		{name: "parameters", header: "Content-Type: Application/JSON; charset=utf-8", body: event, status: 200, payload: event},
		{name: "form, as curl says", header: "Content-Type: application/x-www-form-urlencoded", body: event, status: 200, payload: event},
		{name: "unheard of type", header: "Content-Type: application/vnd.collector+json", body: event, status: 200, payload: event},
		{name: "lines", header: "Content-Type: application/x-ndjson", body: event + "\n", status: 200, payload: event + "\n", lines: true},
		{name: "chunked", body: exact, chunked: true, status: 200, payload: exact},
		{name: "as large as allowed", body: exact, status: 200, payload: exact},
		{name: "empty", status: 200},
		{name: "gzip", header: "Content-Encoding: gzip", body: gzipped(exact), status: 200, payload: exact},
		{name: "zstd", header: "Content-Encoding: zstd", body: zstded(exact), status: 200, payload: exact},
		{name: "identity", header: "Content-Encoding: identity", body: event, status: 200, payload: event},
		{name: "too large", body: large, status: 413},
		{name: "too large, chunked", body: large, chunked: true, status: 413},
		{name: "too large after gzip", header: "Content-Encoding: gzip", body: gzipped(large), status: 413},
		{name: "too large after zstd", header: "Content-Encoding: zstd", body: zstded(large), status: 413},
		{name: "gzip that is none", header: "Content-Encoding: gzip", body: event, status: 400},
		{name: "zstd that is none", header: "Content-Encoding: zstd", body: event, status: 400},
		{name: "gzip cut short", header: "Content-Encoding: gzip", body: gzipped(exact)[:50], status: 400},
		{name: "brotli", header: "Content-Encoding: br", body: event, status: 415, answerHeader: "Accept-Encoding: gzip, zstd"},
		{name: "two encodings", header: "Content-Encoding: gzip|Content-Encoding: gzip", body: gzipped(event), status: 415},
		{name: "multipart", header: "Content-Type: multipart/form-data; boundary=x", body: event, status: 415},
		{name: "get", method: "GET", status: 405, answerHeader: "Allow: POST"},
		{name: "put", method: "PUT", body: event, status: 405, answerHeader: "Allow: POST"},
		{name: "other path", path: "/other", body: event, status: 404},
		{name: "path below", path: "/k8s-audit/below", body: event, status: 404},
		{name: "health", method: "GET", path: "/healthz", status: 200},
		{name: "health, head", method: "HEAD", path: "/healthz", status: 200},
		{name: "post to health", path: "/healthz", body: event, status: 404},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := len(s.delivered())
			var body io.Reader = strings.NewReader(test.body)
			if test.chunked {
				body = io.MultiReader(body)
			}
			path := test.path
			if path == "" {
				path = "/k8s-audit"
			}
			method := test.method
			if method == "" {
				method = "POST"
			}
			req, err := http.NewRequest(method, s.url+path, body)
			if err != nil {
				t.Fatal(err)
			}
			for h := range strings.SplitSeq(test.header, "|") {
				if name, value, ok := strings.Cut(h, ": "); ok {
					req.Header.Add(name, value)
				}
			}
			resp, err := s.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != test.status {
				t.Errorf("status %d, want %d", resp.StatusCode, test.status)
			}
			if name, value, _ := strings.Cut(test.answerHeader, ": "); name != "" && resp.Header.Get(name) != value {
				t.Errorf("the answer has %s: %s", name, resp.Header.Get(name))
			}
			got := s.delivered()[before:]
			if test.payload == "" {
				if len(got) != 0 {
					t.Errorf("%q was delivered", got[0].Payload)
				}
				return
			}
			if len(got) != 1 || string(got[0].Payload) != test.payload || got[0].Lines != test.lines || got[0].Source != s.addr {
				t.Fatalf("delivered were %d payloads", len(got))
			}
			got[0].Done()
		})
	}
	s.stop(t)
	counts := s.counts()
	if counts["webhook.accepted"] != 12 || counts["webhook.refused_too_large"] != 4 || counts["webhook.refused_broken"] != 3 {
		t.Errorf("counts are %v", counts)
	}
	for _, secret := range []string{"auditID", "xxx", "below", "boundary", "other"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log repeats %q, which a sender chose: %s", secret, s.log)
		}
	}
}

func TestSinkAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		answer     func(context.Context) error
		status     int
		retryAfter string
	}{
		{"accepted", func(context.Context) error { return nil }, 200, ""},
		{"full", func(context.Context) error { return source.ErrFull }, 429, "3"},
		{"waits for room", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 429, "3"},
		{"closed", func(context.Context) error { return fmt.Errorf("stream: %w", source.ErrClosed) }, 503, "3"},
		{"rejected", func(context.Context) error { return source.ErrRejected }, 400, ""},
		{"unknown", func(context.Context) error { return errors.New("disk") }, 429, "3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, "http", "", nil, test.answer)
			defer s.stop(t)
			resp, err := s.client.Post(s.url+"/any/path", "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != test.status || resp.Header.Get("Retry-After") != test.retryAfter {
				t.Errorf("status %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
			}
		})
	}
}

// What waits for room when the source stops is answered before Run returns.
func TestStopAnswersRequestsUnderWay(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			inside := make(chan struct{})
			s := serve(t, scheme, "/", nil, func(ctx context.Context) error { close(inside); <-ctx.Done(); return ctx.Err() })
			status := make(chan int, 1)
			go func() {
				resp, err := s.client.Post(s.url, "application/json", strings.NewReader("{}"))
				if err != nil {
					t.Error(err)
					status <- 0
					return
				}
				resp.Body.Close()
				status <- resp.StatusCode
			}()
			<-inside
			s.stop(t)
			if got := <-status; got != 503 {
				t.Errorf("status %d", got)
			}
		})
	}
}

// A client that stops in the middle of a body does not keep the source from stopping, and nothing of it is delivered.
func TestStopWithHalfABody(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := serve(t, "http", "/", nil, nil)
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"auditID\":")
	silent, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	time.Sleep(50 * time.Millisecond)
	begin := time.Now()
	s.stop(t)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("Run took %v to return", took)
	}
	if len(s.delivered()) > 0 {
		t.Error("half a body was delivered")
	}
}

// A body that ends before its length is not acknowledged.
func TestBodyCutShort(t *testing.T) {
	s := serve(t, "http", "/", nil, nil)
	defer s.stop(t)
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"auditID\":\"1\"}")
	conn.(*net.TCPConn).CloseWrite()
	answer, _ := io.ReadAll(conn)
	if bytes.Contains(answer, []byte(" 200 ")) || len(s.delivered()) > 0 {
		t.Errorf("the answer is %q, %d payloads were delivered", answer, len(s.delivered()))
	}
}

// Bodies are refused while too many bytes are held, a body of known length before it is read, and taken again when
// the payloads before were evaluated.
func TestBytesInFlight(t *testing.T) {
	t.Parallel()
	const size = 60 << 20 // with 4 of them held, a fifth does not fit into 256 MiB
	s := serve(t, "http", "/", nil, nil)
	defer s.stop(t)
	body := bytes.Repeat([]byte{' '}, size)
	post := func(length int64) (status int) {
		var sent io.Reader = bytes.NewReader(body)
		if length < 0 {
			sent = io.MultiReader(sent)
		}
		req, err := http.NewRequest("POST", s.url, sent)
		if err != nil {
			t.Fatal(err)
		}
		if length >= 0 {
			req.Header.Set("Expect", "100-continue") // so that a refusal spares the body
		}
		resp, err := s.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == 429 && resp.Header.Get("Retry-After") != "3" {
			t.Error("a refusal does not say when to try again")
		}
		return resp.StatusCode
	}
	s.client.Transport.(*http.Transport).ExpectContinueTimeout = 5 * time.Second
	accepted := 0
	for post(size) == 200 {
		accepted++
	}
	if accepted != 4 {
		t.Errorf("%d bodies of %d bytes were accepted", accepted, size)
	}
	if status := post(-1); status != 429 {
		t.Errorf("a body of unknown length was answered %d", status)
	}
	for _, d := range s.delivered() {
		d.Done()
	}
	if status := post(size); status != 200 {
		t.Errorf("status %d although everything was evaluated", status)
	}
	if refused := s.counts()["webhook.refused_in_flight"]; refused != 2 {
		t.Errorf("%d refusals were counted", refused)
	}
}

func TestHTTP2(t *testing.T) {
	t.Parallel()
	s := serve(t, "https", "/k8s-audit", nil, nil)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			body := `{"pad":"` + strings.Repeat("x", 300_000) + `"}`
			resp, err := s.client.Post(s.url+"/k8s-audit", "application/json", strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
				t.Errorf("request %d: %s, status %d", i, resp.Proto, resp.StatusCode)
			}
		})
	}
	group.Wait()
	if n := len(s.delivered()); n != 20 {
		t.Errorf("%d payloads", n)
	}
	s.stop(t)
}

func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, "https", "/", nil, nil)
	config := s.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if conn, err := tls.Dial("tcp", s.addr, config); err == nil {
		conn.Close()
		t.Error("TLS 1.1 is accepted")
	}
	for s.counts()["webhook.refused_handshake"] == 0 {
		time.Sleep(time.Millisecond)
	}
	s.stop(t)
	if !strings.Contains(s.log.String(), "unsupported versions") {
		t.Errorf("the log is %s", s.log)
	}
}

// A certificate that is replaced is used at the next handshake. A broken one changes nothing.
func TestCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	certificate := filepath.Join(t.TempDir(), "falco.pem")
	writeCertificate(t, certificate)
	src, err := webhook.Kind.Open("https://127.0.0.1:0", map[string]any{"sslCertificate": certificate}, source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- src.Run(ctx, new(server)) }()

	serial := func() string {
		conn, err := tls.Dial("tcp", address(src), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	writeCertificate(t, certificate)
	touch(t, certificate, time.Minute)
	second := first
	for deadline := time.Now().Add(10 * time.Second); second == first && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		second = serial()
	}
	if err := os.WriteFile(certificate, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(t, certificate, 2*time.Minute)
	if third := serial(); first == second || second != third {
		t.Errorf("the certificates are %s, %s, %s", first, second, third)
	}
	cancel()
	<-result
}

func touch(t *testing.T, file string, later time.Duration) {
	t.Helper()
	if err := os.Chtimes(file, time.Time{}, time.Now().Add(later)); err != nil {
		t.Fatal(err)
	}
}

// However often a reason comes, it is one line now and one when the source stops.
func TestRefusalsAreLoggedNowAndThen(t *testing.T) {
	t.Parallel()
	s := serve(t, "http", "/", nil, func(context.Context) error { return source.ErrFull })
	for range 50 {
		resp, err := s.client.Post(s.url, "application/json", strings.NewReader(`{"secret":1}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	s.stop(t)
	log := s.log.String()
	if strings.Count(log, "refused") != 2 || !strings.Contains(log, "times=49") || strings.Contains(log, "secret") {
		t.Errorf("the log is %s", log)
	}
	if counts := s.counts(); counts["webhook.requests"] != 50 || counts["webhook.refused_full"] != 50 {
		t.Errorf("counts are %v", counts)
	}
}

// null takes everything and is done with it at once.
type null struct{}

func (null) Deliver(_ context.Context, d source.Delivery) error {
	d.Done()
	return nil
}

// writeCertificate makes a key with a certificate for 127.0.0.1, in one file as Falco wants it.
func writeCertificate(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return roots
}

func gzipped(content string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, content)
	w.Close()
	return b.String()
}

func zstded(content string) string {
	w, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	defer w.Close()
	return string(w.EncodeAll([]byte(content), nil))
}

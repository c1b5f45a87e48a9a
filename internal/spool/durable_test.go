package spool_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kaudit/internal/spool"
	"kaudit/pkg/source"
	"kaudit/pkg/source/webhook"
)

// BenchmarkDurable measures requests with TLS, as an API server sends them: 400 events of 1.5 KB over one HTTP/2
// connection, four at a time. "spool" is the whole way from the sender to the end of evaluation, synced before the
// answer; "memory" the same without the spool; "sender" what the sender costs alone, with a server that reads and
// forgets. An operation is one request.
func BenchmarkDurable(b *testing.B) {
	const events, senders = 400, 4
	body := bytes.Repeat(append(bytes.Repeat([]byte("x"), 1499), '\n'), events)

	certificate, roots := certificate(b)
	post := func(b *testing.B, url string) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
		defer client.CloseIdleConnections()
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		var left atomic.Int64
		left.Store(int64(b.N))
		b.ResetTimer()
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					response, err := client.Post(url, "application/json", bytes.NewReader(body))
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, response.Body)
					response.Body.Close()
					if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
						b.Errorf("answered %s over %s", response.Status, response.Proto)
					}
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
	}
	run := func(b *testing.B, through func(source.Source) source.Source) {
		hook, err := webhook.Kind.Open("https://127.0.0.1:0/", map[string]any{"sslCertificate": certificate}, source.Env{})
		if err != nil {
			b.Fatal(err)
		}
		src := through(hook)
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error)
		var evaluated atomic.Int64
		go func() {
			ended <- src.Run(ctx, sinkFunc(func(_ context.Context, d source.Delivery) error {
				evaluated.Add(1)
				d.Done()
				return nil
			}))
		}()
		post(b, "https://"+hook.(addresser).Addr().String()+"/")
		for evaluated.Load() < int64(b.N) {
		}
		b.StopTimer()
		cancel()
		<-ended
	}

	b.Run("spool", func(b *testing.B) { run(b, spooled(b)) })
	b.Run("memory", func(b *testing.B) { run(b, memory) })
	b.Run("sender", func(b *testing.B) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
		}))
		pair, err := tls.LoadX509KeyPair(certificate, certificate)
		if err != nil {
			b.Fatal(err)
		}
		server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		server.EnableHTTP2 = true
		server.StartTLS()
		defer server.Close()
		post(b, server.URL)
	})
}

// BenchmarkLone measures how long a single event takes from its sender to the sink, through TLS, when nothing else comes:
// half of them take no more than p50, all but one in a hundred no more than p99. "spool" has a sync on the way, "memory"
// has none.
func BenchmarkLone(b *testing.B) {
	certificate, roots := certificate(b)
	run := func(b *testing.B, through func(source.Source) source.Source) {
		hook, err := webhook.Kind.Open("https://127.0.0.1:0/", map[string]any{"sslCertificate": certificate}, source.Env{})
		if err != nil {
			b.Fatal(err)
		}
		src := through(hook)
		ctx, cancel := context.WithCancel(b.Context())
		ended, arrived := make(chan error), make(chan time.Time, 1)
		go func() {
			ended <- src.Run(ctx, sinkFunc(func(_ context.Context, d source.Delivery) error {
				arrived <- time.Now()
				d.Done()
				return nil
			}))
		}()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
		url := "https://" + hook.(addresser).Addr().String() + "/"
		event := bytes.Repeat([]byte("x"), 1500)
		var took []time.Duration
		for b.Loop() {
			time.Sleep(5 * time.Millisecond)
			began := time.Now()
			response, err := client.Post(url, "application/json", bytes.NewReader(event))
			if err != nil {
				b.Fatal(err)
			}
			response.Body.Close()
			took = append(took, (<-arrived).Sub(began))
		}
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
		b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
		client.CloseIdleConnections()
		cancel()
		<-ended
	}
	b.Run("spool", func(b *testing.B) { run(b, spooled(b)) })
	b.Run("memory", func(b *testing.B) { run(b, memory) })
}

// spooled puts a source behind a spool.
func spooled(b *testing.B) func(source.Source) source.Source {
	return func(src source.Source) source.Source {
		s, err := spool.Open(spool.Config{Dir: b.TempDir(), MaxBytes: 4 << 30})
		if err != nil {
			b.Fatal(err)
		}
		return s.Source(src)
	}
}

// memory leaves a source as it is.
func memory(src source.Source) source.Source { return src }

// certificate writes a key with a certificate for 127.0.0.1 into one file.
func certificate(b *testing.B) (file string, roots *x509.CertPool) {
	b.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		b.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})...)
	file = filepath.Join(b.TempDir(), "falco.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		b.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return file, roots
}

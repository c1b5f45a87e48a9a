// Package webhook receives the audit events that a Kubernetes API server, or a collector, posts.
//
// A request is answered 200 only after the sink has taken its body. Without room for it within 2 seconds it is answered
// 429 with Retry-After rather than held: an API server that waits keeps its events in its own memory. 3 seconds make
// its client try ten times in the 30 seconds it gives each of its tries (k8s.io/client-go: rest/with_retry.go).
package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kaudit/pkg/source"
)

const (
	// patience is how long a full sink is waited for before a request is refused.
	patience = 2 * time.Second
	// farewell is how long the requests under way have to get their answer when the source stops.
	farewell = time.Second
	// maxInFlight is how many bytes of bodies are held at once, from reading them until they are evaluated. It is more
	// if webhookMaxBatchSize is: one body always fits.
	maxInFlight = 256 << 20
	// largestBody is the largest webhookMaxBatchSize.
	largestBody = 2 << 30
)

// Config holds the settings of this kind.
type Config struct {
	SSLCertificate      string `json:"sslCertificate" doc:"File with the private key and the certificate, and those of intermediate authorities if any, in PEM form, for https. It is read again when it changes."`
	WebhookMaxBatchSize int64  `json:"webhookMaxBatchSize" doc:"Largest request body in bytes, after decompression. Larger ones are answered 413, and the API server gives their events up."`
}

// Kind receives events over HTTP and HTTPS. Its sources are also a [source.Counter], tell the address they listen at
// with an Addr method, and have a Close method that gives the port back if Run is never called.
var Kind = source.Define(source.Kind{
	Name:    "webhook",
	Schemes: []string{"http", "https"},
	Pushed:  true,
	Summary: "Receives the events an API server or a collector posts.",
	Examples: []source.Example{
		{Open: "http://:9765/k8s-audit", Doc: "Listens at port 9765 on all addresses and takes what is posted to /k8s-audit."},
		{Open: "https://:9765/k8s-audit", Doc: "The same with TLS. The setting sslCertificate names key and certificate."},
		{Open: "http://127.0.0.1:9765", Doc: "Takes what is posted to any path, from this machine only."},
	},
}, Config{
	SSLCertificate: "/etc/falco/falco.pem",
	// An API server sends up to 400 events at once, and does not truncate them unless told to. 64 MiB is more than
	// 400 events of the 100 KiB that it truncates to.
	WebhookMaxBatchSize: 64 << 20,
}, open)

func open(where string, c Config, env source.Env) (source.Source, error) {
	u, err := parse(where)
	if err != nil {
		return nil, err
	}
	if c.WebhookMaxBatchSize < 1 || c.WebhookMaxBatchSize > largestBody {
		return nil, fmt.Errorf("webhookMaxBatchSize: %d bytes is not from 1 to %d; write a size like 67108864", c.WebhookMaxBatchSize, int64(largestBody))
	}
	r := &receiver{
		log:   env.Log,
		path:  u.Path,
		limit: c.WebhookMaxBatchSize,
		room:  room{size: max(maxInFlight, c.WebhookMaxBatchSize+spare+maxWindow)},
	}
	if u.Scheme == "https" {
		certificate, err := loadCertificate(c.SSLCertificate, env.Log)
		if err != nil {
			return nil, err
		}
		r.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.get}
	}
	if r.listener, err = net.Listen("tcp", u.Host); err != nil {
		return nil, fmt.Errorf("open parameters: %q: %w", where, err)
	}
	r.source = r.listener.Addr().String()
	return r, nil
}

// parse takes apart scheme://host:port/path.
func parse(where string) (*url.URL, error) {
	const want = "write it like http://:9765/k8s-audit"
	u, err := url.Parse(where)
	if err != nil {
		return nil, fmt.Errorf("open parameters: %w; %s", err, want)
	}
	switch {
	case u.Port() == "":
		return nil, fmt.Errorf("open parameters: %q has no port; %s", where, want)
	case u.User != nil:
		return nil, fmt.Errorf("open parameters: the address has a user, which means nothing to a receiver; %s", want)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("open parameters: %q has a query or fragment, and any query is accepted; %s", where, want)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

// A receiver is a listening port and what came in there.
type receiver struct {
	log      *slog.Logger
	listener net.Listener
	source   string // the address it listens at
	tls      *tls.Config
	path     string
	limit    int64 // of a body
	room     room

	// running is read-locked by each request while it uses ctx and sink. They are nil before Run and after it.
	running sync.RWMutex
	ctx     context.Context
	sink    source.Sink

	requests, accepted, bytes atomic.Uint64
	refusals                  refusals
}

// Run serves until ctx ends. Requests that are under way then are answered 503, unless the sink has taken them
// already, and the port is closed when Run returns.
func (r *receiver) Run(ctx context.Context, sink source.Sink) error {
	var connections sync.WaitGroup
	server := &http.Server{
		Handler:           r,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second, // the API server gives up after 30
		WriteTimeout:      75 * time.Second, // counts from the header, too
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		// The largest windows net/http has: one HTTP/2 connection carries all batches of an API server, and no more
		// than a window in each round trip.
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerConnection: 4<<20 - 1,
			MaxReceiveBufferPerStream:     4<<20 - 1,
		},
		TLSConfig:   r.tls,
		ErrorLog:    r.refusals.connectionLog(r.log),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				connections.Add(1)
			case http.StateClosed:
				connections.Done()
			}
		},
	}
	r.serve(ctx, sink)
	served := make(chan error, 1)
	go func() {
		if r.tls != nil {
			served <- server.ServeTLS(r.listener, "", "")
		} else {
			served <- server.Serve(r.listener)
		}
	}()
	r.log.Info("receiving audit events", "address", r.source, "tls", r.tls != nil)

	var err error
	select {
	case err = <-served:
		err = fmt.Errorf("webhook: %w", err)
	case <-ctx.Done():
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer cancel()
		_ = server.Shutdown(last) // what has not ended by then is closed below
		if err = <-served; errors.Is(err, http.ErrServerClosed) {
			err = ctx.Err()
		}
	}
	server.Close()
	r.Close()
	r.serve(ctx, nil)
	connections.Wait()
	r.refusals.flush(r.log)
	return err
}

// serve says which sink requests are for from now on. It waits until none uses the sink before.
func (r *receiver) serve(ctx context.Context, sink source.Sink) {
	r.running.Lock()
	r.ctx, r.sink = ctx, sink
	r.running.Unlock()
}

// Addr is the address the source listens at, with the real port if the open parameters say port 0.
func (r *receiver) Addr() net.Addr { return r.listener.Addr() }

// Close gives the port back. It is needed only if Run is never called.
func (r *receiver) Close() error {
	if err := r.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Counts tells how many requests came, probes of /healthz left out, how many were accepted, how many bytes of bodies
// the sink took, and how many requests and connections were refused, by reason.
func (r *receiver) Counts(yield func(name string, n uint64)) {
	yield("webhook.requests", r.requests.Load())
	yield("webhook.accepted", r.accepted.Load())
	yield("webhook.bytes", r.bytes.Load())
	r.refusals.counts(yield)
}

// ServeHTTP answers one request.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/healthz" && (req.Method == http.MethodGet || req.Method == http.MethodHead) {
		return
	}
	r.requests.Add(1)
	a := r.receive(w, req)
	if a == accepted {
		r.accepted.Add(1)
		return
	}
	r.refusals.note(r.log, a, "from", req.RemoteAddr)
	header := w.Header()
	switch a {
	case wrongMethod:
		header.Set("Allow", http.MethodPost)
	case wrongEncoding:
		header.Set("Accept-Encoding", "gzip, zstd")
	case full, crowded, stopping, gone:
		header.Set("Retry-After", "3")
	}
	http.Error(w, answers[a].text, answers[a].status)
}

// receive hands the body of a request to the sink.
func (r *receiver) receive(w http.ResponseWriter, req *http.Request) answer {
	switch {
	case !r.serves(req.URL.Path):
		return wrongPath
	case req.Method != http.MethodPost:
		return wrongMethod
	}
	lines, ok := accepts(req.Header.Get("Content-Type"))
	if !ok {
		return wrongType
	}
	r.running.RLock()
	defer r.running.RUnlock()
	if r.sink == nil {
		return stopping
	}
	b, a := r.read(w, req)
	if a != accepted {
		return a
	}
	n := len(b.data)
	if n == 0 {
		b.free() // nothing came, so nothing can be lost
		return accepted
	}
	ctx, cancel := context.WithTimeout(req.Context(), patience)
	defer cancel()
	err := r.sink.Deliver(ctx, source.Delivery{Payload: b.data, Source: r.source, Lines: lines, Done: b.free})
	if err == nil {
		r.bytes.Add(uint64(n))
		return accepted
	}
	b.free()
	switch {
	case errors.Is(err, source.ErrRejected):
		return rejected
	case errors.Is(err, source.ErrClosed) || r.ctx.Err() != nil:
		return stopping
	case req.Context().Err() != nil:
		return gone
	}
	return full
}

// serves tells whether a path is the one to post to. A path that ends in a slash stands for all below it.
func (r *receiver) serves(path string) bool {
	return path == r.path || strings.HasSuffix(r.path, "/") && strings.HasPrefix(path, r.path)
}

// accepts tells whether a content type may carry events, and whether it means lines that stand alone. It refuses only
// what cannot be text: collectors write all sorts of types, or none, and curl says it sends a form.
func accepts(contentType string) (lines, ok bool) {
	mediaType, _, _ := strings.Cut(contentType, ";")
	kind, subtype, _ := strings.Cut(strings.ToLower(strings.TrimSpace(mediaType)), "/")
	switch kind {
	case "multipart", "image", "audio", "video", "font", "model":
		return false, false
	}
	switch subtype {
	case "x-ndjson", "ndjson", "jsonl", "x-jsonlines", "jsonlines":
		return true, true
	case "x-protobuf", "protobuf", "grpc", "zip", "pdf":
		return false, false
	}
	return false, true
}

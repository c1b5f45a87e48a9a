// Package webhook receives the audit events that a Kubernetes API server, or a collector, posts.
//
// A request is answered 200 only after the sink has taken its body. Without room for it, it is answered 429 with
// Retry-After rather than held, and before the body is read if that is known before: an API server that waits keeps its
// events in its own memory. 3 seconds make its client try ten times in the 30 seconds it gives each of its tries
// (k8s.io/client-go: rest/with_retry.go).
//
// Who sends is decided before the body is read, too, by a client certificate or a bearer token: see door.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"kaudit/pkg/source"
)

const (
	// patience is how long room is waited for before a request is refused: a moment, and not enough to fill a sender's
	// memory. A sink that says beforehand when it is full, and refuses at once then, is waited for diskPatience: what
	// takes time there is the disk, and an answer given before it has synced would bring the same events twice.
	patience     = 50 * time.Millisecond
	diskPatience = 2 * time.Second
	// respite is how long nobody is let in after the sink had no room: the answer would be the same.
	respite = 50 * time.Millisecond
	// farewell is how long the requests under way have to get their answer when the source stops.
	farewell = time.Second
	// maxInFlight is how many bytes of bodies are held at once, from reading them until they are evaluated. It is more
	// if webhookMaxBatchSize is: one body always fits.
	maxInFlight = 256 << 20
	// largestBody is the largest webhookMaxBatchSize.
	largestBody = 2 << 30
	// maxStreams is how many requests one HTTP/2 connection may have under way. An API server has as many as it has
	// batches waiting for an answer, and opens another connection if it needs more.
	maxStreams = 32
	// maxFrame is the largest HTTP/2 frame: more of a body comes at once than with 16 KiB.
	maxFrame = 256 << 10
	// attention is how often files are looked at, and how soon failures are told of.
	attention = time.Second
	// repeat is how long failed authentications are summed up before they are told of again.
	repeat = time.Minute
)

// Config holds the settings of this kind.
type Config struct {
	SSLCertificate        string              `json:"sslCertificate" doc:"File with the certificate for https, and those of intermediate authorities if any, in PEM form; with the private key, too, unless sslKey is set. It is read again when it changes."`
	SSLKey                string              `json:"sslKey" doc:"File with the private key in PEM form, if it is not in the file of the certificate. Both are replaced together, or not at all."`
	SSLMinVersion         string              `json:"sslMinVersion" doc:"The oldest version of TLS that senders may use: VersionTLS12 or VersionTLS13. Whoever has 1.3 uses it in any case."`
	SSLClientCA           string              `json:"sslClientCA" doc:"File with the authorities, in PEM form, whose certificates senders must have. It is read again when it changes."`
	SSLClientNames        []string            `json:"sslClientNames" doc:"Who of them may send: common names, DNS names or URIs in client certificates. Without any, whoever has a certificate by those authorities."`
	WebhookTokens         string              `json:"webhookTokens" doc:"File with bearer tokens of senders, one a line, each with a name behind it if it is to have one. It is read again when it changes. With sslClientCA set as well, either will do."`
	ClusterFrom           string              `json:"clusterFrom" doc:"What says which cluster events are of: path (the name stands behind the path of open_params), header, or sender (each belongs to one cluster). Nothing else does."`
	ClusterHeader         string              `json:"clusterHeader" doc:"The header for clusterFrom: header."`
	Clusters              map[string][]string `json:"clusters" doc:"The clusters there may be, each with the names of its senders, as in client certificates or behind tokens: {prod-eu: [apiserver.prod-eu]}. An empty list stands for every sender that is let in."`
	Insecure              bool                `json:"insecure" doc:"Allows http:// at addresses that other machines reach. Events are then neither secret nor proved to come from anybody."`
	WebhookMaxBatchSize   int64               `json:"webhookMaxBatchSize" doc:"Largest request body in bytes, after decompression. Larger ones are answered 413, and the API server gives their events up."`
	WebhookMaxConnections int                 `json:"webhookMaxConnections" doc:"How many connections may be open. With one more, the oldest that has not brought events is closed."`
}

// Kind receives events over HTTP and HTTPS. Its sources are also a [source.Counter], tell the address they listen at
// with an Addr method, and have a Close method that gives the port back if Run is never called.
var Kind = source.Define(source.Kind{
	Name:    "webhook",
	Schemes: []string{"http", "https"},
	Pushed:  true,
	Summary: "Receives the events an API server or a collector posts.",
	Examples: []source.Example{
		{Open: "https://:9765/k8s-audit", Doc: "Listens at port 9765 on all addresses and takes what is posted to /k8s-audit. The setting sslCertificate names key and certificate."},
		{Open: "http://127.0.0.1:9765/k8s-audit", Doc: "The same without TLS, from this machine only. Other addresses need insecure: true."},
		{Open: "http://127.0.0.1:9765", Doc: "Takes what is posted to any path."},
	},
}, Config{
	SSLCertificate: "/etc/falco/falco.pem",
	// What the official plugin takes: a collector with an old library is not shut out by an upgrade.
	SSLMinVersion: "VersionTLS12",
	ClusterHeader: "X-Cluster",
	// An API server sends up to 400 events at once, and does not truncate them unless told to. 64 MiB is more than
	// 400 events of the 100 KiB that it truncates to.
	WebhookMaxBatchSize:   64 << 20,
	WebhookMaxConnections: 1024,
}, open)

func open(where string, c Config, env source.Env) (source.Source, error) {
	u, err := parse(where)
	if err != nil {
		return nil, err
	}
	if c.WebhookMaxBatchSize < 1 || c.WebhookMaxBatchSize > largestBody {
		return nil, fmt.Errorf("webhookMaxBatchSize: %d bytes is not from 1 to %d; write a size like 67108864", c.WebhookMaxBatchSize, int64(largestBody))
	}
	if c.WebhookMaxConnections < 1 {
		return nil, fmt.Errorf("webhookMaxConnections: %d is not a number of connections; write one like 1024", c.WebhookMaxConnections)
	}
	r := &receiver{
		log:         env.Log,
		notify:      env.Notify,
		path:        u.EscapedPath(),
		limit:       c.WebhookMaxBatchSize,
		room:        room{size: max(maxInFlight, 2*(c.WebhookMaxBatchSize+spare))},
		connections: connections{most: c.WebhookMaxConnections, places: map[net.Conn]*connection{}},
		expanders:   make(chan *expander, max(1, runtime.GOMAXPROCS(0)/2)),
	}
	for range cap(r.expanders) {
		r.expanders <- new(expander)
	}
	// Without descriptors nobody is let in, and net/http waits for up to a second before it looks again.
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && uint64(r.connections.most) > files.Cur/2 {
		r.connections.most = max(1, int(files.Cur/2))
		r.log.Warn("webhookMaxConnections: the process may open too few files for that many", "connections", r.connections.most, "files", files.Cur)
	}
	if r.door, err = newDoor(c); err != nil {
		return nil, err
	}
	if c.WebhookTokens != "" {
		if r.door.tokens, err = newTokens(c.WebhookTokens, env.Log); err != nil {
			return nil, err
		}
	}
	if u.Scheme == "https" {
		if r.door.encryption, err = newEncryption(c, env.Log); err != nil {
			return nil, err
		}
	} else if c.SSLClientCA != "" {
		return nil, fmt.Errorf("sslClientCA: http has no client certificates; open %s", "https"+strings.TrimPrefix(where, "http"))
	}
	if r.listener, err = listen(u, c.Insecure); err != nil {
		return nil, fmt.Errorf("open parameters: %q: %w", where, err)
	}
	r.source = r.listener.Addr().String()
	return r, nil
}

// listen takes the port. Without TLS it does so only where no other machine reaches it, unless that was asked for.
func listen(u *url.URL, insecure bool) (net.Listener, error) {
	address, err := net.ResolveTCPAddr("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !insecure && !address.IP.IsLoopback() {
		return nil, fmt.Errorf("without TLS everybody who reaches the port reads events and forges them; write http://127.0.0.1:%s%s if senders are on this machine, https:// and sslCertificate if not, or insecure: true in init_config to have it so", u.Port(), u.Path)
	}
	l, err := net.ListenTCP("tcp", address)
	if err != nil {
		return nil, err // and no listener that is a nil pointer
	}
	return l, nil
}

// parse takes apart scheme://host:port/path.
func parse(where string) (*url.URL, error) {
	const want = "write it like https://:9765/k8s-audit"
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
	notify   func(source.Notice)
	listener net.Listener
	source   string // the name of deliveries
	path     string // as it stands in requests, percent signs included
	door     *door
	limit    int64 // of a body

	room        room
	expanders   chan *expander
	connections connections

	// running is read-locked by each request while it uses ctx and sink. They are nil before Run and after it.
	running   sync.RWMutex
	ctx       context.Context
	sink      source.Sink
	fullUntil atomic.Int64 // in nanoseconds since 1970: when the sink is asked again

	requests, accepted, bytes atomic.Uint64
	refusals                  refusals

	// What look told of failed authentications, and when.
	told   uint64
	toldAt time.Time
}

// Run serves until ctx ends. Requests that are under way then are answered 503, unless the sink has taken them
// already, and the port is closed when Run returns.
func (r *receiver) Run(ctx context.Context, sink source.Sink) error {
	server := &http.Server{
		Handler:           r,
		ReadHeaderTimeout: 10 * time.Second, // and of a TLS handshake
		ReadTimeout:       60 * time.Second, // of what a body's tempo does not see
		WriteTimeout:      75 * time.Second, // counts from the header, too
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		// The largest windows net/http has: one HTTP/2 connection carries all batches of an API server, and no more
		// than a window in each round trip.
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReadFrameSize:              maxFrame,
			MaxReceiveBufferPerConnection: 4<<20 - 1,
			MaxReceiveBufferPerStream:     4<<20 - 1,
		},
		ErrorLog:    r.refusals.connectionLog(r.log),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: r.connect,
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				r.connections.gone(conn)
			}
		},
	}
	encrypted := r.door.encryption != nil
	if encrypted {
		server.TLSConfig = r.door.encryption.server()
	}
	r.serve(ctx, sink)
	served := make(chan error, 1)
	go func() {
		if encrypted {
			served <- server.ServeTLS(r.listener, "", "")
		} else {
			served <- server.Serve(r.listener)
		}
	}()
	r.log.Info("receiving audit events", "address", r.source, "tls", encrypted, "senders", r.door.describe())
	reached := !r.listener.Addr().(*net.TCPAddr).IP.IsLoopback()
	if reached && !encrypted {
		r.log.Warn("insecure: events, and tokens if there are any, come unencrypted", "address", r.source)
	}
	if reached && r.door.open() {
		r.log.Warn("everybody who reaches the port can post events; sslClientCA or webhookTokens say who may", "address", r.source)
	}

	var err error
	clock := time.NewTicker(attention)
	defer clock.Stop()
	r.look(time.Now())
	for err == nil {
		select {
		case now := <-clock.C:
			r.look(now)
			continue
		case err = <-served:
			err = fmt.Errorf("webhook: %w", err)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
			_ = server.Shutdown(last) // what has not ended by then is closed below
			cancel()
			if err = <-served; errors.Is(err, http.ErrServerClosed) {
				err = ctx.Err()
			}
		}
	}
	server.Close()
	r.Close()
	r.serve(ctx, nil)
	r.connections.all.Wait()
	for range cap(r.expanders) {
		(<-r.expanders).close()
	}
	r.toldAt = time.Time{}
	r.tellFailures(time.Now())
	r.refusals.flush(r.log)
	return err
}

// connect is called with each new connection.
func (r *receiver) connect(ctx context.Context, conn net.Conn) context.Context {
	ctx, one := r.connections.admit(ctx, conn)
	if one {
		r.refusals.note(r.log, evicted, "limit", strconv.Itoa(r.connections.most))
	}
	return ctx
}

// look reads again what changed of certificates and tokens, and tells what has to be told. It is called now and then by
// one goroutine.
func (r *receiver) look(now time.Time) {
	if e := r.door.encryption; e != nil {
		e.reload(now)
		e.expiry(now, r.tell)
	}
	if r.door.tokens != nil {
		r.door.tokens.reload(now)
	}
	r.tellFailures(now)
}

// tellFailures tells of failed authentications: of the first at once, and then of what has come together.
func (r *receiver) tellFailures(now time.Time) {
	if n := r.refusals.intruded(); n > r.told && now.Sub(r.toldAt) >= repeat {
		r.tell(source.Notice{
			Name: source.AuthFailures, Count: n - r.told,
			Message: "Requests were refused because their senders did not prove who they are, or may not send what they sent. If no token or certificate was changed, somebody tries.",
		})
		r.told, r.toldAt = n, now
	}
}

func (r *receiver) tell(n source.Notice) {
	n.Source = r.source
	r.notify(n)
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

// Counts tells how many requests came, probes left out, how many were accepted, how many bytes of bodies the sink took,
// how many requests and connections were refused, by reason, and how often files were read again, or could not be used.
func (r *receiver) Counts(yield func(name string, n uint64)) {
	yield("webhook.requests", r.requests.Load())
	yield("webhook.accepted", r.accepted.Load())
	yield("webhook.bytes", r.bytes.Load())
	r.refusals.counts(yield)
	var read, failed uint64
	if e := r.door.encryption; e != nil {
		read, failed = e.read.Load(), e.failed.Load()
	}
	if t := r.door.tokens; t != nil {
		read, failed = read+t.read.Load(), failed+t.failed.Load()
	}
	yield("webhook.files_reloaded", read)
	yield("webhook.files_unusable", failed)
}

// ServeHTTP answers one request.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		switch req.URL.Path {
		case "/healthz":
			return
		case "/readyz":
			if a := r.ready(); a != accepted {
				http.Error(w, answers[a].text, http.StatusServiceUnavailable)
			}
			return
		}
	}
	r.requests.Add(1)
	a := r.receive(w, req)
	if a == accepted {
		r.accepted.Add(1)
		r.connections.prove(req)
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
	case unauthenticated:
		if r.door.tokens != nil {
			header.Set("WWW-Authenticate", `Bearer realm="k8s-audit"`)
		}
	}
	http.Error(w, answers[a].text, answers[a].status)
}

// ready tells whether a delivery would be taken now, as far as that is known.
func (r *receiver) ready() answer {
	r.running.RLock()
	defer r.running.RUnlock()
	return r.available()
}

// available is ready for who has locked running already.
func (r *receiver) available() answer {
	if r.sink == nil || r.ctx.Err() != nil {
		return stopping
	}
	if s, ok := r.sink.(source.Readier); ok {
		switch err := s.Ready(); {
		case errors.Is(err, source.ErrClosed):
			return stopping
		case err != nil:
			return full
		}
	}
	if time.Now().UnixNano() < r.fullUntil.Load() {
		return full
	}
	return accepted
}

// receive hands the body of a request to the sink. What a request says of itself decides in this order: who sends it,
// where to, and what it is. Its body is read last.
func (r *receiver) receive(w http.ResponseWriter, req *http.Request) answer {
	names, a := r.door.admit(req, time.Now())
	if a != accepted {
		return a
	}
	tail, ok := r.serves(req.URL.EscapedPath())
	switch {
	case !ok:
		return wrongPath
	case req.Method != http.MethodPost:
		return wrongMethod
	}
	cluster, a := r.door.cluster(req, tail, names)
	if a != accepted {
		return a
	}
	lines, ok := accepts(req.Header.Get("Content-Type"))
	if !ok {
		return wrongType
	}
	r.running.RLock()
	defer r.running.RUnlock()
	if a := r.available(); a != accepted {
		return a
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
	wait := patience
	if _, ok := r.sink.(source.Readier); ok {
		wait = diskPatience
	}
	ctx, cancel := context.WithTimeout(req.Context(), wait)
	defer cancel()
	err := r.sink.Deliver(ctx, source.Delivery{Payload: b.data, Source: r.source, Cluster: cluster, Lines: lines, Done: b.free})
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
	r.fullUntil.Store(time.Now().Add(respite).UnixNano())
	return full
}

// serves tells whether a path is one to post to, and what of it names a cluster if the path does. A path that ends in a
// slash stands for all below it. Paths are compared as they were sent: one that only becomes the right one when it is
// decoded may have got past somebody in between.
func (r *receiver) serves(path string) (tail string, ok bool) {
	if r.door.from == "path" {
		return strings.CutPrefix(path, strings.TrimSuffix(r.path, "/")+"/")
	}
	return "", path == r.path || strings.HasSuffix(r.path, "/") && strings.HasPrefix(path, r.path)
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
	case "msgpack", "x-msgpack", "x-protobuf", "protobuf", "grpc", "zip", "pdf":
		return false, false
	}
	return false, true
}

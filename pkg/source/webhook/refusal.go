package webhook

import (
	"log"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// An answer is what becomes of a request: it is accepted, or refused for one of these reasons.
type answer int

const (
	accepted answer = iota
	full
	crowded
	stopping
	rejected
	tooLarge
	broken
	slow
	gone
	wrongType
	wrongEncoding
	wrongMethod
	wrongPath
	unauthenticated
	forbidden
	wrongCluster
	// No answer: these never became a request.
	wrongCertificate
	handshake
	evicted
	connectionFault
	lastAnswer
)

// answers has the counter, the status and the text of each refusal. Nothing in it comes from a sender.
var answers = [lastAnswer]struct {
	counter string
	status  int
	text    string
}{
	full:          {"webhook.refused_full", http.StatusTooManyRequests, "no room for more events now"},
	crowded:       {"webhook.refused_in_flight", http.StatusTooManyRequests, "too many bytes of requests at once"},
	stopping:      {"webhook.refused_stopping", http.StatusServiceUnavailable, "stopping"},
	rejected:      {"webhook.refused_rejected", http.StatusBadRequest, "not accepted"},
	tooLarge:      {"webhook.refused_too_large", http.StatusRequestEntityTooLarge, "the body is larger than webhookMaxBatchSize"},
	broken:        {"webhook.refused_broken", http.StatusBadRequest, "the body ends early, or is not compressed as its header says"},
	slow:          {"webhook.refused_slow", http.StatusRequestTimeout, "the body came too slowly"},
	gone:          {"webhook.refused_gone", http.StatusServiceUnavailable, "the sender did not wait for the answer"},
	wrongType:     {"webhook.refused_content_type", http.StatusUnsupportedMediaType, "the content type is none for events; send application/json"},
	wrongEncoding: {"webhook.refused_content_encoding", http.StatusUnsupportedMediaType, "the content encoding is unknown; send gzip, zstd or none"},
	wrongMethod:   {"webhook.refused_method", http.StatusMethodNotAllowed, "events are sent with POST"},
	wrongPath:     {"webhook.refused_path", http.StatusNotFound, "events are not received at this path"},

	unauthenticated: {"webhook.refused_unauthenticated", http.StatusUnauthorized, "who sends is not known: a client certificate or a bearer token is wanted"},
	forbidden:       {"webhook.refused_forbidden", http.StatusForbidden, "no name in the client certificate is one of sslClientNames"},
	wrongCluster:    {"webhook.refused_cluster", http.StatusForbidden, "the cluster is none of the setting clusters, or this sender may not send for it"},

	wrongCertificate: {"webhook.refused_certificate", 0, "a client certificate was not good"},
	handshake:        {"webhook.refused_handshake", 0, "a TLS handshake failed"},
	evicted:          {"webhook.refused_too_many_connections", 0, "there are more than webhookMaxConnections; the oldest that brought no events was closed"},
	connectionFault:  {"webhook.refused_connection", 0, "a connection failed outside of a request"},
}

// intrusions are the answers to those who did not prove that they may send.
var intrusions = [...]answer{unauthenticated, forbidden, wrongCluster, wrongCertificate}

// quiet is how long a reason is not logged again.
const quiet = 10 * time.Second

// refusals counts what was refused, and logs each reason now and then only.
type refusals struct {
	mu      sync.Mutex
	reasons [lastAnswer]struct {
		count, logged uint64
		at            time.Time // of the last log line
	}
}

// note counts a refusal, and logs it with what is known about it unless the same reason was logged just now.
func (r *refusals) note(log *slog.Logger, a answer, key, value string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reason := &r.reasons[a]
	reason.count++
	if now := time.Now(); now.Sub(reason.at) >= quiet {
		reason.at = now
		r.write(log, a, key, value)
	}
}

// flush logs what was not logged yet.
func (r *refusals) flush(log *slog.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := accepted + 1; a < lastAnswer; a++ {
		if r.reasons[a].count > r.reasons[a].logged {
			r.write(log, a)
		}
	}
}

func (r *refusals) write(log *slog.Logger, a answer, more ...any) {
	reason := &r.reasons[a]
	log.Warn("webhook request refused", append([]any{
		"reason", answers[a].text, "status", answers[a].status,
		"times", reason.count - reason.logged,
	}, more...)...)
	reason.logged = reason.count
}

func (r *refusals) counts(yield func(name string, n uint64)) {
	for a := accepted + 1; a < lastAnswer; a++ {
		r.mu.Lock()
		n := r.reasons[a].count
		r.mu.Unlock()
		yield(answers[a].counter, n)
	}
}

// intruded returns how many were refused because they did not prove that they may send.
func (r *refusals) intruded() (n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range intrusions {
		n += r.reasons[a].count
	}
	return n
}

// connectionLog takes what net/http has to say about connections.
func (r *refusals) connectionLog(to *slog.Logger) *log.Logger {
	return log.New(connectionLog{r, to}, "", 0)
}

type connectionLog struct {
	refusals *refusals
	to       *slog.Logger
}

// known are faults worth telling apart. Other lines are not logged word by word: net/http quotes its peers in some.
var known = []string{
	"tls: bad certificate",
	"tls: unknown certificate authority",
	"tls: first record does not look like a TLS handshake",
	"client sent an HTTP request to an HTTPS server",
	"tls: client offered only unsupported versions",
	"tls: no cipher suite supported by both client and server",
	"x509: certificate signed by unknown authority",
	"x509: certificate has expired or is not yet valid",
	"x509: certificate specifies an incompatible key usage",
	"i/o timeout",
	"too many open files",
	"panic serving",
	"EOF",
}

func (c connectionLog) Write(line []byte) (int, error) {
	text := string(line)
	what := connectionFault
	switch {
	// What crypto/tls says of a client's certificate, and of who has one without its key.
	case strings.Contains(text, "failed to verify certificate"), strings.Contains(text, "invalid signature by the client certificate"):
		what = wrongCertificate
	case strings.Contains(text, "TLS handshake error"):
		what = handshake
	}
	fault := "other"
	for _, k := range known {
		if strings.Contains(text, k) {
			fault = k
			break
		}
	}
	c.refusals.note(c.to, what, "fault", fault)
	return len(line), nil
}

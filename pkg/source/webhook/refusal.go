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
	connection // no answer: it never became a request
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
	connection:    {"webhook.refused_connection", 0, "a connection failed before or outside a request"},
}

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
	"too many open files",
	"panic serving",
	"EOF",
}

func (c connectionLog) Write(line []byte) (int, error) {
	fault := "other"
	for _, k := range known {
		if strings.Contains(string(line), k) {
			fault = k
			break
		}
	}
	c.refusals.note(c.to, connection, "fault", fault)
	return len(line), nil
}

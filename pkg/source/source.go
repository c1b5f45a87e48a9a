// Package source says what a source of audit events is, and nothing about what an audit event is.
//
// A source knows one transport: how bytes arrive, what has to be acknowledged and when. It hands every
// payload to a [Sink] and learns from the answer whether the payload is safe. What is inside a payload (an
// event, a list, lines) is the business of package audit, behind the sink.
//
// Each source is a folder below this one with a [Kind]; package all lists them; package sourcetest holds every
// one of them to the promises written here.
package source

import (
	"context"
	"errors"
	"log/slog"
	"net"
)

// A Source feeds audit payloads to a sink until ctx ends or it has no more.
//
// Run is called once. It returns nil when there is no more (the end of a file), ctx.Err() soon after ctx ends,
// and any other error when it cannot go on. A fault that may pass (a connection lost, a file not there yet)
// is not a reason to return: the host would end with it. When Run has returned, the source has left nothing
// behind: no goroutine, descriptor or port.
type Source interface {
	Run(ctx context.Context, sink Sink) error
}

// A Sink accepts deliveries. It may be called from several goroutines; deliveries made one after the other by
// one goroutine keep their order.
//
// Nil means the delivery is safe: the source may acknowledge it to whoever sent it, and d.Done will be called
// once, later. With any error d.Done is never called, the payload is the source's again at once, and nothing of
// it will be evaluated. A full sink waits until there is room or ctx ends; a source that would rather refuse
// than wait gives a context with a deadline and gets [ErrFull].
type Sink interface {
	Deliver(ctx context.Context, d Delivery) error
}

// A Readier is a sink that can say beforehand whether it takes anything at all.
type Readier interface {
	// Ready returns nil, or the error that Deliver would return now whatever the delivery, wrapped with what is wrong
	// and what to do about it. Nothing a sender chose is in it. It neither blocks nor touches a disk, and may be called
	// from any goroutine: a source asks it for each probe, and before it reads what the sink would only refuse.
	Ready() error
}

var (
	// ErrFull means there is no room now: refuse and let the sender try again.
	ErrFull = errors.New("no room for more events now")
	// ErrClosed means the sink takes no more: stop.
	ErrClosed = errors.New("the sink is closed")
	// ErrRejected means the payload will never be accepted: do not send it again.
	ErrRejected = errors.New("not accepted")
)

// A Delivery is one payload on its way to the rules.
type Delivery struct {
	// Payload holds one or more audit events in any form package audit can split. It belongs to the sink from the
	// moment Deliver is called until Deliver returns an error or Done is called. The source does not write to it in
	// between, and does not rely on what it holds after Done; a sink that returns an error has not written to it.
	Payload []byte
	// Source names where the payload came from, for counters and logs: a file's path, a listening address. It must
	// not contain anything a sender chose.
	Source string
	// Cluster names the Kubernetes cluster the events belong to, if the source was told; else it is empty.
	Cluster string
	// Lines says that the payload is cut at line ends and each line stands alone, as in a log file: a broken line
	// then never reaches into the next. Blank lines may be among them, and the last may lack its line end.
	Lines bool
	// Done, if not nil, is called once when every event of the payload has been evaluated, or when a sink that promises
	// that by itself, as the spool does, needs the payload no more. It is called from any goroutine, before Deliver
	// returns nil or after, and must not block: the host's own thread may call it.
	Done func()
	// Decoded, if not nil, is called once, before Done and from any goroutine, with what was found in the payload. It must
	// not block. It is for those who count between a source and its sink.
	Decoded func(Contents)
}

// Contents is what was found in a payload.
type Contents struct {
	Events   uint64 // handed on
	Cut      uint64 // of them, those whose objects were taken out for their size
	Salvaged uint64 // of them, those of which a part was read
	Rejected uint64 // pieces that were no events
}

// A Progresser is a source that knows how far it is.
type Progresser interface {
	// Progress returns how much has been read, from 0 to 1, and the same in words ("12.3 MB of 100 MB"). It may be
	// called while Run runs.
	Progress() (float64, string)
}

// A Counter is a source that counts what it does.
type Counter interface {
	// Counts calls yield once for each counter, always the same names in the same order, with the count since the
	// source was opened, or with what there is now. A name is the kind's name, a dot and one or two words with
	// underscores ("webhook.refused_full"), and stands in the table of internal/metric, which says what it counts and
	// whether it may go down. It allocates nothing and may be called while Run runs, from any goroutine.
	Counts(yield func(name string, n uint64))
}

// Waits lists what a source waits at until it is stopped: the address at which it listens, by an Addr method, or the logs
// that it follows, by a Follows method. It is empty for a source that ends by itself.
func Waits(src Source) []string {
	switch s := src.(type) {
	case interface{ Addr() net.Addr }:
		return []string{s.Addr().String()}
	case interface{ Follows() []string }:
		return s.Follows()
	}
	return nil
}

// Env is what a source is given besides its settings.
type Env struct {
	// Log takes what an operator should know. It never receives the content of events. A constructor made with
	// [Define] never sees nil here: without a logger, what is said is thrown away.
	Log *slog.Logger
	// Notify tells what rules should be able to match, such as failed authentications. It may be called from any
	// goroutine and never blocks. A constructor made with [Define] never sees nil here: without somebody to tell, what
	// is said is thrown away.
	Notify func(Notice)
}

// A Notice says something about delivery itself. The host turns it into an event that rules can match, so that an
// operator who reads alerts only learns of it, too.
type Notice struct {
	// Name is one of the constants below.
	Name string
	// Source and Cluster are as in [Delivery]. Nothing a sender chose is in them.
	Source, Cluster string
	// Count is how many of what the name says there were since the last notice of that name and source: refused
	// requests, lost pieces. It is 1 for what does not come in numbers.
	Count uint64
	// Message is one sentence for people, with what to do about it. Nothing a sender chose is in it.
	Message string
}

// The names of notices, as rules ask for them.
const (
	// SourceSilent: a source that delivered before has not for as long as its silence setting says.
	SourceSilent = "source_silent"
	// EventsLost: something that was, or should have been, an event never reaches the rules.
	EventsLost = "events_lost"
	// SpoolFull: the spool takes no more, by its limit or because its disk fails; senders are refused.
	SpoolFull = "spool_full"
	// AuthFailures: requests were refused because their senders did not prove who they are.
	AuthFailures = "auth_failures"
	// CertificateExpiring: a certificate this program serves with ends soon, or has ended.
	CertificateExpiring = "certificate_expiring"
)

// NoticeNames lists the names of notices. A host takes no others.
func NoticeNames() []string {
	return []string{SourceSilent, EventsLost, SpoolFull, AuthFailures, CertificateExpiring}
}

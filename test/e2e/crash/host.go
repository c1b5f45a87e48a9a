// Package crash kills a host at random moments while a sender posts to its webhook, and counts what was acknowledged
// against what was evaluated. The host is this test's own program: the webhook, the spool and the stream as the plugin
// has them, and in the place of Falco a loop that writes down each event it is given.
package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"kaudit/internal/spool"
	"kaudit/internal/stream"
	"kaudit/pkg/audit"
	"kaudit/pkg/source"
	"kaudit/pkg/source/webhook"
)

// host is what the host is told, in its environment.
type host struct {
	Run       int           // counts the hosts, from 1
	Dir       string        // of the spool
	MaxBytes  int64         //
	Open      string        // where the webhook listens
	Evaluated string        // file to write events down in
	Pace      time.Duration // how long a batch is evaluated
}

const hostVariable = "KAUDIT_CRASH_HOST"

// A batch keeps the audit IDs of its events.
type batch struct{ ids []string }

// batchEvents is how many events a batch has: a delivery is several, so that kills come between them, too.
const batchEvents = 50

func (b *batch) Add(e *audit.Event, _ time.Time) bool {
	if len(b.ids) == batchEvents {
		return false
	}
	var id struct{ AuditID string }
	_ = json.Unmarshal(e.AppendTo(nil), &id)
	b.ids = append(b.ids, id.AuditID)
	return true
}

func (b *batch) Len() int { return len(b.ids) }
func (b *batch) Reset()   { b.ids = b.ids[:0] }
func (b *batch) Free()    {}

// serve is the host. It ends when it is told to, or killed.
func serve(text string) error {
	var h host
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return err
	}
	evaluated, err := os.OpenFile(h.Evaluated, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	notify := func(n source.Notice) { fmt.Fprintf(evaluated, "\nnotice %s %d\n", n.Name, n.Count) }
	kept, err := spool.Open(spool.Config{Dir: h.Dir, MaxBytes: h.MaxBytes, Log: log, Notify: notify})
	if err != nil {
		return err
	}
	hook, err := webhook.Kind.Open(h.Open, nil, source.Env{Log: log})
	if err != nil {
		return err
	}
	fmt.Fprintf(evaluated, "\nrun %d\n", h.Run)
	src := kept.Source(hook)
	s := stream.Open(src, stream.Config{
		NewBatch:     func() stream.Batch { return new(batch) },
		MaxEventSize: audit.DefaultMaxEventSize,
		Log:          log,
	})
	defer s.Close()
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	var line bytes.Buffer
	for stop.Err() == nil {
		next, err := s.Next(20 * time.Millisecond)
		switch {
		case errors.Is(err, stream.ErrIdle):
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		line.Reset()
		for _, id := range next.(*batch).ids {
			line.WriteString(id)
			line.WriteByte('\n')
		}
		// One write, which the kernel keeps when this process is killed right after it.
		if _, err := evaluated.Write(line.Bytes()); err != nil {
			return err
		}
		time.Sleep(h.Pace)
	}
	src.(source.Counter).Counts(func(name string, n uint64) { fmt.Fprintf(evaluated, "count %s %d\n", name, n) })
	return nil
}

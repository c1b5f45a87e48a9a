package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"kaudit/internal/spool"
	"kaudit/pkg/source"
	"kaudit/pkg/source/sourcetest"
	"kaudit/pkg/source/webhook"
)

// plain hides what a webhook counts.
type plain struct {
	source.Source
	io.Closer
	addresser
}

type addresser interface{ Addr() net.Addr }

// TestPromises holds a webhook behind a spool to what every source promises. It acknowledges what no sink has yet.
func TestPromises(t *testing.T) {
	kind := source.Define(source.Kind{
		Name: "spool", Schemes: []string{"http"}, Summary: "A webhook behind a spool.",
		Examples: []source.Example{{Open: "http://127.0.0.1:0/k8s-audit", Doc: "Any port."}},
	}, struct {
		MaxBytes int64 `json:"maxBytes" doc:"Limit of the spool."`
	}{spool.MinBytes}, func(where string, c struct {
		MaxBytes int64 `json:"maxBytes" doc:"Limit of the spool."`
	}, env source.Env,
	) (source.Source, error) {
		s, err := spool.Open(spool.Config{Dir: t.TempDir(), MaxBytes: c.MaxBytes, Log: env.Log, Notify: env.Notify})
		if err != nil {
			return nil, err
		}
		src, err := webhook.Kind.Open(where, nil, env)
		if err != nil {
			s.Close()
			return nil, err
		}
		return s.Source(plain{src, src.(io.Closer), src.(addresser)}), nil
	})
	sourcetest.Run(t, sourcetest.Subject{
		Kind: kind,
		New: func(*testing.T, [][]byte) sourcetest.Feed {
			client := &http.Client{Transport: &http.Transport{}}
			return sourcetest.Feed{
				Open: "http://127.0.0.1:0/k8s-audit",
				Send: func(ctx context.Context, src source.Source, event []byte) error {
					url := fmt.Sprintf("http://%s/k8s-audit", src.(addresser).Addr())
					request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(event))
					if err != nil {
						return err
					}
					answer, err := client.Do(request)
					if err != nil {
						return err
					}
					answer.Body.Close()
					if answer.StatusCode != http.StatusOK {
						return fmt.Errorf("answered %s", answer.Status)
					}
					return nil
				},
				Close: client.CloseIdleConnections,
			}
		},
		Wrong: []sourcetest.Wrong{
			{Open: "http://127.0.0.1:0", Settings: map[string]any{"maxBytes": 1}, Says: "maxBytes"},
			{Open: "http://127.0.0.1", Says: "no port"},
		},
	})
}

type sourceFunc func(ctx context.Context, sink source.Sink) error

func (f sourceFunc) Run(ctx context.Context, sink source.Sink) error { return f(ctx, sink) }

type sinkFunc func(ctx context.Context, d source.Delivery) error

func (f sinkFunc) Deliver(ctx context.Context, d source.Delivery) error { return f(ctx, d) }

func open(t *testing.T, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(spool.Config{Dir: dir, MaxBytes: spool.MinBytes})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func deliver(ctx context.Context, sink source.Sink, texts ...string) error {
	for _, text := range texts {
		if err := sink.Deliver(ctx, source.Delivery{Payload: []byte(text), Source: "test"}); err != nil {
			return err
		}
	}
	return nil
}

// TestTheEndOfASource holds what a source that has no more, or fails, leaves behind: it returns when everything that was
// handed on is evaluated, and the folder is free.
func TestTheEndOfASource(t *testing.T) {
	broken := errors.New("broken")
	for _, end := range []error{nil, broken} {
		dir := t.TempDir()
		var mu sync.Mutex
		var got []string
		var held []func()
		src := open(t, dir).Source(sourceFunc(func(ctx context.Context, sink source.Sink) error {
			if err := deliver(ctx, sink, "a", "b", "c"); err != nil {
				return err
			}
			for { // until all are handed on
				mu.Lock()
				n := len(got)
				mu.Unlock()
				if n == 3 {
					return end
				}
				time.Sleep(time.Millisecond)
			}
		}))
		ended := make(chan error, 1)
		go func() {
			ended <- src.Run(t.Context(), sinkFunc(func(_ context.Context, d source.Delivery) error {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, string(d.Payload))
				held = append(held, d.Done)
				return nil
			}))
		}()
		for n := 0; n < 3; {
			mu.Lock()
			n = len(held)
			mu.Unlock()
		}
		select {
		case err := <-ended:
			t.Fatalf("Run returned %v before its deliveries were evaluated", err)
		case <-time.After(50 * time.Millisecond):
		}
		for _, done := range held {
			done()
		}
		if err := <-ended; !errors.Is(err, end) {
			t.Errorf("Run returned %v, want %v", err, end)
		}
		if text := strings.Join(got, ""); text != "abc" {
			t.Errorf("handed on: %s", text)
		}
		s := open(t, dir)
		s.Counts(func(name string, n uint64) {
			if name == "spool.records" && n != 0 {
				t.Errorf("%d records would come again", n)
			}
		})
		s.Close()
	}
}

// TestAPanicLeavesNothingBehind has a source fail inside; the stream turns that into its end.
func TestAPanicLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	src := open(t, dir).Source(sourceFunc(func(context.Context, source.Sink) error { panic("inside") }))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is swallowed")
			}
		}()
		_ = src.Run(t.Context(), sinkFunc(func(context.Context, source.Delivery) error { return nil }))
	}()
	open(t, dir).Close()
}

// TestAPanicInTheSink comes back as the error of Run.
func TestAPanicInTheSink(t *testing.T) {
	dir := t.TempDir()
	src := open(t, dir).Source(sourceFunc(func(ctx context.Context, sink source.Sink) error {
		if err := deliver(ctx, sink, "a"); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}))
	err := src.Run(t.Context(), sinkFunc(func(context.Context, source.Delivery) error { panic("inside") }))
	if err == nil || !strings.Contains(err.Error(), "failed inside") {
		t.Errorf("Run returned %v", err)
	}
	open(t, dir).Close()
}

func TestAClosedSinkEndsTheSource(t *testing.T) {
	src := open(t, t.TempDir()).Source(sourceFunc(func(ctx context.Context, sink source.Sink) error {
		if err := deliver(ctx, sink, "a"); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}))
	err := src.Run(t.Context(), sinkFunc(func(context.Context, source.Delivery) error { return source.ErrClosed }))
	if !errors.Is(err, source.ErrClosed) {
		t.Errorf("Run returned %v", err)
	}
}

func TestCountsAllocateNothing(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	var sum uint64
	yield := func(_ string, n uint64) { sum += n }
	if n := testing.AllocsPerRun(100, func() { s.Counts(yield) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Package sourcetest holds a kind of source to the promises of package source.
//
// A test of a kind says how events get to its sources, in a [Subject], and calls [Run].
package sourcetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.uber.org/goleak"

	"kaudit/pkg/source"
)

// soon is how long a source may take to stop.
const soon = 2 * time.Second

// tooLong is how long anything else may take before the suite gives up.
const tooLong = 10 * time.Second

// A Subject is a kind of source and how to feed one.
type Subject struct {
	// Kind is what is tested.
	Kind source.Kind
	// New prepares a place for events to come from, before a source is opened there. Each event is one line of JSON
	// without its line end. If the feed has no Send, all events have to be there when New returns.
	New func(t *testing.T, events [][]byte) Feed
	// Ends says that Run returns nil by itself when everything was read and, if the feed has a Finish, that was
	// called.
	Ends bool
	// Acknowledges says that Send returns nil only when the source told the sender that the event is safe.
	Acknowledges bool
	// Wrong are open parameters and settings that cannot be opened.
	Wrong []Wrong
}

// A Feed is the sender's side of one source.
type Feed struct {
	// Open and Settings are what the source is opened with.
	Open     string
	Settings map[string]any
	// Send sends one event and waits for the answer if there is one. It returns nil if the event was sent (see
	// Subject.Acknowledges), [source.ErrRejected] if the answer was never to send it again, and any other error if it
	// was not taken: the suite then sends it again, until ctx ends. It gets the source to ask for its address.
	Send func(ctx context.Context, src source.Source, event []byte) error
	// Finish, if not nil, tells the source that nothing more comes.
	Finish func()
	// Close, if not nil, lets go of connections, files and goroutines on this side. It is called once, after Run.
	Close func()
}

// Wrong is something an operator may get wrong.
type Wrong struct {
	Open     string
	Settings map[string]any
	// Says must be part of the error: the name of the setting, and what is wrong with it.
	Says string
}

// Run tests a kind. Each promise is a subtest.
func Run(t *testing.T, s Subject) {
	t.Run("events arrive in order and at least once", s.arrive)
	t.Run("what the sink refuses is not acknowledged and comes again", s.refused)
	t.Run("what the sink rejects does not stop the source", s.rejected)
	t.Run("nothing is acknowledged by a closed sink", s.closed)
	t.Run("stops when nothing comes", s.idle)
	t.Run("stops while the sink is full", s.full)
	t.Run("stops while payloads are being evaluated", s.outstanding)
	t.Run("leaves nothing behind if it never runs", s.unused)
	t.Run("a wrong setting is named", s.wrong)
	t.Run("examples open", s.examples)
	t.Run("settings are documented", s.settings)
}

func (s Subject) arrive(t *testing.T) {
	clean(t, func() {
		events := makeEvents(200)
		sink := &Sink{}
		r := s.start(t, sink, events)
		lastDone, stop := 0.0, make(chan struct{})
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				r.count(t)
				if p, ok := r.src.(source.Progresser); ok {
					done, words := p.Progress()
					if done < lastDone || done > 1 || words == "" {
						t.Errorf("Progress says %v (%q) after %v", done, words, lastDone)
					}
					lastDone = done
				}
			}
		}()
		r.sendAll(t, events)
		r.await(t, len(events))
		r.end(t)
		close(stop)
		<-watched
		sink.check(t)
		got := sink.Events()
		if len(got) != len(events) {
			t.Fatalf("%d of %d events arrived", len(got), len(events))
		}
		for i, name := range got {
			if name != eventName(i) {
				t.Fatalf("%s arrived where %s was expected", name, eventName(i))
			}
		}
	})
}

func (s Subject) refused(t *testing.T) {
	clean(t, func() {
		events := makeEvents(10)
		sink := &Sink{Answer: func(call int) error {
			if call%3 != 2 {
				return source.ErrFull
			}
			return nil
		}}
		r := s.start(t, sink, events)
		r.sendAll(t, events)
		r.await(t, len(events))
		r.end(t)
		sink.check(t)
	})
}

func (s Subject) rejected(t *testing.T) {
	clean(t, func() {
		events := makeEvents(2)
		sink := &Sink{Answer: func(call int) error {
			if call == 0 {
				return source.ErrRejected
			}
			return nil
		}}
		r := s.start(t, sink, events)
		if r.feed.Send != nil {
			err := r.feed.Send(t.Context(), r.src, events[0])
			if s.Acknowledges && !errors.Is(err, source.ErrRejected) {
				t.Errorf("the sender was told %v of a rejected event", err)
			}
			r.awaitCall(t)
			r.sendAll(t, events[1:])
			r.await(t, 1)
		} else {
			r.awaitCall(t)
		}
		r.end(t)
		sink.check(t)
	})
}

func (s Subject) closed(t *testing.T) {
	clean(t, func() {
		events := makeEvents(1)
		sink := &Sink{Answer: func(int) error { return source.ErrClosed }}
		r := s.start(t, sink, events)
		if r.feed.Send != nil {
			if err := r.feed.Send(t.Context(), r.src, events[0]); err == nil && s.Acknowledges {
				t.Error("an event was acknowledged that a closed sink did not take")
			}
		}
		r.awaitCall(t)
		r.cancel()
		if err := r.wait(t, soon); err == nil {
			t.Error("Run returned nil although the sink was closed")
		}
		sink.check(t)
	})
}

func (s Subject) idle(t *testing.T) {
	clean(t, func() {
		sink := &Sink{}
		r := s.start(t, sink, nil)
		if r.feed.Send != nil {
			time.Sleep(20 * time.Millisecond)
		}
		r.cancel()
		r.stopped(t, r.wait(t, soon))
		sink.check(t)
	})
}

func (s Subject) full(t *testing.T) {
	clean(t, func() {
		events := makeEvents(200)
		sink := &Sink{Full: true}
		r := s.start(t, sink, events)
		sent := make(chan error, 1)
		if r.feed.Send != nil {
			go func() { sent <- r.feed.Send(t.Context(), r.src, events[0]) }()
		}
		r.awaitCall(t)
		r.cancel()
		err := r.wait(t, soon)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		if r.feed.Send != nil {
			if err := <-sent; err == nil && s.Acknowledges {
				t.Error("an event was acknowledged that a full sink did not take")
			}
		}
		sink.check(t)
	})
}

func (s Subject) outstanding(t *testing.T) {
	clean(t, func() {
		events := makeEvents(200)
		sink := &Sink{Hold: true}
		r := s.start(t, sink, events)
		if r.feed.Send != nil {
			r.sendAll(t, events[:3])
		}
		r.awaitCall(t)
		time.Sleep(20 * time.Millisecond)
		r.cancel()
		r.stopped(t, r.wait(t, soon))

		released := make(chan struct{})
		go func() { sink.Release(); close(released) }()
		select {
		case <-released:
		case <-time.After(soon):
			t.Error("Done blocks when it is called after Run has returned")
		}
		sink.check(t)
	})
}

func (s Subject) unused(t *testing.T) {
	clean(t, func() {
		feed := s.New(t, nil)
		src, err := s.Kind.Open(feed.Open, feed.Settings, source.Env{})
		if err != nil {
			t.Fatal(err)
		}
		closeSource(t, src)
		if feed.Close != nil {
			feed.Close()
		}
	})
}

func (s Subject) wrong(t *testing.T) {
	if len(s.Wrong) == 0 {
		t.Error("the subject has no example of a wrong setting")
	}
	for _, w := range s.Wrong {
		t.Run(w.Says, func(t *testing.T) {
			clean(t, func() {
				src, err := s.Kind.Open(w.Open, w.Settings, source.Env{})
				if err == nil {
					closeSource(t, src)
					t.Fatalf("%q with %v opens", w.Open, w.Settings)
				}
				text := err.Error()
				if !strings.Contains(text, w.Says) {
					t.Errorf("the error is %q and does not say %q", text, w.Says)
				}
				if first := []rune(text)[0]; unicode.IsUpper(first) || strings.Contains(text, "\n") {
					t.Errorf("%q begins with a capital letter or has several lines", text)
				}
			})
		})
	}
}

// examples opens each example. That may fail because of what this machine has, not because of what it says.
func (s Subject) examples(t *testing.T) {
	if len(s.Kind.Examples) == 0 || s.Kind.Summary == "" {
		t.Error("the kind has no examples or no summary")
	}
	for _, e := range s.Kind.Examples {
		t.Run(e.Open, func(t *testing.T) {
			if e.Doc == "" {
				t.Error("no doc")
			}
			if k, err := source.Find([]source.Kind{s.Kind}, e.Open); err != nil || k.Name != s.Kind.Name {
				t.Fatalf("the kind does not answer to it: %v", err)
			}
			clean(t, func() {
				src, err := s.Kind.Open(e.Open, nil, source.Env{})
				var path *fs.PathError
				var network *net.OpError
				if err == nil {
					closeSource(t, src)
				} else if !errors.As(err, &path) && !errors.As(err, &network) {
					t.Error(err)
				}
			})
		})
	}
}

func (s Subject) settings(t *testing.T) {
	for _, setting := range source.Settings(s.Kind.Config()) {
		if setting.Name == "" || strings.ContainsAny(setting.Name, "_- ") || unicode.IsUpper(rune(setting.Name[0])) {
			t.Errorf("%q is no camelCase name", setting.Name)
		}
		if !strings.HasSuffix(setting.Doc, ".") {
			t.Errorf("%s: %q is no sentence", setting.Name, setting.Doc)
		}
	}
}

// A running source.
type running struct {
	subject Subject
	feed    Feed
	src     source.Source
	sink    *Sink
	cancel  context.CancelFunc
	result  chan error
}

func (s Subject) start(t *testing.T, sink *Sink, events [][]byte) *running {
	t.Helper()
	r := &running{subject: s, feed: s.New(t, events), sink: sink, result: make(chan error, 1)}
	var err error
	if r.src, err = s.Kind.Open(r.feed.Open, r.feed.Settings, source.Env{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.result <- r.src.Run(ctx, sink) }()
	return r
}

// sendAll sends events, each until it is taken.
func (r *running) sendAll(t *testing.T, events [][]byte) {
	t.Helper()
	if r.feed.Send == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), tooLong)
	defer cancel()
	for _, event := range events {
		for {
			err := r.feed.Send(ctx, r.src, event)
			if err == nil {
				break
			}
			if ctx.Err() != nil || errors.Is(err, source.ErrRejected) {
				t.Fatalf("send: %v", err)
			}
			time.Sleep(time.Millisecond)
		}
		if name := names(event)[0]; r.subject.Acknowledges && !r.sink.Has(name) {
			t.Fatalf("%s was acknowledged and is not in the sink", name)
		}
	}
}

// end lets the source come to its end, or stops it.
func (r *running) end(t *testing.T) {
	t.Helper()
	if r.feed.Finish != nil {
		r.feed.Finish()
	}
	if !r.subject.Ends {
		r.cancel()
		r.stopped(t, r.wait(t, soon))
		return
	}
	if err := r.wait(t, tooLong); err != nil {
		t.Errorf("Run returned %v at the end", err)
	}
	r.cancel()
}

// wait waits for Run, and lets go of the sender's side.
func (r *running) wait(t *testing.T, limit time.Duration) error {
	t.Helper()
	select {
	case err := <-r.result:
		if a, ok := r.src.(interface{ Addr() net.Addr }); ok {
			l, err := net.Listen(a.Addr().Network(), a.Addr().String())
			if err != nil {
				t.Errorf("the port is still taken after Run: %v", err)
			} else {
				l.Close()
			}
		}
		if r.feed.Close != nil {
			r.feed.Close()
		}
		return err
	case <-time.After(limit):
		t.Fatalf("Run did not return within %v", limit)
		return nil
	}
}

// await waits for n different events in the sink.
func (r *running) await(t *testing.T, n int) {
	t.Helper()
	r.until(t, func() bool { return len(r.sink.Events()) >= n })
}

// awaitCall waits for the first delivery.
func (r *running) awaitCall(t *testing.T) {
	t.Helper()
	r.until(t, func() bool { return r.sink.Calls() > 0 })
}

func (r *running) until(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(tooLong); ; time.Sleep(time.Millisecond) {
		over := len(r.result) > 0 || time.Now().After(deadline)
		switch {
		case ok():
			return
		case over:
			t.Fatalf("%d events in %d deliveries came, then no more", len(r.sink.Events()), r.sink.Calls())
		}
	}
}

func (r *running) stopped(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) && !(r.subject.Ends && err == nil) {
		t.Errorf("Run returned %v after its context ended", err)
	}
}

// count checks the names of a source's counters.
func (r *running) count(t *testing.T) {
	c, ok := r.src.(source.Counter)
	if !ok {
		return
	}
	seen := make(map[string]bool)
	c.Counts(func(name string, _ uint64) {
		if seen[name] || !strings.HasPrefix(name, r.subject.Kind.Name+".") {
			t.Errorf("%q is a bad name of a counter", name)
		}
		seen[name] = true
	})
}

func closeSource(t *testing.T, src source.Source) {
	t.Helper()
	if c, ok := src.(io.Closer); ok {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

// makeEvents returns n events of different sizes, about 14 KB each on average.
func makeEvents(n int) [][]byte {
	events := make([][]byte, n)
	for i := range events {
		pad := bytes.Repeat([]byte{'x'}, i*7919%28000)
		events[i] = fmt.Appendf(nil, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"%s","verb":"get","userAgent":"%s"}`, eventName(i), pad)
	}
	return events
}

func eventName(i int) string { return fmt.Sprintf("event-%06d", i) }

// names returns the audit IDs in a payload.
func names(payload []byte) (list []string) {
	for {
		_, rest, found := bytes.Cut(payload, []byte(`"auditID":"`))
		if !found {
			return list
		}
		name, rest, _ := bytes.Cut(rest, []byte(`"`))
		list = append(list, string(name))
		payload = rest
	}
}

// clean runs f and fails if it left a goroutine or a descriptor behind.
func clean(t *testing.T, f func()) {
	t.Helper()
	before := descriptors(t)
	ignore := goleak.IgnoreCurrent()
	f()
	if t.Failed() {
		return
	}
	goleak.VerifyNone(t, ignore)
	for fd, target := range descriptors(t) {
		if before[fd] != target {
			t.Errorf("descriptor %s was left open: %s", fd, target)
		}
	}
}

// descriptors lists the open descriptors of the process, without those of the Go runtime.
func descriptors(t *testing.T) map[string]string {
	t.Helper()
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Logf("descriptors are not checked: %v", err)
		return nil
	}
	list := make(map[string]string)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil || strings.HasPrefix(target, "anon_inode:") {
			continue
		}
		list[e.Name()] = target
	}
	return list
}

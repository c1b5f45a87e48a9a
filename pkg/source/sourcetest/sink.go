package sourcetest

import (
	"context"
	"errors"
	"hash/crc32"
	"slices"
	"sync"
	"testing"
	"time"

	"kaudit/pkg/source"
)

// A Sink takes deliveries and checks that sources keep to the rules: no payload changes between Deliver and Done.
// Before it calls Done, late and from other goroutines, it overwrites the payload, so that a source that reads from
// it afterwards sees nothing of use. The zero Sink accepts everything.
type Sink struct {
	// Answer, if not nil, says what the call with this number, from 0, returns.
	Answer func(call int) error
	// Full makes every call wait for the end of its context.
	Full bool
	// Hold keeps all payloads until Release.
	Hold bool

	mu      sync.Mutex
	calls   int
	events  []string
	has     map[string]bool
	faults  []string
	held    []func()
	pending sync.WaitGroup
}

// Deliver implements [source.Sink].
func (s *Sink) Deliver(ctx context.Context, d source.Delivery) error {
	s.mu.Lock()
	call := s.calls
	s.calls++
	s.mu.Unlock()
	if s.Full {
		<-ctx.Done()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return source.ErrFull
		}
		return ctx.Err()
	}
	if s.Answer != nil {
		if err := s.Answer(call); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has == nil {
		s.has = make(map[string]bool)
	}
	for _, name := range names(d.Payload) {
		if !s.has[name] {
			s.has[name] = true
			s.events = append(s.events, name)
		}
	}
	if d.Source == "" {
		s.faults = append(s.faults, "a delivery does not say where it is from")
	}
	if len(d.Payload) == 0 {
		s.faults = append(s.faults, "a delivery is empty")
	}
	sum := crc32.ChecksumIEEE(d.Payload)
	done := sync.OnceFunc(func() { s.finish(d, sum) })
	if s.Hold {
		s.held = append(s.held, done)
		return nil
	}
	s.pending.Add(1)
	go func() {
		defer s.pending.Done()
		time.Sleep(time.Duration(call%3) * time.Millisecond)
		done()
	}()
	return nil
}

func (s *Sink) finish(d source.Delivery, sum uint32) {
	if crc32.ChecksumIEEE(d.Payload) != sum {
		s.mu.Lock()
		s.faults = append(s.faults, "a payload changed before Done was called")
		s.mu.Unlock()
	}
	for i := range d.Payload {
		d.Payload[i] = 0xdb
	}
	if d.Done != nil {
		d.Done()
	}
}

// Release calls Done for all payloads held, the last first.
func (s *Sink) Release() {
	s.mu.Lock()
	held := s.held
	s.held = nil
	s.mu.Unlock()
	for _, done := range slices.Backward(held) {
		done()
	}
}

// Events returns the audit IDs that were accepted, in the order they came first.
func (s *Sink) Events() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Has reports whether an audit ID was accepted.
func (s *Sink) Has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.has[name]
}

// Calls returns how often Deliver was called.
func (s *Sink) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// check waits for the payloads that are out, and fails if anything was wrong.
func (s *Sink) check(t *testing.T) {
	t.Helper()
	s.pending.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fault := range s.faults {
		t.Error(fault)
	}
}

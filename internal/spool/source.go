package spool

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"kaudit/pkg/source"
)

// Source returns a source that runs src with the spool as its sink, and hands on what the spool keeps. It owns both:
// when its Run has returned, the spool is closed.
//
// Its Run returns nil when src has no more and everything is evaluated. When src fails, it waits until what was handed
// on is evaluated, so that it is not handed on again by whoever opens the spool next, and returns the error.
//
// The source is also a [source.Counter], has the Addr of src if src has one, and a Close method that gives back what
// both have taken if Run is never called.
func (s *Spool) Source(src source.Source) source.Source {
	if a, ok := src.(addresser); ok {
		return addressed{spooled{s, src}, a}
	}
	return spooled{s, src}
}

type spooled struct {
	spool *Spool
	src   source.Source
}

type addresser interface{ Addr() net.Addr }

// addressed is a spooled source that listens somewhere.
type addressed struct {
	spooled
	addresser
}

// Run implements [source.Source].
func (s spooled) Run(ctx context.Context, sink source.Sink) error {
	defer s.spool.Close()
	both, stop := context.WithCancel(ctx)
	var drained error
	var draining sync.WaitGroup
	defer draining.Wait()
	defer stop()
	finish := make(chan struct{})
	draining.Go(func() {
		if drained = s.spool.drain(both, sink, finish); drained != nil {
			stop() // the source, too
		}
	})
	err := s.src.Run(both, s.spool)
	if err == nil {
		close(finish)
	} else {
		stop()
	}
	draining.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if drained != nil && !errors.Is(drained, context.Canceled) {
		return drained
	}
	if e := s.spool.settle(ctx); e != nil {
		return e
	}
	return err
}

// settle waits until what was handed on is evaluated.
func (s *Spool) settle(ctx context.Context) error {
	for {
		s.mu.Lock()
		n := len(s.inFlight)
		s.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-s.moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close gives back what both have taken. It is needed only if Run is never called.
func (s spooled) Close() error {
	var err error
	if c, ok := s.src.(io.Closer); ok {
		err = c.Close()
	}
	return errors.Join(err, s.spool.Close())
}

// Counts implements [source.Counter]: what the source counts, and what the spool counts and holds.
func (s spooled) Counts(yield func(name string, n uint64)) {
	if c, ok := s.src.(source.Counter); ok {
		c.Counts(yield)
	}
	s.spool.Counts(yield)
}

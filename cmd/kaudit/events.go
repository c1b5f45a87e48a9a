package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	"kaudit/internal/config"
	"kaudit/internal/feed"
	"kaudit/pkg/audit"
	"kaudit/pkg/source"
	"kaudit/pkg/source/all"
)

// An input is what a command reads events from: sources, one after the other.
type input struct {
	sources []source.Source
	config  config.Config
	notices bool // notices are events, too: for who looks at single events, and never for who raises alerts
	log     *slog.Logger

	current atomic.Int32  // number of the source that is read, from 0
	bytes   atomic.Uint64 // of what was delivered
	sink    *decodingSink
}

// errNoInput means that nothing says what to read.
var errNoInput = badInput{errors.New("nothing to read: name an audit log, a folder of them, - for standard input, or an address as http://127.0.0.1:9765/k8s-audit; see kaudit run --help")}

// openInput opens sources, or those that the settings list if where names none. A mistake in any of them is found before
// the first is read.
func openInput(where []string, settings string, log *slog.Logger) (*input, error) {
	c, err := config.Parse(settings, all.Kinds(), log)
	if err != nil {
		return nil, badInput{err}
	}
	in := &input{config: c, log: log}
	if len(where) == 0 {
		if len(c.Sources) == 0 {
			return nil, errNoInput
		}
		src, err := feed.OpenAll(c, "", source.Env{Log: log})
		if err != nil {
			return nil, badInput{err}
		}
		in.sources = []source.Source{src}
	}
	for i, w := range where {
		list, err := c.All(w)
		var src source.Source
		if err == nil {
			src, err = list[0].New(source.Env{Log: log})
		}
		if err != nil {
			in.close(0)
			return nil, badInput{config.WithoutParameters(err)}
		}
		in.sources = append(in.sources, src)
		if len(source.Waits(src)) > 0 && i < len(where)-1 {
			in.close(0)
			return nil, badInput{fmt.Errorf("%s never ends, so %s would not be read; name what never ends last", w, where[i+1])}
		}
	}
	return in, nil
}

// address returns where a source listens, if it is one that does.
func address(src source.Source) (net.Addr, bool) {
	l, ok := src.(interface{ Addr() net.Addr })
	if !ok {
		return nil, false
	}
	return l.Addr(), true
}

// close closes the sources from a number on, which were not read.
func (in *input) close(from int) {
	for _, src := range in.sources[from:] {
		if c, ok := src.(interface{ Close() error }); ok {
			c.Close()
		}
	}
}

// A flusher is an audit.Handler that is told when a delivery ends. If it returns an error, the delivery is not
// acknowledged and reading ends with that error.
type flusher interface{ Flush() error }

// read hands every event to h, one after the other, until the sources or ctx end. A source that cannot be read to its
// end does not keep the others from being read.
func (in *input) read(ctx context.Context, h audit.Handler) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	in.sink = &decodingSink{input: in, to: h, stop: stop, turn: make(chan struct{}, 1)}
	in.sink.reset()
	broken := 0
	for i, src := range in.sources {
		in.current.Store(int32(i))
		err := src.Run(ctx, in.sink)
		switch {
		case in.sink.err != nil:
			in.close(i + 1)
			return in.sink.err
		case ctx.Err() != nil: // it was asked to stop
			in.close(i + 1)
			return in.sink.failure()
		case err == nil:
		case len(in.sources) == 1:
			return badInput{err}
		default:
			broken++
			in.log.Error(err.Error())
		}
	}
	if broken > 0 {
		return badInput{fmt.Errorf("%d of %d sources could not be read to their end", broken, len(in.sources))}
	}
	return in.sink.failure()
}

// place says where a piece of the delivery in work stands: in which line of a file, or from which source it came.
func (in *input) place(offset int) string { return in.sink.place(offset) }

// counts returns what the sources counted, without zeros.
func (in *input) counts() map[string]uint64 {
	counts := make(map[string]uint64)
	for _, src := range in.sources {
		if c, ok := src.(source.Counter); ok {
			c.Counts(func(name string, n uint64) {
				if n > 0 {
					counts[name] += n
				}
			})
		}
	}
	return counts
}

// progress tells how much of all sources was read, from 0 to 1, and the same in words. It is 0 if that is not known.
func (in *input) progress() (done float64, words string) {
	i := int(in.current.Load())
	p, ok := in.sources[i].(source.Progresser)
	if !ok {
		return 0, ""
	}
	done, words = p.Progress()
	if len(in.sources) > 1 {
		done = (float64(i) + done) / float64(len(in.sources))
		words = fmt.Sprintf("source %d of %d: %s", i+1, len(in.sources), words)
	}
	return done, words
}

// A decodingSink decodes deliveries as they come, on the goroutine of the source. What it accepts has been evaluated.
type decodingSink struct {
	input *input
	to    audit.Handler
	stop  func()

	turn    chan struct{} // held by who decodes; what is below is his
	decoder audit.Decoder
	err     error  // what the handler could not go on for
	failed  int    // deliveries of which a part was lost to a panic
	payload []byte // the delivery in work
	source  string
	lines   int // in the deliveries of the source before this one
}

// Deliver implements [source.Sink].
func (s *decodingSink) Deliver(ctx context.Context, d source.Delivery) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return source.ErrFull
		}
		return ctx.Err()
	}
	if s.err != nil {
		return source.ErrClosed
	}
	s.decode(d)
	if f, ok := s.to.(flusher); ok {
		if s.err = f.Flush(); s.err != nil {
			s.stop()
			return source.ErrClosed
		}
	}
	if d.Done != nil {
		d.Done()
	}
	return nil
}

func (s *decodingSink) decode(d source.Delivery) {
	s.input.bytes.Add(uint64(len(d.Payload)))
	if d.Source != s.source {
		s.source, s.lines = d.Source, 0
	}
	s.payload, s.decoder.Cluster = d.Payload, d.Cluster
	defer func() {
		s.lines += bytes.Count(d.Payload, []byte("\n"))
		if n := len(d.Payload); d.Lines && n > 0 && d.Payload[n-1] != '\n' {
			s.lines++ // its end was too long, or is the file's
		}
		s.payload = nil
		if p := recover(); p != nil {
			s.failed++
			s.reset()
			s.input.log.Error("failed inside; the rest of a delivery is left out", "source", d.Source, "panic", p)
		}
	}()
	s.decoder.Decode(d.Payload, d.Lines, s.to)
}

func (s *decodingSink) reset() {
	s.decoder = audit.Decoder{MaxEventSize: s.input.config.MaxEventSize, Notices: s.input.notices}
}

// failure is the error of those deliveries that were lost by a mistake in this program.
func (s *decodingSink) failure() error {
	if s.failed == 0 {
		return nil
	}
	return fmt.Errorf("a part of the input was not read, because kaudit failed inside (%d times): please report it", s.failed)
}

func (s *decodingSink) place(offset int) string {
	if len(source.Waits(s.input.sources[s.input.current.Load()])) > 0 {
		return s.source
	}
	return fmt.Sprintf("%s:%d", s.source, s.lines+1+bytes.Count(s.payload[:offset], []byte("\n")))
}

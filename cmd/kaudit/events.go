package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"kaudit/internal/config"
	"kaudit/pkg/audit"
	"kaudit/pkg/source"
	"kaudit/pkg/source/all"
)

// readEvents hands every event of a source to h, one after the other, until the source or ctx ends. where is what
// open_params of the plugin may be, settings what init_config may be.
func readEvents(ctx context.Context, where, settings string, log *slog.Logger, h audit.Handler) error {
	c, err := config.Parse(settings, all.Kinds(), log)
	if err != nil {
		return badInput{err}
	}
	src, err := c.Open(where, log)
	if err != nil {
		return badInput{err}
	}
	err = src.Run(ctx, &decodingSink{decoder: audit.Decoder{MaxEventSize: c.MaxEventSize}, to: h})
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil // it was asked to stop
	}
	return err
}

// A decodingSink decodes deliveries as they come, on the goroutine of the source. What it accepts has been evaluated.
type decodingSink struct {
	mu      sync.Mutex
	decoder audit.Decoder
	to      audit.Handler
}

// Deliver implements [source.Sink].
func (s *decodingSink) Deliver(_ context.Context, d source.Delivery) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.decoder.Cluster = d.Cluster
	s.decoder.Decode(d.Payload, d.Lines, s.to)
	if d.Done != nil {
		d.Done()
	}
	return nil
}

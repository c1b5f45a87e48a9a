package abi

/*
#include "abi.h"
#include <stdlib.h>
*/
import "C"

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/time/rate"
)

const (
	// linesPerSecond and linesAtOnce bound the log as a whole. Who writes much limits himself before; this is for mistakes.
	linesPerSecond = 10
	linesAtOnce    = 200
)

// A hostLog is the host's own logger, as long as the plugin object lives; then, the standard error.
type hostLog struct {
	mu     sync.RWMutex // the host must not be called when it has destroyed the object
	host   *C.init_input
	closed slog.Handler

	limit   *rate.Limiter
	dropped atomic.Uint64 // lines since the last one that was written
}

// newHostLog returns the host's logger, or nil if it has none. in is what init got; only what lives as long as the object
// is kept.
func newHostLog(in *C.init_input, afterwards slog.Handler) *hostLog {
	if C.host_has_log() == 0 || in.log == nil {
		return nil
	}
	l := &hostLog{closed: afterwards, limit: rate.NewLimiter(linesPerSecond, linesAtOnce)}
	l.host = (*C.init_input)(C.calloc(1, C.sizeof_init_input))
	l.host.owner, l.host.log = in.owner, in.log
	return l
}

// close ends the use of the host's logger.
func (l *hostLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	C.free(unsafe.Pointer(l.host))
	l.host = nil
}

func (l *hostLog) write(text string, level slog.Level) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.host == nil {
		return false
	}
	c := C.CString(text)
	defer C.free(unsafe.Pointer(c))
	C.host_log(l.host, c, severity(level))
	return true
}

func severity(level slog.Level) C.int32_t {
	switch {
	case level >= slog.LevelError:
		return C.LOG_ERROR
	case level >= slog.LevelWarn:
		return C.LOG_WARNING
	case level >= slog.LevelInfo:
		return C.LOG_INFO
	default:
		return C.LOG_DEBUG
	}
}

// handler returns a [slog.Handler] that writes to the host's logger: the message, then the attributes as slog writes
// them. Time and severity are the host's.
func (l *hostLog) handler() slog.Handler {
	return &hostHandler{log: l, attributes: func(h slog.Handler) slog.Handler { return h }}
}

type hostHandler struct {
	log        *hostLog
	attributes func(slog.Handler) slog.Handler // adds what With was given
}

// Enabled implements [slog.Handler]. The host has a level of its own.
func (h *hostHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

// Handle implements [slog.Handler].
func (h *hostHandler) Handle(ctx context.Context, r slog.Record) error {
	if !h.log.limit.Allow() {
		h.log.dropped.Add(1)
		return nil
	}
	if n := h.log.dropped.Swap(0); n > 0 {
		r.AddAttrs(slog.Uint64("lines left out before", n))
	}
	var b bytes.Buffer
	own := &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
			return slog.Attr{}
		}
		return a
	}}
	b.WriteString(r.Message)
	b.WriteByte(' ')
	if err := h.attributes(slog.NewTextHandler(&b, own)).Handle(ctx, r); err != nil {
		return err
	}
	if h.log.write(string(bytes.TrimSpace(b.Bytes())), r.Level) {
		return nil
	}
	return h.attributes(h.log.closed).Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h *hostHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup implements [slog.Handler].
func (h *hostHandler) WithGroup(name string) slog.Handler {
	return h.with(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *hostHandler) with(add func(slog.Handler) slog.Handler) slog.Handler {
	before := h.attributes
	return &hostHandler{h.log, func(to slog.Handler) slog.Handler { return add(before(to)) }}
}

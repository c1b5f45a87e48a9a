package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
)

// newLog makes a logger that tells people of warnings and errors, a line each.
func newLog(w io.Writer) *slog.Logger { return slog.New(&notes{out: w, mu: new(sync.Mutex)}) }

// notes is a [slog.Handler] for people: no time, no level, what belongs to a message in brackets behind it.
type notes struct {
	mu    *sync.Mutex
	out   io.Writer
	about []slog.Attr
}

// Enabled implements [slog.Handler].
func (n *notes) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements [slog.Handler].
func (n *notes) Handle(_ context.Context, r slog.Record) error {
	var about []string
	add := func(a slog.Attr) bool {
		about = append(about, a.Key+" "+plain(a.Value.String()))
		return true
	}
	for _, a := range n.about {
		add(a)
	}
	r.Attrs(add)
	line := "kaudit: " + plain(r.Message)
	if len(about) > 0 {
		line += " (" + strings.Join(about, ", ") + ")"
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	_, err := fmt.Fprintln(n.out, line)
	return err
}

// plain returns a text that stays on its line and does nothing to a terminal.
func plain(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) < 0 {
		return s
	}
	return strconv.Quote(s)
}

// WithAttrs implements [slog.Handler].
func (n *notes) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &notes{n.mu, n.out, append(n.about[:len(n.about):len(n.about)], attrs...)}
}

// WithGroup implements [slog.Handler]. Nobody here groups.
func (n *notes) WithGroup(string) slog.Handler { return n }

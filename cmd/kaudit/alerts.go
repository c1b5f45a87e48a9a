package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// alerts is an [audit.Handler] that evaluates rules on events and writes an alert for each one that holds. Alerts are
// passed on when a delivery ends, before it is acknowledged.
type alerts struct {
	engine   *rules.Engine
	matching rules.Matching
	render   func(dst []byte, m rules.Match) []byte
	out      *bufio.Writer
	place    func(offset int) string // of what is left out
	log      *slog.Logger

	tally tally
	event extract.Event
	line  []byte
	said  [audit.Reasons]rate.Sometimes
}

// Event implements [audit.Handler].
func (a *alerts) Event(e *audit.Event, stamp time.Time, marks audit.Marks) {
	a.tally.mark(marks)
	n := a.tally.events.Add(1)
	a.event.Reset(e)
	for _, m := range a.engine.Evaluate(rules.Event{Event: &a.event, Number: n, Time: uint64(stamp.UnixNano())}, a.matching) {
		a.tally.alert(m.Rule)
		a.line = append(a.render(a.line[:0], m), '\n')
		_, _ = a.out.Write(a.line) // Flush tells the error
	}
}

// Rejected implements [audit.Handler]. It says where, once for each reason, and for a source that does not end again
// every ten seconds at most; all are counted.
func (a *alerts) Rejected(why audit.Reason, offset, length int) {
	a.tally.rejected[why]++
	a.said[why].Do(func() {
		var about []any
		if n := a.tally.rejected[why]; n > 1 {
			about = append(about, "so far", n)
		}
		a.log.Warn(fmt.Sprintf("%s: left out %s: %s", a.place(offset), several(length, "byte"), why), about...)
	})
}

// Flush implements [flusher].
func (a *alerts) Flush() error { return a.out.Flush() }

// colours are those of priorities on a terminal.
var colours = [...]string{
	rules.Emergency: "1;31", rules.Alert: "1;31", rules.Critical: "1;31", rules.Error: red,
	rules.Warning: yellow, rules.Notice: cyan, rules.Informational: "0", rules.Debug: dim,
}

// appendForTerminal appends an alert as text for somebody at a terminal: what senders of requests chose cannot control
// the terminal or begin a line, and the priority may have a colour.
func appendForTerminal(dst, alert []byte, priority rules.Priority, colour bool) []byte {
	clock, rest, found := bytes.Cut(alert, []byte(": "+priority.String()+" "))
	if !found || !colour {
		return append(dst, rules.Printable(string(alert))...)
	}
	p := painter(true)
	dst = fmt.Appendf(dst, "%s %s ", p.in(dim, string(clock)+":"), p.in(colours[priority], priority.String()))
	return append(dst, rules.Printable(string(rest))...)
}

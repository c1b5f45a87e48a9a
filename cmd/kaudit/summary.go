package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"kaudit/pkg/audit"
	"kaudit/pkg/rules"
)

// A tally counts what came of events. The atomic counters may be read while it goes on.
type tally struct {
	events, alerts atomic.Uint64
	byRule         map[*rules.Rule]uint64
	rejected       [audit.Reasons]uint64
	marks          [len(markNames)]uint64
}

// markNames are those of marks on events, in the order of their bits.
var markNames = [...]string{"cut for their size", "salvaged from broken JSON", "without a time"}

func (t *tally) mark(marks audit.Marks) {
	for i := 0; marks != 0; i, marks = i+1, marks>>1 {
		t.marks[i] += uint64(marks & 1)
	}
}

func (t *tally) alert(r *rules.Rule) {
	if t.byRule == nil {
		t.byRule = make(map[*rules.Rule]uint64)
	}
	t.byRule[r]++
	t.alerts.Add(1)
}

// worst returns the highest priority of an alert. The zero of ok means there was none.
func (t *tally) worst() (p rules.Priority, ok bool) {
	for r := range t.byRule {
		if !ok || r.Priority < p {
			p, ok = r.Priority, true
		}
	}
	return p, ok
}

// left returns how many pieces of input were no events.
func (t *tally) left() (n uint64) {
	for _, r := range t.rejected {
		n += r
	}
	return n
}

// A summary is what is said at the end.
type summary struct {
	*tally
	bytes  uint64
	took   time.Duration
	live   bool              // the source waits for events: how many come in a second is not up to us
	counts map[string]uint64 // what the sources counted
}

func (s *summary) rate() float64 { return float64(s.events.Load()) / max(s.took.Seconds(), 1e-9) }

// rules returns the rules that held, the worst first, then those that held most often.
func (s *summary) rules() []*rules.Rule {
	list := make([]*rules.Rule, 0, len(s.byRule))
	for r := range s.byRule {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *rules.Rule) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(s.byRule[b], s.byRule[a]), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// writeText writes the summary for people.
func (s *summary) writeText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s in %s", several(s.events.Load(), "event"), size(s.bytes), short(s.took))
	if s.events.Load() > 0 && !s.live {
		fmt.Fprintf(&b, ", %.0f events/s", s.rate())
	}
	fmt.Fprintf(&b, ": %s\n", several(s.alerts.Load(), "alert"))
	for _, r := range s.rules() {
		fmt.Fprintf(&b, "%8d  %-13s  %s\n", s.byRule[r], r.Priority, r.Name)
	}
	var notes []string
	for i, n := range s.marks {
		if n > 0 {
			notes = append(notes, fmt.Sprintf("%d %s", n, markNames[i]))
		}
	}
	if notes != nil {
		fmt.Fprintf(&b, "among the events: %s\n", strings.Join(notes, ", "))
	}
	notes = nil
	for i, n := range s.rejected {
		if n > 0 {
			notes = append(notes, fmt.Sprintf("%d %s", n, audit.Reason(i)))
		}
	}
	if notes != nil {
		fmt.Fprintf(&b, "left out: %s\n", strings.Join(notes, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeJSON writes the summary for programs, on one line.
func (s *summary) writeJSON(w io.Writer) error {
	type count struct {
		Rule     string `json:"rule"`
		Priority string `json:"priority"`
		Alerts   uint64 `json:"alerts"`
	}
	object := struct {
		Events  uint64            `json:"events"`
		Bytes   uint64            `json:"bytes"`
		Seconds float64           `json:"seconds"`
		Alerts  uint64            `json:"alerts"`
		Rules   []count           `json:"rules"`
		Marks   map[string]uint64 `json:"marks"`
		LeftOut map[string]uint64 `json:"left_out"`
		Sources map[string]uint64 `json:"sources"`
	}{s.events.Load(), s.bytes, s.took.Seconds(), s.alerts.Load(), []count{}, map[string]uint64{}, map[string]uint64{}, s.counts}
	for _, r := range s.rules() {
		object.Rules = append(object.Rules, count{r.Name, r.Priority.String(), s.byRule[r]})
	}
	for i, n := range s.marks {
		if n > 0 {
			object.Marks[[...]string{"cut", "salvaged", "untimed"}[i]] = n
		}
	}
	for i, n := range s.rejected {
		if n > 0 {
			object.LeftOut[audit.Reason(i).String()] = n
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(map[string]any{"summary": object})
}

// several renders a number of things.
func several[N int | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func size(n uint64) string {
	switch {
	case n < 1e3:
		return several(n, "byte")
	case n < 1e6:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// short returns a duration without digits nobody reads.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return max(d.Round(time.Millisecond), time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

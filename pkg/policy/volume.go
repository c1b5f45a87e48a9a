package policy

import "kaudit/pkg/audit"

// A Volume is how much there is of events, and how much a policy would have left of them.
type Volume struct {
	Events     int `json:"events"`
	Bytes      int `json:"bytes"`
	EventsKept int `json:"events_kept"`
	BytesKept  int `json:"bytes_kept"`

	buffer []byte
}

// Add counts an event.
func (v *Volume) Add(p *Policy, e *audit.Event) {
	v.Events++
	v.Bytes += len(e.Raw())
	reduced, _, kept := p.Reduce(v.buffer[:0], e)
	if v.buffer = reduced; kept {
		v.EventsKept++
		v.BytesKept += len(reduced)
	}
}

// Shares returns the shares of events and bytes that are kept, from 0 to 1.
func (v *Volume) Shares() (events, bytes float64) {
	return float64(v.EventsKept) / float64(max(v.Events, 1)), float64(v.BytesKept) / float64(max(v.Bytes, 1))
}

package abi

/*
#include "abi.h"
#include <stdlib.h>
*/
import "C"

import (
	"sync/atomic"
	"unsafe"

	"kaudit/pkg/audit"
	"kaudit/pkg/source"
)

// A reading is one metric: its name, whether it goes up and down, and how to read it.
type reading struct {
	name  string
	gauge bool
	read  func(p *Plugin) uint64
}

// readings lists the metrics. The host puts the plugin's name before theirs.
var readings = []reading{
	{"events", false, func(p *Plugin) uint64 { return p.counters.Events.Load() }},
	{"event_bytes", false, func(p *Plugin) uint64 { return p.counters.EventBytes.Load() }},
	{"deliveries", false, func(p *Plugin) uint64 { return p.counters.Deliveries.Load() }},
	{"delivery_bytes", false, func(p *Plugin) uint64 { return p.counters.Bytes.Load() }},
	{"refused", false, func(p *Plugin) uint64 { return p.counters.Refused.Load() }},
	{"rejected_not_json", false, func(p *Plugin) uint64 { return p.counters.Rejected[audit.NotJSON].Load() }},
	{"rejected_not_audit", false, func(p *Plugin) uint64 { return p.counters.Rejected[audit.NotAudit].Load() }},
	{"rejected_broken", false, func(p *Plugin) uint64 { return p.counters.Rejected[audit.Broken].Load() }},
	{"cut", false, func(p *Plugin) uint64 { return p.counters.Cut.Load() }},
	{"salvaged", false, func(p *Plugin) uint64 { return p.counters.Salvaged.Load() }},
	{"untimed", false, func(p *Plugin) uint64 { return p.counters.Untimed.Load() }},
	{"failed", false, func(p *Plugin) uint64 { return p.counters.Failed.Load() }},
	{"queue_bytes", true, func(p *Plugin) uint64 { return uint64(max(0, p.counters.Queued.Load())) }},
	{"notices", false, func(p *Plugin) uint64 { return p.notices.raised.Load() }},
	{"notices_failed", false, func(p *Plugin) uint64 { return p.notices.failed.Load() }},
	{"questions", true, func(p *Plugin) uint64 { return uint64(len(p.questions.all())) }},
}

// maxMetrics is how many metrics there may be. Their memory never moves: a thread of the host may be reading it.
const maxMetrics = 256

// tally sums what the sources of a plugin object have counted: what open ones have counted so far, and what closed ones
// had at their end. Names keep the place they got first, so that a host may go by the position.
type tally struct {
	names  []*C.char // in C
	places map[string]int
	closed []uint64
	sums   []uint64
}

func (t *tally) place(name string) int {
	i, known := t.places[name]
	if !known {
		if t.places == nil {
			t.places = map[string]int{}
		}
		i = len(t.names)
		t.places[name] = i
		t.names = append(t.names, C.CString(name))
		t.closed = append(t.closed, 0)
		t.sums = append(t.sums, 0)
	}
	return i
}

// end keeps the counts of a source that is being closed.
func (t *tally) end(src source.Source) {
	if c, ok := src.(source.Counter); ok {
		c.Counts(func(name string, n uint64) { t.closed[t.place(name)] += n })
	}
}

func (t *tally) free() {
	for _, name := range t.names {
		C.free(unsafe.Pointer(name))
	}
	*t = tally{}
}

// measure fills p.metrics with all metrics. The caller holds p.mu.
func (p *Plugin) measure() []C.metric {
	t := &p.tally
	if len(t.names) == 0 {
		for _, r := range readings {
			t.place(r.name)
		}
	}
	copy(t.sums, t.closed)
	for i := range p.instances {
		if c, ok := i.source.(source.Counter); ok {
			c.Counts(func(name string, n uint64) { t.sums[t.place(name)] += n })
		}
	}
	for i, r := range readings {
		t.sums[i] = r.read(p)
	}
	if p.metrics == nil {
		m := C.calloc(maxMetrics, C.sizeof_metric)
		p.metrics = unsafe.Slice((*C.metric)(m), maxMetrics)
	}
	n := min(len(t.names), maxMetrics)
	for i := range n {
		m := &p.metrics[i]
		m.name, m.value_type = t.names[i], C.METRIC_U64
		if i < len(readings) && readings[i].gauge {
			m._type = C.METRIC_GAUGE
		}
		// Another thread may be reading what this one writes: whole numbers at least.
		atomic.StoreUint64((*uint64)(unsafe.Pointer(&m.value)), t.sums[i])
	}
	return p.metrics[:n]
}

//export kauditMetrics
func kauditMetrics(handle C.uintptr_t, count *C.uint32_t) *C.metric {
	*count = 0
	p := pluginOf(handle)
	if p == nil {
		return nil
	}
	defer guard("get_metrics", p, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.measure()
	*count = C.uint32_t(len(m))
	return unsafe.SliceData(m)
}

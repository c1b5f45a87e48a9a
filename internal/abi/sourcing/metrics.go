package sourcing

/*
#include "../abi.h"
#include <stdlib.h>
*/
import "C"

import (
	"sync/atomic"
	"time"
	"unsafe"

	"kaudit/internal/endpoint"
	"kaudit/internal/metric"
	"kaudit/internal/noise"
	"kaudit/pkg/audit"
	"kaudit/pkg/source"
)

// readers say how to read the metrics of a plugin object, in the order of [metric.Plugin]. A row with reasons has one for
// each.
var readers = []struct {
	name string
	read func(p *Plugin) uint64
}{
	{"events", func(p *Plugin) uint64 { return p.counters.Events.Load() }},
	{"event_bytes", func(p *Plugin) uint64 { return p.counters.EventBytes.Load() }},
	{"deliveries", func(p *Plugin) uint64 { return p.counters.Deliveries.Load() }},
	{"delivery_bytes", func(p *Plugin) uint64 { return p.counters.Bytes.Load() }},
	{"evaluated", func(p *Plugin) uint64 { return p.counters.Evaluated.Load() }},
	{"refused", func(p *Plugin) uint64 { return p.counters.Refused.Load() }},
	{"rejected_not_json", func(p *Plugin) uint64 { return p.counters.Rejected[audit.NotJSON].Load() }},
	{"rejected_not_audit", func(p *Plugin) uint64 { return p.counters.Rejected[audit.NotAudit].Load() }},
	{"rejected_broken", func(p *Plugin) uint64 { return p.counters.Rejected[audit.Broken].Load() }},
	{"cut", func(p *Plugin) uint64 { return p.counters.Cut.Load() }},
	{"salvaged", func(p *Plugin) uint64 { return p.counters.Salvaged.Load() }},
	{"untimed", func(p *Plugin) uint64 { return p.counters.Untimed.Load() }},
	{"noise_dropped_lease", func(p *Plugin) uint64 { return p.counters.Dropped[noise.Lease].Load() }},
	{"noise_dropped_probe", func(p *Plugin) uint64 { return p.counters.Dropped[noise.Probe].Load() }},
	{"noise_dropped_node_status", func(p *Plugin) uint64 { return p.counters.Dropped[noise.NodeStatus].Load() }},
	{"failed", func(p *Plugin) uint64 { return p.counters.Failed.Load() + p.Lost.Load() }},
	{"notices", func(p *Plugin) uint64 { return p.notices.raised.Load() }},
	{"notices_failed", func(p *Plugin) uint64 { return p.notices.failed.Load() }},
	{"queue_bytes", func(p *Plugin) uint64 { return uint64(max(0, p.counters.Queued.Load())) }},
	{"oldest_ms", (*Plugin).oldest},
	{"lag_ms", func(p *Plugin) uint64 { return uint64(time.Duration(p.counters.Lag.Load()).Milliseconds()) }},
	{"questions", func(p *Plugin) uint64 { return uint64(p.Questions()) }},
}

// oldest returns the age of the oldest delivery of any instance, in milliseconds. The caller holds p.mu.
func (p *Plugin) oldest() uint64 {
	var age time.Duration
	for i := range p.instances {
		age = max(age, i.stream.Oldest())
	}
	return uint64(age.Milliseconds())
}

// maxMetrics is how many metrics there may be. Their memory never moves: a thread of the host may be reading it.
const maxMetrics = 1 << 12

// newTally sums what the sources of a plugin object have counted: what open ones have counted so far, and what closed ones
// had at their end. It has the plugin's own metrics first, as in readers, and a host may go by the position.
func newTally() (t metric.Tally) {
	for _, r := range readers {
		t.Add(r.name, 0)
	}
	return t
}

// sum brings the tally up to date. The caller holds p.mu.
func (p *Plugin) sum() []metric.Sum {
	t := &p.tally
	t.Begin()
	for _, r := range readers {
		t.Add(r.name, r.read(p))
	}
	for i := range p.instances {
		if c, ok := i.source.(source.Counter); ok {
			c.Counts(t.Add)
		}
	}
	return t.Sums()
}

// measure fills p.metrics with all metrics. The caller holds p.mu.
func (p *Plugin) measure() []C.metric {
	sums := p.sum()
	if p.metrics == nil {
		m := C.calloc(maxMetrics, C.sizeof_metric)
		p.metrics = unsafe.Slice((*C.metric)(m), maxMetrics)
	}
	n := min(len(sums), maxMetrics)
	for i, sum := range sums[:n] {
		m := &p.metrics[i]
		if m.name == nil {
			m.name, m.value_type = C.CString(sum.Name), C.METRIC_U64
			if sum.Gauge {
				m._type = C.METRIC_GAUGE
			}
		}
		// Another thread may be reading what this one writes: whole numbers at least.
		atomic.StoreUint64((*uint64)(unsafe.Pointer(&m.value)), sum.N)
	}
	return p.metrics[:n]
}

// show shows metrics for one more instance.
func (p *Plugin) show() error {
	p.shown.Lock()
	defer p.shown.Unlock()
	if p.endpoint == nil && p.cfg.MetricsListen != "" {
		e, err := endpoint.Open(endpoint.Config{Listen: p.cfg.MetricsListen, Read: p.readings, Clusters: p.cfg.Clusters, Log: p.Log})
		if err != nil {
			return err
		}
		p.endpoint = e
	}
	p.showing++
	return nil
}

// hide shows them for one less. The caller does not hold p.mu: it waits for those who read.
func (p *Plugin) hide() {
	p.shown.Lock()
	defer p.shown.Unlock()
	if p.showing--; p.showing > 0 || p.endpoint == nil {
		return
	}
	if err := p.endpoint.Close(); err != nil {
		p.Log.Error("closing the endpoint for metrics", "error", err)
	}
	p.endpoint = nil
}

// readings calls yield for each metric, for the endpoint.
func (p *Plugin) readings(yield func(name string, n uint64)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sum := range p.sum() {
		yield(sum.Name, sum.N)
	}
}

//export kauditMetrics
func kauditMetrics(handle C.uintptr_t, count *C.uint32_t) *C.metric {
	*count = 0
	p := pluginOf(handle)
	if p == nil {
		return nil
	}
	defer p.Guard("get_metrics", nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.measure()
	*count = C.uint32_t(len(m))
	return unsafe.SliceData(m)
}

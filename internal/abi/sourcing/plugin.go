package sourcing

/*
#include "../abi.h"
#include <stdlib.h>
*/
import "C"

import (
	"sync"
	"unsafe"

	"github.com/falcosecurity/plugin-sdk-go/pkg/cgo"
	"github.com/falcosecurity/plugin-sdk-go/pkg/ptr"
	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk"

	"kaudit/internal/abi"
	"kaudit/internal/endpoint"
	"kaudit/internal/metric"
	"kaudit/internal/stream"
	"kaudit/pkg/source"
)

// Config is what a plugin object is made of.
type Config struct {
	abi.Config
	// Open makes a source from the host's open parameters.
	Open func(params string, env source.Env) (source.Source, error)
	// OpenParams lists open parameters people may choose from.
	OpenParams []source.Example
	// MaxEventSize, DropNoise and QueueBytes are as in [stream.Config].
	MaxEventSize int
	DropNoise    bool
	QueueBytes   int64
	// MetricsListen is where metrics are shown while an instance is open; empty means nowhere. Clusters are the clusters
	// that sources are for, by their names.
	MetricsListen string
	Clusters      map[string]string
}

// A Plugin is one plugin object of the host that has events of its own.
type Plugin struct {
	*abi.Plugin
	cfg      Config
	counters stream.Counters
	notices  *notices

	mu        sync.Mutex // instances are opened, closed, read and counted from several threads
	instances map[*instance]bool
	metrics   []C.metric // in C
	tally     metric.Tally

	shown    sync.Mutex // held while the endpoint is opened and closed
	endpoint *endpoint.Endpoint
	showing  int // how many open instances it is for

	paramsText ptr.StringBuffer
}

// New makes a plugin object. It has no effect on anything outside it: the host calls init a second time for a dry run.
func New(cfg Config) *Plugin {
	return &Plugin{
		Plugin:    abi.New(cfg.Config),
		cfg:       cfg,
		notices:   newNotices(cfg.Log),
		instances: map[*instance]bool{},
		tally:     newTally(),
	}
}

// Destroy implements [abi.Object]. Instances the host forgot to close are closed.
func (p *Plugin) Destroy() {
	p.mu.Lock()
	open := p.instances
	p.instances = nil
	p.mu.Unlock()
	for i := range open {
		i.end()
	}
	p.notices.set(nil, nil)
	for i := 0; i < len(p.metrics) && p.metrics[i].name != nil; i++ {
		C.free(unsafe.Pointer(p.metrics[i].name))
	}
	C.free(unsafe.Pointer(unsafe.SliceData(p.metrics)))
	p.metrics = nil
	p.paramsText.Free()
	p.Plugin.Destroy()
}

// OpenParams implements [sdk.OpenParams].
func (p *Plugin) OpenParams() ([]sdk.OpenParam, error) {
	var list []sdk.OpenParam
	for _, e := range p.cfg.OpenParams {
		list = append(list, sdk.OpenParam{Value: e.Open, Desc: e.Doc})
	}
	return list, nil
}

// OpenParamsBuffer implements [sdk.OpenParamsBuffer].
func (p *Plugin) OpenParamsBuffer() sdk.StringBuffer { return &p.paramsText }

// pluginOf returns the plugin object behind a handle, or nil.
func pluginOf(handle C.uintptr_t) (p *Plugin) {
	defer func() { _ = recover() }() // the SDK panics on handles it did not give out
	p, _ = cgo.Handle(handle).Value().(*Plugin)
	return p
}

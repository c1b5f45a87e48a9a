package abi

/*
#include "abi.h"
#include <stdlib.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"unsafe"

	"github.com/falcosecurity/plugin-sdk-go/pkg/cgo"
	"github.com/falcosecurity/plugin-sdk-go/pkg/ptr"
	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk"

	"kaudit/internal/stream"
	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/source"
)

// Config is what a plugin object is made of.
type Config struct {
	// Fields is the table of fields.
	Fields extract.Table
	// Open makes a source from the host's open parameters.
	Open func(params string, log *slog.Logger) (source.Source, error)
	// OpenParams lists open parameters people may choose from.
	OpenParams []source.Example
	// MaxEventSize and QueueBytes are as in [stream.Config].
	MaxEventSize int
	QueueBytes   int64
	// Log takes what an operator should know.
	Log *slog.Logger
}

// A Plugin is one plugin object of the host: what init makes and destroy ends.
type Plugin struct {
	cfg       Config
	counters  stream.Counters
	questions *questions
	c         *C.plugin
	late      lateAnswers

	mu        sync.Mutex // instances are opened, closed and counted from several threads
	instances map[*instance]bool
	metrics   []C.metric // in C
	tally     tally

	lastErr    error
	errText    ptr.StringBuffer
	paramsText ptr.StringBuffer
}

// New makes a plugin object. It has no effect on anything outside it: the host calls init a second time for a dry run.
func New(cfg Config) *Plugin {
	return &Plugin{
		cfg:       cfg,
		questions: newQuestions(cfg.Fields),
		c:         C.plugin_new(C.uint32_t(len(cfg.Fields))),
		instances: map[*instance]bool{},
		lastErr:   errors.New("no error"),
	}
}

// Destroy implements [sdk.Destroyer]. Instances the host forgot to close are closed.
func (p *Plugin) Destroy() {
	p.mu.Lock()
	open := p.instances
	p.instances = nil
	p.mu.Unlock()
	for i := range open {
		i.close()
	}
	C.plugin_free(p.c)
	C.free(unsafe.Pointer(unsafe.SliceData(p.metrics)))
	p.tally.free()
	p.c, p.metrics = nil, nil
	p.paramsText.Free()
}

// LastError implements [sdk.LastError].
func (p *Plugin) LastError() error { return p.lastErr }

// SetLastError implements [sdk.LastError].
func (p *Plugin) SetLastError(err error) { p.lastErr = err }

// LastErrorBuffer implements [sdk.LastErrorBuffer].
func (p *Plugin) LastErrorBuffer() sdk.StringBuffer { return &p.errText }

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

//export kauditBind
func kauditBind(handle C.uintptr_t) {
	if p := pluginOf(handle); p != nil {
		C.plugin_attach(handle, p.c)
	}
}

// lateAnswers is what answers questions on the host's thread.
type lateAnswers struct {
	event   audit.Event
	encoder encoder
	size    int // of the last table
}

//export kauditAnswer
func kauditAnswer(handle C.uintptr_t, payload *C.char, length C.uint64_t, field, present C.uint32_t, index C.uint64_t, key *C.char, known C.int32_t, late **C.piece) (table *C.table) {
	p := pluginOf(handle)
	if p == nil {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			p.counters.Failed.Add(1)
			p.late = lateAnswers{}
			p.cfg.Log.Error("answering a question failed inside", "field", int(field), "panic", r, "stack", string(debug.Stack()))
			table = nil
		}
	}()
	if known == 0 && !p.learn(field, present, index, key) {
		return nil
	}
	return p.answer(unsafe.Slice((*byte)(unsafe.Pointer(payload)), int(length)), late)
}

// learn adds a question to the list.
func (p *Plugin) learn(field, present C.uint32_t, index C.uint64_t, key *C.char) bool {
	if int(field) >= len(p.cfg.Fields) || len(p.questions.all()) >= maxQuestions {
		return false
	}
	a := extract.Argument{Present: present != 0}
	if a.Present {
		a.Index, a.Key = int(min(index, 1<<31-1)), C.GoString(key)
	}
	p.questions.add(int(field), a, p.cfg.Log)
	C.question_add(p.c, field, present, index, key)
	return true
}

// answer makes a table for an event, in memory of its own that joins the list late.
func (p *Plugin) answer(payload []byte, late **C.piece) *C.table {
	l := &p.late
	if !l.event.Load(payload) {
		l.event.Load([]byte("{}")) // not an audit event: nothing has an answer
	}
	for size := max(16<<10, l.size+l.size/4); ; size *= 2 {
		piece := C.piece_new(C.uint64_t(size))
		if piece == nil {
			return nil
		}
		data := unsafe.Add(unsafe.Pointer(piece), C.sizeof_piece)
		b := block{mem: unsafe.Slice((*byte)(data), size), base: uintptr(data)}
		at, ok := l.encoder.table(&b, &l.event, p.questions.all())
		if !ok {
			C.free(unsafe.Pointer(piece))
			continue
		}
		l.size = min(b.used, 1<<20)
		piece.next = *late
		*late = piece
		return (*C.table)(unsafe.Pointer(&b.mem[at]))
	}
}

// failed notes an error for the host to fetch.
func (p *Plugin) failed(err error) C.int32_t {
	p.SetLastError(err)
	return C.RC_FAILURE
}

func guard(what string, p *Plugin, rc *C.int32_t) {
	if r := recover(); r != nil {
		p.cfg.Log.Error(what+" failed inside", "panic", r, "stack", string(debug.Stack()))
		*rc = p.failed(fmt.Errorf("%s failed inside: %v", what, r))
	}
}

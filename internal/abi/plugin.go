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
	"time"
	"unsafe"

	"github.com/falcosecurity/plugin-sdk-go/pkg/cgo"
	"github.com/falcosecurity/plugin-sdk-go/pkg/ptr"
	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk"
	"golang.org/x/time/rate"

	"kaudit/internal/endpoint"
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
	Open func(params string, env source.Env) (source.Source, error)
	// OpenParams lists open parameters people may choose from.
	OpenParams []source.Example
	// MaxEventSize and QueueBytes are as in [stream.Config].
	MaxEventSize int
	QueueBytes   int64
	// Log takes what an operator should know.
	Log *slog.Logger
	// MetricsListen is where metrics are shown while an instance is open; empty means nowhere. Clusters are the clusters
	// that sources are for, by their names.
	MetricsListen string
	Clusters      map[string]string
	// LogToStderr says that the host's logger is not to be used from now on.
	LogToStderr bool
}

// A Plugin is one plugin object of the host: what init makes and destroy ends.
type Plugin struct {
	cfg       Config
	counters  stream.Counters
	questions *questions
	c         *C.plugin
	late      lateAnswers
	notices   *notices
	hostLog   *hostLog // nil if the host has none

	sometimes, tooMany rate.Sometimes // for logs that somebody could fill

	mu        sync.Mutex // instances are opened, closed, read and counted from several threads
	instances map[*instance]bool
	metrics   []C.metric // in C
	tally     tally
	lastErr   error

	shown    sync.Mutex // held while the endpoint is opened and closed
	endpoint *endpoint.Endpoint
	showing  int // how many open instances it is for

	errText    ptr.StringBuffer
	paramsText ptr.StringBuffer
}

// New makes a plugin object. It has no effect on anything outside it: the host calls init a second time for a dry run.
func New(cfg Config) *Plugin {
	p := &Plugin{
		cfg:       cfg,
		questions: newQuestions(cfg.Fields),
		c:         C.plugin_new(C.uint32_t(len(cfg.Fields))),
		instances: map[*instance]bool{},
		tally:     newTally(),
		lastErr:   errors.New("no error"),
		sometimes: rate.Sometimes{Interval: 10 * time.Second},
		tooMany:   rate.Sometimes{Interval: 10 * time.Minute},
	}
	p.late.encoder.failed = p.answerFailed
	p.notices = newNotices(cfg.Log)
	return p
}

// destroy ends the object. Instances the host forgot to close are closed.
func (p *Plugin) destroy() {
	defer guard("destroy", p, nil)
	p.mu.Lock()
	open := p.instances
	p.instances = nil
	p.mu.Unlock()
	for i := range open {
		i.end()
	}
	p.notices.set(nil, nil)
	C.plugin_free(p.c)
	C.free(unsafe.Pointer(unsafe.SliceData(p.metrics)))
	p.tally.free()
	p.c, p.metrics = nil, nil
	p.paramsText.Free()
	p.errText.Free()
	if p.hostLog != nil {
		p.hostLog.close()
	}
}

// LastError implements [sdk.LastError].
func (p *Plugin) LastError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lastErr
}

// SetLastError implements [sdk.LastError].
func (p *Plugin) SetLastError(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lastErr = err
}

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
}

//export kauditAnswer
func kauditAnswer(
	handle C.uintptr_t, typ C.uint32_t, payload *C.char, length C.uint64_t,
	field, present C.uint32_t, index C.uint64_t, key *C.char, known C.int32_t,
	before *C.table, late **C.piece,
) (table *C.table) {
	p := pluginOf(handle)
	if p == nil {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			p.answerFailed(nil, r)
			p.late = lateAnswers{encoder: encoder{failed: p.answerFailed}}
			table = nil
		}
	}()
	if known == 0 && !p.learn(field, present, index, key) {
		return nil
	}
	return p.answer(typ, unsafe.Slice((*byte)(unsafe.Pointer(payload)), int(length)), before, late)
}

// learn adds a question to the list.
func (p *Plugin) learn(field, present C.uint32_t, index C.uint64_t, key *C.char) bool {
	if int(field) >= len(p.cfg.Fields) {
		return false
	}
	if len(p.questions.all()) >= maxQuestions {
		p.tooMany.Do(func() {
			p.cfg.Log.Error("the rules ask for too many different fields and arguments; the rest has no answer", "limit", maxQuestions)
		})
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

// answer completes the table of an event: it answers the questions that the table before does not.
func (p *Plugin) answer(typ C.uint32_t, payload []byte, before *C.table, late **C.piece) *C.table {
	l := &p.late
	is := l.event.IsAudit // a sender could write what looks like a notice, but only the host makes events of that type
	if typ == C.ASYNC_EVENT_TYPE {
		is = l.event.IsNotice
	}
	if !l.event.Load(payload) || !is() {
		l.event.Load([]byte("{}")) // nothing has an answer
	}
	l.encoder.event.Reset(&l.event)
	questions := p.questions.all()
	t := before
	if t == nil || int(t.cap) < len(questions) {
		if t = widen(before, len(questions), late); t == nil {
			return nil
		}
	}
	to := slots(unsafe.Pointer(t), len(questions))
	for n := int(t.n); n < len(questions); n = int(t.n) {
		b := room(*late)
		done := l.encoder.answer(&b, to[n:], questions[n:])
		(*late).used = C.uint64_t(b.used)
		t.n += C.uint32_t(done)
		if done == 0 && !more(late, 1) {
			break
		}
	}
	return t
}

// pieceSize is the memory of the first piece.
const pieceSize = 16 << 10

// more adds a piece to the list that has room for at least n bytes, and for more than the newest one has left.
func more(late **C.piece, n int) bool {
	size := max(pieceSize, n)
	switch newest := *late; {
	case newest == nil:
	case newest.used == 0: // it was too small for one answer
		size = max(size, 2*int(newest.size))
		C.piece_drop(late)
	default:
		size = max(size, min(2*int(newest.size), blockSize))
	}
	return C.piece_new(C.uint64_t(size), late) != nil
}

// room returns what is left of a piece, as a block.
func room(p *C.piece) block {
	data := unsafe.Add(unsafe.Pointer(p), C.sizeof_piece)
	return block{mem: unsafe.Slice((*byte)(data), int(p.size)), base: uintptr(data), used: int(p.used)}
}

// widen returns a table with the answers of the one before and room for n and, since where one rule asks something new
// others will, for some more.
func widen(before *C.table, n int, late **C.piece) *C.table {
	capacity := n + n/2 + 16
	size := tableSize + capacity*slotSize
	for {
		if *late != nil {
			b := room(*late)
			if at, ok := b.reserve(size); ok {
				(*late).used = C.uint64_t(b.used)
				t := (*C.table)(unsafe.Pointer(&b.mem[at]))
				t.n, t.cap = 0, C.uint32_t(capacity)
				if before != nil {
					t.n = before.n
					copy(slots(unsafe.Pointer(t), int(t.n)), slots(unsafe.Pointer(before), int(t.n)))
				}
				return t
			}
		}
		if !more(late, size) {
			return nil
		}
	}
}

// answerFailed notes that a question could not be answered for a mistake in this program.
func (p *Plugin) answerFailed(q *extract.Question, why any) {
	p.counters.Failed.Add(1)
	p.sometimes.Do(func() {
		field := "?"
		if q != nil && q.Field != nil {
			field = q.Field.Name
		}
		p.cfg.Log.Error("answering a question failed inside", "field", field, "panic", why, "stack", string(debug.Stack()))
	})
}

// failed notes an error for the host to fetch.
func (p *Plugin) failed(err error) C.int32_t {
	p.SetLastError(err)
	return C.RC_FAILURE
}

// guard is deferred where the host calls: a panic becomes the call's error, if the call has one to give.
func guard(what string, p *Plugin, rc *C.int32_t) {
	if r := recover(); r != nil {
		p.cfg.Log.Error(what+" failed inside", "panic", r, "stack", string(debug.Stack()))
		if rc != nil {
			*rc = p.failed(fmt.Errorf("%s failed inside: %v", what, r))
		}
	}
}

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
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/falcosecurity/plugin-sdk-go/pkg/cgo"
	"github.com/falcosecurity/plugin-sdk-go/pkg/ptr"
	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk"
	"golang.org/x/time/rate"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
)

// Config is what a plugin object is made of.
type Config struct {
	// Fields is the table of fields.
	Fields extract.Table
	// AnyJSON says that they are asked of any JSON, of whatever source, and not of audit events.
	AnyJSON bool
	// Log takes what an operator should know.
	Log *slog.Logger
	// LogToStderr says that the host's logger is not to be used from now on.
	LogToStderr bool
}

// A Plugin is one plugin object of the host: what init makes and destroy ends. It answers questions about events; one that
// has events of its own, too, embeds it (package sourcing).
type Plugin struct {
	Log *slog.Logger
	// Lost counts the answers that were lost to a mistake in this program.
	Lost atomic.Uint64

	cfg       Config
	questions *questions
	c         *C.plugin
	late      lateAnswers
	hostLog   *hostLog // nil if the host has none

	sometimes, tooMany rate.Sometimes // for logs that somebody could fill

	mu      sync.Mutex
	lastErr error
	errText ptr.StringBuffer
}

// An Object is what init makes of a host's configuration: a [Plugin], or what embeds one.
type Object interface {
	base() *Plugin
	// Destroy ends the object.
	Destroy()
}

// New makes a plugin object. It has no effect on anything outside it: the host calls init a second time for a dry run.
func New(cfg Config) *Plugin {
	p := &Plugin{
		Log:       cfg.Log,
		cfg:       cfg,
		questions: newQuestions(cfg.Fields),
		c:         C.plugin_new(C.uint32_t(len(cfg.Fields))),
		lastErr:   errors.New("no error"),
		sometimes: rate.Sometimes{Interval: 10 * time.Second},
		tooMany:   rate.Sometimes{Interval: 10 * time.Minute},
	}
	p.late.encoder.failed = p.answerFailed
	return p
}

func (p *Plugin) base() *Plugin { return p }

// Destroy implements [Object].
func (p *Plugin) Destroy() {
	C.plugin_free(p.c)
	p.c = nil
	p.errText.Free()
	if p.hostLog != nil {
		p.hostLog.close()
	}
}

// Questions returns how many questions rules have asked.
func (p *Plugin) Questions() int { return len(p.questions.all()) }

// NewBatch makes memory for events, and for the answers to what rules ask of them.
func (p *Plugin) NewBatch() *Batch { return newBatch(p.questions, p.answerFailed) }

// A View is where the host's events are: those of the batch it was handed last. The host's thread uses it.
type View struct {
	plugin *C.plugin
	c      *C.view // nil if there are too many: the events are answered as if they came from elsewhere
}

// NewView makes one.
func (p *Plugin) NewView() View { return View{p.c, C.view_new(p.c)} }

// Show says that the host has been handed a batch, or, with nil, that it is done with the one before.
func (v View) Show(b *Batch) {
	if v.c == nil {
		return
	}
	var from, to unsafe.Pointer
	if b != nil {
		from = unsafe.Pointer(unsafe.SliceData(b.mem))
		to = unsafe.Add(from, b.used)
	}
	C.view_set(v.c, (*C.char)(from), (*C.char)(to))
}

// Close ends it.
func (v View) Close() {
	if v.c != nil {
		C.view_free(v.plugin, v.c)
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

// pluginOf returns the plugin object behind a handle, or nil.
func pluginOf(handle C.uintptr_t) (p *Plugin) {
	defer func() { _ = recover() }() // the SDK panics on handles it did not give out
	if o, ok := cgo.Handle(handle).Value().(Object); ok {
		p = o.base()
	}
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
	loaded  uint64 // the number of the foreign event that is loaded, or 0
}

//export kauditAnswer
func kauditAnswer(
	handle C.uintptr_t, foreign C.uint64_t, typ C.uint32_t, stamp C.uint64_t, payload *C.char, length C.uint64_t,
	field, present C.uint32_t, index C.uint64_t, key *C.char, known C.int64_t,
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
	asked := int(known)
	if asked < 0 {
		if !p.learn(field, present, index, key) {
			return nil
		}
		asked = p.Questions() - 1
	}
	if l := &p.late; foreign == 0 || l.loaded != uint64(foreign) {
		l.loaded = 0 // in case it fails
		p.load(typ, uint64(stamp), unsafe.Slice((*byte)(unsafe.Pointer(payload)), int(length)))
		l.loaded = uint64(foreign)
	}
	t := before
	if n := p.Questions(); t == nil || int(t.cap) < n {
		if t = widen(before, n, late); t == nil {
			return nil
		}
	}
	if foreign == 0 {
		p.answerAll(t, late)
	} else {
		p.answerSome(t, asked, uint64(foreign), late)
	}
	return t
}

// load makes the event the one that questions are asked of.
func (p *Plugin) load(typ C.uint32_t, stamp uint64, payload []byte) {
	l := &p.late
	if p.cfg.AnyJSON {
		l.encoder.event.ResetJSON(payload, stamp)
		return
	}
	is := l.event.IsAudit // a sender could write what looks like a notice, but only the host makes events of that type
	if typ == C.ASYNC_EVENT_TYPE {
		is = l.event.IsNotice
	}
	if !l.event.Load(payload) || !is() {
		l.event.Load([]byte("{}")) // nothing has an answer
	}
	l.encoder.event.Reset(&l.event)
}

// learn adds a question to the list.
func (p *Plugin) learn(field, present C.uint32_t, index C.uint64_t, key *C.char) bool {
	if int(field) >= len(p.cfg.Fields) {
		return false
	}
	if len(p.questions.all()) >= maxQuestions {
		p.tooMany.Do(func() {
			p.Log.Error("the rules ask for too many different fields and arguments; the rest has no answer", "limit", maxQuestions)
		})
		return false
	}
	a := extract.Argument{Present: present != 0}
	if a.Present {
		a.Index, a.Key = int(min(index, 1<<31-1)), C.GoString(key)
	}
	p.questions.add(int(field), a, p.Log)
	C.question_add(p.c, field, present, index, key)
	return true
}

// answerAll completes a table: it answers the questions that it does not.
func (p *Plugin) answerAll(t *C.table, late **C.piece) {
	questions := p.questions.all()
	to := slots(unsafe.Pointer(t), len(questions))
	t.n += C.uint32_t(p.fill(to[t.n:], questions[t.n:], late))
}

// lately is for how many foreign events a question is answered in advance after it was asked. Rules ask some of their
// questions of every event, and those of their outputs of few: these may be for the whole of an event, and cost more.
const lately = 8

// answerSome answers the question that is asked, and those that are likely to be.
func (p *Plugin) answerSome(t *C.table, asked int, event uint64, late **C.piece) {
	questions := p.questions.all()
	to := slots(unsafe.Pointer(t), len(questions))
	for i := int(t.n); i < len(to); i++ {
		to[i] = slot{n: C.LATER}
	}
	t.n = C.uint32_t(len(to))
	known := unsafe.Slice(p.c.questions, len(to))
	for i := range to {
		if to[i].n != C.LATER || i != asked && uint32(event)-uint32(known[i].asked) > lately {
			continue
		}
		p.fill(to[i:i+1], questions[i:i+1], late)
	}
}

// fill answers questions, one after the other, and returns how many: all, if there is memory.
func (p *Plugin) fill(to []slot, questions []extract.Question, late **C.piece) (n int) {
	for n < len(questions) {
		b := room(*late)
		done := p.late.encoder.answer(&b, to[n:], questions[n:])
		(*late).used = C.uint64_t(b.used)
		n += done
		if done == 0 && !more(late, 1) {
			break
		}
	}
	return n
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
	p.Lost.Add(1)
	p.sometimes.Do(func() {
		field := "?"
		if q != nil && q.Field != nil {
			field = q.Field.Name
		}
		p.Log.Error("answering a question failed inside", "field", field, "panic", why, "stack", string(debug.Stack()))
	})
}

// Fail notes an error for the host to fetch, and returns what tells the host of one.
func (p *Plugin) Fail(err error) int32 {
	p.SetLastError(err)
	return C.RC_FAILURE
}

// Guard is deferred where the host calls: a panic becomes the call's error, if the call has one to give.
func (p *Plugin) Guard(what string, rc *int32) {
	if r := recover(); r != nil {
		p.Log.Error(what+" failed inside", "panic", r, "stack", string(debug.Stack()))
		if rc != nil {
			*rc = p.Fail(fmt.Errorf("%s failed inside: %v", what, r))
		}
	}
}

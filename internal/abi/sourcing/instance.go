package sourcing

/*
#include "../abi.h"
*/
import "C"

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/falcosecurity/plugin-sdk-go/pkg/cgo"
	"github.com/falcosecurity/plugin-sdk-go/pkg/ptr"
	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk"

	"kaudit/internal/abi"
	"kaudit/internal/stream"
	"kaudit/pkg/source"
)

// patience is how long next_batch waits for an event. The host looks at its signals, and for notices, in between, so it
// must be short; each return wakes several threads of both sides, so not shorter than a signal may wait.
const patience = 400 * time.Millisecond

// An instance is one open source: what open makes and close ends.
type instance struct {
	plugin   *Plugin
	handle   cgo.Handle
	source   source.Source
	stream   *stream.Stream
	view     abi.View
	progress ptr.StringBuffer

	mu     sync.Mutex // next_batch and close may come from two threads; the memory must outlive the call
	closed bool
}

var errClosed = errors.New("next_batch: the instance is closed")

//export plugin_open
func plugin_open(handle C.uintptr_t, params *C.char, rc *int32) (opened C.uintptr_t) {
	*rc = C.RC_FAILURE
	p := pluginOf(handle)
	if p == nil {
		return 0
	}
	defer p.Guard("open", rc)
	i := &instance{plugin: p}
	i.handle = cgo.NewHandle(i) // it panics if there are too many: before a port is taken
	defer func() {
		if opened == 0 {
			i.handle.Delete()
		}
	}()
	if err := p.show(); err != nil {
		*rc = p.Fail(err)
		return 0
	}
	defer func() {
		if opened == 0 {
			p.hide()
		}
	}()
	src, err := p.cfg.Open(C.GoString(params), source.Env{Log: p.Log, Notify: p.notices.raise})
	if err != nil {
		*rc = p.Fail(err)
		return 0
	}
	i.source, i.view = src, p.NewView()
	i.stream = stream.Open(src, stream.Config{
		NewBatch:     func() stream.Batch { return p.NewBatch() },
		MaxEventSize: p.cfg.MaxEventSize,
		DropNoise:    p.cfg.DropNoise,
		QueueBytes:   p.cfg.QueueBytes,
		Counters:     &p.counters,
		Log:          p.Log,
		Notify:       p.notices.raise,
	})
	p.mu.Lock()
	p.instances[i] = true
	p.mu.Unlock()
	*rc = C.RC_SUCCESS
	return C.uintptr_t(i.handle)
}

func instanceOf(handle C.uintptr_t) (i *instance) {
	defer func() { _ = recover() }()
	i, _ = cgo.Handle(handle).Value().(*instance)
	return i
}

//export plugin_close
func plugin_close(_, handle C.uintptr_t) {
	i := instanceOf(handle)
	if i == nil {
		return
	}
	i.end()
	p := i.plugin
	defer p.Guard("close", nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.instances, i)
	if c, ok := i.source.(source.Counter); ok {
		c.Counts(p.tally.End)
	}
}

// end closes the instance and gives its handle back, of which there are few.
func (i *instance) end() {
	defer i.plugin.Guard("close", nil)
	i.handle.Delete()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	i.view.Close()
	i.stream.Close()
	i.plugin.hide()
	i.progress.Free()
}

//export plugin_next_batch
func plugin_next_batch(_, handle C.uintptr_t, count *C.uint32_t, events ***C.event_header) (rc int32) {
	*count = 0
	i := instanceOf(handle)
	if i == nil {
		return C.RC_FAILURE
	}
	defer i.plugin.Guard("next_batch", &rc)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return i.plugin.Fail(errClosed)
	}
	i.view.Show(nil) // the batch before is done with
	next, err := i.stream.Next(patience)
	switch {
	case errors.Is(err, stream.ErrIdle):
		i.plugin.notices.seen()
		return C.RC_TIMEOUT
	case errors.Is(err, io.EOF):
		if i.plugin.notices.flush() {
			return C.RC_TIMEOUT
		}
		return C.RC_EOF
	case err != nil:
		return i.plugin.Fail(err)
	}
	b := next.(*abi.Batch)
	i.view.Show(b)
	*count = C.uint32_t(b.Len())
	*events = (**C.event_header)(b.Events())
	return C.RC_SUCCESS
}

// Progress implements [sdk.Progresser].
func (i *instance) Progress(sdk.PluginState) (share float64, text string) {
	defer i.plugin.Guard("get_progress", nil)
	if p, ok := i.source.(source.Progresser); ok {
		return p.Progress()
	}
	return 0, ""
}

// ProgressBuffer implements [sdk.ProgressBuffer].
func (i *instance) ProgressBuffer() sdk.StringBuffer { return &i.progress }

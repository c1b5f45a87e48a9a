package abi

/*
#include "abi.h"
*/
import "C"

import (
	"errors"
	"log/slog"

	"github.com/falcosecurity/plugin-sdk-go/pkg/cgo"
	"github.com/falcosecurity/plugin-sdk-go/pkg/ptr"
	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk"
)

// A Maker makes a plugin object from the text the host passes to init.
type Maker func(text string, log *slog.Logger) (Object, error)

var (
	makeObject Maker
	stderrLog  slog.Handler
)

// SetInit sets what init does. The library's main package calls it once, before anything else. What is logged goes to the
// host's logger, and to stderr where the host has none.
func SetInit(m Maker, stderr slog.Handler) { makeObject, stderrLog = m, stderr }

// A broken is what init returns when it fails: the host asks it for the error.
type broken struct {
	err  error
	text ptr.StringBuffer
}

func (b *broken) LastError() error                  { return b.err }
func (b *broken) SetLastError(err error)            { b.err = err }
func (b *broken) LastErrorBuffer() sdk.StringBuffer { return &b.text }

var errInside = errors.New("init failed inside")

//export plugin_init
func plugin_init(in *C.init_input, rc *C.int32_t) (handle C.uintptr_t) {
	*rc = C.RC_FAILURE
	defer func() {
		if r := recover(); r != nil { // there are too many handles, or a mistake in here
			slog.New(stderrLog).Error(errInside.Error(), "panic", r)
			handle = 0
		}
	}()
	log := slog.New(stderrLog)
	host := newHostLog(in, stderrLog)
	if host != nil {
		log = slog.New(host.handler())
	}
	o, err := newObject(C.GoString(in.config), log)
	if host != nil && (err != nil || o.base().cfg.LogToStderr) {
		host.close()
	}
	if err != nil {
		return C.uintptr_t(cgo.NewHandle(&broken{err: err}))
	}
	o.base().hostLog = host
	handle = C.uintptr_t(cgo.NewHandle(o))
	*rc = C.RC_SUCCESS
	return handle
}

// newObject makes a plugin object. A mistake in here is the error the host gets, and not its end.
func newObject(text string, log *slog.Logger) (o Object, err error) {
	defer func() {
		if r := recover(); r != nil {
			log.Error(errInside.Error(), "panic", r)
			o, err = nil, errInside
		}
	}()
	return makeObject(text, log)
}

//export plugin_destroy
func plugin_destroy(handle C.uintptr_t) {
	if handle == 0 {
		return
	}
	defer func() { _ = recover() }() // the SDK panics on handles it did not give out
	h := cgo.Handle(handle)
	switch state := h.Value().(type) {
	case Object:
		func() {
			defer state.base().Guard("destroy", nil)
			state.Destroy()
		}()
	case *broken:
		state.text.Free()
	}
	h.Delete()
}

package sourcing

/*
#include <stdint.h>
*/
import "C"

import (
	"kaudit/internal/abi"
	"kaudit/pkg/source"
)

// An Identity is what the host learns of a library with events, before there is any plugin object, beside
// [abi.Identity].
type Identity struct {
	ID          uint32
	EventSource string
}

// identity holds the texts in C: made once and never freed.
var identity struct {
	source, sources, notices *C.char
	id                       C.uint32_t
}

// SetIdentity sets whose events these are. The library's main package calls it once, before anything else.
func SetIdentity(i Identity) {
	identity.id = C.uint32_t(i.ID)
	identity.source, identity.sources = C.CString(i.EventSource), C.CString(abi.List(i.EventSource))
	identity.notices = C.CString(abi.List(source.NoticeNames()...))
}

//export plugin_get_id
func plugin_get_id() C.uint32_t { return identity.id }

//export plugin_get_event_source
func plugin_get_event_source() *C.char { return identity.source }

//export plugin_get_async_event_sources
func plugin_get_async_event_sources() *C.char { return identity.sources }

//export plugin_get_async_events
func plugin_get_async_events() *C.char { return identity.notices }

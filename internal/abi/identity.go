package abi

/*
#include <stdint.h>
*/
import "C"

import (
	"encoding/json"

	"kaudit/pkg/source"
)

// An Identity is what the host learns of the library before there is any plugin object.
type Identity struct {
	Name, Version, Description, Contact, RequiredAPIVersion string
	ID                                                      uint32
	EventSource                                             string
}

// identity holds the texts in C: made once and never freed.
var identity struct {
	name, version, description, contact, apiVersion, source, sources, notices *C.char
	id                                                                        C.uint32_t
}

// SetIdentity sets who we are. The library's main package calls it once, before anything else.
func SetIdentity(i Identity) {
	asJSON := func(list ...string) *C.char {
		text, err := json.Marshal(list)
		if err != nil {
			panic("abi: identity: " + err.Error())
		}
		return C.CString(string(text))
	}
	identity.name, identity.version = C.CString(i.Name), C.CString(i.Version)
	identity.description, identity.contact = C.CString(i.Description), C.CString(i.Contact)
	identity.apiVersion, identity.id = C.CString(i.RequiredAPIVersion), C.uint32_t(i.ID)
	identity.source, identity.sources = C.CString(i.EventSource), asJSON(i.EventSource)
	identity.notices = asJSON(source.NoticeNames()...)
}

//export plugin_get_name
func plugin_get_name() *C.char { return identity.name }

//export plugin_get_version
func plugin_get_version() *C.char { return identity.version }

//export plugin_get_description
func plugin_get_description() *C.char { return identity.description }

//export plugin_get_contact
func plugin_get_contact() *C.char { return identity.contact }

//export plugin_get_required_api_version
func plugin_get_required_api_version() *C.char { return identity.apiVersion }

//export plugin_get_id
func plugin_get_id() C.uint32_t { return identity.id }

//export plugin_get_event_source
func plugin_get_event_source() *C.char { return identity.source }

//export plugin_get_extract_event_sources
func plugin_get_extract_event_sources() *C.char { return identity.sources }

//export plugin_get_async_event_sources
func plugin_get_async_event_sources() *C.char { return identity.sources }

//export plugin_get_async_events
func plugin_get_async_events() *C.char { return identity.notices }

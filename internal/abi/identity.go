package abi

/*
#include "abi.h"
*/
import "C"

import "encoding/json"

// An Identity is what the host learns of the library before there is any plugin object.
type Identity struct {
	Name, Version, Description, Contact, RequiredAPIVersion string
	Sources                                                 []string // of whose events fields are asked; none: of any
	AsyncEvents                                             bool     // fields are asked of asynchronous events, too
}

// identity holds the texts in C: made once and never freed.
var identity struct {
	name, version, description, contact, apiVersion, sources *C.char
}

// SetIdentity sets who we are. The library's main package calls it once, before anything else.
func SetIdentity(i Identity) {
	identity.name, identity.version = C.CString(i.Name), C.CString(i.Version)
	identity.description, identity.contact = C.CString(i.Description), C.CString(i.Contact)
	identity.apiVersion, identity.sources = C.CString(i.RequiredAPIVersion), C.CString(List(i.Sources...))
	if i.AsyncEvents {
		C.event_types = 2
	}
}

// List renders a list of texts as the host reads it.
func List(texts ...string) string {
	text, err := json.Marshal(append([]string{}, texts...))
	if err != nil {
		panic("abi: list: " + err.Error())
	}
	return string(text)
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

//export plugin_get_extract_event_sources
func plugin_get_extract_event_sources() *C.char { return identity.sources }

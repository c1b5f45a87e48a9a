package abi

/*
#include <stdlib.h>
*/
import "C"

import (
	"encoding/json"
	"unsafe"

	"kaudit/pkg/extract"
)

// fieldsText is the table of fields as the host reads it. The host may ask before there is any plugin object, so it is
// the library's, made once and never freed.
var fieldsText *C.char

// SetFields sets what plugin_get_fields returns. The library's main package calls it once, before anything else.
func SetFields(t extract.Table) {
	text, err := json.Marshal(t)
	if err != nil {
		panic("abi: fields: " + err.Error())
	}
	C.free(unsafe.Pointer(fieldsText))
	fieldsText = C.CString(string(text))
}

//export plugin_get_fields
func plugin_get_fields() *C.char { return fieldsText }

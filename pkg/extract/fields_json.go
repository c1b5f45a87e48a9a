package extract

import (
	"strconv"

	"kaudit/pkg/audit"
)

// JSONFields returns the fields of Falco's json plugin (falcosecurity/plugins: plugins/json), in its order: by it the host
// numbers them. They are asked of any JSON, and of the time the host has for it.
func JSONFields() Table { return jsonFields }

var jsonFields = Table{
	{"json.value", "Value at a JSON pointer (RFC 6901): a string as its text, anything else as compact JSON.", RequiredKey, "a JSON pointer", jsonValue,
		Example{`{"spec":{"replicas":3}}`, "/spec/replicas", "3"}},
	{"json.obj", "The whole event as JSON, indented.", NoArg, "", jsonObject,
		Example{`{"a":1}`, "", "{\n  \"a\": 1\n}"}},
	{"json.rawtime", "Time of the event in nanoseconds since 1970, as text.", NoArg, "", jsonTime,
		Example{`{}`, "", "1700000000000000000"}},
	{"jevt.value", "Value at a JSON pointer (RFC 6901): a string as its text, anything else as compact JSON; the older name of json.value.", RequiredKey, "a JSON pointer", jsonValue,
		Example{`{"stage":"ResponseComplete"}`, "/stage", "ResponseComplete"}},
	{"jevt.obj", "The whole event as JSON, indented; the older name of json.obj.", NoArg, "", jsonObject,
		Example{`[]`, "", "[]"}},
	{"jevt.rawtime", "Time of the event in nanoseconds since 1970, as text; the older name of json.rawtime.", NoArg, "", jsonTime,
		Example{`{}`, "", "1700000000000000000"}},
}

var (
	jsonValue = Extractor{
		Type: Text, ofJSON: true,
		prepare: func(pointer string) (any, error) { return audit.ParsePath(pointer), nil },
		read: func(e *Event, a *Argument, out *Value) {
			var ok bool
			if out.Scratch, ok = e.json.Append(out.Scratch[:0], a.ready.(audit.Path)); ok {
				out.AddText(out.Scratch)
			}
		},
	}
	jsonObject = Extractor{Type: Text, ofJSON: true, read: func(e *Event, _ *Argument, out *Value) {
		out.Scratch = e.json.AppendIndented(out.Scratch[:0])
		out.AddText(out.Scratch)
	}}
	jsonTime = Extractor{Type: Text, ofJSON: true, read: func(e *Event, _ *Argument, out *Value) {
		out.Scratch = strconv.AppendUint(out.Scratch[:0], e.Stamp, 10)
		out.AddText(out.Scratch)
	}}
)

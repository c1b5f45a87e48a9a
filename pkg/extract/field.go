package extract

import (
	"encoding/json"
	"fmt"
	"strconv"

	"kaudit/pkg/audit"
)

// A Type is what a field's values are. The names are those of the plugin API (falcosecurity/libs:
// userspace/libsinsp/plugin.cpp).
type Type string

// The types.
const (
	Text     Type = "string"
	Number   Type = "uint64"
	Bool     Type = "bool"
	Duration Type = "reltime" // nanoseconds
	Moment   Type = "abstime" // nanoseconds since 1970
	Network  Type = "ipnet"   // an address of 4 or 16 bytes, for rules to compare with networks; the host cannot print it
)

// An Arg is the form of a field's argument, what stands in brackets behind its name.
type Arg uint8

// The forms.
const (
	NoArg Arg = iota
	OptionalIndex
	RequiredKey
)

// An Argument is what a rule wrote in the brackets.
type Argument struct {
	Present bool
	Index   int    // with OptionalIndex
	Key     string // with RequiredKey

	ready any // what the extractor's prepare made of the key
}

// A Field is one thing a rule can ask of an event.
type Field struct {
	Name string
	Doc  string // one sentence
	Arg  Arg
	// ArgDoc says in a few words what the argument is, if there is one.
	ArgDoc  string
	From    Extractor
	Example Example
}

// An Example is an event fragment and what the field yields on it, shown in docs and run by tests.
type Example struct {
	Event string // a JSON object; the tests add an auditID if it is no notice
	Arg   string // what stands in the brackets
	Want  string // as the host prints it: lists in parentheses
}

// An Extractor says what a field yields and how to find it, so that the two cannot disagree.
type Extractor struct {
	Type Type
	List bool
	read func(e *Event, a *Argument, out *Value)
	// prepare, if there is one, reads the argument once; a rule with an argument it refuses never gets a value.
	prepare func(key string) (any, error)
	// ofNotice says that the field is for notices, and never there for an audit event; ofJSON, that it is for any JSON.
	ofNotice, ofJSON bool
}

// A Table holds fields in the order the host numbers them.
type Table []Field

// Find returns the position of a field in the table.
func (t Table) Find(name string) (int, bool) {
	for i := range t {
		if t[i].Name == name {
			return i, true
		}
	}
	return 0, false
}

// A Question is a field with its argument, ready to be asked of any number of events, by any number of goroutines.
type Question struct {
	Field    *Field
	Argument Argument
}

// Ask makes the question for field number id. The error says that the argument is not one the field understands;
// the question then never has an answer.
func (t Table) Ask(id int, a Argument) (Question, error) {
	if id < 0 || id >= len(t) {
		return Question{}, fmt.Errorf("there is no field number %d", id)
	}
	q := Question{Field: &t[id], Argument: a}
	switch f := q.Field; {
	case f.Arg == RequiredKey && !a.Present:
		return q, fmt.Errorf("%s needs an argument: %s[…], %s", f.Name, f.Name, f.ArgDoc)
	case f.From.prepare != nil:
		var err error
		if q.Argument.ready, err = f.From.prepare(a.Key); err != nil {
			return q, fmt.Errorf("%s[%s]: %w", f.Name, a.Key, err)
		}
	}
	return q, nil
}

// Answer adds to out what the question yields for the event. It adds nothing if the event is not of the kind the field is
// for: an audit event, a notice, or any JSON.
func (q *Question) Answer(e *Event, out *Value) {
	f := q.Field
	asked := e.isAudit
	switch {
	case f.From.ofNotice:
		asked = e.isNotice
	case f.From.ofJSON:
		asked = e.isJSON()
	}
	if !asked || f.Arg == RequiredKey && !q.Argument.Present || f.From.prepare != nil && q.Argument.ready == nil {
		return
	}
	f.From.read(e, &q.Argument, out)
	if !f.From.List && out.Len() > 1 {
		panic("extract: " + f.Name + " is not a list and yields several values") // a mistake in the table
	}
}

// ParseArg reads what stands in the brackets of a field as the host does.
func (f *Field) ParseArg(s string, present bool) (Argument, error) {
	switch {
	case !present:
		return Argument{}, nil
	case f.Arg == RequiredKey:
		return Argument{Present: true, Key: s}, nil
	case f.Arg == OptionalIndex:
		i, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return Argument{}, fmt.Errorf("%s[%s]: want a number, the first is 0", f.Name, s)
		}
		return Argument{Present: true, Index: int(i)}, nil
	}
	return Argument{}, fmt.Errorf("%s takes no argument", f.Name)
}

// MarshalJSON renders a table as plugin_get_fields returns it (falcosecurity/libs: userspace/plugin/plugin_api.h).
func (t Table) MarshalJSON() ([]byte, error) {
	type arg struct {
		IsRequired bool `json:"isRequired"`
		IsIndex    bool `json:"isIndex"`
		IsKey      bool `json:"isKey"`
	}
	type entry struct {
		Name   string `json:"name"`
		Type   Type   `json:"type"`
		IsList bool   `json:"isList"`
		Arg    *arg   `json:"arg,omitempty"`
		Desc   string `json:"desc"`
	}
	list := make([]entry, len(t))
	for i, f := range t {
		list[i] = entry{Name: f.Name, Type: f.From.Type, IsList: f.From.List, Desc: f.Doc}
		switch f.Arg {
		case OptionalIndex:
			list[i].Arg = &arg{IsIndex: true}
		case RequiredKey:
			list[i].Arg = &arg{IsRequired: true, IsKey: true}
		}
	}
	return json.Marshal(list)
}

// What follows are the building blocks rows are made of.

// at yields the value at a path below a member, as text.
func at(m audit.Member, path ...string) Extractor {
	return Extractor{Type: Text, read: func(e *Event, _ *Argument, out *Value) {
		out.AddNode(e.Get(m).Path(path...))
	}}
}

// each yields the elements of the array at a path below a member.
func each(m audit.Member, path ...string) Extractor {
	return Extractor{Type: Text, List: true, read: func(e *Event, _ *Argument, out *Value) {
		out.AddNodes(e.Get(m).Path(path...))
	}}
}

// text yields at most one text.
func text(read func(e *Event, out *Value)) Extractor {
	return Extractor{Type: Text, read: func(e *Event, _ *Argument, out *Value) { read(e, out) }}
}

// texts yields a list.
func texts(read func(e *Event, out *Value)) Extractor {
	return Extractor{Type: Text, List: true, read: func(e *Event, _ *Argument, out *Value) { read(e, out) }}
}

// textFor yields at most one text for a key.
func textFor(read func(e *Event, key string, out *Value)) Extractor {
	return Extractor{Type: Text, read: func(e *Event, a *Argument, out *Value) { read(e, a.Key, out) }}
}

// textsFor yields a list for a key.
func textsFor(read func(e *Event, key string, out *Value)) Extractor {
	return Extractor{Type: Text, List: true, read: func(e *Event, a *Argument, out *Value) { read(e, a.Key, out) }}
}

// whether yields true or false, always.
func whether(read func(e *Event) bool) Extractor {
	return Extractor{Type: Bool, read: func(e *Event, _ *Argument, out *Value) { out.AddBool(read(e)) }}
}

// whetherIn yields true or false where ok, else nothing.
func whetherIn(read func(e *Event) (value, ok bool)) Extractor {
	return Extractor{Type: Bool, read: func(e *Event, _ *Argument, out *Value) {
		if value, ok := read(e); ok {
			out.AddBool(value)
		}
	}}
}

// number yields a number where ok, else nothing.
func number(read func(e *Event) (n uint64, ok bool)) Extractor {
	return Extractor{Type: Number, read: func(e *Event, _ *Argument, out *Value) {
		if n, ok := read(e); ok {
			out.AddNumber(n)
		}
	}}
}

// joined yields the elements of a list in one text, a space between them, for operators that lists do not take.
func joined(list Extractor) Extractor {
	return Extractor{Type: Text, read: func(e *Event, a *Argument, out *Value) {
		list.read(e, a, out)
		out.join()
	}}
}

// join makes one text of several.
func (v *Value) join() {
	if len(v.ends) < 2 {
		return
	}
	for _, end := range v.ends[:len(v.ends)-1] {
		v.texts[end] = ' '
	}
	v.ends = append(v.ends[:0], len(v.texts)-1)
}

package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"kaudit/pkg/extract"
)

// Source is the event source of Kubernetes audit events.
const Source = "k8s_audit"

// An Event is an audit event as the engine sees it, or an asynchronous one.
type Event struct {
	*extract.Event
	// Number is the event's position in the stream; the first is 1.
	Number uint64
	// Time is the event's timestamp, in nanoseconds since 1970.
	Time uint64
	// Async is the name of an asynchronous event, and empty for an audit event. Evaluate sets it where the event is a
	// notice.
	Async string
}

// A general field is one that every event has, whatever its source.
type general struct {
	name string
	doc  string
	typ  extract.Type
	pad  bool // printed with nine digits
	time bool // in JSON it is the event's time, as a number
	read func(s *state, out *extract.Value)
}

const second = uint64(time.Second)

// generals are the fields of every event (falcosecurity/libs: userspace/libsinsp/sinsp_filtercheck_gen_event.cpp).
var generals = []general{
	{name: "evt.num", doc: "Number of the event.", typ: extract.Number, read: number(func(s *state) uint64 { return s.event.Number })},
	{name: "evt.time", doc: "Time of the event, with nanoseconds, in the local time zone.", typ: extract.Text, time: true, read: clock(false, true)},
	{name: "evt.time.s", doc: "Time of the event, in the local time zone.", typ: extract.Text, time: true, read: clock(false, false)},
	{name: "evt.time.iso8601", doc: "Time of the event in ISO 8601, with nanoseconds, in UTC.", typ: extract.Text, time: true, read: func(s *state, out *extract.Value) {
		out.Scratch = stamp(s.event.Time).AppendFormat(out.Scratch[:0], "2006-01-02T15:04:05.000000000-0700")
		out.AddText(out.Scratch)
	}},
	{name: "evt.datetime", doc: "Date and time of the event, with nanoseconds, in the local time zone.", typ: extract.Text, time: true, read: clock(true, true)},
	{name: "evt.datetime.s", doc: "Date and time of the event, in the local time zone.", typ: extract.Text, time: true, read: clock(true, false)},
	{name: "evt.rawtime", doc: "Time of the event, in nanoseconds since 1970.", typ: extract.Moment, read: number(func(s *state) uint64 { return s.event.Time })},
	{name: "evt.rawtime.s", doc: "Time of the event, in seconds since 1970.", typ: extract.Moment, read: number(func(s *state) uint64 { return s.event.Time / second })},
	{name: "evt.rawtime.ns", doc: "Nanoseconds of the time of the event.", typ: extract.Moment, pad: true, read: number(func(s *state) uint64 { return s.event.Time % second })},
	{name: "evt.reltime", doc: "Nanoseconds since the first event.", typ: extract.Duration, pad: true, read: number(func(s *state) uint64 { return s.event.Time - s.first })},
	{name: "evt.reltime.s", doc: "Seconds since the first event.", typ: extract.Duration, read: number(func(s *state) uint64 { return (s.event.Time - s.first) / second })},
	{name: "evt.reltime.ns", doc: "Nanoseconds of the time since the first event.", typ: extract.Duration, pad: true, read: number(func(s *state) uint64 { return (s.event.Time - s.first) % second })},
	{name: "evt.pluginname", doc: "Name of the plugin the event comes from.", typ: extract.Text, read: func(s *state, out *extract.Value) {
		if s.event.Async == "" {
			out.AddString("k8saudit")
		}
	}},
	{name: "evt.plugininfo", doc: "The event as the plugin prints it: its JSON.", typ: extract.Text, read: func(s *state, out *extract.Value) {
		if s.event.Async == "" {
			out.Scratch = s.event.AppendTo(out.Scratch[:0])
			out.AddText(out.Scratch)
		}
	}},
	{name: "evt.source", doc: "Event source.", typ: extract.Text, read: text(func(*state) string { return Source })},
	{name: "evt.is_async", doc: "Whether the event is asynchronous: about the stream of events, not one of its own.", typ: extract.Bool, read: func(s *state, out *extract.Value) { out.AddBool(s.event.Async != "") }},
	{name: "evt.asynctype", doc: "Name of an asynchronous event.", typ: extract.Text, read: func(s *state, out *extract.Value) {
		if s.event.Async != "" {
			out.AddString(s.event.Async)
		}
	}},
	{name: "evt.hostname", doc: "Name of the host Falco runs on.", typ: extract.Text, read: text(func(s *state) string { return s.hostname })},
}

func number(read func(s *state) uint64) func(*state, *extract.Value) {
	return func(s *state, out *extract.Value) { out.AddNumber(read(s)) }
}

func text(read func(s *state) string) func(*state, *extract.Value) {
	return func(s *state, out *extract.Value) { out.AddString(read(s)) }
}

func stamp(ns uint64) time.Time { return time.Unix(int64(ns/second), int64(ns%second)).UTC() }

// clock yields the time as the engine prints it: in the local time zone, with the offset from UTC it has today,
// whenever the event was.
func clock(date, ns bool) func(*state, *extract.Value) {
	layout := "15:04:05"
	if date {
		layout = "2006-01-02 " + layout
	}
	if ns {
		layout += ".000000000"
	}
	return func(s *state, out *extract.Value) {
		out.Scratch = stamp(s.event.Time).Add(s.zone).AppendFormat(out.Scratch[:0], layout)
		out.AddText(out.Scratch)
	}
}

// jsonFields are the fields of Falco's json plugin: rules which ask it need no other plugin here.
var jsonFields = extract.JSONFields()

// A Description is what there is to know of a field.
type Description struct {
	Doc  string // one sentence
	Type extract.Type
	List bool
}

// Describe describes a field of a rule. It returns false if there is no such field, or its argument is wrong.
func (r *Ruleset) Describe(x *Field) (Description, bool) {
	q, err := r.fields.resolve(x)
	if err != nil {
		return Description{}, false
	}
	d := Description{Type: q.typ, List: q.list}
	if id, ok := r.fields.table.Find(x.Name); ok {
		d.Doc = r.fields.table[id].Doc
	}
	for i := range generals {
		if generals[i].name == x.Name {
			d.Doc = generals[i].doc
		}
	}
	if id, ok := jsonFields.Find(x.Name); ok {
		d.Doc = jsonFields[id].Doc
	}
	return d, true
}

// A question is a field with its argument, as the rules ask it of each event, once.
type question struct {
	name   string // with its argument, as it was written
	field  string
	typ    extract.Type
	list   bool
	pad    bool
	time   bool
	table  extract.Question // if it is in the table
	listed bool
	read   func(s *state, out *extract.Value) // if it is not
}

// fields resolves the fields of conditions and outputs.
type fields struct {
	table extract.Table
	names []string // all of them, for hints
}

func newFields(table extract.Table) *fields {
	f := &fields{table: table}
	for _, t := range table {
		f.names = append(f.names, t.Name)
	}
	for _, g := range generals {
		f.names = append(f.names, g.name)
	}
	for _, j := range jsonFields {
		f.names = append(f.names, j.Name)
	}
	return f
}

// exists reports whether text is a field, with its argument if it needs one.
func (f *fields) exists(text string) bool {
	x, ok := parseField(text)
	if !ok {
		return false
	}
	_, problem := f.resolve(x)
	return problem == nil
}

// parseField reads a field with nothing behind it.
func parseField(text string) (x *Field, ok bool) {
	defer func() {
		if e := recover(); e != nil {
			if _, syntax := e.(syntaxError); !syntax {
				panic(e)
			}
		}
	}()
	p := parser{in: plain(text), text: text}
	if p.lexField() {
		x = p.field(place{in: p.in})
		ok = p.pos == len(p.text)
	}
	return x, ok
}

// unknown says that a field does not exist; such an error can be let pass with skip-if-unknown-filter.
type unknown struct{ error }

func (u unknown) Unwrap() error { return u.error }

func (f *fields) nonexistent(x *Field) error {
	return unknown{fmt.Errorf("there is no field %s", x.Name)}
}

// resolve finds a field and reads its argument.
func (f *fields) resolve(x *Field) (*question, error) {
	q := &question{name: x.String(), field: x.Name}
	// The engine puts the argument back into brackets, and looks for a blank and for where they end.
	if strings.IndexByte(x.Arg, ' ') >= 0 {
		return nil, fmt.Errorf("the argument of %s may not have a blank in it", x.Name)
	}
	if strings.IndexByte(x.Arg, ']') >= 0 {
		return nil, unknown{fmt.Errorf("the argument of %s may not have ']' in it", x.Name)}
	}
	for i := range generals {
		g := &generals[i]
		if g.name != x.Name {
			continue
		}
		if x.HasArg {
			return nil, unknown{fmt.Errorf("%s takes no argument", x.Name)}
		}
		q.typ, q.pad, q.time, q.read = g.typ, g.pad, g.time, g.read
		return q, nil
	}
	if alias, _, _ := strings.Cut(x.Name, "."); alias == "jevt" || alias == "json" {
		return f.json(q, x)
	}
	id, ok := f.table.Find(x.Name)
	if !ok {
		return nil, f.nonexistent(x)
	}
	field := &f.table[id]
	switch {
	case field.Arg == extract.RequiredKey && !x.HasArg:
		return nil, fmt.Errorf("%s needs an argument: %s[...], %s", x.Name, x.Name, field.ArgDoc)
	case field.Arg == extract.OptionalIndex && x.HasArg && !isIndex(x.Arg):
		return nil, fmt.Errorf("%s: want a number in the brackets, without leading zeros; the first is 0", x.String())
	}
	arg, err := field.ParseArg(x.Arg, x.HasArg)
	if err != nil && field.Arg != extract.OptionalIndex { // an index too large is only never there
		return nil, err
	}
	q.typ, q.list, q.listed = field.From.Type, field.From.List, true
	// An argument the extractor refuses is none to the engine: the field is then never there. The check command tells.
	q.table, _ = f.table.Ask(id, arg)
	if err != nil {
		q.listed = false
		q.read = func(*state, *extract.Value) {}
	}
	return q, nil
}

// isIndex reports whether s is an index as the engine reads it.
func isIndex(s string) bool {
	if s == "" || len(s) > 1 && s[0] == '0' {
		return false
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

// json resolves a field of the json plugin. It is not asked about asynchronous events.
func (f *fields) json(q *question, x *Field) (*question, error) {
	id, ok := jsonFields.Find(x.Name)
	if !ok {
		return nil, f.nonexistent(x)
	}
	field := &jsonFields[id]
	switch {
	case field.Arg == extract.RequiredKey && !x.HasArg:
		return nil, fmt.Errorf("%s needs an argument: %s[/verb]", x.Name, x.Name)
	case field.Arg == extract.NoArg && x.HasArg:
		return nil, fmt.Errorf("%s takes no argument", x.Name)
	}
	asked, err := jsonFields.Ask(id, extract.Argument{Present: x.HasArg, Key: x.Arg})
	if err != nil {
		return nil, err
	}
	q.typ = field.From.Type
	q.read = func(s *state, out *extract.Value) {
		if s.event.Async == "" {
			s.event.Stamp = s.event.Time
			asked.Answer(s.event.Event, out)
		}
	}
	return q, nil
}

// hint says what might be meant by a field there is not.
func (f *fields) hint(name string) string {
	switch name {
	case "evt.type", "evt.dir", "evt.args", "evt.arg", "evt.res", "evt.category", "evt.cpu", "evt.latency", "evt.buffer":
		return name + " is for system calls; of an audit event ask for ka.verb, ka.target.resource and the like"
	}
	if strings.HasPrefix(name, "evt.") || strings.HasPrefix(name, "ka.") || strings.HasPrefix(name, "json.") || strings.HasPrefix(name, "jevt.") {
		return meant(name, f.names)
	}
	if h := meant(name, f.names); h != "" {
		return h
	}
	for _, family := range []string{"proc.", "fd.", "container.", "user.", "thread.", "fs.", "group.", "syscall.", "k8s."} {
		if strings.HasPrefix(name, family) {
			return "events of source " + Source + " have fields ka.*, json.*, jevt.* and some evt.*; " + family + "* are for system calls"
		}
	}
	return ""
}

package ruletest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"gopkg.in/yaml.v3"

	"kaudit/pkg/audit"
	"kaudit/pkg/rules"
)

// An event is an audit event of a test, or a notice.
type event struct {
	from  string // where it is from, as failures say it: "exec.jsonl:3", "event exec"
	id    string // its audit ID, which says more; may be empty
	raw   []byte
	stamp time.Time
	file  bool // whether it is from a file of events
}

// A collector takes the events of a payload, read as the plugin reads it.
type collector struct {
	events []event
	reject string // why a piece is not an event
}

// Event implements [audit.Handler].
func (c *collector) Event(e *audit.Event, stamp time.Time, marks audit.Marks) {
	if marks&audit.Salvaged != 0 { // the JSON was read before, so it nests too deeply
		c.reject = "not an event: it cannot be read to its end"
		return
	}
	c.events = append(c.events, event{id: string(e.Get(audit.AuditID).Bytes()), raw: e.AppendTo(nil), stamp: stamp})
}

// Rejected implements [audit.Handler].
func (c *collector) Rejected(why audit.Reason, _, _ int) { c.reject = why.String() }

// decode reads the events in one JSON value: an event, a list of them, or an EventList.
func decode(value []byte) (events []event, problem string) {
	var c collector
	// Events that do not say when they were keep to themselves when they are tested.
	d := audit.Decoder{Notices: true, Now: func() time.Time { return time.Unix(0, 0).UTC() }}
	d.Decode(value, false, &c)
	return c.events, c.reject
}

// An eventFile is a file of events that was read, or could not be.
type eventFile struct {
	events   []event
	lines    []int // on which each event begins
	problems []*rules.Problem
}

// readEvents reads a file of events: one JSON value after another, or YAML if it is called that.
func readEvents(name string) *eventFile {
	content, err := os.ReadFile(name)
	if err != nil {
		return &eventFile{problems: []*rules.Problem{unreadable(name, err)}}
	}
	f := &eventFile{}
	if ext := filepath.Ext(name); ext == ".yaml" || ext == ".yml" {
		f.readYAML(name, content)
	} else {
		f.readJSON(name, content)
	}
	if len(f.events) == 0 && len(f.problems) == 0 {
		f.problems = append(f.problems, &rules.Problem{Pos: rules.Position{File: name}, Code: rules.ErrStructure, Text: "there are no events in it"})
	}
	return f
}

func (f *eventFile) readJSON(name string, content []byte) {
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	d := json.NewDecoder(bytes.NewReader(content))
	line, counted := 1, 0
	lineAt := func(offset int) int {
		line += bytes.Count(content[counted:offset], []byte("\n"))
		counted = offset
		return line
	}
	for {
		var value json.RawMessage
		before := int(d.InputOffset())
		err := d.Decode(&value)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			// The decoder's own offsets are those of its buffer in some cases, so the value is looked at once more.
			offset := len(content)
			if e := (*json.SyntaxError)(nil); errors.As(json.Unmarshal(content[before:], new(json.RawMessage)), &e) {
				offset = before + int(e.Offset) - 1
				if offset == len(content)-1 && errors.Is(err, io.ErrUnexpectedEOF) {
					offset++ // behind the last byte
				}
			}
			offset = max(min(offset, len(content)), counted)
			t := newText(name, content)
			column := offset - bytes.LastIndexByte(content[:offset], '\n')
			what := strings.TrimPrefix(err.Error(), "json: ")
			if errors.Is(err, io.ErrUnexpectedEOF) {
				what = "it ends too early"
			}
			f.problems = append(f.problems, t.problem(lineAt(offset), column, rules.ErrStructure, "", "not JSON: %s", what))
			return
		}
		at := lineAt(int(d.InputOffset()) - len(value))
		events, problem := decode(value)
		if problem != "" {
			f.problems = append(f.problems, newText(name, content).problem(at, 1, rules.ErrStructure, "an event has an auditID, or says kind: Event and apiVersion: audit.k8s.io/v1", "%s", problem))
		}
		f.add(name, at, events)
	}
}

func (f *eventFile) add(name string, line int, events []event) {
	for i, e := range events {
		e.file, e.from = true, fmt.Sprintf("%s:%d", name, line)
		if len(events) > 1 {
			e.from += fmt.Sprintf(" item %d", i+1)
		}
		f.events = append(f.events, e)
		f.lines = append(f.lines, line)
	}
}

func (f *eventFile) readYAML(name string, content []byte) {
	r := &reader{text: newYAML(name, content)}
	d := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var n yaml.Node
		err := d.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.notYAML(err)
			break
		}
		top := resolve(&n)
		if isNull(top) {
			continue
		}
		events, problem := decode(r.appendJSON(nil, top))
		if problem != "" {
			r.wrong(top, "an event has an auditID, or says kind: Event and apiVersion: audit.k8s.io/v1", "%s", problem)
		}
		f.add(name, top.Line, events)
	}
	f.problems = append(f.problems, r.problems...)
}

// events reads what stands for events in a test file: the name of one, a reference to a file, an event itself, or a list
// of these.
func (f *fileReader) events(n *yaml.Node) []event {
	n = resolve(n)
	switch {
	case isNull(n):
		f.wrong(n, "write the name of an event, {file: name}, or the event", "there is no event here")
		return nil
	case n.Kind == yaml.SequenceNode:
		if f.depth++; f.depth > maxDepth {
			f.wrong(n, "", "this list has itself in it, or nests too deep")
			return nil
		}
		defer func() { f.depth-- }()
		var all []event
		for _, e := range n.Content {
			all = append(all, f.events(e)...)
			if len(all) > maxValues {
				f.wrong(n, "", "this is more than %d events", maxValues)
				return nil
			}
		}
		if len(n.Content) == 0 {
			f.wrong(n, "", "the list of events is empty")
		}
		return all
	case n.Kind == yaml.ScalarNode && strings.HasPrefix(strings.TrimSpace(n.Value), "{"):
		return f.inlineJSON(n)
	case n.Kind == yaml.ScalarNode:
		return f.eventNamed(n)
	}
	for _, p := range f.pairs(n) {
		switch p.key.Value {
		case "file":
			return f.eventsOfFile(n)
		case "event":
			return f.eventPatched(n)
		}
	}
	return f.inline(n)
}

// A named is one of the events at the top of a test file.
type named struct {
	key, value *yaml.Node
	busy, read bool
	events     []event
}

// eventNamed returns the events of a name.
func (f *fileReader) eventNamed(n *yaml.Node) []event {
	e := f.named[n.Value]
	switch {
	case e == nil:
		names := make([]string, 0, len(f.named))
		for _, p := range f.names {
			names = append(names, p.Value)
		}
		hint := meant(n.Value, names)
		if len(names) == 0 {
			hint = "name it under events:, or write {file: name}"
		}
		f.wrong(n, hint, "there is no event %q", n.Value)
		return nil
	case e.busy:
		f.wrong(n, "", "event %q is made of itself", n.Value)
		return nil
	case !e.read:
		e.busy = true
		e.events = f.events(e.value)
		e.busy, e.read = false, true
		for i := range e.events {
			if !e.events[i].file {
				e.events[i].from = "event " + n.Value
			}
		}
	}
	return slices.Clone(e.events)
}

// eventsOfFile returns the events in a file, or those of them that are asked for.
func (f *fileReader) eventsOfFile(n *yaml.Node) []event {
	m := f.members(n, "a reference to a file of events", "file", "line", "auditID", "patch")
	name := f.word(m["file"], "file")
	if name == "" {
		return nil
	}
	path := f.path(name)
	file := f.suite.events(path)
	if len(file.problems) > 0 {
		if p := file.problems[0]; p.Pos.Line == 0 { // it is not there: say who asks for it
			f.wrong(m["file"], "", "%s: %s", path, p.Text)
			return nil
		}
		f.problems = append(f.problems, file.problems...)
		return nil
	}
	var found []event
	for i, e := range file.events {
		if l := m["line"]; l != nil && l.Value != fmt.Sprint(file.lines[i]) {
			continue
		}
		if id := m["auditID"]; id != nil && id.Value != e.id {
			continue
		}
		found = append(found, e)
	}
	if len(found) == 0 {
		f.noSuchEvent(path, file, m["line"], m["auditID"])
	}
	return f.patch(found, m["patch"])
}

// noSuchEvent says that a file has no event in a line, or of an audit ID.
func (f *fileReader) noSuchEvent(path string, file *eventFile, line, id *yaml.Node) {
	if id == nil {
		f.wrong(line, fmt.Sprintf("it has %s, the last in line %d", count(len(file.events), "event"), file.lines[len(file.lines)-1]), "no event of %s begins in line %s", path, line.Value)
		return
	}
	var ids []string
	for _, e := range file.events {
		ids = append(ids, e.id)
	}
	in := ""
	if line != nil {
		in = " in line " + line.Value
	}
	f.wrong(id, meant(id.Value, ids), "no event of %s has auditID %q%s", path, id.Value, in)
}

// eventPatched returns events with a patch applied.
func (f *fileReader) eventPatched(n *yaml.Node) []event {
	if f.depth++; f.depth > maxDepth {
		f.wrong(n, "", "this event is made of itself, or nests too deep")
		return nil
	}
	defer func() { f.depth-- }()
	m := f.members(n, "a patched event", "event", "patch")
	return f.patch(f.events(m["event"]), m["patch"])
}

// inline returns the event that is written in the test file. It need not say that it is one.
func (f *fileReader) inline(n *yaml.Node) []event {
	f.check(n, eventShape, "an audit event")
	raw := f.appendJSON(nil, n)
	if m := f.keys(n); !m["kind"] && !m["apiVersion"] {
		head := `{"kind":"Event","apiVersion":"audit.k8s.io/v1"`
		if len(m) > 0 {
			head += ","
		}
		raw = append([]byte(head), raw[1:]...)
	}
	return f.one(n, raw)
}

func (f *fileReader) keys(n *yaml.Node) map[string]bool {
	m := map[string]bool{}
	for _, p := range f.pairs(n) {
		m[p.key.Value] = true
	}
	return m
}

// inlineJSON returns the event that is written in the test file as a text of JSON: byte for byte as it is there.
func (f *fileReader) inlineJSON(n *yaml.Node) []event {
	if err := json.Unmarshal([]byte(n.Value), new(json.RawMessage)); err != nil {
		f.wrong(n, "", "not JSON: %s", cause(err))
		return nil
	}
	return f.one(n, []byte(n.Value))
}

// one returns the event in raw.
func (f *fileReader) one(n *yaml.Node, raw []byte) []event {
	events, problem := decode(raw)
	switch {
	case problem != "":
		f.wrong(n, "an event has an auditID, or says kind: Event and apiVersion: audit.k8s.io/v1", "%s", problem)
		return nil
	case len(events) != 1:
		f.wrong(n, "write them to a file, or each on its own", "this is %s, and one is wanted", count(len(events), "event"))
		return nil
	}
	events[0].from = fmt.Sprintf("%s:%d", f.text.name, n.Line)
	return events
}

// patch applies a patch to each of some events: a mapping is a merge patch (RFC 7386), a list is a JSON patch (RFC 6902).
func (f *fileReader) patch(events []event, n *yaml.Node) []event {
	if n = resolve(n); isNull(n) {
		return events
	}
	var apply func(doc []byte) ([]byte, bool)
	switch n.Kind {
	case yaml.MappingNode:
		f.check(n, eventShape, "an audit event")
		merge := f.appendJSON(nil, n)
		apply = func(doc []byte) ([]byte, bool) {
			out, err := jsonpatch.MergePatch(doc, merge)
			if err != nil {
				f.wrong(n, "", "the patch does not fit: %s", err)
			}
			return out, err == nil
		}
	case yaml.SequenceNode:
		steps := f.steps(n)
		apply = func(doc []byte) ([]byte, bool) {
			for _, s := range steps {
				var ok bool
				if doc, ok = s.apply(f, doc); !ok {
					return nil, false
				}
			}
			return doc, true
		}
	default:
		f.wrong(n, "write members as the event has them, or a list of {op, path, value}", "a patch is not a text")
		return events
	}
	var out []event
	for _, e := range events {
		raw, ok := apply(e.raw)
		if !ok {
			return nil // and not the same once more for every event
		}
		patched, problem := decode(raw)
		if problem != "" || len(patched) != 1 {
			f.wrong(n, "", "with this patch it is no event any more: %s", problem)
			return nil
		}
		patched[0].from, patched[0].file = e.from, e.file
		out = append(out, patched[0])
	}
	return out
}

// A step is one operation of a JSON patch.
type step struct {
	node  *yaml.Node
	patch jsonpatch.Patch
}

// operations are those of RFC 6902, with what each needs beside the path.
var operations = map[string]string{"add": "value", "remove": "", "replace": "value", "move": "from", "copy": "from", "test": "value"}

// steps reads a JSON patch.
func (f *fileReader) steps(n *yaml.Node) []step {
	var steps []step
	for _, e := range n.Content {
		e = resolve(e)
		if e == nil || e.Kind != yaml.MappingNode {
			f.wrong(e, "write {op: add, path: /user/username, value: jane}", "an operation of a JSON patch is not a mapping")
			continue
		}
		before := len(f.problems)
		m := f.members(e, "an operation of a JSON patch", "op", "path", "from", "value")
		op := f.need(e, m, "op")
		needs, known := operations[op]
		if op != "" && !known {
			f.wrong(m["op"], meant(op, []string{"add", "remove", "replace", "move", "copy", "test"}), "there is no operation %q", op)
		}
		if needs != "" && m[needs] == nil {
			f.wrong(e, "", "%s needs %s", op, needs)
		}
		if from := m["from"]; from != nil {
			f.pointer(from, "from", f.word(from, "from"))
		}
		f.pointer(m["path"], "path", f.need(e, m, "path"))
		if len(f.problems) == before && (op == "add" || op == "replace") {
			f.checkAt(m["path"], m["value"])
		}
		if len(f.problems) > before {
			continue
		}
		patch, err := jsonpatch.DecodePatch(slices.Concat([]byte("["), f.appendJSON(nil, e), []byte("]")))
		if err != nil {
			f.wrong(e, "", "not a JSON patch: %s", err)
			continue
		}
		steps = append(steps, step{e, patch})
	}
	return steps
}

// pointer notes a JSON pointer that is none.
func (f *fileReader) pointer(n *yaml.Node, key, written string) {
	if written != "" && !strings.HasPrefix(written, "/") {
		f.wrong(n, "write /"+strings.ReplaceAll(written, ".", "/"), "%s %q does not begin with a slash", key, written)
	}
}

// checkAt notes what of a value is not as it has to be at a place in an event.
func (f *fileReader) checkAt(path, value *yaml.Node) {
	s, what := eventShape, "an audit event"
	for _, name := range strings.Split(path.Value, "/")[1:] {
		if s.members == nil {
			return // anything may be there
		}
		below, ok := s.members[name]
		if !ok {
			f.wrong(path, meant(name, slices.Sorted(maps.Keys(s.members))), "there is no %q in %s", name, what)
			return
		}
		s, what = below, name
	}
	f.check(value, s, what)
}

func (s step) apply(f *fileReader, doc []byte) (out []byte, ok bool) {
	defer func() { // the patch is a person's, and the library has its limits
		if e := recover(); e != nil {
			f.wrong(s.node, "", "the patch cannot be applied: %v", e)
			out, ok = nil, false
		}
	}()
	out, err := s.patch.Apply(doc)
	if err != nil {
		f.wrong(s.node, "", "the patch does not fit the event: %s", err)
	}
	return out, err == nil
}

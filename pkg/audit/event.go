package audit

import (
	"bytes"
	"time"
	"weak"

	"github.com/valyala/fastjson"
)

// A Member is a top-level member of an audit event.
type Member uint8

// The members of an event. All but the last three are those of audit.k8s.io/v1; Metadata and Timestamp are what
// v1beta1 and v1alpha1 had in place of the two timestamps; Origin is ours (see [Event.Tag]).
const (
	Kind Member = iota
	APIVersion
	Level
	AuditID
	Stage
	RequestURI
	Verb
	User
	ImpersonatedUser
	AuthenticationMetadata
	SourceIPs
	UserAgent
	ObjectRef
	ResponseStatus
	RequestObject
	ResponseObject
	RequestReceivedTimestamp
	StageTimestamp
	Annotations
	Metadata
	Timestamp
	Origin

	members = int(Origin) + 1
)

// originKey is the name of the member this project adds to an event.
const originKey = "kaudit"

// memberNames are the members' names on the wire.
var memberNames = [members]string{
	Kind:                     "kind",
	APIVersion:               "apiVersion",
	Level:                    "level",
	AuditID:                  "auditID",
	Stage:                    "stage",
	RequestURI:               "requestURI",
	Verb:                     "verb",
	User:                     "user",
	ImpersonatedUser:         "impersonatedUser",
	AuthenticationMetadata:   "authenticationMetadata",
	SourceIPs:                "sourceIPs",
	UserAgent:                "userAgent",
	ObjectRef:                "objectRef",
	ResponseStatus:           "responseStatus",
	RequestObject:            "requestObject",
	ResponseObject:           "responseObject",
	RequestReceivedTimestamp: "requestReceivedTimestamp",
	StageTimestamp:           "stageTimestamp",
	Annotations:              "annotations",
	Metadata:                 "metadata",
	Timestamp:                "timestamp",
	Origin:                   originKey,
}

// member finds the member called key. Events come in the order of the list, nearly always, so next is tried first.
func member(key []byte, next Member) (Member, bool) {
	for m := next; int(m) < members; m++ {
		if string(key) == memberNames[m] {
			return m, true
		}
	}
	for m := range next {
		if string(key) == memberNames[m] {
			return m, true
		}
	}
	return 0, false
}

const (
	// maxValues is how many JSON values one member may hold to be parsed: each takes up to 420 bytes of memory while
	// the parser grows. An object of 1.5 MB, the most etcd stores by default, rarely has a third of that.
	maxValues = 1 << 18
	// maxEventValues is how many all members together may hold; the ones behind are not read then.
	maxEventValues = 2 * maxValues
	// A member of more values or bytes than these does not leave its parser's memory to the next event for longer than
	// until the next collection.
	keepValues = 1 << 12
	keepBytes  = 1 << 18
	// renewValues is how many values a parser reads before it is replaced, those of small members not counted. Each of
	// a parser's values keeps the memory of the largest object or list that stood in its place, so somebody could make
	// it grow from event to event; of members of fewer than smallValues it cannot become more than a megabyte. A parser
	// of heavy ones grows by 24 bytes a value at most, if no collection comes while it rests.
	renewValues = 1 << 17
	renewHeavy  = 1 << 20
	smallValues = 1 << 8
)

// An Event is one audit event. Load finds its members; each is parsed when first asked for. An Event is used by one
// goroutine at a time and meant to be used again: everything read from it is good until the next Load.
type Event struct {
	raw       []byte
	suffix    []byte // what Tag added, to stand before the closing brace
	suffixBuf []byte
	spans     [members]span
	parsed    [members]parsed
	scan      scanner
	other     parsed // for members not in the list, see At
	key       []byte // scratch for keys with escapes

	object       Node // see Object
	objectLoaded bool
	patch        patcher
}

type parsed struct {
	parser fastjson.Parser
	spent  int // how many values the parser has read
	node   Node
	state  parseState

	// A heavy value has a parser with more memory, which is there for the next one unless it was collected before.
	heavy      *fastjson.Parser
	spare      weak.Pointer[fastjson.Parser]
	heavySpent int
}

// reset forgets the value, and gives back the parser's memory if that is to be.
func (p *parsed) reset() {
	p.node, p.state, p.heavy = Node{}, unparsed, nil
	if p.spent > renewValues {
		p.parser, p.spent = fastjson.Parser{}, 0
	}
}

// heavyParser returns the parser for a heavy value of so many values.
func (p *parsed) heavyParser(values int) *fastjson.Parser {
	if p.heavy = p.spare.Value(); p.heavy == nil || p.heavySpent > renewHeavy {
		p.heavy, p.heavySpent = new(fastjson.Parser), 0
		p.spare = weak.Make(p.heavy)
	}
	p.heavySpent += values
	return p.heavy
}

// parse reads the value at s in b, unless it is too large.
func (p *parsed) parse(b []byte, s span) {
	p.state = readable
	parser := &p.parser
	switch {
	case s.values > maxValues || s.depth > fastjson.MaxDepth:
		p.state = unreadable
		return
	case s.values > keepValues, s.to-s.from > keepBytes:
		parser = p.heavyParser(s.values)
	case s.values > smallValues:
		p.spent += s.values
	}
	v, err := parser.ParseBytes(s.of(b))
	if err != nil { // it nests one level too deep: the parser counts scalars too
		p.state = unreadable
		return
	}
	p.node = Node{v}
}

type parseState uint8

const (
	unparsed parseState = iota
	readable
	unreadable
)

// Load makes e the event in raw, a JSON object and nothing else around it. e refers to raw until the next Load;
// nobody may write to it. It returns false if raw is not one whole JSON object.
func (e *Event) Load(raw []byte) bool {
	end, ok := e.load(raw, space(raw, 0))
	return ok && space(raw, end) == len(raw)
}

// load makes e the event whose opening brace is at i, and returns where it ends. If the event is broken, ok is false,
// the members before the break are there, and the position is where it broke.
func (e *Event) load(b []byte, i int) (end int, ok bool) {
	e.reset()
	if i >= len(b) || b[i] != '{' {
		return i, false
	}
	start, expected := i, Kind
	i = space(b, i+1)
	for n := 0; ; n++ {
		if i < len(b) && b[i] == '}' && n == 0 {
			break
		}
		key, next, ok := e.memberKey(b, i)
		if !ok {
			return next, false
		}
		v, ok := e.scan.value(b, next)
		if !ok {
			return v.to, false
		}
		if m, known := member(key, expected); known {
			v.from = space(b, v.from) - start
			v.to -= start
			e.spans[m] = v
			expected = m + 1
			next = v.to + start
		} else {
			next = v.to
		}
		i = space(b, next)
		if i >= len(b) || b[i] != ',' && b[i] != '}' {
			return i, false
		}
		if b[i] == '}' {
			break
		}
		i = space(b, i+1)
	}
	e.raw = b[start : i+1]
	return i + 1, true
}

// memberKey reads a key and its colon at i. The key is unescaped, and good until the next call.
func (e *Event) memberKey(b []byte, i int) (key []byte, next int, ok bool) {
	if i >= len(b) || b[i] != '"' {
		return nil, i, false
	}
	end, ok := text(b, i)
	if !ok {
		return nil, end, false
	}
	key = b[i+1 : end-1]
	if bytes.IndexByte(key, '\\') >= 0 {
		e.key = unescape(e.key[:0], key)
		key = e.key
	}
	i = space(b, end)
	if i >= len(b) || b[i] != ':' {
		return nil, i, false
	}
	return key, i + 1, true
}

// unescape appends the text between the quotes of a well-formed JSON string.
func unescape(dst, quoted []byte) []byte {
	var p fastjson.Parser
	v, err := p.Parse(`"` + string(quoted) + `"`)
	if err != nil {
		return append(dst, quoted...)
	}
	return append(dst, v.GetStringBytes()...)
}

func (e *Event) reset() {
	for m := range e.parsed {
		if p := &e.parsed[m]; p.state != unparsed {
			p.reset()
		}
	}
	if e.other.state != unparsed {
		e.other.reset()
	}
	if e.objectLoaded {
		e.patch.reset()
	}
	if cap(e.key) > keepBytes {
		e.key = nil
	}
	clear(e.spans[:])
	e.raw, e.suffix = nil, nil
	e.object, e.objectLoaded = Node{}, false
}

// Get returns a member. It is the zero Node if the event does not have it, and if it cannot be read (see Unreadable).
func (e *Event) Get(m Member) Node {
	p := &e.parsed[m]
	if p.state == unparsed {
		e.parse(m)
	}
	return p.node
}

func (e *Event) parse(m Member) {
	p, s := &e.parsed[m], e.spans[m]
	if !s.present() {
		p.state = readable
		return
	}
	if s.values > keepValues {
		for _, before := range e.spans[:m] {
			s.values += before.values
		}
		if s.values > maxEventValues {
			p.state = unreadable
			return
		}
		s.values = e.spans[m].values
	}
	from := e.raw
	if m == Origin && e.suffix != nil {
		from = e.suffix
	}
	p.parse(from, s)
}

// Unreadable reports whether the event has this member but it holds so many values, or nests so deeply, that it is
// not read. Nothing Kubernetes itself writes does; somebody who wants not to be seen may.
func (e *Event) Unreadable(m Member) bool {
	e.Get(m)
	return e.parsed[m].state == unreadable
}

// Has reports whether the event has the member, without parsing it.
func (e *Event) Has(m Member) bool { return e.spans[m].present() }

// Raw returns the bytes of the event as they arrived, without what Tag added.
func (e *Event) Raw() []byte { return e.raw }

// IsAudit reports whether this is an audit event at all: it has an audit ID, or says that it is an Event of
// audit.k8s.io.
func (e *Event) IsAudit() bool {
	return e.Has(AuditID) || e.Get(Kind).Is("Event") && bytes.HasPrefix(e.Get(APIVersion).Bytes(), []byte("audit.k8s.io/"))
}

// What a notice says of itself; see IsNotice.
const (
	NoticeKind    = "Notice"
	NoticeVersion = "kaudit/v1"
)

// IsNotice reports whether this is no audit event but a notice: a JSON object by which this project tells of delivery
// itself, with kind, apiVersion, name, source, cluster, count, message and time. The host gets it as an asynchronous event, so
// what a sender posts never is one.
func (e *Event) IsNotice() bool {
	return !e.Has(AuditID) && e.Get(Kind).Is(NoticeKind) && e.Get(APIVersion).Is(NoticeVersion)
}

// Tag adds a member to the event that says where it came from: cluster, source, or what happened to it on the way.
// object is a JSON object, which e keeps a copy of. An event that brings such a member with it keeps it on the wire, but the
// one added counts.
func (e *Event) Tag(object []byte) {
	e.suffixBuf = e.suffixBuf[:0]
	if space(e.raw, 1) < len(e.raw)-1 { // there are others before it
		e.suffixBuf = append(e.suffixBuf, ',')
	}
	e.suffixBuf = append(e.suffixBuf, `"`+originKey+`":`...)
	from := len(e.suffixBuf)
	e.suffixBuf = append(e.suffixBuf, object...)
	e.suffix = e.suffixBuf
	e.spans[Origin] = span{from: from, to: len(e.suffix), values: 1}
	e.parsed[Origin].reset()
}

// Size returns the number of bytes AppendTo appends.
func (e *Event) Size() int { return len(e.raw) + len(e.suffix) }

// AppendTo appends the event with what Tag added.
func (e *Event) AppendTo(dst []byte) []byte {
	if len(e.suffix) == 0 {
		return append(dst, e.raw...)
	}
	dst = append(dst, e.raw[:len(e.raw)-1]...)
	dst = append(dst, e.suffix...)
	return append(dst, '}')
}

// Time returns when the event's stage was reached: stageTimestamp, in older versions metadata.creationTimestamp, else
// when the request was received. It returns false if the event says nothing of the kind.
func (e *Event) Time() (time.Time, bool) {
	if t, ok := e.Get(StageTimestamp).Time(); ok {
		return t, true
	}
	if t, ok := e.Get(Metadata).Get("creationTimestamp").Time(); ok {
		return t, true
	}
	return e.Received()
}

// Received returns when the request was received: requestReceivedTimestamp, in older versions timestamp.
func (e *Event) Received() (time.Time, bool) {
	if t, ok := e.Get(RequestReceivedTimestamp).Time(); ok {
		return t, true
	}
	return e.Get(Timestamp).Time()
}

// NoticeTime returns when a notice was raised.
func (e *Event) NoticeTime() (time.Time, bool) { return e.top("time").Time() }

// NoticeName returns the name of a notice, and nil for any other event. It is good until the next call of At or All.
func (e *Event) NoticeName() []byte {
	if !e.IsNotice() {
		return nil
	}
	return e.top("name").Bytes()
}

// top returns a top-level member by name, known or not. One that is not known is good until the next is asked for.
func (e *Event) top(name string) Node {
	for m := range memberNames {
		if name == memberNames[m] {
			return e.Get(Member(m))
		}
	}
	var found span
	for i := space(e.raw, 1); i < len(e.raw); {
		key, next, ok := e.memberKey(e.raw, i)
		if !ok {
			break
		}
		match := string(key) == name
		v, _ := e.scan.value(e.raw, next)
		if match {
			found = v
		}
		if i = space(e.raw, v.to); i >= len(e.raw) || e.raw[i] != ',' {
			break
		}
		i = space(e.raw, i+1)
	}
	e.other.reset()
	if found.present() {
		e.other.parse(e.raw, found)
	}
	return e.other.node
}

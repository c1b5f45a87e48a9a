package audit

import (
	"bytes"
	"time"
)

// DefaultMaxEventSize is how many bytes an event may have before its bodies are cut.
const DefaultMaxEventSize = 16 << 20

// Marks says what was done to an event on the way. The event itself carries them too, in its kaudit member.
type Marks uint8

// The marks.
const (
	// Cut: the event was larger than allowed; its bodies were taken out, as the API server does (truncate backend,
	// kubernetes/apiserver: plugin/pkg/audit/truncate).
	Cut Marks = 1 << iota
	// Salvaged: the event ended early or was broken; what was whole before is there.
	Salvaged
	// Untimed: the event had no timestamp; it carries the time of its arrival.
	Untimed
)

// A Reason is why a piece of a payload is not an event.
type Reason uint8

// The reasons.
const (
	// NotJSON: the piece is not a JSON object.
	NotJSON Reason = iota
	// NotAudit: the piece is a JSON object but not an audit event.
	NotAudit
	// Broken: the piece began as a JSON object, broke, and too little came before to be an event.
	Broken

	Reasons = int(Broken) + 1
)

func (r Reason) String() string {
	switch r {
	case NotJSON:
		return "not JSON"
	case NotAudit:
		return "not an audit event"
	default:
		return "broken JSON"
	}
}

// A Handler takes what a Decoder finds.
type Handler interface {
	// Event takes one event, stamped with the time its stage was reached. e is good only during the call.
	Event(e *Event, stamp time.Time, marks Marks)
	// Rejected is told of a piece of the payload, length bytes at offset, that is not an event.
	Rejected(why Reason, offset, length int)
}

// A Decoder splits payloads into events. It is used by one goroutine at a time and again and again; between payloads
// it keeps only memory of bounded size.
type Decoder struct {
	// MaxEventSize is how many bytes an event may have; zero means DefaultMaxEventSize.
	MaxEventSize int
	// Cluster is the name of the cluster the payload comes from; each event then carries it. May be empty.
	Cluster string
	// Notices says that notices are handed on as well (see [Event.IsNotice]), for fixtures of rules. What arrives from
	// elsewhere must never pass for one.
	Notices bool
	// Now is the clock for events without a timestamp; nil means time.Now.
	Now func() time.Time

	event   Event
	rebuilt []byte // events that were cut or salvaged
	handler Handler
	origin  []byte // scratch for the member Tag adds
	shift   int    // where in the payload the line in work begins
	wrap    wrapping
}

// Decode hands every event in payload to h, in order: an EventList, an Event (with or without kind), an array of either,
// JSON lines, or several of these one after another; white space, NUL bytes and byte order marks between them
// do not matter. Any of them may be in the envelopes that collectors put around what they send, see wrappers. lines says
// that each line stands alone; where it is false that is guessed.
//
// A broken piece costs that piece and no other, and if enough of it is whole, not even that: see Salvaged.
func (d *Decoder) Decode(payload []byte, lines bool, h Handler) {
	d.handler = h
	d.wrap.depth, d.wrap.copied, d.wrap.expanded = 0, 0, 0
	defer func() {
		d.handler = nil
		d.event.reset()
	}()
	if !lines && !standAlone(payload) {
		d.shift = 0
		d.documents(payload)
		return
	}
	for from := 0; from < len(payload); {
		to := len(payload)
		if n := bytes.IndexByte(payload[from:], '\n'); n >= 0 {
			to = from + n
		}
		d.shift = from
		d.documents(payload[from:to])
		from = to + 1
	}
}

// standAlone guesses whether the lines of a payload are documents of their own: the first two begin with a brace and
// the first is more than that brace, and does not go on in the second.
func standAlone(payload []byte) bool {
	i := blank(payload, 0)
	end := bytes.IndexByte(payload[i:], '\n')
	if i >= len(payload) || payload[i] != '{' || end < 0 {
		return false
	}
	first := bytes.TrimSpace(payload[i : i+end])
	next := blank(payload, i+end)
	if next >= len(payload) || payload[next] != '{' || len(first) == 1 {
		return false
	}
	last := first[len(first)-1]
	return last != '[' && last != ','
}

// blank returns the first position from i on that is not white space, NUL (which copytruncate leaves behind), a byte
// order mark or a record separator (RFC 7464).
func blank(b []byte, i int) int {
	for i < len(b) {
		switch b[i] {
		case ' ', '\n', '\r', '\t', 0, 0x1e:
			i++
		case 0xef:
			if !bytes.HasPrefix(b[i:], []byte("\xef\xbb\xbf")) {
				return i
			}
			i += 3
		default:
			return i
		}
	}
	return i
}

// documents decodes one document after another.
func (d *Decoder) documents(b []byte) {
	lost := false // whether a document broke: what comes may be the rest of it
	for i := blank(b, 0); i < len(b); i = blank(b, i) {
		start, whole := i, true
		switch {
		case b[i] == '[':
			i = d.array(b, i, true, !lost)
		case b[i] == '{':
			if i, whole = d.object(b, i, true, !lost); !whole {
				i, lost = resume(b, start, i), true
			}
		case lost:
			i = resume(b, i, i)
		default:
			i = lineEnd(b, i)
			d.reject(NotJSON, start, i-start)
		}
	}
}

// resume finds where the next event may begin behind a value that began at start and broke at i: at a brace behind
// which the name of a member of events stands, or one that begins a line. A quotation mark inside of a string has a
// backslash before it, so this is never in the middle of a text. What was read of the broken value is not looked at
// again: an object inside of it is not an event, even if it looks like one.
func resume(b []byte, start, i int) int {
	// A quotation mark that is missing is found in the next event: its first one closes the string then.
	if i > 0 && i < len(b) && b[i-1] == '"' {
		if n := before(b, i-2); n > start && b[n] == '{' {
			i = n
		}
	}
	for ; i < len(b); i++ {
		n := bytes.IndexByte(b[i:], '{')
		if n < 0 {
			break
		}
		if i += n; begins(b, i) {
			return i
		}
	}
	return len(b)
}

// begins reports whether the brace at i looks like the beginning of an event.
func begins(b []byte, i int) bool {
	key := space(b, i+1)
	if key >= len(b) || b[key] != '"' {
		return false
	}
	if i > 0 && b[i-1] == '\n' {
		return true
	}
	if n := before(b, i-1); n >= 0 && b[n] == ':' { // the value of a member
		return false
	}
	end := bytes.IndexByte(b[key+1:min(len(b), key+40)], '"')
	if end < 0 {
		return false
	}
	_, known := member(b[key+1:key+1+end], 0)
	colon := space(b, key+end+2)
	return known && colon < len(b) && b[colon] == ':'
}

// before returns the last position up to i that is not JSON white space, or -1.
func before(b []byte, i int) int {
	for i >= 0 && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i--
	}
	return i
}

func lineEnd(b []byte, i int) int {
	if n := bytes.IndexByte(b[i:], '\n'); n >= 0 {
		return i + n
	}
	return len(b)
}

// array decodes the elements of the array that begins at i and returns where it ends, or else the bytes do. Lists and
// envelopes as elements are read if that is set.
func (d *Decoder) array(b []byte, i int, lists, envelopes bool) int {
	lost := false // whether an element broke: a bracket may be one inside of it
	for i = space(b, i+1); i < len(b); {
		if b[i] == ']' && !lost {
			return i + 1
		}
		start, whole := i, false
		if b[i] == '{' {
			i, whole = d.object(b, i, lists, envelopes && !lost)
		} else {
			var v span
			v, whole = d.event.scan.value(b, i)
			d.reject(NotAudit, i, v.to-i)
			i = v.to
		}
		if next := space(b, i); whole && next < len(b) && !lost {
			switch b[next] {
			case ',':
				i = space(b, next+1)
				continue
			case ']':
				i = next
				continue
			}
		}
		lost = true
		i = resume(b, start, i)
	}
	return len(b)
}

// object decodes the event that begins at i, or the list or the envelope if those are set. It returns where the object
// ends, or where it broke and false.
func (d *Decoder) object(b []byte, i int, lists, envelopes bool) (end int, whole bool) {
	if lists {
		if items := d.items(b, i); items > 0 {
			return d.list(b, items)
		}
	}
	e := &d.event
	if end, whole = e.load(b, i); !whole {
		d.salvage(b, i, end)
		return end, false
	}
	switch {
	case e.IsAudit():
		d.emit(0, "")
	case d.Notices && e.IsNotice():
		stamp, ok := e.NoticeTime()
		if !ok {
			stamp = d.now()
		}
		d.handler.Event(e, stamp, 0)
	case !envelopes || !d.unwrap(b, i, end):
		d.reject(NotAudit, i, end-i)
	}
	return end, true
}

// items returns where the array of an EventList begins if the object at i is one, else 0. It looks no further than the
// first member that only an event has.
func (d *Decoder) items(b []byte, i int) int {
	for i = space(b, i+1); ; i = space(b, i+1) {
		key, next, ok := d.event.memberKey(b, i)
		if !ok {
			return 0
		}
		i = space(b, next)
		switch string(key) {
		case "items":
			if i < len(b) && b[i] == '[' {
				return i
			}
			return 0
		case "kind", "apiVersion", "metadata":
		default:
			if _, event := member(key, Level); event {
				return 0
			}
		}
		v, ok := d.event.scan.value(b, i)
		if !ok {
			return 0
		}
		if i = space(b, v.to); i >= len(b) || b[i] != ',' {
			return 0
		}
	}
}

// list decodes the items of a list, which begin at items, and passes over what else it has.
func (d *Decoder) list(b []byte, items int) (end int, whole bool) {
	for end = space(b, d.array(b, items, false, false)); end < len(b) && b[end] == ','; end = space(b, end) {
		_, next, ok := d.event.memberKey(b, space(b, end+1))
		if !ok {
			return next, false
		}
		v, ok := d.event.scan.value(b, next)
		if end = v.to; !ok {
			return end, false
		}
	}
	if end >= len(b) || b[end] != '}' {
		return end, false
	}
	return end + 1, true
}

// emit hands the event on, cut if it is too large and with what is to be told of it.
func (d *Decoder) emit(marks Marks, salvaged string) {
	e := &d.event
	limit := d.MaxEventSize
	if limit <= 0 {
		limit = DefaultMaxEventSize
	}
	if e.Size() > limit {
		marks |= Cut
		out := d.without(limit)
		for most := limit / 2; len(out) > limit && most >= 64; most /= 2 {
			out = d.without(most)
		}
		e.Load(out)
	}
	if d.Cluster != "" || salvaged != "" {
		o := append(d.origin[:0], '{')
		if d.Cluster != "" {
			o = append(appendQuoted(append(o, `"cluster":`...), []byte(d.Cluster)), ',')
		}
		if salvaged != "" {
			o = append(appendQuoted(append(o, `"salvaged":`...), []byte(salvaged)), ',')
		}
		o[len(o)-1] = '}'
		e.Tag(o)
		d.origin = o
	}
	stamp, ok := e.Time()
	if !ok {
		marks |= Untimed
		stamp = d.now()
	}
	d.handler.Event(e, stamp, marks)
}

func (d *Decoder) now() time.Time {
	if d.Now != nil {
		return d.Now()
	}
	return time.Now()
}

// without returns the event without its bodies, without members and annotations longer than most, and with the
// annotation that the API server's truncate backend leaves on such events.
func (d *Decoder) without(most int) []byte {
	e := &d.event
	out := []byte{'{'}
	for i, s := range e.spans {
		switch m := Member(i); {
		case !s.present(), m == RequestObject, m == ResponseObject, m == Annotations, s.to-s.from > most:
		default:
			out = append(out, '"')
			out = append(out, memberNames[m]...)
			out = append(out, `":`...)
			out = append(out, s.of(e.raw)...)
			out = append(out, ',')
		}
	}
	if s := e.spans[AuditID]; !s.present() || s.to-s.from > most { // what else says that it is an event
		out = append(out, `"kind":"Event","apiVersion":"audit.k8s.io/v1",`...)
	}
	out = append(out, `"annotations":{`...)
	e.Get(Annotations).Each(func(key []byte, value Node) {
		if string(key) != TruncatedKey && len(key)+len(value.Bytes()) <= most {
			out = append(appendQuoted(out, key), ':')
			out = append(appendQuoted(out, value.Bytes()), ',')
		}
	})
	return append(out, `"`+TruncatedKey+`":"true"}}`...)
}

// salvage hands on what is whole of the object that begins at i and broke at end, if that is still an audit event.
func (d *Decoder) salvage(b []byte, i, end int) {
	e := &d.event
	out := append(d.rebuilt[:0], '{')
	for at := space(b, i+1); at < end; at = space(b, at+1) {
		_, next, ok := e.memberKey(b, at)
		if !ok {
			break
		}
		v, ok := e.scan.value(b, next)
		whole := v.to
		if !ok {
			whole = e.scan.whole // something inside may be
		} else if unfinished(b, v.to) {
			break
		}
		if whole > next {
			out = append(append(out, b[at:whole]...), ',')
		}
		if !ok {
			if whole > next {
				out = append(e.scan.closers(out[:len(out)-1], e.scan.open), ',')
			}
			break
		}
		if at = space(b, whole); at >= len(b) || b[at] != ',' {
			break
		}
	}
	out[len(out)-1] = '}' // the last comma, or the brace of an object of which nothing was whole
	if len(out) == 1 || !e.Load(out) || !e.IsAudit() {
		d.reject(Broken, i, end-i)
	} else {
		how := "broken"
		if rest := b[space(b, end):]; len(rest) == 0 || len(rest) < 20 && bytes.HasSuffix(bytes.TrimSpace(rest), []byte("Truncated...]")) {
			how = "truncated"
		}
		d.emit(Salvaged, how)
	}
	if d.rebuilt = out; cap(out) > keepBytes {
		d.rebuilt = nil
	}
}

// TruncatedKey is the annotation of events whose bodies were taken out
// (kubernetes/apiserver: plugin/pkg/audit/truncate/truncate.go).
const TruncatedKey = "audit.k8s.io/truncated"

package audit

import (
	"bytes"
	"encoding/base64"
	"io"

	"github.com/klauspost/compress/gzip"
)

const (
	// maxWraps is how many envelopes may be around an event: Firehose has a record around a batch of CloudWatch around a
	// log event around the text, and a collector may have forwarded that.
	maxWraps = 6
	// maxExpanded bounds what all gzip in one payload becomes: as much as the webhook takes of a body by default.
	maxExpanded = 64 << 20
)

// wrappers are the members that collectors and clouds put audit events into, as an object, as a list or as text. Earlier
// ones are preferred.
var wrappers = [...]string{
	"records",       // Azure Monitor, Amazon Data Firehose
	"logEvents",     // Amazon CloudWatch Logs
	"log",           // Fluent Bit, and Azure Monitor below properties
	"message",       // Fluentd, Vector, Filebeat, CloudWatch, and Pub/Sub around data
	"event",         // Splunk HEC
	"structured",    // OpenShift
	"MESSAGE",       // the journal
	"body",          // OpenTelemetry
	"full_message",  // GELF, of which short_message may be a part only
	"short_message", // GELF
	"properties",    // Azure Monitor
	"data",          // Firehose and Pub/Sub: base64, perhaps of gzip
}

const dataWrapper = len(wrappers) - 1

// A wrapping is where in the payload the decoder is inside of a text, whose own positions mean nothing outside.
type wrapping struct {
	depth          int // how many envelopes are around
	copied         int // how many of them were texts
	offset, length int // of the outermost text's envelope in the payload
	expanded       int // how many bytes gzip has become

	texts [maxWraps][]byte // scratch: the texts, by depth
	gzip  *gzip.Reader     // nil until it is needed
}

// reject tells of a piece that is not an event.
func (d *Decoder) reject(why Reason, from, length int) {
	if d.wrap.copied > 0 {
		d.handler.Rejected(why, d.wrap.offset, d.wrap.length)
		return
	}
	d.handler.Rejected(why, d.shift+from, length)
}

// unwrap decodes what is in the envelope from i to end, a whole object that is no audit event, and returns false if it is
// no envelope. Only here are texts read as JSON: not in events, where they are what some user wrote, not in objects that
// say which kind of Kubernetes they are of, and not behind anything broken.
func (d *Decoder) unwrap(b []byte, i, end int) bool {
	if d.wrap.depth == maxWraps || d.event.Has(Kind) && d.event.Has(APIVersion) {
		return false
	}
	values := d.wrapped(b, i)
	for w, v := range values {
		if v.present() && d.enter(b, v, w == dataWrapper, i, end) {
			return true
		}
	}
	return false
}

// wrapped finds the values of wrappers in the object at i. Of a name that comes twice the last one counts.
func (d *Decoder) wrapped(b []byte, i int) (values [len(wrappers)]span) {
	for i = space(b, i+1); i < len(b) && b[i] != '}'; {
		key, next, ok := d.event.memberKey(b, i)
		if !ok {
			return values
		}
		name := -1
		for w := range wrappers {
			if string(key) == wrappers[w] {
				name = w
				break
			}
		}
		v, ok := d.event.scan.value(b, next)
		if !ok {
			return values
		}
		if name >= 0 {
			v.from = space(b, v.from)
			values[name] = v
		}
		if i = space(b, v.to); i < len(b) && b[i] == ',' {
			i = space(b, i+1)
		}
	}
	return values
}

// enter decodes one value of the envelope from i to end, if events may be in it.
func (d *Decoder) enter(b []byte, v span, coded bool, i, end int) bool {
	switch b[v.from] {
	case '{':
		if !d.promises(b, v.from) {
			return false
		}
		d.wrap.depth++
		d.object(b, v.from, true, true)
		d.wrap.depth--
		return true
	case '[':
		if first := space(b, v.from+1); b[first] != '{' {
			return false
		}
		d.wrap.depth++
		d.array(b, v.from, true, true)
		d.wrap.depth--
		return true
	case '"':
		text := &d.wrap.texts[d.wrap.depth]
		*text = unescape((*text)[:0], b[v.from+1:v.to-1])
		found := d.text(*text, coded, i, end)
		if cap(*text) > keepBytes {
			*text = nil
		}
		return found
	}
	return false
}

// text decodes a text of the envelope from i to end, if it begins as JSON does.
func (d *Decoder) text(text []byte, coded bool, i, end int) bool {
	if coded {
		n, err := base64.StdEncoding.Decode(text, text)
		if err != nil {
			return false
		}
		if text = text[:n]; bytes.HasPrefix(text, []byte{0x1f, 0x8b}) {
			text = d.gunzip(text)
		}
	}
	if at := blank(text, 0); at == len(text) || text[at] != '{' && text[at] != '[' {
		return false
	}
	if d.wrap.copied == 0 {
		d.wrap.offset, d.wrap.length = d.shift+i, end-i
	}
	d.wrap.depth++
	d.wrap.copied++
	d.documents(text)
	d.wrap.copied--
	d.wrap.depth--
	return true
}

// promises reports whether the object at i is an event, a list or an envelope, by its members' names: many collectors have
// objects of their own under the names of wrappers.
func (d *Decoder) promises(b []byte, i int) bool {
	if d.items(b, i) > 0 {
		return true
	}
	if end, ok := d.event.load(b, i); !ok || end > len(b) {
		return false
	}
	if d.event.IsAudit() {
		return true
	}
	for _, v := range d.wrapped(b, i) {
		if v.present() {
			return true
		}
	}
	return false
}

// gunzip returns what is compressed, as much of it as may be.
func (d *Decoder) gunzip(compressed []byte) []byte {
	var err error
	if d.wrap.gzip == nil {
		d.wrap.gzip, err = gzip.NewReader(bytes.NewReader(compressed))
	} else {
		err = d.wrap.gzip.Reset(bytes.NewReader(compressed))
	}
	if err != nil {
		return nil
	}
	out, _ := io.ReadAll(io.LimitReader(d.wrap.gzip, int64(maxExpanded-d.wrap.expanded))) // what is whole of a broken one counts
	d.wrap.expanded += len(out)
	return out
}

package audit_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"kaudit/internal/cputime"
	"kaudit/pkg/audit"
)

// found collects what a decoder finds, in words: an event is its audit ID and marks, a rejection its reason.
type found struct {
	t       testing.TB
	payload []byte
	said    []string
	events  [][]byte
	stamps  []time.Time
}

func (f *found) Event(e *audit.Event, stamp time.Time, marks audit.Marks) {
	f.t.Helper()
	raw := e.AppendTo(nil)
	if len(raw) != e.Size() {
		f.t.Errorf("Size says %d, there are %d bytes", e.Size(), len(raw))
	}
	if !json.Valid(raw) {
		f.t.Errorf("not valid JSON: %.200q", raw)
	}
	said := string(e.Get(audit.AuditID).Bytes())
	for _, m := range []struct {
		audit.Marks
		name string
	}{{audit.Cut, "cut"}, {audit.Salvaged, "salvaged"}, {audit.Untimed, "untimed"}} {
		if marks&m.Marks != 0 {
			said += " " + m.name
		}
	}
	if how := e.Get(audit.Origin).Get("salvaged").Bytes(); how != nil {
		said += "(" + string(how) + ")"
	}
	f.said = append(f.said, said)
	f.events = append(f.events, raw)
	f.stamps = append(f.stamps, stamp)
}

func (f *found) Rejected(why audit.Reason, offset, length int) {
	f.t.Helper()
	if offset < 0 || length < 0 || offset+length > len(f.payload) {
		f.t.Errorf("rejected %d bytes at %d of %d", length, offset, len(f.payload))
		return
	}
	f.said = append(f.said, "! "+why.String())
}

// decoded returns what d finds in a payload, which it must not change.
func decoded(t testing.TB, d *audit.Decoder, payload string, lines bool) *found {
	t.Helper()
	f := &found{t: t, payload: []byte(payload)}
	d.Decode(f.payload, lines, f)
	if string(f.payload) != payload {
		t.Error("the decoder wrote into the payload")
	}
	return f
}

// ev is an event with an ID and a timestamp.
func ev(id string) string {
	return `{"auditID":"` + id + `","stageTimestamp":"2026-01-02T03:04:05.678901Z"}`
}

func TestAPayloadIsSplitIntoEvents(t *testing.T) {
	a, b, c := ev("a"), ev("b"), ev("c")
	const list = `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`
	for _, row := range []struct {
		what, payload string
		lines         bool
		want          string // events and rejections, a comma between them
	}{
		// What is well-formed.
		{what: "nothing", payload: "", want: ""},
		{what: "white space", payload: " \n\t\r\n", want: ""},
		{what: "an event without kind", payload: a, want: "a"},
		{what: "an event with kind", payload: `{"kind":"Event","apiVersion":"audit.k8s.io/v1",` + a[1:], want: "a"},
		{what: "an event of v1beta1", payload: `{"kind":"Event","apiVersion":"audit.k8s.io/v1beta1","metadata":{"creationTimestamp":"2018-01-02T03:04:05Z"},"auditID":"a"}`, want: "a"},
		{what: "a list", payload: list + a + "," + b + "]}", want: "a,b"},
		{what: "an empty list", payload: list + "]}", want: ""},
		{what: "a list of nothing but items", payload: `{"items":[` + a + `]}`, want: "a"},
		{what: "a list with a member in front", payload: `{"cluster":{"name":"x"},"kind":"EventList","items":[` + a + `]}`, want: "a"},
		{what: "a list with members behind", payload: `{"items":[` + a + `],"kind":"EventList","metadata":{"x":[1]}}` + b, want: "a,b"},
		{what: "a list whose items are null", payload: `{"kind":"EventList","items":null}`, want: "! not an audit event"},
		{what: "an event that has items", payload: `{"auditID":"a","stageTimestamp":"2026-01-02T03:04:05Z","items":[{"auditID":"x"}]}`, want: "a"},
		{what: "an array", payload: "[" + a + " , " + b + "]", want: "a,b"},
		{what: "an empty array", payload: "[ ]", want: ""},
		{what: "an array of lists", payload: "[" + list + a + "]}," + c + "," + list + b + "]}]", want: "a,c,b"},
		{what: "a list in a list is not read", payload: list + a + "," + list + b + "]}" + "]}", want: "a,! not an audit event"},
		{what: "an array in an array is not read", payload: "[[" + a + "]," + b + "]", want: "! not an audit event,b"},
		{what: "lines", payload: a + "\n" + b + "\r\n" + c + "\n", lines: true, want: "a,b,c"},
		{what: "lines nobody announced", payload: a + "\n" + b + "\n", want: "a,b"},
		{what: "blank lines", payload: "\n" + a + "\n\n\n" + b, lines: true, want: "a,b"},
		{what: "lines of lists and arrays", payload: list + a + "]}\n[" + b + "]\n", lines: true, want: "a,b"},
		{what: "one after another", payload: a + b + " " + c, want: "a,b,c"},
		{what: "pretty printed", payload: indent(a) + "\n" + indent(b), want: "a,b"},
		{what: "a pretty printed list", payload: indent(list + a + "," + b + "]}"), want: "a,b"},
		{what: "a list with an item a line", payload: list + "\n" + a + ",\n" + b + "\n]}\n", want: "a,b"},
		{what: "a list that begins a second line", payload: list + a + ",\n" + b + "]}\n", want: "a,b"},
		{what: "a byte order mark", payload: "\xef\xbb\xbf" + a + "\xef\xbb\xbf\n" + b, want: "a,b"},
		{what: "a hole of NUL bytes", payload: strings.Repeat("\x00", 5000) + a + "\n" + strings.Repeat("\x00", 99) + b + "\n", want: "a,b"},
		{what: "a hole of NUL bytes in lines", payload: a + "\n" + strings.Repeat("\x00", 99) + b + "\n", lines: true, want: "a,b"},
		{what: "record separators", payload: "\x1e" + a + "\n\x1e" + b + "\n", want: "a,b"},
		{what: "escapes in keys", payload: `{"\u0061uditID":"a","stage\u0054imestamp":"2026-01-02T03:04:05Z"}`, want: "a"},
		{what: "escapes in the keys of a list", payload: `{"k\u0069nd":"EventList","\u0069tems":[` + a + `]}`, want: "a"},
		{what: "a key twice: the last one counts", payload: `{"auditID":"x","stageTimestamp":"2026-01-02T03:04:05Z","auditID":"a"}`, want: "a"},
		{what: "no timestamp", payload: `{"auditID":"a"}`, want: "a untimed"},

		// What is not an event.
		{what: "text", payload: "hello", want: "! not JSON"},
		{what: "a number", payload: "17", want: "! not JSON"},
		{what: "an object", payload: `{"kind":"Pod","apiVersion":"v1"}`, want: "! not an audit event"},
		{what: "an event of another API", payload: `{"kind":"Event","apiVersion":"events.k8s.io/v1"}`, want: "! not an audit event"},
		{what: "an empty object", payload: `{}`, want: "! not an audit event"},
		{what: "text between lines", payload: a + "\nhello {\"auditID\":\"x\"}\n" + b, lines: true, want: "a,! not JSON,b"},
		{what: "an object between events", payload: a + `{"x":1}` + b, want: "a,! not an audit event,b"},
		{what: "scalars and an object in an array", payload: "[1,\"x\"," + a + ",null,{\"x\":[{}]}," + b + "]", want: "! not an audit event,! not an audit event,a,! not an audit event,! not an audit event,b"},

		// A malformed item costs that item.
		{what: "a broken line", payload: a + "\n" + `{"auditID":"x",!}` + "\n" + b, lines: true, want: "a,x salvaged untimed(broken),b"},
		{what: "a line cut short", payload: a + "\n" + `{"auditID":"x","userAgent":"ku` + "\n" + b, lines: true, want: "a,x salvaged untimed(truncated),b"},
		{what: "a first line cut short, nobody announced lines", payload: `{"auditID":"x","userAgent":"ku` + "\n" + a + "\n" + b, want: "x salvaged untimed(truncated),a,b"},
		{what: "a first line cut behind a colon", payload: `{"auditID":"x","userAgent":` + "\n" + a + "\n" + b, want: "x salvaged untimed(truncated),a,b"},
		{what: "a first line cut behind a comma", payload: `{"auditID":"x",` + "\n" + a + "\n" + b, want: "x salvaged untimed(broken),a,b"},
		{what: "a line cut before anything is whole", payload: `{"audit` + "\n" + a, lines: true, want: "! broken JSON,a"},
		{what: "a line with too many braces", payload: a + "}\n" + b, lines: true, want: "a,! not JSON,b"},
		{what: "a broken document", payload: a + `{"auditID":"x",!}` + b + c, want: "a,x salvaged untimed(broken),b,c"},
		{what: "a broken document with objects inside", payload: `{"auditID":"x","user":!,"subjects":[{"kind":"User"},{"kind":"Group"}]}` + b, want: "x salvaged untimed(broken),! not an audit event,! not an audit event,b"},
		{what: "a broken pretty printed document", payload: strings.Replace(indent(a), `",`, `"!`, 1) + "\n" + indent(b), want: "a salvaged untimed(broken),b"},
		{what: "a broken document before an array", payload: `{"auditID":"x",!}` + "[" + a + "," + b + "]", want: "x salvaged untimed(broken),a,b"},
		{what: "a broken document before a list", payload: `{"auditID":"x",!}` + "\n" + list + a + "," + b + "]}", want: "x salvaged untimed(broken),a,b"},
		{what: "a broken element", payload: "[" + a + `,{"auditID":"x",!},` + b + "," + c + "]", want: "a,x salvaged untimed(broken),b,c"},
		{what: "a broken item", payload: list + a + `,{"auditID":"x",!},` + b + "," + c + "]}", want: "a,x salvaged untimed(broken),b,c"},
		{what: "an item broken before a list of objects", payload: list + `{"auditID":"x","requestObject":{"a":[!,{"k":1},{"k":2}]}},` + b + "," + c + "]}", want: "x salvaged untimed(broken),b,c"},
		{what: "an item broken before a list of objects with known names", payload: list + `{"auditID":"x","requestObject":{"a":[!,{"kind":"k"},{"kind":"k"}]}},` + b + "," + c + "]}", want: "x salvaged untimed(broken),! not an audit event,! not an audit event,b,c"},
		{what: "an item without its closing brace", payload: list + a[:len(a)-1] + "," + b + "]}", want: "a salvaged(broken),b"},
		{what: "an item without its opening brace", payload: list + a[1:] + "," + b + "," + c + "]}", want: "! not an audit event,b,c"},
		{what: "an item without a closing quotation mark", payload: list + `{"auditID":"x"},{"verb":"get},` + b + "," + c + "]}", want: "x untimed,! broken JSON,b,c"},
		{what: "no comma between items", payload: list + a + b + "," + c + "]}", want: "a,b,c"},
		{what: "two commas between items", payload: list + a + ",," + b + "]}", want: "a,! not an audit event,b"},
		{what: "a comma before the end", payload: "[" + a + ",]" + b, want: "a,b"},
		{what: "text behind an item", payload: "[" + a + " x," + b + "]", want: "a,b"},
		{what: "a broken scalar before an item", payload: "[nul," + a + ",\"abc\x01," + b + "]", want: "! not an audit event,a,b"},
		{what: "a wrong bracket", payload: "[" + a + "}," + b + "]", want: "a,b"},
		{what: "an array that never ends", payload: "[" + a + "," + b, want: "a,b"},
		{what: "an array cut in an element", payload: "[" + a + `,{"auditID":"x","verb":"ge`, want: "a,x salvaged untimed(truncated)"},
		{what: "a list cut in an item", payload: list + a + `,{"auditID":"x","verb":"get","user":{"username":"jane","gro`, want: "a,x salvaged untimed(truncated)"},
		{what: "a list that breaks behind its items", payload: list + a + `],"x":!}` + "\n" + b, want: "a,b"},
		{what: "a list that breaks before its items", payload: `{"kind":"EventList","x":!,"items":[` + a + "," + b + "]}", want: "! broken JSON,a,b"},
		{what: "an object inside of what was cut is not an event", payload: `{"auditID":"x","requestObject":{"list":[{},{"auditID":"forged","verb":"get"`, want: "x salvaged untimed(truncated)"},
		{what: "nor in an array", payload: `[{"auditID":"x","requestObject":{"list":[{},{"auditID":"forged"},{"auditID":"forged","verb":"get"},{"a`, want: "x salvaged untimed(truncated)"},
		{what: "nor before a mark", payload: a + "\n" + `{"auditID":"x","requestObject":{"list":[{},{"auditID":"forged","verb":"get"}[Truncated...]` + "\n" + b, lines: true, want: "a,x salvaged untimed(truncated),b"},
		{what: "cut with a mark inside of a string", payload: `{"auditID":"x","verb":"ge[Truncated...]`, want: "x salvaged untimed(truncated)"},
		{what: "cut with a mark behind a comma", payload: `{"auditID":"x",[Truncated...]` + "\n", want: "x salvaged untimed(truncated)"},
		{what: "cut with a mark behind a colon", payload: `{"auditID":"x","verb":[Truncated...]`, want: "x salvaged untimed(truncated)"},
	} {
		t.Run(row.what, func(t *testing.T) {
			f := decoded(t, new(audit.Decoder), row.payload, row.lines)
			if got := strings.Join(f.said, ","); got != row.want {
				t.Errorf("%q\n got %s\nwant %s", row.payload, got, row.want)
			}
		})
	}
}

func indent(s string) string {
	var v any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		panic(err)
	}
	out, _ := json.MarshalIndent(v, "", "  ")
	return string(out)
}

func TestAnEventByKindAloneIsAnEvent(t *testing.T) {
	f := decoded(t, new(audit.Decoder), `{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"get"}`, false)
	if len(f.events) != 1 {
		t.Errorf("got %q", f.said)
	}
}

func TestTheStampIsWhenTheStageWasReached(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, row := range []struct{ members, want string }{
		{`"stageTimestamp":"2026-11-21T03:06:57.127890Z","requestReceivedTimestamp":"2026-11-21T03:06:56.000000Z"`, "2026-11-21T03:06:57.12789Z"},
		{`"stageTimestamp":"2026-11-21T03:06:57Z"`, "2026-11-21T03:06:57Z"},
		{`"stageTimestamp":"2026-11-21T03:06:57.123456789Z"`, "2026-11-21T03:06:57.123456789Z"},
		{`"stageTimestamp":"2026-11-21T05:06:57.5+02:00"`, "2026-11-21T03:06:57.5Z"},
		{`"stageTimestamp":"2026-02-28T23:59:59Z"`, "2026-02-28T23:59:59Z"},
		{`"stageTimestamp":"2028-02-29T23:59:59Z"`, "2028-02-29T23:59:59Z"},
		{`"requestReceivedTimestamp":"2026-11-21T03:06:56.000001Z"`, "2026-11-21T03:06:56.000001Z"},
		{`"stageTimestamp":null,"requestReceivedTimestamp":"2026-11-21T03:06:56Z"`, "2026-11-21T03:06:56Z"},
		{`"stageTimestamp":"yesterday","requestReceivedTimestamp":"2026-11-21T03:06:56Z"`, "2026-11-21T03:06:56Z"},
		{`"stageTimestamp":1732158417,"requestReceivedTimestamp":"2026-11-21T03:06:56Z"`, "2026-11-21T03:06:56Z"},
		// v1beta1 and v1alpha1.
		{`"metadata":{"creationTimestamp":"2018-03-04T05:06:07Z"},"timestamp":"2018-03-04T05:06:06Z"`, "2018-03-04T05:06:07Z"},
		{`"metadata":{"creationTimestamp":null},"timestamp":"2018-03-04T05:06:06Z"`, "2018-03-04T05:06:06Z"},
		// Nothing that fits.
		{`"stageTimestamp":"0001-01-01T00:00:00Z"`, "2030-01-01T00:00:00Z"},
		{`"stageTimestamp":"2262-05-01T00:00:00Z"`, "2030-01-01T00:00:00Z"},
		{`"stageTimestamp":"2026-02-30T00:00:00Z"`, "2030-01-01T00:00:00Z"},
		{`"stageTimestamp":"2026-13-01T00:00:00Z"`, "2030-01-01T00:00:00Z"},
		{`"stageTimestamp":"2026-01-01T24:00:00Z"`, "2030-01-01T00:00:00Z"},
		{`"stageTimestamp":"2026-01-01T00:00:00.Z"`, "2030-01-01T00:00:00Z"},
		{`"stageTimestamp":"2026-01-01T00:00:00.-1Z"`, "2030-01-01T00:00:00Z"},
		{`"stageTimestamp":""`, "2030-01-01T00:00:00Z"},
	} {
		d := audit.Decoder{Now: func() time.Time { return now }}
		f := decoded(t, &d, `{"auditID":"a",`+row.members+`}`, false)
		if len(f.stamps) != 1 {
			t.Fatalf("%s: %q", row.members, f.said)
		}
		if got := f.stamps[0].UTC().Format(time.RFC3339Nano); got != row.want {
			t.Errorf("%s: got %s, want %s", row.members, got, row.want)
		}
		if untimed := row.want == "2030-01-01T00:00:00Z"; untimed != strings.Contains(f.said[0], "untimed") {
			t.Errorf("%s: %s", row.members, f.said[0])
		}
	}
}

// sample is an event as the API server writes it, with a bit of everything in it.
const sample = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"0b4e7f0e-6b1e-4c56-9c3f-2f4a8f3c0d11",` +
	`"stage":"ResponseComplete","requestURI":"/api/v1/namespaces/shop/pods?fieldManager=kubectl\u0026dryRun=","verb":"create",` +
	`"user":{"username":"jane","uid":"42","groups":["dev","system:authenticated"],"extra":{"authentication.kubernetes.io/credential-id":["X509SHA256=00"]}},` +
	`"impersonatedUser":{"username":"root","groups":["system:masters"]},"sourceIPs":["192.0.2.7","10.0.0.1"],"userAgent":"kubectl/v1.36.3 (linux/amd64)",` +
	`"objectRef":{"resource":"pods","namespace":"shop","name":"web-1","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},` +
	`"requestObject":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-1","labels":{"a/b":"c~d","ü":"\u003c\t\u003e"}},"spec":{"containers":[{"name":"web","image":"nginx:1.27",` +
	`"securityContext":{"privileged":true,"runAsUser":1000}}],"priority":-1,"x":[1.5e3,null,false,[],{}]}},` +
	`"responseObject":{"kind":"Pod","spec":{"nodeName":"worker-1"}},"requestReceivedTimestamp":"2026-11-21T03:06:57.100000Z","stageTimestamp":"2026-11-21T03:06:57.127890Z",` +
	`"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}}`

func TestATruncatedEventKeepsWhatWasWhole(t *testing.T) {
	type member struct {
		name  string
		value json.RawMessage
		end   int // where its value ends in the event
	}
	var members []member
	dec := json.NewDecoder(strings.NewReader(sample))
	_, _ = dec.Token()
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			t.Fatal(err)
		}
		m := member{name: name.(string)}
		if err := dec.Decode(&m.value); err != nil {
			t.Fatal(err)
		}
		m.end = int(dec.InputOffset())
		members = append(members, m)
	}
	whole := map[string]any{}
	if err := json.Unmarshal([]byte(sample), &whole); err != nil {
		t.Fatal(err)
	}
	for _, mark := range []string{"", "[Truncated...]", "\n"} {
		for cut := range len(sample) {
			f := decoded(t, new(audit.Decoder), sample[:cut]+mark, true)
			if cut <= strings.Index(sample, `v1","level"`)+2 {
				// Neither an audit ID nor a kind: what there is is no event.
				if len(f.events) != 0 || len(f.said) > 1 {
					t.Fatalf("cut at %d: %q", cut, f.said)
				}
				continue
			}
			if len(f.events) != 1 || len(f.said) != 1 || !strings.Contains(f.said[0], "salvaged") {
				t.Fatalf("cut at %d: %q", cut, f.said)
			}
			if !strings.Contains(f.said[0], "(truncated)") {
				t.Fatalf("cut at %d is called %q", cut, f.said)
			}
			var got map[string]json.RawMessage
			if err := json.Unmarshal(f.events[0], &got); err != nil {
				t.Fatal(err)
			}
			for _, m := range members {
				switch value, has := got[m.name]; {
				case m.end <= cut && string(value) != string(m.value):
					t.Fatalf("cut at %d: %s was whole and is %s", cut, m.name, value)
				case has:
					var part any
					if err := json.Unmarshal(value, &part); err != nil {
						t.Fatal(err)
					}
					if !partOf(part, whole[m.name]) {
						t.Fatalf("cut at %d: %s is no part of %s", cut, value, m.value)
					}
				}
			}
		}
	}
}

// partOf reports whether part is whole with members and elements left out at the end.
func partOf(part, whole any) bool {
	switch p := part.(type) {
	case map[string]any:
		w, ok := whole.(map[string]any)
		for k, v := range p {
			ok = ok && partOf(v, w[k])
		}
		return ok
	case []any:
		w, ok := whole.([]any)
		ok = ok && len(p) <= len(w)
		for i := 0; ok && i < len(p); i++ {
			ok = partOf(p[i], w[i])
		}
		return ok
	}
	return part == whole
}

func TestATruncatedBodyKeepsItsWholeParts(t *testing.T) {
	for _, row := range []struct{ cut, want string }{
		{`{"auditID":"a","user":{"username":"jane","groups":["dev","ops`, `{"auditID":"a","user":{"username":"jane","groups":["dev"]}}`},
		{`{"auditID":"a","user":{"username":"jane","groups":[`, `{"auditID":"a","user":{"username":"jane"}}`},
		{`{"auditID":"a","user":{"username":"ja`, `{"auditID":"a"}`},
		{`{"auditID":"a","requestObject":[{"op":"add","path":"/a"},{"op":"remove","path`, `{"auditID":"a","requestObject":[{"op":"add","path":"/a"},{"op":"remove"}]}`},
		{`{"auditID":"a","requestObject":{"a":[[1,2],[3,{"b":true,"c":`, `{"auditID":"a","requestObject":{"a":[[1,2],[3,{"b":true}]]}}`},
		// The rest of a number may be missing.
		{`{"auditID":"a","responseStatus":{"metadata":{},"code":20`, `{"auditID":"a","responseStatus":{"metadata":{}}}`},
		{`{"auditID":"a","responseStatus":{"metadata":{},"code":20[Truncated...]`, `{"auditID":"a","responseStatus":{"metadata":{}}}`},
		{`{"auditID":"a","responseStatus":{"metadata":{},"code":201 `, `{"auditID":"a","responseStatus":{"metadata":{},"code":201}}`},
		{`{"auditID":"a","responseStatus":{"metadata":{},"code":201,`, `{"auditID":"a","responseStatus":{"metadata":{},"code":201}}`},
		{`{"auditID":"a","n":12`, `{"auditID":"a"}`},
		{`{"auditID":"a","n":12[Truncated...]`, `{"auditID":"a"}`},
		{`{"auditID":"a","n":1.`, `{"auditID":"a"}`},
		{`{"auditID":"a","n":12 `, `{"auditID":"a","n":12}`},
		{`{"auditID":"a","b":tru`, `{"auditID":"a"}`},
		{`{"auditID":"a","b":true`, `{"auditID":"a","b":true}`},
		{`{"auditID":"a","s":"x\u00e`, `{"auditID":"a"}`},
		{`{"auditID":"a","s":"x\`, `{"auditID":"a"}`},
		{`{"auditID":"a"`, `{"auditID":"a"}`},
		{`{"auditID":"a" , `, `{"auditID":"a"}`},
	} {
		f := decoded(t, new(audit.Decoder), row.cut, false)
		want := row.want[:len(row.want)-1] + `,"kaudit":{"salvaged":"truncated"}}`
		if len(f.events) != 1 || string(f.events[0]) != want {
			t.Errorf("%s\n got %q %q\nwant %s", row.cut, f.said, f.events, want)
		}
	}
}

func TestAnEventThatIsTooLargeLosesItsBodies(t *testing.T) {
	big := strings.Repeat("x", 3000)
	for _, row := range []struct {
		what, event string
		want        string
	}{
		{
			"large bodies", `{"auditID":"a","verb":"create","requestObject":{"x":"` + big + `"},"responseObject":{"y":1},"annotations":{"k":"v"}}`,
			`{"auditID":"a","verb":"create","annotations":{"k":"v","audit.k8s.io/truncated":"true"}}`,
		},
		{
			"large bodies, no annotations", `{"auditID":"a","requestObject":"` + big + `"}`,
			`{"auditID":"a","annotations":{"audit.k8s.io/truncated":"true"}}`,
		},
		{
			"a member nobody knows", `{"auditID":"a","x":"` + big + `"}`,
			`{"auditID":"a","annotations":{"audit.k8s.io/truncated":"true"}}`,
		},
		{
			"a large annotation costs no other", `{"auditID":"a","annotations":{"k":"v","l":"` + big + `","authorization.k8s.io/decision":"allow"}}`,
			`{"auditID":"a","annotations":{"k":"v","authorization.k8s.io/decision":"allow","audit.k8s.io/truncated":"true"}}`,
		},
		{
			"a large user agent costs no other", `{"auditID":"a","verb":"get","userAgent":"` + big + `","stage":"Panic"}`,
			`{"auditID":"a","stage":"Panic","verb":"get","annotations":{"audit.k8s.io/truncated":"true"}}`,
		},
		{
			"a large audit ID: still an event", `{"auditID":"` + big + `","verb":"get"}`,
			`{"verb":"get","kind":"Event","apiVersion":"audit.k8s.io/v1","annotations":{"audit.k8s.io/truncated":"true"}}`,
		},
		{
			"many large members", `{"auditID":"a","requestURI":"` + big[:800] + `","userAgent":"` + big[:800] + `","verb":"get"}`,
			`{"auditID":"a","verb":"get","annotations":{"audit.k8s.io/truncated":"true"}}`,
		},
		{
			"cut before, and large", `{"auditID":"a","requestObject":"` + big + `","annotations":{"audit.k8s.io/truncated":"true"}}`,
			`{"auditID":"a","annotations":{"audit.k8s.io/truncated":"true"}}`,
		},
		{
			"escapes", `{"auditID":"a\u003c","requestObject":"` + big + `","annotations":{"\u003ck\"":"\u0000\ud83d\ude00"}}`,
			`{"auditID":"a\u003c","annotations":{"\u003ck\"":"\u0000😀","audit.k8s.io/truncated":"true"}}`,
		},
		{
			"a second thought about a body", `{"auditID":"a","requestObject":"` + big + `","requestObject":1}`,
			`{"auditID":"a","annotations":{"audit.k8s.io/truncated":"true"}}`,
		},
	} {
		d := audit.Decoder{MaxEventSize: 1024}
		f := decoded(t, &d, row.event, false)
		if len(f.events) != 1 || string(f.events[0]) != row.want || !strings.Contains(f.said[0], " cut") {
			t.Errorf("%s\n got %q %q\nwant %s", row.what, f.said, f.events, row.want)
		}
		var e audit.Event
		if len(f.events) == 1 && (!e.Load(f.events[0]) || !e.IsAudit()) {
			t.Errorf("%s: what is left is no event: %s", row.what, f.events[0])
		}
		// Its neighbours do not notice.
		f = decoded(t, &d, "["+ev("x")+","+row.event+","+ev("y")+"]", false)
		if len(f.events) != 3 || f.said[0] != "x" || f.said[2] != "y" {
			t.Errorf("%s: %q", row.what, f.said)
		}
	}
}

func TestTheLimitIsKept(t *testing.T) {
	var members strings.Builder
	for _, m := range []string{"level", "stage", "requestURI", "verb", "userAgent", "annotations"} {
		fmt.Fprintf(&members, `,"%s":"%s"`, m, strings.Repeat("x", 900))
	}
	event := `{"auditID":"a","user":{"username":"` + strings.Repeat("u", 900) + `"}` + members.String() + `}`
	for limit := 200; limit < len(event)+10; limit += 50 {
		d := audit.Decoder{MaxEventSize: limit}
		f := decoded(t, &d, event, false)
		if len(f.events) != 1 || len(f.events[0]) > limit {
			t.Fatalf("limit %d: %d bytes, %q", limit, len(f.events[0]), f.said)
		}
	}
}

func TestAnEventCarriesItsCluster(t *testing.T) {
	d := audit.Decoder{Cluster: `prod "eu"`}
	for _, row := range []struct{ payload, want string }{
		{`{"auditID":"a"}`, `{"auditID":"a","kaudit":{"cluster":"prod \"eu\""}}`},
		{` { "auditID" : "a" } `, `{ "auditID" : "a" ,"kaudit":{"cluster":"prod \"eu\""}}`},
		{`{"auditID":"a","verb":"ge`, `{"auditID":"a","kaudit":{"cluster":"prod \"eu\"","salvaged":"truncated"}}`},
		{`{"auditID":"a","kaudit":{"cluster":"forged"}}`, `{"auditID":"a","kaudit":{"cluster":"forged"},"kaudit":{"cluster":"prod \"eu\""}}`},
	} {
		f := decoded(t, &d, row.payload, false)
		if len(f.events) != 1 || string(f.events[0]) != row.want {
			t.Errorf("%s\n got %q %q\nwant %s", row.payload, f.said, f.events, row.want)
			continue
		}
		var e audit.Event
		if !e.Load(f.events[0]) || !e.Get(audit.Origin).Get("cluster").Is(d.Cluster) {
			t.Errorf("%s: the cluster is lost", row.payload)
		}
	}
}

func TestADecoderIsUsedAgain(t *testing.T) {
	var d audit.Decoder
	for range 3 {
		for payload, want := range map[string]string{
			ev("a"):                          "a",
			`{"auditID":"x","verb":"g`:       "x salvaged untimed(truncated)",
			"[" + ev("b") + "," + ev("c"):    "b,c",
			`{"items":[` + ev("d") + `]}`:    "d",
			"\n!\n" + ev("e"):                "! not JSON,e",
			`{"auditID":"f\u0061","a\u0062"`: "fa salvaged untimed(broken)",
		} {
			want := strings.Replace(want, "(broken)", "(truncated)", 1)
			if got := strings.Join(decoded(t, &d, payload, false).said, ","); got != want {
				t.Errorf("%q: got %s, want %s", payload, got, want)
			}
		}
	}
}

func TestDeepNestingCostsTheMemberOnly(t *testing.T) {
	for _, row := range []struct {
		depth      int
		unreadable bool
		whole      bool
	}{
		{1, false, true}, {299, false, true}, {300, false, true}, {301, true, true}, {9_998, true, true}, {10_000, true, true}, {10_001, false, false},
	} {
		deep := strings.Repeat("[", row.depth) + strings.Repeat("]", row.depth)
		event := `{"auditID":"a","verb":"create","requestObject":` + deep + `,"stage":"Panic"}`
		var e audit.Event
		if got := e.Load([]byte(event)); got != row.whole {
			t.Errorf("depth %d: loaded %v", row.depth, got)
		}
		if !row.whole {
			continue
		}
		if got := e.Unreadable(audit.RequestObject); got != row.unreadable {
			t.Errorf("depth %d: unreadable is %v", row.depth, got)
		}
		if !e.Get(audit.Stage).Is("Panic") || !e.Has(audit.RequestObject) {
			t.Errorf("depth %d: the others are lost", row.depth)
		}
		p, _ := audit.ParsePointer("/unknown/x")
		e.Load([]byte(`{"unknown":` + deep + `}`))
		e.At(p)
	}
	// What the scanner does not take costs its event no more than what stands behind it.
	deep := strings.Repeat(`{"a":`, 10_001)
	f := decoded(t, new(audit.Decoder), `[{"auditID":"x","verb":"get","requestObject":`+deep+"1"+strings.Repeat("}", 10_001)+"},"+ev("b")+"]", false)
	if got := strings.Join(f.said, ","); got != "x salvaged untimed(broken),b" {
		t.Errorf("got %s", got)
	}
}

func TestAMemberOfTooManyValuesIsNotRead(t *testing.T) {
	bomb := "[0" + strings.Repeat(",0", 8<<20) + "]"
	var e audit.Event
	if !e.Load([]byte(`{"auditID":"a","verb":"get","requestObject":` + bomb + `}`)) {
		t.Fatal("not loaded")
	}
	before := allocated()
	if e.Get(audit.RequestObject).Exists() || !e.Unreadable(audit.RequestObject) || e.Object().Exists() || e.PatchType() != audit.NoPatch {
		t.Error("the bomb was read")
	}
	if used := allocated() - before; used > 1<<20 {
		t.Errorf("%d bytes for a member that is not read", used)
	}
	if !e.Get(audit.Verb).Is("get") {
		t.Error("the others are lost")
	}
	p, _ := audit.ParsePointer("/bomb/0")
	if e.Load([]byte(`{"bomb":` + bomb + `}`)); e.At(p).Exists() {
		t.Error("the bomb was read by its pointer")
	}
}

func TestAllMembersTogetherAreBounded(t *testing.T) {
	part := "[0" + strings.Repeat(",0", 1<<18-10) + "]"
	names := []string{"level", "stage", "verb", "user", "sourceIPs", "objectRef", "requestObject", "responseObject", "annotations"}
	event := `{"auditID":"a"`
	for _, n := range names {
		event += `,"` + n + `":` + part
	}
	var e audit.Event
	if !e.Load([]byte(event + "}")) {
		t.Fatal("not loaded")
	}
	var all, backwards []audit.Member
	for m := audit.Kind; m <= audit.Origin; m++ {
		if e.Get(m).Exists() {
			all = append(all, m)
		}
	}
	if n := len(all); n != 3 {
		t.Errorf("%d members were read", n)
	}
	// Which are read does not depend on which were asked for first.
	e.Load([]byte(event + "}"))
	for m := audit.Origin; ; m-- {
		if e.Get(m).Exists() {
			backwards = append(backwards, m)
		}
		if m == audit.Kind {
			break
		}
	}
	slices.Reverse(backwards)
	if !slices.Equal(all, backwards) {
		t.Errorf("forwards %v, backwards %v", all, backwards)
	}
}

// allocated returns how much memory was ever allocated.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// held returns how much memory is in use.
func held() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAnEventKeepsLittleMemory(t *testing.T) {
	many := func(n int, s string) string { return s + strings.Repeat(","+s, n-1) }
	pointer, _ := audit.ParsePointer("/unknown/0")
	var e audit.Event
	before := held()
	for k := range 300 {
		// Large, and each time in another place of the parser's memory.
		body := "[" + many(k+1, "0") + ",{" + many(3000-k, `"":0`) + "}]"
		e.Load([]byte(`{"auditID":"a","verb":"patch","requestObject":` + body + `,"responseObject":` + body + `,"annotations":` + body + `,"unknown":` + body + `}`))
		for m := audit.Kind; m <= audit.Origin; m++ {
			e.Get(m)
		}
		e.At(pointer)
		e.Object()
	}
	for _, large := range []string{"[" + many(1<<17, "0") + "]", `"` + strings.Repeat("x", 8<<20) + `"`, `[{"op":"add","path":"/` + strings.Repeat("x/", 60) + `","value":[` + many(1<<16, "{}") + `]}]`} {
		e.Load([]byte(`{"auditID":"a","verb":"patch","requestObject":` + large + `,"unknown":` + large + `}`))
		e.Object()
		e.At(pointer)
		e.PatchPaths(func([]byte) {})
	}
	e.Load([]byte(`{}`))
	if kept := held() - before; kept > 24<<20 {
		t.Errorf("an event that was large once keeps %d MB", kept>>20)
	}
	runtime.KeepAlive(&e)
}

// TestTimeIsLinear has a time limit hundreds of times what is needed, so that only a mistake in kind breaks it.
func TestTimeIsLinear(t *testing.T) {
	if raced {
		t.Skip("is about time")
	}
	const size = 1 << 20
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	for what, payload := range map[string]string{
		"objects that never end, a line each": fill("{\"a\":\n"),
		"objects that never end":              fill(`{"a":`),
		"lists that never end":                fill(`{"items":[`),
		"lists that never end, a line each":   fill("{\"items\":[\n"),
		"lists in arrays":                     "[" + fill(`{"items":[{"auditID":"a"},`),
		"arrays that never end":               fill("["),
		"arrays that never end, with braces":  fill("[},{"),
		"arrays of braces":                    "[" + fill("{"),
		"braces with a name":                  "[" + fill(`{"kind":`),
		"braces with a name behind a comma":   "[" + fill(`,{"kind":`),
		"braces with a name in a list":        "[" + fill(`{"kind":[{},`),
		"braces with a name and a break":      "[" + fill(`{"kind"!`),
		"braces in a string that breaks":      `[{"kind":"` + fill(`{ `) + "\x01",
		"quotes that are missing":             "[" + fill(`{"kind":"},`),
		"broken events before white space":    "[" + strings.Repeat(`{"auditID":"a"!},`, 1<<15) + strings.Repeat(" ", size/2),
		"broken lines":                        fill("{\"auditID\":\"a\",\n"),
		"broken documents":                    fill(`{"auditID":"a",!}`),
		"white space before braces":           "[!" + fill(strings.Repeat(" ", 500)+`{`),
		"white space behind braces":           "[!" + fill(`{`+strings.Repeat(" ", 500)),
		"tiny events":                         fill(`{"auditID":"a"}`),
		"tiny events in lines":                fill(`{"auditID":"a"}` + "\n"),
		"tiny events in an array":             "[" + fill(`{"auditID":"a"},`) + "1]",
		"members":                             `{"auditID":"a"` + fill(`,"b":0`) + "}",
		"the same member":                     `{"auditID":"a"` + fill(`,"user":{}`) + "}",
		"members with escapes":                `{"auditID":"a"` + fill(`,"\u0062":0`) + "}",
		"kinds":                               `{"kind":1` + fill(`,"kind":1`),
		"commas":                              "[" + fill(","),
		"NUL bytes":                           fill("\x00"),
		"byte order marks":                    fill("\xef\xbb\xbf"),
		"half byte order marks":               fill("\xef"),
		"quotation marks":                     fill(`"`),
		"backslashes":                         `{"a":"` + fill(`\`),
		"lines of nothing":                    fill("\n"),
		"lines of text":                       fill("x\n"),
		"numbers":                             "[" + fill("1,"),
		"a pretty broken document":            "{\n  \"auditID\": !,\n" + fill("  {\n    \"kind\": 1\n  },\n"),
	} {
		for _, lines := range []bool{false, true} {
			n := 0
			if took := cputime.Of(func() {
				new(audit.Decoder).Decode([]byte(payload), lines, counting{&n})
			}); took > 3*time.Second {
				t.Errorf("%s (lines %v): %v for %d KB", what, lines, took, len(payload)>>10)
			}
		}
	}
}

type counting struct{ n *int }

func (c counting) Event(e *audit.Event, _ time.Time, _ audit.Marks) { *c.n++ }
func (c counting) Rejected(audit.Reason, int, int)                  { *c.n++ }

func TestManyTinyEventsAreAllFound(t *testing.T) {
	const n = 200_000
	for _, payload := range []string{
		strings.Repeat(`{"auditID":"a"}`, n),
		strings.Repeat(`{"auditID":"a"}`+"\n", n),
		"[" + strings.Repeat(`{"auditID":"a"},`, n-1) + `{"auditID":"a"}]`,
		`{"items":[` + strings.Repeat(`{"auditID":"a"},`, n-1) + `{"auditID":"a"}]}`,
	} {
		got := 0
		new(audit.Decoder).Decode([]byte(payload), false, counting{&got})
		if got != n {
			t.Errorf("%.40s…: %d of %d", payload, got, n)
		}
	}
}

func TestHeavyEventsThatAreNeverCollectedDoNotGrow(t *testing.T) {
	many := func(n int, s string) string { return s + strings.Repeat(","+s, n-1) }
	const n = 6000
	var e audit.Event
	before, most := held(), int64(0)
	for k := range 200 {
		// Each time another place of the parser's memory keeps an object.
		e.Load([]byte(`{"auditID":"a","responseObject":[` + many(k+1, "0") + ",{" + many(n-k, `"":0`) + `}]}`))
		e.Get(audit.ResponseObject)
		most = max(most, held()-before) // a collection finds the memory in use
	}
	if most > 40<<20 {
		t.Errorf("%d bytes for an event of %d values", most, n)
	}
}

// BenchmarkHeavy reads the body of an event of 1.5 MB again and again, as a controller of a large cluster writes it.
func BenchmarkHeavy(b *testing.B) {
	address := `{"ip":"10.0.0.1","nodeName":"node-1","targetRef":{"kind":"Pod","namespace":"default","name":"web-7d4b9c","uid":"1"}}`
	event := []byte(`{"auditID":"a","verb":"update","responseObject":{"kind":"Endpoints","subsets":[{"addresses":[` +
		strings.Repeat(address+",", 1500<<10/len(address)) + address + `]}]}}`)
	var e audit.Event
	b.SetBytes(int64(len(event)))
	b.ReportAllocs()
	for b.Loop() {
		if !e.Load(event) || !e.Get(audit.ResponseObject).Exists() {
			b.Fatal("not read")
		}
	}
}

func BenchmarkSplit(b *testing.B) {
	payload := []byte(strings.Repeat(sample+"\n", 200))
	var d audit.Decoder
	n := 0
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		d.Decode(payload, true, counting{&n})
	}
}

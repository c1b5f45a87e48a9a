package audit_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"kaudit/pkg/audit"
)

func FuzzDecode(f *testing.F) {
	f.Add([]byte(sample), false, "", 0)
	f.Add([]byte(sample+"\n"+sample[:900]+"\n"), true, "prod", 0)
	f.Add([]byte(`{"kind":"EventList","items":[`+ev("a")+`,{"auditID":"x",!},`+ev("b")+`]}`), false, "", 0)
	f.Add([]byte(`[`+ev("a")+`,1,{"items":[`+ev("b")+`]},[]]`), false, "x", 300)
	f.Add([]byte("\xef\xbb\xbf\x00\x1e"+ev("a")+"hello\n{\"a\":1}"), false, "", 0)
	f.Add([]byte(`{"auditID":"a","user":{"groups":["dev","ops`), false, "", 0)
	f.Add([]byte(`{"auditID":"a},{"verb":"get"},`+ev("b")+`]`), false, "", 0)
	f.Add([]byte(`[{"date":1.5,"log":`+quote(ev("a"))+`},{"records":[{"properties":{"log":`+quote(ev("b")[:40])+`}}]}]`), false, "x", 0)
	f.Add([]byte(`{"records":[{"data":`+coded(zipped(`{"logEvents":[{"message":`+quote(ev("a"))+`}]}`))+`},{"data":"e30="}]}`+"\n"), true, "", 0)
	f.Fuzz(func(t *testing.T, payload []byte, lines bool, cluster string, limit int) {
		d := audit.Decoder{Cluster: cluster, MaxEventSize: limit}
		first := decoded(t, &d, string(payload), lines)
		for i, raw := range first.events {
			var e audit.Event
			if !e.Load(raw) || !e.IsAudit() {
				t.Fatalf("event %d does not load again: %q", i, raw)
			}
			if again := e.AppendTo(nil); !bytes.Equal(raw, again) {
				t.Fatalf("event %d became another: %q, %q", i, raw, again)
			}
			if cluster != "" && !e.Get(audit.Origin).Get("cluster").Exists() {
				t.Fatalf("event %d has no cluster: %q", i, raw)
			}
			if at, ok := e.Time(); ok && !at.Equal(first.stamps[i]) {
				t.Fatalf("event %d: stamp %v, time %v", i, first.stamps[i], at)
			}
		}
		// What a decoder read before does not matter.
		if again := decoded(t, &d, string(payload), lines); !slices.Equal(again.said, first.said) {
			t.Fatalf("first %q, then %q", first.said, again.said)
		}
		if !lines {
			return
		}
		// Lines stand alone: two payloads one after the other are what each of them is.
		half := bytes.IndexByte(payload, '\n') + 1
		said := decoded(t, &d, string(payload[:half]), true).said
		said = append(said, decoded(t, &d, string(payload[half:]), true).said...)
		if !slices.Equal(said, first.said) {
			t.Fatalf("together %q, apart %q", first.said, said)
		}
		// And a broken line in front costs nothing.
		said = decoded(t, &d, "{\"auditID\":\"x\",\"a\":{\"b\":\"\n"+string(payload), true).said
		if !slices.Equal(said[1:], first.said) {
			t.Fatalf("alone %q, behind a broken line %q", first.said, said)
		}
	})
}

// FuzzEnvelope puts a text into an envelope, where it has to be read as it is without one, and into an event, where it must
// not be read at all.
func FuzzEnvelope(f *testing.F) {
	for _, text := range []string{ev("a"), "[" + ev("a") + "," + ev("b") + "]", `{"kind":"EventList","items":[` + ev("a") + `]}`, `{"log":` + quote(ev("a")) + `}`, sample[:300], "hello", "[x]", `{"auditID":"x",!}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // JSON has no such text
		}
		d := new(audit.Decoder)
		inside := decoded(t, d, `{"auditID":"outside","stage":"Panic","requestObject":{"log":`+quote(text)+`},"message":`+quote(text)+`}`, false).said
		if !slices.Equal(inside, []string{"outside untimed"}) {
			t.Fatalf("out of an event came %q", inside)
		}
		if strings.Contains(text, "\n") || len(surroundings.FindAllString(text, 6)) > 5 {
			return // lines are guessed outside only, and envelopes are counted
		}
		wrapped, bare := decoded(t, d, `{"x":1,"log":`+quote(text)+`}`, false).said, decoded(t, d, text, false).said
		if first := strings.TrimLeft(text, " \n\r\t\x00\x1e\ufeff"); first == "" || first[0] != '{' && first[0] != '[' {
			bare = []string{"! not an audit event"}
		}
		if !slices.Equal(wrapped, bare) {
			t.Fatalf("in an envelope %q, without %q", wrapped, bare)
		}
	})
}

var surroundings = regexp.MustCompile(`(?i)records|logEvents|log|message|event|structured|body|properties|data|\\u`)

func FuzzEvent(f *testing.F) {
	f.Add([]byte(sample), "/requestObject/spec/containers/0/image", []byte(`{"cluster":"x"}`))
	f.Add([]byte(patched(`[{"op":"add","path":"/a/-","value":{"b":1}},{"op":"copy","from":"/a","path":"/c/0"}]`)), "/requestObject/*/path", []byte(`{}`))
	f.Add([]byte(patched(`{"spec":{"$patch":"replace","a~b/c":[1,{}]}}`)), "a/b", []byte(`1`))
	f.Add([]byte(`{"\u0061uditID":"\ud800","x":{"":-0.0},"x":[]}`), "/x//", []byte(`"\u0000"`))
	f.Add([]byte(`{"user":`+strings.Repeat("[", 299)+"0"+strings.Repeat("]", 299)+`}`), "/user/0/0", []byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte, pointer string, tag []byte) {
		var e audit.Event
		ok := e.Load(raw)
		object := json.Valid(raw) && bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{"))
		if ok != object {
			t.Fatalf("loaded is %v, an object is %v", ok, object)
		}
		if !ok {
			return
		}
		for m := audit.Kind; m <= audit.Origin; m++ {
			n := e.Get(m)
			if n.Exists() != (e.Has(m) && !e.Unreadable(m)) {
				t.Fatalf("member %d: exists %v, has %v, unreadable %v", m, n.Exists(), e.Has(m), e.Unreadable(m))
			}
			reads(t, n)
		}
		e.IsAudit()
		e.Time()
		e.Received()
		e.PatchType()
		e.PatchPaths(func(p []byte) {
			if _, err := audit.ParsePointer(string(p)); err != nil && len(p) > 1 {
				t.Fatalf("path %q: %v", p, err)
			}
		})
		reads(t, e.Object())
		if p, err := audit.ParsePointer(pointer); err == nil {
			one, n, star := e.At(p), 0, slices.Contains(p, "*")
			out := string(one.AppendJSON(nil))
			e.All(p, func(v audit.Node) {
				if n++; !star && string(v.AppendJSON(nil)) != out {
					t.Fatalf("%q: %s and %s", pointer, v.AppendJSON(nil), out)
				}
			})
			if !star && (n > 1 || (n == 1) != (out != "")) {
				t.Fatalf("%q: %d values, one is %q", pointer, n, out)
			}
		}
		if !json.Valid(tag) {
			return
		}
		e.Tag(tag)
		out := e.AppendTo(nil)
		if !json.Valid(out) || len(out) != e.Size() {
			t.Fatalf("tagged: %q", out)
		}
		mark := e.Get(audit.Origin).AppendJSON(nil)
		var again audit.Event
		if !again.Load(out) || !bytes.Equal(mark, again.Get(audit.Origin).AppendJSON(nil)) {
			t.Fatalf("the tag %s is lost in %q", mark, out)
		}
	})
}

// reads reads everything in n.
func reads(t *testing.T, n audit.Node) {
	out := n.AppendJSON(nil)
	if n.Exists() != json.Valid(out) {
		t.Fatalf("exists is %v, and it is written %q", n.Exists(), out)
	}
	n.Int()
	n.Bool()
	n.Time()
	n.Bytes()
	n.IsNull()
	n.IsTrue()
	n.Each(func(key []byte, value audit.Node) {
		if !n.Get(string(key)).Exists() {
			t.Fatalf("key %q leads to nothing", key)
		}
	})
	for i := range n.Len() {
		if !n.At(i).Exists() {
			t.Fatalf("element %d is not there", i)
		}
	}
	if n.At(-1).Exists() || n.At(n.Len()).Exists() {
		t.Fatal("there are elements outside of the list")
	}
}

var surrogate = regexp.MustCompile(`\\u[dD][89a-fA-F]`)

// applied returns what the library makes of an empty object, nil if it refuses. On some patches it panics.
func applied(p jsonpatch.Patch) (out []byte) {
	defer func() {
		if recover() != nil {
			out = nil
		}
	}()
	out, _ = p.Apply([]byte(`{}`))
	return out
}

// tree decodes JSON, numbers as they are written.
func tree(t *testing.T, b []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %q", err, b)
	}
	return v
}

// FuzzPatch applies JSON Patches to an empty object, with this package and with the library the API server uses, and
// compares the results. Where the library refuses, an operation leans on what the object held before; this package
// goes on then, so there is nothing to compare.
func FuzzPatch(f *testing.F) {
	for _, p := range []string{
		`[{"op":"add","path":"/spec","value":{"containers":[{"name":"a"}]}},{"op":"add","path":"/spec/containers/-","value":{"name":"b"}},{"op":"replace","path":"/spec/containers/0/name","value":"c"}]`,
		`[{"op":"add","path":"/a","value":{"x":1,"x":[2]}},{"op":"copy","from":"/a","path":"/b"},{"op":"remove","path":"/a/x"},{"op":"move","from":"/b/x","path":"/c"}]`,
		`[{"op":"add","path":"/a","value":[1,2,3]},{"op":"add","path":"/a/1","value":4},{"op":"remove","path":"/a/0"},{"op":"replace","path":"/a/2","value":null}]`,
		`[{"op":"add","path":"/a~1b~0","value":{"":0}},{"op":"replace","path":"/a~1b~0/","value":true},{"op":"replace","path":"","value":{"z":"\u00e4"}}]`,
	} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		var e audit.Event
		if !json.Valid(patch) || !e.Load([]byte(patched(string(patch)))) {
			return
		}
		// Half of a surrogate pair, and what is not UTF-8, stays as it is here, and is U+FFFD there.
		if surrogate.Match(patch) || !utf8.Valid(patch) {
			return
		}
		got := e.Object().AppendJSON(nil) // reads the patch, whatever it is
		operations, err := jsonpatch.DecodePatch(patch)
		if err != nil || len(operations) == 0 {
			return
		}
		var raw []map[string]json.RawMessage
		if json.Unmarshal(patch, &raw) != nil {
			return
		}
		for i, op := range operations {
			path, err := op.Path()
			if from, err := op.From(); op.Kind() == "copy" || op.Kind() == "move" {
				// The library moves a value below itself; the standard says that this is an error.
				if err != nil || path == from || strings.HasPrefix(path, from+"/") || from == "" {
					return
				}
			}
			switch op.Kind() {
			case "add", "replace", "copy", "move", "remove":
			default:
				return
			}
			if err != nil || path == "" && op.Kind() != "replace" || strings.HasSuffix(path, "/-") && op.Kind() != "add" || strings.Contains(path, "/-/") {
				return
			}
			// The library takes names of members in any letters, and negative numbers for elements from the end.
			for key := range raw[i] {
				switch strings.ToLower(key) {
				case key:
				default:
					return
				}
			}
			for _, s := range append(strings.Split(path, "/"), strings.Split(string(raw[i]["from"]), "/")...) {
				if len(s) > 1 && (s[0] == '-' || s[0] == '+' || s[0] == '0') || strings.Count(path, "/") > 60 {
					return
				}
			}
		}
		wanted := applied(operations)
		if wanted == nil {
			return
		}
		if bytes.Contains(patch, []byte("copy")) && bytes.Contains(wanted, []byte("null")) {
			return // the library copies what is not there, as null; here it may well be there
		}
		want, have := tree(t, wanted), tree(t, got)
		if _, object := want.(map[string]any); object && !reflect.DeepEqual(want, have) {
			t.Fatalf("%s\n got %s\nwant %s", patch, got, wanted)
		}
	})
}

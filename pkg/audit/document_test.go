package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"kaudit/pkg/audit"
)

func TestDocumentsAreReadAsTheJSONPluginReadsThem(t *testing.T) {
	const event = `{"a":{"b":[1,{"c":"x"},-0.50e1,null,true,"é\n\u0041"]},"a/b":1,"m~n":2,"":{"":"empty"},"k\u0041":"escaped",` +
		` "twice":1, "twice" : {"b":2,"b":[ 3 , 4 ]},"text":"<a> & \"b\"","obj": { "s" : "<\u0041>" , "l":[ ] } }`
	for _, row := range []struct{ document, pointer, want string }{
		{event, "/a/b/0", "1"},
		{event, "a/b/1/c", "x"}, // the first slash may be left out
		{event, "/a/b/2", "-0.50e1"},
		{event, "/a/b/3", "null"},
		{event, "/a/b/4", "true"},
		{event, "/a/b/5", "é\nA"},
		{event, "/a/b/6", "none"},
		{event, "/a/b/+1/c", "x"},
		{event, "/a/b/00", "1"},
		{event, "/a/b/-0", "1"},
		{event, "/a/b/-1", "none"},
		{event, "/a/b/-", "none"},
		{event, "/a/b/", "none"},
		{event, "/a/b/99999999999999999999", "none"},
		{event, "/a/b", `[1,{"c":"x"},-0.50e1,null,true,"é\n\u0041"]`},
		{event, "/a/b/0/c", "none"},
		{event, "/a/b/5/0", "none"},
		{event, "/a~1b", "1"},
		{event, "/m~0n", "2"},
		{event, "/m~n", "2"},
		{event, "/kA", "escaped"},
		{event, `/k\u0041`, "none"},
		{event, "/", "{\"\":\"empty\"}"},
		{event, "//", "empty"},
		{event, "///", "none"},
		{event, "/twice", `{"b":2,"b":[3,4]}`}, // the last counts
		{event, "/twice/b/1", "4"},
		{event, "/text", `<a> & "b"`},
		{event, "/obj", `{"s":"<\u0041>","l":[]}`}, // as it is written
		{event, "/missing", "none"},
		{event, "/a/missing", "none"},
		{`[ {"a":1} , [2] ]`, "/0/a", "1"},
		{`[ {"a":1} , [2] ]`, "1/0", "2"},
		{`[ {"a":1} , [2] ]`, "", `[{"a":1},[2]]`},
		{"{\"a\" :\t\"b c\"\n}\n", "", `{"a":"b c"}`},
		{`{}`, "", `{}`},
		{`{"a":"\ud83d\ude00\ud800"}`, "/a", "😀\\ud800"}, // half a surrogate stays as it is written
		{`{"a":"\u0000"}`, "/a", "\x00"},
		// What is no document has no values.
		{``, "", "none"},
		{` {"a":1}`, "/a", "none"},
		{`"a"`, "", "none"},
		{`1`, "", "none"},
		{`{"a":1}}`, "/a", "none"},
		{`{"a":1,}`, "/a", "none"},
		{`{,}`, "", "none"},
		{`{"a":1`, "/a", "none"},
		{`{"a":1,"b":nan}`, "/a", "none"},
		{`{"a":01}`, "/a", "none"},
		{"{\"a\":\"\n\"}", "/a", "none"},
		{`{"a":"\x"}`, "/a", "none"},
		{`[1,]`, "/0", "none"},
	} {
		var d audit.Document
		d.Load([]byte(row.document))
		got, ok := d.Append([]byte("before "), audit.ParsePath(row.pointer))
		value, kept := strings.CutPrefix(string(got), "before ")
		if !ok {
			value += "none"
		}
		if !kept || value != row.want {
			t.Errorf("%s of %s: got %q, want %q", row.pointer, row.document, got, row.want)
		}
	}
}

func TestADocumentOfManyMembers(t *testing.T) {
	var b bytes.Buffer
	b.WriteByte('{')
	const n = 1000
	for i := range n {
		fmt.Fprintf(&b, `"k%d":%d,`, i, i)
	}
	b.WriteString(`"k7":"again"}`)
	var d audit.Document
	for range 2 {
		if !d.Load(b.Bytes()) {
			t.Fatal("no document")
		}
		for i := range n {
			want := strconv.Itoa(i)
			if i == 7 {
				want = "again"
			}
			if got, _ := d.Append(nil, audit.ParsePath("/k"+strconv.Itoa(i))); string(got) != want {
				t.Fatalf("member %d is %q", i, got)
			}
		}
		if !d.Load([]byte(`{"k1":true}`)) {
			t.Fatal("no document")
		}
		if got, _ := d.Append(nil, audit.ParsePath("/k1")); string(got) != "true" {
			t.Errorf("after it: %q", got)
		}
	}
}

func TestReadingDocumentsDoesNotAllocate(t *testing.T) {
	raw, path, dst := []byte(sample), audit.ParsePath("/user/groups"), make([]byte, 0, 1<<10)
	var d audit.Document
	if n := testing.AllocsPerRun(20, func() {
		d.Load(raw)
		dst, _ = d.Append(dst[:0], path)
	}); n > 0 || len(dst) == 0 {
		t.Errorf("%v allocations, %q", n, dst)
	}
}

// FuzzDocument compares with encoding/json what is a document, and what a pointer leads to.
func FuzzDocument(f *testing.F) {
	f.Add([]byte(sample), "/user/groups/0")
	f.Add([]byte(`{"a":{"b":[1,{"c":"x"},-0.5e1,null,true,"\u00e9\n"]},"a/b":1,"m~n":2,"":{"":"e"}}`), "a/b/+1/c")
	f.Add([]byte(`{"twice":1, "twice" : {"b":2,"\u0062":[ 3 , 4 ]}}`), "/twice/b/1")
	f.Add([]byte(" [ {} , [ ] ] "), "")
	f.Add([]byte(`[ {"~1":{"/":"\ud83d\ude00"}} ]`+"\n"), "/0/~01/~1")
	f.Add([]byte(`{"a":[1,2,]}`), "/a/00")
	f.Add([]byte(`{"a":1}{"b":2}`), "/")
	f.Add([]byte("{\"a\":\"\xff\"}"), "/a")
	f.Add([]byte(`{"a":NaN}`), "/a/-")
	f.Fuzz(func(t *testing.T, raw []byte, pointer string) {
		var d audit.Document
		is := len(raw) > 0 && (raw[0] == '{' || raw[0] == '[') && json.Valid(raw)
		if d.Load(raw) != is {
			t.Fatalf("%q is a document: %t", raw, is)
		}
		got, found := d.Append(nil, audit.ParsePath(pointer))
		if again, _ := d.Append(nil, audit.ParsePath(pointer)); !bytes.Equal(got, again) {
			t.Fatalf("%s: first %q, then %q", pointer, got, again)
		}
		if !is {
			if found || len(d.AppendIndented(nil)) > 0 {
				t.Fatalf("%q has a value: %q", raw, got)
			}
			return
		}
		var indented bytes.Buffer
		if json.Indent(&indented, raw, "", "  ") != nil || !bytes.Equal(indented.Bytes(), d.AppendIndented(nil)) {
			t.Fatalf("%q is not indented: %q", raw, d.AppendIndented(nil))
		}
		if !utf8.Valid(raw) || !utf8.ValidString(pointer) || bytes.Contains(raw, []byte(`\ud`)) || bytes.Contains(raw, []byte(`\uD`)) {
			return // encoding/json replaces what is no character
		}
		value, there := walk(t, raw, pointer)
		if there != found {
			t.Fatalf("%s of %q: there %t, found %q", pointer, raw, there, got)
		}
		var want bytes.Buffer
		switch {
		case !there:
		case value[0] == '"':
			var s string
			if err := json.Unmarshal(value, &s); err != nil {
				t.Fatal(err)
			}
			want.WriteString(s)
		default:
			if err := json.Compact(&want, value); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("%s of %q: got %q, want %q", pointer, raw, got, want.Bytes())
		}
	})
}

// walk follows a pointer with encoding/json, of whose objects the last member counts, too.
func walk(t *testing.T, value json.RawMessage, pointer string) (json.RawMessage, bool) {
	t.Helper()
	if pointer == "" {
		return bytes.TrimSpace(value), true
	}
	for _, token := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		switch value = bytes.TrimSpace(value); value[0] {
		case '{':
			var members map[string]json.RawMessage
			if err := json.Unmarshal(value, &members); err != nil {
				t.Fatal(err)
			}
			var ok bool
			if value, ok = members[token]; !ok {
				return nil, false
			}
		case '[':
			var elements []json.RawMessage
			if err := json.Unmarshal(value, &elements); err != nil {
				t.Fatal(err)
			}
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(elements) {
				return nil, false
			}
			value = elements[i]
		default:
			return nil, false
		}
	}
	return bytes.TrimSpace(value), true
}

func BenchmarkDocument(b *testing.B) {
	raw, path := []byte(sample), audit.ParsePath("/stage")
	var d audit.Document
	var dst []byte
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		d.Load(raw)
		dst, _ = d.Append(dst[:0], path)
	}
}

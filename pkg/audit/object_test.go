package audit_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"kaudit/internal/cputime"
	"kaudit/pkg/audit"
)

// patched is an event of a patch without a response.
func patched(body string) string {
	return `{"auditID":"a","verb":"patch","requestObject":` + body + `}`
}

func TestTheTypeOfAPatchIsToldByItsShape(t *testing.T) {
	for _, row := range []struct {
		body string
		want audit.PatchType
	}{
		{`[{"op":"add","path":"/a","value":1}]`, audit.JSONPatch},
		{`[]`, audit.JSONPatch},
		{`{"spec":{"replicas":3}}`, audit.MergePatch},
		{`{}`, audit.MergePatch},
		{`{"metadata":{"labels":{"kind":"x"}}}`, audit.MergePatch},
		{`{"apiVersion":"v1","kind":"Pod","spec":{}}`, audit.ApplyPatch},
		{`{"kind":"Pod","spec":{}}`, audit.MergePatch},
		{`{"apiVersion":1,"kind":"Pod"}`, audit.MergePatch},
		{`{"spec":{"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"a","image":"b"}]}}`, audit.StrategicPatch},
		{`{"spec":{"containers":[{"name":"a","$patch":"delete"}]}}`, audit.StrategicPatch},
		{`{"spec":{"$retainKeys":["type"]}}`, audit.StrategicPatch},
		{`{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}}`, audit.StrategicPatch},
		{`{"spec":{"$patchy":1}}`, audit.MergePatch},
		{`{"spec":{"\u0024patch":"replace"}}`, audit.StrategicPatch},
		{`"skipped-too-big-size-object"`, audit.NoPatch},
		{`null`, audit.NoPatch},
	} {
		var e audit.Event
		e.Load([]byte(patched(row.body)))
		if got := e.PatchType(); got != row.want {
			t.Errorf("%s: got %q, want %q", row.body, got, row.want)
		}
		e.Load([]byte(strings.Replace(patched(row.body), `"patch"`, `"update"`, 1)))
		if got := e.PatchType(); got != audit.NoPatch {
			t.Errorf("%s: an update is a %q", row.body, got)
		}
	}
}

func TestTheObjectIsWhatTheRequestLeft(t *testing.T) {
	for _, row := range []struct{ what, event, want string }{
		{"the response counts", `{"verb":"create","requestObject":{"a":1},"responseObject":{"b":2}}`, `{"b":2}`},
		{"else the request", `{"verb":"create","requestObject":{"a":1}}`, `{"a":1}`},
		{"a status is not the object", `{"verb":"create","requestObject":{"a":1},"responseObject":{"kind":"Status"}}`, `{"a":1}`},
		{"nor is null", `{"verb":"create","requestObject":{"a":1},"responseObject":null}`, `{"a":1}`},
		{"nor what was left out", `{"verb":"create","requestObject":"skipped-too-big-size-object"}`, ``},
		{"a deletion's options are not the object", `{"verb":"delete","requestObject":{"kind":"DeleteOptions"}}`, ``},
		{"a deletion's response is", `{"verb":"delete","requestObject":{"kind":"DeleteOptions"},"responseObject":{"kind":"Pod"}}`, `{"kind":"Pod"}`},
		{"a read object", `{"verb":"get","responseObject":{"kind":"Pod"}}`, `{"kind":"Pod"}`},
		{"a merge patch", patched(`{"spec":{"replicas":3}}`), `{"spec":{"replicas":3}}`},
		{"a patch with a response", `{"verb":"patch","requestObject":{"a":1},"responseObject":{"b":2}}`, `{"b":2}`},
		{"a cut response knows less than the request", `{"verb":"create","requestObject":{"a":1},"responseObject":{"b":2},"kaudit":{"salvaged":"truncated"}}`, `{"a":1}`},
		{"but more than a patch", `{"verb":"patch","requestObject":{"a":1},"responseObject":{"b":2},"kaudit":{"salvaged":"truncated"}}`, `{"b":2}`},
		{"no bodies", `{"verb":"create"}`, ``},
	} {
		var e audit.Event
		if !e.Load([]byte(row.event)) {
			t.Fatalf("%s: not JSON", row.what)
		}
		if got := string(e.Object().AppendJSON(nil)); got != row.want {
			t.Errorf("%s: got %s, want %s", row.what, got, row.want)
		}
	}
}

func TestAJSONPatchBecomesTheObjectItTouches(t *testing.T) {
	for _, row := range []struct{ patch, want string }{
		{`[{"op":"add","path":"/spec/replicas","value":3}]`, `{"spec":{"replicas":3}}`},
		{`[{"op":"replace","path":"/spec/template/spec/hostNetwork","value":true}]`, `{"spec":{"template":{"spec":{"hostNetwork":true}}}}`},
		{`[{"op":"add","path":"/a","value":{"b":1}},{"op":"add","path":"/a/c","value":2}]`, `{"a":{"b":1,"c":2}}`},
		{`[{"op":"add","path":"/a","value":1},{"op":"remove","path":"/a"}]`, `{}`},
		{`[{"op":"remove","path":"/a/b/c"}]`, `{}`},
		{`[{"op":"test","path":"/a","value":1}]`, `{}`},
		{`[{"op":"add","path":"/a","value":null}]`, `{"a":null}`},
		{`[{"op":"add","path":"/a"}]`, `{"a":null}`},
		{`[{"op":"add","path":"","value":{"spec":{"hostPID":true}}},{"op":"add","path":"/a","value":1}]`, `{"spec":{"hostPID":true},"a":1}`},
		{`[{"op":"replace","path":"","value":[1]}]`, `{}`},
		{`[{"op":"add","path":"/metadata/labels/a~1b~0c","value":"d"}]`, `{"metadata":{"labels":{"a/b~c":"d"}}}`},
		{`[{"op":"add","path":"/metadata/annotations/0","value":"x"}]`, `{"metadata":{"annotations":{"0":"x"}}}`},
		{`[{"\u006fp":"\u0061dd","p\u0061th":"\/a","value":1}]`, `{"a":1}`},
		{`[{"op":"add","op":"remove","path":"/x","path":"/a","value":1,"value":2},{"op":"add","path":"/b","value":1}]`, `{"b":1}`},

		// Lists of which only a part is known.
		{`[{"op":"replace","path":"/spec/containers/0/image","value":"a"}]`, `{"spec":{"containers":[{"image":"a"}]}}`},
		{`[{"op":"replace","path":"/spec/containers/2/image","value":"a"},{"op":"add","path":"/spec/containers/2/name","value":"b"}]`, `{"spec":{"containers":[null,null,{"image":"a","name":"b"}]}}`},
		{`[{"op":"add","path":"/spec/containers/-","value":{"name":"a"}},{"op":"add","path":"/spec/containers/-","value":{"name":"b"}}]`, `{"spec":{"containers":[{"name":"a"},{"name":"b"}]}}`},
		{`[{"op":"add","path":"/l/0","value":"a"},{"op":"add","path":"/l/0","value":"b"}]`, `{"l":["b","a"]}`},
		{`[{"op":"add","path":"/l/0","value":"a"},{"op":"replace","path":"/l/0","value":"b"}]`, `{"l":["b"]}`},
		{`[{"op":"add","path":"/l/0","value":"a"},{"op":"remove","path":"/l/0"}]`, `{"l":[]}`},
		{`[{"op":"add","path":"/l/999999","value":"a"},{"op":"add","path":"/l/1000000","value":"b"}]`, `{"l":["a","b"]}`},
		// What is added to the end is not what a number leads to: nobody knows how long the list was.
		{`[{"op":"add","path":"/l/-","value":"evil"},{"op":"remove","path":"/l/0"}]`, `{"l":["evil"]}`},
		{`[{"op":"add","path":"/l/-","value":"evil"},{"op":"replace","path":"/l/0","value":"good"}]`, `{"l":["good","evil"]}`},
		{`[{"op":"add","path":"/l/-","value":{"image":"evil"}},{"op":"replace","path":"/l/0/image","value":"good"}]`, `{"l":[{"image":"good"},{"image":"evil"}]}`},
		{`[{"op":"add","path":"/l/0","value":{"image":"evil"}},{"op":"add","path":"/l/0","value":{"image":"x"}},{"op":"replace","path":"/l/0/image","value":"good"}]`, `{"l":[{"image":"good"},{"image":"evil"}]}`},

		// Lists that are known whole.
		{`[{"op":"add","path":"/l","value":["a","b"]},{"op":"add","path":"/l/1","value":"x"}]`, `{"l":["a","x","b"]}`},
		{`[{"op":"add","path":"/l","value":["a","b"]},{"op":"add","path":"/l/-","value":"x"},{"op":"remove","path":"/l/0"}]`, `{"l":["b","x"]}`},
		{`[{"op":"add","path":"/l","value":["a","b"]},{"op":"replace","path":"/l/0","value":"x"}]`, `{"l":["x","b"]}`},
		{`[{"op":"add","path":"/l","value":[{"a":1}]},{"op":"replace","path":"/l/0/a","value":2}]`, `{"l":[{"a":2}]}`},

		// Copies and moves, where the patch itself tells what is there.
		{`[{"op":"add","path":"/a","value":{"x":1}},{"op":"copy","from":"/a","path":"/b"},{"op":"add","path":"/b/y","value":2}]`, `{"a":{"x":1},"b":{"x":1,"y":2}}`},
		{`[{"op":"add","path":"/a","value":{"x":1}},{"op":"move","from":"/a","path":"/b"}]`, `{"b":{"x":1}}`},
		{`[{"op":"copy","from":"/a","path":"/b"}]`, `{}`},
		{`[{"op":"copy","from":"","path":"/b"}]`, `{}`},
		{`[{"op":"add","path":"/a","value":{"x":[1,{"y":2}]}},{"op":"copy","from":"/a","path":"/a/x/1/z"}]`, `{"a":{"x":[1,{"y":2,"z":{"x":[1,{"y":2}]}}]}}`},
		{`[{"op":"add","path":"/a/-","value":1},{"op":"copy","from":"/a","path":"/b"},{"op":"add","path":"/b/-","value":2}]`, `{"a":[1],"b":[1,2]}`},
		{`[{"op":"add","path":"/a","value":{}},{"op":"move","from":"/a","path":"/a/b"}]`, `{"a":{"b":{}}}`},

		// A key twice: the last one counts, also for what comes after.
		{`[{"op":"add","path":"/a","value":{"x":1,"x":2,"x":3}},{"op":"replace","path":"/a/x","value":4}]`, `{"a":{"x":4}}`},
		{`[{"op":"add","path":"/a","value":{"x":1,"x":2}},{"op":"remove","path":"/a/x"}]`, `{"a":{}}`},

		// What is no operation is passed over.
		{`[1,"x",null,[],{},{"op":"add"},{"op":1,"path":2},{"op":"add","path":"a","value":1},{"op":"add","path":"/b","value":1}]`, `{"b":1}`},
		// What stands before the first slash does not matter to the API server.
		{`[{"op":"add","path":"x/spec/hostPID","value":true},{"op":"copy","from":"y/spec","path":"z/s"}]`, `{"spec":{"hostPID":true},"s":{"hostPID":true}}`},
	} {
		var e audit.Event
		if !e.Load([]byte(patched(row.patch))) {
			t.Fatalf("not JSON: %s", row.patch)
		}
		before := string(e.Get(audit.RequestObject).AppendJSON(nil))
		if got := string(e.Object().AppendJSON(nil)); got != row.want {
			t.Errorf("%s\n got %s\nwant %s", row.patch, got, row.want)
		}
		if after := string(e.Get(audit.RequestObject).AppendJSON(nil)); after != before {
			t.Errorf("%s: the request itself became %s", row.patch, after)
		}
	}
}

func TestAPatchCannotAskForTooMuch(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("takes seconds, and is about time")
	}
	repeat := func(n int, op string) string { return "[" + op + strings.Repeat(","+op, n-1) + "]" }
	doubling := `[{"op":"add","path":"/a","value":{"x":[1,2,3]}}`
	for range 2000 {
		doubling += `,{"op":"copy","from":"/a","path":"/a/b"},{"op":"copy","from":"/a","path":"/a/c"}`
	}
	var fresh strings.Builder
	for i := range 9_999 {
		fresh.WriteString(`{"op":"add","path":"/k`)
		fresh.WriteString(strings.Repeat("x", i%7))
		fresh.WriteString(time.Duration(i).String())
		fresh.WriteString(`","value":1},`)
	}
	for what, patch := range map[string]string{
		"an object put into itself":    `[{"op":"add","path":"/a","value":{}},{"op":"copy","from":"/a","path":"/a/b"},{"op":"copy","from":"/a","path":"/a/b/c"}]`,
		"copies of copies":             doubling + "]",
		"a deep path":                  `[{"op":"add","path":"` + strings.Repeat("/a", 1<<20) + `","value":1}]`,
		"a path of far elements":       `[{"op":"add","path":"` + strings.Repeat("/255", 1<<18) + `","value":1}]`,
		"paths of far elements":        repeat(20_000, `{"op":"add","path":"`+strings.Repeat("/255", 60)+`","value":1}`),
		"far elements of many lists":   "[" + strings.ReplaceAll(fresh.String(), `","value"`, `/255/255","value"`) + "1]",
		"many members":                 "[" + fresh.String() + "1]",
		"more operations than allowed": repeat(50_000, `{"op":"add","path":"/a/-","value":1}`),
		"a key many times":             `[{"op":"add","path":"/a","value":{"x":1` + strings.Repeat(`,"x":1`, 100_000) + `}},{"op":"add","path":"/a/x","value":2}]`,
		"a key many times, removed":    `[{"op":"add","path":"/a","value":{"x":1` + strings.Repeat(`,"x":1`, 100_000) + `}},{"op":"remove","path":"/a/x"}]`,
		"elements put before many":     `[{"op":"add","path":"/a","value":[1` + strings.Repeat(`,1`, 100_000) + `]}` + strings.Repeat(`,{"op":"add","path":"/a/0","value":1}`, 9_000) + "]",
		"a long path that is not one":  `[{"op":"add","path":"` + strings.Repeat("~1", 1<<20) + `","value":1}]`,
		"copies of a long text":        `[{"op":"add","path":"/a","value":["` + strings.Repeat("x", 1<<20) + `"]}` + strings.Repeat(`,{"op":"copy","from":"/a/0","path":"/a/-"}`, 9_000) + "]",
		"copies of a large object":     `[{"op":"add","path":"/a","value":{"x":1` + strings.Repeat(`,"":1`, 50_000) + `}}` + strings.Repeat(`,{"op":"copy","from":"/a","path":"/b"}`, 5_000) + "]",
	} {
		var e audit.Event
		if !e.Load([]byte(patched(patch))) {
			t.Fatalf("%s: not JSON", what)
		}
		before := allocated()
		var out []byte
		if took := cputime.Of(func() {
			out = e.Object().AppendJSON(nil)
			e.PatchPaths(func([]byte) {})
		}); took > 5*time.Second {
			t.Errorf("%s: %v", what, took)
		}
		if used := allocated() - before; used > 400<<20 {
			t.Errorf("%s: %d MB", what, used>>20)
		}
		if !json.Valid(out) {
			t.Errorf("%s: what comes out is not JSON: %.100s", what, out)
		}
	}
}

func TestPatchPathsAreWhatAPatchSets(t *testing.T) {
	for _, row := range []struct{ body, want string }{
		{`[{"op":"add","path":"/a/b","value":{"c":1}},{"op":"remove","path":"/d"},{"op":"test","path":"/t"},{"op":"move","from":"/m","path":"/n"},{"op":"copy","from":"/o","path":"/p"}]`, "/a/b /d /n /m /p"},
		{`[1,{},{"op":"add","path":7},{"op":"add","path":"a"},{"op":"add","path":"x/a"}]`, "/a"},
		{`[]`, ""},
		{`{"spec":{"replicas":3,"paused":null}}`, "/spec/replicas /spec/paused"},
		{`{"metadata":{"labels":{"a/b":"c","d~e":"f"}}}`, "/metadata/labels/a~1b /metadata/labels/d~0e"},
		{`{"spec":{"containers":[{"name":"a"},{"name":"b","args":[]}],"x":{}}}`, "/spec/containers/0/name /spec/containers/1/name /spec/containers/1/args /spec/x"},
		{`{}`, ""},
	} {
		var e audit.Event
		e.Load([]byte(patched(row.body)))
		var got []string
		e.PatchPaths(func(p []byte) { got = append(got, string(p)) })
		if s := strings.Join(got, " "); s != row.want {
			t.Errorf("%s: got %s, want %s", row.body, s, row.want)
		}
	}
}

func TestAPointerLeadsToAValue(t *testing.T) {
	const event = `{"auditID":"a","requestObject":{"a":[{"b":1},{"b":2}],"c/d":{"e~f":3},"":{"":4},"0":5,"x":1,"x":2},"unknown":{"k":[7]},"unknown":{"k":[8]},"\u0075mlaut":9}`
	for _, row := range []struct{ pointer, want, all string }{
		{"/auditID", `"a"`, `"a"`},
		{"auditID", `"a"`, `"a"`},
		{"/requestObject/a/0/b", "1", "1"},
		{"/requestObject/a/1/b", "2", "2"},
		{"/requestObject/a/01/b", "", ""},
		{"/requestObject/a/2/b", "", ""},
		{"/requestObject/a/-1/b", "", ""},
		{"/requestObject/a/99999999999999999999/b", "", ""},
		{"/requestObject/a/*/b", "", "1 2"},
		{"/requestObject/a/*/*", "", "1 2"},
		{"/requestObject/c~1d/e~0f", "3", "3"},
		{"/requestObject//", "4", "4"},
		{"/requestObject/0", "5", "5"},
		{"/requestObject/x", "2", "2"}, // the last one counts
		{"/unknown/k/0", "8", "8"},
		{"/umlaut", "9", "9"},
		{"/nothing", "", ""},
		{"/auditID/x", "", ""},
		{"/*", "", ""},
	} {
		p, err := audit.ParsePointer(row.pointer)
		if err != nil {
			t.Fatal(err)
		}
		var e audit.Event
		if !e.Load([]byte(event)) {
			t.Fatal("not JSON")
		}
		if got := string(e.At(p).AppendJSON(nil)); got != row.want {
			t.Errorf("%s: got %s, want %s", row.pointer, got, row.want)
		}
		var all []string
		e.All(p, func(n audit.Node) { all = append(all, string(n.AppendJSON(nil))) })
		if got := strings.Join(all, " "); got != row.all {
			t.Errorf("all of %s: got %s, want %s", row.pointer, got, row.all)
		}
	}
	for _, wrong := range []string{"", "/"} {
		if p, err := audit.ParsePointer(wrong); err == nil {
			t.Errorf("%q is taken for the pointer %q", wrong, p)
		}
	}
	if p, _ := audit.ParsePointer("/a~01/b~1c"); !reflect.DeepEqual(p, audit.Pointer{"a~1", "b/c"}) {
		t.Errorf("got %q", p)
	}
}

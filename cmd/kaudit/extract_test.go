package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"kaudit/pkg/extract"
)

func TestExtract(t *testing.T) {
	const events = "testdata/explain-events.jsonl"
	for name, args := range map[string][]string{
		"help":             {"--help"},
		"everything":       {"-f", events, "--event", "2"},
		"absent-too":       {"-f", events, "--event", "1", "--all", "ka.imp*", "ka.exec.*"},
		"by-name":          {"-f", events, "ka.verb", "ka.impuser.name", "ka.user.groups", "ka.sourceips.net"},
		"with-arguments":   {"-f", events, "--event", "2", "ka.value[/user]", `ka.value["/objectRef/name"]`, "ka.uri.param[command]", "ka.sourceips[1]", "ka.value[/nowhere]", "ka.number[/responseStatus/code]"},
		"escaped":          {"-f", events, "--audit-id", "e-4", "ka.user.*", "ka.target.name"},
		"as-json":          {"-f", events, "-o", "json", "ka.verb", "ka.code", "ka.exec.tty", "ka.user.groups", "ka.impuser.name", "ka.sourceips.net", "ka.target.name", "ka.latency"},
		"mixed":            {"-f", "testdata/extract-mixed.jsonl", "ka.verb"},
		"broken":           {"-f", "testdata/extract-broken.json", "ka.auditid"},
		"no-json":          {"-f", "testdata/extract-no-json.txt"},
		"empty":            {"-f", "testdata/extract-empty.json"},
		"unreadable":       {"-f", "testdata/nowhere.json"},
		"no-argument":      {"-f", events, "ka.value"},
		"wrong-argument":   {"-f", events, "ka.role.grants[create]"},
		"wrong-index":      {"-f", events, "ka.sourceips[one]"},
		"argument-too-far": {"-f", events, "ka.verb[1]"},
		"no-bracket":       {"-f", events, "ka.value[/verb"},
		"unknown":          {"-f", events, "ka.vreb"},
		"file-for-field":   {events},
		"unknown-pattern":  {"-f", events, "ka.nothing.*"},
		"pattern-argument": {"-f", events, "ka.val*[/verb]"},
		"event-missing":    {"-f", events, "--audit-id", "e-17"},
	} {
		t.Run(name, func(t *testing.T) { prints(t, "extract-"+name, append([]string{"extract"}, args...)...) })
	}
}

// Without patterns all fields are asked that need no argument, and what they are is valid JSON of their type.
func TestEveryFieldIsExtracted(t *testing.T) {
	var out bytes.Buffer
	if code := run([]string{"extract", "-f", "../../testdata/recordings/webhook.jsonl.gz", "-o", "json", "--all"}, &out, &out); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	all := extract.Fields()
	want := 0
	for _, f := range all {
		if f.Arg != extract.RequiredKey {
			want++
		}
	}
	n := 0
	for line := range strings.Lines(out.String()) {
		var e struct{ Fields map[string]any }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if len(e.Fields) != want {
			t.Fatalf("%d fields, want %d", len(e.Fields), want)
		}
		n++
		for name, v := range e.Fields {
			id, _ := all.Find(name)
			values, isList := v.([]any)
			if v == nil {
				continue
			}
			if isList != all[id].From.List {
				t.Fatalf("%s: %v", name, v)
			}
			if !isList {
				values = []any{v}
			}
			for _, v := range values {
				ok := false
				switch all[id].From.Type {
				case extract.Text, extract.Network:
					_, ok = v.(string)
				case extract.Bool:
					_, ok = v.(bool)
				default:
					_, ok = v.(float64)
				}
				if !ok {
					t.Fatalf("%s: %T", name, v)
				}
			}
		}
	}
	if n < 100 {
		t.Errorf("%d events", n)
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"kaudit"
	"kaudit/internal/golden"
	"kaudit/pkg/extract"
)

func TestOutput(t *testing.T) {
	for name, args := range map[string][]string{
		"help":                 {},
		"fields-help":          {"fields", "--help"},
		"fields-by-name":       {"fields", "ka.uri.*"},
		"fields-by-word":       {"fields", "Impersonated"},
		"field-with-example":   {"fields", "-v", "ka.uri.param[command]"},
		"field-as-json":        {"fields", "--json", "ka.uri.param"},
		"field-unknown":        {"fields", "ka.usr.name"},
		"field-unlike-any":     {"fields", "zzz*"},
		"fields-two-patterns":  {"fields", "ka.user.name", "ka.verb"},
		"flag-unknown":         {"fields", "--jsn"},
		"flag-unknown-letter":  {"fields", "-x"},
		"command-unknown":      {"filds"},
		"command-unlike-any":   {"frobnicate"},
		"version-has-no-words": {"version", "1"},
		"help-unknown":         {"help", "filds"},
		"completion-unknown":   {"completion", "bsh"},
		"number-wrong":         {"extract", "--event", "-1"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			code := run(args, &out, &errOut)
			got := fmt.Sprintf("$ kaudit %s\n%s%sexit %d\n", strings.Join(args, " "), out.String(), errOut.String(), code)
			golden.Compare(t, "testdata/"+name+".golden", got)
		})
	}
}

func TestAllFieldsAreListed(t *testing.T) {
	var text, asJSON bytes.Buffer
	if code := run([]string{"fields"}, &text, &text); code != exitOK {
		t.Fatalf("kaudit fields: exit %d", code)
	}
	if code := run([]string{"fields", "--json"}, &asJSON, &asJSON); code != exitOK {
		t.Fatalf("kaudit fields --json: exit %d", code)
	}
	var list []struct{ Name string }
	if err := json.Unmarshal(asJSON.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	fields := extract.Fields()
	if len(list) != len(fields) {
		t.Fatalf("%d of %d fields are in the JSON", len(list), len(fields))
	}
	for i, f := range fields {
		if list[i].Name != f.Name {
			t.Errorf("field %d is %s in the JSON, want %s", i, list[i].Name, f.Name)
		}
		if !strings.Contains(text.String(), "\n"+f.Name+brackets(f)+" ") {
			t.Errorf("%s is not in the text", f.Name)
		}
	}
}

func TestVersionSaysWhoWeAre(t *testing.T) {
	var out bytes.Buffer
	if code := run([]string{"version"}, &out, &out); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	id := kaudit.Plugin()
	for _, want := range []string{"kaudit " + id.Version + "\n", "plugin " + id.Name + ", id 1, event source " + id.Source} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
}

func TestVersionAsJSON(t *testing.T) {
	var out bytes.Buffer
	if code := run([]string{"version", "-o", "json"}, &out, &out); code != exitOK {
		t.Fatalf("exit %d", code)
	}
	var got struct{ Version, Plugin string }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if id := kaudit.Plugin(); got.Version != id.Version || got.Plugin != id.Name {
		t.Errorf("got %s", out.String())
	}
}

func TestShellsCompleteWhatRulesHave(t *testing.T) {
	const own = "testdata/explain-rules.yaml"
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "-r", own, "-D", ""}, "Shell in Pod\n"},
		{[]string{"run", "-r", own, "-t", ""}, "k8s\n"},
		{[]string{"check", "--falco", ""}, "0.35\n"},
	} {
		var out, errOut bytes.Buffer
		if code := run(append([]string{"__complete"}, row.args...), &out, &errOut); code != exitOK || !strings.Contains(out.String(), row.want) {
			t.Errorf("%q: exit %d, got %q, want %q in it", row.args, code, out.String(), row.want)
		}
	}
}

func TestShellsCompleteNames(t *testing.T) {
	var out, errOut bytes.Buffer
	if code := run([]string{"__complete", "fields", "ka.impuser.n"}, &out, &errOut); code != exitOK {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	if !strings.HasPrefix(out.String(), "ka.impuser.name\t") {
		t.Errorf("got %q", out.String())
	}
}

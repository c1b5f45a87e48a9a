package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"kaudit/internal/config"
	"kaudit/pkg/extract"
	"kaudit/pkg/source"
	"kaudit/pkg/source/all"
)

// noSettings is a first rule file in which there is nothing to set.
const noSettings = settingsBegin + settingsEnd + "\n[]\n"

// repository makes a folder that looks like one.
func repository(t *testing.T) string {
	root := t.TempDir()
	for _, d := range []string{"docs", "rules"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for file, text := range map[string]string{"plugin.yaml": "fields: 0\n", settingsFile: noSettings} {
		if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFilesAreWrittenOnlyIfTheyChange(t *testing.T) {
	root := repository(t)
	if err := run(root, false); err != nil {
		t.Fatal(err)
	}
	fields, rules := filepath.Join(root, "docs", "fields.md"), filepath.Join(root, "docs", "rules.md")
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, file := range []string{fields, rules} {
		if err := os.Chtimes(file, old, old); err != nil {
			t.Fatal(err)
		}
	}
	rule := "- rule: R\n  desc: It finds. More.\n  condition: ka.verb exists\n  output: o\n  priority: INFO\n  source: k8s_audit\n"
	if err := os.WriteFile(filepath.Join(root, "rules", "r.yaml"), []byte(rule), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(root, false); err != nil {
		t.Fatal(err)
	}
	if !modified(t, fields).Equal(old) {
		t.Error("docs/fields.md was written though it did not change")
	}
	if modified(t, rules).Equal(old) {
		t.Error("docs/rules.md was not written though there is a new rule")
	}
}

func modified(t *testing.T, file string) time.Time {
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

func TestCheckNamesPagesThatAreNotAsTheyWouldBe(t *testing.T) {
	root := repository(t)
	if err := run(root, false); err != nil {
		t.Fatal(err)
	}
	if err := run(root, true); err != nil {
		t.Errorf("just written: %v", err)
	}
	if err := os.WriteFile(filepath.Join(root, "docs", "sources.md"), []byte("edited"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(root, "docs", "schema.json")); err != nil {
		t.Fatal(err)
	}
	err := run(root, true)
	if err == nil || err.Error() != "docs/sources.md is stale, docs/schema.json is missing; run make generate" {
		t.Errorf("got %v", err)
	}
	if text, _ := os.ReadFile(filepath.Join(root, "docs", "sources.md")); string(text) != "edited" {
		t.Error("a check wrote a page")
	}
}

func TestOutsideTheRepositoryNothingIsWritten(t *testing.T) {
	root := t.TempDir()
	if err := run(root, false); err == nil || !strings.Contains(err.Error(), "root of the repository") {
		t.Errorf("got %v", err)
	}
	if entries, _ := os.ReadDir(root); len(entries) > 0 {
		t.Errorf("wrote %v", entries)
	}
}

func TestPagesHaveEverything(t *testing.T) {
	fields := string(fieldsPage(extract.Families()))
	for _, f := range extract.Fields() {
		if strings.Count(fields, "\n| `"+f.Name+"` |") != 1 {
			t.Errorf("docs/fields.md has no row for %s, or several", f.Name)
		}
	}
	sources := string(sourcesPage(all.Kinds()))
	for _, s := range config.Settings(all.Kinds()) {
		if !strings.Contains(sources, "| `"+s.Name+"` |") {
			t.Errorf("docs/sources.md lacks the setting %s", s.Name)
		}
	}
	for _, k := range all.Kinds() {
		if !strings.Contains(sources, "\n## "+k.Name+"\n") {
			t.Errorf("docs/sources.md lacks the kind %s", k.Name)
		}
		for _, e := range k.Examples {
			if !strings.Contains(sources, "| `"+e.Open+"` | "+e.Doc) {
				t.Errorf("docs/sources.md lacks the example %s", e.Open)
			}
		}
	}
}

func TestAKindWithoutSettingsHasNoTableOfThem(t *testing.T) {
	k := source.Define(source.Kind{Name: "plain", Summary: "Has nothing to set."}, struct{}{},
		func(string, struct{}, source.Env) (source.Source, error) { return nil, nil })
	page := string(sourcesPage([]source.Kind{k}))
	if strings.Count(page, "| Setting |") != 1 {
		t.Errorf("want the plugin's own settings only:\n%s", page)
	}
}

func TestCode(t *testing.T) {
	for text, want := range map[string]string{
		"ka.verb": "`ka.verb`",
		"a`b":     "`` a`b ``",
		" a":      "`  a `",
		"`":       "`` ` ``",
	} {
		if got := code(text); got != want {
			t.Errorf("code(%q) is %s, want %s", text, got, want)
		}
	}
}

func TestPluginYAMLCountsTheFields(t *testing.T) {
	text, err := countFields(fstest.MapFS{"plugin.yaml": {Data: []byte("name: x\nfields: 1 # old\nid: 1\n")}}, 308)
	if want := "name: x\nfields: 308\nid: 1\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v; want %q", text, err, want)
	}
	if _, err := countFields(fstest.MapFS{"plugin.yaml": {Data: []byte("name: x\n")}}, 308); err == nil || !strings.Contains(err.Error(), "fields: ") {
		t.Errorf("without the line: %v", err)
	}
}

func TestTheConfigurationPageHasKeysInsideOfKeys(t *testing.T) {
	page, err := configurationPage(`{"properties": {
		"b": {"type": "array", "description": "Bs.", "items": {"properties": {"c": {"type": "integer", "description": "A C.", "default": 1}}}},
		"a": {"type": "object", "description": "An A.", "properties": {"d": {"type": "string", "description": "A D."}}}}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := "| `a` | object | | An A. |\n| `a.d` | string | | A D. |\n| `b` | array | | Bs. |\n| `b[].c` | integer | `1` | A C. |\n"
	if !strings.HasSuffix(string(page), want) {
		t.Errorf("%s\nwant at the end\n%s", page, want)
	}
}

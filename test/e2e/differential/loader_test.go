//go:build linux

package differential

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kaudit"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// TestLoader has falco load the rule files of pkg/rules/testdata/load.txt: it accepts and refuses the same ones, warns
// of the same, and the rules find the same.
func TestLoader(t *testing.T) {
	falco, err := engine.FindFalco()
	if err != nil {
		t.Skip(err)
	}
	text, err := os.ReadFile(filepath.Join(e2e.Root(t), "pkg/rules/testdata/load.txt"))
	if err != nil {
		t.Fatal(err)
	}
	events := someEvents(t)
	log := e2e.WriteLines(t, events)
	p := peer{name: "falco", falco: rules.Newest, prog: falco}
	plugins := plugins(t)
	loaded := []rules.Plugin{{Name: "k8saudit", Version: kaudit.Plugin().Version}}
	for _, c := range strings.Split(string(text), "\n=== ")[1:] {
		name, body, _ := strings.Cut(c, "\n")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var files []rules.File
			var paths []string
			dir := t.TempDir()
			for i, content := range strings.Split(body, "\n---\n") {
				path := filepath.Join(dir, fmt.Sprintf("%d.yaml", i))
				if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				files, paths = append(files, rules.File{Name: path, Content: []byte(content + "\n")}), append(paths, path)
			}
			set, err := rules.Read(rules.Options{Plugins: loaded}, files...)
			ok, warnings, why := load(t, falco, plugins, paths)
			if ok != (err == nil) {
				if strings.Contains(fmt.Sprint(err), "the engine would crash") {
					return
				}
				t.Fatalf("falco accepts: %t (%s); here: %v", ok, why, err)
			}
			if err != nil {
				return
			}
			var mine []string
			for _, w := range set.Warnings {
				mine = append(mine, string(w.Code))
			}
			slices.Sort(mine)
			if len(files) == 1 && !slices.Equal(mine, warnings) {
				t.Errorf("warnings\n here %q\nfalco %q", mine, warnings)
			}
			if len(engineRules(set)) == 0 {
				return
			}
			result, err := falco.Run(t.Context(), engine.Run{Plugins: plugins, Open: log}, paths)
			if err != nil {
				t.Fatal(err)
			}
			n := compare(t, p, ours(t, set, events, rules.All), result.Matches)
			t.Logf("%d alerts are the same", n)
		})
	}
}

// load has falco validate rule files, and returns the codes of its warnings.
func load(t *testing.T, falco engine.Falco, plugins []engine.Plugin, paths []string) (ok bool, warnings []string, why string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "falco.yaml")
	writeConfig(t, config, plugins)
	results, failed := validate(t.Context(), falco.Path, config, paths)
	if len(results) == 0 {
		return false, nil, failed
	}
	ok = true
	for _, r := range results {
		ok = ok && r.Successful
		why += r.why()
		for _, w := range r.Warnings {
			warnings = append(warnings, w.Code)
		}
	}
	slices.Sort(warnings)
	return ok, warnings, why
}

// A loaded is what falco says of one file of rules.
type loaded struct {
	Successful bool
	Errors     []struct{ Message string }
	Warnings   []struct{ Code string }
}

func (l loaded) why() (text string) {
	for _, e := range l.Errors {
		text += e.Message
	}
	return text
}

// validate has a falco validate rule files. If it ends without an answer, failed says how.
func validate(ctx context.Context, falco, config string, files []string) (results []loaded, failed string) {
	args := []string{"-c", config}
	for _, f := range files {
		args = append(args, "-V", f)
	}
	cmd := exec.CommandContext(ctx, falco, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var answer struct {
		Results []loaded `json:"falco_load_results"`
	}
	text := stdout.Bytes()
	if i := bytes.IndexByte(text, '{'); i >= 0 {
		_ = json.NewDecoder(bytes.NewReader(text[i:])).Decode(&answer)
	}
	return answer.Results, fmt.Sprintf("%v: %.300s", err, stderr.String())
}

// writeConfig writes a configuration of falco for validating rules.
func writeConfig(t *testing.T, path string, plugins []engine.Plugin) {
	t.Helper()
	type object = map[string]any
	var list []any
	var names []string
	for _, plugin := range plugins {
		name := plugin.Name
		if name == "" {
			name = "k8saudit"
		}
		names = append(names, name)
		list = append(list, object{"name": name, "library_path": plugin.Path, "init_config": plugin.Init, "open_params": ""})
	}
	config, err := json.Marshal(object{
		"engine": object{"kind": "nodriver"}, "plugins": list, "load_plugins": names, "json_output": true, "rules_files": []string{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
}

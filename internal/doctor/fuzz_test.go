package doctor

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// FuzzConfig reads what may stand in falco.yaml, and in options: nothing ends the process, and an init_config that is
// a mapping is JSON.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("plugins: [{name: k8saudit, init_config: {a: 0x10, b: [1.5, on, ~, {}], c: \"1\"}}]\n"), "plugins[0].init_config.a=b")
	f.Add([]byte("a: &a [*a, *a]\nplugins: *a\n"), "a[]=1")
	f.Add([]byte("engine: {kind: $${A}${B}$C${D}\n"), "engine.kind=[")
	f.Add([]byte("stdout_output: {enabled: YES}\nconfig_files: [{path: /nowhere}]\n"), "config_files=x")
	f.Add([]byte("- a\n"), "=")
	f.Fuzz(func(t *testing.T, content []byte, option string) {
		name := filepath.Join(t.TempDir(), "falco.yaml")
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		e := &examination{Options: Options{Config: name, Set: []string{option}}, ctx: context.Background()}
		var err error
		if e.config, err = e.readConfig(); err != nil {
			return
		}
		e.engine(nil)
		e.outputs()
		for _, entry := range items(e.config.get("plugins")) {
			settings := find(entry, "init_config")
			text, err := toJSON(settings)
			if err == nil && settings != nil && len(settings.Content) > 0 && !json.Valid([]byte(text)) {
				t.Errorf("%q", text)
			}
			keyOf(settings, "a")
		}
		for _, finding := range e.report.Findings {
			if finding.Text == "" || finding.Check == "" {
				t.Errorf("%+v", finding)
			}
		}
	})
}

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
)

// A ruleset is the rules as one file, and what they say they need.
type ruleset struct {
	text   []byte
	engine string // Falco's engine
	plugin string
}

var (
	requiredEngine = regexp.MustCompile(`(?m)^- required_engine_version: (\d+\.\d+\.\d+)$`)
	requiredPlugin = regexp.MustCompile(`(?m)^- required_plugin_versions:\n    - name: (\S+)\n      version: (\S+)$`)
)

// merge puts the files of a folder one after another in the order Falco loads a folder in: by name.
func merge(rules fs.FS, plugin string) (ruleset, error) {
	names, err := fs.Glob(rules, "rules/*.yaml")
	if err != nil || len(names) == 0 {
		return ruleset{}, fmt.Errorf("found no rules: %w", err)
	}
	var b bytes.Buffer
	for i, name := range names {
		text, err := fs.ReadFile(rules, name)
		if err != nil {
			return ruleset{}, err
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "# %s\n\n%s\n", path.Base(name), bytes.TrimSpace(text))
	}
	r := ruleset{text: b.Bytes()}
	engines, plugins := requiredEngine.FindAllSubmatch(r.text, -1), requiredPlugin.FindAllSubmatch(r.text, -1)
	if len(engines) != 1 || len(plugins) != 1 || string(plugins[0][1]) != plugin {
		return r, fmt.Errorf("rules must say once which engine (x.y.z) and which version of %s they need; they do %d and %d times",
			plugin, len(engines), len(plugins))
	}
	r.engine, r.plugin = string(engines[0][1]), string(plugins[0][2])
	return r, nil
}

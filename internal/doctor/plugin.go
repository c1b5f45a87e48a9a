package doctor

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"kaudit"
	"kaudit/internal/config"
	"kaudit/internal/nearest"
	"kaudit/pkg/source/all"
)

// A plugin is what Falco is told about a plugin.
type plugin struct {
	name    string
	at      string
	node    *yaml.Node // its entry
	library string     // the path
	version string     // of the library, "" if it cannot be told
}

// A loaded is every plugin that Falco loads, ours among them.
type loaded struct {
	ours *plugin
	all  []*plugin
}

// siblings are plugins of the Falco project that bring the same event source. Falco takes one.
var siblings = []string{"k8saudit-eks", "k8saudit-gke", "k8saudit-aks", "k8saudit-ovh"}

// plugin looks at the plugins that Falco loads. It returns nil if ours is not among them.
func (e *examination) plugin() *loaded {
	e.check = "plugin"
	id := kaudit.Plugin()
	list, chosen := e.config.get("plugins"), e.config.get("load_plugins")
	byName := map[string]*yaml.Node{}
	var names []string
	for _, entry := range items(list) {
		name := text(find(entry, "name"))
		switch first := byName[name]; {
		case name == "":
			e.fail(e.config.at(entry), "write name: and library_path:", "an entry of plugins has no name; Falco does not start")
		case first != nil && chosen == nil:
			e.fail(e.config.at(entry), "take one of the two out", "there is another plugin %s before, at %s, and without load_plugins Falco loads both: it does not start", name, e.config.at(first))
		case first != nil && name == id.Name:
			e.fail(e.config.at(entry), "take one of the two out", "there is another plugin %s before, at %s: Falco takes that one, and nothing that is written here counts", name, e.config.at(first))
		case first == nil:
			byName[name] = entry
			names = append(names, name)
		}
	}
	load := names // all of them, if nothing is said
	if chosen != nil {
		load = nil
		for _, n := range items(chosen) {
			if slices.Contains(load, n.Value) {
				e.fail(e.config.at(n), "take it out", "load_plugins names %s twice; Falco does not start", n.Value)
				continue
			}
			load = append(load, n.Value)
			if byName[n.Value] == nil {
				e.fail(e.config.at(n), "add it to plugins, or take it out", "load_plugins names %s, and plugins has no entry of that name; Falco does not start", n.Value)
			}
		}
	}
	if byName[id.Name] == nil {
		do := "add to it: - {name: " + id.Name + ", library_path: libk8saudit.so, open_params: \"http://127.0.0.1:9765/k8s-audit\"}"
		if meant := nearest.Word(id.Name, append(slices.Clone(names), "kaudit")); slices.Contains(names, meant) && !slices.Contains(siblings, meant) {
			do = "the name is " + id.Name + ", and not " + meant
		}
		e.fail(e.config.at(list), do, "plugins has no entry %s: nothing reads audit events", id.Name)
		return nil
	}
	if !slices.Contains(load, id.Name) {
		e.fail(e.config.at(chosen), "write load_plugins: ["+strings.Join(append(load, id.Name), ", ")+"]", "load_plugins leaves %s out: nothing reads audit events", id.Name)
		return nil
	}
	out := &loaded{}
	for _, name := range load {
		entry := byName[name]
		if entry == nil {
			continue
		}
		p := &plugin{name: name, at: e.config.at(entry), node: entry}
		if slices.Contains(siblings, name) {
			e.fail(p.at, "load one of them; this one reads several clusters and sources, see sources in init_config", "%s is loaded beside %s: both bring the source %s, and Falco takes one", name, id.Name, id.Source)
		}
		if name == id.Name {
			out.ours = p
		}
		out.all = append(out.all, p)
	}
	e.ok(out.ours.at, "Falco loads %s", strings.Join(load, ", "))
	e.check = "library"
	for _, p := range out.all {
		e.library(p, p == out.ours)
	}
	return out
}

// path returns the file of a plugin's library, and whether Falco would look for it.
func (e *examination) path(p *plugin) (string, bool) {
	n := find(p.node, "library_path")
	path := text(n)
	if path == "" {
		e.fail(p.at, "write library_path: libk8saudit.so", "plugin %s has no library_path; Falco does not start", p.name)
		return "", false
	}
	if filepath.IsAbs(path) {
		return path, true
	}
	full := filepath.Join(e.PluginsDir, path)
	if rel, err := filepath.Rel(e.PluginsDir, full); err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		e.fail(e.config.at(n), "write the whole path, from / on", "library_path %s leads out of %s; Falco does not start", path, e.PluginsDir)
		return "", false
	}
	return full, true
}

var settingName = regexp.MustCompile(`[A-Za-z_]{3,}`)

// settings reads what Falco hands to our plugin, as the plugin does.
func (e *examination) settings(p *plugin) (config.Config, string, bool) {
	e.check = "init_config"
	n := find(p.node, "init_config")
	at := p.at
	if n != nil {
		at = e.config.at(n)
	}
	text, err := toJSON(n)
	if err != nil {
		e.fail(at, "docs/configuration.md has all settings", "%v; Falco does not start", err)
		return config.Config{}, at, false
	}
	before := len(e.report.Findings)
	c, err := config.Parse(text, all.Kinds(), e.logger(at, n))
	if err != nil {
		for _, word := range settingName.FindAllString(err.Error(), -1) { // an error names its setting
			if key := keyOf(n, word); key != nil {
				at = e.config.at(key)
			}
		}
		e.fail(at, "docs/configuration.md has all settings", "%s; Falco does not start", strings.TrimPrefix(err.Error(), "init_config: "))
		return c, at, false
	}
	if c.Spool.Dir != "" {
		e.folder("spool.dir", c.Spool.Dir, at)
	}
	if len(e.report.Findings) == before {
		e.ok(at, "the settings are right")
	}
	return c, at, true
}

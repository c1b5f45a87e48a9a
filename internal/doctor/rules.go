package doctor

import (
	"errors"
	"os"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"kaudit"
	"kaudit/pkg/rules"
)

// rules loads what rules_files names, as Falco does. It returns nil if Falco would not load them.
func (e *examination) rules(p *loaded) *rules.Ruleset {
	e.check = "rules"
	paths := e.Rules
	at := ""
	if len(paths) == 0 {
		list := e.config.get("rules_files")
		if old := e.config.get("rules_file"); old != nil {
			if list != nil {
				e.fail(e.config.at(old), "keep rules_files", "rules_file and rules_files are both there; Falco does not start")
			} else {
				e.warn(e.config.at(old), "write rules_files", "rules_file is the old name")
				list = old
			}
		}
		at = e.config.at(list)
		for _, n := range items(list) {
			if _, err := os.Stat(n.Value); err != nil {
				e.warn(e.config.at(n), "write the path of a rule file or a folder of them, or take it out", "%s is not there; Falco says nothing of it", n.Value)
				continue
			}
			paths = append(paths, n.Value)
		}
	}
	if len(paths) == 0 {
		e.fail(at, "write rules_files: [/etc/falco/kaudit_rules.yaml]", "no rule file is there; Falco does not start")
		return nil
	}
	e.rulePaths = paths
	o := rules.Options{Falco: e.Falco}
	priority := e.config.get("priority")
	if priority != nil {
		least, ok := rules.ParsePriority(text(priority))
		if !ok {
			e.fail(e.config.at(priority), "write debug", "priority %q is none; Falco does not start", text(priority))
		} else {
			o.MinPriority = &least
		}
	}
	set, err := rules.Load(o, paths...)
	if err == nil && p != nil {
		o.Plugins = versions(p, set)
		set, err = rules.Load(o, paths...)
	}
	if err != nil {
		e.refused(err)
		return nil
	}
	if n := len(set.Warnings); n > 0 {
		e.warn(set.Warnings[0].Pos.String(), "kaudit check -r "+strings.Join(paths, " -r "), "the rules load with %s; the first: %s", several(n, "warning"), set.Warnings[0].Text)
	}
	if p != nil && !slices.ContainsFunc(p.all, func(p *plugin) bool { return p.name == "json" }) {
		e.needJSON(set)
	}
	e.evaluated(set, at, priority)
	e.matching()
	return set
}

// refused reports why Falco would not load the rules.
func (e *examination) refused(err error) {
	var load *rules.LoadError
	if !errors.As(err, &load) {
		e.fail("", "", "%v", err)
		return
	}
	for _, p := range load.Problems {
		text := p.Text
		if p.Item != "" {
			text = p.Item + ": " + text
		}
		do := p.Hint
		if strings.HasPrefix(p.Text, "the rules require a plugin") {
			do = "add it to plugins and load_plugins"
		} else if strings.HasPrefix(p.Text, "the rules require plugin") {
			do = "install a newer library, or older rules"
		}
		e.fail(p.Pos.String(), do, "%s; Falco does not start", text)
	}
}

// versions are those of the plugins that are loaded. Of a library that does not tell, it is one that the rules take.
func versions(p *loaded, set *rules.Ruleset) []rules.Plugin {
	list := []rules.Plugin{}
	for _, l := range p.all {
		version := l.version
		for _, alternatives := range set.RequiredPlugins {
			for _, a := range alternatives {
				if version == "" && a.Name == l.name {
					version = a.Version
				}
			}
		}
		if version == "" {
			version = "0.0.0"
		}
		list = append(list, rules.Plugin{Name: l.name, Version: version})
	}
	return list
}

// needJSON reports the first rule that asks the json plugin, which is not loaded.
func (e *examination) needJSON(set *rules.Ruleset) {
	for _, r := range set.Rules {
		for _, f := range r.AllFields() {
			if strings.HasPrefix(f.Name, "jevt.") || strings.HasPrefix(f.Name, "json.") {
				e.fail(f.Pos().String(), "add json to plugins and load_plugins, or rewrite the rules with kaudit convert", "rule %s asks for %s, a field of the plugin json, which is not loaded; Falco does not start", r.Name, f)
				return
			}
		}
	}
}

// evaluated counts the rules that are left when all is said about them.
func (e *examination) evaluated(set *rules.Ruleset, at string, priority *yaml.Node) {
	source := kaudit.Plugin().Source
	e.selectRules(set)
	ours, off, low, left := 0, 0, 0, 0
	for _, r := range set.Rules {
		if r.Source != source {
			continue
		}
		ours++
		switch {
		case !r.Enabled:
			off++
		case strings.HasPrefix(r.Skipped, "its priority"):
			low++
		case r.Skipped == "":
			left++
		}
	}
	switch {
	case ours == 0:
		e.fail(at, "add /etc/falco/kaudit_rules.yaml to rules_files; rules for audit events have source: "+source, "no rule is for audit events, of %d that are there", len(set.Rules))
	case left == 0 && low > 0:
		e.fail(e.config.at(priority), "write priority: debug", "priority %s hides all rules for audit events: %d", text(priority), low)
	case left == 0:
		e.fail(at, "enable some with rules: [{enable: {rule: '*'}}]", "all rules for audit events are disabled: %d", ours)
	case low > 0:
		e.warn(e.config.at(priority), "write priority: debug for all", "priority %s hides %d of %s for audit events", text(priority), low, several(low+left, "rule"))
		e.ok(at, "evaluated on audit events: %s", several(left, "rule"))
	default:
		e.ok(at, "evaluated on audit events: %s, and %d are disabled", several(left, "rule"), off)
	}
}

// selectRules switches rules on and off as the key rules says.
func (e *examination) selectRules(set *rules.Ruleset) {
	for _, n := range items(e.config.get("rules")) {
		for i := 0; i+1 < len(n.Content); i += 2 {
			enable, below := n.Content[i].Value == "enable", n.Content[i+1]
			name, tag := text(find(below, "rule")), text(find(below, "tag"))
			found := false
			for _, r := range set.Rules {
				if name != "" && rules.Glob(name, r.Name) || tag != "" && slices.Contains(r.Tags, tag) {
					r.Enabled, found = enable, true
				}
			}
			if !found {
				e.warn(e.config.at(n), "kaudit explain lists rules by part of their name", "rules names %s%s, and no rule fits", name, tag)
			}
		}
	}
}

func (e *examination) matching() {
	switch n := e.config.get("rule_matching"); text(n) {
	case "", "first":
		e.ok(e.config.at(n), "rule_matching is first: an event alerts by the first rule that holds")
	case "all":
		e.ok(e.config.at(n), "rule_matching is all")
	default:
		e.fail(e.config.at(n), "write first or all", "rule_matching %q is none; Falco does not start", text(n))
	}
}

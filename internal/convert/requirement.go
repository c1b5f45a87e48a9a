package convert

import (
	"bytes"
	"errors"
	"io"

	"gopkg.in/yaml.v3"

	"kaudit/pkg/rules"
)

const (
	jsonPlugin = "json"
	thisPlugin = "k8saudit"
	// thisVersion is the first version of this plugin: the official one has lower ones, and not all fields.
	thisVersion = "0.100.0"
)

// requirements takes the json plugin off the plugins that the rules require. newer says that fields were written which
// only this plugin has: then the official one, and those for clouds, will not do.
func (r *Result) requirements(newer bool) {
	decoder := yaml.NewDecoder(bytes.NewReader(r.Before))
	for {
		var document yaml.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) || err != nil {
			return
		}
		if len(document.Content) == 0 || document.Content[0].Kind != yaml.SequenceNode {
			continue
		}
		items := document.Content[0].Content
		for i, item := range items {
			if list := member(item, "required_plugin_versions"); list != nil && list.Kind == yaml.SequenceNode {
				end := r.lines() + 1
				if i+1 < len(items) {
					end = items[i+1].Line
				}
				r.requirement(item, list, end, newer)
			}
		}
	}
}

// requirement changes one list of plugins. end is the line of what follows it.
func (r *Result) requirement(item, list *yaml.Node, end int, newer bool) {
	for i, entry := range list.Content {
		next := end
		if i+1 < len(list.Content) {
			next = list.Content[i+1].Line
		}
		switch name := member(entry, "name"); {
		case name == nil:
		case name.Value == jsonPlugin && len(list.Content) == 1:
			r.remove(item, item.Line, end, "the json plugin is no longer needed")
		case name.Value == jsonPlugin:
			r.remove(entry, entry.Line, next, "the json plugin is no longer needed")
		case name.Value == thisPlugin && newer:
			r.require(entry, next)
		}
	}
}

// require has the rules require this plugin.
func (r *Result) require(entry *yaml.Node, next int) {
	version := member(entry, "version")
	if version == nil || version.Kind != yaml.ScalarNode {
		return
	}
	from := r.offset(rules.Position{Line: version.Line, Column: version.Column})
	if from >= 0 && version.Style == 0 && bytes.HasPrefix(r.Before[from:], []byte(version.Value)) && older(version.Value) {
		r.changes = append(r.changes, change{from, from + len(version.Value), thisVersion})
	}
	for i := 0; i+1 < len(entry.Content); i += 2 {
		if entry.Content[i].Value != "alternatives" {
			continue
		}
		if i+2 < len(entry.Content) {
			next = entry.Content[i+2].Line
		}
		r.remove(entry.Content[i], entry.Content[i].Line, next, "the alternatives do not have fields that are asked now")
	}
}

// older reports whether a version is below that of this plugin; only the official ones are, 0.18.0 and the like.
func older(version string) bool {
	v := bytes.SplitN([]byte(version), []byte("."), 3)
	return len(v) == 3 && string(v[0]) == "0" && len(v[1]) < len("100")
}

// remove takes out the lines of a node, from a line to that of the next one, but for blank lines and comments before
// that. A node that shares its lines with others is left to the reader.
func (r *Result) remove(n *yaml.Node, from, next int, why string) {
	starts := append(lineStarts(r.Before), len(r.Before))
	last := min(next, len(starts)) - 1
	for last > from {
		line := bytes.TrimSpace(r.Before[starts[last-1]:starts[last]])
		if len(line) > 0 && line[0] != '#' {
			break
		}
		last--
	}
	alone := last >= from && next > from
	if alone {
		before := r.Before[starts[from-1]:starts[last]]
		alone = len(bytes.Trim(before[:min(n.Column-1, len(before))], " \t-")) == 0
	}
	if !alone {
		r.Notes = append(r.Notes, Note{Pos: rules.Position{File: r.Name, Line: from, Column: n.Column}, Item: "required_plugin_versions", Text: why, Hint: "take it out by hand"})
		return
	}
	r.changes = append(r.changes, change{starts[from-1], starts[last], ""})
}

// lines is how many lines the file has.
func (r *Result) lines() int { return len(lineStarts(r.Before)) }

// member returns the value of a key, or nil.
func member(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

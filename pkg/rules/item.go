package rules

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// An Item is one entry of a rule file as it stands there, before anything of other entries is known.
type Item struct {
	// Kind is its first key that Falco knows: rule, macro, list, required_engine_version, required_plugin_versions.
	Kind string
	Name string // of a rule, macro or list
	Pos  Position
	// LastLine is the last line that belongs to it, without blank lines and comments that follow.
	LastLine int
	// Keys are where its keys stand.
	Keys map[string]Position
	// Texts are those in which fields may stand.
	Texts []Text
	// Override reports whether it changes an earlier item of the same name, rather than standing on its own.
	Override bool
}

// A Text is a text of an item in which fields may stand.
type Text struct {
	Key   string // condition, output or fields
	Value string // as YAML reads it

	scalar *scalar
}

// Position returns where byte i of the text stands in the file.
func (t Text) Position(i int) Position { return t.scalar.position(i) }

var itemKinds = []string{"required_engine_version", "required_plugin_versions", "list", "macro", "rule"}

// Items returns the entries of a rule file. They need not be right: only what is not YAML is an error, a [*LoadError].
func Items(f File) ([]Item, error) {
	r := &reader{file: newFile(f.Name, string(f.Content))}
	documents, problem := r.documents(f.Content)
	if problem != nil {
		return nil, &LoadError{[]*Problem{problem}}
	}
	var items []Item
	var starts []*yaml.Node
	for _, d := range documents {
		content := resolve(d)
		if isNull(content) || content.Kind != yaml.SequenceNode {
			continue
		}
		for _, n := range content.Content {
			if m := resolve(n); m != nil && m.Kind == yaml.MappingNode {
				starts = append(starts, n)
				items = append(items, r.itemOf(n, m))
			}
		}
	}
	for i := range items {
		next := len(r.file.lines) + 1
		if i+1 < len(items) {
			next = starts[i+1].Line
		}
		items[i].LastLine = r.lastLine(starts[i], next)
	}
	return items, nil
}

// lastLine returns the last line of an item before a line.
func (r *reader) lastLine(n *yaml.Node, next int) int {
	last := min(max(next-1, n.Line), len(r.file.lines)) // to YAML more than a line feed ends a line
	for ; last > n.Line; last-- {
		text := r.file.lines[last-1]
		trimmed := strings.TrimLeft(text, " \t")
		comment := strings.HasPrefix(trimmed, "#") && len(text)-len(trimmed) < n.Column-1
		if strings.TrimSpace(text) != "" && !comment && strings.TrimRight(text, " \r") != "---" {
			break
		}
	}
	return last
}

func (r *reader) itemOf(n, m *yaml.Node) Item {
	item := Item{Pos: Position{r.file.name, n.Line, n.Column}, Keys: map[string]Position{}}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if k := resolve(m.Content[i]); k != nil && k.Kind == yaml.ScalarNode {
			if _, twice := item.Keys[k.Value]; !twice {
				item.Keys[k.Value] = Position{r.file.name, k.Line, k.Column}
			}
		}
	}
	for _, kind := range itemKinds {
		if v := get(m, kind); v != nil && item.Kind == "" {
			item.Kind = kind
			if isScalar(v) && !strings.HasPrefix(kind, "required") {
				item.Name = v.Value
			}
		}
	}
	if a := get(m, "append"); a != nil && isScalar(a) {
		item.Override, _ = ParseBool(a.Value)
	}
	if o := get(m, "override"); o != nil && o.Kind == yaml.MappingNode {
		item.Override = true
	}
	_, condition := item.Keys["condition"]
	_, enabled := item.Keys["enabled"]
	if item.Kind == "rule" && enabled && !condition { // the old way to switch a rule on or off
		item.Override = true
	}
	for _, key := range []string{"condition", "output"} {
		if v := get(m, key); isScalar(v) {
			item.Texts = append(item.Texts, Text{key, v.Value, &scalar{file: r.file, node: v}})
		}
	}
	if e := get(m, "exceptions"); e != nil && e.Kind == yaml.SequenceNode {
		for _, one := range e.Content {
			if one = resolve(one); one != nil {
				r.fieldTexts(get(one, "fields"), &item)
			}
		}
	}
	return item
}

// fieldTexts adds the fields of an exception: one, or a list.
func (r *reader) fieldTexts(n *yaml.Node, item *Item) {
	switch {
	case isScalar(n):
		item.Texts = append(item.Texts, Text{"fields", n.Value, &scalar{file: r.file, node: n}})
	case n != nil && n.Kind == yaml.SequenceNode:
		for _, v := range n.Content {
			r.fieldTexts(resolve(v), item)
		}
	}
}

// Glob reports whether a text fits a pattern as the operator glob reads it.
func Glob(pattern, text string) bool { return glob([]byte(pattern), []byte(text), false) }

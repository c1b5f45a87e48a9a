package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// A reader reads one rule file into a collection, as Falco does (falcosecurity/falco:
// userspace/engine/rule_loader_reader.cpp). It stops at the first error.
type reader struct {
	file *file
	into *collection
	item string // the item in work, see Problem.Item

	entries int // values of exceptions so far
}

// throw ends the reading of a file.
func (r *reader) throw(n *yaml.Node, code Code, hint, format string, args ...any) {
	panic(r.problem(n, code, hint, format, args...))
}

func (r *reader) problem(n *yaml.Node, code Code, hint, format string, args ...any) *Problem {
	p := &Problem{Code: code, Item: r.item, Text: fmt.Sprintf(format, args...), Hint: hint, Pos: Position{File: r.file.name}}
	if n != nil {
		p.Pos.Line, p.Pos.Column = n.Line, n.Column
		p.Excerpt = r.file.excerpt(n.Line, n.Column)
	}
	return p
}

func (r *reader) warn(n *yaml.Node, code Code, hint, format string, args ...any) {
	r.into.warnings = append(r.into.warnings, r.problem(n, code, hint, format, args...))
}

var (
	yamlLine   = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)
	yamlAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

func (r *reader) read(content []byte) (problem *Problem) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Problem:
			problem = e
		default:
			panic(e)
		}
	}()
	documents, problem := r.documents(content) // all of them before any of their content
	if problem != nil {
		return problem
	}
	for _, d := range documents {
		content := resolve(d)
		switch {
		case isNull(content):
			continue
		case content.Kind != yaml.SequenceNode:
			r.throw(content, ErrStructure, "begin each rule, macro and list with a dash", "the rules are not a list")
		}
		for _, item := range content.Content {
			if item = resolve(item); !isNull(item) {
				r.item = ""
				r.readItem(item)
			}
		}
	}
	return nil
}

// documents reads all documents of a file.
func (r *reader) documents(content []byte) ([]*yaml.Node, *Problem) {
	var all []*yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var n yaml.Node
		switch err := decoder.Decode(&n); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, r.notYAML(err)
		}
		all = append(all, &n)
	}
}

// notYAML makes a problem of an error of the YAML library, which does not always say where it is.
func (r *reader) notYAML(err error) *Problem {
	text, _, _ := strings.Cut(err.Error(), "\n")
	line, column := 0, 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = m[2]
		line, _ = strconv.Atoi(m[1])
	}
	find := func(column func(line string) int) (int, int) {
		for i, l := range r.file.lines {
			if at := column(l); at >= 0 {
				return i + 1, at + 1
			}
		}
		return 1, 1
	}
	if m := yamlAnchor.FindStringSubmatch(text); m != nil {
		line, column = find(func(l string) int { return strings.Index(l, "*"+m[1]) })
	} else if line == 0 { // a byte that may not stand in YAML
		line, column = find(func(l string) int {
			for i, c := range l {
				if c < ' ' && c != '\t' && c != '\r' || c == 0x7f || c == utf8.RuneError {
					return i
				}
			}
			return -1
		})
	}
	hint := ""
	if strings.HasPrefix(strings.TrimLeft(r.file.lines[0], "\ufeff \t"), "{") {
		hint = "rule files are YAML; audit events, which are JSON, are read as a source"
	}
	return &Problem{
		Code: ErrYAML, Text: "not YAML: " + text, Hint: hint, Pos: Position{File: r.file.name, Line: line, Column: column},
		Excerpt: r.file.excerpt(line, column),
	}
}

// resolve follows documents and aliases.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil {
		switch n.Kind {
		case yaml.DocumentNode:
			n = n.Content[0]
		case yaml.AliasNode:
			n = n.Alias
		default:
			return n
		}
	}
	return nil
}

func isNull(n *yaml.Node) bool {
	return n == nil || n.Kind == 0 || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

func isScalar(n *yaml.Node) bool { return n != nil && n.Kind == yaml.ScalarNode && !isNull(n) }

// get returns the value of a key, the first one if there are several, or nil.
func get(m *yaml.Node, key string) *yaml.Node {
	if m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if k := resolve(m.Content[i]); k.Kind == yaml.ScalarNode && k.Value == key {
			return resolve(m.Content[i+1])
		}
	}
	return nil
}

// text returns the text of a key. need says that it must be there; else nil is returned if it is not.
func (r *reader) text(m *yaml.Node, key string, need bool) *scalar {
	n := get(m, key)
	switch {
	case n == nil && !need:
		return nil
	case n == nil:
		r.throw(m, ErrStructure, r.meantKey(m, key), "there is no %s", key)
	case isNull(n):
		r.throw(n, ErrStructure, "", "%s is empty", key)
	case n.Kind != yaml.ScalarNode:
		r.throw(n, ErrStructure, "", "%s is not a text", key)
	case n.Value == "":
		r.throw(n, ErrStructure, "", "%s is empty", key)
	}
	return &scalar{file: r.file, node: n}
}

// meantKey finds a key that may have been meant to be another one.
func (r *reader) meantKey(m *yaml.Node, key string) string {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if written := m.Content[i].Value; written != key && meant(written, []string{key}) != "" {
			return "write " + key + " for " + written
		}
	}
	return ""
}

// flag returns the value of a key that is true or false.
func (r *reader) flag(m *yaml.Node, key string, need bool, value *bool) {
	s := r.text(m, key, need)
	if s == nil {
		return
	}
	v, ok := ParseBool(s.node.Value)
	if !ok {
		r.throw(s.node, ErrStructure, "write true or false", "%s is %q", key, s.node.Value)
	}
	*value = v
}

// ParseBool reads a boolean as the YAML of Falco has them, which is YAML 1.1: y, yes, true, on and their opposites, in lower
// case, in upper case, or with a capital.
func ParseBool(s string) (value, ok bool) {
	l := strings.ToLower(s)
	if s != l && s != strings.ToUpper(s) && s[1:] != l[1:] {
		return false, false
	}
	switch l {
	case "y", "yes", "true", "on":
		return true, true
	case "n", "no", "false", "off":
		return false, true
	}
	return false, false
}

// sequence calls visit for each element of a list of texts.
func (r *reader) sequence(m *yaml.Node, key string, need bool, visit func(n *yaml.Node)) {
	n := get(m, key)
	switch {
	case n == nil && !need:
		return
	case n == nil:
		r.throw(m, ErrStructure, r.meantKey(m, key), "there are no %s", key)
	case n.Kind != yaml.SequenceNode:
		r.throw(n, ErrStructure, "write [a, b], or each on a line with a dash", "%s is not a list", key)
	}
	for _, v := range n.Content {
		if v = resolve(v); !isScalar(v) {
			r.throw(v, ErrStructure, "", "an element of %s is not a text", key)
		}
		visit(v)
	}
}

// unknownKeys warns of keys that mean nothing.
func (r *reader) unknownKeys(m *yaml.Node, known ...string) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		k := resolve(m.Content[i])
		if k.Kind != yaml.ScalarNode {
			r.throw(k, ErrValidate, "", "a key is not a text")
		}
		switch falco := r.into.options.Falco; {
		case !slices.Contains(known, k.Value):
			r.warn(k, WarnUnknownKey, meant(k.Value, known), "unknown key %s is ignored", k.Value)
		case !falco.knows(k.Value):
			r.warn(k, WarnUnknownKey, fmt.Sprintf("it came with falco %v", since[k.Value]), "falco %v does not know %s, which is ignored", falco, k.Value)
		}
	}
}

const (
	hintAppend  = "write override with the key and append instead"
	hintEnabled = "write override: {enabled: replace} beside it"
)

func (r *reader) readItem(m *yaml.Node) {
	if m.Kind != yaml.MappingNode {
		r.throw(m, ErrStructure, "begin with rule:, macro: or list:", "an item is not a mapping of keys to values")
	}
	switch {
	case get(m, "required_engine_version") != nil:
		r.requiredEngine(m)
	case get(m, "required_plugin_versions") != nil:
		r.requiredPlugins(m)
	case get(m, "list") != nil:
		r.list(m)
	case get(m, "macro") != nil:
		r.macro(m)
	case get(m, "rule") != nil:
		r.rule(m)
	default:
		hint := ""
		for i := 0; i+1 < len(m.Content) && hint == ""; i += 2 {
			hint = meant(m.Content[i].Value, []string{"rule", "macro", "list", "required_engine_version", "required_plugin_versions"})
		}
		r.warn(m, WarnUnknownItem, hint, "unknown item is ignored: it has none of the keys rule, macro, list")
	}
}

func (r *reader) requiredEngine(m *yaml.Node) {
	s := r.text(m, "required_engine_version", true)
	var required version
	if n, err := strconv.ParseUint(strings.TrimPrefix(s.node.Value, "+"), 0, 32); err == nil && !strings.Contains(s.node.Value, "_") {
		required = version{0, uint32(n), 0}
	} else {
		var ok bool
		if required, ok = parseVersion(s.node.Value); !ok {
			r.throw(s.node, ErrStructure, "write 0.31.0, or 31", "%q is not a version of the engine", s.node.Value)
		}
		r.needs(s.node, versionOfEngine)
	}
	if have := r.into.options.Falco.engine(); !have.serves(required) {
		r.throw(s.node, ErrValidate, r.falcoFor(required), "the rules need engine version %v, and falco %v has %v", required, r.into.options.Falco, have)
	}
	if r.into.engine.less(required) {
		r.into.engine = required
	}
	r.unknownKeys(m, "required_engine_version")
}

// falcoFor says which Falco has a version of the engine.
func (r *reader) falcoFor(v version) string {
	for f := Oldest; f <= Newest; f++ {
		if f.engine().serves(v) {
			return fmt.Sprintf("falco %v has it", f)
		}
	}
	return ""
}

func (r *reader) requiredPlugins(m *yaml.Node) {
	list := get(m, "required_plugin_versions")
	if list.Kind != yaml.SequenceNode {
		r.throw(list, ErrStructure, "", "required_plugin_versions is not a list")
	}
	read := func(n *yaml.Node) Plugin {
		if n.Kind != yaml.MappingNode {
			r.throw(n, ErrStructure, "write name and version", "a required plugin is not a mapping")
		}
		name := r.text(n, "name", true).node.Value
		return Plugin{name, r.text(n, "version", true).node.Value}
	}
	for _, n := range list.Content {
		n = resolve(n)
		required := requirement{at: r.problem(n, ErrValidate, "", ""), plugins: []Plugin{read(n)}}
		if alternatives := get(n, "alternatives"); alternatives != nil {
			if alternatives.Kind != yaml.SequenceNode {
				r.throw(alternatives, ErrStructure, "", "alternatives is not a list")
			}
			for _, a := range alternatives.Content {
				required.plugins = append(required.plugins, read(resolve(a)))
			}
		}
		var names []string
		for _, p := range required.plugins {
			if _, ok := parseVersion(p.Version); !ok {
				r.throw(n, ErrValidate, "write three numbers: 0.18.0", "%q is not a version of plugin %s", p.Version, p.Name)
			}
			if slices.Contains(names, p.Name) {
				r.throw(n, ErrValidate, "", "plugin %s has two alternatives", p.Name)
			}
			names = append(names, p.Name)
		}
		r.into.required = append(r.into.required, required)
	}
	r.unknownKeys(m, "required_plugin_versions")
}

// needs throws if the version of Falco does not know something.
func (r *reader) needs(n *yaml.Node, feature string) {
	if falco := r.into.options.Falco; !falco.knows(feature) {
		r.throw(n, ErrStructure, fmt.Sprintf("it came with falco %v", since[feature]), "falco %v does not know %s", falco, feature)
	}
}

// overrides reads what an item does with the keys it has.
func (r *reader) overrides(m *yaml.Node, canAppend, canReplace []string) (appended, replaced []string) {
	n := get(m, "override")
	if n == nil || n.Kind == yaml.ScalarNode {
		return nil, nil
	}
	r.needs(n, "override") // an older one would take the item for a new definition
	if n.Kind != yaml.MappingNode {
		r.throw(n, ErrValidate, "write override: {condition: append}", "override is not a mapping")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := resolve(n.Content[i]), resolve(n.Content[i+1])
		if k.Kind != yaml.ScalarNode || v.Kind != yaml.ScalarNode {
			r.throw(k, ErrValidate, "write a key and append or replace", "override has something else than texts")
		}
		r.needs(k, k.Value)
		switch v.Value {
		case "append":
			if !slices.Contains(canAppend, k.Value) {
				r.throw(k, ErrStructure, "use replace instead", "nothing can be appended to %s", k.Value)
			}
			appended = append(appended, k.Value)
		case "replace":
			if !slices.Contains(canReplace, k.Value) {
				r.throw(k, ErrStructure, meant(k.Value, canReplace), "%s cannot be replaced", k.Value)
			}
			replaced = append(replaced, k.Value)
		default:
			r.throw(v, ErrStructure, "write append or replace", "unknown override %q of %s", v.Value, k.Value)
		}
	}
	return appended, replaced
}

// appends reads the old key append, and warns of it.
func (r *reader) appends(m *yaml.Node) bool {
	appends := false
	r.flag(m, "append", false, &appends)
	if appends {
		r.warn(get(m, "append"), WarnDeprecated, hintAppend, "append is deprecated")
	}
	return appends
}

func (r *reader) twoWays(m *yaml.Node, appends, overrides bool) {
	if appends && overrides {
		r.throw(m, ErrStructure, hintAppend, "append and override cannot be used together")
	}
}

func (r *reader) list(m *yaml.Node) {
	name := r.text(m, "list", true)
	r.item = "list " + name.node.Value
	if bareLen(name.node.Value, bareByte) != len(name.node.Value) {
		r.warn(name.node, WarnListName, "", "a list of this name cannot be used: blanks, quotes, parentheses, commas and equal signs end a name")
	}
	l := listInfo{name: name.node.Value, at: r.problem(name.node, "", "", "")}
	r.sequence(m, "items", true, func(n *yaml.Node) {
		l.items = append(l.items, n.Value)
		l.nodes = append(l.nodes, &scalar{file: r.file, node: n})
	})
	appends := r.appends(m)
	appended, replaced := r.overrides(m, []string{"items"}, []string{"items"})
	r.twoWays(m, appends, len(appended)+len(replaced) > 0)
	if appends || len(appended) > 0 {
		r.must(name.node, r.into.appendList(l), "there is no list of this name before to append to")
	} else {
		r.into.defineList(l)
	}
	r.unknownKeys(m, "list", "items", "append", "override")
}

// must throws if ok is false.
func (r *reader) must(n *yaml.Node, ok bool, format string, args ...any) {
	if !ok {
		r.throw(n, ErrValidate, "", format, args...)
	}
}

func (r *reader) macro(m *yaml.Node) {
	name := r.text(m, "macro", true)
	r.item = "macro " + name.node.Value
	if identifierLen(name.node.Value) != len(name.node.Value) {
		r.warn(name.node, WarnMacroName, "write letters, digits and _, a letter first", "a macro of this name cannot be used")
	}
	info := macroInfo{name: name.node.Value, at: r.problem(name.node, "", "", "")}
	info.condition = r.text(m, "condition", true).source(r.item)
	appends := r.appends(m)
	appended, replaced := r.overrides(m, []string{"condition"}, []string{"condition"})
	r.twoWays(m, appends, len(appended)+len(replaced) > 0)
	if appends || len(appended) > 0 {
		r.must(name.node, r.into.appendMacro(info), "there is no macro of this name before to append to")
	} else {
		r.into.defineMacro(info)
	}
	r.unknownKeys(m, "macro", "condition", "append", "override")
}

var (
	canAppend  = []string{"condition", "output", "desc", "tags", "exceptions"}
	canReplace = []string{
		"condition", "output", "desc", "priority", "capture", "capture_duration", "tags", "exceptions", "enabled",
		"warn_evttypes", "skip-if-unknown-filter",
	}
)

func (r *reader) rule(m *yaml.Node) {
	name := r.text(m, "rule", true)
	r.item = "rule " + name.node.Value
	source := ""
	if n := get(m, "source"); n != nil && !isNull(n) && (n.Kind != yaml.ScalarNode || n.Value != "") {
		source = r.text(m, "source", true).node.Value
	}
	appends := r.appends(m)
	appended, replaced := r.overrides(m, canAppend, canReplace)
	r.twoWays(m, appends, len(appended)+len(replaced) > 0)
	switch {
	case len(appended)+len(replaced) > 0:
		r.overrideRule(m, name, source, appended, replaced)
	case appends:
		u := update{name: name.node.Value, source: source, node: name.node}
		if get(m, "condition") != nil {
			u.condition = r.text(m, "condition", true).source(r.item)
		}
		if get(m, "exceptions") != nil {
			u.exceptions, u.hasExceptions = r.exceptions(m, true), true
		}
		r.appendRule(u)
	default:
		r.defineRule(m, name)
	}
	r.unknownKeys(m, "rule", "condition", "output", "desc", "priority", "source", "enabled", "capture", "capture_duration",
		"warn_evttypes", "skip-if-unknown-filter", "tags", "exceptions", "override", "append")
}

// overrideRule reads a rule that changes an earlier one key by key.
func (r *reader) overrideRule(m *yaml.Node, name *scalar, source string, appended, replaced []string) {
	var left []string // keys the item has that nothing is said about yet
	for _, k := range canReplace {
		if get(m, k) != nil {
			left = append(left, k)
		}
	}
	for _, way := range []struct {
		name string
		keys []string
	}{{"append", appended}, {"replace", replaced}} {
		if len(way.keys) == 0 {
			continue
		}
		u := update{name: name.node.Value, node: name.node}
		has := func(key string) bool {
			if !slices.Contains(way.keys, key) {
				return false
			}
			i := slices.Index(left, key)
			if i < 0 {
				r.throw(get(m, "override"), ErrStructure, "", "override says to %s %s, which is not there", way.name, key)
			}
			left = slices.Delete(left, i, i+1)
			return true
		}
		if has("condition") {
			u.source = source
			u.condition = r.text(m, "condition", true).source(r.item)
		}
		if has("exceptions") {
			u.exceptions, u.hasExceptions = r.exceptions(m, way.name == "append"), true
		}
		if has("output") {
			u.output = r.text(m, "output", true).source(r.item)
		}
		if has("desc") {
			desc := r.text(m, "desc", true).node.Value
			u.desc = &desc
		}
		if has("tags") {
			u.tags, u.hasTags = r.tags(m), true
		}
		if has("priority") {
			p := r.priority(m)
			u.priority = &p
		}
		if has("capture") {
			u.other = true
			r.flag(m, "capture", true, new(bool))
		}
		if has("capture_duration") {
			u.other = true
			r.duration(m, true)
		}
		if has("enabled") {
			u.enabled = new(bool)
			r.flag(m, "enabled", true, u.enabled)
		}
		if has("warn_evttypes") {
			u.other = true
			r.flag(m, "warn_evttypes", true, new(bool))
		}
		if has("skip-if-unknown-filter") {
			u.skip = new(bool)
			r.flag(m, "skip-if-unknown-filter", true, u.skip)
		}
		if way.name == "append" {
			r.appendRule(u)
		} else {
			r.replaceRule(u)
		}
	}
	if len(left) > 0 {
		slices.Sort(left)
		r.throw(get(m, left[0]), ErrStructure, "add "+left[0]+": replace to override", "override says nothing about %s", left[0])
	}
}

// duration checks a capture duration, a number of milliseconds.
func (r *reader) duration(m *yaml.Node, need bool) {
	if s := r.text(m, "capture_duration", need); s != nil {
		if _, err := strconv.ParseUint(s.node.Value, 0, 32); err != nil {
			r.throw(s.node, ErrStructure, "", "capture_duration is not a number of milliseconds")
		}
	}
}

func (r *reader) tags(m *yaml.Node) []string {
	var tags []string
	r.sequence(m, "tags", false, func(n *yaml.Node) {
		if !slices.Contains(tags, n.Value) {
			tags = append(tags, n.Value)
		}
	})
	return tags
}

func (r *reader) priority(m *yaml.Node) Priority {
	s := r.text(m, "priority", true)
	p, ok := ParsePriority(s.node.Value)
	if !ok {
		hint := meant(s.node.Value, priorities[:])
		if hint == "" {
			hint = "write one of " + strings.Join(priorities[:], " ")
		}
		r.throw(s.node, ErrStructure, hint, "unknown priority %q", s.node.Value)
	}
	return p
}

// defineRule reads a rule that stands on its own, or one that only switches an earlier one on or off.
func (r *reader) defineRule(m *yaml.Node, name *scalar) {
	rule := &ruleInfo{name: name.node.Value, enabled: true, at: r.problem(name.node, "", "", "")}
	if get(m, "condition") == nil && get(m, "output") == nil && get(m, "desc") == nil && get(m, "priority") == nil {
		r.flag(m, "enabled", true, &rule.enabled)
		r.warn(get(m, "enabled"), WarnDeprecated, hintEnabled, "a rule with enabled only is deprecated")
		prev := r.into.rules.get(rule.name)
		r.must(name.node, prev != nil, "there is no rule of this name before to switch on or off")
		prev.enabled, prev.compiled = rule.enabled, nil
		return
	}
	rule.condition = r.text(m, "condition", true).source(r.item)
	rule.output = trimSpace(r.text(m, "output", true).source(r.item))
	rule.desc = r.text(m, "desc", true).node.Value
	rule.priority = r.priority(m)
	rule.source = "syscall"
	if s := r.text(m, "source", false); s != nil {
		rule.source = s.node.Value
	}
	r.flag(m, "enabled", false, &rule.enabled)
	r.flag(m, "capture", false, new(bool))
	r.duration(m, false)
	r.flag(m, "warn_evttypes", false, new(bool))
	r.flag(m, "skip-if-unknown-filter", false, &rule.skip)
	rule.tags = r.tags(m)
	rule.exceptions = r.exceptions(m, false)

	r.sameSource(name.node, rule.name, rule.source)
	if !slices.Contains(sources, rule.source) {
		rule.unknown = true
		r.warn(name.node, WarnUnknownSource, meant(rule.source, sources), "unknown source %s, the rule is skipped", rule.source)
	}
	for i := range rule.exceptions {
		e := &rule.exceptions[i]
		if !e.fields.valid() {
			r.throw(e.node, ErrValidate, "add fields", "an exception has no fields")
		}
		r.checkException(rule, e)
	}
	r.into.defineRule(rule)
}

// sources are the event sources Falco knows with this plugin.
var sources = []string{Source, "syscall"}

// sameSource throws if a rule of this name has another source.
func (r *reader) sameSource(n *yaml.Node, name, source string) *ruleInfo {
	prev := r.into.rules.get(name)
	if prev != nil && prev.source != "" && source != "" && prev.source != source {
		r.throw(n, ErrValidate, "", "the rule was defined before with source %s", prev.source)
	}
	return prev
}

// trimSpace takes the white space off both ends of a text.
func trimSpace(s *source) *source {
	const space = " \t\n\v\f\r"
	from := len(s.text) - len(strings.TrimLeft(s.text, space))
	to := max(from, len(strings.TrimRight(s.text, space)))
	return s.with(s.piece(from, to))
}

// update is a rule that changes an earlier one.
type update struct {
	name, source  string
	node          *yaml.Node
	condition     *source
	output        *source
	desc          *string
	tags          []string
	hasTags       bool
	exceptions    []exception
	hasExceptions bool
	priority      *Priority
	enabled, skip *bool
	other         bool // it changes something that does not matter here
}

func (u *update) empty() bool {
	return u.condition == nil && u.output == nil && u.desc == nil && !u.hasTags && !u.hasExceptions && u.priority == nil &&
		u.enabled == nil && u.skip == nil && !u.other
}

func (r *reader) appendRule(u update) {
	prev := r.sameSource(u.node, u.name, u.source)
	r.must(u.node, prev != nil, "there is no rule of this name before to append to")
	r.must(u.node, !u.empty(), "a rule that appends needs a condition or exceptions")
	if u.condition != nil {
		prev.condition = joinSources(prev.condition, u.condition)
	}
	if u.output != nil {
		prev.output = joinSources(prev.output, u.output)
	}
	if u.desc != nil {
		prev.desc += " " + *u.desc
	}
	for _, t := range u.tags {
		if !slices.Contains(prev.tags, t) {
			prev.tags = append(prev.tags, t)
		}
	}
	for _, e := range u.exceptions {
		i := slices.IndexFunc(prev.exceptions, func(p exception) bool { return p.name == e.name })
		if i < 0 {
			if !e.fields.valid() {
				r.throw(e.node, ErrValidate, r.meantException(prev, e.name), "there is no exception %s before, and this one has no fields", e.name)
			}
			if len(e.values) == 0 {
				r.throw(e.node, ErrValidate, "", "exception %s has no values", e.name)
			}
			r.checkException(prev, &e)
			prev.exceptions = append(prev.exceptions, e)
			continue
		}
		if e.fields.valid() || e.comps.valid() {
			r.throw(e.node, ErrValidate, "leave fields and comps out, or choose another name", "only values can be appended to exception %s", e.name)
		}
		prev.exceptions[i].values = append(slices.Clip(prev.exceptions[i].values), e.values...)
	}
	r.into.changed(prev)
}

func (r *reader) meantException(rule *ruleInfo, name string) string {
	var names []string
	for _, e := range rule.exceptions {
		names = append(names, e.name)
	}
	return meant(name, names)
}

func (r *reader) replaceRule(u update) {
	prev := r.sameSource(u.node, u.name, u.source)
	r.must(u.node, prev != nil, "there is no rule of this name before to replace something in")
	r.must(u.node, !u.empty(), "there is nothing to replace")
	if u.condition != nil {
		prev.condition = u.condition
	}
	if u.output != nil {
		prev.output = u.output
	}
	if u.desc != nil {
		prev.desc = *u.desc
	}
	if u.hasTags {
		prev.tags = u.tags
	}
	if u.hasExceptions {
		prev.exceptions = u.exceptions
	}
	if u.priority != nil {
		prev.priority = *u.priority
	}
	if u.enabled != nil {
		prev.enabled = *u.enabled
	}
	if u.skip != nil {
		prev.skip = *u.skip
	}
	r.into.changed(prev)
}

// joinSources puts a blank between two texts.
func joinSources(a, b *source) *source {
	return a.with(a.piece(0, len(a.text)), from(" ", b.originAt(0)), b.piece(0, len(b.text)))
}

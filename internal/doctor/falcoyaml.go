package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"kaudit/internal/nearest"
	"kaudit/pkg/rules"
	"kaudit/pkg/source"
)

// A falcoConfig is falco.yaml with the files it includes, merged as Falco does (falcosecurity/falco:
// userspace/engine/yaml_helper.h, userspace/falco/configuration.cpp).
type falcoConfig struct {
	root  *yaml.Node // a mapping
	files []string   // that were read, the main one first
	in    map[*yaml.Node]string
	unset []string // environment variables that are used and are not there
}

// DefaultConfig is where Falco looks without -c, and DefaultPluginsDir where relative library paths begin.
const (
	DefaultConfig     = "/etc/falco/falco.yaml"
	DefaultPluginsDir = "/usr/share/falco/plugins"
)

const includes = "config_files"

// The versions of Falco that brought included files, and lists in them that add to those before.
const (
	includer rules.Falco = 38
	joiner   rules.Falco = 41
)

// older reports whether the Falco in question is older than a version.
func (e *examination) older(than rules.Falco) bool { return e.Falco != 0 && e.Falco < than }

// readConfig reads and merges everything. Its error is that the main file cannot be read.
func (e *examination) readConfig() (*falcoConfig, error) {
	e.check = "configuration"
	c := &falcoConfig{in: map[*yaml.Node]string{}}
	root, err := c.read(e.Config)
	if err != nil {
		return nil, err
	}
	c.root = root
	e.config = c
	e.options(func(key string) bool { return key == includes })
	list := items(c.get(includes))
	if len(list) > 0 && e.older(includer) {
		e.warn(c.at(c.get(includes)), "write everything into "+e.Config, "Falco %v does not know %s, which came with %v", e.Falco, includes, includer)
		list = nil
	}
	for _, item := range list {
		path, strategy := item.Value, ""
		if item.Kind == yaml.MappingNode {
			path, strategy = text(find(item, "path")), text(find(item, "strategy"))
		}
		if e.older(joiner) {
			strategy = "override"
		}
		e.include(item, path, strategy)
	}
	e.options(func(key string) bool { return key != includes })
	e.unknownKeys()
	for _, name := range c.unset {
		e.warn("", "set it for kaudit doctor as it is for Falco", "the environment variable %s is used and not set here, so it counts as empty", name)
	}
	switch n := len(c.files) - 1; n {
	case 0:
		e.ok(e.Config, "%s is read", e.Config)
	default:
		e.ok(e.Config, "%s is read, and %s", e.Config, strings.Join(c.files[1:], ", "))
	}
	return c, nil
}

// include merges a file, or the files of a folder, by their names.
func (e *examination) include(item *yaml.Node, path, strategy string) {
	at := e.config.at(item)
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
		e.warn(at, "write the path of a file or folder, or take the entry out", "%s includes %s, which is not there; Falco says nothing of it", includes, path)
		return
	}
	names := []string{path}
	if info.IsDir() {
		names = nil
		entries, err := os.ReadDir(path) // sorted
		if err != nil {
			e.fail(at, "let the user that Falco runs as read it", "%v", err)
			return
		}
		for _, entry := range entries {
			name := filepath.Join(path, entry.Name())
			if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		root, err := e.config.read(name)
		if err != nil {
			e.fail(name, "Falco does not start with it; mend it, or move it elsewhere", "%v", err)
			continue
		}
		e.merge(root, strategy)
	}
}

// merge puts what a file says over what was there.
func (e *examination) merge(root *yaml.Node, strategy string) {
	c := e.config
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if key.Value == includes {
			e.fail(c.at(key), "include it from "+e.Config, "%s stands in a file that is included itself; Falco does not start", includes)
			continue
		}
		old := find(c.root, key.Value)
		switch {
		case strategy == "add-only" && old != nil:
		case strategy != "override" && strategy != "add-only" && value.Kind == yaml.SequenceNode && old != nil && old.Kind == yaml.SequenceNode:
			old.Content = append(old.Content, value.Content...)
		case strategy != "override" && strategy != "add-only" && value.Kind == yaml.SequenceNode && old != nil && !isNull(old):
			e.fail(c.at(value), "make it a list there, too", "%s is a list here, and something else at %s; Falco does not start", key.Value, c.at(old))
		default:
			c.set(key, value)
		}
	}
}

// read reads a file. It is a mapping, perhaps an empty one.
func (c *falcoConfig) read(name string) (*yaml.Node, error) {
	root, err := readYAML(name)
	if err != nil {
		return nil, err
	}
	c.files = append(c.files, name)
	if isNull(root) {
		root = &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	}
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want keys with values, such as plugins and rules_files", name, root.Line)
	}
	c.adopt(root, name)
	return root, nil
}

// readYAML reads the first document of a file, nil if there is none. What aliases stand for is in their place.
func readYAML(name string) (*yaml.Node, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, unwrapped(err))
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, notYAML(name, err)
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	left := maxValues
	root := unfold(document.Content[0], &left)
	if left < 0 {
		return nil, fmt.Errorf("%s: it has more than %d values, with those that aliases repeat", name, maxValues)
	}
	return root, nil
}

// maxValues bounds what aliases make of a file: one may stand in what it stands for.
const maxValues = 20_000

// unfold copies a node with what aliases stand for in their place.
func unfold(n *yaml.Node, left *int) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if *left--; *left < 0 {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
	out := *n
	out.Content = make([]*yaml.Node, len(n.Content))
	for i, below := range n.Content {
		out.Content[i] = unfold(below, left)
	}
	return &out
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// notYAML is an error of the YAML library, with where it is.
func notYAML(name string, err error) error {
	text := err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if m[1] != "" {
			name += ":" + m[1]
		}
	}
	return fmt.Errorf("%s: not YAML: %s", name, text)
}

// adopt notes which file a node and all in it come from, and puts in environment variables.
func (c *falcoConfig) adopt(n *yaml.Node, name string) {
	c.in[n] = name
	for _, below := range n.Content {
		c.adopt(below, name)
	}
	if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "$") {
		n.Value = c.expand(n.Value)
	}
}

// expand puts environment variables in place of ${NAME}. $${NAME} stays as ${NAME}.
func (c *falcoConfig) expand(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			break
		}
		b.WriteString(s[:i])
		s = s[i:]
		end := strings.IndexByte(s, '}')
		switch {
		case strings.HasPrefix(s, "${") && end > 0:
			name := s[2:end]
			value, ok := os.LookupEnv(name)
			if !ok && !slices.Contains(c.unset, name) {
				c.unset = append(c.unset, name)
			}
			b.WriteString(value)
			s = s[end+1:]
		case strings.HasPrefix(s, "$${") && end > 0:
			b.WriteString(s[1 : end+1])
			s = s[end+1:]
		default:
			b.WriteByte('$')
			s = s[1:]
		}
	}
	return b.String() + s
}

// at says where a node stands.
func (c *falcoConfig) at(n *yaml.Node) string {
	if n == nil {
		return c.files[0]
	}
	file, ok := c.in[n]
	if !ok {
		return "option -o"
	}
	return fmt.Sprintf("%s:%d", file, n.Line)
}

// get returns the value at a path of keys, or nil.
func (c *falcoConfig) get(path ...string) *yaml.Node {
	n := c.root
	for _, key := range path {
		n = find(n, key)
	}
	return n
}

// set puts a value in place of another one of the root.
func (c *falcoConfig) set(key, value *yaml.Node) {
	for i := 0; i+1 < len(c.root.Content); i += 2 {
		if c.root.Content[i].Value == key.Value {
			c.root.Content[i], c.root.Content[i+1] = key, value
			return
		}
	}
	c.root.Content = append(c.root.Content, key, value)
}

// options applies those options key=value whose first key is asked for.
func (e *examination) options(fits func(key string) bool) {
	for _, o := range e.Set {
		path, value, ok := strings.Cut(o, "=")
		steps := strings.FieldsFunc(strings.ReplaceAll(path, "[", ".["), func(r rune) bool { return r == '.' })
		if !ok || len(steps) == 0 {
			if fits("") {
				e.fail("option -o", "write key=value, as -o json_output=true", "%q is not an option", o)
			}
			continue
		}
		if !fits(steps[0]) {
			continue
		}
		var parsed yaml.Node
		node := &yaml.Node{Kind: yaml.ScalarNode, Value: value}
		if yaml.Unmarshal([]byte(value), &parsed) == nil && len(parsed.Content) > 0 {
			node = parsed.Content[0]
		}
		if steps[0] == includes && node.Kind != yaml.SequenceNode { // a path is one more
			steps = []string{includes, "[]"}
		}
		if !assign(e.config.root, steps, node) {
			e.fail("option -o", "", "%q: there is nothing to set at %s", o, path)
		}
	}
}

// assign sets what steps lead to: keys, and [2] or [] for an item of a list, or a new one.
func assign(n *yaml.Node, steps []string, value *yaml.Node) bool {
	slot := (**yaml.Node)(nil)
	if index, ok := strings.CutPrefix(steps[0], "["); ok {
		index = strings.TrimSuffix(index, "]")
		i, err := strconv.Atoi(index)
		if isNull(n) || n.Kind == 0 {
			*n = yaml.Node{Kind: yaml.SequenceNode}
		}
		switch {
		case n.Kind != yaml.SequenceNode:
			return false
		case index == "" || err == nil && i == len(n.Content):
			n.Content = append(n.Content, &yaml.Node{})
			i = len(n.Content) - 1
		case err != nil || i < 0 || i > len(n.Content):
			return false
		}
		slot = &n.Content[i]
	} else {
		if isNull(n) || n.Kind == 0 {
			*n = yaml.Node{Kind: yaml.MappingNode}
		}
		if n.Kind != yaml.MappingNode {
			return false
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == steps[0] {
				slot = &n.Content[i+1]
			}
		}
		if slot == nil {
			n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: steps[0]}, &yaml.Node{})
			slot = &n.Content[len(n.Content)-1]
		}
	}
	if len(steps) == 1 {
		*slot = value
		return true
	}
	return assign(*slot, steps[1:], value)
}

// knownKeys are those of the schema of Falco's configuration that a slip of the pen may hide from us.
var knownKeys = []string{
	"append_output", "base_syscalls", "buffer_format_base64", "buffered_outputs", "capture", includes, "engine", "falco_libs", "file_output",
	"grpc", "grpc_output", "http_output", "json_include_message_property", "json_include_output_fields_property",
	"json_include_output_property", "json_include_tags_property", "json_output", "libs_logger", "load_plugins", "log_level",
	"log_stderr", "log_syslog", "metrics", "output_timeout", "outputs_queue", "plugins", "plugins_hostinfo", "priority",
	"program_output", "rule_matching", "rules", "rules_file", "rules_files", "static_fields", "stdout_output",
	"syscall_event_drops", "syscall_event_timeouts", "syslog_output", "time_format_iso_8601", "watch_config_files", "webserver",
}

func (e *examination) unknownKeys() {
	for i := 0; i+1 < len(e.config.root.Content); i += 2 {
		key := e.config.root.Content[i]
		if slices.Contains(knownKeys, key.Value) {
			continue
		}
		if meant := nearest.Word(key.Value, knownKeys); meant != "" {
			e.warn(e.config.at(key), "write "+meant, "Falco does not know the key %s, and does without it", key.Value)
		}
	}
}

// What follows reads YAML as Falco does.

// find returns the value of a key, the first one if there are several, or nil.
func find(m *yaml.Node, key string) *yaml.Node {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

// keyOf returns a key of a mapping, or of one below it, whichever way it is written; nil if there is none.
func keyOf(m *yaml.Node, name string) *yaml.Node {
	if m == nil {
		return nil
	}
	for i := 0; m.Kind == yaml.MappingNode && i+1 < len(m.Content); i += 2 {
		if source.SameKey(m.Content[i].Value, name) {
			return m.Content[i]
		}
	}
	for _, below := range m.Content {
		if key := keyOf(below, name); key != nil {
			return key
		}
	}
	return nil
}

func isNull(n *yaml.Node) bool {
	return n == nil || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// text returns a scalar, "" if there is none.
func text(n *yaml.Node) string {
	if isNull(n) || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// items returns those of a list; one value stands for itself.
func items(n *yaml.Node) []*yaml.Node {
	switch {
	case isNull(n):
		return nil
	case n.Kind == yaml.SequenceNode:
		return n.Content
	}
	return []*yaml.Node{n}
}

// flag returns a boolean of YAML 1.1, or what it is without one.
func flag(n *yaml.Node, without bool) bool {
	if b, ok := rules.ParseBool(text(n)); ok {
		return b
	}
	return without
}

// toJSON renders an init_config as Falco hands it to the plugin: a mapping as JSON, whose scalars are numbers and
// booleans if they look like them, in quotes or not; anything else as its text.
func toJSON(n *yaml.Node) (string, error) {
	switch {
	case isNull(n):
		return "", nil
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind == yaml.SequenceNode:
		return "", errors.New("init_config is a list; write keys with values below it")
	}
	b, err := json.Marshal(valueOf(n))
	return string(b), err
}

func valueOf(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		if len(n.Content) == 0 {
			return nil // so does Falco
		}
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = valueOf(n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		if len(n.Content) == 0 {
			return nil
		}
		list := []any{}
		for _, item := range n.Content {
			list = append(list, valueOf(item))
		}
		return list
	}
	if isNull(n) {
		return nil
	}
	if i, err := strconv.ParseInt(n.Value, 0, 32); err == nil && !strings.Contains(n.Value, "_") {
		return i
	}
	if f, err := strconv.ParseFloat(n.Value, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) && !strings.ContainsAny(n.Value, "_xX") {
		return f
	}
	if b, ok := rules.ParseBool(n.Value); ok {
		return b
	}
	return n.Value
}

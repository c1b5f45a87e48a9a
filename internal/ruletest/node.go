package ruletest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"kaudit/pkg/rules"
)

// A reader reads YAML. It goes on behind an error, so that all of them are told at once.
type reader struct {
	text     *text
	item     string // what it is about, for problems
	problems []*rules.Problem
	values   int // how many were read, aliases followed
}

const (
	// maxValues is how many values a file may have once its aliases are followed: a few lines of them can stand for
	// more than there is memory.
	maxValues = 1 << 20
	maxDepth  = 200
)

// wrong notes a problem.
func (r *reader) wrong(n *yaml.Node, hint, format string, args ...any) {
	line, column := 1, 1
	if n != nil && n.Line > 0 {
		line, column = n.Line, r.text.bytesBefore(n.Line, n.Column)
	}
	p := r.text.problem(line, column, rules.ErrStructure, hint, format, args...)
	p.Item = r.item
	r.problems = append(r.problems, p)
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// document reads the one document of a file. It is nil if there is none, or it is not YAML.
func (r *reader) document(content []byte) *yaml.Node {
	d := yaml.NewDecoder(bytes.NewReader(content))
	var first, second yaml.Node
	err := d.Decode(&first)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		if err = d.Decode(&second); errors.Is(err, io.EOF) {
			return resolve(&first)
		}
		if err == nil {
			r.wrong(resolve(&second), "write one file for each", "a second document begins here")
			return nil
		}
	}
	r.notYAML(err)
	return nil
}

// notYAML notes an error of the YAML reader, which knows the line at most.
func (r *reader) notYAML(err error) {
	line, what := 1, err.Error()
	if m := yamlError.FindStringSubmatch(what); m != nil {
		what = m[2]
		if n, err := strconv.Atoi(m[1]); err == nil {
			line = min(n, len(r.text.lines))
		}
	}
	r.problems = append(r.problems, r.text.problem(line, 1, rules.ErrYAML, "", "not YAML: %s", what))
}

// resolve follows documents and aliases.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil {
		switch {
		case n.Kind == yaml.DocumentNode && len(n.Content) > 0:
			n = n.Content[0]
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		case n.Kind == yaml.DocumentNode:
			return nil
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

// A pair is a key with its value.
type pair struct {
	key   *yaml.Node
	value *yaml.Node
}

// pairs returns the keys of a mapping with their values, in order: its own first, then those merged into it (<<) that it
// does not have.
func (r *reader) pairs(n *yaml.Node) []pair { return r.pairsIn(n, 0) }

func (r *reader) pairsIn(n *yaml.Node, depth int) []pair {
	if depth > maxDepth {
		r.wrong(n, "", "this mapping is merged into itself")
		return nil
	}
	var own []pair
	var merged []*yaml.Node
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := resolve(n.Content[i]), resolve(n.Content[i+1])
		switch {
		case key == nil || key.Kind != yaml.ScalarNode:
			r.wrong(n.Content[i], "", "a key is not a text")
		case key.ShortTag() == "!!merge":
			merged = append(merged, value)
		case seen[key.Value] != nil:
			r.wrong(key, "", "%s is there twice; the first is in line %d", key.Value, seen[key.Value].Line)
		default:
			seen[key.Value] = key
			own = append(own, pair{key, value})
		}
	}
	for _, m := range merged {
		list := []*yaml.Node{m}
		if m != nil && m.Kind == yaml.SequenceNode {
			list = m.Content
		}
		for _, from := range list {
			if from = resolve(from); from == nil || from.Kind != yaml.MappingNode {
				r.wrong(n, "", "<< wants a mapping, or a list of them")
				continue
			}
			for _, p := range r.pairsIn(from, depth+1) {
				if seen[p.key.Value] == nil {
					seen[p.key.Value] = p.key
					own = append(own, p)
				}
			}
		}
	}
	return own
}

// members returns the values of a mapping by key. Keys that mean nothing are problems.
func (r *reader) members(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	values := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		r.wrong(n, "there is: "+strings.Join(known, ", "), "%s is not a mapping of keys to values", what)
		return values
	}
	for _, p := range r.pairs(n) {
		if !slices.Contains(known, p.key.Value) {
			r.wrong(p.key, meant(p.key.Value, known), "there is no %q in %s", p.key.Value, what)
			continue
		}
		values[p.key.Value] = p.value
	}
	return values
}

// word reads a text. It is "" if there is none, which is a problem.
func (r *reader) word(n *yaml.Node, what string) string {
	switch {
	case isNull(n):
		r.wrong(n, "", "%s is empty", what)
	case n.Kind != yaml.ScalarNode:
		r.wrong(n, "", "%s is not a text", what)
	case n.Value == "":
		r.wrong(n, "", "%s is empty", what)
	default:
		return n.Value
	}
	return ""
}

// need reads the text of a key that a mapping has to have.
func (r *reader) need(n *yaml.Node, m map[string]*yaml.Node, key string) string {
	if m[key] == nil {
		r.wrong(n, "", "there is no %s", key)
		return ""
	}
	return r.word(m[key], key)
}

// words reads a text or a list of texts, and returns where each stands.
func (r *reader) words(n *yaml.Node, what string) []*yaml.Node {
	if isScalar(n) {
		if n.Value == "" {
			r.wrong(n, "", "%s is empty", what)
			return nil
		}
		return []*yaml.Node{n}
	}
	if isNull(n) || n.Kind != yaml.SequenceNode {
		r.wrong(n, "write [a, b], or each on a line with a dash", "%s is not a list of texts", what)
		return nil
	}
	var found []*yaml.Node
	for _, e := range n.Content {
		if e = resolve(e); r.word(e, "an element of "+what) != "" {
			found = append(found, e)
		}
	}
	return found
}

// appendJSON appends a YAML value as JSON.
func (r *reader) appendJSON(dst []byte, n *yaml.Node) []byte { return r.appendValue(dst, n, 0) }

func (r *reader) appendValue(dst []byte, n *yaml.Node, depth int) []byte {
	n = resolve(n)
	if r.values++; r.values > maxValues || depth > maxDepth {
		if r.values <= maxValues || r.values == maxValues+1 {
			r.wrong(n, "", "this nests more than %d deep, or the aliases stand for more than %d values", maxDepth, maxValues)
		}
		r.values = maxValues + 1
		return append(dst, "null"...)
	}
	if n == nil {
		return append(dst, "null"...)
	}
	switch n.Kind {
	case yaml.MappingNode:
		dst = append(dst, '{')
		for i, p := range r.pairs(n) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendQuoted(dst, p.key.Value), ':')
			dst = r.appendValue(dst, p.value, depth+1)
		}
		return append(dst, '}')
	case yaml.SequenceNode:
		dst = append(dst, '[')
		for i, e := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = r.appendValue(dst, e, depth+1)
		}
		return append(dst, ']')
	}
	return r.appendScalar(dst, n)
}

func (r *reader) appendScalar(dst []byte, n *yaml.Node) []byte {
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return append(dst, "null"...)
	case "!!str", "!!timestamp", "!!merge":
		return appendQuoted(dst, n.Value)
	case "!!bool", "!!int", "!!float":
		if tag != "!!bool" && json.Valid([]byte(n.Value)) {
			return append(dst, n.Value...) // with all its digits
		}
		var v any
		if err := n.Decode(&v); err == nil {
			if f, ok := v.(float64); !ok || !math.IsInf(f, 0) && !math.IsNaN(f) {
				if b, err := json.Marshal(v); err == nil {
					return append(dst, b...)
				}
			}
		}
		r.wrong(n, "put it in quotes if it is a text", "JSON has no number %s", n.Value)
	default:
		r.wrong(n, "leave the tag out", "values with the tag %s are not read", tag)
	}
	return append(dst, "null"...)
}

// appendQuoted appends a text as JSON.
func appendQuoted(dst []byte, s string) []byte {
	b := bytes.NewBuffer(dst)
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return append(dst, `""`...) // never: it is a string
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
	"k8s.io/apimachinery/pkg/util/validation/field"
	auditapi "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"

	"kaudit/internal/nearest"
	"kaudit/pkg/rules"
)

// A Policy is an audit policy as the API server understands it.
type Policy struct {
	Name string // of the file
	// Rules are where they stand, in their order.
	Rules []rules.Position
	// Warnings are what the API server takes no notice of.
	Warnings []*rules.Problem

	api       *auditapi.Policy
	evaluator audit.PolicyRuleEvaluator
	single    []audit.PolicyRuleEvaluator // of one rule each, to know which one decided
}

// LoadFile loads a policy. Its error is a [*rules.LoadError].
func LoadFile(name string) (*Policy, error) {
	content, err := os.ReadFile(name)
	if err != nil {
		var of *fs.PathError
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, &rules.LoadError{Problems: []*rules.Problem{{Pos: rules.Position{File: name}, Code: rules.ErrFile, Text: "read the policy: " + err.Error(), Hint: "name the file of --audit-policy-file"}}}
	}
	return Load(name, content)
}

// Load loads a policy that is in memory. Its error is a [*rules.LoadError].
func Load(name string, content []byte) (*Policy, error) {
	r := &reader{name: name, lines: strings.Split(string(content), "\n")}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return nil, r.syntax(err)
	}
	if len(doc.Content) == 0 {
		return nil, r.fail(&yaml.Node{Line: 1, Column: 1}, "the file is empty", head)
	}
	root := doc.Content[0]
	known := r.keys(root)
	if len(r.problems) > 0 {
		return nil, &rules.LoadError{Problems: r.problems}
	}
	if !known { // what the API server ignores, it would warn of once more
		var err error
		if content, err = yaml.Marshal(root); err != nil {
			return nil, r.fail(root, err.Error(), "")
		}
	}
	api, err := policy.LoadPolicyFromBytes(content)
	if err != nil {
		return nil, r.refused(root, err)
	}
	p := &Policy{Name: name, Warnings: r.warnings, api: api}
	list := member(root, "rules")
	for i, rule := range api.Rules {
		p.Rules = append(p.Rules, r.at(list.Content[i]))
		rule.Level = auditapi.LevelRequestResponse // which is not what a policy without a rule that matches says
		p.single = append(p.single, policy.NewPolicyRuleEvaluator(&auditapi.Policy{Rules: []auditapi.PolicyRule{rule}}))
	}
	p.evaluator = policy.NewPolicyRuleEvaluator(api)
	return p, nil
}

// head is how policies begin.
const head = "a policy begins with apiVersion: audit.k8s.io/v1, kind: Policy, and a list called rules"

// reader finds where in a file something is wrong.
type reader struct {
	name     string
	lines    []string
	problems []*rules.Problem
	warnings []*rules.Problem
}

func (r *reader) at(n *yaml.Node) rules.Position {
	return rules.Position{File: r.name, Line: n.Line, Column: n.Column}
}

func (r *reader) problem(n *yaml.Node, text, hint string) *rules.Problem {
	p := &rules.Problem{Pos: r.at(n), Code: rules.ErrStructure, Text: text, Hint: hint}
	if n.Line > 0 && n.Line <= len(r.lines) {
		p.Excerpt = rules.Excerpt(r.lines[n.Line-1], n.Line, n.Column)
	}
	return p
}

func (r *reader) fail(n *yaml.Node, text, hint string) error {
	return &rules.LoadError{Problems: []*rules.Problem{r.problem(n, text, hint)}}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

func (r *reader) syntax(err error) error {
	at, text := &yaml.Node{Line: 1, Column: 1}, strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			at.Line = line
		}
		text = m[2]
	}
	return r.fail(at, "not YAML: "+text, "look at the indentation, and for a tab, a missing colon or quote")
}

// The members of a policy, of its rules, and of their resources (k8s.io/apiserver: pkg/apis/audit/v1/types.go).
var (
	policyKeys   = []string{"apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"}
	ruleKeys     = []string{"level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages", "omitManagedFields"}
	resourceKeys = []string{"group", "resources", "resourceNames"}
	listKeys     = []string{"rules", "users", "userGroups", "verbs", "resources", "resourceNames", "namespaces", "nonResourceURLs", "omitStages"}
)

// keys takes out of a policy what the API server does not know and so ignores, with a warning, and reports whether
// there was nothing.
func (r *reader) keys(root *yaml.Node) (known bool) {
	if root.Kind != yaml.MappingNode {
		r.problems = append(r.problems, r.problem(root, "not an audit policy", head))
		return true
	}
	known = r.only(root, policyKeys)
	for _, rule := range sequence(root, "rules") {
		known = r.only(rule, ruleKeys) && known
		for _, group := range sequence(rule, "resources") {
			known = r.only(group, resourceKeys) && known
		}
	}
	return known
}

func (r *reader) only(n *yaml.Node, keys []string) (known bool) {
	if n.Kind != yaml.MappingNode {
		return true // the loader says so
	}
	known = true
	var kept []*yaml.Node
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case seen[key.Value]:
			r.problems = append(r.problems, r.problem(key, key.Value+" is there twice", "put both in one"))
		case !slices.Contains(keys, key.Value):
			known = false
			hint := "there are " + strings.Join(keys, ", ")
			if meant := nearest.Word(key.Value, keys); meant != "" {
				hint = "did you mean " + meant + "?"
			}
			w := r.problem(key, fmt.Sprintf("the API server ignores %q", key.Value), hint)
			w.Code = rules.WarnUnknownKey
			r.warnings = append(r.warnings, w)
			continue
		}
		if v := n.Content[i+1]; slices.Contains(listKeys, key.Value) && (v.Kind == yaml.ScalarNode && v.Tag != "!!null" || v.Kind == yaml.MappingNode) {
			hint := "write " + key.Value + ": [...]"
			if v.Kind == yaml.ScalarNode {
				hint = "write " + key.Value + ": [" + rules.Printable(v.Value) + "]"
			}
			r.problems = append(r.problems, r.problem(v, key.Value+" is no list", hint))
		}
		seen[key.Value] = true
		kept = append(kept, key, n.Content[i+1])
	}
	n.Content = kept
	return known
}

func member(n *yaml.Node, key string) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			if v := n.Content[i+1]; v.Kind == yaml.AliasNode {
				return v.Alias
			}
			return n.Content[i+1]
		}
	}
	return nil
}

func sequence(n *yaml.Node, key string) []*yaml.Node {
	if list := member(n, key); list != nil && list.Kind == yaml.SequenceNode {
		return list.Content
	}
	return nil
}

// refused says why the API server does not take the policy, and where.
func (r *reader) refused(root *yaml.Node, err error) error {
	var problems []*rules.Problem
	add := func(e *field.Error) {
		at := follow(root, e.Field)
		text, hint := strings.TrimPrefix(e.Error(), e.Field+": "), ""
		switch {
		case strings.HasSuffix(e.Field, "level"):
			text, hint = fmt.Sprintf("there is no level %q", fmt.Sprint(e.BadValue)), "levels are None, Metadata, Request, RequestResponse"
			if e.Type == field.ErrorTypeRequired {
				text = "the rule has no level"
			}
		case strings.Contains(e.Field, "omitStages"):
			text, hint = fmt.Sprintf("there is no stage %q", fmt.Sprint(e.BadValue)), "stages are RequestReceived, ResponseStarted, ResponseComplete, Panic"
		case strings.Contains(text, "regular resources and non-resource"):
			text, hint = "a rule is about resources or about nonResourceURLs, not both", "make two rules of it"
		case strings.HasSuffix(e.Field, "group"):
			text, hint = fmt.Sprintf("%q is no API group", fmt.Sprint(e.BadValue)), "a group is written without its version: apps, not apps/v1"
		}
		problems = append(problems, r.problem(at, e.Field+": "+text, hint))
	}
	var all interface{ Errors() []error }
	if errors.As(err, &all) {
		for _, e := range all.Errors() {
			var f *field.Error
			if errors.As(e, &f) {
				add(f)
			}
		}
	}
	if len(problems) == 0 {
		at, text, hint := root, err.Error(), ""
		version, kind := member(root, "apiVersion"), member(root, "kind")
		switch {
		case version == nil || kind == nil || kind.Value != "Policy" || version.Value != "audit.k8s.io/v1":
			text, hint = "not an audit policy", head
			if version != nil && strings.HasPrefix(version.Value, "audit.k8s.io/") && version.Value != "audit.k8s.io/v1" {
				at, text, hint = version, version.Value+" is no longer read by API servers", "write audit.k8s.io/v1; the rules stay as they are"
			}
		case len(sequence(root, "rules")) == 0:
			text, hint = "there are no rules", "without any the API server does not start; what records everything is: rules: [{level: Metadata}]"
		default:
			if i := strings.LastIndex(text, "json: "); i >= 0 {
				text = text[i+len("json: "):]
			}
		}
		problems = append(problems, r.problem(at, text, hint))
	}
	return &rules.LoadError{Problems: problems}
}

// follow returns the node at a path such as rules[2].level, or what is nearest to it.
func follow(n *yaml.Node, path string) *yaml.Node {
	for _, step := range strings.FieldsFunc(path, func(c rune) bool { return strings.ContainsRune(".[]", c) }) {
		var next *yaml.Node
		if i, err := strconv.Atoi(step); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			next = n.Content[i]
		} else {
			next = member(n, step)
		}
		if next == nil {
			break
		}
		n = next
	}
	return n
}

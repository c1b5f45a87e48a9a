package ruletest

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"kaudit/pkg/rules"
)

// A File is a test file that was read.
type File struct {
	Name     string
	Tests    []*Test
	Problems []*rules.Problem // why it cannot be run; Tests are not to be trusted then

	rules    *ruleset
	matching rules.Matching
}

// A Test says which rules fire on some events.
type Test struct {
	Name string
	Pos  rules.Position

	events []event
	fires  []expectation
	quiet  []string
	// exact says that no rules may fire but those in fires and also.
	exact bool
	also  []string
	// off is a rule that is disabled and tried all the same: one that has fixtures.
	off string
}

// An expectation is a rule that has to fire, and how.
type expectation struct {
	rule     string
	fields   []fieldValue
	text     *regexp.Regexp
	priority *rules.Priority
}

// A fieldValue is a field of an output with the value it has to have.
type fieldValue struct {
	name string // as the test has it
	want string
	list []string // if the test has a list
	many bool     // whether it has one
}

// fileReader reads one test file.
type fileReader struct {
	reader
	suite *Suite
	file  *File
	named map[string]*named
	names []*yaml.Node
	depth int
	rules *rules.Ruleset // nil if they cannot be loaded: then nobody knows which names there are
}

// topKeys are what a test file may have.
var topKeys = []string{"rules", "matching", "events", "tests", "fixtures"}

// testKeys are what a test may have.
var testKeys = []string{"name", "event", "patch", "fires", "also", "quiet"}

// readFile reads a test file.
func (s *Suite) readFile(name string, content []byte) *File {
	f := &fileReader{reader: reader{text: newYAML(name, content)}, suite: s, file: &File{Name: name, matching: rules.All}, named: map[string]*named{}}
	f.read(content)
	f.file.Problems = inOrder(f.problems, name)
	return f.file
}

func (f *fileReader) read(content []byte) {
	top := f.document(content)
	if len(f.problems) > 0 {
		return
	}
	if isNull(top) {
		f.wrong(top, "write tests: or fixtures:", "there are no tests in it")
		return
	}
	m := f.members(top, "a test file", topKeys...)
	if len(m) == 0 {
		return
	}
	f.readRules(m["rules"])
	if n := m["matching"]; n != nil {
		switch w := f.word(n, "matching"); w {
		case "", "all":
		case "first":
			f.file.matching = rules.First
		default:
			f.wrong(n, "write all or first", "matching is %q", w)
		}
	}
	if n := m["events"]; n != nil {
		f.readNames(n)
	}
	if n := m["tests"]; n != nil {
		f.readTests(n)
	}
	if n := m["fixtures"]; n != nil {
		f.readFixtures(n)
	}
	if m["tests"] == nil && m["fixtures"] == nil {
		f.wrong(top, "write tests: or fixtures:", "there are no tests in it")
	}
	seen := map[string]rules.Position{}
	for _, t := range f.file.Tests {
		if before, twice := seen[t.Name]; twice {
			p := f.text.problem(t.Pos.Line, t.Pos.Column, rules.ErrStructure, "", "two tests are called %q; the first is at %v", t.Name, before)
			f.problems = append(f.problems, p)
		}
		seen[t.Name] = t.Pos
	}
}

// path returns where a file is that the test file names.
func (f *fileReader) path(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(filepath.Dir(f.text.name), name)
}

func (f *fileReader) readRules(n *yaml.Node) {
	var paths []string
	if n != nil {
		wrong := false
		for _, w := range f.words(n, "rules") {
			path := f.path(w.Value)
			paths = append(paths, path)
			if p := noRules(path); p != nil {
				f.wrong(w, p.Hint, "%s: %s", path, p.Text)
				wrong = true
			}
		}
		if wrong {
			f.suite.readsRules(paths)
			return
		}
		if len(paths) == 0 {
			f.wrong(n, "name files and folders, or leave rules: out", "rules names no rules")
			return
		}
	}
	f.file.rules = f.suite.rules(paths)
	f.rules = f.file.rules.set
	f.problems = append(f.problems, f.file.rules.problems...)
}

// readNames notes the events that have a name. They are read in the order in which they need each other.
func (f *fileReader) readNames(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		f.wrong(n, "write a name, a colon, and an event", "events is not a mapping of names to events")
		return
	}
	for _, p := range f.pairs(n) {
		f.named[p.key.Value] = &named{key: p.key, value: p.value}
		f.names = append(f.names, p.key)
	}
	for _, key := range f.names {
		f.item = "event " + key.Value
		f.eventNamed(key)
	}
	f.item = ""
}

func (f *fileReader) readTests(n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		f.wrong(n, "begin each test with a dash", "tests is not a list")
		return
	}
	if len(n.Content) == 0 {
		f.wrong(n, "", "tests is empty")
	}
	for _, e := range n.Content {
		if e = resolve(e); e == nil || e.Kind != yaml.MappingNode {
			f.wrong(e, "begin it with name:", "a test is not a mapping of keys to values")
			continue
		}
		f.readTest(e)
	}
	f.item = ""
}

func (f *fileReader) readTest(n *yaml.Node) {
	f.item = ""
	for _, p := range f.pairs(n) {
		if p.key.Value == "name" && isScalar(p.value) {
			f.item = "test " + p.value.Value
		}
	}
	m := f.members(n, "a test", testKeys...)
	t := &Test{Pos: rules.Position{File: f.text.name, Line: n.Line, Column: f.text.bytesBefore(n.Line, n.Column)}}
	if m["name"] == nil {
		f.wrong(n, "write name: and what it tests", "the test has no name")
	} else {
		t.Name = f.word(m["name"], "name")
	}
	if m["event"] == nil {
		f.wrong(n, "write event: and the name of one, {file: name}, or the event itself", "the test has no event")
	} else {
		t.events = f.patch(f.events(m["event"]), m["patch"])
	}
	if m["fires"] == nil && m["quiet"] == nil {
		f.wrong(n, "write fires: or quiet:; fires: [] if no rule may fire", "the test expects nothing")
	}
	if m["fires"] != nil {
		t.fires, t.exact = f.expectations(m["fires"]), true
	}
	if also := m["also"]; also != nil {
		switch {
		case m["fires"] == nil:
			f.wrong(also, "leave it out: without fires: any rule may fire that is not in quiet:", "also says what may fire besides the rules in fires:")
		case isScalar(also) && also.Value == "any":
			t.exact = false
		default:
			t.also = f.ruleNames(also, "also")
		}
	}
	if m["quiet"] != nil {
		t.quiet = f.ruleNames(m["quiet"], "quiet")
		for _, e := range t.fires {
			if slices.Contains(t.quiet, e.rule) {
				f.wrong(m["quiet"], "", "rule %s has to fire and must not", e.rule)
			}
		}
	}
	f.file.Tests = append(f.file.Tests, t)
}

// ruleNames reads names of rules that there have to be.
func (f *fileReader) ruleNames(n *yaml.Node, what string) []string {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		return nil
	}
	var names []string
	for _, w := range f.words(n, what) {
		f.rule(w)
		names = append(names, w.Value)
	}
	return names
}

// rule returns the rule that a node names.
func (f *fileReader) rule(n *yaml.Node) *rules.Rule {
	if f.rules == nil {
		return nil
	}
	rule, ok := f.rules.Rule(n.Value)
	if !ok {
		hint := meant(n.Value, f.rules.RuleNames())
		if hint == "" && f.file.rules.byDefault {
			hint = "write rules: and the files it is in, or name them with -r"
		}
		f.wrong(n, hint, "there is no rule %q in %s", n.Value, f.file.rules.called)
		return nil
	}
	return rule
}

// expectations reads fires: the name of a rule, a list of names and of mappings with the key rule, or a mapping of names
// to what is expected of them.
func (f *fileReader) expectations(n *yaml.Node) []expectation {
	var found []expectation
	add := func(name, wanted *yaml.Node) {
		e := expectation{rule: name.Value}
		rule := f.rule(name)
		if slices.ContainsFunc(found, func(x expectation) bool { return x.rule == e.rule }) {
			f.wrong(name, "", "rule %s is there twice", e.rule)
		}
		if !isNull(wanted) {
			f.expectation(&e, rule, wanted)
		}
		found = append(found, e)
	}
	switch {
	case isScalar(n):
		add(n, nil)
	case n.Kind == yaml.MappingNode && !f.keys(n)["rule"]:
		for _, p := range f.pairs(n) {
			add(p.key, p.value)
		}
	case n.Kind == yaml.MappingNode:
		f.withRule(n, add)
	case n.Kind == yaml.SequenceNode:
		for _, e := range n.Content {
			switch e = resolve(e); {
			case isScalar(e):
				add(e, nil)
			case e != nil && e.Kind == yaml.MappingNode:
				f.withRule(e, add)
			default:
				f.wrong(e, "write its name, or rule: and its name", "an element of fires is not a rule")
			}
		}
	default:
		f.wrong(n, "write fires: [] if no rule may fire", "fires is empty")
	}
	return found
}

// withRule reads a mapping with the name of the rule in it.
func (f *fileReader) withRule(n *yaml.Node, add func(name, wanted *yaml.Node)) {
	for _, p := range f.pairs(n) {
		if p.key.Value == "rule" {
			if f.word(p.value, "rule") != "" {
				add(p.value, n)
			}
			return
		}
	}
	f.wrong(n, "write rule: and its name", "this does not say which rule fires")
}

// expectation reads what is expected of a rule that fires.
func (f *fileReader) expectation(e *expectation, rule *rules.Rule, n *yaml.Node) {
	m := f.members(n, "what is expected of a rule", "rule", "output", "text", "priority")
	if n := m["priority"]; n != nil {
		if p, ok := rules.ParsePriority(f.word(n, "priority")); ok {
			e.priority = &p
		} else if isScalar(n) {
			var all []string
			for p := rules.Emergency; p <= rules.Debug; p++ {
				all = append(all, strings.ToUpper(p.String()))
			}
			f.wrong(n, meant(n.Value, all), "there is no priority %q", n.Value)
		}
	}
	if n := m["text"]; n != nil {
		if s := f.word(n, "text"); s != "" {
			re, err := regexp.Compile(s)
			if err != nil {
				f.wrong(n, "put a backslash before a character that stands for itself", "text is not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
			}
			e.text = re
		}
	}
	output := m["output"]
	if output == nil {
		return
	}
	if output.Kind != yaml.MappingNode {
		f.wrong(output, "write output: {ka.user.name: jane}; text: takes a regular expression for the whole of it", "output is not a mapping of fields to values")
		return
	}
	for _, p := range f.pairs(output) {
		if rule != nil && !slices.ContainsFunc(rule.OutputFields, func(o string) bool { return plainName(o) == plainName(p.key.Value) }) {
			f.wrong(p.key, meant(p.key.Value, rule.OutputFields), "the output of rule %s has no field %s", rule.Name, p.key.Value)
			continue
		}
		v := fieldValue{name: p.key.Value}
		switch {
		case isNull(p.value):
			v.want = absent
		case p.value.Kind == yaml.ScalarNode:
			v.want = p.value.Value
		case p.value.Kind == yaml.SequenceNode:
			v.many = true
			for _, e := range p.value.Content {
				if e = resolve(e); e == nil || e.Kind != yaml.ScalarNode {
					f.wrong(e, "", "a value in the list of %s is not a text", v.name)
					continue
				}
				v.list = append(v.list, e.Value)
			}
		default:
			f.wrong(p.value, "write it as Falco prints it: jane, 201, (a,b) or <NA>", "the value of %s is not a text", v.name)
		}
		e.fields = append(e.fields, v)
	}
}

// absent is how Falco prints a field that the event does not have.
const absent = "<NA>"

// plainName renders a field without the quotes its argument may stand in.
func plainName(field string) string {
	name, arg, ok := strings.Cut(strings.TrimPrefix(field, "%"), "[")
	if !ok {
		return name
	}
	return name + "[" + strings.Trim(strings.TrimSuffix(arg, "]"), `"'`)
}

// distinct leaves out what was said of the same place before.
func distinct(problems []*rules.Problem) []*rules.Problem {
	type said struct {
		at   rules.Position
		text string
	}
	seen := map[said]bool{}
	var out []*rules.Problem
	for _, p := range problems {
		if key := (said{p.Pos, p.Text}); !seen[key] {
			seen[key] = true
			out = append(out, p)
		}
	}
	return out
}

// inOrder sorts the problems of one test file by where they are; those of other files, which explain some of them, come
// first.
func inOrder(problems []*rules.Problem, name string) []*rules.Problem {
	slices.SortStableFunc(problems, func(a, b *rules.Problem) int {
		if here, there := a.Pos.File == name, b.Pos.File == name; here != there {
			if there {
				return -1
			}
			return 1
		} else if !here {
			return 0
		}
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
	return distinct(problems)
}

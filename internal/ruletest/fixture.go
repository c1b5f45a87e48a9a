package ruletest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"kaudit/pkg/rules"
)

// The files of a folder of fixtures. fires.recorded.jsonl and the like are such files too; what else is a text is a note.
const (
	firesFile = "fires.jsonl" // on each event of it the rule has to fire
	quietFile = "quiet.jsonl" // on none of its events it may
	alsoFile  = "also.txt"    // rules that may fire on the events of fires.jsonl too, one a line
)

// holdsEvents reports whether a file of a folder of fixtures is one like the file of that name.
func holdsEvents(name, like string) bool {
	kind, _, _ := strings.Cut(like, ".")
	return strings.HasPrefix(name, kind+".") && strings.HasSuffix(name, ".jsonl")
}

// Slug is the name of a rule's folder of fixtures: the rule's name in lower case, with a dash for what is neither letter
// nor digit.
func Slug(rule string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(rule), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), "-")
}

// readFixtures reads fixtures: a folder, or a mapping with folder and also, or a list of these.
func (f *fileReader) readFixtures(n *yaml.Node) {
	f.item = "fixtures"
	defer func() { f.item = "" }()
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	for _, e := range list {
		switch e = resolve(e); {
		case isScalar(e) && e.Value != "":
			f.readFolder(e, nil)
		case e != nil && e.Kind == yaml.MappingNode:
			m := f.members(e, "fixtures", "folder", "also")
			if f.need(e, m, "folder") != "" {
				f.readFolder(m["folder"], m["also"])
			}
		default:
			f.wrong(e, "name a folder with one for each rule, in which there are "+firesFile+" and "+quietFile, "there are no fixtures here")
		}
	}
}

// readFolder makes a test of each file of events in the folders below one.
func (f *fileReader) readFolder(n, alsoNode *yaml.Node) {
	folder := f.path(n.Value)
	f.suite.reads(folder)
	entries, err := os.ReadDir(folder)
	if err != nil {
		f.wrong(n, "", "%s: read it: %s", folder, cause(err))
		return
	}
	byFolder := map[string]string{}
	var slugs []string
	if f.rules != nil {
		for _, name := range f.rules.RuleNames() {
			slug := Slug(name)
			if other := byFolder[slug]; other != "" {
				f.wrong(n, "give one of them another name", "rules %s and %s have the same folder of fixtures, %s", other, name, slug)
			}
			byFolder[slug] = name
			slugs = append(slugs, slug)
		}
	}
	also := map[string][]string{}
	if alsoNode != nil {
		if alsoNode.Kind != yaml.MappingNode {
			f.wrong(alsoNode, "write the rule with the fixtures, a colon, and a list of the others", "also is not a mapping of rules to lists of rules")
		} else {
			for _, p := range f.pairs(alsoNode) {
				f.rule(p.key)
				also[p.key.Value] = f.ruleNames(p.value, "also")
			}
		}
	}
	found := false
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		found = true
		rule, ok := byFolder[e.Name()]
		path := filepath.Join(folder, e.Name())
		if f.rules != nil && !ok {
			f.wrong(n, meant(e.Name(), slugs), "%s is the folder of no rule", path)
			continue
		}
		f.readRuleFolder(n, path, rule, alsoNode != nil, also[rule])
	}
	if !found {
		f.wrong(n, "it has one for each rule, in which there are "+firesFile+" and "+quietFile, "there are no folders in %s", folder)
	}
}

// readRuleFolder makes tests of the files of events for one rule.
func (f *fileReader) readRuleFolder(n *yaml.Node, path, rule string, exact bool, also []string) {
	f.suite.reads(path)
	entries, err := os.ReadDir(path)
	if err != nil {
		f.wrong(n, "", "%s: read it: %s", path, cause(err))
		return
	}
	if text, err := os.ReadFile(filepath.Join(path, alsoFile)); err == nil {
		exact = true
		for name := range strings.Lines(string(text)) {
			if name = strings.TrimSpace(name); name == "" {
				continue
			}
			if f.rules != nil && !slices.Contains(f.rules.RuleNames(), name) {
				f.wrong(n, meant(name, f.rules.RuleNames()), "%s: there is no rule %q", filepath.Join(path, alsoFile), name)
			}
			also = append(also, name)
		}
	}
	off := ""
	if f.rules != nil {
		if r, ok := f.rules.Rule(rule); ok && !r.Enabled {
			off, exact = rule, false // such a rule is a matter of taste, and may say what others say
		}
	}
	found := false
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		fires := holdsEvents(e.Name(), firesFile)
		if !fires && !holdsEvents(e.Name(), quietFile) {
			if !strings.HasPrefix(e.Name(), ".") && filepath.Ext(name) != ".txt" && filepath.Ext(name) != ".md" {
				f.wrong(n, "it may have "+firesFile+", "+quietFile+" and "+alsoFile, "%s is no file of fixtures", name)
			}
			continue
		}
		found = true
		events := f.suite.events(name)
		f.problems = append(f.problems, events.problems...)
		t := &Test{Pos: rules.Position{File: name, Line: 1, Column: 1}, events: events.events, off: off}
		if fires {
			t.Name, t.fires, t.exact, t.also = rule+" fires", []expectation{{rule: rule}}, exact, also
		} else {
			t.Name, t.quiet = rule+" stays quiet", []string{rule}
		}
		// As in fires.handmade.jsonl.
		if which := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(e.Name(), "fires."), "quiet."), "jsonl"); which != "" {
			t.Name += ", " + strings.TrimSuffix(which, ".")
		}
		f.file.Tests = append(f.file.Tests, t)
	}
	if !found {
		f.wrong(n, "", "%s has neither %s nor %s", path, firesFile, quietFile)
	}
}

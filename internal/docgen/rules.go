package main

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// A rule is what the page shows of one.
type rule struct {
	file      string
	Name      string   `yaml:"rule"`
	Desc      string   `yaml:"desc"`
	Condition string   `yaml:"condition"`
	Priority  string   `yaml:"priority"`
	Tags      []string `yaml:"tags"`
	Enabled   *bool    `yaml:"enabled"`
}

// readRules reads the rules in the order of the files' names, and in a file as they stand.
func readRules(repo fs.FS) ([]rule, error) {
	files, err := fs.Glob(repo, "rules/*.yaml")
	if err != nil {
		return nil, err
	}
	var rules []rule
	for _, file := range files {
		text, err := fs.ReadFile(repo, file)
		if err != nil {
			return nil, err
		}
		var items []rule // lists, macros and requirements, too: they are not named rule
		if err := yaml.Unmarshal(text, &items); err != nil {
			return nil, fmt.Errorf("%s: want a list of rules, macros and lists: %w", file, err)
		}
		for _, r := range items {
			if r.Name == "" || r.Condition == "" {
				continue
			}
			r.file = path.Base(file)
			rules = append(rules, r)
		}
	}
	return rules, nil
}

func rulesPage(rules []rule) []byte {
	m := newMarkdown("Rules", "rules/*.yaml")
	if len(rules) == 0 {
		m.text("There are no rules yet.")
		return m.Bytes()
	}
	m.text("The files are ordinary Falco rules and need this plugin only. What each rule finds, why that matters, and what to do\nthen, is in its description; here is its first sentence.\n")
	m.head("Rule", "Priority", "Finds", "Tags", "File")
	for _, r := range rules {
		name := r.Name
		if r.Enabled != nil && !*r.Enabled {
			name += " (off)"
		}
		m.row(name, strings.ToLower(r.Priority), firstSentence(r.Desc), codes(r.Tags), "["+r.file+"](../rules/"+r.file+")")
	}
	return m.Bytes()
}

// firstSentence returns a text up to the period that a space and a capital follow.
func firstSentence(text string) string {
	words := strings.Fields(text)
	for i := range words {
		if i+1 < len(words) && strings.HasSuffix(words[i], ".") && unicode.IsUpper([]rune(words[i+1])[0]) {
			return strings.Join(words[:i+1], " ")
		}
	}
	return strings.Join(words, " ")
}

package main

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"kaudit/pkg/rules"
)

// A ruleset is the rules of the repository, with what pages say of them beside.
type ruleset struct {
	*rules.Ruleset
	repo       fs.FS
	site       []setting // in the order of the file
	detections []detection
	catalogues []catalogue
	attack     []technique
	matrix     []technique
	official   official
}

// A setting is a list or macro by which a site says something about itself.
type setting struct {
	kind, name, doc, value string
}

// Where settings begin and end in the first rule file.
const (
	settingsFile  = "rules/00_lists_and_macros.yaml"
	settingsBegin = "\n# What a site says about itself.\n"
	settingsEnd   = "\n# What Kubernetes, its platforms and attackers are made of."
)

func readRules(repo fs.FS) (*ruleset, error) {
	r := &ruleset{repo: repo}
	for _, read := range []func() error{
		func() (err error) { r.Ruleset, err = rules.LoadFS(rules.Options{}, repo, "rules"); return },
		func() (err error) { r.site, err = readSettings(repo); return },
		func() (err error) { r.detections, err = detections(); return },
		func() (err error) { r.catalogues, err = catalogues(); return },
		func() (err error) { r.attack, err = attackTechniques(); return },
		func() (err error) { r.matrix, err = threatMatrix(); return },
		func() (err error) { r.official, err = officialRules(); return },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// readSettings reads the lists and macros that a site is to override, each with the comment above it.
func readSettings(repo fs.FS) ([]setting, error) {
	text, err := fs.ReadFile(repo, settingsFile)
	if err != nil {
		return nil, err
	}
	_, part, ok := strings.Cut(string(text), settingsBegin)
	part, _, end := strings.Cut(part, settingsEnd)
	if !ok || !end {
		return nil, fmt.Errorf("%s: want the lines %q and %q around what a site says about itself", settingsFile,
			strings.TrimSpace(settingsBegin), strings.TrimSpace(settingsEnd))
	}
	var list []setting
	for _, block := range strings.Split(part, "\n\n") {
		var doc []string
		lines := strings.Split(strings.Trim(block, "\n"), "\n")
		for len(lines) > 0 && strings.HasPrefix(lines[0], "#") {
			doc = append(doc, strings.TrimSpace(strings.TrimPrefix(lines[0], "#")))
			lines = lines[1:]
		}
		if strings.TrimSpace(strings.Join(lines, "")) == "" {
			continue // a headline
		}
		var items []struct {
			List, Macro, Condition string
			Items                  []string
		}
		if err := yaml.Unmarshal([]byte(strings.Join(lines, "\n")), &items); err != nil {
			return nil, fmt.Errorf("%s: %w", settingsFile, err)
		}
		if len(items) != 1 {
			return nil, fmt.Errorf("%s: want one list or macro between blank lines, as before and after %q", settingsFile, lines[0])
		}
		s := setting{kind: "list", name: items[0].List, doc: strings.Join(doc, " "), value: strings.Join(items[0].Items, ", ")}
		if items[0].Macro != "" {
			s.kind, s.name, s.value = "macro", items[0].Macro, strings.Join(strings.Fields(items[0].Condition), " ")
		}
		list = append(list, s)
	}
	return list, nil
}

// tactic is what a rule's file is called, for people.
func tactic(file string) string {
	name := strings.TrimSuffix(path.Base(file), ".yaml")
	name = strings.ReplaceAll(name, "_", " ")
	return strings.ToUpper(name[:1]) + name[1:]
}

func pageOf(file string) string { return strings.TrimSuffix(path.Base(file), ".yaml") + ".md" }

// link links to the section of a rule, from a page in docs; up is "" there and "../" a folder below.
func (r *ruleset) link(name, up string) string {
	rule, ok := r.Rule(name)
	if !ok {
		return name
	}
	return "[" + name + "](" + up + "rules/" + pageOf(rule.Pos.File) + "#" + anchor(name) + ")"
}

func (r *ruleset) links(names []string, up string) string {
	var list []string
	for _, n := range names {
		list = append(list, r.link(n, up))
	}
	return strings.Join(list, ", ")
}

// anchor is what GitHub makes of a headline.
func anchor(name string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(name) {
		switch {
		case unicode.IsLetter(c), unicode.IsDigit(c), c == '-', c == '_':
			b.WriteRune(c)
		case c == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}

// files returns the files that have rules, in their order.
func (r *ruleset) files() []string {
	var files []string
	for _, rule := range r.Rules {
		if !slices.Contains(files, rule.Pos.File) {
			files = append(files, rule.Pos.File)
		}
	}
	return files
}

func (r *ruleset) of(file string) []*rules.Rule {
	return slices.DeleteFunc(slices.Clone(r.Rules), func(rule *rules.Rule) bool { return rule.Pos.File != file })
}

// maturity is the tag maturity_stable and the like, without its beginning.
func maturity(rule *rules.Rule) string {
	for _, t := range rule.Tags {
		if m, ok := strings.CutPrefix(t, "maturity_"); ok {
			return m
		}
	}
	return ""
}

// priority is what the rule files call it.
func priority(p rules.Priority) string {
	if p == rules.Informational {
		return "INFO"
	}
	return strings.ToUpper(p.String())
}

func shown(rule *rules.Rule) string {
	if rule.Enabled {
		return ""
	}
	return ", off"
}

const aboutRules = `%d rules, %d of them on, in ordinary Falco files that need this plugin only ([rules](../rules)). What each finds, why that
matters, what to look at and what to do is in its description; the pages have that with the condition, an event that
fires it, the alert, and what to set.

- [Coverage](coverage.md): which known detections and techniques they are.
- [From the official rules](rules-migration.md): what became of each.
- [What they cost](performance.md#rules-on-an-ordinary-event).

Priorities are a scale: CRITICAL, the cluster, a node or all its secrets are as good as taken; ERROR, a step that leads
there, and that ordinary work does not take; WARNING, worth a look on the same day; NOTICE, unusual, worth a look when
something else happened; INFO, a trail of what people did. Attempts that were refused are rules of their own, below.

Each rule is right under ` + "`rule_matching: first`" + ` and ` + "`all`" + `: none stands before a more serious one for the same event.
`

const aboutSettings = `Override these in a file of your own that Falco loads after the rules. Out of the box they are neutral: nobody is
trusted, and what needs to know your networks or registries is off.

    - list: ci_identities
      items: [system:serviceaccount:argocd:argocd-application-controller]
      override:
        items: append
`

// rulesPage is the index.
func (r *ruleset) rulesPage() []byte {
	m := newMarkdown("Rules", "rules/*.yaml")
	if len(r.Rules) == 0 {
		m.text("There are no rules yet.")
		return m.Bytes()
	}
	on := 0
	for _, rule := range r.Rules {
		if rule.Enabled {
			on++
		}
	}
	m.text(fmt.Sprintf(aboutRules, len(r.Rules), on))
	m.text("## By tactic\n")
	for _, file := range r.files() {
		m.text("### " + tactic(file) + "\n")
		m.head("Rule", "Priority", "Maturity", "Finds")
		for _, rule := range r.of(file) {
			m.row(r.link(rule.Name, ""), strings.ToLower(priority(rule.Priority))+shown(rule), maturity(rule), firstSentence(rule.Desc))
		}
		m.text("")
	}
	m.text("## By priority\n")
	m.head("Priority", "Rules")
	for p := rules.Emergency; p <= rules.Debug; p++ {
		var names []string
		for _, rule := range r.Rules {
			if rule.Priority == p {
				names = append(names, r.link(rule.Name, ""))
			}
		}
		if names != nil {
			m.row(fmt.Sprintf("%s (%d)", priority(p), len(names)), strings.Join(names, ", "))
		}
	}
	m.text("\n## What a site says about itself\n")
	m.text(aboutSettings)
	m.head("Name", "Default", "Meaning", "Rules that ask")
	asked := map[string]int{}
	for _, rule := range r.Rules {
		for _, s := range r.settings(rule) {
			asked[s.name]++
		}
	}
	for _, s := range r.site {
		m.row(code(s.name)+" ("+s.kind+")", clipped(s.value, 160), s.doc, fmt.Sprint(asked[s.name]))
	}
	return m.Bytes()
}

func clipped(text string, most int) string {
	switch {
	case text == "":
		return "empty"
	case len(text) > most:
		text = text[:strings.LastIndexAny(text[:most], " ,")] + " …"
	}
	return code(text)
}

// settings returns those that a rule asks for, by whatever macros.
func (r *ruleset) settings(rule *rules.Rule) []setting {
	names := map[string]bool{}
	r.names(rule.Text, names)
	return slices.DeleteFunc(slices.Clone(r.site), func(s setting) bool { return !names[s.name] })
}

// names collects the macros and lists of a condition, and those in them.
func (r *ruleset) names(condition string, into map[string]bool) {
	x, err := rules.Parse(condition)
	if err != nil {
		return // loaded, so it was right; what was appended to it cannot be parsed alone
	}
	rules.Walk(x, func(x rules.Expr) bool {
		switch x := x.(type) {
		case *rules.Macro:
			if into[x.Name] {
				break
			}
			into[x.Name] = true
			for _, d := range r.Macros {
				if d.Name == x.Name {
					r.names(d.Text, into)
				}
			}
		case *rules.Check:
			if list, ok := x.Right.(*rules.List); ok {
				for _, item := range list.Items {
					into[item] = true
				}
			}
		}
		return true
	})
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

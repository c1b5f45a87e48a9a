package rulecheck

import (
	"bytes"
	"errors"
	"regexp"
	"slices"
	"strings"

	"kaudit/pkg/rules"
)

// A pass is one run over rules: what is known of them.
type pass struct {
	options rules.Options
	files   []rules.File        // those that can be loaded: what cannot is blank
	lines   map[string][]string // of files, by their names
	items   []rules.Item
	set     *rules.Ruleset
	errors  []*rules.Problem
	ignores []*ignore
	needs   rules.Falco
	because string
	whole   map[string]bool // conditions of rules that are enabled; see wholeCondition
}

func newPass(o rules.Options, files []rules.File) *pass {
	p := &pass{options: o, files: slices.Clone(files), lines: map[string][]string{}}
	for _, f := range files {
		p.lines[f.Name] = strings.Split(string(f.Content), "\n")
		items, err := rules.Items(f)
		if err == nil {
			p.items = append(p.items, items...)
			p.ignores = append(p.ignores, ignoresIn(f, items)...)
		}
	}
	p.load()
	p.least()
	return p
}

// maxErrors is how many errors are looked for. Each costs another load.
const maxErrors = 50

// load loads the rules. What Falco refuses is blanked out, and it is tried again, so that all errors are found at once.
func (p *pass) load() {
	gone := map[string]bool{} // names of items that were blanked
	all := false              // a whole file was
	for range maxErrors {
		set, err := rules.Read(p.options, p.files...)
		if err == nil {
			p.set = set
			return
		}
		var load *rules.LoadError
		if !errors.As(err, &load) {
			return
		}
		blanked := false
		for _, problem := range load.Problems {
			if !follows(problem.Text, gone, all) {
				p.errors = append(p.errors, problem)
			}
			if strings.HasPrefix(problem.Text, "the rules require") && p.options.Plugins != nil {
				p.options.Plugins = nil
				blanked = true
				continue
			}
			item, ok := p.at(problem.Pos)
			if !ok || problem.Code == rules.ErrYAML {
				all = true
			} else {
				gone[item.Name] = true
			}
			blanked = p.blank(problem.Pos.File, item) || blanked
		}
		if !blanked {
			return
		}
	}
}

var noName = regexp.MustCompile(`^there is no (?:macro|list|rule) (?:of this name before|(\w+))`)

// follows reports whether an error comes of something that was blanked out.
func follows(text string, gone map[string]bool, all bool) bool {
	m := noName.FindStringSubmatch(text)
	return m != nil && (all || gone[m[1]])
}

// blank takes an item out of a file, or the whole file if it is none, and reports whether that changed something.
func (p *pass) blank(name string, item rules.Item) bool {
	i := slices.IndexFunc(p.files, func(f rules.File) bool { return f.Name == name })
	if i < 0 {
		return false
	}
	lines := bytes.SplitAfter(slices.Clone(p.files[i].Content), []byte("\n"))
	from, to := 1, len(lines)
	if item.Pos.Line > 0 {
		from, to = item.Pos.Line, min(item.LastLine, len(lines))
	}
	for _, line := range lines[from-1 : to] {
		for k, c := range line {
			if c != '\n' && c != '\r' {
				line[k] = ' '
			}
		}
	}
	content := bytes.Join(lines, nil)
	if bytes.Equal(content, p.files[i].Content) {
		return false
	}
	p.files[i].Content = content
	return true
}

// at returns the item a position is in.
func (p *pass) at(pos rules.Position) (rules.Item, bool) {
	for _, item := range p.items {
		if item.Pos.File == pos.File && item.Pos.Line <= pos.Line && pos.Line <= item.LastLine {
			return item, true
		}
	}
	return rules.Item{}, false
}

func (p *pass) itemAt(pos rules.Position) string {
	item, _ := p.at(pos)
	if item.Name == "" {
		return item.Kind
	}
	return item.Kind + " " + item.Name
}

// excerpt renders the line that a position is in, if there is one.
func (p *pass) excerpt(at rules.Position) string {
	lines := p.lines[at.File]
	if at.Line < 1 || at.Line > len(lines) {
		return ""
	}
	return rules.Excerpt(lines[at.Line-1], at.Line, at.Column)
}

// ours are the rules that are evaluated, or would be if they were enabled.
func (p *pass) ours() []*rules.Rule {
	if p.set == nil {
		return nil
	}
	var all []*rules.Rule
	for _, r := range p.set.Rules {
		if r.Source == rules.Source && r.Skipped == "" && r.Condition != nil {
			all = append(all, r)
		}
	}
	return all
}

// aboutRequests are those of ours that are about requests, and not about notices.
func (p *pass) aboutRequests() []*rules.Rule {
	return slices.DeleteFunc(slices.Clone(p.ours()), func(r *rules.Rule) bool {
		return in(r.Condition, func(c *rules.Check, negated bool) bool {
			name := nameOf(c)
			return !negated && (name == "evt.asynctype" || name == "ka.notice" || strings.HasPrefix(name, "ka.notice."))
		}) != nil
	})
}

// conditions calls visit for the conditions of rules, and of macros that no rule uses.
func (p *pass) conditions(visit func(x rules.Expr)) {
	for _, r := range p.ours() {
		visit(r.Condition)
	}
	if p.set == nil {
		return
	}
	for _, m := range p.set.Macros {
		if !m.Used && m.Condition != nil {
			visit(m.Condition)
		}
	}
}

// checks calls visit for every comparison, and says whether it stands behind a not.
func (p *pass) checks(visit func(c *rules.Check, negated bool)) {
	p.conditions(func(x rules.Expr) { eachCheck(x, false, visit) })
}

func eachCheck(x rules.Expr, negated bool, visit func(c *rules.Check, negated bool)) {
	switch x := x.(type) {
	case *rules.And:
		for _, part := range x.Parts {
			eachCheck(part, negated, visit)
		}
	case *rules.Or:
		for _, part := range x.Parts {
			eachCheck(part, negated, visit)
		}
	case *rules.Not:
		eachCheck(x.Part, !negated, visit)
	case *rules.Check:
		visit(x, negated)
	}
}

// in reports whether a condition has a comparison.
func in(x rules.Expr, fits func(c *rules.Check, negated bool) bool) (found *rules.Check) {
	eachCheck(x, false, func(c *rules.Check, negated bool) {
		if found == nil && fits(c, negated) {
			found = c
		}
	})
	return found
}

// nameOf returns the name of the field on the left of a comparison, "" if there is a transformer.
func nameOf(c *rules.Check) string {
	key, f := keyOf(c.Left)
	if f == nil {
		return ""
	}
	name, _, _ := strings.Cut(key, "[")
	return name
}

// least finds the oldest version of Falco that takes the rules.
func (p *pass) least() {
	if p.set == nil {
		return
	}
	for v := rules.Oldest; v <= rules.Newest; v++ {
		o := p.options
		o.Falco = v
		_, err := rules.Read(o, p.files...)
		if err == nil {
			p.needs = v
			return
		}
		var load *rules.LoadError
		if errors.As(err, &load) {
			p.because = load.Problems[0].Error()
		}
	}
}

// An ignore is a comment that takes findings out: # kaudit:ignore id reason.
type ignore struct {
	pos      rules.Position
	id       string
	reason   string
	from, to int // the lines it is for
	used     bool
}

var ignoreComment = regexp.MustCompile(`#\s*kaudit:ignore\b[ \t]*(\S*)[ \t]*([^\r\n]*)`)

// ignoresIn reads the comments of a file. One is for the item that it is in, or for the one that follows.
func ignoresIn(f rules.File, items []rules.Item) []*ignore {
	var all []*ignore
	for i, line := range strings.Split(string(f.Content), "\n") {
		m := ignoreComment.FindStringSubmatchIndex(line)
		if m == nil {
			continue
		}
		found := &ignore{pos: rules.Position{File: f.Name, Line: i + 1, Column: m[0] + 1}, id: line[m[2]:m[3]], reason: line[m[4]:m[5]]}
		for _, item := range items {
			if item.LastLine >= i+1 {
				found.from, found.to = item.Pos.Line, item.LastLine
				break
			}
		}
		all = append(all, found)
	}
	return all
}

func (p *pass) ignored(id string, at rules.Position) bool {
	found := false
	for _, i := range p.ignores {
		if i.id == id && i.reason != "" && i.pos.File == at.File && i.from <= at.Line && at.Line <= i.to {
			i.used = true
			found = true
		}
	}
	return found
}

// uselessIgnores are the comments that take nothing out.
func (p *pass) uselessIgnores() []Finding {
	var all []Finding
	for _, i := range p.ignores {
		if i.used {
			continue
		}
		f := Finding{Check: uselessIgnore, Severity: Warning, Pos: i.pos, Item: p.itemAt(i.pos), Excerpt: p.excerpt(i.pos)}
		switch _, known := Find(i.id); {
		case i.id == "" || !known:
			f.Text, f.Hint = "there is no check "+i.id, "kaudit check --list has them"
		case i.reason == "":
			f.Text, f.Hint = "a comment that ignores "+i.id+" gives no reason", "write it behind the id"
		default:
			f.Text, f.Hint = i.id+" finds nothing here", "take the comment out"
		}
		all = append(all, f)
	}
	return all
}

package rules

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"kaudit/pkg/extract"
)

// Options say how rules are loaded. The zero value loads them as the newest Falco does with all fields.
type Options struct {
	// Falco is the version whose rules count, for what it knows and what it does not.
	Falco Falco
	// Table has the fields rules may ask for; nil means all of them.
	Table extract.Table
	// Plugins are those that are loaded, for rules that require some. With none, that is not checked.
	Plugins []Plugin
	// MinPriority is the lowest priority of rules that are evaluated, as priority in falco.yaml; nil means all of them.
	MinPriority *Priority
	// Additions are what is added to the outputs of rules, as append_output in falco.yaml, in its order.
	Additions []Addition
}

// An Addition adds to the outputs of the rules that it fits.
type Addition struct {
	Rule   string       // match.rule: the name of the rule; of any rule if it is empty
	Source string       // match.source: the source of the rule; any if it is empty
	Tags   []string     // match.tags: the rule has all of them
	Output string       // extra_output: it stands behind the rule's own, and a blank
	Fields []ExtraField // extra_fields
}

// An ExtraField is in the output_fields of an alert, and not in its text.
type ExtraField struct {
	// Name is the name of a field if there is no format, and any name if there is one.
	Name string
	// Format is an output; the value is its text. Without it the value is that of the field, a number as a number.
	Format string
}

// fits reports whether the addition is for a rule.
func (a *Addition) fits(r *Rule) bool {
	for _, t := range a.Tags {
		if !slices.Contains(r.Tags, t) {
			return false
		}
	}
	return (a.Rule == "" || a.Rule == r.Name) && (a.Source == "" || a.Source == r.Source)
}

// A Plugin is a plugin of Falco with its version.
type Plugin struct {
	Name    string
	Version string
}

// Priority is how bad it is when a rule holds. The smaller the worse.
type Priority uint8

// The priorities.
const (
	Emergency Priority = iota
	Alert
	Critical
	Error
	Warning
	Notice
	Informational
	Debug
)

var priorities = [...]string{"Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"}

func (p Priority) String() string { return priorities[min(int(p), len(priorities)-1)] }

// ParsePriority reads the name of a priority in whatever case. Info is Informational.
func ParsePriority(s string) (Priority, bool) {
	if strings.EqualFold(s, "info") {
		return Informational, true
	}
	i := slices.IndexFunc(priorities[:], func(p string) bool { return strings.EqualFold(p, s) })
	return Priority(max(i, 0)), i >= 0
}

// A Rule is a rule as it is after all files are loaded.
type Rule struct {
	Name     string
	Desc     string
	Source   string
	Priority Priority
	Tags     []string
	Enabled  bool
	// Output is the text of the output, with fields in it.
	Output string
	// Text is the condition as it was written, with what later files appended to it.
	Text string
	// Condition has lists, macros and exceptions expanded.
	Condition Expr
	// Fields are the fields the condition asks for, each once, with their arguments as they were written.
	Fields []string
	// OutputFields are the fields in the output.
	OutputFields []string
	// Pos is where the rule was defined last, its other members where they were.
	Pos Position
	// Skipped says why the rule is not evaluated although it is enabled: its source is not this plugin's, it asks for
	// unknown fields and says that it should be skipped then, or its priority is too low. It is empty if the rule is
	// evaluated.
	Skipped string

	output       *source
	outputFields []*Field
}

// AllFields returns the fields in the condition and those in the output, each once, in this order.
func (r *Rule) AllFields() []*Field {
	var all []*Field
	add := func(f *Field) {
		if !slices.ContainsFunc(all, func(g *Field) bool { return f.String() == g.String() }) {
			all = append(all, f)
		}
	}
	Walk(r.Condition, func(x Expr) bool {
		if f, ok := x.(*Field); ok {
			add(f)
		}
		return true
	})
	for _, f := range r.outputFields {
		add(f)
	}
	return all
}

// A MacroDef is a macro as it is after all files are loaded.
type MacroDef struct {
	Name      string
	Text      string
	Condition Expr // with the macros in it expanded
	Used      bool
	Pos       Position
}

// A ListDef is a list as it is after all files are loaded.
type ListDef struct {
	Name  string
	Items []string // with the lists in it expanded, one level as Falco does
	Used  bool
	Pos   Position
}

// A Ruleset is what rule files say.
type Ruleset struct {
	// Rules are in the order in which Falco tries them.
	Rules  []*Rule
	Macros []MacroDef
	Lists  []ListDef
	// Warnings are what Falco warns of, too.
	Warnings []*Problem
	// Engine version and plugins the rules require.
	RequiredEngine  string
	RequiredPlugins [][]Plugin // each a list of alternatives

	options Options
	fields  *fields
}

// A File is a rule file in memory.
type File struct {
	Name    string
	Content []byte
}

// Load loads rule files and folders, in the order given, as Falco does with rules_files: of a folder the files
// *.yaml and *.yml in it, by name. The error is a [*LoadError].
func Load(o Options, paths ...string) (*Ruleset, error) {
	return load(o, paths, os.ReadFile, os.Stat, os.ReadDir, filepath.Join)
}

// LoadFS is Load for files of a file system, as embedded ones.
func LoadFS(o Options, fsys fs.FS, paths ...string) (*Ruleset, error) {
	return load(o, paths,
		func(name string) ([]byte, error) { return fs.ReadFile(fsys, name) },
		func(name string) (fs.FileInfo, error) { return fs.Stat(fsys, name) },
		func(name string) ([]fs.DirEntry, error) { return fs.ReadDir(fsys, name) },
		path.Join)
}

func load(o Options, paths []string, read func(string) ([]byte, error), stat func(string) (fs.FileInfo, error), list func(string) ([]fs.DirEntry, error), join func(...string) string) (*Ruleset, error) {
	var names []string
	var ignored []*Problem
	for _, p := range paths {
		info, err := stat(p)
		switch {
		case err == nil && info.IsDir():
			entries, err := list(p)
			if err != nil {
				return nil, unreadable(p, err)
			}
			var inside []string
			for _, e := range entries {
				name := join(p, e.Name())
				if info, err := stat(name); err == nil && info.Mode().IsRegular() && isYAML(name) {
					inside = append(inside, name)
				}
			}
			slices.Sort(inside)
			names = append(names, inside...)
		case isYAML(p):
			names = append(names, p)
		default:
			ignored = append(ignored, &Problem{Pos: Position{File: p}, Code: WarnUnknownItem, Text: "the file is ignored", Hint: "rule files are named *.yaml or *.yml"})
		}
	}
	var files []File
	for _, name := range names {
		content, err := read(name)
		if err != nil {
			return nil, unreadable(name, err)
		}
		files = append(files, File{name, content})
	}
	r, err := Read(o, files...)
	if r != nil {
		r.Warnings = append(ignored, r.Warnings...)
	}
	return r, err
}

func isYAML(name string) bool {
	return strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
}

func unreadable(name string, err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		err = e.Err
	}
	return &LoadError{[]*Problem{{Pos: Position{File: name}, Code: ErrFile, Text: "read the file: " + err.Error()}}}
}

// Read loads rule files that are in memory. As in Falco each file has to be right with those before it: a macro may
// not be defined only in a later one.
func Read(o Options, files ...File) (*Ruleset, error) {
	table := o.Table
	if table == nil {
		table = extract.Fields()
	}
	all := &collection{options: o, fields: newFields(table)}
	out := &Ruleset{options: o, fields: all.fields}
	var problems []*Problem
	for _, f := range files {
		r := &reader{file: newFile(f.Name, string(f.Content)), into: all}
		if p := r.read(f.Content); p != nil {
			problems = append(problems, p)
			break
		}
		out.Rules, out.Macros, out.Lists, out.Warnings = nil, nil, nil, nil
		if problems = all.compile(out); len(problems) > 0 {
			break
		}
	}
	// A plugin that is missing or too old explains other errors, so it comes first.
	if p := all.checkPlugins(); p != nil {
		problems = []*Problem{p}
	}
	out.Warnings = append(all.warnings, out.Warnings...)
	out.RequiredEngine = all.engine.String()
	for _, r := range all.required {
		out.RequiredPlugins = append(out.RequiredPlugins, r.plugins)
	}
	if len(problems) > 0 {
		return nil, &LoadError{problems}
	}
	return out, nil
}

// Rule returns the rule of a name.
func (r *Ruleset) Rule(name string) (*Rule, bool) {
	i := slices.IndexFunc(r.Rules, func(rule *Rule) bool { return rule.Name == name })
	if i < 0 {
		return nil, false
	}
	return r.Rules[i], true
}

// NoRule is the error for a rule there is not, with the name that may have been meant.
func (r *Ruleset) NoRule(name string) error {
	names := r.RuleNames()
	if hint := meant(name, names); hint != "" {
		return fmt.Errorf("there is no rule %q; %s", name, hint)
	}
	var similar []string // whatever the case
	for _, n := range names {
		if name != "" && strings.Contains(strings.ToLower(n), strings.ToLower(name)) && len(similar) < 4 {
			similar = append(similar, n)
		}
	}
	if len(similar) > 0 {
		return fmt.Errorf("there is no rule %q; did you mean %s?", name, strings.Join(similar, ", or "))
	}
	return fmt.Errorf("there is no rule %q among the %d there are", name, len(names))
}

// RuleNames returns the names of all rules.
func (r *Ruleset) RuleNames() []string {
	var names []string
	for _, rule := range r.Rules {
		names = append(names, rule.Name)
	}
	return names
}

// Engine makes an engine for the enabled rules.
func (r *Ruleset) Engine() *Engine {
	c := newCompiler(r.fields, r.options.Falco)
	for _, rule := range r.Rules {
		if rule.evaluated() {
			c.count(rule.Condition)
		}
	}
	e := &Engine{}
	for _, rule := range r.Rules {
		if !rule.evaluated() {
			continue
		}
		holds, err := c.compile(rule.Condition)
		if err != nil {
			panic(fmt.Sprintf("rules: %s compiled before: %v", rule.Name, err))
		}
		output, err := c.output(rule, r.options.Additions)
		if err != nil {
			panic(fmt.Sprintf("rules: the output of %s compiled before: %v", rule.Name, err))
		}
		e.rules = append(e.rules, compiled{rule, holds, output})
	}
	e.state = c.newState()
	return e
}

func (r *Rule) evaluated() bool { return r.Enabled && r.Skipped == "" }

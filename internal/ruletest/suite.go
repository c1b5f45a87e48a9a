package ruletest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaudit/pkg/rules"
)

// Options say what test files are read with.
type Options struct {
	// Rules are what the rules are loaded with.
	Rules rules.Options
	// Default loads the rules of test files that do not name any.
	Default func() (*rules.Ruleset, error)
	// DefaultPaths are the files and folders that Default reads, if any.
	DefaultPaths []string
}

// A Suite is some test files with all they need.
type Suite struct {
	Files []*File
	// Seen are the files and folders that were read: when one of them changes, the tests may have another outcome.
	Seen Seen

	options    Options
	rulesets   map[string]*ruleset
	eventFiles map[string]*eventFile
	took       time.Duration
}

// A ruleset is what the tests of some files are about.
type ruleset struct {
	set      *rules.Ruleset
	engine   *rules.Engine
	called   string // what it is called in errors
	problems []*rules.Problem

	byDefault bool // whether no test file and nobody else named them
}

// Load reads test files, and the rules and events they name. What is wrong is in [File.Problems].
func Load(o Options, names ...string) *Suite {
	began := time.Now()
	s := &Suite{Seen: Seen{}, options: o, rulesets: map[string]*ruleset{}, eventFiles: map[string]*eventFile{}}
	for _, name := range names {
		s.reads(name)
		content, err := os.ReadFile(name)
		if err != nil {
			s.Files = append(s.Files, &File{Name: name, Problems: []*rules.Problem{unreadable(name, err)}})
			continue
		}
		s.Files = append(s.Files, s.readFile(name, content))
	}
	s.took = time.Since(began)
	return s
}

// Problems returns what is wrong with the files, each thing once.
func (s *Suite) Problems() []*rules.Problem {
	var all []*rules.Problem
	for _, f := range s.Files {
		all = append(all, f.Problems...)
	}
	return distinct(all)
}

// reads notes what is going to be read.
func (s *Suite) reads(path string) { s.Seen.add(path) }

// events returns the events of a file, which is read once.
func (s *Suite) events(path string) *eventFile {
	f := s.eventFiles[path]
	if f == nil {
		s.reads(path)
		f = readEvents(path)
		s.eventFiles[path] = f
	}
	return f
}

// rules returns the rules of files and folders, or those of the options if there are none. They are loaded once.
func (s *Suite) rules(paths []string) *ruleset {
	key := strings.Join(paths, "\x00")
	r := s.rulesets[key]
	if r == nil {
		r = s.load(paths)
		s.rulesets[key] = r
		if r.set != nil {
			r.engine = r.set.Engine()
			r.engine.SetHostname(hostname)
		}
	}
	return r
}

// hostname is what evt.hostname is in tests: they have the same outcome on every machine.
const hostname = "localhost"

func (s *Suite) load(paths []string) *ruleset {
	var err error
	r := &ruleset{called: strings.Join(paths, ", ")}
	if len(paths) == 0 {
		r.called, r.byDefault = "the rules that come with kaudit", true
		if len(s.options.DefaultPaths) > 0 {
			r.called, r.byDefault = strings.Join(s.options.DefaultPaths, ", "), false
		}
		s.readsRules(s.options.DefaultPaths)
		r.set, err = s.options.Default()
	} else {
		s.readsRules(paths)
		r.set, err = rules.Load(s.options.Rules, paths...)
	}
	if err == nil {
		return r
	}
	r.set = nil
	var load *rules.LoadError
	if !errors.As(err, &load) {
		r.problems = append(r.problems, &rules.Problem{Code: rules.ErrFile, Text: err.Error()})
		return r
	}
	for _, p := range load.Problems {
		if IsTestFile(p.Pos.File) && p.Code == rules.ErrStructure {
			c := *p
			c.Text = "this file of tests is in a folder of rules, and Falco would load it as rules"
			c.Hint = "move it to a folder below"
			p = &c
		}
		r.problems = append(r.problems, p)
	}
	return r
}

// noRules says why a path stands for no rule files. Falco passes over it; a test without the rules it is about would be
// a mistake.
func noRules(path string) *rules.Problem {
	info, err := os.Stat(path)
	if err != nil {
		return unreadable(path, err)
	}
	problem := &rules.Problem{Pos: rules.Position{File: path}, Code: rules.ErrFile, Hint: "rule files are named *.yaml or *.yml"}
	if !info.IsDir() {
		if isYAML(path) {
			return nil
		}
		problem.Text = "this is not a file of rules"
		return problem
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return unreadable(path, err)
	}
	if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return isYAML(e.Name()) }) {
		return nil
	}
	problem.Text = "there are no files of rules in this folder"
	return problem
}

// readsRules notes rule files, and folders with the files in them.
func (s *Suite) readsRules(paths []string) {
	for _, p := range paths {
		s.reads(p)
		entries, err := os.ReadDir(p)
		if err != nil {
			continue // it is a file, or whoever loads it says what is wrong
		}
		for _, e := range entries {
			if isYAML(e.Name()) {
				s.reads(filepath.Join(p, e.Name()))
			}
		}
	}
}

func isYAML(name string) bool {
	ext := filepath.Ext(name)
	return ext == ".yaml" || ext == ".yml"
}

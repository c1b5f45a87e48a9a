package ruletest

import (
	"slices"
	"strings"
	"time"

	"kaudit/pkg/rules"
)

// A Report is the outcome of tests.
type Report struct {
	Files []FileResult
	Took  time.Duration // with reading the files

	sets    []*rules.Ruleset
	covered map[string]bool // rules that fired where a test wants it, by key
}

// A FileResult is the outcome of the tests in a file, or why they could not be run.
type FileResult struct {
	Name     string
	Tests    []TestResult
	Problems []*rules.Problem
	Took     time.Duration
}

// A TestResult is the outcome of a test.
type TestResult struct {
	Name     string
	Pos      rules.Position
	Events   int
	Failures []Failure // none if it passed
	Took     time.Duration
}

// A Kind is what sort of failure it is.
type Kind string

// The kinds of failures.
const (
	Missing    Kind = "missing"    // a rule did not fire that has to
	Unexpected Kind = "unexpected" // a rule fired that must not
	Differs    Kind = "differs"    // a rule fired, and its alert is another one
)

// A Failure is what one event showed to be otherwise than expected.
type Failure struct {
	Event   string // where the event is from
	AuditID string // may be empty
	Rule    string
	Kind    Kind
	Text    string       // what the rule did, to be read behind its name
	Why     string       // which part of the condition decided; may be empty
	Fired   []string     // the rules that fired; of a missing one, those that no test wants to fire
	Trace   *rules.Trace // the whole condition, if asked for
}

// loads notes whose rules the tests are about.
func (r *Report) loads(set *rules.Ruleset) {
	if !slices.Contains(r.sets, set) {
		r.sets = append(r.sets, set)
	}
}

// key tells rules apart: several files may define one of a name.
func key(r *rules.Rule) string { return r.Pos.String() + " " + r.Name }

// Coverage returns how many rules there are that are evaluated, and those of them that fire in no test that wants it.
func (r *Report) Coverage() (all int, uncovered []*rules.Rule) {
	seen := map[string]bool{}
	for _, set := range r.sets {
		for _, rule := range set.Rules {
			k := key(rule)
			if !rule.Enabled || rule.Skipped != "" || seen[k] {
				continue
			}
			seen[k] = true
			if !r.covered[k] {
				uncovered = append(uncovered, rule)
			}
		}
	}
	return len(seen), uncovered
}

// A Tally counts.
type Tally struct {
	Tests  int
	Failed int
	Events int
	Broken int // files that could not be run
}

// Tally counts the tests of a report.
func (r *Report) Tally() Tally {
	var t Tally
	for _, f := range r.Files {
		n := f.Tally()
		t.Tests += n.Tests
		t.Failed += n.Failed
		t.Events += n.Events
		t.Broken += n.Broken
	}
	return t
}

// Tally counts the tests of a file.
func (f FileResult) Tally() Tally {
	var t Tally
	for _, r := range f.Tests {
		t.Tests++
		t.Events += r.Events
		if len(r.Failures) > 0 {
			t.Failed++
		}
	}
	if len(f.Problems) > 0 {
		t.Broken = 1
	}
	return t
}

// Problems returns what is wrong with the files, each thing once.
func (r *Report) Problems() []*rules.Problem {
	var all []*rules.Problem
	for _, f := range r.Files {
		all = append(all, f.Problems...)
	}
	return distinct(all)
}

// message renders a failure on one line, without where it was.
func (f Failure) message() string {
	s := f.Rule + " " + f.Text
	if f.Kind == Missing && len(f.Fired) > 0 {
		s += "; instead: " + strings.Join(f.Fired, ", ")
	}
	return s
}

// event renders which event it was.
func (f Failure) event() string {
	if f.AuditID == "" {
		return f.Event
	}
	return f.Event + " (" + f.AuditID + ")"
}

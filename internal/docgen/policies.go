package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"kaudit/internal/ruletest"
	"kaudit/pkg/audit"
	"kaudit/pkg/policy"
	"kaudit/pkg/rules"
)

// The policies of the ruleset: one is made of the rules, the other is written. What they keep is measured with these
// recordings, and compared with other policies.
const (
	policyFile     = "rules/policy/audit-policy.yaml"
	fullPolicyFile = "rules/policy/audit-policy.full.yaml"
	policyPage     = "docs/audit-policy.md"
)

var recordings = []string{"testdata/recordings/ordinary.jsonl.gz", "testdata/recordings/attacks.jsonl.gz"}

var compared = []struct{ name, file string }{
	{"[audit-policy.yaml](../" + policyFile + ")", ""},
	{"[audit-policy.full.yaml](../" + fullPolicyFile + ")", fullPolicyFile},
	{"the effect of the official plugin's policy", "pkg/policy/testdata/official.yaml"},
	{"the effect of Google's policy", "pkg/policy/testdata/gke.yaml"},
	{"Metadata for everything", "pkg/policy/testdata/metadata.yaml"},
}

// policyPages makes the policy that serves the rules, and puts figures of it and of others into its page. A repository
// without that page has neither.
func policyPages(repo fs.FS) ([]page, error) {
	text, err := fs.ReadFile(repo, policyPage)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	set, err := rules.LoadFS(rules.Options{}, repo, "rules")
	if err != nil {
		return nil, err
	}
	o := policy.Options{Evidence: func(rule string) [][]byte { return fixtures(repo, rule) }}
	made, err := policy.Generate(set, o)
	if err != nil {
		return nil, err
	}
	figures, err := figures(repo, set, o, made)
	if err != nil {
		return nil, err
	}
	const from, to = "<!-- figures: made by internal/docgen -->\n", "<!-- end of figures -->"
	before, rest, found := strings.Cut(string(text), from)
	_, after, closed := strings.Cut(rest, to)
	if !found || !closed {
		return nil, fmt.Errorf("%s needs the lines %q and %q; figures go between them", policyPage, strings.TrimSpace(from), to)
	}
	return []page{{policyFile, made.Text}, {policyPage, []byte(before + from + figures + to + after)}}, nil
}

func fixtures(repo fs.FS, rule string) (events [][]byte) {
	files, _ := fs.Glob(repo, path.Join("rules/testdata", ruletest.Slug(rule), "fires*.jsonl"))
	for _, file := range files {
		text, _ := fs.ReadFile(repo, file)
		for _, line := range bytes.Split(text, []byte("\n")) {
			if len(line) > 0 {
				events = append(events, line)
			}
		}
	}
	return events
}

func figures(repo fs.FS, set *rules.Ruleset, o policy.Options, made *policy.Generated) (string, error) {
	m := new(markdown)
	m.head("Policy", "Rules served", "in part", "blind", "Ordinary work: events", "bytes", "Attacks: events", "bytes")
	for _, c := range compared {
		p, report := made.Policy, made.Report
		if c.file != "" {
			text, err := fs.ReadFile(repo, c.file)
			if err != nil {
				return "", err
			}
			if p, err = policy.Load(c.file, text); err != nil {
				return "", err
			}
			if report, err = policy.Check(set, p, o); err != nil {
				return "", err
			}
		}
		cells := []string{c.name}
		for _, s := range []policy.State{policy.Served, policy.Partly, policy.Blind} {
			cells = append(cells, fmt.Sprint(report.Count(s)))
		}
		for _, file := range recordings {
			v, err := volume(repo, file, p)
			if err != nil {
				return "", err
			}
			events, bytes := v.Shares()
			cells = append(cells, fmt.Sprintf("%.0f%%", 100*events), fmt.Sprintf("%.0f%%", 100*bytes))
		}
		m.row(cells...)
	}
	return m.String(), nil
}

// volume measures what a policy leaves of a recording.
func volume(repo fs.FS, file string, p *policy.Policy) (v policy.Volume, err error) {
	f, err := repo.Open(file)
	if err != nil {
		return v, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return v, fmt.Errorf("%s: %w", file, err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	var e audit.Event
	for lines.Scan() {
		if !e.Load(lines.Bytes()) {
			return v, fmt.Errorf("%s: line %d is no event", file, v.Events+1)
		}
		v.Add(p, &e)
	}
	return v, lines.Err()
}

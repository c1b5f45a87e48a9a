package ruletest

import (
	"encoding/json"
	"io"

	"kaudit/pkg/rules"
)

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	type place struct {
		File   string `json:"file,omitempty"`
		Line   int    `json:"line,omitempty"`
		Column int    `json:"column,omitempty"`
	}
	type problem struct {
		place
		Code  string `json:"code"`
		Error string `json:"error"`
		Hint  string `json:"hint,omitempty"`
	}
	type failure struct {
		Event   string       `json:"event"`
		AuditID string       `json:"auditID,omitempty"`
		Rule    string       `json:"rule"`
		Kind    Kind         `json:"kind"`
		Text    string       `json:"text"`
		Why     string       `json:"why,omitempty"`
		Fired   []string     `json:"fired,omitempty"`
		Trace   *rules.Trace `json:"trace,omitempty"`
	}
	type test struct {
		Name string `json:"name"`
		place
		Passed   bool      `json:"passed"`
		Events   int       `json:"events"`
		Seconds  float64   `json:"seconds"`
		Failures []failure `json:"failures,omitempty"`
	}
	type file struct {
		File     string    `json:"file"`
		Seconds  float64   `json:"seconds"`
		Tests    []test    `json:"tests"`
		Problems []problem `json:"problems,omitempty"`
	}
	type rule struct {
		Rule string `json:"rule"`
		place
	}
	n := r.Tally()
	all, uncovered := r.Coverage()
	out := struct {
		Tests     int     `json:"tests"`
		Failed    int     `json:"failed"`
		Broken    int     `json:"broken"`
		Events    int     `json:"events"`
		Seconds   float64 `json:"seconds"`
		Rules     int     `json:"rules"`
		Uncovered []rule  `json:"uncovered"`
		Files     []file  `json:"files"`
	}{Tests: n.Tests, Failed: n.Failed, Broken: n.Broken, Events: n.Events, Seconds: r.Took.Seconds(), Rules: all, Uncovered: []rule{}, Files: []file{}}
	for _, u := range uncovered {
		out.Uncovered = append(out.Uncovered, rule{u.Name, place(u.Pos)})
	}
	for _, f := range r.Files {
		row := file{File: f.Name, Seconds: f.Took.Seconds(), Tests: []test{}}
		for _, p := range f.Problems {
			row.Problems = append(row.Problems, problem{place(p.Pos), string(p.Code), p.Text, p.Hint})
		}
		for _, t := range f.Tests {
			tr := test{Name: t.Name, place: place(t.Pos), Passed: len(t.Failures) == 0, Events: t.Events, Seconds: t.Took.Seconds()}
			for _, x := range t.Failures {
				tr.Failures = append(tr.Failures, failure(x))
			}
			row.Tests = append(row.Tests, tr)
		}
		out.Files = append(out.Files, row)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

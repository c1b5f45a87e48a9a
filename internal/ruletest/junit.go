package ruletest

import (
	"encoding/xml"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"kaudit/pkg/rules"
)

// The elements of JUnit's XML that GitLab, GitHub's actions and Jenkins read. There is no standard; what all of them
// know is in github.com/testmoapp/junitxml.
type (
	junitReport struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		File     string      `xml:"file,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string     `xml:"classname,attr"`
		Name    string     `xml:"name,attr"`
		File    string     `xml:"file,attr"`
		Line    int        `xml:"line,attr,omitempty"`
		Time    string     `xml:"time,attr"`
		Failure *junitText `xml:"failure,omitempty"`
		Error   *junitText `xml:"error,omitempty"`
	}
	junitText struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the report as JUnit's XML. A file that could not be read is a test with an error.
func (r *Report) WriteJUnit(w io.Writer) error {
	n := r.Tally()
	out := junitReport{Name: "kaudit", Tests: n.Tests + n.Broken, Failures: n.Failed, Errors: n.Broken, Time: seconds(r.Took)}
	for _, f := range r.Files {
		n := f.Tally()
		class := strings.ReplaceAll(strings.TrimSuffix(filepath.ToSlash(f.Name), filepath.Ext(f.Name)), "/", ".")
		suite := junitSuite{Name: f.Name, File: f.Name, Tests: n.Tests + n.Broken, Failures: n.Failed, Errors: n.Broken, Time: seconds(f.Took)}
		if n.Broken > 0 {
			var text strings.Builder
			for _, p := range f.Problems {
				text.WriteString(p.Render())
			}
			first := f.Problems[0]
			suite.Cases = append(suite.Cases, junitCase{
				Class: class, Name: "can be read", File: f.Name, Line: first.Pos.Line, Time: seconds(0),
				Error: &junitText{rules.Printable(first.Error()), string(first.Code), printable(text.String())},
			})
		}
		for _, t := range f.Tests {
			c := junitCase{Class: class, Name: rules.Printable(t.Name), File: t.Pos.File, Line: t.Pos.Line, Time: seconds(t.Took)}
			if len(t.Failures) > 0 {
				c.Failure = junitFailure(t)
			}
			suite.Cases = append(suite.Cases, c)
		}
		out.Suites = append(out.Suites, suite)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitFailure(t TestResult) *junitText {
	var b strings.Builder
	for _, f := range t.Failures {
		fmt.Fprintf(&b, "%s: %s\n", rules.Printable(f.event()), rules.Printable(f.message()))
		switch {
		case f.Trace != nil:
			b.Write(f.Trace.AppendText(nil))
		case f.Why != "":
			b.WriteString("  " + f.Why + "\n")
		}
	}
	first := t.Failures[0]
	message := first.message()
	if n := len(t.Failures); n > 1 {
		message += fmt.Sprintf(" (and %s)", count(n-1, "other"))
	}
	return &junitText{rules.Printable(message), string(first.Kind), printable(b.String())}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.6f", d.Seconds()) }

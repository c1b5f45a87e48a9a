package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"kaudit/internal/ruletest"
	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// rulePages makes a page for each rule file, with a section for each rule.
func (r *ruleset) rulePages() ([]page, error) {
	var pages []page
	for _, file := range r.files() {
		m := newMarkdown(tactic(file), file)
		m.text(fmt.Sprintf("The rules of [%s](../../%s). [All rules](../rules.md); [fields](../fields.md).\n", path.Base(file), file))
		for _, rule := range r.of(file) {
			if err := r.section(m, rule); err != nil {
				return nil, fmt.Errorf("rule %s: %w", rule.Name, err)
			}
		}
		m.Truncate(m.Len() - 1)
		pages = append(pages, page{"docs/rules/" + pageOf(file), m.Bytes()})
	}
	return pages, nil
}

// Conditions of more lines than these are not shown with all macros in place: nobody reads them so.
const mostLines = 40

func (r *ruleset) section(m *markdown, rule *rules.Rule) error {
	m.text("## " + rule.Name + "\n")
	m.text("**" + priority(rule.Priority) + "**" + shown(rule) + " · " + codes(rule.Tags) + "\n")
	for _, paragraph := range strings.Split(strings.TrimSpace(rule.Desc), "\n") {
		if label, rest, ok := strings.Cut(paragraph, ": "); ok && (label == "Investigate" || label == "Respond") {
			m.text("**" + label + ":** " + escaped(rest) + "\n")
		} else if paragraph != "" {
			m.text(escaped(paragraph) + "\n")
		}
	}
	m.text("**Condition**\n")
	written, err := rules.Parse(rule.Text)
	if err != nil {
		return err
	}
	m.block("", rules.Layout(written, 110))
	if all := rules.Layout(rule.Condition, 110); rule.Condition.String() != written.String() {
		if strings.Count(all, "\n") < mostLines {
			m.text("<details><summary>With macros and lists in place</summary>\n")
			m.block("", all)
			m.text("</details>\n")
		} else {
			m.text("With macros and lists in place: `kaudit explain '" + rule.Name + "'`.\n")
		}
	}
	m.text("**Asks** " + codes(rule.Fields) + "\n")
	event, alert, err := r.example(rule)
	if err != nil {
		return err
	}
	if event != "" {
		m.text("**An event that fires it**, shortened to what the rule needs and who did it\n")
		m.block("json", event)
		m.text("**The alert** of the whole event, as `kaudit run --iso8601` prints it\n")
		m.block("", alert)
	}
	if settings := r.settings(rule); len(settings) > 0 {
		m.text("**To set**\n")
		for _, s := range settings {
			m.text("- [" + code(s.name) + "](../rules.md#what-a-site-says-about-itself): " + firstSentence(s.doc))
		}
		m.text("")
	}
	if covered := r.covered(rule); len(covered) > 0 {
		m.text("**Covers**\n")
		for _, d := range covered {
			m.text("- [" + d.id + "](../coverage.md#detections): " + d.title)
		}
		m.text("")
	}
	return nil
}

// block writes a block of code.
func (m *markdown) block(language, text string) {
	m.text("```" + language + "\n" + strings.TrimSuffix(text, "\n") + "\n```\n")
}

// escaped keeps what is no markup from being taken for it.
func escaped(text string) string {
	return strings.NewReplacer("<", "&lt;", "*", `\*`, "[", `\[`, "_", `\_`).Replace(text)
}

// covered returns the detections that a rule names in its tags.
func (r *ruleset) covered(rule *rules.Rule) []detection {
	var list []detection
	for _, t := range rule.Tags {
		for _, d := range r.detections {
			if d.id == t {
				list = append(list, d)
			}
		}
	}
	return list
}

// example returns the first event of a rule's fixtures, shortened, and its alert.
func (r *ruleset) example(rule *rules.Rule) (event, alert string, err error) {
	line, err := r.firstEvent(rule.Name)
	if line == nil || err != nil {
		return "", "", err
	}
	e, err := r.Explainer(rule.Name)
	if err != nil {
		return "", "", err
	}
	j := &judge{explainer: e}
	(&audit.Decoder{Notices: true}).Decode(line, true, j)
	if !j.holds {
		return "", "", errors.New("it does not hold for the first event of fires.jsonl")
	}
	alert = j.alert
	event, err = shortened(line, func(line []byte) bool {
		j.holds = false
		(&audit.Decoder{Notices: true}).Decode(line, true, j)
		return j.holds
	})
	return event, alert, err
}

// firstEvent returns a recorded event that fires a rule, or one made by hand if there is none that was recorded.
func (r *ruleset) firstEvent(rule string) ([]byte, error) {
	for _, name := range []string{"fires.jsonl", "fires.handmade.jsonl"} {
		text, err := fs.ReadFile(r.repo, path.Join("rules/testdata", ruletest.Slug(rule), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		line, _, _ := bytes.Cut(text, []byte("\n"))
		return line, err
	}
	return nil, nil
}

// A judge says whether a rule holds for the event that a decoder finds.
type judge struct {
	explainer *rules.Explainer
	event     extract.Event
	holds     bool
	alert     string
}

func (j *judge) Event(e *audit.Event, stamp time.Time, _ audit.Marks) {
	j.event.Reset(e)
	j.holds = j.explainer.Explain(rules.Event{Event: &j.event, Number: 1, Time: uint64(stamp.UnixNano())}).Holds
	if j.holds && j.alert == "" { // of the first; the event is good only here
		j.alert = string(j.explainer.Match().AppendText(nil, rules.Style{ISO8601: true}))
	}
}

func (*judge) Rejected(audit.Reason, int, int) {}

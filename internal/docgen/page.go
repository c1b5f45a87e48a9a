package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"kaudit/internal/config"
	"kaudit/pkg/extract"
	"kaudit/pkg/source/all"
)

// A page is a file that is made from the code.
type page struct {
	path    string
	content []byte
}

// render makes all pages. repo is the repository.
func render(repo fs.FS) ([]page, error) {
	schema, err := schemaPage(config.Schema(all.Kinds()))
	if err != nil {
		return nil, err
	}
	configuration, err := configurationPage(config.Schema(all.Kinds()))
	if err != nil {
		return nil, err
	}
	rules, err := readRules(repo)
	if err != nil {
		return nil, err
	}
	identity, err := countFields(repo, len(extract.Fields()))
	if err != nil {
		return nil, err
	}
	policies, err := policyPages(repo)
	if err != nil {
		return nil, err
	}
	sections, err := rules.rulePages()
	if err != nil {
		return nil, err
	}
	return append([]page{
		{"plugin.yaml", identity},
		{"docs/fields.md", fieldsPage(extract.Families())},
		{"docs/sources.md", sourcesPage(all.Kinds())},
		{"docs/schema.json", schema},
		{"docs/configuration.md", configuration},
		{"docs/rules.md", rules.rulesPage()},
		{"docs/coverage.md", rules.coveragePage()},
		{"docs/rules-migration.md", rules.migrationPage()},
		{"docs/metrics.md", metricsPage()},
	}, slices.Concat(sections, policies)...), nil
}

// markdown is a page in the making.
type markdown struct{ bytes.Buffer }

// newMarkdown begins a page. edit names what to edit instead of it.
func newMarkdown(title, edit string) *markdown {
	m := new(markdown)
	m.text("<!-- Made by internal/docgen. To change it, edit " + edit + ", then run: make generate -->\n")
	m.text("# " + title + "\n")
	return m
}

// text writes a line.
func (m *markdown) text(line string) {
	m.WriteString(line)
	m.WriteByte('\n')
}

// head writes the head of a table.
func (m *markdown) head(cells ...string) {
	m.row(cells...)
	m.text(strings.Repeat("|---", len(cells)) + "|")
}

// row writes a row of a table. Cells are not padded: a change of one row is a change of one line.
func (m *markdown) row(cells ...string) {
	for _, c := range cells {
		m.WriteString("| ")
		if c != "" {
			m.WriteString(strings.ReplaceAll(strings.ReplaceAll(c, "|", `\|`), "\n", " ") + " ")
		}
	}
	m.text("|")
}

// code marks a text as code, whatever it holds.
func code(text string) string {
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if len(fence) > 1 || strings.HasPrefix(text, " ") {
		return fence + " " + text + " " + fence
	}
	return fence + text + fence
}

func codes(texts []string) string {
	var list []string
	for _, t := range texts {
		list = append(list, code(t))
	}
	return strings.Join(list, ", ")
}

// schemaPage prints the schema for people to read.
func schemaPage(schema string) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(schema), "", "  "); err != nil {
		return nil, fmt.Errorf("schema of the configuration: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

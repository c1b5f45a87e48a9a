package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

const aboutConfiguration = `Every key of the plugin's ` + "`init_config`" + ` in falco.yaml, from the schema that Falco checks it with
([schema.json](schema.json)). Which kind of source a key belongs to, and what ` + "`open_params`" + ` may be, is in
[sources.md](sources.md); complete configurations are in [build/falco](../build/falco).

A key that nobody knows is logged, with the nearest one that exists. Falco refuses ` + "`init_config: {}`" + `: leave it out or
write ` + "`init_config: \"\"`" + ` for none.
`

// A schemaNode is what a page has to know of a JSON schema.
type schemaNode struct {
	Type        any                   `json:"type"`
	Description string                `json:"description"`
	Default     json.RawMessage       `json:"default"`
	Properties  map[string]schemaNode `json:"properties"`
	Items       *schemaNode           `json:"items"`
}

// configurationPage lists the keys of the schema, those of lists and objects in it below them.
func configurationPage(schema string) ([]byte, error) {
	var root schemaNode
	if err := json.Unmarshal([]byte(schema), &root); err != nil {
		return nil, fmt.Errorf("schema of the configuration: %w", err)
	}
	m := newMarkdown("Configuration", "pkg/source/<kind>, internal/config")
	m.text(aboutConfiguration)
	m.head("Key", "Type", "Default", "Meaning")
	m.keys("", root)
	return m.Bytes(), nil
}

func (m *markdown) keys(prefix string, n schemaNode) {
	for _, name := range slices.Sorted(maps.Keys(n.Properties)) {
		p := n.Properties[name]
		value := ""
		if len(p.Default) > 0 {
			value = code(string(p.Default))
		}
		m.row(code(prefix+name), fmt.Sprint(p.Type), value, p.Description)
		m.keys(prefix+name+".", p)
		if p.Items != nil {
			m.keys(prefix+name+"[].", *p.Items)
		}
	}
}

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

A key that nobody knows is logged, with the nearest one that exists. Keys may be written in snake_case, too. No
` + "`init_config`, `\"\"` and `{}`" + ` mean the same: the defaults.

` + "`sources`" + ` lists what one Falco reads side by side, from several clusters or in several ways:

` + "```yaml" + `
plugins:
  - name: k8saudit
    library_path: /usr/share/falco/plugins/libk8saudit.so
    open_params: ""
    init_config:
      sources:
        - name: prod-eu
          cluster: prod-eu
          open: https://:9765/k8s-audit
        - name: edge
          cluster: edge
          open: /var/log/edge/audit
` + "```" + `

Each has its share of ` + "`queueBytes`" + `, counters under its name, and may have any setting of its kind for itself. A
mistake in one keeps Falco from starting. What the operating system refuses (a port in use, a file that is not there) does
not: that source is tried again, with pauses from one second to one minute, and the others run.
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

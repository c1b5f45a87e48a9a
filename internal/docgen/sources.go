package main

import (
	"encoding/json"

	"kaudit/internal/config"
	"kaudit/pkg/source"
)

const aboutSources = `Where events come from is said by ` + "`open_params`" + `, and how by ` + "`init_config`" + `, both in falco.yaml:

` + "```yaml" + `
plugins:
  - name: k8saudit
    library_path: libk8saudit.so
    open_params: https://:9765/k8s-audit
    init_config:
      sslCertificate: /etc/falco/certs/server.pem
load_plugins: [k8saudit]
` + "```" + `

The scheme of ` + "`open_params`" + ` picks the kind of source. Keys of ` + "`init_config`" + ` may be written in camelCase or snake_case;
each has a default. A key that nobody knows is logged and has no effect. [schema.json](schema.json) has all settings as
a JSON schema.
`

func sourcesPage(kinds []source.Kind) []byte {
	m := newMarkdown("Sources and settings", "pkg/source/<kind>, internal/config")
	m.text(aboutSources)
	for _, k := range kinds {
		m.text("## " + k.Name + "\n")
		m.text(k.Summary + "\n")
		m.head("open_params", "What it does")
		for _, e := range k.Examples {
			m.row(code(e.Open), e.Doc)
		}
		m.text("")
		if c := k.Config(); c != nil {
			m.settings(source.Settings(c))
		}
	}
	m.text("## The plugin itself\n")
	m.text("These settings hold for every source.\n")
	m.settings(source.Settings(config.Defaults()))
	m.Truncate(m.Len() - 1)
	return m.Bytes()
}

// settings writes a table of settings, if there are any, and an empty line.
func (m *markdown) settings(list []source.Setting) {
	if len(list) == 0 {
		return
	}
	m.head("Setting", "Default", "Meaning")
	for _, s := range list {
		m.row(code(s.Name), code(jsonText(s.Default)), s.Doc)
	}
	m.text("")
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("docgen: " + err.Error()) // defaults are plain values
	}
	return string(b)
}

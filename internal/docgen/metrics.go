package main

import (
	"strings"

	"kaudit/internal/metric"
)

const aboutMetrics = `What the plugin counts can be read in two places, with the same values:

- **Falco's own metrics**, from Falco 0.39 on: in its log, its metrics file and its web server, where
  ` + "`metrics.enabled`" + ` and ` + "`metrics.plugins_metrics_enabled`" + ` are true. There they are called
  ` + "`plugins.k8saudit.<name>`" + `, and in the format of Prometheus ` + "`falcosecurity_plugins_k8saudit_<name>`" + `, with
  ` + "`_total`" + ` behind what only grows. Falco has no labels: the name of a source and a reason are parts of the name.
- **An endpoint of the plugin's own** for Prometheus, where ` + "`metricsListen`" + ` says: ` + "`http://127.0.0.1:9766/metrics`" + `. It is there
  while the source is open. Labels are source, cluster (as configured) and reason; times are in seconds. Everybody who can
  reach the address can read it.

What only grows counts from the start of the plugin object, which a reload of Falco makes anew.

To look at first: a growing ` + "`oldest_ms`" + ` says that Falco does not keep up, ` + "`refused`" + ` that senders were asked to come again,
` + "`rejected_broken`" + ` and ` + "`rejected_not_json`" + ` that something was lost. Rules can tell of these, too: see [notices](notices.md).
`

func metricsPage() []byte {
	m := newMarkdown("Metrics", "internal/metric")
	m.text(aboutMetrics)
	for _, family := range metric.Families() {
		m.text("## " + family.Title + "\n")
		m.text(family.Doc + "\n")
		m.head("Metric", "At the endpoint", "Kind", "Meaning")
		for _, row := range family.Metrics {
			kind := "counter"
			if row.Gauge {
				kind = "gauge"
			}
			place := metric.Place{Metric: row}
			if family.PerSource {
				place.Source = "name"
			}
			name, _ := place.Prometheus()
			m.row(code(strings.Replace(row.Name, "*", "<reason>", 1)), code(name), kind, row.Doc)
		}
		m.text("")
	}
	m.Truncate(m.Len() - 1)
	return m.Bytes()
}

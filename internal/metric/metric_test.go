package metric_test

import (
	"regexp"
	"strings"
	"testing"

	"kaudit/internal/metric"
)

func TestFind(t *testing.T) {
	for name, want := range map[string]struct {
		row, source, reason string
		gauge               bool
	}{
		"events":                      {row: "events"},
		"queue_bytes":                 {row: "queue_bytes", gauge: true},
		"rejected_not_json":           {row: "rejected_*", reason: "not_json"},
		"webhook.requests":            {row: "webhook.requests", source: "webhook"},
		"webhook.refused_full":        {row: "webhook.refused_*", source: "webhook", reason: "full"},
		"prod-eu.webhook.refused_x_y": {row: "webhook.refused_*", source: "prod-eu", reason: "x_y"},
		"prod-eu.refused":             {row: "refused", source: "prod-eu"},
		"prod-eu.oldest_ms":           {row: "oldest_ms", source: "prod-eu", gauge: true},
		"file.file.bytes":             {row: "file.bytes", source: "file"},
		"webhook.refused_":            {},
		"prod.nothing":                {},
	} {
		got := metric.Find(name)
		if want.row == "" {
			if got.Known || got.Name != name {
				t.Errorf("%s: got %+v", name, got)
			}
			continue
		}
		if !got.Known || got.Name != want.row || got.Source != want.source || got.Reason != want.reason || got.Gauge != want.gauge {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

// Falco makes one word of a name for Prometheus, with the plugin's name before it and _total behind counters.
func TestNamesAreGoodForPrometheus(t *testing.T) {
	form := regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?\*?$`)
	for _, family := range metric.Families() {
		seen := map[string]bool{}
		for _, m := range family.Metrics {
			flat := strings.ReplaceAll(m.Name, ".", "_")
			if !form.MatchString(m.Name) || seen[flat] || strings.HasSuffix(m.Name, "_total") || strings.Contains(m.Name, "__") {
				t.Errorf("%s: not a good name, or there twice", m.Name)
			}
			if !strings.HasSuffix(m.Doc, ".") {
				t.Errorf("%s: the doc is not a sentence: %q", m.Name, m.Doc)
			}
			seen[flat] = true
		}
	}
}

// Package metric is the table of what the plugin counts: what each metric is called, what it means, and whether it may go
// down. Falco's metrics, the endpoint for Prometheus and docs/metrics.md are made from it.
package metric

import "strings"

// A Metric is one thing that is counted or measured.
type Metric struct {
	// Name is as the plugin counts it. Behind _* stands a reason. Names end in their unit: _bytes, _ms, _nanoseconds.
	Name string
	Doc  string // one sentence
	// Gauge says that it goes up and down.
	Gauge bool
}

// A Family is a group of metrics that belong together.
type Family struct {
	Title, Doc string
	PerSource  bool // whether the name of a source stands before theirs
	Metrics    []Metric
}

// Plugin are the metrics of a plugin object, whatever its sources.
var Plugin = []Metric{
	{"events", "Events handed to Falco.", false},
	{"event_bytes", "Bytes of the events that were read.", false},
	{"deliveries", "Deliveries taken in: request bodies, pieces of files.", false},
	{"delivery_bytes", "Bytes of deliveries taken in.", false},
	{"evaluated", "Deliveries of which Falco has evaluated every event.", false},
	{"refused", "Deliveries for which there was no room.", false},
	{"rejected_*", "Pieces of deliveries that are no events: not_json, not_audit (JSON of another kind), broken (JSON that ends early).", false},
	{"cut", "Events whose objects were taken out because of maxEventSize.", false},
	{"salvaged", "Events that ended early or were broken, and of which the whole part was read.", false},
	{"untimed", "Events without a timestamp, which have the time of their arrival.", false},
	{"noise_dropped_*", "Events that dropNoise kept from Falco: lease, probe, node_status.", false},
	{"failed", "Mistakes in this program that cost an answer or a delivery; please report them.", false},
	{"notices", "What notices counted: see docs/notices.md.", false},
	{"notices_failed", "Notices that the host did not take.", false},
	{"queue_bytes", "Bytes of deliveries that Falco has not evaluated yet.", true},
	{"oldest_ms", "How long the oldest delivery that Falco has not evaluated yet has been waiting.", true},
	{"lag_ms", "How old the last event was when it was read: the way from the API server to the plugin.", true},
	{"questions", "Different fields and arguments that the rules have asked for.", true},
}

// PerSource are the metrics of each source of the list. The source's name and a dot stand before theirs.
var PerSource = []Metric{
	{"deliveries", "Deliveries taken in from this source.", false},
	{"delivery_bytes", "Bytes of deliveries taken in from this source.", false},
	{"evaluated", "Deliveries of this source of which Falco has evaluated every event.", false},
	{"refused", "Deliveries of this source for which there was no room.", false},
	{"events", "Events of this source that were read, without those that dropNoise drops.", false},
	{"cut", "Of them, those whose objects were taken out because of maxEventSize.", false},
	{"salvaged", "Of them, those that ended early or were broken, and of which the whole part was read.", false},
	{"rejected", "Pieces of deliveries of this source that are no events.", false},
	{"failures", "How often the source failed and was opened again.", false},
	{"oldest_ms", "How long the oldest delivery of this source that Falco has not evaluated yet has been waiting.", true},
	{"queue_bytes", "Bytes of deliveries of this source that Falco has not evaluated yet.", true},
}

// PerKind are what kinds of sources count, and the spool of each. In the list of sources their name and a dot stand before it.
var PerKind = []Metric{
	{"webhook.requests", "Requests, probes left out.", false},
	{"webhook.accepted", "Requests answered 200.", false},
	{"webhook.bytes", "Bytes of bodies that were accepted.", false},
	{"webhook.refused_*", "Requests and connections refused, by reason.", false},
	{"webhook.files_reloaded", "How often certificates, authorities and tokens were read again because their files changed.", false},
	{"webhook.files_unusable", "How often changed files could not be used, and those before stayed in use.", false},

	{"tail.bytes", "Bytes delivered.", false},
	{"tail.lines", "Lines delivered.", false},
	{"tail.rotations", "Rotations of logs that were followed.", false},
	{"tail.truncations", "Logs that became shorter in place.", false},
	{"tail.unreadable", "Files that could not be read.", false},
	{"tail.oversized", "Lines cut because of their size.", false},
	{"tail.stderr_lines", "Lines of a container's standard error, which are left out.", false},
	{"tail.rejected", "Deliveries that were rejected.", false},
	{"tail.lost", "Pieces of logs that are known to be lost: a file was gone before it was read.", false},
	{"tail.lost_bytes", "Their bytes, as far as they are known.", false},
	{"tail.checkpoints", "Positions stored.", false},
	{"tail.files", "Logs followed now.", true},
	{"tail.lag_bytes", "Bytes on disk that are not delivered yet, those of compressed files as they are.", true},

	{"file.bytes", "Bytes delivered.", false},
	{"file.unreadable", "Files that could not be read to their end.", false},
	{"file.oversized", "Lines and documents cut because of their size.", false},
	{"file.rejected", "Deliveries that were rejected.", false},

	{"spool.records", "Deliveries in the spool that Falco has not evaluated yet.", true},
	{"spool.bytes", "Bytes of the spool's files.", true},
	{"spool.segments", "Files of the spool.", true},
	{"spool.oldest_ms", "How long ago the oldest delivery was taken that was handed on and is not evaluated yet.", true},
	{"spool.written_records", "Deliveries written.", false},
	{"spool.written_bytes", "Bytes written.", false},
	{"spool.evaluated_records", "Deliveries of which Falco has evaluated every event.", false},
	{"spool.refused_*", "Deliveries refused: full (maxBytes is reached), disk (it fails).", false},
	{"spool.too_large", "Deliveries larger than the spool.", false},
	{"spool.lost_records", "Deliveries that were damaged on disk.", false},
	{"spool.skipped_bytes", "Bytes of files that could not be read.", false},
	{"spool.syncs", "How often files were synced; one sync is for many deliveries.", false},
	{"spool.sync_nanoseconds", "Time that took.", false},
	{"spool.write_errors", "Writes that failed.", false},
	{"spool.read_errors", "Reads that failed.", false},
	{"spool.position_errors", "How often the position of what is evaluated could not be stored.", false},
}

// Families lists all metrics, as docs show them.
func Families() []Family {
	return []Family{
		{"The plugin", "What passed through the plugin, whichever source it came from.", false, Plugin},
		{"Each source", "Where init_config has a list of sources, each has these, with its name and a dot before them: `prod.deliveries`.", true, PerSource},
		{"Kinds of sources", "What sources of a kind count, and the spool. Where init_config has a list of sources, the name of the source and a dot stand before it: `prod.webhook.requests`.", true, PerKind},
	}
}

// A Place is a metric, and whose it is.
type Place struct {
	Metric
	Source string // empty if it is the plugin's
	Reason string // what stands for the asterisk
	Known  bool
}

// Find returns what a name that the plugin counts stands for.
func Find(name string) Place {
	if m, reason, ok := in(Plugin, name); ok {
		return Place{m, "", reason, true}
	}
	first, rest, _ := strings.Cut(name, ".")
	if m, reason, ok := in(PerKind, name); ok {
		return Place{m, first, reason, true}
	}
	for _, table := range [][]Metric{PerSource, PerKind} {
		if m, reason, ok := in(table, rest); ok {
			return Place{m, first, reason, true}
		}
	}
	return Place{Metric: Metric{Name: name}}
}

// Prometheus returns what the endpoint calls the metric, and by how much its values are divided: its units are seconds
// and bytes.
func (p Place) Prometheus() (name string, per float64) {
	name = strings.TrimSuffix(p.Name, "_*")
	if p.Source != "" && !strings.Contains(name, ".") {
		name = "source." + name
	}
	per = 1
	for _, unit := range []struct {
		suffix string
		per    float64
	}{{"_ms", 1e3}, {"_nanoseconds", 1e9}} {
		if of, ok := strings.CutSuffix(name, unit.suffix); ok {
			name, per = of+"_seconds", unit.per
		}
	}
	if !p.Gauge {
		name += "_total"
	}
	return "kaudit_" + strings.NewReplacer(".", "_", "-", "_").Replace(name), per
}

func in(table []Metric, name string) (m Metric, reason string, ok bool) {
	for _, m := range table {
		if m.Name == name {
			return m, "", true
		}
		if prefix, pattern := strings.CutSuffix(m.Name, "*"); pattern && len(name) > len(prefix) && strings.HasPrefix(name, prefix) {
			return m, name[len(prefix):], true
		}
	}
	return Metric{}, "", false
}

// Package config reads the init_config that the host passes to the plugin: the plugin's own settings, those of all
// kinds of sources, and the list of sources, in one object.
package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"kaudit/internal/nearest"
	"kaudit/pkg/audit"
	"kaudit/pkg/source"
)

// A Plugin holds the settings that belong to no kind of source.
type Plugin struct {
	MaxEventSize  int    `json:"maxEventSize" doc:"Size in bytes over which an event's request and response objects are taken out and the event is marked as truncated."`
	QueueBytes    int64  `json:"queueBytes" doc:"How many bytes of deliveries may wait for Falco before senders are asked to come again. Sources share it in equal parts."`
	DropNoise     bool   `json:"dropNoise" doc:"Keeps from Falco what a cluster at rest does all the time and no shipped rule wants: leases that nodes and the control plane renew, probes of health, heartbeats in the status of nodes. They are counted; docs/delivery.md says which they are."`
	UseAsync      bool   `json:"useAsync" doc:"Accepted for configurations of the official plugin; it has no effect here."`
	LogTo         string `json:"logTo" doc:"Where the plugin logs: falco is Falco's own log, where it offers one (from Falco 0.39 on), stderr the standard error."`
	MetricsListen string `json:"metricsListen" doc:"Where to show metrics to Prometheus, as host:port; they are at /metrics, for everybody who can reach it (127.0.0.1:9766). Empty: nowhere."`
	SilenceAfter  string `json:"silenceAfter" doc:"How long a source, or one cluster of it, that delivered before may be silent until a notice is raised (90s, 10m, 1h); 0s is for ever. A source of the list may have its own."`
	Spool         Spool  `json:"spool" doc:"Where deliveries are kept from their acknowledgement to their evaluation, so that neither a crash nor a restart loses them."`
}

// What LogTo may be.
const (
	LogToFalco  = "falco"
	LogToStderr = "stderr"
)

// A Spool says where on disk deliveries wait.
type Spool struct {
	Dir      string `json:"dir" doc:"A folder for this plugin alone. Empty: deliveries wait in memory, and what Falco had not evaluated is lost when it ends."`
	MaxBytes int64  `json:"maxBytes" doc:"How many bytes of files each source may have there. When they are full, senders are asked to come again."`
}

// Defaults returns the settings of an empty configuration.
func Defaults() Plugin {
	return Plugin{
		MaxEventSize: audit.DefaultMaxEventSize,
		QueueBytes:   64 << 20,
		UseAsync:     true,
		LogTo:        LogToFalco,
		SilenceAfter: "1h",
		Spool:        Spool{MaxBytes: 1 << 30},
	}
}

// A Config is a whole init_config.
type Config struct {
	Plugin
	// Sources lists the sources to read besides the one that the host's open parameters name.
	Sources []Source

	settings map[string]any // as written, for the sources
	kinds    []source.Kind
}

// Parse reads an init_config: a JSON object, null, or nothing. Keys may be written in camelCase or snake_case. A key nobody
// knows is reported with the nearest one that somebody does, and left alone: the plugin starts all the same.
func Parse(text string, kinds []source.Kind, log *slog.Logger) (Config, error) {
	c := Config{Plugin: Defaults(), kinds: kinds}
	if strings.TrimSpace(text) == "" {
		return c, nil
	}
	if err := json.Unmarshal([]byte(text), &c.settings); err != nil {
		return c, fmt.Errorf("init_config: want a JSON object or nothing: %w", err)
	}
	known := names(Settings(kinds))
	unknown(c.settings, "", append(known, sourcesKey), log)
	if err := source.Decode(c.settings, &c.Plugin); err != nil {
		return c, err
	}
	if err := unknownInSpool(c.settings, log); err != nil {
		return c, err
	}
	switch {
	case c.MaxEventSize < 1<<10:
		return c, fmt.Errorf("init_config: maxEventSize: want at least 1024 bytes, not %d", c.MaxEventSize)
	case c.QueueBytes < 1<<20:
		return c, fmt.Errorf("init_config: queueBytes: want at least 1048576 bytes, not %d", c.QueueBytes)
	case c.LogTo != LogToFalco && c.LogTo != LogToStderr:
		return c, fmt.Errorf("init_config: logTo: want falco or stderr, not %q", c.LogTo)
	case c.Spool.MaxBytes < smallestSpool:
		return c, fmt.Errorf("init_config: spool.maxBytes: want at least %d bytes, not %d", smallestSpool, c.Spool.MaxBytes)
	}
	if c.MetricsListen != "" {
		if _, _, err := net.SplitHostPort(c.MetricsListen); err != nil {
			return c, fmt.Errorf("init_config: metricsListen: want host:port, like 127.0.0.1:9766, not %q", c.MetricsListen)
		}
	}
	if _, err := silence(c.settings); err != nil {
		return c, fmt.Errorf("init_config: %w", err)
	}
	var err error
	c.Sources, err = parseSources(c.settings, kinds, log)
	return c, err
}

// smallestSpool has room for a few large deliveries.
const smallestSpool = 64 << 20

// unknown reports the keys that are not known.
func unknown(settings map[string]any, where string, known []string, log *slog.Logger) {
	for key := range settings {
		if has(known, key) {
			continue
		}
		about := []any{"key", key}
		if where != "" {
			about = []any{"in", where, "key", key}
		}
		if meant := nearest.Word(key, known); meant != "" {
			about = append(about, "did you mean", meant)
		}
		log.Warn("init_config has a key nobody knows; it has no effect", about...)
	}
}

func unknownInSpool(settings map[string]any, log *slog.Logger) error {
	value, ok := lookup(settings, "spool")
	if !ok {
		return nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("init_config: spool: want an object like {dir: /var/lib/falco/k8saudit}, not %s", kindOf(value))
	}
	unknown(object, "spool", names(source.Settings(Spool{})), log)
	return nil
}

// lookup returns the value of a key, whichever way it is written.
func lookup(settings map[string]any, name string) (any, bool) {
	for key, value := range settings {
		if source.SameKey(key, name) {
			return value, true
		}
	}
	return nil, false
}

// kindOf says what a value from JSON is, for errors.
func kindOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "a text"
	case bool:
		return "true or false"
	case nil:
		return "null"
	}
	return "a number"
}

// Settings lists all settings but the list of sources: the plugin's own, then those of each kind of source.
func Settings(kinds []source.Kind) []source.Setting {
	return append(source.Settings(Defaults()), ofKinds(kinds)...)
}

func ofKinds(kinds []source.Kind) []source.Setting {
	var list []source.Setting
	for _, k := range kinds {
		if k.Config() != nil {
			list = append(list, source.Settings(k.Config())...)
		}
	}
	return list
}

func has(known []string, key string) bool {
	for _, name := range known {
		if source.SameKey(name, key) {
			return true
		}
	}
	return false
}

func names(settings []source.Setting) []string {
	var list []string
	for _, s := range settings {
		list = append(list, s.Name)
	}
	return list
}

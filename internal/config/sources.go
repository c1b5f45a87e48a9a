package config

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"strings"
	"time"

	"kaudit/pkg/source"
)

// sourcesKey is the key of the list of sources.
const sourcesKey = "sources"

// A Source is one entry of the list of sources.
type Source struct {
	// Name is its own; Cluster may be empty; Open is what it reads, as in open parameters.
	Name, Cluster, Open string
	// Silence is how long it may be silent until that is told; zero is for ever.
	Silence time.Duration

	kind     source.Kind
	settings map[string]any // those of the whole configuration, and over them the entry's own
}

// An item is what every entry of the list has.
type item struct {
	Name    string `json:"name" doc:"What the source is called in logs, metrics and below the spool's folder: small letters, digits, - and _. Without one it has its kind's name."`
	Cluster string `json:"cluster" doc:"The Kubernetes cluster its events belong to, which rules find in ka.cluster.name."`
	Open    string `json:"open" doc:"What open_params may be: where its events come from."`
	Silence string `json:"silenceAfter" doc:"The setting of that name for this source alone."`
}

// nameForm is what names look like: they become parts of metrics' names and of paths.
var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// parseSources reads the list of sources.
func parseSources(settings map[string]any, kinds []source.Kind, log *slog.Logger) ([]Source, error) {
	value, ok := lookup(settings, sourcesKey)
	if !ok || value == nil {
		return nil, nil
	}
	entries, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("init_config: sources: want a list, not %s", kindOf(value))
	}
	common := maps.Clone(settings)
	maps.DeleteFunc(common, func(key string, _ any) bool { return source.SameKey(key, sourcesKey) })
	var list []Source
	for i, value := range entries {
		where := fmt.Sprintf("sources[%d]", i)
		own, ok := value.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("init_config: %s: want an object like {open: \"http://127.0.0.1:9765/k8s-audit\"}, not %s", where, kindOf(value))
		}
		var it item
		if err := source.Decode(own, &it); err != nil {
			return nil, fmt.Errorf("init_config: %s: %s", where, strings.TrimPrefix(err.Error(), "init_config: "))
		}
		s, err := newSource(it, kinds)
		if err != nil {
			return nil, fmt.Errorf("init_config: %s: %w", where, err)
		}
		if s.Name == "" {
			s.Name = unused(s.kind.Name, list)
		} else if named(list, s.Name) {
			return nil, fmt.Errorf("init_config: %s: name: two sources are called %s", where, s.Name)
		}
		unknown(own, where, append(names(ofKinds([]source.Kind{s.kind})), names(source.Settings(item{}))...), log)
		s.settings = overlay(common, own)
		if s.Silence, err = silence(s.settings); err != nil {
			return nil, fmt.Errorf("init_config: %s: %w", where, err)
		}
		list = append(list, s)
	}
	return list, nil
}

func newSource(it item, kinds []source.Kind) (Source, error) {
	s := Source{Name: it.Name, Cluster: it.Cluster, Open: it.Open}
	if s.Name != "" && !nameForm.MatchString(s.Name) {
		return s, fmt.Errorf("name: %q is not made of small letters, digits, - and _; write one like prod-eu", s.Name)
	}
	if err := checkCluster(s.Cluster); err != nil {
		return s, err
	}
	if s.Open == "" {
		return s, errors.New("open: missing; write where the events come from, like http://127.0.0.1:9765/k8s-audit or a path")
	}
	var err error
	if s.kind, err = source.Find(kinds, s.Open); err != nil {
		return s, fmt.Errorf("open: %w", WithoutParameters(err))
	}
	return s, nil
}

// checkCluster refuses what no cluster is called and logs could not show.
func checkCluster(name string) error {
	if len(name) > 253 {
		return fmt.Errorf("cluster: %d bytes are too many; write a name of at most 253", len(name))
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return errors.New("cluster: there is a control character in it")
	}
	return nil
}

// WithoutParameters takes the word for it that Falco's configuration has out of an error of a source.
func WithoutParameters(err error) error {
	if text, ok := strings.CutPrefix(err.Error(), "open parameters: "); ok {
		return errors.New(text)
	}
	return err
}

// named reports whether a source has that name. In the names of metrics a dash looks like an underscore to Prometheus.
func named(list []Source, name string) bool {
	flat := strings.NewReplacer("-", "_")
	for _, s := range list {
		if flat.Replace(s.Name) == flat.Replace(name) {
			return true
		}
	}
	return false
}

// unused returns a name that no source has.
func unused(name string, list []Source) string {
	for n := 1; ; n++ {
		candidate := name
		if n > 1 {
			candidate = fmt.Sprintf("%s%d", name, n)
		}
		if !named(list, candidate) {
			return candidate
		}
	}
}

// overlay returns the settings with the entry's own over them, whichever way either writes a key.
func overlay(common, own map[string]any) map[string]any {
	all := maps.Clone(common)
	for key, value := range own {
		maps.DeleteFunc(all, func(k string, _ any) bool { return source.SameKey(k, key) })
		all[key] = value
	}
	return all
}

// New makes the source.
func (s Source) New(env source.Env) (source.Source, error) {
	return s.kind.Open(s.Open, s.settings, env)
}

// Pushed says that senders hand over what they do not keep, see [source.Kind].
func (s Source) Pushed() bool { return s.kind.Pushed }

// All lists the sources to read: what the host's open parameters name, which may be empty if there is a list, then the
// list.
func (c Config) All(params string) ([]Source, error) {
	if params == "" && len(c.Sources) > 0 {
		return c.Sources, nil
	}
	k, err := source.Find(c.kinds, params)
	if err != nil {
		return nil, err
	}
	s := Source{Name: unused(k.Name, c.Sources), Open: params, kind: k, settings: c.settings}
	if s.Silence, err = silence(c.settings); err != nil {
		return nil, err
	}
	return append([]Source{s}, c.Sources...), nil
}

// Kind returns what sort of source it is.
func (s Source) Kind() source.Kind { return s.kind }

// Decode fills a configuration of the kind from the settings that count for this source.
func (s Source) Decode(into any) error { return source.Decode(s.settings, into) }

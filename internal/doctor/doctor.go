// Package doctor finds out why nothing happens: it reads Falco's configuration as Falco does, and follows the way of an
// event through all that has to be right for it: the API server's flags and kubeconfig, the port and its certificate, the
// library, the settings, the rules, the outputs.
//
// It changes nothing, and does not load the library. What it cannot know from files (does Falco run?) it finds out by
// connecting to the port, unless it is told not to.
package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"kaudit/pkg/rules"
)

// A Status is how a thing was found.
type Status uint8

// The statuses, from the best.
const (
	OK   Status = iota
	Warn        // it works, or may; something should be looked at
	Fail        // nothing happens, or not what was meant
)

var statuses = [...]string{"ok", "warn", "fail"}

func (s Status) String() string { return statuses[min(int(s), len(statuses)-1)] }

// MarshalText renders a status by its name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Finding is what was found about one thing.
type Finding struct {
	Status Status `json:"status"`
	Check  string `json:"check"` // what was looked at
	Text   string `json:"text"`
	At     string `json:"at,omitempty"` // file:line, or a file
	Do     string `json:"do,omitempty"` // what to write instead, or to do
}

// Options say what is looked at.
type Options struct {
	// Config is Falco's configuration; empty is that of the Falco that runs, or its usual place. Set are its options
	// key=value; Rules take the place of rules_files; sources are those that are switched on and off on its command line.
	Config                        string
	Set                           []string
	Rules                         []string
	EnableSources, DisableSources []string
	// Falco is the version whose rules count.
	Falco rules.Falco
	// PluginsDir is where library paths begin that are relative.
	PluginsDir string

	Kubeconfig string // --audit-webhook-config-file of the API server
	Policy     string // its --audit-policy-file
	Manifest   string // its static pod

	// Offline says that nothing is connected to, and that no Falco need run.
	Offline bool
	// Proc is where processes are found; empty is /proc.
	Proc string
	// Now is the time; nil means that of the machine.
	Now func() time.Time
}

// A Report is everything that was found, in the order in which it was looked at.
type Report struct {
	Findings []Finding `json:"findings"`
}

// Count returns how many findings have a status.
func (r *Report) Count(s Status) (n int) {
	for _, f := range r.Findings {
		if f.Status == s {
			n++
		}
	}
	return n
}

// An examination is one run.
type examination struct {
	Options
	ctx    context.Context
	report Report
	config *falcoConfig
	pod    *staticPod // of the API server, if its manifest was read
	check  string     // what is being looked at
	alone  bool       // there is but one source
	logs   []string   // files and folders that sources read

	rulePaths []string // rule files and folders of them
}

// Run looks at everything. Its error says that Falco's configuration cannot be read at all.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &examination{Options: o, ctx: ctx}
	if e.Proc == "" {
		e.Proc = "/proc"
	}
	if e.Config == "" && e.Offline {
		e.Config = DefaultConfig
	}
	if !e.Offline {
		e.process()
	}
	var err error
	if e.config, err = e.readConfig(); err != nil {
		return nil, err
	}
	e.outputs()
	p := e.plugin()
	set := e.rules(p)
	e.engine(set)
	var hooks []*hook
	if p != nil {
		hooks = e.sources(p)
	}
	if o.Manifest != "" {
		e.manifest(hooks)
	}
	if e.Kubeconfig != "" {
		e.kubeconfig(hooks)
	}
	for _, h := range hooks {
		e.port(h)
	}
	if e.Policy != "" {
		e.policy(set)
	}
	return &e.report, nil
}

func (e *examination) add(s Status, at, do, format string, args ...any) {
	e.report.Findings = append(e.report.Findings, Finding{
		Status: s, Check: e.check, Text: rules.Printable(fmt.Sprintf(format, args...)), At: at, Do: rules.Printable(do),
	})
}

func (e *examination) ok(at, format string, args ...any) { e.add(OK, at, "", format, args...) }

func (e *examination) warn(at, do, format string, args ...any) { e.add(Warn, at, do, format, args...) }

func (e *examination) fail(at, do, format string, args ...any) { e.add(Fail, at, do, format, args...) }

// A warner is where the plugin's own code logs to while it is tried: what it warns of becomes a finding.
type warner struct {
	e    *examination
	at   string
	keys *yaml.Node // where a key that is warned of stands
}

// logger makes a log of findings.
func (e *examination) logger(at string, keys *yaml.Node) *slog.Logger {
	return slog.New(warner{e, at, keys})
}

// Enabled implements [slog.Handler].
func (w warner) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements [slog.Handler].
func (w warner) Handle(_ context.Context, r slog.Record) error {
	at, do := w.at, ""
	var about []string
	r.Attrs(func(a slog.Attr) bool {
		text := a.Value.String()
		if n := keyOf(w.keys, text); a.Key == "key" && n != nil {
			at = w.e.config.at(n)
		}
		if a.Key == "did you mean" {
			do = "write " + text
			return true
		}
		about = append(about, a.Key+" "+text)
		return true
	})
	text := r.Message
	if len(about) > 0 {
		text += " (" + strings.Join(about, ", ") + ")"
	}
	w.e.warn(at, do, "%s", text)
	return nil
}

// WithAttrs implements [slog.Handler].
func (w warner) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup implements [slog.Handler].
func (w warner) WithGroup(string) slog.Handler { return w }

// several is a number with the word for what it counts.
func several(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

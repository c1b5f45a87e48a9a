//go:build linux

package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Falco is a falco program. It runs the same rules as [Engine] and gives the same results, without what only the host
// can tell: fields of every event, stats and metrics.
type Falco struct {
	Path string
}

// FindFalco returns the program that the environment variable FALCO names, or the falco on PATH.
func FindFalco() (Falco, error) {
	if path := os.Getenv("FALCO"); path != "" {
		return Falco{path}, nil
	}
	path, err := exec.LookPath("falco")
	if err != nil {
		return Falco{}, errors.New("falco is not on PATH and the environment variable FALCO does not name it")
	}
	return Falco{path}, nil
}

// Run runs until the source ends, or the run's duration is over, or ctx ends, which is an error. Rule files are loaded
// before the rules of the run. Options are Falco's own, key=value, and override what Run sets, for instance
// append_output[]={"suggested_output": true}.
func (f Falco) Run(ctx context.Context, run Run, files []string, options ...string) (Result, error) {
	p, err := f.Start(ctx, run, files, options...)
	if err != nil {
		return Result{}, err
	}
	return p.Wait()
}

// Start starts a run and returns at once.
func (f Falco) Start(ctx context.Context, run Run, files []string, options ...string) (*Process, error) {
	dir, err := os.MkdirTemp("", "kaudit-falco-")
	if err != nil {
		return nil, err
	}
	args, err := falcoArguments(dir, run, files, options)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	cmd := exec.CommandContext(ctx, f.Path, args...)
	cmd.Env = append(os.Environ(), run.Env...)
	return start(cmd, run, falcoLine, func() { os.RemoveAll(dir) })
}

// falcoArguments writes a configuration for one run and returns the command line for it.
func falcoArguments(dir string, run Run, files []string, options []string) ([]string, error) {
	if len(run.Fields) > 0 || run.Payload || run.Calls || run.DryRun || run.NoOutput || run.Read != "" || run.Write != "" || len(run.Notices) > 0 ||
		run.MaxEvents > 0 || run.Idle > 0 || run.Cycles > 1 {
		return nil, errors.New("falco runs rules on live events and stops at the end of the source or after a duration, nothing else")
	}
	source := run.Source
	if source == "" {
		source = "k8s_audit"
	}
	type (
		object = map[string]any
		list   = []any
	)
	var plugins, names list
	for i, p := range run.Plugins {
		library, err := filepath.Abs(p.Path)
		if err != nil {
			return nil, err
		}
		// The name must be the one the library returns: Falco opens a source under it.
		plugin := object{"name": p.name(), "library_path": library, "init_config": p.Init}
		if i == 0 {
			plugin["open_params"] = run.Open
		}
		plugins, names = append(plugins, plugin), append(names, p.name())
	}
	if len(run.Rules) > 0 {
		var rules list
		for _, r := range run.Rules {
			rules = append(rules, object{
				"rule": r.Name, "desc": r.Name, "condition": r.Condition, "output": r.Output, "priority": r.Priority, "source": source,
			})
		}
		path := filepath.Join(dir, "rules.yaml")
		if err := writeYAML(path, rules); err != nil {
			return nil, err
		}
		files = append(files[:len(files):len(files)], path)
	}
	matching := "all"
	if run.First {
		matching = "first"
	}
	config := filepath.Join(dir, "falco.yaml")
	err := writeYAML(config, object{
		"engine":                       object{"kind": "nodriver"},
		"plugins":                      plugins,
		"load_plugins":                 names,
		"rules_files":                  files,
		"rule_matching":                matching,
		"json_output":                  true,
		"json_include_output_property": true,
		// Falco before 0.42 has no message property; falcoLine takes it from the output then.
		"json_include_message_property": true,
		"append_output":                 list{object{"extra_fields": list{"evt.num"}}},
		"priority":                      "debug",
		"stdout_output":                 object{"enabled": true},
		"syslog_output":                 object{"enabled": false},
		"log_stderr":                    true,
		"log_syslog":                    false,
		"watch_config_files":            false,
		"webserver":                     object{"enabled": false},
	})
	if err != nil {
		return nil, err
	}
	args := []string{"-c", config, "--enable-source", source}
	if run.Duration > 0 {
		seconds := (run.Duration + time.Second - 1) / time.Second
		args = append(args, "-M", strconv.Itoa(int(seconds)))
	}
	for _, option := range options {
		args = append(args, "-o", option)
	}
	return args, nil
}

func writeYAML(path string, value any) error {
	text, err := yaml.Marshal(value)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// falcoLine reads one line of Falco's standard output. Lines that are not alerts go to the log.
func falcoLine(result *Result, run Run, text []byte) error {
	if text[0] != '{' {
		result.Log += string(text)
		return nil
	}
	alert, err := decode[struct {
		Rule     string         `json:"rule"`
		Priority string         `json:"priority"`
		Time     time.Time      `json:"time"`
		Output   string         `json:"output"`
		Message  *string        `json:"message"`
		Fields   map[string]any `json:"output_fields"`
	}](text)
	if err != nil {
		return fmt.Errorf("%w: %.200s", err, text)
	}
	m := Match{Rule: alert.Rule, Priority: alert.Priority, Fields: alert.Fields, Time: uint64(alert.Time.UnixNano())}
	if alert.Message != nil {
		m.Output = *alert.Message
	} else { // <time>: <Priority> <message>
		_, m.Output, _ = strings.Cut(alert.Output, ": "+alert.Priority+" ")
	}
	switch number := alert.Fields["evt.num"].(type) {
	case json.Number:
		m.Event, _ = strconv.ParseUint(number.String(), 10, 64)
	case string:
		m.Event, _ = strconv.ParseUint(number, 10, 64)
	}
	result.Matches = append(result.Matches, m)
	if run.OnMatch != nil {
		run.OnMatch(m)
	}
	return nil
}

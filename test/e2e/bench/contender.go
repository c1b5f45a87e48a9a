//go:build linux

package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"kaudit/internal/convert"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
	"kaudit/test/e2e/engine"
)

// A contender is a set of plugins with rules they can answer.
type contender struct {
	rules    string // name of the ruleset
	files    []string
	k8saudit string // who answers for that plugin
	json     string // who does for this one; empty: nobody has to
	plugins  []engine.Plugin
	calls    string // how many calls of plugin_extract_fields an event is, if that was counted
}

const (
	ours     = "kaudit"
	official = "official"
	theFloor = "floor"
)

// contenders returns what is measured: for each ruleset, the official plugins if they can serve it, these libraries, and
// the floor. Without the official libraries and rules only the project's own ruleset is left.
func contenders(root, library, jsonLibrary, officialDir, dir string) ([]contender, error) {
	auditFloor, jsonFloor, err := floors(root, dir)
	if err != nil {
		return nil, err
	}
	own, err := filepath.Glob(filepath.Join(root, "rules", "*.yaml"))
	if err != nil || len(own) == 0 {
		return nil, errors.Join(err, errors.New("there are no rules in "+root))
	}
	k8saudit := func(path, init string) engine.Plugin { return engine.Plugin{Path: path, Init: init, Name: "k8saudit"} }
	jsonPlugin := func(path, init string) engine.Plugin { return engine.Plugin{Path: path, Init: init, Name: "json"} }
	one := func(rules string, files []string, who, path string) contender {
		return contender{rules: rules, files: files, k8saudit: who, plugins: []engine.Plugin{k8saudit(path, "{}")}}
	}
	list := []contender{
		one("shipped", own, ours, library),
		one("shipped", own, theFloor, auditFloor),
	}
	if officialDir == "" {
		return list, nil
	}
	theirs := []string{filepath.Join(officialDir, "k8s_audit_rules.yaml")}
	converted, err := convertRules(theirs[0], dir)
	if err != nil {
		return nil, err
	}
	// The official plugins as they are at their best: without useAsync, which on two processors takes a second an event,
	// and with room for events above 256 KiB, which they leave out otherwise.
	theirAudit := k8saudit(filepath.Join(officialDir, "libk8saudit.so"), `{"useAsync": false, "maxEventSize": 4194304}`)
	theirJSON := jsonPlugin(filepath.Join(officialDir, "libjson.so"), `{"useAsync": false}`)
	two := func(who string, audit engine.Plugin, whose string, j engine.Plugin) contender {
		return contender{rules: "official", files: theirs, k8saudit: who, json: whose, plugins: []engine.Plugin{audit, j}}
	}
	return append([]contender{
		two(official, theirAudit, official, theirJSON),
		two(ours, k8saudit(library, "{}"), official, theirJSON),
		two(ours, k8saudit(library, "{}"), ours, jsonPlugin(jsonLibrary, "")),
		two(theFloor, k8saudit(auditFloor, ""), official, theirJSON),
		two(theFloor, k8saudit(auditFloor, ""), theFloor, jsonPlugin(jsonFloor, "")),
		one("official, converted", converted, ours, library),
		one("official, converted", converted, theFloor, auditFloor),
	}, list...), nil
}

// convertRules rewrites a rule file to need no json plugin.
func convertRules(path, dir string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	results, err := convert.Files(rules.File{Name: path, Content: text})
	if err != nil {
		return nil, err
	}
	to := filepath.Join(dir, "converted.yaml")
	return []string{to}, os.WriteFile(to, results[0].After, 0o600)
}

//go:embed floor/floor.c
var floorSource string

// floors compiles the plugins that answer every question alike: one for k8saudit, one for json.
func floors(root, dir string) (audit, jsonPlugin string, err error) {
	table, err := json.Marshal(extract.Fields())
	jsonTable, err2 := json.Marshal(extract.JSONFields())
	if err := errors.Join(err, err2); err != nil {
		return "", "", err
	}
	audit, jsonPlugin = filepath.Join(dir, "libk8saudit.so"), filepath.Join(dir, "libjson.so")
	err = errors.Join(
		compileFloor(root, audit, "k8saudit", string(table), "-DSOURCE=\"k8s_audit\"", "-DID=1"),
		compileFloor(root, jsonPlugin, "json", string(jsonTable)))
	return audit, jsonPlugin, err
}

func compileFloor(root, to, name, fields string, defines ...string) error {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "gcc"
	}
	args := append([]string{
		"-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I", filepath.Join(root, "internal/abi"), "-o", to, "-xc", "-",
		"-DNAME=\"" + name + "\"", "-DVERSION=\"0.100.0\"",
	}, defines...)
	// The fields are too long for an argument.
	cmd := exec.Command(cc, args...)
	cmd.Stdin = strings.NewReader("#define FIELDS " + quoteC(fields) + "\n" + floorSource)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile floor.c: %w: %s", err, out)
	}
	return nil
}

// quoteC writes text as a string of C.
func quoteC(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "?", `\?`).Replace(text) + `"`
}

// A host runs plugins with rules. Alerts go nowhere unless they are asked for: who reads them would take time from who
// makes them.
type host interface {
	start(ctx context.Context, run engine.Run, files []string, alerts bool) (*engine.Process, error)
}

// falcoHost is the falco program.
type falcoHost struct{ engine.Falco }

func (h falcoHost) start(ctx context.Context, run engine.Run, files []string, alerts bool) (*engine.Process, error) {
	var options []string
	if !alerts {
		options = []string{"stdout_output.enabled=false", "file_output.enabled=true", "file_output.keep_alive=true", "file_output.filename=/dev/null"}
	}
	return h.Start(ctx, run, files, options...)
}

// libsinspHost is libsinsp with the host of test/e2e around it.
type libsinspHost struct{ *engine.Engine }

func (h libsinspHost) start(ctx context.Context, run engine.Run, files []string, alerts bool) (*engine.Process, error) {
	list, err := engine.LoadRules("k8s_audit", files...)
	if err != nil {
		return nil, err
	}
	run.Rules, run.NoOutput = append(list, run.Rules...), !alerts
	return h.Start(ctx, run)
}

// read has a contender read a recording to its end.
func (c *contender) read(ctx context.Context, h host, path string, alerts bool) (engine.Result, error) {
	p, err := h.start(ctx, engine.Run{Plugins: c.plugins, Open: path, First: true}, c.files, alerts)
	if err != nil {
		return engine.Result{}, err
	}
	return p.Wait()
}

// count counts the calls of a contender with one plugin on the first events of a recording, in libsinsp.
func (c *contender) count(ctx context.Context, e *engine.Engine, path string, events int) error {
	if c.json != "" {
		return nil
	}
	list, err := engine.LoadRules("k8s_audit", c.files...)
	if err != nil {
		return err
	}
	got, err := e.Run(ctx, engine.Run{Plugins: c.plugins, Open: path, Rules: list, First: true, NoOutput: true, Calls: true, MaxEvents: events})
	if err != nil {
		return err
	}
	stats := got.Stats[0]
	c.calls = fmt.Sprintf("%.0f", float64(stats.Calls["k8saudit"].Extract)/float64(stats.Events))
	return nil
}

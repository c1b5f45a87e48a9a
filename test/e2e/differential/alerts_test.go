//go:build linux

package differential

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kaudit/pkg/audit"
	"kaudit/pkg/rules"
	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// printer renders alerts of a ruleset.
type printer struct {
	collector
	text  func(rules.Match) []byte
	lines []string
}

func (p *printer) Event(e *audit.Event, stamp time.Time, _ audit.Marks) {
	p.number++
	p.event.Reset(e)
	for _, m := range p.engine.Evaluate(rules.Event{Event: &p.event, Number: p.number, Time: uint64(stamp.UnixNano())}, p.matching) {
		p.lines = append(p.lines, string(p.text(m)))
	}
}

// TestAlertLines compares what falco prints with what is rendered here, line by line, to the byte: as text and as JSON,
// with every setting.
func TestAlertLines(t *testing.T) {
	falco, err := engine.FindFalco()
	if err != nil {
		t.Skip(err)
	}
	events := someEvents(t)
	log := e2e.WriteLines(t, events)
	own := rules.File{Name: filepath.Join(t.TempDir(), "own.yaml"), Content: []byte(`
- rule: Everything Printable
  desc: d
  condition: ka.verb exists and ka.user.name exists
  output: "\"%ka.user.name\" \\ %ka.user.groups %12ka.verb| %evt.num %evt.hostname %evt.pluginname %evt.source %evt.is_async %evt.asynctype %evt.plugininfo %evt.time %ka.code %ka.dryrun %ka.latency %ka.sourceips.net %ka.value[\"/verb\"] %toupper(ka.verb)"
  priority: alert
  source: k8s_audit
  tags: [z, a, "é"]
`)}
	if err := os.WriteFile(own.Name, own.Content, 0o600); err != nil {
		t.Fatal(err)
	}
	files := append(e2e.RuleFiles(t), own.Name)
	set, err := rules.Load(rules.Options{}, files...)
	if err != nil {
		t.Fatal(err)
	}
	for name, style := range map[string]rules.Style{
		"default":  {},
		"iso8601":  {ISO8601: true},
		"message":  {Message: true},
		"bare":     {NoOutput: true, NoTags: true, NoOutputField: true},
		"all else": {ISO8601: true, Message: true, NoTags: true},
	} {
		for _, asJSON := range []bool{false, true} {
			t.Run(name+map[bool]string{false: " text", true: " JSON"}[asJSON], func(t *testing.T) {
				p := printer{collector: collector{engine: set.Engine(), matching: rules.All}}
				p.engine.SetHostname("a-host")
				p.text = func(m rules.Match) []byte {
					if asJSON {
						return m.AppendJSON(nil, style)
					}
					return m.AppendText(nil, style)
				}
				(&audit.Decoder{}).Decode(bytes.Join(events, []byte("\n")), true, &p)
				want := falcoLines(t, falco, log, files, style, asJSON)
				mine := strings.Join(p.lines, "\n") + "\n"
				if mine = valid(mine); mine != want {
					m, w := strings.Split(mine, "\n"), strings.Split(want, "\n")
					for i := range min(len(m), len(w)) {
						if m[i] != w[i] {
							t.Fatalf("%d lines and %d; line %d\n got %s\nwant %s", len(m), len(w), i+1, m[i], w[i])
						}
					}
					t.Fatalf("%d lines, falco has %d", len(m), len(w))
				}
				t.Logf("%d alerts are the same", len(p.lines))
			})
		}
	}
}

// falcoLines returns what falco prints on its standard output.
func falcoLines(t *testing.T, falco engine.Falco, log string, files []string, style rules.Style, asJSON bool) string {
	t.Helper()
	type object = map[string]any
	config, err := json.Marshal(object{
		"engine":       object{"kind": "nodriver"},
		"plugins":      []any{object{"name": "k8saudit", "library_path": e2e.Library(t), "open_params": log}},
		"load_plugins": []string{"k8saudit"}, "rules_files": files, "rule_matching": "all", "priority": "debug",
		"json_output":                         asJSON,
		"json_include_message_property":       style.Message,
		"json_include_output_property":        !style.NoOutput,
		"json_include_tags_property":          !style.NoTags,
		"json_include_output_fields_property": !style.NoOutputField,
		"time_format_iso_8601":                style.ISO8601,
		"stdout_output":                       object{"enabled": true},
		"syslog_output":                       object{"enabled": false},
		"log_stderr":                          true, "log_syslog": false, "watch_config_files": false,
		"webserver": object{"enabled": false},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "falco.yaml")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), falco.Path, "-c", path, "--enable-source", rules.Source)
	cmd.Env = append(os.Environ(), "FALCO_HOSTNAME=a-host")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("falco: %v: %s", err, stderr.String())
	}
	text, _, _ := strings.Cut(stdout.String(), "Events detected: ")
	return text
}

// TestJSONPlugin compares the fields of json plugins.
func TestJSONPlugin(t *testing.T) {
	events := someEvents(t)
	file := e2e.WriteLines(t, events)
	var items []any
	for i, c := range []string{
		"jevt.rawtime exists", "jevt.value[/verb] = get", "json.value[verb] in (get, list)", "jevt.value[/user/groups/0] exists", "jevt.value[/user/groups/00] exists",
		"jevt.value[/objectRef] contains pods", "jevt.value[/responseStatus/code] >= 4", "jevt.value[/annotations/authorization.k8s.io~1decision] = allow",
		"jevt.obj contains auditID", `json.obj startswith "{"`, "tolower(jevt.value[/verb]) = get", "len(jevt.obj) > 1000", "jevt.value[/] exists", "jevt.value[/user/groups/+1] exists", "jevt.value[/user/groups/-1] exists", "jevt.value[//] exists",
		"jevt.value[/user/extra] exists", "jevt.value[/requestObject/spec/containers/0/image] exists", "json.rawtime = 0", "jevt.value[/sourceIPs] intersects (x)", "jevt.value[/verb] = val(ka.verb)",
	} {
		items = append(items, ruleItem(string(rune('a'+i))+" "+c, c, "%jevt.value[/verb] %json.value[/user/groups/1] %jevt.rawtime %jevt.value[/objectRef] %jevt.value[/responseStatus] %jevt.obj", "INFO"))
	}
	text, err := json.Marshal(items)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range peers(t) {
		for name, other := range jsonPlugins(t) {
			t.Run(p.name+", "+name, func(t *testing.T) {
				p.takes(t, []engine.Plugin{other})
				set, err := rules.Read(rules.Options{Falco: p.falco}, rules.File{Name: "json.yaml", Content: text})
				if err != nil {
					t.Fatal(err)
				}
				n := compare(t, p, ours(t, set, p.all(t, events), rules.All), p.run(t, engineRules(set), file, false, other))
				t.Logf("%d verdicts, %d hold", len(items)*len(events), n)
			})
		}
	}
}

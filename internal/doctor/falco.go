package doctor

import (
	"slices"
	"strings"

	"kaudit"
	"kaudit/pkg/rules"
)

// lastProbes is the last version of Falco with the drivers ebpf and gvisor.
const lastProbes rules.Falco = 43

// engine looks at what Falco reads besides, and at which sources are switched off.
func (e *examination) engine(set *rules.Ruleset) {
	e.check = "engine"
	source := kaudit.Plugin().Source
	n := e.config.get("engine", "kind")
	kind, at := text(n), e.config.at(n)
	switch {
	case n == nil:
		e.warn(e.config.at(e.config.get("engine")), "for audit events alone write engine: {kind: nodriver}", "engine.kind is not set, and Falco takes kmod: it ends where that driver is not loaded")
	case kind == "nodriver":
		e.ok(at, "no system calls are watched, so Falco needs no driver")
	case kind == "replay":
		e.fail(at, "write engine: {kind: nodriver}", "engine.kind is replay: Falco reads a capture, and opens no plugin")
	case kind != "kmod" && kind != "modern_ebpf" && (kind != "ebpf" && kind != "gvisor" || !e.older(lastProbes+1)):
		e.fail(at, "write nodriver, modern_ebpf or kmod", "engine.kind %q is none that Falco %v knows; it does not start", kind, e.Falco)
	case slices.Contains(e.DisableSources, "syscall"), len(e.EnableSources) > 0 && !slices.Contains(e.EnableSources, "syscall"):
		e.ok(at, "system calls are switched off")
	case set == nil, slices.ContainsFunc(set.Rules, func(r *rules.Rule) bool { return r.Source == "syscall" && r.Enabled }):
		e.ok(at, "system calls are watched, too (%s)", kind)
	default:
		e.warn(at, "write engine: {kind: nodriver}", "engine.kind is %s, and no rule is about system calls; where Falco may not watch them it ends, and the audit events with it", kind)
	}
	switch {
	case len(e.EnableSources) > 0 && len(e.DisableSources) > 0:
		e.fail("", "use one of them", "--enable-source and --disable-source together: Falco does not start")
	case slices.Contains(e.DisableSources, source):
		e.fail("", "start Falco without it", "--disable-source %s switches audit events off", source)
	case len(e.EnableSources) > 0 && !slices.Contains(e.EnableSources, source):
		e.fail("", "add --enable-source "+source, "--enable-source %s leaves %s out", strings.Join(e.EnableSources, " --enable-source "), source)
	}
}

// channels are the outputs Falco has, with the key that each needs.
var channels = []struct{ name, needs string }{
	{"stdout_output", ""}, {"syslog_output", ""}, {"file_output", "filename"}, {"http_output", "url"}, {"program_output", "program"}, {"grpc_output", ""},
}

// outputs looks whether alerts go anywhere.
func (e *examination) outputs() {
	e.check = "outputs"
	var enabled []string
	for _, c := range channels {
		if !flag(e.config.get(c.name, "enabled"), false) {
			continue
		}
		if c.needs != "" && text(e.config.get(c.name, c.needs)) == "" {
			e.fail(e.config.at(e.config.get(c.name)), "write "+c.needs+" below it", "%s is enabled and has no %s; Falco does not start", c.name, c.needs)
		}
		enabled = append(enabled, c.name)
	}
	if len(enabled) == 0 {
		e.fail(e.config.at(e.config.get("stdout_output")), "write stdout_output: {enabled: true}", "no output is enabled: alerts go nowhere")
		return
	}
	if b := e.config.get("buffered_outputs"); flag(b, false) {
		e.warn(e.config.at(b), "write buffered_outputs: false", "outputs are buffered: alerts are seen when there are many of them")
	}
	e.ok("", "alerts go to %s", strings.Join(enabled, ", "))
}

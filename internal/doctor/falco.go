package doctor

import (
	"slices"
	"strings"

	"kaudit"
	"kaudit/pkg/rules"
)

// engine looks at what Falco reads besides, and at which sources are switched off.
func (e *examination) engine(set *rules.Ruleset) {
	e.check = "engine"
	source := kaudit.Plugin().Source
	switch kind := e.config.get("engine", "kind"); text(kind) {
	case "nodriver":
		e.ok(e.config.at(kind), "no system calls are watched, so Falco needs no driver")
	case "modern_ebpf", "kmod":
		if slices.Contains(e.DisableSources, "syscall") || len(e.EnableSources) > 0 && !slices.Contains(e.EnableSources, "syscall") {
			e.ok(e.config.at(kind), "system calls are switched off")
			break
		}
		if set == nil || slices.ContainsFunc(set.Rules, func(r *rules.Rule) bool { return r.Source == "syscall" && r.Enabled }) {
			e.ok(e.config.at(kind), "system calls are watched, too (%s)", text(kind))
			break
		}
		e.warn(e.config.at(kind), "write engine: {kind: nodriver}", "engine.kind is %s, and no rule is about system calls; where Falco may not watch them it ends, and the audit events with it", text(kind))
	case "":
		if kind == nil {
			e.warn(e.config.at(e.config.get("engine")), "for audit events alone write engine: {kind: nodriver}", "engine.kind is not set, and Falco takes kmod: it ends where that driver is not loaded")
			break
		}
		e.fail(e.config.at(kind), "write engine: {kind: nodriver}", "engine.kind is empty; Falco does not start")
	case "replay":
		e.fail(e.config.at(kind), "write engine: {kind: nodriver}", "engine.kind is replay: Falco reads a capture, and opens no plugin")
	default:
		e.fail(e.config.at(kind), "write nodriver, modern_ebpf or kmod", "engine.kind %q is none that Falco %v knows; it does not start", text(kind), e.Falco)
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

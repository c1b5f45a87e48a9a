package doctor

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// A mount is a folder or file of the machine in the API server's container.
type mount struct {
	path, host string
	readOnly   bool
}

// A staticPod is the pod of an API server, as kubeadm writes it to /etc/kubernetes/manifests.
type staticPod struct {
	name   string
	args   map[string]*yaml.Node // by flag, without --
	values map[string]string
	mounts []mount
	at     string // of the container
}

func (p *staticPod) flagAt(flag string) string {
	return fmt.Sprintf("%s:%d", p.name, p.args[flag].Line)
}

// onHost returns where a path of the API server's container is on this machine, the path itself if that is not known.
func (e *examination) onHost(file string) string {
	if e.pod == nil {
		return file
	}
	if m := e.pod.mounted(file); m != nil {
		return filepath.Join(m.host, strings.TrimPrefix(file, m.path))
	}
	return file
}

// mounted returns the mount that a path is in.
func (p *staticPod) mounted(file string) (best *mount) {
	for i := range p.mounts {
		m := &p.mounts[i]
		if (file == m.path || strings.HasPrefix(file, strings.TrimSuffix(m.path, "/")+"/")) && (best == nil || len(m.path) > len(best.path)) {
			best = m
		}
	}
	return best
}

// readManifest reads the pod of an API server.
func readManifest(name string) (*staticPod, error) {
	root, err := readYAML(name)
	if err != nil {
		return nil, err
	}
	spec := find(root, "spec")
	volumes := map[string]string{}
	for _, v := range items(find(spec, "volumes")) {
		volumes[text(find(v, "name"))] = text(find(find(v, "hostPath"), "path"))
	}
	for _, c := range items(find(spec, "containers")) {
		p := &staticPod{name: name, args: map[string]*yaml.Node{}, values: map[string]string{}, at: fmt.Sprintf("%s:%d", name, c.Line)}
		found := text(find(c, "name")) == "kube-apiserver"
		words := append(append([]*yaml.Node{}, items(find(c, "command"))...), items(find(c, "args"))...)
		for i, w := range words {
			found = found || path.Base(w.Value) == "kube-apiserver"
			flag, ok := strings.CutPrefix(w.Value, "--")
			if !ok {
				continue
			}
			flag, value, joined := strings.Cut(flag, "=")
			if !joined && i+1 < len(words) && !strings.HasPrefix(words[i+1].Value, "--") {
				value = words[i+1].Value
			}
			p.args[flag], p.values[flag] = w, value
		}
		if !found {
			continue
		}
		for _, m := range items(find(c, "volumeMounts")) {
			if host := volumes[text(find(m, "name"))]; host != "" {
				p.mounts = append(p.mounts, mount{path: path.Clean(text(find(m, "mountPath"))), host: host, readOnly: flag(find(m, "readOnly"), false)})
			}
		}
		return p, nil
	}
	return nil, fmt.Errorf("%s: there is no container kube-apiserver in it", name)
}

// manifest looks at the flags of the API server, and goes on with the files that they name.
func (e *examination) manifest(hooks []*hook) {
	e.check = "API server"
	p, err := readManifest(e.Manifest)
	if err != nil {
		e.fail(e.Manifest, "name the static pod of the API server, as /etc/kubernetes/manifests/kube-apiserver.yaml", "%v", err)
		return
	}
	e.pod = p
	if file := e.flagFile(p, "audit-policy-file", "the API server records nothing without a policy"); file != "" && e.Policy == "" {
		e.Policy = file
	}
	hook, log := p.values["audit-webhook-config-file"], p.values["audit-log-path"]
	if hook == "" && log == "" {
		e.fail(p.at, "write --audit-webhook-config-file=/etc/kubernetes/audit/webhook.yaml; kaudit certs makes that file", "the API server sends events nowhere: there is neither --audit-webhook-config-file nor --audit-log-path")
	}
	if hook != "" {
		if file := e.flagFile(p, "audit-webhook-config-file", ""); file != "" && e.Kubeconfig == "" {
			e.Kubeconfig = file
		}
		e.batches(p)
	}
	if hook == "" && log != "" && len(hooks) > 0 && len(e.logs) == 0 {
		e.fail(p.at, "write --audit-webhook-config-file; kaudit certs makes that file", "the API server posts nothing, and the plugin waits for what is posted (%s)", hooks[0].at)
	}
	if log != "" && log != "-" {
		e.logPath(p, log)
	}
}

// flagFile looks at the file that a flag names, and returns where it is on this machine.
func (e *examination) flagFile(p *staticPod, flag, without string) string {
	file := p.values[flag]
	if file == "" {
		e.fail(p.at, "write --"+flag+"=/etc/kubernetes/audit/audit-policy.yaml", "%s: there is no --%s", without, flag)
		return ""
	}
	m := p.mounted(file)
	if m == nil {
		e.fail(p.flagAt(flag), "mount its folder: a hostPath volume and a volumeMount, as build/kubernetes/kubeadm.yaml has it", "--%s is %s, and no volume is mounted there: the API server does not start", flag, file)
		return ""
	}
	host := e.onHost(file)
	if _, err := os.Stat(host); err != nil {
		e.fail(p.flagAt(flag), "put it there", "--%s is %s, on this machine %s: %v", flag, file, host, unwrapped(err))
		return ""
	}
	e.ok(p.flagAt(flag), "--%s is %s, on this machine %s", flag, file, host)
	return host
}

// usualWait is how long the API server collects events for the webhook without a flag.
const usualWait = 30 * time.Second

// batches looks at how long events wait in the API server.
func (e *examination) batches(p *staticPod) {
	if mode := p.values["audit-webhook-mode"]; mode == "blocking" || mode == "blocking-strict" {
		e.warn(p.flagAt("audit-webhook-mode"), "write batch", "--audit-webhook-mode is %s: each request to the API server waits for Falco", mode)
		return
	}
	wait, at := usualWait, p.at
	if text := p.values["audit-webhook-batch-max-wait"]; text != "" {
		at = p.flagAt("audit-webhook-batch-max-wait")
		var err error
		if wait, err = time.ParseDuration(text); err != nil {
			e.fail(at, "write 5s", "--audit-webhook-batch-max-wait %q is no duration: the API server does not start", text)
			return
		}
	}
	if wait >= usualWait {
		e.warn(at, "write --audit-webhook-batch-max-wait=5s", "events wait in the API server for up to %v", wait)
		return
	}
	e.ok(at, "events wait in the API server for %v at most", wait)
}

// logPath looks at the log that the API server writes.
func (e *examination) logPath(p *staticPod, log string) {
	at := p.flagAt("audit-log-path")
	m := p.mounted(log)
	switch {
	case m == nil:
		e.fail(at, "mount its folder: a hostPath volume and a volumeMount", "--audit-log-path is %s, and no volume is mounted there: the log is in the container, where Falco does not see it", log)
		return
	case m.readOnly:
		e.fail(at, "take readOnly out of the volumeMount of "+m.path, "--audit-log-path is %s, and %s is mounted read-only: the API server does not start", log, m.path)
		return
	}
	host := e.onHost(log)
	if len(e.logs) > 0 && !slices.ContainsFunc(e.logs, func(log string) bool { return reads(log, host) }) {
		e.fail(at, "write "+filepath.Dir(host)+" into open_params", "the API server writes to %s, and the plugin reads %s", host, strings.Join(e.logs, ", "))
		return
	}
	e.ok(at, "--audit-log-path is %s, on this machine %s", log, host)
}

// reads reports whether a source that reads a file, a folder or what fits a pattern reads a file.
func reads(log, file string) bool {
	fits, _ := filepath.Match(log, file)
	return fits || log == file || log == filepath.Dir(file)
}

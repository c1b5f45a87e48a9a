package doctor

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"

	"kaudit/internal/config"
	"kaudit/pkg/source"
)

// A hook is a webhook of the plugin: what it is told to be.
type hook struct {
	source config.Source
	at     string
	url    *url.URL
	keys   *keyPair // nil without TLS, or when they cannot be read
	client *client  // what an API server shows of itself, if its kubeconfig is known

	door      door // who may send
	belowPath bool // the name of a cluster stands behind the path
}

// sources looks at everything that events are read from.
func (e *examination) sources(p *loaded) []*hook {
	c, at, ok := e.settings(p.ours)
	if !ok {
		return nil
	}
	open := find(p.ours.node, "open_params")
	params := strings.TrimSpace(text(open))
	if open != nil {
		at = e.config.at(open)
	}
	e.check = "open_params"
	if params == "" && len(c.Sources) == 0 {
		e.fail(at, "write open_params: http://127.0.0.1:9765/k8s-audit", "open_params is empty, and init_config has no sources: nothing is read")
		return nil
	}
	list, err := c.All(params)
	if err != nil {
		e.fail(at, "", "%s; Falco does not start", config.WithoutParameters(err).Error())
		return nil
	}
	e.alone = len(list) == 1
	entries := items(valueAt(find(p.ours.node, "init_config"), "sources"))
	var hooks []*hook
	for i, s := range list {
		e.check = "source " + s.Name
		where := at
		if i -= len(list) - len(c.Sources); i >= 0 && i < len(entries) { // those of the list are behind that of open_params
			where = e.config.at(entries[i])
		}
		switch s.Kind().Name {
		case "webhook":
			if h := e.webhook(s, where, hooks); h != nil {
				hooks = append(hooks, h)
			}
		case "file":
			e.file(s, where)
		case "tail":
			e.followed(s, where)
		default:
			e.open(s, where)
		}
	}
	return hooks
}

// valueAt returns the value of a key of a mapping, whichever way the key is written.
func valueAt(m *yaml.Node, name string) *yaml.Node {
	for i := 0; m != nil && m.Kind == yaml.MappingNode && i+1 < len(m.Content); i += 2 {
		if source.SameKey(m.Content[i].Value, name) {
			return m.Content[i+1]
		}
	}
	return nil
}

// cannotOpen reports that a source cannot be opened. What the operating system refuses is tried again if there are
// others.
func (e *examination) cannotOpen(at string, err error) {
	do, then := "", "Falco does not start"
	if errors.Is(err, fs.ErrPermission) {
		do = "let the user that Falco runs as do so"
	}
	if !e.alone && errors.As(err, new(syscall.Errno)) {
		then = "it is tried again and again"
	}
	e.fail(at, do, "%s; %s", config.WithoutParameters(err).Error(), then)
}

// open opens a source as the plugin does, and closes it again.
func (e *examination) open(s config.Source, at string) bool {
	before := len(e.report.Findings)
	src, err := s.New(source.Env{Log: e.logger(at, nil)})
	if err != nil {
		e.cannotOpen(at, err)
		return false
	}
	if c, ok := src.(io.Closer); ok {
		c.Close()
	}
	if len(e.report.Findings) == before && s.Kind().Name != "file" {
		e.ok(at, "%s can be opened", s.Open)
	}
	return true
}

// webhook looks at the address of a webhook, and at its certificate.
func (e *examination) webhook(s config.Source, at string, before []*hook) *hook {
	u, err := url.Parse(s.Open)
	if err != nil || u.Port() == "" {
		e.fail(at, "write it like https://:9765/k8s-audit", "%q is no address with a port; Falco does not start", s.Open)
		return nil
	}
	if u.Path == "" {
		u.Path = "/"
	}
	h := &hook{source: s, at: at, url: u}
	for _, other := range before {
		if other.url.Port() == u.Port() && u.Port() != "0" && (other.url.Hostname() == u.Hostname() || isAny(other.url) || isAny(u)) {
			e.fail(at, "give each source a port of its own", "source %s listens at port %s, too", other.source.Name, u.Port())
		}
	}
	if port := text(e.config.get("webserver", "listen_port")); flag(e.config.get("webserver", "enabled"), false) && (port == u.Port() || port == "" && u.Port() == "8765") {
		e.fail(at, "write another port, as 9765", "port %s is that of Falco's own web server, at %s", u.Port(), e.config.at(e.config.get("webserver")))
	}
	var settings webhookSettings
	for _, known := range source.Settings(s.Kind().Config()) {
		if known.Name == "sslCertificate" {
			settings.SSLCertificate, _ = known.Default.(string)
		}
	}
	if err := s.Decode(&settings); err != nil {
		e.fail(at, "docs/configuration.md has all settings", "%v; Falco does not start", err)
		return h
	}
	h.belowPath = settings.ClusterFrom == "path"
	if u.Scheme == "https" {
		if h.keys = e.readKeys(settings, at); h.keys == nil {
			return h
		}
	}
	if !e.trial(s, u, at) {
		return h
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && (ip == nil || !ip.IsLoopback()) {
		e.warn(at, "write https, and let kaudit certs make the certificate; or listen at 127.0.0.1", "events come without TLS: whoever is on the way reads them, and can send his own")
	}
	h.door = newDoor(settings)
	return h
}

// webhookSettings are those of a webhook that say something of what API servers need. A version of the plugin may lack
// some.
type webhookSettings struct {
	SSLCertificate string   `json:"sslCertificate"`
	SSLKey         string   `json:"sslKey"`
	SSLClientCA    string   `json:"sslClientCA"`
	SSLClientNames []string `json:"sslClientNames"`
	WebhookTokens  string   `json:"webhookTokens"`
	ClusterFrom    string   `json:"clusterFrom"`
}

// trial opens a webhook with its settings, at a port that is free, and reports whether that can be done.
func (e *examination) trial(s config.Source, u *url.URL, at string) bool {
	elsewhere := *u
	elsewhere.Host = net.JoinHostPort(u.Hostname(), "0")
	s.Open = elsewhere.String()
	src, err := s.New(source.Env{Log: e.logger(at, nil)})
	if err != nil {
		e.fail(at, "", "%s; Falco does not start", strings.ReplaceAll(config.WithoutParameters(err).Error(), ":0/", ":"+u.Port()+"/"))
		return false
	}
	if c, ok := src.(io.Closer); ok {
		c.Close()
	}
	return true
}

// isAny reports whether an address is that of all interfaces.
func isAny(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "" || ip != nil && ip.IsUnspecified()
}

// stale is how old the last event of a cluster may be: leases alone make several a second.
const stale = 10 * time.Minute

// file looks at a log: is it there, may it be read, is it written?
func (e *examination) file(s config.Source, at string) {
	if s.Open == "-" {
		e.warn(at, "name a file or a webhook, unless Falco is started behind a pipe", "events come from standard input")
		return
	}
	path := s.Open
	e.logs = append(e.logs, filepath.Clean(path))
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.fail(at, "write the path that the API server has in --audit-log-path, as it is on this machine", "%s is not there", path)
		return
	case errors.Is(err, fs.ErrPermission):
		e.fail(at, "let the user that Falco runs as read the folder", "%s may not be read by this user", path)
		return
	case err != nil:
		e.fail(at, "", "%v", err)
		return
	}
	last := info
	if info.IsDir() {
		if last = newest(path); last == nil {
			e.fail(at, "write the folder that the API server writes to", "%s has no file in it", path)
			return
		}
	}
	if !e.open(s, at) {
		return
	}
	if last.Mode().IsRegular() {
		e.written(last, at)
		then := "no further"
		if e.alone {
			then = "then Falco ends"
		}
		e.ok(at, "%s is read to its end, and %s; file://%s would stay with what is written", path, then, path)
	}
}

// followed looks at logs that are followed: paths, patterns and folders, with commas between.
func (e *examination) followed(s config.Source, at string) {
	var settings struct {
		FileCheckpointDir string `json:"fileCheckpointDir"`
	}
	if err := s.Decode(&settings); err != nil {
		e.fail(at, "docs/configuration.md has all settings", "%v; Falco does not start", err)
		return
	}
	switch { // opening it would make the folder
	case settings.FileCheckpointDir != "":
		e.folder("fileCheckpointDir", settings.FileCheckpointDir, at)
	case !e.open(s, at):
		return
	}
	for _, pattern := range strings.Split(strings.TrimPrefix(s.Open, "file://"), ",") {
		e.logs = append(e.logs, filepath.Clean(pattern))
		matches, _ := filepath.Glob(pattern)
		var last fs.FileInfo
		for _, name := range matches {
			info, err := os.Stat(name)
			if err == nil && info.IsDir() {
				info = newest(name)
			}
			if err != nil || info == nil {
				continue
			}
			if info.Mode().IsRegular() && syscall.Access(name, 4) != nil {
				e.fail(at, "let the user that Falco runs as read it", "%s may not be read by this user", name)
			}
			if last == nil || info.ModTime().After(last.ModTime()) {
				last = info
			}
		}
		if last == nil {
			e.fail(at, "write the path that the API server has in --audit-log-path, as it is on this machine", "there is no log at %s yet", pattern)
			continue
		}
		e.written(last, at)
	}
}

// written looks when a log was written last.
func (e *examination) written(info fs.FileInfo, at string) {
	if info.Size() == 0 {
		e.warn(at, "look whether the API server writes to it: --audit-log-path, and a policy", "%s is empty", info.Name())
	}
	if age := e.Now().Sub(info.ModTime()).Round(time.Second); age > stale {
		e.warn(at, "look whether the API server still writes to it: its --audit-log-path, and whether the log was rotated to another name", "%s was written last %v ago", info.Name(), age)
	}
}

// folder looks at a folder that the plugin writes to, and may make itself.
func (e *examination) folder(setting, dir, at string) {
	info, err := os.Stat(dir)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		e.fail(at, "let the user that Falco runs as write there", "%s: %s: %v", setting, dir, unwrapped(err))
	case err == nil && !info.IsDir():
		e.fail(at, "write the path of a folder", "%s: %s is no folder", setting, dir)
	case err == nil && syscall.Access(dir, 2) != nil:
		e.fail(at, "let the user that Falco runs as write there", "%s: this user may not write to %s", setting, dir)
	}
}

// newest returns the file of a folder that was written last.
func newest(dir string) (last fs.FileInfo) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		info, err := os.Stat(filepath.Join(dir, entry.Name()))
		if err == nil && info.Mode().IsRegular() && (last == nil || info.ModTime().After(last.ModTime())) {
			last = info
		}
	}
	return last
}

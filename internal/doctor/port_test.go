package doctor_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kaudit/internal/doctor"
	"kaudit/pkg/source"
	"kaudit/pkg/source/webhook"
	"kaudit/test/e2e"
)

type nowhere struct{}

func (nowhere) Deliver(context.Context, source.Delivery) error { return source.ErrRejected }

// listen runs the plugin's own webhook, and returns its port.
func listen(t *testing.T, scheme, certificate string) string {
	t.Helper()
	src, err := webhook.Kind.Open(scheme+"://127.0.0.1:0/k8s-audit", map[string]any{"sslCertificate": certificate}, source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = src.Run(ctx, nowhere{})
	}()
	t.Cleanup(func() { stop(); <-done })
	return port(src.(interface{ Addr() net.Addr }).Addr().String())
}

func port(address string) string {
	_, port, _ := strings.Cut(address, ":")
	return port
}

// free returns a port at which nobody listens.
func free(t *testing.T) string {
	t.Helper()
	return port(e2e.FreeAddress(t))
}

// answering is a server that is not ours.
func answering(t *testing.T, answer string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) }))
	t.Cleanup(server.Close)
	return port(server.Listener.Addr().String())
}

// closing is a server that hangs up.
func closing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn)) // what was not read would reset the connection
			conn.Close()
		}
	}()
	return port(l.Addr().String())
}

// asking is a webhook that asks for client certificates.
func asking(t *testing.T, s *subject) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "server.pem"), filepath.Join(s.dir, "server.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(s.dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, Time: s.options.Now}
	server.StartTLS()
	t.Cleanup(server.Close)
	return port(server.Listener.Addr().String())
}

// TestPort connects to the plugin's own webhook, and to what else may have its port.
func TestPort(t *testing.T) {
	const (
		none    = "user: {}"
		trusted = "user: {client-certificate: client.crt, client-key: client.key}"
		foreign = "user: {client-certificate: foreign.crt, client-key: foreign.key}"
	)
	for name, test := range map[string]struct {
		scheme string // in open_params
		port   func(t *testing.T, s *subject) string
		user   string // of a kubeconfig; without it there is none
		want   string // of the last finding
	}{
		"it listens": {
			"http", func(t *testing.T, _ *subject) string { return listen(t, "http", "") }, "",
			"ok source webhook: Falco listens at 127.0.0.1:PORT",
		},
		"with TLS": {
			"https", func(t *testing.T, s *subject) string { return listen(t, "https", filepath.Join(s.dir, "server.pem")) }, none,
			"ok source webhook: Falco listens at 127.0.0.1:PORT",
		},
		"another certificate": {
			"https", func(t *testing.T, s *subject) string { return listen(t, "https", filepath.Join(s.dir, "ends.pem")) }, "",
			"fail source webhook: 127.0.0.1:PORT shows another certificate than this one, for audit.example.com",
		},
		"it wants TLS": {
			"http", func(t *testing.T, s *subject) string { return listen(t, "https", filepath.Join(s.dir, "server.pem")) }, "",
			"fail source webhook: what listens at 127.0.0.1:PORT wants TLS: Falco runs with another configuration, or something else has the port",
		},
		"it speaks no TLS": {
			"https", func(t *testing.T, _ *subject) string { return listen(t, "http", "") }, "",
			"fail source webhook: what listens at 127.0.0.1:PORT speaks no TLS: Falco runs with another configuration, or something else has the port",
		},
		"nobody listens": {
			"http", func(t *testing.T, _ *subject) string { return free(t) }, "",
			"fail source webhook: nothing listens at 127.0.0.1:PORT: Falco does not run on this machine, or reads another configuration",
		},
		"something else": {
			"http", func(t *testing.T, _ *subject) string { return answering(t, `{"status": "ok"}`) }, "",
			"fail source webhook: what listens at 127.0.0.1:PORT is something else: it answers 200 to /healthz",
		},
		"it hangs up": {
			"http", func(t *testing.T, _ *subject) string { return closing(t) }, "",
			"fail source webhook: 127.0.0.1:PORT does not answer: EOF",
		},
		"asks for a certificate": {
			"https", asking, "",
			"warn source webhook: 127.0.0.1:PORT asks for a client certificate",
		},
		"asks, and there is none": {
			"https", asking, none,
			"fail source webhook: 127.0.0.1:PORT asks for a client certificate, and the kubeconfig has none",
		},
		"asks for another": {
			"https", asking, foreign,
			"fail source webhook: 127.0.0.1:PORT does not take the client certificate of the kubeconfig: tls: unknown certificate authority",
		},
		"asks, and gets it": {
			"https", asking, trusted,
			"ok source webhook: Falco listens at 127.0.0.1:PORT",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSubject(t)
			s.certificates(t)
			key, cert := newAuthority(t).issue(t, forClient())
			s.write(t, "foreign.key", key)
			s.write(t, "foreign.crt", cert)
			s.options.Offline = false
			at := test.port(t, s)
			s.fill(t, "falco.yaml", fmt.Sprintf(`engine: {kind: nodriver}
plugins: [{name: k8saudit, library_path: libk8saudit.so, open_params: "%s://127.0.0.1:%s/k8s-audit", init_config: {sslCertificate: "DIR/server.pem"}}]
stdout_output: {enabled: true}
rules_files: ["DIR/rules.yaml"]
`, test.scheme, at))
			if test.user != "" {
				s.options.Kubeconfig = filepath.Join(s.dir, "webhook.yaml")
				s.fill(t, "webhook.yaml", fmt.Sprintf(`clusters: [{name: c, cluster: {server: "https://10.0.0.5:%s/k8s-audit", certificate-authority: ca.crt}}]
users: [{name: u, %s}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, at, test.user))
			}
			report, err := doctor.Run(t.Context(), s.options)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(s.render(report), at, "PORT")
			if !strings.Contains(text, "\n"+test.want+"\n") {
				t.Errorf("want %s in\n%s", test.want, text)
			}
			if failed := report.Count(doctor.Fail) > 0; failed != strings.HasPrefix(test.want, "fail") {
				t.Errorf("want %s, and no other failure in\n%s", test.want, text)
			}
		})
	}
}

// TestShippedConfigurations looks at the configurations of build/falco, with the libraries as they are built, where Falco
// would find them: the one of the package, with that fragment in config.d.
func TestShippedConfigurations(t *testing.T) {
	if testing.Short() {
		t.Skip("the libraries are built")
	}
	so, err := os.ReadFile(e2e.Library(t))
	if err != nil {
		t.Fatal(err)
	}
	jsonSO, err := os.ReadFile(e2e.JSONLibrary(t))
	if err != nil {
		t.Fatal(err)
	}
	fragments, err := filepath.Glob(filepath.Join(e2e.Root(t), "build", "falco", "*.yaml"))
	if err != nil || len(fragments) == 0 {
		t.Fatal("no configurations: ", err)
	}
	for _, fragment := range fragments {
		t.Run(filepath.Base(fragment), func(t *testing.T) {
			s := newSubject(t)
			s.certificates(t)
			s.write(t, "plugins/libk8saudit.so", so)
			s.write(t, "plugins/libjson.so", jsonSO)
			s.write(t, "log/audit.log", []byte("{}\n"))
			content, err := os.ReadFile(fragment)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.NewReplacer("/etc/falco/certs", "DIR", "/etc/falco/kaudit_rules.yaml", filepath.Join(e2e.Root(t), "rules"),
				"/etc/falco/k8s_audit_rules.yaml", filepath.Join(e2e.Root(t), "test/e2e/packaging/testdata/json_rules.yaml"),
				"/var/log/kubernetes/audit", "DIR/log").Replace(string(content))
			s.fill(t, "config.d/kaudit.yaml", text)
			s.fill(t, "falco.yaml", "config_files: [DIR/config.d]\nrules_files: []\nload_plugins: []\nplugins: []\nstdout_output: {enabled: true}\n")
			report, err := doctor.Run(t.Context(), s.options)
			if err != nil {
				t.Fatal(err)
			}
			if report.Count(doctor.Fail)+report.Count(doctor.Warn) > 0 {
				t.Errorf("it is not right:\n%s", s.render(report))
			}
		})
	}
}

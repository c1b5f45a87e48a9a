package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func certs(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	var out bytes.Buffer
	code = run(append([]string{"certs"}, args...), &out, &out)
	return code, out.String()
}

// What is made works as it is: a server with server.pem is trusted by whom webhook.yaml configures, under each of its names.
func TestCertificatesWorkTogether(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	code, out := certs(t, "--dir", dir, "--host", "audit.example.com", "--host", "127.0.0.1,::1", "--client", "prod-eu", "--port", "443", "--path", "/k8s-audit/prod-eu")
	if code != exitOK || strings.Count(out, dir) != 5 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 5 {
		t.Fatalf("%d files, want 5: %v", len(files), err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
	config, err := os.ReadFile(filepath.Join(dir, webhookFile))
	if err != nil || !bytes.Contains(config, []byte("server: https://audit.example.com:443/k8s-audit/prod-eu\n")) {
		t.Errorf("%s, %v", config, err)
	}
	embedded := func(key string) []byte {
		data := regexp.MustCompile(key + `: (\S+)`).FindSubmatch(config)
		text, err := base64.StdEncoding.DecodeString(string(data[1]))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	ca := embedded("certificate-authority-data")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	server, err := tls.LoadX509KeyPair(filepath.Join(dir, serverFile), filepath.Join(dir, serverFile))
	if err != nil {
		t.Fatal(err)
	}
	client, err := tls.X509KeyPair(embedded("client-certificate-data"), embedded("client-key-data"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, clientFile)); err != nil || !bytes.Contains(text, embedded("client-key-data")) {
		t.Errorf("client.pem and webhook.yaml have different keys: %v", err)
	}
	var peer string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		peer = r.TLS.PeerCertificates[0].Subject.CommonName
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	s.StartTLS()
	defer s.Close()
	for _, name := range []string{"audit.example.com", "127.0.0.1", "::1"} {
		c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
			RootCAs: pool, ServerName: name, Certificates: []tls.Certificate{client},
		}}}
		response, err := c.Get(s.URL)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		response.Body.Close()
	}
	if peer != "prod-eu" {
		t.Errorf("the client is called %q", peer)
	}
}

func TestCertificatesAreNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	if code, out := certs(t, "--dir", dir, "--host", "a"); code != exitOK {
		t.Fatal(out)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	ca, server := read(authorityCert), read(serverFile)
	if code, out := certs(t, "--dir", dir, "--host", "b"); code != exitFailed || !strings.Contains(out, "is there already; remove it") || read(serverFile) != server {
		t.Errorf("exit code %d: %s", code, out)
	}
	// Renewed by the same authority, so that API servers need no new configuration.
	for _, name := range []string{serverFile, clientFile, webhookFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := certs(t, "--dir", dir, "--host", "b"); code != exitOK || read(serverFile) == server || read(authorityCert) != ca {
		t.Errorf("exit code %d: %s", code, out)
	}
	if err := os.Remove(filepath.Join(dir, authorityKey)); err != nil {
		t.Fatal(err)
	}
	if code, out := certs(t, "--dir", dir, "--host", "b"); code != exitFailed || !strings.Contains(out, "put the other there") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestCertificatesNeedSense(t *testing.T) {
	for want, args := range map[string][]string{
		"--host: name the host":         nil,
		"--days 0":                      {"--host", "a", "--days", "0"},
		"--port 70000":                  {"--host", "a", "--port", "70000"},
		"--client: name":                {"--host", "a", "--client", ""},
		"--path \"k8s-audit\"":          {"--host", "a", "--path", "k8s-audit"},
		"the authority in":              {"--host", "a", "--days", "99999", "--dir", t.TempDir()},
		"takes no argument":             {"a"},
		`did you mean "--host"`:         {"--hots", "a"},
		"/dev/null/x/ca.crt: not a dir": {"--host", "a", "--dir", "/dev/null/x"},
	} {
		if code, out := certs(t, args...); code == exitOK || !strings.Contains(out, want) {
			t.Errorf("%q: exit code %d: %s; want %s", args, code, out, want)
		}
	}
}

// An API server whose clock is a little behind trusts a certificate that was made just now.
func TestCertificatesAllowForClocks(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	if _, err := makeCertificates(dir, webhook{[]string{"a"}, 1, "/", "b"}, now, 1); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, serverFile), filepath.Join(dir, serverFile))
	if err != nil {
		t.Fatal(err)
	}
	if from, to := pair.Leaf.NotBefore, pair.Leaf.NotAfter; !from.Equal(now.Add(-clockSkew)) || !to.Equal(now.AddDate(0, 0, 1)) {
		t.Errorf("good from %v to %v", from, to)
	}
}

package webhook_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"kaudit/pkg/source"
	"kaudit/pkg/source/sourcetest"
	"kaudit/pkg/source/webhook"
)

const (
	goodToken  = "0123456789abcdef0123456789abcdef"
	otherToken = "fedcba9876543210fedcba9876543210"
)

// start runs a webhook with these settings, and TLS if there is an authority.
func start(t *testing.T, a *sourcetest.Authority, path string, settings map[string]any) *server {
	t.Helper()
	scheme, s := "http", &server{log: new(bytes.Buffer), result: make(chan error, 1), client: newClient(nil)}
	if a != nil {
		scheme, s.client = "https", newClient(a.Pool())
		if settings["sslCertificate"] == nil {
			settings["sslCertificate"] = a.Server(t)
		}
	}
	s.open(t, scheme, path, settings)
	return s
}

type guarded struct {
	mu sync.Mutex
	w  io.Writer
}

func (g *guarded) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.w.Write(b)
}

// as returns a client with this certificate.
func as(a *sourcetest.Authority, certificate ...tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: a.Pool(), Certificates: certificate},
		ForceAttemptHTTP2: true,
		DisableKeepAlives: true,
	}}
}

// ask posts an event and returns the answer's status; 0 if there was none.
func ask(t *testing.T, client *http.Client, url string, headers ...string) (int, http.Header) {
	t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(`{"auditID":"1"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp.StatusCode, resp.Header
}

func TestWhoMaySend(t *testing.T) {
	t.Parallel()
	ours, theirs := sourcetest.NewAuthority(t), sourcetest.NewAuthority(t)
	tokens := sourcetest.WriteFile(t, "tokens", []byte("# who sends\n\n"+goodToken+" fluent-bit\n"+otherToken+"\n"))
	ca := sourcetest.WriteFile(t, "ca.crt", ours.PEM)
	mutual := map[string]any{"sslClientCA": ca}
	named := map[string]any{"sslClientCA": ca, "sslClientNames": []string{"apiserver", "spiffe://prod/apiserver", "api.prod"}}
	withTokens := map[string]any{"webhookTokens": tokens}
	either := map[string]any{"webhookTokens": tokens, "sslClientCA": ca, "sslClientNames": []string{"apiserver"}}
	expired := sourcetest.Pair(t, ours, x509.Certificate{
		Subject: pkix.Name{CommonName: "apiserver"}, NotAfter: time.Now().Add(-time.Minute), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	serving := sourcetest.Pair(t, ours, x509.Certificate{
		Subject: pkix.Name{CommonName: "apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	dressed := sourcetest.Pair(t, ours, x509.Certificate{
		Subject: pkix.Name{CommonName: "spiffe://prod/apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	dns := sourcetest.Pair(t, ours, x509.Certificate{DNSNames: []string{"x", "api.prod"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	for _, group := range []struct {
		settings map[string]any
		rows     []struct {
			what        string
			certificate []tls.Certificate
			headers     []string
			status      int // 0: the handshake fails
		}
	}{
		{mutual, rows{
			{"a certificate", certs(ours.Client(t, "anybody")), nil, 200},
			{"no certificate", nil, nil, 401},
			{"no certificate, and a token nobody asked for", nil, []string{"Authorization: Bearer " + goodToken}, 401},
			{"another authority's", certs(theirs.Client(t, "apiserver")), nil, 0},
			{"an expired one", certs(expired), nil, 0},
			{"one for servers", certs(serving), nil, 0},
		}},
		{named, rows{
			{"the common name", certs(ours.Client(t, "apiserver")), nil, 200},
			{"the URI", certs(ours.Client(t, "spiffe://prod/apiserver")), nil, 200},
			{"the DNS name", certs(dns), nil, 200},
			{"a URI where there is none", certs(dressed), nil, 403},
			{"another name", certs(ours.Client(t, "kubelet")), nil, 403},
			{"a name that begins alike", certs(ours.Client(t, "apiserver2")), nil, 403},
			{"a name in another case", certs(ours.Client(t, "Apiserver")), nil, 403},
			{"no name", certs(ours.Client(t)), nil, 403},
		}},
		{withTokens, rows{
			{"a token with a name", nil, []string{"Authorization: Bearer " + goodToken}, 200},
			{"a token without", nil, []string{"Authorization: bearer  " + otherToken}, 200},
			{"none", nil, nil, 401},
			{"an empty one", nil, []string{"Authorization: Bearer "}, 401},
			{"a shorter one", nil, []string{"Authorization: Bearer " + goodToken[:31]}, 401},
			{"a longer one", nil, []string{"Authorization: Bearer " + goodToken + "0"}, 401},
			{"with its name", nil, []string{"Authorization: Bearer " + goodToken + " fluent-bit"}, 401},
			{"another scheme", nil, []string{"Authorization: Basic " + goodToken}, 401},
			{"no scheme", nil, []string{"Authorization: " + goodToken}, 401},
			{"two headers", nil, []string{"Authorization: Bearer " + goodToken, "Authorization: Bearer " + goodToken}, 401},
			{"a comment", nil, []string{"Authorization: Bearer #"}, 401},
			{"in the query, where logs keep it", nil, nil, 401},
		}},
		{either, rows{
			{"the certificate alone", certs(ours.Client(t, "apiserver")), nil, 200},
			{"the token alone", nil, []string{"Authorization: Bearer " + goodToken}, 200},
			{"another certificate and the token", certs(ours.Client(t, "other")), []string{"Authorization: Bearer " + goodToken}, 200},
			{"another certificate", certs(ours.Client(t, "other")), nil, 403},
			{"neither", nil, nil, 401},
		}},
	} {
		s := start(t, ours, "/k8s-audit", clone(group.settings))
		sent, refused := 0, uint64(0)
		for _, row := range group.rows {
			status, header := ask(t, as(ours, row.certificate...), s.url+"/k8s-audit?access_token="+goodToken, row.headers...)
			if status != row.status {
				t.Errorf("%v: %s: status %d, want %d", group.settings, row.what, status, row.status)
			}
			if challenge := header.Get("WWW-Authenticate"); (challenge != "") != (status == 401 && group.settings["webhookTokens"] != nil) {
				t.Errorf("%s: WWW-Authenticate is %q", row.what, challenge)
			}
			if row.status == 200 {
				sent++
			} else {
				refused++
			}
		}
		if status, _ := ask(t, as(ours), s.url+"/other"); status != 401 {
			t.Errorf("who sends to another path without proof is answered %d", status)
		}
		failures := func() uint64 {
			counts := s.counts()
			return counts["webhook.refused_unauthenticated"] + counts["webhook.refused_forbidden"] + counts["webhook.refused_certificate"]
		}
		// A client knows that its certificate is not good before that is counted, and stopping would be the reason then.
		eventually(t, "not every failure is counted", func() bool { return failures() >= refused+1 })
		s.stop(t)
		if n := len(s.delivered()); n != sent {
			t.Errorf("%v: %d deliveries, want %d", group.settings, n, sent)
		}
		told := uint64(0)
		for _, n := range s.told(source.AuthFailures) {
			told += n.Count
			if n.Message == "" || n.Source != s.addr {
				t.Errorf("the notice is %+v", n)
			}
		}
		if n := failures(); n != refused+1 || told != n {
			t.Errorf("%v: %d failures are counted and %d told, want %d: %v", group.settings, n, told, refused+1, s.counts())
		}
		for _, secret := range []string{goodToken, otherToken, "kubelet", "apiserver2"} {
			if strings.Contains(s.log.String(), secret) {
				t.Errorf("the log has %q: %s", secret, s.log)
			}
		}
	}
}

type rows = []struct {
	what        string
	certificate []tls.Certificate
	headers     []string
	status      int
}

func certs(c ...tls.Certificate) []tls.Certificate { return c }

func clone(m map[string]any) map[string]any {
	c := map[string]any{}
	for k, v := range m {
		c[k] = v
	}
	return c
}

// Who did not prove who it is is answered before the body is sent.
func TestRefusedBeforeTheBody(t *testing.T) {
	t.Parallel()
	s := start(t, nil, "/", map[string]any{"webhookTokens": sourcetest.WriteFile(t, "tokens", []byte(goodToken))})
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n{")
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 401 ") {
		t.Errorf("the answer begins with %q, %v", line, err)
	}
	s.stop(t)
}

func TestClusters(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	ca := sourcetest.WriteFile(t, "ca.crt", a.PEM)
	eu, us, both := a.Client(t, "eu"), a.Client(t, "us"), a.Client(t, "eu", "spiffe://us")
	clusters := map[string]any{"prod-eu": []string{"eu"}, "prod-us": []string{"us", "spiffe://us"}, "lab": nil}
	settings := func(from string) map[string]any {
		return map[string]any{"sslClientCA": ca, "clusterFrom": from, "clusters": clusters}
	}
	for _, group := range []struct {
		from string
		rows []struct {
			what    string
			who     tls.Certificate
			path    string
			headers []string
			status  int
			cluster string
		}
	}{
		{"path", clusterRows{
			{"its own", eu, "/k8s-audit/prod-eu?timeout=30s", nil, 200, "prod-eu"},
			{"everybody's", eu, "/k8s-audit/lab", nil, 200, "lab"},
			{"another's", eu, "/k8s-audit/prod-us", nil, 403, ""},
			{"nobody's", eu, "/k8s-audit/prod-xx", nil, 403, ""},
			{"none", eu, "/k8s-audit", nil, 404, ""},
			{"an empty one", eu, "/k8s-audit/", nil, 403, ""},
			{"below", eu, "/k8s-audit/prod-eu/x", nil, 403, ""},
			{"with a slash behind", eu, "/k8s-audit/prod-eu/", nil, 403, ""},
			{"written otherwise", eu, "/k8s-audit/%70rod-eu", nil, 403, ""},
			{"path written otherwise", eu, "/%6b8s-audit/prod-eu", nil, 404, ""},
			{"up and down", eu, "/k8s-audit/prod-us/../prod-eu", nil, 403, ""},
			{"up and down, hidden", eu, "/k8s-audit/prod-us%2f..%2fprod-eu", nil, 403, ""},
			{"a NUL behind", eu, "/k8s-audit/prod-eu%00", nil, 403, ""},
			{"a line end behind", eu, "/k8s-audit/prod-eu%0d%0aX:%20y", nil, 403, ""},
			{"another case", eu, "/k8s-audit/PROD-EU", nil, 403, ""},
			{"a header that means nothing here", eu, "/k8s-audit/prod-eu", []string{"X-Cluster: lab"}, 200, "prod-eu"},
		}},
		{"header", clusterRows{
			{"its own", eu, "/k8s-audit", []string{"X-Cluster: prod-eu"}, 200, "prod-eu"},
			{"in lower case", eu, "/k8s-audit", []string{"x-cluster: prod-eu"}, 200, "prod-eu"},
			{"another's", eu, "/k8s-audit", []string{"X-Cluster: prod-us"}, 403, ""},
			{"nobody's", eu, "/k8s-audit", []string{`X-Cluster: prod-eu","x":"`}, 403, ""},
			{"two", eu, "/k8s-audit", []string{"X-Cluster: prod-eu", "X-Cluster: prod-eu"}, 403, ""},
			{"none", eu, "/k8s-audit", nil, 403, ""},
			{"in the path", eu, "/k8s-audit/prod-eu", []string{"X-Cluster: prod-eu"}, 404, ""},
		}},
		{"sender", clusterRows{
			{"one's", eu, "/k8s-audit", nil, 200, "prod-eu"},
			{"the other's", us, "/k8s-audit", []string{"X-Cluster: prod-eu"}, 200, "prod-us"},
			{"who belongs to two", both, "/k8s-audit", nil, 403, ""},
			{"who belongs to none", a.Client(t, "x"), "/k8s-audit", nil, 403, ""},
		}},
	} {
		s := start(t, a, "/k8s-audit", settings(group.from))
		for _, row := range group.rows {
			before := len(s.delivered())
			if status, _ := ask(t, as(a, row.who), s.url+row.path, row.headers...); status != row.status {
				t.Errorf("%s: %s: status %d, want %d", group.from, row.what, status, row.status)
			}
			got := s.delivered()[before:]
			if (len(got) == 1) != (row.status == 200) || len(got) == 1 && got[0].Cluster != row.cluster {
				t.Errorf("%s: %s: delivered %+v", group.from, row.what, got)
			}
		}
		s.stop(t)
	}
}

type clusterRows = []struct {
	what    string
	who     tls.Certificate
	path    string
	headers []string
	status  int
	cluster string
}

// A token's name binds it to a cluster as a certificate's does.
func TestClusterOfAToken(t *testing.T) {
	t.Parallel()
	s := start(t, nil, "/", map[string]any{
		"webhookTokens": sourcetest.WriteFile(t, "tokens", []byte(goodToken+" eu\n"+otherToken+"\n")),
		"clusterFrom":   "sender", "clusters": map[string]any{"prod-eu": []string{"eu"}},
	})
	if status, _ := ask(t, s.client, s.url, "Authorization: Bearer "+goodToken); status != 200 {
		t.Errorf("status %d", status)
	}
	if status, _ := ask(t, s.client, s.url, "Authorization: Bearer "+otherToken); status != 403 {
		t.Errorf("a token without a name: status %d", status)
	}
	s.stop(t)
	if got := s.delivered(); len(got) != 1 || got[0].Cluster != "prod-eu" {
		t.Errorf("delivered %+v", got)
	}
}

// eventually waits for what takes a round of looking at files.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestTokensAreReadAgain(t *testing.T) {
	t.Parallel()
	file := sourcetest.WriteFile(t, "tokens", []byte(goodToken))
	s := start(t, nil, "/", map[string]any{"webhookTokens": file})
	status := func(token string) int {
		code, _ := ask(t, s.client, s.url, "Authorization: Bearer "+token)
		return code
	}
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(otherToken)
	eventually(t, "the new token is not taken", func() bool { return status(otherToken) == 200 })
	if code := status(goodToken); code != 401 {
		t.Errorf("the old token is answered %d", code)
	}
	write("short\n")
	eventually(t, "a broken file is not counted", func() bool { return s.counts()["webhook.files_unusable"] >= 1 })
	if code := status(otherToken); code != 200 {
		t.Errorf("with a broken file the token before is answered %d", code)
	}
	os.Remove(file)
	time.Sleep(1100 * time.Millisecond)
	if code := status(otherToken); code != 200 {
		t.Errorf("without the file the token before is answered %d", code)
	}
	write("# nobody\n")
	eventually(t, "a token is good that is in no file", func() bool { return status(otherToken) == 401 })
	s.stop(t)
	if n := s.counts()["webhook.files_reloaded"]; n != 2 {
		t.Errorf("the file was read again %d times", n)
	}
	if log := s.log.String(); strings.Count(log, "webhookTokens: what is new") != 1 || !strings.Contains(log, "line 1") || strings.Contains(log, "short ") {
		t.Errorf("the log is %s", log)
	}
}

// Certificate and key are in two files, which are written one after the other: there is no moment without a pair that fits.
func TestKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	here := x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, key := a.Issue(t, here)
	certFile, keyFile := sourcetest.WriteFile(t, "tls.crt", cert), sourcetest.WriteFile(t, "tls.key", key)
	s := start(t, a, "/", map[string]any{"sslCertificate": certFile, "sslKey": keyFile})
	serial := func() string {
		conn, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: a.Pool()})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if v := conn.ConnectionState().Version; v != tls.VersionTLS13 {
			t.Errorf("version %x", v)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	cert, key = a.Issue(t, here)
	os.WriteFile(certFile, cert, 0o600)
	eventually(t, "half a pair is not counted", func() bool { return s.counts()["webhook.files_unusable"] >= 1 })
	if half := serial(); half != first {
		t.Error("a certificate is used without its key")
	}
	os.WriteFile(keyFile, key, 0o600)
	eventually(t, "the new pair is not used", func() bool { return serial() != first })
	s.stop(t)
}

// Who was trusted once is not for ever: a connection that is open ends when its authority goes.
func TestAuthorityIsReplaced(t *testing.T) {
	t.Parallel()
	old, fresh := sourcetest.NewAuthority(t), sourcetest.NewAuthority(t)
	file := sourcetest.WriteFile(t, "ca.crt", append(bytes.Clone(old.PEM), fresh.PEM...))
	s := start(t, old, "/", map[string]any{"sslClientCA": file})
	client := func(c tls.Certificate) *http.Client {
		return &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: old.Pool(), Certificates: certs(c), ClientSessionCache: tls.NewLRUClientSessionCache(4)}, ForceAttemptHTTP2: true,
		}}
	}
	one, two := client(old.Client(t, "x")), client(fresh.Client(t, "x"))
	defer one.CloseIdleConnections()
	defer two.CloseIdleConnections()
	for _, c := range []*http.Client{one, two} {
		if status, _ := ask(t, c, s.url); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	os.WriteFile(file, fresh.PEM, 0o600)
	eventually(t, "a connection outlives its authority", func() bool { status, _ := ask(t, one, s.url); return status == 401 })
	one.CloseIdleConnections() // a new one, with what a session before left
	if status, _ := ask(t, one, s.url); status != 0 {
		t.Errorf("a session outlives its authority: %d", status)
	}
	if status, _ := ask(t, two, s.url); status != 200 {
		t.Errorf("the other authority: status %d", status)
	}
	s.stop(t)
}

func TestVersionsOfTLS(t *testing.T) {
	t.Parallel()
	a := sourcetest.NewAuthority(t)
	for _, row := range []struct {
		setting string
		version uint16
		ok      bool
	}{
		{"VersionTLS12", tls.VersionTLS11, false},
		{"VersionTLS12", tls.VersionTLS12, true},
		{"VersionTLS12", tls.VersionTLS13, true},
		{"VersionTLS13", tls.VersionTLS12, false},
		{"VersionTLS13", tls.VersionTLS13, true},
	} {
		s := start(t, a, "/", map[string]any{"sslMinVersion": row.setting})
		conn, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: a.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: row.version})
		if err == nil {
			conn.Close()
		}
		if (err == nil) != row.ok {
			t.Errorf("%s, a client with %x: %v", row.setting, row.version, err)
		}
		s.stop(t)
	}
}

func TestSettingsOfSenders(t *testing.T) {
	a := sourcetest.NewAuthority(t)
	ca, server := sourcetest.WriteFile(t, "ca.crt", a.PEM), a.Server(t)
	token := func(text string) map[string]any {
		return map[string]any{"webhookTokens": sourcetest.WriteFile(t, "tokens", []byte(text))}
	}
	for _, row := range []struct {
		open     string
		settings map[string]any
		says     string // empty: it opens
	}{
		{"http://:0", nil, "insecure: true"},
		{"http://0.0.0.0:0/k8s-audit", nil, "https://"},
		{"http://[::]:0", nil, "http://127.0.0.1:0"},
		{"http://:0", map[string]any{"insecure": true}, ""},
		{"http://localhost:0", nil, ""},
		{"http://127.8.9.1:0", nil, ""},
		{"https://127.0.0.1:0", map[string]any{"sslMinVersion": "VersionTLS10"}, "sslMinVersion"},
		{"https://127.0.0.1:0", map[string]any{"sslMinVersion": 1.3}, "sslMinVersion"},
		{"https://127.0.0.1:0", map[string]any{"sslKey": ca}, "sslKey"},
		{"https://127.0.0.1:0", map[string]any{"sslKey": ca + ".missing"}, "sslKey"},
		{"https://127.0.0.1:0", map[string]any{"sslCertificate": ca}, "sslCertificate"},
		{"https://127.0.0.1:0", map[string]any{"sslClientCA": ca + ".missing"}, "sslClientCA"},
		{"https://127.0.0.1:0", map[string]any{"sslClientCA": sourcetest.WriteFile(t, "empty", nil)}, "sslClientCA"},
		{"https://127.0.0.1:0", map[string]any{"sslClientCA": t.TempDir()}, "sslClientCA"},
		{"http://127.0.0.1:0", map[string]any{"sslClientCA": ca}, "https://127.0.0.1:0"},
		{"https://127.0.0.1:0", map[string]any{"sslClientNames": []string{"x"}}, "sslClientNames"},
		{"https://127.0.0.1:0", map[string]any{"sslClientCA": ca, "sslClientNames": []string{""}}, "sslClientNames"},
		{"http://127.0.0.1:0", token(""), "webhookTokens"},
		{"http://127.0.0.1:0", token("# only words\n"), "nobody could send"},
		{"http://127.0.0.1:0", token(goodToken + "\nshort\n"), "line 2"},
		{"http://127.0.0.1:0", token(goodToken + " a b"), "line 1"},
		{"http://127.0.0.1:0", token(goodToken + "\"x"), "letters, digits"},
		{"http://127.0.0.1:0", map[string]any{"webhookTokens": ca + ".missing"}, "webhookTokens"},
		{"http://127.0.0.1:0", map[string]any{"clusterFrom": "tea leaves"}, "path, sender and header"},
		{"http://127.0.0.1:0", map[string]any{"clusterFrom": "path"}, "clusters"},
		{"http://127.0.0.1:0", map[string]any{"clusters": map[string]any{"a": nil}}, "clusterFrom"},
		{"http://127.0.0.1:0", map[string]any{"clusterFrom": "path", "clusters": map[string]any{"a/b": nil}}, "a/b"},
		{"http://127.0.0.1:0", map[string]any{"clusterFrom": "path", "clusters": map[string]any{"a": []string{"x"}}}, "sslClientCA or webhookTokens"},
		{"http://127.0.0.1:0", map[string]any{"clusterFrom": "sender", "clusters": map[string]any{"a": []string{"x"}}}, "sender needs to know"},
		{"http://127.0.0.1:0", map[string]any{"clusterFrom": "header", "clusterHeader": "X Cluster", "clusters": map[string]any{"a": nil}}, "clusterHeader"},
		{"http://127.0.0.1:0", map[string]any{"clusterFrom": "path", "clusters": map[string]any{"a": nil}}, ""},
		{"https://127.0.0.1:0", map[string]any{"sslClientCA": ca, "clusterFrom": "sender", "clusters": map[string]any{"a": []string{"x"}, "b": []string{"x"}}}, "both a and b"},
		{"http://127.0.0.1:0", map[string]any{"webhookMaxConnections": 0}, "webhookMaxConnections"},
	} {
		settings := map[string]any{"sslCertificate": server}
		for k, v := range row.settings {
			settings[k] = v
		}
		src, err := webhook.Kind.Open(row.open, settings, source.Env{})
		if err == nil {
			src.(io.Closer).Close()
		}
		switch {
		case row.says == "" && err != nil:
			t.Errorf("%s %v: %v", row.open, row.settings, err)
		case row.says != "" && (err == nil || !strings.Contains(err.Error(), row.says)):
			t.Errorf("%s %v: the error is %v, without %q", row.open, row.settings, err, row.says)
		case err != nil && strings.Contains(err.Error(), goodToken):
			t.Errorf("the error has a token: %v", err)
		}
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	get := func(s *server, path string) int {
		resp, err := s.client.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	s := start(t, nil, "/k8s-audit", map[string]any{"webhookTokens": sourcetest.WriteFile(t, "tokens", []byte(goodToken))})
	if status := get(s, "/readyz"); status != 200 {
		t.Errorf("ready is %d", status)
	}
	s.full.Store(true)
	if status := get(s, "/readyz"); status != 503 {
		t.Errorf("ready is %d with a full spool", status)
	}
	if status := get(s, "/healthz"); status != 200 {
		t.Errorf("healthy is %d with a full spool", status)
	}
	// The body is not waited for.
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /k8s-audit HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 50000000\r\n\r\n{", goodToken)
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != 429 || answer.Header.Get("Retry-After") != "3" {
		t.Errorf("the answer is %v, %v", answer, err)
	}
	s.full.Store(false)
	eventually(t, "not ready again", func() bool { return get(s, "/readyz") == 200 })
	s.stop(t)
}

// A body that keeps no pace ends, long before a minute is over; one that does is taken, however long it takes.
func TestTempo(t *testing.T) {
	t.Parallel()
	s := start(t, nil, "/", map[string]any{})
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{")
	go func() {
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if _, err := conn.Write([]byte(" ")); err != nil {
				return
			}
		}
	}()
	began := time.Now()
	conn.SetReadDeadline(began.Add(30 * time.Second))
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != 408 {
		t.Errorf("the answer is %v, %v", answer, err)
	}
	if took := time.Since(began); took < 4*time.Second || took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	s.stop(t)
	if len(s.delivered()) > 0 || s.counts()["webhook.refused_slow"] != 1 {
		t.Errorf("%d deliveries, %v", len(s.delivered()), s.counts())
	}
}

// With too many connections those go that bring nothing.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	s := start(t, nil, "/", map[string]any{"webhookMaxConnections": 3})
	post := func(conn net.Conn) error {
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && answer.StatusCode != 200 {
			err = fmt.Errorf("status %s", answer.Status)
		}
		return err
	}
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	first, second := dial(), dial()
	for _, c := range []net.Conn{first, second} {
		if err := post(c); err != nil {
			t.Fatal(err)
		}
	}
	var idle []net.Conn
	for range 20 {
		idle = append(idle, dial())
	}
	eventually(t, "nothing was closed", func() bool { return s.counts()["webhook.refused_too_many_connections"] >= 19 })
	if err := post(first); err != nil {
		t.Errorf("who sent before: %v", err)
	}
	if err := post(idle[0]); err == nil {
		t.Error("the oldest that brought nothing is still there")
	}
	// Of those who all send, the one goes that did so the longest ago.
	if err := post(idle[19]); err != nil {
		t.Errorf("the newest: %v", err)
	}
	if err := post(dial()); err != nil {
		t.Errorf("one more: %v", err)
	}
	if err := post(second); err == nil {
		t.Error("the one that sent the longest ago is still there")
	}
	if err := post(first); err != nil {
		t.Errorf("one that sent since: %v", err)
	}
	s.stop(t)
}

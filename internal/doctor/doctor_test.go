package doctor_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"kaudit"
	"kaudit/internal/doctor"
	"kaudit/internal/golden"
	"kaudit/pkg/rules"
)

// noon is when all cases are looked at.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// A subject is a folder with what a case has, and what every case finds there: a library and certificates.
type subject struct {
	dir     string
	options doctor.Options
}

func newSubject(t *testing.T) *subject {
	t.Helper()
	dir := t.TempDir()
	s := &subject{dir: dir, options: doctor.Options{
		Config: filepath.Join(dir, "falco.yaml"), Proc: filepath.Join(dir, "proc"), PluginsDir: filepath.Join(dir, "plugins"), Offline: true, Now: func() time.Time { return noon },
	}}
	s.write(t, "plugins/libk8saudit.so", library(t))
	s.write(t, "plugins/libjson.so", library(t))
	s.write(t, "rules.yaml", []byte("- rule: Exec\n  desc: d\n  condition: ka.target.path = pods/exec and ka.done = true\n  output: exec by %ka.user.name\n  priority: WARNING\n  source: k8s_audit\n"))
	return s
}

func (s *subject) write(t *testing.T, name string, content []byte) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fill writes a file in whose text DIR stands for the folder.
func (s *subject) fill(t *testing.T, name, text string) {
	t.Helper()
	s.write(t, name, []byte(strings.ReplaceAll(text, "DIR", s.dir)))
}

// render prints a report as the command does, without what differs between runs and machines.
func (s *subject) render(report *doctor.Report) string {
	var b strings.Builder
	for _, f := range report.Findings {
		fmt.Fprintf(&b, "%s %s: %s\n", f.Status, f.Check, f.Text)
		if f.Status != doctor.OK {
			fmt.Fprintf(&b, "\tat %s\n\tdo %s\n", f.At, f.Do)
		}
	}
	return strings.NewReplacer(s.dir+"/", "", kaudit.Plugin().Version, "VERSION", runtime.GOARCH, "GOARCH").Replace(b.String())
}

var built []byte

// library is a plugin's library that does nothing, with the identity of ours in it.
func library(t *testing.T) []byte {
	t.Helper()
	if built != nil {
		return built
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("there is no gcc to make a library with")
	}
	built = compile(t, fmt.Sprintf("const char id[] = \"\\nname: k8saudit\\nid: 1\\nversion: %s\\n\";\n", kaudit.Plugin().Version)+symbols("get_required_api_version get_name get_version "+
		"get_description get_contact init destroy get_last_error get_id get_event_source open close next_batch get_fields extract_fields"))
	return built
}

func symbols(names string) string {
	var b strings.Builder
	for _, name := range strings.Fields(names) {
		fmt.Fprintf(&b, "void plugin_%s(void) {}\n", name)
	}
	return b.String()
}

func compile(t *testing.T, code string, flags ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "x.c"), filepath.Join(dir, "x.so")
	if err := os.WriteFile(in, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	if len(flags) == 0 {
		flags = []string{"-shared", "-fPIC"}
	}
	if text, err := exec.Command("gcc", append(flags, "-o", out, in)...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, text)
	}
	content, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// An authority signs certificates of tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, NotAfter: noon.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign}
	a := authority{key: newKey(t)}
	a.cert = a.sign(t, c, c, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a authority) sign(t *testing.T, c, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotBefore.IsZero() {
		c.NotBefore = noon.AddDate(0, -6, 0)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = noon.AddDate(1, 0, 0)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// issue makes a key and a certificate for it, as PEM.
func (a authority) issue(t *testing.T, c *x509.Certificate) (key, cert []byte) {
	t.Helper()
	k := newKey(t)
	signed := a.sign(t, c, a.cert, k)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), asPEM(signed)
}

func asPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func forServer(names ...string) *x509.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: "server"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	return c
}

func forClient() *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: "kube-apiserver"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

// certificates writes those that cases name.
func (s *subject) certificates(t *testing.T) {
	t.Helper()
	ca, other := newAuthority(t), newAuthority(t)
	s.write(t, "ca.crt", asPEM(ca.cert))
	s.write(t, "other.crt", asPEM(other.cert))
	key, cert := ca.issue(t, forServer("audit.example.com", "10.0.0.5"))
	s.write(t, "server.pem", append(key, cert...))
	s.write(t, "onlykey.pem", key)
	s.write(t, "onlycert.pem", cert)
	otherKey, _ := other.issue(t, forServer("x"))
	s.write(t, "mixed.pem", append(otherKey, cert...))
	for name, c := range map[string]*x509.Certificate{
		"unnamed.pem": forServer(), "clientonly.pem": forClient(),
		"ended.pem": {DNSNames: []string{"audit.example.com"}, NotAfter: noon.AddDate(0, 0, -1)},
		"ends.pem":  {DNSNames: []string{"audit.example.com"}, NotAfter: noon.AddDate(0, 0, 5)},
		"later.pem": {DNSNames: []string{"audit.example.com"}, NotBefore: noon.AddDate(0, 0, 1)},
	} {
		key, cert := ca.issue(t, c)
		s.write(t, name, append(key, cert...))
	}
	key, cert = ca.issue(t, forClient())
	s.write(t, "client.key", key)
	s.write(t, "client.crt", cert)
}

// TestCases looks at the folders that testdata/cases.txt describes, and compares with testdata/cases.golden.
func TestCases(t *testing.T) {
	text, err := os.ReadFile("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{
		"bad/empty.so": {}, "bad/text.so": []byte("#!/bin/sh\n"), "bad/foreign.so": foreign(t, library(t)),
		"bad/nothing.so": compile(t, "int nothing;\n"), "bad/program.so": compile(t, "int main(void) { return 0; }\n", "-no-pie"),
		"bad/extractor.so": compile(t, symbols("get_required_api_version get_name get_version get_description get_contact init destroy get_last_error")),
		"bad/older.so":     bytes.Replace(library(t), []byte("version: "+kaudit.Plugin().Version), []byte("version: 0.0.1"+strings.Repeat("0", len(kaudit.Plugin().Version)-5)), 1),
	}
	var out strings.Builder
	for _, c := range strings.Split(string(text), "\n=== ")[1:] {
		head, body, _ := strings.Cut(c, "\n")
		_, flags, _ := strings.Cut(head, " $")
		s := newSubject(t)
		s.certificates(t)
		for name, content := range bad {
			s.write(t, name, content)
		}
		for _, part := range strings.Split("\n"+body, "\n--- ")[1:] {
			file, content, _ := strings.Cut(part, "\n")
			s.fill(t, file, content+"\n")
		}
		s.flags(t, strings.Fields(flags))
		fmt.Fprintf(&out, "=== %s\n", head)
		report, err := doctor.Run(t.Context(), s.options)
		if err != nil {
			fmt.Fprintf(&out, "error %s\n", strings.ReplaceAll(err.Error(), s.dir+"/", ""))
			continue
		}
		out.WriteString(s.render(report))
	}
	golden.Compare(t, "testdata/cases.golden", out.String())
}

// foreign is a library for another machine.
func foreign(t *testing.T, so []byte) []byte {
	t.Helper()
	other := bytes.Clone(so)
	other[18], other[19] = 21, 0 // e_machine: PowerPC 64
	return other
}

// flags sets what a case has behind $.
func (s *subject) flags(t *testing.T, flags []string) {
	t.Helper()
	for _, f := range flags {
		key, value, _ := strings.Cut(f, "=")
		value = strings.ReplaceAll(value, "DIR", s.dir)
		path := filepath.Join(s.dir, value)
		switch key {
		case "kubeconfig":
			s.options.Kubeconfig = path
		case "policy":
			s.options.Policy = path
		case "manifest":
			s.options.Manifest = path
		case "rules":
			s.options.Rules = append(s.options.Rules, path)
		case "set":
			s.options.Set = append(s.options.Set, value)
		case "enable":
			s.options.EnableSources = append(s.options.EnableSources, value)
		case "disable":
			s.options.DisableSources = append(s.options.DisableSources, value)
		case "falco":
			var err error
			if s.options.Falco, err = rules.ParseFalco(value); err != nil {
				t.Fatal(err)
			}
		case "config":
			s.options.Config = path
		case "age": // of a log
			file, hours, _ := strings.Cut(value, ":")
			d, err := time.ParseDuration(hours)
			if err == nil {
				err = os.Chtimes(filepath.Join(s.dir, file), noon.Add(-d), noon.Add(-d))
			}
			if err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("no flag %s", key)
		}
	}
}

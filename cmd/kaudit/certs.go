package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// The files of a folder of certificates.
const (
	authorityCert = "ca.crt"
	authorityKey  = "ca.key"
	serverFile    = "server.pem"
	clientFile    = "client.pem"
	webhookFile   = "webhook.yaml"
)

// What certificates are good for, and how long an authority is.
const (
	authorityDays = 3650
	clockSkew     = 5 * time.Minute // between this machine and the API server's
)

func certsCommand() *cobra.Command {
	var dir string
	w := webhook{}
	var hosts []string
	var days int
	var as *format
	c := &cobra.Command{
		Use:   "certs",
		Short: "Make certificates for the webhook, and the kubeconfig that makes an API server use it",
		Long: `certs makes what a webhook with TLS needs, in one folder:

  ca.crt, ca.key  an authority of its own; made once, and used again when they are there
  server.pem      key and certificate for the plugin: the setting sslCertificate
  client.pem      key and certificate by which the API server proves who it is to the plugin,
                  which trusts those of ca.crt by the setting sslClientCA
  webhook.yaml    kubeconfig with client.pem and ca.crt in it, for the API server:
                  --audit-webhook-config-file

Files are for their owner only. Nothing is overwritten: to renew a certificate, remove its file first.`,
		Example: `  kaudit certs --host falco-k8saudit-webhook.falco.svc --dir certs
  kaudit certs --host 10.0.0.5 --host audit.example.com --days 90
  kaudit certs --host audit.example.com --client prod-eu --path /k8s-audit/prod-eu`,
		Args: atMost(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if len(hosts) == 0 || slices.Contains(hosts, "") {
				return badInput{errors.New("--host: name the host or address the API server reaches the webhook at")}
			}
			switch {
			case days < 1 || w.port < 1 || w.port > 65535:
				return badInput{fmt.Errorf("--days %d, --port %d: write one day or more, and a port from 1 to 65535", days, w.port)}
			case w.client == "":
				return badInput{errors.New("--client: name the API server, as kube-apiserver")}
			case !pathForm.MatchString(w.path):
				return badInput{fmt.Errorf("--path %q: write a path of letters, digits, - . _ and /, as /k8s-audit", w.path)}
			}
			w.hosts = hosts
			made, err := makeCertificates(dir, w, time.Now(), days)
			if err != nil {
				return err
			}
			if *as == asJSON {
				return printJSON(c.OutOrStdout(), struct {
					Made []string `json:"made"`
				}{made})
			}
			for _, file := range made {
				fmt.Fprintln(c.OutOrStdout(), file)
			}
			return nil
		},
	}
	as = formatFlag(c)
	f := c.Flags()
	f.StringVar(&dir, "dir", "certs", "folder for the files")
	f.StringSliceVar(&hosts, "host", nil, "host or address of the webhook, as API servers reach it; the first is in webhook.yaml")
	f.IntVar(&w.port, "port", 9765, "port of the webhook, as API servers reach it")
	f.StringVar(&w.path, "path", "/k8s-audit", "path of the webhook")
	f.StringVar(&w.client, "client", "kube-apiserver", "what the API server is called in its certificate")
	f.IntVar(&days, "days", 365, "how long certificates are good; the authority is for ten years")
	return c
}

// A webhook is where API servers send their events, and what they are called there.
type webhook struct {
	hosts  []string
	port   int
	path   string
	client string
}

// pathForm is what needs no quoting in a URL.
var pathForm = regexp.MustCompile(`^/[A-Za-z0-9._/-]*$`)

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	text []byte // the certificate as PEM
}

// makeCertificates makes the files and returns their paths. It writes none if one of them is there.
func makeCertificates(dir string, w webhook, now time.Time, days int) ([]string, error) {
	files := map[string][]byte{serverFile: nil, clientFile: nil, webhookFile: nil}
	ca, err := readAuthority(dir)
	if errors.Is(err, fs.ErrNotExist) {
		var key []byte
		if ca, key, err = newAuthority(now); err == nil {
			files[authorityCert], files[authorityKey] = ca.text, key
		}
	}
	if err != nil {
		return nil, err
	}
	for name := range files {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return nil, fmt.Errorf("%s is there already; remove it to make a new one, or name another --dir", filepath.Join(dir, name))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	until := now.AddDate(0, 0, days)
	if until.After(ca.cert.NotAfter) {
		return nil, fmt.Errorf("--days %d: the authority in %s ends before, on %s; name a new --dir for a new one", days, dir, ca.cert.NotAfter.Format(time.DateOnly))
	}
	server := &x509.Certificate{
		Subject: pkix.Name{CommonName: w.hosts[0]}, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range w.hosts {
		if ip := net.ParseIP(h); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, h)
		}
	}
	if files[serverFile], err = ca.issue(server, now); err != nil {
		return nil, err
	}
	files[clientFile], err = ca.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: w.client}, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, now)
	if err != nil {
		return nil, err
	}
	files[webhookFile] = w.kubeconfig(ca.text, files[clientFile])

	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var made []string
	for name, content := range files {
		path := filepath.Join(dir, name)
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		_, err = file.Write(content)
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
		made = append(made, path)
	}
	slices.Sort(made)
	return made, nil
}

// newAuthority makes an authority, and returns its key as PEM.
func newAuthority(now time.Time) (authority, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, nil, err
	}
	ca := authority{key: key}
	ca.cert = &x509.Certificate{
		Subject: pkix.Name{CommonName: "kaudit webhook"}, NotBefore: now.Add(-clockSkew), NotAfter: now.AddDate(0, 0, authorityDays+1),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	text, err := ca.issueFor(ca.cert, key)
	if err != nil {
		return ca, nil, err
	}
	keyText, certText := split(text)
	ca.text = certText
	block, _ := pem.Decode(certText)
	ca.cert, err = x509.ParseCertificate(block.Bytes)
	return ca, keyText, err
}

// readAuthority reads the authority of a folder.
func readAuthority(dir string) (authority, error) {
	cert, certErr := os.ReadFile(filepath.Join(dir, authorityCert))
	key, keyErr := os.ReadFile(filepath.Join(dir, authorityKey))
	switch missing := errors.Is(certErr, fs.ErrNotExist); {
	case missing && errors.Is(keyErr, fs.ErrNotExist):
		return authority{}, fs.ErrNotExist
	case missing || errors.Is(keyErr, fs.ErrNotExist):
		return authority{}, fmt.Errorf("%s has one of %s and %s; put the other there, or name another --dir", dir, authorityCert, authorityKey)
	case certErr != nil || keyErr != nil:
		return authority{}, errors.Join(certErr, keyErr)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return authority{}, fmt.Errorf("%s and %s in %s: %w", authorityCert, authorityKey, dir, err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return authority{}, fmt.Errorf("%s in %s is no authority; name another --dir", authorityCert, dir)
	}
	return authority{pair.Leaf, signer, cert}, nil
}

// issue makes a key and a certificate for it, as PEM: what sslCertificate takes.
func (a authority) issue(c *x509.Certificate, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c.NotBefore = now.Add(-clockSkew)
	return a.issueFor(c, key)
}

func (a authority) issueFor(c *x509.Certificate, key *ecdsa.PrivateKey) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	c.SerialNumber = serial.Add(serial, big.NewInt(1))
	cert, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = errors.Join(pem.Encode(&b, &pem.Block{Type: "PRIVATE KEY", Bytes: der}), pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	return b.Bytes(), err
}

// split takes a key and a certificate apart.
func split(text []byte) (key, cert []byte) {
	at := bytes.Index(text, []byte("-----BEGIN CERTIFICATE"))
	return text[:at], text[at:]
}

// kubeconfig is what the API server's audit webhook reads.
func (w webhook) kubeconfig(ca, client []byte) []byte {
	key, cert := split(client)
	return []byte(strings.NewReplacer(
		"ADDRESS", net.JoinHostPort(w.hosts[0], fmt.Sprint(w.port))+w.path,
		"AUTHORITY", base64.StdEncoding.EncodeToString(ca),
		"CERTIFICATE", base64.StdEncoding.EncodeToString(cert),
		"KEY", base64.StdEncoding.EncodeToString(key),
	).Replace(`apiVersion: v1
kind: Config
clusters:
  - name: kaudit
    cluster:
      server: https://ADDRESS
      certificate-authority-data: AUTHORITY
users:
  - name: kube-apiserver
    user:
      client-certificate-data: CERTIFICATE
      client-key-data: KEY
contexts:
  - name: kaudit
    context:
      cluster: kaudit
      user: kube-apiserver
current-context: kaudit
`))
}

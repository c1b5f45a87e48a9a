package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// An identity is one line of the API server's static token file.
type identity struct {
	name   string
	uid    string
	groups []string
	// agent is the user agent its requests carry, empty for programs that bring their own.
	agent string
	// address is the loopback address its requests come from, so that recorded events have more than one source address.
	address string
}

const (
	kubectlAgent = "kubectl/" + kubernetesVersion + " (linux/amd64) kubernetes/unknown"
	helmAgent    = "Helm/3.18.6"
	kubeletAgent = "kubelet/" + kubernetesVersion + " (linux/amd64) kubernetes/unknown"
)

const nodeName = "node-1"

// The identities the cluster knows. Service accounts are not here: they ask for their tokens.
var (
	admin             = identity{"admin", "u-1000", []string{"system:masters"}, kubectlAgent, "127.0.0.10"}
	alice             = identity{"alice", "u-1001", []string{"developers"}, kubectlAgent, "127.0.0.21"}
	ciBot             = identity{"ci-bot", "u-2001", []string{"ci"}, helmAgent, "127.0.0.30"}
	mallory           = identity{"mallory", "u-1666", []string{"contractors"}, kubectlAgent, "127.0.0.66"}
	node              = identity{"system:node:" + nodeName, "n-1", []string{"system:nodes"}, kubeletAgent, "127.0.0.101"}
	controllerManager = identity{"system:kube-controller-manager", "c-1", nil, "", ""}
	scheduler         = identity{"system:kube-scheduler", "c-2", nil, "", ""}
	// Somebody who got hold of cluster-admin, and is no administrator; a machine about to join; an account for emergencies.
	eve    = identity{"eve", "u-1667", []string{"strangers"}, kubectlAgent, "127.0.0.67"}
	joiner = identity{"system:bootstrap:07401b", "b-1", []string{"system:bootstrappers"}, kubeletAgent, "127.0.0.102"}
	// Somebody with a certificate of a controller's name: he has its rights, and not the groups of its service account.
	impostor   = identity{"system:serviceaccount:kube-system:namespace-controller", "u-1668", []string{"strangers"}, kubectlAgent, "127.0.0.68"}
	breakGlass = identity{"kubernetes-super-admin", "u-1", []string{"system:masters"}, kubectlAgent, "127.0.0.11"}
)

func identities() []identity {
	return []identity{admin, alice, ciBot, mallory, node, controllerManager, scheduler, eve, joiner, impostor, breakGlass}
}

// credentials are the keys, certificates and tokens of one cluster. They are made for it and end with it.
type credentials struct {
	dir    string
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
	tokens map[string]string
}

// makeCredentials writes everything a control plane needs to trust its parts into dir.
func makeCredentials(dir string) (*credentials, error) {
	c := &credentials{dir: dir, tokens: map[string]string{}}
	if err := c.makeAuthority(); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	for name, template := range map[string]*x509.Certificate{
		"apiserver": {
			Subject:     pkix.Name{CommonName: "kube-apiserver"},
			DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1), net.ParseIP(apiServerAddress)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		},
		"kubelet": {
			Subject:     pkix.Name{CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}},
			DNSNames:    []string{nodeName},
			IPAddresses: []net.IP{net.ParseIP(nodeAddress)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		},
		"kubelet-client": {
			Subject:     pkix.Name{CommonName: "kube-apiserver-kubelet-client"},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		},
	} {
		if err := c.issue(name, template); err != nil {
			return nil, fmt.Errorf("certificate %s: %w", name, err)
		}
	}
	serviceAccounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("service account key: %w", err)
	}
	if err := c.writeKey("service-accounts", serviceAccounts); err != nil {
		return nil, fmt.Errorf("service account key: %w", err)
	}
	return c, c.writeTokens()
}

func (c *credentials) path(name string) string { return filepath.Join(c.dir, name) }

func (c *credentials) makeAuthority() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "kubernetes"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(30 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if c.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	c.caKey = key
	if err := c.writePEM("ca.crt", "CERTIFICATE", der); err != nil {
		return err
	}
	return c.writeKey("ca", key)
}

func (c *credentials) issue(name string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return err
	}
	template.NotBefore = c.ca.NotBefore
	template.NotAfter = c.ca.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, c.ca, key.Public(), c.caKey)
	if err != nil {
		return err
	}
	if err := c.writePEM(name+".crt", "CERTIFICATE", der); err != nil {
		return err
	}
	return c.writeKey(name, key)
}

// writeKey writes the form that the API server reads a public key from, too.
func (c *credentials) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return c.writePEM(name+".key", "EC PRIVATE KEY", der)
}

func (c *credentials) writePEM(name, kind string, der []byte) error {
	return os.WriteFile(c.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// writeTokens gives every identity a token that nobody can guess and writes the API server's token file.
func (c *credentials) writeTokens() error {
	var file bytes.Buffer
	for _, id := range identities() {
		secret := make([]byte, 20)
		if _, err := rand.Read(secret); err != nil {
			return fmt.Errorf("token of %s: %w", id.name, err)
		}
		c.tokens[id.name] = hex.EncodeToString(secret)
		fmt.Fprintf(&file, "%s,%s,%s,%q\n", c.tokens[id.name], id.name, id.uid, strings.Join(id.groups, ","))
	}
	if err := os.WriteFile(c.path("tokens.csv"), file.Bytes(), 0o600); err != nil {
		return fmt.Errorf("token file: %w", err)
	}
	return nil
}

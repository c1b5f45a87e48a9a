package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// A keyPair is what a file with a key and certificates has in it.
type keyPair struct {
	file         string
	pair         tls.Certificate
	leaf         *x509.Certificate
	intermediate *x509.CertPool
}

// soon is how long before its end a certificate is warned of.
const soon = 21 * 24 * time.Hour

// readKeys reads the certificate of a webhook and its key, which may stand in the same file.
func (e *examination) readKeys(settings webhookSettings, at string) *keyPair {
	content := e.keyFile("sslCertificate", settings.SSLCertificate, at)
	key, keyFile := content, settings.SSLCertificate
	if settings.SSLKey != "" {
		keyFile = settings.SSLKey
		key = e.keyFile("sslKey", keyFile, at)
	}
	if content == nil || key == nil {
		return nil
	}
	file := settings.SSLCertificate
	if info, err := os.Stat(keyFile); err == nil && info.Mode().Perm()&0o007 != 0 {
		e.warn(keyFile, "chmod 600 "+keyFile, "everybody on this machine may read the key")
	}
	pair, err := tls.X509KeyPair(content, key)
	if err != nil {
		e.fail(file, "put the private key and its certificate into it, as PEM; kaudit certs does", "%s; Falco does not start", wrongPair(append(slices.Clone(content), key...), err))
		return nil
	}
	k := &keyPair{file: file, pair: pair, leaf: pair.Leaf, intermediate: x509.NewCertPool()}
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			k.intermediate.AddCert(c)
		}
	}
	names := namesOf(k.leaf)
	if len(names) == 0 {
		e.fail(file, "make one with the names API servers reach it at: kaudit certs --host NAME", "the certificate has no name in it (a common name does not count): no API server accepts it")
	}
	if len(k.leaf.ExtKeyUsage) > 0 && !slices.Contains(k.leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(k.leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		e.fail(file, "make one for servers: kaudit certs", "the certificate is not for servers: no API server accepts it")
	}
	if e.inTime(k.leaf, file, "the certificate", "kaudit certs makes a new one; Falco need not be restarted") {
		e.ok(file, "the certificate is for %s, until %s", strings.Join(names, ", "), k.leaf.NotAfter.Format(time.DateOnly))
	}
	return k
}

// keyFile reads the file that a setting names.
func (e *examination) keyFile(setting, file, at string) []byte {
	info, err := os.Stat(file)
	var content []byte
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no file")
	}
	if err == nil {
		content, err = os.ReadFile(file)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.fail(at, "kaudit certs makes one; write its path into "+setting, "%s names %s, which is not there; Falco does not start", setting, file)
		return nil
	case errors.Is(err, fs.ErrPermission):
		e.fail(file, "let the user that Falco runs as read it, and nobody else", "%s may not be read by this user", file)
		return nil
	case err != nil:
		e.fail(file, "write the path of a PEM file into "+setting, "%s: %v; Falco does not start", setting, unwrapped(err))
		return nil
	}
	return content
}

// wrongPair says what is missing in a PEM file.
func wrongPair(content []byte, err error) string {
	kinds := map[string]bool{}
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		kind := block.Type
		if strings.HasSuffix(kind, "PRIVATE KEY") {
			kind = "key"
		}
		kinds[kind] = true
	}
	switch {
	case len(kinds) == 0:
		return "it is no PEM file"
	case !kinds["key"]:
		return "there is no private key in it"
	case !kinds["CERTIFICATE"]:
		return "there is no certificate in it"
	case strings.Contains(err.Error(), "does not match"):
		return "the private key is not that of the first certificate in it"
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}

// inTime reports whether a certificate is good for now and some time.
func (e *examination) inTime(c *x509.Certificate, at, what, do string) bool {
	now := e.Now()
	switch {
	case now.After(c.NotAfter):
		e.fail(at, do, "%s ended on %s", what, c.NotAfter.Format(time.DateOnly))
	case now.Before(c.NotBefore):
		e.fail(at, "look at the clock of this machine", "%s begins on %s only", what, c.NotBefore.Format(time.DateTime))
	case c.NotAfter.Sub(now) < soon:
		e.warn(at, do, "%s ends on %s", what, c.NotAfter.Format(time.DateOnly))
	default:
		return true
	}
	return false
}

// namesOf are the names and addresses a certificate is for.
func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

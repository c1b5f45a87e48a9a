package doctor

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"os"
	"slices"
	"strings"
	"time"
)

// A door is who may send to a webhook: with a certificate, or with a token.
type door struct {
	authorities *x509.CertPool // nil: no certificate is asked for
	names       []string       // of clients; empty is any
	tokens      []string
}

// newDoor reads what is set of it. The files are right: the webhook was opened with them.
func newDoor(s webhookSettings) (d door) {
	d.names = s.SSLClientNames
	if s.SSLClientCA != "" {
		d.authorities = x509.NewCertPool()
		if content, err := os.ReadFile(s.SSLClientCA); err == nil {
			d.authorities.AppendCertsFromPEM(content)
		}
	}
	if s.WebhookTokens != "" {
		content, _ := os.ReadFile(s.WebhookTokens)
		lines := bufio.NewScanner(bytes.NewReader(content))
		for lines.Scan() {
			if words := strings.Fields(lines.Text()); len(words) > 0 && !strings.HasPrefix(words[0], "#") {
				d.tokens = append(d.tokens, words[0])
			}
		}
	}
	return d
}

// admits says how a client gets in, and else why it does not. Both are empty if everybody gets in.
func (d *door) admits(c *client, now time.Time) (by, why string) {
	if d.authorities == nil && len(d.tokens) == 0 {
		return "", ""
	}
	if len(d.tokens) > 0 && slices.Contains(d.tokens, c.token) {
		return "its token", ""
	}
	switch {
	case d.authorities == nil && c.token == "":
		return "", "a token, and the kubeconfig has none"
	case d.authorities == nil:
		return "", "another token than the one in the kubeconfig"
	case c.pair == nil:
		return "", "a client certificate, and the kubeconfig has none"
	}
	leaf := c.pair.Leaf
	names := append([]string{leaf.Subject.CommonName}, leaf.DNSNames...)
	for _, uri := range leaf.URIs {
		names = append(names, uri.String())
	}
	intermediates := x509.NewCertPool()
	for _, der := range c.pair.Certificate[1:] {
		if parsed, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(parsed)
		}
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: d.authorities, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	switch {
	case err != nil:
		return "", "a client certificate by an authority of sslClientCA, which that of the kubeconfig is not"
	case len(d.names) > 0 && !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(d.names, name) }):
		return "", "a client certificate for " + strings.Join(d.names, " or ") + ", and that of the kubeconfig is for " + strings.Join(names, ", ")
	}
	return "its certificate, for " + strings.Join(names, ", "), ""
}

package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"kaudit/pkg/source"
)

// versions are the names of what sslMinVersion may be, as --tls-min-version of Kubernetes has them. What is older than
// TLS 1.2 was given up by RFC 8996.
var versions = map[string]uint16{"VersionTLS12": tls.VersionTLS12, "VersionTLS13": tls.VersionTLS13}

// suites are for TLS 1.2; those of 1.3 are not chosen. All have forward secrecy and authenticated encryption, and every
// library with TLS 1.2 that still gets fixes has one of them.
var suites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305,
}

// An encryption is what TLS is done with: a certificate with its key, and the authorities of clients, in files that may
// be replaced while they are in use.
type encryption struct {
	log         *slog.Logger
	pair        watched // sslCertificate and sslKey, or only the former
	authorities watched // sslClientCA, or nothing
	least       uint16  // version
	gate        gate    // of handshakes

	// In use since the files were last found to be good. Only look and its caller at the start change them.
	certificate *tls.Certificate
	ends        time.Time     // of the certificate, or of what was sent with it if that is sooner
	life        time.Duration // of the one that ends
	pool        *x509.CertPool
	roots       map[string]bool // the authorities' certificates, in DER

	config atomic.Pointer[tls.Config] // made of the above, for handshakes
	trust  atomic.Pointer[trust]

	read, failed atomic.Uint64 // files that were read again, and could not be used
	told         int           // how many of the steps were told of this certificate
}

// A trust is who is trusted to say who clients are. It never changes.
type trust struct{ roots map[string]bool }

// holds reports whether a connection that was verified once would be so now: its client's certificate has not ended, and
// its authority is still one. Connections live for weeks.
func (t *trust) holds(state *tls.ConnectionState, now time.Time) bool {
	for _, chain := range state.VerifiedChains {
		good := t.roots[string(chain[len(chain)-1].Raw)]
		for _, c := range chain[:len(chain)-1] {
			good = good && now.Before(c.NotAfter)
		}
		if good {
			return true
		}
	}
	return false
}

func newEncryption(c Config, log *slog.Logger) (*encryption, error) {
	e := &encryption{log: log, gate: make(gate, runtime.GOMAXPROCS(0))}
	var ok bool
	if e.least, ok = versions[c.SSLMinVersion]; !ok {
		return nil, fmt.Errorf("sslMinVersion: %q is none of VersionTLS12 and VersionTLS13", c.SSLMinVersion)
	}
	e.pair.files = []string{c.SSLCertificate}
	if c.SSLKey != "" {
		e.pair.files = append(e.pair.files, c.SSLKey)
	}
	now := time.Now()
	contents, _, err := e.pair.read(now)
	if err == nil {
		err = e.usePair(contents)
	}
	switch {
	case err != nil && c.SSLKey != "":
		return nil, fmt.Errorf("sslCertificate, sslKey: %w; they must be PEM files with a certificate and with its private key", err)
	case err != nil:
		return nil, fmt.Errorf("sslCertificate: %w; it must be a PEM file with a private key and its certificate, or sslKey must name the file of the key", err)
	}
	if c.SSLClientCA != "" {
		e.authorities.files = []string{c.SSLClientCA}
		contents, _, err := e.authorities.read(now)
		if err == nil {
			err = e.useAuthorities(contents)
		}
		if err != nil {
			return nil, fmt.Errorf("sslClientCA: %w; it must be a PEM file with the certificates of those who sign clients' certificates", err)
		}
	}
	e.publish()
	return e, nil
}

// server returns the configuration of the listener: each handshake takes what is in use then.
func (e *encryption) server() *tls.Config {
	return &tls.Config{
		MinVersion: e.least,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return e.gate.enter(hello, e.config.Load())
		},
	}
}

func (e *encryption) usePair(contents [][]byte) error {
	pair, err := tls.X509KeyPair(contents[0], contents[len(contents)-1])
	if err != nil {
		return err
	}
	for i, der := range pair.Certificate {
		if c, err := x509.ParseCertificate(der); err == nil && (i == 0 || c.NotAfter.Before(e.ends)) {
			e.ends, e.life = c.NotAfter, c.NotAfter.Sub(c.NotBefore)
		}
	}
	e.certificate, e.told = &pair, 0
	return nil
}

func (e *encryption) useAuthorities(contents [][]byte) error {
	pool, roots := x509.NewCertPool(), map[string]bool{}
	for rest := contents[0]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		pool.AddCert(c)
		roots[string(c.Raw)] = true
	}
	if len(roots) == 0 {
		return errors.New("it has no certificate")
	}
	e.pool, e.roots = pool, roots
	return nil
}

// publish makes what was read the one in use.
func (e *encryption) publish() {
	c := &tls.Config{
		Certificates: []tls.Certificate{*e.certificate},
		MinVersion:   e.least,
		CipherSuites: suites,
		NextProtos:   []string{"h2", "http/1.1"},
		// A resumed session would be trusted for what was true when it began. Senders keep their connections, so there
		// is little to gain.
		SessionTicketsDisabled: true,
	}
	if e.pool != nil {
		// Probes of health have no certificate, and senders may have a token instead: who sends is decided for each
		// request. A certificate that is sent and is not good ends the handshake.
		c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, e.pool
	}
	e.trust.Store(&trust{e.roots})
	e.config.Store(c)
}

// reload reads again what changed. What cannot be used leaves in place what was there before: certificate and key never
// part, also while only one of their files is written.
func (e *encryption) reload(now time.Time) {
	pair := e.again(&e.pair, "sslCertificate", now, e.usePair)
	if authorities := len(e.authorities.files) > 0 && e.again(&e.authorities, "sslClientCA", now, e.useAuthorities); pair || authorities {
		e.publish()
	}
}

func (e *encryption) again(w *watched, setting string, now time.Time, use func([][]byte) error) bool {
	contents, changed, err := w.read(now)
	if err != nil || !changed {
		return false // a file that is being replaced may not be there for a moment
	}
	if err := use(contents); err != nil {
		e.failed.Add(1)
		e.log.Error(setting+": what is new cannot be used, what was there before stays", "error", err)
		return false
	}
	e.read.Add(1)
	e.log.Info(setting + ": read again")
	return true
}

// steps are when it is told that a certificate ends: so long before, or when only that part of its life is left if that
// comes later. Certificates of 90 days are usually renewed when a third is left, those of a day many times.
var steps = []struct {
	before time.Duration
	part   time.Duration
	what   string
}{
	{30 * 24 * time.Hour, 4, "in less than 30 days"},
	{7 * 24 * time.Hour, 8, "in less than 7 days"},
	{24 * time.Hour, 16, "in less than a day"},
	{0, 1, ""},
}

// expiry tells when the certificate, or one that was sent with it, comes to its end: once at each step.
func (e *encryption) expiry(now time.Time, tell func(source.Notice)) {
	left, step := e.ends.Sub(now), e.told
	for step < len(steps) && left <= min(steps[step].before, e.life/steps[step].part) {
		step++
	}
	if step == e.told {
		return
	}
	e.told = step
	how := "ends " + steps[step-1].what
	if step == len(steps) {
		how = "has ended: senders that check it cannot send"
	}
	day := e.ends.UTC().Format(time.RFC3339)
	e.log.Warn("sslCertificate "+how, "ends", day)
	tell(source.Notice{
		Name: source.CertificateExpiring, Count: 1,
		Message: fmt.Sprintf("The certificate of the webhook %s (%s). Put a new one in the place of the file that sslCertificate names; it is read without a restart.", how, day),
	})
}

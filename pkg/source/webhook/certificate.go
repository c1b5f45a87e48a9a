package webhook

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A certificate is a PEM file with key and certificate that may be replaced while it is in use.
type certificate struct {
	file string
	log  *slog.Logger

	mu       sync.Mutex
	loaded   *tls.Certificate
	modified time.Time // of the file when it was read last
}

func loadCertificate(file string, log *slog.Logger) (*certificate, error) {
	c := &certificate{file: file, log: log}
	info, err := os.Stat(file)
	if err == nil {
		c.modified = info.ModTime()
		err = c.load()
	}
	if err != nil {
		return nil, fmt.Errorf("sslCertificate: %w; it must be a PEM file with a private key and its certificate", err)
	}
	return c, nil
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.file, c.file)
	if err == nil {
		c.loaded = &pair
	}
	return err
}

// get is called for each handshake. A new file that cannot be used leaves the old certificate in place.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.file)
	if err != nil || info.ModTime().Equal(c.modified) {
		return c.loaded, nil
	}
	c.modified = info.ModTime()
	if err := c.load(); err != nil {
		c.log.Error("sslCertificate: the new certificate cannot be used, the old one stays", "error", err)
	} else {
		c.log.Info("sslCertificate: read again")
	}
	return c.loaded, nil
}

package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"kaudit/pkg/source"
)

// patience is how long a connection may take.
const patience = 3 * time.Second

// port connects to a webhook as an API server does, and sends nothing that counts as an event.
func (e *examination) port(h *hook) {
	if e.Offline {
		return
	}
	e.check = "source " + h.source.Name
	host := h.url.Hostname()
	if isAny(h.url) {
		host = "127.0.0.1"
	}
	address := net.JoinHostPort(host, h.url.Port())
	dialer := &net.Dialer{Timeout: patience}
	var asked atomic.Bool // for a client certificate
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, // what it shows is compared with the file, and verified with the API server's authority
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked.Store(true)
				if h.client != nil && h.client.pair != nil {
					return h.client.pair, nil
				}
				return &tls.Certificate{}, nil
			},
		},
		ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	status, body, state, err := e.healthz(client, (&url.URL{Scheme: h.url.Scheme, Host: address, Path: "/healthz"}).String())
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		e.silent(h, address)
		return
	case err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		e.fail(h.at, "restart Falco, or write http", "what listens at %s speaks no TLS: Falco runs with another configuration, or something else has the port", address)
		return
	case status == http.StatusBadRequest && bytes.Contains(body, []byte("HTTP request to an HTTPS server")):
		e.fail(h.at, "restart Falco, or write https", "what listens at %s wants TLS: Falco runs with another configuration, or something else has the port", address)
		return
	case err != nil && asked.Load():
		e.needsCertificate(h, address, err)
		return
	case err != nil:
		e.fail(h.at, "look at Falco's log", "%s does not answer: %v", address, unwrapped(err))
		return
	case status != http.StatusOK || len(body) > 0:
		e.fail(h.at, "stop what has the port, or write another one", "what listens at %s is something else: it answers %d to /healthz", address, status)
		return
	}
	if asked.Load() {
		e.needsCertificate(h, address, nil)
	}
	e.shown(h, address, state)
	e.ok(h.at, "Falco listens at %s", address)
}

// silent says why nobody listens: Falco would not get the port, or does not ask for it.
func (e *examination) silent(h *hook, address string) {
	if h.url.Scheme == "https" && h.keys == nil {
		return // said before
	}
	src, err := h.source.New(source.Env{})
	if err != nil {
		e.cannotOpen(h.at, err)
		return
	}
	if c, ok := src.(io.Closer); ok {
		c.Close()
	}
	e.fail(h.at, "start Falco, and read its log: it says why when the plugin cannot open its source", "nothing listens at %s: Falco does not run on this machine, or reads another configuration", address)
}

// healthz asks for /healthz, which the webhook answers with nothing, and does not count.
func (e *examination) healthz(client *http.Client, where string) (status int, body []byte, state *tls.ConnectionState, err error) {
	req, err := http.NewRequestWithContext(e.ctx, http.MethodGet, where, nil)
	if err != nil {
		return 0, nil, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return resp.StatusCode, body, resp.TLS, err
}

// needsCertificate says whether API servers show the certificate that is asked for. err is that of the connection.
func (e *examination) needsCertificate(h *hook, address string, err error) {
	switch {
	case h.client == nil:
		e.warn(h.at, "see that the API server's kubeconfig has client-certificate and client-key, and name it with --kubeconfig", "%s asks for a client certificate", address)
	case h.client.pair == nil:
		e.fail(h.client.at, "write client-certificate and client-key of the user; kaudit certs makes them", "%s asks for a client certificate, and the kubeconfig has none", address)
	case err != nil:
		e.fail(h.client.at, "have it signed by the authority that the webhook trusts; kaudit certs does", "%s does not take the client certificate of the kubeconfig: %v", address, unwrapped(err))
	default:
		e.ok(h.client.at, "%s asks for a client certificate, and takes that of the kubeconfig", address)
	}
}

// shown compares the certificate that is shown with the one of the file.
func (e *examination) shown(h *hook, address string, state *tls.ConnectionState) {
	if state == nil || h.keys == nil || len(state.PeerCertificates) == 0 {
		return
	}
	if !bytes.Equal(state.PeerCertificates[0].Raw, h.keys.leaf.Raw) {
		e.fail(h.keys.file, "look which file the running Falco has, and restart it", "%s shows another certificate than this one, for %s", address, strings.Join(namesOf(state.PeerCertificates[0]), ", "))
	}
}

// unwrapped is the error at the bottom of one, without addresses and paths before it.
func unwrapped(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

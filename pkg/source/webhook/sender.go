package webhook

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A door says who may send, and for which cluster.
type door struct {
	encryption *encryption     // nil without TLS
	mutual     bool            // certificates of clients let in
	names      map[string]bool // that they must have, if there are any
	tokens     *tokens         // nil if there are none

	from     string // what says the cluster: path, sender, header, or nothing does
	header   string
	clusters map[string][]string // who may send for each: nobody named means everybody who is let in
	senders  map[string]string   // the cluster of each sender
}

// largestName is how long the name of a cluster may be: what a DNS name may.
const largestName = 253

// isName reports whether s may be the name of a cluster: letters, digits, and between them dashes, dots and underscores. What
// passes needs no quoting, wherever an operator may paste it.
func isName(s string) bool {
	for i := range len(s) {
		if inside := i > 0 && i < len(s)-1; !letterOrDigit(s[i]) && (!inside || strings.IndexByte("-._", s[i]) < 0) {
			return false
		}
	}
	return s != "" && len(s) <= largestName
}

// newDoor checks what is set of who may send.
func newDoor(c Config) (*door, error) {
	d := &door{from: c.ClusterFrom, header: http.CanonicalHeaderKey(c.ClusterHeader), clusters: c.Clusters, mutual: c.SSLClientCA != ""}
	if len(c.SSLClientNames) > 0 {
		if !d.mutual {
			return nil, errors.New("sslClientNames: no certificate is asked for; sslClientCA must name the authority of clients")
		}
		d.names = map[string]bool{}
		for _, name := range c.SSLClientNames {
			if name == "" {
				return nil, errors.New("sslClientNames: an empty name would let in certificates without a name; leave it out")
			}
			d.names[name] = true
		}
	}
	for name := range c.Clusters {
		if !isName(name) {
			return nil, fmt.Errorf("clusters: %q is no name of a cluster; use up to %d letters, digits, dashes, dots and underscores", name, largestName)
		}
	}
	switch d.from {
	case "":
		if len(c.Clusters) > 0 {
			return nil, errors.New("clusterFrom: clusters are named, and nothing says which one events are of; write path, sender or header")
		}
		return d, nil
	case "path", "header":
	case "sender":
		if !d.mutual && c.WebhookTokens == "" {
			return nil, errors.New("clusterFrom: sender needs to know who sends; set sslClientCA or webhookTokens")
		}
		d.senders = map[string]string{}
		for name, senders := range c.Clusters {
			for _, s := range senders {
				if other, taken := d.senders[s]; taken && other != name {
					return nil, fmt.Errorf("clusters: %q is a sender of both %s and %s; with clusterFrom: sender it can be of one only", s, min(name, other), max(name, other))
				}
				d.senders[s] = name
			}
		}
	default:
		return nil, fmt.Errorf("clusterFrom: %q is none of path, sender and header", d.from)
	}
	if len(c.Clusters) == 0 {
		return nil, fmt.Errorf("clusters: with clusterFrom: %s they have to be named, like {prod-eu: []}", d.from)
	}
	for name, senders := range c.Clusters {
		if len(senders) > 0 && !d.mutual && c.WebhookTokens == "" {
			return nil, fmt.Errorf("clusters: %s names its senders, and nothing says who sends; set sslClientCA or webhookTokens", name)
		}
	}
	if d.from == "header" && !isToken(c.ClusterHeader) {
		return nil, fmt.Errorf("clusterHeader: %q is no name of a header; write one like X-Cluster", c.ClusterHeader)
	}
	return d, nil
}

// open reports whether everybody who reaches the port may send.
func (d *door) open() bool { return !d.mutual && d.tokens == nil }

// describe says in words who may send, for the log.
func (d *door) describe() string {
	switch {
	case d.mutual && d.tokens != nil:
		return "with a client certificate or a token"
	case d.mutual:
		return "with a client certificate"
	case d.tokens != nil:
		return "with a token"
	}
	return "everybody"
}

// admit says who sends a request, by all names the sender proved to have. A certificate or a token will do.
func (d *door) admit(req *http.Request, now time.Time) (names []string, a answer) {
	if d.open() {
		return nil, accepted
	}
	a = unauthenticated
	if d.mutual && req.TLS != nil && len(req.TLS.VerifiedChains) > 0 {
		switch names = subjects(req.TLS.PeerCertificates[0]); {
		case !d.encryption.trust.Load().holds(req.TLS, now):
		case len(d.names) > 0 && !slices.ContainsFunc(names, func(name string) bool { return d.names[name] }):
			a = forbidden
		default:
			return names, accepted
		}
	}
	if d.tokens != nil {
		if presented, ok := bearer(req.Header["Authorization"]); ok {
			if name, ok := d.tokens.find(presented); ok && name != "" {
				return []string{name}, accepted
			} else if ok {
				return nil, accepted
			}
		}
	}
	return nil, a
}

// subjects returns the names in a certificate: the common name of its subject, DNS names and URIs. What has the form of a
// URI counts where URIs stand only: who signs certificates may check those, and let people write what they like into the
// rest.
func subjects(c *x509.Certificate) (names []string) {
	for _, name := range append([]string{c.Subject.CommonName}, c.DNSNames...) {
		if name != "" && !strings.Contains(name, "://") {
			names = append(names, name)
		}
	}
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return names
}

// cluster says which cluster a request is for, if its sender may send for it. tail is the path below the one that is
// served.
func (d *door) cluster(req *http.Request, tail string, names []string) (name string, a answer) {
	switch d.from {
	case "path":
		name = tail
	case "header":
		if values := req.Header[d.header]; len(values) == 1 {
			name = values[0]
		}
	case "sender":
		for _, n := range names {
			if c, ok := d.senders[n]; !ok || c == name {
				continue
			} else if name != "" {
				return "", wrongCluster // a certificate with names of several
			} else {
				name = c
			}
		}
	default:
		return "", accepted
	}
	senders, known := d.clusters[name]
	if !known || len(senders) > 0 && !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(senders, n) }) {
		return "", wrongCluster
	}
	return name, accepted
}

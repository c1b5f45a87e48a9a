package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A client is what an API server brings to the webhook.
type client struct {
	at    string
	pair  *tls.Certificate
	token string
}

// A kubeconfigFile is one that --audit-webhook-config-file names (kubernetes/client-go: tools/clientcmd/api/v1/types.go).
type kubeconfigFile struct {
	name string
	root *yaml.Node
}

func (k *kubeconfigFile) at(n *yaml.Node) string {
	if n == nil {
		return k.name
	}
	return fmt.Sprintf("%s:%d", k.name, n.Line)
}

// beside returns a path that stands in the file, which may be relative to it.
func (k *kubeconfigFile) beside(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(k.name), path)
}

// named returns the entry of a list that has a name, and what is below the key of its kind.
func (k *kubeconfigFile) named(list, name, kind string) (entry, below *yaml.Node) {
	for _, n := range items(find(k.root, list)) {
		if text(find(n, "name")) == name {
			return n, find(n, kind)
		}
	}
	return nil, nil
}

// kubeconfig looks at the file with which API servers find the webhook.
func (e *examination) kubeconfig(hooks []*hook) {
	e.check = "kubeconfig"
	root, err := readYAML(e.Kubeconfig)
	if err != nil {
		e.fail(e.Kubeconfig, "name the file of --audit-webhook-config-file; kaudit certs makes one", "%v", err)
		return
	}
	if root == nil || root.Kind != yaml.MappingNode {
		e.fail(e.Kubeconfig, "kaudit certs makes one", "it is no kubeconfig: the API server does not start with it")
		return
	}
	k := &kubeconfigFile{name: e.Kubeconfig, root: root}
	current := find(k.root, "current-context")
	contextEntry, ctx := k.named("contexts", text(current), "context")
	if text(current) == "" || contextEntry == nil {
		e.fail(k.at(current), "write current-context: and the name of one of contexts", "current-context names no context: the API server does not start with it")
		return
	}
	clusterEntry, cluster := k.named("clusters", text(find(ctx, "cluster")), "cluster")
	if clusterEntry == nil {
		e.fail(k.at(contextEntry), "write cluster: and the name of one of clusters", "the context names no cluster that is there")
		return
	}
	server := find(cluster, "server")
	u, err := url.Parse(text(server))
	if err != nil || u.Host == "" {
		e.fail(k.at(clusterEntry), "write server: https://HOST:9765/k8s-audit", "server %q is no address", text(server))
		return
	}
	c := e.user(k, ctx, contextEntry)
	h := e.hookOf(k, server, u, hooks)
	if h == nil {
		return
	}
	h.client = c
	switch by, why := h.door.admits(c, e.Now()); {
	case why != "":
		e.fail(c.at, "write it for the user; kaudit certs makes a kubeconfig that has a certificate", "the webhook asks for %s", why)
	case by != "":
		e.ok(c.at, "the webhook lets API servers in by %s", by)
	}
	if u.Scheme == "https" {
		e.trust(k, cluster, clusterEntry, u, h)
	}
}

// hookOf finds the webhook that an address is for, and compares the two.
func (e *examination) hookOf(k *kubeconfigFile, server *yaml.Node, u *url.URL, hooks []*hook) *hook {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	path := u.Path
	if path == "" {
		path = "/"
	}
	var ports []string
	var near *hook // at the same port
	for _, h := range hooks {
		ports = append(ports, h.url.Port())
		if h.url.Port() == port && (near == nil || h.url.Path == path) {
			near = h
		}
	}
	switch {
	case len(hooks) == 0:
		e.fail(k.at(server), "write an address like https://:9765/k8s-audit into open_params", "API servers post to %s, and the plugin has no webhook", u)
		return nil
	case near == nil && len(hooks) == 1 && (u.Port() == "" || strings.Contains(u.Host, ".svc")):
		// A Service in front of it may have any port.
		near = hooks[0]
		e.warn(k.at(server), "see that the Service's targetPort is "+ports[0], "API servers post to port %s, and the plugin listens at %s", port, ports[0])
	case near == nil:
		e.fail(k.at(server), "write port "+strings.Join(ports, " or "), "API servers post to port %s, and the plugin listens at %s", port, strings.Join(ports, ", "))
		return nil
	}
	h, good := near, true
	if u.Scheme != h.url.Scheme {
		do := "write " + h.url.Scheme + "://" + u.Host + u.Path
		if h.url.Scheme == "http" {
			do = "write https into open_params; or, where nobody is on the way, " + do[len("write "):] + " here"
		}
		e.fail(k.at(server), do, "API servers speak %s, and the plugin %s (%s)", u.Scheme, h.url.Scheme, h.at)
		good = false
	}
	if h.url.Path != "/" && path != h.url.Path && !(h.belowPath && strings.HasPrefix(path, strings.TrimSuffix(h.url.Path, "/")+"/")) {
		e.fail(k.at(server), "write "+u.Scheme+"://"+u.Host+h.url.Path, "API servers post to the path %s, and the plugin takes %s: it answers 404", path, h.url.Path)
		good = false
	}
	if good {
		e.ok(k.at(server), "API servers post to %s, where the source %s takes events", u, h.source.Name)
	}
	return h
}

// trust verifies the certificate of the webhook as an API server does.
func (e *examination) trust(k *kubeconfigFile, cluster, entry *yaml.Node, u *url.URL, h *hook) {
	if skip := find(cluster, "insecure-skip-tls-verify"); flag(skip, false) {
		e.warn(k.at(skip), "take it out, and write certificate-authority-data", "API servers do not verify the webhook: whoever is on the way can be it")
		return
	}
	name := u.Hostname()
	if n := text(find(cluster, "tls-server-name")); n != "" {
		name = n
	}
	pemText, at, ok := e.data(k, cluster, entry, "certificate-authority")
	if !ok {
		return
	}
	options := x509.VerifyOptions{DNSName: name, CurrentTime: e.Now()}
	if pemText != nil {
		options.Roots = x509.NewCertPool()
		if !options.Roots.AppendCertsFromPEM(pemText) {
			e.fail(at, "write the authority's certificate, as PEM: ca.crt of kaudit certs", "certificate-authority has no certificate in it")
			return
		}
	}
	if h.keys == nil {
		return // said before
	}
	options.Intermediates = h.keys.intermediate
	_, err := h.keys.leaf.Verify(options)
	var wrongName x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		e.ok(at, "the certificate of the webhook is good for %s", name)
	case errors.As(err, &wrongName):
		e.fail(k.at(find(cluster, "server")), "write one of its names, or tls-server-name; or make a certificate: kaudit certs --host "+name, "the certificate of the webhook is for %s, and not for %s", strings.Join(namesOf(h.keys.leaf), ", "), name)
	case errors.As(err, &unknown):
		do := "write the authority that signed " + h.keys.file + ": ca.crt of kaudit certs, in base64"
		if pemText == nil {
			do = "write certificate-authority-data: ca.crt of kaudit certs, in base64"
		}
		e.fail(at, do, "the certificate of the webhook was not signed by this authority")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		e.fail(at, "kaudit certs makes a new one", "a certificate between the webhook's and the authority, or one of them, has ended")
	default:
		e.fail(at, "", "API servers do not trust the webhook: %v", err)
	}
}

// user looks at what API servers show of themselves.
func (e *examination) user(k *kubeconfigFile, ctx, contextEntry *yaml.Node) *client {
	c := &client{at: k.at(contextEntry)}
	name := text(find(ctx, "user"))
	if name == "" {
		return c
	}
	entry, user := k.named("users", name, "user")
	if entry == nil {
		e.fail(c.at, "write user: and the name of one of users", "the context names user %q, who is not there", name)
		return c
	}
	c.at = k.at(entry)
	c.token = text(find(user, "token"))
	if file := text(find(user, "tokenFile")); file != "" && c.token == "" {
		content, err := os.ReadFile(e.onHost(k.beside(file)))
		if err != nil {
			e.fail(k.at(find(user, "tokenFile")), "write the path as the API server sees it", "tokenFile %s: %v", file, unwrapped(err))
		}
		c.token = strings.TrimSpace(string(content))
	}
	cert, at, ok := e.data(k, user, entry, "client-certificate")
	key, _, okKey := e.data(k, user, entry, "client-key")
	if !ok || !okKey || cert == nil && key == nil {
		return c
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		e.fail(at, "kaudit certs makes them", "the client's certificate and key do not fit: %s", strings.TrimPrefix(err.Error(), "tls: "))
		return c
	}
	c.pair = &pair
	if usage := pair.Leaf.ExtKeyUsage; len(usage) > 0 && !slices.Contains(usage, x509.ExtKeyUsageClientAuth) && !slices.Contains(usage, x509.ExtKeyUsageAny) {
		e.fail(at, "kaudit certs makes one", "the client's certificate is not for clients")
	}
	e.inTime(pair.Leaf, at, "the client's certificate", "kaudit certs makes a new one")
	return c
}

// data returns what stands in KEY-data, in base64, or in the file that KEY names, nil if neither is there.
func (e *examination) data(k *kubeconfigFile, m, entry *yaml.Node, key string) (content []byte, at string, ok bool) {
	if n := find(m, key+"-data"); text(n) != "" {
		content, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil {
			e.fail(k.at(n), "base64 -w0 makes it", "%s-data is not base64", key)
			return nil, k.at(n), false
		}
		return content, k.at(n), true
	}
	n := find(m, key)
	if text(n) == "" {
		return nil, k.at(entry), true
	}
	path := k.beside(n.Value)
	content, err := os.ReadFile(e.onHost(path))
	if err != nil {
		e.fail(k.at(n), "write the path as the API server sees it, or the content as "+key+"-data", "%s %s: %v", key, path, unwrapped(err))
		return nil, k.at(n), false
	}
	return content, k.at(n), true
}

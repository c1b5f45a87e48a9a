package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Addresses inside the cluster. Nothing listens on them: the API server reaches nodes and pods through podNetwork. They come
// from the ranges kept for documentation and for private use.
const (
	apiServerAddress = "192.0.2.10"
	nodeAddress      = "192.0.2.11"
	serviceRange     = "10.96.0.0/16"
)

//go:embed audit-policy.yaml
var auditPolicy []byte

// controlPlaneHost is the host name the programs of the control plane see.
const controlPlaneHost = "control-plane-1"

// A controlPlane is a running cluster without container runtime: etcd, API server, controller manager and scheduler are the
// real programs, the node is a fakeKubelet.
type controlPlane struct {
	log       *slog.Logger
	dir       string
	bin       binaries
	flags     []string // more of the API server
	creds     *credentials
	url       string
	network   *podNetwork
	kubelet   *fakeKubelet
	processes []*process
}

// A webhookTarget is where the API server posts its audit events. The zero value is nowhere.
type webhookTarget struct {
	url string
	// ca is a file with the certificates to trust; without it an https target is not verified.
	ca string
	// config is a kubeconfig to use as it is. It goes before the others.
	config string
}

// startControlPlane starts everything and returns when the cluster answers, or says which part does not. What it has started
// it has then stopped again. More flags of the API server come after its own, and of two that are the same the last counts.
func startControlPlane(ctx context.Context, log *slog.Logger, bin binaries, webhook webhookTarget, flags ...string) (*controlPlane, error) {
	dir, err := os.MkdirTemp("", "kaudit-cluster-")
	if err != nil {
		return nil, fmt.Errorf("temporary folder: %w", err)
	}
	c := &controlPlane{log: log, dir: dir, bin: bin, flags: flags}
	if err := c.start(ctx, webhook); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *controlPlane) start(ctx context.Context, webhook webhookTarget) error {
	begin := time.Now()
	var err error
	if c.creds, err = makeCredentials(c.dir); err != nil {
		return err
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	etcdURL, peerURL := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	c.url = "https://127.0.0.1:" + ports[2]

	if c.network, err = listenPodNetwork(c.log, filepath.Join(c.dir, "egress.sock")); err != nil {
		return fmt.Errorf("pod network: %w", err)
	}
	if err := c.launch("etcd", etcdPackage,
		"--data-dir="+filepath.Join(c.dir, "etcd"),
		"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
		"--listen-peer-urls="+peerURL, "--initial-advertise-peer-urls="+peerURL, "--initial-cluster=default="+peerURL,
		"--unsafe-no-fsync", "--log-level=warn",
	); err != nil {
		return err
	}
	if err := c.launchAPIServer(etcdURL, ports[2], webhook); err != nil {
		return err
	}
	clients, err := kubernetes.NewForConfig(c.config(admin))
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if err := c.await(ctx, "the API server's /readyz", 90*time.Second, func(ctx context.Context) error {
		return clients.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	}); err != nil {
		return err
	}
	if err := c.launchControllers(); err != nil {
		return err
	}
	if err := c.await(ctx, "the controller manager (service account default/default)", 60*time.Second, func(ctx context.Context) error {
		_, err := clients.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	}); err != nil {
		return err
	}
	if err := c.await(ctx, "the scheduler (lease kube-system/kube-scheduler)", 60*time.Second, func(ctx context.Context) error {
		lease, err := clients.CoordinationV1().Leases("kube-system").Get(ctx, "kube-scheduler", metav1.GetOptions{})
		if err == nil && lease.Spec.HolderIdentity == nil {
			err = errors.New("nobody holds it")
		}
		return err
	}); err != nil {
		return err
	}
	if c.kubelet, err = startFakeKubelet(ctx, c.log, c.config(node), c.creds, c.network); err != nil {
		return fmt.Errorf("fake kubelet: %w", err)
	}
	if err := c.await(ctx, "node "+nodeName+" to be ready for pods", 60*time.Second, func(ctx context.Context) error {
		n, err := clients.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err == nil && len(n.Spec.Taints) > 0 {
			err = fmt.Errorf("it still has the taint %s", n.Spec.Taints[0].Key)
		}
		return err
	}); err != nil {
		return err
	}
	c.log.Info("control plane is up", "url", c.url, "took", time.Since(begin).Round(100*time.Millisecond))
	return nil
}

func (c *controlPlane) launch(name, pkg string, args ...string) error {
	p, err := startProcess(c.dir, controlPlaneHost, name, c.bin.path(pkg), args...)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return nil
}

func (c *controlPlane) launchAPIServer(etcdURL, port string, webhook webhookTarget) error {
	files := map[string]string{
		"audit-policy.yaml": string(auditPolicy),
		"egress.yaml": `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      uds:
        udsName: ` + filepath.Join(c.dir, "egress.sock") + "\n",
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("API server configuration: %w", err)
		}
	}
	args := []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=127.0.0.1", "--secure-port=" + port, "--advertise-address=" + apiServerAddress,
		"--tls-cert-file=" + c.creds.path("apiserver.crt"), "--tls-private-key-file=" + c.creds.path("apiserver.key"),
		"--client-ca-file=" + c.creds.path("ca.crt"), "--token-auth-file=" + c.creds.path("tokens.csv"),
		"--anonymous-auth=true", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.creds.path("service-accounts.key"),
		"--service-account-signing-key-file=" + c.creds.path("service-accounts.key"),
		"--service-cluster-ip-range=" + serviceRange,
		"--kubelet-certificate-authority=" + c.creds.path("ca.crt"),
		"--kubelet-client-certificate=" + c.creds.path("kubelet-client.crt"),
		"--kubelet-client-key=" + c.creds.path("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--egress-selector-config-file=" + filepath.Join(c.dir, "egress.yaml"),
		"--audit-policy-file=" + filepath.Join(c.dir, "audit-policy.yaml"),
		"--audit-log-path=" + c.auditLog(), "--audit-log-maxsize=0",
	}
	if config := webhook.config; config == "" && webhook.url != "" {
		config = filepath.Join(c.dir, "webhook.kubeconfig")
		cluster := clientcmdapi.Cluster{Server: webhook.url, CertificateAuthority: webhook.ca, InsecureSkipTLSVerify: webhook.ca == ""}
		if err := writeKubeconfig(config, cluster, clientcmdapi.AuthInfo{}); err != nil {
			return fmt.Errorf("audit webhook: %w", err)
		}
		webhook.config = config
	}
	if webhook.config != "" {
		args = append(args, "--audit-webhook-config-file="+webhook.config,
			"--audit-webhook-batch-max-wait=1s", "--audit-webhook-batch-max-size=60")
	}
	return c.launch("kube-apiserver", apiServerPackage, append(args, c.flags...)...)
}

func (c *controlPlane) launchControllers() error {
	for _, id := range []identity{controllerManager, scheduler} {
		if err := c.writeKubeconfig(c.creds.path(id.name+".kubeconfig"), id); err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", id.name, err)
		}
	}
	if err := c.launch("kube-controller-manager", controllerManagerPackage,
		"--kubeconfig="+c.creds.path(controllerManager.name+".kubeconfig"), "--secure-port=0",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+c.creds.path("service-accounts.key"),
		"--root-ca-file="+c.creds.path("ca.crt"),
		"--cluster-signing-cert-file="+c.creds.path("ca.crt"), "--cluster-signing-key-file="+c.creds.path("ca.key"),
		"--cluster-cidr=10.244.0.0/16", "--allocate-node-cidrs=true", "--service-cluster-ip-range="+serviceRange,
	); err != nil {
		return err
	}
	return c.launch("kube-scheduler", schedulerPackage,
		"--kubeconfig="+c.creds.path(scheduler.name+".kubeconfig"), "--secure-port=0")
}

// auditLog is the file the API server's log backend writes.
func (c *controlPlane) auditLog() string { return filepath.Join(c.dir, "audit.log") }

// kubeconfig is a file with the administrator's access, for people.
func (c *controlPlane) kubeconfig() (string, error) {
	path := filepath.Join(c.dir, "admin.kubeconfig")
	return path, c.writeKubeconfig(path, admin)
}

func (c *controlPlane) writeKubeconfig(path string, id identity) error {
	return writeKubeconfig(path,
		clientcmdapi.Cluster{Server: c.url, CertificateAuthority: c.creds.path("ca.crt")},
		clientcmdapi.AuthInfo{Token: c.creds.tokens[id.name]})
}

func writeKubeconfig(path string, cluster clientcmdapi.Cluster, user clientcmdapi.AuthInfo) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["kaudit"] = &cluster
	config.AuthInfos["kaudit"] = &user
	config.Contexts["kaudit"] = &clientcmdapi.Context{Cluster: "kaudit", AuthInfo: "kaudit"}
	config.CurrentContext = "kaudit"
	return clientcmd.WriteToFile(*config, path)
}

// config is the client configuration of an identity.
func (c *controlPlane) config(id identity) *rest.Config {
	config := c.anonymousConfig(id.agent, id.address)
	config.BearerToken = c.creds.tokens[id.name]
	return config
}

// anonymousConfig is a client configuration that says nothing of who the client is. Its requests come from the given loopback
// address, if any.
func (c *controlPlane) anonymousConfig(agent, address string) *rest.Config {
	config := &rest.Config{
		Host:            c.url,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.creds.path("ca.crt")},
		UserAgent:       agent,
		QPS:             -1,
		WarningHandler:  rest.NoWarnings{},
		// The proxy of the environment is none of this cluster's business.
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}
	if address != "" {
		config.Dial = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext
	}
	return config
}

// await tries probe until it succeeds. It gives up, naming what it waited for, when the time is over or a program has ended.
func (c *controlPlane) await(ctx context.Context, what string, patience time.Duration, probe func(context.Context) error) error {
	c.log.Debug("waiting", "for", what)
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := probe(waiting)
		if err == nil {
			return nil
		}
		for _, p := range c.processes {
			select {
			case <-p.exited:
				return fmt.Errorf("%s ended while waiting for %s: %v\n%s", p.name, what, p.err, p.lastLines(15))
			default:
			}
		}
		select {
		case <-waiting.Done():
			last := c.processes[len(c.processes)-1]
			return fmt.Errorf("not up after %s: %s: %w\nlast lines of %s:\n%s", patience, what, err, last.name, last.lastLines(15))
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// stop ends everything, in the reverse order of starting, and removes the cluster's folder.
func (c *controlPlane) stop() error {
	var errs []error
	if c.kubelet != nil {
		c.kubelet.stop()
	}
	for i := len(c.processes) - 1; i >= 0; i-- {
		errs = append(errs, c.processes[i].stop(20*time.Second))
	}
	if c.network != nil {
		c.network.close()
	}
	errs = append(errs, os.RemoveAll(c.dir))
	return errors.Join(errs...)
}

// freePorts returns ports of the loopback interface that nobody listens on.
func freePorts(n int) ([]string, error) {
	ports := make([]string, n)
	for i := range ports {
		// All stay open until the last is found, so that they differ.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("free port: %w", err)
		}
		defer l.Close()
		ports[i] = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

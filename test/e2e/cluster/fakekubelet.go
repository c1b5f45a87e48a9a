package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// kubeletPort is the port of the node's address the API server connects to.
const kubeletPort = "10250"

// A fakeKubelet is a node without containers.
//
// It is a fake because a real kubelet needs a container runtime, cgroups and privileges that a test machine does not give. What
// matters for audit events is kept true: it talks to the API server with a node's identity and in a kubelet's manner
// (heartbeats, pod status, tokens and configuration for its pods), and it serves the kubelet's API over TLS with the streaming
// code of the real one, so that exec, attach, port-forward, logs and the node proxy are answered as in a real cluster. Only
// nothing runs: a container is declared running once its pod is bound to the node, and a command prints one line.
type fakeKubelet struct {
	log     *slog.Logger
	clients *kubernetes.Clientset
	server  *http.Server
	pods    *http.Server
	cancel  context.CancelFunc
	done    sync.WaitGroup
	lastIP  atomic.Int32

	mu sync.Mutex
	// tokens are the service account tokens of its pods, by namespace/name of the account.
	tokens map[string]string
	// seen are the pods it has begun to run, by UID.
	seen map[types.UID]bool
}

func startFakeKubelet(ctx context.Context, log *slog.Logger, config *rest.Config, creds *credentials, network *podNetwork) (*fakeKubelet, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	certificate, err := tls.LoadX509KeyPair(creds.path("kubelet.crt"), creds.path("kubelet.key"))
	if err != nil {
		return nil, err
	}
	clientCAs := x509.NewCertPool()
	clientCAs.AddCert(creds.ca)

	running, cancel := context.WithCancel(ctx)
	k := &fakeKubelet{log: log, clients: clients, cancel: cancel, tokens: map[string]string{}, seen: map[types.UID]bool{}}
	k.server = &http.Server{
		Handler:           k.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		// SPDY and websocket take over the connection, which HTTP/2 has no way to do.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{certificate},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    clientCAs,
		},
	}
	k.pods = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "a pod of the fake kubelet")
	})}
	serve := func(name string, serve func() error) {
		k.done.Go(func() {
			if err := serve(); !errors.Is(err, http.ErrServerClosed) {
				log.Error(name, "error", err)
			}
		})
	}
	serve("fake kubelet", func() error { return k.server.ServeTLS(network.node, "", "") })
	serve("fake pods", func() error { return k.pods.Serve(network.pods) })

	if err := k.register(running); err != nil {
		k.stop()
		return nil, fmt.Errorf("register the node: %w", err)
	}
	k.done.Go(func() { k.heartbeat(running) })
	k.watchPods(running)
	return k, nil
}

func (k *fakeKubelet) stop() {
	k.cancel()
	k.server.Close()
	k.pods.Close()
	k.done.Wait()
}

// token returns the token a pod on this node has for a service account, empty if there is none.
func (k *fakeKubelet) token(namespace, account string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.tokens[namespace+"/"+account]
}

func (k *fakeKubelet) register(ctx context.Context) error {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: nodeName,
		Labels: map[string]string{
			"kubernetes.io/hostname": nodeName, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
			"topology.kubernetes.io/zone": "zone-a",
		},
	}}
	n.Status = k.nodeStatus()
	if _, err := k.clients.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := k.clients.CoordinationV1().Leases("kube-node-lease").Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName, Namespace: "kube-node-lease"},
		Spec:       leaseSpec(),
	}, metav1.CreateOptions{})
	return err
}

func leaseSpec() coordinationv1.LeaseSpec {
	holder, seconds, now := nodeName, int32(40), metav1.NowMicro()
	return coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}
}

func (k *fakeKubelet) nodeStatus() corev1.NodeStatus {
	now := metav1.Now()
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourcePods: resource.MustParse("2000"), corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
	}
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	return corev1.NodeStatus{
		Capacity: capacity, Allocatable: capacity,
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeAddress}, {Type: corev1.NodeHostName, Address: nodeName}},
		Conditions: []corev1.NodeCondition{
			condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
			condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
			condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
			condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: 10250}},
		NodeInfo: corev1.NodeSystemInfo{
			KubeletVersion: kubernetesVersion, OperatingSystem: "linux", Architecture: "amd64",
			OSImage: "none (fake kubelet)", ContainerRuntimeVersion: "none://0",
		},
	}
}

// heartbeat renews the node's lease, and now and then its status, more often than a kubelet so that short recordings have some.
func (k *fakeKubelet) heartbeat(ctx context.Context) {
	tick := time.NewTicker(3 * time.Second)
	defer tick.Stop()
	for beat := 1; ; beat++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := k.renew(ctx, beat%5 == 0); err != nil && ctx.Err() == nil {
			k.log.Warn("heartbeat of the fake kubelet", "error", err)
		}
	}
}

func (k *fakeKubelet) renew(ctx context.Context, status bool) error {
	leases := k.clients.CoordinationV1().Leases("kube-node-lease")
	lease, err := leases.Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	lease.Spec = leaseSpec()
	if _, err := leases.Update(ctx, lease, metav1.UpdateOptions{}); err != nil || !status {
		return err
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": k.nodeStatus().Conditions}})
	if err != nil {
		return err
	}
	_, err = k.clients.CoreV1().Nodes().PatchStatus(ctx, nodeName, patch)
	return err
}

// watchPods follows the pods bound to the node until ctx ends.
func (k *fakeKubelet) watchPods(ctx context.Context) {
	factory := informers.NewSharedInformerFactoryWithOptions(k.clients, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", nodeName).String()
	}))
	pods := factory.Core().V1().Pods().Informer()
	sync := func(object any) {
		pod := object.(*corev1.Pod).DeepCopy()
		k.done.Go(func() {
			if err := k.syncPod(ctx, pod); err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				k.log.Warn("pod of the fake kubelet", "pod", pod.Namespace+"/"+pod.Name, "error", err)
			}
		})
	}
	_, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    sync,
		UpdateFunc: func(_, object any) { sync(object) },
	})
	if err != nil {
		k.log.Error("pods of the fake kubelet", "error", err)
		return
	}
	factory.Start(ctx.Done())
	k.done.Go(func() {
		<-ctx.Done()
		factory.Shutdown()
	})
}

// syncPod brings a pod one step further: to running, to done if it belongs to a job, or out of the API once it is deleted.
func (k *fakeKubelet) syncPod(ctx context.Context, pod *corev1.Pod) error {
	if pod.DeletionTimestamp != nil {
		return k.clients.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
		})
	}
	k.mu.Lock()
	begun := k.seen[pod.UID]
	k.seen[pod.UID] = true
	k.mu.Unlock()
	if begun {
		return nil
	}
	if err := k.prepareWithRetries(ctx, pod); err != nil {
		return err
	}
	ip := fmt.Sprintf("10.244.0.%d", 2+k.lastIP.Add(1)%250)
	if pod.Spec.HostNetwork {
		ip = nodeAddress
	}
	if err := k.report(ctx, pod, corev1.PodRunning, ip); err != nil {
		return err
	}
	if owner := metav1.GetControllerOf(pod); owner == nil || owner.Kind != "Job" {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(500 * time.Millisecond):
	}
	return k.report(ctx, pod, corev1.PodSucceeded, ip)
}

// prepareWithRetries tries as a kubelet does: the API server's node authorizer learns of a pod a moment after the kubelet.
func (k *fakeKubelet) prepareWithRetries(ctx context.Context, pod *corev1.Pod) error {
	for try := 1; ; try++ {
		err := k.prepare(ctx, pod)
		if err == nil || try == 10 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try) * 100 * time.Millisecond):
		}
	}
}

// prepare does what a kubelet asks of the API server before it starts containers: configuration, secrets, a token.
func (k *fakeKubelet) prepare(ctx context.Context, pod *corev1.Pod) error {
	core := k.clients.CoreV1()
	for _, volume := range pod.Spec.Volumes {
		var err error
		switch {
		case volume.ConfigMap != nil:
			_, err = core.ConfigMaps(pod.Namespace).Get(ctx, volume.ConfigMap.Name, metav1.GetOptions{})
		case volume.Secret != nil:
			_, err = core.Secrets(pod.Namespace).Get(ctx, volume.Secret.SecretName, metav1.GetOptions{})
		case volume.Projected != nil:
			err = k.project(ctx, pod, volume.Projected.Sources)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
	}
	return nil
}

func (k *fakeKubelet) project(ctx context.Context, pod *corev1.Pod, sources []corev1.VolumeProjection) error {
	for _, source := range sources {
		if source.ServiceAccountToken == nil {
			continue
		}
		account := pod.Spec.ServiceAccountName
		answer, err := k.clients.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{
				ExpirationSeconds: source.ServiceAccountToken.ExpirationSeconds,
				BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		k.mu.Lock()
		k.tokens[pod.Namespace+"/"+account] = answer.Status.Token
		k.mu.Unlock()
	}
	return nil
}

// report patches the pod's status the way a kubelet does.
func (k *fakeKubelet) report(ctx context.Context, pod *corev1.Pod, phase corev1.PodPhase, ip string) error {
	now := metav1.Now()
	ready := corev1.ConditionTrue
	state := corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	if phase == corev1.PodSucceeded {
		ready = corev1.ConditionFalse
		state = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: now, FinishedAt: now}}
	}
	status := corev1.PodStatus{
		Phase: phase, HostIP: nodeAddress, HostIPs: []corev1.HostIP{{IP: nodeAddress}},
		PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, StartTime: &now,
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady} {
		status.Conditions = append(status.Conditions, corev1.PodCondition{Type: kind, Status: ready, LastTransitionTime: now})
	}
	for _, container := range pod.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: container.Name, Image: container.Image, State: state, Ready: phase == corev1.PodRunning,
			ContainerID: "none://" + string(pod.UID) + "-" + container.Name,
		})
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return err
	}
	_, err = k.clients.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// handler is the part of a kubelet's API that the API server uses or forwards to.
func (k *fakeKubelet) handler() http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/exec/{namespace}/{pod}/{container}", "/exec/{namespace}/{pod}/{uid}/{container}"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if options, ok := streamOptions(w, r); ok {
				remotecommand.ServeExec(w, r, k, r.PathValue("pod"), r.PathValue("uid"), r.PathValue("container"), r.Form["command"],
					options, time.Minute, 10*time.Second, streamProtocols)
			}
		})
	}
	for _, path := range []string{"/attach/{namespace}/{pod}/{container}", "/attach/{namespace}/{pod}/{uid}/{container}"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if options, ok := streamOptions(w, r); ok {
				remotecommand.ServeAttach(w, r, k, r.PathValue("pod"), r.PathValue("uid"), r.PathValue("container"),
					options, time.Minute, 10*time.Second, streamProtocols)
			}
		})
	}
	for _, path := range []string{"/portForward/{namespace}/{pod}", "/portForward/{namespace}/{pod}/{uid}"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			options, err := portforward.NewV4Options(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			portforward.ServePortForward(w, r, k, r.PathValue("pod"), r.PathValue("uid"), options, time.Minute, 10*time.Second, portforward.SupportedProtocols)
		})
	}
	mux.HandleFunc("POST /run/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "the fake kubelet does not run %q\n", r.FormValue("cmd"))
	})
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "a line of a container's log")
	})
	mux.HandleFunc("GET /pods", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":null}`)
	})
	mux.HandleFunc("GET /configz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, `{"kubeletconfig":{}}`) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "kubelet_running_pods 0") })
	return mux
}

var streamProtocols = []string{
	remotecommand.StreamProtocolV4Name, remotecommand.StreamProtocolV3Name, remotecommand.StreamProtocolV2Name, remotecommand.StreamProtocolV1Name,
}

func streamOptions(w http.ResponseWriter, r *http.Request) (*remotecommand.Options, bool) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return options, err == nil
}

// ExecInContainer pretends to run a command: it prints it.
func (k *fakeKubelet) ExecInContainer(_ context.Context, _, _, _ string, command []string, _ io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	return say(out, "the fake kubelet does not run "+strings.Join(command, " "))
}

// AttachContainer pretends that a container prints one line.
func (k *fakeKubelet) AttachContainer(_ context.Context, _, _, _ string, _ io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	return say(out, "a line of a container")
}

// PortForward answers any connection as a web server that has nothing.
func (k *fakeKubelet) PortForward(_ context.Context, _, _ string, _ int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	return say(stream, "HTTP/1.0 404 Not Found\r\n\r")
}

func say(out io.Writer, line string) error {
	if out == nil {
		return nil
	}
	_, err := fmt.Fprintln(out, line)
	return err
}

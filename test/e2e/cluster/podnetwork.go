package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// A podNetwork is the way from the API server to nodes and pods. The API server refuses to proxy to loopback addresses, so
// nodes and pods have addresses that exist nowhere, and the API server reaches them as it does in clusters with a konnectivity
// proxy: by HTTP CONNECT over a socket, which ends here.
type podNetwork struct {
	server *http.Server
	// node receives the connections to the kubelet's port, pods those to all other addresses.
	node, pods *handedListener
}

func listenPodNetwork(log *slog.Logger, socket string) (*podNetwork, error) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	n := &podNetwork{node: newHandedListener(), pods: newHandedListener()}
	n.server = &http.Server{Handler: http.HandlerFunc(n.connect), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := n.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("pod network", "error", err)
		}
	}()
	return n, nil
}

func (n *podNetwork) connect(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "this is the proxy of the pod network", http.StatusMethodNotAllowed)
		return
	}
	target := n.pods
	if r.Host == net.JoinHostPort(nodeAddress, kubeletPort) {
		target = n.node
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := fmt.Fprint(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil || !target.hand(conn) {
		conn.Close()
	}
}

func (n *podNetwork) close() {
	n.server.Close()
	n.node.Close()
	n.pods.Close()
}

// A handedListener accepts the connections that are handed to it.
type handedListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHandedListener() *handedListener {
	return &handedListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// hand passes a connection on and reports whether somebody took it.
func (l *handedListener) hand(conn net.Conn) bool {
	select {
	case l.conns <- conn:
		return true
	case <-l.closed:
		return false
	case <-time.After(5 * time.Second):
		return false
	}
}

func (l *handedListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, os.ErrClosed
	}
}

func (l *handedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *handedListener) Addr() net.Addr { return &net.UnixAddr{Name: "pod network", Net: "unix"} }

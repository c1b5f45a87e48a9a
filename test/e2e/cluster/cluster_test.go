package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestBinaryPath(t *testing.T) {
	for pkg, want := range map[string]string{
		etcdPackage:      "bin/server",
		apiServerPackage: "bin/kube-apiserver",
	} {
		if got := binaries("bin").path(pkg); got != want {
			t.Errorf("%s is at %s, want %s", pkg, got, want)
		}
	}
}

func TestAt(t *testing.T) {
	for want, got := range map[string]string{
		"/api/v1/nodes":                                 at("v1", "nodes", ""),
		"/api/v1/namespaces/lab/pods/victim/log":        at("v1", "pods", "lab", "victim", "log"),
		"/apis/apps/v1/namespaces/shop/deployments/web": at("apps/v1", "deployments", "shop", "web"),
	} {
		if got != want {
			t.Errorf("path is %s, want %s", got, want)
		}
	}
}

func TestProcess(t *testing.T) {
	dir := t.TempDir()
	p, err := startWith(dir, "sleep", "sleep", []string{"60"}, &syscall.SysProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.stop(5 * time.Second); err != nil {
		t.Errorf("stop a program that runs: %v", err)
	}
	p, err = startWith(dir, "sh", "sh", []string{"-c", "echo last words; exit 3"}, &syscall.SysProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	<-p.exited
	if err := p.stop(time.Second); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("stop a program that ended: %v, want its exit status", err)
	}
	if got := p.lastLines(1); got != "last words" {
		t.Errorf("last line is %q", got)
	}
}

// TestPodNetwork goes the API server's way to a node and to a pod.
func TestPodNetwork(t *testing.T) {
	// Not t.TempDir: the path of a socket must be short.
	dir, err := os.MkdirTemp("", "kaudit-network-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "egress.sock")
	network, err := listenPodNetwork(slog.New(slog.DiscardHandler), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer network.close()
	for listener, answer := range map[net.Listener]string{network.node: "node", network.pods: "pod"} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, answer) }))
		server.Listener.Close()
		server.Listener = listener
		server.Start()
		defer server.Close()
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, err
		}
		_, err = io.WriteString(conn, "CONNECT "+address+" HTTP/1.1\r\nHost: proxy\r\n\r\n")
		if err != nil {
			return nil, err
		}
		head := make([]byte, len("HTTP/1.1 200 Connection established\r\n\r\n"))
		_, err = io.ReadFull(conn, head)
		return conn, err
	}}}
	defer client.CloseIdleConnections()
	for address, want := range map[string]string{net.JoinHostPort(nodeAddress, kubeletPort): "node", "10.244.0.9:8080": "pod"} {
		response, err := client.Get("http://" + address + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if string(body) != want {
			t.Errorf("%s is answered by %q, want the %s", address, body, want)
		}
	}
}

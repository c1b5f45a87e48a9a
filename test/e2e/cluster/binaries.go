package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// kubernetesVersion is what the control plane calls itself. go.mod pins the same release.
const kubernetesVersion = "v1.36.3"

// The programs of the control plane, by the package they are built from. Each is a tool of go.mod.
const (
	etcdPackage              = "go.etcd.io/etcd/server/v3"
	apiServerPackage         = "k8s.io/kubernetes/cmd/kube-apiserver"
	controllerManagerPackage = "k8s.io/kubernetes/cmd/kube-controller-manager"
	schedulerPackage         = "k8s.io/kubernetes/cmd/kube-scheduler"
	// What people set a cluster up with, and talk to it.
	kubeadmPackage = "k8s.io/kubernetes/cmd/kubeadm"
	kubectlPackage = "k8s.io/kubernetes/cmd/kubectl"
)

// binaries is a folder with the programs of the control plane.
type binaries string

// path returns where the program built from pkg is. It has the name go build gives it: the last element of the package path
// that is not a major version.
func (b binaries) path(pkg string) string {
	name := path.Base(pkg)
	if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
		name = path.Base(path.Dir(pkg))
	}
	return filepath.Join(string(b), name)
}

// buildBinaries builds the control plane from the module in moduleDir, or finds what an earlier call built from the same
// go.mod, go.sum, toolchain and linker flags. It keeps the result outside the repository.
func buildBinaries(ctx context.Context, log *slog.Logger, moduleDir string) (binaries, error) {
	args := []string{"build", "-trimpath", "-ldflags", "-s -w " + versionFlags()}
	key, err := buildKey(ctx, moduleDir, args)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache folder: %w", err)
	}
	dir := filepath.Join(cache, "kaudit", "control-plane-"+key)
	if _, err := os.Stat(dir); err == nil {
		log.Info("control plane already built", "folder", dir)
		return binaries(dir), nil
	}

	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("cache folder: %w", err)
	}
	partial, err := os.MkdirTemp(filepath.Dir(dir), "building-")
	if err != nil {
		return "", fmt.Errorf("cache folder: %w", err)
	}
	defer os.RemoveAll(partial)

	log.Info("building the control plane; the first time this takes minutes", "version", kubernetesVersion)
	start := time.Now()
	args = append(args, "-o", partial+string(filepath.Separator),
		etcdPackage, apiServerPackage, controllerManagerPackage, schedulerPackage, kubeadmPackage, kubectlPackage)
	build := exec.CommandContext(ctx, "go", args...)
	build.Dir = moduleDir
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the control plane: %w\n%s", err, output)
	}
	// A rename of a folder is atomic, so a cache is never half filled. Losing a race to another build is fine: both are equal.
	if err := os.Rename(partial, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil {
			return "", fmt.Errorf("keep the built control plane: %w", err)
		}
	}
	log.Info("control plane built", "took", time.Since(start).Round(time.Second), "folder", dir)
	return binaries(dir), nil
}

// versionFlags are the linker flags that tell the programs their version. Without them they send user agents and answer
// /version with the placeholders of the source tree.
func versionFlags() string {
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, setting := range []string{
			"gitVersion=" + kubernetesVersion, "gitMajor=1", "gitMinor=36", "gitCommit=", "gitTreeState=archive",
		} {
			flags = append(flags, "-X "+pkg+"."+setting)
		}
	}
	return strings.Join(flags, " ")
}

func buildKey(ctx context.Context, moduleDir string, args []string) (string, error) {
	version := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOOS", "GOARCH")
	version.Dir = moduleDir
	toolchain, err := version.Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	hash := sha256.New()
	hash.Write(bytes.TrimSpace(toolchain))
	fmt.Fprintf(hash, "%q", args)
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(moduleDir, name))
		if err != nil {
			return "", fmt.Errorf("key of the build: %w", err)
		}
		hash.Write(content)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// findModule returns the folder of this module: the nearest one upwards from the working directory whose go.mod names it.
func findModule() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("working directory: %w", err)
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.Contains(content, []byte("\nmodule kaudit/test/e2e/cluster\n")) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("run this inside test/e2e/cluster: no go.mod of kaudit/test/e2e/cluster found")
		}
		dir = parent
	}
}

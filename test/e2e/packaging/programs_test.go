//go:build linux

// Package packaging makes what is published, and installs it as users do: with falcoctl from a registry, with dpkg, with
// make, from the image. What was installed then runs inside Falco's engine.
package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"kaudit/test/e2e"
	"kaudit/test/e2e/engine"
)

// programs returns the folder with falcoctl, cosign and registry, built from the module tools. The first time on a machine
// this takes some minutes.
func programs(t *testing.T) string {
	t.Helper()
	module := filepath.Join(e2e.Root(t), "test", "e2e", "packaging", "tools")
	content := []string{runtime.Version()}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, string(text))
	}
	dir, err := engine.Cached("packaging-tools", content, func(to string) error {
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", to+"/", "tool")
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		return run(cmd)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// A failure is a program that failed, with what it printed.
type failure struct {
	err    error
	output string
}

func (f failure) Error() string { return f.err.Error() + ": " + f.output }

func run(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return failure{err, strings.TrimSpace(out.String())}
	}
	return nil
}

// release is build/release, built once.
var release = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kaudit-release-")
	if err != nil {
		return "", err
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "kaudit").Output()
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "release")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Dir = filepath.Join(strings.TrimSpace(string(root)), "build", "release")
	return program, run(cmd)
})

// made is the folder of what make dist makes of this tree for this machine's processor, made once.
var made = sync.OnceValues(func() (string, error) {
	program, err := release()
	if err != nil {
		return "", err
	}
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "kaudit").Output()
	if err != nil {
		return "", err
	}
	out := filepath.Join(filepath.Dir(program), "made")
	return out, run(exec.Command(program, "-root", strings.TrimSpace(string(root)), "-out", out, "-arch", runtime.GOARCH, "dist"))
})

func TestMain(m *testing.M) {
	code := m.Run()
	if program, err := release(); err == nil {
		os.RemoveAll(filepath.Dir(program))
	}
	os.Exit(code)
}

// distribution returns what make dist makes.
func distribution(t *testing.T) string {
	t.Helper()
	dir, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// copyTree copies the files of the repository that are or would be committed.
func copyTree(t *testing.T) string {
	t.Helper()
	root, to := e2e.Root(t), t.TempDir()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	list, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // removed, and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), text, info.Mode()); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// distributionOf makes packages of another tree.
func distributionOf(t *testing.T, tree string, flags ...string) string {
	t.Helper()
	program, err := release()
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	args := append([]string{"-root", tree, "-out", out, "-arch", runtime.GOARCH}, flags...)
	if err := run(exec.Command(program, append(args, "dist")...)); err != nil {
		t.Fatal(err)
	}
	return out
}

// push pushes what was made, and returns the index that falcoctl needs.
func push(t *testing.T, dist, registry string, flags ...string) []byte {
	t.Helper()
	program, err := release()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-out", dist, "-plain-http"}, flags...)
	if err := run(exec.Command(program, append(args, "push", registry)...)); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(dist, "index.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return index
}

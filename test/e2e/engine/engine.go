//go:build linux

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// An Engine is libsinsp with the host program around it, ready to run plugins.
type Engine struct {
	tree tree
	host string
}

// Setup prepares the engine of Debian 13: libs 0.20, as in Falco 0.40, with plugin API 3.10. The first call on a machine
// downloads about 110 MB and takes half a minute; it is repeated only when the list of packages changes, and the host
// is compiled again only when its source did.
func Setup(ctx context.Context) (*Engine, error) { return setup(ctx, "trixie") }

// SetupSid prepares the engine of Debian's development suite: libs 0.23, as in Falco 0.43, with plugin API 3.12, at the
// time of writing. What is in that suite changes; a new list of packages or an empty cache takes what is there now. Some
// days its packages do not fit together, so a test that gets an error from here skips, and says so.
func SetupSid(ctx context.Context) (*Engine, error) { return setup(ctx, "sid") }

// Each runs a test in every version of libsinsp that there is.
func Each(t *testing.T, test func(*testing.T, *Engine)) {
	t.Helper()
	for name, setup := range map[string]func(context.Context) (*Engine, error){"libs 0.20": Setup, "sid": SetupSid} {
		t.Run(name, func(t *testing.T) {
			e, err := setup(t.Context())
			if err != nil && name == "sid" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			test(t, e)
		})
	}
}

func setup(ctx context.Context, suite string) (*Engine, error) {
	source, err := hostSource()
	if err != nil {
		return nil, err
	}
	t, err := unpack(ctx, recipe{suite, libsinsp})
	if err != nil {
		return nil, err
	}
	host, err := once("host-"+suite+"-"+hash(filepath.Base(t.dir), string(source)), func(to string) error {
		return compile(ctx, t, source, to)
	})
	if err != nil {
		return nil, err
	}
	return &Engine{tree: t, host: host}, nil
}

// hostSource reads the C++ source of the host, which is found from the working directory upwards: tests run in the
// folder of their package.
func hostSource() ([]byte, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for {
		source, err := os.ReadFile(filepath.Join(dir, "test", "e2e", "host", "host.cpp"))
		if err == nil {
			return source, nil
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return nil, errors.New("test/e2e/host/host.cpp is not in this folder nor above it: run inside the repository")
	}
}

// compile compiles the host inside the tree, with the tree's compiler, headers and libraries. Source and program pass
// through pipes and the tree's /tmp, so nothing is mounted and no device is needed.
func compile(ctx context.Context, t tree, source []byte, to string) error {
	out := filepath.Join("/tmp", filepath.Base(filepath.Dir(to)))
	defer os.Remove(filepath.Join(t.dir, out))
	// The headers of libsinsp are not free of warnings; as system headers they keep them to themselves.
	cmd := t.inside(ctx, "/usr/bin/g++", "-x", "c++", "-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror",
		"-isystem", "/usr/include/falcosecurity", "-isystem", "/usr/include/jsoncpp", "-isystem", "/usr/include/tbb",
		"-", "-o", out, "-lsinsp", "-lscap", "-ljsoncpp")
	cmd.Stdin = bytes.NewReader(source)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compile host.cpp: %w: %s", denied(err), bytes.TrimSpace(log.Bytes()))
	}
	return copyFile(filepath.Join(t.dir, out), to, 0o755)
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// command prepares a run of the host.
func (e *Engine) command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	return e.tree.command(ctx, e.host, args...)
}

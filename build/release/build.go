package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// arm64Compiler is what Debian and Ubuntu call it, in the package gcc-aarch64-linux-gnu.
const arm64Compiler = "aarch64-linux-gnu-gcc"

// A processor is what Go calls it, and a C compiler for it.
type processor struct{ arch, compiler string }

// processors returns those to build for.
func processors(list string) ([]processor, error) {
	compilers := map[string]string{"amd64": "x86_64-linux-gnu-gcc", "arm64": arm64Compiler}
	if list == "" {
		list = "amd64"
		if _, err := exec.LookPath(arm64Compiler); err == nil {
			list += ",arm64"
		}
	}
	var all []processor
	for arch := range strings.SplitSeq(list, ",") {
		compiler, known := compilers[arch]
		if !known {
			return nil, fmt.Errorf("-arch: there is no %q; write amd64, arm64 or both", arch)
		}
		if _, err := exec.LookPath(compiler); err != nil {
			return nil, fmt.Errorf("-arch %s needs the C compiler %s: %w", arch, compiler, err)
		}
		all = append(all, processor{arch, compiler})
	}
	return all, nil
}

// binaries are the programs built for one processor.
type binaries struct {
	processor
	library, json, command, place []byte
}

// compile builds the libraries and the static programs. Folder names, version control and build IDs, the linker's
// included, would make equal sources differ.
func compile(ctx context.Context, root string, p processor, again bool) (binaries, error) {
	dir, err := os.MkdirTemp("", "kaudit-release-")
	if err != nil {
		return binaries{}, err
	}
	defer os.RemoveAll(dir)
	b := binaries{processor: p}
	shared := []string{"-buildmode=c-shared", "-ldflags=-s -w -buildid= -extldflags=-Wl,--build-id=none"}
	for _, one := range []struct {
		to   *[]byte
		pkg  string
		cgo  string
		args []string
	}{
		{&b.library, "./plugin", "1", shared},
		{&b.json, "./plugin/json", "1", shared},
		{&b.command, "./cmd/kaudit", "0", []string{"-ldflags=-s -w -buildid="}},
		{&b.place, "./build/image/place", "0", []string{"-ldflags=-s -w -buildid="}},
	} {
		file := filepath.Join(dir, "out")
		args := append([]string{"build", "-trimpath", "-buildvcs=false", "-o", file}, one.args...)
		if again && one.cgo == "1" {
			args = append(args, "-a")
		}
		cmd := exec.CommandContext(ctx, "go", append(args, one.pkg)...)
		cmd.Dir = root
		// -O2 -g is cgo's own default; what the machine's environment says would make a difference.
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOOS=linux", "GOARCH="+p.arch, "GOAMD64=v1", "GOARM64=v8.0",
			"CGO_ENABLED="+one.cgo, "CC="+p.compiler, "CGO_CFLAGS=-O2 -g", "CGO_LDFLAGS=-O2 -g")
		if out, err := cmd.CombinedOutput(); err != nil {
			return b, fmt.Errorf("build %s for %s: %w\n%s", one.pkg, p.arch, err, out)
		}
		if *one.to, err = os.ReadFile(file); err != nil {
			return b, err
		}
	}
	return b, nil
}

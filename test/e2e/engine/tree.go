//go:build linux

package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A recipe names a set of Debian packages. They are unpacked, with everything they depend on, and not configured:
// none of their scripts run, so no privilege is needed to do it.
type recipe struct {
	suite    string
	packages []string
}

// libsinsp with its headers, and a compiler.
var libsinsp = []string{
	"base-files", "libc-bin", "g++", "libfalcosecurity0-dev", "libcurl4-openssl-dev", "uthash-dev", "nlohmann-json3-dev",
}

// A tree is a folder with the files of a Debian system.
type tree struct{ dir string }

const (
	archiveMirror  = "http://deb.debian.org/debian/"
	archiveKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// cacheDir returns the folder that keeps trees and compiled hosts between runs.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place to keep the engine: %w", err)
	}
	dir := filepath.Join(base, "kaudit")
	return dir, os.MkdirAll(dir, 0o755)
}

// hash returns a short name for content.
func hash(parts ...string) string {
	sum := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12]
}

// once makes the file or folder name in the cache unless it is there already. build writes it at the path it is
// given; only when it is complete does it get its name, so a build that was interrupted leaves nothing that is used.
// Several processes may call once for the same name: one builds, the others wait.
func once(name string, build func(to string) error) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	final := filepath.Join(cache, name)
	if exists(final) {
		return final, nil
	}
	lock, err := os.OpenFile(final+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close() // releases the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if exists(final) {
		return final, nil
	}
	// Holding the lock, whatever is left of earlier builds is left of builds that were killed.
	abandoned, _ := filepath.Glob(final + ".new-*")
	for _, dir := range abandoned {
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
	}
	work, err := os.MkdirTemp(cache, name+".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	result := filepath.Join(work, "result")
	if err := build(result); err != nil {
		return "", err
	}
	return final, os.Rename(result, final)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// unpack returns the tree of a recipe, made on the first call.
func unpack(ctx context.Context, r recipe) (tree, error) {
	dir, err := once("debian-"+r.suite+"-"+hash(r.packages...), func(to string) error {
		return r.fetch(ctx, to)
	})
	if err != nil {
		return tree{}, fmt.Errorf("unpack %s: %w", r.suite, err)
	}
	return tree{dir}, nil
}

// fetch lets apt find and download the packages and unpacks them. apt gets its own state, which says that nothing is
// installed, and otherwise keeps the machine's configuration: proxies, credentials, trust.
func (r recipe) fetch(ctx context.Context, to string) error {
	for _, program := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing: the engine comes from Debian packages and needs a Debian or Ubuntu machine", program)
		}
	}
	state := filepath.Join(filepath.Dir(to), "apt")
	archives := filepath.Join(state, "archives")
	for _, dir := range []string{to, filepath.Join(state, "lists", "partial"), filepath.Join(archives, "partial")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	status, sources := filepath.Join(state, "status"), filepath.Join(state, "sources.list")
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return err
	}
	mirror, keyring, err := configuredMirror(ctx)
	if err != nil {
		return err
	}
	var option string
	if keyring != "" {
		option = "[signed-by=" + keyring + "] "
	}
	if err := os.WriteFile(sources, fmt.Appendf(nil, "deb %s%s %s main\n", option, mirror, r.suite), 0o644); err != nil {
		return err
	}
	apt := func(args ...string) error {
		options := []string{
			"-qq", "-y",
			"-o", "Dir::Etc::sourcelist=" + sources,
			"-o", "Dir::Etc::sourceparts=-",
			"-o", "Dir::Etc::preferences=-",
			"-o", "Dir::Etc::preferencesparts=-",
			"-o", "Dir::State=" + state,
			"-o", "Dir::State::status=" + status,
			"-o", "Dir::State::lists=" + filepath.Join(state, "lists"),
			"-o", "Dir::Cache=" + state,
			"-o", "Dir::Cache::archives=" + archives,
			"-o", "Dir::Log=" + state,
			"-o", "APT::Install-Recommends=false",
			"-o", "APT::Sandbox::User=", // the user _apt may not enter the cache folder
			"-o", "Acquire::Retries=3",
		}
		return run(ctx, "apt-get", append(options, args...)...)
	}
	if err := apt("update"); err != nil {
		return fmt.Errorf("%w (mirror %s)", err, mirror)
	}
	if err := apt(append([]string{"--download-only", "install"}, r.packages...)...); err != nil {
		return fmt.Errorf("%w (mirror %s)", err, mirror)
	}
	debs, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil {
		return err
	}
	// base-files goes first: it has the links from /lib to /usr/lib that the other packages count on.
	slices.SortStableFunc(debs, func(a, b string) int { return rank(a) - rank(b) })
	for _, deb := range debs {
		if err := run(ctx, "dpkg-deb", "--extract", deb, to); err != nil {
			return err
		}
	}
	return nil
}

func rank(deb string) int {
	if strings.HasPrefix(filepath.Base(deb), "base-files_") {
		return 0
	}
	return 1
}

// configuredMirror returns the Debian mirror that this machine's apt is configured for and the keyring to check it with. A
// machine without one (Ubuntu) uses Debian's own, and needs the package debian-archive-keyring.
func configuredMirror(ctx context.Context) (uri, keyring string, err error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(REPO_URI) $(RELEASE) $(SIGNED_BY)", "Created-By: Packages").Output()
	if err != nil {
		return "", "", fmt.Errorf("apt-get indextargets: %w", err)
	}
	if exists(archiveKeyring) {
		keyring = archiveKeyring
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) < 3 {
			continue
		}
		// Debian's archive ends in /debian on every mirror; security and updates are archives and suites of their own.
		at, err := url.Parse(words[0])
		if err != nil || path.Base(at.Path) != "debian" || strings.ContainsAny(words[1], "-/") {
			continue
		}
		if filepath.IsAbs(words[2]) && exists(words[2]) { // else apt prints the name of the unset variable
			keyring = words[2]
		}
		return words[0], keyring, nil
	}
	if keyring == "" {
		return "", "", errors.New("install the package debian-archive-keyring: it checks what comes from " + archiveMirror)
	}
	return archiveMirror, keyring, nil
}

// run runs a program to its end; what it printed becomes part of the error.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// command prepares a program of the tree, or one compiled for it, to run outside of it: through the tree's dynamic
// loader, with the tree's libraries, and with the machine's files.
func (t tree) command(ctx context.Context, program string, args ...string) (*exec.Cmd, error) {
	loaders, _ := filepath.Glob(filepath.Join(t.dir, "usr/lib/*-linux-gnu/ld-linux*.so.*"))
	if len(loaders) != 1 {
		return nil, fmt.Errorf("%s: found %d dynamic loaders, want 1", t.dir, len(loaders))
	}
	args = append([]string{"--library-path", filepath.Dir(loaders[0]), program}, args...)
	return exec.CommandContext(ctx, loaders[0], args...), nil
}

// inside prepares a program of the tree to run with the tree as its root, which takes root's rights or, failing that,
// a user namespace.
func (t tree) inside(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin", "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: t.dir}
	if uid := os.Geteuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	return cmd
}

// denied explains why inside may have failed.
func denied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("compiling the host needs root or user namespaces, this machine allows neither: %w", err)
	}
	return err
}

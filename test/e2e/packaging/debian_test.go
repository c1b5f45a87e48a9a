//go:build linux

package packaging

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"kaudit"
	"kaudit/test/e2e"
)

// tree lists the files below a folder.
func tree(t *testing.T, root string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(name, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTheDebianPackageComesAndGoes(t *testing.T) {
	root := t.TempDir()
	admin := filepath.Join(root, "var", "lib", "dpkg")
	for _, dir := range []string{"info", "updates"} {
		if err := os.MkdirAll(filepath.Join(admin, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// A Debian system with nothing but its C library, as dpkg knows it.
	status := "Package: libc6\nStatus: install ok installed\nMaintainer: Debian\nVersion: 2.36-9\nArchitecture: " + runtime.GOARCH + "\nDescription: C library\n\n"
	if err := os.WriteFile(filepath.Join(admin, "status"), []byte(status), 0o644); err != nil {
		t.Fatal(err)
	}
	dpkg := func(args ...string) error {
		options := []string{"--root=" + root, "--force-not-root", "--force-bad-path", "--log=/dev/null"}
		return run(exec.Command("dpkg", append(options, args...)...))
	}
	found, err := filepath.Glob(filepath.Join(distribution(t), "kaudit_*_"+runtime.GOARCH+".deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d packages, want 1: %v", len(found), err)
	}
	if err := dpkg("--install", found[0]); err != nil {
		t.Fatal(err)
	}
	installed := tree(t, root)
	for _, want := range []string{
		"/usr/share/falco/plugins/libk8saudit.so", "/usr/share/falco/plugins/libjson.so", "/usr/bin/kaudit", "/etc/falco/kaudit_rules.yaml",
		"/usr/share/kaudit/falco/webhook-tls.yaml", "/usr/share/kaudit/falco/official-rules.yaml",
		"/usr/share/kaudit/kubernetes/audit-policy.yaml", "/usr/share/kaudit/helm/values-kaudit.yaml", "/usr/share/doc/kaudit/copyright",
		"/usr/share/bash-completion/completions/kaudit", "/usr/share/zsh/vendor-completions/_kaudit", "/usr/share/fish/vendor_completions.d/kaudit.fish",
	} {
		if !slices.Contains(installed, want) {
			t.Errorf("%s is not installed", want)
		}
	}
	out, err := exec.Command(filepath.Join(root, "usr/bin/kaudit"), "version").Output()
	if err != nil || !bytes.HasPrefix(out, []byte("kaudit "+kaudit.Plugin().Version+"\n")) {
		t.Errorf("the command says %s, %v", out, err)
	}
	alertsOnDelivery(t, filepath.Join(root, "usr/share/falco/plugins/libk8saudit.so"), filepath.Join(root, "etc/falco/kaudit_rules.yaml"))

	// Rules that an administrator changed stay when the package goes, until it is purged.
	if err := dpkg("--remove", "kaudit"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/falco/kaudit_rules.yaml")); err != nil {
		t.Errorf("removing takes the rules away, which are configuration: %v", err)
	}
	if err := dpkg("--purge", "kaudit"); err != nil {
		t.Fatal(err)
	}
	for _, name := range tree(t, root) {
		if !strings.HasPrefix(name, "/var/lib/dpkg/") {
			t.Errorf("%s is left", name)
		}
	}
}

func TestMakeInstallsAndUninstalls(t *testing.T) {
	files, to := distRules(t, distribution(t)), t.TempDir()
	// What make build would build is built already.
	makes := func(target string) {
		t.Helper()
		cmd := exec.Command("make", "--no-print-directory", "-C", e2e.Root(t), target, "DESTDIR="+to, "PREFIX=/usr",
			"LIBRARY="+filepath.Join(files, "libk8saudit.so"), "JSON="+filepath.Join(files, "libjson.so"), "COMMAND="+filepath.Join(files, "kaudit"))
		if err := run(cmd); err != nil {
			t.Fatal(err)
		}
	}
	makes("install")
	want := []string{
		"/etc/falco/kaudit_rules.yaml", "/usr/bin/kaudit", "/usr/share/bash-completion/completions/kaudit", "/usr/share/falco/plugins/libjson.so",
		"/usr/share/falco/plugins/libk8saudit.so", "/usr/share/fish/vendor_completions.d/kaudit.fish", "/usr/share/zsh/vendor-completions/_kaudit",
	}
	got := slices.DeleteFunc(tree(t, to), func(name string) bool { return strings.HasPrefix(name, "/usr/share/kaudit/") })
	if !slices.Equal(got, want) {
		t.Errorf("installed %q, want %q", got, want)
	}
	for name, same := range map[string]string{"/usr/share/falco/plugins/libk8saudit.so": "libk8saudit.so", "/usr/share/falco/plugins/libjson.so": "libjson.so", "/etc/falco/kaudit_rules.yaml": "kaudit_rules.yaml"} {
		a, _ := os.ReadFile(filepath.Join(to, name))
		b, _ := os.ReadFile(filepath.Join(files, same))
		if len(a) == 0 || !bytes.Equal(a, b) {
			t.Errorf("%s is not what is packaged", name)
		}
	}
	makes("uninstall")
	if left := tree(t, to); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

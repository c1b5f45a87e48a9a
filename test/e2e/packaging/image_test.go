//go:build linux

package packaging

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The image is unpacked as a runtime would, and run: first as the init container of a Falco, then as the command.
func TestTheImageBringsPluginAndRules(t *testing.T) {
	layout := filepath.Join(distribution(t), "oci", "image", "kaudit")
	blob := func(digest string) string {
		name, is := strings.CutPrefix(digest, "sha256:")
		if !is {
			t.Fatalf("%q is no digest", digest)
		}
		text, err := os.ReadFile(filepath.Join(layout, "blobs", "sha256", name))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != name {
			t.Errorf("%s has other content", digest)
		}
		return string(text)
	}
	type descriptor struct {
		MediaType, Digest string
		Platform          struct{ OS, Architecture string }
	}
	read := func(text string, to any) {
		if err := json.Unmarshal([]byte(text), to); err != nil {
			t.Fatal(err)
		}
	}
	var index, platforms struct{ Manifests []descriptor }
	top, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	read(string(top), &index)
	read(blob(index.Manifests[0].Digest), &platforms)
	if p := platforms.Manifests[0].Platform; p.OS != "linux" || p.Architecture != runtime.GOARCH {
		t.Fatalf("the image is for %+v", p)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	read(blob(platforms.Manifests[0].Digest), &manifest)
	var config struct {
		Config struct {
			User       string
			Entrypoint []string
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	read(blob(manifest.Config.Digest), &config)

	root := t.TempDir()
	packed := filepath.Join(t.TempDir(), "layer.tar")
	unzip := exec.Command("gzip", "-d")
	unzip.Stdin = strings.NewReader(blob(manifest.Layers[0].Digest))
	text, err := unzip.Output()
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(text); len(config.RootFS.DiffIDs) != 1 || config.RootFS.DiffIDs[0] != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Errorf("the layer is not %q", config.RootFS.DiffIDs)
	}
	if err := os.WriteFile(packed, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(exec.Command("tar", "-xf", packed, "-C", root)); err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/usr/bin/kaudit" {
		t.Errorf("it runs as %+v", config.Config)
	}
	if err := run(exec.Command(filepath.Join(root, config.Config.Entrypoint[0]), "version")); err != nil {
		t.Error(err)
	}
	plugins, rules := t.TempDir(), t.TempDir()
	place := filepath.Join(root, "usr/bin/place")
	library, ruleFile := filepath.Join(root, "usr/share/falco/plugins/libk8saudit.so"), filepath.Join(root, "etc/falco/kaudit_rules.yaml")
	for range 2 { // a container that starts again finds what it left
		if err := run(exec.Command(place, library+"="+plugins, ruleFile+"="+rules)); err != nil {
			t.Fatal(err)
		}
	}
	alertsOnDelivery(t, filepath.Join(plugins, "libk8saudit.so"), filepath.Join(rules, "kaudit_rules.yaml"))
	if _, err := os.Stat(filepath.Join(root, "usr/share/falco/plugins/libjson.so")); err != nil {
		t.Error(err)
	}
	for want, args := range map[string][]string{
		"is the folder mounted":        {library + "=/nowhere"},
		"does not say where to":        {library},
		"name what to copy":            nil,
		"/missing: no such file or di": {"/missing=" + rules},
	} {
		if err := run(exec.Command(place, args...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("place %q: %v, want something with %q", args, err, want)
		}
	}
}

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"kaudit"
)

func TestArchivesAreEqualAndHaveTheirFolders(t *testing.T) {
	files := []file{{"a/b/one", 0o755, []byte("1")}, {"a/two", 0o644, []byte("22")}}
	first, err := archive(files)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := archive(files); err != nil || !bytes.Equal(first, second) {
		t.Errorf("the same files made two archives: %v", err)
	}
	zip, err := gzip.NewReader(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name+" "+h.FileInfo().Mode().String()+" "+string(content))
	}
	want := []string{"a/ drwxr-xr-x ", "a/b/ drwxr-xr-x ", "a/b/one -rwxr-xr-x 1", "a/two -rw-r--r-- 22"}
	if !slices.Equal(got, want) {
		t.Errorf("the archive has %q, want %q", got, want)
	}
}

func TestRulesAreOneFileInLoadOrder(t *testing.T) {
	head := "- required_engine_version: 0.31.0\n- required_plugin_versions:\n    - name: k8saudit\n      version: 0.100.0\n"
	r, err := merge(fstest.MapFS{
		"rules/b.yaml":  {Data: []byte("- rule: B\n\n")},
		"rules/00.yaml": {Data: []byte(head)},
		"rules/c.txt":   {Data: []byte("no rules")},
	}, "k8saudit")
	if want := "# 00.yaml\n\n" + head + "\n# b.yaml\n\n- rule: B\n"; err != nil || string(r.text) != want {
		t.Errorf("%q, %v; want %q", r.text, err, want)
	}
	if r.engine != "0.31.0" || r.plugin != "0.100.0" {
		t.Errorf("they need engine %q and plugin %q", r.engine, r.plugin)
	}
	for name, text := range map[string]string{
		"neither":        "- rule: A\n",
		"twice":          head + head,
		"another plugin": strings.Replace(head, "k8saudit", "json", 1),
	} {
		if _, err := merge(fstest.MapFS{"rules/a.yaml": {Data: []byte(text)}}, "k8saudit"); err == nil {
			t.Errorf("%s: merged", name)
		}
	}
}

func TestTags(t *testing.T) {
	for version, want := range map[string]string{"0.100.1": "0.100.1 0.100 0 latest", "0.101.0-rc1": "0.101.0-rc1"} {
		if got := strings.Join(tags(version), " "); got != want {
			t.Errorf("%s is tagged %s, want %s", version, got, want)
		}
	}
}

// The rules of the tree can be merged, ask for a version that there is, and the index has what falcoctl requires.
func TestWhatIsPackaged(t *testing.T) {
	id, jsonID, rules, err := project("../..")
	if err != nil {
		t.Fatal(err)
	}
	if id.Version != kaudit.Plugin().Version || jsonID.Name != "json" || jsonID.Version != id.Version || rules.plugin > id.Version {
		t.Errorf("version %s, and the rules need %s", id.Version, rules.plugin)
	}
	e := signers{Key: "cosign.pub"}.entry(kaudit.Plugin(), pluginName, "plugin", "example.com", "people", pluginRepository)
	if e.Registry != "example.com" || e.Repository != "people/plugin/kaudit" || !e.Signature.Cosign.IgnoreLog || len(e.Keywords) < 2 {
		t.Errorf("the index has %+v", e)
	}
}

func TestErrorsSayWhatToWrite(t *testing.T) {
	for want, args := range map[string][]string{
		"write release dist, ":             {"build"},
		`there is no "mips"`:               {"-arch", "mips", "dist"},
		"is not the root":                  {"-arch", "amd64", "-root", t.TempDir(), "dist"},
		"without https://":                 {"push", "https://example.com"},
		"-issuer and -identity":            {"-issuer", "https://example.com", "push", "example.com/x"},
		"nothing to push; run make dist":   {"-out", t.TempDir(), "push", "127.0.0.1:1"},
		"write HOST or HOST/FOLDER: inval": {"push", "127.0.0.1:1/UPPER"},
	} {
		if err := run(t.Context(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want something with %q", args, err, want)
		}
	}
}

// A layout is not only what falcoctl reads: each blob has the digest of its name.
func TestLayoutNamesBlobsByContent(t *testing.T) {
	dir := t.TempDir()
	l, err := newLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.blob("text/plain", []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	text, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", hello))
	if err != nil || string(text) != "hello" || d.Digest.Encoded() != hello || d.Size != 5 {
		t.Errorf("%q, %v, %+v", text, err, d)
	}
}

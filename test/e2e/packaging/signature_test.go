//go:build linux

package packaging

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"kaudit/internal/docs"
	"kaudit/test/e2e"
)

// keyPair makes one with cosign, and returns the folder with cosign.key and cosign.pub.
func keyPair(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(filepath.Join(programs(t), "cosign"), "generate-key-pair")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "COSIGN_PASSWORD=")
	if err := run(cmd); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFalcoctlVerifiesSignatures(t *testing.T) {
	dist, registry := distribution(t), startRegistry(t)+"/kaudit"
	ours, others := keyPair(t), keyPair(t)
	index := push(t, dist, registry, "-key", filepath.Join(ours, "cosign.pub"))
	wrong := push(t, dist, registry, "-key", filepath.Join(others, "cosign.pub"))

	install := func(index []byte) (string, error) {
		u := newUser(t, map[string][]byte{"kaudit": index})
		u.env = append(u.env, sigstore(t)...)
		return u.falcoctl(append([]string{"artifact", "install", "kaudit-rules"}, u.folders()...)...)
	}
	if out, err := install(index); err == nil || !strings.Contains(out, "error while verifying signature for") {
		t.Errorf("what is not signed yet was installed: %v", err)
	}

	cmd := exec.Command("make", "--no-print-directory", "-C", e2e.Root(t), "sign", "REGISTRY="+registry, "RELEASE="+dist,
		"COSIGN="+filepath.Join(programs(t), "cosign"),
		"COSIGNFLAGS=--key "+filepath.Join(ours, "cosign.key")+
			" --allow-http-registry --use-signing-config=false --tlog-upload=false --new-bundle-format=false")
	cmd.Env = append(append(os.Environ(), "COSIGN_PASSWORD="), sigstore(t)...)
	if err := run(cmd); err != nil {
		t.Fatal(err)
	}
	out, err := install(index)
	if err != nil || strings.Count(out, "Signature successfully verified!") != 2 {
		t.Errorf("plugin and rules were not both verified: %v", err)
	}
	u := newUser(t, map[string][]byte{"kaudit": index})
	u.env = append(u.env, sigstore(t)...)
	for _, b := range docs.Commands(t, e2e.Root(t), "build/README.md") {
		for _, c := range transcript(b) {
			args := strings.Fields(c.command)[1:]
			if args[1] == "install" {
				args = append(args, u.folders()...)
			}
			if line := c.missing(nil, inOrder(args[1], u.must(args...))); line != "" {
				t.Errorf("%s: %s does not print %q", b.Where(), c.command, line)
			}
		}
	}
	if out, err = install(wrong); err == nil || !strings.Contains(out, "error while verifying signature for") || !strings.Contains(out, "invalid signature") {
		t.Errorf("with another key: %v", err)
	}
}

// sigstore serves what cosign's verification asks Sigstore for, also where a key says who signed and none of it is used: a
// signed folder in TUF's form with an empty root of trust. It returns the environment that points there.
func sigstore(t *testing.T) []string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	// Members in the order of their names and no spaces: this is also the canonical form that TUF signs.
	text := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := object{"keytype": "ed25519", "scheme": "ed25519", "keyval": object{"public": hex.EncodeToString(public)}}
	sum := sha256.Sum256(text(key))
	id := hex.EncodeToString(sum[:])
	signed := func(kind string, more object) []byte {
		more["_type"], more["spec_version"], more["version"] = kind, "1.0.31", 1
		more["expires"] = time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
		return text(object{
			"signed":     more,
			"signatures": []object{{"keyid": id, "sig": hex.EncodeToString(ed25519.Sign(private, text(more)))}},
		})
	}
	roles := object{}
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		roles[role] = object{"keyids": []string{id}, "threshold": 1}
	}
	trust := []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`)
	trustSum := sha256.Sum256(trust)
	root := signed("root", object{"consistent_snapshot": false, "keys": object{id: key}, "roles": roles})
	files := map[string][]byte{
		"/timestamp.json": signed("timestamp", object{"meta": object{"snapshot.json": object{"version": 1}}}),
		"/snapshot.json":  signed("snapshot", object{"meta": object{"targets.json": object{"version": 1}}}),
		"/targets.json": signed("targets", object{"targets": object{"trusted_root.json": object{
			"length": len(trust), "hashes": object{"sha256": hex.EncodeToString(trustSum[:])},
		}}}),
		"/targets/trusted_root.json": trust,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if content, there := files[r.URL.Path]; there {
			_, _ = w.Write(content)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	dir := t.TempDir()
	rootFile := filepath.Join(dir, "root.json")
	if err := os.WriteFile(rootFile, root, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"TUF_ROOT=" + filepath.Join(dir, "cache"), "TUF_MIRROR=" + s.URL, "TUF_ROOT_JSON=" + rootFile,
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + filepath.Join(keyPair(t), "cosign.pub"),
	}
}

// inOrder puts what falcoctl prints of several artifacts into the order of the page: its own is that of a map in Go, another
// one each time. A search has a line for each, below a line in capitals; an install lists them, and has a part for each.
func inOrder(command, out string) string {
	if command == "search" {
		lines := strings.Split(out, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	out = refs.ReplaceAllStringFunc(out, func(list string) string {
		names := strings.Fields(list)
		slices.SortFunc(names, func(a, b string) int { return strings.Compare(b, a) })
		return strings.Join(names, " ")
	})
	const begin = "Preparing to pull artifact"
	parts := strings.Split(out, begin)
	slices.SortFunc(parts[1:], func(a, b string) int { return strings.Compare(b, a) })
	return strings.Join(parts, begin)
}

// refs are the artifacts that an install lists.
var refs = regexp.MustCompile(`127\.0\.0\.1:\d+/\S+:[\w.]+( 127\.0\.0\.1:\d+/\S+:[\w.]+)+`)

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"kaudit"
)

// dist makes everything. What an earlier run left is removed: checksums are for what is there.
func dist(ctx context.Context, root, out string, platforms []processor, again bool) error {
	id, jsonID, rules, err := project(root)
	if err != nil {
		return err
	}
	policy, err := os.ReadFile(filepath.Join(root, "rules", "policy", "audit-policy.yaml"))
	if err != nil {
		return err
	}
	var built []binaries
	for _, p := range platforms {
		b, err := compile(ctx, root, p, again)
		if err != nil {
			return err
		}
		built = append(built, b)
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	err = errors.Join(
		artifacts(out, id, jsonID, rules, policy, built),
		image(out, id, rules, policy, built),
	)
	for _, b := range built {
		err = errors.Join(err, debian(ctx, root, out, id, rules, b), tarball(out, id, rules, policy, b), bills(ctx, root, out, id, b))
	}
	if err != nil {
		return err
	}
	return checksums(out)
}

// project reads who the plugins are, and the rules, from the tree that is built: this program may be of another one.
func project(root string) (id, jsonID kaudit.Identity, rules ruleset, err error) {
	tree := os.DirFS(root)
	id, jsonID, err = kaudit.Identities(tree)
	if errors.Is(err, fs.ErrNotExist) {
		return id, jsonID, rules, fmt.Errorf("-root %s is not the root of the repository: %w", root, err)
	}
	if err != nil {
		return id, jsonID, rules, err
	}
	rules, err = merge(tree, id.Name)
	return id, jsonID, rules, err
}

// tarball writes an archive for those who install by hand.
func tarball(out string, id kaudit.Identity, rules ruleset, policy []byte, b binaries) error {
	folder := fmt.Sprintf("kaudit-%s-linux-%s", id.Version, b.arch)
	content, err := archive([]file{
		{folder + "/" + libraryFile, 0o755, b.library},
		{folder + "/" + jsonFile, 0o755, b.json},
		{folder + "/kaudit", 0o755, b.command},
		{folder + "/" + rulesFile, 0o644, rules.text},
		{folder + "/audit-policy.yaml", 0o644, policy},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, folder+".tar.gz"), content, 0o644)
}

// bills writes what modules the libraries and the command consist of, in CycloneDX's form, as the Go toolchain has noted
// it in them.
func bills(ctx context.Context, root, out string, id kaudit.Identity, b binaries) error {
	tool := exec.CommandContext(ctx, "go", "tool", "-n", "cyclonedx-gomod")
	tool.Dir = filepath.Join(root, "build", "release")
	var log strings.Builder
	tool.Stderr = &log
	program, err := tool.Output()
	if err != nil {
		return fmt.Errorf("build cyclonedx-gomod: %w: %s", err, log.String())
	}
	dir, err := os.MkdirTemp("", "kaudit-bill-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, one := range []struct {
		name    string
		content []byte
	}{{libraryFile, b.library}, {jsonFile, b.json}, {"kaudit", b.command}} {
		file := filepath.Join(dir, one.name)
		if err := os.WriteFile(file, one.content, 0o755); err != nil {
			return err
		}
		bill, err := filepath.Abs(filepath.Join(out, fmt.Sprintf("%s-%s-linux-%s.cdx.json", strings.TrimSuffix(one.name, ".so"), id.Version, b.arch)))
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, strings.TrimSpace(string(program)), "bin", "-json", "-licenses", "-std", "-noserial", "-notimestamp",
			"-version", "v"+id.Version, "-output", bill, file)
		cmd.Dir = root // the go command says there where modules are
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("bill of materials of %s: %w: %s", one.name, err, out)
		}
		if err := dropToolHashes(bill); err != nil {
			return fmt.Errorf("bill of materials of %s: %w", one.name, err)
		}
	}
	return nil
}

// dropToolHashes takes the digests of cyclonedx-gomod out of a bill: its program is another on each machine, and the bill
// would be, too.
func dropToolHashes(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var bill map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&bill); err != nil {
		return err
	}
	metadata, _ := bill["metadata"].(map[string]any)
	tools, _ := metadata["tools"].([]any)
	if len(tools) == 0 {
		return errors.New("it does not name the tool that made it where it did before")
	}
	for _, tool := range tools {
		if t, ok := tool.(map[string]any); ok {
			delete(t, "hashes")
		}
	}
	if text, err = json.MarshalIndent(bill, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// checksums writes SHA256SUMS of all files, in the form that sha256sum -c reads.
func checksums(out string) error {
	var list strings.Builder
	err := filepath.WalkDir(out, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(out, name)
		fmt.Fprintf(&list, "%x  %s\n", sha256.Sum256(content), filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(list.String()), 0o644)
}

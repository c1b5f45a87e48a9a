package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // the only form made here
	"github.com/goreleaser/nfpm/v2/files"

	"kaudit"
)

// debian writes the Debian package. It changes no Falco by being installed: configurations lie in /usr/share/kaudit, and
// the administrator copies one to /etc/falco/config.d.
func debian(ctx context.Context, root, out string, id kaudit.Identity, rules ruleset, b binaries) error {
	dir, err := os.MkdirTemp("", "kaudit-debian-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var contents files.Contents
	add := func(content []byte, name, kind string, mode os.FileMode) error {
		source := filepath.Join(dir, fmt.Sprint(len(contents)))
		contents = append(contents, &files.Content{
			Source: source, Destination: name, Type: kind,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: epoch},
		})
		return os.WriteFile(source, content, 0o644)
	}
	type entry struct {
		content    []byte
		name, kind string
		mode       os.FileMode
	}
	entries := []entry{
		{b.library, "/usr/share/falco/plugins/" + libraryFile, files.TypeFile, 0o755},
		{b.json, "/usr/share/falco/plugins/" + jsonFile, files.TypeFile, 0o755},
		{b.command, "/usr/bin/kaudit", files.TypeFile, 0o755},
		{rules.text, "/etc/falco/" + rulesFile, files.TypeConfig, 0o644},
	}
	for pattern, to := range map[string]string{"build/falco/*.yaml": "falco", "build/kubernetes/*": "kubernetes", "rules/policy/*.yaml": "kubernetes", "build/helm/*.yaml": "helm"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			entries = append(entries, entry{text, "/usr/share/kaudit/" + to + "/" + filepath.Base(name), files.TypeFile, 0o644})
		}
	}
	for _, name := range []string{"LICENSE", "CHANGELOG.md", "README.md"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		to := name
		if name == "LICENSE" {
			to = "copyright"
		}
		entries = append(entries, entry{text, "/usr/share/doc/kaudit/" + to, files.TypeFile, 0o644})
	}
	for shell, name := range map[string]string{
		"bash": "/usr/share/bash-completion/completions/kaudit",
		"zsh":  "/usr/share/zsh/vendor-completions/_kaudit",
		"fish": "/usr/share/fish/vendor_completions.d/kaudit.fish",
	} {
		text, err := completion(ctx, root, shell)
		if err != nil {
			return err
		}
		entries = append(entries, entry{text, name, files.TypeFile, 0o644})
	}
	for _, e := range entries {
		if err := add(e.content, e.name, e.kind, e.mode); err != nil {
			return err
		}
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "kaudit", Arch: b.arch, Platform: "linux", Version: id.Version, Section: "admin", Priority: "optional",
		Maintainer: id.Authors, Description: id.Description, License: id.License, MTime: epoch,
		Overridables: nfpm.Overridables{
			Contents: contents,
			// What the libraries link with; the oldest is that of Debian 12, which the test of its symbols holds.
			Depends:  []string{"libc6 (>= 2.34)"},
			Suggests: []string{"falco"},
			Deb:      nfpm.Deb{Compression: "xz"},
		},
	})
	packager, err := nfpm.Get("deb")
	if err != nil {
		return err
	}
	info.Target = filepath.Join(out, packager.ConventionalFileName(info))
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return err
	}
	var deb bytes.Buffer
	if err := packager.Package(info, &deb); err != nil {
		return err
	}
	return os.WriteFile(info.Target, deb.Bytes(), 0o644)
}

// completion asks the command for a shell's completions: built for this machine, since b may be for another.
func completion(ctx context.Context, root, shell string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "run", "-buildvcs=false", "./cmd/kaudit", "completion", shell)
	cmd.Dir = root
	var log bytes.Buffer
	cmd.Stderr = &log
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("completions for %s: %w: %s", shell, err, log.Bytes())
	}
	return text, nil
}

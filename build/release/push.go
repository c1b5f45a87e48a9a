package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"gopkg.in/yaml.v3"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"

	"kaudit"
)

// signers say who signs, for those who verify.
type signers struct{ Key, Issuer, Identity string }

// push copies the layouts to a registry and writes index.yaml, with which falcoctl finds the artifacts there.
func push(ctx context.Context, out, registry string, plain bool, s signers) error {
	host, below, _ := strings.Cut(registry, "/")
	if host == "" || strings.Contains(registry, "://") {
		return fmt.Errorf("%q names no registry; write HOST or HOST/FOLDER, without https://", registry)
	}
	if s.Key != "" && s.Issuer+s.Identity != "" || (s.Issuer == "") != (s.Identity == "") {
		return errors.New("write -key, or -issuer and -identity, to say who signs")
	}
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return fmt.Errorf("credentials of docker login: %w", err)
	}
	client := &auth.Client{Client: retry.DefaultClient, Cache: auth.NewCache(), Credential: credentials.Credential(store)}
	for _, name := range []string{pluginRepository, jsonRepository, rulesRepository, imageRepository} {
		to, err := remote.NewRepository(registry + "/" + name)
		if err != nil {
			return fmt.Errorf("%q names no registry; write HOST or HOST/FOLDER: %w", registry, err)
		}
		to.PlainHTTP, to.Client = plain, client
		if err := pushLayout(ctx, filepath.Join(out, "oci", name), to); err != nil {
			return fmt.Errorf("push %s/%s: %w", registry, name, err)
		}
	}
	index, err := yaml.Marshal([]entry{
		s.entry(kaudit.Plugin(), pluginName, "plugin", host, below, pluginRepository),
		s.entry(kaudit.JSONPlugin(), jsonName, "plugin", host, below, jsonRepository),
		s.entry(kaudit.Plugin(), rulesName, "rulesfile", host, below, rulesRepository),
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "index.yaml"), index, 0o644)
}

// pushLayout copies a layout, and prints each name it has there.
func pushLayout(ctx context.Context, dir string, to *remote.Repository) error {
	text, err := os.ReadFile(filepath.Join(dir, v1.ImageIndexFile))
	if err != nil {
		return fmt.Errorf("nothing to push; run make dist: %w", err)
	}
	var index v1.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return err
	}
	from, err := oci.NewFromFS(ctx, os.DirFS(dir))
	if err != nil {
		return err
	}
	for _, m := range index.Manifests {
		tag := m.Annotations[v1.AnnotationRefName]
		d, err := oras.Copy(ctx, from, tag, to, tag, oras.DefaultCopyOptions)
		if err != nil {
			return err
		}
		fmt.Printf("%s/%s:%s@%s\n", to.Reference.Registry, to.Reference.Repository, tag, d.Digest)
	}
	return nil
}

// An entry is what falcoctl's index has of an artifact (pkg/index/index/index.go in its source).
type entry struct {
	Name        string     `yaml:"name"`
	Type        string     `yaml:"type"`
	Registry    string     `yaml:"registry"`
	Repository  string     `yaml:"repository"`
	Description string     `yaml:"description"`
	Keywords    []string   `yaml:"keywords"`
	License     string     `yaml:"license"`
	Signature   *signature `yaml:"signature,omitempty"`
}

type signature struct {
	Cosign struct {
		Key       string `yaml:"key,omitempty"`
		IgnoreLog bool   `yaml:"ignore-tlog,omitempty"` // a key says who signed; no transparency log is asked
		Issuer    string `yaml:"certificate-oidc-issuer,omitempty"`
		Identity  string `yaml:"certificate-identity-regexp,omitempty"`
	} `yaml:"cosign"`
}

func (s signers) entry(id kaudit.Identity, name, kind, host, below, repository string) entry {
	e := entry{
		Name: name, Type: kind, Registry: host, Repository: strings.TrimPrefix(below+"/"+repository, "/"),
		Description: id.Description, Keywords: append(id.Keywords, name), License: id.License,
	}
	if s != (signers{}) {
		e.Signature = new(signature)
		c := &e.Signature.Cosign
		c.Key, c.IgnoreLog, c.Issuer, c.Identity = s.Key, s.Key != "", s.Issuer, s.Identity
	}
	return e
}

package main

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"kaudit"
)

// Media types, and the form of a config layer, are falcoctl's (pkg/oci/constants.go and types.go in its source). Its
// package is not imported: it would bring hundreds of modules for four strings.
const (
	pluginConfig    = "application/vnd.cncf.falco.plugin.config.v1+json"
	pluginLayer     = "application/vnd.cncf.falco.plugin.layer.v1+tar.gz"
	rulesfileConfig = "application/vnd.cncf.falco.rulesfile.config.v1+json"
	rulesfileLayer  = "application/vnd.cncf.falco.rulesfile.layer.v1+tar.gz"
)

// The artifacts, by the names an index has for them. The plugin is not called k8saudit there: Falco's own index has an
// artifact of that name, and an index added later would hide it.
const (
	pluginName = "kaudit"
	jsonName   = "kaudit-json"
	rulesName  = "kaudit-rules"
)

// The repositories below a registry, and the folders of their layouts.
const (
	pluginRepository = "plugin/kaudit"
	jsonRepository   = "plugin/kaudit-json"
	rulesRepository  = "ruleset/kaudit"
	imageRepository  = "image/kaudit"
)

// libraryFile, jsonFile and rulesFile are the names of the things Falco loads.
const (
	libraryFile = "libk8saudit.so"
	jsonFile    = "libjson.so"
	rulesFile   = "kaudit_rules.yaml"
	policyFile  = "kaudit/audit-policy.yaml" // in a folder of its own: Falco takes a file beside rules for rules
)

// artifactConfig is the config layer.
type artifactConfig struct {
	Name         string       `json:"name,omitempty"`
	Version      string       `json:"version,omitempty"`
	Dependencies []dependency `json:"dependencies,omitempty"`
	Requirements []need       `json:"requirements,omitempty"`
}

type need struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type dependency struct {
	need
	Alternatives []need `json:"alternatives,omitempty"`
}

// The names of requirements are the keys of Falco's /versions (userspace/falco/versions_info.cpp); falcoctl compares
// them while it follows an artifact.
const (
	pluginAPI     = "plugin_api_version"
	engineVersion = "engine_version_semver"
)

// artifacts writes the layouts for falcoctl.
func artifacts(out string, id, jsonID kaudit.Identity, rules ruleset, policy []byte, built []binaries) error {
	return errors.Join(
		pluginArtifact(out, pluginRepository, pluginName, id, built, func(b binaries) file { return file{libraryFile, 0o755, b.library} }),
		// By this name falcoctl knows that it does for rules that depend on json; in an index it has one of its own.
		pluginArtifact(out, jsonRepository, jsonID.Name, jsonID, built, func(b binaries) file { return file{jsonFile, 0o755, b.json} }),
		rulesArtifact(out, id, rules, policy),
	)
}

// pluginArtifact writes the layout of a plugin.
func pluginArtifact(out, repository, name string, id kaudit.Identity, built []binaries, library func(binaries) file) error {
	l, err := newLayout(filepath.Join(out, "oci", repository))
	if err != nil {
		return err
	}
	config, err := l.json(pluginConfig, artifactConfig{
		Name: name, Version: id.Version, Requirements: []need{{pluginAPI, id.RequiredAPIVersion}},
	})
	if err != nil {
		return err
	}
	var manifests []v1.Descriptor
	for _, b := range built {
		content, err := archive([]file{library(b)})
		if err != nil {
			return err
		}
		layer, err := l.blob(pluginLayer, content)
		if err != nil {
			return err
		}
		layer.Annotations = map[string]string{v1.AnnotationTitle: fmt.Sprintf("%s-%s-linux-%s.tar.gz", path.Base(repository), id.Version, b.arch)}
		manifest, err := l.manifest(config, layer, annotations(id, id.Description))
		if err != nil {
			return err
		}
		manifest.Platform = &v1.Platform{OS: "linux", Architecture: b.arch}
		manifests = append(manifests, manifest)
	}
	index, err := l.index(manifests, annotations(id, id.Description))
	if err != nil {
		return err
	}
	return l.tag(index, tags(id.Version), "")
}

// rulesArtifact writes the layout of the rules.
func rulesArtifact(out string, id kaudit.Identity, rules ruleset, policy []byte) error {
	l, err := newLayout(filepath.Join(out, "oci", rulesRepository))
	if err != nil {
		return err
	}
	// The official plugin is an alternative in falcoctl's sense: whoever asks for it and these rules in one command is
	// not given a second libk8saudit.so over it, but told that it would have to be of a version that it has not got.
	config, err := l.json(rulesfileConfig, artifactConfig{
		Name: rulesName, Version: id.Version, Requirements: []need{{engineVersion, rules.engine}},
		Dependencies: []dependency{{need{pluginName, rules.plugin}, []need{{id.Name, rules.plugin}}}},
	})
	if err != nil {
		return err
	}
	content, err := archive([]file{{rulesFile, 0o644, rules.text}, {policyFile, 0o644, policy}})
	if err != nil {
		return err
	}
	layer, err := l.blob(rulesfileLayer, content)
	if err != nil {
		return err
	}
	layer.Annotations = map[string]string{v1.AnnotationTitle: fmt.Sprintf("kaudit-rules-%s.tar.gz", id.Version)}
	manifest, err := l.manifest(config, layer, annotations(id, "Falco rules for Kubernetes audit events"))
	if err != nil {
		return err
	}
	return l.tag(manifest, tags(id.Version), "")
}

func annotations(id kaudit.Identity, description string) map[string]string {
	return map[string]string{
		v1.AnnotationDescription: description,
		v1.AnnotationLicenses:    id.License,
		v1.AnnotationVersion:     id.Version,
	}
}

// tags returns what a version is also known by, as the official artifacts have it: 0.100.0 is 0.100, 0 and latest too.
// A version before a release is only itself.
func tags(version string) []string {
	if strings.Contains(version, "-") {
		return []string{version}
	}
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	return []string{version, major + "." + minor, major, "latest"}
}

// Package kaudit is the root of the project: what it is, in plugin.yaml, and the rules it comes with. The shared libraries
// are made in plugin/ and plugin/json, the command in cmd/kaudit.
package kaudit

//go:generate go run ./internal/docgen

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"

	"gopkg.in/yaml.v3"
)

//go:embed plugin.yaml plugin/json/plugin.yaml
var identities embed.FS

// Rules are the rules of this project, as in the repository: files in the folder rules.
//
//go:embed rules/*.yaml
var Rules embed.FS

// An Identity is who a plugin is, as plugin.yaml says it.
type Identity struct {
	Name               string   `yaml:"name"`
	ID                 uint32   `yaml:"id"`
	Version            string   `yaml:"version"`
	Source             string   `yaml:"source"`
	Description        string   `yaml:"description"`
	Authors            string   `yaml:"authors"`
	Contact            string   `yaml:"contact"`
	Keywords           []string `yaml:"keywords"`
	License            string   `yaml:"license"`
	Capabilities       []string `yaml:"capabilities"`
	RequiredAPIVersion string   `yaml:"requiredAPIVersion"`
	Fields             int      `yaml:"fields"`
}

// Plugin returns the identity of the plugin for audit events.
func Plugin() Identity {
	id, _ := ours()
	return id
}

// JSONPlugin returns the identity of the plugin for any JSON.
func JSONPlugin() Identity {
	_, id := ours()
	return id
}

func ours() (plugin, json Identity) {
	plugin, json, err := Identities(identities)
	if err != nil {
		panic(err) // they are compiled in, and tests read them
	}
	return plugin, json
}

// Identities reads who the plugins are from the tree of the repository: plugin.yaml, and plugin/json/plugin.yaml, in which
// stands what is another there.
func Identities(repo fs.FS) (plugin, json Identity, err error) {
	if err := plugin.read(repo, "plugin.yaml"); err != nil {
		return plugin, json, err
	}
	json = Identity{
		Version: plugin.Version, Authors: plugin.Authors, Contact: plugin.Contact, License: plugin.License,
		RequiredAPIVersion: plugin.RequiredAPIVersion,
	}
	return plugin, json, json.read(repo, "plugin/json/plugin.yaml")
}

func (id *Identity) read(repo fs.FS, name string) error {
	text, err := fs.ReadFile(repo, name)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(id); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// Package kaudit is the root of the project: what it is, in plugin.yaml, and the rules it comes with. The shared library
// is made in plugin/, the command in cmd/kaudit.
package kaudit

//go:generate go run ./internal/docgen

import (
	"bytes"
	"embed"
	"fmt"

	"gopkg.in/yaml.v3"
)

//go:embed plugin.yaml
var pluginYAML []byte

// Rules are the rules of this project, as in the repository: files in the folder rules.
//
//go:embed rules/*.yaml
var Rules embed.FS

// An Identity is who the plugin is, as plugin.yaml says it.
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

// Plugin returns the identity in plugin.yaml.
func Plugin() Identity {
	var id Identity
	decoder := yaml.NewDecoder(bytes.NewReader(pluginYAML))
	decoder.KnownFields(true)
	if err := decoder.Decode(&id); err != nil {
		panic(fmt.Sprintf("plugin.yaml: %v", err)) // it is compiled in, and tests read it
	}
	return id
}

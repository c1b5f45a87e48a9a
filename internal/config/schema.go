package config

import (
	"encoding/json"
	"reflect"

	"kaudit/pkg/source"
)

// A node is a JSON Schema, or a part of one.
type node struct {
	Schema      string          `json:"$schema,omitempty"`
	Type        any             `json:"type"`
	Description string          `json:"description,omitempty"`
	Default     any             `json:"default,omitempty"`
	Required    []string        `json:"required,omitempty"`
	Properties  map[string]node `json:"properties,omitempty"`
	Items       *node           `json:"items,omitempty"`
	// Configurations written for other versions must start, so keys that are not listed are allowed.
	Additional bool `json:"additionalProperties,omitempty"`
}

// Schema returns the JSON Schema of an init_config.
func Schema(kinds []source.Kind) string {
	properties := nodes(Settings(kinds))
	properties[sourcesKey] = node{
		Type:        "array",
		Description: "Sources to read besides the one that open_params names, which may then be empty. Each may have any setting of its kind for itself.",
		Items: &node{
			Type:       "object",
			Required:   []string{"open"},
			Properties: nodes(append(source.Settings(item{}), ofKinds(kinds)...)),
			Additional: true,
		},
	}
	text, err := json.Marshal(node{
		Schema:     "http://json-schema.org/draft-07/schema#",
		Type:       []string{"object", "null"}, // Falco makes null of an init_config: {}
		Properties: properties,
		Additional: true,
	})
	if err != nil {
		panic("config: schema: " + err.Error()) // the defaults are plain values
	}
	return string(text)
}

func nodes(settings []source.Setting) map[string]node {
	m := map[string]node{}
	for _, s := range settings {
		n := node{Type: schemaType(s.Default), Description: s.Doc, Default: s.Default}
		if n.Type == "object" && reflect.TypeOf(s.Default).Kind() == reflect.Struct {
			n.Default, n.Properties, n.Additional = nil, nodes(source.Settings(s.Default)), true
		}
		m[s.Name] = n
	}
	return m
}

func schemaType(v any) string {
	switch reflect.TypeOf(v).Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice:
		return "array"
	case reflect.Map, reflect.Struct:
		return "object"
	}
	return "integer"
}

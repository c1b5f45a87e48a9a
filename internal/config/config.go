// Package config reads the init_config that the host passes to the plugin: the plugin's own settings and those of all
// sources, in one object.
package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"kaudit/internal/nearest"
	"kaudit/pkg/audit"
	"kaudit/pkg/source"
)

// A Plugin holds the settings that belong to no source.
type Plugin struct {
	MaxEventSize int   `json:"maxEventSize" doc:"Size in bytes over which an event's request and response objects are taken out and the event is marked as truncated."`
	QueueBytes   int64 `json:"queueBytes" doc:"How many bytes of deliveries may wait for Falco before senders are asked to come again."`
	UseAsync     bool  `json:"useAsync" doc:"Accepted for configurations of the official plugin; it has no effect here."`
}

// Defaults returns the settings of an empty configuration.
func Defaults() Plugin {
	return Plugin{MaxEventSize: audit.DefaultMaxEventSize, QueueBytes: 64 << 20, UseAsync: true}
}

// A Config is a whole init_config.
type Config struct {
	Plugin
	settings map[string]any // as written, for the sources
	kinds    []source.Kind
}

// Parse reads an init_config: a JSON object, null, or nothing. Keys may be written in camelCase or snake_case. A key nobody
// knows is reported with the nearest one that somebody does, and left alone: the plugin starts all the same.
func Parse(text string, kinds []source.Kind, log *slog.Logger) (Config, error) {
	c := Config{Plugin: Defaults(), kinds: kinds}
	if strings.TrimSpace(text) == "" {
		return c, nil
	}
	if err := json.Unmarshal([]byte(text), &c.settings); err != nil {
		return c, fmt.Errorf("init_config: want a JSON object or nothing: %w", err)
	}
	known := Settings(kinds)
	for key := range c.settings {
		if has(known, key) {
			continue
		}
		about := []any{"key", key}
		if meant := nearest.Word(key, names(known)); meant != "" {
			about = append(about, "did you mean", meant)
		}
		log.Warn("init_config has a key nobody knows; it has no effect", about...)
	}
	if err := source.Decode(c.settings, &c.Plugin); err != nil {
		return c, err
	}
	if c.MaxEventSize < 1<<10 {
		return c, fmt.Errorf("init_config: maxEventSize: want at least 1024 bytes, not %d", c.MaxEventSize)
	}
	if c.QueueBytes < 1<<20 {
		return c, fmt.Errorf("init_config: queueBytes: want at least 1048576 bytes, not %d", c.QueueBytes)
	}
	return c, nil
}

// Open makes the source that the host's open parameters name.
func (c Config) Open(params string, log *slog.Logger) (source.Source, error) {
	k, err := source.Find(c.kinds, params)
	if err != nil {
		return nil, err
	}
	return k.Open(params, c.settings, source.Env{Log: log})
}

// Settings lists all settings: the plugin's own, then those of each kind of source.
func Settings(kinds []source.Kind) []source.Setting {
	list := source.Settings(Defaults())
	for _, k := range kinds {
		if k.Config() != nil {
			list = append(list, source.Settings(k.Config())...)
		}
	}
	return list
}

func has(known []source.Setting, key string) bool {
	for _, s := range known {
		if source.SameKey(s.Name, key) {
			return true
		}
	}
	return false
}

func names(settings []source.Setting) []string {
	var list []string
	for _, s := range settings {
		list = append(list, s.Name)
	}
	return list
}

// Schema returns the JSON Schema of an init_config. It allows keys it does not list, since configurations written for
// other versions must start.
func Schema(kinds []source.Kind) string {
	type property struct {
		Type        string `json:"type"`
		Description string `json:"description"`
		Default     any    `json:"default"`
	}
	properties := map[string]property{}
	for _, s := range Settings(kinds) {
		properties[s.Name] = property{schemaType(s.Default), s.Doc, s.Default}
	}
	text, err := json.Marshal(map[string]any{
		"$schema":              "http://json-schema.org/draft-07/schema#",
		"type":                 []string{"object", "null"}, // Falco makes null of an init_config: {}
		"properties":           properties,
		"additionalProperties": true,
	})
	if err != nil {
		panic("config: schema: " + err.Error()) // the defaults are plain values
	}
	return string(text)
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

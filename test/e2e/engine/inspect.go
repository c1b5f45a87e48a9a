//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Info is what a plugin says about itself.
type Info struct {
	Name               string      `json:"plugin"`
	Version            string      `json:"version"`
	RequiredAPIVersion string      `json:"required_api_version"`
	Description        string      `json:"description"`
	Contact            string      `json:"contact"`
	Capabilities       uint32      `json:"capabilities"`
	ID                 uint32      `json:"id"`
	EventSource        string      `json:"event_source"`
	ExtractSources     []string    `json:"extract_sources"`
	ParseSources       []string    `json:"parse_sources"`
	AsyncSources       []string    `json:"async_sources"`
	AsyncEvents        []string    `json:"async_events"`
	Fields             []FieldInfo `json:"fields"`
}

// FieldInfo is a field of a plugin as libsinsp understood it.
type FieldInfo struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	List        bool   `json:"list"`
	Arg         bool   `json:"arg"`
	ArgRequired bool   `json:"arg_required"`
	ArgIndex    bool   `json:"arg_index"`
	ArgKey      bool   `json:"arg_key"`
	Suggested   bool   `json:"suggested"` // appended to the output of every rule
	Display     string `json:"display"`
	Desc        string `json:"desc"`
}

// OpenParam is a suggestion of a plugin for opening its source.
type OpenParam struct {
	Value     string `json:"value"`
	Desc      string `json:"desc"`
	Separator string `json:"separator"`
}

// Info loads and initialises plugins and returns what they say about themselves.
func (e *Engine) Info(ctx context.Context, plugins ...Plugin) ([]Info, error) {
	return ask[Info](ctx, e, plugins, "--plugin-info")
}

// OpenParams returns the parameters that the source among the plugins suggests.
func (e *Engine) OpenParams(ctx context.Context, plugins ...Plugin) ([]OpenParam, error) {
	lines, err := ask[struct {
		OpenParams []OpenParam `json:"open_params"`
	}](ctx, e, plugins, "--list-open-params")
	if err != nil || len(lines) == 0 {
		return nil, err
	}
	return lines[0].OpenParams, nil
}

// InitSchema returns the JSON schema of a plugin's configuration.
func (e *Engine) InitSchema(ctx context.Context, plugin Plugin) (string, error) {
	lines, err := ask[struct {
		Schema string `json:"init_schema"`
	}](ctx, e, []Plugin{plugin}, "--init-schema")
	if err != nil || len(lines) == 0 {
		return "", err
	}
	return lines[0].Schema, nil
}

// A FilterCheck is the engine's opinion on a filter. Error is empty if it compiles.
type FilterCheck struct {
	Filter   string   `json:"filter"`
	Error    string   `json:"error"`
	Warnings []string `json:"warnings"`
}

// CheckFilters compiles filters against the fields of the plugins, without opening a source.
func (e *Engine) CheckFilters(ctx context.Context, plugins []Plugin, filters ...string) ([]FilterCheck, error) {
	var args []string
	for _, filter := range filters {
		args = append(args, "--check-filter", filter)
	}
	checks, err := ask[FilterCheck](ctx, e, plugins, args...)
	if len(checks) == len(filters) {
		return checks, nil // the host's exit status repeats what the lines say
	}
	return nil, err
}

// ask runs the host without a source and decodes its lines.
func ask[T any](ctx context.Context, e *Engine, plugins []Plugin, args ...string) ([]T, error) {
	dir, err := os.MkdirTemp("", "kaudit-engine-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	load, err := pluginArguments(dir, plugins)
	if err != nil {
		return nil, err
	}
	cmd, err := e.command(ctx, append(load, args...)...)
	if err != nil {
		return nil, err
	}
	var values []T
	p, err := start(cmd, Run{}, func(_ *Result, _ Run, text []byte) error {
		value, err := decode[T](text)
		values = append(values, value)
		return err
	}, func() {})
	if err != nil {
		return nil, err
	}
	_, err = p.Wait()
	if err == nil && len(values) == 0 && len(args) > 0 {
		err = errors.New("the engine said nothing")
	}
	if err != nil {
		return values, fmt.Errorf("%s: %w", args[0], err)
	}
	return values, nil
}

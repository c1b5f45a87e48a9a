// Command plugin is the shared library libk8saudit.so. It wires the parts and does nothing else.
package main

import (
	"log/slog"
	"os"

	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk"
	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/initschema"
	_ "github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/lasterr"
	_ "github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/listopen"
	_ "github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/progress"

	"kaudit"
	"kaudit/internal/abi"
	"kaudit/internal/abi/sourcing"
	"kaudit/internal/config"
	"kaudit/internal/feed"
	"kaudit/pkg/extract"
	"kaudit/pkg/source"
	"kaudit/pkg/source/all"
)

// A library has no main to be called: what the host may ask for has to be set when it is loaded.
func init() {
	id := kaudit.Plugin()
	abi.SetIdentity(abi.Identity{
		Name: id.Name, Version: id.Version, Description: id.Description, Contact: id.Contact,
		RequiredAPIVersion: id.RequiredAPIVersion, Sources: []string{id.Source}, AsyncEvents: true,
	})
	sourcing.SetIdentity(sourcing.Identity{ID: id.ID, EventSource: id.Source})
	abi.SetFields(extract.Fields())
	initschema.SetInitSchema(&sdk.SchemaInfo{Schema: config.Schema(all.Kinds())})
	abi.SetInit(configure, slog.NewTextHandler(os.Stderr, nil).WithAttrs([]slog.Attr{slog.String("plugin", id.Name)}))
}

// configure says what a plugin object is made of.
func configure(text string, log *slog.Logger) (abi.Object, error) {
	c, err := config.Parse(text, all.Kinds(), log)
	if err != nil {
		return nil, err
	}
	var params []source.Example
	for _, k := range all.Kinds() {
		params = append(params, k.Examples...)
	}
	clusters := map[string]string{}
	for _, s := range c.Sources {
		clusters[s.Name] = s.Cluster
	}
	return sourcing.New(sourcing.Config{
		Config:        abi.Config{Fields: extract.Fields(), Log: log, LogToStderr: c.LogTo == config.LogToStderr},
		Open:          func(params string, env source.Env) (source.Source, error) { return feed.OpenAll(c, params, env) },
		OpenParams:    params,
		MaxEventSize:  c.MaxEventSize,
		DropNoise:     c.DropNoise,
		QueueBytes:    c.QueueBytes,
		MetricsListen: c.MetricsListen,
		Clusters:      clusters,
	}), nil
}

func main() {}

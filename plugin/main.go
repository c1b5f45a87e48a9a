// Command plugin is the shared library libk8saudit.so. It wires the parts and does nothing else.
package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk"
	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/info"
	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/initialize"
	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/initschema"
	_ "github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/lasterr"
	_ "github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/listopen"
	_ "github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/progress"

	"kaudit"
	"kaudit/internal/abi"
	"kaudit/internal/config"
	"kaudit/internal/feed"
	"kaudit/pkg/extract"
	"kaudit/pkg/source"
	"kaudit/pkg/source/all"
)

// A library has no main to be called: what the host may ask for has to be set when it is loaded.
func init() {
	id := kaudit.Plugin()
	info.SetName(id.Name)
	info.SetId(id.ID)
	info.SetVersion(id.Version)
	info.SetEventSource(id.Source)
	info.SetExtractEventSources([]string{id.Source})
	info.SetDescription(id.Description)
	info.SetContact(id.Contact)
	info.SetRequiredAPIVersion(id.RequiredAPIVersion)
	abi.SetFields(extract.Fields())
	initschema.SetInitSchema(&sdk.SchemaInfo{Schema: config.Schema(all.Kinds())})
	initialize.SetOnInit(open)
}

// open makes a plugin object. A mistake in here is the error the host gets, and not its end.
func open(text string) (state sdk.PluginState, err error) {
	defer func() {
		if r := recover(); r != nil {
			state, err = nil, fmt.Errorf("init failed inside: %v", r)
		}
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("plugin", kaudit.Plugin().Name)
	c, err := config.Parse(text, all.Kinds(), log)
	if err != nil {
		return nil, err
	}
	var params []source.Example
	for _, k := range all.Kinds() {
		params = append(params, k.Examples...)
	}
	return abi.New(abi.Config{
		Fields:       extract.Fields(),
		Open:         func(params string, env source.Env) (source.Source, error) { return feed.OpenAll(c, params, env) },
		OpenParams:   params,
		MaxEventSize: c.MaxEventSize,
		QueueBytes:   c.QueueBytes,
		Log:          log,
	}), nil
}

func main() {}

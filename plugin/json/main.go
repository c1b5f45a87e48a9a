// Command json is the shared library libjson.so: the fields of Falco's json plugin, for events of any source. It wires the
// parts and does nothing else.
package main

import (
	"log/slog"
	"os"

	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk"
	"github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/initschema"
	_ "github.com/falcosecurity/plugin-sdk-go/pkg/sdk/symbols/lasterr"

	"kaudit"
	"kaudit/internal/abi"
	"kaudit/pkg/extract"
)

// schema is what init_config may be: as to the official plugin, anything. The one setting that it has is for its SDK.
const schema = `{"$schema":"http://json-schema.org/draft-04/schema#","type":"object","additionalProperties":true,"properties":` +
	`{"useAsync":{"type":"boolean","title":"Use async extraction","description":"Taken as the official plugin takes it, and without effect."}}}`

// A library has no main to be called: what the host may ask for has to be set when it is loaded.
func init() {
	id := kaudit.JSONPlugin()
	abi.SetIdentity(abi.Identity{
		Name: id.Name, Version: id.Version, Description: id.Description, Contact: id.Contact, RequiredAPIVersion: id.RequiredAPIVersion,
	})
	abi.SetFields(extract.JSONFields())
	initschema.SetInitSchema(&sdk.SchemaInfo{Schema: schema})
	abi.SetInit(configure, slog.NewTextHandler(os.Stderr, nil).WithAttrs([]slog.Attr{slog.String("plugin", id.Name)}))
}

// configure says what a plugin object is made of. There is nothing to set.
func configure(_ string, log *slog.Logger) (abi.Object, error) {
	return abi.New(abi.Config{Fields: extract.JSONFields(), AnyJSON: true, Log: log}), nil
}

func main() {}

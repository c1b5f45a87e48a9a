package config_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"kaudit/internal/config"
	"kaudit/pkg/source"
	"kaudit/pkg/source/all"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, text string
		size       int    // wanted maxEventSize
		err        string // the error has this in it
		log        string // the log has this in it
	}{
		{name: "nothing", text: "", size: 16 << 20},
		{name: "an empty object", text: "{}", size: 16 << 20},
		{name: "null, as Falco makes of an empty object", text: "null", size: 16 << 20},
		{name: "camelCase", text: `{"maxEventSize":262144}`, size: 262144},
		{name: "snake_case", text: `{"max_event_size":262144}`, size: 262144},
		{name: "everything the official plugin has", text: `{"sslCertificate":"/etc/falco/falco.pem","maxEventSize":262144,"webhookMaxBatchSize":12582912,"useAsync":true}`, size: 262144},
		{name: "the same in snake_case", text: `{"ssl_certificate":"/x.pem","max_event_size":262144,"webhook_max_batch_size":12582912,"use_async":false}`, size: 262144},
		{name: "a slip in a key", text: `{"maxEventSise":5000}`, size: 16 << 20, log: "maxEventSize"},
		{name: "a key of another project", text: `{"frobnicate":1}`, size: 16 << 20, log: "frobnicate"},
		{name: "a wrong type", text: `{"maxEventSize":"large"}`, err: "maxEventSize"},
		{name: "too small", text: `{"maxEventSize":12}`, err: "at least 1024"},
		{name: "metrics nowhere", text: `{"metricsListen":"9766"}`, err: "metricsListen"},
		{name: "silence that is no time", text: `{"silenceAfter":"soon"}`, err: "silenceAfter"},
		{name: "silence of an instant", text: `{"silence_after":"1ms"}`, err: "silenceAfter"},
		{name: "silence of a source", text: `{"sources":[{"open":"-","silenceAfter":"-1h"}]}`, err: "sources[0]: silenceAfter"},
		{name: "a log nobody has", text: `{"logTo":"syslog"}`, err: "logTo"},
		{name: "a queue too small", text: `{"queueBytes":12}`, err: "queueBytes"},
		{name: "a spool", text: `{"spool":{"dir":"/x","max_bytes":100000000}}`, size: 16 << 20},
		{name: "a spool too small", text: `{"spool":{"dir":"/x","maxBytes":1}}`, err: "spool.maxBytes"},
		{name: "a slip in the spool", text: `{"spool":{"folder":"/x","maxByte":100000000}}`, size: 16 << 20, log: "maxBytes"},
		{name: "a spool that is a path", text: `{"spool":"/x"}`, err: "spool"},
		{name: "no sources", text: `{"sources":null}`, size: 16 << 20},
		{name: "no object", text: `[1]`, err: "want a JSON object"},
		{name: "no JSON", text: `maxEventSize: 5`, err: "want a JSON object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			c, err := config.Parse(tt.text, all.Kinds(), slog.New(slog.NewTextHandler(&out, nil)))
			switch {
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Fatalf("error %v, want %q in it", err, tt.err)
			case tt.err != "":
				return
			case err != nil:
				t.Fatal(err)
			case c.MaxEventSize != tt.size:
				t.Errorf("maxEventSize is %d, want %d", c.MaxEventSize, tt.size)
			case tt.log == "" && out.Len() > 0:
				t.Errorf("logged %s", out.String())
			case !strings.Contains(out.String(), tt.log):
				t.Errorf("logged %q, want %q in it", out.String(), tt.log)
			}
		})
	}
}

func TestNoiseIsDroppedOnlyIfSomebodySaysSo(t *testing.T) {
	for text, want := range map[string]bool{``: false, `{}`: false, `{"dropNoise":false}`: false, `{"dropNoise":true}`: true, `{"drop_noise":true}`: true} {
		c, err := config.Parse(text, all.Kinds(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if c.DropNoise != want {
			t.Errorf("%s: dropNoise is %t", text, c.DropNoise)
		}
	}
	if _, err := config.Parse(`{"dropNoise":"leases"}`, all.Kinds(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "dropNoise") {
		t.Errorf("error: %v", err)
	}
}

func TestOpenNamesWhatIsWrong(t *testing.T) {
	c, err := config.Parse("", all.Kinds(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ params, want string }{
		{"gopher://x", "gopher"},
		{"/no/such/folder/audit.log", "/no/such/folder/audit.log"},
		{"file:///var/log/[audit.log", "/var/log/[audit.log"},
		{"http://127.0.0.1", "port"},
	} {
		list, err := c.All(tt.params)
		if err == nil {
			_, err = list[0].New(source.Env{})
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want an error with %q", tt.params, err, tt.want)
		}
	}
}

func TestTheSchemaListsEverySettingOnce(t *testing.T) {
	var schema struct {
		Properties           map[string]struct{ Type, Description string }
		AdditionalProperties bool
	}
	if err := json.Unmarshal([]byte(config.Schema(all.Kinds())), &schema); err != nil {
		t.Fatal(err)
	}
	if !schema.AdditionalProperties {
		t.Error("configurations of other versions would not start")
	}
	settings := config.Settings(all.Kinds())
	if len(schema.Properties) != len(settings)+1 { // and the list of sources
		t.Errorf("%d settings, %d in the schema: two have one name", len(settings), len(schema.Properties)-1)
	}
	for _, s := range settings {
		p := schema.Properties[s.Name]
		if p.Type == "" || !strings.HasSuffix(p.Description, ".") {
			t.Errorf("%s: type %q, description %q", s.Name, p.Type, p.Description)
		}
	}
}

package source

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"github.com/go-viper/mapstructure/v2"
)

// A Kind is one sort of source: how people name it, what they may set, how to open it.
type Kind struct {
	// Name is one word for docs and messages: "file", "webhook".
	Name string
	// Schemes are the words before "://" in open parameters that this kind answers to. The empty string stands for
	// open parameters without a scheme.
	Schemes []string
	// Summary is one sentence for docs.
	Summary string
	// Examples are open parameters people may write; docs show them and tests parse them.
	Examples []Example
	// Pushed says that senders hand over what they do not keep: a delivery has to be safe before it is acknowledged.
	// Such sources write through the spool if one is set up; the others can read again what was not evaluated.
	Pushed bool

	config any // the defaults, a struct whose tags give names and docs
	open   func(where string, settings map[string]any, env Env) (Source, error)
}

// An Example is an open parameter and what it does.
type Example struct {
	Open string
	Doc  string
}

// Define completes k with a configuration of type C, a struct, starting from defaults, and a constructor.
//
// Every exported field of C carries a tag json:"name" with the camelCase name of the setting and a tag doc:"…" with
// one sentence. open gets the whole open parameter, scheme included. It takes what can fail at once (a listening
// port, a certificate, a file that is not there), so that the person who starts the host sees the error, and
// gives it back if Run is never called through an optional Close method.
func Define[C any](k Kind, defaults C, open func(where string, c C, env Env) (Source, error)) Kind {
	k.config = defaults
	k.open = func(where string, settings map[string]any, env Env) (Source, error) {
		c := defaults
		if err := Decode(settings, &c); err != nil {
			return nil, err
		}
		if env.Log == nil {
			env.Log = slog.New(slog.DiscardHandler)
		}
		if env.Notify == nil {
			env.Notify = func(Notice) {}
		}
		return open(where, c, env)
	}
	return k
}

// Open makes a source from an open parameter and settings. Settings this kind does not know are left alone.
func (k Kind) Open(where string, settings map[string]any, env Env) (Source, error) {
	return k.open(where, settings, env)
}

// Config returns the defaults of this kind, a struct.
func (k Kind) Config() any { return k.config }

// Find returns the kind in kinds that answers to the scheme of where.
func Find(kinds []Kind, where string) (Kind, error) {
	scheme := ""
	if before, _, found := strings.Cut(where, "://"); found {
		scheme = before
	}
	var known []string
	for _, k := range kinds {
		for _, s := range k.Schemes {
			if s == scheme {
				return k, nil
			}
			if s != "" {
				known = append(known, s+"://")
			}
		}
	}
	return Kind{}, fmt.Errorf("open parameters: nothing here reads %q; use one of %s, a path, or - for standard input", scheme+"://", strings.Join(known, ", "))
}

// A Setting is one key of a configuration, as docs and schema show it.
type Setting struct {
	Name    string // camelCase
	Doc     string
	Default any
}

// Settings lists the settings of a configuration struct in the order of its fields.
func Settings(config any) []Setting {
	v := reflect.ValueOf(config)
	var list []Setting
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		value := v.Field(i)
		switch { // a default that is nothing is shown as an empty one
		case value.Kind() == reflect.Slice && value.IsNil():
			value = reflect.MakeSlice(value.Type(), 0, 0)
		case value.Kind() == reflect.Map && value.IsNil():
			value = reflect.MakeMap(value.Type())
		}
		list = append(list, Setting{Name: name, Doc: f.Tag.Get("doc"), Default: value.Interface()})
	}
	return list
}

// SameKey reports whether two settings' names are one name: case and underscores do not matter, so that
// maxEventSize and max_event_size are the same.
func SameKey(a, b string) bool {
	fold := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }
	return fold(a) == fold(b)
}

// Decode fills a configuration struct from settings as they stand in the host's configuration. Keys the struct does
// not have are ignored here; whoever knows all keys reports them.
func Decode(settings map[string]any, into any) error {
	dec, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result:    into,
		TagName:   "json",
		MatchName: SameKey,
	})
	if err != nil {
		return err
	}
	if err := dec.Decode(settings); err != nil {
		return fmt.Errorf("init_config: %w", oneLine{err})
	}
	return nil
}

// oneLine shows an error that goes over several lines in one, as logs want it.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }
func (e oneLine) Unwrap() error { return e.error }

package feed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"kaudit/internal/config"
	"kaudit/internal/feed"
	"kaudit/pkg/source"
)

// An echo is a source that delivers its open parameter and its setting, once.
type echo struct{ text string }

type echoConfig struct {
	EchoWord string `json:"echoWord" doc:"A word."`
}

func (e echo) Run(ctx context.Context, sink source.Sink) error {
	return sink.Deliver(ctx, source.Delivery{Payload: []byte(e.text), Source: "echo"})
}

var echoKind = source.Define(source.Kind{Name: "echo", Schemes: []string{"echo"}}, echoConfig{"default"},
	func(where string, c echoConfig, env source.Env) (source.Source, error) {
		if where == "echo://wrong" {
			return nil, errors.New("wrong")
		}
		env.Notify(source.Notice{Name: where})
		return echo{where + " " + c.EchoWord}, nil
	})

type collector struct {
	mu  sync.Mutex
	got []string
}

func (c *collector) Deliver(_ context.Context, d source.Delivery) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, fmt.Sprintf("%s [%s]", d.Payload, d.Cluster))
	if d.Done != nil {
		d.Done()
	}
	return nil
}

func TestSources(t *testing.T) {
	for _, tt := range []struct {
		name, text, params string
		want               []string // payloads, clusters in brackets
		names              []string // of the sources, in what they count
		err, log           string
	}{
		{name: "one by open parameters", text: `{"echoWord":"w"}`, params: "echo://a", want: []string{"echo://a w []"}},
		{
			name: "a list alone", text: `{"sources":[{"open":"echo://a"},{"open":"echo://b","cluster":"prod eu"}]}`,
			want: []string{"echo://a default []", "echo://b default [prod eu]"}, names: []string{"echo", "echo2"},
		},
		{
			name: "beside open parameters", text: `{"sources":[{"open":"echo://a","name":"one"}]}`, params: "echo://b",
			want: []string{"echo://a default []", "echo://b default []"}, names: []string{"echo", "one"},
		},
		{
			name: "own settings over common ones, whichever way they are written", text: `{"echo_word":"common","sources":[{"open":"echo://a","echoWord":"own"},{"open":"echo://b"}]}`,
			want: []string{"echo://a own []", "echo://b common []"}, names: []string{"echo", "echo2"},
		},
		{name: "no list", text: `{"sources":{"open":"echo://a"}}`, err: "sources: want a list, not an object"},
		{name: "no object", text: `{"sources":["echo://a"]}`, err: "sources[0]: want an object like"},
		{name: "no open", text: `{"sources":[{"open":"echo://a"},{"name":"b"}]}`, err: "sources[1]: open: missing"},
		{name: "no such kind", text: `{"sources":[{"open":"gopher://a"}]}`, err: `sources[0]: open: nothing here reads "gopher://"`},
		{name: "a wrong type", text: `{"sources":[{"open":7}]}`, err: "init_config: sources[0]: "},
		{name: "a name for nobody", text: `{"sources":[{"open":"echo://a","name":"Prod/EU"}]}`, err: "sources[0]: name:"},
		{name: "two that metrics could not tell apart", text: `{"sources":[{"open":"echo://a","name":"a-b"},{"open":"echo://b","name":"a_b"}]}`, err: "sources[1]: name: two sources are called"},
		{name: "two of one name", text: `{"sources":[{"open":"echo://a","name":"a"},{"open":"echo://b","name":"a"}]}`, err: "sources[1]: name: two sources are called a"},
		{name: "a cluster that breaks lines", text: `{"sources":[{"open":"echo://a","cluster":"a\nb"}]}`, err: "sources[0]: cluster:"},
		{name: "a cluster without end", text: `{"sources":[{"open":"echo://a","cluster":"` + strings.Repeat("a", 254) + `"}]}`, err: "254 bytes"},
		{name: "a slip in a key", text: `{"sources":[{"open":"echo://a","echoWort":"x"}]}`, want: []string{"echo://a default []"}, names: []string{"echo"}, log: "echoWord"},
		{name: "one that cannot be opened", text: `{"sources":[{"open":"echo://a"},{"open":"echo://wrong"}]}`, err: "sources: echo2: wrong"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			env := source.Env{Log: slog.New(slog.NewTextHandler(&log, nil))}
			src, err := openAll(tt.text, tt.params, env)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q in it", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var sink collector
			if err := src.Run(t.Context(), &sink); err != nil {
				t.Fatal(err)
			}
			if slices.Sort(sink.got); !slices.Equal(sink.got, tt.want) {
				t.Errorf("got %q, want %q", sink.got, tt.want)
			}
			names := map[string]bool{}
			if c, ok := src.(source.Counter); ok {
				c.Counts(func(name string, _ uint64) {
					name, _, _ = strings.Cut(name, ".")
					names[name] = true
				})
			}
			if got := slices.Sorted(maps.Keys(names)); !slices.Equal(got, tt.names) {
				t.Errorf("sources %q, want %q", got, tt.names)
			}
			if !strings.Contains(log.String(), tt.log) {
				t.Errorf("logged %q, want %q in it", &log, tt.log)
			}
		})
	}
}

func TestNoticesAreOfTheClusterOfTheirSource(t *testing.T) {
	var got []string
	env := source.Env{Log: slog.New(slog.DiscardHandler), Notify: func(n source.Notice) { got = append(got, n.Name+" "+n.Cluster) }}
	if _, err := openAll(`{"sources":[{"open":"echo://a","cluster":"eu"},{"open":"echo://b"}]}`, "", env); err != nil {
		t.Fatal(err)
	}
	if want := []string{"echo://a eu", "echo://b "}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func openAll(text, params string, env source.Env) (source.Source, error) {
	c, err := config.Parse(text, []source.Kind{echoKind}, env.Log)
	if err != nil {
		return nil, err
	}
	return feed.OpenAll(c, params, env)
}

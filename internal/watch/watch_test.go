package watch_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"kaudit/internal/watch"
	"kaudit/pkg/source"
)

// A script delivers for some clusters at some times, then waits for its end.
type script []struct {
	at      time.Duration
	cluster string
}

func (s script) Run(ctx context.Context, sink source.Sink) error {
	began := time.Now()
	for _, d := range s {
		time.Sleep(d.at - time.Since(began))
		_ = sink.Deliver(ctx, source.Delivery{Source: "s", Cluster: d.cluster})
	}
	<-ctx.Done()
	return ctx.Err()
}

type sink struct{ refuse string }

func (s sink) Deliver(_ context.Context, d source.Delivery) error {
	if d.Cluster == s.refuse {
		return source.ErrFull
	}
	return nil
}

func TestSilence(t *testing.T) {
	const m = time.Minute
	for _, tt := range []struct {
		name   string
		script script
		lasts  time.Duration
		want   []string
	}{
		{"never delivered", nil, 100 * m, nil},
		{"goes on", script{{0, "a"}, {9 * m, "a"}, {18 * m, "a"}}, 27 * m, nil},
		{"stops", script{{0, "a"}, {5 * m, "a"}}, 100 * m, []string{"a 15m"}},
		{"stops twice", script{{0, "a"}, {30 * m, "a"}}, 100 * m, []string{"a 10m", "a 40m"}},
		{"one of two", script{{0, "a"}, {0, "b"}, {8 * m, "b"}, {16 * m, "b"}, {24 * m, "b"}}, 25 * m, []string{"a 10m"}},
		{"what is refused does not count", script{{0, "a"}, {5 * m, "a"}, {6 * m, "refused"}}, 100 * m, []string{"a 15m"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var got []string
				src := watch.Source(tt.script, watch.Config{
					After: 10 * m,
					Log:   slog.New(slog.DiscardHandler),
					Notify: func(n source.Notice) {
						if n.Name != source.SourceSilent || n.Source != "s" || n.Count != 1 {
							t.Errorf("notice %+v", n)
						}
						// It is looked for every minute or so.
						got = append(got, n.Cluster+" "+time.Since(began).Truncate(5 * m).String()[:3])
					},
				})
				ctx, cancel := context.WithTimeout(t.Context(), tt.lasts)
				defer cancel()
				if err := src.Run(ctx, sink{"refused"}); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

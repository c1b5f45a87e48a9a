package tail_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"kaudit/pkg/source"
	"kaudit/pkg/source/sourcetest"
	"kaudit/pkg/source/tail"
)

func TestPromises(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	nowhere := filepath.Join(file, "below")
	subject := func(feed func(t *testing.T, dir string) sourcetest.Feed) sourcetest.Subject {
		return sourcetest.Subject{
			Kind: tail.Kind,
			New: func(t *testing.T, _ [][]byte) sourcetest.Feed {
				dir := t.TempDir()
				feed := feed(t, dir)
				feed.Settings["fileCheckpointDir"] = filepath.Join(dir, "checkpoints")
				return feed
			},
			Wrong: []sourcetest.Wrong{
				{Open: "file://", Says: "open parameters"},
				{Open: "file:///var/log/a.log,", Says: "empty path"},
				{Open: "file:///var/log/[a.log", Says: "no pattern"},
				{Open: "file:///var/log/a.log,file://http://:9765", Says: "http://:9765"},
				{Open: "file:///dev/null", Says: "/dev/null is neither a file nor a directory"},
				{Open: "file:///var/log/a.log", Settings: map[string]any{"fileStart": "now"}, Says: `fileStart: "now"`},
				{Open: "file:///var/log/a.log", Settings: map[string]any{"fileCheckpointDir": nowhere}, Says: "fileCheckpointDir"},
			},
		}
	}
	send := func(write func(event []byte) error) func(context.Context, source.Source, []byte) error {
		return func(_ context.Context, _ source.Source, event []byte) error { return write(event) }
	}
	t.Run("file", func(t *testing.T) {
		sourcetest.Run(t, subject(func(t *testing.T, dir string) sourcetest.Feed {
			w := appender(t, filepath.Join(dir, "audit.log"))
			return sourcetest.Feed{
				Open: "file://" + filepath.Join(dir, "audit.log"), Settings: map[string]any{},
				Send:  send(func(event []byte) error { _, err := w.Write(append(event, '\n')); return err }),
				Close: func() { w.Close() },
			}
		}))
	})
	t.Run("rotated file in a directory", func(t *testing.T) {
		sourcetest.Run(t, subject(func(t *testing.T, dir string) sourcetest.Feed {
			n := 0
			return sourcetest.Feed{
				Open: "file://" + dir, Settings: map[string]any{"fileStart": "beginning"},
				Send: send(func(event []byte) error {
					path := filepath.Join(dir, "audit.log")
					if n++; n%7 == 0 {
						os.Rename(path, fmt.Sprintf("%s/audit-2026-07-23T18-32-12.%03d.log", dir, n))
					}
					w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
					if err != nil {
						return err
					}
					defer w.Close()
					_, err = w.Write(append(event, '\n'))
					return err
				}),
			}
		}))
	})
	t.Run("container log", func(t *testing.T) {
		sourcetest.Run(t, subject(func(t *testing.T, dir string) sourcetest.Feed {
			w := appender(t, filepath.Join(dir, "0.log"))
			return sourcetest.Feed{
				Open: "file://" + filepath.Join(dir, "*.log"), Settings: map[string]any{},
				Send:  send(func(event []byte) error { _, err := w.Write(wrap("stdout", event)); return err }),
				Close: func() { w.Close() },
			}
		}))
	})
}

func appender(t testing.TB, path string) *os.File {
	t.Helper()
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// wrap writes a line as container runtimes do, who cut after 16 KiB.
func wrap(stream string, line []byte) []byte {
	const limit = 16 << 10
	var b bytes.Buffer
	for len(line) > limit {
		fmt.Fprintf(&b, "2026-07-23T18:32:12.345678901Z %s P %s\n", stream, line[:limit])
		line = line[limit:]
	}
	fmt.Fprintf(&b, "2026-07-23T18:32:12.345678901Z %s F %s\n", stream, line)
	return b.Bytes()
}

package file_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"kaudit/pkg/source"
	"kaudit/pkg/source/file"
	"kaudit/pkg/source/sourcetest"
)

func TestPromises(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.log")
	subject := func(feed func(t *testing.T, events [][]byte) sourcetest.Feed) sourcetest.Subject {
		return sourcetest.Subject{
			Kind: file.Kind,
			New:  feed,
			Ends: true,
			Wrong: []sourcetest.Wrong{
				{Open: "", Says: "open parameters"},
				{Open: missing, Says: missing},
			},
		}
	}
	t.Run("file", func(t *testing.T) {
		sourcetest.Run(t, subject(func(t *testing.T, events [][]byte) sourcetest.Feed {
			return sourcetest.Feed{Open: write(t, t.TempDir(), "audit.log", join(events))}
		}))
	})
	t.Run("gzip", func(t *testing.T) {
		sourcetest.Run(t, subject(func(t *testing.T, events [][]byte) sourcetest.Feed {
			return sourcetest.Feed{Open: write(t, t.TempDir(), "audit", gzipped(join(events)))}
		}))
	})
	t.Run("zstd", func(t *testing.T) {
		sourcetest.Run(t, subject(func(t *testing.T, events [][]byte) sourcetest.Feed {
			return sourcetest.Feed{Open: write(t, t.TempDir(), "audit", zstded(join(events)))}
		}))
	})
	t.Run("directory", func(t *testing.T) {
		sourcetest.Run(t, subject(func(t *testing.T, events [][]byte) sourcetest.Feed {
			dir, n := t.TempDir(), len(events)
			write(t, dir, "audit.log", join(events[n/2:]))
			write(t, dir, "audit-2026-07-23T18-32-12.345.log.gz", gzipped(join(events[:n/2])))
			return sourcetest.Feed{Open: dir}
		}))
	})
	t.Run("standard input", func(t *testing.T) {
		sourcetest.Run(t, subject(func(t *testing.T, _ [][]byte) sourcetest.Feed {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			stdin := os.Stdin
			os.Stdin = r
			return writer("-", w, func() { os.Stdin = stdin; r.Close() })
		}))
	})
	t.Run("named pipe", func(t *testing.T) {
		sourcetest.Run(t, subject(func(t *testing.T, _ [][]byte) sourcetest.Feed {
			path := filepath.Join(t.TempDir(), "pipe")
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			w, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			return writer(path, w, func() {})
		}))
	})
}

// writer feeds a source through a pipe.
func writer(open string, w *os.File, restore func()) sourcetest.Feed {
	return sourcetest.Feed{
		Open: open,
		Send: func(ctx context.Context, _ source.Source, event []byte) error {
			deadline, _ := ctx.Deadline()
			w.SetWriteDeadline(deadline)
			_, err := w.Write(append(event, '\n'))
			return err
		},
		Finish: func() { w.Close() },
		Close:  func() { w.Close(); restore() },
	}
}

// A payload is what a source delivered, as the tests compare it.
type payload struct {
	Text  string
	Lines bool
}

// collect runs a source to its end.
func collect(t *testing.T, where string, log *slog.Logger) (got []payload, counts map[string]uint64, err error) {
	t.Helper()
	src, err := file.Kind.Open(where, nil, source.Env{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	err = src.Run(t.Context(), sinkFunc(func(_ context.Context, d source.Delivery) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, payload{string(d.Payload), d.Lines})
		d.Done()
		return nil
	}))
	counts = make(map[string]uint64)
	src.(source.Counter).Counts(func(name string, n uint64) { counts[name] = n })
	return got, counts, err
}

type sinkFunc func(ctx context.Context, d source.Delivery) error

func (f sinkFunc) Deliver(ctx context.Context, d source.Delivery) error { return f(ctx, d) }

func TestPayloads(t *testing.T) {
	const a, b = `{"auditID":"a","user":{}}`, `{"auditID":"b"}`
	pretty := "{\n  \"kind\": \"EventList\",\n  \"items\": [\n    " + a + ",\n    " + b + "\n  ]\n}\n"
	for _, test := range []struct {
		name    string
		content string
		want    []payload
	}{
		{"empty", "", nil},
		{"blank", "\n \n", nil},
		{"lines", a + "\n" + b + "\n", []payload{{a + "\n" + b + "\n", true}}},
		{"no line end at the end", a + "\n" + b, []payload{{a + "\n" + b, true}}},
		{"a line torn at the end", a + "\n" + b[:9], []payload{{a + "\n" + b[:9], true}}},
		{"a list in one line", `{"kind":"EventList","items":[` + a + "]}\n", []payload{{`{"kind":"EventList","items":[` + a + "]}\n", true}}},
		{"byte order mark", "\ufeff" + a + "\n", []payload{{a + "\n", true}}},
		{"a hole at the begin", strings.Repeat("\x00", 5000) + a + "\n", []payload{{"\n" + a + "\n", true}}},
		{"a hole in the middle", a[:9] + "\x00\x00\x00" + b + "\n" + "\x00" + a + "\n", []payload{{a[:9] + "\n" + b + "\n" + a + "\n", true}}},
		{"only a hole", strings.Repeat("\x00", 600<<10), nil},
		{"text", "2026-07-23T18:32:12Z stdout F " + a + "\n", []payload{{"2026-07-23T18:32:12Z stdout F " + a + "\n", true}}},
		{"a document", pretty, []payload{{pretty, false}}},
		{"a document in an array", "[\n" + a + ",\n" + b + "\n]\n", []payload{{"[\n" + a + ",\n" + b + "\n]\n", false}}},
		{"a document after a hole", "\x00\x00\n\n" + pretty, []payload{{"\n" + pretty, false}}},
		{"documents", pretty + pretty, []payload{{pretty + pretty, false}}},
		{"documents, the last torn", pretty + pretty[:60], []payload{{pretty + pretty[:60], false}}},
		{"a first line torn inside a string", `{"auditID":"a","us` + "\n" + b + "\n", []payload{{`{"auditID":"a","us` + "\n" + b + "\n", true}}},
		{"a first line torn after a value", `{"auditID":"a","user":{}` + "\n" + b + "\n", []payload{{`{"auditID":"a","user":{}` + "\n" + b + "\n", true}}},
		{"only a torn line", `{"auditID":"a",` + "\n", []payload{{`{"auditID":"a",` + "\n", true}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _, err := collect(t, write(t, t.TempDir(), "audit.log", []byte(test.content)), nil)
			if err != nil {
				t.Error(err)
			}
			for i := range got {
				got[i].Text = blankLines.ReplaceAllString(got[i].Text, "\n")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// blankLines come from holes, and do no harm.
var blankLines = regexp.MustCompile(`\n+`)

// Whatever the sizes of lines and documents, each payload ends where one of them ends, and together they are the file.
func TestPayloadsAreWhole(t *testing.T) {
	var lines, documents bytes.Buffer
	for i := range 400 {
		pad := strings.Repeat("y", i*i*37%(1<<uint(10+i%11)))
		fmt.Fprintf(&lines, `{"auditID":"%d","pad":"%s"}`+"\n", i, pad)
		fmt.Fprintf(&documents, "{\n  \"auditID\": \"%d\",\n  \"pad\": \"}\\\"{%s\"\n}\n", i, pad)
	}
	for name, content := range map[string][]byte{"lines": lines.Bytes(), "documents": documents.Bytes()} {
		t.Run(name, func(t *testing.T) {
			got, _, err := collect(t, write(t, t.TempDir(), "audit.log", content), nil)
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, p := range got {
				end := strings.TrimSpace(p.Text)
				if p.Lines != (name == "lines") || !strings.HasPrefix(end, "{") || !strings.HasSuffix(end, "}") {
					t.Fatalf("a payload of %d bytes ends inside an event", len(p.Text))
				}
				all.WriteString(p.Text)
			}
			if all.String() != string(content) {
				t.Errorf("%d bytes were delivered, %d are in the file", all.Len(), len(content))
			}
			if len(got) < len(content)>>20 {
				t.Errorf("%d payloads", len(got))
			}
		})
	}
}

func TestLongerThanTheLimit(t *testing.T) {
	const limit = 64 << 20
	const a, b = `{"auditID":"a"}`, `{"auditID":"b"}`
	long := `{"auditID":"long","requestObject":"` + strings.Repeat("x", limit+12345) + `"}`
	document := "{\n" + strings.Repeat("  \"x\": {},\n", limit/11+1000) + "  \"y\": 1\n}"
	for _, test := range []struct {
		name, content string
		want          []string // the beginnings
		lines         []bool
	}{
		{"line", a + "\n" + long + "\n" + b + "\n", []string{a, long[:40], b}, []bool{true, true, true}},
		{"first and last line", long, []string{long[:40]}, []bool{true}},
		{"document, then lines", document + "\n" + a + "\n" + b, []string{document[:20], a}, []bool{false, true}},
		{"document, then a document", document + "\n{\n\"auditID\":\"a\"}", []string{document[:20], "{\n\"auditID\""}, []bool{false, false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			path := write(t, t.TempDir(), "audit.log", []byte(test.content))
			got, counts, err := collect(t, path, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(test.want) {
				t.Fatalf("%d payloads, want %d", len(got), len(test.want))
			}
			for i, p := range got {
				if !strings.HasPrefix(p.Text, test.want[i]) || p.Lines != test.lines[i] || len(p.Text) > limit {
					t.Errorf("payload %d is %.50q, %d bytes, lines %v", i, p.Text, len(p.Text), p.Lines)
				}
			}
			if counts["file.oversized"] != 1 || !strings.Contains(log.String(), path) || strings.Contains(log.String(), "auditID") {
				t.Errorf("counts are %v, the log is %.300s", counts, &log)
			}
		})
	}
}

func TestCompressed(t *testing.T) {
	lines := strings.Repeat(`{"auditID":"a"}`+"\n", 50_000)
	half := len(lines) / 2
	for _, test := range []struct {
		name    string
		content []byte
	}{
		{"gzip", gzipped([]byte(lines))},
		{"gzip of two members", append(gzipped([]byte(lines[:half])), gzipped([]byte(lines[half:]))...)},
		{"zstd", zstded([]byte(lines))},
		{"zstd of two frames", append(zstded([]byte(lines[:half])), zstded([]byte(lines[half:]))...)},
		{"zstd after a skippable frame", append([]byte("\x50\x2a\x4d\x18\x01\x00\x00\x00x"), zstded([]byte(lines))...)},
		{"gzip of text with a byte order mark", gzipped([]byte("\ufeff" + lines))},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, counts, err := collect(t, write(t, t.TempDir(), "any-name", test.content), nil)
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, p := range got {
				all.WriteString(p.Text)
			}
			if all.String() != lines || counts["file.bytes"] != uint64(len(lines)) {
				t.Errorf("%d bytes came out, %d went in", all.Len(), len(lines))
			}
		})
	}
}

func TestDamagedFileIsReadAsFarAsPossible(t *testing.T) {
	lines := []byte(strings.Repeat(`{"auditID":"a"}`+"\n", 50_000))
	for name, content := range map[string][]byte{"gzip": gzipped(lines), "zstd": zstded(lines)} {
		t.Run(name, func(t *testing.T) {
			path := write(t, t.TempDir(), "audit.log.gz", content[:len(content)-5])
			got, _, err := collect(t, path, nil)
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("the error is %v", err)
			}
			if len(got) == 0 || !strings.HasPrefix(got[0].Text, `{"auditID":"a"}`) {
				t.Errorf("%d payloads", len(got))
			}
		})
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	line := func(name string) []byte { return fmt.Appendf(nil, `{"auditID":"%s"}`, name) }
	for _, name := range []string{
		"audit.log", "audit-2026-07-23T18-32-12.345.log", "audit-2025-01-02T03-04-05.678.log.gz",
		"audit-2026-07-23T18-32-12.346.log.zst", "other.log", "other-2026-01-01T00-00-00.000.log", "noext-2026-01-01T00-00-00.000", "noext",
		".hidden.log", "audit-nonsense.log",
	} {
		content := line(name)
		switch {
		case strings.HasSuffix(name, ".gz"):
			content = gzipped(content)
		case strings.HasSuffix(name, ".zst"):
			content = zstded(content)
		}
		write(t, dir, name, content)
	}
	// What lumberjack leaves while it compresses: the original counts.
	write(t, dir, "audit-2026-07-23T18-32-12.345.log.gz", []byte("\x1f\x8bhalf"))
	write(t, dir, "broken.log", []byte("\x1f\x8bbroken"))
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "below"), 0o700),
		os.Symlink(write(t, t.TempDir(), "elsewhere", line("zz-link")), filepath.Join(dir, "zz-link")),
		os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "dangling")),
		os.Symlink(t.TempDir(), filepath.Join(dir, "directory")),
	); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	got, counts, err := collect(t, dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range got {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(p.Text, `{"auditID":"`), `"}`))
	}
	want := []string{
		"audit-nonsense.log",
		"audit-2025-01-02T03-04-05.678.log.gz", "audit-2026-07-23T18-32-12.345.log", "audit-2026-07-23T18-32-12.346.log.zst", "audit.log",
		"noext-2026-01-01T00-00-00.000", "noext",
		"other-2026-01-01T00-00-00.000.log", "other.log",
		"zz-link",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if counts["file.unreadable"] != 2 || !strings.Contains(log.String(), "broken.log") || !strings.Contains(log.String(), "dangling") {
		t.Errorf("counts are %v, the log is %s", counts, &log)
	}
}

// A log that is rotated, or compressed, after the directory was listed loses no line.
func TestDirectoryRotatedWhileRead(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "audit-2026-07-23T18-32-12.345.log", []byte(`{"auditID":"1"}`))
	second := write(t, dir, "audit-2026-07-23T18-32-13.345.log", []byte(`{"auditID":"2"}`))
	liveLog := write(t, dir, "audit.log", []byte(`{"auditID":"3"}`))
	src, err := file.Kind.Open(dir, nil, source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = src.Run(t.Context(), sinkFunc(func(_ context.Context, d source.Delivery) error {
		got = append(got, string(d.Payload))
		if len(got) == 1 {
			os.Remove(second)
			write(t, dir, filepath.Base(second)+".gz", gzipped([]byte(`{"auditID":"2"}`)))
			os.Rename(liveLog, filepath.Join(dir, "audit-2026-07-23T18-32-14.345.log"))
			write(t, dir, "audit.log", []byte(`{"auditID":"4"}`))
		}
		d.Done()
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`{"auditID":"1"}`, `{"auditID":"2"}`, `{"auditID":"3"}`, `{"auditID":"4"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if done, words := src.(source.Progresser).Progress(); done != 1 {
		t.Errorf("at the end, Progress says %v (%s)", done, words)
	}
}

func TestEmptyDirectory(t *testing.T) {
	var log bytes.Buffer
	got, _, err := collect(t, t.TempDir(), slog.New(slog.NewTextHandler(&log, nil)))
	if len(got) != 0 || err != nil || !strings.Contains(log.String(), "no audit log") {
		t.Errorf("%d payloads, error %v, log %s", len(got), err, &log)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := file.Kind.Open(filepath.Join(t.TempDir(), "audit.log"), nil, source.Env{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
}

// Lines that come through a pipe are delivered when they are there, and half a line waits for its rest.
func TestPipeIsPrompt(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func(stdin *os.File) { os.Stdin = stdin; r.Close() }(os.Stdin)
	os.Stdin = r
	src, err := file.Kind.Open("-", nil, source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	result := make(chan error)
	go func() {
		result <- src.Run(t.Context(), sinkFunc(func(_ context.Context, d source.Delivery) error {
			got <- string(d.Payload)
			d.Done()
			return nil
		}))
	}()
	for _, step := range []struct{ write, want string }{
		{"{\"auditID\":\"1\"}\n", "{\"auditID\":\"1\"}\n"},
		{"{\"auditID\":", ""},
		{"\"2\"}\n{", "{\"auditID\":\"2\"}\n"},
		{"}\n{}\n{}\n", "{}\n{}\n{}\n"},
		{"{\"auditID\":\"last\"}", ""},
	} {
		w.WriteString(step.write)
		if step.want == "" {
			select {
			case early := <-got:
				t.Fatalf("%q was delivered too early", early)
			case <-time.After(20 * time.Millisecond):
			}
			continue
		}
		if text := <-got; text != step.want {
			t.Fatalf("%q was delivered instead of %q", text, step.want)
		}
	}
	w.Close()
	if text := <-got; text != `{"auditID":"last"}` {
		t.Errorf("%q was delivered at the end", text)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	path := write(t, t.TempDir(), "audit.log", bytes.Repeat([]byte(`{"auditID":"0123456789"}`+"\n"), 1<<20))
	null := sinkFunc(func(_ context.Context, d source.Delivery) error { d.Done(); return nil })
	const chunks = 25 << 20 >> 18
	allocs := testing.AllocsPerRun(3, func() {
		src, err := file.Kind.Open(path, nil, source.Env{})
		if err != nil {
			t.Fatal(err)
		}
		src.Run(context.Background(), null)
	})
	if allocs > chunks/2 {
		t.Errorf("%v allocations for %d chunks", allocs, chunks)
	}
}

func BenchmarkFile(b *testing.B) {
	// Events of about 1.3 KB with random IDs and a repetitive object.
	var lines, documents bytes.Buffer
	random := rand.New(rand.NewPCG(1, 2))
	for lines.Len() < 256<<20 {
		event := fmt.Sprintf(`"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"%016x-%016x","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/default/pods/web-%05x?timeout=10s","verb":"get","user":{"username":"system:serviceaccount:default:web-%d","groups":["system:serviceaccounts","system:authenticated"]},"sourceIPs":["10.0.%d.%d"],"userAgent":"kubelet/v1.36.3 (linux/amd64) kubernetes/1234567","responseObject":%q`,
			random.Uint64(), random.Uint64(), random.Uint32N(1<<20), random.IntN(20), random.IntN(256), random.IntN(256), strings.Repeat(`{"name":"web","image":"registry.example.com/web:v1"}`, 12))
		fmt.Fprintf(&lines, "{%s}\n", event)
		if documents.Len() < 64<<20 {
			fmt.Fprintf(&documents, "{\n  %s\n}\n", strings.ReplaceAll(event, ",", ",\n  "))
		}
	}
	plain, pretty := lines.Bytes(), documents.Bytes()
	for _, bench := range []struct {
		name    string
		content []byte
		size    int
	}{
		{"plain", plain, len(plain)},
		{"gzip", gzipped(plain), len(plain)},
		{"zstd", zstded(plain), len(plain)},
		{"documents", pretty, len(pretty)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			path := write(b, b.TempDir(), "audit.log", bench.content)
			null := sinkFunc(func(_ context.Context, d source.Delivery) error { d.Done(); return nil })
			b.SetBytes(int64(bench.size))
			b.ReportAllocs()
			for b.Loop() {
				src, err := file.Kind.Open(path, nil, source.Env{})
				if err != nil {
					b.Fatal(err)
				}
				if err := src.Run(b.Context(), null); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func write(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func join(events [][]byte) []byte {
	var b bytes.Buffer
	for _, e := range events {
		b.Write(e)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func gzipped(content []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(content)
	w.Close()
	return b.Bytes()
}

func zstded(content []byte) []byte {
	w, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	defer w.Close()
	return w.EncodeAll(content, nil)
}

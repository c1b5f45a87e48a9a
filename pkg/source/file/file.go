// Package file reads audit logs to their end: a file, a directory of rotated files, a pipe or standard input.
//
// Files compressed with gzip or zstd are known by their first bytes, whatever their names. What is read is cut at line
// ends and handed on without looking at the lines; only a file that is one pretty-printed document, or several, is
// cut at the documents' ends instead.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"

	"kaudit/internal/logfile"
	"kaudit/pkg/source"
)

// Config holds the settings of this kind: there are none.
type Config struct{}

// Kind reads a file, a directory, a pipe or standard input to the end. Its sources are also a [source.Progresser] and
// a [source.Counter], and have a Close method that gives back what opening took if Run is never called.
var Kind = source.Define(source.Kind{
	Name:    "file",
	Schemes: []string{""},
	Summary: "Reads an audit log, a directory of audit logs or standard input to the end.",
	Examples: []source.Example{
		{Open: "/var/log/kubernetes/audit/audit.log", Doc: "One file. It may be compressed with gzip or zstd."},
		{Open: "/var/log/kubernetes/audit", Doc: "All files of a directory, the oldest first."},
		{Open: "-", Doc: "Standard input."},
	},
}, Config{}, open)

// standardInput stands for standard input in deliveries and logs.
const standardInput = "stdin"

func open(where string, _ Config, env source.Env) (source.Source, error) {
	if where == "" {
		return nil, errors.New("open parameters: empty; write the path of an audit log or of a directory of them, or - for standard input")
	}
	r := &reader{log: env.Log, pool: newPool()}
	if where == "-" {
		info, err := os.Stdin.Stat()
		if err != nil {
			return nil, fmt.Errorf("open standard input: %w", err)
		}
		r.input, r.stdin = os.Stdin, true
		r.parts = []part{{path: standardInput, info: info}}
		r.size.Store(total(r.parts))
		return r, nil
	}
	info, err := os.Stat(where)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	if info.IsDir() {
		r.directory = where
		if r.parts, err = list(where); err != nil {
			return nil, fmt.Errorf("open directory of audit logs: %w", err)
		}
		if len(r.parts) == 0 {
			env.Log.Warn("the directory holds no audit log", "directory", where)
		}
	} else {
		// Non-blocking matters for pipes only: opening one must not wait for its writer.
		if r.input, err = os.OpenFile(where, os.O_RDONLY|syscall.O_NONBLOCK, 0); err != nil {
			return nil, fmt.Errorf("open audit log: %w", err)
		}
		r.parts = []part{{path: where, info: info}}
	}
	r.size.Store(total(r.parts))
	return r, nil
}

// A reader reads parts one after the other.
type reader struct {
	log       *slog.Logger
	directory string   // empty if there is but one part
	input     *os.File // the one part, already open; nil for a directory
	stdin     bool     // input is the process's own and stays open
	parts     []part
	pool      *pool
	carry     []byte // the begin of a line on its way from one buffer to the next

	size, position                         atomic.Int64 // bytes on disk: in all, read so far
	bytes, unreadable, oversized, rejected atomic.Uint64
}

// A fault is what is wrong with one file. The others may be fine.
type fault struct {
	path string
	err  error
}

func (f *fault) Error() string { return fmt.Sprintf("read audit log %s: %v", f.path, f.err) }
func (f *fault) Unwrap() error { return f.err }

// Run delivers everything to the end and returns nil, or the reason why a file cannot be read on once all that
// could be read of it is delivered. In a directory such a file is logged and counted, and the next one follows.
func (r *reader) Run(ctx context.Context, sink source.Sink) error {
	defer r.Close()
	if r.directory == "" {
		return r.read(ctx, sink, r.parts[0], r.input)
	}
	var before int64 // bytes on disk of the parts that are done
	done := make(map[string]bool)
	for queue := r.parts; len(queue) > 0; {
		p := queue[0]
		f, err := p.open()
		if errors.Is(err, errMoved) {
			// Rotated or compressed since the directory was listed: look again, and leave out what is done.
			if queue, err = r.remaining(done); err != nil {
				return err
			}
			r.size.Store(before + total(queue))
			continue
		}
		if err == nil {
			err = r.read(ctx, sink, p, f)
			f.Close()
		}
		var unreadable *fault
		switch {
		case errors.As(err, &unreadable):
			r.unreadable.Add(1)
			r.log.Error("an audit log cannot be read to its end, going on with the next", "file", p.path, "error", unreadable.err)
		case err != nil:
			return err
		}
		done[p.name()] = true
		before += p.size()
		r.position.Store(before)
		queue = queue[1:]
	}
	return ctx.Err()
}

// remaining lists the directory again, without the parts that are done.
func (r *reader) remaining(done map[string]bool) ([]part, error) {
	all, err := list(r.directory)
	if err != nil {
		return nil, fmt.Errorf("list directory of audit logs: %w", err)
	}
	var rest []part
	for _, p := range all {
		if !done[p.name()] {
			rest = append(rest, p)
		}
	}
	return rest, nil
}

// read delivers one part to its end.
func (r *reader) read(ctx context.Context, sink source.Sink, p part, f *os.File) error {
	var in io.Reader = f
	waits := !p.regular()
	if waits {
		in = &patient{ctx: ctx, file: f}
	}
	plain, stop, err := logfile.Decompress(&counted{in, &r.position})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &fault{p.path, err}
	}
	defer stop()
	s := stream{reader: r, in: plain, path: p.path, prompt: waits}
	return s.run(ctx, sink)
}

// Close gives back what opening took. It is needed only if Run is never called.
func (r *reader) Close() error {
	if r.input == nil || r.stdin {
		return nil
	}
	if err := r.input.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

// Progress tells how many of the bytes on disk are read. Pipes have no size, so they stay at 0.
func (r *reader) Progress() (float64, string) {
	position, size := r.position.Load(), r.size.Load()
	if size == 0 {
		return 0, megabytes(position)
	}
	position = min(position, size) // the live file may have grown
	return float64(position) / float64(size), megabytes(position) + " of " + megabytes(size)
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// Counts tells how many bytes were delivered, files not readable to their end, lines and documents cut because of
// their size, and payloads the sink rejected.
func (r *reader) Counts(yield func(name string, n uint64)) {
	yield("file.bytes", r.bytes.Load())
	yield("file.unreadable", r.unreadable.Load())
	yield("file.oversized", r.oversized.Load())
	yield("file.rejected", r.rejected.Load())
}

// A counted reader adds what it reads to a position.
type counted struct {
	in       io.Reader
	position *atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	c.position.Add(int64(n))
	return n, err
}

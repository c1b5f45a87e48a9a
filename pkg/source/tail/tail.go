// Package tail follows audit logs as they grow, through every way they are rotated.
//
// Looking is the truth, and what the kernel tells about changes is only a reason to look earlier. A file is followed
// by its open handle, whatever becomes of its name, until it was read to its end and the log goes on in another. Where
// it is after a restart is found by the beginning of its content, since compression changes the inode and other files
// get old inodes.
package tail

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"kaudit/internal/logfile"
	"kaudit/pkg/source"
)

const (
	// shortest and longest bound the time between two looks at a log that the kernel tells nothing about. It is short
	// after looking has found something, and doubles when not.
	shortest = 10 * time.Millisecond
	longest  = time.Second
	// unwatched is the longest time if the kernel tells nothing about any log.
	unwatched = 250 * time.Millisecond
	// patience is how long a full sink is waited for before the logs are looked at: they are rotated meanwhile.
	patience = time.Second
	// again is when to try what failed, and when to make positions durable.
	again = time.Second
	// giveUp is how long a rotated file is tried that cannot be read, while its log goes on.
	giveUp = time.Minute
	// unsettled is how long files may change their names while they are looked at before that is an error.
	unsettled = 5 * time.Second
	// gone is how long the handle of a deleted log is kept.
	gone = time.Minute
	// handles is how many files may be open that are not read yet, so that they can be read when they are deleted.
	handles = 512
)

// Config holds the settings of this kind.
type Config struct {
	FileStart         string `json:"fileStart" doc:"Where to begin with a log that has no checkpoint: beginning, with its rotated files; end; or checkpoint, which is the beginning if fileCheckpointDir is set, so that a lost checkpoint loses no events, and else the end. Logs that come later begin at their beginning."`
	FileCheckpointDir string `json:"fileCheckpointDir" doc:"Directory for checkpoints: how far each log was evaluated, so that the next start goes on there, kill -9 included. It is made if it is not there. Without one, what is written while Falco is down is not read."`
}

// The values of FileStart.
const (
	startCheckpoint = "checkpoint"
	startBeginning  = "beginning"
	startEnd        = "end"
)

// Kind follows files as they grow. Its sources are also a [source.Counter], and tell what they
// follow with a Follows method.
var Kind = source.Define(source.Kind{
	Name:    "tail",
	Schemes: []string{"file"},
	Summary: "Follows audit logs as they grow and are rotated, compressed, truncated or replaced.",
	Examples: []source.Example{
		{Open: "file:///var/log/kubernetes/audit/audit.log", Doc: "One log. With a checkpoint, its rotated files are read first, as far as they were not."},
		{Open: "file:///var/log/*/audit.log,/var/log/oauth-server/audit*.log", Doc: "All logs that match one of the patterns, those that come later included."},
		{Open: "file:///var/log/kube-apiserver", Doc: "All logs of a directory."},
		{Open: "file:///var/log/containers/kube-apiserver-*.log", Doc: "What an API server writes to standard output, as the kubelet keeps it."},
	},
}, Config{FileStart: startCheckpoint}, open)

func open(where string, c Config, env source.Env) (source.Source, error) {
	patterns, err := parse(where)
	if err != nil {
		return nil, err
	}
	switch c.FileStart {
	case startCheckpoint, startBeginning, startEnd:
	default:
		return nil, fmt.Errorf("fileStart: %q is none of beginning, end, checkpoint", c.FileStart)
	}
	if c.FileCheckpointDir != "" {
		if err := prepare(c.FileCheckpointDir); err != nil {
			return nil, fmt.Errorf("fileCheckpointDir: %w", err)
		}
	}
	f := &follower{
		env:      env,
		patterns: patterns,
		end:      c.FileStart == startEnd || c.FileStart == startCheckpoint && c.FileCheckpointDir == "",
		keep:     c.FileCheckpointDir,
		pool:     newPool(),
		watch:    newWatcher,
		logs:     make(map[string]*log),
		byReal:   make(map[string]*log),
		watched:  make(map[int32]*log),
		same:     make(map[string]string),
	}
	return f, nil
}

// Follows returns the paths and patterns of the logs that are followed until Run's context ends.
func (f *follower) Follows() []string { return slices.Clone(f.patterns) }

// prepare makes the directory for checkpoints and tries whether files can be made there.
func prepare(directory string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(directory, ".try-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// A follower follows logs. One goroutine looks, reads and delivers, a piece of each log in turn.
type follower struct {
	env      source.Env
	patterns []string
	end      bool   // begin at the end
	keep     string // directory for checkpoints, or empty
	pool     *pool
	watch    func() (*watcher, error)
	watcher  *watcher
	longest  time.Duration

	order   []*log
	logs    map[string]*log
	byReal  map[string]*log
	same    map[string]string // paths that lead to a file that is followed by another path
	watched map[int32]*log    // by watch of a file
	started bool
	found   time.Time     // when logs were last looked for
	took    time.Duration // what that took
	look    time.Time     // when to look for logs again
	empty   bool          // there was none

	open int // files
	held int // bytes of lines that are not complete

	syncing sync.Mutex // guards kept
	kept    []*log     // those with checkpoints to sync; retired ones are let go of there

	counts counters
}

// counters counts. Those below the line go up and down.
type counters struct {
	bytes, lines, rotations, truncations, unreadable, oversized, stderr, rejected, lost, lostBytes, checkpoints atomic.Uint64

	files, lag atomic.Int64
}

// Counts tells how many bytes and lines were delivered; rotations followed and truncations seen; files that could not
// be read; lines cut because of their size; lines of text on a container's standard error, left out; payloads the sink
// rejected; pieces of logs known to be lost, and their bytes as far as they are known; checkpoints stored; logs
// followed now; and bytes on disk not delivered yet, those of compressed files as they are.
func (f *follower) Counts(yield func(name string, n uint64)) {
	c := &f.counts
	yield("tail.bytes", c.bytes.Load())
	yield("tail.lines", c.lines.Load())
	yield("tail.rotations", c.rotations.Load())
	yield("tail.truncations", c.truncations.Load())
	yield("tail.unreadable", c.unreadable.Load())
	yield("tail.oversized", c.oversized.Load())
	yield("tail.stderr_lines", c.stderr.Load())
	yield("tail.rejected", c.rejected.Load())
	yield("tail.lost", c.lost.Load())
	yield("tail.lost_bytes", c.lostBytes.Load())
	yield("tail.checkpoints", c.checkpoints.Load())
	yield("tail.files", uint64(max(0, c.files.Load())))
	yield("tail.lag_bytes", uint64(max(0, c.lag.Load())))
}

// Run follows until ctx ends.
func (f *follower) Run(ctx context.Context, sink source.Sink) error {
	f.longest = longest
	var err error
	if f.watcher, err = f.watch(); err != nil {
		f.longest = unwatched
		f.env.Log.Warn("the kernel does not tell about changes of files; logs are looked at every now and then", "error", err)
	}
	if f.keep == "" {
		f.env.Log.Info("logs are followed without checkpoints: after a restart, what was written meanwhile is not read, or all is read again; fileCheckpointDir says where to keep them")
	}
	stop := make(chan struct{})
	var syncer sync.WaitGroup
	syncer.Go(func() { f.sync(stop) })
	err = f.follow(ctx, sink)
	close(stop)
	syncer.Wait()
	for _, l := range f.order {
		f.letGo(l)
	}
	f.watcher.close()
	f.counts.files.Store(0)
	f.counts.lag.Store(0)
	return err
}

func (f *follower) follow(ctx context.Context, sink source.Sink) error {
	for ctx.Err() == nil {
		now := time.Now()
		if !now.Before(f.look) {
			f.find(now)
		}
		busy := false
		for _, l := range f.order {
			if !l.ready && now.Before(l.due) {
				continue
			}
			if err := l.turn(ctx, now, sink); err != nil {
				return err
			}
			busy = busy || l.ready
		}
		f.forget()
		if busy {
			f.watcher.poll(f.saw)
			continue
		}
		until := f.look
		for _, l := range f.order {
			if l.due.Before(until) {
				until = l.due
			}
		}
		f.watcher.wait(ctx, until, f.saw)
	}
	return ctx.Err()
}

// find looks for new logs. It takes a thousandth of the time at most, a twentieth while files come.
func (f *follower) find(now time.Time) {
	logs, directories := find(f.patterns)
	for _, l := range logs {
		f.add(l, now)
	}
	for _, d := range directories {
		f.watcher.directory(d)
	}
	if len(f.order) == 0 && !f.empty {
		f.empty = true
		f.env.Log.Warn("there is no log to follow yet; waiting for one", "paths", f.patterns)
	}
	f.started = true
	f.found = time.Now()
	f.took = f.found.Sub(now)
	f.look = f.found.Add(max(longest, 1000*f.took))
}

// add follows a log, unless its file is followed already.
func (f *follower) add(found found, now time.Time) {
	if f.logs[found.path] != nil || f.same[found.path] != "" {
		return
	}
	real := resolve(found.path)
	if l := f.byReal[real]; l != nil {
		f.same[found.path] = l.path
		return
	}
	l := &log{follower: f, path: found.path, alone: found.alone, real: real, late: f.started, due: now, pause: shortest}
	f.logs[l.path], f.byReal[real] = l, l
	f.order = append(f.order, l)
	f.counts.files.Store(int64(len(f.order)))
	f.watcher.directory(filepath.Dir(real))
}

// resolve follows symbolic links, as far as it can.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	// A link may lead nowhere for a moment.
	if to, err := os.Readlink(path); err == nil && dangling(path) {
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		return resolve(to)
	}
	// The live file may be missing for a moment. Its directory is not.
	if directory, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(directory, filepath.Base(path))
	}
	return path
}

// dangling tells that a link leads to what is not there, and not in a circle.
func dangling(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// forget stops following logs that are gone for good.
func (f *follower) forget() {
	f.order = slices.DeleteFunc(f.order, func(l *log) bool {
		if !l.gone {
			return false
		}
		f.letGo(l)
		if f.keep != "" {
			os.Remove(positionFile(f.keep, l.path))
		}
		delete(f.logs, l.path)
		delete(f.byReal, l.real)
		clear(f.same) // what led to the same file may lead to another now
		return true
	})
	f.counts.files.Store(int64(len(f.order)))
}

// letGo closes what is open of a log. Its position is as durable then as it can be.
func (f *follower) letGo(l *log) {
	for _, p := range l.pieces {
		l.closePiece(p)
	}
	l.pieces = nil
	l.hold(nil)
	f.syncing.Lock()
	defer f.syncing.Unlock()
	if i := slices.Index(f.kept, l); i >= 0 {
		f.kept = slices.Delete(f.kept, i, i+1)
	}
	if err := l.ledger.close(); err != nil {
		f.env.Log.Error("a checkpoint could not be written", "log", l.path, "error", err)
	}
}

// saw notes what the kernel told.
func (f *follower) saw(s seen) {
	switch {
	case s.all:
		for _, l := range f.order {
			l.ready, l.relist = true, true
		}
		f.look = time.Now()
	case s.directory != "":
		if l := f.byReal[filepath.Join(s.directory, logfile.Parse(s.name).Log)]; l != nil {
			l.ready, l.relist = true, true
		}
		if soon := f.found.Add(max(50*time.Millisecond, 20*f.took)); soon.Before(f.look) {
			f.look = soon
		}
	default:
		if l := f.watched[s.watch]; l != nil {
			l.ready = true
		}
	}
}

// keepUp looks at the logs while nothing can be delivered: they are rotated all the same, and what is open can be
// read later even if it is deleted.
func (f *follower) keepUp() {
	f.watcher.poll(f.saw)
	now := time.Now()
	for _, l := range f.order {
		if l.begun && (l.relist || !now.Before(l.due)) {
			l.due = now.Add(f.longest)
			_ = l.refresh(false) // when it is its turn, it hears of that again
		}
	}
}

// sync makes positions durable every now and then.
func (f *follower) sync(stop <-chan struct{}) {
	ticker := time.NewTicker(again)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		f.syncing.Lock()
		kept := slices.Clone(f.kept)
		f.syncing.Unlock()
		var errs []error
		for _, l := range kept {
			if err := l.ledger.sync(); err != nil {
				errs = append(errs, err)
			}
		}
		switch {
		case len(errs) > 0 && !failing:
			f.env.Log.Error("checkpoints cannot be written; after a restart, events since then are evaluated again", "error", errs[0])
		case len(errs) == 0 && failing:
			f.env.Log.Info("checkpoints are written again")
		}
		failing = len(errs) > 0
	}
}

// lose tells that something is known to be lost.
func (f *follower) lose(l *log, bytes int64, what string, about ...any) {
	f.counts.lost.Add(1)
	message := what
	if bytes > 0 {
		f.counts.lostBytes.Add(uint64(bytes))
		message = fmt.Sprintf("%s (%d bytes)", what, bytes)
		about = append(about, "bytes", bytes)
	}
	f.env.Log.Error("events are lost: "+what, append([]any{slog.String("log", l.path)}, about...)...)
	f.env.Notify(source.Notice{Name: source.EventsLost, Source: l.path, Count: 1, Message: message})
}

// A pool makes buffers when needed, up to its capacity. After that, whoever wants one waits.
type pool struct {
	free chan *delivery // has room for all, so that giving one back never blocks
	made int
}

const (
	// bufferSize is the size of a payload unless a line is longer. Falco evaluates it before any of it is done, so it
	// is also how much is evaluated twice after a kill.
	bufferSize = 256 << 10
	// keptSize is how large a buffer may stay after a long line.
	keptSize = 1 << 20
	// maxSize is the longest line that is delivered whole.
	maxSize = 64 << 20
	// maxHeld is how much incomplete lines of all logs may take together.
	maxHeld = 256 << 20
	// buffers is how many payloads may be with the sink at once.
	buffers = 32
)

func newPool() *pool { return &pool{free: make(chan *delivery, buffers)} }

// take returns a buffer with room for more than size bytes. While it waits, it calls meanwhile every now and then.
func (p *pool) take(ctx context.Context, size int, meanwhile func()) (*delivery, error) {
	var d *delivery
	for d == nil {
		select {
		case d = <-p.free:
			continue
		default:
		}
		if p.made < buffers {
			p.made++
			d = &delivery{free: p.free}
			d.done = d.finish
			continue
		}
		select {
		case d = <-p.free:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(patience):
			meanwhile()
		}
	}
	if len(d.data) > keptSize || len(d.data) <= size {
		d.data = make([]byte, max(bufferSize, size+size/2))
	}
	return d, nil
}

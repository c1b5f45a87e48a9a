//go:build linux

package tail

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	auditlog "k8s.io/apiserver/plugin/pkg/audit/log"
)

// A writer writes one log, and rotates it in its way.
type writer interface {
	write(line []byte) error
	// rotate rotates the log. It is called between two writes, but perhaps within a line.
	rotate() error
	close() error
}

// A producer makes numbered events and has them written.
type producer struct {
	name   string
	w      writer
	halves bool // lines are written in two parts
	every  time.Duration
	rate   int // bytes a second
	made   atomic.Int64
}

// run writes until stop is closed.
func (p *producer) run(stop <-chan struct{}) error {
	next := time.Now().Add(p.pause())
	for began, written := time.Now(), 0; ; {
		select {
		case <-stop:
			return p.w.close()
		default:
		}
		for range 1 + rand.IntN(40) {
			line := p.line()
			written += len(line)
			parts := [][]byte{line}
			if p.halves && rand.IntN(3) == 0 {
				cut := rand.IntN(len(line))
				parts = [][]byte{line[:cut], line[cut:]}
			}
			for _, part := range parts {
				if err := p.w.write(part); err != nil {
					return fmt.Errorf("%s: write: %w", p.name, err)
				}
				if time.Now().After(next) {
					if err := p.w.rotate(); err != nil {
						return fmt.Errorf("%s: rotate: %w", p.name, err)
					}
					next = time.Now().Add(p.pause())
				}
			}
		}
		if ahead := time.Duration(float64(written)/float64(p.rate)*1e9) - time.Since(began); ahead > 0 {
			time.Sleep(min(ahead, 200*time.Millisecond))
		}
	}
}

// pause is how long until the next rotation.
func (p *producer) pause() time.Duration { return p.every/4 + rand.N(p.every) }

func (p *producer) line() []byte {
	made := p.made.Add(1)
	size := rand.IntN(2000)
	if rand.IntN(500) == 0 {
		size = rand.IntN(100_000)
	}
	// A file may begin within a line. Files are told apart by their first KiB, so that every part of a line is of its own.
	padding := fmt.Sprintf("The quick brown fox jumps over the lazy dog %s-%d times. ", p.name, made)
	padding = strings.Repeat(padding, size/len(padding)+1)
	return fmt.Appendf(nil, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%s-%d","stage":"ResponseComplete","verb":"get","stageTimestamp":"2026-07-23T18:32:12.345678Z","userAgent":"{\"%s"}`+"\n",
		p.name, made, padding[:size])
}

// A jack writes as kube-apiserver does, by its own code.
type jack struct {
	file    lumberjack.Logger
	backend interface {
		ProcessEvents(events ...*auditinternal.Event) bool
	}
}

func newJack(path string) *jack {
	j := &jack{file: lumberjack.Logger{Filename: path, MaxSize: 1000, MaxBackups: kept, Compress: true}}
	j.backend = auditlog.NewBackend(&j.file, auditlog.FormatJson, auditv1.SchemeGroupVersion)
	return j
}

func (j *jack) write(line []byte) error {
	var e struct{ AuditID, UserAgent string }
	if err := json.Unmarshal(line, &e); err != nil {
		return err
	}
	if !j.backend.ProcessEvents(&auditinternal.Event{
		Level: auditinternal.LevelMetadata, AuditID: types.UID(e.AuditID), Stage: auditinternal.StageResponseComplete,
		Verb: "get", UserAgent: e.UserAgent, StageTimestamp: metav1.NowMicro(),
	}) {
		return errors.New("the backend could not write an event")
	}
	return nil
}

func (j *jack) close() error { return j.file.Close() }

func (j *jack) rotate() error {
	time.Sleep(2 * time.Millisecond) // names have milliseconds, and nothing keeps lumberjack from using one twice
	return j.file.Rotate()
}

// kept is how many rotated files each writer keeps, as --audit-log-maxbackup, logrotate's rotate and the kubelet's
// containerLogMaxFiles say. A log is rotated every half a second, so these are 50 seconds: the reader, which lives for a
// second and a half at most and is away as long now and then, has to get through them in as little of a processor as
// others leave it. Beside eight busy loops on two cores it was 16 seconds behind at most.
const kept = 100

// A plainFile is a log that somebody else rotates.
type plainFile struct {
	path string
	mode int
	file *os.File
}

func (f *plainFile) open() (err error) {
	f.file, err = os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|f.mode, 0o600)
	return err
}

func (f *plainFile) write(part []byte) error { _, err := f.file.Write(part); return err }
func (f *plainFile) close() error            { return f.file.Close() }

// shift makes room for a new audit.log.1, and compresses audit.log.2 now and then.
func (f *plainFile) shift() error {
	for n := kept; n > 0; n-- {
		for _, ext := range []string{"", ".gz"} {
			from := fmt.Sprintf("%s.%d%s", f.path, n, ext)
			if _, err := os.Stat(from); err != nil {
				continue
			}
			if n == kept {
				os.Remove(from)
			} else if err := os.Rename(from, fmt.Sprintf("%s.%d%s", f.path, n+1, ext)); err != nil {
				return err
			}
		}
	}
	if second := f.path + ".2"; rand.IntN(2) == 0 {
		switch err := compress(second, second+".gz"); {
		case err == nil:
			return os.Remove(second)
		case !os.IsNotExist(err):
			return err
		}
	}
	return nil
}

// compress compresses a file. Whoever compresses removes the original last.
func compress(path, to string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	z, _ := gzip.NewWriterLevel(out, gzip.BestSpeed)
	for len(content) > 0 { // slowly enough to be seen
		n := min(len(content), 256<<10)
		z.Write(content[:n])
		z.Flush()
		content = content[n:]
	}
	return errors.Join(z.Close(), out.Close())
}

// A renamed log is rotated by logrotate with create: the writer goes on in the old file until it is told to open the
// new one.
type renamed struct {
	plainFile
	later int // writes until it is told
}

func (r *renamed) rotate() error {
	if r.later > 0 {
		return nil
	}
	if err := r.shift(); err != nil {
		return err
	}
	if err := os.Rename(r.path, r.path+".1"); err != nil {
		return err
	}
	r.later = 1 + rand.IntN(20)
	return os.WriteFile(r.path, nil, 0o600)
}

func (r *renamed) write(part []byte) error {
	if r.later == 1 {
		r.file.Close()
		if err := r.open(); err != nil {
			return err
		}
	}
	r.later = max(0, r.later-1)
	return r.plainFile.write(part)
}

// A truncated log is rotated by copytruncate. The writer waits meanwhile, which is the only case in which nothing is
// lost for sure.
type truncated struct{ plainFile }

func (c *truncated) rotate() error {
	if err := c.shift(); err != nil {
		return err
	}
	if c.mode&os.O_APPEND == 0 {
		// The file keeps growing, holes included.
		if at, err := c.file.Seek(0, io.SeekCurrent); err == nil && at > 4<<20 {
			c.file.Close()
			if err := os.Rename(c.path, c.path+".1"); err != nil {
				return err
			}
			return c.open()
		}
	}
	content, err := os.ReadFile(c.path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path+".1", content, 0o600); err != nil {
		return err
	}
	return os.Truncate(c.path, 0)
}

// A container writes to standard output, and the kubelet rotates what the runtime makes of it.
type container struct {
	plainFile
	last string
	old  []string // rotated and compressed, the oldest first
}

func (c *container) write(line []byte) error {
	var b bytes.Buffer
	line = bytes.TrimSuffix(line, []byte("\n"))
	for len(line) > 16<<10 {
		fmt.Fprintf(&b, "2026-07-23T18:32:12.345678901Z stdout P %s\n", line[:16<<10])
		line = line[16<<10:]
		if rand.IntN(3) == 0 {
			b.WriteString("2026-07-23T18:32:12.345678901Z stderr F I0723 a message\n")
		}
		if err := c.flush(&b); err != nil {
			return err
		}
		if rand.IntN(10) == 0 { // the kubelet does not wait for the end of a line
			if err := c.rotate(); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(&b, "2026-07-23T18:32:12.345678901Z stdout F %s\n", line)
	return c.flush(&b)
}

func (c *container) flush(b *bytes.Buffer) error {
	err := c.plainFile.write(b.Bytes())
	b.Reset()
	return err
}

func (c *container) rotate() error {
	name := c.path + "." + time.Now().Format("20060102-150405")
	if name == c.last {
		return nil
	}
	if c.last != "" {
		if err := compress(c.last, c.last+".tmp"); err != nil {
			return err
		}
		if err := errors.Join(os.Rename(c.last+".tmp", c.last+".gz"), os.Remove(c.last)); err != nil {
			return err
		}
		if c.old = append(c.old, c.last+".gz"); len(c.old) > kept {
			os.Remove(c.old[0])
			c.old = c.old[1:]
		}
	}
	c.last = name
	c.file.Close()
	if err := os.Rename(c.path, name); err != nil {
		return err
	}
	return c.open()
}

// producers returns one of each, writing below a directory, and what to open.
func producers(t *testing.T, directory string, every time.Duration, rate int) (list []*producer, open string) {
	t.Helper()
	at := func(names ...string) string {
		path := filepath.Join(append([]string{directory}, names...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rename := &renamed{plainFile: plainFile{path: at("renamed", "audit.log"), mode: os.O_APPEND}}
	appending := &truncated{plainFile{path: at("appending", "audit.log"), mode: os.O_APPEND}}
	holes := &truncated{plainFile{path: at("holes", "audit.log")}}
	kubelet := &container{plainFile: plainFile{path: at("pods", "kube-system_kube-apiserver", "kube-apiserver", "0.log"), mode: os.O_APPEND}}
	for _, f := range []*plainFile{&rename.plainFile, &appending.plainFile, &holes.plainFile, &kubelet.plainFile} {
		if err := f.open(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(kubelet.path, at("containers", "kube-apiserver-0123.log")); err != nil {
		t.Fatal(err)
	}
	list = []*producer{
		{name: "lumberjack", w: newJack(at("lumberjack", "audit.log")), every: every, rate: rate},
		{name: "rename", w: rename, halves: true, every: every, rate: rate},
		{name: "copytruncate", w: appending, halves: true, every: every, rate: rate},
		{name: "holes", w: holes, halves: true, every: every, rate: rate},
		{name: "kubelet", w: kubelet, every: max(every, time.Second), rate: rate},
	}
	open = "file://" + strings.Join([]string{
		filepath.Join(directory, "lumberjack"),
		filepath.Join(directory, "renamed", "audit.log"),
		filepath.Join(directory, "[ah]*", "audit*"),
		filepath.Join(directory, "containers", "*.log"),
	}, ",")
	return list, open
}

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"kaudit/test/e2e/engine"
)

// memory watches the resident memory of the engine with this library while recordings stream through a pipe: ordinary
// events for as long as asked, then a burst of heavy ones, then nothing.
func (b *bench) memory(ctx context.Context, page io.Writer) error {
	recordings, err := makeRecordings(b.root)
	if err != nil {
		return err
	}
	path := func(name string) string {
		return recordings[slices.IndexFunc(recordings, func(r recording) bool { return r.name == name })].path
	}
	pipe := filepath.Join(b.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		return err
	}
	p, err := b.startOurs(ctx, pipe, engine.Run{})
	if err != nil {
		return err
	}
	defer p.Wait() //nolint:errcheck // it has told what it could
	defer p.Stop()
	to, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer to.Close()
	w := watch{pid: p.PID()}
	var most []int64 // in each quarter of the stream
	for quarter := range 4 {
		w.most = 0
		for sent := int64(0); sent < b.stream*1e9/4; {
			n, err := w.send(to, path("ordinary"))
			if err != nil {
				return errors.Join(err, ctx.Err())
			}
			sent += n
		}
		most = append(most, w.most)
		fmt.Fprintf(os.Stderr, "memory: quarter %d of the stream\n", quarter+1)
	}
	w.most = 0
	if _, err := w.send(to, path("heavy")); err != nil {
		return err
	}
	burst := w.most
	time.Sleep(b.quiet)
	after, err := resident(p.PID())
	if err != nil {
		return err
	}
	mb := func(n int64) string { return strconv.FormatInt(n/1e6, 10) }
	fmt.Fprintf(page, "\n**Memory.** %d GB of ordinary events through a pipe, shipped rules: the process has %s, %s, %s and %s MB resident at most in the four quarters, "+
		"%s MB while 100 MB of heavy events follow, and %s MB %v after those.\n",
		b.stream, mb(most[0]), mb(most[1]), mb(most[2]), mb(most[3]), mb(burst), mb(after), b.quiet)
	return nil
}

// A watch notes the most memory a process has resident.
type watch struct {
	pid  int
	most int64
	next time.Time
}

// send writes a recording to the pipe, which takes as much as is read, and looks every 50 ms.
func (w *watch) send(to io.Writer, recording string) (n int64, err error) {
	f, err := os.Open(recording)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(onlyWriter{func(b []byte) (int, error) {
		if now := time.Now(); now.After(w.next) {
			w.next = now.Add(50 * time.Millisecond)
			now, err := resident(w.pid)
			if err != nil {
				return 0, err
			}
			w.most = max(w.most, now)
		}
		return to.Write(b)
	}}, bufio.NewReaderSize(onlyReader{f}, 64<<10))
}

// An onlyWriter and an onlyReader keep io.Copy from taking a way of its own.
type onlyWriter struct {
	write func([]byte) (int, error)
}

func (w onlyWriter) Write(b []byte) (int, error) { return w.write(b) }

type onlyReader struct{ io.Reader }

// resident returns how many bytes of a process are in memory.
func resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(rest)), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no memory any more", pid)
}

package tail

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A watcher wakes the follower when the kernel says that something changed. It is a hint only: network file systems,
// and files that are changed on another machine, say nothing, and events get lost when there are too many.
//
// The kernel joins equal events that wait in its queue, and the queue is read once all that is known was read, so a
// log that is written to a thousand times meanwhile costs one event. A library that reads the queue at once, on a goroutine of
// its own (fsnotify), pays for each.
type watcher struct {
	file        *os.File         // nil if there is no watching
	directories map[string]int32 // watches, by path
	paths       map[int32]string
	buf         []byte
}

func newWatcher() (*watcher, error) {
	w := &watcher{directories: make(map[string]int32), paths: make(map[int32]string), buf: make([]byte, 16<<10)}
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return w, os.NewSyscallError("inotify_init1", err)
	}
	w.file = os.NewFile(uintptr(fd), "inotify")
	return w, nil
}

func (w *watcher) add(path string, events uint32) (int32, error) {
	if w.file == nil {
		return 0, errors.ErrUnsupported
	}
	conn, err := w.file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var wd int
	var failed error
	if err := conn.Control(func(fd uintptr) { wd, failed = unix.InotifyAddWatch(int(fd), path, events) }); err != nil {
		return 0, err
	}
	return int32(wd), os.NewSyscallError("inotify_add_watch", failed)
}

// directory watches a directory for files that come and go. It is no error if it cannot.
func (w *watcher) directory(path string) {
	if _, watched := w.directories[path]; watched {
		return
	}
	wd, err := w.add(path, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	if err == nil {
		w.directories[path] = wd
		w.paths[wd] = path
	}
}

// open watches an open file for changes, whatever its name is by now. It returns 0 if it cannot.
func (w *watcher) open(file *os.File) int32 {
	wd, err := w.add(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), unix.IN_MODIFY)
	if err != nil {
		return 0
	}
	return wd
}

// forget ends the watch of a file.
func (w *watcher) forget(wd int32) {
	if w.file == nil || wd == 0 {
		return
	}
	if conn, err := w.file.SyscallConn(); err == nil {
		// The kernel has ended it already if the file is gone.
		_ = conn.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) })
	}
}

// wait waits until something changed, until the time, or until ctx ends, and tells what has changed.
func (w *watcher) wait(ctx context.Context, until time.Time, tell func(seen)) {
	if w.file == nil {
		sleep(ctx, until)
		return
	}
	// Setting it fails only when the file is closed, and then reading does, too.
	file := w.file // a function that has begun when it is stopped may outlive the watcher
	_ = file.SetReadDeadline(until)
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	n, err := file.Read(w.buf)
	if err == nil {
		w.tell(w.buf[:n], tell)
	}
}

// poll tells what has changed, without waiting.
func (w *watcher) poll(tell func(seen)) {
	if w.file == nil {
		return
	}
	conn, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	n := 0
	_ = conn.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), w.buf) })
	if n > 0 {
		w.tell(w.buf[:n], tell)
	}
}

func (w *watcher) tell(events []byte, tell func(seen)) {
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events))
		mask := binary.NativeEndian.Uint32(events[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		name := bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00")
		events = events[end:]
		directory := w.paths[wd]
		if mask&unix.IN_IGNORED != 0 {
			delete(w.directories, directory)
			delete(w.paths, wd)
			continue
		}
		tell(seen{wd, directory, string(name), mask&unix.IN_Q_OVERFLOW != 0})
	}
}

func (w *watcher) close() {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}

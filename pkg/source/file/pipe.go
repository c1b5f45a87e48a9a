package file

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pause is how long the end of a context may go unnoticed while a pipe is silent.
const pause = 100 * time.Millisecond

// A patient reader reads a pipe or a terminal, which may be silent for long, and stops waiting when ctx ends.
//
// It asks the kernel whether there is something to read before it reads, rather than switching standard input to
// non-blocking: that would switch it for every process that shares it, the user's shell among them.
type patient struct {
	ctx  context.Context
	file *os.File
}

// Read returns what is there, at least one byte, as soon as it is there.
func (p *patient) Read(b []byte) (int, error) {
	for {
		if err := p.ctx.Err(); err != nil {
			return 0, err
		}
		ready, err := readable(p.file)
		if err != nil {
			return 0, err
		}
		if ready {
			return p.file.Read(b)
		}
	}
}

// readable waits a moment and tells whether a read would return at once: with data, the end, or an error.
func readable(f *os.File) (bool, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var n int
	var failed error
	err = conn.Control(func(fd uintptr) {
		n, failed = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(pause.Milliseconds()))
	})
	if failed != nil && !errors.Is(failed, unix.EINTR) {
		err = os.NewSyscallError("poll", failed)
	}
	return n > 0, err
}

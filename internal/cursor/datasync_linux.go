package cursor

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync makes the content of a file durable, and of its attributes only what reading it needs: cells are written in
// place, so that is seldom anything.
func datasync(f *os.File) error { return os.NewSyscallError("fdatasync", unix.Fdatasync(int(f.Fd()))) }

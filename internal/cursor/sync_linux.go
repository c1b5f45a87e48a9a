package cursor

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync waits until the disk has a file's content and size, and not for its times.
func datasync(f *os.File) error {
	return os.NewSyscallError("fdatasync", unix.Fdatasync(int(f.Fd())))
}

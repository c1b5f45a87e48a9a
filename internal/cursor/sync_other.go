//go:build !linux

package cursor

import "os"

// datasync waits until the disk has a file.
func datasync(f *os.File) error { return f.Sync() }

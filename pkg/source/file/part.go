package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"kaudit/internal/logfile"
)

// A part is one of the files to read.
type part struct {
	path string
	info fs.FileInfo // as it was when listed; nil if it could not be looked at
}

// errMoved means that a listed file is gone, or that another file has its name now.
var errMoved = errors.New("moved since it was listed")

func (p part) regular() bool { return p.info != nil && p.info.Mode().IsRegular() }

func (p part) size() int64 {
	if !p.regular() {
		return 0
	}
	return p.info.Size()
}

// name stays the same when a rotated file is compressed later.
func (p part) name() string { return logfile.Uncompressed(p.path) }

// open opens a part of a directory, if it is still the file that was listed.
func (p part) open() (*os.File, error) {
	f, err := os.Open(p.path)
	if err != nil {
		if p.info != nil && errors.Is(err, fs.ErrNotExist) {
			return nil, errMoved
		}
		return nil, &fault{p.path, err}
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, &fault{p.path, err}
	}
	if p.info != nil && !os.SameFile(info, p.info) {
		f.Close()
		return nil, errMoved
	}
	return f, nil
}

func total(parts []part) (n int64) {
	for _, p := range parts {
		n += p.size()
	}
	return n
}

// list returns the logs of a directory, and the links to logs, in the order they were written.
func list(directory string) ([]part, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	var parts []part
	for _, name := range logfile.Select(names) {
		p := part{path: filepath.Join(directory, name)}
		info, err := os.Stat(p.path)
		if err == nil {
			if !info.Mode().IsRegular() {
				continue
			}
			p.info = info
		}
		parts = append(parts, p)
	}
	return parts, nil
}

package file

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
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
func (p part) name() string { return uncompressedName(p.path) }

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

// list returns the files of a directory, and the links to files, in the order they were written. Hidden files are
// left out, and so is a compressed file beside its original: whoever compresses removes the original last.
func list(directory string) ([]part, error) {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	originals := make(map[string]bool)
	for _, e := range entries {
		originals[e.Name()] = true
	}
	var parts []part
	for _, e := range entries {
		original := uncompressedName(e.Name())
		if strings.HasPrefix(e.Name(), ".") || original != e.Name() && originals[original] {
			continue
		}
		p := part{path: filepath.Join(directory, e.Name())}
		info, err := os.Stat(p.path)
		if err == nil {
			if !info.Mode().IsRegular() {
				continue
			}
			p.info = info
		}
		parts = append(parts, p)
	}
	slices.SortStableFunc(parts, func(a, b part) int { return older(filepath.Base(a.path), filepath.Base(b.path)) })
	return parts, nil
}

// older compares the names of two files: the rotated ones of one log by the time in their names, then the live one,
// logs among each other by name.
func older(a, b string) int {
	baseA, timeA := rotation(a)
	baseB, timeB := rotation(b)
	return cmp.Or(strings.Compare(baseA, baseB), timeA.Compare(timeB), strings.Compare(a, b))
}

// live is later than any rotation.
var live = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// rotation takes apart the name lumberjack gives a rotated file: audit-2026-07-23T18-32-12.345.log.gz is from
// audit.log at that time. Any other file is live.
func rotation(name string) (base string, at time.Time) {
	const stamp = "-2006-01-02T15-04-05.000"
	name = uncompressedName(name)
	for _, ext := range []string{filepath.Ext(name), ""} {
		stem := strings.TrimSuffix(name, ext)
		if cut := len(stem) - len(stamp); cut >= 0 {
			if at, err := time.Parse(stamp, stem[cut:]); err == nil {
				return stem[:cut] + ext, at
			}
		}
	}
	return name, live
}

// uncompressedName takes off what a compressor appended.
func uncompressedName(name string) string {
	for _, ext := range []string{".gz", ".zst"} {
		if cut, ok := strings.CutSuffix(name, ext); ok {
			return cut
		}
	}
	return name
}

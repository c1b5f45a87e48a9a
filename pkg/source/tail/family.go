package tail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaudit/internal/logfile"
)

// parse takes open parameters apart into paths, which may be patterns.
func parse(where string) ([]string, error) {
	const want = "write it like file:///var/log/kube-apiserver/audit.log, with several paths separated by commas"
	var patterns []string
	for _, path := range strings.Split(where, ",") {
		path = strings.TrimPrefix(strings.TrimSpace(path), "file://")
		if path == "" {
			return nil, fmt.Errorf("open parameters: %q has an empty path; %s", where, want)
		}
		if strings.Contains(path, "://") {
			return nil, fmt.Errorf("open parameters: %q is no path; %s", path, want)
		}
		if _, err := filepath.Match(path, ""); err != nil {
			return nil, fmt.Errorf("open parameters: %q is no pattern: brackets have to be closed, and \\ stands before a character to take as it is", path)
		}
		path, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("open parameters: %w", err)
		}
		if !isPattern(path) {
			info, err := os.Stat(path)
			if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
				return nil, fmt.Errorf("open parameters: %s is neither a file nor a directory and cannot be followed; a plain path, without file://, reads a pipe to its end", path)
			}
		}
		if !slices.Contains(patterns, path) {
			patterns = append(patterns, path)
		}
	}
	return patterns, nil
}

func isPattern(path string) bool { return strings.ContainsAny(path, `*?[\`) }

// A found log is the path of its live file, whether that is there or not. Alone means a rotated file that was asked
// for by its name: it is followed without the others.
type found struct {
	path  string
	alone bool
}

// find returns the logs that patterns stand for now, in order, and the directories to watch for new ones.
func find(patterns []string) (logs []found, directories []string) {
	seen := make(map[string]bool)
	add := func(path string, alone bool) {
		if !seen[path] {
			seen[path] = true
			logs = append(logs, found{path, alone})
		}
	}
	scan := func(directory string) {
		directories = append(directories, directory)
		entries, _ := os.ReadDir(directory) // one that cannot be read has no logs
		names := make([]string, 0, len(entries))
		for _, e := range entries {
			if !e.IsDir() && !strings.HasSuffix(e.Name(), suffix) {
				names = append(names, e.Name())
			}
		}
		for _, name := range logfile.Select(names) {
			path := filepath.Join(directory, name)
			if e, err := os.Stat(path); err == nil && !e.Mode().IsRegular() {
				continue
			}
			add(filepath.Join(directory, logfile.Parse(name).Log), false)
		}
	}
	for _, pattern := range patterns {
		paths := []string{pattern}
		if isPattern(pattern) {
			paths, _ = filepath.Glob(pattern) // the pattern was looked at when it was parsed
			if directory := filepath.Dir(pattern); !isPattern(directory) {
				directories = append(directories, directory)
			}
		}
		for _, path := range paths {
			info, err := os.Stat(path)
			name := logfile.Parse(filepath.Base(path)).Log
			switch {
			case err == nil && info.IsDir():
				scan(path)
			case !isPattern(pattern):
				add(path, name != filepath.Base(path))
			case err == nil && info.Mode().IsRegular():
				add(filepath.Join(filepath.Dir(path), name), false)
			}
		}
	}
	return logs, directories
}

// A member is a file of a log, as it is listed.
type member struct {
	path  string
	id    inode
	size  int64
	mod   time.Time
	at    int64 // the time in its name, in nanoseconds, or 0
	print fingerprint
	err   error // why it cannot be read
}

// list returns the files of the log whose live file has the path, the oldest first.
func list(path string, alone bool) ([]member, error) {
	directory, log := filepath.Split(path)
	if alone {
		m, err := lookAt(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return []member{m}, err
	}
	folder, err := os.Open(directory)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	names, err := folder.Readdirnames(-1)
	folder.Close()
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, logPrefix(log)) || logfile.Parse(name).Log != log
	})
	var members []member
	for _, name := range logfile.Select(names) {
		m, err := lookAt(filepath.Join(directory, name))
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, errors.ErrUnsupported):
			continue // gone since the directory was read, a dangling link, or no file
		case err != nil:
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

// logPrefix is how the names of all files of a log begin.
func logPrefix(log string) string { return strings.TrimSuffix(log, filepath.Ext(log)) }

// lookAt looks at a file from outside.
func lookAt(path string) (member, error) {
	info, err := os.Stat(path)
	if err != nil {
		return member{}, err
	}
	if !info.Mode().IsRegular() {
		return member{}, errors.ErrUnsupported
	}
	m := member{path: path, id: inodeOf(info), size: info.Size(), mod: info.ModTime()}
	if at := logfile.Parse(filepath.Base(path)).At; !at.IsZero() {
		m.at = at.UnixNano()
	}
	return m, nil
}

// identify reads the beginning of a file.
func (m *member) identify() {
	file, err := os.OpenFile(m.path, os.O_RDONLY, 0)
	if err != nil {
		m.err = err
		return
	}
	defer file.Close()
	head, err := readHead(file, 0)
	at := int64(0)
	if err == nil && len(head) > 0 && head[0] == 0 {
		if at = contentAt(file, head); at > 0 {
			head, err = readHead(file, at)
		} else {
			head = nil
		}
	}
	if err != nil {
		m.err = err
		return
	}
	m.print = fingerprintOf(at, head)
}

// begins tells whether a file's content begins with what f is the fingerprint of.
func (m *member) begins(f fingerprint) bool {
	if f.n == 0 || m.err != nil || m.print.n == 0 {
		return false
	}
	if f.at == m.print.at && f.n == m.print.n {
		return f.sum == m.print.sum
	}
	file, err := os.OpenFile(m.path, os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	head, err := readHead(file, f.at)
	return err == nil && f.matches(head)
}

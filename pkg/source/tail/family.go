package tail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"kaudit/internal/logfile"
)

// parse takes open parameters apart into paths, which may be patterns.
func parse(where string) ([]string, error) {
	const want = "write it like file:///var/log/kube-apiserver/audit.log, with several paths separated by commas"
	var patterns []string
	for _, path := range split(where) {
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

// split splits at commas before absolute paths, and at the last if nothing follows: names of files may have commas.
func split(where string) (paths []string) {
	begin := 0
	for i, c := range where {
		next := strings.TrimLeft(where[i:], ", ")
		if c == ',' && (next == "" || next[0] == '/' || strings.HasPrefix(next, "file://")) {
			paths, begin = append(paths, where[begin:i]), i+1
		}
	}
	return append(paths, where[begin:])
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
			log := filepath.Join(directory, logfile.Parse(name).Log)
			if seen[log] {
				continue // one of its files is enough
			}
			if e, err := os.Stat(filepath.Join(directory, name)); err == nil && !e.Mode().IsRegular() {
				continue
			}
			add(log, false)
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
	real  string // of the live file
	id    inode
	size  int64
	mod   time.Time
	at    int64 // the time in its name, in nanoseconds, or 0
	start *beginning
}

// A beginning is what a file's content begins with, once it was looked at.
type beginning struct {
	looked bool
	head   []byte
	print  fingerprint
	err    error // why it cannot be read
}

// moving tells that an error comes from files that change their names.
func moving(err error) bool { return errors.Is(err, errMoved) || errors.Is(err, fs.ErrNotExist) }

// list returns the files of the log whose live file has the path, the oldest first. While they are renamed, it
// returns errMoved: names are read before files are looked at, one after the other, so that a file can be missed, and
// what was removed meanwhile may give its inode to another.
func list(path string, alone bool) ([]member, error) {
	for range 3 {
		names, err := namesOf(path, alone)
		if err != nil {
			return nil, err
		}
		before, err := lookAtAll(names, alone)
		if err != nil {
			return nil, err
		}
		after, err := lookAtAll(names, alone)
		if err != nil {
			return nil, err
		}
		now, err := namesOf(path, alone)
		if err != nil {
			return nil, err
		}
		if slices.Equal(names, now) && slices.EqualFunc(before, after, func(a, b member) bool { return a.path == b.path && a.id == b.id }) {
			for i := range after {
				after[i].real = path
			}
			return after, nil
		}
	}
	return nil, errMoved
}

// namesOf returns the paths of the log's files, the oldest first.
func namesOf(path string, alone bool) ([]string, error) {
	if alone {
		return []string{path}, nil
	}
	directory, log := filepath.Split(path)
	testHookLook()
	folder, err := os.Open(directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	testHookLook()
	names, err := folder.Readdirnames(-1)
	folder.Close()
	if err != nil {
		return nil, err
	}
	prefix := strings.TrimSuffix(log, filepath.Ext(log)) // all names begin with it
	names = logfile.Select(slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, prefix) || logfile.Parse(name).Log != log
	}))
	for i, name := range names {
		names[i] = filepath.Join(directory, name)
	}
	return names, nil
}

// lookAtAll looks at files from outside, and leaves out what is none.
func lookAtAll(paths []string, alone bool) ([]member, error) {
	var members []member
	for _, path := range paths {
		m, err := lookAt(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if _, err := os.Lstat(path); err != nil && !alone {
				return nil, errMoved // its compressed successor was left out because of it
			}
			continue // a link that leads nowhere
		case errors.Is(err, errors.ErrUnsupported):
			continue // no file
		case err != nil:
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

// lookAt looks at a file from outside.
func lookAt(path string) (member, error) {
	testHookLook()
	info, err := os.Stat(path)
	if err != nil {
		return member{}, err
	}
	if !info.Mode().IsRegular() {
		return member{}, errors.ErrUnsupported
	}
	m := member{path: path, id: inodeOf(info), size: info.Size(), mod: info.ModTime(), start: &beginning{}}
	if at := logfile.Parse(filepath.Base(path)).At; !at.IsZero() {
		m.at = at.UnixNano()
	}
	return m, nil
}

// look reads the beginning of the file, if it still has the path, unless that was done before.
func (m *member) look() *beginning {
	if !m.start.looked {
		*m.start = m.lookFrom(-1)
	}
	return m.start
}

// lookFrom reads as much of the content as a fingerprint is of, from where readHead is told to.
func (m *member) lookFrom(at int64) beginning {
	testHookLook()
	file, err := os.OpenFile(m.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		defer file.Close()
		var info fs.FileInfo
		if info, err = file.Stat(); err == nil && inodeOf(info) != m.id {
			err = errMoved
		}
	}
	b := beginning{looked: !moving(err), err: err}
	if err == nil {
		b.head, at, b.err = readHead(file, at)
		b.print = fingerprintOf(at, b.head)
	}
	return b
}

// begins tells whether the file's content begins with what f is the fingerprint of. If the file was not looked at, it
// is where f begins: a hole in front of that, which may be long, is not searched for its end.
func (m *member) begins(f fingerprint) bool {
	if f.n == 0 {
		return false
	}
	if !m.start.looked {
		b := m.lookFrom(f.at)
		if b.err == nil && !f.matches(b.head) && (f.at > 0 || len(b.head) == 0 || b.head[0] == 0) {
			return false // where its content begins is not known
		}
		*m.start = b
	}
	b := m.start
	return b.err == nil && f.at == b.print.at && f.matches(b.head)
}

// compressed tells whether the file is compressed, by its name.
func (m *member) compressed() bool { return logfile.Uncompressed(m.path) != m.path }

// copies tells whether the file is a copy of the one that f is the fingerprint of, or the other way round.
func (m *member) copies(f fingerprint) bool { return f.telling && m.begins(f) }

// copying tells whether the file is being made a copy of the live one, or was: the first of it is there, or nothing yet
// but for a hole.
func (m *member) copying(live *member) bool {
	now, of := m.look(), live.look()
	return m.copies(of.print) || live.copies(now.print) || now.err == nil && now.print.n == 0 && of.print.n > 0
}

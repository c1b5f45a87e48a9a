// Package logfile knows what programs that write, rotate and compress logs make of them: what they call them, what
// their beginnings look like, what holes they leave.
package logfile

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Name is the name of a log's file, taken apart.
type Name struct {
	// Log is the name of the log: what its live file is called.
	Log string
	// At is when the file was rotated, by its name; zero if the name does not say. It is good for comparing the files
	// of one log: programs write local time or UTC.
	At time.Time
	// Number is how many rotations ago the file was live, or 0.
	Number int
}

// Live tells that the file is not a rotated one, by its name.
func (n Name) Live() bool { return n.At.IsZero() && n.Number == 0 }

// Parse takes the name of a file apart. The name stays the same when the file is compressed later.
//
// These are rotated files of audit.log (and of 0.log, by the kubelet):
//
//	audit-2026-07-23T18-32-12.345.log   lumberjack, in kube-apiserver
//	audit.log.1  audit.log.old          logrotate and others
//	audit.log-20260723                  logrotate with dateext, and what people give it as dateformat
//	audit-20260723.log                  the same with extension
//	0.log.20260723-183212               the kubelet
func Parse(name string) Name {
	name = Uncompressed(name)
	ext := filepath.Ext(name)
	for _, e := range []string{"", ext} {
		stem := strings.TrimSuffix(name, e)
		for _, separator := range []string{"-", "."} {
			if log, at, ok := cutTime(stem, separator); ok {
				return Name{Log: log + e, At: at}
			}
		}
	}
	if log := strings.TrimSuffix(name, ext); ext != "" && log != "" && !digits(strings.TrimPrefix(filepath.Ext(log), ".")) {
		if n, err := strconv.Atoi(ext[1:]); err == nil && n > 0 && n < 10000 && digits(ext[1:]) {
			return Name{Log: log, Number: n}
		}
		if ext == ".old" {
			return Name{Log: log, Number: 1}
		}
	}
	return Name{Log: name}
}

// layouts are the times in names, as far as they begin with a year. The longest comes first.
var layouts = []string{
	"2006-01-02T15-04-05.000", "2006-01-02T15:04:05", "2006-01-02T15-04-05", "2006-01-02_15-04-05", "2006-01-02-15-04-05",
	"20060102T150405", "20060102-150405", "20060102_150405", "20060102150405", "2006-01-02-15", "2006-01-02_15",
	"20060102-15", "2006010215", "2006-01-02", "20060102",
}

// cutTime cuts off the time at the end of a name.
func cutTime(name, separator string) (before string, at time.Time, ok bool) {
	// The time of logrotate's dateformat -%Y%m%d-%s.
	if i := strings.LastIndex(name, separator); i > 0 && len(name)-i == 11 && digits(name[i+1:]) {
		if seconds, err := strconv.ParseInt(name[i+1:], 10, 64); err == nil && seconds > 1_000_000_000 && name[i+1] == '1' {
			before = name[:i]
			if day := len(before) - 9; day > 0 && before[day:day+1] == separator && digits(before[day+1:]) {
				before = before[:day]
			}
			return before, time.Unix(seconds, 0).UTC(), true
		}
	}
	for _, layout := range layouts {
		cut := len(name) - len(layout)
		if cut <= len(separator) || name[cut-len(separator):cut] != separator || !shaped(name[cut:], layout) {
			continue
		}
		if at, err := time.Parse(layout, name[cut:]); err == nil {
			return name[:cut-len(separator)], at, true
		}
	}
	return "", time.Time{}, false
}

// shaped tells whether a text has digits where a layout of the same length has them, and is as that elsewhere. It spares
// most names the errors of time.Parse, which cost more than all the rest.
func shaped(s, layout string) bool {
	for i, c := range []byte(layout) {
		if digit(c) && !digit(s[i]) || !digit(c) && c != s[i] {
			return false
		}
	}
	return true
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func digits(s string) bool {
	for _, c := range []byte(s) {
		if !digit(c) {
			return false
		}
	}
	return s != ""
}

// A file has its name parsed once, however often it is compared.
type file struct {
	Name
	name string
}

// older compares two files: the rotated ones of one log by when they were, then the live one; logs among each other by
// name.
func older(a, b file) int {
	return cmp.Or(
		strings.Compare(a.Log, b.Log),
		cmp.Compare(a.age(), b.age()),
		a.At.Compare(b.At),
		-cmp.Compare(a.Number, b.Number),
		strings.Compare(a.name, b.name),
	)
}

// age orders the ways of naming: a log that has both was rotated by time before somebody changed that.
func (n Name) age() int {
	switch {
	case !n.At.IsZero():
		return 0
	case n.Number > 0:
		return 1
	}
	return 2
}

var compressed = []string{".gz", ".zst"}

// Uncompressed takes off what a compressor appended.
func Uncompressed(name string) string {
	for _, ext := range compressed {
		if cut, ok := strings.CutSuffix(name, ext); ok && cut != "" {
			return cut
		}
	}
	return name
}

// Select returns those of the names of a directory that are logs, or of a log, the oldest of each first. Hidden and temporary
// files are left out, and so is a compressed file beside its original: whoever compresses removes the original last.
func Select(names []string) []string {
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	var files []file
	for _, name := range names {
		original := Uncompressed(name)
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".tmp") || original != name && there[original] {
			continue
		}
		files = append(files, file{Parse(name), name})
	}
	slices.SortFunc(files, older)
	logs := make([]string, len(files))
	for i, f := range files {
		logs[i] = f.name
	}
	return logs
}

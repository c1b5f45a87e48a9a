package logfile

import "bytes"

// WithoutNULs makes one line end, in place, of every run of NUL bytes: the hole that is left when a log is truncated
// under its writer, or when a machine went down. JSON knows no NUL.
func WithoutNULs(b []byte) []byte {
	n := bytes.IndexByte(b, 0)
	if n < 0 {
		return b
	}
	for i := n; i < len(b); {
		if b[i] == 0 {
			for i < len(b) && b[i] == 0 {
				i++
			}
			b[n] = '\n'
			n++
			continue
		}
		run := bytes.IndexByte(b[i:], 0)
		if run < 0 {
			run = len(b) - i
		}
		n += copy(b[n:], b[i:i+run])
		i += run
	}
	return b[:n]
}

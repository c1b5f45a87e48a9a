package tail

import "bytes"

// A format is how the lines of a file are written.
type format int

const (
	unknown format = iota
	plain          // an event is a line
	cri            // container runtimes wrap lines: 2026-07-23T18:32:12.345678901Z stdout F {"kind":"Event",…
)

// formatOf tells from the first line that is not blank; unknown if there is none yet.
func formatOf(data []byte) format {
	data = bytes.TrimLeft(data, white+"\x00")
	line, _, found := bytes.Cut(data, []byte("\n"))
	switch {
	case !found:
		return unknown
	case isWrapped(line):
		return cri
	}
	return plain
}

func isWrapped(line []byte) bool {
	_, _, ok := unwrap(line)
	return ok
}

// The streams of a container.
const (
	stdout = iota
	stderr
)

// A wrapping is what a container runtime wrote before a line's text.
type wrapping struct {
	stream  int
	partial bool // the line goes on in the next of the same stream
}

// unwrap takes a wrapped line apart, its line end not included.
func unwrap(line []byte) (w wrapping, text []byte, ok bool) {
	// 2026-07-23T18:32:12Z is the shortest time.
	const shortest, longest = 20, 35
	end := bytes.IndexByte(line[:min(len(line), longest+1)], ' ')
	if end < shortest || line[4] != '-' || line[10] != 'T' || line[13] != ':' {
		return w, nil, false
	}
	rest := line[end+1:]
	switch {
	case bytes.HasPrefix(rest, []byte("stdout ")):
	case bytes.HasPrefix(rest, []byte("stderr ")):
		w.stream = stderr
	default:
		return w, nil, false
	}
	// Tags are separated by colons; only the first has a meaning today (k8s.io/cri-client, pkg/logs).
	tags, text, found := bytes.Cut(rest[len("stdout "):], []byte(" "))
	first, _, _ := bytes.Cut(tags, []byte(":"))
	if len(first) != 1 || first[0] != 'P' && first[0] != 'F' || !found && len(tags) != len(rest)-len("stdout ") {
		return w, nil, false
	}
	w.partial = first[0] == 'P'
	return w, text, true
}

// wholeWrapped returns where the last place in data is where no line is incomplete, in either stream.
func wholeWrapped(data []byte) (end int) {
	var open [2]bool
	for at := 0; ; {
		length := bytes.IndexByte(data[at:], '\n')
		if length < 0 {
			return end
		}
		if w, _, ok := unwrap(data[at : at+length]); ok {
			open[w.stream] = w.partial
		}
		at += length + 1
		if !open[stdout] && !open[stderr] {
			end = at
		}
	}
}

// skipWrapped returns how much of data belongs to the rest of a line on stdout, and whether that line ends there.
func skipWrapped(data []byte) (n int, ended bool) {
	for {
		length := bytes.IndexByte(data[n:], '\n')
		if length < 0 {
			return n, false
		}
		w, _, ok := unwrap(data[n : n+length])
		n += length + 1
		if ok && w.stream == stdout && !w.partial {
			return n, true
		}
	}
}

// An unwrapper makes the lines of an audit log of the lines of a container's log.
type unwrapper struct {
	parts [2][]byte // of the line that is not complete yet, by stream
	left  int       // lines of text on stderr, which were left out
}

// unwrap replaces the wrapped lines in data by their text, at the front, and returns how long that is. What is incomplete
// at the end becomes a line, for whoever salvages it. Text is always shorter than what it was wrapped in, so it never
// overwrites what was not read yet.
func (u *unwrapper) unwrap(data []byte) (length int) {
	out := data[:0]
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, newline)
		data = rest
		w, text, ok := unwrap(line)
		if !ok {
			out = append(append(out, line...), '\n')
			continue
		}
		parts := &u.parts[w.stream]
		if w.partial {
			*parts = append(*parts, text...)
			continue
		}
		out = u.line(out, w.stream, text)
	}
	for s := range u.parts {
		if len(u.parts[s]) > 0 {
			out = u.line(out, s, nil)
		}
	}
	return len(out)
}

// line appends a line whose last part is text. A program's messages are no audit log: what is written to stderr counts
// if it looks like an event.
func (u *unwrapper) line(out []byte, stream int, text []byte) []byte {
	parts := u.parts[stream]
	u.parts[stream] = parts[:0]
	if cap(parts) > keptSize {
		u.parts[stream] = nil
	}
	begin := text
	if len(parts) > 0 {
		begin = parts
	}
	if stream == stderr && !bytes.HasPrefix(begin, []byte("{")) {
		u.left++
		return out
	}
	return append(append(append(out, parts...), text...), '\n')
}

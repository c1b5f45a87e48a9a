package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// An event is what the recorder reads of an audit event. The bytes it came from are what it keeps.
type event struct {
	AuditID    string
	Stage      string
	Verb       string
	RequestURI string
	User       struct{ Username string }
	ObjectRef  struct{ Resource, Namespace, Name, Subresource string }

	ResponseStatus struct{ Code int }
}

// A fixture is one event to keep for the tests of a rule.
type fixture struct {
	slug    string
	verdict string
	// auditID is the ID the request was sent with. With match it is a name for messages only.
	auditID string
	stage   string
	match   func(*event) bool
}

// A recording is lines of an audit log, each an event as the API server wrote it.
type recording struct {
	lines  [][]byte
	events []event
}

// readRecording splits an audit log into lines and reads them.
func readRecording(content []byte) (recording, error) {
	var r recording
	for line := range bytes.Lines(content) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return recording{}, fmt.Errorf("line %d of the audit log: %w", len(r.lines)+1, err)
		}
		r.lines = append(r.lines, line)
		r.events = append(r.events, e)
	}
	return r, nil
}

// find returns the line of the event a fixture asks for.
func (r recording) find(f fixture) ([]byte, error) {
	var stages []string
	for i := range r.events {
		e := &r.events[i]
		if f.match != nil {
			if e.Stage == f.stage && f.match(e) {
				return r.lines[i], nil
			}
			continue
		}
		if e.AuditID != f.auditID {
			continue
		}
		if e.Stage == f.stage {
			return r.lines[i], nil
		}
		stages = append(stages, e.Stage)
	}
	return nil, fmt.Errorf("%s of %s: no event at stage %s (stages recorded: %v)", f.auditID, f.slug, f.stage, stages)
}

// writeFixtures writes rules/testdata/<slug>/{fires,quiet}.jsonl below root, from what was recorded. It replaces those files.
func writeFixtures(root string, r recording, fixtures []fixture) (map[string]int, error) {
	files := map[string]*bytes.Buffer{}
	counts := map[string]int{}
	ids := map[string]bool{}
	for _, f := range fixtures {
		id := f.slug + "/" + f.verdict + "/" + f.auditID
		if ids[id] {
			return nil, fmt.Errorf("two requests are named %s", f.auditID)
		}
		ids[id] = true
		line, err := r.find(f)
		if err != nil {
			return nil, err
		}
		name := filepath.Join("rules", "testdata", f.slug, f.verdict+".jsonl")
		if files[name] == nil {
			files[name] = &bytes.Buffer{}
		}
		files[name].Write(line)
		files[name].WriteByte('\n')
		counts[f.slug+" "+f.verdict]++
	}
	for name, content := range files {
		if err := writeFile(filepath.Join(root, name), content.Bytes()); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// writeCompressed writes lines into a gzip file that holds neither name nor time, so that equal lines make equal files.
func writeCompressed(path string, lines [][]byte) (size int, err error) {
	var buffer bytes.Buffer
	w, err := gzip.NewWriterLevel(&buffer, gzip.BestCompression)
	if err != nil {
		return 0, err
	}
	for _, line := range lines {
		w.Write(line)
		w.Write([]byte("\n"))
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return buffer.Len(), writeFile(path, buffer.Bytes())
}

func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("write the recording: %w", err)
	}
	return nil
}

// chooseBodies picks a handful of webhook bodies, spread over the whole time, none of them huge.
func chooseBodies(bodies [][]byte, n, maxSize int) [][]byte {
	var fit [][]byte
	for _, body := range bodies {
		if body = bytes.TrimSpace(body); len(body) <= maxSize && !bytes.ContainsRune(body, '\n') {
			fit = append(fit, body)
		}
	}
	if len(fit) <= n {
		return fit
	}
	var chosen [][]byte
	for i := range n {
		chosen = append(chosen, fit[i*(len(fit)-1)/(n-1)])
	}
	return chosen
}

// table renders the number of fixtures of each rule.
func table(counts map[string]int) string {
	slugs := map[string]bool{}
	for key := range counts {
		slugs[strings.Fields(key)[0]] = true
	}
	var names []string
	for slug := range slugs {
		names = append(names, slug)
	}
	slices.Sort(names)
	var out strings.Builder
	fmt.Fprintf(&out, "%-28s %5s %5s\n", "rule", "fires", "quiet")
	for _, slug := range names {
		fmt.Fprintf(&out, "%-28s %5d %5d\n", slug, counts[slug+" fires"], counts[slug+" quiet"])
	}
	return out.String()
}

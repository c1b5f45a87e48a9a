//go:build linux

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"kaudit/test/e2e/engine"
)

// A recording is a file of events, one a line. All of them are made from those that are shipped, from a fixed seed: the
// same bytes on every machine.
type recording struct {
	name, what string
	path       string
	sizes      []int // of its events, ascending
}

// recordingBytes is how large a recording is.
const recordingBytes = 100 << 20

// recordingSource is part of a recording's name in the cache: other code makes other bytes.
//
//go:embed recordings.go
var recordingSource string

var recordingKinds = []struct {
	name, what string
	make       func(events []auditEvent) func(*rand.Rand) auditEvent
}{
	{"ordinary", "what a cluster at work records, over and over, each time with an audit ID of its own", ordinary},
	{"tiny", "the same at level Metadata", tiny},
	{"same", "one of them over and over, an update with both bodies, so that no answer comes as a surprise to the processor", same},
	{"heavy", "updates with bodies of 30 KB to 1.5 MB, in the request and in the response", heavy},
}

// An auditEvent has its members in the order the API server writes them.
type auditEvent struct {
	Kind                     json.RawMessage `json:"kind"`
	APIVersion               json.RawMessage `json:"apiVersion"`
	Level                    string          `json:"level"`
	AuditID                  string          `json:"auditID"`
	Stage                    json.RawMessage `json:"stage"`
	RequestURI               json.RawMessage `json:"requestURI"`
	Verb                     json.RawMessage `json:"verb"`
	User                     json.RawMessage `json:"user"`
	ImpersonatedUser         json.RawMessage `json:"impersonatedUser,omitempty"`
	SourceIPs                json.RawMessage `json:"sourceIPs,omitempty"`
	UserAgent                json.RawMessage `json:"userAgent,omitempty"`
	ObjectRef                json.RawMessage `json:"objectRef,omitempty"`
	ResponseStatus           json.RawMessage `json:"responseStatus,omitempty"`
	RequestObject            json.RawMessage `json:"requestObject,omitempty"`
	ResponseObject           json.RawMessage `json:"responseObject,omitempty"`
	RequestReceivedTimestamp json.RawMessage `json:"requestReceivedTimestamp"`
	StageTimestamp           json.RawMessage `json:"stageTimestamp"`
	Annotations              json.RawMessage `json:"annotations,omitempty"`
}

func ordinary(events []auditEvent) func(*rand.Rand) auditEvent {
	n := -1
	return func(*rand.Rand) auditEvent {
		n = (n + 1) % len(events)
		return events[n]
	}
}

func same(events []auditEvent) func(*rand.Rand) auditEvent {
	e := updates(events)[0]
	return func(*rand.Rand) auditEvent { return e }
}

func tiny(events []auditEvent) func(*rand.Rand) auditEvent {
	next := ordinary(events)
	return func(r *rand.Rand) auditEvent {
		e := next(r)
		e.Level, e.RequestObject, e.ResponseObject, e.Annotations = "Metadata", nil, nil, nil
		return e
	}
}

// heavy lets the bodies of updates grow by what is large in clusters: long texts, lists of many small objects, and
// schemas that nest deeply.
func heavy(events []auditEvent) func(*rand.Rand) auditEvent {
	from := updates(events)
	return func(r *rand.Rand) auditEvent {
		e := from[r.IntN(len(from))]
		size := int(30e3 * math.Pow(1.5e6/30e3, r.Float64()))
		more := []func(*rand.Rand, int) []byte{longText, manyObjects, deepSchema}[r.IntN(3)](r, size)
		grow := func(body json.RawMessage) json.RawMessage {
			return slices.Concat([]byte("{"), more, []byte(","), body[1:])
		}
		e.RequestObject, e.ResponseObject = grow(e.RequestObject), grow(e.ResponseObject)
		return e
	}
}

// updates returns those that update an object and have both bodies.
func updates(events []auditEvent) (list []auditEvent) {
	for _, e := range events {
		if string(e.Verb) == `"update"` && len(e.RequestObject) > 2 && len(e.ResponseObject) > 2 {
			list = append(list, e)
		}
	}
	return list
}

// longText is the data of a ConfigMap: a configuration file with its line ends and quotation marks.
func longText(r *rand.Rand, size int) []byte {
	out := []byte(`"data":{"config.yaml":"`)
	for len(out) < size {
		out = fmt.Appendf(out, `  - name: \"upstream-%x\"\n    address: 10.%d.%d.%d:8080\n    timeout: 30s\n`, r.Uint32(), r.IntN(256), r.IntN(256), r.IntN(256))
	}
	return append(out, `"}`...)
}

// manyObjects is what an EndpointSlice lists.
func manyObjects(r *rand.Rand, size int) []byte {
	out := []byte(`"endpoints":[`)
	for more := true; more; more = len(out) < size {
		out = fmt.Appendf(out, `{"addresses":["10.%d.%d.%d"],"conditions":{"ready":true,"serving":true,"terminating":false},"nodeName":"node-%d","targetRef":{"kind":"Pod","name":"web-%08x","uid":"%08x-0000-4000-8000-000000000000"}},`,
			r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(5000), r.Uint32(), r.Uint32())
	}
	return append(out[:len(out)-1], ']')
}

// deepSchema is the schema of a CustomResourceDefinition.
func deepSchema(r *rand.Rand, size int) []byte {
	out := []byte(`"openAPIV3Schema":{"type":"object","properties":{`)
	for len(out) < size {
		depth := 1 + r.IntN(12)
		for range depth {
			out = fmt.Appendf(out, `"field%x":{"description":"What it is, when it is set, and which defaults apply.","type":"object","properties":{`, r.Uint32())
		}
		out = append(out, `"leaf":{"type":"string","enum":["Always","Never","IfNotPresent"],"maxLength":253}`...)
		out = append(out, bytes.Repeat([]byte("}}"), depth)...)
		out = append(out, ',')
	}
	return append(out[:len(out)-1], "}}"...)
}

// shipped is the recording of a cluster at work.
const shipped = "testdata/recordings/ordinary.jsonl.gz"

func shippedEvents(root string) ([]auditEvent, error) {
	lines, err := readLines(filepath.Join(root, shipped))
	if err != nil {
		return nil, err
	}
	events := make([]auditEvent, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal(line, &events[i]); err != nil {
			return nil, fmt.Errorf("ordinary.jsonl.gz: line %d: %w", i+1, err)
		}
	}
	return events, nil
}

func readLines(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var in io.Reader = f
	if filepath.Ext(path) == ".gz" {
		if in, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	}
	text, err := io.ReadAll(in)
	return bytes.Split(bytes.TrimSpace(text), []byte("\n")), err
}

// makeRecordings returns the recordings, from the cache if they were made before.
func makeRecordings(root string) ([]recording, error) {
	events, err := shippedEvents(root)
	if err != nil {
		return nil, err
	}
	packed, err := os.ReadFile(filepath.Join(root, shipped))
	if err != nil {
		return nil, err
	}
	var list []recording
	for _, k := range recordingKinds {
		path, err := engine.Cached("bench-"+k.name, []string{recordingSource, string(packed)}, func(to string) error {
			return writeEvents(to, recordingBytes, k.make(events))
		})
		if err != nil {
			return nil, fmt.Errorf("recording %s: %w", k.name, err)
		}
		r := recording{name: k.name, what: k.what, path: path}
		if r.sizes, err = lineSizes(path); err != nil {
			return nil, err
		}
		slices.Sort(r.sizes)
		list = append(list, r)
	}
	return list, nil
}

// lineSizes returns the lengths of the lines of a file. It holds little of it: what this process has in memory counts as
// memory of the processes it starts.
func lineSizes(path string) (sizes []int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 64<<10)
	for size := 0; ; {
		part, err := in.ReadSlice('\n')
		size += len(part)
		switch {
		case err == nil:
			sizes = append(sizes, size-1)
			size = 0
		case err == io.EOF:
			return sizes, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// writeEvents writes events until the file has so many bytes.
func writeEvents(path string, most int64, next func(*rand.Rand) auditEvent) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	random := rand.New(rand.NewPCG(1, 2))
	out := bufio.NewWriterSize(f, 1<<20)
	for written := int64(0); written < most; {
		e := next(random)
		e.AuditID = auditID(random)
		line, err := marshal(&e)
		if err != nil {
			return err
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
		written += int64(len(line))
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return f.Close()
}

func auditID(r *rand.Rand) string {
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64N(1<<48))
}

// marshal writes an event as a line. What is escaped in its members is escaped already.
func marshal(e *auditEvent) ([]byte, error) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(e)
	return line.Bytes(), err
}

func (r *recording) String() string {
	total := 0
	for _, n := range r.sizes {
		total += n
	}
	at := func(q float64) string { return bytesText(float64(r.sizes[int(q*float64(len(r.sizes)-1))])) }
	return fmt.Sprintf("%s: %s. %d events, %s; half of them are below %s, 19 of 20 below %s, the largest has %s",
		r.name, r.what, len(r.sizes), bytesText(float64(total)), at(0.5), at(0.95), at(1))
}

// bytesText prints bytes with two or three digits.
func bytesText(n float64) string {
	unit := "B"
	for _, u := range []string{"KB", "MB", "GB"} {
		if n < 999.5 {
			break
		}
		n, unit = n/1000, u
	}
	if n < 9.95 && unit != "B" {
		return strconv.FormatFloat(n, 'f', 1, 64) + " " + unit
	}
	return strconv.FormatFloat(n, 'f', 0, 64) + " " + unit
}

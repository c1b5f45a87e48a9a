package webhook_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"kaudit/pkg/audit"
)

// evaluated keeps the events of a payload, and what of it is none.
type evaluated struct {
	events   [][]byte
	rejected []audit.Reason
}

func (v *evaluated) Event(e *audit.Event, _ time.Time, _ audit.Marks) {
	v.events = append(v.events, bytes.Clone(e.Raw()))
}

func (v *evaluated) Rejected(why audit.Reason, _, _ int) { v.rejected = append(v.rejected, why) }

// The files are requests of real collectors, byte by byte but for the port: Fluent Bit 5.1.1, Fluentd 1.18.0 and
// syslog-ng 3.38.1 following the audit log beside them. Their names say how they were set up; "parsed" is with a parser
// of JSON at the input, and without one a line arrives as the API server wrote it.
func TestCollectors(t *testing.T) {
	t.Parallel()
	folder := filepath.Join("..", "..", "..", "testdata", "collectors")
	log, err := os.ReadFile(filepath.Join(folder, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	files, err := filepath.Glob(filepath.Join(folder, "*.http"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no requests: %v", err)
	}
	refused := map[string]string{ // and the answer says what to send instead
		"fluent-bit-msgpack":     "application/json",
		"fluentd-msgpack":        "application/json",
		"fluent-bit-json-snappy": "gzip",
	}
	s := serve(t, "http", "/k8s-audit", nil, nil)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".http")
		t.Run(name, func(t *testing.T) {
			request, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			before := len(s.delivered())
			status, text := exchange(t, s.addr, request)
			got := s.delivered()[before:]
			if instead, no := refused[name]; no {
				if status != http.StatusUnsupportedMediaType || !strings.Contains(text, instead) || len(got) != 0 {
					t.Errorf("answered %d %q, %d deliveries", status, text, len(got))
				}
				return
			}
			if status != http.StatusOK || len(got) != 1 {
				t.Fatalf("answered %d, %d deliveries", status, len(got))
			}
			var v evaluated
			new(audit.Decoder).Decode(got[0].Payload, got[0].Lines, &v)
			if len(v.events) != len(lines) || len(v.rejected) != 0 {
				t.Fatalf("%d events, and what is none for %v; want %d events", len(v.events), v.rejected, len(lines))
			}
			for i, line := range lines {
				same := bytes.Equal(v.events[i], line)
				if strings.Contains(name, "parsed") {
					same = alike(t, v.events[i], line)
				}
				if !same {
					t.Errorf("event %d is\n%s\nwant\n%s", i, v.events[i], line)
				}
			}
		})
	}
	s.stop(t)
}

// exchange sends a request as it is, and returns the status and the text of the answer.
func exchange(t *testing.T, addr string, request []byte) (int, string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, text.String()
}

// alike reports whether an event has the values it was recorded with; Fluent Bit adds a date of its own.
func alike(t *testing.T, event, recorded []byte) bool {
	t.Helper()
	var got, want map[string]any
	if err := json.Unmarshal(event, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(recorded, &want); err != nil {
		t.Fatal(err)
	}
	delete(got, "date")
	return reflect.DeepEqual(got, want)
}

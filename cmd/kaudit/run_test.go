package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kaudit/internal/golden"
	"kaudit/pkg/audit"
	"kaudit/pkg/rules"
)

const (
	runRules = "testdata/run/rules.yaml"
	auditLog = "testdata/run/audit.log"
	broken   = "testdata/run/broken.log"
	ordinary = "../../testdata/recordings/ordinary.jsonl.gz"
	attacks  = "../../testdata/recordings/attacks.jsonl.gz"
)

// took is what differs from run to run.
var took = regexp.MustCompile(` in [0-9.]+m?s(, \d+ events/s)?|"seconds":[0-9.e-]+`)

func TestRunOutput(t *testing.T) {
	t.Setenv("FALCO_HOSTNAME", "a-host")
	for name, args := range map[string][]string{
		"help":                {"--help"},
		"alerts":              {auditLog},
		"from":                {"--from", auditLog},
		"several":             {"--from", auditLog, broken},
		"all":                 {"--rule-matching", "all", auditLog},
		"json":                {"-o", "json", auditLog},
		"json-other":          {"-o", "json", "--iso8601", "--json-include-message-property", "--json-include-output-property=false", "--json-include-tags-property=false", "--json-include-output-fields-property=false", auditLog},
		"iso8601":             {"--iso8601", auditLog},
		"quiet":               {"-q", broken},
		"priority":            {"--priority", "Warning", auditLog},
		"tags":                {"-t", "exec,sleepy", auditLog},
		"disabled":            {"-D", "Any", "-T", "secrets", auditLog},
		"tag-unknown":         {"-t", "exce", auditLog},
		"disable-unknown":     {"-D", "exec", auditLog},
		"none-left":           {"-T", "k8s", auditLog},
		"fail":                {"--fail-on", "critical", "-q", auditLog},
		"fail-not":            {"--fail-on", "alert", "-q", auditLog},
		"broken-lines":        {broken},
		"broken-lines-json":   {"-o", "json", broken},
		"no-event":            {"testdata/run/no.log"},
		"nothing":             {},
		"missing":             {"testdata/run/missing.log"},
		"missing-second":      {auditLog, "testdata/run/missing.log"},
		"scheme-unknown":      {"ftp://audit.log"},
		"listening-first":     {"http://127.0.0.1:0/k8s-audit", auditLog},
		"no-port":             {"http://127.0.0.1/k8s-audit"},
		"no-certificate":      {"https://127.0.0.1:0/", "--init-config", `{"sslCertificate": "testdata/run/missing.pem"}`},
		"init-config-wrong":   {"--init-config", "{", auditLog},
		"init-config-key":     {"--init-config", `{"maxEventsize": 2048, "queue": 1}`, "-q", auditLog},
		"init-config-sources": {"--init-config", `{"sources": [{"name": "prod", "cluster": "eu", "open": "testdata/run/audit.log"}]}`, "-q"},
		"sources-wrong":       {"--init-config", `{"sources": [{"name": "prod", "open": "testdata/run/missing.log"}]}`},
		"sources-none":        {"--init-config", `{"maxEventSize": 2048}`},
		"priority-unknown":    {"--priority", "high", auditLog},
		"matching-unknown":    {"--rule-matching", "some", auditLog},
		"falco-unknown":       {"--falco", "1", auditLog},
		"rules-wrong":         {"-r", "testdata/run/wrong.yaml", auditLog},
		"rules-missing":       {"-r", "testdata/run/missing.yaml", auditLog},
		"rules-no-source":     {"-r", "testdata/run/nosource.yaml", auditLog},
		"rules-for-syscalls":  {"-r", "testdata/run/syscalls.yaml", auditLog},
		"rules-empty":         {"-r", "testdata/run/empty.yaml", auditLog},
		"rules-are-no-rules":  {"-r", auditLog, auditLog},
	} {
		t.Run(name, func(t *testing.T) {
			args = append([]string{"run"}, args...)
			line := strings.Join(args, " ")
			if !strings.Contains(line, " -r ") && len(args) > 1 {
				args = append(args, "-r", runRules)
			}
			var out, errOut bytes.Buffer
			code := run(args, &out, &errOut)
			got := fmt.Sprintf("$ kaudit %s\n%s--- standard error\n%s--- exit %d\n", line, out.String(), errOut.String(), code)
			got = took.ReplaceAllString(got, " …")
			golden.Compare(t, "testdata/run-"+name+".golden", got)
		})
	}
}

// The rules that come with the command find attacks in the recording of attacks, and nothing grave in the ordinary one.
func TestRunFindsAttacks(t *testing.T) {
	for recording, want := range map[string]int{attacks: exitFailed, ordinary: exitOK} {
		var out, errOut bytes.Buffer
		if code := run([]string{"run", "--fail-on", "critical", recording}, &out, &errOut); code != want {
			t.Errorf("%s: exit %d, want %d\n%s", recording, code, want, errOut.String())
		}
		if !regexp.MustCompile(`^\d{4} events, `).MatchString(errOut.String()) {
			t.Errorf("%s: %s", recording, errOut.String())
		}
	}
}

// Each line of JSON is an object, the summary as well.
func TestRunPrintsJSON(t *testing.T) {
	var out, errOut bytes.Buffer
	if code := run([]string{"run", "-o", "json", "--rule-matching", "all", attacks}, &out, &errOut); code != exitOK {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	n := uint64(0)
	for line := range strings.Lines(out.String()) {
		var alert struct {
			Rule, Priority, Source string
			Fields                 map[string]any `json:"output_fields"`
		}
		if err := json.Unmarshal([]byte(line), &alert); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if alert.Rule == "" || alert.Source != rules.Source || len(alert.Fields) == 0 {
			t.Fatalf("%s", line)
		}
		n++
	}
	var end struct {
		Summary struct {
			Events, Alerts, Bytes uint64
			Rules                 []struct{ Alerts uint64 }
		}
	}
	if err := json.Unmarshal(errOut.Bytes(), &end); err != nil {
		t.Fatalf("%v: %s", err, errOut.String())
	}
	sum := uint64(0)
	for _, r := range end.Summary.Rules {
		sum += r.Alerts
	}
	if end.Summary.Alerts != n || sum != n || n == 0 || end.Summary.Events < 1000 || end.Summary.Bytes < 1e6 {
		t.Errorf("%d alerts, the summary is %s", n, errOut.String())
	}
}

// A session is a command that runs while the test does.
type session struct {
	t           *testing.T
	out, errOut <-chan string // lines
	code        chan int
}

func start(t *testing.T, args ...string) *session {
	t.Helper()
	s := &session{t: t, code: make(chan int, 1)}
	var outEnd, errEnd *io.PipeWriter
	s.out, outEnd = lines(t)
	s.errOut, errEnd = lines(t)
	go func() {
		s.code <- run(args, outEnd, errEnd)
		outEnd.Close()
		errEnd.Close()
	}()
	return s
}

func lines(t *testing.T) (<-chan string, *io.PipeWriter) {
	r, w := io.Pipe()
	list := make(chan string, 1000)
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer close(list)
		for in := bufio.NewScanner(r); in.Scan(); {
			list <- in.Text()
		}
	}()
	t.Cleanup(func() { w.Close(); <-over })
	return list, w
}

// next waits for a line. It waits for long, because a machine may be slow.
func (s *session) next(from <-chan string) string {
	s.t.Helper()
	select {
	case line := <-from:
		return line
	case <-time.After(time.Minute):
		s.t.Fatal("no line came")
	}
	return ""
}

func (s *session) exit() int {
	s.t.Helper()
	select {
	case code := <-s.code:
		return code
	case <-time.After(time.Minute):
		s.t.Fatal("it did not end")
	}
	return -1
}

// listeningAt reads the address from what the command says first. Signals are its business from then on.
func (s *session) listeningAt() string {
	s.t.Helper()
	line := s.next(s.errOut)
	at, ok := strings.CutPrefix(line, "kaudit: listening at ")
	if !ok {
		s.t.Fatalf("it said %q", line)
	}
	return at
}

func TestRunReceives(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defer http.DefaultClient.CloseIdleConnections()
	events, err := os.ReadFile(auditLog)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		signal syscall.Signal
		flags  []string
		code   int
	}{
		{syscall.SIGINT, nil, exitOK},
		{syscall.SIGTERM, []string{"--fail-on", "critical"}, exitFailed},
	} {
		t.Run(test.signal.String(), func(t *testing.T) {
			s := start(t, append([]string{"run", "-r", runRules, "--from", "http://127.0.0.1:0/k8s-audit"}, test.flags...)...)
			at := s.listeningAt()
			if !regexp.MustCompile(`^http://127\.0\.0\.1:[1-9]\d*/k8s-audit$`).MatchString(at) {
				t.Fatalf("it listens at %q", at)
			}
			post(t, at, string(events)+"what is this\n")
			// The request was answered, so everything was evaluated and printed.
			for _, want := range []string{
				"03:04:05.123456000: Warning exec by alice in web (verb=get number=1)",
				"03:04:06.123456000: Critical secret key read by bob",
				"03:04:07.123456000: Debug delete pods by carol from (10.0.0.1)",
			} {
				if got := s.next(s.out); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
			if got := s.next(s.errOut); got != "kaudit: "+strings.TrimSuffix(strings.TrimPrefix(at, "http://"), "/k8s-audit")+": left out 12 bytes: not JSON" {
				t.Errorf("got %q", got)
			}
			if err := syscall.Kill(os.Getpid(), test.signal); err != nil {
				t.Fatal(err)
			}
			if code := s.exit(); code != test.code {
				t.Errorf("exit %d, want %d", code, test.code)
			}
			if got := s.next(s.errOut); !strings.HasPrefix(got, "3 events, ") || !strings.HasSuffix(got, ": 3 alerts") || strings.Contains(got, "/s") {
				t.Errorf("the summary is %q", got)
			}
		})
	}
}

func post(t *testing.T, to, body string) {
	t.Helper()
	answer, err := http.Post(to, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("the answer is %s", answer.Status)
	}
}

// failing fails to be written to, as a full disk does.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestRunCannotWrite(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		args []string
		code int
		says string
	}{
		"disk full":                 {syscall.ENOSPC, nil, exitFailed, "kaudit: no space left on device\n"},
		"nobody reads":              {syscall.EPIPE, nil, exitOK, ""},
		"nobody reads, and it fits": {&os.PathError{Op: "write", Path: "x", Err: syscall.EPIPE}, []string{"--fail-on", "error"}, exitFailed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var errOut bytes.Buffer
			code := run(append([]string{"run", attacks}, test.args...), failing{test.err}, &errOut)
			text := errOut.String()
			if code != test.code || !strings.HasSuffix(text, test.says) || test.says == "" && text != "" {
				t.Errorf("exit %d, want %d: %s", code, test.code, text)
			}
		})
	}
}

// An event that was not printed is not acknowledged, and the command ends.
func TestRunAcknowledgesWhatItPrinted(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	errLines, errEnd := lines(t)
	s := &session{t: t, errOut: errLines, code: make(chan int, 1)}
	go func() { s.code <- run([]string{"run", "http://127.0.0.1:0/"}, failing{syscall.ENOSPC}, errEnd) }()
	at := s.listeningAt()
	recording, err := os.ReadFile(attacks)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, at, bytes.NewReader(recording))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Encoding", "gzip")
	request.Header.Set("Content-Type", "application/x-ndjson")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the answer is %s", answer.Status)
	}
	if code := s.exit(); code != exitFailed {
		t.Errorf("exit %d", code)
	}
}

// What comes through a pipe is evaluated when it is there, and not when the pipe ends.
func TestRunReadsPipes(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer func(stdin *os.File) { os.Stdin = stdin }(os.Stdin)
	os.Stdin = r
	s := start(t, "run", "-r", runRules, "-")
	f, err := os.Open(auditLog)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for in := bufio.NewScanner(f); in.Scan(); n++ {
		fmt.Fprintf(w, "%s\n", in.Bytes())
		if got := s.next(s.out); !strings.HasPrefix(got, "03:04:0") {
			t.Errorf("got %q", got)
		}
	}
	w.Close()
	if code := s.exit(); code != exitOK || n != 3 {
		t.Errorf("exit %d after %d events", code, n)
	}
}

// Who stops it gets a summary of what was read.
func TestRunInterrupted(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	defer func(stdin *os.File) { os.Stdin = stdin }(os.Stdin)
	os.Stdin = r
	s := start(t, "run", "-r", runRules, "-")
	events, err := os.ReadFile(auditLog)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(events); err != nil {
		t.Fatal(err)
	}
	s.next(s.out)
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := s.exit(); code != exitOK {
		t.Errorf("exit %d", code)
	}
	if got := s.next(s.errOut); got != "kaudit: interrupted: the input was not read to its end" {
		t.Errorf("got %q", got)
	}
	if got := s.next(s.errOut); !strings.HasPrefix(got, "3 events, ") {
		t.Errorf("got %q", got)
	}
}

// asCommand is set in the environment of a test program that is to be the command.
const asCommand = "KAUDIT_TEST_AS_COMMAND"

// The process is not killed by SIGPIPE.
func TestRunIntoHead(t *testing.T) {
	if os.Getenv(asCommand) != "" {
		os.Exit(run([]string{"run", attacks}, os.Stdout, os.Stderr))
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	c := exec.Command(os.Args[0], "-test.run", "^TestRunIntoHead$")
	c.Env = append(os.Environ(), asCommand+"=1")
	c.Stdout = w
	var errOut bytes.Buffer
	c.Stderr = &errOut
	err = c.Run()
	w.Close()
	if err != nil || errOut.Len() > 0 {
		t.Errorf("%v: %s", err, errOut.String())
	}
}

// A damaged file is read as far as possible, and so are those after it.
func TestRunDamagedFile(t *testing.T) {
	content, err := os.ReadFile(attacks)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	damaged := filepath.Join(dir, "audit.log.gz")
	if err := os.WriteFile(damaged, content[:len(content)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{damaged}, "kaudit: read audit log " + damaged + ": unexpected EOF\n"},
		{[]string{damaged, auditLog}, "kaudit: 1 of 2 sources could not be read to their end\n"},
		{[]string{dir}, "kaudit: 1 file could not be read to the end\n"},
	} {
		var out, errOut bytes.Buffer
		code := run(append([]string{"run"}, test.args...), &out, &errOut)
		if code != exitUsage || !strings.HasSuffix(errOut.String(), test.says) || strings.Count(errOut.String(), damaged) != 1 || out.Len() == 0 {
			t.Errorf("%v: exit %d, want %q at the end of\n%s", test.args, code, test.says, errOut.String())
		}
	}
}

// A panic in the evaluation costs a delivery and not the run, and nobody sees a trace.
func TestReadSurvivesPanics(t *testing.T) {
	var log bytes.Buffer
	in, err := openInput([]string{auditLog}, "", newLog(&log))
	if err != nil {
		t.Fatal(err)
	}
	err = in.read(t.Context(), panicking{})
	if err == nil || !strings.Contains(err.Error(), "(1 times)") || strings.Contains(log.String(), "goroutine") || !strings.Contains(log.String(), auditLog) {
		t.Errorf("error %v, log %s", err, log.String())
	}
}

func TestAlertsOnTerminal(t *testing.T) {
	const alert = "03:04:05.000000000: Warning by eve\x1b[2J\nCritical \u202elies\u00e9\xff%"
	for _, test := range []struct {
		colour bool
		want   string
	}{
		{false, `03:04:05.000000000: Warning by eve\x1b[2J\nCritical \u202eliesé\xff%`},
		{true, "\x1b[2m03:04:05.000000000:\x1b[0m \x1b[33mWarning\x1b[0m " + `by eve\x1b[2J\nCritical \u202eliesé\xff%`},
	} {
		if got := string(appendForTerminal(nil, []byte(alert), rules.Warning, test.colour)); got != test.want {
			t.Errorf("got  %q\nwant %q", got, test.want)
		}
	}
}

func TestProgressLine(t *testing.T) {
	for want, got := range map[string]string{
		"25%, 6s left, 25.0 MB of 100.0 MB, 5000 events/s, 1 alert": progressLine(0.25, "25.0 MB of 100.0 MB", 10000, "1 alert", 2*time.Second),
		"12.3 MB, 5000 events/s":                                    progressLine(0, "12.3 MB", 10000, "", 2*time.Second),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if long := progressLine(0.5, strings.Repeat("long ", 40), 1, "", time.Second); len(long) != columns {
		t.Errorf("%d columns", len(long))
	}
}

// The line of progress is wiped away before anything else is written.
func TestConsole(t *testing.T) {
	var screen bytes.Buffer
	c := &console{out: &screen, errOut: &screen}
	c.show("1%")
	c.show("2%")
	fmt.Fprint(c, "alert\n")
	fmt.Fprint(c.notes(), "note\n")
	c.show("3%")
	c.show("")
	const wipe = "\r\x1b[K"
	if want := "1%" + wipe + "2%" + wipe + "alert\nnote\n3%" + wipe; screen.String() != want {
		t.Errorf("got  %q\nwant %q", screen.String(), want)
	}
}

func TestNotesStayOnALine(t *testing.T) {
	var out bytes.Buffer
	newLog(&out).With("a", 1).Warn("something\nhappened", "error", errors.New("x\x1by"))
	if want := `kaudit: "something\nhappened" (a 1, error "x\x1by")` + "\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

func BenchmarkRun(b *testing.B) {
	content, err := os.ReadFile(attacks)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	for i := range 10 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("audit%d.log", i)), content, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	events := uint64(0)
	for b.Loop() {
		var errOut bytes.Buffer
		if code := run([]string{"run", "-o", "json", dir}, io.Discard, &errOut); code != exitOK {
			b.Fatalf("exit %d: %s", code, errOut.String())
		}
		var end struct {
			Summary struct{ Events, Bytes uint64 }
		}
		if err := json.Unmarshal(errOut.Bytes(), &end); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(end.Summary.Bytes))
		events += end.Summary.Events
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

// panicking is a handler with a mistake.
type panicking struct{}

func (panicking) Event(*audit.Event, time.Time, audit.Marks) { panic("a mistake") }
func (panicking) Rejected(audit.Reason, int, int)            {}

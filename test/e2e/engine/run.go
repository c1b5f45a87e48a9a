//go:build linux

package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Plugin is a library and the text its init function gets.
type Plugin struct {
	Path string
	Init string
	Name string // the name the plugin gives itself, for Falco; else the middle of lib<name>.so
}

func (p Plugin) name() string {
	if p.Name != "" {
		return p.Name
	}
	return strings.TrimSuffix(strings.TrimPrefix(filepath.Base(p.Path), "lib"), ".so")
}

// A Run says what to load, where events come from, and what to tell about them. The zero value of every member is the
// ordinary case.
type Run struct {
	Plugins []Plugin // at least one
	Source  string   // event source; else that of the first plugin that has one

	Open  string // parameters for opening the source
	Read  string // capture file to read instead
	Write string // capture file to write as well

	// Notices are sent as asynchronous events in the name of the first plugin when the source is open. They come before
	// events with a later time, in the order of their times, which have to differ.
	Notices [][]byte

	Rules       []Rule
	First       bool // stop at the first rule that matches, as Falco's rule_matching: first does
	MatchFields bool // matches have the values of the fields in their output
	NoOutput    bool // matches are only counted

	Fields  []string // expressions to evaluate on every event, without the percent sign
	Typed   bool     // values of Fields are JSON values, not text
	Payload bool     // events have their payload

	MaxEvents int           // stop after so many events
	Duration  time.Duration // stop after this time
	Idle      time.Duration // stop when no event came for this time
	Cycles    int           // repeat all of it in one process

	Calls  bool // count and time the calls to plugins
	DryRun bool // set everything up a second time while events are read, and tear it down

	Env     []string    // added to the environment of the host
	OnEvent func(Event) // called for each event as it comes, if set, with Fields or Payload
	OnMatch func(Match) // called for each match as it comes, if set
	Log     io.Writer   // gets what the plugins log, as it comes, if set
}

// A Match is a rule that matched an event.
type Match struct {
	Rule     string         `json:"rule"`
	Priority string         `json:"priority"`
	Output   string         `json:"output"`
	Fields   map[string]any `json:"fields"`
	Event    uint64         `json:"evtnum"` // 0 if the engine does not tell
	Time     uint64         `json:"ts"`     // nanoseconds since 1970
}

// An Event is an event as the engine sees it. Fields has an entry for each expression asked for: text, or nil when the
// event does not have it. Numbers of typed values are of type json.Number.
type Event struct {
	Number  uint64         `json:"event"`
	Time    uint64         `json:"ts"`
	Fields  map[string]any `json:"fields"`
	Payload string         `json:"payload"`
}

// Text returns a field as text, or "<NA>" when the event does not have it.
func (e Event) Text(field string) string {
	if s, ok := e.Fields[field].(string); ok {
		return s
	}
	return "<NA>"
}

// Stats is what one cycle cost.
type Stats struct {
	Events     uint64            `json:"events"`
	Matches    uint64            `json:"matches"`
	Rules      map[string]uint64 `json:"rules"`    // matches of each rule that matched
	Timeouts   uint64            `json:"timeouts"` // batches without an event
	Open       time.Duration     `json:"open_ns"`
	FirstEvent time.Duration     `json:"first_event_ns"` // since open
	LastEvent  time.Duration     `json:"last_event_ns"`
	Wall       time.Duration     `json:"wall_ns"`  // from open to the end of the loop
	Evaluate   time.Duration     `json:"rules_ns"` // of that, in rules, fields and output
	Close      time.Duration     `json:"close_ns"`
	CPU        float64           `json:"cpu_seconds"` // of the process while events were read
	ThreadCPU  float64           `json:"event_thread_cpu_seconds"`
	Calls      map[string]Calls  `json:"calls"`
	Threads    int               `json:"threads"` // left when everything is closed
	Files      int               `json:"files"`
	MaxRSS     int               `json:"max_rss_kib"`
}

// Calls counts the calls to one plugin.
type Calls struct {
	Extract       uint64        `json:"extract"`
	ExtractTime   time.Duration `json:"extract_ns"`
	Values        uint64        `json:"values"`
	NextBatch     uint64        `json:"next_batch"`
	NextBatchTime time.Duration `json:"next_batch_ns"`
	Events        uint64        `json:"events"`
}

// A Metric is a metric of a plugin; its name starts with the plugin's.
type Metric struct {
	Name      string      `json:"name"`
	Value     json.Number `json:"value"`
	Monotonic bool        `json:"monotonic"`
}

// A Cost is what a run took as a whole, from the start of the process to its end.
type Cost struct {
	Wall, CPU time.Duration
	MaxRSS    int64 // bytes
}

// A Result is what a run told.
type Result struct {
	Cost     Cost
	Matches  []Match
	Events   []Event
	Stats    []Stats // one for each cycle
	Metrics  []Metric
	Progress string
	Log      string // standard error of the engine and the plugins
}

// Fired returns the names of the rules that matched, each once, in the order of the first match.
func (r Result) Fired() []string {
	var names []string
	seen := map[string]bool{}
	for _, m := range r.Matches {
		if !seen[m.Rule] {
			seen[m.Rule] = true
			names = append(names, m.Rule)
		}
	}
	return names
}

// Run runs until the source ends, or a limit of the run is reached, or ctx ends, which is an error.
func (e *Engine) Run(ctx context.Context, run Run) (Result, error) {
	p, err := e.Start(ctx, run)
	if err != nil {
		return Result{}, err
	}
	return p.Wait()
}

// A Process is a run under way.
type Process struct {
	cmd    *exec.Cmd
	log    bytes.Buffer
	done   chan struct{} // closed when result and err are final
	result Result
	err    error
}

// Start starts a run and returns at once; the source is open some time later.
func (e *Engine) Start(ctx context.Context, run Run) (*Process, error) {
	dir, err := os.MkdirTemp("", "kaudit-engine-")
	if err != nil {
		return nil, err
	}
	args, err := run.arguments(dir)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	cmd, err := e.command(ctx, args...)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	cmd.Env = append(os.Environ(), run.Env...)
	return start(cmd, run, hostLine, func() { os.RemoveAll(dir) })
}

// start starts an engine, reads its lines with the function given, and cleans up when it has ended.
func start(cmd *exec.Cmd, run Run, line func(*Result, Run, []byte) error, cleanup func()) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	// The end of the context asks first and kills ten seconds later, so that close and destroy of the plugins run.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stderr = &p.log
	if run.Log != nil {
		cmd.Stderr = io.MultiWriter(&p.log, run.Log)
	}
	out, err := cmd.StdoutPipe()
	begin := time.Now()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cleanup()
		return nil, err
	}
	go func() {
		defer close(p.done)
		err := readLines(out, func(text []byte) error { return line(&p.result, run, text) })
		if err != nil {
			err = fmt.Errorf("output of the engine: %w", err)
			_, _ = io.Copy(io.Discard, out)
		}
		err = errors.Join(err, cmd.Wait())
		p.result.Cost = cost(begin, cmd.ProcessState)
		cleanup()
		p.result.Log += p.log.String()
		if err != nil {
			p.err = fmt.Errorf("engine: %w: %s", err, ends(p.result.Log))
		}
	}()
	return p, nil
}

func cost(begin time.Time, ended *os.ProcessState) Cost {
	c := Cost{Wall: time.Since(begin)}
	if ended != nil {
		c.CPU = ended.UserTime() + ended.SystemTime()
		if used, ok := ended.SysUsage().(*syscall.Rusage); ok {
			c.MaxRSS = used.Maxrss << 10
		}
	}
	return c
}

// PID returns the number of the engine's process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop asks the engine to stop, as Ctrl-C does. It does not wait.
func (p *Process) Stop() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }

// Kill ends the engine as kill -9 does.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() }

// Done is closed when the engine has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the engine. The result has what was told until then, also if there is an error.
func (p *Process) Wait() (Result, error) {
	<-p.done
	return p.result, p.err
}

// ends returns the first and the last lines of a log, for an error: a crash says first what happened.
func ends(log string) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if len(lines) > 40 {
		lines = slices.Concat(lines[:20], []string{"..."}, lines[len(lines)-20:])
	}
	return strings.Join(lines, "\n")
}

func readLines(in io.Reader, line func([]byte) error) error {
	reader := bufio.NewReaderSize(in, 1<<16)
	for {
		text, err := reader.ReadBytes('\n')
		if len(bytes.TrimSpace(text)) > 0 {
			if err := line(text); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// arguments returns the command line of the host; what does not fit there is written to files in dir.
// writeNotices writes notices as the host reads them.
func writeNotices(path string, notices [][]byte) error {
	type line struct {
		TS   int64  `json:"ts"`
		Name string `json:"name"`
		Data string `json:"data"`
	}
	var lines []line
	for _, n := range notices {
		var notice struct {
			Name string
			Time time.Time
		}
		if err := json.Unmarshal(n, &notice); err != nil {
			return fmt.Errorf("notice: %w", err)
		}
		lines = append(lines, line{notice.Time.UnixNano(), notice.Name, string(n)})
	}
	return writeLines(path, lines)
}

func (r Run) arguments(dir string) ([]string, error) {
	args, err := pluginArguments(dir, r.Plugins)
	if err != nil {
		return nil, err
	}
	add := func(set bool, arg ...string) {
		if set {
			args = append(args, arg...)
		}
	}
	add(r.Source != "", "--source", r.Source)
	if len(r.Rules) > 0 {
		path := filepath.Join(dir, "rules.jsonl")
		if err := writeLines(path, r.Rules); err != nil {
			return nil, err
		}
		add(true, "--rules", path)
	}
	add(r.Read == "", "--open", r.Open)
	add(r.Read != "", "--read", r.Read)
	add(r.Write != "", "--write", r.Write)
	if len(r.Notices) > 0 {
		path := filepath.Join(dir, "notices.jsonl")
		if err := writeNotices(path, r.Notices); err != nil {
			return nil, err
		}
		add(true, "--notices", path)
	}
	add(r.First, "--first")
	add(r.MatchFields, "--match-fields")
	add(r.NoOutput, "--no-output")
	for _, field := range r.Fields {
		add(true, "--field", field)
	}
	add(r.Typed, "--typed")
	add(r.Payload, "--payload")
	add(r.MaxEvents > 0, "--max-events", strconv.Itoa(r.MaxEvents))
	add(r.Duration > 0, "--seconds", strconv.FormatFloat(r.Duration.Seconds(), 'f', -1, 64))
	add(r.Idle > 0, "--idle-ms", strconv.FormatInt(max(1, r.Idle.Milliseconds()), 10))
	add(r.Cycles > 1, "--cycles", strconv.Itoa(r.Cycles))
	add(r.Calls, "--calls")
	add(r.DryRun, "--dry-run")
	return append(args, "--stats", "--metrics", "--progress"), nil
}

func pluginArguments(dir string, plugins []Plugin) ([]string, error) {
	var args []string
	for i, p := range plugins {
		config := filepath.Join(dir, fmt.Sprintf("init-%d", i))
		if err := os.WriteFile(config, []byte(p.Init), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "--plugin", p.Path+":"+config)
	}
	return args, nil
}

func writeLines[T any](path string, values []T) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	for _, v := range values {
		if err := encoder.Encode(v); err != nil {
			return err
		}
	}
	return os.WriteFile(path, text.Bytes(), 0o600)
}

// hostLine reads one line of the host.
func hostLine(result *Result, run Run, text []byte) error {
	var line struct {
		Rule     *string  `json:"rule"`
		Event    *uint64  `json:"event"`
		Stats    *Stats   `json:"stats"`
		Metrics  []Metric `json:"metrics"`
		Progress *string  `json:"progress"`
	}
	if err := json.Unmarshal(text, &line); err != nil {
		return fmt.Errorf("%w: %.200s", err, text)
	}
	switch {
	case line.Rule != nil:
		m, err := decode[Match](text)
		if err != nil {
			return err
		}
		result.Matches = append(result.Matches, m)
		if run.OnMatch != nil {
			run.OnMatch(m)
		}
	case line.Event != nil:
		e, err := decode[Event](text)
		if err != nil {
			return err
		}
		result.Events = append(result.Events, e)
		if run.OnEvent != nil {
			run.OnEvent(e)
		}
	case line.Stats != nil:
		result.Stats = append(result.Stats, *line.Stats)
	case line.Progress != nil:
		result.Progress = *line.Progress
	case line.Metrics != nil:
		result.Metrics = line.Metrics
	}
	return nil
}

func decode[T any](text []byte) (T, error) {
	var value T
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err := d.Decode(&value)
	return value, err
}

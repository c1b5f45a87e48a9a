//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Sysdig is the sysdig program of Debian's development suite, a second program that loads plugins: it has its own ways
// to open, to print and to filter, on libs 0.23.
type Sysdig struct {
	tree tree
}

// SetupSysdig prepares sysdig. The first call on a machine downloads it. As with [SetupSid], a test that gets an error
// skips.
func SetupSysdig(ctx context.Context) (*Sysdig, error) {
	t, err := unpack(ctx, recipe{"sid", []string{"base-files", "libc-bin", "sysdig"}})
	if err != nil {
		return nil, err
	}
	return &Sysdig{t}, nil
}

// Unit separator: no field of an audit event has a control character in the output of sysdig.
const separator = "\x1f"

// Run runs until the source ends and returns the events that the filter lets through, with the fields of the run as
// text. An empty filter lets all through. With a capture file to write, sysdig prints no events.
func (s *Sysdig) Run(ctx context.Context, run Run, filter string) (Result, error) {
	if len(run.Rules) > 0 || run.Typed || run.Payload || run.Calls || run.DryRun || run.Idle > 0 || run.Cycles > 1 {
		return Result{}, errors.New("sysdig prints fields of events, nothing else")
	}
	var args []string
	for _, p := range run.Plugins {
		library, err := filepath.Abs(p.Path)
		if err != nil {
			return Result{}, err
		}
		args = append(args, "-H", library+":"+p.Init)
	}
	switch {
	case run.Read != "":
		args = append(args, "-r", run.Read)
	case len(run.Plugins) > 0:
		args = append(args, "-I", run.Plugins[0].name()+":"+run.Open)
	}
	if run.Write != "" {
		args = append(args, "-w", run.Write)
	}
	if run.MaxEvents > 0 {
		args = append(args, "-n", strconv.Itoa(run.MaxEvents))
	}
	if run.Duration > 0 {
		args = append(args, "-M", strconv.Itoa(int(run.Duration.Seconds()+0.5)))
	}
	format := "*%evt.num" + separator + "%evt.rawtime"
	for _, field := range run.Fields {
		format += separator + "%" + field
	}
	args = append(args, "-p", format)
	if filter != "" {
		args = append(args, filter)
	}
	cmd, err := s.tree.command(ctx, filepath.Join(s.tree.dir, "usr/bin/sysdig"), args...)
	if err != nil {
		return Result{}, err
	}
	process, err := start(cmd, run, sysdigLine, func() {})
	if err != nil {
		return Result{}, err
	}
	return process.Wait()
}

// sysdigLine reads one line of sysdig's output. Lines of another form go to the log.
func sysdigLine(result *Result, run Run, text []byte) error {
	values := strings.Split(strings.TrimSuffix(string(text), "\n"), separator)
	if len(values) != len(run.Fields)+2 {
		result.Log += string(text)
		return nil
	}
	e := Event{Fields: map[string]any{}}
	var err error
	if e.Number, err = strconv.ParseUint(values[0], 10, 64); err != nil {
		return fmt.Errorf("event number: %w", err)
	}
	if e.Time, err = strconv.ParseUint(values[1], 10, 64); err != nil {
		return fmt.Errorf("event time: %w", err)
	}
	for i, field := range run.Fields {
		if value := values[i+2]; value != "<NA>" {
			e.Fields[field] = value
		} else {
			e.Fields[field] = nil
		}
	}
	result.Events = append(result.Events, e)
	if run.OnEvent != nil {
		run.OnEvent(e)
	}
	return nil
}

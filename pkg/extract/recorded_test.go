package extract_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"kaudit/pkg/audit"
	"kaudit/test/e2e"
)

func TestEachRecordedRequestIsDoneOnce(t *testing.T) {
	a := newAsker(t)
	for _, file := range recordings(t) {
		done, ended := map[string]int{}, map[string]bool{}
		for _, line := range e2e.Lines(t, file) {
			new(audit.Decoder).Decode(line, true, eachEvent{t, func(e *audit.Event) {
				a.load(bytes.Clone(e.Raw()))
				id := strings.Join(a.ask("ka.auditid"), "") + " " + strings.Join(a.ask("ka.uri"), "")
				if a.ask("ka.done")[0] == "true" {
					done[id]++
				}
				// A watch may have begun before the recording.
				if s := a.ask("ka.stage")[0]; a.ask("ka.verb")[0] != "watch" && (s == "ResponseComplete" || s == "Panic") {
					ended[id] = true
				}
			}})
		}
		for id, n := range done {
			if n > 1 {
				t.Errorf("%s: %s is done %d times", filepath.Base(file), id, n)
			}
		}
		for id := range ended {
			if done[id] == 0 {
				t.Errorf("%s: %s has ended and is not done", filepath.Base(file), id)
			}
		}
	}
}

func TestEveryFieldOfEveryRecordedEventIsSound(t *testing.T) {
	a := newAsker(t)
	existed := map[string]bool{}
	for _, file := range recordings(t) {
		n := 0
		for _, line := range e2e.Lines(t, file) {
			if n++; n%5 != 0 && !testing.Verbose() {
				continue
			}
			new(audit.Decoder).Decode(line, true, eachEvent{t, func(e *audit.Event) {
				a.load(bytes.Clone(e.Raw()))
				for _, f := range a.table {
					name := f.Name
					if f.Example.Arg != "" {
						name += "[" + f.Example.Arg + "]"
					}
					values := a.ask(name)
					existed[f.Name] = existed[f.Name] || len(values) > 0
					if err := sound(values, f.From.List); err != nil {
						t.Errorf("%s: %v\n%.300s", name, err, e.Raw())
					}
				}
			}})
		}
	}
	never := 0
	for _, f := range a.table {
		if !existed[f.Name] {
			never++
		}
	}
	t.Logf("%d of %d fields exist in no recorded event", never, len(a.table))
}

// sound says what is wrong with the values of a field.
func sound(values []string, list bool) error {
	if !list && len(values) > 1 {
		return fmt.Errorf("%d values, and it is not a list", len(values))
	}
	for _, v := range values {
		if strings.ContainsRune(v, 0) || !utf8.ValidString(v) {
			return fmt.Errorf("the host cannot print %q", v)
		}
	}
	return nil
}

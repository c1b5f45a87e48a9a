package main

import (
	"fmt"
	"strings"
	"time"
)

const (
	// patience is how long a command runs before it says how far it is.
	patience = time.Second
	// pace is how often it says so.
	pace = 200 * time.Millisecond
)

// showProgress shows on a terminal how far reading is, until the function it returns is called. count says how many
// events were read, and what came of them.
func showProgress(c *console, in *input, count func() (events uint64, found string)) (stop func()) {
	if !isTerminal(c.errOut) {
		return func() {}
	}
	began := time.Now()
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		wait := time.NewTimer(patience)
		defer wait.Stop()
		for {
			select {
			case <-done:
				return
			case <-wait.C:
				part, words := in.progress()
				if words != "" {
					events, found := count()
					c.show(progressLine(part, words, events, found, time.Since(began)))
				}
				wait.Reset(pace)
			}
		}
	}()
	return func() {
		close(done)
		<-over
		c.show("")
	}
}

// columns is what fits on any terminal's line. A longer line could not be wiped away.
const columns = 79

// progressLine says how far reading is. part is how much was read, from 0 to 1, or 0 if that is not known.
func progressLine(part float64, words string, events uint64, found string, took time.Duration) string {
	var b strings.Builder
	if part > 0 {
		left := time.Duration(float64(took) * (1 - part) / part)
		fmt.Fprintf(&b, "%.0f%%, %s left, ", 100*part, left.Round(time.Second))
	}
	b.WriteString(words)
	fmt.Fprintf(&b, ", %.0f events/s", float64(events)/took.Seconds())
	if found != "" {
		b.WriteString(", " + found)
	}
	line := b.String()
	return line[:min(len(line), columns)]
}

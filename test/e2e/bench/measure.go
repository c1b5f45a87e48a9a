//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kaudit/test/e2e/engine"
)

// A result is what became of a contender on a recording.
type result struct {
	contender
	alerts int
	rounds []round
}

// A round is a whole run, and one with the first event alone: what it takes to start, to load the rules above all.
type round struct{ whole, start engine.Cost }

// A table has the results of all contenders on one recording.
type table struct {
	recording
	results []result
	failed  string // why the official plugins are not there
}

// measure runs every contender once to see that it works and to warm the page cache, then all of them in turn for so
// many rounds: what the machine does beside touches neighbours alike.
func measure(ctx context.Context, h host, list []contender, r recording, dir string, rounds int, log io.Writer) (table, error) {
	t := table{recording: r}
	one := filepath.Join(dir, "one.log")
	if err := copyLine(one, r.path); err != nil {
		return t, err
	}
	for _, c := range list {
		first, err := c.read(ctx, h, r.path, true)
		switch {
		case err != nil && c.k8saudit == official && ctx.Err() == nil: // the official plugin reads no line above 64 KiB
			t.failed = lastLine(err)
			continue
		case err != nil:
			return t, fmt.Errorf("%s rules, k8saudit %s, json %s: %w", c.rules, c.k8saudit, c.json, err)
		}
		t.results = append(t.results, result{contender: c, alerts: len(first.Matches)})
	}
	for n := range rounds {
		for i := range t.results {
			of := &t.results[i]
			start, err := of.read(ctx, h, one, false)
			if err != nil {
				return t, err
			}
			whole, err := of.read(ctx, h, r.path, false)
			if err != nil {
				return t, err
			}
			of.rounds = append(of.rounds, round{whole.Cost, start.Cost})
		}
		fmt.Fprintf(log, "%s: round %d of %d\n", r.name, n+1, rounds)
	}
	return t, nil
}

func lastLine(err error) string {
	text := strings.TrimSpace(err.Error())
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// copyLine makes a file of the first line of another.
func copyLine(to, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadBytes('\n')
	if err != nil {
		return err
	}
	return os.WriteFile(to, line, 0o600)
}

// find returns the result of a contender, or nil.
func (t *table) find(rules, k8saudit, json string) *result {
	for i := range t.results {
		if r := &t.results[i]; r.rules == rules && r.k8saudit == k8saudit && r.json == json {
			return r
		}
	}
	return nil
}

// What a round costs, in seconds, without the start.
func wall(r round) float64 { return (r.whole.Wall - r.start.Wall).Seconds() }
func cpu(r round) float64  { return (r.whole.CPU - r.start.CPU).Seconds() }

func start(r round) float64 { return r.start.CPU.Seconds() }
func rss(r round) float64   { return float64(r.whole.MaxRSS) }

func (r *result) median(of func(round) float64) float64 {
	var all []float64
	for _, one := range r.rounds {
		all = append(all, of(one))
	}
	return median(all)
}

// shortest is how many seconds a run must take, without the start, to be compared with: the start itself is not known
// better than to some hundredths.
const shortest = 0.1

// over tells how many times more r costs than other, round by round: the median, and from which to which.
func (r *result) over(other *result, of func(round) float64) string {
	if r.median(of) < shortest || other.median(of) < shortest {
		return "–"
	}
	var all []float64
	for i := range r.rounds {
		all = append(all, of(r.rounds[i])/of(other.rounds[i]))
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(all), slices.Min(all), slices.Max(all))
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	n := len(all)
	if n%2 == 1 {
		return all[n/2]
	}
	return (all[n/2-1] + all[n/2]) / 2
}

// load is how much the machine did beside, as the kernel counts it.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	averages := strings.Fields(string(text))[:3]
	return strings.Join(averages, " ") + " at " + time.Now().UTC().Format("15:04")
}

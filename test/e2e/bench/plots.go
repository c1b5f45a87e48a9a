//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"kaudit/test/e2e/engine"
)

// plots draws what an event costs by its size and by the number of rules.
func (b *bench) drawPlots(ctx context.Context, to string) error {
	all, err := contenders(b.root, b.library, b.json, b.official, b.dir)
	if err != nil {
		return err
	}
	events, err := shippedEvents(b.root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	subtitle := machine() + ", load " + load()
	sizes, err := b.bySize(ctx, all, events)
	if err != nil {
		return err
	}
	rules, err := b.byRules(ctx, events)
	if err != nil {
		return err
	}
	for name, p := range map[string]plot{
		"size.svg":  {"Processor time of an event by its size", subtitle, "bytes of the event", "µs", sizes},
		"rules.svg": {"Processor time of an ordinary event by the number of rules", subtitle, "rules", "µs", rules},
	} {
		if err := os.WriteFile(filepath.Join(to, name), p.svg(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// bySize measures contenders on events that all have about the same size.
func (b *bench) bySize(ctx context.Context, all []contender, events []auditEvent) ([]series, error) {
	lines := map[string]*series{}
	var order []string
	for _, size := range []int{500, 1_000, 2_000, 5_000, 20_000, 100_000, 500_000, 1_500_000} {
		path := filepath.Join(b.dir, "sized.log")
		if err := writeEvents(path, min(96<<20, int64(size)*15_000), ofSize(events, size)); err != nil {
			return nil, err
		}
		for _, c := range all {
			switch {
			case c.rules == "official" && c.k8saudit != official, c.rules == "shipped" && c.k8saudit == theFloor && b.official != "":
				continue // what is left is enough to see
			}
			cost, err := b.perEvent(ctx, engine.Run{Plugins: c.plugins}, c.files, path)
			if err != nil && c.k8saudit == official && ctx.Err() == nil {
				continue // the official plugin reads no line above 64 KiB
			}
			if err != nil {
				return nil, err
			}
			name := c.k8saudit + ", " + c.rules + " rules"
			if lines[name] == nil {
				lines[name] = &series{name: name}
				order = append(order, name)
			}
			lines[name].add(float64(size), cost)
		}
		fmt.Fprintln(os.Stderr, "plots: events of", bytesText(float64(size)))
	}
	var list []series
	for _, name := range order {
		list = append(list, *lines[name])
	}
	return list, nil
}

// byRules measures the library and the floor with more and more rules: the shipped ones, and behind them copies.
func (b *bench) byRules(ctx context.Context, events []auditEvent) ([]series, error) {
	path := filepath.Join(b.dir, "ordinary.log")
	if err := writeEvents(path, 20<<20, ordinary(events)); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(b.root, "rules", "*.yaml"))
	if err != nil {
		return nil, err
	}
	shipped, err := engine.LoadRules("k8s_audit", files...)
	if err != nil {
		return nil, err
	}
	floor, _, err := floors(b.root, b.dir)
	if err != nil {
		return nil, err
	}
	list := []series{{name: "kaudit"}, {name: "floor"}}
	for _, n := range []int{10, 25, 50, 100, 200, 400} {
		rules := slices.Repeat(shipped, n/len(shipped)+1)[:n]
		for i := len(shipped); i < n; i++ {
			rules[i].Name += " " + strconv.Itoa(i)
		}
		for i, library := range []string{b.library, floor} {
			cost, err := b.perEvent(ctx, engine.Run{Plugins: []engine.Plugin{{Path: library, Init: "{}", Name: "k8saudit"}}, Rules: rules}, nil, path)
			if err != nil {
				return nil, err
			}
			list[i].add(float64(n), cost)
		}
		fmt.Fprintln(os.Stderr, "plots:", n, "rules")
	}
	return list, nil
}

// perEvent returns the processor time of an event, in microseconds, without the start: of three runs the least.
func (b *bench) perEvent(ctx context.Context, run engine.Run, files []string, path string) (float64, error) {
	one := filepath.Join(b.dir, "one.log")
	if err := copyLine(one, path); err != nil {
		return 0, err
	}
	sizes, err := lineSizes(path)
	if err != nil {
		return 0, err
	}
	var whole, start []float64
	for range 3 {
		for path, to := range map[string]*[]float64{path: &whole, one: &start} {
			run.Open, run.First = path, true
			p, err := b.host.start(ctx, run, files, false)
			if err != nil {
				return 0, err
			}
			got, err := p.Wait()
			if err != nil {
				return 0, err
			}
			*to = append(*to, float64(got.Cost.CPU.Nanoseconds())/1e3)
		}
	}
	return (slices.Min(whole) - slices.Min(start)) / float64(len(sizes)-1), nil
}

// ofSize makes events of about a size: the smallest without bodies, the others with lists in them.
func ofSize(events []auditEvent, size int) func(*rand.Rand) auditEvent {
	if size < 1000 {
		next := tiny(events)
		return func(r *rand.Rand) auditEvent {
			e := next(r)
			// Somebody of whom hardly any rule tells, or else each event costs an alert.
			e.User, e.UserAgent = json.RawMessage(`{"username":"system:apiserver","groups":["system:masters"]}`), json.RawMessage(`"kube-apiserver/v1"`)
			return e
		}
	}
	next := ordinary(slices.DeleteFunc(slices.Clone(events), func(e auditEvent) bool {
		return string(e.Verb) != `"update"` || len(e.RequestObject) < 3
	}))
	return func(r *rand.Rand) auditEvent {
		e := next(r)
		e.RequestObject, e.ResponseObject = nil, nil
		line, err := marshal(&e)
		if err != nil {
			panic(err) // it was read from JSON
		}
		if body := (size - len(line)) / 2; body > 0 {
			object := slices.Concat([]byte("{"), manyObjects(r, body), []byte("}"))
			e.RequestObject, e.ResponseObject = object, object
		}
		return e
	}
}

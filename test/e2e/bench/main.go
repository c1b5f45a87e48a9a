//go:build linux

// Command bench measures the library inside Falco, beside the official plugins and beside a plugin that answers every
// question alike, and writes what it finds into docs/performance.md.
//
// FALCO names the falco program, OFFICIAL a folder with the official libk8saudit.so, libjson.so and
// k8s_audit_rules.yaml. Without the first it runs on libsinsp, as test/e2e does, without the second it leaves the
// official plugins and rules out; it says so.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"kaudit/test/e2e/engine"
)

func main() {
	var b bench
	flag.StringVar(&b.library, "library", "dist/libk8saudit.so", "the plugin")
	flag.StringVar(&b.json, "json", "dist/libjson.so", "the json plugin")
	flag.StringVar(&b.page, "page", "docs/performance.md", "the page whose generated part is written")
	flag.IntVar(&b.rounds, "rounds", 9, "how often each contender runs")
	flag.StringVar(&b.only, "only", "", "names of the recordings to measure, with commas; else all")
	flag.StringVar(&b.rules, "rules", "", "the ruleset to measure; else all")
	flag.Int64Var(&b.stream, "stream", 1, "gigabytes of the stream during which resident memory is watched")
	flag.StringVar(&b.plots, "plots", "", "draw plots into this folder instead")
	flag.DurationVar(&b.quiet, "quiet", 10*time.Second, "how long nothing comes after a burst until its memory should have been given back")
	flag.StringVar(&b.parts, "parts", "throughput,latency,memory", "what to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	library, json, page, only, rules, parts, plots string

	rounds int
	stream int64
	quiet  time.Duration

	host      host
	official  string
	leftOut   []string
	dir, root string
}

func (b *bench) run(ctx context.Context) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "kaudit-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := b.setup(ctx); err != nil {
		return err
	}
	if b.plots != "" {
		return b.drawPlots(ctx, b.plots)
	}
	var page strings.Builder
	for part := range strings.SplitSeq(b.parts, ",") {
		do, ok := map[string]func(context.Context, io.Writer) error{
			"throughput": b.throughput,
			"latency":    b.latency,
			"memory":     b.memory,
		}[part]
		if !ok {
			return fmt.Errorf("-parts: there is no %q; write some of throughput,latency,memory", part)
		}
		if err := do(ctx, &page); err != nil {
			return err
		}
	}
	if b.page == "" || b.page == "-" {
		_, err := fmt.Print(page.String())
		return err
	}
	return writePart(b.page, "bench-falco", page.String())
}

// setup finds the host and the official plugins, and notes what is not there.
func (b *bench) setup(ctx context.Context) error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "kaudit").Output()
	if err != nil {
		return fmt.Errorf("go list: %w; run inside the repository", err)
	}
	b.root = strings.TrimSpace(string(root))
	if b.library, err = filepath.Abs(b.library); err != nil {
		return err
	}
	if b.json, err = filepath.Abs(b.json); err != nil {
		return err
	}
	setup, version := engine.Setup, "0.20"
	if b.official = os.Getenv("OFFICIAL"); b.official == "" {
		b.leave("the official plugins and rules (OFFICIAL names their folder)")
	} else {
		setup, version = engine.SetupSid, "0.23" // k8saudit 0.18.0 asks for plugin API 3.11
	}
	if falco, err := engine.FindFalco(); err == nil {
		b.host = falcoHost{falco}
		return nil
	}
	b.leave("Falco itself (FALCO names it): what follows ran on libsinsp " + version + ", which finds and counts alerts, but does not format them")
	e, err := setup(ctx)
	if err != nil {
		return err
	}
	b.host = libsinspHost{e}
	return nil
}

func (b *bench) leave(what string) {
	b.leftOut = append(b.leftOut, what)
	fmt.Fprintln(os.Stderr, "bench: left out:", what)
}

func (b *bench) throughput(ctx context.Context, page io.Writer) error {
	recordings, err := makeRecordings(b.root)
	if err != nil {
		return err
	}
	all, err := contenders(b.root, b.library, b.json, b.official, b.dir)
	if err != nil {
		return err
	}
	counter, err := engine.Setup(ctx)
	if err != nil {
		return err
	}
	var list []contender
	for _, c := range all {
		if b.rules == "" || b.rules == c.rules {
			list = append(list, c)
		}
	}
	fmt.Fprintf(page, "Measured on %s, load %s.\n", machine(), load())
	for _, what := range b.leftOut {
		fmt.Fprintf(page, "Left out: %s.\n", what)
	}
	for _, r := range recordings {
		if b.only != "" && !strings.Contains(","+b.only+",", ","+r.name+",") {
			continue
		}
		for i := range list {
			if err := list[i].count(ctx, counter, r.path, 5000); err != nil {
				return err
			}
		}
		t, err := measure(ctx, b.host, list, r, b.dir, b.rounds, os.Stderr)
		if err != nil {
			return err
		}
		t.print(page)
	}
	return nil
}

// machine says what was measured on, and with what.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d processors, Linux %s, %s, %s", model, runtime.NumCPU(), strings.TrimSpace(string(kernel)),
		runtime.Version(), time.Now().UTC().Format("2006-01-02"))
}

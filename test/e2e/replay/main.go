//go:build linux

// Command replay runs the built library inside the engine of Falco, with the rules of the repository, on a recording, and
// prints alerts as Falco does: those that kaudit run prints.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"kaudit/test/e2e/engine"
)

func main() {
	library := flag.String("library", "dist/libk8saudit.so", "the plugin")
	rules := flag.String("rules", "rules/*.yaml", "rule files")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: replay [-library FILE] [-rules PATTERN] RECORDING")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := replay(ctx, *library, *rules, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func replay(ctx context.Context, library, pattern, recording string) error {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no rule files match %s", pattern)
	}
	rules, err := engine.LoadRules("k8s_audit", files...)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "preparing the engine (once on a machine: Debian's libfalcosecurity, about 110 MB)")
	e, err := engine.Setup(ctx)
	if err != nil {
		return err
	}
	if library, err = filepath.Abs(library); err != nil {
		return err
	}
	if recording, err = filepath.Abs(recording); err != nil {
		return err
	}
	result, err := e.Run(ctx, engine.Run{
		Plugins: []engine.Plugin{{Path: library}},
		Open:    recording,
		Rules:   rules,
		First:   true,
		Log:     os.Stderr,
		OnMatch: func(m engine.Match) {
			fmt.Printf("%s: %s %s\n", time.Unix(0, int64(m.Time)).Format("15:04:05.000000000"), m.Priority, m.Output)
		},
	})
	if err != nil {
		return err
	}
	stats := result.Stats[len(result.Stats)-1]
	fmt.Fprintf(os.Stderr, "%d events, %d rules, %d alerts in %v\n", stats.Events, len(rules), stats.Matches, stats.Wall.Round(time.Millisecond))
	return nil
}

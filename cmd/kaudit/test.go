package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kaudit/internal/ruletest"
	"kaudit/pkg/rules"
)

func testCommand() *cobra.Command {
	t := &tests{}
	var only string
	var watch bool
	c := &cobra.Command{
		Use:   "test [file or folder]...",
		Short: "Run tests of rules",
		Long: `Run tests of rules: which of them fire on which audit events, and with what output.

Tests stand in YAML files named *_test.yaml. Those in the folders named are run, and in
the folders below; without any, those in the current one. docs/rule-tests.md describes
the files. The shortest one:

  rules: my_rules.yaml
  tests:
    - name: a shell in a pod
      event:
        verb: get
        stage: ResponseStarted
        objectRef: {resource: pods, subresource: exec}
        responseStatus: {code: 101}
      fires: Exec into Pod

It exits with 0 if all tests pass, with 1 if some fail, and with 2 if a file cannot be
read or is wrong.`,
		Example: `  kaudit test                            all tests in this folder and below
  kaudit test rules/ --explain           which part of a condition decided
  kaudit test --run 'Exec' -v my_test.yaml
  kaudit test --junit report.xml         for GitLab, GitHub and Jenkins
  kaudit test --watch                    again whenever a file changes`,
		RunE: func(c *cobra.Command, args []string) error {
			t.paths = args
			if len(args) == 0 {
				t.paths = []string{"."}
			}
			t.out, t.errOut = c.OutOrStdout(), c.ErrOrStderr()
			t.look.Colour = colourful(t.out)
			if only != "" {
				re, err := regexp.Compile(only)
				if err != nil {
					return badInput{fmt.Errorf("--run: not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))}
				}
				t.selection.Only = re
			}
			if _, err := t.rules.options(); err != nil {
				return err
			}
			if !watch {
				_, err := t.run()
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			ticker := time.NewTicker(ruletest.Settle)
			defer ticker.Stop()
			t.watch(ctx, ticker.C)
			return nil
		},
	}
	t.rules.register(c)
	t.format = formatFlag(c)
	c.Flags().StringVar(&only, "run", "", "run only tests whose name this regular expression matches")
	c.Flags().BoolVarP(&t.look.Verbose, "verbose", "v", false, "list each test, and all failures")
	c.Flags().BoolVar(&t.selection.Explain, "explain", false, "show of a rule that failed how each part of its condition was decided, with the values it saw")
	c.Flags().BoolVar(&t.look.Coverage, "coverage", false, "list the rules that fire in no test")
	c.Flags().StringVar(&t.junit, "junit", "", "write the outcome to this file, too, as JUnit's XML")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "run again whenever a file of tests, rules or events changes, until interrupted")
	return c
}

// tests are what kaudit test is asked to do.
type tests struct {
	paths     []string
	rules     ruleFlags
	selection ruletest.Selection
	look      ruletest.Look
	format    *format
	junit     string
	out       io.Writer
	errOut    io.Writer
}

// run runs the tests once, and returns the files and folders on which the outcome depends. Its error may be a
// [*rules.LoadError], and is errFailed if tests failed.
func (t *tests) run() (seen ruletest.Seen, err error) {
	o, err := t.rules.options()
	if err != nil {
		return nil, err
	}
	found := ruletest.Find(t.paths...)
	seen = found.Seen
	if len(found.Files) == 0 && len(found.Problems) == 0 {
		below := ""
		if n := len(found.Seen); n > 1 {
			below = fmt.Sprintf(" and in folders below, %d of them", n-1)
		}
		return seen, badInput{fmt.Errorf("no tests: looked for *_test.yaml and *_test.yml in %s%s; name a file or another folder, and see docs/rule-tests.md for what a test looks like", strings.Join(t.paths, ", "), below)}
	}
	suite := ruletest.Load(ruletest.Options{Rules: o, Default: t.rules.load, DefaultPaths: t.rules.paths}, found.Files...)
	maps.Copy(seen, suite.Seen)
	report := suite.Run(t.selection)
	tally := report.Tally()
	problems := append(found.Problems, report.Problems()...)
	if tally.Tests == 0 && len(problems) == 0 {
		n := 0
		for _, f := range suite.Files {
			n += len(f.Tests)
		}
		return seen, badInput{fmt.Errorf("--run %q matches the name of no test; there are %d, and -v lists them", t.selection.Only, n)}
	}
	if err := t.write(report); err != nil {
		return seen, err
	}
	switch {
	case len(problems) > 0:
		return seen, &rules.LoadError{Problems: problems}
	case tally.Failed > 0:
		return seen, errFailed
	}
	return seen, nil
}

func (t *tests) write(report *ruletest.Report) error {
	if t.junit != "" {
		f, err := os.Create(t.junit)
		if err != nil {
			return badInput{fmt.Errorf("--junit: %w", err)}
		}
		err = report.WriteJUnit(f)
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("--junit: %w", err)
		}
	}
	if *t.format == asJSON {
		return report.WriteJSON(t.out)
	}
	return report.WriteText(t.out, t.look)
}

// watch runs the tests, and again when something changed, until ctx ends. What is wrong meanwhile is said, and watched.
func (t *tests) watch(ctx context.Context, tick <-chan time.Time) {
	ruletest.Watch(ctx, tick, func(changed []string) ruletest.Seen {
		if len(changed) > 0 {
			more := ""
			if n := len(changed) - 1; n > 0 {
				more = fmt.Sprintf(" and %d more", n)
			}
			fmt.Fprintf(t.errOut, "\n%s changed%s\n", changed[0], more)
		}
		seen, err := t.run()
		var load *rules.LoadError
		switch {
		case errors.As(err, &load):
			for _, p := range load.Problems {
				fmt.Fprint(t.errOut, p.Render())
			}
		case err != nil && !errors.Is(err, errFailed):
			fmt.Fprintln(t.errOut, "kaudit:", err)
		}
		return seen
	})
}

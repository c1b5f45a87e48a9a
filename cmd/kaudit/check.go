package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kaudit/internal/nearest"
	"kaudit/internal/rulecheck"
	"kaudit/pkg/rules"
)

func checkCommand() *cobra.Command {
	k := &checking{}
	var least string
	var list bool
	c := &cobra.Command{
		Use:   "check [file or folder]...",
		Short: "Find what is wrong with rules",
		Long: `Find what is wrong with rules: everything for which Falco would refuse them, conditions
that never hold or hold twice for one request, rules that hide others, known ways around
them. docs/rule-checks.md has all checks, with reasons.

Without files, the rules that come with kaudit are checked. - is standard input. Files
are checked together, as Falco loads them: lists and macros in earlier ones count.

What is meant is said in a comment above an item or in it:

  # kaudit:ignore judged-twice both ends of a stream matter

It exits with 0 if nothing is found, with 1 if something is, and with 2 if Falco would
refuse the rules, or a file cannot be read.`,
		Example: `  kaudit check rules/
  kaudit check --severity info my_rules.yaml   hints, too
  kaudit check --falco 0.38 my_rules.yaml      for an older Falco
  kaudit check --ignore no-mitre-tag,no-who my_rules.yaml
  kaudit check -o json rules/                  for programs`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(c *cobra.Command, args []string) error {
			k.out = c.OutOrStdout()
			if list {
				return k.list()
			}
			var err error
			if k.least, err = rulecheck.ParseSeverity(least); err != nil {
				return badInput{fmt.Errorf("--severity: %w", err)}
			}
			k.rules.paths = append(k.rules.paths, args...)
			return k.run(c.InOrStdin())
		},
	}
	k.rules.register(c)
	k.format = formatFlag(c)
	c.Flags().StringVar(&least, "severity", rulecheck.Warning.String(), "the least severity that counts: "+strings.Join(rulecheck.Severities(), ", "))
	c.Flags().StringSliceVar(&k.ignore, "ignore", nil, "the id of a check to leave out; may be given again")
	c.Flags().BoolVar(&list, "list", false, "list all checks instead")
	_ = c.RegisterFlagCompletionFunc("severity", cobra.FixedCompletions(rulecheck.Severities(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("ignore", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var ids []string
		for _, check := range rulecheck.Checks() {
			ids = append(ids, check.ID+"\t"+check.About)
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

// checking is what kaudit check is asked to do.
type checking struct {
	rules  ruleFlags
	least  rulecheck.Severity
	ignore []string
	format *format
	out    io.Writer
}

func (k *checking) run(stdin io.Reader) error {
	o, err := k.rules.options()
	if err != nil {
		return err
	}
	for _, id := range k.ignore {
		if _, ok := rulecheck.Find(id); !ok {
			return badInput{fmt.Errorf("--ignore: %w", unknown("check", id, nearest.Word(id, checkIDs()), "kaudit check --list"))}
		}
	}
	files, err := builtInRuleFiles()
	if len(k.rules.paths) > 0 {
		files, err = readRuleFiles(stdin, k.rules.paths...)
	}
	if err != nil {
		return err
	}
	report := rulecheck.Run(rulecheck.Options{Options: o, Ignore: k.ignore}, files...)
	if err := k.print(report); err != nil {
		return err
	}
	switch {
	case report.Refused():
		return badInput{fmt.Errorf("falco %v would refuse these rules", o.Falco)}
	case slices.ContainsFunc(report.Findings, k.counts):
		return errFailed
	}
	return nil
}

func checkIDs() (ids []string) {
	for _, c := range rulecheck.Checks() {
		ids = append(ids, c.ID)
	}
	return ids
}

// counts reports whether a finding is severe enough.
func (k *checking) counts(f rulecheck.Finding) bool { return f.Severity >= k.least }

func (k *checking) print(report *rulecheck.Report) error {
	if *k.format == asJSON {
		return k.printJSON(report)
	}
	var b strings.Builder
	p := painter(colourful(k.out))
	n := map[rulecheck.Severity]int{}
	for _, f := range report.Findings {
		n[f.Severity]++
		if k.counts(f) {
			severity := f.Severity.String()
			b.WriteString(strings.Replace(f.Render(), ": "+severity+": ", ": "+p.in(severityColours[f.Severity], severity)+": ", 1))
		}
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s: %s, %s, %s", several(report.Rules, "rule"), several(n[rulecheck.Error], "error"), several(n[rulecheck.Warning], "warning"), several(n[rulecheck.Info], "hint"))
	if hidden := len(report.Findings) - shown(report, k.counts); hidden > 0 {
		fmt.Fprintf(&b, "; %d not shown, see --severity", hidden)
	}
	if report.Ignored > 0 {
		fmt.Fprintf(&b, "; %d ignored by comments", report.Ignored)
	}
	b.WriteByte('\n')
	if report.Falco > rules.Oldest {
		fmt.Fprintf(&b, "needs falco %v or later: %s\n", report.Falco, report.Because)
	}
	_, err := io.WriteString(k.out, b.String())
	return err
}

var severityColours = [...]string{rulecheck.Info: cyan, rulecheck.Warning: yellow, rulecheck.Error: red}

func shown(report *rulecheck.Report, counts func(rulecheck.Finding) bool) (n int) {
	for _, f := range report.Findings {
		if counts(f) {
			n++
		}
	}
	return n
}

func (k *checking) printJSON(report *rulecheck.Report) error {
	type finding struct {
		rulecheck.Finding
		File    string `json:"file"`
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Excerpt string `json:"excerpt,omitempty"`
	}
	out := struct {
		Findings []finding `json:"findings"`
		Rules    int       `json:"rules"`
		Hidden   int       `json:"hidden"`  // by --severity
		Ignored  int       `json:"ignored"` // by comments
		Falco    string    `json:"falco,omitempty"`
		Because  string    `json:"because,omitempty"`
	}{Findings: []finding{}, Rules: report.Rules, Ignored: report.Ignored, Because: report.Because}
	if report.Falco != 0 {
		out.Falco = report.Falco.String()
	}
	for _, f := range report.Findings {
		if !k.counts(f) {
			out.Hidden++
			continue
		}
		out.Findings = append(out.Findings, finding{f, f.Pos.File, f.Pos.Line, f.Pos.Column, f.Excerpt})
	}
	return printJSON(k.out, out)
}

// list prints all checks.
func (k *checking) list() error {
	if *k.format == asJSON {
		type check struct {
			ID       string             `json:"id"`
			Severity rulecheck.Severity `json:"severity"`
			About    string             `json:"about"`
			Reason   string             `json:"reason"`
			Remedy   string             `json:"remedy"`
		}
		list := []check{}
		for _, c := range rulecheck.Checks() {
			list = append(list, check{c.ID, c.Severity, c.About, c.Reason, c.Remedy})
		}
		return printJSON(k.out, list)
	}
	var b strings.Builder
	for _, c := range rulecheck.Checks() {
		fmt.Fprintf(&b, "%-22s %s\n", c.ID, c.Severity)
		wrap(&b, c.About)
	}
	_, err := io.WriteString(k.out, b.String())
	return err
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kaudit/internal/ruletest"
	"kaudit/pkg/policy"
	"kaudit/pkg/rules"
)

func policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Say what an audit policy leaves of rules, and make one that serves them",
		Long: `The audit policy of an API server decides which requests are recorded, and how much of
each. What is not recorded no rule can see, and nothing says so.

Policies are loaded and evaluated by the code of the API server. docs/audit-policy.md has
more, and the policies that come with the rules.`,
		Example: `  kaudit policy check --policy /etc/kubernetes/audit-policy.yaml
  kaudit policy generate -r my_rules.yaml > audit-policy.yaml`,
	}
	c.AddCommand(policyCheckCommand(), policyGenerateCommand())
	return c
}

// policyRules are the rules a command about policies is asked about, with their recorded events.
type policyRules struct {
	rules    ruleFlags
	disabled bool
	fixtures string
}

func (p *policyRules) register(c *cobra.Command) {
	p.rules.register(c)
	c.Flags().BoolVar(&p.disabled, "disabled", false, "rules that are disabled count, too")
	c.Flags().StringVar(&p.fixtures, "fixtures", "", "a folder with recorded events of each rule, as docs/rule-tests.md has it (default: the folder testdata beside the rules, if there is one)")
}

func (p *policyRules) load() (*rules.Ruleset, policy.Options, error) {
	o := policy.Options{Disabled: p.disabled}
	set, err := p.rules.load()
	if err != nil {
		return nil, o, err
	}
	if len(set.Rules) == 0 {
		return nil, o, badInput{noRules(set)}
	}
	folder, err := p.folder()
	if folder != "" {
		o.Evidence = func(rule string) [][]byte { return recordedEvents(filepath.Join(folder, ruletest.Slug(rule))) }
	}
	return set, o, err
}

// folder returns the one that has recorded events, or nothing.
func (p *policyRules) folder() (string, error) {
	if p.fixtures != "" {
		if info, err := os.Stat(p.fixtures); err != nil || !info.IsDir() {
			return "", badInput{fmt.Errorf("--fixtures %s: want a folder that has one for each rule, with events in fires.jsonl", p.fixtures)}
		}
		return p.fixtures, nil
	}
	for _, path := range p.rules.paths {
		folder := filepath.Join(path, "testdata")
		if info, err := os.Stat(folder); err == nil && info.IsDir() {
			return folder, nil
		}
	}
	return "", nil
}

// recordedEvents returns the events in a folder of fixtures on which a rule fires, one a line. Those that cannot be
// read are no evidence; kaudit test says what is wrong with them.
func recordedEvents(folder string) (events [][]byte) {
	files, _ := filepath.Glob(filepath.Join(folder, "fires*.jsonl"))
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		for _, line := range bytes.Split(content, []byte("\n")) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				events = append(events, line)
			}
		}
	}
	return events
}

func policyCheckCommand() *cobra.Command {
	var with policyRules
	var file string
	var verbose bool
	var as *format
	c := &cobra.Command{
		Use:   "check --policy file",
		Short: "Say which rules an audit policy blinds, and why",
		Long: `Say which rules an audit policy blinds, wholly or in part, and why: the level is too low
for what the rule reads, the stage at which it would hold is omitted, or the request is
not recorded at all, for somebody, somewhere or at all. Each time the rule of the policy is
named that decides.

Where there are recorded events on which a rule fires, they are reduced to what the API
server would have written under the policy, and the rule is asked again.

Notes, which -v shows, do not count: known noise that is dropped (leases, events, probes),
bodies that hold credentials and are left out, and rules that fire more often since they
cannot see what would keep them quiet.

It exits with 0 if no rule is blinded, with 1 if one is, wholly or in part, and with 2 if
the policy or the rules cannot be read.`,
		Example: `  kaudit policy check --policy audit-policy.yaml
  kaudit policy check --policy audit-policy.yaml -r rules/ -v
  kaudit policy check --policy audit-policy.yaml -o json | jq '.rules[] | select(.state == "blind")'`,
		Args: atMost(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if file == "" {
				return badInput{errors.New("--policy: name the file that --audit-policy-file of the API server names")}
			}
			p, err := policy.LoadFile(file)
			if err != nil {
				return err
			}
			for _, w := range p.Warnings {
				fmt.Fprint(c.ErrOrStderr(), w.Render())
			}
			set, o, err := with.load()
			if err != nil {
				return err
			}
			report, err := policy.Check(set, p, o)
			if err != nil {
				return badInput{err}
			}
			if *as == asJSON {
				err = printJSON(c.OutOrStdout(), policyReport(p, report))
			} else {
				err = printPolicyReport(c.OutOrStdout(), p, report, verbose)
			}
			if err == nil && (report.Count(policy.Served) < len(report.Results) || len(p.Warnings) > 0) {
				err = errFailed
			}
			return err
		},
	}
	with.register(c)
	as = formatFlag(c)
	c.Flags().StringVarP(&file, "policy", "p", "", "the audit policy")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "show notes, too, and the rules that are served")
	_ = c.MarkFlagFilename("policy", "yaml", "yml")
	return c
}

func printPolicyReport(w io.Writer, p *policy.Policy, report *policy.Report, verbose bool) error {
	var b strings.Builder
	notes := 0
	for _, state := range []policy.State{policy.Blind, policy.Partly, policy.Served} {
		for _, r := range report.Results {
			if r.State != state {
				continue
			}
			notes += len(r.Notes)
			if state == policy.Served && !verbose {
				continue
			}
			printPolicyResult(&b, r, verbose)
		}
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s: %s: %d blind, %d in part, %d served", p.Name, several(len(report.Results), "rule"), report.Count(policy.Blind), report.Count(policy.Partly), report.Count(policy.Served))
	if notes > 0 && !verbose {
		fmt.Fprintf(&b, "; %s, see -v", several(notes, "note"))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

func printPolicyResult(b *strings.Builder, r *policy.Result, verbose bool) {
	state := r.State.String()
	if r.State == policy.Partly {
		state = "in part"
	}
	fmt.Fprintf(b, "%-8s%s", state, rules.Printable(r.Rule))
	if e := r.Evidence; e != nil && e.Fires < e.Events {
		fmt.Fprintf(b, " (fires on %d of %s)", e.Fires, several(e.Events, "recorded event"))
	}
	b.WriteByte('\n')
	for _, l := range r.Losses {
		wrapAt(b, l.String(), "        ")
	}
	if verbose {
		for _, l := range r.Notes {
			wrapAt(b, "note: "+l.String(), "        ")
		}
	}
}

// wrapAt writes a text in lines, all of them indented, and those behind the first further.
func wrapAt(b *strings.Builder, text, indent string) {
	at := 0
	for i, word := range strings.Fields(rules.Printable(text)) {
		switch {
		case i == 0:
			b.WriteString(indent)
			at = len(indent)
		case at+1+len(word) > width+len(indent):
			b.WriteString("\n" + indent + "  ")
			at = len(indent) + 2
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += len(word)
	}
	b.WriteByte('\n')
}

// policyReport is the report for programs.
func policyReport(p *policy.Policy, report *policy.Report) any {
	type loss struct {
		*policy.Loss
		Line int `json:"line,omitempty"`
	}
	type result struct {
		Rule     string           `json:"rule"`
		State    policy.State     `json:"state"`
		Losses   []loss           `json:"losses"`
		Notes    []loss           `json:"notes"`
		Evidence *policy.Evidence `json:"evidence,omitempty"`
	}
	losses := func(list []*policy.Loss) []loss {
		out := []loss{}
		for _, l := range list {
			out = append(out, loss{l, l.At.Line})
		}
		return out
	}
	out := struct {
		Policy string   `json:"policy"`
		Blind  int      `json:"blind"`
		Partly int      `json:"partly"`
		Served int      `json:"served"`
		Rules  []result `json:"rules"`
	}{p.Name, report.Count(policy.Blind), report.Count(policy.Partly), report.Count(policy.Served), []result{}}
	for _, r := range report.Results {
		out.Rules = append(out.Rules, result{r.Rule, r.State, losses(r.Losses), losses(r.Notes), r.Evidence})
	}
	return out
}

func policyGenerateCommand() *cobra.Command {
	var with policyRules
	var estimate []string
	var as *format
	c := &cobra.Command{
		Use:   "generate",
		Short: "Make the smallest audit policy that serves rules",
		Long: `Make the smallest audit policy that serves rules: bodies where a rule reads them, and of
nothing that holds credentials, unless a rule could never fire without; no stage at which
no rule holds; none of the noise every cluster makes (leases, events, probes, what nodes and
controllers report), as far as no rule is about it.

What is recorded depends on which rules are enabled, and on their lists: generate anew when
you change them. The policy goes to standard output, what is said about it to standard
error.

With --estimate a recording is reduced to what the API server would have written under the
policy. It is a fair estimate if the recording was made under a policy that records much.`,
		Example: `  kaudit policy generate > audit-policy.yaml
  kaudit policy generate -r rules/ -r local_rules.yaml
  kaudit policy generate --estimate /var/log/kubernetes/audit.log > audit-policy.yaml`,
		Args: atMost(0),
		RunE: func(c *cobra.Command, _ []string) error {
			set, o, err := with.load()
			if err != nil {
				return err
			}
			made, err := policy.Generate(set, o)
			if err != nil {
				return badInput{err}
			}
			volumes := []recordedVolume{}
			for _, from := range estimate {
				v := recordedVolume{Recording: from}
				var all eventChoice
				err := all.read(c, consoleOf(c), from, func(e *chosenEvent) error {
					v.Add(made.Policy, e.audit)
					return nil
				})
				if err != nil {
					return err
				}
				volumes = append(volumes, v)
			}
			if *as == asJSON {
				type out struct {
					Policy    string           `json:"policy"`
					Report    any              `json:"report"`
					Estimates []recordedVolume `json:"estimates"`
				}
				return printJSON(c.OutOrStdout(), out{string(made.Text), policyReport(made.Policy, made.Report), volumes})
			}
			if _, err := c.OutOrStdout().Write(made.Text); err != nil {
				return err
			}
			return printGenerated(c.ErrOrStderr(), made, volumes)
		},
	}
	with.register(c)
	as = formatFlag(c)
	c.Flags().StringArrayVar(&estimate, "estimate", nil, "an audit log, or whatever else kaudit run reads: say which share of it the policy keeps; may be given again")
	return c
}

// A recordedVolume is what a policy would have left of a recording.
type recordedVolume struct {
	Recording string `json:"recording"`
	policy.Volume
}

func printGenerated(w io.Writer, made *policy.Generated, volumes []recordedVolume) error {
	var b strings.Builder
	r := made.Report
	fmt.Fprintf(&b, "serves %d of %s\n", r.Count(policy.Served), several(len(r.Results), "rule"))
	for _, c := range made.Credentials {
		wrapAt(&b, "bodies are recorded that hold credentials: "+c, "")
	}
	for _, one := range r.Results {
		withheld := slices.ContainsFunc(one.Notes, func(l *policy.Loss) bool { return l.Note == policy.NoteWithheld })
		if one.State != policy.Served || withheld {
			printPolicyResult(&b, one, true)
		}
	}
	for _, v := range volumes {
		events, bytes := v.Shares()
		fmt.Fprintf(&b, "%s: keeps %.0f%% of %s and %.0f%% of %s\n", nameOf(v.Recording), 100*events, several(v.Events, "event"), 100*bytes, size(uint64(v.Bytes)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

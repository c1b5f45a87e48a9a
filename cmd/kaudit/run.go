package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kaudit/internal/nearest"
	"kaudit/pkg/rules"
	"kaudit/pkg/source"
)

func runCommand() *cobra.Command {
	r := &evaluation{least: priorityFlag{rules.Debug, true}}
	c := &cobra.Command{
		Use:   "run [source]...",
		Short: "Evaluate rules on audit events and print alerts",
		Long: `Evaluate rules on audit events and print alerts as Falco does, without Falco.

A source is the path of an audit log, compressed or not, or of a folder of them, - for
standard input, file:// and the path of a log to follow as it grows, or an address at which
an API server posts its events. Several are read one after the other; the sources of an
--init-config run side by side, if none is named here. What is no audit event is counted
and left out.

Alerts go to standard output; what is said about them, a summary at the end included, to
standard error. With -o json both are JSON, an object on each line, but for warnings.

It exits with 0 when everything was read, or when it was interrupted; with 1 if there
were alerts and --fail-on says so; and with 2 if sources cannot be read or rules are wrong.`,
		Example: `  kaudit run /var/log/kubernetes/audit.log
  kaudit run file:///var/log/kubernetes/audit.log
                                               what is written from now on
  kaudit run --from http://127.0.0.1:9765/k8s-audit
                                               what an API server posts
  kubectl logs -n kube-system kube-apiserver-0 | kaudit run -
  kaudit run -r my_rules.yaml -o json audit.log | jq .output_fields
  kaudit run --fail-on warning audit.log       for pipelines: exit 1 if there is one`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault // paths
		},
		RunE: func(c *cobra.Command, args []string) error {
			r.from = append(slices.Clone(r.from), args...)
			return r.run(c)
		},
	}
	r.rules.register(c)
	r.format = formatFlag(c)
	f := c.Flags()
	f.StringArrayVar(&r.from, "from", nil, "a source; the same as an argument")
	f.StringVar(&r.settings, "init-config", "", `settings of sources, as init_config of the plugin: '{"sslCertificate": "falco.pem"}'`)
	f.Var(&r.matching, "rule-matching", "how many rules may match an event, as rule_matching of Falco: first or all")
	f.Var(&r.least, "priority", "evaluate only rules of this priority and worse")
	f.Var(&r.failOn, "fail-on", "exit with 1 if there is an alert of this priority or worse")
	f.StringSliceVarP(&r.tags, "tags", "t", nil, "evaluate only rules with one of these tags, also those that are not enabled")
	f.StringSliceVarP(&r.withoutTags, "disable-tags", "T", nil, "leave out rules with one of these tags")
	f.StringArrayVarP(&r.without, "disable", "D", nil, "leave out rules with this in their name; may be given again")
	f.BoolVar(&r.style.ISO8601, "iso8601", false, "print times as time_format_iso_8601 of Falco has them, in UTC")
	f.BoolVar(&r.style.Message, "json-include-message-property", false, "as the setting of Falco: the output without time and priority")
	f.BoolVar(&r.output, "json-include-output-property", true, "as the setting of Falco")
	f.BoolVar(&r.outputFields, "json-include-output-fields-property", true, "as the setting of Falco")
	f.BoolVar(&r.tagsProperty, "json-include-tags-property", true, "as the setting of Falco")
	f.BoolVarP(&r.quiet, "quiet", "q", false, "no summary and no progress on standard error")
	for _, name := range []string{"tags", "disable-tags"} {
		_ = c.RegisterFlagCompletionFunc(name, r.rules.complete(func(rule *rules.Rule) []string { return rule.Tags }))
	}
	_ = c.RegisterFlagCompletionFunc("disable", r.rules.complete(func(rule *rules.Rule) []string { return []string{rule.Name} }))
	for name, words := range map[string][]string{"rule-matching": matchings, "priority": priorities(), "fail-on": priorities()} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return c
}

// An evaluation is what kaudit run is asked to do.
type evaluation struct {
	rules    ruleFlags
	from     []string
	settings string
	matching matchingFlag
	least    priorityFlag
	failOn   priorityFlag

	tags, withoutTags, without []string

	style                              rules.Style
	output, outputFields, tagsProperty bool

	quiet  bool
	format *format
}

func (r *evaluation) run(c *cobra.Command) error {
	if len(r.from) == 0 && r.settings == "" {
		return errNoInput
	}
	set, err := r.load()
	if err != nil {
		return err
	}
	screen := consoleOf(c)
	log := newLog(screen.notes())
	if n := len(set.Warnings); n > 0 && !r.quiet {
		log.Warn(fmt.Sprintf("the rules load with %s; kaudit check lists them", several(n, "warning")))
	}
	// Who reads the alerts may have had enough: that is to be an error of writing, and not the end of the process.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal ends at once
	in, err := openInput(r.from, r.settings, log)
	if err != nil {
		return err
	}
	live := false
	for i, src := range in.sources {
		live = live || len(source.Waits(src)) > 0
		if at, ok := address(src); ok {
			fmt.Fprintf(screen.notes(), "kaudit: listening at %s\n", listening(r.from[i], at.String()))
		}
	}
	a := r.alerts(set, screen, log, in)
	stopProgress := func() {}
	if !r.quiet {
		stopProgress = showProgress(screen, in, func() (uint64, string) {
			return a.tally.events.Load(), several(a.tally.alerts.Load(), "alert")
		})
	}
	began := time.Now()
	err = in.read(ctx, a)
	s := summary{tally: &a.tally, bytes: in.bytes.Load(), took: time.Since(began), live: live, counts: in.counts()}
	stopProgress()
	switch {
	case errors.Is(err, syscall.EPIPE): // nobody reads on, and wants no summary either
		return r.verdict(&a.tally)
	case err == nil && ctx.Err() == nil:
		err = s.complaint(r.from)
	case err == nil && !live:
		log.Warn("interrupted: the input was not read to its end")
	}
	if !r.quiet {
		if e := r.writeSummary(screen.notes(), &s); err == nil && e != nil {
			return e
		}
	}
	if err != nil {
		return err
	}
	return r.verdict(&a.tally)
}

// load loads the rules and leaves out what is not asked for.
func (r *evaluation) load() (*rules.Ruleset, error) {
	o, err := r.rules.options()
	if err != nil {
		return nil, err
	}
	o.MinPriority = &r.least.Priority
	set, err := r.rules.loadWith(o)
	if err != nil {
		return nil, err
	}
	if err := r.choose(set); err != nil {
		return nil, badInput{err}
	}
	if !slices.ContainsFunc(set.Rules, func(rule *rules.Rule) bool { return rule.Enabled && rule.Skipped == "" }) {
		return nil, badInput{noRules(set)}
	}
	return set, nil
}

// noRules says why there is nothing to evaluate.
func noRules(set *rules.Ruleset) error {
	if len(set.Rules) == 0 {
		if len(set.Warnings) > 0 {
			return fmt.Errorf("there are no rules: %w", set.Warnings[0])
		}
		return errors.New("there are no rules: the files have no item that begins with - rule:, or a folder has no *.yaml or *.yml")
	}
	var why []string
	seen := map[string]bool{}
	for _, rule := range set.Rules {
		reason := rule.Skipped
		if !rule.Enabled {
			reason = "it is disabled, or left out by a flag"
		}
		if !seen[reason] {
			seen[reason] = true
			why = append(why, fmt.Sprintf("%v: rule %s: %s", rule.Pos, rule.Name, reason))
		}
	}
	const most = 3
	more := ""
	if n := len(why); n > most {
		why, more = why[:most], fmt.Sprintf(", and %s", several(n-most, "other reason"))
	}
	return fmt.Errorf("no rule of %d is left to evaluate, such as %s%s", len(set.Rules), strings.Join(why, "; "), more)
}

// choose enables and disables rules as Falco's flags -t, -T and -D do.
func (r *evaluation) choose(set *rules.Ruleset) error {
	tagged := func(rule *rules.Rule, tags []string) bool {
		return slices.ContainsFunc(tags, func(t string) bool { return slices.Contains(rule.Tags, t) })
	}
	var all []string
	for _, rule := range set.Rules {
		all = append(all, rule.Tags...)
	}
	for _, t := range slices.Concat(r.tags, r.withoutTags) {
		if !slices.Contains(all, t) {
			return noTag(t, all)
		}
	}
	for _, part := range r.without {
		if !slices.ContainsFunc(set.Rules, func(rule *rules.Rule) bool { return strings.Contains(rule.Name, part) }) {
			return fmt.Errorf("--disable: %w", set.NoRule(part))
		}
	}
	for _, rule := range set.Rules {
		if len(r.tags) > 0 {
			rule.Enabled = tagged(rule, r.tags)
		}
		if tagged(rule, r.withoutTags) || slices.ContainsFunc(r.without, func(part string) bool { return strings.Contains(rule.Name, part) }) {
			rule.Enabled = false
		}
	}
	return nil
}

func noTag(tag string, all []string) error {
	if meant := nearest.Word(tag, all); meant != "" {
		return fmt.Errorf("no rule has the tag %q; did you mean %q?", tag, meant)
	}
	return fmt.Errorf("no rule has the tag %q", tag)
}

// alerts makes what evaluates events.
func (r *evaluation) alerts(set *rules.Ruleset, screen *console, log *slog.Logger, in *input) *alerts {
	style := r.style
	style.NoOutput, style.NoOutputField, style.NoTags = !r.output, !r.outputFields, !r.tagsProperty
	a := &alerts{engine: set.Engine(), matching: r.matching.Matching, out: bufio.NewWriterSize(screen, 64<<10), log: log, place: in.place}
	if name := os.Getenv("FALCO_HOSTNAME"); name != "" { // as Falco
		a.engine.SetHostname(name)
	}
	for i := range a.said {
		a.said[i].First, a.said[i].Interval = 1, 10*time.Second
	}
	switch {
	case *r.format == asJSON:
		a.render = func(dst []byte, m rules.Match) []byte { return m.AppendJSON(dst, style) }
	case isTerminal(screen.out):
		colour := colourful(screen.out)
		var text []byte
		a.render = func(dst []byte, m rules.Match) []byte {
			text = m.AppendText(text[:0], style)
			return appendForTerminal(dst, text, m.Rule.Priority, colour)
		}
	default:
		a.render = func(dst []byte, m rules.Match) []byte { return m.AppendText(dst, style) }
	}
	return a
}

// listening returns the address of a source with the port it has got.
func listening(where, at string) string {
	scheme, rest, _ := strings.Cut(where, "://")
	_, path, _ := strings.Cut(rest, "/")
	return scheme + "://" + at + "/" + path
}

func (r *evaluation) writeSummary(w io.Writer, s *summary) error {
	if *r.format == asJSON {
		return s.writeJSON(w)
	}
	return s.writeText(w)
}

// complaint is the error of input that was read to its end and is not what it should be.
func (s *summary) complaint(from []string) error {
	switch n := s.counts["file.unreadable"]; {
	case n > 0:
		return badInput{fmt.Errorf("%s could not be read to the end", several(n, "file"))}
	case s.events.Load() == 0 && s.left() > 0 && !s.live:
		return badInput{fmt.Errorf("no audit event is in %s; want what an API server writes or posts: events of audit.k8s.io/v1, one a line, or lists of them", strings.Join(from, ", "))}
	}
	return nil
}

// verdict is errFailed if there was an alert that --fail-on speaks of.
func (r *evaluation) verdict(t *tally) error {
	if worst, ok := t.worst(); ok && r.failOn.set && worst <= r.failOn.Priority {
		return errFailed
	}
	return nil
}

// A priorityFlag is a priority of rules, by its name.
type priorityFlag struct {
	rules.Priority
	set bool
}

// priorities are the names of priorities, as rules write them.
func priorities() []string {
	var names []string
	for p := rules.Emergency; p <= rules.Debug; p++ {
		names = append(names, strings.ToLower(p.String()))
	}
	return names
}

// String implements [pflag.Value].
func (p *priorityFlag) String() string {
	if !p.set {
		return ""
	}
	return strings.ToLower(p.Priority.String())
}

// Type implements [pflag.Value].
func (p *priorityFlag) Type() string { return "priority" }

// Set implements [pflag.Value].
func (p *priorityFlag) Set(s string) (err error) {
	if p.Priority, p.set = rules.ParsePriority(s); !p.set {
		return fmt.Errorf("want one of %s", strings.Join(priorities(), ", "))
	}
	return nil
}

// A matchingFlag is a way to match, by its name.
type matchingFlag struct{ rules.Matching }

var matchings = []string{rules.First: "first", rules.All: "all"}

// String implements [pflag.Value].
func (m *matchingFlag) String() string { return matchings[m.Matching] }

// Type implements [pflag.Value].
func (m *matchingFlag) Type() string { return "matching" }

// Set implements [pflag.Value].
func (m *matchingFlag) Set(s string) error {
	i := slices.Index(matchings, s)
	if i < 0 {
		return fmt.Errorf("want %s", strings.Join(matchings, " or "))
	}
	m.Matching = rules.Matching(i)
	return nil
}

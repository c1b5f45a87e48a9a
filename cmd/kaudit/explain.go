package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/policy"
	"kaudit/pkg/rules"
)

func explainCommand() *cobra.Command {
	var from ruleFlags
	var only eventChoice
	var most int
	var as *format
	c := &cobra.Command{
		Use:   "explain rule [events]",
		Short: "Show what a rule asks, and why it fires on an event or does not",
		Long: `Show what a rule asks, and why it fires on an event or does not.

With the name of a rule alone: its condition with macros and lists expanded, where it
stands, the fields it needs and what they are, its output, and what the audit policy of
the API server must record for it.

With events (a file, a folder, - for standard input, or whatever else the plugin reads):
on which of them the rule fires, and for some of them each part of the condition, with
what the event had:

  ✓ this part holds                    ← what the event had
  ✗ this one does not                  ← <NA>: the event does not have the field
  · this one was not looked at, as the parts before had decided

Of many events those are shown on which the rule fires, or else those on which it nearly
does. Disabled rules are explained too.`,
		Example: `  kaudit explain 'Exec into Pod'
  kaudit explain -r my_rules.yaml 'My Rule' event.json
  kaudit explain 'Exec into Pod' audit.log.gz
  kaudit explain 'Exec into Pod' audit.log --audit-id 3f2c… -o json`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%s needs the name of a rule; %s --help has examples", c.CommandPath(), c.CommandPath())
			}
			return atMost(2)(c, args)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, written string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			set, err := from.load()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, r := range set.Rules {
				if strings.HasPrefix(strings.ToLower(r.Name), strings.ToLower(written)) {
					names = append(names, r.Name+"\t"+sentence(r.Desc))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := only.check(); err != nil {
				return err
			}
			if most < 1 {
				return badInput{fmt.Errorf("--most %d: want at least 1", most)}
			}
			set, err := from.load()
			if err != nil {
				return err
			}
			if len(set.Rules) == 0 {
				return badInput{noRules(set)}
			}
			rule, ok := set.Rule(args[0])
			if !ok {
				return badInput{set.NoRule(args[0])}
			}
			x := explanation{set: set, rule: rule, own: len(from.paths) == 0}
			if len(args) == 1 {
				if only.given() {
					return badInput{fmt.Errorf("--event and --audit-id choose an event: say where the events are: kaudit explain %q audit.log", rule.Name)}
				}
				if *as == asJSON {
					return printJSON(c.OutOrStdout(), x.data())
				}
				return x.print(c.OutOrStdout())
			}
			t := traces{most: most}
			if t.explainer, err = set.Explainer(rule.Name); err != nil {
				return badInput{err}
			}
			if only.given() {
				t.most = 1 << 30
			}
			if err := only.read(c, consoleOf(c), args[1], t.add); err != nil {
				return err
			}
			if *as == asJSON {
				return printJSON(c.OutOrStdout(), t.data())
			}
			return t.print(c.OutOrStdout())
		},
	}
	from.register(c)
	as = formatFlag(c)
	only.register(c)
	c.Flags().IntVar(&most, "most", 3, "how many events to show")
	return c
}

// sentence returns the first sentence of a description.
func sentence(desc string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(desc), "\n")
	if i := strings.Index(first, ". "); i >= 0 {
		first = first[:i+1]
	}
	return first
}

// An explanation is what a rule is, without events.
type explanation struct {
	set  *rules.Ruleset
	rule *rules.Rule
	own  bool // the rules are those that come with kaudit
}

// A definition is where a macro of a rule stands.
type definition struct {
	Name string `json:"name"`
	At   string `json:"at"`
}

// macros returns the macros in the condition, and those in them.
func (x *explanation) macros() []definition {
	defs := []definition{}
	var add func(text string)
	add = func(text string) {
		condition, err := rules.Parse(text)
		if err != nil { // lists may be more than what stands in parentheses
			return
		}
		rules.Walk(condition, func(part rules.Expr) bool {
			macro, ok := part.(*rules.Macro)
			if !ok || slices.ContainsFunc(defs, func(d definition) bool { return d.Name == macro.Name }) {
				return true
			}
			i := slices.IndexFunc(x.set.Macros, func(d rules.MacroDef) bool { return d.Name == macro.Name })
			if i >= 0 {
				defs = append(defs, definition{macro.Name, x.set.Macros[i].Pos.String()})
				add(x.set.Macros[i].Text)
			}
			return true
		})
	}
	add(x.rule.Text)
	return defs
}

// A fieldOfRule is a field that a rule needs.
type fieldOfRule struct {
	Name string       `json:"name"` // with its argument
	Type extract.Type `json:"type"`
	List bool         `json:"list"`
	Doc  string       `json:"doc"`
	// InCondition is false for a field that is only in the output.
	InCondition bool `json:"in_condition"`
}

func (x *explanation) fields() []fieldOfRule {
	list := []fieldOfRule{}
	for _, f := range x.rule.AllFields() {
		if d, ok := x.set.Describe(f); ok {
			list = append(list, fieldOfRule{f.String(), d.Type, d.List, d.Doc, slices.Contains(x.rule.Fields, f.String())})
		}
	}
	return list
}

// needs returns what the rule files require, one thing a line.
func (x *explanation) needs() []string {
	var list []string
	if x.set.RequiredEngine != noEngine {
		list = append(list, "engine "+x.set.RequiredEngine)
	}
	for _, alternatives := range x.set.RequiredPlugins {
		var texts []string
		for _, p := range alternatives {
			texts = append(texts, "plugin "+p.Name+" "+p.Version)
		}
		if text := strings.Join(texts, " or "); !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}

// noEngine is the version of the engine that rules require which say nothing of it.
const noEngine = "0.0.0"

// print prints the explanation, section by section.
func (x *explanation) print(w io.Writer) error {
	r := x.rule
	var b strings.Builder
	state := "enabled"
	switch {
	case !r.Enabled:
		state = "disabled"
	case r.Skipped != "":
		state = "not evaluated: " + r.Skipped
	}
	where := r.Pos.String()
	if x.own {
		where += " (comes with kaudit)"
	}
	fmt.Fprintf(&b, "%s\n\n", r.Name)
	for _, row := range [][2]string{{"defined", where}, {"priority", r.Priority.String()}, {"source", r.Source}, {"tags", strings.Join(r.Tags, ", ")}, {"state", state}} {
		if row[1] != "" {
			fmt.Fprintf(&b, "    %-9s %s\n", row[0], rules.Printable(row[1]))
		}
	}
	b.WriteByte('\n')
	for line := range strings.Lines(r.Desc) {
		wrap(&b, line)
	}
	title(&b, "Condition, as it is written")
	wrap(&b, r.Text)
	if r.Condition != nil {
		title(&b, "Condition, with macros, lists and exceptions expanded")
		block(&b, rules.Layout(r.Condition, width))
	}
	if macros := x.macros(); len(macros) > 0 {
		title(&b, "Macros")
		wide := 0
		for _, m := range macros {
			wide = max(wide, len(m.Name))
		}
		for _, m := range macros {
			fmt.Fprintf(&b, "    %-*s  %s\n", wide, m.Name, m.At)
		}
	}
	x.printFields(&b, "Fields in the condition", true)
	x.printFields(&b, "Fields in the output only", false)
	title(&b, "Output")
	wrap(&b, r.Output)
	x.printDemands(&b)
	if needs := x.needs(); len(needs) > 0 {
		title(&b, "What the rule files require")
		block(&b, strings.Join(needs, "\n"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (x *explanation) printFields(b *strings.Builder, heading string, inCondition bool) {
	for _, f := range x.fields() {
		if f.InCondition != inCondition {
			continue
		}
		if heading != "" {
			title(b, heading)
			heading = ""
		}
		typ := string(f.Type)
		if f.List {
			typ = "list of " + typ
		}
		fmt.Fprintf(b, "    %-40s %s\n", f.Name, typ)
		var doc strings.Builder
		wrap(&doc, f.Doc)
		for line := range strings.Lines(doc.String()) {
			b.WriteString("    " + line)
		}
	}
}

// demands returns what an audit policy has to record for the rule, or nil if the rule is not about audit events.
func (x *explanation) demands() *policy.Demands {
	if x.rule.Source != rules.Source || x.rule.Condition == nil {
		return nil
	}
	d, err := policy.Of(x.set, x.rule)
	if err != nil { // a condition that can be loaded can be taken apart
		return nil
	}
	return d
}

// demandsData is demands for programs: nothing rather than null.
func (x *explanation) demandsData() any {
	if d := x.demands(); d != nil {
		return d
	}
	return nil
}

func (x *explanation) printDemands(b *strings.Builder) {
	d := x.demands()
	if d == nil {
		return
	}
	title(b, "What an audit policy must record")
	if len(d.List) == 0 {
		wrap(b, "Nothing: the condition holds for no request.")
		return
	}
	for _, one := range d.List {
		for _, r := range one.Requests {
			wrapAt(b, fmt.Sprintf("%s: %v", one.Level, r), "    ")
		}
		switch {
		case len(one.Fields) > 0 && one.Least == one.Level:
			wrapAt(b, "below that it cannot fire: "+strings.Join(one.Fields, ", "), "      ")
		case len(one.Fields) > 0:
			wrapAt(b, fmt.Sprintf("at %v it sees less: %s", one.Least, strings.Join(one.Fields, ", ")), "      ")
		}
	}
	at := func(stages []policy.Stage) string {
		var names []string
		for _, s := range stages {
			names = append(names, s.String())
		}
		return strings.Join(names, " or ")
	}
	switch long, short := at(d.Long), at(d.Short); {
	case long != "" && short != "":
		wrapAt(b, fmt.Sprintf("stages: %s; of streams and watches %s", short, long), "    ")
	case long != "":
		wrapAt(b, "stages: "+long, "    ")
	case short != "":
		wrapAt(b, "stages: "+short, "    ")
	}
	if d.Unauthenticated {
		wrapAt(b, "of requests that fail authentication: ResponseStarted", "    ")
	}
}

func title(b *strings.Builder, text string) { b.WriteString("\n" + text + "\n\n") }

// block writes lines, indented.
func block(b *strings.Builder, text string) {
	for line := range strings.Lines(text) {
		b.WriteString("    " + strings.TrimSuffix(line, "\n") + "\n")
	}
}

// data is the explanation for programs.
func (x *explanation) data() any {
	r := x.rule
	condition := ""
	if r.Condition != nil {
		condition = r.Condition.String()
	}
	type plugin struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	plugins := [][]plugin{}
	for _, alternatives := range x.set.RequiredPlugins {
		var list []plugin
		for _, p := range alternatives {
			list = append(list, plugin(p))
		}
		plugins = append(plugins, list)
	}
	return struct {
		Name        string        `json:"name"`
		Description string        `json:"description"`
		File        string        `json:"file"`
		Line        int           `json:"line"`
		Source      string        `json:"source"`
		Priority    string        `json:"priority"`
		Tags        []string      `json:"tags"`
		Enabled     bool          `json:"enabled"`
		Skipped     string        `json:"skipped,omitempty"`
		Written     string        `json:"written"`
		Condition   string        `json:"condition"`
		Macros      []definition  `json:"macros"`
		Fields      []fieldOfRule `json:"fields"`
		Output      string        `json:"output"`
		Engine      string        `json:"engine"`
		Plugins     [][]plugin    `json:"plugins"` // each a list of alternatives
		Recorded    any           `json:"audit_policy,omitempty"`
	}{
		r.Name, r.Desc, r.Pos.File, r.Pos.Line, r.Source, r.Priority.String(), append([]string{}, r.Tags...), r.Enabled, r.Skipped,
		r.Text, condition, x.macros(), x.fields(), r.Output, x.set.RequiredEngine, plugins, x.demandsData(),
	}
}

// Traces are why a rule fires on events or does not: on the first on which it does, and if there are too few of them on
// those that come nearest.
type traces struct {
	explainer *rules.Explainer
	most      int
	event     extract.Event
	all       []traced
	read      int
	fire      int
}

// A traced is an event with its trace.
type traced struct {
	Number  uint64       `json:"event"`
	AuditID string       `json:"auditID"`
	Fires   bool         `json:"fires"`
	Output  string       `json:"output,omitempty"`
	Trace   *rules.Trace `json:"trace"`
	title   string
	near    float64
}

// add explains an event, and keeps the trace if it is among the best.
func (t *traces) add(e *chosenEvent) error {
	t.event.Reset(e.audit)
	trace := t.explainer.Explain(rules.Event{Event: &t.event, Number: e.number, Time: uint64(e.time.UnixNano())})
	t.read++
	near := 1.0
	if trace.Holds {
		t.fire++
	} else {
		near = nearness(trace)
	}
	one := traced{Number: e.number, Fires: trace.Holds, Trace: trace, near: near}
	if len(t.all) == t.most {
		// The last one of those that are farthest makes room, if this one is nearer.
		i := len(t.all) - 1
		for k, other := range t.all {
			if other.near <= t.all[i].near {
				i = k
			}
		}
		if t.all[i].near >= near {
			return nil
		}
		t.all = slices.Delete(t.all, i, i+1)
	}
	one.title = e.String()
	one.AuditID = string(e.audit.Get(audit.AuditID).Bytes())
	if trace.Holds {
		one.Output = t.explainer.Match().Message()
	}
	t.all = append(t.all, one)
	return nil
}

// nearness says how much of a condition that does not hold does hold: 0 for nothing.
func nearness(t *rules.Trace) float64 {
	switch {
	case t.Holds:
		return 1
	case !t.Evaluated || len(t.Parts) == 0:
		return 0
	}
	near := 0.0
	switch t.Expr.(type) {
	case *rules.And:
		for _, part := range t.Parts {
			near += nearness(part) / float64(len(t.Parts))
		}
	case *rules.Or:
		for _, part := range t.Parts {
			near = max(near, nearness(part))
		}
	}
	return min(near, 0.999) // what holds is nearer
}

// markColours are those of the marks a line of a trace begins with.
var markColours = []struct{ mark, colour string }{{"✓", green}, {"✗", red}, {"·", dim}}

// paintTrace gives the mark of a line of a trace its colour.
func paintTrace(p painter, line string) string {
	for _, m := range markColours {
		if blanks := len(line) - len(strings.TrimLeft(line, " ")); strings.HasPrefix(line[blanks:], m.mark) {
			return line[:blanks] + p.in(m.colour, m.mark) + line[blanks+len(m.mark):]
		}
	}
	return line
}

func (t *traces) print(w io.Writer) error {
	p := painter(colourful(w))
	var b []byte
	for i, e := range t.all {
		if i > 0 {
			b = append(b, '\n')
		}
		verdict := p.in(red, "does not fire")
		if e.Fires {
			verdict = p.in(green, "fires")
		}
		b = fmt.Appendf(b, "event %d: %s\n%s %s:\n\n", e.Number, e.title, t.explainer.Rule().Name, verdict)
		from := len(b)
		b = e.Trace.AppendText(b)
		text := string(b[from:])
		b = b[:from]
		for line := range strings.Lines(text) {
			b = append(append(b, "  "...), paintTrace(p, line)...)
		}
		if e.Fires {
			b = append(append(append(b, "\n  "...), rules.Printable(e.Output)...), '\n')
		}
	}
	if t.read > len(t.all) {
		b = fmt.Appendf(b, "\n%s fires on %d of %d events; %s. --event, --audit-id and --most show others.\n",
			t.explainer.Rule().Name, t.fire, t.read, t.shown())
	}
	_, err := w.Write(b)
	return err
}

// shown says which events are shown.
func (t *traces) shown() string {
	switch {
	case t.fire == 0:
		return "shown above: where it comes nearest to that"
	case t.fire > len(t.all):
		return fmt.Sprintf("shown above: the first %d", len(t.all))
	case t.fire == len(t.all):
		return "they are shown above"
	}
	return "shown above: these, and where it comes nearest to that"
}

// data is the traces for programs.
func (t *traces) data() any {
	return struct {
		Rule   string   `json:"rule"`
		Read   int      `json:"read"`
		Fires  int      `json:"fires"`
		Events []traced `json:"events"`
	}{t.explainer.Rule().Name, t.read, t.fire, append([]traced{}, t.all...)}
}

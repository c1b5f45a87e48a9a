package rulecheck

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

// firing has rules that never fire, or fire twice.
var firing = []Check{
	{
		ID: "contradiction", Severity: Error,
		About:  "Parts of a condition contradict one another.",
		Reason: "No event has two verbs. The rule, or the part of it, never holds.",
		Remedy: "Write `or`, or a list: `ka.verb in (get, create)`.",
		Bad:    "ka.verb = get and ka.verb = create and ka.done = true", Good: "ka.verb in (get, create) and ka.done = true",
		find: func(p *pass, report report) {
			for _, r := range p.ours() {
				if !contradictions(r.Condition, report) && !possible(&given{}, goal{r.Condition, true}) && !possible(&given{idle: true}, goal{r.Condition, true}) {
					report(r.Condition.Pos(), "rule "+r.Name, "the rule never fires: no event is left by all parts of its condition", "kaudit explain shows the condition with macros expanded")
				}
			}
		},
	},
	{
		ID: "switched-off", Severity: Info,
		About:  "A rule never fires while a macro is never true, or a list has no items.",
		Reason: "Some rules wait for a site to say what they are about. Until then they are only work for Falco.",
		Remedy: "Override the macro or the list, or disable the rule.",
		Bad:    "- macro: never_true\n  condition: (evt.rawtime = 0)\n" + wrap("ka.done = true and never_true"), Good: "ka.done = true and ka.verb = get",
		find: func(p *pass, report report) {
			for _, r := range p.ours() {
				if !r.Enabled || !possible(&given{idle: true}, goal{r.Condition, true}) {
					continue
				}
				switch {
				case !possible(&given{}, goal{r.Condition, true}):
					report(r.Pos, "rule "+r.Name, "the rule never fires: "+p.switchOf(r), "a site that wants the rule overrides it")
				case !possible(&given{strict: true}, goal{r.Condition, true}):
					report(r.Pos, "rule "+r.Name, "the rule never fires while a list in its condition has no items", "a site that wants the rule fills it")
				}
			}
		},
	},
	{
		ID: "disabled", Severity: Info,
		About:  "A rule is disabled, nothing enables it, and nothing says so.",
		Reason: "It looks as if something were watched that is not.",
		Remedy: "Enable it where it is wanted (`enabled: true` with `override: {enabled: replace}`), delete it, or say that it is off and when to switch it on: in its description, in a comment above it, or at the head of the file.",
		Bad:    wrap("ka.done = true and ka.verb = get") + "  enabled: false\n", Good: "ka.done = true and ka.verb = get",
		find: func(p *pass, report report) {
			for _, r := range p.ours() {
				if !r.Enabled && !p.saysOff(r) {
					report(r.Pos, "rule "+r.Name, "the rule is disabled", "enable it where it is wanted, or say in its description when to switch it on")
				}
			}
		},
	},
	{
		ID: "shadowed", Severity: Warning,
		About:  "Whatever a rule matches, an earlier one matches first.",
		Reason: "By default Falco stops at the first rule that matches an event (`rule_matching: first`). The later rule never alerts.",
		Remedy: "Put the narrower rule first, or leave out in the wider one what the narrower is about.",
		Bad: wrap("ka.done = true and ka.target.path = pods/exec") +
			"- rule: Narrower\n  desc: Somebody ran a shell in a pod, which hardly anybody should.\n  condition: ka.done = true and ka.target.path = pods/exec and ka.exec.program = sh\n  output: shell | user=%ka.user.name from=%ka.sourceips verb=%ka.verb\n  priority: ERROR\n  source: k8s_audit\n  tags: [maturity_incubating, mitre_execution]\n",
		Good: wrap("ka.done = true and ka.target.path = pods/exec and not ka.exec.program = sh") +
			"- rule: Narrower\n  desc: Somebody ran a shell in a pod, which hardly anybody should.\n  condition: ka.done = true and ka.target.path = pods/exec and ka.exec.program = sh\n  output: shell | user=%ka.user.name from=%ka.sourceips verb=%ka.verb\n  priority: ERROR\n  source: k8s_audit\n  tags: [maturity_incubating, mitre_execution]\n",
		find: shadowed,
	},
	{
		ID: "judged-twice", Severity: Warning,
		About:  "A rule holds for several events of one request.",
		Reason: "The API server tells of a request when it comes in, when a long answer begins, and at its end. A rule that does not choose alerts up to three times, the first time before the outcome is known.",
		Remedy: "Add `ka.done = true`: one event of each request has it, and that one knows the outcome.",
		Bad:    "ka.target.path = pods/portforward", Good: "ka.target.path = pods/portforward and ka.done = true",
		find: judgedTwice,
	},
	{
		ID: "fires-on-notices", Severity: Warning,
		About:  "A rule about requests holds for notices, too.",
		Reason: "Falco tries every rule on the asynchronous events by which the plugin tells of delivery itself. No field of requests is there, so `not ka.verb = get` is true of them.",
		Remedy: "Say what has to be there: add `ka.done = true`, or `ka.verb exists`.",
		Bad:    "not ka.user.name = jane and not ka.stage = RequestReceived", Good: "not ka.user.name = jane and ka.done = true",
		find: firesOnNotices,
	},
}

// aNotice is one of a name that no rule asks for.
const aNotice = `{"kind":"` + audit.NoticeKind + `","apiVersion":"` + audit.NoticeVersion + `","name":"none","source":"-","count":1,"message":"-"}`

func firesOnNotices(p *pass, report report) {
	var raw audit.Event
	var event extract.Event
	raw.Load([]byte(aNotice))
	event.Reset(&raw)
	for _, r := range p.aboutRequests() {
		trace, err := p.set.Explain(r.Name, rules.Event{Event: &event, Number: 1, Time: 1})
		if err == nil && trace.Holds {
			report(r.Pos, "rule "+r.Name, "the rule holds for notices, which are about no request", "add ka.done = true")
		}
	}
}

// contradictions reports the smallest parts of a condition that never hold, and whether there are some.
func contradictions(x rules.Expr, report report) (found bool) {
	var parts []rules.Expr
	switch x := x.(type) {
	case *rules.And:
		parts = x.Parts
	case *rules.Or:
		parts = x.Parts
	case *rules.Not:
		return contradictions(x.Part, report)
	case *rules.Check: // a value that never occurs is another check's business
		return !possible(&given{}, goal{x, true}) && !isRawtime(asField(x.Left))
	}
	for _, part := range parts {
		found = contradictions(part, report) || found
	}
	and, ok := x.(*rules.And)
	if !ok || found || possible(&given{}, goal{x, true}) || possible(&given{idle: true}, goal{x, true}) {
		return found
	}
	w := newWorld(&given{})
	w.why = true
	_, simple := w.add([]goal{{and, true}}, nil)
	if !simple && w.clash[1] != nil {
		report(w.clash[0].Pos(), "", fmt.Sprintf("%s contradicts %s", w.clash[0], w.clash[1]), "write or, or a list of values")
	} else {
		w.meet([]goal{{and, true}}, nil)
		text := "the parts of this never hold together"
		if w.clash[1] != nil {
			text += fmt.Sprintf(": %s contradicts %s", w.clash[0], w.clash[1])
		}
		report(and.Pos(), "", text, "kaudit explain shows the condition with macros expanded")
	}
	return true
}

// switchOf names the macro that switches a rule off.
func (p *pass) switchOf(r *rules.Rule) string {
	for _, m := range p.set.Macros {
		if m.Condition == nil || !word(r.Text, m.Name) {
			continue
		}
		if !possible(&given{}, goal{m.Condition, true}) {
			return "the macro " + m.Name + " is never true"
		}
		if !possible(&given{}, goal{m.Condition, false}) && strings.Contains(r.Text, "not "+m.Name) {
			return "the macro " + m.Name + " is always true"
		}
	}
	return "the time of events is what it is"
}

// word reports whether a text has a name in it.
func word(text, name string) bool {
	return slices.Contains(strings.FieldsFunc(text, func(c rune) bool { return c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) }), name)
}

// shadowed looks for rules that hold only where an earlier one does.
func shadowed(p *pass, report report) {
	all := p.ours()
	for i, later := range all {
		if !later.Enabled {
			continue
		}
		holds := newWorld(&given{}).meet([]goal{{later.Condition, true}}, nil)
		if holds == nil {
			continue
		}
		for _, earlier := range all[:i] {
			// The one event at hand is most often reason enough to search no further.
			missed := goal{earlier.Condition, false}
			if !earlier.Enabled || holds.again().meet([]goal{missed}, nil) != nil || possible(&given{}, goal{later.Condition, true}, missed) {
				continue
			}
			text := fmt.Sprintf("the rule never alerts while Falco stops at the first match: %q, at %v, matches whatever it matches", earlier.Name, earlier.Pos)
			if later.Priority < earlier.Priority {
				text += fmt.Sprintf(", with the lower priority %v", earlier.Priority)
			}
			report(later.Pos, "rule "+later.Name, text, "put it before "+earlier.Name)
			break
		}
	}
}

// The three events that there may be of a request.
var (
	atReceived = assumption(`ka.stage = RequestReceived and ka.done = false`)
	atStarted  = assumption(`ka.stage = ResponseStarted and ka.done = true and ka.success = true and ka.refused = false and ka.outcome = success
		and ka.code in (101, 200) and ka.response.code in (101, 200)`)
	atComplete = assumption(`ka.stage = ResponseComplete and ka.success = true and ka.refused = false and ka.outcome = success
		and ka.code in (101, 200) and ka.response.code in (101, 200) and ka.done = false`)
	longRunning = assumption(`ka.verb = watch and not ka.target.subresource exists
		or ka.verb in (get, create) and ka.target.resource = pods and ka.target.subresource in (exec, attach, portforward)
		or ka.verb in (get, create) and ka.target.resource in (pods, services, nodes) and ka.target.subresource = proxy`)
	atEnd = assumption(`ka.stage = ResponseComplete`)
)

// assumption reads a condition that is written here.
func assumption(text string) rules.Expr {
	x, err := rules.Parse(text)
	if err != nil {
		panic(err)
	}
	return x
}

var off = regexp.MustCompile(`(?i)\b(off|disabled) by default\b|\b(is|are) (off|disabled)\b|\bswitch\b[^.]*\bon\b|\benable (it|them|this|the rule)\b`)

// saysOff reports whether the description of a rule that is disabled says so, or a comment above it or at the head of
// its file.
func (p *pass) saysOff(r *rules.Rule) bool {
	return off.MatchString(r.Desc) || off.MatchString(p.commentAbove(r.Pos.File, r.Pos.Line)) || off.MatchString(p.commentAbove(r.Pos.File, 0))
}

// commentAbove returns the comment that stands directly above a line of a file, or the one the file begins with.
func (p *pass) commentAbove(file string, line int) string {
	lines := p.lines[file]
	from, to := min(line-1, len(lines)), line-1
	if line == 0 {
		from, to = 0, 0
		for to < len(lines) && isComment(lines[to]) {
			to++
		}
	} else {
		for from > 0 && isComment(lines[from-1]) {
			from--
		}
	}
	var words []string
	for _, l := range lines[from:to] {
		words = append(words, strings.Trim(l, "# \t\r"))
	}
	return strings.Join(words, " ")
}

func isComment(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "#") }

// judgedTwice looks for rules that hold at two stages of one request.
func judgedTwice(p *pass, report report) {
	for _, r := range p.aboutRequests() {
		x := goal{r.Condition, true}
		first := possible(&given{sample: received()}, x, goal{atReceived, true}) && possible(&given{}, x, goal{atEnd, true})
		long := func(stage rules.Expr, s *sample) bool {
			return possible(&given{sample: s}, x, goal{longRunning, true}, goal{stage, true})
		}
		stream := long(atStarted, bodiless()) && long(atComplete, bodiless())
		const remedy = "add ka.done = true"
		switch {
		case first:
			report(r.Pos, "rule "+r.Name, "the rule holds when a request comes in, and again when it is answered", remedy)
		case stream:
			report(r.Pos, "rule "+r.Name, "of a stream or watch the rule holds when the answer begins, and again at its end", remedy)
		}
	}
}

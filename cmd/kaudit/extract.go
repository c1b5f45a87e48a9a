package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kaudit/internal/nearest"
	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
	"kaudit/pkg/rules"
)

func extractCommand() *cobra.Command {
	var from string
	var absent bool
	var only eventChoice
	var as *format
	c := &cobra.Command{
		Use:   "extract [-f events] [pattern]...",
		Short: "Show what each field is of an audit event",
		Long: `Show what each field is of an audit event, as rules see it.

Events are read from a file, a folder, standard input, or whatever else the plugin reads.
They may be compressed, and as many as there are.

A pattern is the name of a field as a rule writes it, with an argument in brackets if it
takes one, or the name with * and ? in it. Without one, all fields are shown that do not
need an argument. Lists are in parentheses. What an event does not have is left out,
unless it was asked for by name. Unlike Falco, which prints <IPNET> for them, addresses
are shown; and what does not fit on a line is escaped.

With -o json there is a line of JSON for each event, with numbers as numbers and lists as
arrays.`,
		Example: `  kaudit extract -f audit.log
  kaudit extract -f event.json 'ka.pod.*' 'ka.value[/requestObject/spec]'
  grep secrets audit.log | kaudit extract ka.verb ka.user.name
  kaudit extract -f audit.log.gz --event 12 --all
  kaudit extract -f audit.log -o json ka.code | jq '.fields["ka.code"]'`,
		ValidArgsFunction: func(_ *cobra.Command, _ []string, written string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, f := range extract.Fields() {
				if strings.HasPrefix(f.Name, written) {
					names = append(names, f.Name+"\t"+f.Doc)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			asked, err := questions(args)
			if err != nil {
				return badInput{err}
			}
			if err := only.check(); err != nil {
				return err
			}
			screen := consoleOf(c)
			e := extraction{questions: asked, absent: absent, out: screen, json: *as == asJSON}
			return only.read(c, screen, from, func(event *chosenEvent) error { return e.print(event) })
		},
	}
	as = formatFlag(c)
	c.Flags().StringVarP(&from, "from", "f", "-", "where the events are: a file, a folder, - for standard input, or another source of the plugin")
	c.Flags().BoolVar(&absent, "all", false, "show fields that the event does not have, too")
	only.register(c)
	return c
}

// An asked is a field that is asked of events.
type asked struct {
	extract.Question
	name  string // as a rule writes it
	named bool   // by whoever asked, not by a pattern
}

// questions returns the fields that patterns stand for, each once. Without patterns these are all that need no argument.
func questions(patterns []string) ([]asked, error) {
	if len(patterns) == 0 {
		patterns = []string{"*"}
	}
	table := extract.Fields()
	var all []asked
	seen := map[string]bool{}
	add := func(q extract.Question, name string, named bool) {
		if !seen[name] {
			seen[name] = true
			all = append(all, asked{q, name, named})
		}
	}
	for _, p := range patterns {
		name, arg, bracketed := strings.Cut(p, "[")
		if strings.ContainsAny(name, "*?") {
			if bracketed {
				return nil, fmt.Errorf("%s: an argument needs the whole name of a field before it", p)
			}
			found := false
			for id, f := range table {
				if ok, err := path.Match(name, f.Name); !ok || err != nil {
					continue
				}
				found = true
				if q, err := table.Ask(id, extract.Argument{}); err == nil {
					add(q, f.Name, false)
				}
			}
			if !found {
				return nil, fmt.Errorf("no field is named %s; kaudit fields lists those there are", p)
			}
			continue
		}
		q, err := question(table, p, name, arg, bracketed)
		if err != nil {
			return nil, err
		}
		add(q, p, true)
	}
	return all, nil
}

// question reads a field as a rule writes it.
func question(table extract.Table, written, name, arg string, bracketed bool) (extract.Question, error) {
	id, ok := table.Find(name)
	if !ok {
		var names []string
		for _, f := range table {
			names = append(names, f.Name)
		}
		if _, err := os.Stat(written); err == nil {
			return extract.Question{}, fmt.Errorf("%s is a file, and no field; to read events from it write -f %s", written, written)
		}
		return extract.Question{}, unknown("field", name, nearest.Word(name, names), "kaudit fields")
	}
	f := &table[id]
	if bracketed {
		var closed bool
		if arg, closed = strings.CutSuffix(arg, "]"); !closed {
			return extract.Question{}, fmt.Errorf("%s: there is no ] at the end", written)
		}
		if n := len(arg); n >= 2 && (arg[0] == '"' || arg[0] == '\'') && arg[n-1] == arg[0] {
			arg = arg[1 : n-1]
		}
	} else if f.Arg == extract.RequiredKey {
		return extract.Question{}, fmt.Errorf("%s needs an argument: '%s[…]', %s; for example '%s'", name, name, f.ArgDoc, name+given(f.Example))
	}
	a, err := f.ParseArg(arg, bracketed)
	if err != nil {
		return extract.Question{}, err
	}
	return table.Ask(id, a)
}

// An extraction prints the fields of events.
type extraction struct {
	questions []asked
	absent    bool
	json      bool
	out       io.Writer
	value     extract.Value
	event     extract.Event
	line      bytes.Buffer
	some      bool // an event was printed
}

func (x *extraction) print(e *chosenEvent) error {
	x.event.Reset(e.audit)
	x.line.Reset()
	if x.json {
		x.appendJSON(e)
	} else {
		x.appendText(e)
	}
	x.some = true
	_, err := x.out.Write(x.line.Bytes())
	return err
}

func (x *extraction) appendText(e *chosenEvent) {
	if x.some {
		x.line.WriteByte('\n')
	}
	fmt.Fprintf(&x.line, "event %d: %s\n", e.number, e)
	type row struct{ name, value string }
	var rows []row
	wide := 0
	for _, q := range x.questions {
		values, ok := x.ask(q)
		value := "<NA>"
		switch {
		case !ok && !q.named && !x.absent:
			continue
		case ok && q.Field.From.List:
			value = "(" + strings.Join(values, ",") + ")"
		case ok:
			value = values[0]
		}
		rows = append(rows, row{q.name, rules.Printable(value)})
		wide = max(wide, min(len(q.name), 40))
	}
	for _, r := range rows {
		x.line.WriteString(strings.TrimRight(fmt.Sprintf("%-*s  %s", wide, r.name, r.value), " ") + "\n")
	}
}

func (x *extraction) appendJSON(e *chosenEvent) {
	fmt.Fprintf(&x.line, `{"event":%d,"auditID":`, e.number)
	x.put(string(e.audit.Get(audit.AuditID).Bytes()))
	x.line.WriteString(`,"fields":{`)
	first := true
	for _, q := range x.questions {
		values, ok := x.ask(q)
		if !ok && !q.named && !x.absent {
			continue
		}
		if !first {
			x.line.WriteByte(',')
		}
		first = false
		x.put(q.name)
		x.line.WriteByte(':')
		switch {
		case !ok:
			x.line.WriteString("null")
		case q.Field.From.List:
			x.line.WriteByte('[')
			for i, v := range values {
				if i > 0 {
					x.line.WriteByte(',')
				}
				x.putTyped(q.Field.From.Type, v)
			}
			x.line.WriteByte(']')
		default:
			x.putTyped(q.Field.From.Type, values[0])
		}
	}
	x.line.WriteString("}}\n")
}

// put writes a JSON string.
func (x *extraction) put(s string) {
	enc := json.NewEncoder(&x.line)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a buffer takes everything
	x.line.Truncate(x.line.Len() - 1)
}

// putTyped writes a value as what it is; numbers and booleans are written in JSON as they are printed.
func (x *extraction) putTyped(t extract.Type, v string) {
	if t == extract.Text || t == extract.Network {
		x.put(v)
		return
	}
	x.line.WriteString(v)
}

// ask returns the values of a field as they are printed, and whether the event has it.
func (x *extraction) ask(q asked) ([]string, bool) {
	x.value.Reset()
	q.Answer(&x.event, &x.value)
	values := make([]string, 0, x.value.Len())
	switch q.Field.From.Type {
	case extract.Text:
		for i := range x.value.Len() {
			values = append(values, string(x.value.Text(i)))
		}
	case extract.Network:
		for i := range x.value.Len() {
			if ip, ok := netip.AddrFromSlice(x.value.Text(i)); ok {
				values = append(values, ip.String())
			}
		}
	case extract.Bool:
		for _, n := range x.value.Numbers() {
			values = append(values, strconv.FormatBool(n != 0))
		}
	default:
		for _, n := range x.value.Numbers() {
			values = append(values, strconv.FormatUint(n, 10))
		}
	}
	return values, len(values) > 0
}

// An eventChoice says which of the events that are read are meant: by their number, by their audit ID, or all.
type eventChoice struct {
	number  uint64
	auditID string
}

func (o *eventChoice) register(c *cobra.Command) {
	c.Flags().Uint64Var(&o.number, "event", 0, "only the event of this number; the first is 1")
	c.Flags().StringVar(&o.auditID, "audit-id", "", "only events of this audit ID; a request has one for each of its stages")
}

func (o *eventChoice) check() error {
	if o.number > 0 && o.auditID != "" {
		return badInput{errors.New("--event and --audit-id: give one of them")}
	}
	return nil
}

func (o *eventChoice) given() bool { return o.number > 0 || o.auditID != "" }

func (o *eventChoice) String() string {
	if o.number > 0 {
		return fmt.Sprintf("number %d", o.number)
	}
	return "audit ID " + strconv.Quote(o.auditID)
}

// read reads events, and hands those that are meant to each, until it fails. What is not an event is counted and
// reported in the end; it is an error if there is nothing else.
func (o *eventChoice) read(c *cobra.Command, screen *console, from string, each func(*chosenEvent) error) error {
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal ends at once
	r := eventReader{choice: o, each: each, stop: stop}
	log := newLog(screen.notes())
	in, err := openInput([]string{from}, "", log)
	if err != nil {
		return err
	}
	stopProgress := showProgress(screen, in, func() (uint64, string) { return r.read.Load(), "" })
	err = in.read(ctx, &r)
	stopProgress()
	read := r.read.Load()
	if ctx.Err() != nil && !r.enough {
		log.Warn("interrupted: the input was not read to its end")
	}
	switch {
	case r.failed != nil:
		return r.failed
	case err != nil:
		if bad := (badInput{}); errors.As(err, &bad) {
			return err
		}
		return badInput{err}
	case read == 0 && r.rejected > 0:
		return badInput{fmt.Errorf("%s: there is no audit event in it: %s%s; %s", nameOf(from), r.rejections(), place(from), wantEvents)}
	case read == 0:
		return badInput{fmt.Errorf("%s: there is nothing in it; %s", nameOf(from), wantEvents)}
	case o.given() && r.met == 0:
		return fmt.Errorf("%s: no event of %v among the %d that are there", nameOf(from), o, read)
	}
	if n := r.rejected + r.salvaged; n > 0 {
		var parts []string
		if r.salvaged > 0 {
			parts = append(parts, fmt.Sprintf("event %d is broken JSON, and what is behind the fault does not count", r.broken))
			if r.salvaged > 1 {
				parts[0] += fmt.Sprintf(", as with %d others", r.salvaged-1)
			}
		}
		if r.rejected > 0 {
			parts = append(parts, fmt.Sprintf("left out what is not an audit event: %s, the first behind event %d", r.rejections(), r.behind))
		}
		bad := badInput{fmt.Errorf("%s: %s%s", nameOf(from), strings.Join(parts, "; "), place(from))}
		if uint64(r.salvaged) == read { // there is nothing but what is broken
			return bad
		}
		fmt.Fprintln(screen.notes(), "kaudit:", bad)
	}
	return nil
}

const wantEvents = "want audit events as an API server writes them: JSON objects with an auditID, one a line or in an EventList"

func nameOf(from string) string {
	if from == "-" {
		return "standard input"
	}
	return from
}

// A chosenEvent is an event that was read. It is good during a call.
type chosenEvent struct {
	audit  *audit.Event
	number uint64
	time   time.Time
}

// String says which event it is: when, what, on what, and its audit ID.
func (e *chosenEvent) String() string {
	text := func(m audit.Member) string { return cmp.Or(string(e.audit.Get(m).Bytes()), "-") }
	return rules.Printable(fmt.Sprintf("%s %s %s, audit ID %s", text(audit.Stage), text(audit.Verb), text(audit.RequestURI), text(audit.AuditID)))
}

// An eventReader hands events on and counts.
type eventReader struct {
	choice *eventChoice
	each   func(*chosenEvent) error
	stop   func()
	failed error
	enough bool // it has stopped reading

	read     atomic.Uint64
	met      uint64
	rejected int
	reasons  [audit.Reasons]int
	behind   uint64 // how many events stand before the first that was rejected
	salvaged int
	broken   uint64 // number of the first event that was salvaged
}

// Event implements [audit.Handler].
func (r *eventReader) Event(e *audit.Event, stamp time.Time, marks audit.Marks) {
	n := r.read.Add(1)
	if marks&audit.Salvaged != 0 {
		if r.salvaged == 0 {
			r.broken = n
		}
		r.salvaged++
	}
	if r.failed != nil || r.choice.number > 0 && n != r.choice.number ||
		r.choice.auditID != "" && string(e.Get(audit.AuditID).Bytes()) != r.choice.auditID {
		return
	}
	r.met++
	if r.failed = r.each(&chosenEvent{e, n, stamp}); r.failed != nil || r.choice.number > 0 {
		r.enough = true
		r.stop()
	}
}

// Rejected implements [audit.Handler].
func (r *eventReader) Rejected(why audit.Reason, _, _ int) {
	if r.rejected == 0 {
		r.behind = r.read.Load()
	}
	r.rejected++
	r.reasons[why]++
}

// rejections says what was rejected, without a word of it.
func (r *eventReader) rejections() string {
	var parts []string
	for why, n := range r.reasons {
		switch {
		case n == 1:
			parts = append(parts, "one piece is "+audit.Reason(why).String())
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d pieces are %v", n, audit.Reason(why)))
		}
	}
	return strings.Join(parts, ", ")
}

// place says where in a file the first thing stands that is not JSON, if that can be told: an author looks for a comma
// he forgot. It is asked when something was rejected.
func place(file string) string {
	const most = 64 << 20
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > most {
		return ""
	}
	text, err := os.ReadFile(file)
	if err != nil || bytes.IndexByte(text, '{') < 0 || bytes.HasPrefix(text, []byte{0x1f, 0x8b}) {
		return ""
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	for {
		var v json.RawMessage
		err := dec.Decode(&v)
		syntax := (*json.SyntaxError)(nil)
		if !errors.As(err, &syntax) {
			if err != nil && errors.Is(err, io.ErrUnexpectedEOF) {
				return "; the JSON ends too early"
			}
			if err != nil {
				return ""
			}
			continue
		}
		before := text[:min(max(syntax.Offset-1, 0), int64(len(text)))]
		return fmt.Sprintf("; the JSON is wrong at line %d, column %d", bytes.Count(before, []byte{'\n'})+1, len(before)-bytes.LastIndexByte(before, '\n'))
	}
}

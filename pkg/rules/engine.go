package rules

import (
	"os"
	"strconv"
	"strings"
	"time"

	"kaudit/pkg/extract"
)

// Matching says how many rules may match an event.
type Matching uint8

// The ways to match, as rule_matching in falco.yaml has them.
const (
	First Matching = iota // the first rule that matches, in the order of the files
	All                   // every rule that matches
)

// state is what an engine knows while it works on an event.
type state struct {
	event    Event
	first    uint64 // time of the first event
	started  bool
	zone     time.Duration
	hostname string

	now       uint32 // number of the event in work, for what is kept of it
	questions []*question
	answers   []answer
	results   []result
	scratch   [][]val
	buffers   [][]byte
	ends      []int
	line      []byte // the text of an extra field
}

type answer struct {
	of    uint32
	value extract.Value
}

type result struct {
	of    uint32
	holds bool
}

// values appends the values of a question, which is asked once an event.
func (s *state) values(i int, dst []val) ([]val, bool) {
	a := &s.answers[i]
	q := s.questions[i]
	if a.of != s.now {
		a.of = s.now
		a.value.Reset()
		if q.listed {
			q.table.Answer(s.event.Event, &a.value)
		} else {
			q.read(s, &a.value)
		}
	}
	if q.typ == extract.Text || q.typ == extract.Network {
		texts, ends := a.value.Texts()
		from := 0
		for _, end := range ends {
			dst = append(dst, val{b: texts[from:end:end]})
			from = end + 1
		}
		return dst, len(ends) > 0
	}
	numbers := a.value.Numbers()
	for _, n := range numbers {
		dst = append(dst, val{n: n})
	}
	return dst, len(numbers) > 0
}

// compile compiles a condition. What several rules have in common is worked out once an event.
func (c *compiler) compile(x Expr) (func(*state) bool, error) {
	if len(c.uses) == 0 { // a rule is checked, and not evaluated: nobody counted
		return c.compileNew(x)
	}
	key := x.String()
	if f, ok := c.shared[key]; ok {
		return f, nil
	}
	f, err := c.compileNew(x)
	if err != nil {
		return nil, err
	}
	if c.uses[key] > 1 {
		i, inner := c.memos, f
		c.memos++
		f = func(s *state) bool {
			r := &s.results[i]
			if r.of != s.now {
				r.holds = inner(s)
				r.of = s.now
			}
			return r.holds
		}
	}
	c.shared[key] = f
	return f, nil
}

func (c *compiler) compileNew(x Expr) (func(*state) bool, error) {
	switch x := x.(type) {
	case *Check:
		return c.check(x)
	case *Not:
		f, err := c.compile(x.Part)
		if err != nil {
			return nil, err
		}
		return func(s *state) bool { return !f(s) }, nil
	case *And:
		parts, err := c.parts(x.Parts)
		return func(s *state) bool {
			for _, f := range parts {
				if !f(s) {
					return false
				}
			}
			return true
		}, err
	case *Or:
		parts, err := c.parts(x.Parts)
		return func(s *state) bool {
			for _, f := range parts {
				if f(s) {
					return true
				}
			}
			return false
		}, err
	}
	return nil, bad(x, "%s is not a condition", x)
}

func (c *compiler) parts(list []Expr) ([]func(*state) bool, error) {
	var parts []func(*state) bool
	for _, x := range list {
		f, err := c.compile(x)
		if err != nil {
			return nil, err
		}
		parts = append(parts, f)
	}
	return parts, nil
}

// count counts how often each part of a condition occurs.
func (c *compiler) count(x Expr) {
	Walk(x, func(part Expr) bool {
		switch part.(type) {
		case *And, *Or, *Not, *Check:
			key := part.String()
			c.uses[key]++
			return c.uses[key] == 1 // what is in it is worked out with it
		}
		return false
	})
}

// newState makes the memory for one engine.
func (c *compiler) newState() *state {
	_, offset := time.Now().Zone()
	host, _ := os.Hostname()
	return &state{
		zone: time.Duration(offset) * time.Second, hostname: host,
		questions: c.questions, answers: make([]answer, len(c.questions)), results: make([]result, c.memos),
		scratch: make([][]val, c.scratches), buffers: make([][]byte, c.buffers),
	}
}

// An Engine evaluates the enabled rules of a ruleset. It is used by one goroutine at a time; make another one with
// [Ruleset.Engine] for another goroutine.
type Engine struct {
	rules   []compiled
	state   *state
	matches []Match
}

type compiled struct {
	rule   *Rule
	holds  func(*state) bool
	output *format
}

// A Match is a rule that holds for an event. It is good until the next event is evaluated.
type Match struct {
	Rule   *Rule
	engine *Engine
	output *format
}

// SetHostname sets what evt.hostname and the hostname of alerts is: else it is that of the machine.
func (e *Engine) SetHostname(name string) { e.state.hostname = name }

// Evaluate tries the rules on an event and returns those that hold. The slice is good until the next call.
func (e *Engine) Evaluate(event Event, m Matching) []Match {
	e.load(event)
	e.matches = e.matches[:0]
	for i := range e.rules {
		r := &e.rules[i]
		if !r.holds(e.state) {
			continue
		}
		e.matches = append(e.matches, Match{r.rule, e, r.output})
		if m == First {
			break
		}
	}
	return e.matches
}

// load makes an event the one in work.
func (e *Engine) load(event Event) {
	s := e.state
	if event.Async == "" {
		event.Async = string(event.NoticeName())
	}
	s.event = event
	if !s.started && event.Async == "" {
		s.first, s.started = event.Time, true
	}
	if s.now++; s.now == 0 { // after 4 billion events what was kept of the first could look like this one's
		clear(s.results)
		for i := range s.answers {
			s.answers[i].of = 0
		}
		s.now = 1
	}
}

// Questions returns the fields the rules ask of events, each with its argument as a rule would write it, once.
func (e *Engine) Questions() []string {
	var names []string
	for _, q := range e.state.questions {
		names = append(names, q.name)
	}
	return names
}

// appendText appends a value as the engine prints it.
func (o *operand) appendText(dst []byte, v val) []byte {
	switch o.typ {
	case extract.Text:
		return append(dst, cstring(v.b)...)
	case extract.Bool:
		return strconv.AppendBool(dst, v.n != 0)
	case extract.Network:
		return append(dst, "<IPNET>"...)
	}
	if o.pad {
		n := strconv.FormatUint(v.n, 10)
		return append(append(dst, strings.Repeat("0", max(0, 9-len(n)))...), n...)
	}
	return strconv.AppendUint(dst, v.n, 10)
}

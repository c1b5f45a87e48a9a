package rules

// Checks evaluates single checks of conditions, for those who want to know more of a condition than whether it holds.
// It is used by one goroutine at a time.
type Checks struct {
	list   []func(*state) bool
	engine Engine
}

// Checks compiles checks of the rules of the set.
func (r *Ruleset) Checks(list []*Check) (*Checks, error) {
	c := newCompiler(r.fields, r.options.Falco)
	out := &Checks{}
	for _, x := range list {
		holds, err := c.check(x)
		if err != nil {
			return nil, err
		}
		out.list = append(out.list, holds)
	}
	out.engine.state = c.newState()
	return out, nil
}

// Load makes an event the one in work.
func (c *Checks) Load(event Event) { c.engine.load(event) }

// Holds reports whether a check holds for the event, by its place in the list.
func (c *Checks) Holds(i int) bool { return c.list[i](c.engine.state) }

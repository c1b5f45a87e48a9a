package rules_test

import (
	"strings"
	"testing"

	"kaudit/pkg/rules"
)

func TestLayout(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"ka.verb = get", "ka.verb = get"},
		{"ka.verb = get and ka.code = 200 and ka.stage exists", `
ka.verb = get
and ka.code = 200
and ka.stage exists`},
		{"ka.verb = get and (ka.code = 200 or ka.code = 201) and not (ka.stage exists or ka.user.name = jane)", `
ka.verb = get
and (ka.code = 200 or ka.code = 201)
and not (
  ka.stage exists
  or ka.user.name = jane
)`},
		{"ka.verb = get and ka.code = 200 and ka.stage exists or not ka.user.name in (alice, bob, carol, dave)", `
ka.verb = get
  and ka.code = 200
  and ka.stage exists
or not ka.user.name in (
  alice, bob, carol, dave
)`},
		{"a and (b_is_a_long_name and (c_is_a_long_name or d_is_a_long_name))", `
a
and (
  b_is_a_long_name
  and (
    c_is_a_long_name
    or d_is_a_long_name
  )
)`},
	} {
		x, err := rules.Parse(c.in)
		if err != nil {
			t.Fatal(err)
		}
		got := rules.Layout(x, 36)
		if got != strings.TrimPrefix(c.want, "\n") {
			t.Errorf("%s\n got\n%s\nwant%s", c.in, got, c.want)
		}
		if y, err := rules.Parse(got); err != nil || y.String() != x.String() {
			t.Errorf("%s is read as %v, %v", got, y, err)
		}
	}
	for _, r := range shipped(t).Rules {
		got := rules.Layout(r.Condition, 80)
		if y, err := rules.Parse(got); err != nil || y.String() != r.Condition.String() {
			t.Errorf("%s is read as %v, %v", got, y, err)
		}
	}
}

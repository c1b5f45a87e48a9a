package rules_test

import (
	"errors"
	"strings"
	"testing"

	"kaudit/pkg/rules"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"ka.verb=get", "ka.verb = get"},
		{"a and b or c and not d", "a and b or c and not d"},
		{"a and (b or c)", "a and (b or c)"},
		{"(a and b) and c", "(a and b) and c"},
		{"not not a", "a"},
		{"not (not a)", "not (not a)"},
		{"not(a or b)and(c)or(d)", "not (a or b) and c or d"},
		{"ka.verb in(get,  \"a b\",'c')", `ka.verb in (get, "a b", c)`},
		{"ka.verb in ()", "ka.verb in ()"},
		{`ka.verb in ("\q")`, "ka.verb in ()"},
		{"ka.verb in verbs", "ka.verb in verbs"},
		{"ka.code >= 0x1f", "ka.code >= 0x1f"},
		{"ka.verb   exists", "ka.verb exists"},
		{`ka.value["/a b"] = "x\"y"`, `ka.value["/a b"] = "x\"y"`},
		{"ka.value['/a'] = '\\''", `ka.value[/a] = "'"`},
		{`ka.verb = "a\ "`, `ka.verb = a\`},
		{`ka.verb = "a b\ "`, `ka.verb = "a b\ "`},
		{"tolower( ka.verb ) = val(ka.stage)", "tolower(ka.verb) = val(ka.stage)"},
		{`join(",", (ka.verb, "x", 1)) contains oneof (a, b)`, `join(",",(ka.verb,"x","1")) contains oneof (a, b)`},
		{"getopt(ka.exec.args, \"a:\")[a] = 1", `getopt(ka.exec.args,"a:")[a] = 1`},
		{"ka.verb = oneof", `ka.verb = "oneof"`},
	} {
		x, err := rules.Parse(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got := x.String(); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		in     string
		column int
		want   string
	}{
		{"", 1, "the condition is empty"},
		{"ka.verb", 8, "want an operator"},
		{"ka.verb is get", 9, "want an operator"},
		{"ka.verb Contains get", 9, "write contains"},
		{"ka.verb contains(get)", 9, "put a blank behind contains"},
		{"ka.verb not in (a)", 9, "write not before the field"},
		{"ka.verb = get && a", 15, "want 'or' or 'and'"},
		{"!ka.verb exists", 1, "write 'not' for '!'"},
		{"a andb", 6, "want a blank or '(' after 'and'"},
		{"(a or b", 8, "want ')'"},
		{"ka.verb in (a,)", 15, "want a text"},
		{"ka.verb in (a b)", 15, "want ')' at the end of the list"},
		{"ka.verb = \"a", 11, "want a text"},
		{`ka.verb = "a\d"`, 16, `write \\ for a backslash`},
		{"ka.code > many", 11, "want a number"},
		{"ka.value[] = a", 10, "want the argument of a field"},
		{"ka.value[a = a", 11, "want ']'"},
		{"tolower(a) = b", 9, "want a field"},
		{"ka.verb = val(x)", 15, "want a field in val()"},
		{strings.Repeat("(", 5000) + "a", 1001, "nests more than 1000 levels deep"},
	} {
		_, err := rules.Parse(c.in)
		var p *rules.Problem
		if !errors.As(err, &p) {
			t.Errorf("%.40s: %v", c.in, err)
			continue
		}
		if p.Pos.Line != 1 || p.Pos.Column != c.column || !strings.Contains(p.Error(), c.want) {
			t.Errorf("%.40s\n got %v\nwant 1:%d: ... %s", c.in, p, c.column, c.want)
		}
	}
}

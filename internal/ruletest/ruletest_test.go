package ruletest_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kaudit/internal/ruletest"
	"kaudit/pkg/rules"
)

// ruleFile has two rules that hold for an exec of a shell, one of them for any exec, and one that is disabled.
const ruleFile = `
- rule: Shell
  desc: d
  condition: ka.verb = get and ka.target.subresource = exec and ka.exec.program in (sh, bash)
  output: shell | user=%ka.user.name groups=%ka.user.groups code=%ka.code as=%ka.impuser.name uid=%ka.value["/user/uid"] dry=%ka.dryrun
  priority: NOTICE
  source: k8s_audit
- rule: Exec
  desc: d
  condition: ka.verb = get and ka.target.subresource = exec
  output: exec
  priority: INFO
  source: k8s_audit
- rule: Disabled
  desc: d
  condition: ka.verb exists
  output: disabled
  priority: INFO
  source: k8s_audit
  enabled: false
`

const shell = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"sh","verb":"get","requestURI":"/x?command=sh",` +
	`"user":{"username":"jane","groups":["a","b c"]},"objectRef":{"resource":"pods","subresource":"exec"},"responseStatus":{"code":101}}`

// folder writes files into a new folder and makes it the current one.
func folder(t testing.TB, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if files["r.yaml"] == "" {
		write(t, "r.yaml", ruleFile)
	}
	for name, content := range files {
		write(t, name, content)
	}
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// defaults are the rules of test files that name none.
var defaults = sync.OnceValues(func() (*rules.Ruleset, error) {
	return rules.Read(rules.Options{}, rules.File{Name: "default.yaml", Content: []byte(ruleFile)})
})

func load(names ...string) *ruletest.Suite {
	return ruletest.Load(ruletest.Options{Default: defaults}, names...)
}

func render(problems []*rules.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(p.Error() + "\n")
	}
	return b.String()
}

// failures runs a test file, which has to be right, and renders what failed.
func failures(t *testing.T, name string) string {
	t.Helper()
	s := load(name)
	if p := s.Problems(); len(p) > 0 {
		t.Fatal(render(p))
	}
	var b strings.Builder
	for _, f := range s.Run(ruletest.Selection{}).Files {
		for _, r := range f.Tests {
			for _, x := range r.Failures {
				fmt.Fprintf(&b, "%s: %s: %s %s %s", r.Name, x.Event, x.Kind, x.Rule, x.Text)
				if x.Why != "" {
					b.WriteString(" because " + x.Why)
				}
				b.WriteByte('\n')
			}
		}
	}
	return b.String()
}

func TestVerdicts(t *testing.T) {
	for name, row := range map[string]struct{ tests, want string }{
		"exactly":              {`{event: e, fires: [Exec, Shell]}`, ""},
		"one more":             {`{event: e, fires: Exec}`, "x: e.jsonl:1: unexpected Shell fired, and is not among those that may because ka.verb = get  ← get; ka.target.subresource = exec  ← exec; ka.exec.program in (sh, bash)  ← sh\n"},
		"one more that may":    {`{event: e, fires: Exec, also: Shell}`, ""},
		"any more that may":    {`{event: e, fires: Exec, also: any}`, ""},
		"none":                 {`{event: e, patch: {verb: list}, fires: []}`, ""},
		"one that must not":    {`{event: e, quiet: [Exec]}`, "x: e.jsonl:1: unexpected Exec fired, and must not because ka.verb = get  ← get; ka.target.subresource = exec  ← exec\n"},
		"quiet enough":         {`{event: {event: e, patch: {verb: list}}, quiet: [Exec, Shell]}`, ""},
		"missing":              {`{event: e, patch: {verb: list}, fires: Exec}`, "x: e.jsonl:1: missing Exec did not fire because ka.verb = get  ← list\n"},
		"disabled":             {`{event: e, fires: Disabled, also: any}`, "x: e.jsonl:1: missing Disabled did not fire because it is disabled at r.yaml:14:9\n"},
		"merge patch removes":  {`{event: e, patch: {objectRef: {subresource: null}}, fires: Exec}`, "x: e.jsonl:1: missing Exec did not fire because ka.target.subresource = exec  ← <NA>\n"},
		"JSON patch":           {`{event: e, patch: [{op: move, from: /objectRef/subresource, path: /objectRef/name}], fires: []}`, ""},
		"each event":           {`{event: [e, {verb: get}], fires: [Exec, Shell]}`, "x: x_test.yaml:6: missing Exec did not fire because ka.target.subresource = exec  ← <NA>\nx: x_test.yaml:6: missing Shell did not fire because ka.target.subresource = exec  ← <NA>\n"},
		"fields":               {`{event: e, fires: {Exec: , Shell: {output: {ka.user.name: jane, ka.code: 101, ka.impuser.name: null, ka.dryrun: false, ka.user.groups: [a, b c], "ka.value[/user/uid]": <NA>}}}}`, ""},
		"fields as printed":    {`{event: e, fires: {Exec: , Shell: {output: {ka.user.groups: "(a,b c)", ka.code: "101", "ka.value[\"/user/uid\"]": <NA>}}}}`, ""},
		"another field":        {`{event: e, fires: {Exec: , Shell: {output: {ka.user.name: bob}}}}`, "x: e.jsonl:1: differs Shell has ka.user.name = jane, want bob\n"},
		"an empty field":       {`{event: e, patch: {user: {username: ""}}, fires: {Exec: , Shell: {output: {ka.user.name: bob}}}}`, "x: e.jsonl:1: differs Shell has ka.user.name = \"\", want bob\n"},
		"another list":         {`{event: e, fires: {Exec: , Shell: {output: {ka.user.groups: [a, b, c]}}}}`, "x: e.jsonl:1: differs Shell has ka.user.groups = (a,b c), want (a,b,c)\n"},
		"a list for one":       {`{event: e, fires: {Exec: , Shell: {output: {ka.user.name: [jane]}}}}`, "x: e.jsonl:1: differs Shell has ka.user.name = jane, want (jane)\n"},
		"text":                 {`{event: e, fires: {Exec: {text: ^exec$}, Shell: {text: user=j.* code=101}}}`, ""},
		"another text":         {`{event: e, fires: {Exec: {text: shell}, Shell: }}`, "x: e.jsonl:1: differs Exec has an output that \"shell\" does not match: exec\n"},
		"priority":             {`{event: e, fires: {Exec: {priority: informational}, Shell: {priority: NOTICE}}}`, ""},
		"another priority":     {`{event: e, fires: {Exec: {priority: ERROR}, Shell: }}`, "x: e.jsonl:1: differs Exec has priority Informational, want Error\n"},
		"rule in a mapping":    {`{event: e, fires: {rule: Exec, text: exec}, also: any}`, ""},
		"from another name":    {`{event: twice, fires: [Exec, Shell]}`, ""},
		"inline, said to be":   {`{event: {auditID: "1", verb: get, objectRef: {subresource: exec}}, fires: Exec}`, ""},
		"inline, not said":     {`{event: {verb: get, objectRef: {subresource: exec}}, fires: Exec}`, ""},
		"inline JSON":          {`{event: '{"auditID":"\ud83d\ude00","verb":"get","objectRef":{"subresource":"exec"}}', fires: Exec}`, ""},
		"a named one is named": {`{event: inline, fires: Exec}`, "x: event inline: missing Exec did not fire because ka.verb = get  ← list\n"},
	} {
		t.Run(name, func(t *testing.T) {
			folder(t, map[string]string{
				"e.jsonl":     shell + "\n",
				"x_test.yaml": "rules: r.yaml\nevents:\n  e: {file: e.jsonl}\n  twice: [e, e]\n  inline: {verb: list}\ntests: [{name: x, " + row.tests[1:] + "]\n",
			})
			if got := failures(t, "x_test.yaml"); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestUnderMatchingFirstTheFirstRuleTakesTheEvent(t *testing.T) {
	folder(t, map[string]string{"e.jsonl": shell, "x_test.yaml": "rules: r.yaml\nmatching: first\ntests:\n" +
		"- {name: a, event: {file: e.jsonl}, fires: Shell}\n- {name: b, event: {file: e.jsonl}, fires: Exec, also: any}\n"})
	const want = "b: e.jsonl:1: missing Exec did not fire because its condition holds, but with matching: first rule Shell before it takes the event\n"
	if got := failures(t, "x_test.yaml"); got != want {
		t.Errorf("got %s", got)
	}
}

func TestTheDefaultRulesAreForFilesThatNameNone(t *testing.T) {
	folder(t, map[string]string{"e.jsonl": shell, "x_test.yaml": "tests:\n- {name: a, event: {file: e.jsonl}, fires: [Shell, Exec]}\n"})
	if got := failures(t, "x_test.yaml"); got != "" {
		t.Error(got)
	}
}

func TestFilesOfEvents(t *testing.T) {
	pretty := strings.ReplaceAll(shell, `,"`, ",\n\"")
	for name, row := range map[string]struct{ file, content, want string }{
		"lines":              {"e.jsonl", shell + "\n\n" + shell + "\n", "e.jsonl:1 e.jsonl:3"},
		"one on many lines":  {"e.json", pretty + "\n" + pretty, "e.json:1 e.json:12"},
		"an array":           {"e.json", "[" + shell + ",\n" + shell + "]", "e.json:1 item 1 e.json:1 item 2"},
		"a list":             {"e.json", `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[` + shell + "," + shell + "]}", "e.json:1 item 1 e.json:1 item 2"},
		"byte order mark":    {"e.json", "\xef\xbb\xbf" + shell, "e.json:1"},
		"YAML":               {"e.yaml", "---\nkind: Event\napiVersion: audit.k8s.io/v1\n---\nauditID: 1\n---\n", "e.yaml:2 e.yaml:5"},
		"broken":             {"e.jsonl", shell + "\n" + `{"auditID":"1",}` + "\n", `e.jsonl:2:16: not JSON: invalid character '}' looking for beginning of object key string`},
		"cut":                {"e.jsonl", shell + "\n" + `{"auditID":"1"`, `e.jsonl:2:15: not JSON: it ends too early`},
		"broken at once":     {"e.jsonl", "x", `e.jsonl:1:1: not JSON: invalid character 'x' looking for beginning of value`},
		"something else":     {"e.jsonl", shell + "\n" + `{"kind":"Pod"}`, `e.jsonl:2:1: not an audit event; an event has an auditID, or says kind: Event and apiVersion: audit.k8s.io/v1`},
		"a number":           {"e.jsonl", "7", `e.jsonl:1:1: not JSON; an event has an auditID, or says kind: Event and apiVersion: audit.k8s.io/v1`},
		"nothing":            {"e.jsonl", "\n", `x_test.yaml:2:27: test x: e.jsonl: there are no events in it`},
		"YAML that is not":   {"e.yaml", "a: [", `e.yaml:1:1: not YAML: did not find expected node content`},
		"YAML that is other": {"e.yaml", "- a\n", `e.yaml:1:1: not an audit event; an event has an auditID, or says kind: Event and apiVersion: audit.k8s.io/v1`},
		"not there":          {"f.jsonl", "", `x_test.yaml:2:27: test x: e.jsonl: read it: no such file or directory`},
	} {
		t.Run(name, func(t *testing.T) {
			file := row.file
			if file == "f.jsonl" {
				file = "e.jsonl"
			}
			folder(t, map[string]string{row.file: row.content, "x_test.yaml": "tests:\n- {name: x, event: {file: " + file + "}, fires: Disabled}\n"})
			s := load("x_test.yaml")
			got := strings.TrimSuffix(render(s.Problems()), "\n")
			if got == "" {
				var from []string
				for _, x := range s.Run(ruletest.Selection{}).Files[0].Tests[0].Failures {
					if x.Kind == ruletest.Missing {
						from = append(from, x.Event)
					}
				}
				got = strings.Join(from, " ")
			}
			if got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	const head = "rules: r.yaml\nevents: {e: {verb: get}}\n"
	for name, row := range map[string]struct{ content, want string }{
		"empty":                   {"", "1:1: there are no tests in it; write tests: or fixtures:"},
		"only a comment":          {"# nothing\n", "1:1: there are no tests in it; write tests: or fixtures:"},
		"a list":                  {"- a\n", "1:1: a test file is not a mapping of keys to values; there is: rules, matching, events, tests, fixtures"},
		"no tests":                {"rules: r.yaml\n", "1:1: there are no tests in it; write tests: or fixtures:"},
		"two documents":           {"tests: []\n---\ntests: []\n", "3:1: a second document begins here; write one file for each"},
		"not YAML":                {"tests:\n  a: b: c\n", "2:1: not YAML: mapping values are not allowed in this context"},
		"not YAML behind it":      {head + "tests: []\n---\n\ta", "5:1: not YAML: found character that cannot start any token"},
		"a key that is none":      {"test: []\n", `1:1: there is no "test" in a test file; did you mean tests?`},
		"a key that is a list":    {"[a]: b\n", "1:1: a key is not a text"},
		"rules that are none":     {"rules: {}\ntests: []", "1:8: rules is not a list of texts; write [a, b], or each on a line with a dash\n1:8: rules names no rules; name files and folders, or leave rules: out\n2:8: tests is empty"},
		"rules not there":         {"rules: s.yaml\ntests: [{name: x, event: {verb: get}, fires: A}]", "1:8: s.yaml: read it: no such file or directory"},
		"a folder without":        {"rules: empty\ntests: [{name: x, event: {verb: get}, fires: A}]", "1:8: empty: there are no files of rules in this folder; rule files are named *.yaml or *.yml"},
		"no file of rules":        {"rules: e.jsonl\ntests: [{name: x, event: {verb: get}, fires: A}]", "1:8: e.jsonl: this is not a file of rules; rule files are named *.yaml or *.yml"},
		"tests among the rules":   {"rules: .\ntests: [{name: x, event: {verb: get}, fires: A}]", "x_test.yaml:1:1: this file of tests is in a folder of rules, and Falco would load it as rules; move it to a folder below"},
		"matching":                {head + "matching: one\ntests: []", `3:11: matching is "one"; write all or first` + "\n4:8: tests is empty"},
		"events in a list":        {"events: [a]\ntests: []", "1:9: events is not a mapping of names to events; write a name, a colon, and an event\n2:8: tests is empty"},
		"tests in a mapping":      {head + "tests: {a: b}", "3:8: tests is not a list; begin each test with a dash"},
		"a test that is a text":   {head + "tests: [a]", "3:9: a test is not a mapping of keys to values; begin it with name:"},
		"no name, nothing":        {head + "tests: [{}]", "3:9: the test has no name; write name: and what it tests\n3:9: the test has no event; write event: and the name of one, {file: name}, or the event itself\n3:9: the test expects nothing; write fires: or quiet:; fires: [] if no rule may fire"},
		"a name that is none":     {head + "tests: [{name: [], event: e, fires: []}]", "3:16: name is not a text"},
		"two of a name":           {head + "tests: [{name: a, event: e, fires: []}, {name: a, event: e, fires: []}]", `3:41: two tests are called "a"; the first is at x_test.yaml:3:9`},
		"a key of a test":         {head + "tests: [{name: a, event: e, fire: []}]", "3:9: test a: the test expects nothing; write fires: or quiet:; fires: [] if no rule may fire\n" + `3:29: test a: there is no "fire" in a test; did you mean fires?`},
		"a key twice":             {head + "tests: [{name: a, event: e, fires: [], fires: []}]", "3:40: fires is there twice; the first is in line 3"},
		"also without fires":      {head + "tests: [{name: a, event: e, quiet: Exec, also: any}]", "3:48: test a: also says what may fire besides the rules in fires:; leave it out: without fires: any rule may fire that is not in quiet:"},
		"fires and quiet":         {head + "tests: [{name: a, event: e, fires: Exec, quiet: Exec}]", "3:49: test a: rule Exec has to fire and must not"},
		"no such rule":            {head + "tests: [{name: a, event: e, fires: Exex, quiet: Zzz, also: [Shel]}]", `3:36: test a: there is no rule "Exex" in r.yaml; did you mean Exec?` + "\n" + `3:49: test a: there is no rule "Zzz" in r.yaml; there is: Shell, Exec, Disabled` + "\n" + `3:61: test a: there is no rule "Shel" in r.yaml; did you mean Shell?`},
		"fires of nothing":        {head + "tests: [{name: a, event: e, fires: }]", "3:36: test a: fires is empty; write fires: [] if no rule may fire"},
		"fires twice":             {head + "tests: [{name: a, event: e, fires: [Exec, Exec]}]", "3:43: test a: rule Exec is there twice"},
		"fires of a list":         {head + "tests: [{name: a, event: e, fires: [[Exec]]}]", "3:37: test a: an element of fires is not a rule; write its name, or rule: and its name"},
		"fires without a rule":    {head + "tests: [{name: a, event: e, fires: [{text: a}]}]", "3:37: test a: this does not say which rule fires; write rule: and its name"},
		"rule of nothing":         {head + "tests: [{name: a, event: e, fires: [{rule: }]}]", "3:44: test a: rule is empty"},
		"expected: a text":        {head + "tests: [{name: a, event: e, fires: {Exec: yes}}]", "3:43: test a: what is expected of a rule is not a mapping of keys to values; there is: rule, output, text, priority"},
		"expected: no such key":   {head + "tests: [{name: a, event: e, fires: {Exec: {prio: INFO}}}]", `3:44: test a: there is no "prio" in what is expected of a rule; there is: rule, output, text, priority`},
		"output: a text":          {head + "tests: [{name: a, event: e, fires: {Exec: {output: exec}}}]", "3:52: test a: output is not a mapping of fields to values; write output: {ka.user.name: jane}; text: takes a regular expression for the whole of it"},
		"output: no such field":   {head + "tests: [{name: a, event: e, fires: {Shell: {output: {ka.usr.name: a}}}}]", "3:54: test a: the output of rule Shell has no field ka.usr.name; did you mean ka.user.name?"},
		"output: a mapping":       {head + "tests: [{name: a, event: e, fires: {Shell: {output: {ka.user.name: {}}}}}]", "3:68: test a: the value of ka.user.name is not a text; write it as Falco prints it: jane, 201, (a,b) or <NA>"},
		"output: lists in a list": {head + "tests: [{name: a, event: e, fires: {Shell: {output: {ka.user.name: [[]]}}}}]", "3:69: test a: a value in the list of ka.user.name is not a text"},
		"text: no expression":     {head + "tests: [{name: a, event: e, fires: {Exec: {text: '*'}}}]", "3:50: test a: text is not a regular expression: missing argument to repetition operator: `*`; put a backslash before a character that stands for itself"},
		"priority":                {head + "tests: [{name: a, event: e, fires: {Exec: {priority: WARN}}}]", `3:54: test a: there is no priority "WARN"; there is: EMERGENCY, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFORMATIONAL, DEBUG`},
		"no such event":           {head + "tests: [{name: a, event: f, fires: []}]", `3:26: test a: there is no event "f"; there is: e`},
		"no named events":         {"tests: [{name: a, event: f, fires: []}]", `1:26: test a: there is no event "f"; name it under events:, or write {file: name}`},
		"event of nothing":        {head + "tests: [{name: a, event: , fires: []}]", "3:26: test a: there is no event here; write the name of an event, {file: name}, or the event"},
		"events of nothing":       {head + "tests: [{name: a, event: [], fires: []}]", "3:26: test a: the list of events is empty"},
		"an event of itself":      {"events: {e: {event: f}, f: [e]}\ntests: [{name: a, event: e, fires: []}]", `1:29: event e: event "e" is made of itself`},
		"a list of itself":        {"tests: [{name: a, event: &a [*a], fires: []}]", "1:26: test a: this list has itself in it, or nests too deep"},
		"a patch of itself":       {"tests: [{name: a, event: &a {event: *a}, fires: []}]", "1:26: test a: this event is made of itself, or nests too deep"},
		"merged with itself":      {"tests: [{name: a, event: &a {<<: *a}, fires: []}]", "1:26: test a: this mapping is merged into itself"},
		"merged with a text":      {"tests: [{name: a, event: {<<: a}, fires: []}]", "1:26: test a: << wants a mapping, or a list of them"},
		"a value of itself":       {"tests: [{name: a, event: {requestObject: &a [*a]}, fires: []}]", "1:42: test a: this nests more than 200 deep, or the aliases stand for more than 1048576 values"},
		"no line":                 {"tests: [{name: a, event: {file: e.jsonl, line: 2}, fires: []}]", "1:48: test a: no event of e.jsonl begins in line 2; it has 1 event, the last in line 1"},
		"no audit ID":             {"tests: [{name: a, event: {file: e.jsonl, auditID: ssh}, fires: []}]", `1:51: test a: no event of e.jsonl has auditID "ssh"; did you mean sh?`},
		"no audit ID there":       {"tests: [{name: a, event: {file: e.jsonl, auditID: zzz, line: 1}, fires: []}]", `1:51: test a: no event of e.jsonl has auditID "zzz" in line 1; there is: sh`},
		"file of nothing":         {"tests: [{name: a, event: {file: }, fires: []}]", "1:33: test a: file is empty"},
		"a key beside file":       {"tests: [{name: a, event: {file: e.jsonl, lines: 2}, fires: []}]", `1:42: test a: there is no "lines" in a reference to a file of events; did you mean line?`},
		"inline: a member":        {"tests: [{name: a, event: {verp: get}, fires: []}]", `1:27: test a: there is no "verp" in an audit event; did you mean verb?`},
		"inline: a member below":  {"tests: [{name: a, event: {objectRef: {resorce: pods}}, fires: []}]", `1:39: test a: there is no "resorce" in objectRef; did you mean resource?`},
		"inline: a number":        {"tests: [{name: a, event: {user: {uid: 007}}, fires: []}]", `1:39: test a: uid is a number, and in an audit event it is a text; write "007"`},
		"inline: a truth":         {"tests: [{name: a, event: {verb: true}, fires: []}]", "1:33: test a: verb is true or false, and in an audit event it is a text"},
		"inline: a text":          {"tests: [{name: a, event: {sourceIPs: 10.0.0.1}, fires: []}]", "1:38: test a: sourceIPs is a text, and in an audit event it is a list"},
		"inline: no number":       {"tests: [{name: a, event: {requestObject: .nan}, fires: []}]", "1:42: test a: JSON has no number .nan; put it in quotes if it is a text"},
		"inline: a tag":           {"tests: [{name: a, event: {requestObject: !secret x}, fires: []}]", "1:42: test a: values with the tag !secret are not read; leave the tag out"},
		"inline: another kind":    {"tests: [{name: a, event: {kind: Pod}, fires: []}]", "1:26: test a: not an audit event; an event has an auditID, or says kind: Event and apiVersion: audit.k8s.io/v1"},
		"inline: not JSON":        {"tests: [{name: a, event: '{}}', fires: []}]", "1:26: test a: not JSON: invalid character '}' after top-level value"},
		"inline: two":             {`tests: [{name: a, event: '{"kind":"EventList","items":[{"auditID":"1"},{"auditID":"2"}]}', fires: []}]`, "1:26: test a: this is 2 events, and one is wanted; write them to a file, or each on its own"},
		"patch: a text":           {head + "tests: [{name: a, event: e, patch: verb, fires: []}]", "3:36: test a: a patch is not a text; write members as the event has them, or a list of {op, path, value}"},
		"patch: a member":         {head + "tests: [{name: a, event: e, patch: {usr: {}}, fires: []}]", `3:37: test a: there is no "usr" in an audit event; did you mean user?`},
		"patch: no event":         {head + "tests: [{name: a, event: e, patch: {kind: null}, fires: []}]", "3:36: test a: with this patch it is no event any more: not an audit event"},
		"patch: an operation":     {head + "tests: [{name: a, event: e, patch: [{op: ad, path: /verb, value: a}], fires: []}]", `3:42: test a: there is no operation "ad"; there is: add, remove, replace, move, copy, test`},
		"patch: no path":          {head + "tests: [{name: a, event: e, patch: [{op: remove}], fires: []}]", "3:37: test a: there is no path"},
		"patch: a path":           {head + "tests: [{name: a, event: e, patch: [{op: remove, path: user.uid}], fires: []}]", `3:56: test a: path "user.uid" does not begin with a slash; write /user/uid`},
		"patch: no value":         {head + "tests: [{name: a, event: e, patch: [{op: replace, path: /verb}], fires: []}]", "3:37: test a: replace needs value"},
		"patch: no from":          {head + "tests: [{name: a, event: e, patch: [{op: move, path: /verb}], fires: []}]", "3:37: test a: move needs from"},
		"patch: a text in it":     {head + "tests: [{name: a, event: e, patch: [a], fires: []}]", "3:37: test a: an operation of a JSON patch is not a mapping; write {op: add, path: /user/username, value: jane}"},
		"patch: a member in it":   {head + "tests: [{name: a, event: e, patch: [{op: add, path: /user/name, value: a}], fires: []}]", `3:53: test a: there is no "name" in user; there is: extra, groups, uid, username`},
		"patch: a value in it":    {head + "tests: [{name: a, event: e, patch: [{op: replace, path: /verb, value: 1}], fires: []}]", `3:71: test a: verb is a number, and in an audit event it is a text; write "1"`},
		"patch: does not fit":     {head + "tests: [{name: a, event: e, patch: [{op: remove, path: /user}], fires: []}]", "3:37: test a: the patch does not fit the event: error in remove for path: '/user': Unable to remove nonexistent key: user: missing value"},
		"patch: test fails":       {head + "tests: [{name: a, event: e, patch: [{op: test, path: /verb, value: list}], fires: []}]", "3:37: test a: the patch does not fit the event: testing value /verb failed: test failed"},
		"fixtures: nothing":       {"rules: r.yaml\nfixtures:\n", "2:10: fixtures: there are no fixtures here; name a folder with one for each rule, in which there are fires.jsonl and quiet.jsonl"},
		"fixtures: no folder":     {"rules: r.yaml\nfixtures: nowhere\n", "2:11: fixtures: nowhere: read it: no such file or directory"},
		"fixtures: no folders":    {"rules: r.yaml\nfixtures: empty\n", "2:11: fixtures: there are no folders in empty; it has one for each rule, in which there are fires.jsonl and quiet.jsonl"},
		"fixtures: of no rule":    {"rules: r.yaml\nfixtures: norule\n", "2:11: fixtures: norule/shel is the folder of no rule; did you mean shell?"},
		"fixtures: other files":   {"rules: r.yaml\nfixtures: other\n", "2:11: fixtures: other/exec/fire.jsonl is no file of fixtures; it may have fires.jsonl, quiet.jsonl and also.txt\n2:11: fixtures: other/exec has neither fires.jsonl nor quiet.jsonl"},
		"fixtures: broken":        {"rules: r.yaml\nfixtures: {folder: broken}\n", "broken/exec/fires.jsonl:1:2: not JSON: it ends too early"},
		"fixtures: also":          {"rules: r.yaml\nfixtures: {folder: right, also: {Exek: Exec, Exec: [Shel]}}\n", `2:34: fixtures: there is no rule "Exek" in r.yaml; did you mean Exec?` + "\n" + `2:53: fixtures: there is no rule "Shel" in r.yaml; did you mean Shell?`},
		"fixtures: also.txt":      {"rules: r.yaml\nfixtures: alsotxt\n", `2:11: fixtures: alsotxt/exec/also.txt: there is no rule "Shel"; did you mean Shell?`},
		"fixtures: also a list":   {"rules: r.yaml\nfixtures: {folder: right, also: [Exec]}\n", "2:33: fixtures: also is not a mapping of rules to lists of rules; write the rule with the fixtures, a colon, and a list of the others"},
		"fixtures: a key":         {"rules: r.yaml\nfixtures: {folders: right}\n", "2:11: fixtures: there is no folder\n" + `2:12: fixtures: there is no "folders" in fixtures; did you mean folder?`},
	} {
		t.Run(name, func(t *testing.T) {
			folder(t, map[string]string{
				"x_test.yaml": row.content, "e.jsonl": shell,
				"empty/.hidden": "", "norule/shel/fires.jsonl": shell, "other/exec/fire.jsonl": shell,
				"broken/exec/fires.jsonl": "{", "alsotxt/exec/fires.jsonl": shell, "alsotxt/exec/also.txt": "Shel\n", "right/exec/fires.jsonl": shell,
			})
			got := strings.ReplaceAll("\n"+render(load("x_test.yaml").Problems()), "\nx_test.yaml:", "\n")
			if strings.HasPrefix(row.want, "x_test") {
				got = "\n" + render(load("x_test.yaml").Problems())
			}
			if got = strings.Trim(got, "\n"); got != row.want {
				t.Errorf("got  %s\nwant %s", got, row.want)
			}
		})
	}
}

func TestAliasesThatStandForTooMuch(t *testing.T) {
	var b strings.Builder
	b.WriteString("tests:\n- name: x\n  fires: []\n  event:\n    annotations:\n      a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "      a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10))
	}
	folder(t, map[string]string{"x_test.yaml": b.String()})
	if got := render(load("x_test.yaml").Problems()); strings.Count(got, "\n") != 1 || !strings.Contains(got, "more than 1048576 values") {
		t.Error(got)
	}
}

func TestEveryFileIsReadAndEveryErrorTold(t *testing.T) {
	folder(t, map[string]string{"a_test.yaml": "x: 1\ny: 2\n", "b_test.yaml": "tests: 1\n", "c_test.yaml": "tests: [{name: x, event: {verb: get}, fires: []}]"})
	s := load("a_test.yaml", "b_test.yaml", "missing.yaml", "c_test.yaml")
	const want = `a_test.yaml:1:1: there is no "x" in a test file; there is: rules, matching, events, tests, fixtures
a_test.yaml:2:1: there is no "y" in a test file; there is: rules, matching, events, tests, fixtures
b_test.yaml:1:8: tests is not a list; begin each test with a dash
missing.yaml: read it: no such file or directory
`
	if got := render(s.Problems()); got != want {
		t.Errorf("got %s", got)
	}
	if n := s.Run(ruletest.Selection{}).Tally(); n != (ruletest.Tally{Tests: 1, Events: 1, Broken: 3}) {
		t.Errorf("%+v", n)
	}
}

func TestErrorsOfRulesAreToldOnce(t *testing.T) {
	folder(t, map[string]string{
		"r.yaml":      "- {rule: R, desc: d, condition: ka.verp = get, output: o, priority: INFO, source: k8s_audit}\n",
		"a_test.yaml": "rules: r.yaml\ntests: [{name: x, event: {verb: get}, fires: [A]}]",
		"b_test.yaml": "rules: r.yaml\ntests: [{name: x, event: {verb: get}, fires: [B]}]",
	})
	if got, want := render(load("a_test.yaml", "b_test.yaml").Problems()), "r.yaml:1:33: rule R: there is no field ka.verp; did you mean ka.verb?\n"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestFixtures(t *testing.T) {
	quiet := strings.ReplaceAll(shell, `"sh"`, `"ls"`)
	quiet = strings.ReplaceAll(quiet, "command=sh", "command=ls")
	files := map[string]string{
		"f/shell/fires.jsonl": shell + "\n" + shell, "f/shell/quiet.jsonl": quiet,
		"f/exec/fires.jsonl": quiet, "f/.hidden/x": "", "f/README.md": "",
		"a_test.yaml": "rules: r.yaml\nfixtures: f\n",
		"b_test.yaml": "rules: r.yaml\nfixtures: [{folder: f, also: {Shell: Exec}}]\n",
		"c_test.yaml": "rules: r.yaml\nfixtures: {folder: f, also: {}}\n",
	}
	folder(t, files)
	s := load("a_test.yaml")
	var names []string
	for _, x := range s.Run(ruletest.Selection{}).Files[0].Tests {
		names = append(names, fmt.Sprintf("%s (%d) %v", x.Name, x.Events, x.Pos))
	}
	if got, want := strings.Join(names, "\n"), "Exec fires (1) f/exec/fires.jsonl:1:1\nShell fires (2) f/shell/fires.jsonl:1:1\nShell stays quiet (1) f/shell/quiet.jsonl:1:1"; got != want {
		t.Errorf("tests\n%s", got)
	}
	for name, want := range map[string]string{
		"a_test.yaml": "", "b_test.yaml": "",
		"c_test.yaml": "Shell fires: f/shell/fires.jsonl:1: unexpected Exec fired, and is not among those that may because ka.verb = get  ← get; ka.target.subresource = exec  ← exec\n" +
			"Shell fires: f/shell/fires.jsonl:2: unexpected Exec fired, and is not among those that may because ka.verb = get  ← get; ka.target.subresource = exec  ← exec\n",
	} {
		if got := failures(t, name); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", name, got, want)
		}
	}
	write(t, "f/shell/also.txt", "Exec\n")
	write(t, "f/shell/notes.md", "why these events are made by hand")
	write(t, "f/shell/fires.handmade.jsonl", quiet)
	write(t, "f/disabled/fires.jsonl", shell)
	write(t, "f/disabled/quiet.jsonl", shell)
	const want = "Disabled stays quiet: f/disabled/quiet.jsonl:1: unexpected Disabled fired, and must not because ka.verb exists  ← get\n" +
		"Shell fires, handmade: f/shell/fires.handmade.jsonl:1: missing Shell did not fire because ka.exec.program in (sh, bash)  ← ls\n"
	if got := failures(t, "c_test.yaml"); got != want {
		t.Errorf("with notes and others\ngot  %s\nwant %s", got, want)
	}
	write(t, "f/shell/quiet.jsonl", shell)
	write(t, "f/shell/fires.jsonl", quiet)
	got := failures(t, "a_test.yaml")
	for _, want := range []string{"Shell fires: f/shell/fires.jsonl:1: missing Shell did not fire because ka.exec.program in (sh, bash)  ← ls\n", "Shell stays quiet: f/shell/quiet.jsonl:1: unexpected Shell fired, and must not"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
}

func TestFind(t *testing.T) {
	folder(t, map[string]string{
		"a_test.yaml": "", "d/b_test.yml": "", "d/e/c_test.yaml": "", "d/rules.yaml": "", "d/test.yaml": "", "d/go_test.go": "",
		".git/x_test.yaml": "", "vendor/x_test.yaml": "", "node_modules/p/x_test.yaml": "", "other.txt": "",
	})
	for name, row := range map[string]struct {
		paths         []string
		files, folder string
		problems      string
	}{
		"here":           {[]string{"."}, "a_test.yaml d/b_test.yml d/e/c_test.yaml", ". d d/e", ""},
		"a folder":       {[]string{"d/"}, "d/b_test.yml d/e/c_test.yaml", "d d/e", ""},
		"a file":         {[]string{"other.txt"}, "other.txt", "", ""},
		"twice":          {[]string{"d/e/c_test.yaml", "d/e", "./d/e/c_test.yaml"}, "d/e/c_test.yaml", "d/e", ""},
		"left out, said": {[]string{"vendor"}, "vendor/x_test.yaml", "vendor", ""},
		"not there":      {[]string{"nowhere", "d/e"}, "nowhere d/e/c_test.yaml", "d/e", ""},
	} {
		f := ruletest.Find(row.paths...)
		if got := strings.Join(f.Files, " "); got != row.files {
			t.Errorf("%s: files %s, want %s", name, got, row.files)
		}
		if got := strings.Join(f.Seen.Paths(), " "); got != row.folder {
			t.Errorf("%s: folders %s, want %s", name, got, row.folder)
		}
		if got := render(f.Problems); got != row.problems {
			t.Errorf("%s: problems %s, want %s", name, got, row.problems)
		}
	}
}

func TestSelection(t *testing.T) {
	folder(t, map[string]string{"x_test.yaml": "rules: r.yaml\ntests:\n- {name: one, event: {verb: get}, fires: Exec}\n- {name: two, event: {verb: get}, fires: []}\n"})
	s := load("x_test.yaml")
	r := s.Run(ruletest.Selection{Only: regexp.MustCompile("^two$")})
	if n := r.Tally(); n != (ruletest.Tally{Tests: 1, Events: 1}) {
		t.Errorf("%+v", n)
	}
	r = s.Run(ruletest.Selection{Explain: true})
	if f := r.Files[0].Tests[0].Failures; len(f) != 1 || f[0].Trace == nil {
		t.Errorf("%+v", f)
	}
}

func TestCoverageCountsWhatATestWants(t *testing.T) {
	folder(t, map[string]string{
		"e.jsonl":     shell,
		"a_test.yaml": "rules: r.yaml\ntests:\n- {name: one, event: {file: e.jsonl}, fires: Exec, also: any}\n",
		"b_test.yaml": "rules: [r.yaml]\ntests:\n- {name: one, event: {verb: get}, quiet: Shell}\n",
	})
	all, uncovered := load("a_test.yaml", "b_test.yaml").Run(ruletest.Selection{}).Coverage()
	if all != 2 || len(uncovered) != 1 || uncovered[0].Name != "Shell" {
		t.Errorf("%d rules, %v", all, uncovered)
	}
}

// report runs a file whose names and values have characters that neither XML nor a terminal takes.
func report(t *testing.T) *ruletest.Report {
	t.Helper()
	folder(t, map[string]string{
		"e.jsonl": shell + "\n" + strings.Replace(shell, `"jane"`, `"\u001b[31m\u0000\u0008<&\"\n]]>\ufffe"`, 1),
		"d/x_test.yaml": "rules: ../r.yaml\ntests:\n" +
			"- {name: \"bell \\a and <&>\\\"'\", event: {file: ../e.jsonl}, fires: {Exec: , Shell: {output: {ka.user.name: bob}}}}\n" +
			"- {name: passes, event: {file: ../e.jsonl}, fires: [Exec, Shell]}\n" +
			"- {name: explained, event: {file: ../e.jsonl, line: 1}, patch: {verb: list}, fires: Exec}\n",
		"bad_test.yaml": "tests: \"\\e[31m\"\nx: 1\n",
	})
	return load("d/x_test.yaml", "bad_test.yaml").Run(ruletest.Selection{Explain: true})
}

func TestJUnitIsRead(t *testing.T) {
	var out bytes.Buffer
	if err := report(t).WriteJUnit(&out); err != nil {
		t.Fatal(err)
	}
	type text struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
	type testcase struct {
		Class   string  `xml:"classname,attr"`
		Name    string  `xml:"name,attr"`
		File    string  `xml:"file,attr"`
		Line    int     `xml:"line,attr"`
		Time    float64 `xml:"time,attr"`
		Failure *text   `xml:"failure"`
		Error   *text   `xml:"error"`
	}
	type counts struct {
		Tests    int     `xml:"tests,attr"`
		Failures int     `xml:"failures,attr"`
		Errors   int     `xml:"errors,attr"`
		Time     float64 `xml:"time,attr"`
	}
	var got struct {
		XMLName xml.Name `xml:"testsuites"`
		counts
		Suites []struct {
			Name string `xml:"name,attr"`
			counts
			Cases []testcase `xml:"testcase"`
		} `xml:"testsuite"`
	}
	d := xml.NewDecoder(bytes.NewReader(out.Bytes()))
	d.Strict = true
	if err := d.Decode(&got); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if got.Time <= 0 {
		t.Errorf("it took %v", got.Time)
	}
	got.Time = 0
	if got.counts != (counts{Tests: 4, Failures: 2, Errors: 1}) || len(got.Suites) != 2 {
		t.Errorf("%+v", got.counts)
	}
	var cases []testcase
	for _, s := range got.Suites {
		for _, c := range s.Cases {
			c.Time = 0
			cases = append(cases, c)
		}
	}
	want := []testcase{
		{
			Class: "d.x_test", Name: `bell \a and <&>"'`, File: "d/x_test.yaml", Line: 3,
			Failure: &text{
				`Shell has ka.user.name = jane, want bob (and 1 other)`, "differs",
				"e.jsonl:1 (sh): Shell has ka.user.name = jane, want bob\n" +
					"e.jsonl:2 (sh): Shell has ka.user.name = \\x1b[31m\ufffd\\b<&\"\\n]]>\\ufffe, want bob\n",
			},
		},
		{Class: "d.x_test", Name: "passes", File: "d/x_test.yaml", Line: 4},
		{
			Class: "d.x_test", Name: "explained", File: "d/x_test.yaml", Line: 5,
			Failure: &text{"Exec did not fire", "missing", "e.jsonl:1 (sh): Exec did not fire\n✗ all of\n  ✗ ka.verb = get  ← list\n  · ka.target.subresource = exec\n"},
		},
		{
			Class: "bad_test", Name: "can be read", File: "bad_test.yaml", Line: 1,
			Error: &text{
				"bad_test.yaml:1:8: tests is not a list; begin each test with a dash", "LOAD_ERR_YAML_VALIDATE",
				"bad_test.yaml:1:8: tests is not a list; begin each test with a dash\n    1 | tests: \"\\e[31m\"\n      |        ^\n" +
					"bad_test.yaml:2:1: there is no \"x\" in a test file; there is: rules, matching, events, tests, fixtures\n    2 | x: 1\n      | ^\n",
			},
		},
	}
	if diff := cmp.Diff(want, cases); diff != "" {
		t.Error(diff)
	}
}

func TestTextHasNothingThatATerminalObeys(t *testing.T) {
	r := report(t)
	for _, look := range []ruletest.Look{{}, {Verbose: true, Coverage: true}} {
		var out bytes.Buffer
		if err := r.WriteText(&out, look); err != nil {
			t.Fatal(err)
		}
		if i := bytes.IndexFunc(out.Bytes(), func(c rune) bool { return c < ' ' && c != '\n' || c == 0x7f }); i >= 0 {
			t.Errorf("%q", out.String()[i:min(i+40, out.Len())])
		}
	}
	var plain, colour bytes.Buffer
	if err := r.WriteText(&plain, ruletest.Look{Verbose: true}); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteText(&colour, ruletest.Look{Verbose: true, Colour: true}); err != nil {
		t.Fatal(err)
	}
	if got := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(colour.String(), ""); got != plain.String() || got == colour.String() {
		t.Errorf("coloured\n%s\nplain\n%s", got, plain.String())
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := report(t).WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Tests, Failed, Broken, Events, Rules int
		Seconds                              float64
		Uncovered                            []struct{ Rule, File string }
		Files                                []struct {
			File  string
			Tests []struct {
				Name     string
				File     string
				Line     int
				Passed   bool
				Failures []struct {
					Event, AuditID, Rule, Kind, Text, Why string
					Trace                                 map[string]any
				}
			}
			Problems []struct {
				File         string
				Line, Column int
				Code, Error  string
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 3 || got.Failed != 2 || got.Broken != 1 || got.Events != 5 || got.Rules != 2 || got.Seconds <= 0 || len(got.Uncovered) != 0 {
		t.Errorf("%+v", got)
	}
	f := got.Files[0].Tests[2].Failures[0]
	if f.Event != "e.jsonl:1" || f.AuditID != "sh" || f.Kind != "missing" || f.Why != "ka.verb = get  ← list" || f.Trace["holds"] != false {
		t.Errorf("%+v", f)
	}
	if p := got.Files[1].Problems; len(p) != 2 || p[0].Line != 1 || p[0].Column != 8 || p[0].File != "bad_test.yaml" {
		t.Errorf("%+v", p)
	}
}

func TestPathsAreThoseTheOutcomeDependsOn(t *testing.T) {
	folder(t, map[string]string{
		"d/a.yaml": "[]", "e.jsonl": shell, "f/exec/fires.jsonl": shell,
		"x_test.yaml": "rules: [r.yaml, d]\nfixtures: f\ntests:\n- {name: one, event: [{file: e.jsonl}, {file: missing.jsonl}], fires: []}\n",
	})
	want := []string{"d", "d/a.yaml", "e.jsonl", "f", "f/exec", "f/exec/fires.jsonl", "missing.jsonl", "r.yaml", "x_test.yaml"}
	if got := load("x_test.yaml").Seen.Paths(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

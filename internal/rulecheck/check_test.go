package rulecheck_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kaudit"
	"kaudit/internal/rulecheck"
	"kaudit/pkg/rules"
)

var update = flag.Bool("update", false, "rewrite docs/rule-checks.md and the golden files")

// checked checks rules, or the condition of a rule that is otherwise right.
func checked(t testing.TB, o rulecheck.Options, text string) *rulecheck.Report {
	t.Helper()
	return rulecheck.Run(o, rules.File{Name: "rules.yaml", Content: []byte(ruleOf(text))})
}

func ruleOf(text string) string {
	if strings.HasPrefix(text, "-") || strings.HasPrefix(text, "#") {
		return text
	}
	return `- rule: Example
  desc: Somebody did what the rule is about, which is worth a look.
  condition: >-
    ` + text + `
  output: done | user=%ka.user.name as=%ka.impuser.name from=%ka.sourceips verb=%ka.verb target=%ka.target.path name=%ka.obj.name ns=%ka.target.namespace code=%ka.code
  priority: NOTICE
  source: k8s_audit
  tags: [maturity_incubating, k8s, mitre_execution, T1609]
`
}

func TestEveryCheckHasItsExamples(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range rulecheck.Checks() {
		t.Run(c.ID, func(t *testing.T) {
			if seen[c.ID] || !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(c.ID) {
				t.Error("the id is no id of its own")
			}
			seen[c.ID] = true
			for _, text := range []string{c.About, c.Reason, c.Remedy} {
				if !strings.HasSuffix(strings.TrimRight(text, ")"), ".") {
					t.Errorf("%q is no sentence", text)
				}
			}
			if got := found(checked(t, rulecheck.Options{}, c.Bad)); got[c.ID] == 0 {
				t.Errorf("nothing is found in its bad example, but %v", got)
			}
			r := checked(t, rulecheck.Options{}, c.Good)
			for _, f := range r.Findings {
				if f.Check == c.ID || f.Severity > rulecheck.Info {
					t.Errorf("its good example: %s", f.Render())
				}
			}
			if got := found(checked(t, rulecheck.Options{Ignore: []string{c.ID}}, c.Bad)); got[c.ID] != 0 {
				t.Error("it is not left out")
			}
		})
	}
}

func found(r *rulecheck.Report) map[string]int {
	n := map[string]int{}
	for _, f := range r.Findings {
		n[f.Check]++
	}
	return n
}

func TestOurRulesAreClean(t *testing.T) {
	names, err := fs.Glob(kaudit.Rules, "rules/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var files []rules.File
	for _, name := range names {
		content, err := kaudit.Rules.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, rules.File{Name: path.Base(name), Content: content})
	}
	r := rulecheck.Run(rulecheck.Options{}, files...)
	for _, f := range r.Findings {
		t.Error(f.Render())
	}
	if r.Rules < 20 {
		t.Errorf("only %d rules", r.Rules)
	}
}

// TestVerdicts holds single conditions: what is found in them, besides nothing.
func TestVerdicts(t *testing.T) {
	for condition, want := range map[string]string{
		// Values.
		`ka.verb = craete and ka.done = true`:                                          "impossible-value",
		`ka.verb = impersonate and ka.done = true`:                                     "impossible-value",
		`ka.target.resource = pod and ka.verb = list and ka.done = true`:               "impossible-value",
		`ka.target.resource = pods/exec and ka.success = true and ka.done = true`:      "impossible-value",
		`ka.target.path = pods/ephemeralContainers and ka.done = true`:                 "impossible-value",
		`ka.user.kind in (user, robot) and ka.done = true`:                             "impossible-value",
		`ka.pod.host_namespaces intersects (PID) and ka.done = true`:                   "impossible-value",
		`ka.stage startswith Response and ka.done = true`:                              "",
		`ka.stage startswith Started`:                                                  "impossible-value",
		`tolower(ka.obj.name) = Web and ka.done = true`:                                "impossible-value",
		`ka.code >= 0 and ka.done = true`:                                              "always-true",
		`ka.code >= 100 and ka.done = true`:                                            "",
		`(not ka.verb = get or not ka.verb = list) and ka.done = true`:                 "always-true",
		`(ka.target.name exists or not ka.target.name exists) and ka.done = true`:      "",
		`ka.auth.decision in (allow, forbid) and ka.success = true and ka.done = true`: "always-true",
		// Contradictions.
		`ka.code >= 400 and ka.code < 300 and ka.done = true`:                                               "contradiction",
		`ka.code > 400 and ka.code < 402 and ka.done = true`:                                                "",
		`ka.code > 400 and ka.code < 402 and ka.code != 401 and ka.done = true`:                             "contradiction",
		`ka.target.name exists and not ka.target.name exists and ka.done = true`:                            "contradiction",
		`not ka.target.name exists and ka.target.name startswith a and ka.done = true`:                      "contradiction",
		`ka.target.name startswith kube and ka.target.name startswith system and ka.done = true`:            "contradiction",
		`ka.target.name startswith kube and ka.target.name startswith kube-s and ka.done = true`:            "",
		`ka.target.name = web and not ka.target.name startswith w and ka.done = true`:                       "contradiction",
		`ka.target.name contains secret and not ka.target.name contains ec and ka.done = true`:              "contradiction",
		`ka.verb in (get, list) and not ka.verb in (list, get, watch) and ka.done = true`:                   "contradiction",
		`ka.verb in (get, list) and (ka.verb = watch or ka.verb = delete) and ka.done = true`:               "contradiction",
		`ka.verb in (get, list) and (ka.verb = watch or ka.verb = list) and ka.done = true`:                 "",
		`ka.done = true and (ka.verb = get and ka.verb = list or ka.verb = watch)`:                          "contradiction",
		`ka.action = delete and ka.verb = patch and ka.done = true`:                                         "contradiction",
		`ka.target.path = pods/exec and ka.target.subresource = attach and ka.done = true`:                  "contradiction",
		`ka.target.path = pods/exec and ka.target.resource = pods and ka.done = true and ka.success = true`: "",
		`ka.success = true and ka.code = 403 and ka.done = true`:                                            "contradiction",
		`ka.user.groups in (a, b) and ka.user.groups intersects (c) and ka.done = true`:                     "contradiction",
		`ka.user.groups in (a, b) and ka.user.groups intersects (b) and ka.done = true`:                     "",
		`ka.user.groups intersects (a) and ka.user.groups intersects (b) and ka.done = true`:                "",
		`ka.pod.privileged = true and ka.pod.privileged = false and ka.done = true`:                         "contradiction",
		`ka.user.name = val(ka.obj.name) and not ka.user.name = val(ka.obj.name) and ka.done = true`:        "contradiction",
		`jevt.value[/verb] = get and ka.verb = list and ka.done = true`:                                     "contradiction foreign-field",
		`ka.user.name regex "a.*" and not ka.user.name regex "a.*" and ka.done = true`:                      "contradiction",
		`not (ka.verb = get and ka.verb = list) and ka.done = true`:                                         "contradiction",
		// Twice.
		`ka.verb = list`: "judged-twice",
		`ka.verb = list and not ka.stage = RequestReceived`:                                            "",
		`ka.verb = watch and ka.stage != RequestReceived`:                                              "judged-twice",
		`ka.verb = watch and ka.code = 200`:                                                            "judged-twice",
		`ka.verb = list and ka.code = 200`:                                                             "",
		`ka.verb = create and ka.target.path = pods/exec and ka.success = true`:                        "judged-twice stream-by-verb",
		`ka.target.path = secrets and ka.action = create and ka.obj.kind exists and ka.success = true`: "",
		`ka.target.path = pods/exec and ka.success = true and ka.stage = ResponseStarted`:              "",
		// Ways around.
		`ka.verb = create and ka.target.path = tokenreviews and ka.done = true and ka.success = true`:                      "",
		`ka.verb = create and ka.target.path = serviceaccounts/token and ka.done = true and ka.success = true`:             "",
		`ka.verb in (create, update) and ka.target.path = pods and ka.done = true and ka.success = true`:                   "only-create",
		`ka.verb = delete and ka.target.path = pods and ka.target.name = web and ka.done = true and ka.success = true`:     "",
		`ka.verb = delete and ka.target.path = pods and ka.done = true and ka.success = true`:                              "only-delete",
		`not ka.user.name startswith "system:node:" and ka.target.path = secrets and ka.done = true and ka.success = true`: "",
		`not ka.user.name startswith "system:serviceaccount:" and ka.target.path = secrets and ka.done = true`:             "exempt-by-prefix",
		`ka.target.resource in (pods, deployments) and ka.pod.host_pid = true and ka.done = true and ka.success = true`:    "",
		`ka.target.resource = pods and ka.pod.host_pid = true and ka.done = true and ka.success = true`:                    "pods-only",
		`ka.target.path = pods/ephemeralcontainers and ka.pod.host_pid = true and ka.done = true`:                          "",
		`ka.target.path = pods and ka.action = update and ka.pod.host_pid = true and ka.done = true`:                       "",
		`ka.verb = create and ka.target.path = secrets and ka.code = 403 and ka.done = true`:                               "",
		// Not there, or left out.
		`not (ka.obj.kind exists or ka.obj.uid exists) and ka.done = true`:                                      "absent-body",
		`not (ka.target.path = pods and ka.obj.uid exists) and ka.done = true`:                                  "",
		`(ka.verb = get or ka.verb = list and not ka.obj.uid exists) and ka.done = true`:                        "absent-body",
		`(ka.verb = get or ka.verb = list and ka.obj.kind exists and not ka.obj.uid exists) and ka.done = true`: "",
		`not (ka.useragent.name = backup and ka.verb = get) and ka.done = true and ka.target.path = pods`:       "exempt-by-claim",
	} {
		t.Run(condition, func(t *testing.T) {
			other := []string{"any-outcome", "absent-differs", "required-engine", "falco-warning"} // of which most conditions here have some
			got := strings.Join(slices.Sorted(keys(found(checked(t, rulecheck.Options{Ignore: other}, condition)))), " ")
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func keys(m map[string]int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestAllErrorsAreFoundAtOnce(t *testing.T) {
	files := []rules.File{
		{Name: "a.yaml", Content: []byte("- macro: bad\n  condition: ka.vreb = get\n" + ruleOf("bad and ka.done = true") + "- list: l\n  items: x\n")},
		{Name: "b.yaml", Content: []byte("- rule: [\n")},
		{Name: "c.yaml", Content: []byte(strings.Replace(ruleOf("ka.code = abc"), "Example", "Other", 1) + "- macro: later\n  condition: missing_too\n")},
	}
	r := rulecheck.Run(rulecheck.Options{}, files...)
	var got []string
	for _, f := range r.Findings {
		if f.Check == "refused" {
			got = append(got, fmt.Sprintf("%s %s: %s", f.Pos, f.Item, f.Text))
		}
	}
	want := []string{
		"a.yaml:2:14 rule Example: there is no field ka.vreb",
		"a.yaml:12:10 list l: items is not a list",
		"b.yaml:1:1 : not YAML: did not find expected node content",
		"c.yaml:4:15 rule Other: \"abc\" is not a whole number",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !r.Refused() {
		t.Error("not refused")
	}
}

func TestTheOldestFalcoIsNamed(t *testing.T) {
	for condition, want := range map[string]rules.Falco{
		"ka.done = true and ka.verb = get":                          35,
		"ka.done = true and tolower(ka.user.name) = x":              38,
		"ka.done = true and len(ka.user.name) > 3":                  40,
		"ka.done = true and join(\",\", ka.user.groups) contains x": 44,
	} {
		if r := checked(t, rulecheck.Options{}, condition); r.Falco != want || (want > rules.Oldest) != (r.Because != "") {
			t.Errorf("%s: got %v because %q, want %v", condition, r.Falco, r.Because, want)
		}
	}
	r := checked(t, rulecheck.Options{Options: rules.Options{Falco: 38}}, "ka.done = true and len(ka.user.name) > 3")
	if !r.Refused() {
		t.Errorf("falco 0.38 takes it: %v", found(r))
	}
}

// TestWhatOtherRulesAndWordsSay has findings that hang on more than the condition of one rule.
func TestWhatOtherRulesAndWordsSay(t *testing.T) {
	other := func(condition, more string) string {
		return strings.Replace(ruleOf(condition), "Example", "Other", 1) + more
	}
	disabled := ruleOf("ka.verb = get and ka.done = true") + "  enabled: false\n"
	described := func(desc string) string {
		return strings.Replace(disabled, "which is worth a look.", "which is worth a look. "+desc, 1)
	}
	const agent = "(ka.useragent.name = nmap and ka.done = true)"
	exempts := "- {macro: scanner, condition: " + agent + "}\n" + ruleOf("ka.target.path = secrets and not scanner and ka.done = true")
	deletes := ruleOf("ka.target.path = secrets and ka.verb = delete and ka.done = true")
	prints := func(condition string) string {
		return strings.Replace(ruleOf(condition), "code=%ka.code", "config=%ka.data.value[config]", 1)
	}
	for name, test := range map[string]struct{ text, want string }{
		"disabled":                             {disabled, "disabled"},
		"it says when to switch it on":         {described("Fill the list, then switch the rule on."), ""},
		"it is off by default":                 {described("Off by default, since it is about everything."), ""},
		"it is about something enabled":        {described("Anonymous access is enabled."), "disabled"},
		"a comment above":                      {"- list: l\n  items: []\n# This rule is off.\n" + disabled, "unused-list"},
		"a comment above something else":       {"# This list is off.\n\n- list: l\n  items: []\n# The rule.\n" + disabled, "unused-list"},
		"no comment of it":                     {"# Rules.\n\n# All is off here.\n- list: l\n  items: []\n" + disabled, "disabled unused-list"},
		"left out":                             {exempts, "exempt-by-claim"},
		"left to another rule":                 {exempts + other("scanner", ""), ""},
		"left to one that is off":              {exempts + other("scanner", "  enabled: false\n"), "disabled exempt-by-claim"},
		"left to one that is narrower":         {exempts + other("scanner and ka.verb = get", ""), "exempt-by-claim"},
		"delete":                               {deletes, "only-delete"},
		"deletecollection in another":          {deletes + other("ka.target.path = secrets and ka.verb = deletecollection and ka.done = true", ""), ""},
		"deletecollection of something else":   {deletes + other("ka.target.path = pods and ka.verb = deletecollection and ka.done = true", ""), "only-delete"},
		"deletecollection as any other verb":   {deletes + other("ka.user.anonymous = true and ka.done = true", ""), "only-delete"},
		"a key of a ConfigMap":                 {prints("ka.target.path = configmaps and ka.done = true"), ""},
		"a key of a ConfigMap, or of a Secret": {prints("ka.target.path in (configmaps, secrets) and ka.done = true"), "prints-bodies"},
	} {
		r := checked(t, rulecheck.Options{Ignore: []string{"any-outcome"}}, test.text)
		if got := strings.Join(slices.Sorted(keys(found(r))), " "); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestCommentsTakeFindingsOut(t *testing.T) {
	rule := ruleOf("ka.verb = watch and ka.success = true")
	for name, test := range map[string]struct {
		text    string
		ignored int
		want    string
	}{
		"above":                {"# kaudit:ignore judged-twice both ends matter\n" + rule, 1, ""},
		"above, with more":     {"# About lists.\n# kaudit:ignore judged-twice both ends matter\n\n# The rule.\n" + rule, 1, ""},
		"inside":               {strings.Replace(rule, "  output:", "  # kaudit:ignore judged-twice both ends matter\n  output:", 1), 1, ""},
		"below":                {rule + "# kaudit:ignore judged-twice both ends matter\n", 0, "judged-twice useless-ignore"},
		"without reason":       {"# kaudit:ignore judged-twice\n" + rule, 0, "judged-twice useless-ignore"},
		"of another check":     {"# kaudit:ignore only-create it is so\n" + rule, 0, "judged-twice useless-ignore"},
		"of no check":          {"# kaudit:ignore judged-thrice it is so\n" + rule, 0, "judged-twice useless-ignore"},
		"errors stay as found": {"# kaudit:ignore refused it is so\n" + ruleOf("ka.nothing = a"), 0, "refused useless-ignore"},
	} {
		r := checked(t, rulecheck.Options{}, test.text)
		got := strings.Join(slices.Sorted(keys(found(r))), " ")
		if got != test.want || r.Ignored != test.ignored {
			t.Errorf("%s: got %q and %d ignored, want %q and %d", name, got, r.Ignored, test.want, test.ignored)
		}
	}
}

// TestThePageHasTheTable holds docs/rule-checks.md equal to the table of checks.
func TestThePageHasTheTable(t *testing.T) {
	const file = "../../docs/rule-checks.md"
	got := rulecheck.Page()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("to accept it: go test ./internal/rulecheck -update\n%s", diff)
	}
}

// TestAConditionOfManyChoicesEnds holds the limit of how long an event is looked for.
func TestAConditionOfManyChoicesEnds(t *testing.T) {
	var parts []string
	for i := range 60 {
		parts = append(parts, fmt.Sprintf("(ka.obj.label[a%d] = x or ka.obj.label[b%d] = y or ka.obj.label[a%d] = z)", i, i, i+1))
	}
	checked(t, rulecheck.Options{}, "ka.done = true and "+strings.Join(parts, " and "))
	checked(t, rulecheck.Options{}, "ka.done = true and not ("+strings.Join(parts, " or ")+")")
}

func FuzzRun(f *testing.F) {
	for _, c := range rulecheck.Checks() {
		f.Add([]byte(ruleOf(c.Bad)))
	}
	f.Fuzz(func(_ *testing.T, content []byte) {
		rulecheck.Run(rulecheck.Options{}, rules.File{Name: "a.yaml", Content: content})
	})
}

package main

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"kaudit/internal/ruletest"
	"kaudit/pkg/audit"
	"kaudit/pkg/rules"
)

// shipped returns the rules of this repository.
func shipped(t *testing.T) *ruleset {
	t.Helper()
	r, err := readRules(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRules(t *testing.T) {
	r, err := readRules(fstest.MapFS{
		settingsFile: {Data: []byte(settingsBegin + `
# Who is trusted. Nobody
# is.
- list: trusted
  items: []
` + settingsEnd + `

- macro: m
  condition: (ka.verb = get and not ka.user.name in (trusted))
`)},
		"rules/b_tactic.yaml": {Data: []byte(`
- rule: Second
  desc: >-
    Finds e.g. this. And
    that.

    Investigate: look at a_b: and on.

    Respond: do something.
  condition: m and ka.obj.name = x
  output: found %ka.obj.name
  priority: WARNING
  source: k8s_audit
  tags: [maturity_stable, k8s, T1610, POD-01]
`)},
		"rules/a.yaml":                      {Data: []byte("- rule: First | one\n  desc: Only one sentence\n  condition: ka.verb = create\n  output: o\n  priority: INFO\n  source: k8s_audit\n  enabled: false\n")},
		"rules/testdata/second/fires.jsonl": {Data: []byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","verb":"get","user":{"username":"jane"},"stageTimestamp":"2026-01-02T03:04:05.000006Z","objectRef":{"name":"x"},"annotations":{"a":"b"}}` + "\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	index := string(r.rulesPage())
	for _, want := range []string{
		"2 rules, 1 of them on,",
		"### A\n\n| Rule | Priority | Maturity | Finds |\n|---|---|---|---|\n| [First \\| one](rules/a.md#first--one) | info, off | | Only one sentence |\n",
		"### B tactic\n\n| Rule | Priority | Maturity | Finds |\n|---|---|---|---|\n| [Second](rules/b_tactic.md#second) | warning | stable | Finds e.g. this. |\n",
		"| WARNING (1) | [Second](rules/b_tactic.md#second) |\n",
		"| `trusted` (list) | empty | Who is trusted. Nobody is. | 1 |\n",
	} {
		if !strings.Contains(index, want) {
			t.Errorf("the index lacks %q:\n%s", want, index)
		}
	}
	pages, err := r.rulePages()
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) != 2 || pages[1].path != "docs/rules/b_tactic.md" {
		t.Fatalf("%d pages, the last %s", len(pages), pages[len(pages)-1].path)
	}
	const section = "## Second\n\n**WARNING** · `maturity_stable`, `k8s`, `T1610`, `POD-01`\n\nFinds e.g. this. And that.\n\n**Investigate:** look at a\\_b: and on.\n\n**Respond:** do something.\n\n" +
		"**Condition**\n\n```\nm and ka.obj.name = x\n```\n\n" +
		"<details><summary>With macros and lists in place</summary>\n\n```\n(ka.verb = get and not ka.user.name in ()) and ka.obj.name = x\n```\n\n</details>\n\n" +
		"**Asks** `ka.verb`, `ka.user.name`, `ka.obj.name`\n\n" +
		"**An event that fires it**, shortened to what the rule needs and who did it\n\n```json\n" + `{
  "auditID": "1",
  "verb": "get",
  "user": {"username": "jane"},
  "stageTimestamp": "2026-01-02T03:04:05.000006Z",
  "objectRef": {"name": "x"}
}` + "\n```\n\n**The alert** of the whole event, as `kaudit run --iso8601` prints it\n\n```\n2026-01-02T03:04:05.000006000+0000: Warning found x\n```\n\n" +
		"**To set**\n\n- [`trusted`](../rules.md#what-a-site-says-about-itself): Who is trusted.\n\n" +
		"**Covers**\n\n- [POD-01](../coverage.md#detections): Privileged container\n"
	if _, got, _ := strings.Cut(string(pages[1].content), "## Second"); "## Second"+got != section {
		t.Errorf("got\n%s\nwant\n%s", "## Second"+got, section)
	}
}

func TestABrokenRuleFileIsNamed(t *testing.T) {
	_, err := readRules(fstest.MapFS{settingsFile: {Data: []byte(noSettings)}, "rules/a.yaml": {Data: []byte("rule: not in a list")}})
	if err == nil || !strings.Contains(err.Error(), "rules/a.yaml") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsToSetIsMarked(t *testing.T) {
	for text, want := range map[string]string{
		"- list: a\n  items: []\n": `want the lines "# What a site says about itself."`,
		settingsBegin + "\n- list: a\n  items: []\n- list: b\n  items: []\n" + settingsEnd + "\n": "want one list or macro between blank lines",
	} {
		if _, err := readSettings(fstest.MapFS{settingsFile: {Data: []byte(text)}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// What a site may set says what it means, and some rule asks for it.
func TestSettings(t *testing.T) {
	r := shipped(t)
	asked := map[string]bool{}
	for _, rule := range r.Rules {
		for _, s := range r.settings(rule) {
			asked[s.name] = true
		}
	}
	for _, s := range r.site {
		if s.doc == "" {
			t.Errorf("%s: there is no comment that says what it is", s.name)
		}
		if !asked[s.name] {
			t.Errorf("no rule asks for %s", s.name)
		}
	}
	// What the rules promise that everybody can set.
	for _, name := range []string{
		"trusted_registries", "known_images", "admin_users", "admin_groups", "ci_identities", "allowed_networks",
		"protected_namespaces", "break_glass_users",
	} {
		if !slices.ContainsFunc(r.site, func(s setting) bool { return s.name == name }) {
			t.Errorf("%s is not among what a site says about itself", name)
		}
	}
}

// Each rule's section has all its parts.
func TestSections(t *testing.T) {
	r := shipped(t)
	pages, err := r.rulePages()
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, p := range pages {
		if len(p.content) > 1<<20 {
			t.Errorf("%s has %d bytes; who is to read that", p.path, len(p.content))
		}
		for _, section := range strings.Split(string(p.content), "\n## ")[1:] {
			name, rest, _ := strings.Cut(section, "\n")
			text[name] = rest
		}
	}
	for _, rule := range r.Rules {
		for _, part := range []string{"**Condition**", "**Asks** `" + rule.Fields[0] + "`", "**An event that fires it**", "\n```json\n{", "**The alert**", ": " + rule.Priority.String() + " "} {
			if !strings.Contains(text[rule.Name], part) {
				t.Errorf("the section of %q lacks %s", rule.Name, part)
			}
		}
	}
}

func TestShortened(t *testing.T) {
	const event = `{"auditID":"1","level":"Request","verb":"create","user":{"username":"jane","groups":["a","b"]},` +
		`"requestObject":{"b":{"c":1},"a":[{"x":1.50,"y":"<&>"},{"y":2}]}}`
	got, err := shortened([]byte(event), func(line []byte) bool { return strings.Contains(string(line), `"y": "<&>"`) })
	const want = `{"auditID": "1", "verb": "create", "user": {"username": "jane"}, "requestObject": {"a": [{"y": "<&>"}]}}`
	if err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}

var detectionTag = regexp.MustCompile(`^[A-Z]+-\d\d$`)

// Every detection that one event shows has a rule, and rules name only detections there are.
func TestCoverage(t *testing.T) {
	r := shipped(t)
	known := map[string]bool{}
	for _, d := range r.detections {
		if known[d.id] {
			t.Errorf("detections.csv has %s twice", d.id)
		}
		known[d.id] = true
		if d.remember == "" && r.covering(d.id) == nil {
			t.Errorf("%s (%s) needs no memory, and no rule has it in its tags", d.id, d.title)
		}
		for _, l := range d.catalogues {
			if len(r.spelled([]string{l})) != 1 {
				t.Errorf("%s: nothing is known of the catalogue %s", d.id, l)
			}
		}
	}
	if len(known) != 187 {
		t.Errorf("%d detections, want 187", len(known))
	}
	for _, rule := range r.Rules {
		n := 0
		for _, tag := range rule.Tags {
			if detectionTag.MatchString(tag) {
				n++
				if !known[tag] {
					t.Errorf("rule %q: there is no detection %s", rule.Name, tag)
				}
			}
		}
		if n == 0 && rule.Name != "Change From Outside Allowed Networks" { // what the site allows is in no catalogue
			t.Errorf("rule %q names no detection in its tags", rule.Name)
		}
	}
}

// The matrices have every technique that rules name, and where no rule is, why.
func TestMatrices(t *testing.T) {
	r := shipped(t)
	known := map[string]bool{}
	for _, a := range r.attack {
		known[a.id] = true
		if a.note == "" && r.ofTechnique(a.id) == nil {
			t.Errorf("attack.csv: %s has neither a rule nor a reason", a.id)
		}
		if a.tactic == "other" && r.covering(a.id) == nil {
			t.Errorf("attack.csv: %s is in no matrix for containers and no rule names it", a.id)
		}
	}
	for _, rule := range r.Rules {
		for _, tag := range rule.Tags {
			if strings.HasPrefix(tag, "T1") && !known[tag] {
				t.Errorf("rule %q: attack.csv does not have %s", rule.Name, tag)
			}
		}
	}
	for _, a := range r.matrix {
		for _, d := range a.detections {
			if r.covering(d) == nil {
				t.Errorf("threat_matrix.csv: %s: no rule names %s", a.name, d)
			}
		}
		if len(a.detections) == 0 && a.note == "" {
			t.Errorf("threat_matrix.csv: %s has neither detections nor a reason", a.name)
		}
	}
}

func TestMigration(t *testing.T) {
	r := shipped(t)
	if len(r.official.Rules) != 48 {
		t.Errorf("%d official rules, want 48", len(r.official.Rules))
	}
	for _, o := range r.official.Rules {
		_, same := r.Rule(o.Rule)
		for _, name := range o.Ours {
			if _, ok := r.Rule(name); !ok {
				t.Errorf("%s: there is no rule %q", o.Rule, name)
			}
		}
		if o.Why == "" {
			t.Errorf("%s: it does not say why", o.Rule)
		}
		if same != slices.Contains(o.Ours, o.Rule) {
			t.Errorf("%s: there is a rule of that name, or not, and the page says otherwise", o.Rule)
		}
		if same == (o.Condition != "") {
			t.Errorf("%s: want a condition for the old name if there is no rule of that name, and only then", o.Rule)
		}
		switch n := len(o.Ours); {
		case o.Fate == "kept" && n == 1 && same, o.Fate == "split" && n > 1, o.Fate == "renamed" && n > 0 && !same,
			o.Fate == "joined" && n == 1 && !same, o.Fate == "dropped" && n == 0:
		default:
			t.Errorf("%s: %s into %q does not fit", o.Rule, o.Fate, o.Ours)
		}
	}
}

// Rules with old names and old macros load beside ours.
func TestOldNamesLoad(t *testing.T) {
	r := shipped(t)
	var files []rules.File
	list, err := os.ReadDir("../../rules")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if strings.HasSuffix(f.Name(), ".yaml") {
			text, err := os.ReadFile("../../rules/" + f.Name())
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, rules.File{Name: f.Name(), Content: text})
		}
	}
	own := "- rule: Own\n  desc: d\n  condition: kevt and kcreate and pod and response_successful\n  output: o\n  priority: INFO\n  source: k8s_audit\n"
	set, err := rules.Read(rules.Options{}, append(files,
		rules.File{Name: "old-names.yaml", Content: []byte(r.oldNames())}, rules.File{Name: "old-macros.yaml", Content: []byte(r.oldMacros())},
		rules.File{Name: "own.yaml", Content: []byte(own)})...)
	if err != nil {
		t.Fatal(err)
	}
	var events [][]byte
	for _, rule := range r.Rules {
		for _, name := range []string{"fires.jsonl", "fires.handmade.jsonl"} {
			text, err := os.ReadFile("../../rules/testdata/" + ruletest.Slug(rule.Name) + "/" + name)
			if err == nil {
				events = append(events, bytes.Split(bytes.TrimSpace(text), []byte("\n"))...)
			}
		}
	}
	for _, o := range r.official.Rules {
		if _, ok := set.Rule(o.Rule); !ok {
			t.Errorf("%s is not there", o.Rule)
		}
		if o.Condition == "" {
			continue
		}
		e, err := set.Explainer(o.Rule)
		if err != nil {
			t.Fatal(err)
		}
		j := &judge{explainer: e}
		fires := slices.ContainsFunc(events, func(line []byte) bool {
			(&audit.Decoder{}).Decode(line, true, j)
			return j.holds
		})
		if !fires {
			t.Errorf("%s fires on no event of any rule", o.Rule)
		}
	}
	for _, w := range set.Warnings {
		if w.Code != rules.WarnUnusedMacro && w.Code != rules.WarnUnusedList {
			t.Error(w)
		}
	}
}

// The page is about the official file as it is, where there is one.
func TestTheOfficialFileIsMapped(t *testing.T) {
	file := os.Getenv("OFFICIAL_RULES")
	if file == "" {
		t.Skip("OFFICIAL_RULES does not say where the official rules are")
	}
	set, err := rules.Load(rules.Options{}, file)
	if err != nil {
		t.Fatal(err)
	}
	r := shipped(t)
	mapped := map[string]bool{}
	for _, o := range r.official.Rules {
		mapped[o.Rule] = true
		if rule, ok := set.Rule(o.Rule); !ok || !strings.HasPrefix(strings.ToLower(rule.Priority.String()), strings.ToLower(o.Priority)) {
			t.Errorf("%s: there is no such official rule of priority %s", o.Rule, o.Priority)
		}
	}
	for _, n := range r.official.Names {
		for _, name := range n.Names {
			mapped[name] = true
		}
	}
	for i := 0; i < len(r.official.Macros.Content); i += 2 {
		mapped[r.official.Macros.Content[i].Value] = true
	}
	mapped["role"] = true // the page says that it has another meaning
	for _, rule := range set.Rules {
		if !mapped[rule.Name] {
			t.Errorf("rule %s is not in official.yaml", rule.Name)
		}
	}
	for _, m := range set.Macros {
		if !mapped[m.Name] {
			t.Errorf("macro %s is not in official.yaml", m.Name)
		}
	}
	for _, l := range set.Lists {
		if !mapped[l.Name] {
			t.Errorf("list %s is not in official.yaml", l.Name)
		}
	}
}

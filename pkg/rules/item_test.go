package rules_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kaudit/pkg/rules"
)

func TestItems(t *testing.T) {
	const text = `# About everything.
- required_engine_version: 15

# About a.
- macro: a
  condition: >
    ka.verb = get
      and ka.code = 200
    # no comment

# About r.
- rule: r
  output: "x %ka.verb"
  exceptions:
    - name: e
      fields: [ka.verb, "ka.code"]
  override: {output: append}
`
	items, err := rules.Items(rules.File{Name: "a.yaml", Content: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range items {
		got = append(got, fmt.Sprintf("%s %s %v to %d override=%t", i.Kind, i.Name, i.Pos, i.LastLine, i.Override))
		for _, x := range i.Texts {
			got = append(got, fmt.Sprintf("  %s %q at %v", x.Key, x.Value, x.Position(0)))
		}
	}
	want := []string{
		"required_engine_version  a.yaml:2:3 to 2 override=false",
		"macro a a.yaml:5:3 to 9 override=false",
		`  condition "ka.verb = get\n  and ka.code = 200\n# no comment\n" at a.yaml:7:5`,
		"rule r a.yaml:12:3 to 17 override=true",
		`  output "x %ka.verb" at a.yaml:13:12`,
		`  fields "ka.verb" at a.yaml:16:16`,
		`  fields "ka.code" at a.yaml:16:26`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if at := items[1].Texts[0].Position(len("ka.verb = get\n  and ")); at.Line != 8 || at.Column != 11 {
		t.Errorf("ka.code is at %v", at)
	}
	if _, err := rules.Items(rules.File{Name: "a.yaml", Content: []byte("- [\n")}); err == nil {
		t.Error("what is not YAML is read")
	}
}

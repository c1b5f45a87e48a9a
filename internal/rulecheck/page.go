package rulecheck

import (
	"bytes"
	"fmt"
	"strings"
)

// Page renders docs/rule-checks.md.
func Page() []byte {
	var b bytes.Buffer
	b.WriteString(`<!-- Made by internal/rulecheck. To change it, edit the tables there, then run: go test ./internal/rulecheck -update -->

# Checks of rules

` + "`kaudit check`" + ` finds what is wrong with rules although Falco takes them, and everything for which Falco would refuse
them, in all files at once. It has these checks.

- **error**: the rules do not do what they say. **warning**: they hardly do what was meant. **info**: something would be
  better; shown with ` + "`--severity info`" + `.
- Conditions are looked at with their macros, lists and exceptions. Where it cannot be told whether something holds,
  nothing is reported.
- What is meant is said in a comment above the item or in it: ` + "`# kaudit:ignore ID REASON`" + `. A check is left out
  altogether with ` + "`--ignore ID`" + `.

Examples are conditions, or whole entries of a rule file. Every one of them is run by the tests.

`)
	for _, s := range []struct {
		title  string
		checks []Check
	}{
		{"Loading", loading},
		{"Comparisons", comparing},
		{"When rules fire", firing},
		{"Names", structure},
		{"What people read", describing},
		{"Ways around rules", ways},
	} {
		fmt.Fprintf(&b, "## %s\n\n", s.title)
		for _, c := range s.checks {
			fmt.Fprintf(&b, "### `%s` (%s)\n\n%s %s\n\n%s\n\n", c.ID, c.Severity, c.About, c.Reason, c.Remedy)
			fmt.Fprintf(&b, "Found in:\n\n```yaml\n%s\n```\n\nNot in:\n\n```yaml\n%s\n```\n\n", strings.TrimSpace(c.Bad), strings.TrimSpace(c.Good))
		}
	}
	return append(bytes.TrimSpace(b.Bytes()), '\n')
}

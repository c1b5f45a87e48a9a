//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// print writes the table for the page.
func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "\n**%s**.\n\n", strings.ToUpper(t.String()[:1])+t.String()[1:])
	fmt.Fprintln(w, "| rules | k8saudit | json | alerts | calls an event | start, CPU s | events/s | CPU s | resident MB | wall, floor = 1 | CPU, floor = 1 | events/s, official pair = 1 | CPU, official pair ÷ this |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	defer func() {
		if t.failed != "" {
			fmt.Fprintf(w, "\nThe official plugins end Falco on this recording: `%s`.\n", t.failed)
		}
	}()
	pair := t.find("official", official, official)
	for i := range t.results {
		r := &t.results[i]
		cells := []string{"", "", "", ""}
		if r.k8saudit != theFloor || r.json == official {
			lowest := t.find(r.rules, theFloor, r.json)
			if r.json == ours || r.json == official && r.k8saudit != ours {
				lowest = t.find(r.rules, theFloor, theFloor)
			}
			if lowest != nil {
				cells[0], cells[1] = r.over(lowest, wall), r.over(lowest, cpu)
			}
		}
		if pair != nil && r != pair {
			cells[2], cells[3] = pair.over(r, wall), pair.over(r, cpu)
		}
		fmt.Fprintf(w, "| %s | %s | %s | %d | %s | %.2f | %.0f | %.2f | %.0f | %s |\n", r.rules, r.k8saudit, orNone(r.json), r.alerts, orNone(r.calls),
			r.median(start), float64(len(t.sizes))/r.median(wall), r.median(cpu), r.median(rss)/1e6, strings.Join(cells, " | "))
	}
}

func orNone(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// writePart puts text between the markers of that name on a page.
func writePart(path, name, text string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	begin, end := "<!-- begin "+name+" -->\n", "<!-- end "+name+" -->"
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, also := strings.Cut(rest, end)
	if !ok || !also {
		return fmt.Errorf("%s has no lines %q and %q to write between", path, strings.TrimSpace(begin), end)
	}
	return os.WriteFile(path, []byte(before+begin+"\n"+strings.TrimSpace(text)+"\n\n"+end+after), 0o644)
}

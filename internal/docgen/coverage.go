package main

import (
	"fmt"
	"slices"
	"strings"
)

const aboutCoverage = `What the rules see, measured against what is known: %d detections that public catalogues of rules for Kubernetes audit
logs have, or that known attacks ask for. A rule names the detections it is about in its tags.

- **%d of %d** that one event shows have a rule.
- %d need to remember earlier events: counts, first times, sequences. Falco's rules cannot, so their ids are reserved;
  those of them that one event shows in part have a rule too, which is named.

An audit log does not have everything. What goes to a kubelet's own port, from pod to pod, or is typed into a shell, is
in none; what is done inside of a container is for Falco's rules about system calls. A policy that keeps no bodies
leaves the rules about content blind: see what each rule asks.
`

const aboutCatalogues = `For each catalogue: how many of the detections it has are found. A *retired* one is a rule that its catalogue has given
up, or one for a cloud's own log, and counts as well; an *unconfirmed* one is known from descriptions only.
`

// covering returns the rules whose tags name something.
func (r *ruleset) covering(tag string) []string {
	var names []string
	for _, rule := range r.Rules {
		if slices.Contains(rule.Tags, tag) {
			names = append(names, rule.Name)
		}
	}
	return names
}

func (r *ruleset) coveragePage() []byte {
	m := newMarkdown("Coverage", "rules/*.yaml, internal/docgen/data")
	found, one := 0, 0
	for _, d := range r.detections {
		if d.remember == "" {
			one++
			if r.covering(d.id) != nil {
				found++
			}
		}
	}
	m.text(fmt.Sprintf(aboutCoverage, len(r.detections), found, one, len(r.detections)-one))
	m.text("## Catalogues\n")
	m.text(aboutCatalogues)
	m.head("Catalogue", "Has", "Found", "Of those that one event shows")
	for _, c := range r.catalogues {
		r.catalogueRow(m, c)
	}
	m.text("\n## Detections\n")
	m.head("Id", "Detection", "Rules", "In", "MITRE ATT&CK")
	for _, d := range r.detections {
		cell := r.links(r.covering(d.id), "")
		if d.remember != "" {
			reason := "*Needs to remember:* " + d.remember + "."
			if cell != "" {
				reason = cell + ", in part. " + reason
			}
			cell = reason
		}
		m.row(d.id, d.title, cell, strings.Join(r.spelled(d.catalogues), ", "), strings.Join(d.attack, ", "))
	}
	m.text("\n## MITRE ATT&CK for containers\n")
	m.text("Each technique of the [matrix for containers](https://attack.mitre.org/matrices/enterprise/containers/), with the rules\nwhose tags name it or a technique below it.\n")
	m.head("Tactic", "Technique", "Rules")
	var rest []technique
	for _, t := range r.attack {
		if t.tactic == "other" {
			rest = append(rest, t)
			continue
		}
		m.row(t.tactic, t.id+" "+t.name, r.withNote(r.ofTechnique(t.id), t.note))
	}
	m.text("\nTechniques that rules name beside those:\n")
	m.head("Technique", "Rules")
	for _, t := range rest {
		m.row(t.id+" "+t.name, r.links(r.covering(t.id), ""))
	}
	m.text("\n## Threat Matrix for Kubernetes\n")
	m.text("Each technique of [Microsoft's matrix](https://microsoft.github.io/Threat-Matrix-for-Kubernetes/), by the detections it\nconsists of in an audit log.\n")
	m.head("Tactic", "Technique", "Detections", "Rules")
	for _, t := range r.matrix {
		var names []string
		for _, d := range t.detections {
			for _, n := range r.covering(d) {
				if !slices.Contains(names, n) {
					names = append(names, n)
				}
			}
		}
		m.row(t.tactic, t.name, strings.Join(t.detections, ", "), r.withNote(names, t.note))
	}
	return m.Bytes()
}

// ofTechnique returns the rules that name a technique, or one below it.
func (r *ruleset) ofTechnique(id string) []string {
	var names []string
	for _, rule := range r.Rules {
		if slices.ContainsFunc(rule.Tags, func(t string) bool { return t == id || strings.HasPrefix(t, id+".") }) {
			names = append(names, rule.Name)
		}
	}
	return names
}

func (r *ruleset) withNote(names []string, note string) string {
	cell := r.links(names, "")
	switch {
	case note == "":
		return cell
	case cell == "":
		return "*None:* " + note + "."
	}
	return cell + ". *But:* " + note + "."
}

// spelled spells out the letters of catalogues.
func (r *ruleset) spelled(letters []string) []string {
	var names []string
	for _, l := range letters {
		for _, c := range r.catalogues {
			if c.letter != strings.TrimRight(l, "~?") {
				continue
			}
			name := c.name
			switch l[len(c.letter):] {
			case "~":
				name += " (retired)"
			case "?":
				name += " (unconfirmed)"
			}
			names = append(names, name)
		}
	}
	return names
}

func (r *ruleset) catalogueRow(m *markdown, c catalogue) {
	var has, found, one, oneFound int
	for _, d := range r.detections {
		if !slices.ContainsFunc(d.catalogues, func(l string) bool { return strings.TrimRight(l, "~?") == c.letter }) {
			continue
		}
		ruled := r.covering(d.id) != nil
		has++
		if ruled {
			found++
		}
		if d.remember == "" {
			one++
			if ruled {
				oneFound++
			}
		}
	}
	m.row("["+c.name+"]("+c.link+")", fmt.Sprint(has), percent(found, has), percent(oneFound, one))
}

func percent(n, of int) string {
	if of == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d (%d %%)", n, of, n*100/of)
}

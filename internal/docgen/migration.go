package main

import (
	"fmt"
	"strings"
)

const aboutMigration = `The %d rules of the official plugin (` + "`k8s_audit_rules.yaml`" + `, version 0.18.0) and what became of each. %d keep name and
meaning, and see more; alerts of them arrive where they arrived. For the rest the table says which rules of ours do the
work, and [below](#old-names) is how to keep old names for a while.

What all of them have in common here:

- A request counts once, when its outcome is known, and only if it was carried out. Refused attempts are rules of their
  own, of lower priority. Dry runs count for neither.
- Server-side apply, PUT that creates, patches of all kinds and changes of what exists count as what they do.
- Pods are looked at wherever they are: in workloads, templates and custom resources, with init and ephemeral
  containers.
- Controllers are left out each by its name and group, not everybody whose name begins with ` + "`system:`" + `.
- They need no json plugin, and an audit policy with bodies for what they read, as the official ones do.

The plugin itself is exchanged as [Upgrading](upgrade-from-k8saudit.md) says; the official rules run on it unchanged,
so plugin and rules need not be exchanged on the same day.
`

const aboutOldNames = `Route on tags, which survive renames: each rule has its tactic (` + "`mitre_execution`" + `), techniques (` + "`T1609`" + `), the detection
(` + "`EXEC-01`" + `) and ` + "`k8s`" + `. Until that is done, rules with the old names can stand beside ours. Falco has to load the file
before the rules themselves if ` + "`rule_matching`" + ` is ` + "`first`" + `, and needs the lists and macros before it:

    rules_files:
      - /etc/falco/rules/00_lists_and_macros.yaml
      - /etc/falco/old-names.yaml
      - /etc/falco/rules

Take out of it what nobody routes on any more.
`

const aboutNames = `What people override in the official file, and what to set here. [All that can be set](rules.md#what-a-site-says-about-itself).
`

const aboutException = `An exception is appended to a rule in a file of your own, with as many conditions as tell the case from an attack:

    - rule: Create Privileged Pod
      exceptions:
        - name: node_agents
          fields: [ka.target.namespace, ka.pod.serviceaccount, ka.containers.image.repository]
          comps: [=, =, in]
          values:
            - [monitoring, node-exporter, [quay.io/prometheus/node-exporter]]
      override:
        exceptions: append
`

const aboutMacros = `Rules of your own that are built on macros of the official file need these macros. Put them in a file that is loaded
after ours and before yours. One name has another meaning here: ` + "`role`" + ` stands for Roles and ClusterRoles both.
`

func (r *ruleset) migrationPage() []byte {
	m := newMarkdown("From the official rules", "internal/docgen/data/official.yaml")
	kept := 0
	for _, o := range r.official.Rules {
		if _, ok := r.Rule(o.Rule); ok {
			kept++
		}
	}
	m.text(fmt.Sprintf(aboutMigration, len(r.official.Rules), kept))
	m.text("## The rules\n")
	m.head("Official rule", "Was", "Now", "Rules here", "Why, and what differs")
	for _, o := range r.official.Rules {
		var ours []string
		for _, n := range o.Ours {
			rule, ok := r.Rule(n)
			if !ok {
				continue
			}
			ours = append(ours, r.link(n, "")+" ("+strings.ToLower(priority(rule.Priority))+shown(rule)+")")
		}
		fate := o.Fate
		if _, ok := r.Rule(o.Rule); ok && fate == "split" {
			fate = "kept, and split"
		}
		m.row(o.Rule, strings.ToLower(o.Priority), fate, strings.Join(ours, ", "), o.Why)
	}
	m.text("\n## Old names\n")
	m.text(aboutOldNames)
	m.block("yaml", r.oldNames())
	m.text("## Lists and macros\n")
	m.text(aboutNames)
	m.head("Official", "Here", "How")
	for _, n := range r.official.Names {
		m.row(codes(n.Names), n.Instead, n.How)
	}
	m.text("\n" + aboutException)
	m.text(aboutMacros)
	m.block("yaml", r.oldMacros())
	m.Truncate(m.Len() - 1)
	return m.Bytes()
}

// oldNames are rules with the names of those that have another one here.
func (r *ruleset) oldNames() string {
	var b strings.Builder
	for _, o := range r.official.Rules {
		if o.Condition == "" {
			continue
		}
		if o.List != "" {
			fmt.Fprintf(&b, "- list: %s\n  items: [%s]\n\n", o.List, strings.Join(o.Items, ", "))
		}
		fmt.Fprintf(&b, "- rule: %s\n  desc: The rule of this name in the official rules.\n  condition: >-\n    %s\n"+
			"  output: >-\n    %s (user=%%ka.user.name verb=%%ka.verb target=%%ka.target.path name=%%ka.obj.name ns=%%ka.target.namespace resp=%%ka.response.code)\n"+
			"  priority: %s\n  source: k8s_audit\n  tags: [k8s]\n\n", o.Rule, o.Condition, o.Rule, o.Priority)
	}
	return b.String()
}

// oldMacros are the macros of the official file.
func (r *ruleset) oldMacros() string {
	var b strings.Builder
	for i := 0; i+1 < len(r.official.Macros.Content); i += 2 {
		fmt.Fprintf(&b, "- macro: %s\n  condition: %s\n", r.official.Macros.Content[i].Value, r.official.Macros.Content[i+1].Value)
	}
	return b.String()
}

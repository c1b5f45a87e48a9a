package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"kaudit"
	"kaudit/pkg/rules"
)

// ruleFlags are the flags of commands that work on rules.
type ruleFlags struct {
	paths []string
	falco string
}

func (r *ruleFlags) register(c *cobra.Command) {
	c.Flags().StringArrayVarP(&r.paths, "rules", "r", nil, "a rule file, or a folder of them; may be given again, later ones add to those before (default: the rules that come with kaudit)")
	c.Flags().StringVar(&r.falco, "falco", rules.Newest.String(), fmt.Sprintf("the version of Falco the rules are for, %s to %s", rules.Oldest, rules.Newest))
	_ = c.RegisterFlagCompletionFunc("falco", cobra.FixedCompletions(falcoVersions(), cobra.ShellCompDirectiveNoFileComp))
}

// falcoVersions are the versions of Falco that rules may be for.
func falcoVersions() (versions []string) {
	for v := rules.Oldest; v <= rules.Newest; v++ {
		versions = append(versions, v.String())
	}
	return versions
}

// options are what rules are loaded with: the fields and the identity of this plugin, and Falco's own json plugin beside
// it, since rules written for the official plugin require it.
func (r *ruleFlags) options() (rules.Options, error) {
	falco, err := rules.ParseFalco(r.falco)
	if err != nil {
		return rules.Options{}, badInput{fmt.Errorf("--falco: %w", err)}
	}
	id := kaudit.Plugin()
	return rules.Options{Falco: falco, Plugins: []rules.Plugin{{Name: id.Name, Version: id.Version}, {Name: "json", Version: jsonVersion}}}, nil
}

// jsonVersion is the version of Falco's json plugin whose fields package rules knows.
const jsonVersion = "0.7.4"

// load loads the rules. Its error may be a [*rules.LoadError].
func (r *ruleFlags) load() (*rules.Ruleset, error) {
	o, err := r.options()
	if err != nil {
		return nil, err
	}
	return r.loadWith(o)
}

// loadWith is load with options that begin with those of the flags.
func (r *ruleFlags) loadWith(o rules.Options) (*rules.Ruleset, error) {
	if len(r.paths) == 0 {
		return rules.LoadFS(o, kaudit.Rules, "rules")
	}
	return rules.Load(o, r.paths...)
}

// complete completes what rules have, for shells.
func (r *ruleFlags) complete(of func(*rules.Rule) []string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		set, err := r.load()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var words []string
		for _, rule := range set.Rules {
			words = append(words, of(rule)...)
		}
		slices.Sort(words)
		return slices.Compact(words), cobra.ShellCompDirectiveNoFileComp
	}
}

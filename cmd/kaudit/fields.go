package main

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"kaudit/internal/nearest"
	"kaudit/pkg/extract"
)

func fieldsCommand() *cobra.Command {
	var jsonToo, examples bool
	var as *format
	c := &cobra.Command{
		Use:   "fields [pattern]",
		Short: "List the fields that rules may ask of an audit event",
		Long: `List the fields that rules may ask of an audit event.

A pattern is the name of a field, or a part of names and descriptions. With * or ? in
it, it has to fit the whole name.`,
		Example: `  kaudit fields                  all fields
  kaudit fields -v ka.uri.param  one field, with an example
  kaudit fields 'ka.role.*'      fields by name
  kaudit fields --json exec      what has to do with exec, for programs`,
		Args: atMost(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, written string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, f := range extract.Fields() {
				if len(args) == 0 && strings.HasPrefix(f.Name, written) {
					names = append(names, f.Name+"\t"+f.Doc)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			pattern := ""
			if len(args) == 1 {
				pattern = args[0]
			}
			found, err := findFields(extract.Families(), pattern)
			if err != nil {
				return err
			}
			if jsonToo || *as == asJSON {
				return writeJSON(c.OutOrStdout(), found)
			}
			return writeText(c.OutOrStdout(), found, examples)
		},
	}
	as = formatFlag(c)
	c.Flags().BoolVar(&jsonToo, "json", false, "the same as -o json")
	c.Flags().BoolVarP(&examples, "examples", "v", false, "show an example of each field, too")
	return c
}

// findFields returns the fields that fit a pattern, in families without the others. The empty pattern fits all.
func findFields(families []extract.Family, pattern string) ([]extract.Family, error) {
	fits := matcher(pattern)
	var found []extract.Family
	var names []string
	for _, family := range families {
		var some extract.Table
		for _, f := range family.Fields {
			names = append(names, f.Name)
			if fits(f) {
				some = append(some, f)
			}
		}
		if some != nil {
			family.Fields = some
			found = append(found, family)
		}
	}
	if found == nil {
		return nil, unknown("field", pattern, nearest.Word(nameIn(pattern), names), "kaudit fields")
	}
	return found, nil
}

// matcher returns what tells whether a field fits a pattern.
func matcher(pattern string) func(extract.Field) bool {
	if name := nameIn(pattern); has(name) {
		return func(f extract.Field) bool { return f.Name == name }
	}
	pattern = strings.ToLower(pattern)
	if strings.ContainsAny(pattern, "*?") {
		return func(f extract.Field) bool {
			ok, err := path.Match(pattern, strings.ToLower(f.Name))
			return ok && err == nil
		}
	}
	return func(f extract.Field) bool {
		return strings.Contains(strings.ToLower(f.Name), pattern) || strings.Contains(strings.ToLower(f.Doc), pattern)
	}
}

// nameIn returns the name in a field as rules write it: without an argument in brackets.
func nameIn(written string) string {
	name, _, _ := strings.Cut(written, "[")
	return name
}

func has(name string) bool {
	_, ok := extract.Fields().Find(name)
	return ok
}

// width is how long lines of text may get.
const width = 96

func writeText(w io.Writer, families []extract.Family, examples bool) error {
	var b strings.Builder
	for i, family := range families {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(family.Title + "\n\n")
		for _, f := range family.Fields {
			fmt.Fprintf(&b, "%-45s %s\n", f.Name+brackets(f), typeOf(f))
			wrap(&b, f.Doc+argumentDoc(f))
			if examples {
				e := f.Example
				fmt.Fprintf(&b, "    %s = %s\n    on %s\n\n", f.Name+given(e), e.Want, e.Event)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap writes words in indented lines.
func wrap(b *strings.Builder, text string) {
	const indent = "   "
	n := 0
	for _, word := range strings.Fields(text) {
		if n > 0 && n+1+len(word) > width {
			b.WriteByte('\n')
			n = 0
		}
		if n == 0 {
			b.WriteString(indent)
			n = len(indent)
		}
		b.WriteString(" " + word)
		n += 1 + len(word)
	}
	b.WriteByte('\n')
}

func typeOf(f extract.Field) string {
	if f.From.List {
		return "list of " + string(f.From.Type)
	}
	return string(f.From.Type)
}

func brackets(f extract.Field) string {
	if f.Arg == extract.RequiredKey {
		return "[…]"
	}
	return ""
}

func argumentDoc(f extract.Field) string {
	switch f.Arg {
	case extract.RequiredKey:
		return " In the brackets: " + f.ArgDoc + "."
	case extract.OptionalIndex:
		return " In brackets, if wanted: " + f.ArgDoc + ", from 0."
	}
	return ""
}

// given returns the argument of an example as rules write it.
func given(e extract.Example) string {
	if e.Arg == "" {
		return ""
	}
	return "[" + e.Arg + "]"
}

func writeJSON(w io.Writer, families []extract.Family) error {
	type argument struct {
		Form     string `json:"form"` // index or key
		Required bool   `json:"required"`
		Doc      string `json:"doc"`
	}
	type example struct {
		Event    string `json:"event"` // JSON in a string: one of them nests deeper than most readers go
		Argument string `json:"argument,omitempty"`
		Value    string `json:"value"`
	}
	type field struct {
		Name     string       `json:"name"`
		Type     extract.Type `json:"type"`
		List     bool         `json:"list"`
		Argument *argument    `json:"argument,omitempty"`
		Doc      string       `json:"doc"`
		Family   string       `json:"family"`
		Example  example      `json:"example"`
	}
	list := []field{}
	for _, family := range families {
		for _, f := range family.Fields {
			row := field{
				Name: f.Name, Type: f.From.Type, List: f.From.List, Doc: f.Doc, Family: family.Title,
				Example: example{f.Example.Event, f.Example.Arg, f.Example.Want},
			}
			switch f.Arg {
			case extract.RequiredKey:
				row.Argument = &argument{"key", true, f.ArgDoc}
			case extract.OptionalIndex:
				row.Argument = &argument{"index", false, f.ArgDoc}
			}
			list = append(list, row)
		}
	}
	return printJSON(w, list)
}

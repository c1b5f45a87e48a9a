package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"kaudit/internal/convert"
)

func convertCommand() *cobra.Command {
	k := &conversion{}
	c := &cobra.Command{
		Use:   "convert file...",
		Short: "Rewrite rules that need the json plugin so that they need this one only",
		Long: `Rewrite rules that were written for the official plugin: fields of the json plugin
(jevt.*, json.*) become fields of this one with the same meaning, and the json plugin is
taken off required_plugin_versions when nothing asks for it any more. Comments and
layout stay.

The rewritten rules are printed, or with -w written in the place of the old ones. What
has no equivalent stays as it is and is reported, with what to do. Files that Falco loads
together are best converted together. - is standard input.

It exits with 0 if everything is converted, with 1 if something is left, and with 2 if a
file cannot be read.`,
		Example: `  kaudit convert k8s_audit_rules.yaml > new.yaml
  kaudit convert --diff my_rules.yaml   show what would change
  kaudit convert -w my_rules.yaml       in place`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%s needs a rule file; - is standard input", c.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(c *cobra.Command, args []string) error {
			if k.write && k.diff {
				return badInput{errors.New("-w writes the files and --diff only shows what would change; choose one")}
			}
			k.out, k.errOut = c.OutOrStdout(), c.ErrOrStderr()
			return k.run(c.InOrStdin(), args)
		},
	}
	k.format = formatFlag(c)
	c.Flags().BoolVarP(&k.write, "write", "w", false, "write the files instead of printing them")
	c.Flags().BoolVar(&k.diff, "diff", false, "print what changes instead of the whole files")
	return c
}

// conversion is what kaudit convert is asked to do.
type conversion struct {
	write, diff bool
	format      *format
	out, errOut io.Writer
}

func (k *conversion) run(stdin io.Reader, paths []string) error {
	files, err := readRuleFiles(stdin, paths...)
	if err != nil {
		return err
	}
	results, err := convert.Files(files...)
	if err != nil {
		return err
	}
	left := 0
	for _, r := range results {
		left += r.Left()
		if k.write && !bytes.Equal(r.Before, r.After) {
			if err := replaceFile(r.Name, r.After); err != nil {
				return err
			}
		}
	}
	if *k.format == asJSON {
		if err := k.printJSON(results); err != nil {
			return err
		}
	} else {
		for _, r := range results {
			if err := k.print(r); err != nil {
				return err
			}
		}
	}
	if left > 0 {
		return errFailed
	}
	return nil
}

// replaceFile writes a file that is there.
func replaceFile(name string, content []byte) error {
	if name == "-" {
		return badInput{errors.New("standard input cannot be written; leave -w out")}
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, content, info.Mode().Perm())
}

// print prints the rules, and what there is to know of them where it does not get among them.
func (k *conversion) print(r *convert.Result) error {
	text := string(r.After)
	switch {
	case k.write:
		text = ""
	case k.diff:
		text = r.Diff()
	}
	if _, err := io.WriteString(k.out, text); err != nil {
		return err
	}
	for _, n := range r.Notes {
		what := "note"
		if n.Left {
			what = "left"
		}
		fmt.Fprintf(k.errOut, "%s: %s: ", n.Pos, what)
		if n.Item != "" {
			fmt.Fprintf(k.errOut, "%s: ", n.Item)
		}
		if n.Field != "" {
			fmt.Fprintf(k.errOut, "%s: ", n.Field)
		}
		fmt.Fprint(k.errOut, n.Text)
		if n.Hint != "" {
			fmt.Fprint(k.errOut, "; ", n.Hint)
		}
		fmt.Fprintln(k.errOut)
	}
	_, err := fmt.Fprintf(k.errOut, "%s: %s converted, %d left\n", r.Name, several(r.Changed, "field"), r.Left())
	return err
}

func (k *conversion) printJSON(results []*convert.Result) error {
	type note struct {
		Line   int    `json:"line"`
		Column int    `json:"column"`
		Item   string `json:"item,omitempty"`
		Field  string `json:"field,omitempty"`
		Text   string `json:"text"`
		Hint   string `json:"hint,omitempty"`
		Left   bool   `json:"left"` // the field was left as it was
	}
	type file struct {
		Name      string `json:"name"`
		Converted int    `json:"converted"`
		Left      int    `json:"left"`
		Notes     []note `json:"notes"`
		Content   string `json:"content,omitempty"`
		Diff      string `json:"diff,omitempty"`
	}
	out := []file{}
	for _, r := range results {
		f := file{Name: r.Name, Converted: r.Changed, Left: r.Left(), Notes: []note{}}
		switch {
		case k.diff:
			f.Diff = r.Diff()
		case !k.write:
			f.Content = string(r.After)
		}
		for _, n := range r.Notes {
			f.Notes = append(f.Notes, note{n.Pos.Line, n.Pos.Column, n.Item, n.Field, n.Text, n.Hint, n.Left})
		}
		out = append(out, f)
	}
	return printJSON(k.out, out)
}

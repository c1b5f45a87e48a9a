// Command kaudit is for people who write rules, and for those who run the plugin.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kaudit/internal/nearest"
	"kaudit/pkg/rules"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the command did not find or do what it was asked
	exitUsage  = 2 // the command was written wrongly, or what it was given to read is: rules, events, a policy
)

// errFailed ends a command with exitFailed when it has already said why.
var errFailed = errors.New("failed")

// badInput is the error of a command that cannot read what it was given. It ends with exitUsage.
type badInput struct{ error }

func (e badInput) Unwrap() error { return e.error }

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run runs the command line and returns the exit code.
func run(args []string, out, errOut io.Writer) int {
	root, ran := command()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.Execute()
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errFailed) {
		return exitFailed
	}
	var load *rules.LoadError
	if errors.As(err, &load) {
		for _, p := range load.Problems {
			fmt.Fprint(errOut, p.Render())
		}
		return exitUsage
	}
	fmt.Fprintln(errOut, "kaudit:", err)
	if bad := (badInput{}); errors.As(err, &bad) || !*ran {
		return exitUsage
	}
	return exitFailed
}

// command returns the tree of commands, and whether one of them ran: errors before that are mistakes in usage.
func command() (root *cobra.Command, ran *bool) {
	ran = new(bool)
	root = &cobra.Command{
		Use:   "kaudit",
		Short: "Run, test and explain Falco rules on Kubernetes audit events",
		Long: `kaudit runs Falco rules on Kubernetes audit events, without Falco, and helps to write them:
it tests and checks rules, says why one fires or does not, and lists what they may ask of the
plugin libk8saudit.so.`,
		Example: `  kaudit run /var/log/kubernetes/audit.log            alerts, by the rules that come with kaudit
  kaudit run --from http://127.0.0.1:9765/k8s-audit   alerts on what an API server posts
  kaudit test rules/                                  do the rules fire when they should?
  kaudit fields exec                                  fields that have to do with exec
  kaudit doctor                                       why does Falco not alert?`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(certsCommand(), checkCommand(), convertCommand(), doctorCommand(), explainCommand(), extractCommand(), fieldsCommand(), policyCommand(), runCommand(), testCommand(), versionCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch {
		case c.Name() == "help": // the package takes a word it does not know for no word
			c.Args = func(_ *cobra.Command, args []string) error {
				about, rest, err := root.Find(args)
				if err == nil && about.HasSubCommands() {
					err = knownCommand(about, rest)
				}
				return err
			}
		case c.HasSubCommands() && !c.Runnable():
			c.Args, c.RunE = knownCommand, func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	note(root, ran)
	return root, ran
}

// note notes in ran when one of the commands below c runs.
func note(c *cobra.Command, ran *bool) {
	for _, c := range c.Commands() {
		if do := c.RunE; do != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				*ran = true
				return do(c, args)
			}
		}
		note(c, ran)
	}
}

// knownCommand is what the root command says of arguments: it has none, so they are commands it does not know.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	return unknown("command", args[0], nearest.Word(args[0], names), c.CommandPath()+" --help")
}

// atMost allows some arguments, and no more.
func atMost(most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) <= most:
			return nil
		case most == 0:
			return fmt.Errorf("%s takes no argument, and %q is one", c.CommandPath(), args[0])
		}
		return fmt.Errorf("%d arguments, and %s takes %d at most; words that belong together need quotes: %q", len(args), c.CommandPath(), most, strings.Join(args, " "))
	}
}

// flagError says which flag is meant by one that is not known.
func flagError(c *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) && errors.As(err, new(*strconv.NumError)) {
		return fmt.Errorf("--%s %q: want a whole number; see %s --help", invalid.GetFlag().Name, invalid.GetValue(), c.CommandPath())
	}
	var missing *pflag.NotExistError
	if !errors.As(err, &missing) {
		return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	flag := missing.GetSpecifiedName()
	if missing.GetSpecifiedShortnames() != "" {
		flag = "-" + flag
	} else {
		flag = "--" + flag
	}
	return unknown("flag", flag, nearest.Word(flag, names), c.CommandPath()+" --help")
}

// unknown says what to write instead.
func unknown(what, written, meant, help string) error {
	if meant == "" {
		return fmt.Errorf("there is no %s %q; %s lists those there are", what, written, help)
	}
	return fmt.Errorf("there is no %s %q; did you mean %q? %s lists those there are", what, written, meant, help)
}

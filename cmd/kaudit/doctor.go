package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"kaudit/internal/doctor"
	"kaudit/pkg/rules"
)

func doctorCommand() *cobra.Command {
	o := doctor.Options{}
	falco := rules.Newest.String()
	var as *format
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why nothing happens",
		Long: `Find out why nothing happens: doctor reads falco.yaml as Falco does, with the files that it
includes, and looks at all that has to be right for an alert: the library, the settings,
the rules, the outputs; the certificate and the port of a webhook; the age of a log.

With the files of an API server it looks at the other end, too: whether its kubeconfig
leads to the webhook, with the right port, path and authority, and whether its policy
records what rules look at. From its static pod it finds these files by itself.

Run it where Falco runs, as the user that Falco runs as. If Falco runs, its command line
counts. It changes nothing, and sends no events; to the port it connects, and asks for
/healthz.

Each thing is ok, a warning, or a failure, with where it stands and what to write instead.
It exits with 0 if there is no failure, with 1 if there is one, and with 2 if it was called
wrongly or falco.yaml cannot be read.`,
		Example: `  kaudit doctor
  kaudit doctor -c falco.yaml --offline          only what is in files
  kaudit doctor --apiserver-manifest /etc/kubernetes/manifests/kube-apiserver.yaml
  kaudit doctor --kubeconfig webhook.yaml --policy audit-policy.yaml
  kaudit doctor -c falco.yaml -r my_rules.yaml   as on Falco's command line`,
		Args: atMost(0),
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Falco, err = rules.ParseFalco(falco); err != nil {
				return badInput{fmt.Errorf("--falco: %w", err)}
			}
			report, err := doctor.Run(c.Context(), o)
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%w; -c names Falco's configuration", err)
			}
			if err != nil {
				return badInput{err}
			}
			if *as == asJSON {
				err = printJSON(c.OutOrStdout(), report)
			} else {
				err = printReport(c.OutOrStdout(), report)
			}
			if err == nil && report.Count(doctor.Fail) > 0 {
				err = errFailed
			}
			return err
		},
	}
	as = formatFlag(c)
	f := c.Flags()
	f.StringVarP(&o.Config, "config", "c", "", "Falco's configuration (default: that of the Falco that runs, or "+doctor.DefaultConfig+")")
	f.StringArrayVar(&o.Set, "set", nil, "what Falco is started with as -o: key=value; may be given again")
	f.StringArrayVarP(&o.Rules, "rules", "r", nil, "what Falco is started with as -r, in place of rules_files; may be given again")
	f.StringSliceVar(&o.EnableSources, "enable-source", nil, "as Falco's option")
	f.StringSliceVar(&o.DisableSources, "disable-source", nil, "as Falco's option")
	f.StringVar(&falco, "falco", falco, fmt.Sprintf("the version of Falco, %s to %s", rules.Oldest, rules.Newest))
	f.StringVar(&o.PluginsDir, "plugins-dir", doctor.DefaultPluginsDir, "where library paths begin that are relative")
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "the API server's --audit-webhook-config-file")
	f.StringVar(&o.Policy, "policy", "", "the API server's --audit-policy-file")
	f.StringVar(&o.Manifest, "apiserver-manifest", "", "the API server's static pod, as /etc/kubernetes/manifests/kube-apiserver.yaml")
	for flag, words := range map[string][]string{"enable-source": {rules.Source, "syscall"}, "disable-source": {rules.Source, "syscall"}, "falco": falcoVersions()} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	f.BoolVar(&o.Offline, "offline", false, "connect to nothing, and look for no process: for a configuration that is not in use yet")
	return c
}

var statusColours = [...]string{doctor.OK: green, doctor.Warn: yellow, doctor.Fail: red}

// printReport prints a line for each finding, and below it where it stands and what to do.
func printReport(w io.Writer, report *doctor.Report) error {
	p := painter(colourful(w))
	var b strings.Builder
	for _, f := range report.Findings {
		fmt.Fprintf(&b, "%s %s: %s\n", p.in(statusColours[f.Status], fmt.Sprintf("%-4s", f.Status)), f.Check, f.Text)
		if f.Status == doctor.OK {
			continue
		}
		if f.At != "" {
			fmt.Fprintf(&b, "     at %s\n", f.At)
		}
		if f.Do != "" {
			fmt.Fprintf(&b, "     → %s\n", f.Do)
		}
	}
	fmt.Fprintf(&b, "\n%s, %s, %d ok\n", several(report.Count(doctor.Fail), "failure"), several(report.Count(doctor.Warn), "warning"), report.Count(doctor.OK))
	_, err := io.WriteString(w, b.String())
	return err
}

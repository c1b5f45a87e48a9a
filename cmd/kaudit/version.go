package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"kaudit"
)

func versionCommand() *cobra.Command {
	var as *format
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what the plugin of this version is to Falco",
		Args:  atMost(0),
		RunE: func(c *cobra.Command, _ []string) error {
			id := kaudit.Plugin()
			if *as == asJSON {
				return printJSON(c.OutOrStdout(), map[string]any{
					"version": id.Version, "plugin": id.Name, "id": id.ID, "source": id.Source, "plugin_api": id.RequiredAPIVersion,
					"built_from": revision(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				})
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "kaudit %s\nplugin %s, id %d, event source %s, plugin API %s or later\nbuilt from %s with %s for %s/%s\n",
				id.Version, id.Name, id.ID, id.Source, id.RequiredAPIVersion, revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	as = formatFlag(c)
	return c
}

// revision returns the commit the command was built from, if the go command has noted it.
func revision() string {
	commit, changed := "an unknown commit", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = "commit " + s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				changed = " with changes"
			}
		}
	}
	return commit + changed
}

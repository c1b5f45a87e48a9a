package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A process is a Falco that runs on this machine.
type process struct {
	pid     int
	config  string
	command Options // what its command line says: Config, Set, Rules, and the sources
	inside  bool    // it is in a container: its files are not those seen here
}

// running returns the processes called falco.
func running(proc string) (list []process) {
	names, _ := filepath.Glob(filepath.Join(proc, "[0-9]*", "comm"))
	for _, name := range names {
		comm, err := os.ReadFile(name)
		if err != nil || strings.TrimSpace(string(comm)) != "falco" {
			continue
		}
		dir := filepath.Dir(name)
		line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		pid, numErr := strconv.Atoi(filepath.Base(dir))
		if err != nil || numErr != nil || len(line) == 0 {
			continue
		}
		p := process{pid: pid, command: commandLine(strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")[1:])}
		theirs, _ := os.Readlink(filepath.Join(dir, "ns", "mnt"))
		ours, _ := os.Readlink(filepath.Join(proc, "self", "ns", "mnt"))
		p.inside = theirs != ours
		p.config = p.command.Config
		if p.config == "" {
			p.config = DefaultConfig
		}
		if cwd, err := os.Readlink(filepath.Join(dir, "cwd")); err == nil && !filepath.IsAbs(p.config) {
			p.config = filepath.Join(cwd, p.config)
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b process) int { return a.pid - b.pid })
	return list
}

// commandLine reads those of Falco's arguments that matter here (falcosecurity/falco: userspace/falco/app/options.cpp).
func commandLine(args []string) (o Options) {
	lists := map[string]*[]string{
		"-o": &o.Set, "--option": &o.Set, "-r": &o.Rules, "--enable-source": &o.EnableSources, "--disable-source": &o.DisableSources,
	}
	for i := 0; i < len(args); i++ {
		name, value, joined := args[i], "", false
		if strings.HasPrefix(name, "--") {
			name, value, joined = strings.Cut(name, "=")
		} else if len(name) > 2 && name[0] == '-' {
			name, value, joined = name[:2], name[2:], true
		}
		list, known := lists[name]
		if !known && name != "-c" {
			continue
		}
		if !joined && i+1 < len(args) {
			i++
			value = args[i]
		}
		if known {
			*list = append(*list, value)
		} else {
			o.Config = value
		}
	}
	return o
}

// process looks for a Falco that runs. What it was started with counts where nothing else is said.
func (e *examination) process() {
	e.check = "process"
	list := running(e.Proc)
	if len(list) == 0 {
		if e.Config == "" {
			e.Config = DefaultConfig
		}
		return
	}
	p := list[0]
	who := fmt.Sprintf("Falco runs as process %d", p.pid)
	switch {
	case p.inside:
		e.warn("", "run kaudit doctor where its files are: in that container", "%s, in a container: the files seen here are not its own", who)
	case e.Config == "" || e.Config == p.config:
		e.Config = p.config
		if len(e.Set)+len(e.Rules)+len(e.EnableSources)+len(e.DisableSources) == 0 {
			e.Set, e.Rules, e.EnableSources, e.DisableSources = p.command.Set, p.command.Rules, p.command.EnableSources, p.command.DisableSources
		}
		e.ok("", "%s, with %s", who, p.config)
	default:
		e.warn("", "start it with -c "+e.Config+", or look at its own", "%s, with %s, and not with %s", who, p.config, e.Config)
	}
	if len(list) > 1 {
		e.warn("", "stop those that should not run", "%d processes of Falco run; only one can have a port", len(list))
	}
	if e.Config == "" {
		e.Config = DefaultConfig
	}
}

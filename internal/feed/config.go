package feed

import (
	"path/filepath"

	"kaudit/internal/config"
	"kaudit/internal/spool"
	"kaudit/internal/watch"
	"kaudit/pkg/source"
)

// OpenAll opens what the host's open parameters name and what the configuration lists. One source by open parameters
// alone is what it is by itself: when it cannot be opened or cannot go on, that is the host's error.
func OpenAll(c config.Config, params string, env source.Env) (source.Source, error) {
	list, err := c.All(params)
	if err != nil {
		return nil, err
	}
	memory := false
	var members []Member
	for _, s := range list {
		memory = memory || s.Pushed() && c.Spool.Dir == ""
		members = append(members, Member{Name: s.Name, Cluster: s.Cluster, Open: func() (source.Source, error) {
			return open(s, c.Spool, env)
		}})
	}
	if memory {
		env.Log.Warn("spool.dir is not set: what is acknowledged waits in memory, and is lost if the host ends before it is evaluated")
	}
	if len(c.Sources) == 0 {
		return members[0].Open()
	}
	return Open(members, Config{QueueBytes: c.QueueBytes, Log: env.Log})
}

// open opens a source: behind a spool of its own if its senders keep nothing and there is a folder for it, and watched if
// that is wanted. What it tells is of its cluster, unless it knows better.
func open(s config.Source, c config.Spool, env source.Env) (source.Source, error) {
	notify := env.Notify
	env.Notify = func(n source.Notice) {
		if n.Cluster == "" {
			n.Cluster = s.Cluster
		}
		if notify != nil {
			notify(n)
		}
	}
	src, err := spooled(s, c, env)
	if err != nil || s.Silence == 0 {
		return src, err
	}
	return watch.Source(src, watch.Config{After: s.Silence, Notify: env.Notify, Log: env.Log.With("name", s.Name)}), nil
}

// spooled opens a source, behind its spool if it has one.
func spooled(s config.Source, c config.Spool, env source.Env) (source.Source, error) {
	if c.Dir == "" || !s.Pushed() {
		return s.New(env)
	}
	kept, err := spool.Open(spool.Config{Dir: filepath.Join(c.Dir, s.Name), Name: s.Name, MaxBytes: c.MaxBytes, Log: env.Log, Notify: env.Notify})
	if err != nil {
		return nil, err
	}
	src, err := s.New(env)
	if err != nil {
		kept.Close()
		return nil, err
	}
	return kept.Source(src), nil
}

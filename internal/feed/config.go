package feed

import (
	"kaudit/internal/config"
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
	if len(c.Sources) == 0 {
		return open(list[0], env)
	}
	var members []Member
	for _, s := range list {
		members = append(members, Member{Name: s.Name, Cluster: s.Cluster, Open: func() (source.Source, error) { return open(s, env) }})
	}
	return Open(members, Config{QueueBytes: c.QueueBytes, Log: env.Log})
}

// open opens a source and, if that is wanted, watches it. What it tells is of its cluster, unless it knows better.
func open(s config.Source, env source.Env) (source.Source, error) {
	notify := env.Notify
	env.Notify = func(n source.Notice) {
		if n.Cluster == "" {
			n.Cluster = s.Cluster
		}
		if notify != nil {
			notify(n)
		}
	}
	src, err := s.New(env)
	if err != nil || s.Silence == 0 {
		return src, err
	}
	return watch.Source(src, watch.Config{After: s.Silence, Notify: env.Notify, Log: env.Log.With("name", s.Name)}), nil
}

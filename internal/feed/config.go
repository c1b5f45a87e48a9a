package feed

import (
	"kaudit/internal/config"
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
		return list[0].New(env)
	}
	var members []Member
	for _, s := range list {
		members = append(members, Member{Name: s.Name, Cluster: s.Cluster, Open: func() (source.Source, error) { return s.New(env) }})
	}
	return Open(members, Config{QueueBytes: c.QueueBytes, Log: env.Log})
}

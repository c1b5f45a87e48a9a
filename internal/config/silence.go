package config

import (
	"fmt"
	"time"

	"kaudit/pkg/source"
)

// silence reads how long a source with these settings may be silent; zero is for ever.
func silence(settings map[string]any) (time.Duration, error) {
	var s struct {
		SilenceAfter string `json:"silenceAfter"`
	}
	s.SilenceAfter = Defaults().SilenceAfter
	if err := source.Decode(settings, &s); err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(s.SilenceAfter)
	if err != nil || d < 0 || d > 0 && d < time.Second {
		return 0, fmt.Errorf("silenceAfter: want a time like 90s, 10m or 1h, or 0s, not %q", s.SilenceAfter)
	}
	return d, nil
}

package nearest_test

import (
	"testing"

	"kaudit/internal/nearest"
)

func TestWord(t *testing.T) {
	words := []string{"ka.user.name", "ka.user.groups", "maxEventSize"}
	for written, want := range map[string]string{
		"ka.usr.name":     "ka.user.name",
		"ka.user.group":   "ka.user.groups",
		"max_event_size":  "maxEventSize",
		"MAXEVENTSIZES":   "maxEventSize",
		"something else":  "",
		"":                "",
		"maxOpenSessions": "",
	} {
		if got := nearest.Word(written, words); got != want {
			t.Errorf("nearest to %q: got %q, want %q", written, got, want)
		}
	}
}

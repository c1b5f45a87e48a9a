// Package nearest finds what somebody meant to write, for errors that say what to write instead.
package nearest

import (
	"strings"

	"github.com/agext/levenshtein"
)

// Word returns the word most like the one that was written, whatever its case, and "" if none is alike: when more than
// a third of it would have to change.
func Word(written string, words []string) string {
	written = strings.ToLower(written)
	best, distance := "", len(written)/3+1
	for _, w := range words {
		if d := levenshtein.Distance(strings.ToLower(w), written, nil); d < distance {
			best, distance = w, d
		}
	}
	return best
}

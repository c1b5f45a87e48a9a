package tail

import (
	"context"
	"time"
)

// What the watcher saw.
type seen struct {
	watch     int32
	directory string // not empty if the watch was one of a directory
	name      string // of what came there
	all       bool   // events were lost
}

// sleep waits until the time or until ctx ends.
func sleep(ctx context.Context, until time.Time) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(until)):
	}
}

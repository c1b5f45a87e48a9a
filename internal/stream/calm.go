package stream

import "time"

const (
	// calmFor is how long nothing comes until a burst is over.
	calmFor = 5 * time.Second
	// burstBytes is how much makes a burst: less leaves little behind.
	burstBytes = 64 << 20
)

// A calm tells when a burst is over, so that its memory can be given back. Go's collector sets to work when as much again
// has been allocated, and so does nothing when nothing comes: what a burst took would stay for hours.
type calm struct {
	quiet time.Duration
	until uint64 // how many bytes had been taken in when the last burst was over
}

// after is told of each call of the host: whether it waited for nothing, how long, and how many bytes have been taken
// in so far. It reports whether a burst is over, once.
func (c *calm) after(idle bool, waited time.Duration, taken uint64) bool {
	if !idle {
		c.quiet = 0
		return false
	}
	if c.quiet += waited; c.quiet < calmFor || taken-c.until < burstBytes {
		return false
	}
	c.until = taken
	return true
}

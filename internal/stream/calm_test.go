package stream

import (
	"testing"
	"time"
)

func TestABurstIsOverOnce(t *testing.T) {
	var c calm
	const wait = 100 * time.Millisecond
	idle := func(bytes uint64, d time.Duration) (times int) {
		for range int(d / wait) {
			if c.after(true, wait, bytes) {
				times++
			}
		}
		return times
	}
	if n := idle(burstBytes-1, time.Minute); n != 0 {
		t.Errorf("after little came: over %d times", n)
	}
	c.after(false, 0, burstBytes)
	if n := idle(burstBytes, calmFor-wait); n != 0 {
		t.Errorf("it may go on: over %d times", n)
	}
	c.after(false, 0, 2*burstBytes)
	if n := idle(2*burstBytes, time.Minute); n != 1 {
		t.Errorf("over %d times, want once", n)
	}
	if n := idle(3*burstBytes, time.Minute); n != 1 {
		t.Errorf("the next burst is over %d times, want once", n)
	}
}

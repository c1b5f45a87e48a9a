package stream

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A queue gives back what came first, and its memory stays in proportion.
func TestQueue(t *testing.T) {
	var q queue
	begin := time.Now()
	in, out, most := 0, 0, 0
	for range 20_000 {
		if n := rand.IntN(5); n < 3 && q.len() < 100 {
			q.push(begin.Add(time.Duration(in)))
			in++
		} else if q.len() > 0 {
			if got := q.first().Sub(begin); got != time.Duration(out) {
				t.Fatalf("got %d, want %d", got, out)
			}
			q.pop()
			out++
		}
		most = max(most, cap(q.times))
		if q.len() != in-out {
			t.Fatalf("%d are in the queue, want %d", q.len(), in-out)
		}
	}
	if in < 1000 || most > 512 {
		t.Errorf("%d passed; memory for %d", in, most)
	}
}

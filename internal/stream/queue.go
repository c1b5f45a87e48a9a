package stream

import "time"

// A queue holds times in the order in which they came. It keeps its memory, which the number of deliveries bounds.
type queue struct {
	times []time.Time
	head  int
}

func (q *queue) len() int { return len(q.times) - q.head }

func (q *queue) first() time.Time { return q.times[q.head] }

func (q *queue) push(t time.Time) {
	if len(q.times) == cap(q.times) && q.head > len(q.times)/2 {
		q.times = q.times[:copy(q.times, q.times[q.head:])]
		q.head = 0
	}
	q.times = append(q.times, t)
}

func (q *queue) pop() {
	if q.head++; q.head == len(q.times) {
		q.times, q.head = q.times[:0], 0
	}
}

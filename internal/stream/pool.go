package stream

import "sync"

// A pool lends batches to workers. Deliveries are evaluated in order but decoded side by side, and what is decoded early
// waits with its batches for its turn. So that it cannot take the last batch from the delivery everybody waits for,
// that one, the head, gets a batch always; the others only while fewer than most are out.
type pool struct {
	make func() Batch
	most int

	mu     sync.Mutex
	moved  sync.Cond // something came back, the head moved on, or the pool closed
	free   []Batch
	out    int
	head   uint64
	closed bool
}

func newPool(most int, newBatch func() Batch) *pool {
	p := &pool{make: newBatch, most: most}
	p.moved.L = &p.mu
	return p
}

// take lends an empty batch for delivery number n. It waits for one, and returns nil when the pool closes.
func (p *pool) take(n uint64) Batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.out >= p.most && n != p.head && !p.closed {
		p.moved.Wait()
	}
	if p.closed {
		return nil
	}
	var b Batch
	if last := len(p.free) - 1; last >= 0 {
		b, p.free = p.free[last], p.free[:last]
	} else {
		b = p.make()
	}
	p.out++
	return b
}

// put takes a batch back, which need not be empty.
func (p *pool) put(b Batch) {
	b.Reset()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out--
	if p.closed || len(p.free) >= p.most {
		b.Free()
	} else {
		p.free = append(p.free, b)
	}
	p.moved.Broadcast()
}

// advance makes n the delivery everybody waits for.
func (p *pool) advance(n uint64) {
	p.mu.Lock()
	p.head = n
	p.moved.Broadcast()
	p.mu.Unlock()
}

// close frees what is not out and ends all waiting.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, b := range p.free {
		b.Free()
	}
	p.free = nil
	p.moved.Broadcast()
	p.mu.Unlock()
}

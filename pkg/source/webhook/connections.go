package webhook

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// connections bounds how many connections there are, without keeping anybody out: where there is one too many, one goes
// that has not brought events, the oldest first. Only if all have, the one goes that brought none for the longest time.
// So thousands of connections that only wait cost a sender nothing: its own is not theirs to take.
type connections struct {
	most int

	mu     sync.Mutex
	places map[net.Conn]*connection
	fresh  list.List // of those that have brought no events yet, the oldest first
	proven list.List // of those that have, the last to do so at the end
	all    sync.WaitGroup
}

// A connection is one place in the lists.
type connection struct {
	net.Conn
	place *list.Element
	in    *list.List // nil when it is in neither

	mu     sync.Mutex
	leaves func() // lets the next handshake through, see gate
	closed bool
}

// inside remembers how to leave the gate. It reports false if the connection is closed already.
func (c *connection) inside(leave func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaves = leave
	return !c.closed
}

func (c *connection) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed = true; c.leaves != nil {
		c.leaves()
	}
}

type connectionKey struct{}

// admit is called with each new connection, and makes room for it.
func (c *connections) admit(ctx context.Context, conn net.Conn) (_ context.Context, evicted bool) {
	c.all.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if evicted = c.fresh.Len()+c.proven.Len() >= c.most; evicted {
		out := c.fresh.Front()
		if out == nil {
			out = c.proven.Front()
		}
		one := out.Value.(*connection)
		one.leave()
		raw := one.Conn
		if encrypted, ok := raw.(*tls.Conn); ok {
			raw = encrypted.NetConn() // no farewell, which might wait for the peer
		}
		raw.Close()
	}
	one := &connection{Conn: conn}
	one.enter(&c.fresh)
	c.places[conn] = one
	return context.WithValue(ctx, connectionKey{}, one), evicted
}

// prove moves a connection to those that brought events, to the end.
func (c *connections) prove(req *http.Request) {
	one, ok := req.Context().Value(connectionKey{}).(*connection)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if one.in != nil { // else it was just closed
		one.leave()
		one.enter(&c.proven)
	}
}

// gone forgets a connection that was closed.
func (c *connections) gone(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.places[conn]
	one.end()
	if one.in != nil {
		one.leave()
	}
	delete(c.places, conn)
	c.all.Done()
}

func (c *connection) enter(l *list.List) { c.in, c.place = l, l.PushBack(c) }

func (c *connection) leave() {
	c.in.Remove(c.place)
	c.in = nil
}

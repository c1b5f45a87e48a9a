package sourcing

/*
#include "../abi.h"
*/
import "C"

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/time/rate"

	"kaudit/pkg/audit"
	"kaudit/pkg/source"
)

const (
	// noticePause is the least time between two notices of one name, source and cluster: an alert a minute is heard, and
	// nobody can drown others in them. What happens in between is counted.
	noticePause = time.Minute
	// maxNotices is how many of them are told apart. Names are few and sources are configured, but a pattern may stand
	// for many files: what comes beyond is told by its name alone.
	maxNotices = 256
	// asyncHead is where the name of an asynchronous event begins.
	asyncHead = C.sizeof_async_event
)

// notices are on their way from sources to the host, where they become asynchronous events. Each is logged as well: a
// host that only looks into captures, or a dry run, gives no handler.
type notices struct {
	log    *slog.Logger
	raised atomic.Uint64 // what notices counted

	failed atomic.Uint64 // and those it did not
	unseen atomic.Int64  // those the host may not have evaluated yet

	mu      sync.Mutex
	known   map[topic]*notice
	order   []*notice // in which they were raised first
	wake    chan struct{}
	failing rate.Sometimes

	telling sync.Mutex // held from taking what is due to the end of its handing over
	post    sync.Mutex // held while the host is called: the handler is no longer when set has returned
	handler C.async_handler
	owner   unsafe.Pointer
	stop    chan struct{} // closed to end the goroutine; nil while there is none
	done    chan struct{}
}

// A topic is what notices are put together by.
type topic struct{ name, source, cluster string }

// A notice is what is known of a topic.
type notice struct {
	topic
	count   uint64 // since it was told last
	message string
	at      time.Time // when it was raised last
	next    time.Time // before which it is not told again
	logged  uint64    // how much of count is in the log
	nextLog time.Time // before which it is not logged again, but when it is told
}

func newNotices(log *slog.Logger) *notices {
	return &notices{
		log:     log,
		known:   map[topic]*notice{},
		wake:    make(chan struct{}, 1),
		failing: rate.Sometimes{Interval: time.Minute},
	}
}

// raise takes a notice in. It may be called from any goroutine and does not wait for the host.
func (q *notices) raise(n source.Notice) {
	count := max(1, n.Count)
	q.raised.Add(count)
	now := time.Now()
	q.mu.Lock()
	e := q.find(topic{n.Name, n.Source, n.Cluster}, now)
	e.count += count
	e.message, e.at = n.Message, now
	var fresh uint64
	if !now.Before(e.nextLog) {
		fresh = e.count - e.logged
		e.logged, e.nextLog = e.count, now.Add(noticePause)
	}
	t := e.topic
	q.mu.Unlock()
	if fresh > 0 {
		q.say(t, n.Message, fresh)
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// find returns what is known of a topic. The caller holds q.mu.
func (q *notices) find(t topic, now time.Time) *notice {
	if e := q.known[t]; e != nil {
		return e
	}
	if len(q.order) >= maxNotices {
		q.order = slices.DeleteFunc(q.order, func(e *notice) bool {
			old := e.count == 0 && !now.Before(e.next)
			if old {
				delete(q.known, e.topic)
			}
			return old
		})
	}
	if len(q.order) >= maxNotices {
		if t = (topic{name: t.name}); q.known[t] != nil {
			return q.known[t]
		}
	}
	e := &notice{topic: t}
	q.known[t] = e
	q.order = append(q.order, e)
	return e
}

func (q *notices) say(t topic, message string, count uint64) {
	about := []any{"notice", t.name, "source", t.source}
	if t.cluster != "" {
		about = append(about, "cluster", t.cluster)
	}
	q.log.Warn(message, append(about, "count", count)...)
}

// due takes the notices that are to be told now, all of them if there will be no later, and returns how long to wait for
// the next.
func (q *notices) due(now time.Time, all bool) (ready []notice, wait time.Duration) {
	wait = noticePause
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, e := range q.order {
		if e.count == 0 {
			continue
		}
		if pause := e.next.Sub(now); pause > 0 && !all {
			wait = min(wait, pause)
			continue
		}
		ready = append(ready, *e)
		e.count, e.logged = 0, 0
		e.next, e.nextLog = now.Add(noticePause), now.Add(noticePause)
	}
	return ready, wait
}

// tell hands what is due to the host.
func (q *notices) tell(all bool) (wait time.Duration) {
	q.telling.Lock()
	defer q.telling.Unlock()
	ready, wait := q.due(time.Now(), all)
	for _, e := range ready {
		if more := e.count - e.logged; more > 0 {
			q.say(e.topic, e.message, more)
		}
		if err := q.hand(e.event()); err != nil {
			q.failed.Add(1)
			q.failing.Do(func() {
				q.log.Error("the host does not take a notice; no rule sees it", "notice", e.name, "error", err)
			})
		}
	}
	return wait
}

// event returns the asynchronous event for a notice. The host writes its id and its time.
func (e notice) event() []byte {
	data, err := json.Marshal(struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
		Name       string `json:"name"`
		Source     string `json:"source,omitempty"`
		Cluster    string `json:"cluster,omitempty"`
		Count      uint64 `json:"count"`
		Message    string `json:"message"`
		Time       string `json:"time"`
	}{audit.NoticeKind, audit.NoticeVersion, e.name, e.source, e.cluster, e.count, e.message, e.at.UTC().Format("2006-01-02T15:04:05.000000Z")})
	if err != nil {
		panic("abi: notice: " + err.Error()) // texts and a number
	}
	name := append([]byte(e.name), 0)
	native := binary.NativeEndian
	b := make([]byte, asyncHead, asyncHead+len(name)+len(data))
	native.PutUint64(b[0:], ^uint64(0)) // now, and not before what the host is about to evaluate
	native.PutUint64(b[8:], ^uint64(0)) // no thread
	native.PutUint32(b[16:], uint32(cap(b)))
	native.PutUint16(b[20:], C.ASYNC_EVENT_TYPE)
	native.PutUint32(b[22:], 3)
	native.PutUint32(b[26:], 4)
	native.PutUint32(b[30:], uint32(len(name)))
	native.PutUint32(b[34:], uint32(len(data)))
	native.PutUint32(b[38:], 0)
	return append(append(b, name...), data...)
}

// hand calls the host.
func (q *notices) hand(event []byte) error {
	q.post.Lock()
	defer q.post.Unlock()
	if q.handler == nil {
		return errors.New("it has taken its handler back")
	}
	why := make([]byte, C.HANDLER_ERROR_SIZE+1)
	if C.host_handle(q.handler, q.owner, (*C.event_header)(unsafe.Pointer(&event[0])), (*C.char)(unsafe.Pointer(&why[0]))) != C.RC_SUCCESS {
		text, _, _ := strings.Cut(string(why), "\x00")
		return errors.New(text)
	}
	q.unseen.Add(1)
	return nil
}

// set makes handler the way to the host; nil means that there is none. When it returns, the one before is not called, nor
// will be. One goroutine calls it.
func (q *notices) set(handler C.async_handler, owner unsafe.Pointer) {
	if q.stop != nil {
		close(q.stop)
		<-q.done
		q.stop = nil
	}
	q.post.Lock()
	q.handler, q.owner = handler, owner
	q.post.Unlock()
	q.unseen.Store(0)
	if handler == nil {
		return
	}
	stop, done := make(chan struct{}), make(chan struct{})
	q.stop, q.done = stop, done
	go func() {
		defer close(done)
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			select {
			case <-stop:
				return
			case <-q.wake:
			case <-timer.C:
			}
			timer.Reset(q.tell(false))
		}
	}()
}

// flush hands over at once what is not told yet: the source has ended, and the host is about to be told. It reports whether
// the host has to ask once more before it knows of the end, since it looks at asynchronous events only when there is no
// other, and not at an end.
func (q *notices) flush() bool {
	q.post.Lock()
	open := q.handler != nil
	q.post.Unlock()
	if !open {
		return false
	}
	q.tell(true)
	return q.seen()
}

// seen notes that the host is told of a timeout, when it takes one event of those handed over. It reports whether there
// was one.
func (q *notices) seen() bool {
	if q.unseen.Load() <= 0 {
		return false
	}
	q.unseen.Add(-1)
	return true
}

//export plugin_set_async_event_handler
func plugin_set_async_event_handler(handle C.uintptr_t, owner unsafe.Pointer, handler C.async_handler) (rc int32) {
	p := pluginOf(handle)
	if p == nil {
		if handler == nil {
			return C.RC_SUCCESS
		}
		return C.RC_FAILURE
	}
	defer p.Guard("set_async_event_handler", &rc)
	p.notices.set(handler, owner)
	return C.RC_SUCCESS
}

//go:build cgo

package sourcing

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kaudit/pkg/audit"
	"kaudit/pkg/source"
)

func lost(from string, count uint64) source.Notice {
	return source.Notice{Name: source.EventsLost, Source: from, Count: count, Message: "why"}
}

// told renders what is due.
func (q *notices) told(all bool) (list []string) {
	ready, _ := q.due(time.Now(), all)
	for _, e := range ready {
		list = append(list, fmt.Sprintf("%s %s %d", e.name, e.source, e.count))
	}
	return list
}

func TestNoticesArePutTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newNotices(slog.New(slog.DiscardHandler))
		check := func(all bool, want ...string) {
			t.Helper()
			if got := q.told(all); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		check(false)
		q.raise(lost("a", 0)) // counts as one
		check(false, "events_lost a 1")
		for range 1000 {
			q.raise(lost("a", 2))
		}
		q.raise(lost("b", 1))
		check(false, "events_lost b 1") // another source does not wait
		time.Sleep(noticePause - time.Second)
		check(false)
		time.Sleep(time.Second)
		check(false, "events_lost a 2000")
		check(false)
		q.raise(lost("a", 5))
		check(true, "events_lost a 5") // there will be no later
		if n := q.raised.Load(); n != 2007 {
			t.Errorf("%d raised", n)
		}
	})
}

// A host without a handler has them in the log, at the same rate.
func TestNoticesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		q := newNotices(slog.New(slog.NewTextHandler(&log, nil)))
		for range 10 {
			for range 100 {
				q.raise(lost("a", 1))
			}
			time.Sleep(noticePause / 2)
		}
		var counts []string
		for line := range strings.Lines(log.String()) {
			_, count, _ := strings.Cut(strings.TrimSpace(line), "source=a count=")
			counts = append(counts, count)
		}
		if want := []string{"1", "200", "200", "200", "200"}; !slices.Equal(counts, want) {
			t.Errorf("logged %q, want %q:\n%s", counts, want, &log)
		}
	})
}

func TestTopicsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newNotices(slog.New(slog.DiscardHandler))
		const many = 10 * maxNotices
		flood := func() {
			for i := range many {
				q.raise(lost(fmt.Sprint(i), 1))
			}
		}
		flood()
		if n := len(q.order); n > maxNotices+len(source.NoticeNames()) {
			t.Errorf("%d topics are kept", n)
		}
		ready, _ := q.due(time.Now(), false)
		var sum uint64
		for _, e := range ready {
			sum += e.count
		}
		if sum != many {
			t.Errorf("%d of %d are told", sum, many)
		}
		if got := ready[len(ready)-1]; got.source != "" || got.name != source.EventsLost {
			t.Errorf("what is too much: %+v", got)
		}
		// Old ones make room.
		time.Sleep(noticePause)
		q.raise(source.Notice{Name: source.SpoolFull, Source: "new", Message: "why"})
		if n := len(q.order); n != 1 || len(q.known) != 1 {
			t.Errorf("%d topics are kept, %d known", n, len(q.known))
		}
	})
}

// The event is what libsinsp reads (userspace/libsinsp/plugin.cpp: handle_plugin_async_event), and a notice to the fields.
func TestTheEventOfANotice(t *testing.T) {
	n := notice{topic{"events_lost", "a\"b\x00c", "é"}, 3, "why", time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), time.Time{}, 0, time.Time{}}
	b := n.event()
	native := binary.NativeEndian
	nameLen, dataLen := native.Uint32(b[30:]), native.Uint32(b[34:])
	if int(native.Uint32(b[16:])) != len(b) || native.Uint16(b[20:]) != 402 || native.Uint32(b[22:]) != 3 || native.Uint32(b[26:]) != 4 ||
		len(b) != 42+int(nameLen)+int(dataLen) || string(b[42:42+nameLen]) != "events_lost\x00" {
		t.Fatalf("event % x", b[:60])
	}
	data := b[42+nameLen:]
	var e audit.Event
	at, ok := time.Time{}, e.Load(data) && e.IsNotice()
	if ok {
		at, ok = e.NoticeTime()
	}
	if !ok || !at.Equal(n.at) || !json.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		t.Errorf("data %s", data)
	}
}

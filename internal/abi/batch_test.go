//go:build cgo

package abi

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"slices"
	"testing"
	"time"
	"unsafe"

	"kaudit/pkg/audit"
	"kaudit/pkg/extract"
)

// table is a table of fields of which the middle one cannot be answered without a panic.
func table(t *testing.T) extract.Table {
	var list extract.Table
	for _, name := range []string{"ka.verb", "", "ka.user.groups"} {
		f := extract.Field{Name: "broken", From: extract.Extractor{Type: extract.Text}}
		if id, known := extract.Fields().Find(name); known {
			f = extract.Fields()[id]
		} else if name != "" {
			t.Fatal("no field ", name)
		}
		list = append(list, f)
	}
	return list
}

// texts returns what stands in the table of the i-th event, one list of texts a question.
func (b *Batch) texts(i int) (answers [][]string) {
	native := binary.NativeEndian
	at := func(address uintptr) []byte { return b.mem[address-b.base:] }
	t := at(uintptr(native.Uint64(at(b.events[i] - pointerSize))))
	for _, s := range slots(unsafe.Pointer(&t[0]), int(native.Uint32(t))) {
		var list []string
		for k := range s.n {
			text := at(uintptr(native.Uint64(at(s.values)[k*8:])))
			list = append(list, string(text[:bytes.IndexByte(text, 0)]))
		}
		answers = append(answers, list)
	}
	return answers
}

func TestAFieldThatPanicsCostsItsAnswerOnly(t *testing.T) {
	q := newQuestions(table(t))
	for id := range q.table {
		q.add(id, extract.Argument{}, slog.New(slog.DiscardHandler))
	}
	var failed []string
	b := newBatch(q, func(q *extract.Question, _ any) { failed = append(failed, q.Field.Name) })
	defer b.Free()
	var e audit.Event
	const n = 3
	for range n {
		if !e.Load([]byte(`{"auditID":"1","verb":"get","user":{"groups":["a","","b"]}}`)) || !b.Add(&e, time.Now()) {
			t.Fatal("the event was not taken")
		}
	}
	want := [][]string{{"get"}, nil, {"a", "", "b"}}
	for i := range n {
		if got := b.texts(i); !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("event %d: got %q, want %q", i, got, want)
		}
	}
	if !slices.Equal(failed, []string{"broken", "broken", "broken"}) {
		t.Errorf("reported: %q", failed)
	}
}

func TestTheMemoryOfALargeEventIsGivenBack(t *testing.T) {
	q := newQuestions(table(t))
	q.add(0, extract.Argument{}, slog.New(slog.DiscardHandler))
	b := newBatch(q, nil)
	defer b.Free()
	var e audit.Event
	for _, size := range []int{60 << 20, 10} {
		raw := slices.Concat([]byte(`{"auditID":"`), bytes.Repeat([]byte("x"), size), []byte(`","verb":"get"}`))
		if !e.Load(raw) || !b.Add(&e, time.Now()) {
			t.Fatalf("an event of %d bytes was not taken", len(raw))
		}
		if got := b.texts(0); len(got) != 1 || !slices.Equal(got[0], []string{"get"}) {
			t.Errorf("an event of %d bytes: got %q", len(raw), got)
		}
		from := b.events[0] - b.base + payloadOffset
		if !bytes.Equal(b.mem[from:from+uintptr(len(raw))], raw) {
			t.Errorf("an event of %d bytes is not what it was", len(raw))
		}
		b.Reset()
		if len(b.mem) != blockSize {
			t.Errorf("after an event of %d bytes the batch keeps %d", len(raw), len(b.mem))
		}
	}
}

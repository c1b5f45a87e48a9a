package spool

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"kaudit/pkg/source"
)

// records writes records as a segment has them, and returns where each begins and the end.
func records(m marker, list []source.Delivery) (data []byte, starts []int) {
	for i, d := range list {
		starts = append(starts, len(data))
		h := head{
			sum: sum(d), number: uint64(i + 1), stamp: 1, payload: uint32(len(d.Payload)),
			source: uint16(len(d.Source)), cluster: uint16(len(d.Cluster)),
		}
		var b [headSize]byte
		h.put(&b, m)
		data = append(data, b[:]...)
		data = append(data, d.Source...)
		data = append(data, d.Cluster...)
		data = append(data, d.Payload...)
	}
	return data, append(starts, len(data))
}

// FuzzDamage overwrites a place in a segment. Every record that it does not touch has to be read, in order, and of what
// it touches nothing may be read as if it were whole.
func FuzzDamage(f *testing.F) {
	m := marker{1, 2, 3, 4, 5, 6, 7, 8}
	list := []source.Delivery{
		{Payload: []byte("first"), Source: "a", Cluster: "c"},
		{Payload: bytes.Repeat([]byte("x"), 300), Source: "b"},
		{Payload: nil},
		{Payload: append(bytes.Repeat([]byte("y"), 100), m[:4]...), Source: "long name of a source", Cluster: "and cluster"},
		{Payload: []byte("last"), Source: "a", Cluster: "c"},
	}
	whole, starts := records(m, list)
	f.Add(uint16(0), []byte{0}, uint16(0))
	f.Add(uint16(3), []byte("damage"), uint16(0))
	f.Add(uint16(starts[1]), m[:], uint16(0))
	f.Add(uint16(starts[1]+32), []byte{0xff, 0xff, 0xff, 0xff}, uint16(0))
	f.Add(uint16(starts[3]+10), bytes.Repeat([]byte{0}, 200), uint16(7))
	f.Add(uint16(starts[1]+50), whole[:starts[1]], uint16(0))
	f.Fuzz(func(t *testing.T, at uint16, damage []byte, cut uint16) {
		data := bytes.Clone(whole)
		from := min(int(at), len(data))
		to := from + copy(data[from:], damage)
		data = data[:len(data)-min(int(cut), len(data))]

		scan := newScanner(bytes.NewReader(data), m, 0, func() int64 { return int64(len(data)) })
		var read []int
		for n := 0; ; n++ {
			if n > len(data) {
				t.Fatal("it does not end")
			}
			h, _, err := scan.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			payload := make([]byte, h.payload)
			name, cluster, ok, err := scan.content(&h, payload)
			if err != nil {
				t.Fatalf("the content of a record that is whole: %v", err)
			}
			if !ok {
				continue
			}
			i := int(h.number) - 1
			if i < 0 || i >= len(list) || !bytes.Equal(payload, list[i].Payload) || string(name) != list[i].Source || string(cluster) != list[i].Cluster {
				// Only what was there whole may come; a repeated record is one that the damage copied.
				t.Fatalf("record %d came as %q %q %q", h.number, name, cluster, payload)
			}
			read = append(read, i)
		}
		if scan.at != int64(len(data)) {
			t.Fatalf("read up to %d of %d", scan.at, len(data))
		}
		for i := range list {
			untouched := starts[i+1] <= len(data) && (to <= starts[i] || from >= starts[i+1] || bytes.Equal(data[starts[i]:starts[i+1]], whole[starts[i]:starts[i+1]]))
			hidden := false // a header that the damage made may claim what follows
			for _, j := range read {
				hidden = hidden || j == i
			}
			if untouched && !hidden && !bytes.Contains(damage, m[:]) {
				t.Fatalf("record %d is whole and was not read; these were: %v", i, read)
			}
		}
	})
}

// FuzzSegment opens a spool on a segment with any content.
func FuzzSegment(f *testing.F) {
	m := marker{1, 2, 3, 4, 5, 6, 7, 8}
	whole, starts := records(m, []source.Delivery{{Payload: []byte("one"), Source: "a"}, {Payload: []byte("two"), Cluster: "b"}})
	f.Add([]byte{})
	f.Add(whole)
	f.Add(whole[:starts[1]+20])
	f.Add(append(bytes.Repeat([]byte{0}, 100), whole...))
	f.Add(bytes.Repeat(m[:], 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		seg := &segment{index: 1, first: 1, marker: m}
		if err := os.WriteFile(filepath.Join(dir, seg.name()), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(Config{Dir: dir, MaxBytes: MinBytes})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		put(t, s, 0, 1, 1)
		var k sink
		stop := read(t, s, &k)
		until(t, "what is delivered comes, whatever is before it", func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			return len(k.got) > 0 && bytes.Equal(k.got[len(k.got)-1].Payload, payload(0, 1))
		})
		stop()
	})
}

package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kaudit/pkg/source"
)

// A faulty disk fails when it is told to, and knows what a power cut would leave.
type faulty struct {
	system
	mu     sync.Mutex
	fail   map[string]error // by operation: create, write, sync, syncdir, remove, truncate
	short  int64            // how much of a failing write is written
	synced map[string]int64 // how much of each file a power cut leaves
	named  map[string]bool  // and which files
}

func newFaulty() *faulty {
	return &faulty{fail: map[string]error{}, synced: map[string]int64{}, named: map[string]bool{}}
}

func (d *faulty) set(operation string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail[operation] = err
}

func (d *faulty) err(operation string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fail[operation]
}

func (d *faulty) Create(path string) (file, error) {
	if err := d.err("create"); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: f, disk: d}, nil
}

func (d *faulty) Remove(path string) error {
	if err := d.err("remove"); err != nil {
		return err
	}
	return d.system.Remove(path)
}

func (d *faulty) SyncDir(path string) error {
	if err := d.err("syncdir"); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	d.mu.Lock()
	clear(d.named)
	for _, e := range entries {
		d.named[filepath.Join(path, e.Name())] = true
	}
	d.mu.Unlock()
	return d.system.SyncDir(path)
}

type faultyFile struct {
	*os.File
	disk *faulty
	size int64
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.disk.err("write"); err != nil {
		n, _ := f.File.Write(p[:min(int64(len(p)), f.disk.short)])
		f.size += int64(n)
		return n, err
	}
	n, err := f.File.Write(p)
	f.size += int64(n)
	return n, err
}

func (f *faultyFile) Sync() error {
	if err := f.disk.err("sync"); err != nil {
		return err
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.synced[f.Name()] = f.size
	return nil
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.disk.err("truncate"); err != nil {
		return err
	}
	f.size = min(f.size, size)
	return f.File.Truncate(size)
}

// TestAFailingDiskRefusesAndRecovers fails each operation in turn, with what was acknowledged before and after kept.
func TestAFailingDiskRefusesAndRecovers(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails []string
		err   error
		short int64
	}{
		{"no space for the first byte", []string{"write"}, syscall.ENOSPC, 0},
		{"no space in the middle of a record", []string{"write"}, syscall.ENOSPC, 5000},
		{"no space, and the rest of the record stays", []string{"write", "truncate"}, syscall.ENOSPC, 5000},
		{"sync fails", []string{"sync"}, syscall.EIO, 0},
		{"sync fails, and the unsynced record stays", []string{"sync", "truncate"}, syscall.EIO, 0},
		{"no file can be made", []string{"sync", "create"}, syscall.ENOSPC, 0},
		{"the folder cannot be synced", []string{"sync", "syncdir"}, syscall.EIO, 0},
		{"read-only", []string{"write", "sync", "create", "remove", "truncate", "syncdir"}, syscall.EROFS, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			disk := newFaulty()
			disk.short = c.short
			dir := t.TempDir()
			var mu sync.Mutex
			var notices []source.Notice
			cfg := Config{Dir: dir, disk: disk, Notify: func(n source.Notice) { mu.Lock(); notices = append(notices, n); mu.Unlock() }}
			s := open(t, cfg)
			put(t, s, 0, 5, 10_000)
			broken := s.segments[0]

			for _, f := range c.fails {
				disk.set(f, c.err)
			}
			for range 3 {
				began := time.Now()
				err := s.Deliver(t.Context(), source.Delivery{Payload: payload(99, 10_000), Source: "test"})
				if !errors.Is(err, source.ErrFull) || !errors.Is(err, c.err) {
					t.Fatalf("Deliver says %v", err)
				}
				if since := time.Since(began); since > time.Second {
					t.Errorf("a refusal took %v", since)
				}
			}
			if err := s.Ready(); !errors.Is(err, source.ErrFull) {
				t.Errorf("Ready says %v", err)
			}
			time.Sleep(probeEvery + 100*time.Millisecond)
			if err := s.Ready(); err == nil {
				t.Error("a disk that still fails is taken for good")
			}
			mu.Lock()
			if len(notices) != 1 || notices[0].Name != source.SpoolFull || notices[0].Count != 1 {
				t.Errorf("the notices are %+v", notices)
			}
			mu.Unlock()
			if n := counts(s)["spool.refused_disk"]; n != 3 {
				t.Errorf("%d refusals are counted", n)
			}

			for _, f := range c.fails {
				disk.set(f, nil)
			}
			until(t, "the disk is tried again", func() bool { return s.Ready() == nil })
			put(t, s, 5, 10, 10_000)
			if last := s.segments[len(s.segments)-1]; last == broken {
				t.Error("the segment whose write failed is written to again")
			}

			for _, when := range []string{"while it runs", "after a restart"} {
				k := sink{hold: true}
				stop := read(t, s, &k)
				until(t, "all come "+when, func() bool { return k.count() >= 10 })
				stop()
				equal(t, "payloads "+when, k.numbers(t), upTo(0, 10))
				if n := counts(s)["spool.lost_records"]; n != 0 {
					t.Errorf("%d records are taken for lost %s", n, when)
				}
				if used := onDisk(t, dir) - size(t, filepath.Join(dir, "position")); used != s.used {
					t.Errorf("%d bytes are on disk %s, and the spool knows of %d", used, when, s.used)
				}
				s.Close()
				s = open(t, cfg)
			}
		})
	}
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestPowerCut leaves of each file what was synced, and of the rest some pages, in random order: a disk writes as it
// likes. What was acknowledged has to be there.
func TestPowerCut(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 40 {
		disk := newFaulty()
		s := open(t, Config{Dir: t.TempDir(), disk: disk})
		n := 1 + random.IntN(30)
		put(t, s, 0, n, 1+random.IntN(50_000))
		disk.set("sync", syscall.EIO) // what comes now is written, and not synced
		disk.set("truncate", syscall.EIO)
		_ = s.Deliver(t.Context(), source.Delivery{Payload: payload(n, 100_000), Source: "test"})

		after := t.TempDir()
		for _, seg := range s.segments {
			if !disk.named[seg.path] {
				continue
			}
			data, err := os.ReadFile(seg.path)
			if err != nil {
				t.Fatal(err)
			}
			durable := disk.synced[seg.path]
			for at := (durable + 4095) / 4096 * 4096; at < int64(len(data)); at += 4096 {
				if random.IntN(2) == 0 {
					clear(data[at:min(at+4096, int64(len(data)))])
				}
			}
			if random.IntN(2) == 0 {
				data = data[:durable+random.Int64N(int64(len(data))-durable+1)]
			}
			if err := os.WriteFile(filepath.Join(after, filepath.Base(seg.path)), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()

		s = open(t, Config{Dir: after})
		put(t, s, n+1, n+3, 10)
		var k sink
		read(t, s, &k)
		until(t, "what was acknowledged comes", func() bool { got := k.numbers(t); return slices.Contains(got, n+2) })
		got := k.numbers(t)
		got = slices.DeleteFunc(got, func(i int) bool { return i == n }) // never acknowledged: it may be there
		equal(t, fmt.Sprintf("round %d", round), got, append(upTo(0, n), n+1, n+2))
		if lost := counts(s)["spool.lost_records"]; lost != 0 {
			t.Errorf("round %d: %d records are taken for lost", round, lost)
		}
		s.Close()
	}
}

// filled makes a folder with one segment of n records and returns the segment's path and where each record begins.
func filled(t testing.TB, n, size int) (dir, path string, starts []int64) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, Config{Dir: dir})
	for i := range n {
		starts = append(starts, s.used)
		put(t, s, i, i+1, size)
	}
	starts = append(starts, s.used)
	path = s.segments[0].path
	s.Close()
	return dir, path, starts
}

// TestATailCutAnywhere ends the last segment at every byte of its last two records.
func TestATailCutAnywhere(t *testing.T) {
	_, path, starts := filled(t, 6, 60)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := starts[4]; cut <= starts[6]; cut++ {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		whole := 4
		for whole < 6 && starts[whole+1] <= cut {
			whole++
		}
		s := open(t, Config{Dir: dir})
		put(t, s, 100, 101, 60)
		var k sink
		stop := read(t, s, &k)
		until(t, "all are evaluated", func() bool { return counts(s)["spool.records"] == 0 && k.count() > 0 })
		stop()
		equal(t, fmt.Sprintf("cut at %d", cut), k.numbers(t), append(upTo(0, whole), 100))
		c := counts(s)
		if c["spool.lost_records"] != 0 || c["spool.skipped_bytes"] != uint64(cut-starts[whole]) {
			t.Errorf("cut at %d: %d records lost, %d bytes left out; want 0 and %d", cut, c["spool.lost_records"], c["spool.skipped_bytes"], cut-starts[whole])
		}
		s.Close()
	}
}

// TestDamageInTheMiddle damages single bytes everywhere in one record, and has the others come.
func TestDamageInTheMiddle(t *testing.T) {
	_, path, starts := filled(t, 6, 30)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := starts[2]; at < starts[3]; at++ {
		dir := t.TempDir()
		data := bytes.Clone(whole)
		data[at] ^= 0x10
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o600); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var notices []source.Notice
		s := open(t, Config{Dir: dir, Notify: func(n source.Notice) { mu.Lock(); notices = append(notices, n); mu.Unlock() }})
		var k sink
		stop := read(t, s, &k)
		until(t, "the others come", func() bool { return k.count() >= 5 })
		stop()
		equal(t, fmt.Sprintf("damage at %d", at), k.numbers(t), []int{0, 1, 3, 4, 5})
		c := counts(s)
		if c["spool.lost_records"] != 1 || c["spool.skipped_bytes"] != uint64(starts[3]-starts[2]) {
			t.Errorf("damage at %d: %d records lost, %d bytes left out", at, c["spool.lost_records"], c["spool.skipped_bytes"])
		}
		if len(notices) != 1 || notices[0].Name != source.EventsLost || notices[0].Count != 1 {
			t.Errorf("damage at %d: the notices are %+v", at, notices)
		}
		s.Close()
	}
}

// TestARecordInAPayloadIsNoRecord sends what looks like a record, with the marker of another segment and any a sender may
// guess, and damages the record around it: nobody may put events in under another cluster's name that way.
func TestARecordInAPayloadIsNoRecord(t *testing.T) {
	forged := func(m marker) []byte {
		d := source.Delivery{Payload: []byte("forged"), Source: "forged", Cluster: "prod"}
		h := head{sum: sum(d), number: 2, payload: 6, source: 6, cluster: 4}
		var b [headSize]byte
		h.put(&b, m)
		return append(b[:], "forgedprodforged"...)
	}
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	inner := bytes.Repeat(append(forged(marker{}), forged(newSegment(dir, 1, 1).marker)...), 50)
	for _, p := range [][]byte{inner, []byte("0 "), inner, []byte("1 ")} {
		if err := s.Deliver(t.Context(), source.Delivery{Payload: p, Source: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	path := s.segments[0].path
	s.Close()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 3); err != nil {
		t.Fatal(err)
	}
	f.Close()

	s = open(t, Config{Dir: dir})
	var k sink
	read(t, s, &k)
	until(t, "the rest comes", func() bool { return k.count() == 3 })
	for _, d := range k.got {
		if d.Source != "test" || d.Cluster != "" {
			t.Errorf("a forged delivery came: %+v", d)
		}
	}
}

func TestASegmentThatIsGoneIsCounted(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 { // each leaves a segment
		s := open(t, Config{Dir: dir})
		put(t, s, 10*round, 10*round+10, 1000)
		s.Close()
	}
	list, err := segments(dir)
	if err != nil || len(list) != 3 {
		t.Fatal(list, err)
	}
	if err := os.Remove(list[1].path); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{Dir: dir})
	var k sink
	read(t, s, &k)
	until(t, "the others come", func() bool { return k.count() == 20 })
	equal(t, "payloads", k.numbers(t), append(upTo(0, 10), upTo(20, 30)...))
	if n := counts(s)["spool.lost_records"]; n != 10 {
		t.Errorf("%d records are counted as lost", n)
	}
}

// TestASegmentThatCannotBeRead puts a folder where a segment was, which opens and does not read.
func TestASegmentThatCannotBeRead(t *testing.T) {
	for _, c := range []struct {
		name    string
		segment int
		open    bool // when it happens
		want    []int
		lost    uint64
	}{
		{"the first, while it runs", 0, true, upTo(10, 21), 10},
		{"the first", 0, false, upTo(10, 21), 10},
		{"the last", 1, false, append(upTo(0, 10), 20), 1}, // how many it had is not known
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for round := range 2 {
				s := open(t, Config{Dir: dir})
				put(t, s, 10*round, 10*round+10, 1000)
				s.Close()
			}
			list, err := segments(dir)
			if err != nil {
				t.Fatal(err)
			}
			damage := func() {
				path := list[c.segment].path
				if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
					t.Fatal(err)
				}
			}
			if !c.open {
				damage()
			}
			s := open(t, Config{Dir: dir})
			if c.open {
				damage()
			}
			var k sink
			read(t, s, &k)
			put(t, s, 20, 21, 1000)
			until(t, "all others come", func() bool { return k.count() == len(c.want) })
			equal(t, "payloads", k.numbers(t), c.want)
			if n := counts(s); n["spool.lost_records"] != c.lost || n["spool.read_errors"] < readTries || n["spool.records"] != 0 {
				t.Errorf("the counts are %v", n)
			}
		})
	}
}

func TestFilesOfOthersAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"notes.txt", "x" + extension, "00000001-0000000000000001-0123456789abcdef.spool2", "zz-zz-zzzzzzzzzzzzzzzz" + extension} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, Config{Dir: dir})
	put(t, s, 0, 1, 10)
	if n := counts(s)["spool.segments"]; n != 1 {
		t.Errorf("%d segments", n)
	}
	s.Close()
	if entries, _ := os.ReadDir(dir); len(entries) != 6 {
		t.Errorf("%d files are left, want 6: %v", len(entries), entries)
	}
}

func TestASenderThatWaitsForABusyDisk(t *testing.T) {
	disk := &slow{release: make(chan struct{}), reached: make(chan struct{}, 100)}
	s := open(t, Config{disk: disk})
	first := make(chan error, 1)
	go func() {
		first <- s.Deliver(context.Background(), source.Delivery{Payload: []byte("0 "), Source: "test"})
	}()
	<-disk.reached
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Deliver(ctx, source.Delivery{Payload: []byte("1 "), Source: "test"}); !errors.Is(err, source.ErrFull) {
		t.Errorf("after its deadline: %v", err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := s.Deliver(gone, source.Delivery{Payload: []byte("2 "), Source: "test"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a sender that is gone: %v", err)
	}
	close(disk.release)
	if err := <-first; err != nil {
		t.Error(err)
	}
	var k sink
	read(t, s, &k)
	put(t, s, 3, 4, 1)
	until(t, "both come", func() bool { return k.count() == 2 })
	equal(t, "payloads", k.numbers(t), []int{0, 3})
	if s.used != s.segments[0].size {
		t.Errorf("%d bytes are counted as used, %d are", s.used, s.segments[0].size)
	}
}

// slow is a disk whose first sync waits.
type slow struct {
	system
	release, reached chan struct{}
}

func (d *slow) Create(path string) (file, error) {
	f, err := d.system.Create(path)
	return slowFile{f, d}, err
}

type slowFile struct {
	file
	disk *slow
}

func (f slowFile) Sync() error {
	f.disk.reached <- struct{}{}
	<-f.disk.release
	return f.file.Sync()
}

// TestARealFullDisk fills a small file system.
func TestARealFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("a file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	s := open(t, Config{Dir: dir, MaxBytes: 1 << 30})
	n := 0
	var err error
	for ; err == nil && n < 1000; n++ {
		err = s.Deliver(t.Context(), source.Delivery{Payload: payload(n, 300_000), Source: "test"})
	}
	n--
	if !errors.Is(err, source.ErrFull) || !errors.Is(err, syscall.ENOSPC) || n < 20 {
		t.Fatalf("after %d deliveries: %v", n, err)
	}
	k := sink{hold: true}
	stop := read(t, s, &k)
	until(t, "what was acknowledged comes", func() bool { return k.count() == n })
	equal(t, "payloads", k.numbers(t), upTo(0, n))
	k.release(n) // the position is stored although the disk is full
	stop()
	s.Close()

	s = open(t, Config{Dir: dir, MaxBytes: 1 << 30}) // on the full disk, too
	var rest sink
	stop = read(t, s, &rest)
	until(t, "there is room again", func() bool { return s.Ready() == nil })
	put(t, s, n, n+5, 300_000)
	until(t, "those come", func() bool { return rest.count() == 5 })
	equal(t, "payloads after the restart", rest.numbers(t), upTo(n, n+5))

	// And a disk that somebody else fills.
	filler := filepath.Join(dir, "filler")
	for size := 12 << 20; size > 4096; size /= 2 {
		f, err := os.OpenFile(filler, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f.Write(make([]byte, size))
		f.Close()
	}
	until(t, "the full disk refuses", func() bool {
		return s.Deliver(t.Context(), source.Delivery{Payload: payload(n+5, 300_000), Source: "other"}) != nil
	})
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	until(t, "it takes again", func() bool { return s.Ready() == nil })
	put(t, s, n+100, n+105, 300_000)
	until(t, "those come", func() bool { got := rest.numbers(t); return slices.Contains(got, n+104) })
	stop()
	if got := rest.numbers(t); strings.Contains(ranges(got[5:]), fmt.Sprintf("0-%d", n)) {
		t.Errorf("what was evaluated came again: %s", ranges(got))
	}
}

package cursor

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func open(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path, 8)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func value(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// load returns the value of a cell, or 0.
func load(f *File, number int) uint64 {
	if v := f.Load(number); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func TestValuesComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	f := open(t, path)
	if f.Len() != 0 || f.Load(0) != nil || f.Load(7) != nil {
		t.Errorf("a new file has %d cells", f.Len())
	}
	for n := range uint64(10) {
		for number := range 3 {
			if err := f.Store(number, value(n*10+uint64(number))); err != nil {
				t.Fatal(err)
			}
		}
		if n == 4 || n == 6 {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, again := range []string{"in memory", "after a kill", "after Close"} {
		if f.Len() != 3 {
			t.Errorf("%s: %d cells", again, f.Len())
		}
		for number := range 3 {
			if got, want := load(f, number), uint64(90+number); got != want {
				t.Errorf("%s: cell %d holds %d, not %d", again, number, got, want)
			}
		}
		if again == "in memory" {
			f.file.Close() // nothing else happens when a process is killed
		} else if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		f = open(t, path)
	}
	f.Close()
}

func TestOnlyOneHasAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	f := open(t, path)
	if _, err := Open(path, 8); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the error is %v", err)
	}
	f.Close()
	open(t, path).Close()
}

func TestStrangeFiles(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	f := open(t, whole)
	f.Store(0, value(1))
	f.Close()
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		content []byte
		size    int
		says    string // empty if the file opens
	}{
		{"empty", nil, 8, ""},
		{"torn when it was made", content[:7], 8, ""},
		{"zeros where it was made", make([]byte, page), 8, ""},
		{"values of another size", content, 9, "another version"},
		{"something else", make([]byte, 10*page), 8, "another version"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "positions")
			if err := os.WriteFile(path, test.content, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Open(path, test.size)
			switch {
			case err != nil && (test.says == "" || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), path)):
				t.Errorf("the error is %v", err)
			case err == nil && test.says != "":
				t.Error("it opens")
			case err == nil:
				if f.Len() != 0 {
					t.Errorf("it has %d cells", f.Len())
				}
				f.Close()
			}
		})
	}
}

// After a power cut each sector that was written since the last Sync holds what it held then, or what was written
// later, or is torn. The value found is the one of that Sync or a later one.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "positions")
		f := open(t, path)
		var durable, stored [2]uint64
		for n := uint64(1); n <= 1+random.Uint64N(20); n++ {
			if random.IntN(4) == 0 {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
				durable = stored
			}
			number := random.IntN(2)
			if err := f.Store(number, value(n)); err != nil {
				t.Fatal(err)
			}
			stored[number] = n
		}
		// The slots that the last Sync made durable are never written to before the next has returned, so whatever
		// happens to the others is a power cut.
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for number := range f.cells {
			for slot := range int8(slots) {
				if at := offset(number, slot); slot != f.cells[number].durable && at < int64(len(content)) {
					for i := range content[at:min(at+head+8, int64(len(content)))] {
						if random.IntN(3) == 0 {
							content[at+int64(i)] = byte(random.Uint32())
						}
					}
				}
			}
		}
		f.file.Close()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		f = open(t, path)
		for number := range 2 {
			if got := load(f, number); got < durable[number] || got > stored[number] {
				t.Fatalf("seed %d: cell %d holds %d, synced was %d and stored %d", seed, number, got, durable[number], stored[number])
			}
		}
		f.Close()
	}
}

// A slot that is durable, or on its way to the disk, is not written to.
func TestSlotsAreLeftAlone(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "positions"))
	defer f.Close()
	f.Store(0, value(1))
	f.Sync()
	f.Store(0, value(2))
	if _, err := f.begin(); err != nil { // the first half of a Sync
		t.Fatal(err)
	}
	for n := range uint64(5) {
		f.Store(0, value(3+n))
		if c := f.cells[0]; c.pending == c.durable || c.pending == c.syncing || c.durable == c.syncing {
			t.Fatalf("slots: %+v", c)
		}
	}
}

func TestKilled(t *testing.T) {
	if path := os.Getenv("CURSOR_TEST_STORE"); path != "" {
		f := open(t, path)
		go func() {
			for {
				f.Sync()
			}
		}()
		for n := load(f, 0) + 1; ; n++ {
			if err := f.Store(0, value(n)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(os.Stdout, "%016x\n", n)
		}
	}
	path := filepath.Join(t.TempDir(), "positions")
	for range 10 {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		child := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
		child.Env = append(os.Environ(), "CURSOR_TEST_STORE="+path)
		child.Stdout = out
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		for size := int64(0); size < 17*(1+rand.Int64N(1000)); time.Sleep(time.Millisecond) {
			info, err := out.Stat()
			if err != nil {
				t.Fatal(err)
			}
			size = info.Size()
		}
		child.Process.Kill()
		child.Wait()
		info, err := out.Stat()
		if err != nil {
			t.Fatal(err)
		}
		last := make([]byte, 17)
		if _, err := out.ReadAt(last, info.Size()-17); err != nil {
			t.Fatal(err)
		}
		out.Close()
		var told uint64
		if _, err := fmt.Sscanf(string(last), "%016x\n", &told); err != nil {
			t.Fatal(err)
		}
		f := open(t, path)
		if got := load(f, 0); got != told && got != told+1 {
			t.Fatalf("%d was stored, then perhaps one more; found is %d", told, got)
		}
		f.Close()
	}
}

func TestConcurrentUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	f := open(t, path)
	var wg sync.WaitGroup
	for number := range 4 {
		wg.Go(func() {
			for n := range uint64(500) {
				if err := f.Store(number, value(n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := f.Sync(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	f.Close()
	f = open(t, path)
	defer f.Close()
	for number := range 4 {
		if got := load(f, number); got != 499 {
			t.Errorf("cell %d holds %d", number, got)
		}
	}
}

// A Sync that failed is not taken for done by the next one.
func TestFailedSyncIsRepeated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions")
	f := open(t, path)
	f.Store(0, value(1))
	whole := f.file
	broken, err := os.Open(os.DevNull) // fdatasync of a device fails
	if err != nil {
		t.Fatal(err)
	}
	f.file = broken
	if err := f.Sync(); err == nil {
		t.Fatal("syncing a device succeeds")
	}
	broken.Close()
	f.file = whole
	// What the kernel could not write it drops.
	if _, err := whole.WriteAt(make([]byte, head+8), offset(0, f.cells[0].pending)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f = open(t, path)
	defer f.Close()
	if got := load(f, 0); got != 1 {
		t.Errorf("after the next Sync the cell holds %d", got)
	}
}

func BenchmarkStore(b *testing.B) {
	f := open(b, filepath.Join(b.TempDir(), "positions"))
	defer f.Close()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				f.Sync()
			}
		}
	}()
	v := value(1)
	var slowest time.Duration
	b.ReportAllocs()
	for b.Loop() {
		begin := time.Now()
		if err := f.Store(0, v); err != nil {
			b.Fatal(err)
		}
		slowest = max(slowest, time.Since(begin))
	}
	close(stop)
	<-stopped
	b.ReportMetric(float64(slowest.Microseconds()), "µs-slowest")
}

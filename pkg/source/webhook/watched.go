package webhook

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// settled is how old a file's time has to be for the file to count as written: clocks of file systems are coarse, and
	// a second write in the same tick leaves the time as it is.
	settled = 2 * time.Second
	// largestFile bounds what is read of certificates and tokens.
	largestFile = 4 << 20
)

// A watched is one or two files that are used together, and read again when one of them changes.
type watched struct {
	files []string
	infos []fs.FileInfo     // when they were read last
	sum   [sha256.Size]byte // of what was read last
}

// unsettled reports whether one of the files was written just now.
func (w *watched) unsettled(now time.Time) bool {
	for _, info := range w.infos {
		if now.Sub(info.ModTime()).Abs() <= settled {
			return true
		}
	}
	return false
}

// forget has the files read at the next time in any case.
func (w *watched) forget() { w.infos = nil }

// read returns what is in the files, and whether it is other than the last time. It reads nothing if the files are
// as they were.
func (w *watched) read(now time.Time) (contents [][]byte, changed bool, err error) {
	infos := make([]fs.FileInfo, len(w.files))
	same := w.infos != nil
	for i, file := range w.files {
		if infos[i], err = os.Stat(file); err != nil {
			return nil, false, err
		}
		if !infos[i].Mode().IsRegular() {
			return nil, false, fmt.Errorf("%s is no file", file) // opening a pipe would wait
		}
		same = same && os.SameFile(infos[i], w.infos[i]) && infos[i].Size() == w.infos[i].Size() &&
			infos[i].ModTime().Equal(w.infos[i].ModTime()) && now.Sub(infos[i].ModTime()).Abs() > settled
	}
	if same {
		return nil, false, nil
	}
	h := sha256.New()
	for _, file := range w.files {
		content, err := readFile(file)
		if err != nil {
			return nil, false, err
		}
		contents = append(contents, content)
		fmt.Fprintf(h, "%d ", len(content))
		h.Write(content)
	}
	sum := [sha256.Size]byte(h.Sum(nil))
	changed = w.infos == nil || sum != w.sum
	w.infos, w.sum = infos, sum
	return contents, changed, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, largestFile+1))
	if err == nil && len(content) > largestFile {
		err = fmt.Errorf("%s has more than %d bytes", name, largestFile)
	}
	return content, err
}

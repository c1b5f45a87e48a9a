package ruletest

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"
)

// Settle is how long files have to stay as they are before tests run again: editors write in several steps.
const Settle = 150 * time.Millisecond

// Watch calls run, and again whenever one of the files and folders that run has seen has changed, until ctx ends. run is
// told which did, first nothing. tick says when to look: a [time.Ticker] of [Settle].
//
// Looking at the files is slower than being told by the kernel, and knows no special cases: an editor that puts a new file
// in place of the old one, a folder that comes later, a file system over the network or of a container's host.
func Watch(ctx context.Context, tick <-chan time.Time, run func(changed []string) Seen) {
	seen := run(nil)
	w := watcher{seen, seen}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if changed := w.look(); len(changed) > 0 && ctx.Err() == nil {
			seen = run(changed)
			w = watcher{seen, seen}
		}
	}
}

// Seen is what files and folders looked like before they were read.
type Seen map[string]glance

// add notes a file or folder that is going to be read.
func (s Seen) add(path string) {
	if _, ok := s[path]; !ok {
		s[path] = look(path)
	}
}

// Paths returns the files and folders, in order.
func (s Seen) Paths() []string { return slices.Sorted(maps.Keys(s)) }

// A watcher compares what files and folders look like with what they looked like.
type watcher struct {
	read Seen // before they were read
	last Seen // at the last look
}

// look returns what has changed since it was read, and nothing as long as it goes on changing.
func (w *watcher) look() []string {
	now := Seen{}
	for p := range w.read {
		now.add(p)
	}
	settled := maps.Equal(now, w.last)
	w.last = now
	if !settled {
		return nil
	}
	return difference(w.read, now)
}

// A glance is what can be told of a file or folder without reading it.
type glance struct {
	there bool
	dir   bool
	size  int64
	time  int64
}

// look looks at a file or folder. A folder changes when something in it comes, goes, or gets another name.
func look(path string) glance {
	info, err := os.Stat(path)
	if err != nil {
		return glance{}
	}
	return glance{true, info.IsDir(), info.Size(), info.ModTime().UnixNano()}
}

// difference returns the paths that differ, in order. When a file changed in a folder that did so too, as it does when the
// file was replaced, the file is what people want to hear of.
func difference(before, now Seen) []string {
	var files, folders []string
	for _, p := range before.Paths() {
		switch {
		case before[p] == now[p]:
		case before[p].dir && now[p].dir:
			folders = append(folders, p)
		default:
			files = append(files, p)
		}
	}
	if len(files) > 0 {
		return files
	}
	return folders
}

package tail

import (
	"context"
	"errors"
	"time"

	"kaudit/pkg/source"
)

// Deafen makes a source follow without being told of changes.
func Deafen(src source.Source) {
	src.(*follower).watch = func() (*watcher, error) { return &watcher{}, errors.ErrUnsupported }
}

// Extended takes a file as it is read, lets something happen to it, and looks at more of its head. It returns how much
// of that is known then.
func Extended(path string, happens func()) (known int, err error) {
	m, err := lookAt(path)
	if err != nil {
		return 0, err
	}
	p := newPiece(path, m.id, fingerprint{})
	if err := p.open(); err != nil {
		return 0, err
	}
	defer p.close()
	if err := p.begin(); err != nil {
		return 0, err
	}
	happens()
	err = p.extend()
	return p.print.Load().n, err
}

// HookLook has a function called before each look at a file or directory.
func HookLook(f func()) { testHookLook = f }

// ErrTruncated is what says that a file was truncated.
var ErrTruncated = errTruncated

// Waits waits with a watcher, not for long, and closes it.
func Waits(ctx context.Context) error {
	w, err := newWatcher()
	if err != nil {
		return err
	}
	w.wait(ctx, time.Now(), func(seen) {})
	w.close()
	return nil
}

// Looked tells of how many files a source that was stopped knows what they begin with, and how many there are.
func Looked(src source.Source) (looked, files int) {
	for _, l := range src.(*follower).order {
		for _, m := range l.known {
			if files++; m.start.looked {
				looked++
			}
		}
	}
	return looked, files
}

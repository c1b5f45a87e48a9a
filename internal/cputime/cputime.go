// Package cputime measures how much work something takes, for tests that hold an input to a bound: unlike the time on a
// clock it hardly depends on what else the machine does.
package cputime

import (
	"runtime"
	"syscall"
	"time"
)

// Of returns the processor time f takes on the goroutine that calls Of; what f starts elsewhere does not count. It is
// exact to a few milliseconds.
func Of(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	begin := thread()
	f()
	return thread() - begin
}

func thread() time.Duration {
	const rusageThread = 1 // RUSAGE_THREAD, getrusage(2); package syscall does not name it
	var r syscall.Rusage
	if err := syscall.Getrusage(rusageThread, &r); err != nil {
		panic("cputime: getrusage: " + err.Error())
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

package cputime_test

import (
	"testing"
	"time"

	"kaudit/internal/cputime"
)

func TestOf(t *testing.T) {
	if took := cputime.Of(func() { time.Sleep(100 * time.Millisecond) }); took > 50*time.Millisecond {
		t.Errorf("sleeping took %v", took)
	}
	begin := time.Now()
	took := cputime.Of(func() {
		for time.Since(begin) < 100*time.Millisecond {
		}
	})
	if took == 0 || took > time.Since(begin)+10*time.Millisecond {
		t.Errorf("working took %v", took)
	}
}

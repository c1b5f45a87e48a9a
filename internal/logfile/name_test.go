package logfile

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	const day = "2026-07-23T00:00:00Z"
	for _, test := range []struct {
		name, log, at string
		number        int
	}{
		{"audit.log", "audit.log", "", 0},
		{"audit-2026-07-23T18-32-12.345.log", "audit.log", "2026-07-23T18:32:12.345Z", 0},
		{"audit-2026-07-23T18-32-12.345.log.gz", "audit.log", "2026-07-23T18:32:12.345Z", 0},
		{"noext-2026-07-23T18-32-12.345", "noext", "2026-07-23T18:32:12.345Z", 0},
		{"audit.log.1", "audit.log", "", 1},
		{"audit.log.12.gz", "audit.log", "", 12},
		{"messages.3", "messages", "", 3},
		{"audit.log.old", "audit.log", "", 1},
		{"audit.log-20260723", "audit.log", day, 0},
		{"audit.log-20260723.zst", "audit.log", day, 0},
		{"audit-20260723.log", "audit.log", day, 0},
		{"audit-2026-07-23.log", "audit.log", day, 0},
		{"audit.log-2026-07-23-15", "audit.log", "2026-07-23T15:00:00Z", 0},
		{"audit.log-20260723-1784831532", "audit.log", "2026-07-23T18:32:12Z", 0},
		{"audit.log-1784831532", "audit.log", "2026-07-23T18:32:12Z", 0},
		{"0.log.20260723-183212.gz", "0.log", "2026-07-23T18:32:12Z", 0},
		{"audit-nonsense.log", "audit-nonsense.log", "", 0},
		{"audit-20261323.log", "audit-20261323.log", "", 0},
		{"host-10.0.0.1", "host-10.0.0.1", "", 0},
		{"0.log", "0.log", "", 0},
		{"audit.log.0", "audit.log.0", "", 0},
		{"audit.log.+1", "audit.log.+1", "", 0},
		{"audit.log.99999", "audit.log.99999", "", 0},
		{"20260723", "20260723", "", 0},
		{".gz", ".gz", "", 0},
		{".1", ".1", "", 0},
	} {
		want := Name{Log: test.log, Number: test.number}
		if test.at != "" {
			want.At, _ = time.Parse(time.RFC3339Nano, test.at)
		}
		if got := Parse(test.name); got.Log != want.Log || got.Number != want.Number || !got.At.Equal(want.At) {
			t.Errorf("%s: %+v, want %+v", test.name, got, want)
		}
	}
}

func TestSelect(t *testing.T) {
	want := []string{
		"audit-nonsense.log",
		"audit-2025-01-02T03-04-05.678.log.gz", "audit-2026-07-23T18-32-12.345.log", "audit-2026-07-23T18-32-12.346.log.zst",
		"audit.log.10.gz", "audit.log.2.gz", "audit.log.1", "audit.log",
		"other-2026-01-01T00-00-00.000.log", "other.log",
	}
	names := append(slices.Clone(want), ".hidden.log", "audit-2026-07-23T18-32-12.345.log.gz", "0.log.20260723-183212.tmp")
	slices.Reverse(names)
	if got := Select(names); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Followers list the files of a log at each start and each rotation.
func BenchmarkSelect(b *testing.B) {
	began := time.Date(2026, 7, 23, 18, 32, 12, 0, time.UTC)
	for _, bench := range []struct {
		name string
		file func(n int) string
	}{
		{"numbers", func(n int) string { return fmt.Sprintf("audit.log.%d.gz", n+1) }},
		{"times", func(n int) string {
			return began.Add(time.Duration(n)*time.Minute).Format("audit-2006-01-02T15-04-05.000") + ".log.gz"
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			const files = 1000
			names := make([]string, files)
			for i := range names {
				names[i] = bench.file(i * 7919 % files) // as a directory has them, in no order
			}
			b.ReportAllocs()
			for b.Loop() {
				if len(Select(names)) != files {
					b.Fatal("some are missing")
				}
			}
		})
	}
}

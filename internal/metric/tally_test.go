package metric_test

import (
	"slices"
	"testing"

	"kaudit/internal/metric"
)

func TestATallySumsWhatGoesOnAndWhatHasEnded(t *testing.T) {
	tally := metric.Tally{Prefix: "prod."}
	check := func(want ...metric.Sum) {
		t.Helper()
		var got []metric.Sum
		for _, s := range tally.Sums() {
			got = append(got, metric.Sum{Name: s.Name, Gauge: s.Gauge, N: s.N})
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	tally.End("tail.lines", 5) // before anybody has asked
	tally.End("tail.files", 2)
	for range 2 {
		tally.Begin()
		check(metric.Sum{Name: "prod.tail.lines", N: 5}, metric.Sum{Name: "prod.tail.files", Gauge: true})
		tally.Add("tail.files", 3)
		tally.Add("tail.lines", 10)
		tally.Add("tail.lines", 100)
		check(metric.Sum{Name: "prod.tail.lines", N: 115}, metric.Sum{Name: "prod.tail.files", Gauge: true, N: 3})
	}
	tally.End("tail.bytes", 7)
	tally.Begin()
	check(metric.Sum{Name: "prod.tail.lines", N: 5}, metric.Sum{Name: "prod.tail.files", Gauge: true}, metric.Sum{Name: "prod.tail.bytes", N: 7})
	if n := testing.AllocsPerRun(100, func() { tally.Begin(); tally.Add("tail.lines", 1) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

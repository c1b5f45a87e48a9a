package spool

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"kaudit/pkg/source"
)

// done is a sink that evaluates at once.
type done struct{ bytes atomic.Int64 }

func (d *done) Deliver(_ context.Context, v source.Delivery) error {
	d.bytes.Add(int64(len(v.Payload)))
	v.Done()
	return nil
}

// BenchmarkSpool measures the way through the spool, synced, in batches as an API server sends them: 400 events of
// 1.5 KB. An operation is one batch, from Deliver to Done.
func BenchmarkSpool(b *testing.B) {
	const events = 400
	payload := bytes.Repeat([]byte("x"), events*1500)
	for _, senders := range []struct {
		name string
		n    int
	}{{"one sender", 1}, {"4 senders", 4}, {"16 senders", 16}} {
		b.Run(senders.name, func(b *testing.B) {
			s := open(b, Config{MaxBytes: 4 << 30})
			var k done
			read(b, s, &k)
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			var next atomic.Int64
			var wg sync.WaitGroup
			for b.Loop() {
				// One operation of the loop is one batch; senders take them from a counter.
				next.Add(1)
				if next.Load()%int64(senders.n) != 0 {
					continue
				}
				for range senders.n {
					wg.Go(func() {
						if err := s.Deliver(context.Background(), source.Delivery{Payload: payload, Source: "bench"}); err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
			for counts(s)["spool.records"] > 0 {
			}
			b.ReportMetric(float64(b.N*events)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(counts(s)["spool.syncs"])/float64(b.N), "syncs/op")
		})
	}
}

package store_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// BenchmarkServeWhileScrubbingAndEvicting serves a content of 128 MiB from one
// goroutine for each core, or for every second, in turns of two seconds: alone, and
// beside a scrub that is always late and contents that come and are evicted all the
// time. What is to be had is 90 % of the rate. A turn of each is an iteration, and
// the folder is to be on a disk:
//
//	TMPDIR=/var/tmp go test ./content/store -run '^$' -bench ServeWhile -benchtime 12x
func BenchmarkServeWhileScrubbingAndEvicting(b *testing.B) {
	const turn = 2 * time.Second
	hot := storetest.File(b, 1, 128<<20, storetest.Large)
	cold := storetest.File(b, 2, 256<<20, storetest.Large)
	small := []*storetest.Sample{storetest.File(b, 3, 1<<20, storetest.Large), storetest.File(b, 4, 1<<20, storetest.Large)}
	cfg := store.Config{Dir: b.TempDir(), Floor: store.NoFloor, Quota: (128 + 256 + 2) << 20, ScrubPeriod: time.Nanosecond}
	// Once to fill it, and again so that nothing is fresh.
	s, err := store.Open(cfg, zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	for _, x := range []*storetest.Sample{hot, cold} {
		if err := take(b, s, x).Pin(true); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	if s, err = store.Open(cfg, zap.NewNop()); err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c, _ := s.Get(hot.ID)
	refs := hot.Refs()

	serve := func(readers int) (rate float64) {
		begun := time.Now()
		var served, next atomic.Int64
		var all sync.WaitGroup
		for range readers {
			all.Go(func() {
				buf := make([]byte, content.MaxBlock)
				for time.Since(begun) < turn {
					r := refs[(next.Add(1)-1)%int64(len(refs))]
					block, err := c.ReadBlock(r.Chunk, r.Block, buf)
					if err != nil {
						b.Error(err)
						return
					}
					served.Add(int64(len(block)))
				}
			})
		}
		all.Wait()
		return float64(served.Load()) / time.Since(begun).Seconds()
	}
	busy := func(readers int) (rate float64) {
		ctx, cancel := context.WithCancel(context.Background())
		var beside sync.WaitGroup
		defer beside.Wait()
		defer cancel()
		beside.Go(func() { s.Run(ctx) })
		beside.Go(func() {
			tick := time.NewTicker(50 * time.Millisecond) // 20 MiB/s come and go
			defer tick.Stop()
			for i := 0; ctx.Err() == nil; i++ {
				take(b, s, small[i%2]).SetLastUsed(time.Now().Add(-time.Hour))
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
		return serve(readers)
	}

	median := func(of []float64) float64 { slices.Sort(of); return of[len(of)/2] }
	for _, readers := range []int{max(1, runtime.NumCPU()/2), runtime.NumCPU()} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			serve(readers) // what is read is in memory from here on
			evicted, scrubbed := s.Stats().Evicted.Load(), s.Stats().Scrubbed.Load()
			var alone, beside, shares []float64
			for b.Loop() {
				alone, beside = append(alone, serve(readers)), append(beside, busy(readers))
				shares = append(shares, 100*beside[len(beside)-1]/alone[len(alone)-1])
			}
			b.ReportMetric(median(alone)/1e6, "MB/s-alone")
			b.ReportMetric(median(beside)/1e6, "MB/s-busy")
			b.ReportMetric(median(shares), "%-median")
			b.ReportMetric(shares[0], "%-least")
			b.ReportMetric(float64(s.Stats().Evicted.Load()-evicted), "evicted")
			b.ReportMetric(float64(s.Stats().Scrubbed.Load()-scrubbed)/(1<<20), "scrubbed-MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// take brings a content into a store, with room reserved.
func take(b *testing.B, s *store.Store, x *storetest.Sample) *store.Content {
	c, room, err := s.Receive(x.Encoded)
	if err != nil {
		b.Fatal(err)
	}
	defer room.Release()
	for _, r := range x.Refs() {
		if err := c.SetBlocks(r.Chunk, x.Nodes[r.Chunk]); err != nil {
			b.Fatal(err)
		}
		if _, err := c.WriteBlock(r.Chunk, r.Block, x.Block(r.Chunk, r.Block)); err != nil {
			b.Fatal(err)
		}
	}
	return c
}

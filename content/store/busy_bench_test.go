package store_test

import (
	"context"
	"runtime"
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
// goroutine per core, alone and beside a scrub that is always late and contents
// that come and are evicted all the time. What is to be had: 90 % of the rate.
func BenchmarkServeWhileScrubbingAndEvicting(b *testing.B) {
	hot := storetest.File(b, 1, 128<<20, storetest.Large)
	cold := storetest.File(b, 2, 32<<20, storetest.Large)
	small := []*storetest.Sample{storetest.File(b, 3, 1<<20, storetest.Large), storetest.File(b, 4, 1<<20, storetest.Large)}
	for _, name := range []string{"alone", "busy"} {
		b.Run(name, func(b *testing.B) {
			cfg := store.Config{Dir: b.TempDir(), Floor: store.NoFloor, Quota: (128 + 32 + 1) << 20}
			if name == "busy" {
				cfg.ScrubPeriod = time.Nanosecond
			}
			// Once to fill it, and again so that nothing is fresh.
			s, err := store.Open(cfg, zap.NewNop())
			if err != nil {
				b.Fatal(err)
			}
			for _, x := range []*storetest.Sample{hot, cold} {
				c := take(b, s, x)
				if err := c.Pin(true); err != nil {
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
			for _, r := range refs {
				if _, err := c.ReadBlock(r.Chunk, r.Block, nil); err != nil {
					b.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(context.Background())
			var beside sync.WaitGroup
			defer beside.Wait()
			defer cancel()
			if name == "busy" {
				beside.Go(func() { s.Run(ctx) })
				beside.Go(func() {
					tick := time.NewTicker(50 * time.Millisecond) // 20 MiB/s come and go
					defer tick.Stop()
					for i := 0; ctx.Err() == nil; i++ {
						c := take(b, s, small[i%2])
						c.SetLastUsed(time.Now().Add(-time.Hour))
						select {
						case <-ctx.Done():
						case <-tick.C:
						}
					}
				})
			}
			b.SetBytes(int64(len(hot.Data)))
			for b.Loop() {
				var next atomic.Int64
				var all sync.WaitGroup
				for range runtime.GOMAXPROCS(0) {
					all.Go(func() {
						buf := make([]byte, content.MaxBlock)
						for i := next.Add(1) - 1; i < int64(len(refs)); i = next.Add(1) - 1 {
							if _, err := c.ReadBlock(refs[i].Chunk, refs[i].Block, buf); err != nil {
								b.Error(err)
							}
						}
					})
				}
				all.Wait()
			}
			b.StopTimer()
			b.ReportMetric(float64(s.Stats().Evicted.Load()), "evicted")
			b.ReportMetric(float64(s.Stats().Scrubbed.Load())/(1<<20), "scrubbed-MiB")
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

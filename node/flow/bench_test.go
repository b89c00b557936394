package flow

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
)

// bigCore returns a core for 100,000 chunks of 1 MiB with sources that have
// everything, or two thirds of it.
func bigCore(chunks, sources int, partial bool) *core {
	list := make([]content.Chunk, chunks)
	for i := range list {
		list[i].Size = 1 << 20
	}
	c := newCore(rules{seed: 1, flying: DefaultFlying, banFor: time.Hour, rank: simpleRank}, list)
	rng := rand.New(rand.NewPCG(1, 1))
	for s := range sources {
		id := sourceID(s + 1)
		c.step(epoch, joined{Source: id, Peer: peer.ID(fmt.Sprint("p", s)), Link: bandwidth.LAN})
		m := roaring.New()
		m.AddRange(0, uint64(chunks))
		if partial {
			for range chunks / 3 {
				m.Remove(uint32(rng.IntN(chunks)))
			}
		}
		c.step(epoch, have{id, m})
	}
	return c
}

// BenchmarkCore feeds the core what 50 sources would: per chunk a list, 16 blocks
// that arrive and are judged, and an end. An op is an event.
func BenchmarkCore(b *testing.B) {
	for _, partial := range []bool{false, true} {
		b.Run(fmt.Sprintf("partial=%t", partial), func(b *testing.B) {
			b.ReportAllocs()
			now := epoch
			var c *core
			var todo []ask
			events := 0
			step := func(ev event) {
				c.step(now, ev)
				fx := c.ready(now)
				todo = append(todo, fx.asks...)
				if events++; events%200 == 0 { // 20,000 events/s
					now = now.Add(10 * time.Millisecond)
				}
				if events%2000 == 0 {
					c.step(now, tick{})
				}
			}
			for events < b.N {
				b.StopTimer()
				todo = todo[:0]
				c = bigCore(100_000, 50, partial)
				b.StartTimer()
				step(tick{})
				for len(todo) > 0 && events < b.N {
					a := todo[0]
					todo = todo[1:]
					if c.requests[a.Request] == nil {
						continue
					}
					step(list{Source: a.Source, Request: a.Request, Chunk: a.Chunk, Blocks: 16})
					for i := range uint8(16) {
						step(arrived{a.Source, a.Request, a.Chunk, i, 1 << 16})
						step(judged{Source: a.Source, Chunk: a.Chunk, Block: i, Bytes: 1 << 16, Link: bandwidth.LAN})
					}
					step(ended{a.Source, a.Request, Sent})
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// What a core of 100,000 chunks and 50 sources holds in memory.
func TestCoreOfManyChunksIsSmall(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := bigCore(100_000, 0, false)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / 100_000; per > 40 {
		t.Errorf("%d bytes per chunk", per)
	}
	runtime.KeepAlive(c)
}

// BenchmarkRun runs a whole flow from memory to memory.
func BenchmarkRun(b *testing.B) {
	const chunks = 2000
	o := &original{manifest: &content.Manifest{}}
	block := make([]byte, 64<<10)
	var list []content.Block
	var data [][]byte
	for range 16 {
		list = append(list, content.Block{Hash: content.Sum(block), Size: uint32(len(block))})
		data = append(data, block)
	}
	node, err := content.EncodeBlocks(list)
	if err != nil {
		b.Fatal(err)
	}
	for range chunks {
		o.nodes = append(o.nodes, node)
		o.lists = append(o.lists, list)
		o.data = append(o.data, data)
		o.manifest.Chunks = append(o.manifest.Chunks, content.Chunk{Hash: content.Sum(node), Size: 1 << 20})
	}
	b.SetBytes(chunks << 20)
	for b.Loop() {
		src := newMemSource(o, "s", 0)
		f := New(Config{Target: newTarget(o), Rank: simpleRank, Log: zap.NewNop()})
		f.Add(src)
		if err := f.Run(b.Context()); err != nil {
			b.Fatal(err)
		}
		src.leave()
	}
}

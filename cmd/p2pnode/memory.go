package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// memoryUsual is what the Go runtime keeps to while little is in use. Some of that
	// is never touched, and the program itself takes 34 MB: in all that are less than
	// 96 MiB (testnet/bench crowd). Without it a heap of 50 MiB, most of it buffers
	// that nobody needs any more, would be collected at 100.
	memoryUsual = 64 << 20
	// memoryBeside is what the runtime takes beside the heap: the stacks of a thousand
	// goroutines, and its own books.
	memoryBeside = 16 << 20
	memoryEvery  = 10 * time.Second
)

// A thrift decides what the Go runtime is to keep to. What is in use for long, as the
// index of a large store, raises that: a collector that can't get below its limit
// would run all the time.
type thrift struct {
	most int64    // whatever is in use
	live [6]int64 // bytes of the heap that were in use, of the last minute
	n    int
}

// limit returns what to keep to until the next call. live is what the last collection
// found in use.
func (t *thrift) limit(live int64) int64 {
	t.live[t.n%len(t.live)] = live
	t.n++
	least := t.live[0]
	for _, l := range t.live {
		least = min(least, l)
	}
	return min(max(memoryUsual, least+least/4+memoryBeside), t.most)
}

// keepMemory keeps the Go runtime's limit up to date until ctx ends.
func keepMemory(ctx context.Context, most int64) {
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	t, sample := thrift{most: most}, []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set := debug.SetMemoryLimit(-1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		if limit := t.limit(int64(sample[0].Value.Uint64())); limit != set {
			set = limit
			debug.SetMemoryLimit(limit)
		}
	}
}

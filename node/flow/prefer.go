package flow

import (
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/discovery"
)

const (
	// maxFirst bounds the chunks that are preferred: what a few readers read ahead.
	maxFirst = 64

	// leastWait is how long a chunk that somebody waits for may stand behind
	// others in the queue of a source. On a LAN no queue is that long; at 2 Mbit/s
	// two chunks are 8 s.
	leastWait = time.Second
)

// merge puts chunks before others, each once, at most maxFirst.
func merge(chunks, others []int) []int {
	out := make([]int, 0, min(len(chunks)+len(others), maxFirst))
	for _, list := range [][]int{chunks, others} {
		for _, i := range list {
			if len(out) == maxFirst {
				return out
			}
			if !slices.Contains(out, i) {
				out = append(out, i)
			}
		}
	}
	return out
}

// prefer puts chunks before those that were preferred earlier.
func (o *order) prefer(chunks []int) {
	chunks = slices.DeleteFunc(slices.Clone(chunks), func(i int) bool {
		return i < 0 || i >= len(o.chunks) || o.chunks[i].done()
	})
	o.first = merge(chunks, o.first)
}

func (o *order) prefers(i int) bool { return slices.Contains(o.first, i) }

// unprefer forgets a chunk that is here.
func (o *order) unprefer(i int) {
	o.first = slices.DeleteFunc(o.first, func(j int) bool { return i == j })
}

// prefer: somebody waits for chunks.
func (c *core) prefer(now time.Time, chunks []int) {
	c.order.prefer(chunks)
	for _, i := range c.order.first {
		if w := c.under[i]; w == nil || len(w.open) == 0 {
			c.makeWay(now, i)
		}
	}
}

// makeWay takes a request out of the queue of the source that would deliver chunk
// i first, if it would take long to: one that wasn't begun, and that nobody waits
// for. There is room for i then.
func (c *core) makeWay(now time.Time, i int) {
	var best *source
	for _, s := range c.sources {
		switch {
		case !s.well(now) || !s.held.has(c.order.place[i]):
		case s.room(now, c.lacking(i)):
			return // it will be asked
		case !s.proven(now): // it has the two chunks that an untried one gets
		case best == nil || s.need(now, 0) < best.need(now, 0):
			best = s
		}
	}
	if best == nil || best.need(now, 0) < leastWait {
		return
	}
	for _, r := range slices.Backward(best.open) {
		if !r.head() && !r.heard && r.got == 0 && !c.order.prefers(r.chunk) {
			c.drop(now, r, discovery.MakesWay)
			c.settle(r.chunk)
			return
		}
	}
}

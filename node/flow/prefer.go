package flow

import (
	"math"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/discovery"
)

const (
	// maxFirst bounds the chunks that are preferred: what a few readers read ahead,
	// or what each of many waits for.
	maxFirst = 64

	// leastWait is how long a chunk that somebody waits for may stand behind others
	// in the queue of a source: to ask for those again costs a frame each. A queue
	// holds 400 ms at whatever rate (see slack).
	leastWait = 50 * time.Millisecond
)

// A longing is what one reader waits for, and reads after that: chunks that weren't
// here when it said so, one at least.
type longing struct {
	reader uint64
	chunks []int
}

// prefer notes what a reader longs for, in place of what it longed for before. It
// keeps its turn while it waits for the same chunk.
func (o *order) prefer(l longing) {
	turn := slices.IndexFunc(o.longings, func(old longing) bool { return old.reader == l.reader })
	if turn >= 0 && len(l.chunks) > 0 && o.longings[turn].chunks[0] == l.chunks[0] {
		o.longings[turn] = l
	} else {
		if turn >= 0 {
			o.longings = slices.Delete(o.longings, turn, turn+1)
		}
		o.longings = append(o.longings, l)
	}
	o.longings = slices.DeleteFunc(o.longings, func(l longing) bool { return !slices.ContainsFunc(l.chunks, o.lacks) })
	if len(o.longings) > maxFirst {
		o.longings = slices.Delete(o.longings, 0, 1)
	}
	o.first = o.first[:0]
	for next, more := 0, true; more; next++ {
		more = false
		for _, l := range o.longings {
			if next >= len(l.chunks) {
				continue
			}
			more = true
			if i := l.chunks[next]; o.lacks(i) && len(o.first) < maxFirst && !o.prefers(i) {
				o.first = append(o.first, i)
			}
		}
	}
}

// lacks reports whether i is a chunk, and not here.
func (o *order) lacks(i int) bool { return i >= 0 && i < len(o.chunks) && !o.chunks[i].done() }

func (o *order) prefers(i int) bool { return slices.Contains(o.first, i) }

// rank returns how many chunks are preferred to i.
func (o *order) rank(i int) int {
	if at := slices.Index(o.first, i); at >= 0 {
		return at
	}
	return math.MaxInt
}

// unprefer forgets a chunk that is here.
func (o *order) unprefer(i int) {
	o.first = slices.DeleteFunc(o.first, func(j int) bool { return i == j })
}

// prefer: a reader waits for the first of some chunks that isn't here.
func (c *core) prefer(now time.Time, reader uint64, chunks []int) {
	chunks = slices.DeleteFunc(slices.Clone(chunks), func(i int) bool { return !c.order.lacks(i) })
	c.order.prefer(longing{reader, chunks})
	for _, s := range c.sources {
		s.dry = 0 // there may be something to ask it for that didn't suit it
	}
	if len(chunks) > 0 {
		c.makeWay(now, chunks[0])
	}
}

// makeWay takes what is less wanted, and wasn't begun, out of the queue before chunk
// i: at the source that it was asked of, or else at the one that would have it here
// first. It is asked for again in its turn.
func (c *core) makeWay(now time.Time, i int) {
	s, ahead := c.soonest(now, i)
	if s == nil || s.need(now, 0) < leastWait {
		return
	}
	for at := ahead - 1; at > 0; at-- { // not the first: it is on its way
		if r := s.open[at]; !r.heard && r.got == 0 && c.order.rank(r.chunk) > c.order.rank(i) {
			c.drop(now, r, discovery.MakesWay)
			c.settle(r.chunk)
		}
	}
}

// soonest returns who will have chunk i here, or would have if it was asked now, and
// how many of its requests come before; nil if nobody would.
func (c *core) soonest(now time.Time, i int) (best *source, ahead int) {
	if w := c.under[i]; w != nil && len(w.open) > 0 {
		r := w.open[len(w.open)-1]
		return r.source, slices.Index(r.source.open, r)
	}
	for _, s := range c.sources {
		switch {
		case !s.well(now) || !s.held.has(c.order.place[i]) || !c.may(s, i):
		case len(s.open) == 0:
			return s, 0
		case best == nil || s.need(now, 0) < best.need(now, 0):
			best, ahead = s, len(s.open)
		}
	}
	return best, ahead
}

package flow

import (
	"cmp"
	"math/bits"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/discovery"
)

// Parts
//
// What crosses a WAN last comes over few connections, and each of them got used to
// sharing the link: TCP's window grows by a packet per round trip. Between two branches
// of 50 Mbit/s and 80 ms the last chunk, of 4 MB, came with 6 Mbit/s for four seconds
// while both links and the publisher had nothing to do. So once there is nothing else
// to ask for, a source without work is asked for the last blocks of a chunk that
// another one is sending, which is told to leave them out. No block is asked of two, so
// this is no hedge and costs nothing.

const (
	// leastSplit is how long a request has to take still, to be worth splitting.
	leastSplit = 300 * time.Millisecond
	// maxParts is how many sources send a chunk at one time.
	maxParts = maxFar
	// maxHelped is how many sources at other sites send something while there are parts:
	// more than maxFar, since nothing else begins that could come late.
	maxHelped = 2 * maxFar
	// lastWorth is how much of its speed counts of whoever publishes for all: its link is
	// every site's, so it helps where the others would take twice as long.
	lastWorth = 0.5
	// lastSites is how many other sites are known at most where it helps: of many each would
	// have it send a part of the last chunks, which made two copies more for 200 sites.
	lastSites = 2
)

// asked returns the blocks of a chunk that are asked for.
func (w *underway) asked() (all uint64) {
	for _, r := range w.open {
		all |= r.want &^ r.got
	}
	return all
}

// of returns the request of a source, nil if there is none.
func (w *underway) of(s *source) *request {
	for _, r := range w.open {
		if r.source == s {
			return r
		}
	}
	return nil
}

// split gives blocks that one source is to send to another that has nothing to do. It
// reports whether it did.
func (c *core) split(now time.Time) bool {
	if !c.shares || c.readers || !c.slow(now) || c.unshared() {
		return false
	}
	for _, s := range c.helpers(now) {
		if r := c.slowest(s, now); r != nil && c.part(r, s, now) {
			return true
		}
	}
	return false
}

// helpers returns the sources at other sites that have nothing to do, the fastest first.
func (c *core) helpers(now time.Time) (idle []*source) {
	many, busy := c.otherSites() > lastSites, 0
	for _, s := range c.sources {
		switch {
		case s.near():
		case len(s.open) > 0:
			busy++
		case s.last && many:
		case s.held.count > 0 && s.well(now) && s.room(now, 0) && !c.unheard(s, now):
			idle = append(idle, s)
		}
	}
	worth := func(s *source) float64 {
		if s.last {
			return lastWorth * s.rate(now)
		}
		return s.rate(now)
	}
	slices.SortStableFunc(idle, func(a, b *source) int { return cmp.Compare(worth(b), worth(a)) })
	return idle[:min(len(idle), max(0, maxHelped-busy))]
}

// otherSites returns how many sites the sources at other sites are at, but for those of
// whom that isn't known and whoever publishes for all.
func (c *core) otherSites() int {
	var sites []string
	for _, s := range c.sources {
		if s.sparing && !s.last && s.site != "" && !slices.Contains(sites, s.site) {
			sites = append(sites, s.site)
		}
	}
	return len(sites)
}

// slow reports whether something that was asked of another site takes long still.
func (c *core) slow(now time.Time) bool {
	for _, s := range c.sources {
		if n := len(s.open); s.sparing && n > 0 && s.takes(s.open[n-1], now) >= leastSplit {
			return true
		}
	}
	return false
}

// unshared reports whether some chunk is yet to be asked for or proposed, by anybody.
func (c *core) unshared() bool {
	h := &c.share
	for l := levelBegun; l < levels; l++ {
		level := &c.order.levels[l]
		for from := uint32(0); ; {
			p, ok := level.common(level, from)
			if !ok {
				break
			}
			if ch := &c.order.chunks[c.order.at[p]]; ch.near == 0 && (h.alone || !h.theirs.has(p)) {
				return true
			}
			from = p + 1
		}
	}
	return false
}

// slowest returns the request that takes longest, of those whose blocks s could send;
// nil if none takes long.
func (c *core) slowest(s *source, now time.Time) (slowest *request) {
	longest := leastSplit
	for _, o := range c.sources {
		if !o.sparing || o.link != bandwidth.WAN || o.stalled || !o.proven(now) {
			continue
		}
		for _, r := range o.open {
			w := c.under[r.chunk]
			if !r.asked.Before(now) {
				continue // its source may not have been told of it
			}
			if r.late != discovery.Unknown || len(w.open) > 1 && !w.parts || len(w.open) == maxParts || w.of(s) != nil {
				continue
			}
			if c.order.chunks[r.chunk].blocks == 0 || !s.held.has(c.order.place[r.chunk]) || !c.may(s, r.chunk) {
				continue
			}
			if eta := o.takes(r, now); eta >= longest {
				longest, slowest = eta, r
			}
		}
	}
	return slowest
}

// part asks s for the last blocks of r, as many as make both end at the same time, and
// has the source of r leave them out. It reports whether there are any.
func (c *core) part(r *request, s *source, now time.Time) bool {
	left := r.want &^ r.got
	n := bits.OnesCount64(left)
	if n == 0 || r.left == 0 { // of a part it is an estimate, and may be used up
		return false
	}
	mean := float64(r.left) / float64(n)
	rate := r.source.lately(now)
	other := rate
	if s.proven(now) {
		other = s.rate(now)
	}
	var ahead int64 // asked of the same source before r
	for _, o := range r.source.open {
		if o == r {
			break
		}
		ahead += o.left
	}
	// The source of r sends x of it while s sends the rest: (ahead+x)/rate = (left-x)/other.
	x := (float64(r.left)*rate - float64(ahead)*other) / (rate + other)
	keep := int(max(x, 0) / mean)
	if r.head() {
		// What is on its way before it hears of it, or waits in buffers.
		keep = max(keep, int(rate*(r.source.latency+slack).Seconds()/mean)+1)
	}
	if keep >= n {
		return false
	}
	given := left
	for range keep {
		given &= given - 1
	}
	bytes := int64(mean * float64(n-keep))
	w := c.under[r.chunk]
	if keep == 0 {
		c.drop(now, r, discovery.TooSlow)
		if w = c.under[r.chunk]; w == nil {
			w = &underway{}
			c.under[r.chunk] = w
		}
	} else {
		r.want &^= given
		r.left -= bytes
		r.source.left -= bytes
		c.out.cancels = append(c.out.cancels, cancel{r.source.id, r.id, r.want})
	}
	w.parts = true
	c.open(now, s, w, r.chunk, given, bytes, discovery.LastBlocks)
	return true
}

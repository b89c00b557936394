package flow

import (
	"time"

	"github.com/p2pnode/p2pnode/discovery"
)

const (
	// askSlack: a source that needs so many times what all the others together
	// need for all the rest isn't asked, if another one needs so many times less.
	// It would only have to be relieved at the end.
	askSlack = 2

	// tries bounds how many chunks of a level are looked at for one request. Of
	// those begun, most may be hedged already or late at the source that asks.
	tries      = 8
	triesBegun = 256
)

// asking is what dispatch keeps from one time to the next.
type asking struct {
	passes     uint64                // calls of dispatch
	short      int64                 // bytes of the request that rules.flying left no room for
	candidates []discovery.Candidate // reused
}

// dispatch asks for as much as the windows take.
func (c *core) dispatch(now time.Time) {
	c.asking.passes++
	for c.next(now) {
	}
	for c.split(now) {
	}
}

// next makes at most one request; false if there is none to make.
func (c *core) next(now time.Time) bool {
	flying := c.aloft()
	if flying > 0 && flying+c.asking.short > c.flying {
		return false
	}
	c.asking.short = 0
	cs := c.asking.candidates[:0]
	for _, s := range c.sources {
		if s.pass != c.asking.passes && s.dry != c.order.changes && s.room(now, 0) {
			cs = append(cs, s.candidate(now))
		}
	}
	c.asking.candidates = cs
	if len(cs) == 0 {
		return false
	}
	for _, choice := range c.rank(cs, now) {
		s := c.byPeer[choice.Peer]
		i, ok := c.pick(s, now)
		if !ok {
			s.dry = c.order.changes
			continue
		}
		bytes := c.lacking(i)
		if flying > 0 && flying+bytes > c.flying {
			c.asking.short = bytes
			return false
		}
		if !s.room(now, bytes) {
			s.pass = c.asking.passes
			continue
		}
		c.send(now, s, i, bytes, choice.Reason)
		return true
	}
	return false
}

// aloft returns the bytes that are asked for or wait for a verdict. What stalled
// sources owe isn't counted: nobody knows whether it comes.
func (c *core) aloft() (n int64) {
	for _, s := range c.sources {
		n += s.unjudged
		if !s.stalled {
			n += s.left
		}
	}
	return n
}

// lacking returns the bytes of a chunk that neither are here nor wait for a
// verdict, nor are asked for as a part.
func (c *core) lacking(i int) int64 {
	n := int64(c.order.chunks[i].missing)
	if w := c.under[i]; w != nil {
		n -= w.bytes
		for _, r := range w.open {
			if w.parts {
				n -= r.left
			}
		}
	}
	return max(n, 1)
}

// pick returns the chunk to ask s for.
func (c *core) pick(s *source, now time.Time) (int, bool) {
	for _, i := range c.order.first {
		if c.order.chunks[i].level != noLevel && s.held.has(c.order.place[i]) && !s.leaves(i, now) && c.may(s, i) && c.suits(s, i, now) {
			return i, true
		}
	}
	if c.readers {
		return 0, false
	}
	if c.restricted(s) {
		for _, i := range c.share.granted {
			if c.order.chunks[i].level == noLevel || !s.held.has(c.order.place[i]) || c.shuns(s, i, now) || c.strange(s, i, now) {
				continue
			}
			if w := c.under[i]; w == nil || len(w.open) == 0 {
				if !c.yields(s, i, now) {
					return i, true
				}
			} else if c.adds(w, s, now) {
				return i, true // whoever publishes for all too: it is late
			}
		}
		return 0, false
	}
	for l := range c.order.levels {
		level := &c.order.levels[l]
		left := tries
		if l == levelBegun {
			left = triesBegun
		}
		for from := uint32(0); left > 0 && level.count > 0; left-- {
			p, ok := level.common(&s.held, from)
			if !ok {
				break
			}
			from = p + 1
			switch i := int(c.order.at[p]); {
			case s.leaves(i, now):
				left++ // there may be many of them
			case c.suits(s, i, now):
				return i, true
			}
		}
	}
	return 0, false
}

// suits reports whether asking s for chunk i helps.
func (c *core) suits(s *source, i int, now time.Time) bool {
	if c.shuns(s, i, now) {
		return false
	}
	if w := c.under[i]; w != nil && len(w.open) > 0 {
		return c.adds(w, s, now)
	}
	if !s.proven(now) {
		return true
	}
	need := s.need(now, c.lacking(i)) - s.latency
	if need <= askSlack*c.rest && !c.order.prefers(i) {
		return true
	}
	for _, o := range c.sources {
		if o != s && c.may(o, i) && o.well(now) && o.proven(now) && o.held.has(c.order.place[i]) &&
			need > askSlack*o.need(now, c.lacking(i)) {
			return false
		}
	}
	return true
}

// adds reports whether asking s too for a chunk helps: for what is missing of its parts,
// or as a hedge.
func (c *core) adds(w *underway, s *source, now time.Time) bool {
	if w.parts {
		return w.of(s) == nil
	}
	return c.helps(s, w.open[0], now)
}

// send asks s for what is missing of chunk i.
func (c *core) send(now time.Time, s *source, i int, bytes int64, why discovery.Reason) {
	ch, w := &c.order.chunks[i], c.under[i]
	if w == nil {
		w = &underway{}
		c.under[i] = w
	}
	switch {
	case w.parts:
		why = discovery.LastBlocks
	case len(w.open) > 0:
		why = discovery.Hedge
	case ch.holders == 1:
		why = discovery.OnlySource
	case why == discovery.OnlySource && s.proven(now): // that has room
		why = discovery.LessLoaded
	case why == discovery.OnlySource:
		why = discovery.Untried
	}
	want := ch.wanted() &^ w.unjudged
	switch {
	case ch.blocks == 0:
		want = ^uint64(0)
	case w.parts:
		want &^= w.asked()
	}
	c.open(now, s, w, i, want, bytes, why)
}

// open asks s for these blocks of chunk i.
func (c *core) open(now time.Time, s *source, w *underway, i int, want uint64, bytes int64, why discovery.Reason) {
	c.last++
	r := &request{
		id: c.last, source: s, chunk: i, want: want, left: bytes,
		asked: now, alone: len(s.open) == 0,
	}
	if r.alone {
		s.begin(now)
	}
	s.open = append(s.open, r)
	s.left += bytes
	c.requests[r.id] = r
	c.out.asks = append(c.out.asks, ask{s.id, r.id, i, r.want, c.order.chunks[i].blocks == 0})
	c.decide(now, i, s.peer, Ask, why)
	if c.share.alone && !s.near() {
		c.out.took = append(c.out.took, i)
	}
	w.open = append(w.open, r)
	if first := w.open[0]; !w.parts && first != r && first.got == 0 && !first.head() {
		c.drop(now, first, discovery.Hedge) // it wasn't begun: moved
	}
	c.settle(i)
}

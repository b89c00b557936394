package flow

import (
	"math"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/discovery"
)

// What the members of a site share out
//
// A site brings each chunk over the WAN once: one of its members does, the carrier,
// and the others take it from there. Who carries what is decided elsewhere
// (node/carry); here is what it takes of a flow. A carrier says what it could ask
// for now, the likeliest first (propose), is granted some of it, and asks sources at
// other sites for that and for nothing else. Sources at its own site are asked for
// anything, by everyone.

const (
	// maxProposed bounds the chunks of a proposal: several times what is wanted, since
	// others may have proposed the same.
	maxProposed = 64
	// maxFar is how many sources at other sites are asked at once. Their bytes share
	// the link; what has begun to come from many comes late from all, and is lost if
	// this node dies.
	maxFar = 4
	// starvedAgain is how often a flow that can propose nothing says that it could do
	// something: somebody may be late with what others want.
	starvedAgain = 500 * time.Millisecond
	// insistAfter is how long nothing has to come before a flow proposes what others are
	// said to have, too: its neighbours may not have it, or lie. Chunks pass through a
	// LAN in less.
	insistAfter = 3 * time.Second
	// shunFor is how long the sources of a site are left alone, one of which fell silent,
	// while somebody else has what they have. After it one of them is tried.
	shunFor = 10 * time.Second
	// askElsewhere is how long a source at another site isn't asked for what it was too
	// busy for.
	askElsewhere = time.Second
	// maxPassed is for how many chunks at once a neighbour may be too busy before it is
	// asked for nothing for a while.
	maxPassed = 64
	// tellWithin is how long a flow waits for a neighbour to say what it has, before it
	// proposes what the neighbour may have.
	tellWithin = 300 * time.Millisecond
)

// A carriage is what a flow knows of who brings what. It means nothing unless
// rules.shares.
type carriage struct {
	alone   bool // nobody shares it out
	carrier bool
	found   bool   // somebody has met a source
	granted []int  // chunks that this node brings, in the order granted; none that is here
	mine    bitset // places of these
	theirs  bitset // places of chunks that others have or bring, as far as we were told
	waiting bool   // a proposal isn't answered
	turns   uint64 // grows when there may be something to propose that there wasn't before
	starved time.Time
	fed     time.Time // the last block that came, or when there was somebody to share with
	crossed time.Time // the last block that came from another site, or when a partner more was chosen since
	more    int       // partners beyond the usual, as those gave nothing
	insists bool      // what others have doesn't reach this node
}

// restricted reports whether s may be asked only for what was granted.
func (c *core) restricted(s *source) bool { return c.shares && !c.share.alone && !s.near() }

// may reports whether s may be asked for chunk i.
func (c *core) may(s *source, i int) bool {
	return !c.restricted(s) || c.share.mine.has(c.order.place[i])
}

// lose takes a chunk off what this node brings; it reports whether it was there.
func (h *carriage) lose(o *order, i int) bool {
	if !h.mine.clear(o.place[i]) {
		return false
	}
	h.granted = slices.DeleteFunc(h.granted, func(j int) bool { return i == j })
	return true
}

// beShared: somebody shares the work out. What is on its way from other sites was
// told as carried.
func (c *core) beShared(now time.Time) {
	h := &c.share
	h.waiting, h.carrier, h.insists, h.fed = false, false, false, now
	h.turns++
	h.theirs = newBitset(len(c.order.chunks))
	if !h.alone {
		return
	}
	h.alone = false
	for _, s := range c.sources {
		for _, r := range s.open {
			if !s.near() && h.mine.set(c.order.place[r.chunk]) {
				h.granted = append(h.granted, r.chunk)
			}
		}
	}
}

// beAlone: nobody does. Everybody may be asked for anything.
func (c *core) beAlone(now time.Time) {
	h := &c.share
	if h.alone {
		return
	}
	*h = carriage{alone: true, turns: h.turns + 1, mine: newBitset(len(c.order.chunks)), theirs: newBitset(len(c.order.chunks))}
	c.order.changes++
	c.decide(now, NoChunk, "", Alone, discovery.NoPlanner)
}

// answer: a proposal was answered.
func (c *core) answer(now time.Time, ev answered) {
	h := &c.share
	h.waiting = false
	for _, i := range ev.Taken {
		if c.order.lacks(i) {
			h.theirs.set(c.order.place[i])
		}
	}
	for _, i := range ev.Granted {
		if !c.order.lacks(i) || !h.mine.set(c.order.place[i]) {
			continue
		}
		h.theirs.clear(c.order.place[i])
		h.granted = append(h.granted, i)
		h.starved = time.Time{} // whoever was late with it may be with more
		c.order.changes++
		c.decide(now, i, "", Carry, discovery.IsCarrier)
	}
	h.turns++
}

// free: others don't bring these any more.
func (c *core) free(chunks []int) {
	for _, i := range chunks {
		if c.order.lacks(i) {
			c.share.theirs.clear(c.order.place[i])
		}
	}
	c.share.turns++
	c.share.starved = time.Time{}
}

// revoke: somebody else brings what this node was late with.
func (c *core) revoke(now time.Time, chunks []int) {
	for _, i := range chunks {
		if !c.order.lacks(i) || !c.share.lose(c.order, i) {
			continue
		}
		c.share.theirs.set(c.order.place[i])
		c.decide(now, i, "", Yield, discovery.TakenOver)
		if w := c.under[i]; w != nil {
			for _, r := range slices.Clone(w.open) {
				if !r.source.near() {
					c.drop(now, r, discovery.TakenOver)
				}
			}
		}
		c.settle(i)
	}
}

// elsewhere: a source at another site is too busy for a chunk, which it may be giving
// to others. It is asked for other ones, and somebody else may bring this one; false if
// s is no such source.
func (c *core) elsewhere(now time.Time, s *source, i int) bool {
	if s.near() {
		return c.passed(now, s, i)
	}
	if !c.restricted(s) {
		return false
	}
	if s.claimed.Contains(uint32(i)) {
		s.denied.Add(uint32(i))
		s.later = now.Add(askElsewhere)
	}
	c.unhold(s, uint32(i))
	if w := c.under[i]; (w == nil || len(w.open) == 0) && c.share.lose(c.order, i) {
		c.out.released = append(c.out.released, i)
	}
	c.decide(now, i, s.peer, Rest, discovery.QueueFull)
	return true
}

// passed: a neighbour is too busy for a chunk, which it gave to another one just now. It
// is asked for others, and still counts as one who has it: nobody shall bring it over
// the WAN. It reports false for one that seems too busy for anything.
func (c *core) passed(now time.Time, s *source, i int) bool {
	if len(s.passes) >= maxPassed {
		return false
	}
	if s.passes == nil {
		s.passes = map[int]time.Time{}
	}
	s.passes[i] = now.Add(askElsewhere)
	c.decide(now, i, s.peer, Rest, discovery.QueueFull)
	return true
}

// leaves reports whether s leaves a chunk to others for now.
func (s *source) leaves(i int, now time.Time) bool {
	until, ok := s.passes[i]
	return ok && now.Before(until)
}

// giveBack releases what this node can't bring: no source at another site has it any
// more.
func (c *core) giveBack() {
	for _, i := range slices.Clone(c.share.granted) {
		ch := &c.order.chunks[i]
		if w := c.under[i]; ch.holders == ch.near && (w == nil || len(w.open) == 0) {
			c.share.lose(c.order, i)
			c.out.released = append(c.out.released, i)
		}
	}
}

// eat notes a block that came and is right.
func (h *carriage) eat(now time.Time, near bool) {
	h.fed = now
	if near {
		h.insists = false
	} else {
		h.crossed = now
	}
}

// propose says what this node could bring, if it could bring more than it does.
func (c *core) propose(now time.Time) {
	h := &c.share
	if !c.shares || h.alone || h.waiting {
		return
	}
	if h.fed.IsZero() {
		h.fed = now
	}
	if now.Sub(h.fed) > insistAfter {
		h.insists = true
	}
	if !h.carrier {
		if h.insists && now.Sub(h.starved) > insistAfter {
			h.starved, h.waiting = now, true
			c.out.proposal = &proposal{n: 1, insist: true}
		}
		return
	}
	// In this order: most of the time no source has room.
	hungry := c.hungry(now)
	if len(hungry) == 0 || c.listens(now) {
		return
	}
	p := &proposal{}
	if p.n, p.chunks = c.offers(now, hungry, false); p.n == 0 {
		if h.theirs.count == 0 || now.Sub(h.starved) < starvedAgain {
			return
		}
		h.starved, p.n = now, 1
		if h.insists {
			p.insist = true
			_, p.chunks = c.offers(now, hungry, true)
		}
	}
	h.waiting = true
	c.out.proposal = p
}

// hungry returns the partners at other sites that could be asked for something now,
// the best first, and whoever publishes for all behind the others: its link is every
// site's.
func (c *core) hungry(now time.Time) []*source {
	var cs []discovery.Candidate
	busy := 0
	for _, s := range c.sources {
		if !s.near() && len(s.open) > 0 {
			busy++
		}
	}
	for _, s := range c.sources {
		if !s.near() && (s.partner || s.last) && s.held.count > 0 && s.room(now, 0) && (len(s.open) > 0 || busy < maxFar) {
			cs = append(cs, s.candidate(now))
		}
	}
	if len(cs) == 0 {
		return nil
	}
	var out []*source
	for _, choice := range c.rank(cs, now) {
		out = append(out, c.byPeer[choice.Peer])
	}
	slices.SortStableFunc(out, func(a, b *source) int {
		switch {
		case a.last == b.last:
			return 0
		case b.last:
			return -1
		}
		return 1
	})
	return out
}

// yields reports whether s, which publishes for all, leaves a chunk to another source at
// another site that could be asked for it.
func (c *core) yields(s *source, i int, now time.Time) bool {
	return s.last && slices.ContainsFunc(c.sources, func(o *source) bool {
		return o.sparing && o.partner && o.well(now) && !c.unheard(o, now) && o.held.has(c.order.place[i]) && o.room(now, 0)
	})
}

// unheard reports whether another source at the site of s, which is reached over the
// same link, fell silent lately, and s has given nothing since.
func (c *core) unheard(s *source, now time.Time) bool {
	return s.sparing && s.site != "" && slices.ContainsFunc(c.sources, func(o *source) bool {
		return o != s && o.site == s.site && o.silent.After(s.heard) && now.Sub(o.silent) < shunFor
	})
}

// shuns reports whether s isn't asked for a chunk because it may be out of reach, and
// somebody else has it.
func (c *core) shuns(s *source, i int, now time.Time) bool {
	return c.unheard(s, now) && slices.ContainsFunc(c.sources, func(o *source) bool {
		return o != s && o.well(now) && o.held.has(c.order.place[i]) && !c.unheard(o, now)
	})
}

// listens reports whether a neighbour is about to say what it has.
func (c *core) listens(now time.Time) bool {
	return slices.ContainsFunc(c.sources, func(s *source) bool {
		return s.near() && !s.told && now.Sub(s.joined) < tellWithin
	})
}

// offers returns chunks to propose for the best of these sources that could be asked
// for any, and how many it takes: chunks that no neighbour has; of those that somebody
// else is said to have or bring none, or only those.
func (c *core) offers(now time.Time, hungry []*source, theirs bool) (n int, chunks []int) {
	mean := max(c.tally.total/int64(len(c.order.chunks)), 1)
	state := c.order.changes + c.share.turns
	for _, s := range hungry {
		if s.barren == state && !theirs {
			continue
		}
		if chunks = c.offersOf(s, now, theirs); len(chunks) > 0 {
			room := min(c.flying-c.aloft(), s.ahead(now)-s.outstanding())
			return int(max(room/mean, 1)), chunks
		}
		if !theirs {
			s.barren = state
		}
	}
	return 0, nil
}

func (c *core) offersOf(s *source, now time.Time, theirs bool) (chunks []int) {
	// A neighbour that froze counts for none: its connection may stand for a minute.
	frozen := slices.ContainsFunc(c.sources, func(o *source) bool { return o.near() && o.stalled })
	near := func(i int) bool {
		if c.order.chunks[i].near == 0 || !frozen {
			return c.order.chunks[i].near > 0
		}
		return slices.ContainsFunc(c.sources, func(o *source) bool {
			return o.near() && !o.stalled && o.held.has(c.order.place[i])
		})
	}
	// Whoever publishes for all gives what nobody else has, unless all others are silent.
	most := uint8(math.MaxUint8)
	if s.last && slices.ContainsFunc(c.sources, func(o *source) bool {
		return o.sparing && !o.last && len(o.open) > 0 && !o.stalled && !c.unheard(o, now)
	}) {
		most = 1
	}
	offer := func(i int) {
		ch, p := &c.order.chunks[i], c.order.place[i]
		if ch.level != noLevel && !near(i) && ch.holders-ch.near <= most && s.held.has(p) && !c.share.mine.has(p) && c.share.theirs.has(p) == theirs && c.suits(s, i, now) {
			chunks = append(chunks, i)
		}
	}
	for _, i := range c.order.first {
		offer(i)
	}
	if c.readers {
		return chunks
	}
	for l := range c.order.levels {
		for from := uint32(0); len(chunks) < maxProposed; {
			p, ok := c.order.levels[l].common(&s.held, from)
			if !ok {
				break
			}
			if i := int(c.order.at[p]); !c.order.prefers(i) {
				offer(i)
			}
			from = p + 1
		}
	}
	return chunks
}

// carrying returns the bytes that are to come of what this node brings.
func (c *core) carrying() (n int64) {
	for _, i := range c.share.granted {
		n += int64(c.order.chunks[i].missing)
	}
	return n
}

// awaits reports whether this node waits for what other members of its site bring, or
// for their word.
func (c *core) awaits(now time.Time) bool {
	h := &c.share
	switch {
	case !c.shares || h.alone:
		return false
	case h.carrier:
		return h.waiting || h.theirs.count > 0 || c.listens(now)
	}
	return h.found || c.order.bare == 0
}

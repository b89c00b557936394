package flow

import (
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

// underway is a chunk of which something is asked, or waits for a verdict.
type underway struct {
	// open has at most two requests, of different sources: the second is a hedge. In
	// parts it has at most maxParts, and no two of them for the same block.
	open     []*request
	parts    bool
	unjudged uint64 // blocks that arrived and wait for a verdict
	bytes    int64  // of these
}

// rules is what the core is told once.
type rules struct {
	content content.ID
	seed    uint64
	flying  int64 // most bytes asked for or unjudged, stalled sources aside
	banFor  time.Duration
	readers bool // nothing is asked for but what they prefer
	shares  bool // what comes from other sites is shared out among the members of this one
	rank    func([]discovery.Candidate, time.Time) []discovery.Choice
}

// A core decides. Step tells it what happened, ready asks what to do now. It is
// used from one goroutine; time never goes back from one call to the next.
//
// Invariants, between calls:
//   - a chunk stands in a level of the order if and only if some source holds it
//     and it may be asked for (see settle);
//   - every request is in requests, in the open list of its source, and in that
//     of its chunk, or in none of them;
//   - a banned or departed source has no request and holds nothing.
type core struct {
	rules
	order    *order
	under    map[int]*underway
	sources  []*source // in the order they joined
	byID     map[sourceID]*source
	byPeer   map[peer.ID]*source
	records  map[peer.ID]record
	requests map[requestID]*request
	last     requestID

	asking  asking
	share   carriage
	rest    time.Duration // until all is here, if every source that is well goes on
	tally   tally
	waiting discovery.Reason
	hunger  hunger

	out, spare effects
}

// newCore returns a core for the chunks of a content, of which nothing is here.
// resume tells what is.
func newCore(r rules, chunks []content.Chunk) *core {
	c := &core{
		rules: r, order: newOrder(r.content, r.seed, chunks),
		under: map[int]*underway{}, byID: map[sourceID]*source{}, byPeer: map[peer.ID]*source{},
		records: map[peer.ID]record{}, requests: map[requestID]*request{},
	}
	for i, ch := range chunks {
		c.order.chunks[i].missing = ch.Size
		c.tally.total += int64(ch.Size)
	}
	c.tally.missing = c.tally.total
	c.order.bare = len(chunks)
	c.share.mine, c.share.theirs = newBitset(len(chunks)), newBitset(len(chunks))
	return c
}

// resume tells what is here of a chunk before anything happens: that its list is
// known and has so many blocks, which of them are verified, and the bytes that
// are missing.
func (c *core) resume(i int, blocks uint8, verified uint64, missing uint32) {
	ch := &c.order.chunks[i]
	here := int64(ch.missing - missing)
	c.tally.missing -= here
	c.tally.resumed += here
	ch.blocks, ch.verified, ch.missing = blocks, verified, missing
	if ch.done() {
		c.order.bare--
	}
}

// step tells the core what happened.
func (c *core) step(now time.Time, ev event) {
	switch ev := ev.(type) {
	case joined:
		c.join(now, ev)
	case left:
		if s := c.byID[ev.Source]; s != nil {
			c.leave(now, s)
		}
	case have:
		if s := c.byID[ev.Source]; s != nil {
			c.claim(s, ev.Chunks)
		}
	case list:
		c.listed(now, ev)
	case arrived:
		c.arrive(now, ev)
	case judged:
		c.judge(now, ev)
	case ended:
		c.end(now, ev)
	case prefer:
		c.prefer(now, ev.Reader, ev.Chunks)
		c.choose(now)
	case seated:
		c.beShared(now)
	case unseated:
		c.beAlone(now)
	case crewed:
		if ev.Carrier && !c.share.carrier {
			c.share.crossed = now
		}
		c.share.carrier, c.share.found = ev.Carrier, ev.Found
	case answered:
		c.answer(now, ev)
	case freed:
		c.free(ev.Chunks)
	case revoked:
		c.revoke(now, ev.Chunks)
	case tick:
		c.tick(now)
	}
}

// ready returns what to do now. The answer is valid until the next call.
func (c *core) ready(now time.Time) effects {
	if c.tally.missing == 0 {
		if !c.tally.finished {
			c.tally.finished = true
			c.decide(now, NoChunk, "", Finish, discovery.Delivered)
		}
		c.out.done = true
	} else {
		c.dispatch(now)
		c.propose(now)
		c.wait(now)
	}
	out := c.out
	c.out, c.spare = c.spare, out
	c.out.reset()
	return out
}

func (c *core) decide(now time.Time, chunk int, p peer.ID, v Verb, why discovery.Reason) {
	var l bandwidth.Link
	if s := c.byPeer[p]; s != nil {
		l = s.link
	}
	c.decideOf(now, chunk, p, l, v, why)
}

// decideOf is decide for a peer that may have left.
func (c *core) decideOf(now time.Time, chunk int, p peer.ID, l bandwidth.Link, v Verb, why discovery.Reason) {
	c.out.decisions = append(c.out.decisions, Decision{now, c.content, chunk, p, v, why, l})
}

func (c *core) join(now time.Time, ev joined) {
	if old := c.byPeer[ev.Peer]; old != nil {
		c.leave(now, old) // its end is on the way to us
	}
	s := newSource(ev, len(c.order.chunks))
	s.joined, s.sparing, s.last, s.site = now, c.shares && !s.near(), ev.Last, ev.Site
	s.lot = c.draw(s.peer)
	c.recall(s, ev.Banned)
	c.sources = append(c.sources, s)
	c.byID[s.id], c.byPeer[s.peer] = s, s
	c.choose(now)
	c.decide(now, NoChunk, s.peer, Join, discovery.Unknown)
}

func (c *core) leave(now time.Time, s *source) {
	s.gone = true
	c.dropAll(now, s, false)
	c.disown(s)
	c.remember(s)
	delete(c.byID, s.id)
	delete(c.byPeer, s.peer)
	c.sources = slices.DeleteFunc(c.sources, func(o *source) bool { return o == s })
	c.choose(now)
	c.decideOf(now, NoChunk, s.peer, s.link, Leave, discovery.Left)
}

// claim takes the map of what a source has.
func (c *core) claim(s *source, chunks *roaring.Bitmap) {
	fresh, lost := roaring.AndNot(chunks, s.claimed), roaring.AndNot(s.claimed, chunks)
	s.claimed, s.told = chunks, true
	for i := range roaring.Values(lost) {
		s.denied.Remove(i)
		c.unhold(s, i)
	}
	if s.banned.IsZero() {
		fresh.AndNot(s.denied)
		c.own(s, fresh)
	}
}

// own lets the chunks count as held by s.
func (c *core) own(s *source, chunks *roaring.Bitmap) {
	for i := range roaring.Values(chunks) {
		if int64(i) >= int64(len(c.order.chunks)) {
			return // claims what the content doesn't have
		}
		if !s.held.set(c.order.place[i]) {
			continue
		}
		ch := &c.order.chunks[i]
		ch.holders++
		if s.near() {
			ch.near++
		}
		if ch.holders == 1 && !ch.done() {
			c.order.bare--
		}
		c.settle(int(i))
	}
	s.dry = 0
}

// disown lets nothing count as held by s.
func (c *core) disown(s *source) {
	for i := range roaring.Values(s.claimed) {
		c.unhold(s, i)
	}
}

func (c *core) unhold(s *source, i uint32) {
	if int64(i) >= int64(len(c.order.chunks)) || !s.held.clear(c.order.place[i]) {
		return
	}
	ch := &c.order.chunks[i]
	ch.holders--
	if s.near() {
		ch.near--
	}
	if ch.holders == 0 && !ch.done() {
		c.order.bare++
	}
	c.settle(int(i))
}

// settle puts a chunk into the level where it belongs.
func (c *core) settle(i int) { c.order.move(i, c.level(i)) }

func (c *core) level(i int) int8 {
	ch, w := &c.order.chunks[i], c.under[i]
	switch {
	case ch.done() || ch.holders == 0:
		return noLevel
	case w == nil && ch.verified == 0:
		return int8(min(ch.holders, rarest))
	case w == nil || len(w.open) == 0 && ch.wanted()&^w.unjudged != 0:
		return levelBegun
	case w.parts && len(w.open) < maxParts && ch.wanted()&^w.unjudged&^w.asked() != 0:
		return levelBegun // a part of it ended early
	case len(w.open) == 1 && w.open[0].late != discovery.Unknown && ch.wanted()&^w.unjudged != 0:
		return levelBegun // it is late with something that hasn't come from elsewhere
	}
	return noLevel
}

// listed: the block list of a chunk came.
func (c *core) listed(now time.Time, ev list) {
	s, r := c.byID[ev.Source], c.requests[ev.Request]
	if s != nil {
		s.frame(r, now, 0)
	}
	if ev.Bad {
		if r != nil {
			c.drop(now, r, discovery.BadBytes)
			c.settle(ev.Chunk)
		}
		if s != nil {
			c.blame(now, s.peer, ev.Chunk)
		}
		return
	}
	ch := &c.order.chunks[ev.Chunk]
	ch.blocks = ev.Blocks
	if w := c.under[ev.Chunk]; w != nil {
		for _, r := range w.open {
			r.want &= allBlocks(ev.Blocks)
		}
	}
}

// arrive: a block came, of a request that may be over by now.
func (c *core) arrive(now time.Time, ev arrived) {
	bit, bytes := uint64(1)<<ev.Block, int64(ev.Bytes)
	if s := c.byID[ev.Source]; s != nil {
		s.frame(c.requests[ev.Request], now, bytes)
		s.unjudged += bytes
	}
	w := c.under[ev.Chunk]
	if w == nil {
		w = &underway{}
		c.under[ev.Chunk] = w
	}
	if w.unjudged&bit == 0 {
		w.unjudged |= bit
		w.bytes += bytes
	}
	if r := c.requests[ev.Request]; r != nil {
		r.got |= bit & r.want
		less := min(bytes, r.left)
		r.left -= less
		r.source.left -= less
		c.progress(now, r, w)
	}
	c.settle(ev.Chunk)
}

// judge: a worker looked at a block.
func (c *core) judge(now time.Time, ev judged) {
	bit, bytes := uint64(1)<<ev.Block, int64(ev.Bytes)
	s := c.byID[ev.Source]
	if s != nil {
		s.unjudged = max(s.unjudged-bytes, 0)
		s.heard = now
	}
	if w := c.under[ev.Chunk]; w != nil && w.unjudged&bit != 0 {
		w.unjudged &^= bit
		w.bytes = max(w.bytes-bytes, 0)
	}
	ch := &c.order.chunks[ev.Chunk]
	fresh := ev.Verdict != Corrupt && ch.verified&bit == 0 && !ch.done()
	c.tally.count(now, ev.Peer, ev.Link, ev.Verdict, bytes)
	if fresh {
		ch.verified |= bit
		here := min(ev.Bytes, ch.missing)
		if ch.blocks != 0 && ch.wanted() == 0 {
			here = ch.missing
		}
		ch.missing -= here
		c.tally.missing -= int64(here)
		c.share.eat(now, ev.Link == bandwidth.LAN)
		if s != nil {
			s.failures, s.resting = 0, time.Time{}
		}
		if ch.done() {
			c.got(now, ev)
		}
	}
	if ev.Verdict == Corrupt {
		c.blame(now, ev.Peer, ev.Chunk)
	}
	c.tidy(ev.Chunk)
	c.settle(ev.Chunk)
}

// got: the last block of a chunk is here.
func (c *core) got(now time.Time, ev judged) {
	if c.order.chunks[ev.Chunk].holders == 0 {
		c.order.bare--
	}
	c.order.unprefer(ev.Chunk)
	c.share.lose(c.order, ev.Chunk)
	c.out.gained = append(c.out.gained, ev.Chunk)
	c.decideOf(now, ev.Chunk, ev.Peer, ev.Link, Got, discovery.Delivered)
	if w := c.under[ev.Chunk]; w != nil {
		for len(w.open) > 0 {
			c.drop(now, w.open[0], discovery.Delivered)
		}
	}
}

// end: a source says that a request is over. It is news only if it didn't send
// everything.
func (c *core) end(now time.Time, ev ended) {
	r := c.requests[ev.Request]
	if r == nil {
		return
	}
	s := r.source
	c.forget(r)
	switch ev.Outcome {
	case Gone:
		s.gone = true // left follows
	case Busy:
		if !c.elsewhere(now, s, r.chunk) {
			c.pause(now, s, r.chunk, minRest, discovery.QueueFull)
		}
	case Refused:
		if s.claimed.Contains(uint32(r.chunk)) {
			s.denied.Add(uint32(r.chunk))
		}
		c.unhold(s, uint32(r.chunk))
		c.fail(now, s, r.chunk, discovery.Refused)
	default: // sent, and yet not all of it is here; or broken off
		c.fail(now, s, r.chunk, discovery.Refused)
	}
	c.settle(r.chunk)
}

// drop ends a request early and tells its source.
func (c *core) drop(now time.Time, r *request, why discovery.Reason) {
	c.forget(r)
	c.out.cancels = append(c.out.cancels, cancel{r.source.id, r.id, 0})
	c.decide(now, r.chunk, r.source.peer, Cancel, why)
}

// dropAll ends everything that is asked of s.
func (c *core) dropAll(now time.Time, s *source, tell bool) {
	for len(s.open) > 0 {
		r := s.open[0]
		if tell {
			c.drop(now, r, discovery.IsBanned)
		} else {
			c.forget(r)
		}
		c.settle(r.chunk)
	}
}

// forget takes a request off all lists.
func (c *core) forget(r *request) {
	delete(c.requests, r.id)
	r.source.remove(r)
	if w := c.under[r.chunk]; w != nil {
		w.open = slices.DeleteFunc(w.open, func(o *request) bool { return o == r })
		w.parts = w.parts && len(w.open) > 0
		c.tidy(r.chunk)
	}
}

// tidy forgets a chunk with nothing under way.
func (c *core) tidy(i int) {
	if w := c.under[i]; w != nil && len(w.open) == 0 && w.unjudged == 0 {
		delete(c.under, i)
	}
}

// tick: what waits for its time is looked at.
func (c *core) tick(now time.Time) {
	for _, s := range c.sources {
		if !s.banned.IsZero() && !now.Before(s.banned) {
			s.banned, s.bad = time.Time{}, 0
			c.own(s, s.claimed)
		}
		if !s.denied.IsEmpty() && s.banned.IsZero() && !now.Before(s.resting) && !now.Before(s.later) {
			again := s.denied
			s.denied = roaring.New()
			c.own(s, again)
		}
	}
	for _, s := range c.sources {
		for i := range s.passes {
			if !s.leaves(i, now) {
				delete(s.passes, i)
			}
		}
	}
	c.watch(now)
	c.choose(now)
	c.giveBack()
	c.share.turns++
	for _, s := range c.sources {
		s.dry = 0 // what was too slow for it may not be any more
	}
}

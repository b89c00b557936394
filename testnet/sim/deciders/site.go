package deciders

import (
	"math/bits"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// start: a node begins to want the content, or comes back with what it had.
func (s *sim) start(n int32) {
	x := &s.nodes[n]
	if x.on {
		return
	}
	x.on, x.wished = true, true
	for c := range s.plan.Chunks {
		if s.Has(n, c) == s.plan.allBlocks() {
			s.hold(n, c)
		}
	}
	s.announce(n)
	s.tell(n, Event{Kind: Start, Chunks: s.chunks(n)})
	s.join(n, Publisher)
	if s.sites[x.site].full {
		s.eachNear(n, func(o int32) { s.join(n, o); s.join(o, n) })
	} else {
		s.tell(n, Event{Kind: Join, Source: Neighbours, Chunks: s.sites[x.site].union.Clone()})
	}
	for _, o := range x.sources {
		s.join(n, o)
	}
	for _, o := range x.readers {
		s.join(o, n)
	}
	if n == Publisher {
		for o := range s.nodes {
			s.join(int32(o), Publisher)
		}
	}
}

// join tells a node that it can ask another one.
func (s *sim) join(n, src int32) {
	if x := &s.nodes[n]; n == src || !x.on || x.missing == 0 || !s.nodes[src].on {
		return
	}
	s.tell(n, Event{Kind: Join, Far: s.nodes[n].site != s.nodes[src].site, Source: src, Chunks: s.chunks(src)})
}

// off: a node goes off.
func (s *sim) off(n int32) {
	x := &s.nodes[n]
	if !x.on {
		return
	}
	x.on = false
	for i := len(x.conns) - 1; i >= 0; i-- { // stop may take the last one's place
		if c := x.conns[i] / 2; !s.conns.all[c].broken {
			s.stop(c)
		}
	}
	for c, hs := range s.sites[x.site].holders {
		if i := slices.Index(hs, n); i >= 0 {
			s.sites[x.site].holders[c] = slices.Delete(hs, i, i+1)
			if len(hs) == 1 {
				s.sites[x.site].union.Remove(uint32(c))
				s.sites[x.site].changed = true
			}
		}
	}
	s.announce(n)
	s.tell(n, Event{Kind: Stop})
	leave := Event{Kind: Leave, Source: n}
	if s.sites[x.site].full {
		s.eachNear(n, func(o int32) { s.tell(o, leave) })
	}
	leave.Far = true
	for _, o := range x.readers {
		s.tell(o, leave)
	}
	if n == Publisher {
		for o := range s.nodes {
			s.tell(int32(o), leave)
		}
	}
}

// meet draws k nodes for node n to know: as many of them as are of other sites and
// new to it are.
func (s *sim) meet(n int32, k int) {
	if len(s.sites) == 2 || n == Publisher {
		return // there are none
	}
	x := &s.nodes[n]
	for ; k > 0; k-- {
		o := 1 + int32(s.rng.IntN(len(s.nodes)-1))
		if s.nodes[o].site == x.site || slices.Contains(x.sources, o) {
			continue
		}
		x.sources = append(x.sources, o)
		s.nodes[o].readers = append(s.nodes[o].readers, n)
	}
}

// eachNear calls f for every neighbour that a node knows: those next to it in the
// order of the site, so that all know equally many and knowing is mutual.
func (s *sim) eachNear(n int32, f func(int32)) {
	order := s.sites[s.nodes[n].site].order
	at, size := slices.Index(order, n), len(order)
	if s.plan.Near >= size-1 {
		for _, o := range order {
			if o != n {
				f(o)
			}
		}
		return
	}
	for d := 1; d <= s.plan.Near/2; d++ {
		f(order[(at+d)%size])
		f(order[(at-d+size)%size])
	}
}

// complete: a chunk is whole at a node.
func (s *sim) complete(n int32, chunk int) {
	x := &s.nodes[n]
	s.hold(n, chunk)
	if x.missing--; x.missing == 0 {
		x.done = s.now
		s.unfinished--
	}
	s.announce(n)
}

// hold lets a node, which is on, count among those that have a chunk.
func (s *sim) hold(n int32, chunk int) {
	at := &s.sites[s.nodes[n].site]
	s.whole[n].set(chunk)
	at.holders[chunk] = append(at.holders[chunk], n)
	if len(at.holders[chunk]) == 1 {
		at.union.Add(uint32(chunk))
		at.changed = true
	}
}

// announce lets all who want to know be told what has changed at a node.
func (s *sim) announce(n int32) {
	x := &s.nodes[n]
	at := &s.sites[x.site]
	if !at.full && at.changed && !at.telling {
		at.telling = true
		s.heap.push(s.now+s.plan.Spread, tellSite, x.site, 0)
	}
	if x.on && !x.telling && (at.full || len(x.readers) > 0) {
		x.telling = true
		s.heap.push(s.now+s.plan.Spread, tellNear, n, 0)
	}
}

func (s *sim) tellSite(i int32) {
	at, in := &s.sites[i], s.plan.Sites[i]
	at.telling, at.changed = false, false
	ev := Event{Kind: Have, Source: Neighbours, Chunks: at.union.Clone()}
	for n := in.First; n < in.First+in.Nodes; n++ {
		s.tell(n, ev)
	}
}

func (s *sim) tellNear(n int32) {
	x := &s.nodes[n]
	x.telling = false
	if !x.on {
		return
	}
	if s.sites[x.site].full {
		ev := Event{Kind: Have, Source: n, Chunks: s.chunks(n)}
		s.eachNear(n, func(o int32) { s.tell(o, ev) })
	}
	var far time.Duration
	for _, o := range x.readers {
		if r := &s.nodes[o]; r.on && r.missing > 0 {
			far = max(far, s.roundTrip(n, o)/2)
		}
	}
	if far > 0 {
		s.heap.push(s.now+far, tellFar, n, 0)
	}
}

// tellFar tells those in other sites what a node has, but who has all that is new
// himself: to him it makes no difference, and most of what happens at 100,000 nodes
// is of this kind.
func (s *sim) tellFar(n int32) {
	x := &s.nodes[n]
	if !x.on {
		return
	}
	ev := Event{Kind: Have, Far: true, Source: n, Chunks: s.chunks(n)}
	for _, o := range x.readers {
		news := uint64(0)
		for w, word := range s.whole[n] {
			news |= word &^ s.told[n][w] &^ s.whole[o][w]
		}
		if news != 0 {
			s.tell(o, ev)
		}
	}
	copy(s.told[n], s.whole[n])
}

// chunks returns the map of what a node has.
func (s *sim) chunks(n int32) *roaring.Bitmap {
	x := &s.nodes[n]
	if x.missing == 0 {
		return s.all
	}
	m := roaring.New()
	if int(x.missing) == s.plan.Chunks {
		return m
	}
	for w, word := range s.whole[n] {
		for ; word != 0; word &= word - 1 {
			m.Add(uint32(w*64 + bits.TrailingZeros64(word)))
		}
	}
	return m
}

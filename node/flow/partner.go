package flow

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Partners
//
// Of the sources at other sites that a carrier knows it asks a few, its partners, drawn
// by lot. When a content begins to go round, few sites have any of it. If all the others
// know of all they have, all ask the same few at once, for the chunks that are rarest
// everywhere: each waits behind a hundred others, while the links of those that got a
// chunk meanwhile have nothing to do. Whoever looks at few asks few, others ask others,
// and what a site sends at a time goes to a handful and is there soon, to be passed on.
// In a simulation of 100 sites that know 48 nodes elsewhere all had a content of 100
// chunks after 1.3 times as long as their links need, and after 2.4 times if they asked
// all of them (testnet/sim/deciders).

const (
	// usualPartners is how many partners a carrier has. A site has three carriers: fewer
	// partners, and some sites have none but those that everybody asks.
	usualPartners = 3
	// lastPartners is how many it has when all but lastShare of the content is here:
	// then there are many who have what it lacks.
	lastPartners = 6
	lastShare    = 0.1
	// mostBehind bounds how many more it has while its site has less than those that it
	// knows: one for each hundredth of the content. Links are shared by those that ask, so
	// sites would differ by a quarter in what they get, and all wait for the last.
	mostBehind = 6
	// morePartners is how long nothing may come from other sites until there is one
	// partner more: those it has may have nothing that it lacks.
	morePartners = time.Second
)

// draw returns the lot of a source.
func (c *core) draw(p peer.ID) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, c.seed))
	_, _ = h.Write([]byte(p))
	// The last bytes hardly move the high bits: the finalizer of splitmix64 does
	// (Steele, Lea, Flood, OOPSLA 2014).
	z := h.Sum64()
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// choose says who are partners: of the sources at other sites those with the least lots,
// those that are well before the others, and whoever owes something. Whoever publishes for
// all is none, and is asked beside them. While somebody reads, all are: he can't wait for
// what only others have.
func (c *core) choose(now time.Time) {
	if !c.shares {
		return
	}
	h := &c.share
	if h.carrier && now.Sub(h.crossed) > morePartners {
		h.crossed = now
		h.more++
	}
	most := usualPartners + h.more + c.behind()
	if float64(c.tally.missing) <= lastShare*float64(c.tally.total) {
		most = max(most, lastPartners)
	}
	var far []*source
	for _, s := range c.sources {
		s.partner = s.sparing && !s.last && len(s.open) > 0
		if s.sparing && !s.last {
			far = append(far, s)
		}
	}
	if len(c.order.first) == 0 && len(far) > most {
		slices.SortFunc(far, func(a, b *source) int {
			if well := a.well(now); well != b.well(now) {
				if well {
					return -1
				}
				return 1
			}
			return cmp.Compare(a.lot, b.lot)
		})
		far = far[:most]
	}
	for _, s := range far {
		s.partner = true
	}
}

// behind returns by how many hundredths of the content this site has less than the sources
// at other sites have on average, mostBehind at most.
func (c *core) behind() int {
	held, sources, here := 0, 0, 0
	for _, s := range c.sources {
		if s.sparing && !s.last {
			held += s.held.count
			sources++
		}
	}
	if sources == 0 {
		return 0
	}
	for i := range c.order.chunks {
		if ch := &c.order.chunks[i]; ch.near > 0 || ch.done() {
			here++
		}
	}
	less := float64(held)/float64(sources) - float64(here) - 1 // a chunk says nothing yet
	return min(max(int(100*less/float64(len(c.order.chunks))), 0), mostBehind)
}

// strange reports whether s, which is no partner, leaves a chunk to one.
func (c *core) strange(s *source, i int, now time.Time) bool {
	return s.sparing && !s.last && !s.partner && slices.ContainsFunc(c.sources, func(o *source) bool {
		return o.partner && o.well(now) && o.held.has(c.order.place[i])
	})
}

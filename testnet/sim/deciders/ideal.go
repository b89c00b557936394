package deciders

import (
	"errors"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// ideal knows all of every site at every moment, and brings each chunk to each site
// once. As a hub, the publisher sends all of it. As a mesh, the publisher sends
// each chunk once, and sites pass it on: whoever has room on its uplink sends the
// chunk that fewest sites have to somebody with room on its downlink. As a swarm,
// the publisher goes on sending like every site. Within a site every node asks its
// neighbours for what one of them has.
//
// It is a yardstick and no plan: nobody could know all this. It is greedy, too, so
// it isn't the least time; Bound is below it.
type ideal struct {
	world World
	rng   *rand.Rand
	mesh  bool // sites send, too
	once  bool // the publisher sends no chunk twice
	sites []idealSite
	nodes []idealNode
	has   []int32 // per chunk, how many sites have it or are being sent it
	out   []bool  // per chunk, that the publisher has sent it
	next  uint64
	// begun holds what crosses the WAN: the site that sends it.
	begun map[requestKey]int32
}

type idealSite struct {
	from     int     // the site after which it looks first for somebody to serve
	up, down int     // how many chunks more may be on its links
	has      bitmap  // chunks that a node of it has
	lacks    bitmap  // chunks that nobody brings it yet; empty until somebody wishes
	holder   []int32 // per chunk, the first node that had it
	members  []int32 // that wished
	carrier  int     // the member that brings the next chunk
}

type idealNode struct {
	lacks bitmap // chunks that it has neither asked for nor got
	open  int    // requests to neighbours
}

// idealOpen is how many chunks a node asks its neighbours for at once.
const idealOpen = 8

func newHub(w World) (Decider, error)   { return newIdeal(w, false, false) }
func newMesh(w World) (Decider, error)  { return newIdeal(w, true, true) }
func newSwarm(w World) (Decider, error) { return newIdeal(w, true, false) }

func newIdeal(w World, mesh, once bool) (Decider, error) {
	p := w.Plan()
	if len(p.Absent) > 0 {
		return nil, errors.New("an ideal is for nodes that stay: leave churn out")
	}
	d := &ideal{
		world: w, mesh: mesh, once: once, rng: rand.New(rand.NewPCG(p.Seed, 0x49444541)),
		sites: make([]idealSite, len(p.Sites)), nodes: make([]idealNode, len(p.Wish)),
		has: make([]int32, p.Chunks), out: make([]bool, p.Chunks), begun: map[requestKey]int32{},
	}
	var far time.Duration
	for _, s := range p.Sites {
		far = max(far, s.Delay)
	}
	// So much that a link never waits for a round trip, or for its neighbour.
	room := func(r bandwidth.Rate) int {
		return 2 + int(8*r.BytesPerSecond()*far.Seconds())/p.Chunk
	}
	for i := range d.sites {
		d.sites[i] = idealSite{
			from: i, up: room(p.Sites[i].Up), down: room(p.Sites[i].Down),
			has: newBitmap(p.Chunks, i == 0), lacks: newBitmap(p.Chunks, false), holder: make([]int32, p.Chunks),
		}
	}
	for c := range d.has {
		d.has[c] = 1
	}
	return d, nil
}

// Told implements Decider.
func (d *ideal) Told(_ time.Duration, n int32, ev Event, do *Orders) {
	i := d.world.SiteOf(n)
	switch s := &d.sites[i]; ev.Kind {
	case Start:
		if n == Publisher {
			return
		}
		if len(s.members) == 0 {
			s.lacks = newBitmap(len(d.has), true)
		}
		s.members = append(s.members, n)
		d.nodes[n].lacks = newBitmap(len(d.has), true)
		d.spread(n, do)
		d.fill(i, do)
	case Have:
		d.spread(n, do)
	case Refuse:
		d.nodes[n].open--
		d.nodes[n].lacks.set(int(ev.Chunk))
	case Block:
		if d.world.Has(n, int(ev.Chunk)) != d.world.Plan().allBlocks() {
			return
		}
		if ev.Source == Neighbours {
			d.nodes[n].open--
			d.spread(n, do)
			return
		}
		d.brought(i, n, ev, do)
	}
}

// brought: a chunk has come to a site.
func (d *ideal) brought(i, n int32, ev Event, do *Orders) {
	s, key := &d.sites[i], requestKey{n, ev.Request}
	from := d.begun[key]
	delete(d.begun, key)
	s.has.set(int(ev.Chunk))
	s.holder[ev.Chunk] = n
	s.down++
	d.sites[from].up++
	d.serve(from, do)
	d.serve(i, do)
	d.fill(i, do)
}

// fill finds somebody who sends to site i, while it has room.
func (d *ideal) fill(i int32, do *Orders) {
	for d.sites[i].down > 0 && d.sites[i].lacks.any() && d.from(i, do) {
	}
}

func (d *ideal) from(i int32, do *Orders) bool {
	if d.sites[0].up > 0 && d.send(0, i, do) {
		return true
	}
	if !d.mesh {
		return false
	}
	at := d.rng.IntN(len(d.sites))
	for k := range d.sites {
		if o := (at + k) % len(d.sites); o != 0 && o != int(i) && d.sites[o].up > 0 && d.send(int32(o), i, do) {
			return true
		}
	}
	return false
}

// serve finds somebody to whom site i sends, while it has room.
func (d *ideal) serve(i int32, do *Orders) {
	if i != 0 && !d.mesh {
		return
	}
	s := &d.sites[i]
	for k := 0; k < len(d.sites) && s.up > 0; k++ {
		s.from = (s.from + 1) % len(d.sites)
		if o := s.from; o != 0 && o != int(i) && d.sites[o].down > 0 {
			if d.send(i, int32(o), do) {
				k = -1
			}
		}
	}
}

// send lets one site send a chunk to another, the one that fewest sites have;
// false if it has none to send.
func (d *ideal) send(from, to int32, do *Orders) bool {
	a, b := &d.sites[from], &d.sites[to]
	best := -1
	for w := range a.has {
		for m := a.has[w] & b.lacks[w]; m != 0; m &= m - 1 {
			c := w*64 + bits.TrailingZeros64(m)
			if from == 0 && d.once && d.out[c] {
				continue
			}
			if best < 0 || d.has[c] < d.has[best] {
				best = c
			}
		}
	}
	if best < 0 {
		return false
	}
	if from == 0 {
		d.out[best] = true
	}
	d.has[best]++
	b.lacks.clear(best)
	a.up--
	b.down--
	n := b.members[b.carrier%len(b.members)]
	for range b.members { // one that doesn't bring it already
		if d.nodes[n].lacks.has(best) {
			break
		}
		b.carrier++
		n = b.members[b.carrier%len(b.members)]
	}
	b.carrier++
	d.nodes[n].lacks.clear(best)
	d.next++
	d.begun[requestKey{n, d.next}] = from
	do.Asks = append(do.Asks, Ask{n, a.holder[best], int32(best), d.world.Plan().allBlocks(), d.next})
	return true
}

// spread lets a node ask its neighbours for what they have.
func (d *ideal) spread(n int32, do *Orders) {
	x, s := &d.nodes[n], &d.sites[d.world.SiteOf(n)]
	words := len(s.has)
	at := int(n) % words // each begins elsewhere, lest all want the same first
	for k := 0; k < words && x.open < idealOpen; k++ {
		w := (at + k) % words
		for x.open < idealOpen {
			m := s.has[w] & x.lacks[w]
			if m == 0 {
				break
			}
			turn := int(n) % 64
			c := w*64 + (bits.TrailingZeros64(bits.RotateLeft64(m, -turn))+turn)%64
			x.lacks.clear(c)
			x.open++
			d.next++
			do.Asks = append(do.Asks, Ask{n, Neighbours, int32(c), d.world.Plan().allBlocks(), d.next})
		}
	}
}

// A bitmap is a set of chunks.
type bitmap []uint64

func newBitmap(n int, full bool) bitmap {
	b := make(bitmap, (n+63)/64)
	for c := 0; full && c < n; c++ {
		b.set(c)
	}
	return b
}

func (b bitmap) has(c int) bool { return b[c/64]&(1<<(c%64)) != 0 }
func (b bitmap) set(c int)      { b[c/64] |= 1 << (c % 64) }
func (b bitmap) clear(c int)    { b[c/64] &^= 1 << (c % 64) }
func (b bitmap) any() bool {
	for _, w := range b {
		if w != 0 {
			return true
		}
	}
	return false
}

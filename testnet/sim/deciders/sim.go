package deciders

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// What a moment is about, and what its a and b are.
type what uint8

const (
	wish      what = iota + 1 // node: wants the content, or comes back
	off                       // node: goes off
	asked                     // request: reaches its source
	cancelled                 // request: its source hears that it needn't go on
	served                    // link, connection: a block was carried
	tellSite                  // site: its nodes hear what their neighbours have
	tellNear                  // node: its neighbours hear what it has
	tellFar                   // node: those in other sites do
	look                      // node: its lookup is answered
	look4late                 // site: its nodes' deciders look at what is late
)

// lookup is what it takes to find a source that wasn't known: a search in the DHT
// and a dial, a few round trips.
const lookup = 500 * time.Millisecond

type node struct {
	site    int32
	on      bool
	wished  bool
	telling bool    // a map of it is about to be told
	missing int32   // chunks
	conns   []int32 // twice the number of each, and 1 if the node is its end
	backlog int64   // blocks that it was asked for and didn't send
	sources []int32 // in other sites
	readers []int32 // nodes whose source it is
	done    time.Duration
}

type site struct {
	full    bool
	telling bool
	changed bool            // union, since it was told
	order   []int32         // its nodes in the order in which they know each other, if full
	holders [][]int32       // per chunk, nodes that are on and have it
	union   *roaring.Bitmap // chunks that somebody has
	tick    time.Duration
}

type requestKey struct {
	node    int32
	request uint64
}

// A sim is a run.
type sim struct {
	plan    *Plan
	decider Decider
	rng     *rand.Rand
	now     time.Duration
	heap    heap
	window  int // blocks that a connection may have in flight

	nodes     []node
	sites     []site
	has       []uint64 // per node and chunk, a bit per block
	whole     []bitmap // per node, chunks
	told      []bitmap // per node, of these, what those in other sites know
	links     []link
	uploads   []upload
	conns     pool[conn]
	byEnds    map[uint64]int32
	requests  pool[request]
	byRequest map[requestKey]int32
	all       *roaring.Bitmap

	unfinished int
	orders     Orders
	tally      Tally
}

// Run plays the plan to a decider of the policy.
func Run(p *Plan, policy Policy) (*Result, error) {
	s, err := newSim(p, policy)
	if err != nil {
		return nil, err
	}
	s.run()
	return s.result(), nil
}

func newSim(p *Plan, policy Policy) (*sim, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	s := &sim{
		plan: p, rng: rand.New(rand.NewPCG(p.Seed, 0x53494d)),
		window: max(2, p.Flight/p.block()),
		nodes:  make([]node, len(p.Wish)), sites: make([]site, len(p.Sites)), uploads: make([]upload, len(p.Wish)),
		has:    make([]uint64, len(p.Wish)*p.Chunks),
		byEnds: map[uint64]int32{}, byRequest: map[requestKey]int32{},
		all: roaring.New(), unfinished: len(p.Wish) - 1,
	}
	s.all.AddRange(0, uint64(p.Chunks))
	for range s.nodes {
		s.whole = append(s.whole, newBitmap(p.Chunks, false))
		s.told = append(s.told, newBitmap(p.Chunks, false))
		s.links = append(s.links, newLink(p.Port, p.block(), false), newLink(p.Port, p.block(), true))
	}
	for i := range s.sites {
		s.links = append(s.links, newLink(p.Sites[i].Up, p.block(), false), newLink(p.Sites[i].Down, p.block(), true))
		s.found(int32(i))
	}
	for c := range p.Chunks {
		s.has[c] = p.allBlocks()
	}
	s.nodes[Publisher].missing = 0
	for n, at := range p.Wish {
		s.heap.push(at, wish, int32(n), 0)
		s.meet(int32(n), p.Far)
	}
	for _, a := range p.Absent {
		s.heap.push(a.From, off, a.Node, 0)
		s.heap.push(a.Until, wish, a.Node, 0)
	}
	var err error
	if s.decider, err = policy.New(s); err != nil {
		return nil, fmt.Errorf("policy %s: %w", policy.Name, err)
	}
	return s, nil
}

// found sets a site up.
func (s *sim) found(i int32) {
	at, in := &s.sites[i], s.plan.Sites[i]
	at.full = i > 0 && int(i) <= s.plan.Full
	at.union = roaring.New()
	at.holders = make([][]int32, s.plan.Chunks)
	at.tick = s.plan.Tick
	if at.full {
		at.tick = min(at.tick, 100*time.Millisecond)
	}
	for n := in.First; n < in.First+in.Nodes; n++ {
		s.nodes[n].site, s.nodes[n].missing = i, int32(s.plan.Chunks)
		at.order = append(at.order, n)
	}
	s.heap.push(time.Duration(s.rng.Int64N(int64(at.tick))), look4late, i, 0)
}

// Plan implements World.
func (s *sim) Plan() *Plan { return s.plan }

// SiteOf implements World.
func (s *sim) SiteOf(n int32) int32 { return s.nodes[n].site }

// Has implements World.
func (s *sim) Has(n int32, chunk int) uint64 { return s.has[int(n)*s.plan.Chunks+chunk] }

func (s *sim) run() {
	for s.unfinished > 0 && len(s.heap.moments) > 0 {
		m := s.heap.pop()
		if m.at > s.plan.Limit {
			return
		}
		s.now = m.at
		s.tally.Moments++
		s.do(m)
	}
}

func (s *sim) do(m moment) {
	switch m.what {
	case wish:
		s.start(m.a)
	case off:
		s.off(m.a)
	case asked:
		s.asked(m.a)
	case cancelled:
		q := &s.requests.all[m.a]
		if q.conn >= 0 {
			s.nodes[s.conns.all[q.conn].from].backlog -= int64(bits.OnesCount64(q.left))
		}
		q.left = 0
		s.unref(m.a)
	case served:
		s.serve(m.a, m.b)
	case tellSite:
		s.tellSite(m.a)
	case tellNear:
		s.tellNear(m.a)
	case tellFar:
		s.tellFar(m.a)
	case look:
		if s.nodes[m.a].on {
			known := len(s.nodes[m.a].sources)
			s.meet(m.a, min(s.plan.Far, 4*s.plan.Far-known))
			for _, src := range s.nodes[m.a].sources[known:] {
				s.join(m.a, src)
			}
		}
	case look4late:
		in := s.plan.Sites[m.a]
		for n := in.First; n < in.First+in.Nodes; n++ {
			s.tell(n, Event{Kind: Tick})
		}
		s.heap.push(s.now+s.sites[m.a].tick, look4late, m.a, 0)
	}
}

// tell tells a node's decider something, if the node is on and not done, and does
// what it wants done.
func (s *sim) tell(n int32, ev Event) {
	if x := &s.nodes[n]; !x.on && ev.Kind != Stop || x.missing == 0 && ev.Kind != Start && ev.Kind != Stop && ev.Kind != Block {
		return
	}
	s.orders.reset()
	s.tally.Told++
	s.decider.Told(s.now, n, ev, &s.orders)
	for _, c := range s.orders.Cancels {
		if r, ok := s.byRequest[requestKey{c.Node, c.Request}]; ok {
			s.narrow(r, c.Keep)
		}
	}
	for _, a := range s.orders.Asks {
		s.ask(a)
	}
	if s.orders.Need {
		s.heap.push(s.now+lookup, look, n, 0)
	}
}

func (s *sim) ask(a Ask) {
	r := s.requests.get()
	s.requests.all[r] = request{Ask: a, left: a.Want & s.plan.allBlocks(), conn: -1, refs: 1}
	s.byRequest[requestKey{a.Node, a.Request}] = r
	s.heap.push(s.now+s.roundTrip(a.Node, a.Source), asked, r, 0)
}

// narrow takes blocks off a request at once, unless none is left: that takes its time.
func (s *sim) narrow(r int32, keep uint64) {
	q := &s.requests.all[r]
	if keep == 0 {
		s.cancel(r)
		return
	}
	if q.conn >= 0 {
		s.nodes[s.conns.all[q.conn].from].backlog -= int64(bits.OnesCount64(q.left &^ keep))
	}
	q.left &= keep
}

func (s *sim) cancel(r int32) {
	s.over(r)
	q := &s.requests.all[r]
	q.refs++
	s.heap.push(s.now+s.roundTrip(q.Node, q.Source), cancelled, r, 0)
}

// roundTrip is what a request takes, the way back of its answer included: for
// blocks then only the time that links need is counted.
func (s *sim) roundTrip(a, b int32) time.Duration {
	if b == Neighbours || s.nodes[a].site == s.nodes[b].site {
		return 2 * s.plan.LANDelay
	}
	return 2 * (s.plan.Sites[s.nodes[a].site].Delay + s.plan.Sites[s.nodes[b].site].Delay)
}

// asked: a request reaches its source.
func (s *sim) asked(r int32) {
	q := &s.requests.all[r]
	if q.over || q.left == 0 || !s.nodes[q.Node].on {
		s.over(r)
		s.unref(r)
		return
	}
	src := q.Source
	if src == Neighbours {
		src = s.pick(s.nodes[q.Node].site, q.Node, int(q.Chunk))
	}
	if src < 0 || !s.nodes[src].on || s.Has(src, int(q.Chunk))&q.left != q.left {
		ev := Event{Kind: Refuse, Source: q.Source, Chunk: q.Chunk, Request: q.Request}
		n := q.Node
		s.over(r)
		s.unref(r)
		s.tally.Refused++
		s.tell(n, ev)
		return
	}
	q.conn = s.connect(src, q.Node)
	s.nodes[src].backlog += int64(bits.OnesCount64(q.left))
	x := &s.conns.all[q.conn]
	x.asked.push(r)
	s.line(q.conn)
	s.kick(x.links[0])
}

// pick returns who of a site sends a chunk to node n: the one with less to send of
// two that have it; -1 if nobody has.
func (s *sim) pick(i, n int32, chunk int) int32 {
	hs := s.sites[i].holders[chunk]
	if len(hs) == 0 {
		return -1
	}
	a, b := hs[s.rng.IntN(len(hs))], hs[s.rng.IntN(len(hs))]
	if s.nodes[b].backlog < s.nodes[a].backlog {
		a = b
	}
	if a == n {
		return -1
	}
	return a
}

// arrive: a block is here that somebody waits for.
func (s *sim) arrive(r int32, block uint8) {
	q := &s.requests.all[r]
	n := q.Node
	have := &s.has[int(n)*s.plan.Chunks+int(q.Chunk)]
	ev := Event{Kind: Block, Source: q.Source, Chunk: q.Chunk, Block: block, Request: q.Request}
	ev.Far = q.Source >= 0 && s.nodes[n].site != s.nodes[q.Source].site
	if bit := uint64(1) << block; *have&bit == 0 {
		*have |= bit
		ev.Fresh = true
		s.tally.Fresh++
	} else {
		s.tally.Again++
	}
	if q.left == 0 && q.flying == 0 {
		s.over(r)
	}
	if ev.Fresh && *have == s.plan.allBlocks() {
		s.complete(n, int(ev.Chunk))
	}
	s.tell(n, ev)
}

package deciders

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// Publisher is the node that has the content from the start. It lives in site 0,
// alone.
const Publisher = 0

// A Site is nodes on one LAN, behind one link.
type Site struct {
	Up, Down bandwidth.Rate
	Delay    time.Duration // one way to the middle of the WAN
	First    int32         // its nodes are First to First+Nodes-1
	Nodes    int32
}

// An Absence is a time in which a node is off. It comes back with what it had.
type Absence struct {
	Node        int32
	From, Until time.Duration
}

// A Plan is all that happens in a run by itself. Times count from its start.
type Plan struct {
	Seed   uint64
	Sites  []Site // the publisher's first
	Chunks int
	Chunk  int // bytes of a chunk
	Blocks int // of a chunk, 1 to 64: the unit that links carry

	Port     bandwidth.Rate // of every node, each way
	LANDelay time.Duration  // one way
	Spread   time.Duration  // least time between two maps of a node
	Flight   int            // bytes that a connection has on the way at most; two blocks at least

	Wish   []time.Duration // when each node begins to want the content
	Absent []Absence       // those of one node in order, none overlap

	Near int // neighbours of which a node knows, in sites that are Full
	Far  int // nodes of other sites that it is in touch with, beside the publisher
	Full int // so many sites, from site 1 on, have nodes that know each neighbour

	Tick  time.Duration // how often deciders look at what is late; 100 ms where Full
	Limit time.Duration // the run ends here at the latest
}

// A Shape is what a Plan is drawn from. Zero means the default.
type Shape struct {
	Seed   uint64
	Sites  int // beside the publisher's; default 50
	Nodes  int // of each; default 20
	Chunks int // of 1 MiB; default 100
	Blocks int // of a chunk; default 4
	Full   int // sites with each neighbour a source; default 0, -1: all

	Publisher bandwidth.Rate // uplink; default 1 Gbit/s
	Up, Down  bandwidth.Rate // of a site; default 50 and 100 Mbit/s
	// Mixed draws each site's rates between a quarter and four times Up and Down.
	Mixed bool
	// Over spreads the wishes evenly; default: all at once.
	Over time.Duration
	// Late is the share of nodes that wish only after LateBy.
	Late   float64
	LateBy time.Duration
	// Churn is the share of nodes that are off once, for a minute or so, in the
	// first five.
	Churn float64
	Far   int           // default 4
	Tick  time.Duration // default 100 ms
	Limit time.Duration // default 6 h
}

func (s Shape) withDefaults() Shape {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&s.Sites, 50)
	set(&s.Nodes, 20)
	set(&s.Chunks, 100)
	set(&s.Blocks, 4)
	set(&s.Far, 4)
	if s.Full < 0 {
		s.Full = s.Sites
	}
	rate := func(v *bandwidth.Rate, d bandwidth.Rate) {
		if *v == 0 {
			*v = d
		}
	}
	rate(&s.Publisher, bandwidth.GbitPerSecond)
	rate(&s.Up, 50*bandwidth.MbitPerSecond)
	rate(&s.Down, 100*bandwidth.MbitPerSecond)
	if s.Tick == 0 {
		s.Tick = 100 * time.Millisecond
	}
	if s.Limit == 0 {
		s.Limit = 6 * time.Hour
	}
	return s
}

// Plan draws the plan of a shape.
func (s Shape) Plan() *Plan {
	s = s.withDefaults()
	rng := rand.New(rand.NewPCG(s.Seed, 0x504c414e))
	p := &Plan{
		Seed: s.Seed, Chunks: s.Chunks, Chunk: 1 << 20, Blocks: s.Blocks,
		Port: bandwidth.GbitPerSecond, LANDelay: 250 * time.Microsecond,
		Spread: 20 * time.Millisecond, Flight: 512 << 10,
		Near: 56, Far: s.Far, Full: s.Full, Tick: s.Tick, Limit: s.Limit,
	}
	p.Sites = append(p.Sites, Site{Up: s.Publisher, Down: s.Publisher, Delay: 5 * time.Millisecond, Nodes: 1})
	for range s.Sites {
		times := 1.0
		if s.Mixed {
			times = math.Exp2(4*rng.Float64() - 2)
		}
		last := p.Sites[len(p.Sites)-1]
		p.Sites = append(p.Sites, Site{
			Up: bandwidth.Rate(times * float64(s.Up)), Down: bandwidth.Rate(times * float64(s.Down)),
			Delay: 5*time.Millisecond + time.Duration(rng.Int64N(int64(20*time.Millisecond))),
			First: last.First + last.Nodes, Nodes: int32(s.Nodes),
		})
	}
	p.Wish = make([]time.Duration, 1+s.Sites*s.Nodes)
	for n := 1; n < len(p.Wish); n++ {
		if s.Over > 0 {
			p.Wish[n] = time.Duration(rng.Int64N(int64(s.Over)))
		}
		if rng.Float64() < s.Late {
			p.Wish[n] += s.LateBy
		}
	}
	for n := 1; n < len(p.Wish); n++ {
		if rng.Float64() < s.Churn {
			from := p.Wish[n] + time.Duration(rng.Int64N(int64(5*time.Minute)))
			off := 30*time.Second + time.Duration(rng.Int64N(int64(time.Minute)))
			p.Absent = append(p.Absent, Absence{int32(n), from, from + off})
		}
	}
	return p
}

func (p *Plan) check() error {
	if len(p.Sites) < 2 || p.Sites[0].Nodes != 1 {
		return errors.New("plan: wants the publisher's site, with it alone, and others")
	}
	if p.Chunks < 1 || p.Blocks < 1 || p.Blocks > 64 || p.Chunk < p.Blocks {
		return fmt.Errorf("plan: %d chunks of %d bytes in %d blocks: wants 1 chunk or more, and 1 to 64 blocks", p.Chunks, p.Chunk, p.Blocks)
	}
	var next int32
	for i, s := range p.Sites {
		if s.First != next || s.Nodes < 1 || s.Up <= 0 || s.Down <= 0 || s.Delay < 0 {
			return fmt.Errorf("plan: site %d: wants nodes from %d on, and rates above 0", i, next)
		}
		next += s.Nodes
	}
	if len(p.Wish) != int(next) {
		return fmt.Errorf("plan: %d wishes of %d nodes", len(p.Wish), next)
	}
	if p.Port <= 0 || p.Tick <= 0 || p.Limit <= 0 {
		return errors.New("plan: Port, Tick and Limit are required")
	}
	until := make(map[int32]time.Duration, len(p.Absent)) // when a node is back the last time
	for _, a := range p.Absent {
		if a.Node < 0 || a.Node >= next {
			return fmt.Errorf("plan: node %d is absent, of %d", a.Node, next)
		}
		if a.From < p.Wish[a.Node] || a.Until <= a.From {
			return fmt.Errorf("plan: node %d is absent from %v until %v, and wishes at %v", a.Node, a.From, a.Until, p.Wish[a.Node])
		}
		if last, ok := until[a.Node]; ok && a.From <= last {
			return fmt.Errorf("plan: node %d is absent from %v, and was until %v: wants those of a node in order, and none that overlap", a.Node, a.From, last)
		}
		until[a.Node] = a.Until
	}
	return nil
}

// size is that of the content, in bytes.
func (p *Plan) size() int64 { return int64(p.Chunks) * int64(p.Chunk) }

// block is the size of a block.
func (p *Plan) block() int { return p.Chunk / p.Blocks }

// allBlocks has a bit for every block of a chunk.
func (p *Plan) allBlocks() uint64 { return ^uint64(0) >> (64 - p.Blocks) }

package deciders

import (
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery/rank"
	"github.com/p2pnode/p2pnode/node/carry"
	"github.com/p2pnode/p2pnode/node/flow"
)

// courtesy is for how long the publisher gives a chunk to one site only, from when it
// first gave it (exchange.Config.Courtesy). Nodes don't have it on yet.
const courtesy = 5 * time.Second

// carriers is what nodes do: the plan of each site (node/carry) says which member
// brings which chunk over the WAN, each member's flow (node/flow) what it could bring.
// What members and planner say to each other takes no time here; on a LAN it takes
// less than a millisecond. Only carriers know of other sites, as only they look.
type carriers struct {
	today
	sites []carrySite
	minds []carrier
	given []givenChunk // by the publisher
	queue []int32      // nodes of which something is to be told to the plan, or that were told
}

type carrySite struct {
	plan *carry.Plan
}

type carrier struct {
	joined bool                      // the plan
	far    map[int32]*roaring.Bitmap // sources in other sites, whether it looks at them or not
	looks  bool
	said   time.Duration // when it last told of progress
}

// A givenChunk is what the publisher remembers of a chunk.
type givenChunk struct {
	sites map[int32]struct{}
	first time.Duration
}

func newCarriers(w World) (Decider, error) {
	inner, err := newToday(w)
	if err != nil {
		return nil, err
	}
	c := &carriers{
		today: *inner.(*today), sites: make([]carrySite, len(w.Plan().Sites)), minds: make([]carrier, len(w.Plan().Wish)),
		given: make([]givenChunk, w.Plan().Chunks),
	}
	for i := range c.sites {
		c.sites[i].plan = carry.NewPlan()
	}
	return c, nil
}

// Told implements Decider.
func (c *carriers) Told(at time.Duration, n int32, ev Event, do *Orders) {
	m, x := &c.nodes[n], &c.minds[n]
	plan, now := c.sites[c.world.SiteOf(n)].plan, epoch.Add(at)
	switch ev.Kind {
	case Start:
		c.begin(n)
		if m.Decider == nil && n != Publisher { // it has all: known as one who does
			plan.Join(now, c.name(n), carry.Joining{Chunks: len(c.chunks), Has: ev.Chunks})
			plan.Done(now, c.name(n))
			x.joined = true
		}
	case Stop:
		m.Decider = nil
		if x.joined {
			plan.Leave(now, c.name(n))
		}
		*x = carrier{}
	case Join, Have, Leave:
		if !ev.Far {
			break
		}
		if ev.Kind == Leave {
			delete(x.far, ev.Source)
		} else if m.Decider != nil {
			if x.far == nil {
				x.far = make(map[int32]*roaring.Bitmap)
			}
			x.far[ev.Source] = ev.Chunks
		}
		if !x.looks {
			c.settle(at, n, do)
			return
		}
	}
	if m.Decider != nil && !x.joined {
		x.joined = true
		plan.Join(now, c.name(n), carry.Joining{Chunks: len(c.chunks), Willing: true, Has: ev.Chunks})
		m.Step(now, flow.Seated{})
	}
	if ev.Kind == Tick {
		plan.Tick(now)
	}
	if m.Decider != nil {
		c.step(now, n, ev)
	}
	c.queue = append(c.queue, n)
	c.settle(at, n, do)
}

// begin is today's start, with a flow that shares.
func (c *carriers) begin(n int32) {
	p, m := c.world.Plan(), &c.nodes[n]
	m.life++
	if n == Publisher {
		return
	}
	m.Decider = flow.NewDecider(flow.Rules{
		Content: content.ID{1}, Seed: p.Seed<<32 | uint64(n), Flying: flow.DefaultFlying, BanFor: flow.DefaultBanFor, Rank: rank.Rank, Shares: true,
	}, c.chunks)
	if c.resume(n) {
		m.Decider = nil
	}
}

// settle lets flows and plan answer each other until nobody has anything to say.
func (c *carriers) settle(at time.Duration, n int32, do *Orders) {
	now, site := epoch.Add(at), c.world.SiteOf(n)
	plan := c.sites[site].plan
	for {
		for len(c.queue) > 0 {
			n := c.queue[0]
			c.queue = c.queue[1:]
			c.ready(at, n, plan, do)
		}
		orders := plan.Ready()
		if len(orders) == 0 {
			return
		}
		for _, o := range orders {
			n := c.number(o.To)
			m := &c.nodes[n]
			if m.Decider == nil {
				continue
			}
			switch {
			case o.Crew != nil:
				m.Step(now, flow.Crewed{Carrier: o.Crew.Carrier, Found: o.Crew.Found})
				if x := &c.minds[n]; o.Crew.Carrier && !x.looks {
					x.looks = true
					for _, src := range slices.Sorted(maps.Keys(x.far)) {
						c.step(now, n, Event{Kind: Join, Far: true, Source: src, Chunks: x.far[src]})
					}
				}
			case o.Answer != nil:
				m.Step(now, flow.Answered{Granted: o.Answer.Granted, Taken: o.Answer.Taken})
			case o.Free != nil:
				m.Step(now, flow.Freed{Chunks: o.Free})
			case o.Revoke != nil:
				m.Step(now, flow.Revoked{Chunks: o.Revoke})
			default:
				continue
			}
			c.queue = append(c.queue, n)
		}
	}
}

// number is the reverse of name.
func (c *carriers) number(p peer.ID) (n int32) {
	for _, d := range []byte(p) {
		n = 10*n + int32(d-'0')
	}
	return n - 1
}

// ready does what a flow wants done.
func (c *carriers) ready(at time.Duration, n int32, plan *carry.Plan, do *Orders) {
	m, now, id := &c.nodes[n], epoch.Add(at), c.name(n)
	if m.Decider == nil {
		return
	}
	todo := m.Ready(now)
	for _, x := range todo.Cancels {
		do.Cancels = append(do.Cancels, Cancel{n, m.request(uint64(x.Request)), x.Keep})
	}
	for _, a := range todo.Asks {
		if source(a.Source) == Publisher && c.elsewhere(at, n, a.Chunk) {
			m.Step(now, flow.Ended{Source: a.Source, Request: a.Request, Outcome: flow.Busy})
			c.queue = append(c.queue, n)
			continue
		}
		do.Asks = append(do.Asks, Ask{n, source(a.Source), int32(a.Chunk), a.Want, m.request(uint64(a.Request))})
	}
	do.Need = do.Need || todo.Need && c.minds[n].looks
	if len(todo.Released) > 0 {
		plan.Release(now, id, slices.Clone(todo.Released))
	}
	if len(todo.Gained) > 0 {
		has := roaring.New()
		for _, i := range todo.Gained {
			has.Add(uint32(i))
		}
		plan.Has(now, id, has)
	}
	if x := &c.minds[n]; x.looks && at-x.said >= 250*time.Millisecond {
		x.said = at
		bytes, left := m.Progress()
		plan.Progress(now, id, bytes, left)
	}
	if p := todo.Proposal; p != nil {
		plan.Propose(now, id, p.N, p.Chunks, p.Insist)
	}
	if todo.Done {
		m.Decider = nil
		plan.Done(now, id)
	}
}

// elsewhere reports whether the publisher is too busy to give a chunk to node n, having
// given it to another site lately.
func (c *carriers) elsewhere(at time.Duration, n int32, chunk int) bool {
	g, site := &c.given[chunk], c.world.SiteOf(n)
	if _, again := g.sites[site]; again {
		return false
	}
	if len(g.sites) > 0 && at-g.first < courtesy {
		return true
	}
	if len(g.sites) == 0 {
		g.sites, g.first = make(map[int32]struct{}), at
	}
	g.sites[site] = struct{}{}
	return false
}

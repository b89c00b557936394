package deciders

import (
	"fmt"
	"strconv"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery/rank"
	"github.com/p2pnode/p2pnode/node/flow"
)

// epoch is when runs begin.
var epoch = time.Unix(1_800_000_000, 0)

// today has a flow's decider for each node that is on and not done.
type today struct {
	world  World
	chunks []content.Chunk
	names  []peer.ID
	nodes  []mind
}

type mind struct {
	*flow.Decider
	life uint64 // in the high bits of requests: a node that comes back counts anew
}

func newToday(w World) (Decider, error) {
	p := w.Plan()
	t := &today{world: w, chunks: make([]content.Chunk, p.Chunks), nodes: make([]mind, len(p.Wish))}
	for i := range t.chunks {
		t.chunks[i].Size = uint32(p.block() * p.Blocks)
	}
	for n := range int32(len(p.Wish)) + 1 {
		t.names = append(t.names, peer.ID(fmt.Sprintf("%07d", n)))
	}
	return t, nil
}

// A node's number as a source, and its name: Neighbours has the first.
func sourceID(n int32) flow.SourceID     { return flow.SourceID(n + 2) }
func (t *today) name(n int32) peer.ID    { return t.names[n+1] }
func source(id flow.SourceID) int32      { return int32(id) - 2 }
func (m *mind) request(id uint64) uint64 { return m.life<<40 | id }
func requestID(id uint64) flow.RequestID { return flow.RequestID(id & (1<<40 - 1)) }
func kind(far bool) (l bandwidth.Link) {
	if far {
		return bandwidth.WAN
	}
	return bandwidth.LAN
}

// siteName returns the name of the site of a source, as flows are told it.
func (t *today) siteName(n int32) string {
	if n == Neighbours {
		return ""
	}
	return strconv.Itoa(int(t.world.SiteOf(n)))
}

// Told implements Decider.
func (t *today) Told(at time.Duration, n int32, ev Event, do *Orders) {
	m, now := &t.nodes[n], epoch.Add(at)
	switch ev.Kind {
	case Start:
		t.start(n)
	case Stop:
		m.Decider = nil
	}
	if m.Decider == nil { // off, or done
		return
	}
	t.step(now, n, ev)
	todo := m.Ready(now)
	for _, c := range todo.Cancels {
		do.Cancels = append(do.Cancels, Cancel{n, m.request(uint64(c.Request)), c.Keep})
	}
	for _, a := range todo.Asks {
		do.Asks = append(do.Asks, Ask{n, source(a.Source), int32(a.Chunk), a.Want, m.request(uint64(a.Request))})
	}
	do.Need = do.Need || todo.Need
	if todo.Done {
		m.Decider = nil
	}
}

// step tells a node's flow what happened.
func (t *today) step(now time.Time, n int32, ev Event) {
	m, p := &t.nodes[n], t.world.Plan()
	switch ev.Kind {
	case Tick:
		m.Step(now, flow.Tick{})
	case Join:
		m.Step(now, flow.Joined{Source: sourceID(ev.Source), Peer: t.name(ev.Source), Link: kind(ev.Far), Last: ev.Source == Publisher, Site: t.siteName(ev.Source)})
		m.Step(now, flow.Have{Source: sourceID(ev.Source), Chunks: ev.Chunks})
	case Leave:
		m.Step(now, flow.Left{Source: sourceID(ev.Source)})
	case Have:
		m.Step(now, flow.Have{Source: sourceID(ev.Source), Chunks: ev.Chunks})
	case Refuse:
		m.Step(now, flow.Ended{Source: sourceID(ev.Source), Request: requestID(ev.Request), Outcome: flow.Refused})
	case Block:
		src, bytes := sourceID(ev.Source), uint32(p.block())
		m.Step(now, flow.Arrived{Source: src, Request: requestID(ev.Request), Chunk: int(ev.Chunk), Block: ev.Block, Bytes: bytes})
		v := flow.Verified
		if !ev.Fresh {
			v = flow.Duplicate
		}
		m.Step(now, flow.Judged{Source: src, Peer: t.name(ev.Source), Link: kind(ev.Far), Chunk: int(ev.Chunk), Block: ev.Block, Bytes: bytes, Verdict: v})
	}
}

// start makes a decider for a node, with what it has.
func (t *today) start(n int32) {
	p, m := t.world.Plan(), &t.nodes[n]
	m.life++
	if n == Publisher {
		return
	}
	m.Decider = flow.NewDecider(flow.Rules{
		Content: content.ID{1}, Seed: p.Seed<<32 | uint64(n), Flying: flow.DefaultFlying, BanFor: flow.DefaultBanFor, Rank: rank.Rank,
	}, t.chunks)
	if t.resume(n) {
		m.Decider = nil
	}
}

// resume tells a node's flow what it has; it reports whether that is all.
func (t *today) resume(n int32) bool {
	p, m, whole := t.world.Plan(), &t.nodes[n], true
	for c := range t.chunks {
		has, missing := t.world.Has(n, c), uint32(0)
		for b := range p.Blocks {
			if has&(1<<b) == 0 {
				missing += uint32(p.block())
			}
		}
		whole = whole && missing == 0
		m.Resume(c, uint8(p.Blocks), has, missing)
	}
	return whole
}

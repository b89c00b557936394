package node

import (
	"context"
	"slices"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/node/carry"
	"github.com/p2pnode/p2pnode/node/flow"
)

// A crewman is what a fetch is to its site: it takes what the planner says to the
// flow, and lets the scout look at other sites once it is to bring something.
type crewman struct {
	fetch *fetch
	seat  *carry.Seat
	meets chan []peer.ID // members of the site to get in touch with

	mu     sync.Mutex
	flow   *flow.Flow // nil until it begins
	seated bool
	alone  bool
	crew   carry.Crew
}

func newCrewman(f *fetch) *crewman {
	m := &crewman{fetch: f, meets: make(chan []peer.ID, 1)}
	m.seat = carry.NewSeat(carry.SeatConfig{
		Content: f.id, Site: plans{f.node}, Member: m, Joining: m.joining, Log: f.node.log.Named("carry"),
	})
	return m
}

// Run keeps the fetch in its site's plan until ctx ends.
func (m *crewman) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return m.seat.Run(ctx) })
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case ids := <-m.meets:
				m.dial(ctx, ids)
			}
		}
	})
	return g.Wait()
}

// dial gets in touch with members of the site; the scout sees whoever is connected.
func (m *crewman) dial(ctx context.Context, ids []peer.ID) {
	n := m.fetch.node
	var g errgroup.Group
	g.SetLimit(dialsAtOnce)
	for _, p := range ids {
		if n.host.Network().Connectedness(p) != network.Connected {
			g.Go(func() error { n.keeper.dial(ctx, n.keeper.lookup(p)); return nil })
		}
	}
	_ = g.Wait()
}

// joining says what is here.
func (m *crewman) joining() carry.Joining {
	j := carry.Joining{Willing: true, Reader: m.fetch.stream}
	select {
	case <-m.fetch.settled:
		c := m.fetch.target
		j.Chunks, j.Has = len(c.Manifest().Chunks), c.Have()
	default:
	}
	return j
}

// settled says how many chunks there are, now that the manifest is here.
func (m *crewman) settled() { m.seat.Chunks(len(m.fetch.target.Manifest().Chunks)) }

// begin has a flow told of what follows, and of what was said before.
func (m *crewman) begin(f *flow.Flow) {
	m.seat.Has(m.fetch.target.Have())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flow = f
	switch {
	case m.alone:
		f.Unseated()
	case m.seated:
		f.Crewed(m.crew.Carrier, m.crew.Found)
	}
}

// found reports whether some member of the site met a source.
func (m *crewman) found() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.crew.Found
}

// Seated implements carry.Member.
func (m *crewman) Seated() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seated, m.alone, m.crew = true, false, carry.Crew{Found: m.crew.Found}
	if m.flow != nil {
		m.flow.Seated()
	}
}

// Alone implements carry.Member.
func (m *crewman) Alone() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seated, m.alone, m.crew = false, true, carry.Crew{}
	m.fetch.scout.goFar()
	if m.flow != nil {
		m.flow.Unseated()
	}
}

// Crew implements carry.Member.
func (m *crewman) Crew(c carry.Crew) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crew = c
	if c.Carrier {
		m.fetch.scout.goFar()
	}
	if m.flow != nil {
		m.flow.Crewed(c.Carrier, c.Found)
	}
}

// Answered implements carry.Member.
func (m *crewman) Answered(granted, taken []int) {
	m.tell(func(f *flow.Flow) { f.Answered(granted, taken) })
}

// Freed implements carry.Member.
func (m *crewman) Freed(chunks []int) { m.tell(func(f *flow.Flow) { f.Freed(chunks) }) }

// Revoked implements carry.Member.
func (m *crewman) Revoked(chunks []int) { m.tell(func(f *flow.Flow) { f.Revoked(chunks) }) }

func (m *crewman) tell(what func(*flow.Flow)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.flow != nil {
		what(m.flow)
	}
}

// Meet implements carry.Member.
func (m *crewman) Meet(ids []peer.ID) {
	select {
	case m.meets <- slices.Clone(ids):
	default: // others are being met
	}
}

// seatPlan is a seat as a flow knows it.
type seatPlan struct{ *carry.Seat }

// Has implements flow.Plan.
func (s seatPlan) Has(chunks []int) {
	has := roaring.New()
	for _, c := range chunks {
		has.Add(uint32(c))
	}
	s.Seat.Has(has)
}

package deciders

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// A greedy asks one source for everything that it tells of, at once.
type greedy struct {
	world  World
	source func(site int32) int32
	asked  map[int32]bitmap
}

// asking is a policy in which the nodes of a site ask the source that f names.
func asking(f func(site int32) int32) Policy {
	return Policy{Name: "greedy", New: func(w World) (Decider, error) { return &greedy{w, f, map[int32]bitmap{}}, nil }}
}

func (g *greedy) Told(_ time.Duration, n int32, ev Event, do *Orders) {
	if ev.Kind != Join && ev.Kind != Have || ev.Source != g.source(g.world.SiteOf(n)) {
		return
	}
	asked, ok := g.asked[n]
	if !ok {
		asked = newBitmap(g.world.Plan().Chunks, false)
		g.asked[n] = asked
	}
	for c := range g.world.Plan().Chunks {
		if ev.Chunks.Contains(uint32(c)) && !asked.has(c) {
			asked.set(c)
			do.Asks = append(do.Asks, Ask{n, ev.Source, int32(c), ^uint64(0), uint64(c) + 1})
		}
	}
}

const mbit = bandwidth.MbitPerSecond

// star is a plan of the publisher and sites of one node each, with these downlinks.
func star(publisher bandwidth.Rate, down ...bandwidth.Rate) *Plan {
	p := &Plan{
		Seed: 1, Chunks: 20, Chunk: 1 << 20, Blocks: 16, Port: 10_000 * mbit, Flight: 512 << 10,
		Spread: 20 * time.Millisecond, Near: 56, Tick: time.Second, Limit: time.Hour,
		Sites: []Site{{Up: publisher, Down: publisher, Nodes: 1}},
		Wish:  make([]time.Duration, 1+len(down)),
	}
	for i, d := range down {
		p.Sites = append(p.Sites, Site{Up: d, Down: d, First: int32(i + 1), Nodes: 1, Delay: 10 * time.Millisecond})
	}
	return p
}

func toPublisher(int32) int32 { return Publisher }

// ends runs a plan and returns when each node finished.
func ends(t *testing.T, p *Plan, policy Policy) []time.Duration {
	t.Helper()
	s, err := newSim(p, policy)
	if err != nil {
		t.Fatal(err)
	}
	s.run()
	if s.unfinished > 0 {
		t.Fatalf("%d nodes are not done after %v", s.unfinished, s.now)
	}
	var out []time.Duration
	for _, n := range s.nodes {
		out = append(out, n.done)
	}
	return out
}

func near(t *testing.T, what string, got time.Duration, want float64) {
	t.Helper()
	if g := got.Seconds(); g < want*0.99 || g > want*1.01+0.05 {
		t.Errorf("%s took %.3f s, want %.3f", what, g, want)
	}
}

func TestFlowsShareALinkEvenly(t *testing.T) {
	for _, n := range []int{1, 2, 7, 30} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			down := make([]bandwidth.Rate, n)
			for i := range down {
				down[i] = 1000 * mbit
			}
			p := star(100*mbit, down...)
			want := float64(n) * float64(p.size()) * 8 / 100e6
			for i, end := range ends(t, p, asking(toPublisher))[1:] {
				if n <= slots {
					near(t, fmt.Sprint("node ", i+1), end, want)
				} else if lead := time.Duration(want * float64(time.Second) / float64(p.Chunks)); end.Seconds() > want*1.01+0.05 || end < time.Duration(want*float64(time.Second))-lead {
					t.Errorf("node %d took %v, want %.3f s and at most a round of chunks less", i+1, end, want)
				}
			}
		})
	}
}

// Of many that ask, some get a chunk while the others wait, and have it to pass on.
func TestNodesSendChunksWholeToAFewAtATime(t *testing.T) {
	down := make([]bandwidth.Rate, 2*slots)
	for i := range down {
		down[i] = 1000 * mbit
	}
	p := star(1000*mbit, down...)
	p.Chunks = 1
	got := ends(t, p, asking(toPublisher))[1:]
	slices.Sort(got)
	chunk := float64(p.size()) * 8 / 1e9
	near(t, "the first half", got[slots-1], slots*chunk)
	near(t, "the other half", got[2*slots-1], 2*slots*chunk)
}

// Two flows are held to 10 and 20 Mbit/s elsewhere. Of the link's 100 the others
// get what is left: 35 each while all run, and so on.
func TestSharesAreMaxMin(t *testing.T) {
	p := star(100*mbit, 10*mbit, 20*mbit, 500*mbit, 500*mbit)
	p.Flight = 128 << 10                // what piles up before the narrow links isn't shared evenly
	size := float64(p.size()) * 8 / 1e6 // Mbit
	got := ends(t, p, asking(toPublisher))
	near(t, "10 Mbit/s", got[1], size/10)
	near(t, "20 Mbit/s", got[2], size/20)
	near(t, "first half", got[3], size/35)
	near(t, "second half", got[4], size/35)
}

// The publisher serves one site, that one the two others: its uplink carries all
// twice.
func TestTreeIsAsFastAsItsNarrowestLink(t *testing.T) {
	p := star(100*mbit, 60*mbit, 500*mbit, 500*mbit)
	p.Far = 4
	s, err := newSim(p, asking(func(site int32) int32 { return max(0, min(site-1, 1)) }))
	if err != nil {
		t.Fatal(err)
	}
	for n := range s.nodes { // who knows whom isn't left to chance
		s.nodes[n].sources, s.nodes[n].readers = nil, nil
	}
	s.nodes[1].readers = []int32{2, 3}
	s.nodes[2].sources, s.nodes[3].sources = []int32{1}, []int32{1}
	s.run()
	size := float64(p.size()) * 8 / 1e6
	near(t, "first", s.nodes[1].done, size/60)
	first := 1.0 * 8 * 1.048576 / 60 // until there is a chunk to pass on
	near(t, "second", s.nodes[2].done, first+2*size/60)
	near(t, "third", s.nodes[3].done, first+2*size/60)
}

func TestPortOfTheOnlyHolderIsTheBottleneck(t *testing.T) {
	p := star(2000*mbit, 2000*mbit)
	p.Port = 500 * mbit
	p.Sites[1].Nodes = 11
	p.Sites[1].Down = 2000 * mbit
	p.Full, p.LANDelay = 1, 250*time.Microsecond
	p.Wish = make([]time.Duration, 12)
	s, err := newSim(p, asking(func(int32) int32 { return 1 }))
	if err != nil {
		t.Fatal(err)
	}
	for c := range p.Chunks { // node 1 has all already
		s.has[p.Chunks+c] = p.allBlocks()
	}
	s.nodes[1].missing, s.unfinished = 0, 10
	s.run()
	for n := 2; n < 12; n++ {
		near(t, fmt.Sprint("node ", n), s.nodes[n].done, 10*float64(p.size())*8/500e6)
	}
}

func TestRoundTripsCount(t *testing.T) {
	p := star(1000*mbit, 1000*mbit)
	p.Chunks, p.Sites[1].Delay, p.Sites[0].Delay = 1, 300*time.Millisecond, 50*time.Millisecond
	got := ends(t, p, asking(toPublisher))[1]
	// The request and its answer, and the chunk's time on the wire, the last block's
	// on both links.
	want := 700*time.Millisecond + time.Duration(float64(p.size()*8)*17/16)
	if d := got - want; d < 0 || d > time.Millisecond {
		t.Errorf("took %v, want %v", got, want)
	}
}

func TestIdealsComeNearTheBounds(t *testing.T) {
	for _, mixed := range []bool{false, true} {
		p := Shape{Seed: 3, Sites: 30, Nodes: 5, Chunks: 60, Mixed: mixed}.Plan()
		hub, err := Run(p, policy("hub"))
		if err != nil {
			t.Fatal(err)
		}
		if least := HubBound(p).Time; hub.Last < least || hub.Last > least*5/4+time.Second {
			t.Errorf("hub took %v, the least is %v", hub.Last, least)
		}
		mesh, err := Run(p, policy("mesh"))
		if err != nil {
			t.Fatal(err)
		}
		if least := MeshBound(p).Time; mesh.Last < least || mesh.Last > 2*least {
			t.Errorf("mesh took %v, the least is %v", mesh.Last, least)
		}
		swarm, err := Run(p, policy("swarm"))
		if err != nil {
			t.Fatal(err)
		}
		if swarm.Last > mesh.Last*11/10 {
			t.Errorf("swarm took %v, mesh, with less to choose from, %v", swarm.Last, mesh.Last)
		}
		if hub.Uplink != 30 || mesh.Uplink != 1 || hub.MostCopies != 1 || mesh.MostCopies != 1 {
			t.Errorf("hub %v\nmesh %v", hub, mesh)
		}
	}
}

func policy(name string) Policy {
	for _, p := range Policies {
		if p.Name == name {
			return p
		}
	}
	panic("no policy " + name)
}

func TestIdealRefusesChurn(t *testing.T) {
	if _, err := Run(Shape{Sites: 2, Nodes: 2, Churn: 1}.Plan(), policy("mesh")); err == nil {
		t.Error("an ideal took nodes that leave")
	}
}

// Neighbours as one source are a model; each a source of its own is what nodes
// really see. Both come to the same.
func TestNeighboursAreAFairModel(t *testing.T) {
	shape := Shape{Seed: 5, Sites: 8, Nodes: 8, Chunks: 24, Publisher: 200 * mbit}
	model, err := Run(shape.Plan(), policy("today"))
	if err != nil {
		t.Fatal(err)
	}
	shape.Full = -1
	full, err := Run(shape.Plan(), policy("today"))
	if err != nil {
		t.Fatal(err)
	}
	if d := model.Copies / full.Copies; d < 0.8 || d > 1.25 {
		t.Errorf("model %v\nfull  %v", model, full)
	}
	if d := float64(model.Median) / float64(full.Median); d < 0.8 || d > 1.25 {
		t.Errorf("model %v\nfull  %v", model, full)
	}
}

// Who stands in front of another decider changes what it does.
func TestSplitBringsFewerCopies(t *testing.T) {
	p := Shape{Seed: 2, Sites: 6, Nodes: 10, Chunks: 30}.Plan()
	today, err := Run(p, policy("today"))
	if err != nil {
		t.Fatal(err)
	}
	split, err := Run(p, policy("split"))
	if err != nil {
		t.Fatal(err)
	}
	if split.Unfinished > 0 || split.Copies > today.Copies || split.Copies > 1.2 {
		t.Errorf("split %v\ntoday %v", split, today)
	}
}

func TestAbsencesOfANodeDontOverlap(t *testing.T) {
	at := func(from, until time.Duration) Absence { return Absence{1, from * time.Second, until * time.Second} }
	for _, c := range []struct {
		absent []Absence
		ok     bool
	}{
		{[]Absence{at(1, 2), at(3, 4)}, true},
		{[]Absence{at(1, 9), at(3, 4)}, false},
		{[]Absence{at(3, 4), at(1, 2)}, false},
		{[]Absence{at(3, 3)}, false},
		{[]Absence{{Node: 9, Until: time.Second}}, false},
	} {
		p := star(100*mbit, 100*mbit)
		p.Absent = c.absent
		if err := p.check(); (err == nil) != c.ok {
			t.Errorf("%v: %v", c.absent, err)
		}
	}
}

func TestPercentilesAreNearestRanks(t *testing.T) {
	var ten []time.Duration
	for i := range 10 {
		ten = append(ten, time.Duration(i+1))
	}
	for p, want := range map[int]time.Duration{50: 5, 90: 9, 95: 10, 100: 10} {
		if got := percentile(ten, p); got != want {
			t.Errorf("%d %% of 1 to 10: %d, want %d", p, got, want)
		}
	}
	if got := percentile(ten[:1], 50); got != 1 {
		t.Errorf("of one: %d", got)
	}
}

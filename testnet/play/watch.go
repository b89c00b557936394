package play

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// nodeState is what the player knows of a node.
type nodeState struct {
	node box.Node
	site string // at the beginning

	mu      sync.Mutex
	up      bool          // it runs, or should
	frozen  bool          // and doesn't answer
	lives   int           // how often it was ended
	changed chan struct{} // closed when one of these changes
	have    map[string]int64
	seen    NodeSeries
}

func newNodeState(n box.Node, site string) *nodeState {
	return &nodeState{node: n, site: site, changed: make(chan struct{}), have: map[string]int64{},
		seen: NodeSeries{Node: n.Name(), Site: site}}
}

func (s *nodeState) set(change func(*nodeState)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *nodeState) isUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up
}

// life returns how often the node was ended, whether it is up, and what is closed once
// that changes.
func (s *nodeState) life() (lives int, up bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lives, s.up, s.changed
}

func (s *nodeState) series() NodeSeries {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// siteState is what the player knows of a site's link.
type siteState struct {
	name string
	link box.Link

	mu     sync.Mutex
	cut    bool
	whole  [2]wan.Settings // what applies when it isn't cut, by direction
	known  bool            // whole is set
	points []LinkPoint
}

// observe samples nodes and links until ctx ends.
func (p *player) observe(ctx context.Context, g *errgroup.Group) {
	for _, st := range p.nodes {
		g.Go(func() error {
			for turn := 0; ; turn++ {
				p.sampleNode(ctx, st, turn%usage == 0)
				if pause(ctx, interval) != nil {
					return nil
				}
			}
		})
	}
	g.Go(func() error {
		for {
			p.sampleLinks(ctx)
			if pause(ctx, interval) != nil {
				return nil
			}
		}
	})
}

func (p *player) sampleNode(ctx context.Context, st *nodeState, process bool) {
	st.mu.Lock()
	silent := !st.up || st.frozen
	st.mu.Unlock()
	if silent {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answering)
	defer cancel()
	for _, name := range slices.Sorted(maps.Keys(p.contents)) {
		c := p.contents[name]
		select {
		case <-c.ready:
		default:
			continue
		}
		if c.id == "" {
			continue
		}
		bytes, err := p.Hands.Have(ctx, st.node, c.id)
		if err != nil {
			continue // it may have been ended meanwhile
		}
		at := time.Since(p.start)
		st.mu.Lock()
		if last, known := st.have[name]; !known && bytes > 0 || known && last != bytes {
			st.have[name] = bytes
			st.seen.Have = append(st.seen.Have, Have{At: at, Content: name, Bytes: bytes})
		}
		st.mu.Unlock()
	}
	if !process {
		return
	}
	u, err := st.node.Usage(ctx)
	if err != nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.seen.RSS = append(st.seen.RSS, RSSPoint{At: time.Since(p.start), Bytes: u.RSS})
	st.seen.PeakRSS = max(st.seen.PeakRSS, u.RSS, u.PeakRSS)
}

func (p *player) sampleLinks(ctx context.Context) {
	for _, s := range p.sites {
		down, err := s.link.Counts(ctx, box.Down)
		if err != nil {
			continue
		}
		up, err := s.link.Counts(ctx, box.Up)
		if err != nil {
			continue
		}
		s.mu.Lock()
		s.points = append(s.points, LinkPoint{
			At: time.Since(p.start), Down: arrived(down, box.ClassP2P), Up: arrived(up, box.ClassP2P), Offered: offered(down, box.ClassP2P),
			ForegroundDown: arrived(down, box.ClassForeground), ForegroundUp: arrived(up, box.ClassForeground), OtherDown: arrived(down, wan.Other),
		})
		s.mu.Unlock()
	}
}

func arrived(c wan.Counts, class string) int64 { return of(c, class).Delivered.Bytes }

func offered(c wan.Counts, class string) int64 { return of(c, class).Offered.Bytes }

func of(c wan.Counts, class string) wan.Count {
	for _, x := range c.Classes {
		if x.Class == class {
			return x.Count
		}
	}
	return wan.Count{}
}

// come implements progress by what was sampled last, and by the gets.
func (p *player) come(content, place string) (share float64, done bool) {
	members := p.Scenario.members(place)
	size := p.contents[content].Size
	for _, name := range members {
		st := p.nodes[name]
		st.mu.Lock()
		share = max(share, 100*float64(st.have[content])/float64(size))
		st.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.gets {
		if g.Content != content || !slices.Contains(members, g.Node) {
			continue
		}
		if !g.done() {
			return share, false
		}
		done = true
	}
	return share, done
}

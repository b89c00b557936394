package play

import (
	"context"
	"errors"
	"fmt"
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
	unsure  map[string]bool // contents of have whose last sample failed
	seen    NodeSeries
}

func newNodeState(n box.Node, site string) *nodeState {
	return &nodeState{node: n, site: site, changed: make(chan struct{}), have: map[string]int64{}, unsure: map[string]bool{},
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
			_ = p.sampleLinks(ctx) // the next one tells as much, and the last must not fail
			if pause(ctx, interval) != nil {
				return nil
			}
		}
	})
}

func (p *player) sampleNode(ctx context.Context, st *nodeState, process bool) {
	st.mu.Lock()
	silent := !st.up || st.frozen
	for name := range st.have {
		st.unsure[name] = st.unsure[name] || silent
	}
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
		st.saw(name, bytes, time.Since(p.start), err)
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

// saw notes a sample of a content, if it is news. An error may come of a node that was
// ended meanwhile.
func (s *nodeState) saw(content string, bytes int64, at time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.have[content]
	switch {
	case err != nil:
		s.unsure[content] = known
	case known && (bytes != last || s.unsure[content]), !known && bytes > 0:
		s.have[content] = bytes
		s.seen.Have = append(s.seen.Have, Have{At: at, Content: content, Bytes: bytes, Anew: s.unsure[content]})
		s.unsure[content] = false
	}
}

func (p *player) sampleLinks(ctx context.Context) error {
	var errs []error
	for _, s := range p.sites {
		down, err1 := s.link.Counts(ctx, box.Down)
		up, err2 := s.link.Counts(ctx, box.Up)
		if err := errors.Join(err1, err2); err != nil {
			errs = append(errs, fmt.Errorf("count what the link of %s carried: %w", s.name, err))
			continue
		}
		s.mu.Lock()
		s.points = append(s.points, LinkPoint{
			At: time.Since(p.start), Down: arrived(down, box.ClassP2P), Up: arrived(up, box.ClassP2P), Offered: offered(down, box.ClassP2P),
			ForegroundDown: arrived(down, box.ClassForeground), ForegroundUp: arrived(up, box.ClassForeground), OtherDown: arrived(down, wan.Other),
		})
		s.mu.Unlock()
	}
	return errors.Join(errs...)
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
	missing := false
	for _, g := range p.gets {
		if g.Content != content || !slices.Contains(members, g.Node) {
			continue
		}
		if !g.done() {
			missing = true
			continue
		}
		share, done = 100, true // the last of it may have come since the last sample
	}
	return share, done && !missing
}

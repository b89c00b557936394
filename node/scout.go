package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery/dht"
	"github.com/p2pnode/p2pnode/node/exchange"
)

const (
	maxScouted = 64  // connected peers that one search is in touch with
	maxNamed   = 64  // the same of those that the DHT named, beside them
	maxMet     = 256 // peers that it remembers to dial again
	maxLookups = 16  // peers from one DHT lookup that are dialled at once
	maxSites   = 4   // other sites whose holders one round of lookups asks for

	// A lookup is repeated while a search goes on: soon at first, since whoever
	// publishes announces within seconds, then ever more rarely.
	firstLookup = time.Second
	lastLookup  = time.Minute

	// nextPlace is how long a first round waits for somebody to be reached before it
	// looks further: a host that is off takes the whole dialTimeout.
	nextPlace = 2 * time.Second
)

// A scout searches for peers that may have what a key names and hands a session
// with each to whoever sent it: the connected ones at once, those the DHT names
// when they are reached, new ones as they come, lost ones when they are back.
type scout struct {
	node  *Node
	key   content.Hash
	found func(ctx context.Context, s *exchange.Session) // runs until it has no more use for s
	more  chan struct{}                                  // a signal: look again now
	far   chan struct{}                                  // closed when other sites are asked too
	once  sync.Once                                      // closes far

	mu      sync.Mutex
	engaged map[peer.ID]struct{}
	met     map[peer.ID]struct{} // everyone ever engaged: dialled again when lost
	lookups int
	named   map[peer.ID]struct{} // whom lookups named, up to maxMet
	lastErr error
}

func (n *Node) newScout(key content.Hash, found func(context.Context, *exchange.Session)) *scout {
	return &scout{
		node: n, key: key, found: found, more: make(chan struct{}, 1), far: make(chan struct{}),
		engaged: make(map[peer.ID]struct{}), met: make(map[peer.ID]struct{}), named: make(map[peer.ID]struct{}),
	}
}

// Look makes the scout look again now rather than later.
func (s *scout) Look() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// goFar makes the scout look at other sites, and in the DHT, which it does not do
// before: what a site needs of others few of its members bring.
func (s *scout) goFar() { s.once.Do(func() { close(s.far) }) }

func (s *scout) isFar() bool {
	select {
	case <-s.far:
		return true
	default:
		return false
	}
}

// Tried tells in phrases what was done, for a person whose content wasn't found.
func (s *scout) Tried() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tried := []string{
		fmt.Sprintf("asked %d connected %s", len(s.met), plural(len(s.met), "peer", "peers")),
		fmt.Sprintf("looked in the DHT %d %s: it named %d %s", s.lookups, plural(s.lookups, "time", "times"), len(s.named), plural(len(s.named), "peer", "peers")),
	}
	if s.lastErr != nil {
		tried = append(tried, "last trouble: "+s.lastErr.Error())
	}
	return tried
}

// settled reports whether so many answers are all that can be had soon: the DHT
// was asked, and everyone in touch has answered.
func (s *scout) settled(answers int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookups > 0 && answers >= len(s.met)
}

// looked reports whether the DHT was asked at least once.
func (s *scout) looked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookups > 0
}

// Run searches until ctx ends, and returns when every found has.
func (s *scout) Run(ctx context.Context) error {
	sub, err := s.node.host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted))
	if err != nil {
		return fmt.Errorf("watch for peers: %w", err)
	}
	defer sub.Close()
	var g errgroup.Group
	defer func() { _ = g.Wait() }()
	all := func() {
		for _, p := range s.node.host.Network().Peers() {
			s.engage(ctx, &g, p, maxScouted)
		}
	}
	all()
	g.Go(func() error { s.lookUp(ctx, &g); return nil })
	far := s.far
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-far:
			far = nil
			all()
			s.Look()
		case e := <-sub.Out():
			s.engage(ctx, &g, e.(event.EvtPeerIdentificationCompleted).Peer, maxScouted)
		}
	}
}

// engage opens a session with a connected peer and hands it on, unless that is
// under way, or so many are.
func (s *scout) engage(ctx context.Context, g *errgroup.Group, p peer.ID, most int) {
	if !s.asks(p) {
		return
	}
	s.mu.Lock()
	_, busy := s.engaged[p]
	if busy || len(s.engaged) >= most {
		s.mu.Unlock()
		return
	}
	s.engaged[p] = struct{}{}
	if len(s.met) < maxMet {
		s.met[p] = struct{}{}
	}
	s.mu.Unlock()
	g.Go(func() error {
		err := s.session(ctx, p)
		s.mu.Lock()
		delete(s.engaged, p)
		if err != nil && ctx.Err() == nil {
			s.lastErr = err
		}
		s.mu.Unlock()
		if ctx.Err() == nil {
			s.Look() // lost: it may be back soon, or another be found
		}
		return nil
	})
}

// asks reports whether a connected peer is one to ask.
func (s *scout) asks(p peer.ID) bool {
	return s.node.link(p) == bandwidth.LAN || s.isFar()
}

func (s *scout) session(ctx context.Context, p peer.ID) error {
	x, err := s.node.exchange.Session(ctx, p)
	if err != nil {
		return fmt.Errorf("open a session with %s: %w", s.node.call(p), err)
	}
	s.found(ctx, x)
	return nil
}

// lookUp asks the DHT now, when told to, and else ever more rarely; and regains
// those that were lost.
func (s *scout) lookUp(ctx context.Context, g *errgroup.Group) {
	pause := firstLookup
	for {
		if s.isFar() {
			s.askDHT(ctx, g)
		}
		s.regain(ctx, g)
		// Even a wish to look at once waits a little: what made a source go
		// (a restart, a link that flaps) isn't over within milliseconds.
		if !sleep(ctx, min(pause, firstLookup)) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-s.more:
			pause = firstLookup
		case <-time.After(pause):
			pause = min(2*pause, lastLookup)
		}
	}
}

// askDHT engages whoever the DHT names, also when as many as may be are in touch
// already: a node with many connections found nobody as long as the one who had it
// was connected, and not among those. In the first round it goes from nearer keys to
// further ones only as long as nobody was reached; later whoever was reached may
// have nothing, and it asks for all of them.
func (s *scout) askDHT(search context.Context, g *errgroup.Group) {
	ctx, cancel := context.WithTimeout(search, dialTimeout)
	defer cancel()
	s.mu.Lock()
	again := s.lookups > 0
	s.mu.Unlock()
	var asking sync.WaitGroup
	var reached atomic.Bool
	for _, keys := range s.node.placesOf(s.key) {
		over := make(chan struct{})
		asking.Go(func() {
			defer close(over)
			s.askUnder(ctx, keys, func(p peer.ID) {
				reached.Store(true)
				s.engage(search, g, p, maxScouted+maxNamed)
			})
		})
		if again {
			continue
		}
		select {
		case <-over:
		case <-time.After(nextPlace):
		}
		if reached.Load() {
			break
		}
	}
	asking.Wait()
	s.mu.Lock()
	s.lookups++
	s.mu.Unlock()
}

// askUnder connects to whoever the DHT names under some keys, and returns when all
// were tried.
func (s *scout) askUnder(ctx context.Context, keys []content.Hash, reached func(peer.ID)) {
	var dials errgroup.Group
	dials.SetLimit(maxLookups)
	var lookups sync.WaitGroup
	for _, key := range keys {
		lookups.Go(func() {
			for info := range s.node.dht.Find(ctx, key) {
				if info.ID == s.node.host.ID() {
					continue
				}
				s.mu.Lock()
				if len(s.named) < maxMet {
					s.named[info.ID] = struct{}{}
				}
				s.mu.Unlock()
				dials.Go(func() error {
					err := s.node.keeper.connect(ctx, info)
					if err == nil {
						reached(info.ID)
						return nil
					}
					s.node.log.Debug("source not reached", zap.Stringer("peer", info.ID), zap.Error(err))
					s.mu.Lock()
					s.lastErr = fmt.Errorf("dial %s: %w", s.node.call(info.ID), err)
					s.mu.Unlock()
					return nil
				})
			}
		})
	}
	lookups.Wait()
	_ = dials.Wait()
}

// placesOf returns the keys under which holders of something are looked for, nearer
// ones first: those that tell everyone and this region, those of this site, and of
// some other sites that this node is connected to, each time others.
func (n *Node) placesOf(key content.Hash) [][]content.Hash {
	here, _ := n.site.Site()
	near := []content.Hash{key}
	if n.cfg.Region != "" {
		near = append(near, dht.RegionKey(key, n.cfg.Region))
	}
	var sites []string
	for _, p := range n.host.Network().Peers() {
		if at := n.site.At(p); at != "" && at != here && !slices.Contains(sites, at) {
			sites = append(sites, at)
		}
	}
	var far []content.Hash
	for _, i := range rand.Perm(len(sites))[:min(len(sites), maxSites)] {
		far = append(far, dht.SiteKey(key, sites[i]))
	}
	return [][]content.Hash{near, {dht.SiteKey(key, here)}, far}
}

// regain dials those engaged before and not now. Whoever lost only its session is
// connected still: no event will tell of it.
func (s *scout) regain(ctx context.Context, g *errgroup.Group) {
	s.mu.Lock()
	var lost []peer.ID
	for p := range s.met {
		if _, ok := s.engaged[p]; !ok && len(lost) < maxLookups {
			lost = append(lost, p) // in the map's order: others the next time
		}
	}
	s.mu.Unlock()
	var dials errgroup.Group
	dials.SetLimit(dialsAtOnce)
	for _, p := range lost {
		dials.Go(func() error {
			s.node.keeper.dial(ctx, s.node.keeper.lookup(p))
			if s.node.host.Network().Connectedness(p) == network.Connected {
				s.engage(ctx, g, p, maxScouted)
			}
			return nil
		})
	}
	_ = dials.Wait()
}

// sleep waits for d; it reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

package site

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// Config says where a node is, and what it says of itself.
type Config struct {
	// Site is the id of the site from the node's configuration. Default: none, and
	// Map, the credential and the node's subnet say it.
	Site string
	// Map is the enterprise's map from networks to sites, until SetMap. Default: empty.
	Map Map
	// Addrs returns the node's own addresses, each with its prefix, the one of the
	// default route first. It is asked at the start and by Refresh.
	Addrs func() []netip.Prefix
	// Credential returns the site for which a connected peer, or this node, was
	// admitted.
	Credential func(peer.ID) (site string, ok bool)
	// Report returns what this node says of itself. Uptime and Sits are the
	// service's.
	Report func() Report
	// Dial connects to a member that may be a delegate, or that was lost. Default:
	// the host does.
	Dial func(context.Context, peer.AddrInfo)
}

const (
	// lookEvery is how often the report is asked for: a disk fills.
	lookEvery   = time.Minute
	dialsAtOnce = 8
	dialTimeout = 10 * time.Second
	// protection is this package's tag on connections that stay.
	protection = "p2pnode-site"
)

func (c Config) check() error {
	if c.Addrs == nil || c.Credential == nil || c.Report == nil {
		return errors.New("configure the site: addresses, credentials and report have to be given")
	}
	if c.Site != "" {
		if err := checkID(c.Site); err != nil {
			return fmt.Errorf("configure the site: %w", err)
		}
	}
	return nil
}

// A Service knows who is at this node's site. Its methods may be called from many
// goroutines at once, before Run too: then this node is alone.
type Service struct {
	host     host.Host
	protocol protocol.ID
	cfg      Config
	log      *zap.Logger
	networks atomic.Pointer[Map]
	refresh  chan struct{}
	rearm    chan struct{} // the core wants a tick earlier
	dials    chan struct{} // a place for each dial under way
	said     sync.Map      // peer.ID -> string, the site that a connected peer says it is at
	view     atomic.Pointer[view]

	mu      sync.Mutex
	core    *core
	version int // of the view, as core.version
	running bool
	lines   map[peer.ID]*line
	opening map[peer.ID]bool
	begin   []effect       // streams to open and peers to dial: Run does
	group   sync.WaitGroup // everything that Run waits for
}

// A view is what is known at a moment. It doesn't change.
type view struct {
	site      string
	from      Source
	members   []Member // sorted, this node among them
	of        map[peer.ID]int
	delegates []peer.ID
	settled   bool          // they may plan
	changed   chan struct{} // closed when there is a newer view
}

// New returns a service on h, for peers that speak the protocol of this prefix. It
// works while Run does.
func New(h host.Host, prefix protocol.ID, cfg Config, log *zap.Logger) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Service{
		host: h, protocol: prefix + "/site/1", cfg: cfg, log: log,
		refresh: make(chan struct{}, 1), rearm: make(chan struct{}, 1), dials: make(chan struct{}, dialsAtOnce),
		lines: make(map[peer.ID]*line), opening: make(map[peer.ID]bool),
	}
	s.networks.Store(&cfg.Map)
	if s.cfg.Dial == nil {
		s.cfg.Dial = func(ctx context.Context, info peer.AddrInfo) { _ = h.Connect(ctx, info) }
	}
	now := time.Now()
	id, from, me := s.look(now)
	s.core = newCore(id, me, func(p peer.ID) string { site, _ := cfg.Credential(p); return site }, now)
	s.view.Store(&view{changed: make(chan struct{})})
	s.publish(from)
	return s, nil
}

// look returns where this node is and what it says of itself.
func (s *Service) look(now time.Time) (id string, from Source, me Member) {
	own, _ := s.cfg.Credential(s.host.ID())
	id, from = Resolve(Claims{Config: s.cfg.Site, Map: *s.networks.Load(), Credential: own, Addrs: s.cfg.Addrs()})
	me = Member{Peer: s.host.ID(), Report: s.cfg.Report()}
	me.Uptime = uptime(now.Sub(me.Started))
	for _, a := range s.host.Addrs() {
		if dialable(a) && len(me.Addrs) < maxAddrs {
			me.Addrs = append(me.Addrs, a)
		}
	}
	return id, from, me
}

// Run works until ctx ends, and returns when every stream has ended.
func (s *Service) Run(ctx context.Context) error {
	sub, err := s.host.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerProtocolsUpdated),
		new(event.EvtPeerConnectednessChanged), new(event.EvtLocalAddressesUpdated),
	}, eventbus.BufSize(256))
	if err != nil {
		return fmt.Errorf("watch for peers: %w", err)
	}
	defer sub.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer s.group.Wait()
	defer cancel()
	s.mu.Lock()
	s.running = true
	s.mu.Unlock()
	defer s.end()
	s.host.SetStreamHandler(s.protocol, s.accept)
	defer s.host.RemoveStreamHandler(s.protocol)

	for _, p := range s.host.Network().Peers() {
		s.meet(p)
	}
	s.lookAgain(false)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-sub.Out():
			s.note(e)
		case <-look.C:
			s.lookAgain(false)
		case <-s.refresh:
			s.lookAgain(true)
		case <-s.rearm:
		case <-tick.C:
		}
		next, begin := s.tick()
		for _, e := range begin {
			if e.do == doOpen {
				s.open(ctx, e.to)
			} else {
				s.dial(ctx, peer.AddrInfo{ID: e.to, Addrs: e.known.Addrs})
			}
		}
		tick.Reset(time.Until(next))
	}
}

// end resets all streams; nothing begins any more.
func (s *Service) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = false
	for _, l := range s.lines {
		l.end()
	}
}

// tick has the core do what is due. It returns when the next is, and what to begin.
func (s *Service) tick() (next time.Time, begin []effect) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next = s.core.tick(time.Now())
	s.act()
	begin, s.begin = s.begin, nil
	return next, begin
}

func (s *Service) note(e any) {
	switch e := e.(type) {
	case event.EvtPeerIdentificationCompleted:
		s.meet(e.Peer)
	case event.EvtPeerProtocolsUpdated:
		s.meet(e.Peer)
	case event.EvtPeerConnectednessChanged:
		if e.Connectedness == network.NotConnected {
			s.forget(e.Peer)
		}
	case event.EvtLocalAddressesUpdated:
		s.lookAgain(false)
	}
}

// meet notes a connected peer if it speaks the protocol.
func (s *Service) meet(p peer.ID) {
	speaks, err := s.host.Peerstore().SupportsProtocols(p, s.protocol)
	if err == nil && len(speaks) > 0 && s.host.Network().Connectedness(p) == network.Connected {
		s.change(func(now time.Time) { s.core.connected(p, now) })
	}
}

// forget lets go of a peer, unless it is connected again already.
func (s *Service) forget(p peer.ID) {
	if s.host.Network().Connectedness(p) == network.Connected {
		return // its old stream ends by itself
	}
	s.change(func(now time.Time) {
		s.core.disconnected(p, now)
		if l := s.lines[p]; l != nil {
			l.end()
			delete(s.lines, p)
		}
		s.said.Delete(p)
	})
}

// lookAgain looks at which site this node is and what it is to say.
func (s *Service) lookAgain(moved bool) {
	id, from, me := s.look(time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	v := s.view.Load()
	s.core.be(id, me, now)
	if moved {
		s.core.seek(now)
	}
	if v.site != id || v.from != from {
		s.log.Info("at another site", zap.String("site", id), zap.Stringer("from", from), zap.String("before", v.site))
		s.publish(from)
	}
	s.act()
}

// change lets the core know of something, and has it ticked.
func (s *Service) change(what func(now time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what(time.Now())
	s.act()
	s.wake()
}

func (s *Service) wake() {
	select {
	case s.rearm <- struct{}{}:
	default:
	}
}

// act does what the core wants done. Callers hold mu, and have Run look when there is
// something to begin.
func (s *Service) act() {
	for _, e := range s.core.effects() {
		l := s.lines[e.to]
		switch {
		case e.do == doOpen, e.do == doDial:
			s.begin = append(s.begin, e)
		case l == nil: // it ended meanwhile
		case e.do == doSend:
			l.send(e.kind, e.frame)
		case e.do == doClose:
			l.finish()
			delete(s.lines, e.to)
		}
	}
	if s.version != s.core.version {
		s.publish(s.view.Load().from)
	}
}

// publish makes what is known now the view, and protects the connections that the
// site lives from: with its delegates, and, of those, with everyone. Callers hold mu,
// or nobody knows s yet.
func (s *Service) publish(from Source) {
	c := s.core
	s.version = c.version
	v := &view{
		site: c.site, from: from, members: c.members, delegates: c.chosen, settled: c.settled,
		of: make(map[peer.ID]int, len(c.members)), changed: make(chan struct{}),
	}
	for i, m := range v.members {
		v.of[m.Peer] = i
	}
	old := s.view.Swap(v)
	close(old.changed)
	if !slices.Equal(old.delegates, v.delegates) {
		s.log.Info("delegates of this site", zap.String("site", v.site), zap.Stringers("peer", v.delegates), zap.Int("members", len(v.members)))
	}
	protect := s.host.ConnManager()
	for _, m := range old.members {
		if !v.keeps(s.host.ID(), m.Peer) {
			protect.Unprotect(m.Peer, protection)
		}
	}
	for _, m := range v.members {
		if v.keeps(s.host.ID(), m.Peer) {
			protect.Protect(m.Peer, protection)
		}
	}
}

// keeps reports whether a node keeps its connection with a peer.
func (v *view) keeps(self, p peer.ID) bool {
	_, here := v.of[p]
	return here && p != self && (slices.Contains(v.delegates, p) || slices.Contains(v.delegates, self))
}

// open opens a stream with a peer, unless there is one.
func (s *Service) open(ctx context.Context, p peer.ID) {
	s.mu.Lock()
	busy := s.lines[p] != nil || s.opening[p]
	if !busy {
		s.opening[p] = true
	}
	s.mu.Unlock()
	if busy {
		return
	}
	s.group.Go(func() {
		opening, cancel := context.WithTimeout(network.WithNoDial(ctx, "site"), openTimeout)
		stream, err := s.host.NewStream(opening, p, s.protocol)
		cancel()
		s.mu.Lock()
		delete(s.opening, p)
		if err != nil && s.lines[p] == nil {
			s.core.closed(p, time.Now())
			s.act()
			s.wake()
		}
		s.mu.Unlock()
		if err != nil {
			s.log.Debug("no stream with member", zap.Stringer("peer", p), zap.Error(err))
			s.forget(p)
			return
		}
		s.hold(newLine(stream, true))
	})
}

// accept takes a stream that a peer opened, and returns when it ended.
func (s *Service) accept(stream network.Stream) { s.hold(newLine(stream, false)) }

// hold runs a line. If two peers open a stream at once, that of the lesser id stays:
// both see it so.
func (s *Service) hold(l *line) {
	s.mu.Lock()
	o := s.lines[l.peer]
	lesser := s.host.ID() < l.peer
	if !s.running || o != nil && o.mine != l.mine && l.mine != lesser {
		s.mu.Unlock()
		_ = l.stream.Reset()
		return
	}
	s.lines[l.peer] = l
	s.group.Add(1)
	defer s.group.Done()
	s.core.opened(l.peer, time.Now())
	s.act()
	s.wake()
	s.mu.Unlock()
	if o != nil {
		o.end()
	}

	err := l.run(s.heard)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines[l.peer] == l {
		delete(s.lines, l.peer)
		s.core.closed(l.peer, time.Now())
		s.act()
		s.wake()
	}
	if errors.Is(err, ErrProtocol) {
		s.log.Warn("a member breaks the protocol of the site", zap.Stringer("peer", l.peer), zap.Error(err))
	} else {
		s.log.Debug("stream ended", zap.Stringer("peer", l.peer), zap.Error(err))
	}
}

// heard takes a frame. What comes on a line that was finished or replaced is too late.
func (s *Service) heard(l *line, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines[l.peer] != l {
		return nil
	}
	err := s.core.frame(l.peer, b, time.Now())
	if at, _ := s.said.Load(l.peer); s.core.siteOf(l.peer) != "" && at != s.core.siteOf(l.peer) {
		s.said.Store(l.peer, s.core.siteOf(l.peer))
	}
	idle := s.core.idle()
	s.act()
	if !idle {
		s.wake()
	}
	return err
}

// dial dials, unless as many dials are under way as may be: the core has it done
// again.
func (s *Service) dial(ctx context.Context, info peer.AddrInfo) {
	select {
	case s.dials <- struct{}{}:
	default:
		return
	}
	s.group.Go(func() {
		defer func() { <-s.dials }()
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		s.cfg.Dial(ctx, info)
	})
}

// Site returns where this node is, and what says so.
func (s *Service) Site() (id string, from Source) {
	v := s.view.Load()
	return v.site, v.from
}

// Members returns the members of this site that are connected, and this node,
// sorted by name. At a site of many a node is connected to some, a delegate to all.
func (s *Service) Members() []Member { return slices.Clone(s.view.Load().members) }

// Delegates returns who speaks for this site, the best first: up to three members
// that are connected, or this node.
func (s *Service) Delegates() []peer.ID { return slices.Clone(s.view.Load().delegates) }

// Of returns a member of this site; false if p isn't known as one.
func (s *Service) Of(p peer.ID) (Member, bool) {
	v := s.view.Load()
	if i, ok := v.of[p]; ok {
		return v.members[i], true
	}
	return Member{}, false
}

// At returns at which site a connected peer is: where it says, or, as long as it has
// said nothing, where its credential does; empty if neither is known.
func (s *Service) At(p peer.ID) string {
	if p == s.host.ID() {
		return s.view.Load().site
	}
	if at, ok := s.said.Load(p); ok {
		return at.(string)
	}
	id, _ := s.cfg.Credential(p)
	return id
}

// IsHere reports whether a peer is at this site, as At says.
func (s *Service) IsHere(p peer.ID) bool { return s.At(p) == s.view.Load().site }

// Planner returns which of the delegates plans a content; false if there is none, or
// this node has just come and may not know them yet.
func (s *Service) Planner(id content.ID) (peer.ID, bool) {
	v := s.view.Load()
	if !v.settled {
		return "", false
	}
	return Planner(id, v.delegates)
}

// Missed says that a member didn't answer in time whoever works with it. It is no
// delegate here until it is heard again; it is asked at once whether it is there.
// Everyone who works with it sees that by himself, so nobody is told.
func (s *Service) Missed(p peer.ID) {
	s.change(func(now time.Time) { s.core.missed(p, now) })
}

// Changed returns a channel that is closed when one of the above returns something
// else than it would now.
func (s *Service) Changed() <-chan struct{} { return s.view.Load().changed }

// SetMap has another map of the enterprise's networks hold from now on.
func (s *Service) SetMap(m Map) {
	s.networks.Store(&m)
	s.Refresh()
}

// Refresh makes the service look anew at which site this node is: its network has
// changed. It doesn't wait for it.
func (s *Service) Refresh() {
	select {
	case s.refresh <- struct{}{}:
	default:
	}
}

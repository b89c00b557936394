package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/node/api"
)

// One enterprise goes through everything: it takes longest to begin.
func TestEnterpriseFindsTrustsAndHeals(t *testing.T) {
	tell(t, func(s *tale) {
		s.everyoneMet()
		s.everySiteFinds()
		s.strangersGetNothing()
		s.revocationReachesAll()
		s.handedToOneReachesAll()
		s.movedNodeGoesOn()
	})
}

// everyoneMet: each node is in touch with the delegate of its site, and delegates
// with each other.
func (s *tale) everyoneMet() {
	took := s.until(time.Minute, "everyone is in touch with the delegate", func() bool {
		return !slices.ContainsFunc(s.All(), func(n *Node) bool {
			d := s.Delegate(n.Site)
			return n != d && !slices.Contains(s.peers(n), d.Name)
		})
	})
	ends := 0
	for _, n := range s.All() {
		ends += len(s.peers(n))
	}
	s.report("in touch", "after %s more, with %d connections", took, ends/2)
	took = s.until(2*time.Minute, "every delegate announces in the DHT", func() bool { return s.homeless() == 0 })
	var first spread
	for _, l := range s.Heard.Find("announcing in the DHT", s.began) {
		first = append(first, l.At.Sub(s.began))
	}
	s.report("at home in the DHT", "after %s more, since the beginning: %s", took, first)
}

// everySiteFinds: what one site holds is found by every other, though its
// publisher is gone.
func (s *tale) everySiteFinds() {
	s.publish("handbook", 24<<10)
	first := s.drawSite(0)
	if _, err := s.get(s.Delegate(first), "handbook"); err != nil {
		s.Fatalf("seed %d: site %d: %v", s.Seed, first, err)
	}
	time.Sleep(10 * time.Second) // it is announced
	s.Net.Part(1, 0)
	var g errgroup.Group
	took := make(spread, s.Sites)
	for site := range s.Sites {
		if site != 0 && site != first {
			g.Go(func() (err error) { took[site], err = s.get(s.Delegate(site), "handbook"); return err })
		}
	}
	if err := g.Wait(); err != nil {
		s.Fatalf("seed %d: %v", s.Seed, err)
	}
	s.report("every site found it", "from site %d, without the publisher: %s", first, took)
	s.Net.Part(0, 0)
	members := s.members(func(n *Node) bool { return n == s.Delegate(n.Site) || n.Site == 0 })
	took = make(spread, len(members))
	for i, n := range members {
		g.Go(func() (err error) { took[i], err = s.get(n, "handbook"); return err })
	}
	if err := g.Wait(); err != nil {
		s.Fatalf("seed %d: %v", s.Seed, err)
	}
	s.report("every node got it", "%d nodes: %s", len(members), took)
}

// strangersGetNothing: neither a stock libp2p host nor a member of another
// enterprise gets a connection.
func (s *tale) strangersGetNothing() {
	site := s.drawSite(0)
	delegate, err := peer.AddrInfoFromP2pAddr(s.Delegate(site).Multiaddr())
	if err != nil {
		s.Fatal(err)
	}
	stock := s.stockHost(site)
	_ = stock.Connect(s.Context(), *delegate) // QUIC may call it connected before it is refused
	time.Sleep(6 * time.Second)               // G2
	if n := len(stock.Network().Conns()); n > 0 {
		s.Errorf("seed %d: a stranger has %d connections", s.Seed, n)
	}
	if known, _ := stock.Peerstore().GetProtocols(delegate.ID); len(known) > 0 {
		s.Errorf("seed %d: a stranger learned %v", s.Seed, known)
	}
	if err := stock.Close(); err != nil {
		s.Error(err)
	}

	foreign := s.outsider(site, 201)
	cfg := node.Config{Site: "elsewhere"}
	cfg.Bootstrap = append(cfg.Bootstrap, s.Delegate(site).Multiaddr(), s.Issuer().Multiaddr())
	if err := foreign.start(cfg); err != nil {
		s.Fatal(err)
	}
	time.Sleep(20 * time.Second)
	if who := s.peers(foreign); len(who) > 0 {
		s.Errorf("seed %d: a member of another enterprise is connected to %v", s.Seed, who)
	}
	s.refused(s.Delegate(site), stock.ID().String(), foreign.ID())
	if err := foreign.stop(); err != nil {
		s.Error(err)
	}
	s.report("strangers", "a stock host and a foreign member got nothing")
}

// refused: a node turned each of some peers away, and says so.
func (s *tale) refused(by *Node, peers ...string) {
	said, err := by.API().Refusals(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	for _, p := range peers {
		if !slices.ContainsFunc(said, func(r api.Refusal) bool { return r.Peer == p }) {
			s.Errorf("seed %d: %s doesn't say that it refused %s: %+v", s.Seed, by.Name, p, said)
		}
	}
}

// outsider plugs in a node that isn't of the enterprise.
func (s *tale) outsider(site, place int) *Node {
	p, err := s.Net.Plug(site, Address(site, place))
	if err != nil {
		s.Fatal(err)
	}
	return &Node{Name: "outsider", Site: site, Port: p, Dir: s.TempDir(), log: s.Heard.logger("outsider")}
}

func (s *tale) stockHost(site int) host.Host {
	p, err := s.Net.Plug(site, Address(site, 200))
	if err != nil {
		s.Fatal(err)
	}
	h, err := libp2p.New(node.QUICOver(p), libp2p.Transport(libp2pquic.NewTransport),
		libp2p.ListenAddrStrings("/ip4/0.0.0.0/udp/4740/quic-v1"), libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableMetrics(), libp2p.DisableRelay(), libp2p.DisableIdentifyAddressDiscovery())
	if err != nil {
		s.Fatal(err)
	}
	return h
}

// revocationReachesAll: the issuer revokes, everybody knows soon, and the revoked
// is out (G6).
func (s *tale) revocationReachesAll() {
	gone := s.draw(0)
	before := len(s.peers(gone))
	since := time.Now()
	s.revoke(gone)
	took := s.enforced(time.Minute, since, s.members(func(n *Node) bool { return n == s.Issuer() }))
	out := s.until(10*time.Second, "the revoked is disconnected", func() bool { return len(s.peers(gone)) == 0 })
	s.report("revoked", "known to %d: %s; its %d connections were gone %s later", len(took), took, before, out)
	time.Sleep(20 * time.Second)
	if who := s.peers(gone); len(who) > 0 {
		s.Errorf("seed %d: the revoked is back at %v", s.Seed, who)
	}
}

func (s *tale) revoke(n *Node) {
	s.gone = append(s.gone, n)
	if _, err := s.Issuer().API().Revoke(s.Context(), n.ID(), api.RevokeRequest{Reason: "stolen"}); err != nil {
		s.Fatal(err)
	}
}

// handedToOneReachesAll: a revocation came to a single other site before the
// issuer was cut off. When that site is back, everybody learns of it.
func (s *tale) handedToOneReachesAll() {
	hands := s.drawSite(0)
	gone := s.draw(0, hands)
	s.Net.Part(1, 0, hands)
	time.Sleep(time.Minute) // connections through the cut are lost
	since := time.Now()
	s.revoke(gone)
	inside := func(n *Node) bool { return n.Site == 0 || n.Site == hands }
	s.enforced(time.Minute, since, s.members(func(n *Node) bool { return !inside(n) || n == s.Issuer() }))
	for name := range s.heard(since) {
		if !slices.ContainsFunc(s.All(), func(n *Node) bool { return n.Name == name && inside(n) }) {
			s.Errorf("seed %d: %s knows of a revocation beyond the cut", s.Seed, name)
		}
	}
	s.Net.Part(2, 0)
	s.Net.Part(0, hands)
	healed := time.Now()
	took := s.enforced(time.Minute, healed, s.members(func(n *Node) bool { return inside(n) }))
	out := s.until(10*time.Second, "the revoked is disconnected", func() bool { return len(s.peers(gone)) == 0 })
	s.report("handed to one site", "after a cut, known to %d: %s; the revoked was out %s later", len(took), took, out)

	s.Net.Part(0, 0)
	back := s.until(10*time.Minute, "the issuer's site is back", func() bool {
		return slices.ContainsFunc(s.members(inside), func(n *Node) bool { return slices.Contains(s.peers(n), s.Issuer().Name) })
	})
	s.report("the issuer is back", "after %s", back)
}

// movedNodeGoesOn: a laptop is plugged in at another site, with another address.
func (s *tale) movedNodeGoesOn() {
	s.publish("addendum", 24<<10)
	n := s.draw(0)
	to := s.drawSite(0, n.Site)
	if err := n.Port.Move(to, Address(to, 210)); err != nil {
		s.Fatal(err)
	}
	began := time.Now()
	moved := s.until(10*time.Second, "the moved node is at the other site", func() bool {
		st, err := n.API().Status(s.Context())
		return err == nil && st.Site == siteName(to)
	})
	s.until(time.Minute, "the moved node reaches the publisher", func() bool {
		_, err := n.API().Ping(s.Context(), s.Issuer().Name)
		return err == nil
	})
	reached := s.since(began)
	if _, err := s.get(n, "addendum"); err != nil {
		s.Fatalf("seed %d: %s: %v", s.Seed, n.Name, err)
	}
	s.report("moved", "%s from site %d to %d: at the other site after %s, reached others after %s, had the content after %s", n.Name, n.Site, to, moved, reached, s.since(began))
	s.until(10*time.Second, "the publisher knows where it is", func() bool {
		peers, err := s.Issuer().API().Peers(s.Context())
		return err == nil && slices.ContainsFunc(peers, func(p api.Peer) bool { return p.Peer == n.ID() && p.Site == siteName(to) })
	})
}

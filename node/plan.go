package node

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/carry"
	"github.com/p2pnode/p2pnode/node/exchange"
	"github.com/p2pnode/p2pnode/node/trust"
)

// carryProtocol is what members of a site and their planners speak.
func (n *Node) carryProtocol() protocol.ID { return n.protocol() + "/carry/1" }

// runPlans serves the plans of which this node is in charge, until ctx ends.
func (n *Node) runPlans(ctx context.Context) error {
	sub, err := n.host.EventBus().Subscribe(new(event.EvtPeerConnectednessChanged))
	if err != nil {
		return fmt.Errorf("watch for peers: %w", err)
	}
	defer sub.Close()
	n.host.SetStreamHandler(n.carryProtocol(), n.servePlan)
	defer n.host.RemoveStreamHandler(n.carryProtocol())
	ended := make(chan error, 1)
	go func() { ended <- n.planner.Run(ctx) }()
	for {
		select {
		case err := <-ended:
			return err
		case e := <-sub.Out():
			if e, ok := e.(event.EvtPeerConnectednessChanged); ok && e.Connectedness == network.NotConnected {
				n.planner.Forget(e.Peer)
			}
		}
	}
}

// servePlan talks with a member of a plan. Who is at another site has no part in it.
func (n *Node) servePlan(s network.Stream) {
	p := s.Conn().RemotePeer()
	if n.link(p) != bandwidth.LAN {
		n.log.Debug("no seat for a member of another site", zap.Stringer("peer", p))
		_ = s.Reset()
		return
	}
	n.planner.Serve(p, planLine{s})
}

// A planLine is a stream that ends at once when it is closed.
type planLine struct{ network.Stream }

func (l planLine) Close() error { return l.Reset() }

// plans tells the seats of this node who plans, and connects them.
type plans struct{ *Node }

// Planner implements carry.Site.
func (n plans) Planner(id content.ID) (peer.ID, bool) { return n.site.Planner(id) }

// Changed implements carry.Site.
func (n plans) Changed() <-chan struct{} { return n.site.Changed() }

// Missed implements carry.Site.
func (n plans) Missed(p peer.ID) { n.site.Missed(p) }

// Open implements carry.Site.
func (n plans) Open(ctx context.Context, p peer.ID) (carry.Line, error) {
	if p == n.host.ID() {
		here, there := net.Pipe()
		go n.planner.Serve(p, there) // ends with here
		return here, nil
	}
	if err := n.keeper.connect(ctx, n.keeper.lookup(p)); err != nil {
		return nil, err
	}
	s, err := n.host.NewStream(ctx, p, n.carryProtocol())
	if err != nil {
		return nil, err
	}
	return planLine{s}, nil
}

// permits reports whether policy lets a connected peer be asked for the bytes of a
// content. Manifests, block lists and releases, which are a thousandth of it, come
// from anybody: an HTTP server has none.
func (n *Node) permits(p peer.ID) bool {
	if n.link(p) == bandwidth.LAN {
		return true
	}
	switch n.cfg.WAN {
	case WANHub:
		return n.mayPublish(p)
	case WANOrigin:
		return false
	}
	return true
}

// mayPublish reports whether a connected peer's credential lets it publish.
func (n *Node) mayPublish(p peer.ID) bool {
	c, ok := n.admission.Of(p)
	return ok && c.Roles.Has(trust.Publisher)
}

// published reports whether a peer signed a release of a content.
func (n *Node) published(id content.ID, p peer.ID) bool {
	return slices.ContainsFunc(n.catalogue.of(id), func(r signedRelease) bool { return r.signer.Peer == p })
}

// uploads says how this node serves others. A publisher sends first what fewest sites
// were given, so that they have something to pass on to each other, unless policy
// forbids that they do. Config.Courtesy, which would have a site wait until another one
// passes a chunk on, is off: two branches then take a twentieth longer, for a fifth less
// of the publisher's uplink (testnet/bench). Neighbours pass chunks on at once, so they
// do wait for each other.
func (n *Node) uploads() exchange.Config {
	if !n.identity.Credential().Roles.Has(trust.Publisher) {
		return exchange.Config{}
	}
	c := exchange.Config{Near: func(p peer.ID) bool { return n.link(p) == bandwidth.LAN }}
	if n.cfg.WAN == WANMesh {
		c.Site = func(p peer.ID) string {
			if c, ok := n.admission.Of(p); ok && n.link(p) == bandwidth.WAN {
				return c.Site
			}
			return ""
		}
	}
	return c
}

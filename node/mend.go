package node

import (
	"context"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	manet "github.com/multiformats/go-multiaddr/net"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

const (
	// probeTimeout is how long a connected peer may take to answer after the
	// network changed before its connection counts as lost. TCP itself would try
	// for minutes; a satellite link with a full queue answers within this.
	probeTimeout = 10 * time.Second
	probesAtOnce = 16
)

// mend repairs what a change of address or a long sleep broke: connections that
// only look alive are closed, and everyone is dialled, looked for and told anew.
func (n *Node) mend(ctx context.Context) {
	n.site.Refresh() // first: what follows dials those at this site
	clearBackoffs(n.host)
	for _, c := range orphans(n.host, n.cfg.Network) {
		n.log.Debug("connection from an address that is gone", zap.Stringer("peer", c.RemotePeer()), zap.Stringer("addr", c.LocalMultiaddr()))
		_ = c.Close()
	}
	if n.mdns != nil {
		n.mdns.Refresh()
	}
	n.keeper.Wake()
	n.probe(ctx)
	if err := n.dht.Refresh(ctx); err != nil && ctx.Err() == nil {
		n.log.Debug("DHT not refreshed", zap.Error(err))
	}
	n.keeper.Wake()
	for _, f := range n.fetches.all() {
		f.scout.Look()
	}
}

// orphans returns the connections whose own end is an address that this machine
// no longer has.
func orphans(h host.Host, on Network) []network.Conn {
	addrs, err := interfaceAddrs(on)
	if err != nil {
		return nil
	}
	ours := make(map[string]bool, len(addrs))
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			ours[n.IP.String()] = true
		}
	}
	var out []network.Conn
	for _, c := range h.Network().Conns() {
		ip, err := manet.ToIP(c.LocalMultiaddr())
		if err == nil && !ip.IsUnspecified() && !ip.IsLoopback() && !ours[ip.String()] {
			out = append(out, c)
		}
	}
	return out
}

// probe closes the connections of peers that don't answer.
func (n *Node) probe(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(probesAtOnce)
	for _, p := range n.host.Network().Peers() {
		g.Go(func() error {
			if err := n.answers(ctx, p); err != nil && ctx.Err() == nil {
				n.log.Info("peer lost with the network", zap.Stringer("peer", p), zap.Error(err))
				_ = n.host.Network().ClosePeer(p)
			}
			return nil
		})
	}
	_ = g.Wait()
}

// answers asks a peer for a sign of life.
func (n *Node) answers(ctx context.Context, p peer.ID) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	x, err := n.exchange.Session(ctx, p)
	if err != nil {
		return err
	}
	_, err = x.Ping(ctx)
	return err
}

package node

import (
	"errors"
	"net"
	"slices"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"
	"go.uber.org/fx"

	"github.com/p2pnode/p2pnode/node/trust"
)

// A Network stands in for the machine's: a simulation has whole nodes speak over
// one in memory. Only QUIC runs on it, so a node that has one listens there with
// UDP alone. TCP remains the machine's, and nobody learns an address of it.
type Network interface {
	// ListenUDP opens a socket, like net.ListenUDP.
	ListenUDP(network string, laddr *net.UDPAddr) (net.PacketConn, error)
	// Addrs returns the addresses of this node's interfaces that are up, each
	// with its prefix (*net.IPNet). It is asked every few seconds.
	Addrs() ([]net.Addr, error)
}

// QUICOver has the QUIC of a libp2p host run on a network that isn't the machine's.
func QUICOver(on Network) libp2p.Option {
	return libp2p.QUICReuse(
		func(l fx.Lifecycle, reset quic.StatelessResetKey, tokens quic.TokenGeneratorKey, o ...quicreuse.Option) (*quicreuse.ConnManager, error) {
			cm, err := quicreuse.NewConnManager(reset, tokens, o...)
			if err != nil {
				return nil, err
			}
			l.Append(fx.StopHook(cm.Close))
			return cm, nil
		}, trust.QUICOver(on.ListenUDP)...)
}

// checkOver fails unless a network other than the machine's can carry what listens.
func checkOver(listen []ma.Multiaddr) error {
	if len(listen) == 0 || slices.ContainsFunc(listen, func(a ma.Multiaddr) bool { return !hasProtocol(a, ma.P_QUIC_V1) }) {
		return errors.New("on a network of its own a node listens with QUIC only: give an address like /ip4/0.0.0.0/udp/4740/quic-v1")
	}
	return nil
}

// interfaceAddrs returns the addresses of the interfaces, loopback among them.
func interfaceAddrs(on Network) ([]net.Addr, error) {
	if on != nil {
		return on.Addrs()
	}
	return net.InterfaceAddrs()
}

// interfaceMultiaddrs returns the same as multiaddrs.
func interfaceMultiaddrs(on Network) ([]ma.Multiaddr, error) {
	if on == nil {
		return manet.InterfaceMultiaddrs()
	}
	addrs, err := on.Addrs()
	if err != nil {
		return nil, err
	}
	out := make([]ma.Multiaddr, 0, len(addrs))
	for _, a := range addrs {
		m, err := manet.FromNetAddr(a)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

package trust

import (
	"net"

	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
)

// A ListenUDP opens a UDP socket, like net.ListenUDP.
type ListenUDP = func(network string, laddr *net.UDPAddr) (net.PacketConn, error)

// WithListenUDP has QUIC run on other sockets than the system's when this identity
// asks an issuer without being admitted: to join, and to renew what ran out. For
// simulations.
func WithListenUDP(listen ListenUDP) Option { return func(o *options) { o.listen = listen } }

// QUICOver returns what makes libp2p's QUIC run on the sockets of listen.
func QUICOver(listen ListenUDP) []quicreuse.Option {
	return []quicreuse.Option{
		quicreuse.OverrideListenUDP(listen),
		quicreuse.OverrideSourceIPSelector(func() (quicreuse.SourceIPSelector, error) { return anySource{}, nil }),
	}
}

// anySource chooses no address to send from: the system's routes don't hold for
// sockets that aren't its own.
type anySource struct{}

func (anySource) PreferredSourceIPForDestination(*net.UDPAddr) (net.IP, error) {
	return net.IPv4zero, nil
}

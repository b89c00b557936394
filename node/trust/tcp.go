package trust

import (
	"context"
	"fmt"
	"net"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// tlsID is negotiated in the place of libp2p's /tls/1.0.0, so a stock libp2p node
// does not even begin a handshake.
const tlsID protocol.ID = "/p2pnode/tls/1"

// tlsTransport is libp2p's TLS 1.3 and, inside it, the exchange: only then does
// the upgrader see the connection. Session tickets are off in libp2p's TLS, so
// nobody can come back without an exchange.
type tlsTransport struct {
	sec.SecureTransport
	g greeter
}

// tlsFor returns a constructor for libp2p.Security, which wants the protocol.ID
// as first parameter.
func tlsFor(g greeter) func(protocol.ID, ic.PrivKey, []upgrader.StreamMuxer) (*tlsTransport, error) {
	return func(id protocol.ID, key ic.PrivKey, muxers []upgrader.StreamMuxer) (*tlsTransport, error) {
		t, err := libp2ptls.New(id, key, muxers)
		return &tlsTransport{t, g}, err
	}
}

func (t *tlsTransport) SecureInbound(ctx context.Context, c net.Conn, p peer.ID) (sec.SecureConn, error) {
	addr := remoteAddr(c)
	free := t.g.enter(addr)
	if free == nil {
		_ = c.Close()
		return nil, fmt.Errorf("admission: %w", ErrBusy)
	}
	defer free()
	wire := newWire(c)
	hctx, cancel := context.WithTimeout(ctx, strangerTime)
	defer cancel()
	sc, err := t.SecureTransport.SecureInbound(hctx, wire, p)
	if err != nil {
		t.g.refuse(Refusal{Addr: addr, Peer: p, Inbound: true, Err: fmt.Errorf("%w: TLS: %w", ErrNotAdmitted, err)})
		return nil, err
	}
	return t.exchange(ctx, sc, wire, false)
}

func (t *tlsTransport) SecureOutbound(ctx context.Context, c net.Conn, p peer.ID) (sec.SecureConn, error) {
	wire := newWire(c)
	sc, err := t.SecureTransport.SecureOutbound(ctx, wire, p)
	if err != nil {
		return nil, err
	}
	return t.exchange(ctx, sc, wire, true)
}

func (t *tlsTransport) exchange(ctx context.Context, sc sec.SecureConn, w *wire, dialer bool) (sec.SecureConn, error) {
	limit := exchangeTime
	if !dialer {
		limit = strangerTime
	}
	stop := context.AfterFunc(ctx, func() { _ = w.Close() })
	defer stop()
	cred, err := Credential{}, sc.SetDeadline(time.Now().Add(limit))
	if err == nil {
		cred, err = meet(t.g, sc, secured{sc, remoteAddr(w)}, dialer)
	}
	if err == nil {
		err = sc.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = sc.Close()
		t.g.refuse(Refusal{Addr: remoteAddr(w), Peer: sc.RemotePeer(), Inbound: !dialer, Err: err})
		return nil, fmt.Errorf("admission: %w", err)
	}
	w.join(t.g.line(cred))
	return &gatherConn{SecureConn: sc, wire: w}, nil
}

// secured adds to a secure connection where it comes from.
type secured struct {
	sec.SecureConn
	addr ma.Multiaddr
}

func (s secured) RemoteMultiaddr() ma.Multiaddr { return s.addr }

func remoteAddr(c net.Conn) ma.Multiaddr {
	a, err := manet.FromNetAddr(c.RemoteAddr())
	if err != nil {
		return nil
	}
	return a
}

package trust

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/pnet"
	"github.com/libp2p/go-libp2p/core/transport"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
)

// quicTransport is libp2p's QUIC; the first stream of every connection carries
// the exchange before anyone else sees the connection.
type quicTransport struct {
	transport.Transport
	g greeter
}

// quicFor returns a constructor for libp2p.Transport.
func quicFor(g greeter) func(ic.PrivKey, *quicreuse.ConnManager, pnet.PSK, connmgr.ConnectionGater, network.ResourceManager) (*quicTransport, error) {
	return func(key ic.PrivKey, cm *quicreuse.ConnManager, psk pnet.PSK, gater connmgr.ConnectionGater, r network.ResourceManager) (*quicTransport, error) {
		t, err := libp2pquic.NewTransport(key, cm, psk, gater, r)
		return &quicTransport{t, g}, err
	}
}

func (t *quicTransport) Dial(ctx context.Context, a ma.Multiaddr, p peer.ID) (transport.CapableConn, error) {
	c, err := t.Transport.Dial(ctx, a, p)
	if err != nil {
		return nil, err
	}
	// Both sides dial when they punch a hole; libp2p then names a client.
	simultaneous, client, _ := network.GetSimultaneousConnect(ctx)
	dialer := !simultaneous || client
	if err := t.exchange(ctx, c, dialer); err != nil {
		_ = c.CloseWithError(network.ConnGated)
		t.g.refuse(Refusal{Addr: a, Peer: p, Inbound: !dialer, Err: err})
		return nil, fmt.Errorf("admission: %w", err)
	}
	return c, nil
}

// exchange runs on the connection's first stream, which ends with ctx.
func (t *quicTransport) exchange(ctx context.Context, c transport.CapableConn, dialer bool) error {
	limit := exchangeTime
	if !dialer {
		limit = strangerTime
	}
	end := time.Now().Add(limit)
	s, err := firstStream(ctx, c, dialer, end)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	if err := s.SetDeadline(end); err != nil {
		return err
	}
	if _, err = meet(t.g, s, c, dialer); err != nil {
		_ = s.Reset()
		return err
	}
	_ = s.Close() // fails if the other side was done with the stream first
	return nil
}

func firstStream(ctx context.Context, c transport.CapableConn, dialer bool, end time.Time) (network.MuxedStream, error) {
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	if dialer {
		return c.OpenStream(ctx)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.CloseWithError(network.ConnGated) })
	defer stop()
	return c.AcceptStream()
}

func (t *quicTransport) Listen(a ma.Multiaddr) (transport.Listener, error) {
	l, err := t.Transport.Listen(a)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	q := &quicListener{Listener: l, t: t, ready: make(chan transport.CapableConn), ended: make(chan struct{}), cancel: cancel}
	go q.loop(ctx)
	return q, nil
}

// quicListener accepts connections, runs the exchange on each at the same time,
// and hands on those that were admitted.
type quicListener struct {
	transport.Listener
	t      *quicTransport
	ready  chan transport.CapableConn
	cancel context.CancelFunc
	ended  chan struct{} // closed when loop and all exchanges are over
	err    error         // why Accept failed; set before ended is closed
}

func (l *quicListener) loop(ctx context.Context) {
	var exchanges sync.WaitGroup
	defer close(l.ended)
	defer exchanges.Wait()
	defer l.cancel()
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			l.err = err
			return
		}
		free := l.t.g.enter(c.RemoteMultiaddr())
		if free == nil {
			_ = c.CloseWithError(network.ConnRateLimited)
			continue
		}
		exchanges.Go(func() {
			err := l.t.exchange(ctx, c, false)
			free()
			if err != nil {
				_ = c.CloseWithError(network.ConnGated)
				l.t.g.refuse(Refusal{Addr: c.RemoteMultiaddr(), Peer: c.RemotePeer(), Inbound: true, Err: err})
				return
			}
			select {
			case l.ready <- c:
			case <-ctx.Done():
				_ = c.Close()
			}
		})
	}
}

func (l *quicListener) Accept() (transport.CapableConn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.ended:
		return nil, l.err
	}
}

func (l *quicListener) Close() error {
	err := l.Listener.Close()
	l.cancel()
	<-l.ended
	return err
}

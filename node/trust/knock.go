package trust

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	madns "github.com/multiformats/go-multiaddr-dns"
	"github.com/quic-go/quic-go"
)

// knockTime is how long one address may take, connecting included.
const knockTime = 15 * time.Second

// knock dials addresses one after the other, without a host, until ask succeeded
// on one of the connections. The connection never becomes more than that.
func knock(ctx context.Context, listen ListenUDP, key ic.PrivKey, addrs []ma.Multiaddr, ask func(channel, ic.PubKey) error) error {
	transports, stop, err := knockers(listen, key, joiner{ask})
	if err != nil {
		return err
	}
	defer stop()
	return again(ctx, func() error { return knockAtAll(ctx, transports, addrs) })
}

func knockAtAll(ctx context.Context, transports []transport.Transport, addrs []ma.Multiaddr) error {
	var errs []error
	for _, a := range addrs {
		to, err := peer.AddrInfoFromP2pAddr(a)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		err = knockAt(ctx, transports, to)
		switch {
		case errors.Is(err, errServed):
			return nil
		case final(err):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		errs = append(errs, fmt.Errorf("%s: %w", a, err))
	}
	if all := errors.Join(errs...); errors.Is(all, ErrNotAdmitted) {
		return all
	}
	return fmt.Errorf("%w: %w", ErrUnreached, errors.Join(errs...))
}

// final reports whether err is an answer that no other address would change.
func final(err error) bool {
	for _, e := range []error{ErrTokenUsed, ErrTokenExpired, ErrForeignEnterprise, ErrRevoked, ErrRekey} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func knockAt(ctx context.Context, transports []transport.Transport, to *peer.AddrInfo) error {
	ctx, cancel := context.WithTimeout(ctx, knockTime)
	defer cancel()
	var errs []error
	for _, a := range to.Addrs {
		found, err := madns.DefaultResolver.Resolve(ctx, a)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, a := range found[:min(len(found), maxBootstrap)] {
			err := fmt.Errorf("no transport for %s", a)
			for _, t := range transports {
				if t.CanDial(a) {
					_, err = t.Dial(ctx, a, to.ID) // always an error: errServed at best
				}
			}
			if errors.Is(err, errServed) || final(err) {
				return err
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// knockers returns the transports that greet with g, and what closes them. QUIC
// runs on the sockets of listen, or on the system's if that is nil.
func knockers(listen ListenUDP, key ic.PrivKey, g greeter) ([]transport.Transport, func(), error) {
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: yamux.DefaultTransport}}
	tls, err := tlsFor(g)(tlsID, key, muxers)
	if err != nil {
		return nil, nil, err
	}
	u, err := upgrader.New([]sec.SecureTransport{tls}, muxers, nil, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	t, err := tcp.NewTCPTransport(u, nil, nil, tcp.DisableReuseport())
	if err != nil {
		return nil, nil, err
	}
	var reset quic.StatelessResetKey
	var tokens quic.TokenGeneratorKey
	rand.Read(reset[:])
	rand.Read(tokens[:])
	// Not DisableReuseport: dialed sockets would stay open after cm.Close.
	var over []quicreuse.Option
	if listen != nil {
		over = QUICOver(listen)
	}
	cm, err := quicreuse.NewConnManager(reset, tokens, over...)
	if err != nil {
		return nil, nil, err
	}
	q, err := quicFor(g)(key, cm, nil, nil, nil)
	if err != nil {
		return nil, nil, errors.Join(err, cm.Close())
	}
	return []transport.Transport{t, q}, func() { _ = cm.Close() }, nil
}

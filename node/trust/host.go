package trust

import (
	"context"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"go.uber.org/zap"
)

// sweepEvery bounds how long a connection may live on without being judged again.
const sweepEvery = 10 * time.Minute

// Options makes a libp2p host speak with members only: TCP first, then QUIC, and
// none of the other transports and security protocols, which would be ways
// around the admission. The host must be made with the identity's Key.
func (a *Admission) Options() libp2p.Option {
	// Frames of 256 KiB instead of 64 cost 5 to 12 % less CPU per byte (measured).
	// yamux ends a connection when writing one takes longer than the timeout: 10 s
	// would cut off honest links below 26 kB/s, a minute those below 4.4 kB/s.
	mux := *yamux.DefaultTransport
	mux.MaxMessageSize = 256 << 10
	mux.ConnectionWriteTimeout = time.Minute
	return libp2p.ChainOptions(
		libp2p.Identity(a.id.key),
		libp2p.Security(string(tlsID), tlsFor(a)),
		libp2p.Muxer(yamux.ID, &mux),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Transport(quicFor(a)),
		libp2p.ConnectionGater(gater{a}),
	)
}

// Attach gives the admission the host that was made with its Options, so that it
// can end connections and talk to other members about what changed. It is called
// once, before Run.
func (a *Admission) Attach(h host.Host) {
	a.mu.Lock()
	a.host = h
	a.mu.Unlock()
	h.SetStreamHandler(a.headsProtocol(), a.serveHeads)
	if a.id.authority != nil {
		h.SetStreamHandler(a.renewProtocol(), a.serveRenewal)
	}
	h.Network().Notify(&network.NotifyBundle{
		ConnectedF: func(_ network.Network, c network.Conn) {
			if c.Stat().Direction == network.DirOutbound {
				select {
				case a.greet <- c.RemotePeer():
				default: // the periodic round reaches it
				}
			}
		},
		DisconnectedF: func(n network.Network, c network.Conn) { a.forget(n, c.RemotePeer()) },
	})
}

// forget drops what is known of a peer that is not connected.
func (a *Admission) forget(n network.Network, p peer.ID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// Another connection may be past the exchange and not yet in the swarm.
	if e := a.admitted[p]; e != nil && n.Connectedness(p) != network.Connected && time.Since(e.at) > settleTime {
		delete(a.admitted, p)
	}
}

// sweep ends the connections of peers that may not be connected any more, and
// returns when it has to be done again.
func (a *Admission) sweep(h host.Host) time.Duration {
	next := sweepEvery
	now := a.id.clock.Now()
	a.mu.Lock()
	peers := make(map[peer.ID]admittedPeer, len(a.admitted))
	for p, e := range a.admitted {
		peers[p] = *e
	}
	a.mu.Unlock()
	for p, e := range peers {
		connected := h.Network().Connectedness(p) == network.Connected
		err := a.current(p)
		switch {
		case err != nil && connected:
			a.refuse(Refusal{Peer: p, Err: a.doubt(err)})
			if cerr := h.Network().ClosePeer(p); cerr != nil {
				a.log.Debug("close connection", zap.Stringer("peer", p), zap.Error(cerr))
			}
		case err == nil:
			next = min(next, e.NotAfter.Sub(now)+time.Second)
		}
		if !connected {
			a.forget(h.Network(), p)
			next = min(next, settleTime)
		}
	}
	return max(next, time.Second)
}

// forgive lets peers be dialed at once that were out of reach only because a
// clock or a credential was out of date: the swarm would wait for minutes.
func (a *Admission) forgive(h host.Host) {
	s, ok := h.Network().(*swarm.Swarm)
	if !ok {
		return
	}
	for _, r := range a.Refused() {
		if !r.Inbound && r.Peer != "" && (errors.Is(r.Err, ErrExpired) || errors.Is(r.Err, ErrNotYetValid)) {
			s.Backoff().Clear(r.Peer)
		}
	}
}

// notify says that lists, signed time or credential changed.
func (a *Admission) notify() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
	a.cfg.OnChange()
}

// Run keeps the admission true over time until ctx ends: it judges connections
// again when lists change and credentials run out, passes on what is new, renews
// this node's credential and, on an issuer, signs the time and the lists.
func (a *Admission) Run(ctx context.Context) error {
	a.mu.Lock()
	h := a.host
	a.mu.Unlock()
	if h == nil {
		return errors.New("admission: Run before Attach")
	}
	if err := a.keepIssuing(); err != nil {
		return err
	}
	spread := newSpreader(a, h)
	defer spread.wait()
	spread.group.Go(func() { a.renewAlways(ctx, h) })
	sweep := time.NewTimer(a.sweep(h))
	defer sweep.Stop()
	issue := time.NewTicker(beaconEvery / 4)
	defer issue.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case p := <-a.greet:
			spread.to(ctx, p)
		case <-a.changed:
			sweep.Reset(a.sweep(h))
			spread.all(ctx)
			a.forgive(h)
			a.hurryRenewal()
		case <-sweep.C:
			sweep.Reset(a.sweep(h))
		case <-issue.C:
			if err := a.keepIssuing(); err != nil {
				a.log.Error("can't sign time and lists", zap.Error(err))
			}
			spread.all(ctx)
		}
	}
}

// keepIssuing makes an issuer's beacon and lists anew when they are due.
func (a *Admission) keepIssuing() error {
	if a.id.authority == nil {
		return nil
	}
	changed, err := a.id.refresh()
	if changed {
		a.notify()
	}
	return err
}

// Revoke ends a membership (see Identity.Revoke), its connections here, and tells
// all that are connected.
func (a *Admission) Revoke(who, reason string) (MemberRecord, error) {
	m, err := a.id.Revoke(who, reason)
	if err == nil {
		a.notify()
	}
	return m, err
}

package trust

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	ic "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/zap"
)

// Renewal is tried first at half of a credential's life, a tenth of it earlier or
// later so that those who joined together don't come together; after a failure
// with growing pauses.
const (
	renewTime  = 30 * time.Second
	retryFirst = time.Minute
	retryMost  = time.Hour
	// hurryEvery is how soon a suspect clock or an expired credential is tried
	// again.
	hurryEvery = 20 * time.Second
)

// The renew protocol: the member opens a stream, the issuer answers with a welcome
// message and lists, as it does for those who join.
func (a *Admission) renewProtocol() protocol.ID {
	return protocol.ID("/p2pnode/" + a.id.Enterprise() + "/renew/1")
}

func (a *Admission) serveRenewal(s network.Stream) {
	select {
	case a.serving <- struct{}{}:
		defer func() { <-a.serving }()
	default:
		_ = s.Reset()
		return
	}
	a.finish(s, a.answerRenewal(s), "renewal for a member")
}

func (a *Admission) answerRenewal(s network.Stream) error {
	if err := s.SetDeadline(time.Now().Add(renewTime)); err != nil {
		return err
	}
	p := s.Conn().RemotePeer()
	if err := a.current(p); err != nil {
		return err
	}
	a.mu.Lock()
	e := a.admitted[p]
	a.mu.Unlock()
	if e == nil {
		return ErrNotAdmitted
	}
	chain, err := a.id.authority.renew(e.proof, a.id.clock.Now())
	if err != nil {
		return errors.Join(err, send(s, message{Kind: refuse, Refusal: refusalOf(err)}))
	}
	return a.sendWelcome(s, chain)
}

// hurryRenewal wakes renewAlways if this node can't be admitted as things are.
func (a *Admission) hurryRenewal() {
	if !a.outOfTime() {
		return
	}
	select {
	case a.hurry <- struct{}{}:
	default:
	}
}

// outOfTime reports whether the credential ran out, or the clock may only make it
// look so.
func (a *Admission) outOfTime() bool {
	return a.id.clock.State() == ClockSuspect || a.id.clock.Now().After(a.id.Credential().NotAfter)
}

// renewAlways keeps this node's credential alive until ctx ends. An issuer renews
// its own in keepIssuing.
func (a *Admission) renewAlways(ctx context.Context, h host.Host) {
	if a.id.authority != nil {
		return
	}
	failed := 0
	wait := a.renewIn()
	for {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-a.hurry:
			t.Stop()
		}
		err := a.renewNow(ctx, h)
		switch {
		case err == nil:
			failed, wait = 0, a.renewIn()
		case a.outOfTime():
			wait = jitter(hurryEvery)
		default:
			wait = jitter(min(retryFirst<<min(failed, 10), retryMost))
			failed++
		}
		if err != nil && ctx.Err() == nil {
			a.log.Warn("credential not renewed", zap.Error(err), zap.Duration("again", wait))
		}
	}
}

// renewIn returns how long the credential needs no renewal.
func (a *Admission) renewIn() time.Duration {
	if a.outOfTime() {
		return 0
	}
	c := a.id.Credential()
	begin := c.NotBefore.Add(backdate)
	life := c.NotAfter.Sub(begin)
	due := begin.Add(life/2 + time.Duration((rand.Float64()-0.5)*0.2*float64(life)))
	return max(due.Sub(a.id.clock.Now()), 0)
}

func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}

// renewNow gets a new credential from an issuer: over an admitted connection while
// the old one holds, else like someone who joins. A clock that is ahead is put
// right on the way, by the issuer's answer; then there may be nothing to renew.
func (a *Admission) renewNow(ctx context.Context, h host.Host) error {
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	p, err := a.findIssuer(ctx, h)
	if err == nil {
		if a.id.clock.Now().Before(a.id.Credential().NotBefore.Add(backdate + leafLife/3)) {
			return nil
		}
		return a.renewWith(ctx, h, p)
	}
	if !a.id.clock.Now().After(a.id.Credential().NotAfter) {
		return err
	}
	if err := a.renewLate(ctx); err != nil {
		return err
	}
	a.forgive(h)
	return nil
}

// findIssuer returns a connected issuer, connecting to where this node joined if
// there is none.
func (a *Admission) findIssuer(ctx context.Context, h host.Host) (peer.ID, error) {
	for _, p := range h.Network().Peers() {
		if c, ok := a.Of(p); ok && c.Roles.Has(Issuer) && a.id.clock.State() != ClockSuspect {
			return p, nil
		}
	}
	err := errors.New("no issuer is known to this node")
	for _, info := range a.id.Bootstrap() {
		if err = h.Connect(ctx, info); err == nil {
			if c, ok := a.Of(info.ID); ok && c.Roles.Has(Issuer) {
				return info.ID, nil
			}
			err = fmt.Errorf("%s is no issuer any more", info.ID)
		}
	}
	return "", fmt.Errorf("find an issuer: %w", err)
}

func (a *Admission) renewWith(ctx context.Context, h host.Host, p peer.ID) error {
	s, err := h.NewStream(ctx, p, a.renewProtocol())
	if err != nil {
		return fmt.Errorf("renew credential with %s: %w", p, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()
	// A stream is negotiated with its first byte; closing our side sends it.
	err = s.CloseWrite()
	if err == nil {
		err = a.takeWelcome(s)
	}
	a.finish(s, err, "renewal")
	return err
}

// takeWelcome reads the answer to a renewal and uses it.
func (a *Admission) takeWelcome(c channel) error {
	m, err := receive(c, welcome)
	if err != nil {
		return err
	}
	if err := a.takeLists(c, m.Lists); err != nil {
		return err
	}
	if err := a.id.renewed(m.Chain); err != nil {
		return err
	}
	a.log.Info("credential renewed", zap.Time("until", a.id.Credential().NotAfter))
	a.notify()
	return nil
}

// renewLate renews a credential that ran out, without a connection in the swarm.
func (a *Admission) renewLate(ctx context.Context) error {
	var addrs []ma.Multiaddr
	for _, info := range a.id.Bootstrap() {
		full, err := peer.AddrInfoToP2pAddrs(&info)
		if err == nil {
			addrs = append(addrs, full...)
		}
	}
	err := knock(ctx, a.id.listen, a.id.key, addrs, func(c channel, _ ic.PubKey) error {
		if err := send(c, message{Kind: renew, Chain: a.id.proof().raw}); err != nil {
			return err
		}
		return a.takeWelcome(c)
	})
	if err != nil {
		return fmt.Errorf("renew credential that ran out: %w", err)
	}
	return nil
}

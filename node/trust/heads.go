package trust

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"go.uber.org/zap"
)

// The heads protocol makes two members agree on what is newest. It runs after
// each dial and again whenever one of them learns something new:
//
//	→ headsMessage
//	← headsMessage, then the lists that the dialer has older or not at all
//	→ the lists that the listener has older or not at all
//
// All are frames. Which lists follow is known to both from the two messages.

const (
	headsTime = 30 * time.Second
	maxHeads  = 16 << 10 // bytes of a headsMessage
	maxGreet  = 1024     // peers waiting for their first exchange
	// Exchanges at once; inbound ones may each hold a list in memory.
	headsOut = 8
	headsIn  = 8
)

type headsMessage struct {
	Heads  []head   `cbor:"1,keyasint"`
	Beacon []byte   `cbor:"2,keyasint,omitempty"`
	Chain  [][]byte `cbor:"3,keyasint,omitempty"` // the sender's, which may be newer than at admission
}

func (a *Admission) headsProtocol() protocol.ID {
	return protocol.ID("/p2pnode/" + a.id.Enterprise() + "/heads/1")
}

func parseHeads(b []byte) (headsMessage, error) {
	var m headsMessage
	if len(b) > maxHeads {
		return m, fmt.Errorf("%w: %d bytes of heads", ErrMessage, len(b))
	}
	if err := decode(b, &m); err != nil {
		return m, fmt.Errorf("%w: heads: %v", ErrMessage, err)
	}
	if len(m.Heads) > maxLists || len(m.Beacon) > maxBeacon || len(m.Chain) > maxChain {
		return m, fmt.Errorf("%w: heads out of bounds", ErrMessage)
	}
	return m, nil
}

func (a *Admission) ourHeads() headsMessage {
	b, _ := a.id.Beacon()
	return headsMessage{Heads: a.id.revoked.heads(), Beacon: b, Chain: a.id.proof().raw}
}

// swapHeads runs the protocol on s from either side.
func (a *Admission) swapHeads(s network.Stream, dialer bool) error {
	if err := s.SetDeadline(time.Now().Add(headsTime)); err != nil {
		return err
	}
	ours := a.ourHeads()
	var theirs headsMessage
	read := func() error {
		b, err := readFrame(s, maxHeads)
		if err == nil {
			theirs, err = parseHeads(b)
		}
		return err
	}
	write := func() error { return writeFrame(s, encode(ours)) }
	give := func() error {
		for _, i := range lacks(ours.Heads, theirs.Heads) {
			if err := writeFrame(s, a.id.revoked.raw(i)); err != nil {
				return err
			}
		}
		return nil
	}
	take := func() error { return a.takeLists(s, len(lacks(theirs.Heads, ours.Heads))) }
	steps := []func() error{read, write, give, take}
	if dialer {
		steps = []func() error{write, read, take, give}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	a.hear(theirs.Beacon, nil)
	a.renewPeer(s.Conn(), theirs.Chain)
	return nil
}

// takeLists reads n lists and uses those that are news.
func (a *Admission) takeLists(r io.Reader, n int) error {
	for range n {
		raw, err := readFrame(r, maxList)
		if err != nil {
			return fmt.Errorf("read revocation list: %w", err)
		}
		news, err := a.id.heed(raw)
		if err != nil {
			return err
		}
		if news {
			a.log.Info("a newer revocation list came", zap.Int("bytes", len(raw)))
			a.notify()
		}
	}
	return nil
}

// renewPeer notes that a connected peer has a newer credential, so that its
// connection need not end with the old one.
func (a *Admission) renewPeer(c network.Conn, chain [][]byte) {
	a.mu.Lock()
	e := a.admitted[c.RemotePeer()]
	a.mu.Unlock()
	if len(chain) == 0 || e != nil && bytes.Equal(e.raw[0], chain[0]) {
		return
	}
	if _, err := a.admit(chain, c.RemotePublicKey()); err != nil {
		a.log.Debug("credential of a connected peer refused", zap.Stringer("peer", c.RemotePeer()), zap.Error(err))
	}
}

// serveHeads handles the protocol for whoever dialed.
func (a *Admission) serveHeads(s network.Stream) {
	select {
	case a.serving <- struct{}{}:
		defer func() { <-a.serving }()
	default:
		_ = s.Reset()
		return
	}
	a.finish(s, a.swapHeads(s, false), "exchange of heads")
}

func (a *Admission) finish(s network.Stream, err error, what string) {
	if err != nil {
		_ = s.Reset()
		a.log.Debug(what+" failed", zap.Stringer("peer", s.Conn().RemotePeer()), zap.Error(err))
		return
	}
	_ = s.Close()
}

// A spreader runs exchanges of heads with peers, a few at a time and each peer
// once at a time.
type spreader struct {
	a     *Admission
	h     host.Host
	group sync.WaitGroup
	slots chan struct{}

	mu    sync.Mutex
	state map[peer.ID]bool // under way or waiting; true: once more after that
}

func newSpreader(a *Admission, h host.Host) *spreader {
	return &spreader{a: a, h: h, slots: make(chan struct{}, headsOut), state: make(map[peer.ID]bool)}
}

func (s *spreader) wait() { s.group.Wait() }

func (s *spreader) all(ctx context.Context) {
	for _, p := range s.h.Network().Peers() {
		s.to(ctx, p)
	}
}

func (s *spreader) to(ctx context.Context, p peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, busy := s.state[p]; busy {
		s.state[p] = true
		return
	}
	s.state[p] = false
	s.group.Go(func() {
		for again := true; again; {
			s.once(ctx, p)
			s.mu.Lock()
			if again = s.state[p] && ctx.Err() == nil; again {
				s.state[p] = false
			} else {
				delete(s.state, p)
			}
			s.mu.Unlock()
		}
	})
}

func (s *spreader) once(ctx context.Context, p peer.ID) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(network.WithNoDial(ctx, "heads go to connected peers"), headsTime)
	defer cancel()
	st, err := s.h.NewStream(ctx, p, s.a.headsProtocol())
	if err != nil {
		s.a.log.Debug("exchange of heads failed", zap.Stringer("peer", p), zap.Error(err))
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = st.Reset() })
	defer stop()
	s.a.finish(st, s.a.swapHeads(st, true), "exchange of heads")
}

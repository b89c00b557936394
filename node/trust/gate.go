package trust

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// strangerTime is how long a connection may take until its credential is
	// verified; exchangeTime is how long the whole exchange may take.
	strangerTime = 5 * time.Second
	exchangeTime = 10 * time.Second

	// Exchanges in flight, both kinds together at most 128. Sources from which a
	// member came lately have slots of their own, so strangers can't take the
	// last ones.
	strangerSlots = 64
	memberSlots   = 64

	maxKnownSources = 4096
	knownFor        = time.Hour
)

// slots bounds inbound exchanges. Who finds none free is refused at once: a queue
// would only let a flood push members out of time.
type slots struct {
	mu       sync.Mutex
	stranger int
	member   int
	known    map[string]time.Time // IP address, when a member was last admitted from it
}

// take returns the function that gives the slot back, or nil if none is free.
func (s *slots) take(ip string) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	pool := &s.stranger
	if at, ok := s.known[ip]; ok && time.Since(at) < knownFor && s.member < memberSlots {
		pool = &s.member
	} else if s.stranger >= strangerSlots {
		return nil
	}
	*pool++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		*pool--
	})
}

// admitted notes that a member came from ip.
func (s *slots) admitted(ip string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = make(map[string]time.Time)
	}
	if len(s.known) >= maxKnownSources {
		clear(s.known) // cheaper than to search for the oldest, and soon full again
	}
	s.known[ip] = time.Now()
}

// source returns the IP address of a multiaddr as text.
func source(a ma.Multiaddr) string {
	if a == nil {
		return ""
	}
	for _, p := range []int{ma.P_IP4, ma.P_IP6} {
		if v, err := a.ValueForProtocol(p); err == nil {
			return v
		}
	}
	return a.String()
}

// gater is the second line behind the exchange: whatever path a connection took,
// without a verified credential it doesn't enter the swarm.
type gater struct{ a *Admission }

// InterceptPeerDial spares the dial to peers whose key is revoked.
func (g gater) InterceptPeerDial(p peer.ID) bool { return !g.a.id.revoked.keyRevoked(p) }

func (g gater) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

// InterceptAccept starts a stranger's time when its connection is accepted, not
// only when it begins to speak. (QUIC bounds its own handshake by 5 s; its
// connections have no deadline and are timed by the listener.)
func (g gater) InterceptAccept(c network.ConnMultiaddrs) bool {
	if d, ok := c.(interface{ SetDeadline(time.Time) error }); ok {
		return d.SetDeadline(time.Now().Add(strangerTime)) == nil
	}
	return true
}

// InterceptSecured leaves the revoked to the exchange, which tells them why; QUIC
// asks before it and TCP after it.
func (g gater) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool { return true }

func (g gater) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	return g.a.current(c.RemotePeer()) == nil, 0
}

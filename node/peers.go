package node

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

const (
	keepPeers = 16 // below so many connected members, known ones are dialled
	// keepFar is the same of members at other sites, for a node that serves the
	// DHT. A site of 17 is enough for itself: after its link was cut for a minute,
	// the DHT alone took six to find the others again (testnet/sim).
	keepFar     = 4
	maxNear     = 4096 // members of the own site remembered as such
	dialsAtOnce = 8
	// One look every 5 s costs nothing and bounds how long a restarted
	// bootstrap node stays alone; each peer has its own back-off beside it.
	keepEvery   = 5 * time.Second
	dialTimeout = 10 * time.Second
	minBackoff  = 2 * time.Second
	maxBackoff  = 5 * time.Minute
)

// A keeper holds this node in touch with its enterprise: it dials those it was
// told of and those it met before, again and again but ever more rarely, until
// enough are connected.
type keeper struct {
	host host.Host
	book *peerbook
	told []peer.AddrInfo // from configuration and invite: never forgotten
	// far reports whether a connected peer is at another site; nil for a node that
	// leaves those to others.
	far  func(peer.ID) bool
	log  *zap.Logger
	wake chan struct{}

	mu    sync.Mutex
	tries map[peer.ID]attempt
	near  map[peer.ID]bool // whom far was false of when last connected
}

// An attempt is what the keeper knows of dialling a peer that doesn't answer.
type attempt struct {
	next    time.Time
	backoff time.Duration
}

func newKeeper(h host.Host, book *peerbook, told []peer.AddrInfo, far func(peer.ID) bool, log *zap.Logger) *keeper {
	return &keeper{host: h, book: book, told: told, far: far, log: log, wake: make(chan struct{}, 1), tries: make(map[peer.ID]attempt), near: make(map[peer.ID]bool)}
}

// Run works until ctx ends.
func (k *keeper) Run(ctx context.Context) error {
	sub, err := k.host.EventBus().Subscribe([]any{new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerConnectednessChanged)})
	if err != nil {
		return err
	}
	defer sub.Close()
	defer func() {
		if err := k.book.save(); err != nil {
			k.log.Warn("peer book not saved", zap.Error(err))
		}
	}()
	// Dialling takes seconds, and an event bus waits for who doesn't listen.
	var g errgroup.Group
	g.Go(func() error { k.keepOn(ctx); return nil })
	defer func() { _ = g.Wait() }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-sub.Out():
			k.note(e)
		}
	}
}

// keepOn dials, and saves the book now and then, until ctx ends.
func (k *keeper) keepOn(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	saved := time.Now()
	k.keep(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
		case <-tick.C:
		}
		k.keep(ctx)
		if time.Since(saved) > time.Minute {
			saved = time.Now()
			if err := k.book.save(); err != nil {
				k.log.Warn("peer book not saved", zap.Error(err))
			}
		}
	}
}

// Wake makes the keeper look at once and forget its back-offs: the network
// changed, or somebody asks for peers.
func (k *keeper) Wake() {
	k.mu.Lock()
	clear(k.tries)
	clear(k.near)
	k.mu.Unlock()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) note(e any) {
	switch e := e.(type) {
	case event.EvtPeerIdentificationCompleted:
		// What identify tells are the addresses it listens on; the connection's
		// own remote address is, for an inbound one, a passing port.
		k.book.met(e.Peer, e.ListenAddrs, time.Now())
		k.mu.Lock()
		delete(k.tries, e.Peer)
		k.mu.Unlock()
	case event.EvtPeerConnectednessChanged:
		if e.Connectedness == network.NotConnected {
			select {
			case k.wake <- struct{}{}:
			default:
			}
		}
	}
}

// keep dials who is due, if too few are connected.
func (k *keeper) keep(ctx context.Context) {
	missing, far := k.missing(k.host.Network().Peers())
	if missing <= 0 {
		return
	}
	var g errgroup.Group
	g.SetLimit(dialsAtOnce)
	for _, info := range k.due(time.Now(), missing, far) {
		g.Go(func() error {
			k.dial(ctx, info)
			return nil
		})
	}
	_ = g.Wait() // dial reports by itself
}

// missing returns how many more members are to be connected than these, and
// whether only those at other sites are wanted.
func (k *keeper) missing(connected []peer.ID) (n int, onlyFar bool) {
	n = keepPeers - len(connected)
	if k.far == nil {
		return n, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.near) > maxNear {
		clear(k.near)
	}
	far := 0
	for _, p := range connected {
		if k.far(p) {
			far++
			delete(k.near, p)
		} else {
			k.near[p] = true
		}
	}
	if keepFar-far > n {
		return keepFar - far, true
	}
	return n, false
}

// due returns up to n known peers that are not connected and whose back-off is
// over, and moves their back-off on. If only those at other sites are wanted, who
// was last at this one is left out: a site with nobody elsewhere would dial its own
// for ever.
func (k *keeper) due(now time.Time, n int, onlyFar bool) []peer.AddrInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []peer.AddrInfo
	seen := map[peer.ID]bool{k.host.ID(): true}
	for _, info := range slices.Concat(k.told, k.book.peers()) {
		if seen[info.ID] || len(out) == n || onlyFar && k.near[info.ID] || k.host.Network().Connectedness(info.ID) == network.Connected {
			continue
		}
		seen[info.ID] = true
		a := k.tries[info.ID]
		if now.Before(a.next) {
			continue
		}
		a.backoff = min(max(2*a.backoff, minBackoff), maxBackoff)
		a.next = now.Add(a.backoff/2 + rand.N(a.backoff))
		k.tries[info.ID] = a
		out = append(out, info)
	}
	return out
}

func (k *keeper) dial(ctx context.Context, info peer.AddrInfo) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	err := k.connect(ctx, info)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		k.log.Debug("member not reached", zap.Stringer("peer", info.ID), zap.Error(err))
	}
}

// connect dials a peer unless it is connected. The swarm's own back-off for it
// is dropped first: whoever calls has its own.
func (k *keeper) connect(ctx context.Context, info peer.AddrInfo) error {
	if info.ID == k.host.ID() {
		return nil
	}
	if k.host.Network().Connectedness(info.ID) == network.Connected {
		return nil
	}
	clearBackoff(k.host, info.ID)
	k.host.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.TempAddrTTL)
	return k.host.Connect(ctx, info)
}

// lookup returns what is known of where a peer is.
func (k *keeper) lookup(id peer.ID) peer.AddrInfo {
	info := k.host.Peerstore().PeerInfo(id)
	for _, known := range k.book.peers() {
		if known.ID == id {
			info.Addrs = append(info.Addrs, known.Addrs...)
		}
	}
	return info
}

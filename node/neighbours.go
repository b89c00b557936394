package node

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/bandwidth"
)

const (
	// nearAtOnce neighbours are dialled as soon as they are heard: a small site is
	// whole at once. All nodes of a large subnet hear the same few first, who would
	// be dialled by everyone.
	nearAtOnce = 8
	// enoughNear connected members of the site are enough to take content from and to
	// keep the site in one piece; delegates are dialled beside them (discovery/site).
	// With as many who dial this node, it stays below the 64 that are kept.
	enoughNear = 24
	// nearEvery is between two of those beyond the first: drawn from all who were
	// heard, of whom there are more every second.
	nearEvery = 5 * time.Second
	maxHeard  = 256 // neighbours remembered to be dialled later
)

// A neighbourhood decides which of the neighbours heard by mDNS are dialled. Of a
// subnet of thousands each node is in touch with a few, drawn by chance: then hardly
// ever is a part of them apart from the others.
type neighbourhood struct {
	mu    sync.Mutex
	heard map[peer.ID]peer.AddrInfo // and not yet dialled
}

func newNeighbourhood() *neighbourhood {
	return &neighbourhood{heard: make(map[peer.ID]peer.AddrInfo)}
}

// hear notes a neighbour, of a node connected to so many near ones, and reports
// whether to dial it now.
func (h *neighbourhood) hear(info peer.AddrInfo, near int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if near < nearAtOnce {
		delete(h.heard, info.ID)
		return true
	}
	if _, known := h.heard[info.ID]; !known && len(h.heard) >= maxHeard {
		for p := range h.heard { // any one
			delete(h.heard, p)
			break
		}
	}
	h.heard[info.ID] = info
	return false
}

// next takes one of those heard, if one more is wanted.
func (h *neighbourhood) next(near int) (peer.AddrInfo, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if near >= enoughNear {
		return peer.AddrInfo{}, false
	}
	// In the map's order, which differs each time.
	for p, info := range h.heard {
		delete(h.heard, p)
		return info, true
	}
	return peer.AddrInfo{}, false
}

// near returns how many members of the site are connected.
func (n *Node) near() int {
	near := 0
	for _, p := range n.host.Network().Peers() {
		if n.link(p) == bandwidth.LAN {
			near++
		}
	}
	return near
}

// neighbour dials a peer that mDNS found, now or later, unless there are enough.
func (n *Node) neighbour(ctx context.Context, info peer.AddrInfo) {
	if n.neighbours.hear(info, n.near()) {
		n.keeper.dial(ctx, info)
	}
}

// meetNeighbours dials neighbours heard before, one now and then, until there are
// enough.
func (n *Node) meetNeighbours(ctx context.Context) error {
	for sleep(ctx, nearEvery) {
		info, ok := n.neighbours.next(n.near())
		if !ok || n.host.Network().Connectedness(info.ID) == network.Connected {
			continue
		}
		n.log.Debug("one more neighbour", zap.Stringer("peer", info.ID))
		n.keeper.dial(ctx, info)
	}
	return nil
}

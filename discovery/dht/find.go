package dht

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
)

// Find yields whoever the servers nearest to key name as its holder, this node
// excepted, at most 128 of them.
func (d *DHT) Find(ctx context.Context, key content.Hash) iter.Seq[peer.AddrInfo] {
	return func(yield func(peer.AddrInfo) bool) {
		ctx, cancel := context.WithCancel(ctx)
		found := d.kad.FindProvidersAsync(ctx, key.Raw(), maxFound)
		defer func() {
			cancel()
			for range found { // the walk ends when nobody takes what it found
			}
		}()
		// A holder may be named first without addresses and then with them: it
		// waits for them until the walk is over.
		seen := make(map[peer.ID]bool)
		var bare []peer.ID
		for ai := range found {
			switch {
			case ai.ID == d.host.ID() || seen[ai.ID]:
			case len(ai.Addrs) == 0:
				bare = append(bare, ai.ID)
			default:
				seen[ai.ID] = true
				if !yield(ai) {
					return
				}
			}
		}
		for _, p := range bare {
			if seen[p] || ctx.Err() != nil {
				continue
			}
			seen[p] = true
			if !yield(d.host.Peerstore().PeerInfo(p)) {
				return
			}
		}
	}
}

const (
	// A Refresh dials some bootstrap peers, at once: two that answer are enough,
	// and of many that are known most may be off.
	refreshDials = 8
	refreshWait  = 10 * time.Second
)

// Refresh looks around anew after the network changed: it turns to the
// bootstrap peers and asks the servers it knew whether they are still there. It
// returns when the routing table was gone through once, or ctx ended.
func (d *DHT) Refresh(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, refreshWait)
	defer cancel()
	var wg sync.WaitGroup
	peers := d.cfg.Bootstrap()
	for _, i := range rand.Perm(len(peers))[:min(len(peers), refreshDials)] {
		if peers[i].ID != d.host.ID() {
			wg.Go(func() { _ = d.host.Connect(dialing, peers[i]) }) // others may do
		}
	}
	wg.Wait()
	select {
	case err := <-d.kad.ForceRefresh():
		if err != nil {
			return fmt.Errorf("refresh the DHT's routing table: %w", err)
		}
		return d.prov.RefreshSchedule()
	case <-ctx.Done():
		return ctx.Err()
	}
}

package node

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// maxBans bounds the table; the one that ends first goes first.
const maxBans = 4096

// bans remembers who gave bad bytes, across flows. They are forgotten when the
// node stops: whoever does it again is banned again after two blocks.
type bans struct {
	mu    sync.Mutex
	until map[peer.ID]time.Time
}

func newBans() *bans { return &bans{until: make(map[peer.ID]time.Time)} }

// Ban implements flow.Bans.
func (b *bans) Ban(p peer.ID, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until[p] = until
	if len(b.until) <= maxBans {
		return
	}
	first, at := p, until
	for q, t := range b.until {
		if t.Before(at) {
			first, at = q, t
		}
	}
	delete(b.until, first)
}

// Banned implements flow.Bans.
func (b *bans) Banned(p peer.ID) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	until, ok := b.until[p]
	if ok && time.Now().After(until) {
		delete(b.until, p)
		return time.Time{}
	}
	return until
}

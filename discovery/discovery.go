// Package discovery holds the words for where content can be had: a source, who
// finds it, who tells of it.
//
// A node looks for a content with every Finder it has and at once: the DHT of the
// enterprise (discovery/dht) and the neighbours on its subnet (discovery/mdns).
// Who is at the node's own site, and who speaks for it, discovery/site knows.
// What finders return is a hint and leads only to a dial; admission (node/trust)
// decides who is spoken to, and the exchange tells who really has what. Which
// source is asked next is decided in discovery/rank.
package discovery

import (
	"context"
	"iter"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
)

// A Finder looks for peers that hold what a key names.
type Finder interface {
	// Find yields peers as they are found, each at most once, until ctx ends
	// or there are no more. Addresses may be missing or stale.
	Find(ctx context.Context, key content.Hash) iter.Seq[peer.AddrInfo]
}

// An Announcer tells others that this node holds what the keys name.
type Announcer interface {
	// Announce returns once the keys are noted; telling goes on in the
	// background and is repeated until Withdraw, across restarts too.
	Announce(keys ...content.Hash) error
	// Withdraw stops telling. Records already out run out by themselves.
	Withdraw(keys ...content.Hash) error
}

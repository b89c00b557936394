package dht

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
)

// plainHolders is how many providers a plain key is to have beside publishers: once
// from delegates, and at most as many again from other holders. A server answers
// for 1,000 providers in about a millisecond and 90 kB, for 100,000 in 200 ms.
const plainHolders = 1000

// SiteKey returns the key under which those at a site are found who hold what key
// names: SHA-256 of "p2pnode held at site", NUL, the site's id, NUL and the 32
// bytes of key. No manifest, chunk or name has a key made of these bytes.
func SiteKey(key content.Hash, site string) content.Hash {
	return derived("p2pnode held at site", site, key)
}

// RegionKey returns the same for a region: it begins "p2pnode held in region".
func RegionKey(key content.Hash, region string) content.Hash {
	return derived("p2pnode held in region", region, key)
}

func derived(what, where string, key content.Hash) content.Hash {
	return content.Sum(append([]byte(what+"\x00"+where+"\x00"), key[:]...))
}

// A Holder is a node that holds something, with what decides under which keys it
// says so.
type Holder struct {
	Peer      peer.ID
	Publisher bool   // of what it holds
	Site      string // where it is
	Region    string // of the site; empty if none is known
	// Delegates speak for the site; this node may be one of them. Without any, each
	// node speaks for itself.
	Delegates []peer.ID
	// Members is how many nodes of the site are known, this one among them. Only
	// a delegate is asked for it, and knows them all.
	Members int
	// Nodes is how many nodes the enterprise has, by estimate; 0 if not known.
	Nodes int
}

// Keys returns the keys under which a content, or a name, is announced:
//
//   - the site's, by every holder: as many providers as the site has nodes;
//   - the region's, by one delegate: as many as the region has sites;
//   - the plain one as Plain says.
func (h Holder) Keys(key content.Hash) []content.Hash {
	keys := []content.Hash{SiteKey(key, h.Site)}
	if h.Region != "" && h.seat(key) == 0 {
		keys = append(keys, RegionKey(key, h.Region))
	}
	if h.Plain(key) {
		keys = append(keys, key)
	}
	return keys
}

// Plain reports whether the plain key is announced: by its publisher, by whoever
// has nobody to speak for it, and by so many others that it has no more than
// about 2,000 providers, however many nodes there are.
//
// A node has a share of 1,000/Nodes in them, 1 at most. The delegates have that of
// all members together, the first of them for this key first: at 1,000 sites of
// 100 nodes each site has a share of 1, so that one delegate of each is found. Of
// a share below 1 a lot decides, always the same for a node and a key.
func (h Holder) Plain(key content.Hash) bool {
	if h.Publisher || len(h.Delegates) == 0 {
		return true
	}
	if h.Nodes <= 0 {
		return false
	}
	share := plainHolders / float64(h.Nodes)
	if seat := h.seat(key); seat >= 0 {
		share = share*float64(h.Members) - float64(seat)
	}
	return lot(h.Peer, key) < share
}

// A plain key with fewer than rareBelow other providers is announced by whoever
// notices, and then until there are as many as commonFrom.
const (
	rareBelow  = 8
	commonFrom = 64
)

// Rare reports whether a holder announces the plain key though Plain says no: few
// others do. A content that few sites hold would have no provider there once its
// publisher is gone. told says that the holder does already; others need not be
// counted further than Enough.
func Rare(others int, told bool) bool { return others < Enough(told) }

// Enough returns from how many other providers on a key isn't rare.
func Enough(told bool) int {
	if told {
		return commonFrom
	}
	return rareBelow
}

// Speaks reports whether this node tells of single chunks too: it is a publisher,
// or speaks for its site or for itself.
func (h Holder) Speaks() bool {
	return h.Publisher || len(h.Delegates) == 0 || slices.Contains(h.Delegates, h.Peer)
}

// seat returns which of the delegates this node is for a key, in the order of
// rendezvous hashing (Thaler and Ravishankar, 1998); -1 if it is none.
func (h Holder) seat(key content.Hash) int {
	if !slices.Contains(h.Delegates, h.Peer) {
		return -1
	}
	mine, seat := draw(h.Peer, key), 0
	for _, d := range h.Delegates {
		if x := draw(d, key); bytes.Compare(x[:], mine[:]) < 0 {
			seat++
		}
	}
	return seat
}

// lot returns a number from 0 to below 1 that stays the same for a peer and a key.
// It uses other bytes of the draw than those that order the seats.
func lot(p peer.ID, key content.Hash) float64 {
	var n uint64
	lots := draw(p, key)
	for _, b := range lots[sha256.Size-7:] {
		n = n<<8 | uint64(b)
	}
	return float64(n>>3) * 0x1p-53
}

func draw(p peer.ID, key content.Hash) [sha256.Size]byte {
	return sha256.Sum256(append(key[:], p...))
}

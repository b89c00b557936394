package site

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
)

// Seats is how many delegates a site has at most. One to work, one to take over
// while the next is found, and one to share contents among.
const Seats = 3

// Delegates returns who of the members speak for their site: up to three, the best
// first. Whoever is silent or unwilling is none.
//
// It depends on what the members say of themselves, on their credentials and on
// nothing else, so that all who heard the same agree. Whoever was admitted for this
// site comes before guests: a member may say that it is at any site, and one of
// another that is up to no good isn't to speak for this one. That holds for hysteresis too: a member says itself
// since when it is a delegate, and keeps its seat against everyone who isn't of a
// clearly better class: no guest against a guest, on mains against on battery, on a
// wire against on the air.
// Of several that sit the one that has for longest is first, so that a node that
// was its own delegate while it was alone takes nobody's seat when it finds the
// others. More uptime or disk decide for a seat that is free.
func Delegates(members []Member) []peer.ID {
	best := fittest(members, Seats)
	ids := make([]peer.ID, 0, Seats)
	for _, m := range best {
		ids = append(ids, m.Peer)
	}
	return ids
}

// fittest returns the n members that are fittest to be delegates, the best first.
func fittest(members []Member, n int) []Member {
	type ranked struct {
		Member
		lot [sha256.Size]byte
	}
	fit := make([]ranked, 0, len(members))
	for _, m := range members {
		if m.Willing && !m.Silent {
			fit = append(fit, ranked{m, draw(nil, m.Peer)})
		}
	}
	slices.SortFunc(fit, func(a, b ranked) int {
		return cmp.Or(
			first(a.Home, b.Home),
			first(a.Mains, b.Mains),
			first(a.Wired, b.Wired),
			first(!a.Sits.IsZero(), !b.Sits.IsZero()),
			a.Sits.Compare(b.Sits),
			cmp.Compare(b.Uptime, a.Uptime),
			cmp.Compare(room(b.Free), room(a.Free)),
			bytes.Compare(a.lot[:], b.lot[:]),
		)
	})
	best := make([]Member, 0, n)
	for _, r := range fit[:min(len(fit), n)] {
		best = append(best, r.Member)
	}
	return best
}

// first orders whoever something is true of before whom it isn't.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// draw returns a peer's lot for a purpose: always the same, and evenly spread.
func draw(purpose []byte, p peer.ID) [sha256.Size]byte {
	return sha256.Sum256(append(purpose[:len(purpose):len(purpose)], p...))
}

// Planner returns which of the delegates plans a content: the first by rendezvous
// hashing (Thaler and Ravishankar, 1998), so that contents spread over them, and a
// delegate that comes or goes moves only those that are its own.
func Planner(id content.ID, delegates []peer.ID) (peer.ID, bool) {
	if len(delegates) == 0 {
		return "", false
	}
	return slices.MinFunc(delegates, func(a, b peer.ID) int {
		x, y := draw(id[:], a), draw(id[:], b)
		return bytes.Compare(x[:], y[:])
	}), true
}

package flow

import (
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

// DefaultRing is the number of decisions a Ring keeps by default: an ask and a
// got for each of the last 2,000 chunks or so, in about 400 kB. Of a content of
// 10,000 chunks it has forgotten the first 8,000 by the end, which is why it keeps
// trails beside them.
const DefaultRing = 4096

// A Ring keeps the last decisions of all flows of a node, and, for longer and in a few
// bytes each, where every chunk came from (Arrivals). It may be used from several
// goroutines.
type Ring struct {
	mu     sync.Mutex
	kept   []Decision // grows to size, then goes round
	next   int        // where the next one goes once kept is full
	size   int
	trails trails
}

// NewRing returns a Ring of size decisions; DefaultRing if size is 0.
func NewRing(size int) *Ring {
	if size <= 0 {
		size = DefaultRing
	}
	return &Ring{size: size, trails: newTrails(time.Now())}
}

// Add keeps ds, in place of the oldest ones.
func (r *Ring) Add(ds ...Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range ds {
		r.trails.add(d)
		if len(r.kept) < r.size {
			r.kept = append(r.kept, d)
			continue
		}
		r.kept[r.next] = d
		r.next = (r.next + 1) % r.size
	}
}

// All returns a copy of what is kept, oldest first.
func (r *Ring) All() []Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Decision, 0, len(r.kept))
	out = append(out, r.kept[r.next:]...)
	return append(out, r.kept[:r.next]...)
}

// Arrivals returns where the chunks of a content came from, by their index; it may be
// shorter than the content. Of a chunk that came otherwise than by a flow, or longer ago
// than is remembered, the arrival is zero.
func (r *Ring) Arrivals(id content.ID) []Arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trails.arrivals(id)
}

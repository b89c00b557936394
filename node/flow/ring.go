package flow

import "sync"

// DefaultRing is the number of decisions a Ring keeps by default: an ask and a
// got for each of the last 2,000 chunks or so, in about 400 kB.
const DefaultRing = 4096

// A Ring keeps the last decisions of all flows of a node. It may be used from
// several goroutines.
type Ring struct {
	mu   sync.Mutex
	kept []Decision // grows to size, then goes round
	next int        // where the next one goes once kept is full
	size int
}

// NewRing returns a Ring of size decisions; DefaultRing if size is 0.
func NewRing(size int) *Ring {
	if size <= 0 {
		size = DefaultRing
	}
	return &Ring{size: size}
}

// Add keeps ds, in place of the oldest ones.
func (r *Ring) Add(ds ...Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range ds {
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

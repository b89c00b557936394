package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// Whoever brings bytes reserves room for them first (Receive, Content.Reserve,
// Reserve), and gives back what is left of it at the end. Reservations are decided
// one after the other, so that no room is given twice.

// A Reservation keeps room for bytes that are about to come.
type Reservation struct {
	store  *Store
	staged bool
	id     content.ID // unless staged
	size   int64      // of all of it; guarded by deciding and reservations.mu, either to read
	wrote  atomic.Int64
	hold   func() // release of the content; nil without one
	once   sync.Once

	leaving []*Content // make room for it once they were copied from; guarded by reservations.mu
}

// Wrote says how many of the bytes that Store.Reserve was asked for are on the
// disk by now.
func (r *Reservation) Wrote(n int64) { r.wrote.Store(n) }

// More keeps room for size bytes more than Store.Reserve was asked for; those are
// on the disk by now. The error wraps content.ErrNoSpace if there is none; then the
// reservation is what it was.
func (r *Reservation) More(size int64) error {
	s := r.store
	defer s.decide()()
	r.wrote.Store(r.size)
	if _, err := s.makeRoom(size, nil); err != nil {
		return err
	}
	s.reservations.mu.Lock()
	defer s.reservations.mu.Unlock()
	r.size += size
	return nil
}

// Reused says that all was copied that is to be (Content.Reuse): what makes room
// for it, and stayed for that, goes now, as far as the room is needed yet. The
// second time does nothing.
func (r *Reservation) Reused() {
	s := r.store
	defer s.decide()()
	s.reservations.mu.Lock()
	leaving := r.leaving
	r.leaving = nil
	s.reservations.mu.Unlock()
	if len(leaving) == 0 {
		return
	}
	sp, err := s.Space()
	if err != nil {
		s.logger.Error("limits of the cache are not kept", zap.Error(err))
		return
	}
	for _, c := range leaving {
		c.care.copied.Store(0) // by now
	}
	all := slices.DeleteFunc(s.holdings(nil), func(h holding) bool {
		return h.leaving || !slices.ContainsFunc(leaving, func(c *Content) bool { return c.id == h.id })
	})
	now := time.Now()
	n := sp.need(0)
	if err := s.evict(evict(all, evict(all, need{}, now).most(n), now).victims); err != nil {
		s.logger.Error("limits of the cache are not kept", zap.Error(err))
	}
}

// Release gives back what was not used. The second time does nothing.
func (r *Reservation) Release() {
	r.once.Do(func() {
		r.store.reservations.mu.Lock()
		delete(r.store.reservations.all, r)
		r.store.reservations.mu.Unlock()
		if r.hold != nil {
			r.hold()
		}
	})
}

// reservations are those that were not released.
type reservations struct {
	deciding sync.Mutex // held from a look at the space until what comes of it is done; before folders
	gone     []*Content // evicted, and not told yet; guarded by deciding

	mu  sync.Mutex
	all map[*Reservation]struct{}
}

// decide begins a decision about room; the returned function ends it, and tells
// then what was evicted. Who is told may take long, or come back.
func (s *Store) decide() (done func()) {
	s.reservations.deciding.Lock()
	return func() {
		gone := s.reservations.gone
		s.reservations.gone = nil
		s.reservations.deciding.Unlock()
		if s.cfg.Hooks.Evicted == nil {
			return
		}
		for _, c := range gone {
			s.cfg.Hooks.Evicted(c)
		}
	}
}

// underWay returns the contents that somebody brings. It is called with mu held.
func (r *reservations) underWay() map[content.ID]bool {
	ids := make(map[content.ID]bool, len(r.all))
	for x := range r.all {
		if !x.staged {
			ids[x.id] = true
		}
	}
	return ids
}

// leaving returns the contents that make room once they were copied from. It is
// called with mu held.
func (r *reservations) leaving() map[*Content]bool {
	all := make(map[*Content]bool)
	for x := range r.all {
		for _, c := range x.leaving {
			if c.ended() == nil {
				all[c] = true
			}
		}
	}
	return all
}

// An arrival is a content that is to come.
type arrival struct {
	id     content.ID
	chunks map[content.Hash]struct{}
	kin    []content.ID // of which it may have blocks, if not whole chunks
}

func newArrival(id content.ID, m *content.Manifest, kin []content.ID) *arrival {
	a := &arrival{id, make(map[content.Hash]struct{}, len(m.Chunks)), kin}
	for _, c := range m.Chunks {
		a.chunks[c.Hash] = struct{}{}
	}
	return a
}

// sharesWith reports whether a content has something of what is to come.
func (a *arrival) sharesWith(c *Content) bool {
	if a == nil || c.id == a.id {
		return false
	}
	if slices.Contains(a.kin, c.id) {
		return true
	}
	for i, m := range c.manifest.Chunks {
		if _, ok := a.chunks[m.Hash]; ok && c.holds(i) {
			return true
		}
	}
	return false
}

// Reserve keeps room for size bytes that a stage is about to take, as Cost tells. The error
// wraps content.ErrNoSpace, and says what stands in the way, if there is none.
func (s *Store) Reserve(size int64) (*Reservation, error) {
	r := &Reservation{store: s, staged: true, size: size}
	if err := s.reserve(r, size, nil); err != nil {
		return nil, err
	}
	return r, nil
}

// Reserve keeps room for what is missing of a content that somebody is about to
// bring, and keeps it from being evicted until then. The error wraps
// content.ErrNoSpace, and says what stands in the way, if there is no room. Kin are
// other versions of it: what makes room for it and has bytes of it stays until
// Reused is called.
func (c *Content) Reserve(kin ...content.ID) (*Reservation, error) {
	r := &Reservation{store: c.store, id: c.id, size: c.cost, hold: c.Hold()}
	if err := c.store.reserve(r, c.missing(), newArrival(c.id, c.manifest, kin)); err != nil {
		r.hold()
		return nil, err
	}
	if err := c.ended(); err != nil { // evicted before it was held
		r.Release()
		return nil, err
	}
	return r, nil
}

// Receive is Begin for a content whose bytes are about to come, with room reserved
// for what is missing of it as by Content.Reserve. The error wraps
// content.ErrNoSpace, and says what stands in the way, if there is none; then
// nothing was written.
func (s *Store) Receive(enc content.Encoded, kin ...content.ID) (*Content, *Reservation, error) {
	for c, ok := s.Get(enc.ID); ok; c, ok = s.Get(enc.ID) {
		r, err := c.Reserve(kin...)
		if !errors.Is(err, content.ErrNotFound) { // else it is gone, or about to be
			return c, r, err
		}
	}
	m, err := content.Decode(enc.ID, enc.Root, enc.Segments)
	if err != nil {
		return nil, nil, fmt.Errorf("begin content: %w", err)
	}
	r := &Reservation{store: s, id: enc.ID, size: s.Cost(m.Files)}
	if err := s.reserve(r, r.size, newArrival(enc.ID, m, kin)); err != nil {
		return nil, nil, fmt.Errorf("begin content %v: %w", enc.ID, err)
	}
	c, err := s.Begin(enc)
	if err != nil {
		r.Release()
		return nil, nil, err
	}
	r.hold = c.Hold()
	return c, r, nil
}

// reserve makes room for size bytes of what comes, which may be nil, and notes r.
func (s *Store) reserve(r *Reservation, size int64, coming *arrival) error {
	defer s.decide()()
	// A content that others bring already has its room.
	s.reservations.mu.Lock()
	if !r.staged && s.reservations.underWay()[r.id] {
		size = 0
	}
	s.reservations.mu.Unlock()
	leaving, err := s.makeRoom(size, coming)
	if err != nil {
		return err
	}
	s.reservations.mu.Lock()
	defer s.reservations.mu.Unlock()
	r.leaving = leaving
	s.reservations.all[r] = struct{}{}
	return nil
}

package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// Limits of the room that contents may take. Whoever brings bytes reserves room
// for them first (Receive, Content.Reserve, Reserve), and gives back what is left
// of it at the end. What doesn't fit beside all that is here and reserved has
// others evicted (evict.go), or is refused before anything is written. Partial
// contents that nobody brings reserve nothing.
//
// Two limits hold. The quota is about verified bytes of contents, and about those
// reserved. The floor is about what the disk has left, whoever took the rest: it
// is looked at again while blocks are written, and every minute, since others
// write to the disk too.

const (
	mostFloor  = 5 << 30
	leastQuota = 10 << 30

	// tidyEvery is how often Run looks whether the limits still hold.
	tidyEvery = time.Minute
	// What was evicted for the floor and gave nothing back, since somebody has
	// clones or links of the files, isn't tried again for a while.
	tidyPause = time.Hour

	// mostGranted bounds the bytes written between two looks at the disk.
	mostGranted = 256 << 20
)

// Hooks are what a store asks and tells those above it. Any may be nil. They may
// not call the store's methods that change it, and not wait.
type Hooks struct {
	// Wish returns what others know of a content's worth.
	Wish func(content.ID) Wish
	// Evicted is told of a content that made room, and is gone.
	Evicted func(*Content)
	// Damaged is told of a content of which blocks went bad on the disk. They count
	// no more, and have to be fetched again.
	Damaged func(*Content)
}

// A Space says how the store's disk stands, in bytes.
type Space struct {
	Free, Total int64 // of the disk, to this process
	Floor       int64 // to be left free
	Quota       int64 // what contents may have; the disk's size if there is no other
	Used        int64 // by contents
	Reserved    int64 // for what is under way, yet to come

	promised int64 // by the quota's count, which has staged bytes too
}

// short returns how many bytes are missing to take size more.
func (s Space) short(size int64) int64 {
	return max(0, s.Used+s.promised+size-s.Quota, s.Reserved+size-(s.Free-s.Floor))
}

// Space returns how the store's disk stands.
func (s *Store) Space() (Space, error) {
	free, total, err := s.cfg.Space(s.cfg.Dir)
	if err != nil {
		return Space{}, fmt.Errorf("find out how much space is free: %w", err)
	}
	sp := Space{Free: clip(free), Total: clip(total)}
	sp.Floor, sp.Quota = s.cfg.floor(sp.Total), s.cfg.quota(sp.Total)
	for _, c := range s.List() {
		sp.Used += c.occupies()
	}
	s.reservations.mu.Lock()
	defer s.reservations.mu.Unlock()
	counted := make(map[content.ID]bool)
	for r := range s.reservations.all {
		if r.staged {
			sp.promised += r.size
			sp.Reserved += max(0, r.size-r.wrote.Load())
			continue
		}
		if counted[r.id] {
			continue
		}
		counted[r.id] = true
		left := r.size
		if c, ok := s.Get(r.id); ok {
			left = c.missing()
		}
		sp.promised += left
		sp.Reserved += left
	}
	return sp, nil
}

func clip(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

func (c Config) floor(total int64) int64 {
	switch c.Floor {
	case NoFloor:
		return 0
	case 0:
		return min(total/10, mostFloor)
	}
	return c.Floor
}

func (c Config) quota(total int64) int64 {
	switch {
	case c.Quota == NoLimit:
		return total
	case c.Quota == 0 && c.QuotaShare == 0:
		return max(total/10, leastQuota)
	}
	quota := int64(math.MaxInt64)
	if c.Quota > 0 {
		quota = c.Quota
	}
	if c.QuotaShare > 0 {
		quota = min(quota, int64(c.QuotaShare*float64(total)))
	}
	return quota
}

// missing returns how many bytes are yet to come.
func (c *Content) missing() int64 { return max(0, c.size-c.Progress()) }

// A Reservation keeps room for bytes that are about to come.
type Reservation struct {
	store  *Store
	staged bool
	id     content.ID // unless staged
	size   int64      // of all of it; guarded by deciding and reservations.mu, either to read
	wrote  atomic.Int64
	hold   func() // release of the content; nil without one
	once   sync.Once
}

// Wrote says how many of the bytes that Store.Reserve was asked for are on the
// disk by now.
func (r *Reservation) Wrote(n int64) { r.wrote.Store(n) }

// More keeps room for size bytes more than Store.Reserve was asked for; those are
// on the disk by now. The error wraps content.ErrNoSpace if there is none; then the
// reservation is what it was.
func (r *Reservation) More(size int64) error {
	s := r.store
	s.reservations.deciding.Lock()
	defer s.reservations.deciding.Unlock()
	r.wrote.Store(r.size)
	if err := s.makeRoom(size); err != nil {
		return err
	}
	s.reservations.mu.Lock()
	defer s.reservations.mu.Unlock()
	r.size += size
	return nil
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

	mu  sync.Mutex
	all map[*Reservation]struct{}
}

// underWay returns the contents that somebody brings.
func (r *reservations) underWay() map[content.ID]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make(map[content.ID]bool, len(r.all))
	for x := range r.all {
		if !x.staged {
			ids[x.id] = true
		}
	}
	return ids
}

// Reserve keeps room for size bytes that a stage is about to take. The error
// wraps content.ErrNoSpace, and says what stands in the way, if there is none.
func (s *Store) Reserve(size int64) (*Reservation, error) {
	r := &Reservation{store: s, staged: true, size: size}
	if err := s.reserve(r, size); err != nil {
		return nil, err
	}
	return r, nil
}

// Reserve keeps room for what is missing of a content that somebody is about to
// bring, and keeps it from being evicted until then. The error wraps
// content.ErrNoSpace, and says what stands in the way, if there is no room.
func (c *Content) Reserve() (*Reservation, error) {
	r := &Reservation{store: c.store, id: c.id, size: c.size, hold: c.Hold()}
	if err := c.store.reserve(r, c.missing()); err != nil {
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
// for what is missing of it. The error wraps content.ErrNoSpace, and says what
// stands in the way, if there is none; then nothing was written.
func (s *Store) Receive(enc content.Encoded) (*Content, *Reservation, error) {
	for c, ok := s.Get(enc.ID); ok; c, ok = s.Get(enc.ID) {
		r, err := c.Reserve()
		if !errors.Is(err, content.ErrNotFound) { // else it is gone, or about to be
			return c, r, err
		}
	}
	m, err := content.Decode(enc.ID, enc.Root, enc.Segments)
	if err != nil {
		return nil, nil, fmt.Errorf("begin content: %w", err)
	}
	r := &Reservation{store: s, id: enc.ID, size: m.Size()}
	if err := s.reserve(r, m.Size()); err != nil {
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

// reserve evicts what has to go for size bytes, and notes r.
func (s *Store) reserve(r *Reservation, size int64) error {
	s.reservations.deciding.Lock()
	defer s.reservations.deciding.Unlock()
	// A content that others bring already has its room.
	if !r.staged && s.reservations.underWay()[r.id] {
		size = 0
	}
	if err := s.makeRoom(size); err != nil {
		return err
	}
	s.reservations.mu.Lock()
	defer s.reservations.mu.Unlock()
	s.reservations.all[r] = struct{}{}
	return nil
}

// makeRoom evicts what has to go for size bytes. It is called with deciding held.
func (s *Store) makeRoom(size int64) error {
	sp, err := s.Space()
	if err != nil {
		return err
	}
	short := sp.short(size)
	if short == 0 {
		return nil
	}
	e := evict(s.holdings(), short, time.Now())
	if e.short > 0 {
		return s.noRoom(sp, size, e)
	}
	if err := s.evict(e.victims); err != nil {
		return err
	}
	if sp, err = s.Space(); err != nil {
		return err
	}
	if sp.short(size) > 0 { // clones and links of what went are elsewhere, or somebody was faster
		return s.noRoom(sp, size, evict(s.holdings(), math.MaxInt64, time.Now()))
	}
	return nil
}

// Room returns an error that wraps content.ErrNoSpace, and says what stands in the
// way, if there is no room for size bytes, whatever were evicted.
func (s *Store) Room(size int64) error {
	sp, err := s.Space()
	if err != nil {
		return err
	}
	short := sp.short(size)
	if short == 0 {
		return nil
	}
	if e := evict(s.holdings(), short, time.Now()); e.short > 0 {
		return s.noRoom(sp, size, e)
	}
	return nil
}

// noRoom says what is needed, what there is, and what stands in the way.
func (s *Store) noRoom(sp Space, size int64, e eviction) error {
	b := func(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
	limit := fmt.Sprintf("%s free, of which %s are kept free", b(sp.Free), b(sp.Floor))
	next := "free some"
	if over := sp.Used + sp.promised + size - sp.Quota; over > 0 && over >= sp.Reserved+size-(sp.Free-sp.Floor) {
		limit = fmt.Sprintf("%s of the quota of %s are used", b(sp.Used), b(sp.Quota))
		next = "raise the quota (p2pnode run --cache-quota)"
	}
	if sp.promised > 0 {
		limit += fmt.Sprintf(", %s are reserved for what is under way", b(sp.promised))
	}
	return fmt.Errorf("%w: %s needed at %s, %s; %s can be evicted (%v): %s, or let contents go (p2pnode content unpin ID, p2pnode content rm ID), and try again",
		content.ErrNoSpace, b(size), s.cfg.Dir, limit, b(e.could), e, next)
}

// holdings returns all contents as eviction sees them.
func (s *Store) holdings() []holding {
	now := time.Now()
	underWay := s.reservations.underWay()
	all := s.List()
	out := make([]holding, 0, len(all))
	for _, c := range all {
		h := holding{
			id: c.id, size: c.occupies(), used: c.LastUsed(), complete: c.Complete(),
			pinned: c.Pinned(), underWay: underWay[c.id], read: c.beingRead(now),
		}
		if s.cfg.Hooks.Wish != nil {
			h.Wish = s.cfg.Hooks.Wish(c.id)
		}
		out = append(out, h)
	}
	return out
}

// evict removes contents, but for those that turned out to be needed since.
func (s *Store) evict(victims []holding) error {
	var errs []error
	for _, v := range victims {
		c, ok := s.Get(v.id)
		if !ok || !c.retire() {
			continue
		}
		if removed, err := s.removeRetired(c); !removed {
			errs = append(errs, err)
			continue
		}
		s.stats.Evicted.Add(1)
		s.stats.EvictedBytes.Add(v.size)
		s.logger.Info("evicted to make room", zap.Stringer("content", v.id), zap.Int64("bytes", v.size), zap.Time("used", v.used))
		if s.cfg.Hooks.Evicted != nil {
			s.cfg.Hooks.Evicted(c)
		}
	}
	return errors.Join(errs...)
}

// retire ends all use of the content, unless it is to be kept by now.
func (c *Content) retire() bool {
	if c.beingRead(time.Now()) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.care.pinned || c.care.holds > 0 || c.end != nil {
		return false
	}
	c.end = fmt.Errorf("content %v was evicted: %w", c.id, content.ErrNotFound)
	c.tell()
	return true
}

// A Usage says what contents take of the store's disk.
type Usage struct {
	Space
	Contents    int
	Reclaimable int64 // bytes that may be evicted
	Pinned      int64
	Partial     int64 // of contents that are not whole
	Damaged     int   // contents
}

// Usage returns what contents take of the store's disk.
func (s *Store) Usage() (Usage, error) {
	sp, err := s.Space()
	if err != nil {
		return Usage{}, err
	}
	u := Usage{Space: sp}
	all := s.holdings()
	u.Contents = len(all)
	u.Reclaimable = evict(all, 0, time.Now()).could
	for _, h := range all {
		if h.pinned {
			u.Pinned += h.size
		}
		if !h.complete {
			u.Partial += h.size
		}
		if c, ok := s.Get(h.id); ok && c.Damaged() {
			u.Damaged++
		}
	}
	return u, nil
}

// A Cleanup says what Clean evicted, or would.
type Cleanup struct {
	Contents []content.ID // the least valuable first
	Freed    int64
	Short    int64  // bytes that it was to free beyond, and couldn't
	Why      string // what stood in the way
}

// Clean evicts until contents take at most used bytes and both limits hold; with
// dry it only says what would go.
func (s *Store) Clean(used int64, dry bool) (Cleanup, error) {
	s.reservations.deciding.Lock()
	defer s.reservations.deciding.Unlock()
	sp, err := s.Space()
	if err != nil {
		return Cleanup{}, err
	}
	return s.clean(max(sp.short(0), sp.Used-used), dry)
}

// clean evicts as much of need as may go. It is called with deciding held.
func (s *Store) clean(need int64, dry bool) (Cleanup, error) {
	all, now := s.holdings(), time.Now()
	e := evict(all, need, now)
	short := e.short
	if short > 0 {
		e = evict(all, e.could, now)
	}
	out := Cleanup{Freed: e.freed, Short: short}
	if short > 0 {
		out.Why = e.String()
	}
	for _, v := range e.victims {
		out.Contents = append(out.Contents, v.id)
	}
	if dry {
		return out, nil
	}
	return out, s.evict(e.victims)
}

// tidy keeps the limits while nobody asks for room: others may fill the disk, and
// quotas are lowered. Need is what somebody is about to write. It is called with
// deciding held.
func (s *Store) tidy(need int64) {
	s.granted.Store(0)
	before, err := s.Space()
	if err != nil {
		s.logger.Error("limits of the cache are not kept", zap.Error(err))
		return
	}
	if need = before.short(need); need == 0 || time.Now().Before(s.untidy) {
		return
	}
	gone, err := s.clean(need, false)
	if err != nil {
		s.logger.Error("limits of the cache are not kept", zap.Error(err))
	}
	if after, err := s.Space(); err == nil && after.Free-before.Free < gone.Freed/2 && after.short(0) > 0 {
		s.untidy = time.Now().Add(tidyPause)
	}
}

// keepTidy keeps the limits until ctx is done.
func (s *Store) keepTidy(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		s.reservations.deciding.Lock()
		s.tidy(0)
		s.reservations.deciding.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// A floorError says that the disk would have less left than is to be kept free.
type floorError struct {
	dir  string
	need int64 // bytes that were to be written
}

func (e *floorError) Error() string {
	return fmt.Sprintf("%v: the disk of %s is down to what is kept free: free some, and try again", content.ErrNoSpace, e.dir)
}

func (e *floorError) Unwrap() error { return content.ErrNoSpace }

// mayWrite returns a floorError if n bytes more would leave less of the disk than
// its floor.
func (s *Store) mayWrite(n int64) error {
	if s.granted.Add(-n) >= 0 {
		return nil
	}
	ok, err := s.grant(n)
	if !ok && err == nil {
		err = &floorError{s.cfg.Dir, n}
	}
	return err
}

// giveWay makes room for who can't write to c: the cache gives way to who fills the
// disk, but not what is coming in. No call that uses a content may be
// under way, as who removes that content waits for it, and is waited for here.
func (s *Store) giveWay(c *Content, need int64) {
	defer c.Hold()()
	s.reservations.deciding.Lock()
	defer s.reservations.deciding.Unlock()
	s.tidy(need)
}

// grant looks at the disk, and reports whether n bytes may be written; if so,
// others may follow without a look.
func (s *Store) grant(n int64) (bool, error) {
	s.granting.Lock()
	defer s.granting.Unlock()
	if s.granted.Add(-n) >= 0 { // somebody looked meanwhile
		return true, nil
	}
	free, total, err := s.cfg.Space(s.cfg.Dir)
	if err != nil {
		return false, fmt.Errorf("find out how much space is free: %w", err)
	}
	left := clip(free) - s.cfg.floor(clip(total))
	if left < n {
		return false, nil
	}
	s.granted.Store(min(left, mostGranted) - n)
	return true, nil
}

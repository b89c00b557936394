package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// Limits of the room that contents may take. Whoever brings bytes reserves room
// for them first (reserve.go). What doesn't fit beside all that is here and
// reserved has others evicted (evict.go), or is refused before anything is written.
// Partial contents that nobody brings reserve nothing.
//
// Two limits hold. The quota is about what contents cost (cost.go), and about what
// is reserved. The floor is about what the disk has left, whoever took the rest: it
// is looked at again while blocks are written, and every minute, since others
// write to the disk too.
//
// What makes room under the quota for something that it shares bytes with stays
// until these were copied (Reservation.Reused). Meanwhile the quota is exceeded by
// as much as that has; the floor never is.

const (
	mostFloor  = 5 << 30
	leastQuota = 10 << 30

	// tidyEvery is how often Run looks whether the limits still hold.
	tidyEvery = time.Minute
	// What was evicted for the floor and gave nothing back, since somebody has
	// clones or links of the files, isn't tried again for a while.
	tidyPause = time.Hour

	// leastFree is what the node's own files need to go on: where nothing is kept
	// free, less is worth a warning.
	leastFree = 16 << 20

	// mostGranted bounds the bytes written between two looks at the disk.
	mostGranted = 256 << 20
)

// Hooks are what a store asks and tells those above it. Any may be nil.
type Hooks struct {
	// Wish returns what others know of a content's worth. It may not wait, nor call
	// the store's methods that change it.
	Wish func(content.ID) Wish
	// Evicted is told of a content that made room, and is gone. Who needed the room
	// waits for it, nobody else does: the content may be here again by now.
	Evicted func(*Content)
	// Damaged is told of a content of which blocks went bad on the disk. They count
	// no more, and have to be fetched again. It may not wait, nor call the store's
	// methods that change it.
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
	leaving  int64 // of Used: goes as soon as what it shares was copied
}

// need returns what is missing to take size bytes more.
func (s Space) need(size int64) need {
	return need{
		disk:  max(0, s.Reserved+size-(s.Free-s.Floor)),
		quota: max(0, s.Used-s.leaving+s.promised+size-s.Quota),
	}
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
	for c := range s.reservations.leaving() {
		if !c.Pinned() {
			sp.leaving += c.occupies()
		}
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

// makeRoom evicts what has to go for size bytes. What shares bytes with what comes
// may stay until these were copied, if the disk has room for both: it is returned.
// It is called with deciding held.
func (s *Store) makeRoom(size int64, coming *arrival) (leaving []*Content, err error) {
	sp, err := s.Space()
	if err != nil {
		return nil, err
	}
	n := sp.need(size)
	if n == (need{}) {
		return nil, nil
	}
	e := evict(s.holdings(coming), n, time.Now())
	if e.short > 0 {
		return nil, s.noRoom(sp, size, e)
	}
	if err := s.evict(e.victims); err != nil {
		return nil, err
	}
	if sp, err = s.Space(); err != nil {
		return nil, err
	}
	for _, h := range e.later {
		if c, ok := s.Get(h.id); ok {
			leaving = append(leaving, c)
			sp.leaving += h.size
		}
	}
	if sp.need(size) != (need{}) { // clones and links of what went are elsewhere, or somebody was faster
		return nil, s.noRoom(sp, size, evict(s.holdings(coming), need{disk: math.MaxInt64}, time.Now()))
	}
	return leaving, nil
}

// Room returns an error that wraps content.ErrNoSpace, and says what stands in the
// way, if there is no room for size bytes, whatever were evicted.
func (s *Store) Room(size int64) error {
	sp, err := s.Space()
	if err != nil {
		return err
	}
	n := sp.need(size)
	if n == (need{}) {
		return nil
	}
	if e := evict(s.holdings(nil), n, time.Now()); e.short > 0 {
		return s.noRoom(sp, size, e)
	}
	return nil
}

// Low returns an error that wraps content.ErrNoSpace, and says what stands in the
// way, if the limits can't be kept, or hardly anything is left of a disk of which
// nothing is to be kept free.
func (s *Store) Low() error {
	if err := s.Room(0); err != nil {
		return err
	}
	sp, err := s.Space()
	if err != nil {
		return err
	}
	if least := min(leastFree, sp.Total/100); sp.Floor < least && sp.Free < least {
		return fmt.Errorf("%w: %s left of the disk of %s: free some, or let contents go (p2pnode content unpin ID, p2pnode content rm ID)",
			content.ErrNoSpace, humanize.IBytes(uint64(sp.Free)), s.cfg.Dir)
	}
	return nil
}

// noRoom says what is needed, what there is, and what stands in the way.
func (s *Store) noRoom(sp Space, size int64, e eviction) error {
	b := func(n int64) string { return humanize.IBytes(uint64(max(0, n))) }
	limit := fmt.Sprintf("%s free, of which %s are kept free", b(sp.Free), b(sp.Floor))
	next := "free some"
	if n := sp.need(size); n.quota > 0 && n.quota >= n.disk {
		limit = fmt.Sprintf("%s of the quota of %s are used", b(sp.Used-sp.leaving), b(sp.Quota))
		next = "raise the quota (p2pnode run --cache-quota)"
	}
	if sp.promised > 0 {
		limit += fmt.Sprintf(", %s are reserved for what is under way", b(sp.promised))
	}
	return fmt.Errorf("%w: %s needed at %s, %s; %s can be evicted (%v): %s, or let contents go (p2pnode content unpin ID, p2pnode content rm ID), and try again",
		content.ErrNoSpace, b(size), s.cfg.Dir, limit, b(e.could), e, next)
}

// holdings returns all contents as eviction sees them, for something that is to
// come, or nil.
func (s *Store) holdings(coming *arrival) []holding {
	now := time.Now()
	s.reservations.mu.Lock()
	underWay, leaving := s.reservations.underWay(), s.reservations.leaving()
	s.reservations.mu.Unlock()
	all := s.List()
	out := make([]holding, 0, len(all))
	for _, c := range all {
		h := holding{
			id: c.id, size: c.occupies(), used: c.LastUsed(), complete: c.Complete(),
			pinned: c.Pinned(), underWay: underWay[c.id], read: c.beingRead(now),
			shares: coming.sharesWith(c), leaving: leaving[c],
		}
		if s.cfg.Hooks.Wish != nil {
			h.Wish = s.cfg.Hooks.Wish(c.id)
		}
		out = append(out, h)
	}
	return out
}

// evict removes contents, but for those that turned out to be needed since. It is
// called with deciding held.
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
		s.reservations.gone = append(s.reservations.gone, c)
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
	all := s.holdings(nil)
	u.Contents = len(all)
	u.Reclaimable = evict(all, need{}, time.Now()).could
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
	defer s.decide()()
	sp, err := s.Space()
	if err != nil {
		return Cleanup{}, err
	}
	n := sp.need(0)
	n.disk = max(n.disk, sp.Used-used)
	return s.clean(n, dry, nil)
}

// clean evicts as much of what is needed as may go. It is called with deciding held.
func (s *Store) clean(n need, dry bool, coming *arrival) (Cleanup, error) {
	all, now := s.holdings(coming), time.Now()
	e := evict(all, n, now)
	out := Cleanup{Short: e.short}
	if e.short > 0 {
		out.Why = e.String()
		e = evict(all, e.most(n), now)
	}
	// What stays for a while is none of these: nobody is to copy it.
	victims := slices.Concat(e.victims, e.later)
	for _, v := range victims {
		out.Freed += v.size
		out.Contents = append(out.Contents, v.id)
	}
	if dry {
		return out, nil
	}
	return out, s.evict(victims)
}

// tidy keeps the limits while nobody asks for room: others may fill the disk, and
// quotas are lowered. Size is what somebody is about to write for what comes, which
// may be nil. It is called with deciding held.
func (s *Store) tidy(size int64, coming *arrival) {
	s.granted.Store(0)
	before, err := s.Space()
	if err != nil {
		s.logger.Error("limits of the cache are not kept", zap.Error(err))
		return
	}
	n := before.need(size)
	if n == (need{}) || time.Now().Before(s.untidy) {
		return
	}
	gone, err := s.clean(n, false, coming)
	if err != nil {
		s.logger.Error("limits of the cache are not kept", zap.Error(err))
	}
	if after, err := s.Space(); err == nil && after.Free-before.Free < gone.Freed/2 && after.need(0) != (need{}) {
		s.untidy = time.Now().Add(tidyPause)
	}
}

// keepTidy keeps the limits until ctx is done.
func (s *Store) keepTidy(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		s.keepLimits()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Store) keepLimits() {
	defer s.decide()()
	s.tidy(0, nil)
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

// giveWay makes room for who can't write to c, and reports whether it is worth
// another try: the cache gives way to who fills the disk, but not what is coming in.
// Where the disk is full already, above the floor or where somebody else bounds what
// this process may have, what is leaving anyway goes now. No call that uses a
// content may be under way, as who removes that content waits for it, and is waited
// for here.
func (s *Store) giveWay(c *Content, why error) bool {
	defer c.Hold()()
	defer s.decide()()
	coming := newArrival(c.id, c.manifest, nil)
	if full := (*floorError)(nil); errors.As(why, &full) {
		s.tidy(full.need, coming)
		return true
	}
	sp, err := s.Space()
	if err != nil || sp.leaving == 0 {
		return false
	}
	gone, err := s.clean(need{disk: sp.leaving}, false, coming)
	if err != nil {
		s.logger.Error("limits of the cache are not kept", zap.Error(err))
	}
	return len(gone.Contents) > 0
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

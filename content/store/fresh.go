package store

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// Bytes that were right once need not be right now, so what is read is hashed
// again, unless that was done lately: since the store was opened, and within the
// last week. Blocks that are written, committed or verified count as that. What
// turns out wrong is damage: it isn't given out, counts no more, and whoever is
// above the store is told to fetch it again (Hooks.Damaged).
//
// When each block was hashed is known by generation: a mark is made in the young
// one, and after half a week the young one is the old one and the old one is
// forgotten. So a block is fresh for 3.5 to 7 days, at two bits each for contents
// that are used, and nothing for others.
const (
	freshFor   = 7 * 24 * time.Hour
	generation = freshFor / 2
)

// freshness tells which blocks of a content were hashed lately.
type freshness struct {
	// Files of the content can be written to from outside: they are the user's, or
	// an export linked them. Nothing of them is ever fresh.
	exposed atomic.Bool

	mu         sync.Mutex
	born       time.Time // when young began
	young, old marks
}

// marks are those of one generation.
type marks struct {
	all    bool     // every block, but for those in not
	blocks []uint64 // per chunk, a bit per block; nil: none
	not    map[int]uint64
}

func (m *marks) has(chunk int, mask uint64) uint64 {
	if m.all {
		return mask &^ m.not[chunk]
	}
	if m.blocks == nil {
		return 0
	}
	return mask & m.blocks[chunk]
}

func (m *marks) add(chunk int, mask uint64, chunks int) {
	if m.all {
		if m.not[chunk] != 0 {
			m.not[chunk] &^= mask
		}
		return
	}
	if m.blocks == nil {
		m.blocks = make([]uint64, chunks)
	}
	m.blocks[chunk] |= mask
}

func (m *marks) drop(chunk int, mask uint64) {
	switch {
	case m.all:
		if m.not == nil {
			m.not = make(map[int]uint64)
		}
		m.not[chunk] |= mask
	case m.blocks != nil:
		m.blocks[chunk] &^= mask
	}
}

// turn lets generations pass. It is called with mu held.
func (f *freshness) turn(now time.Time) {
	switch age := now.Sub(f.born); {
	case age < generation:
		return
	case age < freshFor:
		f.old = f.young
	default:
		f.old = marks{}
	}
	f.young, f.born = marks{}, now
}

// of returns which blocks of mask are fresh.
func (f *freshness) of(now time.Time, chunk int, mask uint64) uint64 {
	if f.exposed.Load() {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn(now)
	return f.young.has(chunk, mask) | f.old.has(chunk, mask)
}

// mark notes that blocks were right just now.
func (f *freshness) mark(now time.Time, chunk int, mask uint64, chunks int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn(now)
	f.young.add(chunk, mask, chunks)
}

// markAll notes that all blocks were.
func (f *freshness) markAll(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turn(now)
	f.young = marks{all: true}
}

// drop forgets that blocks were right.
func (f *freshness) drop(chunk int, mask uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.young.drop(chunk, mask)
	f.old.drop(chunk, mask)
}

// stale returns which blocks of a chunk are here and not fresh.
func (c *Content) stale(now time.Time, chunk int) uint64 {
	var have uint64
	c.mu.Lock()
	complete := c.partial == nil
	if !complete {
		have = c.partial.verified[chunk]
	}
	lost := c.lost[chunk]
	c.mu.Unlock()
	if complete {
		have = all(content.MaxBlocks) // if the list is bad, all of it is
		if l, err := c.list(chunk); err == nil {
			have = all(len(l.blocks))
		}
	}
	have &^= lost
	return have &^ c.fresh.of(now, chunk, have)
}

// check hashes a block that was read, unless it is fresh.
func (c *Content) check(now time.Time, chunk, block int, data []byte, want content.Hash) error {
	bit := uint64(1) << block
	if c.fresh.of(now, chunk, bit) != 0 {
		return nil
	}
	if content.Sum(data) != want {
		return content.ErrCorrupt
	}
	c.fresh.mark(now, chunk, bit, len(c.manifest.Chunks))
	return nil
}

// verifyStale hashes what is here and wasn't hashed lately, before it is given
// out in bulk. What is damaged counts no more; the error wraps content.ErrCorrupt
// then.
func (c *Content) verifyStale(ctx context.Context) error {
	bad, err := c.verify(ctx, &verification{content: c, stale: true})
	if err == nil && len(bad) > 0 {
		err = fmt.Errorf("%d chunks went bad on the disk and have to be fetched again: %w", len(bad), content.ErrCorrupt)
	}
	return err
}

// suspects are damages that are not on the disk's record yet.
type suspects struct {
	mu   sync.Mutex
	of   map[*Content][]Damage
	wake chan struct{} // holds one when there are some
}

// damage makes what was found while reading count no more: in memory at once, on
// disk soon.
func (c *Content) damage(d Damage) {
	c.distrust(d)
	x := &c.store.suspects
	x.add(c, d)
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

func (x *suspects) add(c *Content, bad ...Damage) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.of[c] = append(x.of[c], bad...)
}

// condemnAll notes damages on disk as they are found, and tries again what the disk
// refused, until ctx is done.
func (s *Store) condemnAll(ctx context.Context) {
	again := time.NewTicker(s.cfg.SyncEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.suspects.wake:
		case <-again.C:
		}
		s.suspects.mu.Lock()
		of := maps.Clone(s.suspects.of)
		s.suspects.mu.Unlock()
		for c := range of {
			if c.enter() != nil {
				continue // gone, or about to be, and who ends it takes them
			}
			if err := c.noteDamage(); err != nil {
				s.tell(c.id, "damage not noted", err)
			}
			c.busy.Done()
		}
	}
}

func (x *suspects) take(c *Content) []Damage {
	x.mu.Lock()
	defer x.mu.Unlock()
	bad := x.of[c]
	delete(x.of, c)
	return bad
}

// noteDamage notes damages on disk that were found while reading.
func (c *Content) noteDamage() error {
	bad := c.store.suspects.take(c)
	if len(bad) == 0 {
		return c.loseAny() // who found it is about to do the same
	}
	return c.condemn(bad)
}

// condemn makes what is distrusted count no more, on disk too, and tells. If the disk
// refuses, Run tries again.
func (c *Content) condemn(bad []Damage) error {
	c.store.index.rebuild(c, c.store.List())
	if err := c.loseAny(); err != nil {
		c.store.suspects.add(c, bad...)
		return err
	}
	c.store.logger.Error("stored content is damaged, the damage has to be fetched again",
		zap.Stringer("content", c.id), zap.Int("chunks", len(bad)), zap.Error(bad[0].Err))
	if err := c.saveCare(); err != nil {
		c.store.logger.Warn("that a content is damaged may be forgotten", zap.Stringer("content", c.id), zap.Error(err))
	}
	if c.store.cfg.Hooks.Damaged != nil {
		c.store.cfg.Hooks.Damaged(c)
	}
	return nil
}

// loseAny is lose if there is anything left to lose: others may be faster.
func (c *Content) loseAny() error {
	c.mu.Lock()
	lost := len(c.lost)
	c.mu.Unlock()
	if lost == 0 {
		return nil
	}
	return c.lose()
}

// healed notes that a block which had been lost is here again, and whether it was
// the last that its chunk missed. It is called with mu held.
func (c *Content) healed(chunk int, bit uint64, done bool) {
	broken := c.care.broken[chunk]
	if broken == 0 {
		return
	}
	if broken&bit != 0 {
		c.store.stats.Healed.Add(1)
		broken &^= bit
		c.care.broken[chunk] = broken
	}
	if broken != 0 && !done { // who lost a list lost more blocks than there may be
		return
	}
	if delete(c.care.broken, chunk); len(c.care.broken) == 0 {
		c.care.damaged, c.care.unsaved = false, true
	}
}

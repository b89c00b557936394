package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
)

// Damage is what Verify found wrong with a chunk.
type Damage struct {
	Chunk  int
	Blocks uint64 // the blocks whose bytes are wrong or can't be read; all if the list is
	Err    error  // of the first of them
}

// Verify reads and hashes everything that is here. What is damaged counts no more
// from the moment it is found, and can be fetched again. The error is about the
// verifying itself: damage is none. It tells progress, which may be nil, of bytes
// after each chunk, never twice at once.
func (c *Content) Verify(ctx context.Context, progress func(done, total int64)) ([]Damage, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.busy.Done()
	// It is about what is on the disk, under the names it should have.
	if err := c.flush(); err != nil {
		return nil, err
	}
	c.store.files.reopen(c)
	if err := c.reclaim(); err != nil {
		return nil, err
	}
	bad, err := c.verify(ctx, &verification{content: c, total: c.Progress(), progress: progress})
	if err != nil {
		return bad, fmt.Errorf("verify %v: %w", c.id, err)
	}
	return bad, nil
}

// verify reads and hashes what v says.
func (c *Content) verify(ctx context.Context, v *verification) ([]Damage, error) {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(c.store.cfg.Workers)
	for chunk := range c.manifest.Chunks {
		if inner.Err() != nil {
			break
		}
		want := ^uint64(0)
		if v.stale {
			if want = c.stale(time.Now(), chunk); want == 0 {
				continue
			}
		}
		g.Go(func() error { return v.chunk(inner, chunk, want) })
	}
	err := g.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if len(v.bad) > 0 {
		if lost := c.condemn(v.bad); lost != nil {
			return v.bad, lost
		}
	}
	return v.bad, err
}

type verification struct {
	content  *Content
	total    int64
	progress func(done, total int64)
	stale    bool // leave out what is fresh

	mu   sync.Mutex
	done int64
	bad  []Damage
}

// chunk verifies blocks of a chunk.
func (v *verification) chunk(ctx context.Context, chunk int, want uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := v.content
	if err := c.ended(); err != nil {
		return err
	}
	damage, size, err := c.inspect(chunk, want)
	if err != nil {
		return err
	}
	if damage.Err != nil {
		c.distrust(damage)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if damage.Err != nil {
		v.bad = append(v.bad, damage)
	}
	v.done += size
	if v.progress != nil && size > 0 {
		v.progress(v.done, v.total)
	}
	return nil
}

// inspect reads and hashes those of the blocks wanted of a chunk that count, and
// returns how many bytes they have. What hinders it from reading at all is an
// error.
func (c *Content) inspect(chunk int, want uint64) (damage Damage, size int64, err error) {
	damage.Chunk = chunk
	l, err := c.loadList(chunk) // what is on disk is in question
	switch {
	case err == nil:
	case !c.listed(chunk):
		return damage, 0, nil
	case !isDamage(err):
		return damage, 0, err
	default:
		damage.Blocks, damage.Err = all(content.MaxBlocks), err
		return damage, int64(c.manifest.Chunks[chunk].Size), nil
	}
	buf := blockBuffers.Get().(*[content.MaxBlock]byte)
	defer blockBuffers.Put(buf)
	var right uint64
	at := c.layout.Chunk(chunk)
	for i, b := range l.blocks {
		data, offset := buf[:b.Size], at
		at += int64(b.Size)
		if want&(1<<i) == 0 || !c.has(chunk, i) {
			continue
		}
		size += int64(b.Size)
		err := c.readAt(data, offset)
		if err == nil && content.Sum(data) != b.Hash {
			err = content.ErrCorrupt
		}
		if err != nil && !isDamage(err) {
			return damage, 0, err
		}
		if err == nil {
			right |= 1 << i
			continue
		}
		damage.Blocks |= 1 << i
		if damage.Err == nil {
			damage.Err = fmt.Errorf("block %d of chunk %d: %w", i, chunk, ifShort(err))
		}
	}
	c.fresh.mark(time.Now(), chunk, right, len(c.manifest.Chunks))
	return damage, size, nil
}

// listed reports whether the list of a chunk was learnt.
func (c *Content) listed(chunk int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.partial == nil || c.partial.lists[chunk].count > 0
}

// isDamage tells bytes that are wrong, missing or unreadable from a process that
// may not open the file, or can't open any more.
func isDamage(err error) bool {
	var at *fs.PathError
	return errors.Is(ifShort(err), content.ErrCorrupt) || errors.Is(err, content.ErrFormat) || errors.Is(err, content.ErrChanged) ||
		errors.Is(err, errLists) || errors.As(err, &at) && at.Op == "read"
}

// distrust makes blocks count no more, in memory.
func (c *Content) distrust(d Damage) {
	c.fresh.drop(d.Chunk, d.Blocks)
	c.mu.Lock()
	defer c.mu.Unlock()
	news := d.Blocks &^ c.lost[d.Chunk]
	if c.partial != nil {
		news &= c.partial.verified[d.Chunk]
	}
	if news == 0 {
		return
	}
	c.doubt(map[int]uint64{d.Chunk: news})
	c.tell()
	if c.inPlace {
		return // what the user changed is no damage
	}
	if c.care.broken == nil {
		c.care.broken = make(map[int]uint64)
	}
	c.care.broken[d.Chunk] |= news
	c.care.damaged, c.care.unsaved = true, true
	c.store.stats.Damaged.Add(int64(bits.OnesCount64(news)))
}

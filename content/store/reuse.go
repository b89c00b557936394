package store

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
)

// A Pool has blocks that are not in the store. Its methods may be called by many
// at once.
type Pool interface {
	// ReadBlock fills buf with the block that has this hash, and len(buf) bytes. It
	// reports false if it can't. What it gives is checked: it may be wrong.
	ReadBlock(block content.Hash, buf []byte) bool
}

// Reuse copies to the content what it misses, and what can be had on this machine:
// blocks that other contents of the store hold, and those of pools. Nothing is
// believed: all is hashed on its way. It returns how many bytes were copied, on
// error too.
//
// Only chunks whose block list is known can be looked up, and those that another
// content has whole, whose list is copied too. So it is worth calling before lists
// are fetched, and again after. A block that turns out to be damaged where it is
// held counts no more there, and is taken from elsewhere if it can be.
//
// Bytes are copied, and not shared by the two files even where the file system
// could: blocks begin at any byte, and clones at multiples of 4,096.
func (c *Content) Reuse(ctx context.Context, pools ...Pool) (copied int64, err error) {
	r := &reuse{to: c, pools: append([]Pool{zeros{}}, pools...), damaged: make(map[*Content]struct{})}
	err = r.run(ctx)
	r.condemn()
	if err != nil {
		err = fmt.Errorf("copy what is here already to %v: %w", c.id, err)
	}
	return r.copied.Load(), err
}

// A reuse is a call of Reuse.
type reuse struct {
	to     *Content
	pools  []Pool
	wanted []wantedBlock
	copied atomic.Int64

	mu      sync.Mutex
	damaged map[*Content]struct{}
}

// A wantedBlock is missing, and perhaps held somewhere.
type wantedBlock struct {
	content.Block
	chunk, block int
	at           blockPlace
}

func (r *reuse) run(ctx context.Context) error {
	r.to.store.blocks.current(ctx)
	for chunk := range r.to.manifest.Chunks {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.want(chunk); err != nil {
			return err
		}
		if len(r.wanted) >= lookAhead {
			if err := r.copyWanted(ctx); err != nil {
				return err
			}
		}
	}
	return r.copyWanted(ctx)
}

// want adds what is missing of a chunk to what is wanted.
func (r *reuse) want(chunk int) error {
	c := r.to
	if c.holds(chunk) {
		return nil
	}
	from, at, whole := c.store.Find(c.manifest.Chunks[chunk].Hash)
	l, err := c.enterList(chunk)
	if errors.Is(err, content.ErrNotFound) && whole && c.ended() == nil {
		node, ok := from.Node(at)
		if !ok {
			return nil
		}
		if err := c.SetBlocks(chunk, node); err != nil {
			if errors.Is(err, content.ErrFormat) {
				return nil // it fits there and not here: nobody has a list for this one
			}
			return err
		}
		l, err = c.enterList(chunk)
	}
	if end := c.ended(); end != nil {
		return end
	}
	if err != nil {
		return nil // not known, or damaged, which is for Verify to tell
	}
	missing := all(len(l.blocks)) &^ c.Verified(chunk)
	for ; missing != 0; missing &= missing - 1 {
		i := bits.TrailingZeros64(missing)
		w := wantedBlock{Block: l.blocks[i], chunk: chunk, block: i}
		if whole {
			w.at = blockPlace{from, at, i}
		}
		r.wanted = append(r.wanted, w)
	}
	return nil
}

// copyWanted copies what can be had of what is wanted, in the order in which it
// lies where it is, and wants nothing after that.
func (r *reuse) copyWanted(ctx context.Context) error {
	var hashes []content.Hash
	for _, w := range r.wanted {
		if w.at.content == nil {
			hashes = append(hashes, w.Hash)
		}
	}
	places := r.to.store.findBlocks(hashes)
	for i := range r.wanted {
		if r.wanted[i].at.content == nil {
			r.wanted[i].at, places = places[0], places[1:]
		}
	}
	slices.SortStableFunc(r.wanted, func(a, b wantedBlock) int { return a.at.compare(b.at) })
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(r.to.store.cfg.Workers)
	for rest := r.wanted; len(rest) > 0 && inner.Err() == nil; {
		// As much as lies together there, or is of one chunk here.
		n := 1
		for n < len(rest) && n < content.MaxBlocks && rest[n].at.content == rest[0].at.content &&
			(rest[n].at.content != nil && rest[n].at.chunk == rest[0].at.chunk || rest[n].at.content == nil && rest[n].chunk == rest[0].chunk) {
			n++
		}
		some := rest[:n]
		rest = rest[n:]
		g.Go(func() error { return r.take(inner, some) })
	}
	err := g.Wait()
	r.wanted = r.wanted[:0]
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// take copies some blocks.
func (r *reuse) take(ctx context.Context, some []wantedBlock) error {
	buf := blockBuffers.Get().(*[content.MaxBlock]byte)
	defer blockBuffers.Put(buf)
	for _, w := range some {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.takeOne(w, buf[:w.Size]); err != nil {
			return err
		}
	}
	return nil
}

// maxPlaces is how many places are tried for a block.
const maxPlaces = 4

// takeOne copies one block, if it can be had.
func (r *reuse) takeOne(w wantedBlock, buf []byte) error {
	var tried []blockPlace
	for w.at.content != nil && len(tried) < maxPlaces {
		from := w.at.content
		data, err := from.readBlock(w.at.chunk, w.at.block, buf, true)
		switch {
		case err == nil:
			right, err := r.write(w, data)
			if right || err != nil {
				return err
			}
			from.damage(Damage{Chunk: w.at.chunk, Blocks: 1 << w.at.block,
				Err: fmt.Errorf("block %d of chunk %d: %w", w.at.block, w.at.chunk, content.ErrCorrupt)})
			r.met(from)
		case isDamage(err):
			r.met(from)
		}
		tried = append(tried, w.at)
		w.at = r.to.store.findBlock(w.Hash, func(p blockPlace) bool { return !slices.Contains(tried, p) })
	}
	w.at = blockPlace{}
	for _, p := range r.pools {
		if !p.ReadBlock(w.Hash, buf) {
			continue
		}
		if right, err := r.write(w, buf); right || err != nil {
			return err
		}
	}
	return nil
}

// write writes a block, unless its bytes are not right.
func (r *reuse) write(w wantedBlock, data []byte) (right bool, err error) {
	fresh, err := r.to.WriteBlock(w.chunk, w.block, data)
	if fresh {
		r.copied.Add(int64(w.Size))
		if from := w.at.content; from != nil {
			from.fresh.mark(time.Now(), w.at.chunk, 1<<w.at.block, len(from.manifest.Chunks))
		}
	}
	if errors.Is(err, content.ErrCorrupt) {
		// If they are, it is what this content has of itself that is damaged: no fault
		// of who gave them, and for Verify to tell.
		return content.Sum(data) == w.Hash, nil
	}
	return err == nil, err
}

// met notes that damage of a content was met.
func (r *reuse) met(c *Content) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.damaged[c] = struct{}{}
}

// condemn makes what is damaged count no more, on disk too. Where that fails the
// content is out of use, and not the one that is copied to.
func (r *reuse) condemn() {
	for c := range r.damaged {
		if c.enter() != nil {
			continue // gone
		}
		if err := c.noteDamage(); err != nil {
			c.store.logger.Error("damage not noted", zap.Stringer("content", c.id), zap.Error(err))
		}
		c.busy.Done()
	}
}

// zeros has the block of images of disks that are not full.
type zeros struct{}

var zeroBlock = content.Sum(make([]byte, content.MaxBlock))

func (zeros) ReadBlock(block content.Hash, buf []byte) bool {
	if block != zeroBlock || len(buf) != content.MaxBlock {
		return false
	}
	clear(buf)
	return true
}

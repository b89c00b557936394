package store

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// A blockPlace is where a block is held. They are ordered by content, nowhere
// last.
type blockPlace struct {
	content      *Content // nil: nowhere
	chunk, block int
}

func (p blockPlace) compare(o blockPlace) int {
	switch {
	case p.content == o.content:
		return cmp.Or(cmp.Compare(p.chunk, o.chunk), cmp.Compare(p.block, o.block))
	case p.content == nil:
		return 1
	case o.content == nil:
		return -1
	}
	return content.Hash(p.content.id).Compare(content.Hash(o.content.id))
}

// has reports whether a place has the block with this hash, verified.
func (p blockPlace) has(h content.Hash) bool {
	l, err := p.content.enterList(p.chunk)
	return err == nil && p.block < len(l.blocks) && l.blocks[p.block].Hash == h && p.content.has(p.chunk, p.block)
}

var pageBuffers = sync.Pool{New: func() any { return new(runPages) }}

// candidates calls each for the places that a run names for a key, as far as
// they could have the block, until it returns false.
func (x *blockIndex) candidates(r *run, pages *runPages, key uint64, each func(blockPlace) bool) {
	err := r.find(pages, key, func(e runEntry) bool {
		c, ok := x.store.Get(r.rows[e.row].id)
		if !ok || e.chunk() >= len(c.manifest.Chunks) || !c.has(e.chunk(), e.block()) {
			return true
		}
		return each(blockPlace{c, e.chunk(), e.block()})
	})
	if err != nil {
		x.damaged(r, err)
	}
}

// maxTries bounds the lists that are looked at for one block.
const maxTries = 64

// FindBlock returns a content that has a block, verified, and which of its blocks
// it is. Complete contents are found, a while after they became that.
func (s *Store) FindBlock(block content.Hash) (c *Content, chunk, ordinal int, ok bool) {
	p := s.findBlock(block, func(blockPlace) bool { return true })
	return p.content, p.chunk, p.block, p.content != nil
}

// findBlock looks for a place of a block that suits.
func (s *Store) findBlock(h content.Hash, suits func(blockPlace) bool) (found blockPlace) {
	runs := s.blocks.acquire()
	defer s.blocks.release(runs...)
	pages := pageBuffers.Get().(*runPages)
	defer pageBuffers.Put(pages)
	tries := 0
	for _, r := range runs {
		pages.count = 0 // of another run
		s.blocks.candidates(r, pages, blockKey(h), func(p blockPlace) bool {
			if suits(p) && p.has(h) {
				found = p
			}
			tries++
			return found.content == nil && tries < maxTries
		})
		if found.content != nil || tries == maxTries {
			break
		}
	}
	return found
}

// HasBlock reports whether FindBlock would find a block.
func (s *Store) HasBlock(block content.Hash) bool {
	_, _, _, ok := s.FindBlock(block)
	return ok
}

// findBlocks is FindBlock for many blocks at once, and faster: it goes through
// the runs, and then through the lists, in their order. The content is nil of a
// place that was not found.
func (s *Store) findBlocks(hashes []content.Hash) []blockPlace {
	places := make([]blockPlace, len(hashes))
	order := make([]int, len(hashes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return hashes[a].Compare(hashes[b]) })
	runs := s.blocks.acquire()
	defer s.blocks.release(runs...)
	pages := pageBuffers.Get().(*runPages)
	defer pageBuffers.Put(pages)
	for _, r := range runs {
		pages.count = 0
		for _, i := range order {
			if places[i].content == nil {
				s.blocks.candidates(r, pages, blockKey(hashes[i]), func(p blockPlace) bool {
					places[i] = p
					return false
				})
			}
		}
	}

	order = slices.DeleteFunc(order, func(i int) bool { return places[i].content == nil })
	slices.SortFunc(order, func(a, b int) int { return places[a].compare(places[b]) })
	for _, i := range order {
		if !places[i].has(hashes[i]) {
			// Rare enough to do it one by one: hashes that begin alike.
			places[i] = s.findBlock(hashes[i], func(blockPlace) bool { return true })
		}
	}
	return places
}

// current brings the index up to date for somebody who wants to find as much as
// can be found. If it can't be, less is. A content that has just become whole is
// sealed now rather than in a moment: the next version often comes at once.
func (x *blockIndex) current(ctx context.Context) {
	for _, c := range x.store.List() {
		if c.unsealed() {
			_ = c.Flush(ctx) // Run tries again, and tells
		}
	}
	if err := x.update(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, fs.ErrClosed) {
		x.store.logger.Warn("block index not brought up to date", zap.Error(err))
	}
}

// unsealed reports whether the content is whole, and not complete on disk yet.
func (c *Content) unsealed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end == nil && c.partial != nil && len(c.lost) == 0 && c.whole()
}

// lookAhead is how many blocks are looked up at once: those of 4 GiB, in 6 MiB.
const lookAhead = 1 << 16

// Known returns how many of a content's bytes are in blocks that are here already:
// in complete contents, or in chunks that are whole. It is given the blocks of
// each chunk.
func (s *Store) Known(ctx context.Context, m *content.Manifest, blocks [][]content.Block) (known int64, err error) {
	s.blocks.current(ctx)
	var hashes []content.Hash
	var sizes []uint32
	look := func() {
		for i, p := range s.findBlocks(hashes) {
			if p.content != nil {
				known += int64(sizes[i])
			}
		}
		hashes, sizes = hashes[:0], sizes[:0]
	}
	for chunk, list := range blocks {
		if _, _, ok := s.Find(m.Chunks[chunk].Hash); ok {
			known += int64(m.Chunks[chunk].Size)
			continue
		}
		for _, b := range list {
			hashes, sizes = append(hashes, b.Hash), append(sizes, b.Size)
		}
		if len(hashes) >= lookAhead {
			look()
		}
	}
	look()
	return known, ctx.Err()
}

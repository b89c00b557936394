package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content/store/disk"
	"github.com/p2pnode/p2pnode/content/store/disk/disktest"
	"github.com/p2pnode/p2pnode/content/store/storetest"
)

// A promise is what a crash may not take of a content.
type promise struct {
	here, gone bool     // must be there, must not; neither while it is made or removed
	complete   bool     // on disk
	lists      []bool   // of chunks
	blocks     []uint64 // of chunks
	releases   []string
	pinned     []bool   // what may be: one or both
	rotten     []uint64 // blocks gone bad, which nobody looked at yet
}

// promises are those of the samples. They don't change once made.
type promises struct {
	samples []*storetest.Sample
	of      []promise
}

func (p promise) clone() promise {
	p.lists, p.blocks, p.rotten = slices.Clone(p.lists), slices.Clone(p.blocks), slices.Clone(p.rotten)
	p.releases, p.pinned = slices.Clone(p.releases), slices.Clone(p.pinned)
	return p
}

// nothing is what is promised of a content of which anything may be left.
func nothing(sample *storetest.Sample) promise {
	n := len(sample.Nodes)
	return promise{lists: make([]bool, n), blocks: make([]uint64, n), rotten: make([]uint64, n), pinned: []bool{true, false}}
}

// powerDir is where the store is.
const powerDir = "/p2pnode/store"

func powerConfig(d disk.FS) Config {
	return Config{Dir: powerDir, FS: d, Floor: NoFloor, Quota: NoLimit, Workers: 1, PageBudget: 1 << 20} // else it asks the system each time
}

// check opens what a crash left, by way of through, and tells what is not as
// promised. With more it fetches what is missing, has power lost again, and looks
// once more.
func (p promises) check(crashed *disktest.FS, through disk.FS, r *rand.Rand, more bool) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	s, err := Open(powerConfig(through), zap.NewNop())
	if err != nil {
		return err
	}
	if err := p.checkFolders(crashed); err != nil {
		return err
	}
	for i := range p.of {
		if err := p.checkContent(s, i); err != nil {
			return fmt.Errorf("content %d: %w", i, err)
		}
	}
	if !more {
		return nil
	}
	for i := range p.of {
		if err := p.finish(s, i); err != nil {
			return fmt.Errorf("go on with content %d: %w", i, err)
		}
	}
	if r.IntN(2) == 0 {
		if err := s.Close(); err != nil {
			return fmt.Errorf("close: %w", err)
		}
	}
	all := promises{samples: p.samples}
	for i, sample := range p.samples {
		whole := nothing(sample)
		whole.here, whole.complete, whole.releases = true, true, p.of[i].releases
		all.of = append(all.of, whole)
	}
	again := crashed.Image().Crash(disktest.None, r)
	if err := all.check(again, again, r, false); err != nil {
		return fmt.Errorf("after it went on, and another crash: %w", err)
	}
	return nil
}

// checkFolders checks that there is nothing but folders of contents.
func (p promises) checkFolders(d disk.FS) error {
	entries, err := d.ReadDir(powerDir + "/content")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.ContainsFunc(p.samples, func(s *storetest.Sample) bool { return s.ID.String() == e.Name() }) {
			return fmt.Errorf("%s is left", e.Name())
		}
	}
	return nil
}

func (p promises) checkContent(s *Store, i int) error {
	sample, want := p.samples[i], p.of[i]
	c, ok := s.Get(sample.ID)
	switch {
	case ok && want.gone:
		return errors.New("was removed, and is back")
	case !ok && want.here:
		return errors.New("is lost")
	case !ok:
		if entry, err := s.disk.Lstat(s.folder(sample.ID)); err == nil {
			return fmt.Errorf("partial folder %s", entry.Name())
		}
		return nil
	}
	if slices.ContainsFunc(want.rotten, func(m uint64) bool { return m != 0 }) {
		if _, err := c.Verify(context.Background(), nil); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
	}
	if want.complete && !c.Complete() {
		return fmt.Errorf("was complete, %d of %d bytes are left", c.Progress(), len(sample.Data))
	}
	if !slices.Contains(want.pinned, c.Pinned()) {
		return fmt.Errorf("pinned is %v", c.Pinned())
	}
	for _, release := range want.releases {
		if !slices.ContainsFunc(c.Releases(), func(kept []byte) bool { return string(kept) == release }) {
			return fmt.Errorf("release %q is lost", release)
		}
	}
	for chunk := range sample.Nodes {
		if _, ok := c.Node(chunk); !ok && want.lists[chunk] {
			return fmt.Errorf("list of chunk %d is lost", chunk)
		}
		got := c.Verified(chunk)
		if lost := want.blocks[chunk] &^ got; lost != 0 {
			return fmt.Errorf("blocks %b of chunk %d are lost", lost, chunk)
		}
		if c.holds(chunk) {
			if at, ordinal, ok := s.Find(sample.Manifest.Chunks[chunk].Hash); !ok || !at.holds(ordinal) {
				return fmt.Errorf("chunk %d is not found", chunk)
			}
		}
	}
	return rightBytes(c, sample)
}

// rightBytes checks that what counts has the bytes it should have.
func rightBytes(c *Content, sample *storetest.Sample) error {
	for chunk, list := range sample.Blocks {
		verified := c.Verified(chunk)
		for block := range list {
			if verified>>block&1 == 0 {
				continue
			}
			got, err := c.ReadBlock(chunk, block, nil)
			if err != nil {
				return fmt.Errorf("block %d of chunk %d counts, and can't be read: %w", block, chunk, err)
			}
			if string(got) != string(sample.Block(chunk, block)) {
				return fmt.Errorf("block %d of chunk %d counts, and is wrong", block, chunk)
			}
		}
	}
	return nil
}

// finish makes a content complete.
func (p promises) finish(s *Store, i int) error {
	sample := p.samples[i]
	c, err := s.Begin(sample.Encoded)
	if err != nil {
		return err
	}
	for chunk, node := range sample.Nodes {
		if c.holds(chunk) {
			continue
		}
		if err := c.SetBlocks(chunk, node); err != nil {
			return err
		}
		for block := range sample.Blocks[chunk] {
			if _, err := c.WriteBlock(chunk, block, sample.Block(chunk, block)); err != nil {
				return err
			}
		}
	}
	if err := c.Flush(context.Background()); err != nil {
		return err
	}
	if !c.Complete() || c.partial != nil {
		return errors.New("fetched, and not complete")
	}
	return rightBytes(c, sample)
}

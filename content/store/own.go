package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"

	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// What happens to a content in place when a file of the user's is not what it was:
// reference.go has the story.

// fileAt returns which file has the content's byte at offset.
func (c *Content) fileAt(offset int64) int {
	for s := range c.layout.Spans(offset, 1) {
		return s.File
	}
	return -1
}

// vouch checks a block that was read, or that could not be, if it is in a file of
// the user's: what is wrong there counts no more from now on.
func (c *Content) vouch(chunk, block int, b content.Block, offset int64, data []byte, failed error) error {
	if failed == nil && content.Sum(data) == b.Hash {
		return nil
	}
	file := c.fileAt(offset)
	r := c.reference(file)
	if r == nil { // it became the content's own meanwhile
		if failed == nil {
			return content.ErrCorrupt
		}
		return failed
	}
	if failed == nil { // was it the file, or this block?
		if failed = c.confirm(file); failed == nil {
			failed = fmt.Errorf("%s: %w", r.path, content.ErrCorrupt)
		}
	}
	switch {
	case errors.Is(failed, content.ErrChanged):
		c.forsake(c.blocksOf(file), failed)
	case isDamage(failed):
		c.forsake(map[int]uint64{chunk: 1 << block}, failed)
	}
	return fmt.Errorf("%w: %w", content.ErrCorrupt, failed)
}

// forsake makes blocks count no more.
func (c *Content) forsake(blocks map[int]uint64, why error) {
	c.mu.Lock()
	fresh := false
	for chunk, mask := range blocks {
		counts := c.partial == nil || c.partial.verified[chunk]&mask != 0
		fresh = fresh || counts && mask&^c.lost[chunk] != 0
	}
	c.mu.Unlock()
	if !fresh {
		return
	}
	for chunk, mask := range blocks {
		c.distrust(Damage{Chunk: chunk, Blocks: mask, Err: why})
	}
	c.store.index.rebuild(c, c.store.List())
	if err := c.lose(); err != nil {
		c.store.logger.Error("changed files of a content in place are not noted", zap.Stringer("content", c.id), zap.Error(err))
	}
}

// blocksOf returns which blocks of which chunks a file has, as far as their lists
// are known.
func (c *Content) blocksOf(file int) map[int]uint64 {
	var start int64
	for _, f := range c.manifest.Files[:file] {
		start += f.Size
	}
	end := start + c.manifest.Files[file].Size
	blocks := make(map[int]uint64)
	chunks := len(c.manifest.Chunks)
	first := max(0, sort.Search(chunks, func(i int) bool { return c.layout.Chunk(i) > start })-1)
	for chunk := first; chunk < chunks && c.layout.Chunk(chunk) < end; chunk++ {
		l, err := c.list(chunk)
		if err != nil {
			continue // it counts as lost when it is found damaged
		}
		at := c.layout.Chunk(chunk)
		for i, b := range l.blocks {
			if start <= at && at < end {
				blocks[chunk] |= 1 << i
			}
			at += int64(b.Size)
		}
	}
	return blocks
}

// reclaim counts again what counts no more and is right in files of the user's:
// they may have come back.
func (c *Content) reclaim() error {
	c.mu.Lock()
	p := c.partial
	c.mu.Unlock()
	if !c.inPlace || p == nil {
		return nil
	}
	for chunk := range c.manifest.Chunks {
		if !c.listed(chunk) || c.holds(chunk) {
			continue
		}
		if err := c.recheck(chunk); err != nil {
			return err
		}
	}
	return nil
}

// own makes a file of the content's in place of the user's, so that it can be
// written to: with what counts and is right in the old one.
func (c *Content) own(file int) (err error) {
	c.owning.Lock()
	defer c.owning.Unlock()
	r := c.reference(file)
	if r == nil {
		return nil // somebody was faster
	}
	if err := c.store.Room(c.store.FileCost(r.size)); err != nil {
		return err
	}
	if err := c.store.mayWrite(c.store.FileCost(r.size)); err != nil { // who writes the block has room made
		return err
	}
	temp := fmt.Sprint(ownPrefix, file)
	f, err := c.store.disk.OpenBelow(c.dir, temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.store.disk.RemoveBelow(c.dir, temp))
		}
	}()
	err = f.Truncate(r.size)
	if err == nil {
		err = c.copyRight(f, file)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil { // before the rename: Windows
		return err
	}
	return c.install(file, temp)
}

// install gives a file that is ready its name, and forgets the user's.
func (c *Content) install(file int, temp string) error {
	c.making.Lock()
	defer c.making.Unlock()
	name := c.manifest.Files[file].Path
	folder := path.Dir(name)
	if err := c.store.disk.MkdirAllBelow(filepath.Join(c.dir, filesName), folder); err != nil {
		return err
	}
	if err := c.store.disk.RenameBelow(c.dir, temp, filesName+"/"+name); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.references, file)
	if c.partial != nil {
		for ; folder != "."; folder = path.Dir(folder) {
			c.partial.folders[folder] = struct{}{}
		}
		c.partial.folders["."] = struct{}{}
	}
	return nil
}

// copyRight copies the blocks of a file of the user's that count, and are right.
// The others are lost before anybody could take them for copied.
func (c *Content) copyRight(to io.WriterAt, file int) error {
	wrong := make(map[int]uint64)
	var why error
	buf := blockBuffers.Get().(*[content.MaxBlock]byte)
	defer blockBuffers.Put(buf)
	for chunk, mask := range c.blocksOf(file) {
		l, err := c.list(chunk)
		if err != nil {
			return err
		}
		for i, b := range l.blocks {
			if mask&(1<<i) == 0 || !c.has(chunk, i) {
				continue
			}
			data, at := buf[:b.Size], c.layout.Chunk(chunk)+l.offset(i)
			err := c.readAt(data, at)
			if err == nil && content.Sum(data) != b.Hash {
				err = content.ErrCorrupt
			}
			if err != nil {
				if !isDamage(err) {
					return err
				}
				wrong[chunk] |= 1 << i
				why = err
				continue
			}
			for s := range c.layout.Spans(at, int64(b.Size)) {
				if _, err := to.WriteAt(data, s.Offset); err != nil {
					return err
				}
			}
		}
	}
	c.forsake(wrong, why)
	return c.ended() // if that could not be noted
}

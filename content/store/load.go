package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// A past is what was known of a content before its folder is loaded.
type past struct {
	lost   map[int]uint64 // blocks that don't count, whatever its journal says
	broken map[int]uint64 // those of them that were found damaged
	bad    []Damage       // what nobody was told of yet
	mended bool           // somebody wants it: state that can't be read is given up
}

// load makes a Content of the folder of id.
func (s *Store) load(id content.ID, was past) (*Content, error) {
	dir := s.folder(id)
	enc, err := s.readEncoded(dir)
	if err != nil {
		return nil, err
	}
	m, err := content.Decode(id, enc.Root, enc.Segments)
	if err != nil {
		return nil, err
	}
	c := &Content{store: s, id: id, dir: dir, manifest: m, layout: content.NewLayout(m), size: m.Size(), cost: s.Cost(m.Files), unsettled: true}
	if c.releases, err = s.readReleases(dir); err != nil && !(was.mended && isDamage(err)) {
		return nil, err
	}
	if err := c.loadCare(); err != nil {
		return nil, err
	}
	if err := c.loadReferences(); err != nil {
		return nil, err
	}
	if len(was.broken) > 0 {
		c.care.broken, c.care.damaged, c.care.unsaved = maps.Clone(was.broken), true, true
	}
	if err := c.loadState(was); err != nil {
		s.release(c, err) // the index may know it already
		return nil, err
	}
	s.index.addAll(c)
	if len(was.bad) > 0 {
		s.suspects.add(c, was.bad...)
	}
	return c, nil
}

// readEncoded reads the manifest in a folder, which is yet to be checked.
func (s *Store) readEncoded(dir string) (enc content.Encoded, err error) {
	if enc.Root, err = disk.Read(s.disk, filepath.Join(dir, rootName), content.MaxNode); err != nil {
		return enc, err
	}
	hashes, err := content.SegmentsOf(enc.Root)
	if err != nil {
		return enc, err
	}
	for i := range hashes {
		segment, err := disk.Read(s.disk, filepath.Join(dir, segmentsName, strconv.Itoa(i)), content.MaxNode)
		if err != nil {
			return enc, err
		}
		enc.Segments = append(enc.Segments, segment)
	}
	return enc, nil
}

// loadState finds out what of the content is here.
func (c *Content) loadState(was past) error {
	clean, err := c.loadJournal()
	switch {
	case err == nil:
		return c.resume(was, clean)
	case errors.Is(err, fs.ErrNotExist):
		if err = c.store.checkLists(c.dir, len(c.manifest.Chunks)); err == nil {
			if c.lost = was.lost; len(c.lost) > 0 {
				return c.lose()
			}
			return nil // complete
		}
		err = fmt.Errorf("no journal, and no block lists: %w", err)
	}
	// A disk that doesn't answer now may do so later.
	if gone := errors.Is(err, errJournal) || errors.Is(err, errLists) || errors.Is(err, fs.ErrNotExist); !gone && !(was.mended && isDamage(err)) {
		return err
	}
	// What is known of the blocks is gone; the bytes need not be.
	c.store.logger.Error("state of a content lost, its blocks are hashed when their lists come in again",
		zap.Stringer("content", c.id), zap.Error(err))
	return c.newJournal()
}

// newJournal makes the content one of which nothing is known.
func (c *Content) newJournal() error {
	first := appendRecord([]byte(journalMagic), kindUnsure)
	err := disk.ReplaceBytes(c.store.disk, c.dir, journalName, first)
	if err != nil {
		return err
	}
	c.logSize = int64(len(first))
	c.partial = newPartial(len(c.manifest.Chunks))
	c.partial.unsure, c.crashed = true, true
	return disk.MakeFolder(c.store.disk, filepath.Join(c.dir, filesName))
}

// loadJournal takes what the journal says. It is clean if it says that nothing was
// written since.
func (c *Content) loadJournal() (clean bool, err error) {
	f, err := c.store.disk.Open(filepath.Join(c.dir, journalName), os.O_RDWR)
	if err != nil {
		return false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	p := newPartial(len(c.manifest.Chunks))
	end, err := readJournal(f, info.Size(), journalMagic, func(r record) error {
		clean = r.kind == kindClean
		p.apply(r, c.manifest)
		return nil
	})
	if err != nil {
		return false, err
	}
	if end < info.Size() {
		clean, p.unsure = false, true
	}
	if clean {
		end -= recordHead // it won't be from now on
	}
	c.logSize, c.partial = end, p
	return clean, f.Truncate(end)
}

// resume goes on with what the journal said, and hashes what it leaves open.
func (c *Content) resume(was past, clean bool) error {
	p := c.partial
	if err := disk.MakeFolder(c.store.disk, filepath.Join(c.dir, filesName)); err != nil {
		return err
	}
	if err := c.sweepOwn(); err != nil {
		return err
	}
	for chunk, mask := range was.lost {
		p.verified[chunk] &^= mask
	}
	if err := c.tally(); err != nil {
		return err
	}
	if c.crashed = !clean; c.crashed {
		if err := c.renew(); err != nil {
			return err
		}
	}
	// The journal took its place, or didn't make way yet. Alone it would say that
	// nothing is missing.
	if err := disk.RemoveIfThere(c.store.disk, filepath.Join(c.dir, listsName)); err != nil {
		return err
	}
	if clean {
		return nil
	}
	return c.recheckAll()
}

// renew writes the journal anew, of what was read of it: after a crash what is
// read may be in memory only, and after a sync that failed never get to the disk.
// Where there is no room for it the old one is gone on with.
func (c *Content) renew() error {
	err := c.lose()
	if !errors.Is(err, content.ErrNoSpace) {
		return err
	}
	h, err := c.pin(journalFile, false)
	if err != nil {
		return err
	}
	c.store.files.wrote(h) // the next flush syncs it
	c.store.files.unpin(h)
	return nil
}

// apply takes what a record says. One that can't be true says nothing.
func (p *partial) apply(r record, m *content.Manifest) {
	switch r.kind {
	case kindList:
		chunk, node, ok := r.list(len(p.lists))
		if !ok {
			return
		}
		blocks, err := content.DecodeBlocks(m.Chunks[chunk].Hash, node)
		if err == nil {
			p.lists[chunk] = listPlace{r.at + 4, uint32(len(node)), uint8(len(blocks))}
		}
	case kindVerified:
		chunk, mask, ok := r.verified(len(p.lists))
		if ok && p.lists[chunk].count > 0 {
			p.verified[chunk] |= mask & all(int(p.lists[chunk].count))
		}
	case kindUnsure:
		p.unsure = true
	}
}

// tally counts what the journal says is verified.
func (c *Content) tally() error {
	p := c.partial
	for chunk, mask := range p.verified {
		switch {
		case mask == 0:
		case mask == all(int(p.lists[chunk].count)):
			p.have.Add(uint32(chunk))
			p.bytes += int64(c.manifest.Chunks[chunk].Size)
		default:
			l, err := c.list(chunk)
			if err != nil {
				return err
			}
			p.hold(chunk, mask, l.blocks)
		}
	}
	return nil
}

// recheckAll hashes all blocks that could be here, and don't count.
func (c *Content) recheckAll() error {
	before, unsure := c.partial.bytes, 0
	var g errgroup.Group
	g.SetLimit(c.store.cfg.Workers)
	for chunk, place := range c.partial.lists {
		if place.count > 0 && !c.holds(chunk) {
			unsure++
			g.Go(func() error { return c.recheck(chunk) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if unsure == 0 { // a content that just begins has nothing to doubt
		return nil
	}
	c.store.logger.Info("content was not closed, its last blocks were hashed again",
		zap.Stringer("content", c.id), zap.String("right", humanize.IBytes(uint64(c.partial.bytes-before))))
	return nil
}

// recheck hashes the blocks of a chunk that could be here, and don't count.
func (c *Content) recheck(chunk int) error {
	l, err := c.list(chunk)
	if err != nil {
		return err
	}
	buf := blockBuffers.Get().(*[content.MaxBlock]byte)
	defer blockBuffers.Put(buf)
	at := c.layout.Chunk(chunk)
	for i, b := range l.blocks {
		data, offset := buf[:b.Size], at
		at += int64(b.Size)
		if c.has(chunk, i) || c.readAt(data, offset) != nil || content.Sum(data) != b.Hash {
			continue // fetched again if it isn't here, or can't be read
		}
		// What is the user's is not written, and not needed in writing.
		if c.reference(c.fileAt(offset)) != nil {
			if _, err := c.count(chunk, i, l); err != nil {
				return err
			}
			continue
		}
		// Written again, so that the next sync is of these pages: after a sync that
		// failed they may be right in memory and not on disk, and pass for clean.
		if err := c.writeAt(data, offset); errors.Is(ifNoSpace(err), content.ErrNoSpace) {
			continue
		} else if err != nil {
			return fmt.Errorf("write again block %d of chunk %d: %w", i, chunk, err)
		}
		if _, err := c.count(chunk, i, l); err != nil {
			return err
		}
	}
	return nil
}

var blockBuffers = sync.Pool{New: func() any { return new([content.MaxBlock]byte) }}

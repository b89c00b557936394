package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
)

// load makes a Content of the folder of id.
func (s *Store) load(id content.ID) (*Content, error) {
	dir := s.folder(id)
	enc, err := readEncoded(dir)
	if err != nil {
		return nil, err
	}
	m, err := content.Decode(id, enc.Root, enc.Segments)
	if err != nil {
		return nil, err
	}
	c := &Content{store: s, id: id, dir: dir, manifest: m, layout: content.NewLayout(m), size: m.Size()}
	if c.releases, err = readReleases(dir); err != nil {
		return nil, err
	}
	if err := c.loadState(); err != nil {
		c.shut(err) // the index may know it already
		s.files.drop(c)
		return nil, err
	}
	s.index.addAll(c)
	return c, nil
}

// readEncoded reads the manifest in a folder, which is yet to be checked.
func readEncoded(dir string) (enc content.Encoded, err error) {
	if enc.Root, err = readBounded(filepath.Join(dir, rootName)); err != nil {
		return enc, err
	}
	hashes, err := content.SegmentsOf(enc.Root)
	if err != nil {
		return enc, err
	}
	for i := range hashes {
		segment, err := readBounded(filepath.Join(dir, segmentsName, strconv.Itoa(i)))
		if err != nil {
			return enc, err
		}
		enc.Segments = append(enc.Segments, segment)
	}
	return enc, nil
}

// readBounded reads a file of at most content.MaxNode bytes.
func readBounded(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > content.MaxNode {
		return nil, fmt.Errorf("read %s: %w: %d bytes", name, content.ErrFormat, info.Size())
	}
	return os.ReadFile(name)
}

// loadState finds out what of the content is here.
func (c *Content) loadState() error {
	err := c.loadJournal()
	if errors.Is(err, fs.ErrNotExist) {
		if err = checkLists(c.dir, len(c.manifest.Chunks)); err == nil {
			return nil // complete
		}
		err = fmt.Errorf("no journal, and no block lists: %w", err)
	} else if !errors.Is(err, errJournal) {
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
	err := replace(c.dir, journalName, func(w io.Writer) error {
		_, err := w.Write(first)
		return err
	})
	if err != nil {
		return err
	}
	c.logSize = int64(len(first))
	c.partial = newPartial(len(c.manifest.Chunks))
	c.partial.unsure = true
	return makeFolder(filepath.Join(c.dir, filesName))
}

// loadJournal takes what the journal says, and hashes what it leaves open.
func (c *Content) loadJournal() error {
	f, err := os.OpenFile(filepath.Join(c.dir, journalName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p := newPartial(len(c.manifest.Chunks))
	var clean, cut bool
	end, err := readJournal(f, info.Size(), journalMagic, func(r record) error {
		clean = r.kind == kindClean
		p.apply(r, c.manifest)
		return nil
	})
	if err != nil {
		return err
	}
	if cut = end < info.Size(); cut {
		clean = false
	}
	if clean {
		end -= recordHead // it won't be from now on
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	// The journal took its place, or didn't make way yet. Alone it would say that
	// nothing is missing.
	if err := os.Remove(filepath.Join(c.dir, listsName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.logSize, c.partial = end, p
	if err := makeFolder(filepath.Join(c.dir, filesName)); err != nil {
		return err
	}
	if err := c.tally(); err != nil {
		return err
	}
	if cut && !p.unsure {
		p.unsure = true
		h, err := c.append(appendRecord(nil, kindUnsure))
		if err != nil {
			return err
		}
		c.store.files.wrote(h)
		c.store.files.unpin(h)
	}
	if clean {
		return nil
	}
	return c.recheckAll()
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
		// Written again, so that the next sync is of these pages: after a sync that
		// failed they may be right in memory and not on disk, and pass for clean.
		if err := c.writeAt(data, offset); err != nil {
			return fmt.Errorf("write again block %d of chunk %d: %w", i, chunk, ifNoSpace(err))
		}
		if _, err := c.count(chunk, i, l); err != nil {
			return err
		}
	}
	return nil
}

var blockBuffers = sync.Pool{New: func() any { return new([content.MaxBlock]byte) }}

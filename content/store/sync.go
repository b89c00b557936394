package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
)

// Flush makes durable what is verified. A content that has everything is complete
// on disk after that.
func (c *Content) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.enter(); err != nil {
		return err
	}
	defer c.busy.Done()
	return c.flush()
}

func (c *Content) flush() error {
	c.sync.Lock()
	defer c.sync.Unlock()
	if err := c.flushLocked(); err != nil {
		return fmt.Errorf("make %v durable: %w", c.id, err)
	}
	return nil
}

// flushLocked syncs the files, then notes their blocks in the journal, then seals
// the content if it has all. It is called with sync held.
func (c *Content) flushLocked() error {
	c.mu.Lock()
	failed := c.failed
	c.mu.Unlock()
	if failed != nil {
		return failed
	}
	pending, folders := c.takePending()
	// Taken after pending: whatever stands there is in a file that is dirty now
	// or was synced since.
	dirty := c.store.files.takeDirty(c)
	if err := c.syncFiles(dirty, folders); err != nil {
		// The kernel may have marked the pages clean, and another sync would find
		// nothing to do. Open hashes and writes again what isn't in the journal.
		err = fmt.Errorf("%w (the store has to be opened again)", err)
		c.fail(err)
		return err
	}
	if len(pending) > 0 {
		if err := c.note(pending); err != nil {
			return err
		}
	}
	c.mu.Lock()
	seal := c.partial != nil && c.whole() && len(c.partial.pending) == 0 && len(c.lost) == 0
	c.mu.Unlock()
	if seal {
		return ifNoSpace(c.seal())
	}
	return nil
}

// takePending returns what is to be synced, and starts a new list of it.
func (c *Content) takePending() (pending map[int]uint64, folders map[string]struct{}) {
	c.making.Lock()
	defer c.making.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.partial == nil {
		return nil, nil
	}
	if len(c.partial.pending) > 0 {
		pending, c.partial.pending = c.partial.pending, make(map[int]uint64)
	}
	if len(c.partial.folders) > 0 {
		folders, c.partial.folders = c.partial.folders, make(map[string]struct{})
	}
	c.partial.written = 0
	return pending, folders
}

// syncFiles makes written files and the entries of folders durable.
func (c *Content) syncFiles(dirty []*handle, folders map[string]struct{}) error {
	var g errgroup.Group
	g.SetLimit(syncsAtOnce)
	for _, h := range dirty {
		g.Go(func() error {
			defer c.store.files.synced(h)
			return syncData(h.File)
		})
	}
	for folder := range folders {
		g.Go(func() error {
			return syncFolder(filepath.Join(c.dir, filesName, filepath.FromSlash(folder)))
		})
	}
	return g.Wait()
}

// note puts blocks whose files were synced in the journal. If it can't, they stay
// pending.
func (c *Content) note(pending map[int]uint64) error {
	var records []byte
	for _, chunk := range slices.Sorted(maps.Keys(pending)) {
		records = appendVerified(records, chunk, pending[chunk])
	}
	c.log.Lock()
	h, err := c.append(records)
	c.log.Unlock()
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		for chunk, mask := range pending {
			c.partial.pending[chunk] |= mask
		}
		return fmt.Errorf("append to journal: %w", ifNoSpace(err))
	}
	defer c.store.files.unpin(h)
	if err := syncData(h.File); err != nil {
		c.fail(err)
		return err
	}
	return nil
}

// seal turns the content, of which every block is in the journal, into one that
// is complete on disk: the blocks file takes the place of the journal. It is
// called with sync held.
func (c *Content) seal() error {
	c.mu.Lock()
	p := c.partial
	c.mu.Unlock()
	// Nothing changes lists any more: all are known, and losing needs sync.
	length := func(chunk int) int { return int(p.lists[chunk].length) }
	node := func(chunk int) ([]byte, error) {
		l, err := c.loadList(chunk)
		return l.node, err
	}
	err := replace(c.dir, listsName, func(w io.Writer) error {
		return writeLists(w, len(p.lists), length, node)
	})
	if err != nil {
		return fmt.Errorf("write block lists: %w", err)
	}
	c.log.Lock()
	defer c.log.Unlock()
	c.mu.Lock()
	c.partial = nil
	c.mu.Unlock()
	// A journal that stays behind, here or by a crash, says that all is verified,
	// and Open seals again.
	err = errors.Join(
		c.store.files.close(slot{c, journalFile, true}),
		os.Remove(filepath.Join(c.dir, journalName)),
		syncFolder(c.dir))
	if err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	return nil
}

// close makes the content durable, notes that it was, and ends its use.
func (c *Content) close() error {
	c.shut(fmt.Errorf("content %v: store: %w", c.id, fs.ErrClosed))
	defer c.store.files.drop(c)
	c.sync.Lock()
	defer c.sync.Unlock()
	if err := c.flushLocked(); err != nil {
		return fmt.Errorf("make %v durable: %w", c.id, err)
	}
	if c.partial == nil {
		return nil
	}
	c.log.Lock()
	h, err := c.append(appendRecord(nil, kindClean))
	c.log.Unlock()
	if err != nil {
		return fmt.Errorf("end journal of %v: %w", c.id, err)
	}
	defer c.store.files.unpin(h)
	return syncData(h.File)
}

// lose makes what is in lost count no more, on disk too: a new journal says what
// is left. Lists that can't be read are forgotten, with all their blocks.
func (c *Content) lose() error {
	c.sync.Lock()
	defer c.sync.Unlock()
	if err := c.flushLocked(); err != nil {
		return err
	}
	c.log.Lock() // nothing is learnt or counted meanwhile
	defer c.log.Unlock()
	c.mu.Lock()
	was, lost := c.partial, maps.Clone(c.lost)
	c.mu.Unlock()

	left := newPartial(len(c.manifest.Chunks))
	if was != nil {
		left.pending, left.written, left.folders, left.unsure = was.pending, was.written, was.folders, was.unsure
	}
	var size int64
	err := replace(c.dir, journalName, func(w io.Writer) error {
		n, err := io.WriteString(w, journalMagic)
		for chunk := 0; chunk < len(left.lists) && err == nil; chunk++ {
			size += int64(n)
			n, err = w.Write(c.keep(left, was, chunk, lost[chunk], size))
		}
		size += int64(n)
		if err == nil && left.unsure {
			n, err = w.Write(appendRecord(nil, kindUnsure))
			size += int64(n)
		}
		// Not before the last list is read from it, nor after the rename: Windows
		// doesn't rename over an open file.
		return errors.Join(err, c.store.files.close(slot{c, journalFile, true}))
	})
	if err != nil {
		err = fmt.Errorf("write a journal of what is left of %v: %w", c.id, ifNoSpace(err))
		c.fail(err)
		return err
	}
	c.logSize = size
	c.mu.Lock()
	c.partial = left
	for chunk, mask := range lost { // what was found since is for the next
		if c.lost[chunk] &^= mask; c.lost[chunk] == 0 {
			delete(c.lost, chunk)
		}
	}
	c.tell()
	c.mu.Unlock()
	c.store.lists.drop(c)
	c.store.files.closeIdle(c) // a file that is gone is made anew
	if was == nil {
		return c.dropLists()
	}
	return nil
}

// keep notes in left what is left of a chunk, and returns the records for a new
// journal that say so, to stand at offset at. It is called with log held.
func (c *Content) keep(left, was *partial, chunk int, lost uint64, at int64) []byte {
	var blocks []content.Block
	node, err := c.readNode(chunk)
	if err == nil {
		blocks, err = content.DecodeBlocks(c.manifest.Chunks[chunk].Hash, node)
	}
	if err != nil {
		delete(left.pending, chunk)
		left.unsure = left.unsure || was == nil || was.lists[chunk].count > 0
		return nil
	}
	mask := all(len(blocks))
	if was != nil {
		mask = was.verified[chunk]
	}
	left.lists[chunk] = listPlace{at + recordHead + 4, uint32(len(node)), uint8(len(blocks))}
	left.hold(chunk, mask&^lost, blocks)
	records := appendList(nil, chunk, node)
	// What is pending isn't synced yet.
	return appendVerified(records, chunk, left.verified[chunk]&^left.pending[chunk])
}

// dropLists removes the blocks file, whose place the journal has taken.
func (c *Content) dropLists() error {
	err := errors.Join(
		c.store.files.close(slot{c, listsFile, false}),
		os.Remove(filepath.Join(c.dir, listsName)),
		syncFolder(c.dir))
	if err != nil {
		return fmt.Errorf("remove block lists: %w", err)
	}
	return nil
}

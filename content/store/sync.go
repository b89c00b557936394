package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
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
	if err := c.failure(); err != nil {
		return err
	}
	c.mu.Lock()
	partial, lost := c.partial != nil, len(c.lost) > 0
	c.mu.Unlock()
	if partial {
		if err := c.settle(); err != nil {
			return err
		}
	}
	if lost { // it was found before, and could not be written down
		if err := c.loseLocked(); err != nil {
			return err
		}
	}
	return c.commit()
}

// commit is flushLocked for who has seen to what is lost.
func (c *Content) commit() error {
	pending, folders := c.takePending()
	// Taken after pending: whatever stands there is in a file that is dirty now
	// or was synced since.
	dirty := c.store.files.takeDirty(c)
	if err := c.syncFiles(dirty, folders); err != nil {
		// The kernel may have marked the pages clean, and another sync would find
		// nothing to do. What isn't in the journal is hashed and written again.
		c.fail(err, pending)
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
	if !seal {
		return nil
	}
	if err := c.seal(); err != nil {
		return ifNoSpace(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.care.damaged { // before the store was opened, or it would be known what
		c.care.damaged, c.care.unsaved = false, true
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
	g.SetLimit(disk.SyncsAtOnce)
	for _, h := range dirty {
		g.Go(func() error {
			defer c.store.files.synced(h)
			if err := h.Sync(); err != nil {
				return err
			}
			c.forgetLate(h)
			return nil
		})
	}
	for folder := range folders {
		g.Go(func() error {
			return c.store.disk.SyncFolder(filepath.Join(c.dir, filesName, filepath.FromSlash(folder)))
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
	if err := h.Sync(); err != nil {
		c.fail(err, pending)
		return err
	}
	return nil
}

// settle syncs the entries of the content's folder, unless they are.
func (c *Content) settle() error {
	c.mu.Lock()
	unsettled, renamed := c.unsettled, c.renamed
	c.mu.Unlock()
	if !unsettled {
		return nil
	}
	if err := c.store.disk.SyncFolder(c.dir); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.renamed == renamed { // else something that this sync was too early for
		c.unsettled = false
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
	err := disk.Replace(c.store.disk, c.dir, listsName, func(w io.Writer) error {
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
	c.store.blocks.wakeUp()
	// A journal that stays behind, here or by a crash, says that all is verified,
	// and Open seals again.
	err = errors.Join(
		c.store.files.close(slot{c, journalFile, true}),
		c.store.disk.Remove(filepath.Join(c.dir, journalName)),
		c.store.disk.SyncFolder(c.dir))
	if err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	return nil
}

// close makes the content durable, notes that it was, and ends its use.
func (c *Content) close() error {
	c.shut(fmt.Errorf("content %v: store: %w", c.id, fs.ErrClosed))
	defer c.store.files.drop(c)
	c.store.suspects.take(c) // what is lost is noted below
	c.sync.Lock()
	defer c.sync.Unlock()
	if err := c.flushLocked(); err != nil {
		return fmt.Errorf("make %v durable: %w", c.id, err)
	}
	c.keepUse(time.Now())
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
	if err := h.Sync(); err != nil {
		// It may say so where it is read, and not on the disk.
		return errors.Join(err, h.Truncate(c.logSize-recordHead))
	}
	return nil
}

// lose makes what is in lost count no more, on disk too: a new journal says what
// is left. Lists that can't be read are forgotten, with all their blocks.
func (c *Content) lose() error {
	c.sync.Lock()
	defer c.sync.Unlock()
	if err := c.failure(); err != nil {
		return err
	}
	if err := c.commit(); err != nil {
		return err
	}
	return c.loseLocked()
}

// loseLocked is lose, with sync held. If the new journal can't be written, what is
// lost stays so in memory, and the next flush tries again.
func (c *Content) loseLocked() error {
	c.log.Lock() // nothing is learnt or counted meanwhile
	defer c.log.Unlock()
	c.mu.Lock()
	was, lost := c.partial, maps.Clone(c.lost)
	c.mu.Unlock()

	left := newPartial(len(c.manifest.Chunks))
	if was != nil {
		left.pending, left.written, left.folders, left.unsure = maps.Clone(was.pending), was.written, was.folders, was.unsure
	}
	var size int64
	err := disk.Replace(c.store.disk, c.dir, journalName, func(w io.Writer) error {
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
	}
	if err != nil && !errors.Is(err, disk.ErrInPlace) {
		return err
	}
	c.logSize = size
	c.mu.Lock()
	c.partial = left
	c.unsettled = err != nil
	c.renamed++
	for chunk, mask := range lost { // what was found since is for the next
		if c.lost[chunk] &^= mask; c.lost[chunk] == 0 {
			delete(c.lost, chunk)
		}
	}
	c.tell()
	c.mu.Unlock()
	c.store.lists.drop(c)
	c.store.files.reopen(c) // a file that is gone is made anew
	if err != nil {
		return err
	}
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
	if left.pending[chunk] &= left.verified[chunk]; left.pending[chunk] == 0 { // else what is lost would be noted as right
		delete(left.pending, chunk)
	}
	records := appendList(nil, chunk, node)
	// What is pending isn't synced yet.
	return appendVerified(records, chunk, left.verified[chunk]&^left.pending[chunk])
}

// dropLists removes the blocks file, whose place the journal has taken.
func (c *Content) dropLists() error {
	err := errors.Join(
		c.store.files.close(slot{c, listsFile, false}),
		c.store.disk.Remove(filepath.Join(c.dir, listsName)),
		c.store.disk.SyncFolder(c.dir))
	if err != nil {
		return fmt.Errorf("remove block lists: %w", err)
	}
	return nil
}

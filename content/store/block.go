package store

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

// Blocks returns the blocks of a chunk, if its list is known. They are shared:
// nobody may change them.
func (c *Content) Blocks(chunk int) ([]content.Block, bool) {
	l, err := c.enterList(chunk)
	return l.blocks, err == nil
}

// Node returns the encoded block list of a chunk, if it is known. It is shared:
// nobody may change it.
func (c *Content) Node(chunk int) ([]byte, bool) {
	l, err := c.enterList(chunk)
	return l.node, err == nil
}

func (c *Content) enterList(chunk int) (blockList, error) {
	if err := c.enter(); err != nil {
		return blockList{}, err
	}
	defer c.busy.Done()
	return c.list(chunk)
}

// list returns the list of a chunk, from memory or from disk. The error wraps
// content.ErrNotFound if it is not known yet.
func (c *Content) list(chunk int) (blockList, error) {
	if chunk < 0 || chunk >= len(c.manifest.Chunks) {
		return blockList{}, fmt.Errorf("chunk %d of %d: %w", chunk, len(c.manifest.Chunks), content.ErrNotFound)
	}
	key := listKey{c, chunk}
	if l, ok := c.store.lists.get(key); ok {
		return l, nil
	}
	l, err := c.loadList(chunk)
	if err == nil {
		c.store.lists.put(key, l)
	}
	return l, err
}

// loadList reads the list of a chunk from disk.
func (c *Content) loadList(chunk int) (blockList, error) {
	c.log.RLock()
	defer c.log.RUnlock()
	node, err := c.readNode(chunk)
	if err != nil {
		return blockList{}, fmt.Errorf("read block list of chunk %d: %w", chunk, err)
	}
	blocks, err := content.DecodeBlocks(c.manifest.Chunks[chunk].Hash, node)
	return blockList{node, blocks}, err
}

// readNode reads the node of a chunk from disk. It is called with log held.
func (c *Content) readNode(chunk int) ([]byte, error) {
	c.mu.Lock()
	p := c.partial
	var place listPlace
	if p != nil {
		place = p.lists[chunk]
	}
	c.mu.Unlock()
	if p == nil {
		h, err := c.pin(listsFile, false)
		if err != nil {
			return nil, err
		}
		defer c.store.files.unpin(h)
		return readNode(h, chunk)
	}
	if place.count == 0 {
		return nil, content.ErrNotFound
	}
	h, err := c.pin(journalFile, false)
	if err != nil {
		return nil, err
	}
	defer c.store.files.unpin(h)
	node := make([]byte, place.length)
	_, err = h.ReadAt(node, place.at)
	return node, err
}

// SetBlocks takes the block list of a chunk, as Node returns it. The error wraps
// content.ErrCorrupt if it is not the list that the manifest names, and
// content.ErrFormat if it is, and breaks a rule. A list already known is no error.
func (c *Content) SetBlocks(chunk int, node []byte) error {
	if err := c.enterWriting(); err != nil {
		return err
	}
	defer c.busy.Done()
	blocks, err := c.checkList(chunk, node)
	if err != nil {
		return fmt.Errorf("block list of chunk %d of %v: %w", chunk, c.id, err)
	}
	unsure, err := c.learn(chunk, slices.Clone(node), blocks)
	if err != nil {
		return fmt.Errorf("keep block list of chunk %d of %v: %w", chunk, c.id, ifNoSpace(err))
	}
	if unsure {
		return c.recheck(chunk)
	}
	return nil
}

// checkList decodes a node and checks it against the manifest.
func (c *Content) checkList(chunk int, node []byte) ([]content.Block, error) {
	if chunk < 0 || chunk >= len(c.manifest.Chunks) {
		return nil, content.ErrNotFound
	}
	want := c.manifest.Chunks[chunk]
	blocks, err := content.DecodeBlocks(want.Hash, node)
	if err != nil {
		return nil, err
	}
	at := c.layout.Chunk(chunk)
	for i, b := range blocks {
		spans := 0
		for range c.layout.Spans(at, int64(b.Size)) {
			if spans++; spans > 1 {
				return nil, fmt.Errorf("%w: block %d spans two files", content.ErrFormat, i)
			}
		}
		at += int64(b.Size)
	}
	if size := at - c.layout.Chunk(chunk); size != int64(want.Size) {
		return nil, fmt.Errorf("%w: blocks of %d bytes for a chunk of %d", content.ErrFormat, size, want.Size)
	}
	return blocks, nil
}

// learn puts a list in the journal, unless it is known. It reports whether some
// of its blocks might be here already.
func (c *Content) learn(chunk int, node []byte, blocks []content.Block) (unsure bool, err error) {
	c.log.Lock()
	defer c.log.Unlock()
	c.mu.Lock()
	known := c.partial == nil || c.partial.lists[chunk].count > 0
	c.mu.Unlock()
	if known {
		return false, nil
	}
	at := c.logSize
	h, err := c.append(appendList(nil, chunk, node))
	if err != nil {
		return false, err
	}
	c.store.files.wrote(h)
	c.store.files.unpin(h)
	c.store.lists.put(listKey{c, chunk}, blockList{node, blocks})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partial.lists[chunk] = listPlace{at + recordHead + 4, uint32(len(node)), uint8(len(blocks))}
	return c.partial.unsure, nil
}

// append writes records at the end of the journal, and returns it pinned. It is
// called with log held. What a failed write leaves is written over by the next.
func (c *Content) append(records []byte) (*handle, error) {
	h, err := c.pin(journalFile, false)
	if err != nil {
		return nil, err
	}
	if _, err := h.WriteAt(records, c.logSize); err != nil {
		c.store.files.unpin(h)
		return nil, err
	}
	c.logSize += int64(len(records))
	return h, nil
}

// WriteBlock takes the bytes of a block whose list is known, and counts it as
// verified if they are right; fresh is false if it was counted before, and the
// bytes were dropped. The error wraps content.ErrCorrupt if the bytes are not the
// block's, content.ErrNotFound if the list is not known, and content.ErrNoSpace
// if the disk is full, or as full as it may get.
func (c *Content) WriteBlock(chunk, block int, data []byte) (fresh bool, err error) {
	fresh, err = c.writeBlock(chunk, block, data)
	if errors.Is(err, content.ErrNoSpace) && c.store.giveWay(c, err) {
		fresh, err = c.writeBlock(chunk, block, data)
	}
	return fresh, err
}

func (c *Content) writeBlock(chunk, block int, data []byte) (fresh bool, err error) {
	if err := c.enterWriting(); err != nil {
		return false, err
	}
	defer c.busy.Done()
	l, err := c.list(chunk)
	if err != nil {
		return false, err
	}
	if block < 0 || block >= len(l.blocks) {
		return false, fmt.Errorf("block %d of %d of chunk %d: %w", block, len(l.blocks), chunk, content.ErrNotFound)
	}
	if c.has(chunk, block) {
		return false, nil
	}
	if c.isLost(chunk, block) { // there is nowhere to write to before that is settled
		if err := c.noteDamage(); err != nil {
			return false, err
		}
	}
	want := l.blocks[block]
	if len(data) != int(want.Size) || content.Sum(data) != want.Hash {
		return false, fmt.Errorf("block %d of chunk %d of %v: %w", block, chunk, c.id, content.ErrCorrupt)
	}
	if err := c.store.mayWrite(c.store.FileCost(int64(len(data)))); err != nil {
		return false, fmt.Errorf("keep block %d of chunk %d of %v: %w", block, chunk, c.id, err)
	}
	if err := c.writeAt(data, c.layout.Chunk(chunk)+l.offset(block)); err != nil {
		if c.has(chunk, block) {
			return false, nil // somebody else was faster, and the files are for reading now
		}
		return false, fmt.Errorf("keep block %d of chunk %d of %v: %w", block, chunk, c.id, ifNoSpace(err))
	}
	return c.count(chunk, block, l)
}

// count notes that a block is where it belongs, and right.
func (c *Content) count(chunk, block int, l blockList) (fresh bool, err error) {
	c.log.RLock()
	defer c.log.RUnlock()
	c.mu.Lock()
	p, bit := c.partial, uint64(1)<<block
	if c.end != nil || c.failed != nil || p == nil || p.verified[chunk]&bit != 0 {
		defer c.mu.Unlock()
		return false, cmp.Or(c.end, c.failed)
	}
	if p.lists[chunk].count == 0 { // lost since it was looked at: nobody could tell what the block is
		defer c.mu.Unlock()
		return false, fmt.Errorf("block list of chunk %d of %v: %w", chunk, c.id, content.ErrNotFound)
	}
	p.verified[chunk] |= bit
	p.pending[chunk] |= bit
	p.bytes += int64(l.blocks[block].Size)
	p.written += int64(l.blocks[block].Size)
	done := p.verified[chunk] == all(len(l.blocks))
	c.healed(chunk, bit, done && c.lost[chunk] == 0)
	if done {
		p.have.Add(uint32(chunk))
		c.tell()
	} else {
		c.tellGrown()
	}
	c.fresh.mark(time.Now(), chunk, bit, len(c.manifest.Chunks))
	due := p.written >= c.store.cfg.SyncBytes || c.whole()
	c.mu.Unlock()

	if done {
		c.store.index.add(c, chunk)
	}
	if due {
		c.store.wakeUp()
	}
	return true, nil
}

// ReadBlock returns the bytes of a verified block, in buf if they fit, hashed again
// if that wasn't done lately (fresh.go). The error wraps content.ErrNotFound if the
// block is not here, and content.ErrCorrupt if its bytes are wrong or gone, or are
// the user's and not what they were: then it counts no more, and has to be fetched
// again.
func (c *Content) ReadBlock(chunk, block int, buf []byte) ([]byte, error) {
	return c.readBlock(chunk, block, buf, false)
}

// readBlock is ReadBlock. With hashed it is read for another content, which is no
// use of this one, and hashing is left to the caller: what is right may be marked as
// fresh, what is wrong is damage.
func (c *Content) readBlock(chunk, block int, buf []byte, hashed bool) ([]byte, error) {
	if err := c.enter(); err != nil {
		return nil, err
	}
	defer c.busy.Done()
	l, err := c.list(chunk)
	if err != nil {
		if isDamage(err) {
			c.damage(Damage{Chunk: chunk, Blocks: all(content.MaxBlocks), Err: err})
		}
		return nil, err
	}
	if block < 0 || block >= len(l.blocks) || !c.has(chunk, block) {
		return nil, fmt.Errorf("block %d of chunk %d of %v: %w", block, chunk, c.id, content.ErrNotFound)
	}
	now := time.Now()
	if hashed { // to be copied
		c.care.copied.Store(now.Unix())
	} else {
		c.care.read.Store(now.Unix())
	}
	size := int(l.blocks[block].Size)
	buf = slices.Grow(buf[:0], size)[:size]
	at := c.layout.Chunk(chunk) + l.offset(block)
	err = c.readAt(buf, at)
	switch {
	case c.inPlace:
		err = c.vouch(chunk, block, l.blocks[block], at, buf, err)
	case err == nil && !hashed:
		err = c.check(now, chunk, block, buf, l.blocks[block].Hash)
	}
	if err == nil {
		c.store.served.Add(int64(size))
		return buf, nil
	}
	err = fmt.Errorf("read block %d of chunk %d of %v: %w", block, chunk, c.id, ifShort(err))
	if isDamage(err) && c.has(chunk, block) {
		c.damage(Damage{Chunk: chunk, Blocks: 1 << block, Err: err})
	}
	return nil, err
}

// ifShort makes an error of missing bytes one of content.ErrCorrupt.
func ifShort(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", content.ErrCorrupt, err)
	}
	return err
}

// readAt fills buf with the content's bytes from offset on.
func (c *Content) readAt(buf []byte, offset int64) error {
	for s := range c.layout.Spans(offset, int64(len(buf))) {
		h, err := c.pin(s.File, false)
		if errors.Is(ifNoSpace(err), content.ErrNoSpace) {
			err = c.readLinked(buf[:s.Size], s)
			buf = buf[s.Size:]
			if err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		c.used(h, s.File, s.Offset, s.Size, wasRead)
		_, err = h.ReadAt(buf[:s.Size], s.Offset)
		c.store.files.unpin(h)
		if err != nil {
			return err
		}
		buf = buf[s.Size:]
	}
	return nil
}

// readLinked fills buf with a range of a file that is the user's too, and that there
// is no room for a copy of: to read it takes none.
func (c *Content) readLinked(buf []byte, s content.Span) error {
	f, err := c.openFile(s.File, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(buf, s.Offset)
	return err
}

// writeAt writes data to the content's bytes from offset on.
func (c *Content) writeAt(data []byte, offset int64) error {
	if c.store.files.crowded() {
		if err := c.flush(); err != nil {
			return err
		}
	}
	for s := range c.layout.Spans(offset, int64(len(data))) {
		h, err := c.pin(s.File, true)
		if err == nil && c.fresh.exposed.Load() && shared(h.File) {
			c.store.files.unpinLast(h) // open since before it was linked
			h, err = c.pin(s.File, true)
		}
		if err != nil {
			return err
		}
		err = h.write(data[:s.Size], s.Offset)
		c.store.files.wrote(h)
		c.used(h, s.File, s.Offset, s.Size, wasWritten)
		c.store.files.unpin(h)
		if err != nil {
			return err
		}
		data = data[s.Size:]
	}
	return nil
}

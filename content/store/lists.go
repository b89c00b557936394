package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// The blocks file of a complete content has the block lists of all its chunks:
//
//	magic     8 bytes
//	count     4 bytes  chunks of the content
//	checksum  4 bytes  CRC-32C of the count and the table
//	table     8 bytes for each chunk and 8 more: where its node begins in the
//	          file, and where the last one ends
//	nodes
//
// Numbers are little-endian. Nodes are checked against their hash when read.
const (
	listsMagic = "p2pnblk\x01"
	listsHead  = magicSize + 4 + 4

	maxList = 4 << 10 // bytes of a node; one of content.MaxBlocks has 2.6 kB
)

// errLists says that a file is not the blocks file it should be.
var errLists = errors.New("not the block lists of this content")

// writeLists writes a blocks file of count nodes of the given lengths.
func writeLists(w io.Writer, count int, length func(chunk int) int, node func(chunk int) ([]byte, error)) error {
	head := make([]byte, listsHead, listsHead+8*(count+1))
	copy(head, listsMagic)
	binary.LittleEndian.PutUint32(head[magicSize:], uint32(count))
	at := uint64(cap(head))
	for i := range count {
		head = binary.LittleEndian.AppendUint64(head, at)
		at += uint64(length(i))
	}
	head = binary.LittleEndian.AppendUint64(head, at)
	binary.LittleEndian.PutUint32(head[magicSize+4:], listsSum(head))
	if _, err := w.Write(head); err != nil {
		return err
	}
	for i := range count {
		n, err := node(i)
		if err != nil {
			return err
		}
		if _, err := w.Write(n); err != nil {
			return err
		}
	}
	return nil
}

// writeAllLists makes the blocks file of a content, from all its nodes.
func (s *Store) writeAllLists(dir string, nodes [][]byte) error {
	return disk.Replace(s.disk, dir, listsName, func(w io.Writer) error {
		return writeLists(w, len(nodes),
			func(chunk int) int { return len(nodes[chunk]) },
			func(chunk int) ([]byte, error) { return nodes[chunk], nil })
	})
}

// listsSum returns the checksum that belongs in a blocks file's head and table.
func listsSum(head []byte) uint32 {
	sum := crc32.Checksum(head[magicSize:magicSize+4], castagnoli)
	return crc32.Update(sum, castagnoli, head[listsHead:])
}

// checkLists checks the head, table and length of a blocks file. The error wraps
// errLists if there is a file and it is not right, and ErrNewer if it is of a
// later version.
func (s *Store) checkLists(dir string, count int) error {
	f, err := s.disk.Open(filepath.Join(dir, listsName), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := listsHead + 8*(int64(count)+1)
	head := make([]byte, min(size, info.Size()))
	if _, err := io.ReadFull(f, head); err != nil {
		return err
	}
	switch {
	case isNewer(head, listsMagic):
		return ErrNewer
	case int64(len(head)) < size:
		return fmt.Errorf("%w: %d bytes", errLists, info.Size())
	case string(head[:magicSize]) != listsMagic,
		binary.LittleEndian.Uint32(head[magicSize:]) != uint32(count),
		binary.LittleEndian.Uint32(head[magicSize+4:]) != listsSum(head):
		return fmt.Errorf("%w: its head is damaged", errLists)
	case binary.LittleEndian.Uint64(head[size-8:]) != uint64(info.Size()):
		return fmt.Errorf("%w: cut to %d bytes", errLists, info.Size())
	}
	return nil
}

// readNode reads the node of a chunk from a blocks file.
func readNode(f io.ReaderAt, chunk int) ([]byte, error) {
	var place [16]byte
	if _, err := f.ReadAt(place[:], listsHead+8*int64(chunk)); err != nil {
		return nil, err
	}
	from, to := binary.LittleEndian.Uint64(place[:]), binary.LittleEndian.Uint64(place[8:])
	if to < from || to-from > maxList {
		return nil, fmt.Errorf("%w: its table is damaged", errLists)
	}
	node := make([]byte, to-from)
	_, err := f.ReadAt(node, int64(from))
	return node, err
}

// A blockList is a chunk's, checked against its hash. It is shared: nobody may
// change it.
type blockList struct {
	node   []byte
	blocks []content.Block
}

// offset returns the position of block i in its chunk.
func (l blockList) offset(i int) (n int64) {
	for _, b := range l.blocks[:i] {
		n += int64(b.Size)
	}
	return n
}

// maxLists bounds the lists kept in memory, for all contents: 1.2 MiB on average,
// 5 MiB at most. Enough for the chunks that are under way and being served.
const maxLists = 1024

type listKey struct {
	content *Content
	chunk   int
}

// A listCache keeps lists that were used lately. When it is full any one goes:
// readers look at a list some 16 times in a row, and knowing the oldest would
// cost each of them a lock against the others.
type listCache struct {
	mu    sync.RWMutex
	lists map[listKey]blockList
}

func newListCache() *listCache { return &listCache{lists: make(map[listKey]blockList)} }

func (c *listCache) get(k listKey) (blockList, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	l, ok := c.lists[k]
	return l, ok
}

func (c *listCache) put(k listKey, l blockList) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.lists) >= maxLists {
		for victim := range c.lists {
			delete(c.lists, victim)
			break
		}
	}
	c.lists[k] = l
}

// drop forgets the lists of a content.
func (c *listCache) drop(of *Content) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.lists {
		if k.content == of {
			delete(c.lists, k)
		}
	}
}

package store

import (
	"github.com/p2pnode/p2pnode/content"
)

// What a content costs is what its files take of the disk once all of it is here:
// whole blocks of the file system, of which a tree of small files has many that are
// hardly filled, and for each file an inode and names. That is what is reserved for
// a content, and what it counts for when it is whole; of one that is here in part, as
// great a part counts.
//
// Names are an eighth of a block: half a kilobyte, of which an inode has the most,
// an entry in a folder and one in the manifest the rest. The few files of the store's
// own are contentBlocks. Their own bytes are under a thousandth of what they are
// about, or of the size of names, and don't count beside that.
const (
	contentBlocks = 8
	namesOfBlock  = 8
)

// Cost returns how many bytes of the disk these files take as a content.
func (s *Store) Cost(files []content.File) int64 {
	n := contentBlocks * s.cfg.BlockSize
	for _, f := range files {
		if f.Mode.IsDir() {
			n += s.cfg.BlockSize // of its entries
		}
		n += s.FileCost(f.Size)
	}
	return n
}

// FileCost returns how many bytes of the disk a file of so many takes.
func (s *Store) FileCost(size int64) int64 {
	block := s.cfg.BlockSize
	return (size+block-1)/block*block + block/namesOfBlock
}

// costOf returns what so many bytes of the content count for.
func (c *Content) costOf(size int64) int64 {
	if size >= c.size {
		return c.cost
	}
	return int64(float64(c.cost) * (float64(size) / float64(c.size)))
}

// missing returns how many bytes of the disk are yet to be taken.
func (c *Content) missing() int64 { return max(0, c.cost-c.costOf(c.Progress())) }

// occupies returns how many bytes of the disk the content takes: those of blocks
// that are verified, and not in files of the user's.
func (c *Content) occupies() int64 {
	own := c.Progress() - c.borrowed()
	if own <= 0 && c.size > 0 {
		return 0
	}
	return c.costOf(own)
}

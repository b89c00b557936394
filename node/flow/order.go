package flow

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/p2pnode/p2pnode/content"
)

// Levels of chunks that may be asked for now. Level 0 has those to finish first:
// begun earlier, or asked of a source that is late with them. Level n has those
// that n sources hold; a chunk with so many as rarest or more isn't rare.
const (
	levelBegun = 0
	rarest     = 15
	levels     = rarest + 1
	noLevel    = -1
)

// A chunk is what the core remembers of each chunk for the whole flow: 24 bytes
// with its place in the order.
type chunk struct {
	verified uint64 // bit per block
	missing  uint32 // bytes not verified; 0 only when all are
	holders  uint8  // sources that have it and aren't banned
	near     uint8  // of these, members of the own site
	blocks   uint8  // 0 while the block list isn't known
	level    int8   // the level it stands in, or noLevel
}

func (ch *chunk) done() bool { return ch.missing == 0 }

// wanted returns the blocks that are not verified; all ones while the list isn't
// known.
func (ch *chunk) wanted() uint64 { return allBlocks(ch.blocks) &^ ch.verified }

func allBlocks(n uint8) uint64 {
	if n == 0 || n >= content.MaxBlocks {
		return ^uint64(0)
	}
	return 1<<n - 1
}

// An order holds every chunk of the content, and those that may be asked for now
// by how urgent they are. Sets are over positions of a shuffle, not over chunk
// numbers: the first of a set is the one to take.
type order struct {
	chunks []chunk
	place  []uint32 // chunk -> position
	at     []uint32 // position -> chunk
	levels [levels]bitset
	bare   int // chunks not done that no source has
	// longings is what readers wait for: one for each of them, at most maxFirst,
	// the oldest first.
	longings []longing
	// first has the chunks of these: what each reader waits for, then what each reads
	// next, and so on. At most maxFirst, each once, none that is here. They stand in
	// their levels too.
	first []int
	// changes grows whenever a chunk comes to stand in a level.
	changes uint64
}

func newOrder(id content.ID, seed uint64, all []content.Chunk) *order {
	n := len(all)
	o := &order{chunks: make([]chunk, n), place: make([]uint32, n), at: make([]uint32, n), changes: 1}
	for i := range o.at {
		o.at[i] = uint32(i)
	}
	rng := rand.New(rand.NewPCG(seed, binary.BigEndian.Uint64(id[:])))
	rng.Shuffle(n, func(i, j int) { o.at[i], o.at[j] = o.at[j], o.at[i] })
	o.smallLast(all)
	for p, i := range o.at {
		o.place[i] = uint32(p)
	}
	for l := range o.levels {
		o.levels[l] = newBitset(n)
	}
	for i := range o.chunks {
		o.chunks[i].level = noLevel
	}
	return o
}

// smallLast puts the chunks of less than half the mean size behind the others. What
// comes last is waited for, and a source that is slow with a chunk of 4 MB holds up all
// the rest as long as sixteen that are slow with one of 256 KiB.
func (o *order) smallLast(all []content.Chunk) {
	var total uint64
	for _, ch := range all {
		total += uint64(ch.Size)
	}
	small := func(i uint32) bool { return uint64(all[i].Size)*uint64(len(all))*2 < total }
	slices.SortStableFunc(o.at, func(i, j uint32) int {
		switch {
		case small(i) == small(j):
			return 0
		case small(j):
			return -1
		}
		return 1
	})
}

// move puts chunk i into a level.
func (o *order) move(i int, level int8) {
	ch := &o.chunks[i]
	if ch.level == level {
		return
	}
	if ch.level != noLevel {
		o.levels[ch.level].clear(o.place[i])
	}
	if level != noLevel {
		o.levels[level].set(o.place[i])
		o.changes++
	}
	ch.level = level
}

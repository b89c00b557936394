//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/p2pnode/p2pnode/content"
)

// A cutter is content/chunker's algorithm with its sizes as parameters, to ask
// what other sizes would cost. With a target of content.TargetBlock it cuts as
// the product does (TestCutterIsTheProducts).
type cutter struct {
	target                  int // bytes of a block, on average
	least, normal, most     int // as content.MinBlock, chunker's normal, content.MaxBlock
	rare, frequent          uint64
	leastBlocks, mostBlocks int // of a chunk, as content.MinBlocks and MaxBlocks
	odds                    uint64
}

// A shape is how the lengths of blocks spread about their mean, told for a mean
// of 64 KiB: up to normal one place in rare is a cut, then one in frequent.
type shape struct {
	name           string
	normal         int
	rare, frequent float64
}

// The paper's levels of normalization: at level n a cut is 4^n times as likely
// beyond normal as before. Each normal is where the mean comes to 64 KiB.
var shapes = []shape{
	{"level 2", 52 << 10, 1 << 18, 1 << 14},
	{"level 1½", 46 << 10, (1 << 17) * math.Sqrt2, (1 << 14) * math.Sqrt2},
	{"level 1", 40 << 10, 1 << 17, 1 << 15},
	{"level 0", content.MinBlock, 48 << 10, 48 << 10},
}

// product is the shape that content/chunker has.
var product = shapes[2]

// newCutter scales a shape to target, a power of two: blocks of a quarter of it
// to four times as much, chunks of a quarter to four times the run of blocks
// that makes 1 MiB. Where one block is 1 MiB, that is the chunk, and the
// manifest lists it: there are no block lists.
func newCutter(target int, s shape) cutter {
	scale := func(size int) int { return int(int64(size) * int64(target) / content.TargetBlock) }
	limit := func(one float64) uint64 {
		return uint64(math.Ldexp(1, 64) / (one * float64(target) / content.TargetBlock))
	}
	run := max(1, (1<<20)/target)
	c := cutter{
		target: target,
		least:  scale(content.MinBlock), normal: scale(s.normal), most: scale(content.MaxBlock),
		rare: limit(s.rare), frequent: limit(s.frequent),
		leastBlocks: max(1, run/4), mostBlocks: 4 * run,
	}
	c.odds = uint64(run - c.leastBlocks + 1)
	return c
}

// lists reports whether chunks have lists of blocks.
func (c cutter) lists() bool { return c.odds > 1 }

// gear has the number of each byte, by chunker's formula.
var gear = func() (table [256]uint64) {
	for i := range table {
		sum := sha256.Sum256(append([]byte("p2pnode gear "), byte(i)))
		table[i] = binary.BigEndian.Uint64(sum[:])
	}
	return table
}()

// cut returns the length of the block that data, the rest of a file, begins with.
func (c cutter) cut(data []byte) int {
	data = data[:min(len(data), c.most)]
	if len(data) <= c.least {
		return len(data)
	}
	middle := min(len(data), c.normal)
	var hash uint64
	for i, b := range data[c.least:middle] {
		if hash = hash<<1 + gear[b]; hash < c.rare {
			return c.least + i + 1
		}
	}
	for i, b := range data[middle:] {
		if hash = hash<<1 + gear[b]; hash < c.frequent {
			return middle + i + 1
		}
	}
	return len(data)
}

// ends reports whether a chunk ends after a block that is its nth.
func (c cutter) ends(h content.Hash, n int) bool {
	switch {
	case n < c.leastBlocks:
		return false
	case n >= c.mostBlocks:
		return true
	}
	return binary.BigEndian.Uint64(h[content.HashSize-8:])%c.odds == 0
}

// appendList appends a chunk's node as content.EncodeBlocks does, which refuses
// sizes that the product hasn't.
func appendList(b []byte, blocks []content.Block) []byte {
	const array, number, digest = 4 << 5, 0 << 5, 2 << 5 // CBOR's major types
	b = appendHead(b, array, uint64(len(blocks)))
	for _, k := range blocks {
		b = append(appendHead(appendHead(b, array, 2), digest, content.HashSize), k.Hash[:]...)
		b = appendHead(b, number, uint64(k.Size))
	}
	return b
}

// appendHead appends the head of a CBOR item (RFC 8949, section 3).
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	panic(fmt.Sprintf("a head of %d", n)) // no block is so large
}

package chunker

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/p2pnode/p2pnode/content"
)

const (
	// normal is where the rare cuts end and the frequent ones begin. A block
	// is then (1-p)·2^17 + p·2^15 bytes longer than MinBlock on average, p being
	// the e^(-(normal-MinBlock)/2^17) = 0.83 of blocks that get that far:
	// 64 KiB in all.
	normal = 40 << 10

	// A hash below the limit is a cut.
	rare     = 1 << (64 - 17)
	frequent = 1 << (64 - 15)
)

// gear has a number for each byte: the first eight bytes, big-endian, of the
// SHA-256 digest of "p2pnode gear " and the byte.
var gear = func() (table [256]uint64) {
	for i := range table {
		sum := sha256.Sum256(append([]byte("p2pnode gear "), byte(i)))
		table[i] = binary.BigEndian.Uint64(sum[:])
	}
	return table
}()

// Cut returns the length of the block that data begins with: MinBlock to
// MaxBlock bytes, or all of data if it is shorter. Data is what follows of the
// file, at least MaxBlock bytes unless the file ends there.
func Cut(data []byte) int {
	data = data[:min(len(data), content.MaxBlock)]
	if len(data) <= content.MinBlock {
		return len(data)
	}
	middle := min(len(data), normal)
	n, hash := roll(data[content.MinBlock:middle], 0, rare)
	if n > 0 {
		return content.MinBlock + n
	}
	if n, _ = roll(data[middle:], hash, frequent); n > 0 {
		return middle + n
	}
	return len(data)
}

// roll rolls data into hash until that is below limit. It returns how many bytes
// this took, 0 if all of data didn't do it, and the hash.
//
// Eight bytes to a turn and two to a step: of h<<2 + (a<<1 + b) only the first
// term waits for the byte before. This is the fastest of seven forms tried, by a
// third over the plain loop; words of eight bytes, pointers to arrays, parallel
// lanes and minima instead of branches were all slower under Go 1.26.
func roll(data []byte, hash, limit uint64) (int, uint64) {
	i := 0
	for len(data)-i >= 8 {
		p := data[i : i+8 : i+8]
		a, b := gear[p[0]], gear[p[1]]
		half := hash<<1 + a
		hash = hash<<2 + (a<<1 + b)
		if half < limit {
			return i + 1, half
		}
		if hash < limit {
			return i + 2, hash
		}
		a, b = gear[p[2]], gear[p[3]]
		half = hash<<1 + a
		hash = hash<<2 + (a<<1 + b)
		if half < limit {
			return i + 3, half
		}
		if hash < limit {
			return i + 4, hash
		}
		a, b = gear[p[4]], gear[p[5]]
		half = hash<<1 + a
		hash = hash<<2 + (a<<1 + b)
		if half < limit {
			return i + 5, half
		}
		if hash < limit {
			return i + 6, hash
		}
		a, b = gear[p[6]], gear[p[7]]
		half = hash<<1 + a
		hash = hash<<2 + (a<<1 + b)
		if half < limit {
			return i + 7, half
		}
		if hash < limit {
			return i + 8, hash
		}
		i += 8
	}
	for ; i < len(data); i++ {
		hash = hash<<1 + gear[data[i]]
		if hash < limit {
			return i + 1, hash
		}
	}
	return 0, hash
}

// odds is one in how many blocks ends a chunk, once it has MinBlocks. The mean is
// MinBlocks - 1 + 13 = 16 blocks (the few that MaxBlocks cuts short are 1 %).
const odds = 13

// Ends reports whether a chunk ends after a block with digest h that is its nth,
// counted from 1.
func Ends(h content.Hash, n int) bool {
	switch {
	case n < content.MinBlocks:
		return false
	case n >= content.MaxBlocks:
		return true
	}
	return binary.BigEndian.Uint64(h[content.HashSize-8:])%odds == 0
}

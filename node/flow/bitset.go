package flow

import "math/bits"

// A bitset is a set of positions with a summary: bit w of sums says that words[w]
// is not 0. Looking for the first common position of two sets of 100,000 reads 25
// words of summary and then those that both have.
type bitset struct {
	words, sums []uint64
	count       int
}

func newBitset(n int) bitset {
	words := (n + 63) / 64
	return bitset{words: make([]uint64, words), sums: make([]uint64, (words+63)/64)}
}

func (b *bitset) has(i uint32) bool { return b.words[i/64]&(1<<(i%64)) != 0 }

// set reports whether i was not in the set.
func (b *bitset) set(i uint32) bool {
	w := i / 64
	if b.words[w]&(1<<(i%64)) != 0 {
		return false
	}
	b.words[w] |= 1 << (i % 64)
	b.sums[w/64] |= 1 << (w % 64)
	b.count++
	return true
}

// clear reports whether i was in the set.
func (b *bitset) clear(i uint32) bool {
	w := i / 64
	if b.words[w]&(1<<(i%64)) == 0 {
		return false
	}
	b.words[w] &^= 1 << (i % 64)
	if b.words[w] == 0 {
		b.sums[w/64] &^= 1 << (w % 64)
	}
	b.count--
	return true
}

// common returns the first position from on that is in both sets.
func (b *bitset) common(o *bitset, from uint32) (uint32, bool) {
	w := from / 64
	if int(w) >= len(b.words) {
		return 0, false
	}
	if m := b.words[w] & o.words[w] & (^uint64(0) << (from % 64)); m != 0 {
		return w*64 + uint32(bits.TrailingZeros64(m)), true
	}
	w++
	for s := w / 64; int(s) < len(b.sums); s++ {
		sum := b.sums[s] & o.sums[s]
		if s == w/64 {
			sum &= ^uint64(0) << (w % 64)
		}
		for ; sum != 0; sum &= sum - 1 {
			i := s*64 + uint32(bits.TrailingZeros64(sum))
			if m := b.words[i] & o.words[i]; m != 0 {
				return i*64 + uint32(bits.TrailingZeros64(m)), true
			}
		}
	}
	return 0, false
}

package content

import (
	"fmt"
	"hash/maphash"
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// checkCollisions refuses two paths that a file system may take for one: it
// compares them caselessly as Unicode's definition D145 does (full case folding
// of decomposed text, as APFS and ext4 do), and without the characters that
// ext4's folding ignores.
//
// It keeps eight bytes for a path, not the path: manifests come from outside,
// and may cost memory in proportion to their bytes only.
func (n *normalizer) checkCollisions(files []File) error {
	seed := maphash.MakeSeed()
	sums := make([]uint64, len(files))
	for i, f := range files {
		sums[i] = maphash.Bytes(seed, n.fold(f.Path))
	}
	slices.Sort(sums)
	for i := 1; i < len(sums); i++ {
		if sums[i] != sums[i-1] {
			continue
		}
		// Nearly always a collision; once in 10¹⁹ two sums are the same by chance.
		seen := make(map[string]string)
		for _, f := range files {
			key := n.fold(f.Path)
			if maphash.Bytes(seed, key) != sums[i] {
				continue
			}
			if other, ok := seen[string(key)]; ok {
				return fmt.Errorf("%w: %+q and %+q are one name where case does not count: rename one of them", ErrPath, other, f.Path)
			}
			seen[string(key)] = f.Path
		}
	}
	return nil
}

// A normalizer brings paths into Unicode's normal forms, in buffers that it uses
// again: the package norm takes a kilobyte from the heap for every text that is
// not ASCII, and a manifest may have a million short ones.
type normalizer struct {
	iter  norm.Iter
	caser *cases.Caser

	text, flat, folded []byte
}

// composed reports whether p, which is valid UTF-8, is in form NFC.
func (n *normalizer) composed(p string) bool {
	if ascii(p) {
		return true
	}
	n.iter.InitString(norm.NFC, p)
	for !n.iter.Done() {
		next := n.iter.Next()
		if len(next) > len(p) || p[:len(next)] != string(next) {
			return false
		}
		p = p[len(next):]
	}
	return p == ""
}

// fold returns a key of p that other paths share where a file system may take
// them for p. It is valid until the next call.
func (n *normalizer) fold(p string) []byte {
	n.text = append(n.text[:0], p...)
	if ascii(p) {
		for i, c := range n.text {
			if 'a' <= c && c <= 'z' {
				n.text[i] = c - 'a' + 'A' // the first of the two, as below
			}
		}
		return n.text
	}
	if n.caser == nil {
		caser := cases.Fold()
		n.caser = &caser
	}
	n.flat = n.decompose(n.flat[:0], n.text)
	// Folding makes at most three runes of one, none longer than its source.
	n.folded = slices.Grow(n.folded[:0], 4*len(n.flat))
	size, _, err := n.caser.Transform(n.folded[:cap(n.folded)], n.flat, true)
	if err != nil {
		panic(fmt.Sprintf("fold %+q: %v", p, err)) // the buffer is large enough
	}
	n.flat = n.decompose(n.flat[:0], n.folded[:size])
	return appendShown(n.text[:0], n.flat)
}

// decompose appends text in form NFD to b.
func (n *normalizer) decompose(b, text []byte) []byte {
	n.iter.Init(norm.NFD, text)
	for !n.iter.Done() {
		b = append(b, n.iter.Next()...)
	}
	return b
}

func ascii(p string) bool {
	for i := range len(p) {
		if p[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendShown appends the characters of text that show something, which variation
// selectors, joiners of letters and fillers don't. Of those that differ in case
// only it takes one: cases.Fold leaves some, the Cherokee, apart.
func appendShown(b, text []byte) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		if unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) {
			continue
		}
		first := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			first = min(first, other)
		}
		b = utf8.AppendRune(b, first)
	}
	return b
}

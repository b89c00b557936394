package content

import (
	"iter"
	"sort"
)

// A Layout tells where the bytes of a content lie in its files. A position in
// the content counts from the first byte of its first file.
type Layout struct {
	manifest *Manifest
	files    []int64 // position of each file's first byte
	chunks   []int64 // position of each chunk's first byte
}

// A Span is a range of one file.
type Span struct {
	File   int   // index in Manifest.Files
	Offset int64 // in the file
	Size   int64 // never 0
}

// NewLayout returns the layout of m, which has passed Check. It takes 8 bytes of
// memory per file and chunk.
func NewLayout(m *Manifest) *Layout {
	l := &Layout{
		manifest: m,
		files:    make([]int64, len(m.Files)),
		chunks:   make([]int64, len(m.Chunks)),
	}
	var at int64
	for i, f := range m.Files {
		l.files[i] = at
		at += f.Size
	}
	at = 0
	for i, c := range m.Chunks {
		l.chunks[i] = at
		at += int64(c.Size)
	}
	return l
}

// Chunk returns the position of chunk i.
func (l *Layout) Chunk(i int) int64 { return l.chunks[i] }

// Spans yields, in order, the ranges of files that hold size bytes from offset
// on. What lies outside the content has none.
func (l *Layout) Spans(offset, size int64) iter.Seq[Span] {
	return func(yield func(Span) bool) {
		offset, size := offset, size
		if offset < 0 {
			return
		}
		// The last file that starts at or before offset: of files at one
		// position all but the last are empty.
		i := sort.Search(len(l.files), func(i int) bool { return l.files[i] > offset }) - 1
		for ; size > 0 && i < len(l.files); i++ {
			start := offset - l.files[i]
			n := min(size, l.manifest.Files[i].Size-start)
			if n <= 0 {
				continue
			}
			if !yield(Span{File: i, Offset: start, Size: n}) {
				return
			}
			offset += n
			size -= n
		}
	}
}

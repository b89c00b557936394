package node

import (
	"context"
	"os"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// What a publication leaves in memory
//
// The system keeps what is read and written in memory, and for a large content
// would drop everybody else's files for it. So, where a content is larger than
// what may stay, what was read of the user's files is forgotten at once, unless it
// was in memory before. What was written can be forgotten when it is on the disk,
// and should be when it has been read back, or it would have to be read from there.
// So writing it out begins early, the workers read back at a distance behind the
// first pass, and forget behind them.

const (
	// leastPages is the distance at least: many times what may wait to be written
	// (the pieces in a channel), so that nothing is read back too early.
	leastPages = 16 << 20
	// pagesStep is how much of a file is written out at once.
	pagesStep = 4 << 20
	// pagesAlign is the most that the system keeps as one (a large folio), and drops
	// when all of it is to be forgotten.
	pagesAlign = 2 << 20
	// pagesLag is how far behind what was read back is forgotten: other workers may
	// be reading just before it.
	pagesLag = 8 << 20
)

// A pageLimit says what of a publication may stay in memory.
type pageLimit struct {
	most int64 // bytes; 0: all of it

	behind chan writtenChunk // to be read back, and forgotten
	// What gather has given to behind.
	followed      int // chunks
	followedBytes int64
}

// A writtenChunk is one whose bytes are in the stage.
type writtenChunk struct {
	at     int64 // in the content
	blocks []content.Block
}

// newPageLimit returns the limit for entries of which so much may stay; 0: all.
func newPageLimit(entries []publishEntry, most int64) pageLimit {
	l := pageLimit{behind: make(chan writtenChunk, publishAhead)}
	var total int64
	for _, e := range entries {
		total += e.Size
	}
	if limit := max(most, leastPages); most > 0 && limit < total {
		l.most = limit
	}
	return l
}

// follow has the chunks read back that are behind by what may stay in memory; done
// is how many bytes are hashed. Of these all but the last few MiB are written.
func (p *publisher) follow(ctx context.Context, done int64) error {
	l := &p.pages
	for l.most > 0 {
		next := int64(p.chunks[l.followed].Size)
		if done-l.followedBytes-next < l.most {
			break
		}
		select {
		case l.behind <- writtenChunk{l.followedBytes, p.blocks[l.followed]}:
		case <-ctx.Done():
			return ctx.Err()
		}
		l.followed++
		l.followedBytes += next
	}
	return nil
}

// look notes whether a file of the user's is in memory for somebody else's sake.
func (l *pageLimit) look(e *publishEntry, f publishFile) {
	if o := osFile(f); l.most > 0 && e.source != "" && o != nil {
		e.warm = 2*disk.InMemory(o, e.Size) > e.Size
	}
}

// read has n bytes before at forgotten that were read of a file.
func (l *pageLimit) read(e *publishEntry, f publishFile, at, n int64) {
	if o := osFile(f); l.most > 0 && !e.warm && o != nil {
		from := aligned(at - n)
		disk.Forget(o, from, at-from)
	}
}

// aligned returns where that begins which may lie across a place.
func aligned(at int64) int64 { return max(0, at) / pagesAlign * pagesAlign }

// wrote has what was written to a file written out, in steps; at is where that ends.
func (l *pageLimit) wrote(f disk.File, at, n, size int64) error {
	o := disk.Unwrap(f)
	if l.most == 0 || o == nil || at < size && at/pagesStep == (at-n)/pagesStep {
		return nil
	}
	from := (at - n) / pagesStep * pagesStep
	return disk.WriteOut(o, from, at-from, false)
}

// readBack has that forgotten of a file which lies behind what was read back of it.
func (l *pageLimit) readBack(f publishFile, from, to, size int64) error {
	o := osFile(f)
	if l.most == 0 || o == nil {
		return nil
	}
	if from = aligned(from - pagesLag); to < size {
		to -= pagesLag
	}
	if to <= from {
		return nil
	}
	if err := disk.WriteOut(o, from, to-from, true); err != nil {
		return err
	}
	disk.Forget(o, from, to-from)
	return nil
}

func osFile(f publishFile) *os.File {
	switch f := f.(type) {
	case *os.File:
		return f
	case disk.File:
		return disk.Unwrap(f)
	}
	return nil
}

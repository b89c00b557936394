package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
)

// publishRun is the most chunks in a row that one worker reads back: enough for
// the system to read ahead.
const publishRun = 16

// verify is the second pass: every worker takes runs of chunks and reads them
// back as a peer's request would.
func (p *publisher) verify(ctx context.Context, m *content.Manifest) error {
	layout := content.NewLayout(m)
	workers := p.workers + 1 // nobody feeds them
	run := max(1, min(publishRun, len(m.Chunks)/(4*workers)))
	if p.pages.most > 0 {
		run = 1 // in order, as they are forgotten
	}

	var next atomic.Int64
	next.Store(int64(p.pages.followed)) // the others were read back in the first pass
	var mu sync.Mutex
	done := p.pages.followedBytes

	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error {
			r := p.newReader()
			defer r.close()
			for {
				first := int(next.Add(int64(run))) - run
				if first >= len(m.Chunks) {
					return nil
				}
				for i := first; i < min(first+run, len(m.Chunks)); i++ {
					if err := ctx.Err(); err != nil {
						return err
					}
					if err := r.chunk(layout.Chunk(i), p.blocks[i]); err != nil {
						return err
					}
					mu.Lock()
					done += int64(m.Chunks[i].Size)
					p.report(publishVerifies, done, p.total)
					mu.Unlock()
				}
			}
		})
	}
	return group.Wait()
}

// A publishReader reads chunks back. It keeps the file open that it read last.
type publishReader struct {
	publisher *publisher
	file      int // index in the manifest; -1: none
	opened    publishFile
	from, to  int64 // what was read of it and is to be forgotten
	// One block: read, it is still in the core's cache when it is hashed.
	buf [content.MaxBlock]byte
}

func (p *publisher) newReader() *publishReader {
	return &publishReader{publisher: p, file: -1}
}

// chunk reads and hashes the blocks of the chunk that begins at that place.
func (r *publishReader) chunk(at int64, blocks []content.Block) error {
	for _, b := range blocks {
		for span := range r.publisher.layout.Spans(at, int64(b.Size)) {
			e := &r.publisher.entries[span.File]
			data := r.buf[:span.Size]
			if err := r.read(span, data); err != nil {
				return r.blame(e, fmt.Errorf("read back %s: %w", e.Path, err))
			}
			// A block is in one file: no part of it has its digest.
			if content.Sum(data) != b.Hash {
				err := fmt.Errorf("read back %s: %w: the %d bytes from %d on: memory or disk of this machine may be failing; add it again",
					e.Path, content.ErrCorrupt, span.Size, span.Offset)
				return r.blame(e, err)
			}
		}
		at += int64(b.Size)
	}
	return r.settle()
}

// settle has what was read forgotten.
func (r *publishReader) settle() error {
	if r.opened == nil || r.from == r.to {
		return nil
	}
	e := &r.publisher.entries[r.file]
	from := r.from
	r.from = r.to
	if e.warm && !r.publisher.copies {
		return nil
	}
	return stageError(e.Path, r.publisher.pages.readBack(r.opened, from, r.to, e.Size))
}

func (r *publishReader) read(span content.Span, data []byte) error {
	if r.file != span.File {
		if err := r.settle(); err != nil {
			return err
		}
		r.close()
		f, err := r.publisher.reopen(&r.publisher.entries[span.File])
		if err != nil {
			return err
		}
		r.file, r.opened = span.File, f
		r.from, r.to = span.Offset, span.Offset
	}
	if r.from == r.to {
		r.from = span.Offset
	}
	r.to = span.Offset + span.Size
	_, err := r.opened.ReadAt(data, span.Offset)
	return err
}

// blame returns why a file can't be read back as it was read: a user's may have
// changed.
func (r *publishReader) blame(e *publishEntry, err error) error {
	if !r.publisher.copies {
		if changed := e.unchanged(); changed != nil {
			return changed
		}
	}
	return err
}

func (r *publishReader) close() {
	if r.opened != nil {
		r.opened.Close()
	}
	r.file, r.opened = -1, nil
}

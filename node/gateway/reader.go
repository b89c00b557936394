package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"time"

	"github.com/p2pnode/p2pnode/content"
)

// A reader reads a file of a content that may still be coming: it waits for each
// block when it needs it, and has the chunks behind it asked for meanwhile. It is an
// io.ReadSeeker for one goroutine.
type reader struct {
	ctx     context.Context
	content Content
	cfg     Config
	flush   func() // sends what was read
	starts  int    // chunks of the content
	first   int64
	size    int64 // of the file
	pos     int64 // in the file
	last    int   // the file's last chunk

	block []byte // being read
	at    int64  // where it begins, in the content
	spare []byte
	err   error // what ended the reading, for the caller
}

func newReader(ctx context.Context, c Content, file int, cfg Config, flush func()) *reader {
	m := c.Manifest()
	r := &reader{ctx: ctx, content: c, cfg: cfg, flush: flush, starts: len(m.Chunks), size: m.Files[file].Size}
	for _, f := range m.Files[:file] {
		r.first += f.Size
	}
	if r.size > 0 {
		r.last = r.chunkAt(r.first + r.size - 1)
	}
	return r
}

// chunkAt returns the chunk that holds a position of the content.
func (r *reader) chunkAt(at int64) int {
	return sort.Search(r.starts, func(i int) bool { return r.content.Layout().Chunk(i) > at }) - 1
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	r.pos = offset
	return offset, nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.pos >= r.size {
		return 0, io.EOF
	}
	if r.err != nil {
		return 0, r.err
	}
	at := r.first + r.pos
	if at < r.at || at >= r.at+int64(len(r.block)) {
		if r.err = r.load(at); r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.block[at-r.at:])
	n = int(min(int64(n), r.size-r.pos)) // a block never spans two files, but a list is not ours
	r.pos += int64(n)
	return n, nil
}

// load reads the block that holds a position of the content.
func (r *reader) load(at int64) error {
	r.flush() // the next block may take a while
	chunk := r.chunkAt(at)
	if err := r.wait(at, chunk); err != nil {
		return err
	}
	blocks, ok := r.content.Blocks(chunk)
	if !ok {
		return fmt.Errorf("block list of chunk %d: %w", chunk, content.ErrNotFound)
	}
	start := r.content.Layout().Chunk(chunk)
	for i, b := range blocks {
		if at >= start+int64(b.Size) {
			start += int64(b.Size)
			continue
		}
		data, err := r.content.ReadBlock(chunk, i, r.spare)
		if err != nil {
			return err
		}
		if content.Sum(data) != b.Hash { // it was right once: the disk
			return fmt.Errorf("block %d of chunk %d of %v: %w", i, chunk, r.content.ID(), content.ErrCorrupt)
		}
		r.block, r.spare, r.at = data, data, start
		return nil
	}
	return fmt.Errorf("chunk %d is shorter than its list says: %w", chunk, content.ErrFormat)
}

// wait waits until the block that holds a position of a chunk is here.
func (r *reader) wait(at int64, chunk int) error {
	ctx, cancel := context.WithTimeoutCause(r.ctx, r.cfg.Wait, errLate)
	defer cancel()
	wanted := make([]int, 0, 1+r.cfg.Ahead)
	for i := chunk; i <= min(chunk+r.cfg.Ahead, r.last); i++ {
		wanted = append(wanted, i)
	}
	began := time.Now()
	err := r.content.Want(ctx, at, wanted...)
	if err != nil && context.Cause(ctx) == errLate {
		return fmt.Errorf("the next bytes didn't come in %s: %w", time.Since(began).Round(time.Second), context.DeadlineExceeded)
	}
	return err
}

var errLate = errors.New("a block took too long")

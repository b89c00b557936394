package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/chunker"
	"github.com/p2pnode/p2pnode/content/store/disk"
)

// A publishPiece is a part of a large file, or a small one.
type publishPiece struct {
	users atomic.Int32 // writer and hashing job; the last puts it back
	fresh []byte       // what was read into buf
	// The fresh bytes begin at MaxBlock: before them goes what was left of the
	// piece before, which is less than a block.
	buf [content.MaxBlock + publishPieceSize]byte
}

func (p *publisher) piece() *publishPiece { return p.pieces.Get().(*publishPiece) }

func (p *publisher) done(piece *publishPiece) {
	if piece.users.Add(-1) == 0 {
		p.pieces.Put(piece)
	}
}

// A publishFile is a file that is read: the user's, or one of a stage.
type publishFile interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// open opens a file to be published.
func (p *publisher) open(e *publishEntry) (publishFile, error) {
	if e.source != "" {
		return e.open()
	}
	return p.stage.Open(e.Path)
}

// reopen opens a file that was published, to read it back.
func (p *publisher) reopen(e *publishEntry) (publishFile, error) {
	if p.copies {
		return p.stage.Open(e.Path)
	}
	return p.open(e)
}

// small hashes the blocks of a file of at most a piece, and copies it into the
// stage.
func (p *publisher) small(e *publishEntry) ([]content.Block, error) {
	from, err := p.open(e)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	piece := p.piece()
	defer p.pieces.Put(piece)
	data := piece.buf[:e.Size]
	p.pages.look(e, from)
	if err := e.fill(from, data); err != nil {
		return nil, err
	}
	if p.copies {
		p.pages.read(e, from, e.Size, e.Size)
	}
	if p.copies {
		to, err := p.stage.Create(e.Path)
		if err != nil {
			return nil, stageError(e.Path, err)
		}
		_, err = to.Write(data)
		if err == nil {
			err = p.pages.wrote(to, e.Size, e.Size, e.Size)
		}
		if err := stageError(e.Path, errors.Join(err, to.Close())); err != nil {
			return nil, err
		}
	}
	lengths, _ := cutPiece(data, true)
	return hashBlocks(data, lengths), nil
}

// large makes jobs of hashing a file of more than a piece, piece by piece, and
// copies it into the stage.
func (p *publisher) large(ctx context.Context, e *publishEntry) error {
	from, err := p.open(e)
	if err != nil {
		return err
	}
	defer from.Close()
	p.pages.look(e, from)
	if !p.copies {
		if err := p.pump(ctx, e, from, nil); err != nil {
			return err
		}
		return e.unchangedAt(from.Stat())
	}
	if err := p.copyFrom(ctx, e, from); err != nil {
		return err
	}
	return e.unchangedAt(from.Stat()) // all are compared at the end, but that may be hours away
}

// pump reads and cuts a large file, and gives its pieces to the writer, if there
// is one, and the workers.
//
// Pieces are read to the same place in each buffer, so that files are read and
// written in whole pages; what is left of a piece when no whole block is certain
// goes before the next.
func (p *publisher) pump(ctx context.Context, e *publishEntry, from io.Reader, cut chan<- *publishPiece) error {
	piece := p.piece()
	left := 0 // bytes before the fresh ones
	for at := int64(0); at < e.Size; {
		n := int(min(publishPieceSize, e.Size-at))
		piece.fresh = piece.buf[content.MaxBlock : content.MaxBlock+n]
		if err := e.fill(from, piece.fresh); err != nil {
			return err
		}
		at += int64(n)
		if f, ok := from.(publishFile); ok && p.copies {
			p.pages.read(e, f, at, int64(n))
		}
		data := piece.buf[content.MaxBlock-left : content.MaxBlock+n]
		lengths, whole := cutPiece(data, at == e.Size)

		next := p.piece()
		left = copy(next.buf[content.MaxBlock-(len(data)-whole):], data[whole:])
		full := piece
		full.users.Store(1)
		if cut != nil {
			full.users.Store(2)
			select {
			case cut <- full:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		err := p.submit(ctx, func() ([]content.Block, error) {
			defer p.done(full)
			return hashBlocks(data, lengths), nil
		})
		if err != nil {
			return err
		}
		piece = next
	}
	piece.users.Store(1)
	p.done(piece)
	return nil
}

// write writes the pieces of a large file. It has a goroutine of its own as the
// system lets one at a time write to a file, and may be slow to find memory for
// what is written.
func (p *publisher) write(ctx context.Context, e *publishEntry, to disk.File, cut <-chan *publishPiece) error {
	for at := int64(0); ; {
		select {
		case piece, ok := <-cut:
			if !ok {
				return nil
			}
			n, err := to.Write(piece.fresh)
			if at += int64(n); err == nil {
				err = p.pages.wrote(to, at, int64(n), e.Size)
			}
			if err != nil {
				return stageError(e.Path, err)
			}
			p.done(piece)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fill fills buf from the file.
func (e *publishEntry) fill(from io.Reader, buf []byte) error {
	_, err := io.ReadFull(from, buf)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return e.changed() // it was longer
	}
	if err != nil {
		return fmt.Errorf("add: %w", err)
	}
	return nil
}

// cutPiece returns the lengths of the blocks of data, and their sum. Unless the
// file ends with data, that is less than all: the last blocks need more to be cut.
func cutPiece(data []byte, ends bool) (lengths []int, whole int) {
	lengths = make([]int, 0, len(data)/content.TargetBlock+content.MaxBlock/content.MinBlock)
	for rest := data; len(rest) >= content.MaxBlock || ends && len(rest) > 0; rest = data[whole:] {
		n := chunker.Cut(rest)
		lengths = append(lengths, n)
		whole += n
	}
	return lengths, whole
}

func hashBlocks(data []byte, lengths []int) []content.Block {
	blocks := make([]content.Block, len(lengths))
	for i, n := range lengths {
		blocks[i] = content.Block{Hash: content.Sum(data[:n]), Size: uint32(n)}
		data = data[n:]
	}
	return blocks
}

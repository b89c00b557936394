package gateway

import (
	"context"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/p2pnode/p2pnode/content"
)

// A Library has the contents that a gateway serves. Its methods may be called by
// many at once. Errors are *Error, or wrap a sentinel of content or context.
type Library interface {
	// Resolve returns the content that NAME or NAME@VERSION stands for now.
	Resolve(ctx context.Context, ref string) (content.ID, error)
	// Open returns a content once its manifest is here and a release of it is
	// known to be valid. Once anything is wanted that isn't here, all that is missing
	// is fetched, for as long as somebody has it open. The caller closes it.
	Open(ctx context.Context, id content.ID) (Content, error)
	// Holds reports whether a content is here, if only in part; Whole, whether all
	// of it is.
	Holds(id content.ID) bool
	Whole(id content.ID) bool
	// Block returns what a SHA-256 digest names, if that is here: a block, a block
	// list, the root or a segment of a manifest. The error wraps
	// content.ErrNotFound if it isn't.
	Block(ctx context.Context, h content.Hash) ([]byte, error)
	// WriteCAR writes a CAR of one section: what root names.
	WriteCAR(w io.Writer, root cid.Cid, data []byte) error
}

// A Content is one that somebody reads.
type Content interface {
	ID() content.ID
	Manifest() *content.Manifest
	Layout() *content.Layout
	// Want has these chunks fetched before others, in this order, and waits until
	// the block that holds byte at of the content is here, which is in the first of
	// them.
	Want(ctx context.Context, at int64, chunks ...int) error
	// Blocks returns the blocks of a chunk of which any is here.
	Blocks(chunk int) ([]content.Block, bool)
	ReadBlock(chunk, block int, buf []byte) ([]byte, error)
	// WriteCAR writes the content as a CAR, waiting for what is not here yet.
	WriteCAR(ctx context.Context, w io.Writer) error
	Close() error
}

// An Error is a failure that a library knows the answer to.
type Error struct {
	Status int    // of HTTP
	Next   string // what to do about it
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns what failed.
func (e *Error) Unwrap() error { return e.Err }

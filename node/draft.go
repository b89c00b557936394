package node

import (
	"context"

	"github.com/p2pnode/p2pnode/content/store"
)

// A drafting writes the user's copy while the content comes (store.Draft). What it
// can't do the export does. Its methods may be called on nil, and not at once.
type drafting struct {
	output string
	ctx    context.Context
	stop   context.CancelFunc
	begun  chan *store.Draft // gets one; nil while nothing is followed, and once it is taken
}

func newDrafting(ctx context.Context, output string) *drafting {
	ctx, stop := context.WithCancel(ctx)
	return &drafting{output: output, ctx: ctx, stop: stop}
}

// follow begins the copy of what the first fetch brings that it is told of.
func (d *drafting) follow(f *fetch) {
	if d == nil || d.begun != nil || d.ctx.Err() != nil {
		return
	}
	begun := make(chan *store.Draft, 1)
	d.begun = begun
	go func() {
		select {
		case <-f.settled:
			begun <- f.target.Draft(d.ctx, outputPath(f.target.Manifest(), d.output))
		case <-d.ctx.Done():
			begun <- nil
		}
	}()
}

// take ends the copying, and returns what there is of a copy, the first time; nil if
// there is none.
func (d *drafting) take() *store.Draft {
	if d == nil {
		return nil
	}
	d.stop()
	if d.begun == nil {
		return nil
	}
	begun := d.begun
	d.begun = nil
	return <-begun
}

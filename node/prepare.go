package node

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/node/flow"
)

// What is on this disk already
//
// Between the manifest and the flow a fetch looks for what it need not fetch: whole
// chunks that other contents in the store have, then, by the block lists of the
// others, single blocks, there and in files of the user's that were named as seeds.
// A block counts once its hash was right, wherever it came from.
//
// All of this is skipped on a node that has nothing to look into, and for a reader
// who waits for the first byte. Who reads what is being prepared gets what it waits
// for meanwhile, by a flow of its own.

// A preparation is what comes before a flow.
type preparation struct {
	useful bool // there is something to look into or to compare, or an origin, which needs the lists
	lister *lister
	early  *flow.Flow    // for readers who don't wait for all this; nil if there is nothing to wait for
	learnt chan struct{} // a signal that lists came in
	copied atomic.Int64  // bytes that were on this disk
	left   atomic.Int64  // bytes of seeds that weren't looked at, as they are too many
}

// settle begins the preparation of a content whose manifest is here.
func (f *fetch) settle(c *store.Content) {
	f.target = c
	p := &preparation{learnt: make(chan struct{}, 1)}
	p.useful = !c.Complete() && (len(f.standing) > 0 || len(f.seeds) > 0 || len(c.Manifest().Origins) > 0 || len(f.node.store.List()) > 1)
	p.lister = newLister(c, func() {
		select {
		case p.learnt <- struct{}{}:
		default:
		}
	})
	if p.useful && !f.stream {
		p.early = f.newFlow(f.node.bans, true)
	}
	f.preparation = p
	close(f.settled)
}

// prepare copies what is on this disk, and returns when that is done. Lists that
// nobody gives in time are left to the flow.
func (f *fetch) prepare(ctx context.Context) error {
	if !f.preparation.useful {
		return nil
	}
	if f.stream {
		if len(f.target.Manifest().Origins) > 0 {
			f.preparation.lister.want(f.target) // as the flow goes on
		} else {
			f.preparation.lister.end()
		}
		return nil
	}
	defer f.meanwhile(ctx)()
	if err := f.reuse(ctx); err != nil { // whole chunks, and what an earlier fetch learnt
		return err
	}
	f.preparation.lister.want(f.target)
	if len(f.target.Manifest().Origins) == 0 { // an origin can't give them later
		defer f.preparation.lister.end()
	}
	if err := f.preparation.wait(ctx); err != nil {
		return err
	}
	if len(f.standing) > 0 {
		if err := f.output.compare(ctx, f.target, f.standing); err != nil {
			return err
		}
	}
	var pools []store.Pool
	if len(f.seeds) > 0 && !f.target.Complete() {
		seeds, err := f.node.seedPool(ctx, f.seeds, f.target.Manifest().Size()-f.target.Progress())
		if err != nil {
			return err
		}
		f.preparation.left.Store(seeds.left)
		defer seeds.Close() // it was only read
		pools = append(pools, seeds)
	}
	return f.reuse(ctx, pools...)
}

// wait waits for the lists that are wanted, while some come.
func (p *preparation) wait(ctx context.Context) error {
	patience := time.NewTimer(listsPatience)
	defer patience.Stop()
	for {
		wanted, changed := p.lister.state()
		if wanted == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience.C:
			return nil
		case <-p.learnt:
			patience.Reset(listsPatience)
		case <-changed:
		}
	}
}

// reuse copies what can be had on this disk.
func (f *fetch) reuse(ctx context.Context, pools ...store.Pool) error {
	n, err := f.target.Reuse(ctx, pools...)
	f.preparation.copied.Add(n)
	return err
}

// localBytes returns how much a fetch found on this disk so far.
func (f *fetch) localBytes() int64 {
	if f == nil {
		return 0
	}
	select {
	case <-f.settled:
		return f.preparation.copied.Load()
	default:
		return 0
	}
}

// preparing returns the content of a fetch whose flow has yet to begin, if that is
// worth a word.
func (f *fetch) preparing() (*store.Content, bool) {
	if f == nil {
		return nil, false
	}
	select {
	case <-f.begun:
		return nil, false
	default:
	}
	select {
	case <-f.settled:
		return f.target, f.preparation.useful && !f.stream
	default:
		return nil, false
	}
}

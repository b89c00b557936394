//go:build linux

package main

import (
	"context"
	"strconv"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// spread measures one LAN: the publisher stands where the others do.
func spread(ctx context.Context, b *bench) error {
	plan := b.scene.plan()
	// Whatever the publisher's first start or its credential say: from the second start
	// on it is one of them. The operator, which is elsewhere, would be too: it goes.
	plan.Flags = append(plan.Flags, "--site", box.Branch(0))
	return b.rounds(ctx, plan, func(ctx context.Context, r *round) error {
		if err := r.f.box.Node(box.Operator).Stop(ctx); err != nil {
			return err
		}
		if err := r.bring(ctx, r.f.from, r.f.sites[0]); err != nil {
			return err
		}
		r.f.sites = nil // nothing crosses a link
		if rate := b.scene.port; rate > 0 {
			for _, n := range append([]box.Node{r.f.from}, r.f.to...) {
				if err := r.f.ports.LimitPort(n.Name(), rate); err != nil {
					return err
				}
			}
		}
		paths, err := r.samples(1)
		if err != nil {
			return err
		}
		// Its first chunk has to get somewhere before anybody can hand it on.
		best := wireTime(b.size, b.scene.port) + wireTime(chunk, b.scene.port)
		return r.compete(ctx, paths, best, none)
	})
}

// chunk is about what a chunk has (content/chunker).
const chunk = 1 << 20

// bring carries a node to a site while it doesn't run, and returns once all of r.f.to
// can have met it there.
func (r *round) bring(ctx context.Context, n box.Node, site string) error {
	if err := n.Stop(ctx); err != nil {
		return err
	}
	if err := n.Move(ctx, site); err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	_, err := tell(ctx, n, "wait", "--peers", strconv.Itoa(len(r.f.to)), "--timeout", "60s")
	return err
}

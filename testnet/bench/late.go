//go:build linux

package main

import (
	"context"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// after has the gets of a site's endpoints begin one after the other, the last
// before the wire's time is over.
func (f *field) after(wire time.Duration, peers int) trouble {
	return func(ctx context.Context, m means, to box.Node, out string) error {
		n := slices.Index(f.to, to) % peers
		if err := sleep(ctx, wire*time.Duration(n)/time.Duration(peers)); err != nil {
			return err
		}
		return m.get(ctx, to, out)
	}
}

// lateOf is how many of so many endpoints of a site are late.
func lateOf(peers int) int { return (peers + 2) / 3 }

// early returns who gets at once; late who comes when they are done: the last ones
// of each site, if anybody.
func (r *round) early() []box.Node { return r.part(false) }

func (r *round) lateNodes() []box.Node { return r.part(true) }

func (r *round) part(late bool) (nodes []box.Node) {
	peers := r.scene.peers
	for i, n := range r.f.to {
		if late == (r.scene.late && i%peers >= peers-lateOf(peers)) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// lateOff ends the nodes of those who come late.
func (r *round) lateOff(ctx context.Context) error {
	for _, n := range r.lateNodes() {
		if n.Running() {
			if err := n.Stop(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// lateOnes starts them, has them get what the others have, and adds what that cost.
func (r *round) lateOnes(ctx context.Context, items []item, size int64, t *table) error {
	late := *r.f
	if late.to = r.lateNodes(); len(late.to) == 0 {
		return nil
	}
	for _, n := range late.to {
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	d, err := late.deliver(ctx, items, size, none)
	if err != nil {
		return err
	}
	t.add("late: time to all", "s", slices.Max(d.took).Seconds())
	t.add(rowLateIn, "copies", float64(slices.Max(d.in))/float64(size))
	t.add(rowLate, "copies", float64(slices.Max(d.payload))/float64(size))
	return nil
}

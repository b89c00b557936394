//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// crash measures the same where the first endpoint is killed again and again, each
// time with some more of the content.
func crash(ctx context.Context, b *bench) error {
	return b.rounds(ctx, b.scene.plan(), func(ctx context.Context, r *round) error {
		paths, err := r.samples(1)
		if err != nil {
			return err
		}
		at := points(r.rng, b.scene.kills, b.size)
		return r.compete(ctx, paths, wireTime(b.size, b.scene.link.Rate), func(ctx context.Context, m means, to box.Node, out string) error {
			if to == r.f.to[0] {
				for _, here := range at {
					if err := crashAt(ctx, m, to, out, here); err != nil {
						return err
					}
				}
			}
			return m.get(ctx, to, out)
		})
	})
}

// points returns n places in a content at random, ascending, none in its last
// tenth: there a kill would often come too late.
func points(rng *rand.Rand, n int, size int64) []int64 {
	var at []int64
	for range n {
		at = append(at, rng.Int64N(size*9/10))
	}
	slices.Sort(at)
	return at
}

// crashAt begins a get and ends it by a crash once so many bytes are there.
func crashAt(ctx context.Context, m means, to box.Node, out string, bytes int64) error {
	gctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.get(gctx, to, out) }()
	if err := until(ctx, m, to, out, bytes, ended); err != nil {
		return err
	}
	if err := m.crash(ctx, to); err != nil {
		return err
	}
	cancel()
	<-ended // in an error, as it was cut off
	return nil
}

// until returns once so many bytes of a content are at a node. A get that has ended
// by then is an error.
func until(ctx context.Context, m means, at box.Node, out string, bytes int64, ended <-chan error) error {
	for {
		here, err := m.here(ctx, at, out)
		if err != nil {
			return err
		}
		if here >= bytes {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("the get of %s ended (%v) before %d bytes were seen there: give a larger -size", at.Name(), err, bytes)
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// linkdown measures the same where the links of all branches are down for a while
// once the first endpoint has half of the content.
func linkdown(ctx context.Context, b *bench) error {
	return b.rounds(ctx, b.scene.plan(), func(ctx context.Context, r *round) error {
		paths, err := r.samples(1)
		if err != nil {
			return err
		}
		dark := b.scene.link
		dark.Outages = []wan.Outage{{For: b.scene.down}} // from when it is set
		return r.compete(ctx, paths, wireTime(b.size, b.scene.link.Rate)+b.scene.down, func(ctx context.Context, m means, to box.Node, out string) error {
			if to != r.f.to[0] {
				return m.get(ctx, to, out)
			}
			ended := make(chan error, 1)
			go func() { ended <- m.get(ctx, to, out) }()
			if err := until(ctx, m, to, out, b.size/2, ended); err != nil {
				return err
			}
			return errors.Join(r.f.everySite(ctx, dark), <-ended)
		})
	})
}

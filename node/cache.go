package node

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
)

// Cache implements api.Node.
func (l local) Cache(context.Context) (api.Cache, error) {
	u, err := l.store.Usage()
	if err != nil {
		return api.Cache{}, err
	}
	stats := l.store.Stats()
	c := api.Cache{
		Dir: l.store.Dir(), Contents: u.Contents, Used: u.Used, Reserved: u.Reserved, Quota: u.Quota, Floor: u.Floor,
		Free: u.Free, Total: u.Total, Reclaimable: u.Reclaimable, Pinned: u.Pinned, Partial: u.Partial, Damaged: u.Damaged,
		Evicted: api.Evicted{Contents: stats.Evicted.Load(), Bytes: stats.EvictedBytes.Load()},
		Scrub: api.Scrub{
			Period: api.Seconds(l.store.ScrubPeriod()), Since: l.store.ScrubbedSince(), Bytes: stats.Scrubbed.Load(),
			Damaged: stats.Damaged.Load(), Healed: stats.Healed.Load(),
		},
	}
	types := make(map[string]api.TypeUse)
	for _, held := range l.store.List() {
		t := types[held.Manifest().Type]
		t.Type = held.Manifest().Type
		t.Contents++
		t.Used += held.Occupies()
		types[t.Type] = t
	}
	for _, t := range types {
		c.Types = append(c.Types, t)
	}
	slices.SortFunc(c.Types, func(a, b api.TypeUse) int {
		return cmp.Or(cmp.Compare(b.Used, a.Used), cmp.Compare(a.Type, b.Type))
	})
	return c, nil
}

// Clean implements api.Node.
func (l local) Clean(_ context.Context, r api.CleanRequest) (api.CleanResult, error) {
	before := make(map[content.ID]api.Removed)
	for _, c := range l.store.List() {
		d := l.describe(c)
		before[c.ID()] = api.Removed{Content: d.ID, Name: d.Name, Version: d.Version, Freed: c.Occupies()}
	}
	to := r.To
	if to == 0 && !r.All {
		to = math.MaxInt64 // the limits hold in any case
	}
	gone, err := l.store.Clean(to, r.DryRun)
	if err != nil {
		return api.CleanResult{}, err
	}
	out := api.CleanResult{Freed: gone.Freed, DryRun: r.DryRun}
	if !r.All { // what may not go isn't meant by all
		out.Short, out.Why = gone.Short, gone.Why
	}
	for _, id := range gone.Contents {
		out.Contents = append(out.Contents, before[id])
	}
	return out, nil
}

// VerifyAll implements api.Node.
func (l local) VerifyAll(ctx context.Context, report func(api.Progress)) (api.VerifyAllResult, error) {
	start := time.Now()
	all := l.store.List()
	var out api.VerifyAllResult
	var total, done int64
	for _, c := range all {
		total += c.Progress()
	}
	tell := reader("verify", start, report)
	for _, c := range all {
		size := c.Progress()
		r, err := l.verify(ctx, c, func(n, _ int64) { tell(done+n, total) })
		if errors.Is(err, content.ErrNotFound) && ctx.Err() == nil {
			continue // removed meanwhile
		}
		if err != nil {
			return out, err
		}
		done += size
		out.Contents++
		out.Checked += r.Checked
		out.Bad += r.Bad
		out.BadCount += r.BadCount
		if r.BadCount > 0 {
			out.Damaged = append(out.Damaged, r)
		}
	}
	out.Elapsed = api.Seconds(time.Since(start))
	return out, nil
}

func iBytes(n int64) string { return humanize.IBytes(uint64(max(0, n))) }

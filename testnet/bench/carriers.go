//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// Rows that carriers adds, of all kills of all runs.
const (
	rowKillPayload = "WAN payload to the site, one killed"
	rowKillIn      = "WAN bytes to the site, one killed"
	rowKillLost    = "time lost to a kill, by those who go on"
)

const (
	// whichMoved is how far back is looked for who brings something over the WAN.
	whichMoved = 500 * time.Millisecond
	// lookEvery is how often counters are read before a kill: what comes after the
	// last look is missing in the payload.
	lookEvery = 20 * time.Millisecond
)

// carriers measures what it costs when a member that fetches over the WAN dies: in
// each run one delivery for each kill, each of a new content, and others without a
// kill before, in the middle and after. Every other one that was killed is started
// again and goes on; what it takes for that counts, the time until it is done
// doesn't.
func carriers(ctx context.Context, b *bench) error {
	if b.scene.sites != 1 || b.scene.peers < 2 {
		return errors.New("carriers: want one site, of two endpoints or more")
	}
	return b.rounds(ctx, b.scene.plan(), func(ctx context.Context, r *round) error {
		best := wireTime(b.size, b.scene.link.Rate)
		at := points(r.rng, b.scene.kills, b.size)
		r.rng.Shuffle(len(at), func(i, j int) { at[i], at[j] = at[j], at[i] })
		var calm, killed []float64 // seconds until those who go on are done
		undisturbed := func() error {
			d, err := r.fresh(ctx, none)
			if err != nil {
				return err
			}
			d.rows(&r.table, best)
			calm = append(calm, slices.Max(d.took).Seconds())
			return nil
		}
		for i, here := range at {
			if i%5 == 0 {
				if err := undisturbed(); err != nil {
					return err
				}
			}
			k := &kill{r: r, at: here, again: i%2 == 0, over: make(chan struct{})}
			d, err := r.fresh(ctx, k.get)
			if err != nil {
				return fmt.Errorf("kill %d, with %d bytes at the site: %w", i+1, here, err)
			}
			killed = append(killed, k.longest(d).Seconds())
			r.table.add(rowKillPayload, "copies", float64(d.payload[0])/float64(d.size))
			r.table.add(rowKillIn, "copies", float64(d.in[0])/float64(d.size))
			fmt.Fprintf(os.Stderr, "kill %d: %s with %.0f %% at the site, started again: %v; %.3f copies of payload, %.3f on the wire, all others done after %.2f s\n",
				i+1, k.victim.Name(), 100*float64(here)/float64(b.size), k.again,
				float64(d.payload[0])/float64(d.size), float64(d.in[0])/float64(d.size), killed[len(killed)-1])
		}
		if err := undisturbed(); err != nil {
			return err
		}
		undisturbedTook, _, _ := (&row{figures: calm}).spread()
		for _, took := range killed {
			r.table.add(rowKillLost, "s", took-undisturbedTook)
		}
		return nil
	})
}

// fresh delivers a new content by p2pnode, and has it forgotten again.
func (r *round) fresh(ctx context.Context, t trouble) (delivery, error) {
	paths, err := r.samples(1)
	if err != nil {
		return delivery{}, err
	}
	m := &ours{f: r.f}
	d, err := r.measure(ctx, func() means { return m }, paths, t, nil)
	r.late, r.packets = r.late+d.late, r.packets+d.packets
	if err != nil {
		return d, err
	}
	return d, m.forget(ctx)
}

// forget removes the content everywhere, for the room that it takes.
func (o *ours) forget(ctx context.Context) error {
	var all errgroup.Group
	for _, n := range append([]box.Node{o.f.from}, o.f.to...) {
		all.Go(func() error { _, err := tell(ctx, n, "content", "rm", "--yes", o.id); return err })
	}
	return all.Wait()
}

// A kill ends the member that brings most over the WAN once a site has brought so
// many bytes.
type kill struct {
	r      *round
	at     int64
	again  bool // it is started again
	victim box.Node
	over   chan struct{} // closed once it was killed
}

// get is the trouble of all members. The first watches and kills.
func (k *kill) get(ctx context.Context, m means, to box.Node, out string) error {
	o := m.(*ours)
	if to == k.r.f.to[0] {
		watching, wctx := errgroup.WithContext(ctx)
		watching.Go(func() error { return k.watch(wctx, o) })
		watching.Go(func() error { return k.survive(wctx, o, to, out) })
		return watching.Wait()
	}
	return k.survive(ctx, o, to, out)
}

// survive gets, and again if it was killed, when all is over or at once.
func (k *kill) survive(ctx context.Context, o *ours, to box.Node, out string) error {
	err := o.get(ctx, to, out)
	if err == nil {
		return nil
	}
	select {
	case <-k.over:
	case <-ctx.Done():
		return errors.Join(err, context.Cause(ctx))
	}
	if to != k.victim {
		return err
	}
	if !k.again {
		// It stays off for as long as an undisturbed delivery takes.
		if err := sleep(ctx, wireTime(k.r.size, k.r.scene.link.Rate)*3/2); err != nil {
			return err
		}
	}
	if err := to.Start(ctx); err != nil {
		return err
	}
	return o.get(ctx, to, out)
}

// watch kills the victim when it is time.
func (k *kill) watch(ctx context.Context, o *ours) error {
	defer close(k.over)
	nodes := k.r.f.to
	var first []int64 // of each, before
	type look struct {
		when time.Time
		wan  []int64
	}
	var looks []look
	for {
		now := look{when: time.Now()}
		var sum int64
		for i, n := range nodes {
			got, err := o.fetched(ctx, n)
			if err != nil {
				return err
			}
			now.wan = append(now.wan, got.others)
			if first != nil {
				sum += got.others - first[i]
			}
		}
		if first == nil {
			first = now.wan
		}
		looks = append(looks, now)
		for len(looks) > 1 && now.when.Sub(looks[0].when) > whichMoved {
			looks = looks[1:]
		}
		if sum >= k.at && sum > 0 {
			most := -1
			for i := range nodes {
				if moved := now.wan[i] - looks[0].wan[i]; most < 0 || moved > now.wan[most]-looks[0].wan[most] {
					most = i
				}
			}
			k.victim = nodes[most]
			return o.kill(ctx, k.victim)
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// longest returns how long it took until the last of those who weren't killed had it.
func (k *kill) longest(d delivery) (most time.Duration) {
	for i, n := range k.r.f.to {
		if n != k.victim {
			most = max(most, d.took[i])
		}
	}
	return most
}

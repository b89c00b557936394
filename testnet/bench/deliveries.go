//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/box/spaces"
	"github.com/p2pnode/p2pnode/testnet/scenario"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// A round is one run of a command: the same contents by all means, in a new
// enterprise.
type round struct {
	*bench
	f   *field
	rng *rand.Rand
}

// rounds has each run of a command measured by m, in an enterprise of its own.
func (b *bench) rounds(ctx context.Context, plan box.Plan, m func(context.Context, *round) error) error {
	for i := range b.runs {
		start := time.Now()
		if err := b.round(ctx, plan, i, m); err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
		fmt.Fprintf(os.Stderr, "run %d of %d: %v\n", i+1, b.runs, time.Since(start).Round(time.Second))
	}
	return nil
}

func (b *bench) round(ctx context.Context, plan box.Plan, i int, m func(context.Context, *round) error) (err error) {
	dir := filepath.Join(b.lab.Dir, fmt.Sprint("run", i))
	e, err := spaces.New(ctx, plan, spaces.Config{Binary: b.lab.Binary, Router: b.router, Dir: dir})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, e.Logs())
		}
		err = errors.Join(err, b.keep(ctx, e, dir, i), e.Close())
	}()
	if err := e.Start(ctx); err != nil {
		return err
	}
	for _, n := range e.Nodes() {
		if _, err := tell(ctx, n, "wait", "--peers", "1", "--timeout", "30s"); err != nil {
			return err
		}
	}
	// The first two stand in HQ.
	f := &field{box: e, ports: e, from: e.Node(box.Publisher), to: e.Nodes()[2:], sites: plan.Sites()[1:]}
	if b.scene.logs != "" {
		f.traces = b.logsOf(i)
		if err := os.RemoveAll(f.traces); err != nil {
			return err
		}
	}
	return m(ctx, &round{bench: b, f: f, rng: rand.New(rand.NewPCG(uint64(i)+1, 0))})
}

// samples makes n contents of this run where the source can read them.
func (r *round) samples(n int) (paths []string, err error) {
	for i := range n {
		path := r.f.from.Path(fmt.Sprintf("sample-%d.bin", i+1))
		if err := scenario.Sample(path, r.size, r.rng.Uint64()); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// compete delivers the files at paths by each means, in random order, and adds what
// it cost to its table.
func (r *round) compete(ctx context.Context, paths []string, best time.Duration, t trouble) error {
	steps := []func() error{
		func() error {
			return r.one(ctx, func() means { return &ours{f: r.f, linked: r.scene.linked} }, &r.table, paths, best, t)
		},
	}
	rivals, err := rivalsOf(r.scene.beside)
	if err != nil {
		return err
	}
	for i, other := range rivals {
		if len(r.others) == i {
			r.others = append(r.others, &named{name: other.title})
		}
		if err := other.there(); err != nil {
			fmt.Fprintf(os.Stderr, "%s is left out: %v\n", other.title, err)
			continue
		}
		steps = append(steps, func() error {
			return r.one(ctx, func() means { return other.start(r.f) }, &r.others[i].table, paths, best, t)
		})
	}
	for _, i := range r.rng.Perm(len(steps)) {
		if err := steps[i](); err != nil {
			return err
		}
	}
	return nil
}

// one delivers the files at paths by one means.
func (r *round) one(ctx context.Context, start func() means, to *table, paths []string, best time.Duration, t trouble) error {
	d, err := r.measure(ctx, start, paths, t, func(d *delivery, items []item, size int64) error {
		d.rows(to, best)
		return r.lateOnes(ctx, items, size, to)
	})
	r.late, r.packets = r.late+d.late, r.packets+d.packets
	return err
}

// measure delivers the files at paths, each by a means of its own, and hands over
// what it cost before copies are looked at and removed.
func (r *round) measure(ctx context.Context, start func() means, paths []string, t trouble, then func(*delivery, []item, int64) error) (d delivery, err error) {
	var items []item
	var digests []string
	var size int64
	defer func() {
		for _, i := range items {
			err = errors.Join(err, i.end())
		}
	}()
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return d, err
		}
		digest, err := scenario.Digest(path)
		if err != nil {
			return d, err
		}
		m := start()
		items = append(items, item{m, fmt.Sprintf("copy-%d.bin", i+1)})
		digests, size = append(digests, digest), size+info.Size()
		if err := m.offer(ctx, path); err != nil {
			return d, err
		}
	}
	if err := r.lateOff(ctx); err != nil {
		return d, err
	}
	early := *r.f
	early.to = r.early()
	if d, err = early.deliver(ctx, items, size, t); err != nil {
		return d, err
	}
	if then != nil {
		if err := then(&d, items, size); err != nil {
			return d, err
		}
	}
	for i, it := range items {
		if err := r.f.removeCopies(digests[i], it.name); err != nil {
			return d, err
		}
	}
	return d, nil
}

// removeCopies looks at what has come, byte by byte, and removes it.
func (f *field) removeCopies(digest, name string) error {
	for _, n := range f.to {
		got, err := scenario.Digest(n.Path(name))
		if err != nil {
			return err
		}
		if got != digest {
			return fmt.Errorf("%s has a copy with SHA-256 %s, want %s", n.Name(), got, digest)
		}
		if err := os.Remove(n.Path(name)); err != nil {
			return err
		}
	}
	return nil
}

// branch measures sites behind links: HQ has the contents, all endpoints of all
// branches get them.
func branch(ctx context.Context, b *bench) error {
	return b.rounds(ctx, b.scene.plan(), func(ctx context.Context, r *round) error {
		paths, err := r.samples(max(1, b.scene.contents))
		if err != nil {
			return err
		}
		best := wireTime(b.size*int64(len(paths)), b.scene.link.Rate)
		t := none
		if b.scene.spread {
			t = r.f.after(best, b.scene.peers)
		}
		return r.compete(ctx, paths, best, t)
	})
}

// newVersion measures the same where all have an older version of which 5 % differ.
func newVersion(ctx context.Context, b *bench) error {
	plan := b.scene.plan()
	plan.Up, plan.Down, plan.HQUp, plan.HQDown = wan.Settings{}, wan.Settings{}, wan.Settings{}, wan.Settings{}
	return b.rounds(ctx, plan, func(ctx context.Context, r *round) error {
		old, path, err := edited(filepath.Dir(r.f.from.Path("v1")), b.size, r.rng.Uint64N(256))
		if err != nil {
			return err
		}
		if _, err := r.measure(ctx, func() means { return &ours{f: r.f} }, []string{old}, none, nil); err != nil {
			return fmt.Errorf("the old version: %w", err)
		}
		all, err := cutAll(ctx, old, path, []cutter{newCutter(content.TargetBlock, product)})
		if err != nil {
			return err
		}
		if err := r.f.everySite(ctx, b.scene.link); err != nil {
			return err
		}
		fresh := all[0][1].cost(all[0][0]).total()
		r.table.add("new blocks, lists and manifest, computed", "copies", float64(fresh)/float64(b.size))
		if err := r.compete(ctx, []string{path}, wireTime(fresh, b.scene.link.Rate), none); err != nil {
			return err
		}
		payload := r.table.rows[rowPayload].figures
		r.table.add(rowOnce, "", payload[len(payload)-1]*float64(b.size)/float64(fresh))
		return nil
	})
}

//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/box/spaces"
	"github.com/p2pnode/p2pnode/testnet/scenario"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// scene is what the commands that deliver to sites differ in.
type scene struct {
	sites, peers int
	link, hq     wan.Settings   // of a branch, of HQ; both directions
	rate         bandwidth.Rate // of every machine's port, outwards; 0: what the machine can
	down         time.Duration
	kills        int
}

func (s scene) plan() box.Plan {
	return box.Plan{Branches: s.sites, Peers: s.peers, Up: s.link, Down: s.link, HQUp: s.hq, HQDown: s.hq, Seed: 1}
}

// flags lets a command's flags change its scene.
func (s *scene) flags(f *flag.FlagSet) {
	settings := func(into *wan.Settings, name, what string) {
		f.Func(name, what+", as in \"rate=50mbit delay=20ms loss=1%\"", func(text string) (err error) {
			*into, err = wan.Parse(text)
			return err
		})
	}
	f.IntVar(&s.peers, "peers", s.peers, "endpoints that get it, of each site")
	f.DurationVar(&s.down, "down", 10*time.Second, "linkdown: how long the links are down")
	f.IntVar(&s.kills, "kills", 3, "crash: how often it is killed")
	if s.link.Rate == 0 {
		f.Func("rate", "what each machine's port sends at most, as in 1gbit", func(text string) error {
			port, err := wan.Parse("rate=" + text)
			s.rate = port.Rate
			return err
		})
		return
	}
	f.IntVar(&s.sites, "sites", s.sites, "branches")
	settings(&s.link, "link", "a branch's link, both ways")
	settings(&s.hq, "hq", "the publisher's link, both ways")
}

// compare prints what deliveries cost, and what to know about the figures.
func (b *bench) compare(to io.Writer) error {
	s := b.scene
	fmt.Fprintf(to, "%s, `%s`: %d x %d endpoints, %d MiB, ", time.Now().Format(time.DateOnly), b.said, s.sites, s.peers, b.size>>20)
	if s.link.Rate > 0 {
		fmt.Fprintf(to, "links `%v`, HQ's `%v`, ", s.link, s.hq)
	} else {
		fmt.Fprintf(to, "ports `%v`, ", wan.Settings{Rate: s.rate})
	}
	fmt.Fprintf(to, "runs: %d\n\n", b.runs)
	compare(to, [2]string{"p2pnode", "plain HTTP"}, [2]*table{&b.table, &b.http})
	// The model stays right when packets are late; what comes of it in TCP doesn't.
	if b.late*1000 > b.packets {
		fmt.Fprintf(to, "\nOf %d packets, %d left the emulated links late or not at all: the machine was too busy, measure again.\n", b.packets, b.late)
	}
	return nil
}

// A round is one run of a command: the same content by both means, in a new
// enterprise.
type round struct {
	*bench
	f    *field
	rng  *rand.Rand
	name string // of the run
}

// rounds has each run of a command measured by m, in an enterprise of its own.
func (b *bench) rounds(ctx context.Context, plan box.Plan, m func(context.Context, *round) error) error {
	for i := range b.runs {
		if err := b.round(ctx, plan, i, m); err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
	}
	return nil
}

func (b *bench) round(ctx context.Context, plan box.Plan, i int, m func(context.Context, *round) error) (err error) {
	e, err := spaces.New(ctx, plan, spaces.Config{Binary: b.lab.Binary, Router: b.router, Dir: filepath.Join(b.lab.Dir, fmt.Sprint("run", i))})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, e.Logs())
		}
		err = errors.Join(err, e.Close())
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
	f := &field{box: e, from: e.Node(box.Publisher), to: e.Nodes()[2:], sites: plan.Sites()[1:]}
	return m(ctx, &round{bench: b, f: f, rng: rand.New(rand.NewPCG(uint64(i)+1, 0)), name: fmt.Sprint(i)})
}

// sampleAt makes the content of this run where the source can read it.
func (r *round) sampleAt(size int64) (string, error) {
	path := r.f.from.Path("sample.bin")
	return path, scenario.Sample(path, size, r.rng.Uint64())
}

// both delivers the file at path by both means, in turns the one and the other
// first, and adds what it cost to the tables.
func (r *round) both(ctx context.Context, path string, best time.Duration, t trouble) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	digest, err := scenario.Digest(path)
	if err != nil {
		return err
	}
	one := func(m means, to *table) (err error) {
		defer func() { err = errors.Join(err, m.end()) }()
		if err := m.offer(ctx, path); err != nil {
			return err
		}
		d, err := r.f.deliver(ctx, m, info.Size(), "copy.bin", t)
		if err != nil {
			return err
		}
		d.fetched = m.fetched()
		d.rows(to, best)
		r.late, r.packets = r.late+d.late, r.packets+d.packets
		return r.f.removeCopies(digest, "copy.bin")
	}
	steps := []func() error{
		func() error { return one(&ours{f: r.f}, &r.table) },
		func() error { return one(&plain{from: r.f.from}, &r.http) },
	}
	if r.rng.IntN(2) == 1 {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
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

// spread measures one LAN: the publisher stands where the others do.
func spread(ctx context.Context, b *bench) error {
	plan := box.Plan{Branches: 1, Peers: b.scene.peers, Seed: 1}
	return b.rounds(ctx, plan, func(ctx context.Context, r *round) error {
		if err := r.bring(ctx, r.f.from, r.f.sites[0]); err != nil {
			return err
		}
		r.f.sites = nil // nothing crosses a link
		if rate := b.scene.rate; rate > 0 {
			for _, n := range append([]box.Node{r.f.from}, r.f.to...) {
				if text, err := n.Tool(ctx, rawLimit, strconv.FormatInt(int64(rate), 10)).CombinedOutput(); err != nil {
					return fmt.Errorf("limit the port of %s: %w: %s", n.Name(), err, text)
				}
			}
		}
		path, err := r.sampleAt(b.size)
		if err != nil {
			return err
		}
		return r.both(ctx, path, wireTime(b.size, b.scene.rate), none)
	})
}

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

// rawLimit BITS: what the program is called as its own child to bound what the
// network interface of the machine that it runs on sends.
const rawLimit = "raw-limit"

func limit(_ context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("%s: wrong arguments", rawLimit)
	}
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		// As scenario.Port.Limit does.
		if text, err := exec.Command("tc", "qdisc", "replace", "dev", i.Name, "root", "tbf", "rate", args[1]+"bit", "burst", "256kb", "latency", "50ms").CombinedOutput(); err != nil {
			return fmt.Errorf("limit %s: %w: %s", i.Name, err, text)
		}
	}
	return nil
}

// branch measures sites behind links: HQ has the content, all endpoints of all
// branches get it.
func branch(ctx context.Context, b *bench) error {
	return b.rounds(ctx, b.scene.plan(), func(ctx context.Context, r *round) error {
		path, err := r.sampleAt(b.size)
		if err != nil {
			return err
		}
		return r.both(ctx, path, wireTime(b.size, b.scene.link.Rate), none)
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
		digest, err := scenario.Digest(old)
		if err != nil {
			return err
		}
		first := &ours{f: r.f}
		if err := first.offer(ctx, old); err != nil {
			return err
		}
		if _, err := r.f.deliver(ctx, first, b.size, "v1.bin", none); err != nil {
			return fmt.Errorf("the old version: %w", err)
		}
		if err := r.f.removeCopies(digest, "v1.bin"); err != nil {
			return err
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
		return r.both(ctx, path, wireTime(fresh, b.scene.link.Rate), none)
	})
}

// crash measures the same where the first endpoint is killed again and again, each
// time with some more of the content.
func crash(ctx context.Context, b *bench) error {
	return b.rounds(ctx, b.scene.plan(), func(ctx context.Context, r *round) error {
		path, err := r.sampleAt(b.size)
		if err != nil {
			return err
		}
		at := points(r.rng, b.scene.kills, b.size)
		return r.both(ctx, path, wireTime(b.size, b.scene.link.Rate), func(ctx context.Context, m means, to box.Node, out string) error {
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
		path, err := r.sampleAt(b.size)
		if err != nil {
			return err
		}
		dark := b.scene.link
		dark.Outages = []wan.Outage{{For: b.scene.down}} // from when it is set
		return r.both(ctx, path, wireTime(b.size, b.scene.link.Rate)+b.scene.down, func(ctx context.Context, m means, to box.Node, out string) error {
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

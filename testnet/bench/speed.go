//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// speed measures a get end to end: read, encrypt, send, receive, hash, write,
// and the user's copy. In each run all is new: nodes, data folders, enterprise.
func speed(ctx context.Context, b *bench) error {
	if err := scenario.Sample(b.sample, b.size, 1); err != nil {
		return err
	}
	b.hash()
	for i := range b.runs {
		if err := b.rawCopy(ctx); err != nil {
			return err
		}
		if err := b.get(ctx, fmt.Sprint(i)); err != nil {
			return err
		}
	}
	return nil
}

// hash measures SHA-256 of 64 KiB blocks on one core: a GiB that stays in cache.
func (b *bench) hash() {
	block := make([]byte, 64<<10)
	const size = 1 << 30
	start := time.Now()
	for range size / len(block) {
		sha256.Sum256(block)
	}
	took := time.Since(start)
	b.table.moved("SHA-256, one core", size, took, took)
}

// flags are those of a node that listens where b wants it.
func (b *bench) flags() []string {
	return []string{"--mdns", "off", "--listen", "/ip4/" + b.addr + "/tcp/0"}
}

func (b *bench) get(ctx context.Context, run string) (err error) {
	hub := b.lab.Node("hub"+run, b.here, b.flags()...)
	if err := hub.Start(ctx, "--site", "hq"); err != nil {
		return err
	}
	token, err := hub.Tell(ctx, "invite", "--site", "hq")
	if err != nil {
		return err
	}
	// The fetching side needs no address of its own to be found at.
	m := b.lab.Node("member"+run, b.there, "--mdns", "off", "--listen", "/ip4/0.0.0.0/tcp/0")
	if err := m.Start(ctx, "--join", token); err != nil {
		return err
	}
	id, err := hub.Tell(ctx, "add", "-q", b.sample)
	if err != nil {
		return err
	}
	before, err := usage2(hub, m)
	if err != nil {
		return err
	}
	out := filepath.Join(b.lab.Dir, "copy"+run)
	var r api.GetResult
	start := time.Now()
	if err := m.Read(ctx, &r, "get", id, "-o", out); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := usage2(hub, m)
	if err != nil {
		return err
	}
	if r.From.Total() != b.size || !r.Verified {
		return fmt.Errorf("get: %+v: want %d bytes fetched and verified", r, b.size)
	}
	b.table.moved("get", b.size, took, after[0].CPU-before[0].CPU+after[1].CPU-before[1].CPU)
	b.table.add("get, CPU of the serving node", "s/GiB", perGiB(after[0].CPU-before[0].CPU, b.size))
	b.table.add("get, CPU of the fetching node", "s/GiB", perGiB(after[1].CPU-before[1].CPU, b.size))
	b.table.add("peak RSS of the serving node", "MiB", float64(after[0].PeakRSS)/(1<<20))
	b.table.add("peak RSS of the fetching node", "MiB", float64(after[1].PeakRSS)/(1<<20))
	return b.discard(out, m, hub)
}

func perGiB(cpu time.Duration, bytes int64) float64 {
	return cpu.Seconds() / (float64(bytes) / (1 << 30))
}

func usage2(a, b *scenario.Node) (u [2]scenario.Usage, err error) {
	if u[0], err = a.Usage(); err == nil {
		u[1], err = b.Usage()
	}
	return u, err
}

// discard stops nodes and removes what they held, so that the next run has the
// space.
func (b *bench) discard(out string, nodes ...*scenario.Node) error {
	if out != "" {
		if err := os.Remove(out); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := n.Stop(); err != nil {
			return err
		}
		if err := os.RemoveAll(n.Data); err != nil {
			return err
		}
	}
	return nil
}

// add measures publishing on two cores.
func add(ctx context.Context, b *bench) error {
	const cores = 2
	if err := scenario.Sample(b.sample, b.size, 1); err != nil {
		return err
	}
	b.hash()
	if err := os.Setenv("GOMAXPROCS", fmt.Sprint(cores)); err != nil { // the nodes inherit it
		return err
	}
	for i := range b.runs {
		n := b.lab.Node(fmt.Sprintf("node%d", i), b.here, b.flags()...)
		if err := n.Start(ctx); err != nil {
			return err
		}
		before, err := n.Usage()
		if err != nil {
			return err
		}
		start := time.Now()
		if _, err := n.Tell(ctx, "add", "-q", b.sample); err != nil {
			return err
		}
		took := time.Since(start)
		after, err := n.Usage()
		if err != nil {
			return err
		}
		b.table.moved(fmt.Sprintf("add, GOMAXPROCS=%d", cores), b.size, took, after.CPU-before.CPU)
		b.table.add("peak RSS", "MiB", float64(after.PeakRSS)/(1<<20))
		if err := b.discard("", n); err != nil {
			return err
		}
	}
	return nil
}

// idle measures a node that has nothing to do, alone and with one peer, and how
// long it takes to be ready: with a new data folder, and with the same again.
func idle(ctx context.Context, b *bench) error {
	for i := range b.runs {
		hub := b.lab.Node(fmt.Sprintf("hub%d", i), b.here, b.flags()...)
		if err := hub.Start(ctx); err != nil {
			return err
		}
		b.table.add("first ready", "s", hub.Ready().Seconds())
		if err := b.watch(ctx, hub, "alone"); err != nil {
			return err
		}
		token, err := hub.Tell(ctx, "invite", "--site", "branch")
		if err != nil {
			return err
		}
		m := b.lab.Node(fmt.Sprintf("member%d", i), b.there, "--mdns", "off", "--listen", "/ip4/0.0.0.0/tcp/0")
		if err := m.Start(ctx, "--join", token); err != nil {
			return err
		}
		b.table.add("first ready, joining", "s", m.Ready().Seconds())
		if err := b.watch(ctx, hub, "one peer"); err != nil {
			return err
		}
		if err := hub.Stop(); err != nil {
			return err
		}
		if err := hub.Start(ctx); err != nil {
			return err
		}
		b.table.add("ready again", "s", hub.Ready().Seconds())
		if err := b.discard("", m, hub); err != nil {
			return err
		}
	}
	return nil
}

// watch measures a node for a while, after some seconds to settle.
func (b *bench) watch(ctx context.Context, n *scenario.Node, how string) error {
	const settle = 5 * time.Second
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	before, err := n.Usage()
	if err != nil {
		return err
	}
	if err := sleep(ctx, b.idle); err != nil {
		return err
	}
	after, err := n.Usage()
	if err != nil {
		return err
	}
	b.table.add("idle RSS, "+how, "MiB", float64(after.RSS)/(1<<20))
	b.table.add("idle CPU, "+how, "% of a core", 100*(after.CPU-before.CPU).Seconds()/b.idle.Seconds())
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

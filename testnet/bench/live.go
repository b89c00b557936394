//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// live has real nodes, in network namespaces, fetch what difference computes: a
// member has the old version from the hub, the hub publishes the new one, the
// member gets it. Beside the computed bytes stand those that the get tells and
// those that its network interface has counted.
func (b *bench) live(ctx context.Context, changes []change) error {
	hub := b.lab.Node("hub", b.here, b.flags()...)
	if err := hub.Start(ctx, "--site", "hq"); err != nil {
		return err
	}
	for i, c := range changes {
		all, err := cutAll(ctx, c.old, c.new, []cutter{newCutter(content.TargetBlock, product)})
		if err != nil {
			return err
		}
		if err := b.update(ctx, hub, c, fmt.Sprint("member", i), all[0][1].cost(all[0][0]), all[0][1].size); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// update measures one change, against what it should cost.
func (b *bench) update(ctx context.Context, hub *scenario.Node, c change, name string, want cost, size int64) error {
	token, err := hub.Tell(ctx, "invite", "--site", "hq")
	if err != nil {
		return err
	}
	m := b.lab.Node(name, b.there, "--mdns", "off", "--listen", "/ip4/0.0.0.0/tcp/0")
	if err := m.Start(ctx, "--join", token); err != nil {
		return err
	}
	var results [2]api.GetResult
	var received [2]int64
	for i, path := range []string{c.old, c.new} {
		id, err := hub.Tell(ctx, "add", "-q", path)
		if err != nil {
			return err
		}
		before, err := receivedBytes(m)
		if err != nil {
			return err
		}
		out := filepath.Join(b.lab.Dir, "copy")
		if err := m.Read(ctx, &results[i], "get", id, "-o", out); err != nil {
			return err
		}
		after, err := receivedBytes(m)
		if err != nil {
			return err
		}
		received[i] = after - before
		if err := os.RemoveAll(out); err != nil {
			return err
		}
	}
	r := results[1]
	if r.Size != size || !r.Verified {
		return fmt.Errorf("get: %+v: want %d bytes, verified", r, size)
	}
	if r.From.Total() != want.blocks || r.Local+r.From.Total() != size {
		return fmt.Errorf("get: %d bytes fetched and %d from this disk of %d; %d are new", r.From.Total(), r.Local, size, want.blocks)
	}
	row := func(what string, bytes int64) {
		b.table.add(c.name+": "+what, "MiB", float64(bytes)/mib)
	}
	row("size", size)
	row("old version received by the interface", received[0])
	row("new blocks, computed", want.blocks)
	row("new blocks fetched", r.From.Total())
	row("copied from this disk", r.Local)
	row("with lists and manifest, computed", want.total())
	row("received by the interface", received[1])
	return m.Stop()
}

// receivedBytes returns what the interfaces of a node's network have received,
// frames and all, loopback apart.
func receivedBytes(n *scenario.Node) (sum int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", n.Pid()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		name, figures, ok := strings.Cut(line, ":")
		f := strings.Fields(figures)
		if !ok || strings.TrimSpace(name) == "lo" || len(f) == 0 {
			continue
		}
		bytes, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read /proc/net/dev: %w", err)
		}
		sum += bytes
	}
	if sum == 0 {
		return 0, errors.New("no interface has received anything")
	}
	return sum, nil
}

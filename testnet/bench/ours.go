//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
)

// ours delivers by p2pnode, as a user does: add at one node, get at the others.
type ours struct {
	f  *field
	id string

	mu   sync.Mutex
	from fetched
}

func (o *ours) offer(ctx context.Context, path string) error {
	text, err := tell(ctx, o.f.from, "add", "-q", path)
	o.id = text
	return err
}

func (o *ours) get(ctx context.Context, to box.Node, out string) error {
	text, err := tell(ctx, to, "get", o.id, "-o", out, "--json")
	if err != nil {
		return err
	}
	var r api.GetResult
	if err := json.Unmarshal([]byte(text[strings.LastIndexByte(text, '\n')+1:]), &r); err != nil {
		return fmt.Errorf("%s: get: %w", to.Name(), err)
	}
	if !r.Verified || r.Here+r.Local+r.From.Total() != r.Size {
		return fmt.Errorf("%s: get: %+v: want it whole and verified", to.Name(), r)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.from.site += r.From.LAN
	o.from.others += r.From.WAN
	o.from.wasted += r.Wasted.Total()
	return nil
}

func (o *ours) here(ctx context.Context, at box.Node, _ string) (int64, error) {
	c, err := at.Client()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	d, err := c.Content(ctx, o.id)
	if errors.Is(err, &api.Error{Code: api.NotFound}) {
		return 0, nil
	}
	return d.Here, err
}

// crash kills the node and starts it again, as after a power cut.
func (o *ours) crash(ctx context.Context, at box.Node) error {
	if err := at.Kill(ctx); err != nil {
		return err
	}
	return at.Start(ctx)
}

func (o *ours) usage(ctx context.Context) (cpu time.Duration, peak int64, err error) {
	for _, n := range o.f.box.Nodes() {
		u, err := n.Usage(ctx)
		if err != nil {
			return 0, 0, err
		}
		cpu, peak = cpu+u.CPU, max(peak, u.PeakRSS)
	}
	return cpu, peak, nil
}

func (o *ours) fetched() fetched {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.from
}

func (o *ours) end() error { return nil }

// tell runs a verb that must succeed, and returns what it wrote without the line
// end.
func tell(ctx context.Context, n box.Node, verb ...string) (string, error) {
	a, err := n.Ask(ctx, verb...)
	if err == nil {
		err = a.Err(0)
	}
	return strings.TrimRight(a.Stdout, "\n"), err
}

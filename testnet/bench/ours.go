//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
)

// ours delivers by p2pnode, as a user does: add at one node, get at the others.
type ours struct {
	f      *field
	linked bool // get --link
	id     string

	mu   sync.Mutex
	gone map[box.Node]fetched // by processes that were killed
}

func (o *ours) offer(ctx context.Context, path string) error {
	text, err := tell(ctx, o.f.from, "add", "-q", path)
	o.id = text
	return err
}

func (o *ours) get(ctx context.Context, to box.Node, out string) error {
	verb := []string{"get", o.id, "-o", out, "--json"}
	if o.linked {
		verb = append(verb, "--link")
	}
	text, err := tell(ctx, to, verb...)
	if err != nil {
		return err
	}
	var r api.GetResult
	if err := json.Unmarshal([]byte(text[strings.LastIndexByte(text, '\n')+1:]), &r); err != nil {
		return fmt.Errorf("%s: get: %w", to.Name(), err)
	}
	if !r.Verified {
		return fmt.Errorf("%s: get: %+v: want it verified", to.Name(), r)
	}
	if sum := r.Here + r.Local + r.From.Total(); sum != r.Size {
		fmt.Fprintf(os.Stderr, "%s has %d bytes and says of %d where they come from: %+v\n", to.Name(), r.Size, sum, r)
	}
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
	if err := o.kill(ctx, at); err != nil {
		return err
	}
	return at.Start(ctx)
}

// kill ends a node; what it had fetched by then still counts. What came between the
// last look and its end doesn't: that is in the bytes on the wire alone.
func (o *ours) kill(ctx context.Context, at box.Node) error {
	got, err := o.fetched(ctx, at)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone == nil {
		o.gone = map[box.Node]fetched{}
	}
	o.gone[at] = got
	return at.Kill(ctx)
}

func (o *ours) usage(ctx context.Context) (all usage, err error) {
	for _, n := range o.f.box.Nodes() {
		if !n.Running() {
			continue // what it took is with that of children that have ended
		}
		u, err := n.Usage(ctx)
		if err != nil {
			return usage{}, err
		}
		all.cpu += u.CPU
		all.most(usage{peak: u.PeakRSS, goroutines: u.Goroutines, connections: u.Connections})
	}
	return all, nil
}

func (o *ours) fetched(ctx context.Context, at box.Node) (got fetched, err error) {
	o.mu.Lock()
	got = o.gone[at]
	o.mu.Unlock()
	if !at.Running() {
		return got, nil
	}
	u, err := at.Usage(ctx)
	return got.plus(fetched{site: u.Fetched.LAN, others: u.Fetched.WAN, siteWasted: u.Wasted.LAN, othersWasted: u.Wasted.WAN}), err
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

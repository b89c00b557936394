package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/p2pnode/p2pnode/testnet/box"
)

// A step is the begin or the end of a fault, on a node.
type step struct {
	at    time.Duration
	fault Fault
	heal  bool
}

// steps returns what happens to a node, in order. Where one fault ends as another
// begins, it ends first.
func (t Timeline) steps(node string) []step {
	var all []step
	for _, f := range t.Faults {
		if f.Who == node && f.Kind.slot() != "link" {
			all = append(all, step{f.From, f, false}, step{f.Until, f, true})
		}
	}
	slices.SortStableFunc(all, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	return all
}

// glance is how often a node is looked at whether it still runs.
const glance = 500 * time.Millisecond

// look lets faults happen to a node, one step at a time, and sees that it runs
// otherwise, until over is closed. A node that ended by itself is started again,
// as any supervisor would. What lasts then is healed, whatever ended it.
func (r *run) look(ctx context.Context, n box.Node, over <-chan struct{}) error {
	h := host{run: r, node: n, steps: r.plan.steps(n.Name()), ran: true}
	err := h.live(ctx, over)
	heal, cancel := context.WithTimeout(context.WithoutCancel(ctx), healing)
	defer cancel()
	for _, f := range h.lasting {
		err = errors.Join(err, r.mend(heal, n, f))
	}
	return err
}

// A host is a node that is looked at.
type host struct {
	*run
	node    box.Node
	steps   []step
	lasting []Fault
	ran     bool // it ran when it was looked at last, or should have
}

func (h *host) live(ctx context.Context, over <-chan struct{}) error {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for {
		var next <-chan time.Time
		if len(h.steps) > 0 {
			next = time.After(h.steps[0].at - h.now())
		}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-over:
			return nil
		case <-tick.C:
			h.glance(ctx)
		case <-next:
			h.glance(ctx)
			err = h.step(ctx)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// glance sees that the node runs, unless a fault keeps it from that.
func (h *host) glance(ctx context.Context) {
	down := func(f Fault) bool { return f.Kind == Kill || f.Kind == Restart }
	if h.node.Running() {
		h.ran = true
		return
	}
	if slices.ContainsFunc(h.lasting, down) {
		h.ran = false
		return
	}
	if h.ran {
		h.tell("FAIL %s ended by itself", h.node.Name())
		h.crash(h.node, logOf(h.box.Logs(), h.node.Name()))
		h.ran = false
	}
	h.again(ctx, h.node)
}

// step takes the next step.
func (h *host) step(ctx context.Context) error {
	s := h.steps[0]
	h.steps = h.steps[1:]
	if !s.heal {
		h.begin(s.fault)
		h.lasting = append(h.lasting, s.fault)
		return h.hurt(ctx, h.node, s.fault)
	}
	if err := h.mend(ctx, h.node, s.fault); err != nil {
		return err
	}
	h.ran = h.ran || h.node.Running()
	h.lasting = slices.DeleteFunc(h.lasting, func(f Fault) bool { return f.Number == s.fault.Number })
	return nil
}

// hurt begins a fault.
func (r *run) hurt(ctx context.Context, n box.Node, f Fault) (err error) {
	switch f.Kind {
	case Kill:
		err = n.Kill(ctx)
	case Restart:
		if err := n.Stop(ctx); err != nil {
			r.refuse(n, "stop", err)
			return n.Kill(ctx) // it may run still
		}
	case Freeze:
		if n.Running() { // it may have failed to start
			err = n.Freeze(ctx)
		}
	case Unplug:
		err = n.Unplug(ctx)
	case Move:
		err = n.Move(ctx, f.Site)
	case Fill:
		err = n.Fill(ctx, f.Free)
	}
	if err != nil {
		return fmt.Errorf("#%d %v: %w", f.Number, f, err)
	}
	return nil
}

// mend ends a fault.
func (r *run) mend(ctx context.Context, n box.Node, f Fault) (err error) {
	switch f.Kind {
	case Kill, Restart:
		r.again(ctx, n)
	case Freeze:
		if n.Running() {
			err = n.Thaw(ctx)
		}
	case Unplug:
		err = n.Plug(ctx)
	case Move:
		err = n.Move(ctx, r.home(n.Name()))
	case Fill:
		err = n.Empty(ctx)
	}
	if err != nil {
		return fmt.Errorf("#%d %s %s: %w", f.Number, f.Kind.heals(), f.Who, err)
	}
	r.healed(f)
	return nil
}

func (r *run) home(node string) string {
	places := r.plan.Box.Places()
	return places[slices.IndexFunc(places, func(p box.Place) bool { return p.Node == node })].Site
}

// again starts a node. One that can't start is noted; glance tries again.
func (r *run) again(ctx context.Context, n box.Node) {
	if err := n.Start(ctx); err != nil && ctx.Err() == nil {
		r.refuse(n, "start", err)
	}
}

// logOf cuts what a node wrote out of what all did (box.Enterprise.Logs).
func logOf(all, node string) string {
	_, text, ok := strings.Cut(all, "--- "+node+"\n")
	if !ok {
		return all
	}
	text, _, _ = strings.Cut(text, "\n--- ")
	return text
}

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
)

// joinTimeout bounds the wait for the demo's nodes to know each other.
const joinTimeout = 20 * time.Second

// loopback is where the demo's nodes listen: a free port each.
var loopback = ma.StringCast("/ip4/127.0.0.1/tcp/0")

// realNet is a demoNet of nodes as `run` makes them, apart from where they listen
// and the line between their sites.
type realNet struct {
	dir   string
	log   *zap.Logger
	sites []demoSite
	wan   map[string]*wanLine // by the site that sends

	cancel  context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex
	errs []error // of nodes that ended
}

// startDemo makes an enterprise below dir and returns once all its nodes are
// connected.
func startDemo(ctx context.Context, dir string, wan bandwidth.Rate, log *zap.Logger) (_ demoNet, err error) {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx)) // Close ends it, in order
	d := &realNet{dir: dir, log: log, wan: make(map[string]*wanLine), cancel: cancel}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	for i := range demoSites {
		name := fmt.Sprintf("branch-%c", 'a'+i)
		d.sites = append(d.sites, demoSite{Name: name})
		d.wan[name] = newWANLine(wan)
	}
	for i := range d.sites {
		for j := range demoNodes {
			if err := d.start(ctx, run, &d.sites[i], j); err != nil {
				return nil, err
			}
		}
	}
	return d, d.acquainted(ctx)
}

// start adds the next node of a site: the first of all makes the enterprise and
// invites the others.
func (d *realNet) start(ctx, run context.Context, s *demoSite, j int) error {
	name := fmt.Sprintf("%s-%d", s.Name, j+1)
	data := filepath.Join(d.dir, name)
	if first := d.sites[0].Nodes; len(first) > 0 {
		inv, err := first[0].Node.Invite(ctx, api.InviteRequest{Site: s.Name, Name: name})
		if err != nil {
			return fmt.Errorf("invite %s: %w", name, err)
		}
		t, err := trust.ParseToken(inv.Token)
		if err != nil {
			return fmt.Errorf("invite %s: %w", name, err)
		}
		if _, err := enrol(ctx, data, t, trust.EnrolOptions{Name: name}, d.log); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	n, err := node.New(node.Config{
		Data: data, Site: s.Name, Name: name, Listen: []ma.Multiaddr{loopback}, MDNS: []string{"off"},
		Line: func(remote trust.Credential) trust.Line {
			if remote.Site == s.Name {
				return nil
			}
			return d.wan[s.Name]
		},
	}, d.log.Named(name))
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	ended := make(chan struct{})
	d.running.Go(func() {
		defer close(ended)
		if err := n.Run(run); err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.errs = append(d.errs, fmt.Errorf("%s: %w", name, err))
		}
	})
	select {
	case <-n.Ready():
	case <-ended:
		return fmt.Errorf("%s ended as it started", name)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	s.Nodes = append(s.Nodes, demoNode{Name: name, Data: data, Node: n.API()})
	return nil
}

// acquainted waits until each node is connected to another one of its site or,
// as the first is everybody's bootstrap, to that.
func (d *realNet) acquainted(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, s := range d.sites {
		for _, n := range s.Nodes {
			for {
				st, err := n.Node.Status(ctx)
				if err != nil {
					return fmt.Errorf("%s: %w", n.Name, err)
				}
				if st.Peers.Total() > 0 {
					break
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
					return fmt.Errorf("%s met no other node: %w", n.Name, context.Cause(ctx))
				}
			}
		}
	}
	return nil
}

func (d *realNet) Sites() []demoSite { return d.sites }

func (d *realNet) WAN() int64 {
	var n int64
	for _, w := range d.wan {
		n += w.sent.Load()
	}
	return n
}

func (d *realNet) Close() error {
	d.cancel()
	d.running.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return errors.Join(d.errs...)
}

// wanBurst is what a line lets through at once, in bytes: 13 ms at 20 Mbit/s.
const wanBurst = 32 << 10

// A wanLine is the link out of a site, shared by all connections that leave it.
// Bytes count and wait where they are sent, once: the other site's line into it
// is the same link.
type wanLine struct {
	bucket *rate.Limiter
	sent   atomic.Int64
}

func newWANLine(r bandwidth.Rate) *wanLine {
	return &wanLine{bucket: rate.NewLimiter(rate.Limit(r.BytesPerSecond()), wanBurst)}
}

// Sent implements trust.Line.
func (w *wanLine) Sent(n int, done <-chan struct{}) {
	w.sent.Add(int64(n))
	for n > 0 {
		part := min(n, wanBurst)
		n -= part
		wait := w.bucket.ReserveN(time.Now(), part).Delay()
		if wait <= 0 {
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-done:
			t.Stop()
			return
		}
	}
}

// Received implements trust.Line.
func (*wanLine) Received(int, <-chan struct{}) {}

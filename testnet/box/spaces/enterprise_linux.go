package spaces

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
)

// An Enterprise is a box.Enterprise of namespaces.
type Enterprise struct {
	plan    box.Plan
	cfg     Config
	lab     *scenario.Lab
	network *network
	nodes   []*node
	byName  map[string]*node
	tokens  tokens
	close   func() error // once
}

var _ box.Enterprise = (*Enterprise)(nil)

// New makes the network; nothing runs in it until Start. It needs root and
// iproute2, and a plan with disks a command that is Alone.
func New(ctx context.Context, plan box.Plan, cfg Config) (_ *Enterprise, err error) {
	if err := plan.Check(); err != nil {
		return nil, err
	}
	if plan.Disk > 0 && !alone() {
		return nil, errors.New("a plan with disks: mounts would outlive a command that is killed; call spaces.Alone first in main")
	}
	if cfg.Program == "" {
		if cfg.Program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, err
	}
	e := &Enterprise{plan: plan, cfg: cfg, lab: scenario.New(cfg.Binary, cfg.Dir), byName: map[string]*node{}}
	e.tokens.e = e
	e.close = sync.OnceValue(e.end)
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if e.network, err = newNetwork(ctx, plan, cfg); err != nil {
		return nil, fmt.Errorf("make the network: %w", err)
	}
	for _, p := range plan.Places() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := e.newNode(p)
		if err != nil {
			return nil, err
		}
		e.nodes = append(e.nodes, n)
		e.byName[p.Node] = n
	}
	return e, nil
}

// Start starts all nodes and returns once every one of them is ready.
func (e *Enterprise) Start(ctx context.Context) error {
	// The publisher makes the enterprise and invites all others.
	if err := e.nodes[0].Start(ctx); err != nil {
		return err
	}
	starting, ctx := errgroup.WithContext(ctx)
	starting.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, n := range e.nodes[1:] {
		starting.Go(func() error { return n.Start(ctx) })
	}
	return starting.Wait()
}

// Plan implements box.Enterprise.
func (e *Enterprise) Plan() box.Plan { return e.plan }

// Nodes implements box.Enterprise.
func (e *Enterprise) Nodes() []box.Node {
	var nodes []box.Node
	for _, n := range e.nodes {
		nodes = append(nodes, n)
	}
	return nodes
}

// Node implements box.Enterprise.
func (e *Enterprise) Node(name string) box.Node {
	if n := e.byName[name]; n != nil {
		return n
	}
	return nil
}

// Link implements box.Enterprise.
func (e *Enterprise) Link(site string) box.Link {
	if s := e.network.sites[site]; s != nil {
		return s.link
	}
	return nil
}

// Logs implements box.Enterprise.
func (e *Enterprise) Logs() string { return e.lab.Logs() }

// Close implements box.Enterprise.
func (e *Enterprise) Close() error { return e.close() }

func (e *Enterprise) end() error {
	var errs []error
	var ending errgroup.Group
	for _, n := range e.nodes {
		ending.Go(func() error { return n.Kill(context.Background()) })
	}
	errs = append(errs, ending.Wait())
	if e.network != nil {
		errs = append(errs, e.network.Close())
	}
	for _, n := range e.nodes {
		errs = append(errs, n.remove())
	}
	return errors.Join(errs...)
}

// Reap removes what commands that were killed left behind, and returns how many
// namespaces and folders that were.
func Reap() (removed int, err error) {
	spaces, err := scenario.Reap()
	if err != nil {
		return spaces, err
	}
	folders, err := reapTemp()
	return spaces + folders, err
}

// tokens are the publisher's invitations, one for all endpoints of a site.
type tokens struct {
	e *Enterprise

	mu   sync.Mutex
	left map[string]int // uses, by site
	text map[string]string
}

// one returns a token for a site that can be used once more.
func (t *tokens) one(ctx context.Context, site string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left == nil {
		t.left, t.text = map[string]int{}, map[string]string{}
	}
	if t.left[site] == 0 {
		c, err := t.e.Node(box.Publisher).Client()
		if err != nil {
			return "", err
		}
		defer c.Close()
		uses := max(t.e.plan.Peers, 1)
		i, err := c.Invite(ctx, api.InviteRequest{Site: site, Uses: uses, Expires: api.Seconds(24 * time.Hour)})
		if err != nil {
			return "", fmt.Errorf("invite %s: %w", site, err)
		}
		t.left[site], t.text[site] = uses, i.Token
	}
	t.left[site]--
	return t.text[site], nil
}

package spaces

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/testnet/box"
	"github.com/p2pnode/p2pnode/testnet/scenario"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// network is all that lies between the nodes.
type network struct {
	net   *scenario.Net
	sites map[string]*site
	hosts map[string]*host // by the node's name
}

// A site is a switch, and a router with the link to the WAN.
type site struct {
	lan     *scenario.LAN
	gateway netip.Addr
	inner   *scenario.Port // the router's
	link    closingLink

	mu    sync.Mutex
	guest int // how many visitors were given an address
}

// A closingLink is one that runs until it is closed.
type closingLink interface {
	box.Link
	Close() error
}

// A host is a machine: a namespace with one interface.
type host struct {
	space *scenario.Space
	port  *scenario.Port
	home  string
	addr  netip.Prefix // at home
}

func newNetwork(ctx context.Context, plan box.Plan, cfg Config) (_ *network, err error) {
	net, err := scenario.NewNet()
	if err != nil {
		return nil, err
	}
	n := &network{net: net, sites: map[string]*site{}, hosts: map[string]*host{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	middle, err := net.LAN("wan", box.WAN())
	if err != nil {
		return nil, err
	}
	// Most of the time goes into starting the ip command.
	var making errgroup.Group
	making.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range plan.Sites() {
		s := &site{}
		n.sites[name] = s
		making.Go(func() error { return s.make(ctx, net, middle, plan, cfg, i) })
	}
	if err := making.Wait(); err != nil {
		return nil, err
	}
	for _, p := range plan.Places() {
		h := &host{home: p.Site, addr: p.Addr}
		n.hosts[p.Node] = h
		making.Go(func() error { return h.make(net, p.Node, n.sites[p.Site]) })
	}
	if err := making.Wait(); err != nil {
		return nil, err
	}
	return n, n.acquaint(plan)
}

// manyPeers is from how many endpoints of a site on they are neighbours for good, for
// the kernel can't remember all pairs of several such sites (scenario.Acquaint).
const manyPeers = 15

func (n *network) acquaint(plan box.Plan) error {
	if plan.Peers < manyPeers {
		return nil
	}
	at := map[string][]*scenario.Port{}
	for _, p := range plan.Places() {
		at[p.Site] = append(at[p.Site], n.hosts[p.Node].port)
	}
	for name, ports := range at {
		if err := scenario.Acquaint(append(ports, n.sites[name].inner)); err != nil {
			return err
		}
	}
	return nil
}

// make makes the site that is number i of the plan.
func (s *site) make(ctx context.Context, net *scenario.Net, middle *scenario.LAN, plan box.Plan, cfg Config, i int) error {
	name := plan.Sites()[i]
	var err error
	if s.lan, err = net.LAN(name, box.Subnet(i)); err != nil {
		return err
	}
	router, err := net.Space("router-" + name)
	if err != nil {
		return err
	}
	if err := errors.Join(router.NoIPv6(), router.Forward()); err != nil {
		return err
	}
	inner, err := s.lan.Join(router, number(box.Gateway(i)))
	if err != nil {
		return err
	}
	outer, err := middle.Join(router, number(box.WANAddr(i)))
	if err != nil {
		return err
	}
	s.gateway, s.inner = inner.Addr().Addr(), inner
	for other := range plan.Sites() {
		if other == i {
			continue
		}
		if err := router.Route(box.Subnet(other).String(), box.WANAddr(other).Addr()); err != nil {
			return err
		}
	}
	settings := [2]wan.Settings{box.Up: plan.Up, box.Down: plan.Down}
	if name == box.HQ {
		settings = [2]wan.Settings{box.Up: plan.HQUp, box.Down: plan.HQDown}
	}
	seed := plan.Seed + 2*uint64(i) // each direction has one
	if cfg.Router != "" {
		l, err := newRouter(ctx, router, cfg, name, i, seed, settings)
		if err == nil {
			s.link = l // a nil *router would be a link
		}
		return err
	}
	l, err := newLink(name, wan.Config{
		Ends: [2]wan.End{
			{Space: router.Name(), Device: "link0", From: inner.Device()},
			{Space: router.Name(), Device: "link1", From: outer.Device()},
		},
		Settings: settings,
		Classes:  box.Classes,
		Seed:     seed,
	})
	if err == nil {
		s.link = l
	}
	return err
}

func (h *host) make(net *scenario.Net, name string, at *site) (err error) {
	if h.space, err = net.Space(name); err != nil {
		return err
	}
	if err := h.space.NoIPv6(); err != nil {
		return err
	}
	if h.port, err = at.lan.Join(h.space, number(h.addr)); err != nil {
		return err
	}
	return h.space.Route("default", at.gateway)
}

// move carries a host to a site. At home it has the address that it began with.
func (h *host) move(name string, to *site) error {
	addr := h.addr
	if name != h.home {
		addr = to.spare()
	}
	if err := h.port.Carry(to.lan, addr); err != nil {
		return fmt.Errorf("carry it to %s: %w", name, err)
	}
	return h.space.Route("default", to.gateway)
}

// spare returns an address for a visitor, from those behind the endpoints'. The
// one that was given longest ago comes again last, when nobody at the site
// remembers the hardware address of who had it.
func (s *site) spare() netip.Prefix {
	const first, last = 220, 250
	s.mu.Lock()
	defer s.mu.Unlock()
	n := first + s.guest%(last-first)
	s.guest++
	return s.lan.Host(n)
}

// number returns which host of its subnet an address is.
func number(p netip.Prefix) int { return int(p.Addr().As4()[3]) }

// Close ends the links and removes the namespaces.
func (n *network) Close() error {
	var errs []error
	for _, s := range n.sites {
		if s.link != nil {
			errs = append(errs, s.link.Close())
		}
	}
	return errors.Join(append(errs, n.net.Close())...)
}

// LimitPort bounds what a node's port sends and takes, each, in bits per second: the
// machine's own interface holds back the one, the switch the other.
func (e *Enterprise) LimitPort(node string, r bandwidth.Rate) error {
	h := e.network.hosts[node]
	if h == nil {
		return fmt.Errorf("limit the port of %s: no such node", node)
	}
	return errors.Join(h.port.Limit(int(r)), h.port.LimitSwitch(int(r)))
}

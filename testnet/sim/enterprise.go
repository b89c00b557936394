package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/discovery/site"
	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/trust"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// A Plan says which enterprise to simulate.
type Plan struct {
	Sites, PerSite int
	// Access is the link of every site, both directions.
	Access wan.Settings
	// Seed decides distances, losses and whatever a test draws.
	Seed uint64
	// Dir is the folder for the data of all nodes.
	Dir string
}

// An Enterprise is whole nodes on a Net, all members of one enterprise. The first
// node of a site is its delegate, that of site 0 the issuer and publisher.
type Enterprise struct {
	Plan
	Net   *Net
	Heard *Journal
	Map   site.Map // which network belongs to which site

	mu    sync.Mutex
	nodes [][]*Node // by site and place
}

// A Node is a node of the enterprise and where it is plugged in.
type Node struct {
	Name string
	Site int
	Dir  string
	Port *Port
	log  *zap.Logger

	sites site.Map
	*node.Node
	cancel context.CancelFunc
	done   chan error
}

// Address returns where a node of a site has its place: 10.SITE.0.PLACE and on.
func Address(site, place int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(site), byte((place + 1) >> 8), byte(place + 1)})
}

// hub is how many connections the issuer keeps: everyone was told of it.
const hub = 4000

// port is where every node listens.
const port = 4740

// New starts an enterprise: the issuer, then everyone else, who joins with a token
// over the network. Close ends it, also when New fails.
func New(ctx context.Context, p Plan) (*Enterprise, error) {
	if p.Sites < 1 || p.Sites > 255 || p.PerSite < 1 || p.PerSite > 60_000 {
		return nil, fmt.Errorf("simulate %d sites of %d: want 1 to 255 sites of 1 to 60000 nodes", p.Sites, p.PerSite)
	}
	n, err := NewNet(p.Sites, p.Access, p.Seed)
	if err != nil {
		return nil, err
	}
	e := &Enterprise{Plan: p, Net: n, Heard: newJournal(), nodes: make([][]*Node, p.Sites)}
	if e.Map, err = networks(p.Sites); err != nil {
		return e, err
	}
	for site := range e.nodes {
		e.nodes[site] = make([]*Node, p.PerSite)
	}
	issuer, err := e.plug(0, 0)
	if err == nil {
		err = issuer.start(node.Config{Site: siteName(0), Connections: hub})
	}
	if err != nil {
		return e, fmt.Errorf("start the issuer: %w", err)
	}
	// Delegates first, so that the others find theirs.
	if err := e.each(func(site, place int) error {
		if place != 0 || site == 0 {
			return nil
		}
		return e.join(ctx, site, place)
	}); err != nil {
		return e, err
	}
	return e, e.each(func(site, place int) error {
		if place == 0 {
			return nil
		}
		return e.join(ctx, site, place)
	})
}

// atOnce is how many nodes start at once. They knock at the issuer at one moment of
// virtual time, and libp2p's listener turns away whom it finds no room for in a
// queue of 16.
const atOnce = 6

// each calls f for all places.
func (e *Enterprise) each(f func(site, place int) error) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for site := range e.Sites {
		for place := range e.PerSite {
			g.Go(func() error { return f(site, place) })
		}
	}
	return g.Wait()
}

// networks maps the network of each site.
func networks(sites int) (site.Map, error) {
	var b strings.Builder
	for i := range sites {
		fmt.Fprintf(&b, "10.%d.0.0/16 %s\n", i, siteName(i))
	}
	return site.ParseMap([]byte(b.String()))
}

func siteName(site int) string { return fmt.Sprintf("site-%02d", site) }

// plug makes a node that is plugged in and not yet started.
func (e *Enterprise) plug(site, place int) (*Node, error) {
	p, err := e.Net.Plug(site, Address(site, place))
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("n%02d-%03d", site, place)
	n := &Node{Name: name, Site: site, Port: p, Dir: filepath.Join(e.Dir, name), log: e.Heard.logger(name), sites: e.Map}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.nodes[site][place] = n
	return n, nil
}

// join plugs in a node, enrols it with a token of the issuer's and starts it. A
// delegate is told of the issuer, the others of their delegate: the network does
// here what multicast does in an office.
func (e *Enterprise) join(ctx context.Context, site, place int) error {
	n, err := e.plug(site, place)
	if err != nil {
		return err
	}
	if err := e.enrol(ctx, n); err != nil {
		return err
	}
	cfg := node.Config{}
	if place != 0 {
		cfg.DHT = node.DHTOff
		cfg.Bootstrap = []ma.Multiaddr{e.Delegate(site).Multiaddr()}
	}
	return n.start(cfg)
}

// enrol makes a node that is plugged in a member.
func (e *Enterprise) enrol(ctx context.Context, n *Node) error {
	inv, err := e.Issuer().API().Invite(ctx, api.InviteRequest{Site: siteName(n.Site), Name: n.Name})
	if err != nil {
		return fmt.Errorf("invite %s: %w", n.Name, err)
	}
	token, err := trust.ParseToken(inv.Token)
	if err != nil {
		return fmt.Errorf("invite %s: %w", n.Name, err)
	}
	id, err := trust.Enrol(ctx, n.Dir, token, trust.EnrolOptions{Name: n.Name}, trust.WithListenUDP(n.Port.ListenUDP))
	if err == nil {
		err = id.Close()
	}
	if err != nil {
		return fmt.Errorf("%s joins: %w", n.Name, err)
	}
	return nil
}

// start makes a node run.
func (n *Node) start(cfg node.Config) (err error) {
	cfg.Data, cfg.Name, cfg.Network, cfg.Sites = n.Dir, n.Name, n.Port, n.sites
	cfg.Listen = []ma.Multiaddr{ma.StringCast("/ip4/0.0.0.0/udp/" + strconv.Itoa(port) + "/quic-v1")}
	cfg.MDNS, cfg.API = []string{"off"}, node.APIOff
	if n.Node, err = node.New(cfg, n.log); err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.done = cancel, make(chan error, 1)
	go func() { n.done <- n.Run(ctx) }()
	<-n.Ready()
	return nil
}

// stop ends a node that runs.
func (n *Node) stop() error {
	if n == nil || n.cancel == nil {
		return nil
	}
	n.cancel()
	n.cancel = nil
	if err := <-n.done; err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}

// Multiaddr returns the address of a node with its peer id.
func (n *Node) Multiaddr() ma.Multiaddr {
	return ma.StringCast(fmt.Sprintf("/ip4/%s/udp/%d/quic-v1/p2p/%s", n.Port.Addr(), port, n.ID()))
}

// ID returns the node's peer id.
func (n *Node) ID() string {
	st, _ := n.API().Status(context.Background())
	return st.Peer
}

// Issuer returns the node that admits the others.
func (e *Enterprise) Issuer() *Node { return e.Delegate(0) }

// Delegate returns the delegate of a site.
func (e *Enterprise) Delegate(site int) *Node { return e.Node(site, 0) }

// Node returns the node at a place of a site.
func (e *Enterprise) Node(site, place int) *Node {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.nodes[site][place]
}

// All returns every node, site by site.
func (e *Enterprise) All() []*Node {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*Node
	for _, site := range e.nodes {
		for _, n := range site {
			if n != nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// Close ends all nodes. Before, it heals the network and waits until the delegates
// are at home in the DHT: kad-dht's provider sleeps with a lock held until it found
// others, its Close waits for that lock, and a bubble's clock stands while anything
// waits for a lock.
func (e *Enterprise) Close() error {
	for site := range e.Sites {
		e.Net.Part(0, site)
	}
	for began := time.Now(); e.homeless() > 0 && time.Since(began) < time.Minute; {
		time.Sleep(time.Second)
	}
	var wg sync.WaitGroup
	all := e.All()
	errs := make([]error, len(all))
	for i, n := range all {
		wg.Go(func() { errs[i] = n.stop() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// homeless returns how many of the delegates that run found nobody in the DHT yet.
func (e *Enterprise) homeless() int {
	home := make(map[string]bool)
	for _, l := range e.Heard.Find("announcing in the DHT", time.Time{}) {
		home[l.Node] = true
	}
	n := 0
	for site := range e.Sites {
		if d := e.Delegate(site); d != nil && d.cancel != nil && !home[d.Name] {
			n++
		}
	}
	return n
}

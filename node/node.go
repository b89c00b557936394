package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/content/store"
	"github.com/p2pnode/p2pnode/discovery"
	"github.com/p2pnode/p2pnode/discovery/dht"
	"github.com/p2pnode/p2pnode/discovery/mdns"
	"github.com/p2pnode/p2pnode/discovery/site"
	"github.com/p2pnode/p2pnode/node/api"
	"github.com/p2pnode/p2pnode/node/carry"
	"github.com/p2pnode/p2pnode/node/exchange"
	"github.com/p2pnode/p2pnode/node/flow"
	"github.com/p2pnode/p2pnode/node/origin"
	"github.com/p2pnode/p2pnode/node/trust"
)

// A Node is one p2pnode process, or one of several in a process.
type Node struct {
	cfg      Config
	log      *zap.Logger
	started  time.Time
	founded  bool // an enterprise of one was made at this start
	registry *prometheus.Registry

	identity  *trust.Identity
	admission *trust.Admission
	host      host.Host
	store     *store.Store
	web       *origin.Client // HTTP servers that manifests name
	dht       directory
	mdns      *mdns.Service // nil if off
	site      *site.Service
	exchange  *exchange.Exchange
	planner   *carry.Planner
	server    *api.Server // nil if the API is off
	front
	keeper *keeper
	members

	ready   chan struct{}
	closing sync.Once
}

// members is what a node knows of contents and flows beside its workers.
type members struct {
	catalogue *catalogue
	fetches   fetchTable
	gets      gets
	imports   imports
	gates     *gateTable
	ring      *flow.Ring
	bans      *bans
	repairs   *repairs
	seeds     *seedCache
	uses      *uses
	sites     sitesFile
	// announcing decides under which keys this node tells of contents.
	announcing announcing
	// neighbours are those heard by mDNS.
	neighbours *neighbourhood
}

// New opens a node's folder, makes an enterprise of one in it if it is fresh, and
// takes its ports. The node works while Run does; Close gives back what New took.
func New(cfg Config, log *zap.Logger) (_ *Node, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: log, started: time.Now(), registry: prometheus.NewRegistry(), ready: make(chan struct{}),
		members: members{
			catalogue: newCatalogue(), fetches: fetchTable{byID: make(map[content.ID]*fetch)},
			gates: newGateTable(),
			ring:  flow.NewRing(0), bans: newBans(), repairs: newRepairs(),
			gets: newGets(), imports: newImports(), seeds: newSeedCache(maxSeedCache), uses: newUses(), neighbours: newNeighbourhood(),
		},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if n.identity, n.founded, err = openIdentity(cfg, log.Named("trust")); err != nil {
		return nil, err
	}
	if err := n.openStore(); err != nil {
		return nil, err
	}
	if n.web, err = origin.New(cfg.Origin); err != nil {
		return nil, err
	}
	if err := n.openNetwork(); err != nil {
		return nil, err
	}
	if err := n.loadCatalogue(); err != nil {
		return nil, err
	}
	n.registry.MustRegister(newCollector(n), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if n.front, err = openFront(n); err != nil {
		return nil, err
	}
	if cfg.API == APISocket {
		if n.server, err = api.NewServer(cfg.Data, local{n}, n.gateway, n.registry, log.Named("api")); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// openIdentity loads the identity in the data folder, or makes an enterprise of
// one there.
func openIdentity(cfg Config, log *zap.Logger) (id *trust.Identity, founded bool, err error) {
	opts := []trust.Option{trust.WithLog(log)}
	if cfg.Network != nil {
		opts = append(opts, trust.WithListenUDP(cfg.Network.ListenUDP))
	}
	id, err = trust.Load(cfg.Data, opts...)
	if errors.Is(err, trust.ErrNoIdentity) {
		name := cfg.Name
		if name == "" {
			name = hostName()
		}
		id, err = trust.Init(cfg.Data, cmp.Or(cfg.Site, "default"), name, opts...)
		return id, err == nil, err
	}
	if err != nil {
		return nil, false, err
	}
	return id, false, nil
}

// hostName returns the host's name as far as it can be a node's.
func hostName() string {
	h, err := os.Hostname()
	if err != nil || trust.CheckName(h) != nil {
		return "node"
	}
	return h
}

func (n *Node) openStore() (err error) {
	dir, err := findStore(n.cfg.Data)
	if err != nil {
		return err
	}
	n.store, err = store.Open(store.Config{
		Dir: dir, FS: n.cfg.disk, Quota: n.cfg.CacheQuota, QuotaShare: n.cfg.CacheQuotaShare, Floor: n.cfg.CacheFloor,
		ScrubPeriod: n.cfg.ScrubPeriod, ScrubRate: n.cfg.ScrubRate, PageBudget: n.cfg.pageBudget(),
		Hooks: store.Hooks{Evicted: n.withdraw, Damaged: n.repairs.add},
	}, n.log.Named("store"))
	return err
}

// openNetwork makes the host and what works on it, in the order in which they
// need each other.
func (n *Node) openNetwork() (err error) {
	n.admission = trust.New(n.identity, trust.Config{Conn: n.cfg.Line}, n.log.Named("trust"))
	n.host, err = newHost(hostConfig{
		listen: n.cfg.Listen, on: n.cfg.Network, keep: n.cfg.Connections * 2 / 3, trim: n.cfg.Connections, admission: n.admission.Options(), metrics: n.registry, log: n.log.Named("host"),
	})
	if err != nil {
		return err
	}
	n.admission.Attach(n.host)
	if err := n.openSite(); err != nil {
		return err
	}
	told, err := peer.AddrInfosFromP2pAddrs(n.cfg.Bootstrap...)
	if err != nil {
		return fmt.Errorf("bootstrap addresses: %w", err)
	}
	told = append(told, n.identity.Bootstrap()...)
	var far func(peer.ID) bool
	if n.cfg.DHT == DHTServer {
		far = func(p peer.ID) bool { return n.link(p) == bandwidth.WAN }
	}
	n.keeper = newKeeper(n.host, openBook(n.cfg.peersFile()), told, far, n.log.Named("peers"))
	n.exchange, err = exchange.New(n.host, n.protocol(), library{n.store, n.catalogue}, n.uploads(), n.log.Named("exchange"))
	if err != nil {
		return err
	}
	n.planner = carry.NewPlanner(n.log.Named("carry"))
	if n.dht, err = openDirectory(n, told); err != nil {
		return err
	}
	n.announcing.holder = n.stand(dht.Holder{})
	if !n.cfg.mdnsOff() {
		n.mdns, err = mdns.New(n.host, mdns.Config{Enterprise: n.identity.Enterprise(), Interfaces: n.cfg.MDNS, Speaks: n.isDelegate}, n.neighbour, n.log.Named("mdns"))
	}
	return err
}

// protocol returns the prefix of the enterprise's protocols.
func (n *Node) protocol() protocol.ID { return protocol.ID("/p2pnode/" + n.identity.Enterprise()) }

// Run works until ctx ends or something that the node can't do without fails.
func (n *Node) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	work := func(name string, run func(context.Context) error) {
		g.Go(func() error {
			err := run(ctx)
			if err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	work("trust", n.admission.Run)
	work("store", n.store.Run)
	work("exchange", n.exchange.Run)
	work("dht", n.dht.Run)
	if n.mdns != nil {
		work("mdns", n.mdns.Run)
		work("neighbours", n.meetNeighbours)
	}
	work("site", n.site.Run)
	if n.cfg.SitesFile != "" {
		work("map of sites", n.watchSites)
	}
	work("site key", n.meetSite)
	work("plans", n.runPlans)
	work("peers", n.keeper.Run)
	work("network watch", func(ctx context.Context) error {
		return watchNetwork(ctx, n.cfg.Network, n.log.Named("network"), func() { n.mend(ctx) })
	})
	work("announce", n.announceAll)
	work("repair", n.repair)
	work("gates", n.gates.Run)
	if n.door != nil {
		work("gateway", n.serveGateway)
	}
	if n.server != nil {
		work("api", n.server.Run)
	}
	close(n.ready)
	err := g.Wait()
	return errors.Join(err, n.Close())
}

// Close gives back what New took. Run does it too, when it ends; the second time
// does nothing.
func (n *Node) Close() (err error) {
	n.closing.Do(func() { err = n.close() })
	return err
}

func (n *Node) close() error {
	var errs []error
	errs = append(errs, n.front.Close())
	if n.server != nil {
		errs = append(errs, n.server.Close())
	}
	if n.dht != nil {
		errs = append(errs, n.dht.Close())
	}
	if n.host != nil {
		errs = append(errs, n.host.Close())
	}
	if n.web != nil {
		errs = append(errs, n.web.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	if n.identity != nil {
		errs = append(errs, n.identity.Close())
	}
	return errors.Join(errs...)
}

// Ready is closed once everything works.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// API returns what the local API serves, for callers in the same process.
func (n *Node) API() api.Node { return local{n} }

// link returns what a transfer with a connected peer crosses.
func (n *Node) link(p peer.ID) bandwidth.Link {
	if n.site.IsHere(p) {
		return bandwidth.LAN
	}
	return bandwidth.WAN
}

// call returns what people call a peer: its name, else the end of its id.
func (n *Node) call(p peer.ID) string {
	if c, ok := n.admission.Of(p); ok && c.Name != "" {
		return c.Name
	}
	return shortPeer(p)
}

func shortPeer(p peer.ID) string {
	s := discovery.PeerName(p)
	if len(s) < 12 || s == string(p) { // an HTTP server's is its address
		return s
	}
	return s[:8] + "…" + s[len(s)-5:]
}

// loadCatalogue reads the releases of what the store holds. One that doesn't
// verify any more, as its publisher was revoked, is left out.
func (n *Node) loadCatalogue() error {
	for _, c := range n.store.List() {
		for _, r := range n.releases(c.Releases(), func(r signedRelease) bool { return r.Content == c.ID() }) {
			n.catalogue.add(r)
		}
	}
	return nil
}

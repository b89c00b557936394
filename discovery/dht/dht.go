package dht

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/simplelru"
	ds "github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/namespace"
	kad "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p-kad-dht/provider"
	"github.com/libp2p/go-libp2p-kad-dht/provider/keystore"
	"github.com/libp2p/go-libp2p-kad-dht/records"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	mh "github.com/multiformats/go-multihash"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/discovery"
)

// A DHT is this node's part in the DHT of its enterprise.
type DHT struct {
	host host.Host
	cfg  Config
	log  *zap.Logger

	store ds.Batching
	keys  keystore.Keystore // what is announced
	kad   *kad.IpfsDHT
	prov  *provider.SweepingProvider

	closeOnce sync.Once
	closeErr  error

	// online is closed when a first server was reached.
	online     chan struct{}
	onlineOnce sync.Once
	// reached says that a server answered when we last had to know.
	reached atomic.Bool

	mu sync.Mutex
	// live is set once the provider has taken what was in the keystore when it
	// came online; from then on Announce hands it new keys. Before, a key that
	// it is handed it might announce twice.
	live bool
	// late has the keys that were announced between online and live: only they
	// may have been missed. They are in the keystore as well.
	late []mh.Multihash
}

var (
	_ discovery.Finder    = (*DHT)(nil)
	_ discovery.Announcer = (*DHT)(nil)
)

// New joins the DHT of an enterprise with h. Keys that were announced before a
// restart are announced again. Close it after use.
func New(h host.Host, cfg Config, log *zap.Logger) (_ *DHT, err error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configure the DHT: %w", err)
	}
	d := &DHT{host: h, cfg: cfg, log: log, online: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	store, err := newMending(cfg.Dir, log, func() (ds.Batching, error) { return openStore(cfg.Dir, log) })
	if err != nil {
		return nil, err
	}
	d.store = store
	if d.kad, err = newKad(h, cfg, d.store); err != nil {
		return nil, fmt.Errorf("start the DHT: %w", err)
	}
	d.keys, err = keystore.NewKeystore(namespace.Wrap(d.store, ds.NewKey("/announced")), keystore.WithBatchSize(batchKeys))
	if err != nil {
		return nil, fmt.Errorf("open the list of announced keys: %w", err)
	}
	if d.prov, err = d.newProvider(); err != nil {
		return nil, fmt.Errorf("start announcing: %w", err)
	}
	return d, nil
}

func newKad(h host.Host, cfg Config, store ds.Batching) (*kad.IpfsDHT, error) {
	mode := kad.ModeClient
	if cfg.Server {
		mode = kad.ModeServer // never auto: it waits for AutoNAT to call us public
	}
	cache, err := lru.NewLRU(cachedKeys, nil)
	if err != nil {
		return nil, err
	}
	return kad.New(h,
		kad.ProtocolPrefix(protocol.ID("/p2pnode/"+cfg.Enterprise)),
		kad.Mode(mode),
		kad.Datastore(store),
		kad.DisableValues(), // signed objects travel elsewhere
		kad.QueryFilter(func(_ any, ai peer.AddrInfo) bool { return len(ai.Addrs) > 0 }),
		kad.AddressFilter(dialable),
		kad.BootstrapPeersFunc(cfg.Bootstrap),
		kad.ProviderManagerOpts(
			// Both: a record whose address ran out is given out without one.
			records.ProvideValidity(recordLife), records.ProviderAddrTTL(recordLife),
			records.CleanupInterval(cleanEvery), records.Cache(cache)),
	)
}

// never is longer than a node runs. A provider that calls itself offline drops
// its queue and tells the keys only when their turn in the round comes, up to
// two hours after it is back; one that waits keeps the queue and goes on at once.
const never = 10 * 365 * 24 * time.Hour

func (d *DHT) newProvider() (*provider.SweepingProvider, error) {
	return provider.New(
		provider.WithHost(d.host), provider.WithRouter(patient{d}), provider.WithMessageSender(d.kad.MessageSender()),
		provider.WithSelfAddrs(d.kad.FilteredAddrs), provider.WithAddLocalRecord(d.noteHere),
		provider.WithKeystore(d.keys),
		provider.WithReplicationFactor(replication),
		provider.WithReprovideInterval(jittered(announceEvery)), provider.WithMaxReprovideDelay(announceDelay),
		// A round starts anew with the process: what the servers have of us may
		// carry the addresses of another network.
		provider.WithResumeCycle(false),
		// Look at once whether we are alone when something failed: keys that failed
		// without it are tried again after five minutes only.
		provider.WithOfflineDelay(never), provider.WithConnectivityCheckOnlineInterval(time.Millisecond),
		provider.WithConnectivityCallbacks(d.cameOnline, func() { d.reached.Store(false) }, nil),
	)
}

func (d *DHT) cameOnline() {
	d.reached.Store(true)
	d.onlineOnce.Do(func() { close(d.online) })
}

// noteHere records that this node holds m in its own table, for those who ask
// this node first, and all that there is while no other server is known.
func (d *DHT) noteHere(ctx context.Context, m mh.Multihash) error {
	if !d.cfg.Server {
		return nil
	}
	return d.kad.ProviderStore().AddProvider(ctx, m, peer.AddrInfo{ID: d.host.ID()})
}

// Close leaves the DHT. Records at others run out by themselves. Closing again
// does nothing.
func (d *DHT) Close() error {
	d.closeOnce.Do(func() { d.closeErr = d.close() })
	return d.closeErr
}

func (d *DHT) close() error {
	var errs []error
	add := func(err error) {
		if err != nil && noRoom(err) { // a hint for the next start is lost, no more
			d.log.Warn("what is announced can't be noted", zap.Error(err))
			return
		}
		errs = append(errs, err)
	}
	if d.prov != nil {
		add(d.prov.Close())
	}
	if d.keys != nil {
		add(d.keys.Close())
	}
	if d.kad != nil {
		add(d.kad.Close())
	}
	if d.store != nil {
		add(d.store.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("leave the DHT: %w", err)
	}
	return nil
}

// patient is the DHT's lookup as the provider sees it. The provider asks for
// its own key to learn whether it is connected, and after each failure waits
// twice as long, up to a minute. Here it waits instead for the first server to
// turn up, and is connected a moment later. And a lookup that nobody answered is
// a failure, which kad-dht calls a success with no peers.
type patient struct{ *DHT }

var errAlone = errors.New("no server of the DHT answered")

// lookAgain is how often patient looks whether a server turned up.
const lookAgain = 200 * time.Millisecond

func (p patient) GetClosestPeers(ctx context.Context, key string) ([]peer.ID, error) {
	if !p.reached.Load() && key == string(p.host.ID()) {
		tick := time.NewTicker(lookAgain)
		defer tick.Stop()
		for p.kad.RoutingTable().Size() == 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-tick.C:
			}
		}
	}
	near, err := p.kad.GetClosestPeers(ctx, key)
	if err == nil && len(near) == 0 {
		err = errAlone
	}
	return near, err
}

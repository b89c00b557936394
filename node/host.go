package node

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// defaultPort is where a node listens unless told otherwise: free of other
// uses in IANA's registry, and the same for TCP and UDP, so that a firewall
// needs one rule.
const defaultPort = 4740

// A hostConfig says how the libp2p host of a node is to be.
type hostConfig struct {
	// admission has the identity, and the security protocol, transports, muxer
	// and gater that let in members only (trust.Admission). Nothing here may open
	// a way around it: no other transport, no AutoNAT (it dials back as a
	// stranger), no relay.
	admission libp2p.Option
	// listen has the addresses to listen on. Empty: the default port on every
	// interface, or a free one if another process has it.
	listen []ma.Multiaddr
	// on is the network that QUIC runs on; nil is the machine's.
	on Network
	// keep and trim bound connections: above trim, idle ones are closed until
	// keep are left. 0: 64 and 96, for an endpoint.
	keep, trim int
	// metrics registers libp2p's collectors; nil for none.
	metrics prometheus.Registerer
	log     *zap.Logger
}

const (
	defaultKeep = 64
	defaultTrim = 96
	trimGrace   = time.Minute // a connection younger than this is never trimmed
)

// newHost assembles the libp2p host. The caller closes it, which closes all
// that it consists of.
func newHost(cfg hostConfig) (_ host.Host, err error) {
	keep, trim := cmp.Or(cfg.keep, defaultKeep), cmp.Or(cfg.trim, defaultTrim)
	if keep < 1 || trim < keep || trim > maxConns {
		return nil, fmt.Errorf("bound connections: %d to keep, trimmed above %d: want 1 to %d, in this order", keep, trim, maxConns)
	}
	listen := cfg.listen
	over := libp2p.ChainOptions()
	if cfg.on != nil {
		if err := checkOver(listen); err != nil {
			return nil, err
		}
		over = QUICOver(cfg.on)
	} else if len(listen) == 0 {
		if listen, err = defaultListen(cfg.log); err != nil {
			return nil, err
		}
	} else if err := checkFree(listen); err != nil {
		return nil, err
	}
	resources, err := newResources(cfg.metrics != nil)
	if err != nil {
		return nil, err
	}
	conns, err := connmgr.NewConnManager(keep, trim, connmgr.WithGracePeriod(trimGrace))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("bound connections: %w", err), resources.Close())
	}
	measured := libp2p.DisableMetrics()
	if cfg.metrics != nil {
		measured = libp2p.PrometheusRegisterer(cfg.metrics)
	}
	told := ownAddrs{on: cfg.on}
	h, err := libp2p.New(
		cfg.admission,
		over,
		libp2p.ListenAddrs(listen...),
		libp2p.ResourceManager(resources),
		libp2p.ConnectionManager(conns),
		libp2p.SwarmOpts(swarm.WithDialRanker(rankDials)),
		libp2p.AddrsFactory(told.addrs),
		// What identify tells carries no version, host or site.
		libp2p.UserAgent("p2pnode"), libp2p.ProtocolVersion("p2pnode"),
		libp2p.DisableRelay(),
		libp2p.DisableIdentifyAddressDiscovery(),
		// Keeps AutoNAT's client from running at all. Says "public" since nothing
		// here acts on it, while "private" would have addresses left out.
		libp2p.ForceReachabilityPublic(),
		// They stop dials to UDP or IPv6 for long after a network failed them;
		// the next network may be another one.
		libp2p.UDPBlackHoleSuccessCounter(nil), libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.Ping(false), // node/exchange has its own
		measured,
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the libp2p host: %w", err), conns.Close(), resources.Close())
	}
	bound := h.Network().ListenAddresses()
	told.bound.Store(&bound)
	// libp2p is content if one of the addresses works.
	for _, a := range listen {
		if !slices.ContainsFunc(bound, func(b ma.Multiaddr) bool { return sameListener(a, b) }) {
			return nil, errors.Join(fmt.Errorf("listen on %s: failed, try another address with --listen", a), h.Close())
		}
	}
	return h, nil
}

// sameListener reports whether got is what listening on want came to: the same
// but for a port that the system chose.
func sameListener(want, got ma.Multiaddr) bool {
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		free := want[i].Value() == "0" && (want[i].Code() == ma.P_TCP || want[i].Code() == ma.P_UDP)
		if want[i].Code() != got[i].Code() || !free && want[i].Value() != got[i].Value() {
			return false
		}
	}
	return true
}

// defaultListen returns the addresses of the default port, TCP first, for the
// IP versions that this machine has; of a free port if the default is taken.
func defaultListen(log *zap.Logger) ([]ma.Multiaddr, error) {
	addrs, err := freeListen(defaultPort)
	if !inUse(err) {
		return addrs, err
	}
	for range 8 { // a port may be free for TCP alone
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		if addrs, err = freeListen(port); err == nil {
			log.Warn("the default port is taken, listening on another", zap.Int("default", defaultPort), zap.Int("port", port))
			return addrs, nil
		}
	}
	return nil, fmt.Errorf("port %d is taken and no free one was found: %w", defaultPort, err)
}

// freeListen returns the addresses to listen on at port. Its error is inUse if
// another process has one of them; an IP version that this machine lacks is
// left out.
func freeListen(port int) ([]ma.Multiaddr, error) {
	var addrs []ma.Multiaddr
	var last error
	for _, f := range []string{"/ip4/0.0.0.0/tcp/%d", "/ip6/::/tcp/%d", "/ip4/0.0.0.0/udp/%d/quic-v1", "/ip6/::/udp/%d/quic-v1"} {
		a := ma.StringCast(fmt.Sprintf(f, port))
		err := checkFree([]ma.Multiaddr{a})
		switch {
		case inUse(err):
			return nil, err
		case err != nil:
			last = err
		default:
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return nil, last
	}
	return addrs, nil
}

// checkFree fails if one of the addresses can't be listened on. libp2p itself
// listens with SO_REUSEPORT: two nodes of one user would share a port without
// a word, and each get half of the other's connections.
func checkFree(addrs []ma.Multiaddr) error {
	for _, a := range addrs {
		network, address, err := manet.DialArgs(a)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", a, err)
		}
		var c interface{ Close() error }
		if network == "udp4" || network == "udp6" {
			c, err = net.ListenPacket(network, address)
		} else {
			c, err = net.Listen(network, address)
		}
		if err == nil {
			err = c.Close()
		}
		if err != nil {
			return fmt.Errorf("listen on %s: %w", a, err)
		}
	}
	return nil
}

// inUse tells an address that another socket has from one that can't be had.
func inUse(err error) bool {
	const wsaeaddrinuse = syscall.Errno(10048) // Windows; no other system's number
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaeaddrinuse)
}

// Limits of what connections may use, whoever is at the other end. They are
// the same on every machine: limits that follow the machine's size fail at the
// customer with the small one.
const (
	maxConns        = 4096
	maxHandshakes   = 512 // connections whose remote isn't admitted yet
	maxStreams      = 1 << 16
	maxConnMemory   = 1 << 30 // bytes of buffers, mostly yamux windows
	maxPerAddress   = 1024    // connections from one IPv4 address or IPv6 /64: a site behind NAT
	newPerSecond    = 200     // inbound connections, all together
	newBurst        = 1000    // a hub's sites after an outage
	newPerAddress   = 10.0    // per second, from one address
	newAddressBurst = 128     // a site behind NAT after an outage
)

// newResources returns the resource manager. libp2p's own limits let in 8
// connections per IPv4 address, and 16 at once: 8 of 50 members of a branch
// behind one address (G4). Here only a flood meets a limit.
func newResources(measured bool) (network.ResourceManager, error) {
	defaults := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&defaults)
	limits := rcmgr.PartialLimitConfig{
		// A delegate has a stream of the site's protocol with every member.
		ProtocolDefault: rcmgr.ResourceLimits{Streams: maxStreams, StreamsInbound: maxConns, StreamsOutbound: maxConns},
		System: rcmgr.ResourceLimits{
			Conns: maxConns, ConnsInbound: maxConns, ConnsOutbound: maxConns, FD: maxConns,
			Streams: maxStreams, StreamsInbound: maxStreams, StreamsOutbound: maxStreams,
			Memory: maxConnMemory,
		},
		Transient: rcmgr.ResourceLimits{
			Conns: maxHandshakes, ConnsInbound: maxHandshakes, ConnsOutbound: maxHandshakes, FD: maxHandshakes,
		},
	}.Build(defaults.Scale(maxConnMemory, maxConns))
	options := []rcmgr.Option{
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: maxPerAddress}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 64, ConnCount: maxPerAddress}}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: []rate.PrefixLimit{ // no limit: several nodes on one machine
				{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")},
			},
			GlobalLimit: rate.Limit{RPS: newPerSecond, Burst: newBurst},
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: rate.Limit{RPS: newPerAddress, Burst: newAddressBurst}}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 64, Limit: rate.Limit{RPS: newPerAddress, Burst: newAddressBurst}}},
				GracePeriod:      time.Minute,
			},
		}),
	}
	if measured {
		reporter, err := rcmgr.NewStatsTraceReporter()
		if err != nil {
			return nil, fmt.Errorf("measure the use of resources: %w", err)
		}
		options = append(options, rcmgr.WithTraceReporter(reporter))
	} else {
		options = append(options, rcmgr.WithMetricsDisabled())
	}
	m, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits), options...)
	if err != nil {
		return nil, fmt.Errorf("set limits for connections: %w", err)
	}
	return m, nil
}

// ownAddrs tells libp2p which addresses others may be told. libp2p looks for
// changes every five seconds, but keeps the list of interfaces for a minute: a
// laptop that moved would be called at its old desk for as long.
type ownAddrs struct {
	on    Network
	bound atomic.Pointer[[]ma.Multiaddr] // what the host listens on, once it does
}

func (o *ownAddrs) addrs(known []ma.Multiaddr) []ma.Multiaddr {
	bound := o.bound.Load()
	if bound == nil {
		return tellable(known)
	}
	ifaces, err := interfaceMultiaddrs(o.on)
	if err != nil {
		return tellable(known)
	}
	resolved, err := manet.ResolveUnspecifiedAddresses(*bound, ifaces)
	if err != nil { // no interface has an address: nobody can reach us
		return nil
	}
	return tellable(resolved)
}

// tellable leaves loopback and link-local addresses out of those that others
// are told, unless there are no others. Whoever dials them meets itself, or,
// without the zone of its own interface, nobody.
func tellable(addrs []ma.Multiaddr) []ma.Multiaddr {
	far := ma.FilterAddrs(addrs, func(a ma.Multiaddr) bool { return nearness(a) < 2 })
	if len(far) == 0 {
		return addrs
	}
	return far
}

// nearness orders addresses by where they lead: 0 inside the enterprise, most
// likely; 1 a public address; 2 nowhere but on this machine or link.
func nearness(a ma.Multiaddr) int {
	switch {
	case manet.IsIPLoopback(a), manet.IsIP6LinkLocal(a):
		return 2
	case manet.IsPrivateAddr(a):
		return 0
	}
	return 1
}

// Times between dials to one peer. A dial starts early when those before it
// have failed; QUIC waits while a TCP connection is being secured.
const (
	dialStep  = 50 * time.Millisecond  // from one address to the next
	quicAfter = 250 * time.Millisecond // from the last TCP address to the first of QUIC
)

// rankDials orders the addresses of a peer: TCP first, since QUIC costs three
// to five times its CPU and can't be paced by the kernel. libp2p's own ranking
// prefers QUIC. Within each, near ones come first, and IPv6 and IPv4 take turns
// (RFC 8305, section 4).
func rankDials(addrs []ma.Multiaddr) []network.AddrDelay {
	var tcp, quic, other []ma.Multiaddr
	for _, a := range addrs {
		switch {
		case hasProtocol(a, ma.P_CIRCUIT):
			other = append(other, a)
		case hasProtocol(a, ma.P_TCP):
			tcp = append(tcp, a)
		case hasProtocol(a, ma.P_QUIC_V1):
			quic = append(quic, a)
		default:
			other = append(other, a)
		}
	}
	ranked := make([]network.AddrDelay, 0, len(addrs))
	var at time.Duration
	for _, group := range [][]ma.Multiaddr{tcp, quic, other} {
		if len(group) == 0 {
			continue
		}
		if len(ranked) > 0 {
			at = ranked[len(ranked)-1].Delay + quicAfter
		}
		for i, a := range takeTurns(group) {
			ranked = append(ranked, network.AddrDelay{Addr: a, Delay: at + time.Duration(i)*dialStep})
		}
	}
	return ranked
}

// takeTurns orders addresses by nearness, and among equals takes IPv6 and IPv4
// by turns.
func takeTurns(addrs []ma.Multiaddr) []ma.Multiaddr {
	type place struct{ near, turn, version int }
	turns := make(map[place]int)
	places := make(map[string]place, len(addrs))
	for _, a := range addrs {
		p := place{near: nearness(a)}
		if hasProtocol(a, ma.P_IP4) {
			p.version = 1
		}
		n := turns[p]
		turns[p]++
		p.turn = n
		places[string(a.Bytes())] = p
	}
	sorted := slices.Clone(addrs)
	slices.SortStableFunc(sorted, func(a, b ma.Multiaddr) int {
		p, q := places[string(a.Bytes())], places[string(b.Bytes())]
		return cmp.Or(cmp.Compare(p.near, q.near), cmp.Compare(p.turn, q.turn), cmp.Compare(p.version, q.version))
	})
	return sorted
}

func hasProtocol(a ma.Multiaddr, code int) bool {
	return slices.ContainsFunc(a, func(c ma.Component) bool { return c.Code() == code })
}

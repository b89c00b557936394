package mdns

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"go.uber.org/zap"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/time/rate"
)

const (
	maxLinks = 16 // interfaces in use; a machine with more has most of them for containers

	// What is found is handed on at a bounded rate: the callback dials.
	foundPerMinute = 60
	foundBurst     = 32
	foundAtOnce    = 4
	foundWaiting   = 32

	// settle is how long Refresh waits for more: an interface that comes up gets
	// its addresses one by one.
	settle = 500 * time.Millisecond
)

// Config says where to look for neighbours.
type Config struct {
	// Enterprise is the short hash of the trust root. A digest of it stands in
	// the service's name, so that enterprises on one subnet leave each other be.
	Enterprise string
	// Interfaces has the names of those to use. "auto", the default, stands for
	// every one that is up, can multicast, has an address that the node listens
	// on, and is neither loopback nor point-to-point. Bridges of containers are
	// among them: other nodes may be in there. Name interfaces to leave some out.
	Interfaces []string
	// Speaks reports whether this node answers first on a subnet of many, for the
	// others: a delegate. It must not block. Default: it doesn't.
	Speaks func() bool
}

// A Service finds neighbours.
type Service struct {
	host    host.Host
	cfg     Config
	service dnsmessage.Name
	found   func(context.Context, peer.AddrInfo)
	log     *zap.Logger

	refresh chan struct{}
	limit   *rate.Limiter
	waiting chan peer.AddrInfo
}

// New returns a service that calls found with each neighbour that isn't
// connected: again and again while it isn't, from up to four goroutines, at
// most once a second in the long run, with a context that ends with Run.
func New(h host.Host, cfg Config, found func(context.Context, peer.AddrInfo), log *zap.Logger) (*Service, error) {
	if cfg.Enterprise == "" {
		return nil, errors.New("configure mDNS: no enterprise given")
	}
	if len(cfg.Interfaces) == 0 {
		cfg.Interfaces = []string{"auto"}
	}
	if auto := slices.Contains(cfg.Interfaces, "auto"); auto && len(cfg.Interfaces) > 1 {
		return nil, fmt.Errorf("configure mDNS: \"auto\" and interface names together: %s", strings.Join(cfg.Interfaces, ", "))
	}
	if cfg.Speaks == nil {
		cfg.Speaks = func() bool { return false }
	}
	digest := sha256.Sum256([]byte(cfg.Enterprise))
	name, err := serviceName(fmt.Sprintf("_p2pnode-%x", digest[:4]))
	if err != nil {
		return nil, fmt.Errorf("configure mDNS: %w", err)
	}
	return &Service{
		host: h, cfg: cfg, service: name, found: found, log: log,
		refresh: make(chan struct{}, 1),
		limit:   rate.NewLimiter(rate.Every(time.Minute/foundPerMinute), foundBurst),
		waiting: make(chan peer.AddrInfo, foundWaiting),
	}, nil
}

// Refresh makes Run look at the interfaces anew: an address or a cable has
// changed. It doesn't wait for it.
func (s *Service) Refresh() {
	select {
	case s.refresh <- struct{}{}:
	default:
	}
}

// Run announces this node and looks for others until ctx ends. That it can't,
// on some interface or any, is no error: a later Refresh may help.
func (s *Service) Run(ctx context.Context) error {
	var callers sync.WaitGroup
	for range foundAtOnce {
		callers.Go(func() { s.call(ctx) })
	}
	defer callers.Wait()
	for ctx.Err() == nil {
		s.talkUntilRefresh(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(settle):
		}
	}
	return nil
}

// talkUntilRefresh talks on all interfaces as they are now.
func (s *Service) talkUntilRefresh(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var links sync.WaitGroup
	defer links.Wait()
	instance := randomName()
	for _, l := range s.open() {
		links.Go(func() { l.run(ctx, instance) })
	}
	select {
	case <-ctx.Done():
	case <-s.refresh:
	}
	cancel()
}

// open returns links for the interfaces in use.
func (s *Service) open() []*link {
	ifaces, err := net.Interfaces()
	if err != nil {
		s.log.Warn("no interfaces for mDNS", zap.Error(err))
		return nil
	}
	var links []*link
	listen := s.host.Network().ListenAddresses()
	for _, iface := range ifaces {
		if !s.cfg.uses(iface) || len(links) == maxLinks {
			continue
		}
		addrs, err := iface.Addrs()
		if err != nil {
			continue // gone meanwhile
		}
		prefixes := subnets(addrs)
		here := reachable(listen, prefixes)
		if len(here) == 0 {
			continue
		}
		self := peer.AddrInfo{ID: s.host.ID(), Addrs: here}
		l, err := newLink(iface, prefixes, s.service, self, s.cfg.Speaks, s.offer, s.log)
		if err != nil {
			s.log.Warn("no mDNS on this interface", zap.String("interface", iface.Name), zap.Error(err))
			continue
		}
		s.log.Info("looking for neighbours by mDNS", zap.String("interface", iface.Name), zap.Stringers("addrs", here))
		links = append(links, l)
	}
	return links
}

// uses reports whether the configuration wants an interface.
func (c Config) uses(iface net.Interface) bool {
	const need, avoid = net.FlagUp | net.FlagMulticast, net.FlagLoopback | net.FlagPointToPoint
	if slices.Contains(c.Interfaces, "auto") {
		return iface.Flags&need == need && iface.Flags&avoid == 0
	}
	return slices.Contains(c.Interfaces, iface.Name)
}

// subnets returns the addresses of an interface with the length of their prefix.
func subnets(addrs []net.Addr) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			ip, valid := netip.AddrFromSlice(n.IP)
			bits, _ := n.Mask.Size()
			if valid {
				prefixes = append(prefixes, netip.PrefixFrom(ip.Unmap(), bits))
			}
		}
	}
	return prefixes
}

// reachable returns the addresses on which a node that listens on listen can be
// reached through an interface with the given addresses. Link-local IPv6 ones
// are left out: they need a zone, which the other side names differently.
func reachable(listen []ma.Multiaddr, on []netip.Prefix) []ma.Multiaddr {
	var addrs []ma.Multiaddr
	for _, l := range listen {
		bound, _ := place(l)
		if !bound.IsValid() {
			continue
		}
		for _, p := range on {
			ip := p.Addr()
			if ip.Is4() != bound.Is4() || ip.IsLinkLocalUnicast() && ip.Is6() || !bound.IsUnspecified() && bound != ip {
				continue
			}
			first, err := manet.FromIP(ip.AsSlice())
			if err != nil {
				continue
			}
			_, rest := ma.SplitFirst(l)
			if a := first.Encapsulate(rest); len(addrs) < maxAddrs && !ma.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
	}
	return addrs
}

// offer takes a neighbour that was heard, unless it is connected or there are
// too many at once. It doesn't block.
func (s *Service) offer(info peer.AddrInfo) {
	if info.ID == s.host.ID() || len(info.Addrs) == 0 ||
		s.host.Network().Connectedness(info.ID) == network.Connected || !s.limit.Allow() {
		return
	}
	select {
	case s.waiting <- info:
	default: // it will be heard again
	}
}

func (s *Service) call(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case info := <-s.waiting:
			s.found(ctx, info)
		}
	}
}

// randomName returns a name that says nothing and that nobody else has.
func randomName() string { return strings.ToLower(rand.Text()[:16]) }

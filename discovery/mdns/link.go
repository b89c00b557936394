package mdns

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"go.uber.org/zap"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/time/rate"
)

const (
	// packetsPerSecond bounds the packets that a link reads; others are dropped
	// unread. A thousand nodes that start together stay below.
	packetsPerSecond = 200
	packetBurst      = 500
	// unread is how many packets may wait while the talk is busy.
	unread = 64

	hops         = 255 // RFC 6762 section 11
	writeTimeout = time.Second
)

var (
	group4 = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}
	group6 = &net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: 5353}
	// Listening on a multicast address makes Go share the port with the
	// machine's own responder; what is bound is the wildcard.
	any4 = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 0), Port: 5353}
	any6 = &net.UDPAddr{IP: net.ParseIP("ff02::"), Port: 5353}
)

// A link is one interface, with what this node says there.
type link struct {
	iface    net.Interface
	prefixes []netip.Prefix // of the interface: who may speak, and be spoken of
	service  dnsmessage.Name
	self     peer.AddrInfo // with the addresses of this interface
	speaks   func() bool
	log      *zap.Logger

	// found is called with those heard; it must not block.
	found func(peer.AddrInfo)

	conns []conn // one per IP version in use, IPv4 first
	talk  *talk
}

// A hearing is a message, and whether it came by the second IP version of two.
type hearing struct {
	message
	aside bool
}

// A conn is a socket of one IP version.
type conn interface {
	read(b []byte) (n, iface int, from netip.Addr, err error) // iface is 0 if not known
	write(b []byte) error
	Close() error
}

// newLink opens the sockets of an interface, one per IP version that works and by
// which this node can be reached there.
func newLink(iface net.Interface, prefixes []netip.Prefix, service dnsmessage.Name, self peer.AddrInfo, speaks func() bool, found func(peer.AddrInfo), log *zap.Logger) (*link, error) {
	l := &link{iface: iface, prefixes: prefixes, service: service, self: self, speaks: speaks, found: found, log: log.With(zap.String("interface", iface.Name))}
	var errs []error
	for _, v := range []struct {
		used bool
		open func(*net.Interface) (conn, error)
	}{{has(self.Addrs, netip.Addr.Is4), open4}, {has(self.Addrs, netip.Addr.Is6), open6}} {
		if !v.used {
			continue
		}
		c, err := v.open(&iface)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		l.conns = append(l.conns, c)
	}
	if len(l.conns) == 0 {
		return nil, fmt.Errorf("join multicast DNS on %s: %w", iface.Name, errors.Join(errs...))
	}
	return l, nil
}

// run talks until ctx ends, then says farewell and closes the sockets.
func (l *link) run(ctx context.Context, instance string) {
	heard := make(chan hearing, unread)
	var readers sync.WaitGroup
	for i, c := range l.conns {
		readers.Go(func() { l.read(ctx, c, i > 0, heard) })
	}
	l.converse(ctx, instance, heard)
	if l.talk.parts() {
		l.say(instance, 0, true)
	}
	for _, c := range l.conns {
		_ = c.Close() // nothing was promised to whoever might still wait
	}
	readers.Wait()
}

// converse does what the talk wants, until ctx ends.
func (l *link) converse(ctx context.Context, instance string, heard <-chan hearing) {
	l.talk = newTalk(time.Now(), instance, !has(l.self.Addrs, netip.Addr.Is4), l.speaks, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case h := <-heard:
			for _, info := range l.talk.hear(time.Now(), h.message, h.aside) {
				l.found(info)
			}
		case <-timer.C:
			for _, a := range l.talk.due(time.Now()) {
				if a.what == ask {
					l.ask(instance, a.wide)
				} else {
					l.say(instance, recordLife, a.wide)
				}
			}
		}
		timer.Reset(time.Until(l.talk.next()))
	}
}

func (l *link) ask(instance string, wide bool) {
	now := time.Now()
	packet, err := encodeQuery(l.service, instance, l.self, l.talk.known(now), now)
	l.send(packet, err, wide)
}

func (l *link) say(instance string, life time.Duration, wide bool) {
	packet, err := encodeAnswer(l.service, instance, l.self, life)
	l.send(packet, err, wide)
}

// send writes a packet to the group, by every IP version in use if wide. That it
// fails is ordinary, on an interface that just lost its cable or its address.
func (l *link) send(packet []byte, err error, wide bool) {
	conns := l.conns
	if !wide {
		conns = conns[:1]
	}
	for _, c := range conns {
		if err == nil {
			err = c.write(packet)
		}
		if err != nil {
			l.log.Debug("nothing said by mDNS", zap.Error(err))
		}
		err = nil
	}
}

// read reads packets until the socket is closed. What comes from elsewhere than
// this interface's subnets isn't looked at (RFC 6762 section 11).
func (l *link) read(ctx context.Context, c conn, aside bool, heard chan<- hearing) {
	limit := rate.NewLimiter(packetsPerSecond, packetBurst)
	buf := make([]byte, maxPacket)
	for ctx.Err() == nil {
		n, iface, from, err := c.read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // the interface went; wait for the end or its return
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		if iface != 0 && iface != l.iface.Index || !within(l.prefixes, from) || !limit.Allow() {
			continue
		}
		m, err := decode(buf[:n], l.service)
		if err != nil || !m.asks && len(m.says) == 0 {
			continue
		}
		for i := range m.says {
			l.keepNear(&m.says[i].info)
		}
		select {
		case heard <- hearing{m, aside}:
		case <-ctx.Done():
		default: // as good as lost on the wire
		}
	}
}

// keepNear leaves those addresses that are on the link: nobody shall make a
// subnet dial someone elsewhere.
func (l *link) keepNear(info *peer.AddrInfo) {
	info.Addrs = ma.FilterAddrs(info.Addrs, func(a ma.Multiaddr) bool {
		ip, _ := place(a)
		return within(l.prefixes, ip)
	})
}

// has reports whether one of some addresses is of a kind.
func has(addrs []ma.Multiaddr, kind func(netip.Addr) bool) bool {
	return slices.ContainsFunc(addrs, func(a ma.Multiaddr) bool {
		ip, _ := place(a)
		return kind(ip)
	})
}

func within(prefixes []netip.Prefix, ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

type conn4 struct{ *ipv4.PacketConn }

func open4(iface *net.Interface) (conn, error) {
	u, err := net.ListenUDP("udp4", any4)
	if err != nil {
		return nil, err
	}
	c := ipv4.NewPacketConn(u)
	if err := errors.Join(c.JoinGroup(iface, group4), c.SetMulticastInterface(iface), c.SetMulticastTTL(hops), c.SetMulticastLoopback(true)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	_ = c.SetControlMessage(ipv4.FlagInterface, true) // not on Windows, where groups don't leak between sockets
	return conn4{c}, nil
}

func (c conn4) read(b []byte) (int, int, netip.Addr, error) {
	n, cm, from, err := c.ReadFrom(b)
	iface := 0
	if cm != nil {
		iface = cm.IfIndex
	}
	return n, iface, sender(from), err
}

func (c conn4) write(b []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.WriteTo(b, nil, group4)
	return err
}

type conn6 struct{ *ipv6.PacketConn }

func open6(iface *net.Interface) (conn, error) {
	u, err := net.ListenUDP("udp6", any6)
	if err != nil {
		return nil, err
	}
	c := ipv6.NewPacketConn(u)
	if err := errors.Join(c.JoinGroup(iface, group6), c.SetMulticastInterface(iface), c.SetMulticastHopLimit(hops), c.SetMulticastLoopback(true)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	_ = c.SetControlMessage(ipv6.FlagInterface, true)
	return conn6{c}, nil
}

func (c conn6) read(b []byte) (int, int, netip.Addr, error) {
	n, cm, from, err := c.ReadFrom(b)
	iface := 0
	if cm != nil {
		iface = cm.IfIndex
	}
	return n, iface, sender(from), err
}

func (c conn6) write(b []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.WriteTo(b, nil, group6)
	return err
}

func sender(a net.Addr) netip.Addr {
	if u, ok := a.(*net.UDPAddr); ok {
		return u.AddrPort().Addr()
	}
	return netip.Addr{}
}

package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p2pnode/p2pnode/testnet/wan"
)

// lanDelay is what a switch and two network cards take.
const lanDelay = 200 * time.Microsecond

// A Net is a packet network in memory: sites with one access link each, and a
// fast LAN behind it. Packets between two sites cross the sender's link up, the
// distance between the two, and the receiver's link down.
type Net struct {
	sites    []*Site
	distance [][]time.Duration // one way, between the far ends of two access links

	mu    sync.RWMutex
	ports map[netip.Addr]*Port

	nowhere atomic.Int64 // packets to an address or socket that nobody has
}

// A Site is a LAN and its access link.
type Site struct {
	net      *Net
	number   int
	up, down *pipe
	island   atomic.Int32 // sites of different numbers don't reach each other
	severed  atomic.Int64 // packets that met a cut
	lan      [classes]struct{ packets, bytes atomic.Int64 }
}

// farthest is the longest way between two access links: across a continent.
const farthest = 40 * time.Millisecond

// NewNet returns a network of sites whose access links have the settings given in
// both directions. The seed decides how far apart they are and what is lost.
func NewNet(sites int, access wan.Settings, seed uint64) (*Net, error) {
	random := rand.New(rand.NewPCG(seed, 0))
	n := &Net{ports: make(map[netip.Addr]*Port), distance: make([][]time.Duration, sites)}
	type place struct{ x, y float64 }
	places := make([]place, sites)
	for i := range sites {
		places[i] = place{random.Float64(), random.Float64()}
		s := &Site{net: n, number: i}
		var err, errDown error
		s.up, err = newPipe(access, random.Uint64(), s.leave)
		s.down, errDown = newPipe(access, random.Uint64(), n.deliver)
		if err = errors.Join(err, errDown); err != nil {
			return nil, fmt.Errorf("link of site %d: %w", i, err)
		}
		n.sites = append(n.sites, s)
		n.distance[i] = make([]time.Duration, sites)
	}
	for i, a := range places {
		for j, b := range places {
			if i != j { // along streets, as cables lie
				n.distance[i][j] = time.Duration(float64(farthest) * (abs(a.x-b.x) + abs(a.y-b.y)) / 2)
			}
		}
	}
	return n, nil
}

func abs(x float64) float64 { return max(x, -x) }

// Site returns the site of a number, from 0.
func (n *Net) Site(number int) *Site { return n.sites[number] }

// Part puts sites on an island: they reach each other and nobody else. Island 0 is
// where all are at first.
func (n *Net) Part(island int32, sites ...int) {
	for _, s := range sites {
		n.sites[s].island.Store(island)
	}
}

// A packet is a datagram under way.
type packet struct {
	bytes    []byte
	from, to netip.AddrPort
	site     *Site // where it was sent
}

// leave takes a packet from a site's link up to the other end of its way.
func (s *Site) leave(k packet) {
	to, ok := s.net.port(k.to.Addr())
	if !ok {
		s.net.nowhere.Add(1)
		return
	}
	far := to.Site()
	if !s.reaches(far) {
		s.severed.Add(1)
		return
	}
	time.AfterFunc(onGrid(s.net.distance[s.number][far.number]), func() {
		if !s.reaches(far) { // cut meanwhile
			s.severed.Add(1)
			return
		}
		far.down.offer(k)
	})
}

func (s *Site) reaches(other *Site) bool { return s.island.Load() == other.island.Load() }

// deliver puts a packet into the socket that it is for.
func (n *Net) deliver(k packet) {
	p, ok := n.port(k.to.Addr())
	if !ok || !p.take(k) {
		n.nowhere.Add(1)
	}
}

func (n *Net) port(a netip.Addr) (*Port, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	p, ok := n.ports[a]
	return p, ok
}

// A Traffic is what a line carried, by Class.
type Traffic [classes]struct{ Packets, Bytes int64 }

// Total returns the bytes of all classes.
func (t Traffic) Total() int64 {
	var sum int64
	for _, c := range t {
		sum += c.Bytes
	}
	return sum
}

// A Tally is what the lines of a site carried, and what they dropped.
type Tally struct {
	Up, Down, LAN Traffic
	// Dropped has the packets that found no room in a queue, Lost those that chance
	// took, Cut those that met a partition.
	Dropped, Lost, Cut int64
}

// Tally returns what the site's lines carried so far.
func (s *Site) Tally() Tally {
	var t Tally
	for _, d := range []struct {
		of   *pipe
		into *Traffic
	}{{s.up, &t.Up}, {s.down, &t.Down}} {
		for c, n := range d.of.counts() {
			d.into[c].Packets, d.into[c].Bytes = int64(n.Delivered.Packets), int64(n.Delivered.Bytes)
			t.Dropped += int64(n.Full.Packets)
			t.Lost += int64(n.Lost.Packets)
		}
	}
	for c := range s.lan {
		t.LAN[c].Packets, t.LAN[c].Bytes = s.lan[c].packets.Load(), s.lan[c].bytes.Load()
	}
	t.Cut = s.severed.Load()
	return t
}

// Set changes the site's access link, both directions.
func (s *Site) Set(access wan.Settings) error {
	return errors.Join(s.up.set(access), s.down.set(access))
}

// send takes a packet from a port of this site.
func (s *Site) send(k packet) {
	to, ok := s.net.port(k.to.Addr())
	if ok && to.Site() == s {
		c := &s.lan[classOf(k.bytes)]
		c.packets.Add(1)
		c.bytes.Add(int64(len(k.bytes) + headers))
		time.AfterFunc(onGrid(lanDelay), func() { s.net.deliver(k) })
		return
	}
	s.up.offer(k)
}

// A Port is where a node is plugged in: an address at a site, which may change. It
// is the node's network (node.Network).
type Port struct {
	net *Net

	mu      sync.RWMutex
	site    *Site
	addr    netip.Addr
	sockets map[uint16]*socket
	last    uint16 // port number given out to who asked for any
}

// Plug returns a port with an address at a site.
func (n *Net) Plug(site int, a netip.Addr) (*Port, error) {
	p := &Port{net: n, site: n.sites[site], addr: a, sockets: make(map[uint16]*socket), last: 49151}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ports[a] != nil {
		return nil, fmt.Errorf("plug in at %s: the address is taken", a)
	}
	n.ports[a] = p
	return p, nil
}

// Move unplugs a port and plugs it in at another site, with another address: what
// is under way to the old one arrives nowhere. Sockets stay open.
func (p *Port) Move(site int, a netip.Addr) error {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	if p.net.ports[a] != nil {
		return fmt.Errorf("move to %s: the address is taken", a)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.net.ports, p.addr)
	p.net.ports[a] = p
	p.site, p.addr = p.net.sites[site], a
	return nil
}

// Site returns where the port is now.
func (p *Port) Site() *Site {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.site
}

// Addr returns the address that the port has now.
func (p *Port) Addr() netip.Addr {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.addr
}

// Addrs implements node.Network.
func (p *Port) Addrs() ([]net.Addr, error) {
	return []net.Addr{&net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(16, 32)}}, nil
}

// ListenUDP implements node.Network.
func (p *Port) ListenUDP(_ string, laddr *net.UDPAddr) (net.PacketConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	number := uint16(laddr.Port)
	for number == 0 {
		if p.last++; p.last == 0 {
			p.last = 49152
		}
		if p.sockets[p.last] == nil {
			number = p.last
		}
	}
	if p.sockets[number] != nil {
		return nil, fmt.Errorf("listen on %s: the port is taken", laddr)
	}
	s := newSocket(p, number)
	p.sockets[number] = s
	return s, nil
}

// take puts a packet into its socket.
func (p *Port) take(k packet) bool {
	p.mu.RLock()
	s := p.sockets[k.to.Port()]
	p.mu.RUnlock()
	return s != nil && s.put(k)
}

func (p *Port) close(number uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sockets, number)
}

package meter

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// A Kind is what a network interface is.
type Kind uint8

const (
	Ethernet Kind = iota + 1
	WiFi
	Cellular
	Virtual // a bridge, a tunnel, a container's end: what is behind it is unknown
	Loopback
)

// String returns the kind as it stands in the CLI and in metrics.
func (k Kind) String() string {
	switch k {
	case Ethernet:
		return "ethernet"
	case WiFi:
		return "wifi"
	case Cellular:
		return "cellular"
	case Virtual:
		return "virtual"
	case Loopback:
		return "loopback"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// real returns the speed, absent if the interface has no wire to have it.
func (k Kind) real(speed Reading[bandwidth.Rate]) Reading[bandwidth.Rate] {
	if k == Virtual || k == Loopback {
		return Reading[bandwidth.Rate]{}
	}
	return speed
}

// An Interface is where packets leave this host.
type Interface struct {
	Name  string
	Index int
	// Addrs are the addresses that it has now.
	Addrs []netip.Addr
	Kind  Reading[Kind]
	// Down and Up are the speed of its own wire or air, an upper bound for what is
	// behind it. A Virtual interface has none: drivers make one up (10 Gbit/s for a
	// container's end, 10 Mbit/s for a tunnel on Linux).
	Down, Up Reading[bandwidth.Rate]

	hardware net.HardwareAddr
}

// Toward returns the interface that packets to addr leave by, and the local
// address that they bear. It sends none. Routes change: ask again every few
// seconds.
func Toward(addr netip.Addr) (Interface, netip.Addr, error) {
	// Connecting a UDP socket only looks up the route, on every OS.
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 9)))
	if err != nil {
		return Interface{}, netip.Addr{}, fmt.Errorf("find the route to %s: %w", addr, err)
	}
	defer c.Close()
	local := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	all, err := net.Interfaces()
	if err != nil {
		return Interface{}, local, fmt.Errorf("find the route to %s: %w", addr, err)
	}
	for _, n := range all {
		addrs, err := n.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		i := Interface{Name: n.Name, Index: n.Index, hardware: n.HardwareAddr}
		found := false
		for _, a := range addrs {
			if ipnet, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(ipnet.IP); ok {
					i.Addrs = append(i.Addrs, ip.Unmap())
					// All of 127.0.0.0/8 is local, and only 127.0.0.1 is listed.
					found = found || ip.Unmap() == local.WithZone("") ||
						local.IsLoopback() && n.Flags&net.FlagLoopback != 0
				}
			}
		}
		if found {
			i.describe()
			kind, _ := i.Kind.Value()
			i.Down, i.Up = kind.real(i.Down), kind.real(i.Up)
			return i, local, nil
		}
	}
	return Interface{}, local, fmt.Errorf("find the route to %s: no interface has %s", addr, local)
}

// Bytes are counts of one interface or connection, seen from this host.
type Bytes struct{ In, Out uint64 }

// Plus adds two counts.
func (b Bytes) Plus(c Bytes) Bytes { return Bytes{b.In + c.In, b.Out + c.Out} }

// Since returns how many came since an earlier count. A counter that went back
// began anew, so all that it shows is new.
func (b Bytes) Since(earlier Bytes) Bytes {
	since := func(now, then uint64) uint64 {
		if now < then {
			return now
		}
		return now - then
	}
	return Bytes{since(b.In, earlier.In), since(b.Out, earlier.Out)}
}

// Others returns what of an interface's bytes over some time was not ours, given
// what our sockets carried over the same time.
//
// An interface counts headers too: 14 bytes of Ethernet, 20 to 40 of IP, 20 of TCP
// and 12 of its timestamps to 1448 or less of payload, 5 % with IPv4 and 6 % with
// IPv6, and in the other direction an acknowledgement of 66 bytes for each two
// packets, 2.3 %; one flow of IPv4 over 100 Mbit/s had 4.0 % and 1.9 % (TCP gathers
// acknowledgements). Offloading hides some of them from some counters. Ours are taken
// at their most, so that none of them passes for somebody else's: others that
// use less than a sixteenth of what we do may not be seen.
func Others(total, own Bytes) Bytes {
	rest := func(total, same, opposite uint64) uint64 {
		ours := same + same/16 + opposite/40
		return total - min(ours, total)
	}
	return Bytes{In: rest(total.In, own.In, own.Out), Out: rest(total.Out, own.Out, own.In)}
}

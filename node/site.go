package node

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/discovery/site"
)

// openSite makes the service that knows who is at this node's site.
func (n *Node) openSite() (err error) {
	n.site, err = site.New(n.host, n.protocol(), site.Config{
		Site: n.cfg.Site, Map: n.cfg.Sites, Credential: n.admittedAt, Report: n.selfReport,
		Addrs: func() []netip.Prefix { return ownNetworks(n.cfg.Network) },
		Dial:  func(ctx context.Context, p peer.AddrInfo) { n.keeper.dial(ctx, p) },
	}, n.log.Named("site"))
	if err == nil && n.cfg.SitesFile != "" {
		n.loadSites()
	}
	return err
}

// admittedAt returns the site in the credential of a connected peer, or of this node.
func (n *Node) admittedAt(p peer.ID) (string, bool) {
	if p == n.host.ID() {
		return n.identity.Credential().Site, true
	}
	c, ok := n.admission.Of(p)
	return c.Site, ok
}

// selfReport returns what this node tells its site of itself.
func (n *Node) selfReport() site.Report {
	free, err := n.store.Free()
	if err != nil {
		free = 0
	}
	mains, wired := true, true
	if n.cfg.Network == nil {
		mains, wired = onMains(powerSupplies), onWire(netDevices, outgoing())
	}
	return site.Report{Name: n.identity.Credential().Name, Started: n.started, Mains: mains, Wired: wired, Willing: true, Free: free}
}

// ownNetworks returns the addresses of this machine with their prefixes, that of the
// default route first: the bridges of containers are the same on every machine.
func ownNetworks(on Network) []netip.Prefix {
	addrs, err := interfaceAddrs(on)
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			ip, valid := netip.AddrFromSlice(n.IP)
			if bits, _ := n.Mask.Size(); valid {
				out = append(out, netip.PrefixFrom(ip.Unmap(), bits))
			}
		}
	}
	if on != nil {
		return out
	}
	first := outgoing()
	slices.SortStableFunc(out, func(a, b netip.Prefix) int {
		switch {
		case a.Addr() == b.Addr():
			return 0
		case a.Addr() == first:
			return -1
		case b.Addr() == first:
			return 1
		}
		return 0
	})
	return out
}

// outgoing returns the address of this machine from which the default route leads;
// the zero value if there is none. Connecting a UDP socket sends nothing, and the
// address is one that nobody has (RFC 5737).
func outgoing() netip.Addr {
	c, err := net.Dial("udp4", "192.0.2.1:9")
	if err != nil {
		return netip.Addr{}
	}
	defer c.Close()
	if u, ok := c.LocalAddr().(*net.UDPAddr); ok {
		return u.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// Where Linux tells of power and of network devices. Elsewhere nothing is there, and
// a machine counts as one on mains and on a wire.
const (
	powerSupplies = "/sys/class/power_supply"
	netDevices    = "/sys/class/net"
)

// onMains reports whether no battery is being emptied.
func onMains(supplies string) bool {
	states, _ := filepath.Glob(filepath.Join(supplies, "*", "status"))
	for _, f := range states {
		if b, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(b)) == "Discharging" {
			// A mouse has a battery too; what feeds the machine says so.
			scope, _ := os.ReadFile(filepath.Join(filepath.Dir(f), "scope"))
			if strings.TrimSpace(string(scope)) != "Device" {
				return false
			}
		}
	}
	return true
}

// onWire reports whether the interface with this address isn't a wireless one.
func onWire(devices string, addr netip.Addr) bool {
	ifaces, err := net.Interfaces()
	if err != nil || !addr.IsValid() {
		return true
	}
	for _, i := range ifaces {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.Equal(addr.AsSlice()) {
				_, err := os.Stat(filepath.Join(devices, i.Name, "wireless"))
				return err != nil
			}
		}
	}
	return true
}

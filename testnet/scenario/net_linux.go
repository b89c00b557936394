package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// A Net is a set of network namespaces. Everything it makes lies inside of them,
// so that removing them removes it all, and nothing of the host's own network is
// touched. Names carry the process id: what a killed process left behind is
// removed by the next one. Its parts may be made by several goroutines.
type Net struct {
	prefix string

	mu     sync.Mutex
	spaces []*Space
	links  int
}

const netPrefix = "p2pnode-"

var nets atomic.Int32 // of this process, to name them

// NewNet returns an empty Net. It needs root and iproute2.
func NewNet() (*Net, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("make network namespaces: only root can")
	}
	if _, err := Reap(); err != nil {
		return nil, err
	}
	return &Net{prefix: fmt.Sprintf("%s%d-%d-", netPrefix, os.Getpid(), nets.Add(1))}, nil
}

// Reap removes the namespaces of processes that are gone, and returns how many.
func Reap() (n int, err error) {
	entries, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("look for old namespaces: %w", err)
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), netPrefix)
		id, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(id)
		if !ours || err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		// Another process may be reaping too.
		if err := ip("netns", "del", e.Name()); err != nil && exists("/run/netns/"+e.Name()) {
			return n, err
		}
		n++
	}
	return n, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Close removes every namespace. End the processes in them first.
func (n *Net) Close() error {
	n.mu.Lock()
	spaces := n.spaces
	n.spaces = nil
	n.mu.Unlock()
	var errs []error
	for _, s := range spaces {
		errs = append(errs, ip("netns", "del", s.name))
	}
	return errors.Join(errs...)
}

// A Space is one network namespace: a host, a router, or the switch of a LAN.
type Space struct {
	name string
}

// Space makes a namespace that has nothing but its loopback.
func (n *Net) Space(name string) (*Space, error) {
	s := &Space{name: n.prefix + name}
	if err := ip("netns", "add", s.name); err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.spaces = append(n.spaces, s)
	n.mu.Unlock()
	return s, s.ip("link", "set", "lo", "up")
}

// Name returns the namespace's name, as `ip netns` lists it.
func (s *Space) Name() string { return s.name }

func (s *Space) argv(argv []string) []string {
	return append([]string{"ip", "netns", "exec", s.name}, argv...)
}

func (s *Space) ip(args ...string) error { return ip(append([]string{"-n", s.name}, args...)...) }

// Forward makes a router of s.
func (s *Space) Forward() error { return s.set("ipv4/ip_forward", "1") }

// NoIPv6 takes IPv6 from what s has and gets, as from a container.
func (s *Space) NoIPv6() error {
	return errors.Join(s.set("ipv6/conf/all/disable_ipv6", "1"), s.set("ipv6/conf/default/disable_ipv6", "1"))
}

// set writes a setting below /proc/sys/net, which shows the namespace of whoever
// opens it.
func (s *Space) set(name, value string) error {
	return run(s.argv([]string{"sh", "-c", "echo " + value + " >/proc/sys/net/" + name})...)
}

// Route sends what goes to a prefix ("default" for all) by way of a neighbour. TCP
// on that way is CUBIC, as most machines': a host with BBR would pass that on, and
// what others feel of a full link would be something else.
func (s *Space) Route(to string, via netip.Addr) error {
	return s.ip("route", "replace", to, "via", via.String(), "congctl", "cubic")
}

// A LAN is a switch and the hosts on it: one broadcast domain, one subnet.
type LAN struct {
	net    *Net
	hub    *Space
	Prefix netip.Prefix
}

// LAN makes a switch for the subnet.
func (n *Net) LAN(name string, subnet netip.Prefix) (*LAN, error) {
	hub, err := n.Space(name)
	if err != nil {
		return nil, err
	}
	l := &LAN{net: n, hub: hub, Prefix: subnet}
	// A switch has no address, and says nothing of its own.
	return l, errors.Join(hub.NoIPv6(), hub.ip("link", "add", "br0", "type", "bridge"), hub.ip("link", "set", "br0", "up"))
}

// A Port is a host's interface on a LAN.
type Port struct {
	space *Space
	lan   *LAN
	dev   string // its name, and that of the socket in the switch
	addr  netip.Prefix
}

// Join gives s an interface on the LAN, with the subnet's address number host.
func (l *LAN) Join(s *Space, host int) (*Port, error) {
	l.net.mu.Lock()
	l.net.links++
	dev := fmt.Sprintf("eth%d", l.net.links)
	l.net.mu.Unlock()
	p := &Port{space: s, lan: l, dev: dev}
	err := errors.Join(
		ip("link", "add", dev, "netns", s.name, "type", "veth", "peer", "name", dev, "netns", l.hub.name),
		l.hub.ip("link", "set", dev, "master", "br0", "up"),
	)
	if err == nil {
		err = errors.Join(p.Readdress(l.Host(host)), p.Up())
	}
	return p, err
}

// Host returns address number host of the subnet.
func (l *LAN) Host(host int) netip.Prefix {
	a := l.Prefix.Addr().As4()
	a[3] += byte(host)
	return netip.PrefixFrom(netip.AddrFrom4(a), l.Prefix.Bits())
}

// Device returns the interface's name.
func (p *Port) Device() string { return p.dev }

// Addr returns the interface's address.
func (p *Port) Addr() netip.Prefix { return p.addr }

// Plug and Unplug are what happens to the cable: the interface has a carrier or
// not, and keeps its address and routes.
func (p *Port) Plug() error   { return p.lan.hub.ip("link", "set", p.dev, "up") }
func (p *Port) Unplug() error { return p.lan.hub.ip("link", "set", p.dev, "down") }

// Carry brings the host to another LAN, where it has another address. It has no
// routes beyond that LAN then.
func (p *Port) Carry(to *LAN, addr netip.Prefix) error {
	err := errors.Join(p.Unplug(), p.space.ip("addr", "flush", "dev", p.dev))
	if err == nil {
		err = p.lan.hub.ip("link", "set", p.dev, "netns", to.hub.name)
	}
	if err != nil {
		return err
	}
	p.lan, p.addr = to, netip.Prefix{}
	return errors.Join(to.hub.ip("link", "set", p.dev, "master", "br0", "up"), p.Readdress(addr))
}

// Up and Down turn the interface itself on and off. One that is off has no
// routes, nor has it when it is on again.
func (p *Port) Up() error   { return p.space.ip("link", "set", p.dev, "up") }
func (p *Port) Down() error { return p.space.ip("link", "set", p.dev, "down") }

// Readdress gives the interface another address instead of the one it has.
func (p *Port) Readdress(addr netip.Prefix) error {
	if p.addr.IsValid() {
		if err := p.space.ip("addr", "del", p.addr.String(), "dev", p.dev); err != nil {
			return err
		}
	}
	p.addr = addr
	return p.space.ip("addr", "add", addr.String(), "dev", p.dev)
}

// Limit bounds what the interface sends, in bits per second. The buffer holds 50
// ms at that rate.
func (p *Port) Limit(bitsPerSecond int) error { return limit(p.space, p.dev, bitsPerSecond) }

// LimitSwitch bounds what the switch sends to the interface, the same way. It is
// gone when the host is carried elsewhere.
func (p *Port) LimitSwitch(bitsPerSecond int) error { return limit(p.lan.hub, p.dev, bitsPerSecond) }

func limit(s *Space, dev string, bitsPerSecond int) error {
	return run("tc", "-n", s.name, "qdisc", "replace", "dev", dev, "root", "tbf",
		"rate", strconv.Itoa(bitsPerSecond)+"bit", "burst", "256kb", "latency", "50ms")
}

// Acquaint has all of these ports, which are on one LAN, know each other's hardware
// addresses for good. The kernel has one table of neighbours for all namespaces: it
// holds 1,024 that were asked for (net.ipv4.neigh.default.gc_thresh3), which forty
// hosts that all speak with each other are past, and fixed ones on top. It takes from
// them that a host which has gone is noticed by its silence to ARP.
func Acquaint(ports []*Port) error {
	var all strings.Builder
	for _, p := range ports {
		text, err := exec.Command("ip", "-n", p.space.name, "-brief", "link", "show", "dev", p.dev).Output()
		if err != nil {
			return fmt.Errorf("hardware address of %s in %s: %w", p.dev, p.space.name, err)
		}
		fields := strings.Fields(string(text)) // eth1@if2 UP 02:fc:00:00:00:01 <...>
		if len(fields) < 3 {
			return fmt.Errorf("hardware address of %s in %s: %q", p.dev, p.space.name, text)
		}
		fmt.Fprintf(&all, "neigh replace %s lladdr %s nud permanent dev \n", p.addr.Addr(), fields[2])
	}
	for _, p := range ports {
		cmd := exec.Command("ip", "-n", p.space.name, "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(all.String(), "dev \n", "dev "+p.dev+"\n"))
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("neighbours of %s: %w: %s", p.space.name, err, text)
		}
	}
	return nil
}

func ip(args ...string) error { return run(append([]string{"ip"}, args...)...) }

func run(argv ...string) error {
	if text, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, text)
	}
	return nil
}

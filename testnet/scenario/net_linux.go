package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// A Net is a set of network namespaces. Everything it makes lies inside of them,
// so that removing them removes it all, and nothing of the host's own network is
// touched. Names carry the process id: what a killed process left behind is
// removed by the next one.
type Net struct {
	prefix string
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
	if err := reap(); err != nil {
		return nil, err
	}
	return &Net{prefix: fmt.Sprintf("%s%d-%d-", netPrefix, os.Getpid(), nets.Add(1))}, nil
}

// reap removes the namespaces of processes that are gone.
func reap() error {
	entries, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look for old namespaces: %w", err)
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), netPrefix)
		id, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(id)
		if !ours || err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		if err := ip("netns", "del", e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// Close removes every namespace. End the processes in them first.
func (n *Net) Close() error {
	var errs []error
	for _, s := range n.spaces {
		errs = append(errs, ip("netns", "del", s.name))
	}
	n.spaces = nil
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
	n.spaces = append(n.spaces, s)
	return s, s.ip("link", "set", "lo", "up")
}

func (s *Space) argv(argv []string) []string {
	return append([]string{"ip", "netns", "exec", s.name}, argv...)
}

func (s *Space) ip(args ...string) error { return ip(append([]string{"-n", s.name}, args...)...) }

// Forward makes a router of s.
func (s *Space) Forward() error {
	// /proc/sys/net shows the namespace of whoever opens it.
	return run(s.argv([]string{"sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"})...)
}

// Route sends what goes to a prefix ("default" for all) by way of a neighbour.
func (s *Space) Route(to string, via netip.Addr) error {
	return s.ip("route", "replace", to, "via", via.String())
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
	return l, errors.Join(hub.ip("link", "add", "br0", "type", "bridge"), hub.ip("link", "set", "br0", "up"))
}

// A Port is a host's interface on a LAN.
type Port struct {
	space *Space
	dev   string
	addr  netip.Prefix
}

// Join gives s an interface on the LAN, with the subnet's address number host.
func (l *LAN) Join(s *Space, host int) (*Port, error) {
	l.net.links++
	dev := fmt.Sprintf("eth%d", l.net.links)
	p := &Port{space: s, dev: dev}
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

// Up and Down do what plugging in and pulling out the cable do.
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
func (p *Port) Limit(bitsPerSecond int) error {
	return run("tc", "-n", p.space.name, "qdisc", "replace", "dev", p.dev, "root", "tbf",
		"rate", strconv.Itoa(bitsPerSecond)+"bit", "burst", "256kb", "latency", "50ms")
}

func ip(args ...string) error { return run(append([]string{"ip"}, args...)...) }

func run(argv ...string) error {
	if text, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, text)
	}
	return nil
}

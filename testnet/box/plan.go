package box

import (
	"fmt"
	"net/netip"

	"github.com/p2pnode/p2pnode/testnet/wan"
)

// HQ is the site where the enterprise begins: that of Publisher and Operator.
const (
	HQ        = "hq"
	Publisher = "publisher"
	Operator  = "operator"
)

// Port is where every node of the box listens, on TCP and UDP.
const Port = 4740

// Classes are what each link counts apart, in both directions: what nodes send
// each other, and what a load generator sends (testnet/foreground). Anything else
// stands under wan.Other.
var Classes = []wan.Class{
	{Name: ClassP2P, Port: Port},
	{Name: ClassForeground, Port: ForegroundPort},
}

// Names of Classes, and the port of a load generator's server.
const (
	ClassP2P        = "p2pnode"
	ClassForeground = "foreground"
	ForegroundPort  = 4799
)

// Limits of a Plan. The names of branches are single letters.
const (
	MaxBranches = 26
	MaxPeers    = 200
)

// A Plan says what stands in the box.
type Plan struct {
	Branches int // beside HQ: branch-a, branch-b, ...
	Peers    int // endpoints of each: branch-a-1, branch-a-2, ...

	// Up is what a branch's link does on the way to the WAN, Down on the way from
	// it; HQUp and HQDown the same of HQ. The zero value hands on everything at once.
	Up, Down     wan.Settings
	HQUp, HQDown wan.Settings

	// Disk is the size of each endpoint's data folder, in bytes, which is a file
	// system of its own then. 0: as large as the machine's disk.
	Disk int64

	Flags []string // behind `p2pnode run`, for all nodes
	Seed  uint64   // of everything random
}

// Check returns an error that says what is wrong with the plan.
func (p Plan) Check() error {
	switch {
	case p.Branches < 1 || p.Branches > MaxBranches:
		return fmt.Errorf("%d branches: want 1 to %d", p.Branches, MaxBranches)
	case p.Peers < 1 || p.Peers > MaxPeers:
		return fmt.Errorf("%d endpoints in a branch: want 1 to %d", p.Peers, MaxPeers)
	case p.Disk < 0:
		return fmt.Errorf("a disk of %d bytes: want 0 for no bound, or more", p.Disk)
	}
	return nil
}

// Sites returns the names of all sites, HQ first.
func (p Plan) Sites() []string {
	sites := []string{HQ}
	for i := range p.Branches {
		sites = append(sites, Branch(i))
	}
	return sites
}

// Branch returns the name of a branch, the first being 0.
func Branch(i int) string { return fmt.Sprintf("branch-%c", 'a'+i) }

// Endpoint returns the name of an endpoint, the first being 1.
func Endpoint(site string, n int) string { return fmt.Sprintf("%s-%d", site, n) }

// A Place is where a node begins.
type Place struct {
	Node, Site string
	Addr       netip.Prefix
}

// Places returns all nodes: the publisher, the operator, then endpoints by branch.
func (p Plan) Places() []Place {
	places := []Place{{Publisher, HQ, Addr(0, 1)}, {Operator, HQ, Addr(0, 2)}}
	for i, site := range p.Sites() {
		for n := 1; i > 0 && n <= p.Peers; n++ {
			places = append(places, Place{Endpoint(site, n), site, Addr(i, n)})
		}
	}
	return places
}

// Every site has a subnet, 10.77.1.0/24 being HQ's, and 10.77.0.0/24 is the WAN.
// The first ten addresses of each are left to whoever makes the network.
const (
	firstHost = 10
	lastHost  = 254 // the router's
)

// Subnet returns the subnet of a site by its place in Sites.
func Subnet(site int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(site + 1), 0}), 24)
}

// WAN returns the subnet of the WAN.
func WAN() netip.Prefix { return Subnet(-1) }

// Addr returns the address of host n of a site, counted from 1.
func Addr(site, n int) netip.Prefix { return at(Subnet(site), firstHost+n) }

// Gateway returns the address of a site's router on its LAN, WANAddr the one it
// has on the WAN.
func Gateway(site int) netip.Prefix { return at(Subnet(site), lastHost) }

// WANAddr returns the address of a site's router on the WAN.
func WANAddr(site int) netip.Prefix { return at(WAN(), firstHost+site) }

func at(subnet netip.Prefix, host int) netip.Prefix {
	a := subnet.Addr().As4()
	a[3] = byte(host)
	return netip.PrefixFrom(netip.AddrFrom4(a), subnet.Bits())
}

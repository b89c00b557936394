package box

import (
	"net/netip"
	"testing"
)

// Whatever a plan allows, no two things have the same name or address, and every
// address is one of its site.
func TestPlacesAreApart(t *testing.T) {
	p := Plan{Branches: MaxBranches, Peers: MaxPeers}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	index := map[string]int{}
	names, addrs := map[string]bool{}, map[netip.Addr]bool{}
	for i, site := range p.Sites() {
		index[site] = i
		for _, a := range []netip.Prefix{Gateway(i), WANAddr(i)} {
			if addrs[a.Addr()] {
				t.Errorf("%s: %v is given twice", site, a)
			}
			addrs[a.Addr()] = true
		}
		if !Subnet(i).Contains(Gateway(i).Addr()) || !WAN().Contains(WANAddr(i).Addr()) {
			t.Errorf("%s: its router is at %v and %v", site, Gateway(i), WANAddr(i))
		}
	}
	places := p.Places()
	if want := 2 + MaxBranches*MaxPeers; len(places) != want {
		t.Errorf("%d places, want %d", len(places), want)
	}
	for _, place := range places {
		if names[place.Node] || addrs[place.Addr.Addr()] {
			t.Errorf("%s at %v is there twice", place.Node, place.Addr)
		}
		names[place.Node], addrs[place.Addr.Addr()] = true, true
		if !Subnet(index[place.Site]).Contains(place.Addr.Addr()) {
			t.Errorf("%s is at %v, not in the subnet of %s", place.Node, place.Addr, place.Site)
		}
	}
}

func TestPlanSaysWhatIsWrong(t *testing.T) {
	for _, p := range []Plan{{}, {Branches: 27, Peers: 1}, {Branches: 1}, {Branches: 1, Peers: 201}, {Branches: 1, Peers: 1, Disk: -1}} {
		if p.Check() == nil {
			t.Errorf("%+v passes", p)
		}
	}
}

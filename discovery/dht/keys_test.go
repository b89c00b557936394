package dht

import (
	"fmt"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/content"
)

func TestDerivedKeysStayWhatTheyAre(t *testing.T) {
	key := content.NameKey("image")
	for _, c := range []struct {
		what string
		got  content.Hash
		want content.Hash
	}{
		{"site", SiteKey(key, "b-17"), content.Sum([]byte("p2pnode held at site\x00b-17\x00" + string(key[:])))},
		{"region", RegionKey(key, "b-17"), content.Sum([]byte("p2pnode held in region\x00b-17\x00" + string(key[:])))},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
	all := []content.Hash{key, SiteKey(key, "a"), SiteKey(key, "b"), SiteKey(content.NameKey("a"), "a"), RegionKey(key, "a")}
	for i, k := range all {
		if slices.Contains(all[:i], k) {
			t.Errorf("key %d is another's too", i)
		}
	}
}

func TestWhoAnnouncesUnderWhichKey(t *testing.T) {
	key := content.NameKey("image")
	seats := []peer.ID{"d1", "d2", "d3"}
	slices.SortFunc(seats, func(a, b peer.ID) int {
		return Holder{Peer: a, Delegates: seats}.seat(key) - Holder{Peer: b, Delegates: seats}.seat(key)
	})
	const plain, site, region = "plain ", "site ", "region "
	for _, c := range []struct {
		name   string
		h      Holder
		want   string
		speaks bool
	}{
		{"publisher", Holder{Peer: "x", Publisher: true, Delegates: seats, Nodes: 100_000}, site + plain, true},
		{"publisher, size not known", Holder{Peer: "x", Publisher: true, Delegates: seats}, site + plain, true},
		{"no delegates", Holder{Peer: "x", Nodes: 100_000}, site + plain, true},
		{"few nodes: a member", Holder{Peer: "x", Delegates: seats, Nodes: 1000}, site + plain, false},
		{"few nodes: the last delegate", Holder{Peer: seats[2], Delegates: seats, Members: 3, Nodes: 1000}, site + plain, true},
		{"many nodes: a member", Holder{Peer: "x", Region: "r", Delegates: seats, Nodes: 100_000_000}, site, false},
		{"many nodes: first delegate", Holder{Peer: seats[0], Region: "r", Delegates: seats, Members: 100, Nodes: 100_000}, site + region + plain, true},
		{"many nodes: second delegate", Holder{Peer: seats[1], Region: "r", Delegates: seats, Members: 100, Nodes: 100_000}, site, true},
		{"many nodes: second delegate of a large site", Holder{Peer: seats[1], Delegates: seats, Members: 200, Nodes: 100_000}, site + plain, true},
		{"size not known: first delegate", Holder{Peer: seats[0], Region: "r", Delegates: seats, Members: 100}, site + region, true},
		{"size not known: a member", Holder{Peer: "x", Region: "r", Delegates: seats}, site, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.h.Site = "b-17"
			got := ""
			for _, k := range c.h.Keys(key) {
				got += map[content.Hash]string{key: plain, SiteKey(key, "b-17"): site, RegionKey(key, "r"): region}[k]
			}
			if got != c.want {
				t.Errorf("announces under %q, want %q", got, c.want)
			}
			if c.h.Speaks() != c.speaks {
				t.Errorf("tells of chunks: %v, want %v", c.h.Speaks(), c.speaks)
			}
		})
	}
}

func TestSharesAreTakenByTheirSize(t *testing.T) {
	key := content.NameKey("image")
	const n = 20_000
	for _, share := range []float64{0.1, 0.5, 0.9} {
		got := 0
		for i := range n {
			h := Holder{Peer: peer.ID(fmt.Sprint("m", i)), Delegates: []peer.ID{"d"}, Nodes: int(plainHolders / share)}
			if h.Plain(key) {
				got++
			}
		}
		if f := float64(got) / n; f < share-0.02 || f > share+0.02 {
			t.Errorf("%.3f of the nodes announce, want %.1f", f, share)
		}
	}
}

// Everybody holds one content; each table line is an enterprise. The estimate of
// its size is off by a fifth either way, from node to node.
func TestNoKeyHasManyProviders(t *testing.T) {
	key := content.NameKey("image")
	for _, c := range []struct {
		sites, nodes  int // nodes of a site
		regions       int
		plain, region int // providers at most
		least         int // of the plain key
	}{
		{sites: 1, nodes: 50, regions: 1, plain: 50, region: 1, least: 50},
		{sites: 50, nodes: 20, regions: 5, plain: 1000, region: 10, least: 800},
		{sites: 1000, nodes: 3, regions: 10, plain: 1400, region: 100, least: 900},
		{sites: 1000, nodes: 100, regions: 10, plain: 2100, region: 100, least: 1700},
		{sites: 100, nodes: 1000, regions: 10, plain: 1400, region: 10, least: 1000},
		{sites: 33_000, nodes: 3, regions: 100, plain: 1300, region: 330, least: 800},
	} {
		t.Run(fmt.Sprintf("%dx%d", c.sites, c.nodes), func(t *testing.T) {
			providers := make(map[content.Hash]int)
			plainSites := 0
			for s := range c.sites {
				h := Holder{Site: fmt.Sprint("s", s), Region: fmt.Sprint("r", s%c.regions), Members: c.nodes}
				name := func(i int) peer.ID { return peer.ID(fmt.Sprintf("s%d-%d", s, i)) }
				for i := range min(3, c.nodes) {
					h.Delegates = append(h.Delegates, name(i))
				}
				before := providers[key]
				for i := range c.nodes {
					h.Peer, h.Publisher = name(i), s == 0 && i == 0
					h.Nodes = int(float64(c.sites*c.nodes) * (0.8 + 0.4*lot(h.Peer, content.NameKey("estimate"))))
					for _, k := range h.Keys(key) {
						providers[k]++
					}
				}
				if providers[key] > before {
					plainSites++
				}
			}
			most := 0
			for k, n := range providers {
				if k != key {
					most = max(most, n)
				}
			}
			t.Logf("%d nodes: plain key %d providers of %d sites, a derived key %d at most", c.sites*c.nodes, providers[key], plainSites, most)
			if n := providers[key]; n > c.plain || n < c.least {
				t.Errorf("the plain key has %d providers, want %d to %d", n, c.least, c.plain)
			}
			if most != max(c.nodes, c.region) {
				t.Errorf("a derived key has %d providers, want %d", most, max(c.nodes, c.region))
			}
		})
	}
}

package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery/site"
	"github.com/p2pnode/p2pnode/node"
	"github.com/p2pnode/p2pnode/testnet/wan"
)

// delegates returns whom a node took for the delegates of its site last, as it logs
// them.
func (e *Enterprise) delegates(n *Node) []string {
	var last Line
	for _, l := range e.Heard.Find("delegates of this site", time.Time{}) {
		if l.Node == n.Name {
			last = l
		}
	}
	var ids []string
	if all, ok := last.Fields["peer"].([]any); ok {
		for _, id := range all {
			ids = append(ids, fmt.Sprint(id))
		}
	}
	return ids
}

// agree reports whether nodes have the same delegates, so many and none of these.
func (e *Enterprise) agree(nodes []*Node, want int, none ...*Node) bool {
	first := e.delegates(nodes[0])
	if len(first) != want || slices.ContainsFunc(none, func(n *Node) bool { return slices.Contains(first, n.ID()) }) {
		return false
	}
	return !slices.ContainsFunc(nodes, func(n *Node) bool { return !slices.Equal(e.delegates(n), first) })
}

// planner returns which of some nodes, all of one site, plans a content there.
func (s *tale) planner(nodes []*Node, what string) *Node {
	id, err := content.ParseID(what)
	if err != nil {
		s.Fatal(err)
	}
	var delegates []peer.ID
	for _, d := range s.delegates(nodes[0]) {
		p, err := peer.Decode(d)
		if err != nil {
			s.Fatal(err)
		}
		delegates = append(delegates, p)
	}
	p, _ := site.Planner(id, delegates)
	return nodes[slices.IndexFunc(nodes, func(n *Node) bool { return n.ID() == p.String() })]
}

// tellOf runs a story of an enterprise of its own in virtual time.
func tellOf(t *testing.T, sites, perSite int, story func(*tale)) {
	access, err := wan.Parse("rate=20mbit buffer=100ms delay=5ms")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		e, err := New(t.Context(), Plan{Sites: sites, PerSite: perSite, Access: access, Seed: 1, Dir: dir})
		if e == nil {
			t.Fatal(err)
		}
		defer func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute) // as in tell
		}()
		if err != nil {
			t.Fatal(err)
		}
		story(&tale{T: t, Enterprise: e, began: time.Now()})
	})
}

// The nodes of a site agree on three delegates. One that is carried away without a word
// is missed before two seconds are over by those who fetch what it plans, who get it;
// and it is a member where it comes to.
func TestDelegateThatMovesIsMissedInTwoSeconds(t *testing.T) {
	tellOf(t, 2, 6, func(s *tale) {
		s.random, s.texts = rand.New(rand.NewPCG(s.Seed, 7)), map[string][]byte{}
		hq, branch := s.nodes[0], s.nodes[1]
		agreed := s.until(20*time.Second, "both sites agree on their delegates", func() bool {
			return s.agree(hq, 3) && s.agree(branch, 3)
		})
		time.Sleep(10 * time.Second) // they have said so
		gone := s.planner(branch, s.publish("image", 8<<20))
		others := slices.DeleteFunc(slices.Clone(branch), func(n *Node) bool { return n == gone })
		var g errgroup.Group
		for _, n := range others {
			g.Go(func() error { _, err := s.get(n, "image"); return err })
		}
		time.Sleep(time.Second) // of the 3.4 that the link takes for it
		s.Net.Part(1, 0)        // not even a farewell gets through
		if err := gone.Port.Move(0, Address(0, 210)); err != nil {
			s.Fatal(err)
		}
		missed := s.until(2*time.Second, "the others miss it", func() bool { return s.agree(others, 3, gone) })
		s.Net.Part(0, 0)
		moved := s.until(10*time.Second, "it is at the other site", func() bool {
			st, err := gone.API().Status(s.Context())
			return err == nil && st.Site == siteName(0)
		})
		met := s.until(20*time.Second, "it has the delegates of its new site", func() bool { return s.agree(append(slices.Clone(hq), gone), 3) })
		if err := g.Wait(); err != nil {
			s.Error(err)
		}
		s.report("delegates", "agreed on after %s; one that moved was missed after %s, at the other site after %s, and agreed with it after %s more", agreed, missed, moved, met)
	})
}

// Two nodes of a site that know nobody but the issuer, elsewhere, find each other by
// the key of their site: a site may have more subnets than multicast crosses.
func TestStrangersOfASiteMeetByTheDHT(t *testing.T) {
	tellOf(t, 2, 1, func(s *tale) {
		if err := s.Delegate(1).stop(); err != nil { // it serves the DHT, and would be found
			s.Fatal(err)
		}
		var strangers []*Node
		for i := range 2 {
			n := s.outsider(1, 100+i)
			n.Name, n.sites = fmt.Sprint("stranger-", i), s.Map
			n.log = s.Heard.logger(n.Name)
			if err := s.enrol(s.Context(), n); err != nil {
				s.Fatal(err)
			}
			if err := n.start(node.Config{DHT: node.DHTClient}); err != nil {
				s.Fatal(err)
			}
			strangers = append(strangers, n)
		}
		met := s.until(5*time.Minute, "they have met", func() bool { return s.agree(strangers, 2) })
		s.report("strangers", "met after %s", met)
		for _, n := range strangers {
			if err := n.stop(); err != nil {
				s.Error(err)
			}
		}
	})
}

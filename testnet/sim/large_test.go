package sim

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// shape returns how many sites of how many nodes: P2PNODE_SIM_SHAPE, as in 2x200.
func shape(t *testing.T) (sites, perSite int) {
	sites, perSite = 2, 8
	if s := os.Getenv("P2PNODE_SIM_SHAPE"); s != "" {
		if n, err := fmt.Sscanf(s, "%dx%d", &sites, &perSite); n != 2 || err != nil || sites < 1 || perSite < 2 {
			t.Fatalf("P2PNODE_SIM_SHAPE is %q: want SITESxNODES, as in 2x200", s)
		}
	}
	return sites, perSite
}

// All nodes of a site want one content at once: all get it, little of it more than
// once over the WAN.
func TestEveryoneAtALargeSiteGetsAContent(t *testing.T) {
	const size = 4 << 20
	sites, perSite := shape(t)
	before := used()
	tellOf(t, sites, perSite, func(s *tale) {
		s.random, s.texts = rand.New(rand.NewPCG(s.Seed, 7)), map[string][]byte{}
		joined := s.since(s.began)
		time.Sleep(30 * time.Second) // its members are in touch
		ends, most := 0, 0
		for _, n := range s.All() {
			c := len(s.peers(n))
			ends += c
			most = max(most, c)
		}
		s.report("in touch", "%d nodes joined after %s, with %d connections, at most %d at one node", len(s.All()), joined, ends/2, most)
		s.publish("image", size)
		wanted := s.nodes[sites-1]
		if sites == 1 {
			wanted = wanted[1:] // the first publishes
		}
		from := s.Net.Site(sites - 1).Tally()
		took := make(spread, len(wanted))
		var far atomic.Int64 // bytes of it that came from the other site
		var g errgroup.Group
		for i, n := range wanted {
			g.Go(func() error {
				d, got, err := s.bring(n, "image")
				took[i] = d
				far.Add(got.From.WAN + got.Wasted.Total())
				return err
			})
		}
		if err := g.Wait(); err != nil {
			s.Fatalf("seed %d: %v", s.Seed, err)
		}
		to := s.Net.Site(sites - 1).Tally()
		all := float64(to.Down.Total()-from.Down.Total()) / size
		copies := float64(far.Load()) / size
		s.report("everyone has it", "%d nodes: %s; %.2f copies over the WAN, %.2f with all that nodes say to each other", len(wanted), took, copies, all)
		if sites > 1 && (copies > 1.03 || all > 2) {
			s.Errorf("seed %d: %.2f copies over the WAN, %.2f with what nodes say to each other", s.Seed, copies, all)
		}
	})
	t.Logf("%-24s %s", "cost", used().since(before, sites*perSite))
}

package site

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Whatever happened to the nodes of two sites, once it is over and they are connected
// somehow, all of a site agree, are in touch with their delegates, and stay so.
func TestAnyHistoryEndsInAgreement(t *testing.T) {
	histories := 60
	if raced {
		histories = 10
	}
	for seed := range histories {
		w := newWorld(t, uint64(seed))
		var told []string
		for i := range 14 {
			w.join(i, nil)
		}
		for step := range 80 {
			a, b := w.any(), w.any()
			what := w.rand.IntN(10)
			switch what {
			case 0, 1, 2:
				w.connect(a.id, b.id)
			case 3:
				if c := a.conns[b.id]; c != nil {
					w.cut(c)
				}
			case 4:
				if step%4 == 0 {
					w.crash(a, w.rand.IntN(2) == 0)
					w.join(100+step, func(m *Member) { m.Home = w.rand.IntN(4) > 0 })
				}
			case 5:
				parted := w.rand.IntN(14)
				w.apart = func(a, b peer.ID) bool { return (a < testID(parted)) != (b < testID(parted)) }
			case 6:
				w.apart = func(a, b peer.ID) bool { return false }
			case 7:
				me := a.self
				me.Mains, me.Wired, me.Uptime = w.rand.IntN(3) > 0, w.rand.IntN(3) > 0, Uptime(w.rand.IntN(3))
				a.be(a.site, me, w.now)
				w.step(a)
			case 8:
				a.be([]string{"here", "there"}[w.rand.IntN(2)], a.self, w.now)
				w.step(a)
			case 9: // it lost its stream and nothing else
				if c := a.conns[b.id]; c != nil && c.stream && !a.dead && !b.dead {
					c.stream = false
					a.closed(b.id, w.now)
					b.closed(a.id, w.now)
					w.step(a)
					w.step(b)
				}
			}
			told = append(told, fmt.Sprintf("%s: %d of %s and %s", w.now.Sub(w.began), what, a.self.Name, b.self.Name))
			w.run(time.Duration(w.rand.ExpFloat64() * float64(time.Second)))
		}
		w.apart = func(a, b peer.ID) bool { return false }
		sites := make(map[string][]*actor)
		for _, id := range w.ids {
			if a := w.actors[id]; !a.dead {
				sites[a.site] = append(sites[a.site], a)
			} else {
				for _, other := range w.ids { // the connections of the dead time out
					if c := a.conns[other]; c != nil {
						w.cut(c)
					}
				}
			}
		}
		for _, members := range sites {
			for i, a := range members[1:] {
				w.connect(a.id, members[w.rand.IntN(i+1)].id)
			}
		}
		w.run(30 * time.Second)
		for site, members := range sites {
			of := func(a *actor) bool { return a.site == site }
			chosen, problem := w.agree(of)
			for _, a := range members {
				for _, d := range chosen {
					if d != a.id && !(a.conns[d] != nil && a.conns[d].stream) && problem == "" {
						problem = fmt.Sprintf("%s has no stream with delegate %s", a.self.Name, w.actors[d].self.Name)
					}
				}
				if sits := slices.Contains(chosen, a.id); sits == a.self.Sits.IsZero() && problem == "" {
					problem = fmt.Sprintf("%s is a delegate: %v, and says %v", a.self.Name, sits, a.self.Sits)
				}
			}
			w.run(20 * time.Second)
			if again, p := w.agree(of); problem == "" && (p != "" || !slices.Equal(again, chosen)) {
				problem = fmt.Sprintf("%q became %q: %s", chosen, again, p)
			}
			if problem != "" || len(chosen) != min(Seats, len(members)) {
				t.Fatalf("seed %d, site %s of %d: %q, %s\n%s", seed, site, len(members), chosen, problem, strings.Join(told, "\n"))
			}
		}
	}
}

// any returns a live actor.
func (w *world) any() *actor {
	for {
		if a := w.actors[w.ids[w.rand.IntN(len(w.ids))]]; !a.dead {
			return a
		}
	}
}

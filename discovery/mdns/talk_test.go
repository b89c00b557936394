package mdns

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// A subnet is nodes that hear each other without delay or loss, and counts
// their packets. It is played in virtual time.
type subnet struct {
	now   time.Time
	nodes []*talk
	asks  int
	says  int
	seed  uint64
}

func newSubnet(seed uint64) *subnet {
	return &subnet{now: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC), seed: seed}
}

func (s *subnet) join() *talk {
	n := len(s.nodes)
	t := newTalk(s.now, fmt.Sprintf("node%d", n), rand.New(rand.NewPCG(s.seed, uint64(n))))
	s.nodes = append(s.nodes, t)
	return t
}

// play lets time pass.
func (s *subnet) play(d time.Duration) {
	for end := s.now.Add(d); ; {
		next := end
		for _, t := range s.nodes {
			if at := t.next(); at.Before(next) {
				next = at
			}
		}
		if next.After(s.now) {
			s.now = next
		}
		if !next.Before(end) {
			return
		}
		for _, t := range s.nodes {
			if t.next().After(s.now) {
				continue
			}
			for _, a := range t.due(s.now) {
				s.tell(t, a)
			}
		}
	}
}

func (s *subnet) tell(from *talk, a act) {
	var m message
	if a == ask {
		s.asks++
		m.asks = true
		for _, n := range from.known(s.now) {
			m.known = append(m.known, n.instance)
		}
	} else {
		s.says++
		m.says = []saying{{instance: from.instance, life: recordLife, info: peer.AddrInfo{ID: peer.ID(from.instance)}}}
	}
	for _, t := range s.nodes {
		t.hear(s.now, m)
	}
}

// rate returns the packets per second during d.
func (s *subnet) rate(d time.Duration) float64 {
	before := s.asks + s.says
	s.play(d)
	return float64(s.asks+s.says-before) / d.Seconds()
}

func TestEveryoneHearsOfEveryoneAtOnce(t *testing.T) {
	s := newSubnet(1)
	for range 10 {
		s.join()
	}
	s.play(announceWithin)
	for _, n := range s.nodes {
		if len(n.neighbours) != 9 {
			t.Errorf("%s knows %d", n.instance, len(n.neighbours))
		}
	}
	s.play(10 * time.Second)
	late := s.join()
	s.play(2 * time.Second) // those who held back are asked again
	if len(late.neighbours) != 10 {
		t.Errorf("who comes late knows %d", len(late.neighbours))
	}
	for _, n := range s.nodes {
		if n != late && n.neighbours[late.instance] == nil {
			t.Errorf("%s doesn't know who came late", n.instance)
		}
	}
}

func TestTrafficDoesNotGrowWithTheSquareOfTheNodes(t *testing.T) {
	for _, c := range []struct {
		nodes  int
		steady float64 // packets per second at most, after the start
	}{{2, 0.1}, {20, 1}, {40, 1}, {300, 1}} {
		s := newSubnet(uint64(c.nodes))
		for range c.nodes {
			s.join()
		}
		start := s.rate(30 * time.Second)
		steady := s.rate(10 * time.Minute)
		t.Logf("%4d nodes started together: %.1f packets/s in the first 30 s, then %.2f (libp2p's service: %.0f)", c.nodes, start, steady, 0.067*float64(c.nodes*c.nodes))
		if steady > c.steady {
			t.Errorf("%d nodes: %.2f packets/s", c.nodes, steady)
		}
		for _, n := range s.nodes {
			if len(n.neighbours) < min(c.nodes-1, enoughAnswers) {
				t.Fatalf("%s knows %d after ten minutes", n.instance, len(n.neighbours))
			}
		}
	}
}

func TestNeighboursAreForgottenWhenTheyFallSilent(t *testing.T) {
	s := newSubnet(2)
	a, b := s.join(), s.join()
	s.play(time.Second)
	if a.neighbours[b.instance] == nil {
		t.Fatal("b isn't known")
	}
	s.nodes = s.nodes[:1]
	s.play(recordLife + 2*askEvery)
	if len(a.neighbours) != 0 {
		t.Error("b is still known")
	}
	s.nodes = append(s.nodes, b)
	s.play(2 * askEvery)
	if a.neighbours[b.instance] == nil {
		t.Error("b isn't known again")
	}
	a.hear(s.now, message{says: []saying{{instance: b.instance}}})
	if len(a.neighbours) != 0 {
		t.Error("b said farewell and is still known")
	}
}

func TestFoundAreToldAgainButNotAllTheTime(t *testing.T) {
	now := time.Now()
	a := newTalk(now, "a", rand.New(rand.NewPCG(1, 1)))
	b := message{says: []saying{{instance: "b", life: recordLife, info: peer.AddrInfo{ID: "b"}}}}
	told := 0
	for range 61 {
		told += len(a.hear(now, b))
		now = now.Add(time.Second)
	}
	if told != 4 {
		t.Errorf("told %d times in a minute", told)
	}
}

func TestAFloodOfForgeriesFillsABoundedTable(t *testing.T) {
	now := time.Now()
	a := newTalk(now, "a", rand.New(rand.NewPCG(1, 1)))
	for i := range 100 * maxNeighbours {
		a.hear(now, message{asks: true, says: []saying{{instance: fmt.Sprint(i), life: recordLife, info: peer.AddrInfo{ID: "x"}}}})
	}
	if len(a.neighbours) > maxNeighbours {
		t.Errorf("%d neighbours", len(a.neighbours))
	}
	// Nor does it make us talk: one answer a second at most.
	says := 0
	for end := now.Add(10 * time.Second); now.Before(end); now = now.Add(10 * time.Millisecond) {
		a.hear(now, message{asks: true})
		for _, act := range a.due(now) {
			if act == say {
				says++
			}
		}
	}
	if says > 12 {
		t.Errorf("said %d times in 10 s", says)
	}
}

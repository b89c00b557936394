package mdns

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// A subnet is nodes that hear each other, some milliseconds later and not always.
// It is played in virtual time, a millisecond at once, and knows when each packet
// was sent.
type subnet struct {
	air
	random *rand.Rand
	at     time.Duration // since the beginning
	nodes  []*station
	plan   map[time.Duration][]func() // what happens in which millisecond
	sent   []time.Duration            // packets, in order
}

// The air is what is between nodes.
type air struct {
	loss  float64       // of packets, for each node that would hear them
	delay time.Duration // of packets, at most
	// only6 is the share of nodes without IPv4; the others have both.
	only6 float64
}

// A station is a node of a subnet, and when it knew how many others.
type station struct {
	*talk
	id      peer.ID
	only6   bool
	began   time.Duration
	planned time.Duration // when it is to be asked next
	knew    map[int]time.Duration
}

// tick is as exact as a subnet's clock is.
const tick = time.Millisecond

var epoch = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func newSubnet(seed uint64, a air) *subnet {
	return &subnet{air: a, random: rand.New(rand.NewPCG(seed, 0)), plan: make(map[time.Duration][]func())}
}

func (s *subnet) now() time.Time { return epoch.Add(s.at) }

// in has something happen later.
func (s *subnet) in(d time.Duration, f func()) {
	at := (s.at + d + tick - 1).Truncate(tick)
	s.plan[at] = append(s.plan[at], f)
}

// join adds a node. The first three are the delegates.
func (s *subnet) join() *station {
	n := &station{id: peer.ID(fmt.Sprintf("peer%d", len(s.nodes)))}
	s.nodes = append(s.nodes, n)
	s.start(n)
	return n
}

// start makes a node begin anew, under another name.
func (s *subnet) start(n *station) {
	index := slices.Index(s.nodes, n)
	random := rand.New(rand.NewPCG(s.random.Uint64(), 0))
	n.talk = newTalk(s.now(), fmt.Sprintf("node%dx%x", index, random.Uint32()), n.only6, func() bool { return index < 3 }, random)
	n.began, n.planned, n.knew = s.at, -1, make(map[int]time.Duration)
	s.wake(n, n.talk)
}

// stop makes a node leave.
func (s *subnet) stop(n *station) {
	if n.parts() {
		s.tell(n, message{says: []saying{{instance: n.instance}}}, true)
	}
	n.talk = nil
}

// wake has a node's talk asked when it wants to be.
func (s *subnet) wake(n *station, t *talk) {
	at := max((t.next().Sub(epoch) + tick - 1).Truncate(tick), s.at)
	if at == n.planned {
		return
	}
	n.planned = at
	s.in(at-s.at, func() {
		if n.talk != t || n.planned != s.at {
			return
		}
		n.planned = -1
		for _, a := range t.due(s.now()) {
			s.tell(n, n.says(a.what, s.now()), a.wide)
		}
		s.wake(n, t)
	})
}

// says returns the packet of an act.
func (n *station) says(w what, now time.Time) message {
	m := message{says: []saying{{instance: n.instance, life: recordLife, info: peer.AddrInfo{ID: n.id}}}}
	if w == ask {
		m.asks, m.known = true, []string{n.instance}
		for _, k := range n.known(now) {
			m.known = append(m.known, k.instance)
		}
	}
	return m
}

// tell sends a packet, by both IP versions if wide and the node has both.
func (s *subnet) tell(from *station, m message, wide bool) {
	if !from.only6 {
		s.send(from, m, false)
	}
	if from.only6 || wide {
		s.send(from, m, true)
	}
}

// send sends a packet by one IP version to those who have it.
func (s *subnet) send(from *station, m message, six bool) {
	s.sent = append(s.sent, s.at)
	from.hear(s.now(), m, six) // packets come back
	// Those who hear it in the same millisecond do it at once.
	late := make([][]*station, s.delay/tick+1)
	for _, n := range s.nodes {
		if n == from || n.only6 && !six || s.loss > 0 && s.random.Float64() < s.loss {
			continue
		}
		i := s.random.IntN(len(late))
		late[i] = append(late[i], n)
	}
	for i, those := range late {
		s.in(time.Duration(i)*tick, func() {
			for _, n := range those {
				s.hear(n, m, six && !n.only6)
			}
		})
	}
}

func (s *subnet) hear(n *station, m message, aside bool) {
	if n.talk == nil {
		return
	}
	n.hear(s.now(), m, aside)
	for _, many := range []int{1, enoughAnswers, enoughToAsk} {
		if _, ok := n.knew[many]; !ok && len(n.neighbours) >= min(many, len(s.nodes)-1) {
			n.knew[many] = s.at - n.began
		}
	}
	s.wake(n, n.talk)
}

// play lets time pass.
func (s *subnet) play(d time.Duration) {
	for end := s.at + d; s.at < end; s.at += tick {
		for len(s.plan[s.at]) > 0 {
			todo := s.plan[s.at]
			delete(s.plan, s.at)
			for _, f := range todo {
				f()
			}
		}
	}
}

// worst returns the most packets in any second from a time on.
func (s *subnet) worst(from time.Duration) int {
	most, first := 0, 0
	for i, at := range s.sent {
		for s.sent[first] <= at-time.Second {
			first++
		}
		if s.sent[first] >= from {
			most = max(most, i-first+1)
		}
	}
	return most
}

// count returns the packets in the last d.
func (s *subnet) count(d time.Duration) int {
	n := 0
	for _, at := range s.sent {
		if at >= s.at-d {
			n++
		}
	}
	return n
}

// took returns, sorted, how long after its start each of some nodes knew so many
// others: never, if it doesn't yet.
func took(of []*station, many int) []time.Duration {
	var all []time.Duration
	for _, n := range of {
		d, ok := n.knew[many]
		if !ok {
			d = never
		}
		all = append(all, d)
	}
	slices.Sort(all)
	return all
}

const never = time.Hour

// islands returns into how many groups the nodes fall that know nobody in another.
func (s *subnet) islands() int {
	group := make(map[peer.ID]peer.ID)
	var root func(peer.ID) peer.ID
	root = func(p peer.ID) peer.ID {
		if up, ok := group[p]; ok && up != p {
			group[p] = root(up)
			return group[p]
		}
		return p
	}
	for _, n := range s.nodes {
		for _, k := range n.neighbours {
			group[root(n.id)] = root(k.info.ID)
		}
	}
	roots := make(map[peer.ID]bool)
	for _, n := range s.nodes {
		roots[root(n.id)] = true
	}
	return len(roots)
}

// A beginning is how the nodes of a subnet come to be there.
type beginning string

const (
	atOnce   beginning = "at once" // after a power cut
	together beginning = "within a second"
	spread   beginning = "over a minute"
	restarts beginning = "one restarts every 3 s" // for two minutes, after five
)

// begin has so many nodes start.
func (s *subnet) begin(nodes int, how beginning) {
	var within time.Duration
	switch how {
	case spread:
		within = time.Minute
	case together, restarts:
		within = time.Second
	}
	for i := range nodes {
		s.nodes = append(s.nodes, &station{id: peer.ID(fmt.Sprintf("peer%d", i)), only6: s.random.Float64() < s.only6})
	}
	for _, n := range s.nodes {
		s.in(time.Duration(s.random.Int64N(int64(within)+1)), func() { s.start(n) })
	}
	s.play(within + tick)
}

// An outcome is what there is to say of a beginning.
type outcome struct {
	worst   int             // packets in the worst second
	first   int             // packets in the first minute
	steady  float64         // packets a second in the two minutes at the end
	know8   []time.Duration // how soon each knew so many others
	know16  []time.Duration
	islands int
}

// live plays what follows on a beginning.
func (s *subnet) live(nodes int, how beginning, settle time.Duration) outcome {
	s.begin(nodes, how)
	var o outcome
	watched := s.nodes
	if how == spread { // the last quarter: the first can't know others before those are there
		watched = slices.Clone(s.nodes)
		slices.SortFunc(watched, func(a, b *station) int { return cmp.Compare(a.began, b.began) })
		watched = watched[len(watched)*3/4:]
	}
	s.play(time.Minute - min(s.at, time.Minute))
	o.first = len(s.sent)
	if how == spread {
		s.play(10 * time.Second)
	}
	o.worst = s.worst(0)
	s.play(settle)
	if how == restarts {
		watched = nil
		from := s.at
		for range 40 {
			n := s.nodes[s.random.IntN(len(s.nodes))]
			s.stop(n)
			s.start(n)
			watched = append(watched, n)
			s.play(3 * time.Second)
		}
		o.worst = s.worst(from)
	}
	o.steady = float64(s.count(2*time.Minute)) / 120
	s.play(15 * time.Second) // for the last
	o.know8, o.know16, o.islands = took(watched, enoughAnswers), took(watched, enoughToAsk), s.islands()
	return o
}

// P2PNODE_MDNS=full has every size live through every beginning, on every air; it
// takes a minute, and the table in README.md is what it logs.
func TestASubnetOfAnySizeKeepsToItsBudget(t *testing.T) {
	airs := []air{{loss: 0, delay: 5 * tick}, {loss: 0.1, delay: 5 * tick}, {loss: 0.1, delay: 10 * tick, only6: 0.2}}
	type life struct {
		nodes int
		how   beginning
		air
	}
	var lives []life
	if os.Getenv("P2PNODE_MDNS") == "full" {
		for _, nodes := range []int{2, 20, 50, 100, 300, 1000, 3000} {
			for _, how := range []beginning{atOnce, together, spread, restarts} {
				for _, a := range airs {
					lives = append(lives, life{nodes, how, a})
				}
			}
		}
	} else {
		lives = []life{
			{2, together, airs[0]}, {20, atOnce, airs[1]}, {20, restarts, airs[0]}, {50, together, airs[2]}, {100, spread, airs[1]}, {300, restarts, airs[1]},
			{1000, atOnce, airs[0]}, {1000, together, airs[1]},
		}
	}
	t.Logf("| nodes | start | loss, %% | IPv6 only, %% | packets, worst second | first minute | a second later on | 8 known: half, all | 16 known: half, all |")
	for _, l := range lives {
		var settle time.Duration
		if l.nodes <= 300 || len(lives) > 10 {
			settle = 4 * time.Minute
		}
		const seed = 1
		s := newSubnet(seed, l.air)
		o := s.live(l.nodes, l.how, settle)
		half := func(all []time.Duration) time.Duration { return all[len(all)/2] }
		last := func(all []time.Duration) time.Duration { return all[len(all)-1] }
		t.Logf("| %d | %s | %.0f | %.0f | %d | %d | %.2f | %.1f, %.1f s | %.1f, %.1f s |", l.nodes, l.how, 100*l.loss, 100*l.only6, o.worst, o.first, o.steady,
			half(o.know8).Seconds(), last(o.know8).Seconds(), half(o.know16).Seconds(), last(o.know16).Seconds())
		if o.worst > 20 {
			t.Errorf("seed %d, %d nodes %s: %d packets in one second", seed, l.nodes, l.how, o.worst)
		}
		if l.how != restarts && settle > 0 && o.steady > 2 {
			t.Errorf("seed %d, %d nodes %s: %.2f packets a second later on", seed, l.nodes, l.how, o.steady)
		}
		if o.islands != 1 {
			t.Errorf("seed %d, %d nodes %s: fell into %d islands", seed, l.nodes, l.how, o.islands)
		}
		if d := half(o.know8); d > 5*time.Second {
			t.Errorf("seed %d, %d nodes %s: half of them knew 8 others after %s", seed, l.nodes, l.how, d)
		}
		if d := last(o.know8); d > 15*time.Second {
			t.Errorf("seed %d, %d nodes %s: all of them knew 8 others after %s", seed, l.nodes, l.how, d)
		}
		if d := half(o.know16); d > 15*time.Second {
			t.Errorf("seed %d, %d nodes %s: half of them knew 16 others after %s", seed, l.nodes, l.how, d)
		}
	}
}

// Whoever knows the other dials it.
func TestTwoNodesMeetWithinHalfASecond(t *testing.T) {
	for seed := range uint64(200) {
		s := newSubnet(seed, air{delay: 5 * tick})
		a := s.join()
		if seed%2 == 0 {
			s.play(time.Duration(seed) * 10 * time.Millisecond)
		}
		b := s.join()
		s.play(500 * time.Millisecond)
		if len(a.neighbours)+len(b.neighbours) == 0 {
			t.Errorf("seed %d: neither knows the other after 500 ms", seed)
		}
	}
}

// Eight answers are enough to a question, so of ten nodes one may be left out until
// it is reminded of.
func TestEveryoneAtASmallSiteHearsOfEveryone(t *testing.T) {
	for seed := range uint64(20) {
		s := newSubnet(seed, air{delay: 5 * tick})
		for range 10 {
			s.join()
		}
		s.play(5 * time.Second)
		late := s.join()
		s.play(5 * time.Second)
		for _, n := range s.nodes {
			if n.neighbours[late.instance] == nil && n != late || len(n.neighbours) < 9 {
				t.Errorf("seed %d: %s knows %d after 5 s", seed, n.instance, len(n.neighbours))
			}
		}
		s.play(2*remindAfter + askEvery)
		for _, n := range s.nodes {
			if len(n.neighbours) != 10 {
				t.Errorf("seed %d: %s knows %d in the end", seed, n.instance, len(n.neighbours))
			}
		}
	}
}

func TestThoseWithoutIPv4AreFound(t *testing.T) {
	s := newSubnet(1, air{delay: 5 * tick})
	a, b := s.join(), s.join()
	s.play(time.Minute)
	six := &station{id: "six", only6: true}
	s.nodes = append(s.nodes, six)
	s.start(six)
	s.play(5 * time.Second)
	c := s.join()
	s.play(5 * time.Second)
	for _, n := range []*station{a, b, six, c} {
		if len(n.neighbours) != 3 {
			t.Errorf("%s knows %d", n.id, len(n.neighbours))
		}
	}
}

func TestNeighboursAreForgottenWhenTheyFallSilent(t *testing.T) {
	s := newSubnet(2, air{delay: tick})
	a, b := s.join(), s.join()
	s.play(2 * time.Second)
	if len(a.neighbours) != 1 || len(b.neighbours) != 1 {
		t.Fatal("they don't know each other")
	}
	b.talk = nil
	s.play(recordLife + 2*askEvery)
	if len(a.neighbours) != 0 {
		t.Error("b is still known")
	}
	s.start(b)
	s.play(2 * askEvery)
	if a.neighbours[b.instance] == nil {
		t.Error("b isn't known again")
	}
	s.stop(b)
	s.play(time.Second)
	if len(a.neighbours) != 0 {
		t.Error("b said farewell and is still known")
	}
}

// A restarted node has another name, and is one node all the same.
func TestARestartedNodeIsKnownOnce(t *testing.T) {
	s := newSubnet(3, air{delay: tick})
	a, b := s.join(), s.join()
	s.play(2 * time.Second)
	s.start(b) // as after a crash: without farewell
	s.play(2 * time.Second)
	if len(a.neighbours) != 1 || a.neighbours[b.instance] == nil {
		t.Errorf("a knows %d, b anew: %v", len(a.neighbours), a.neighbours[b.instance] != nil)
	}
}

func TestOfMoreThanAFewNobodySaysFarewell(t *testing.T) {
	for nodes, want := range map[int]int{5: 10, 40: 0} { // by both IP versions
		s := newSubnet(4, air{delay: tick})
		s.begin(nodes, together)
		s.play(time.Minute)
		before := len(s.sent)
		for _, n := range s.nodes {
			s.stop(n)
		}
		if said := len(s.sent) - before; said != want {
			t.Errorf("%d nodes said %d farewells, not %d", nodes, said, want)
		}
	}
}

func TestInACrowdDelegatesAnswerFirst(t *testing.T) {
	s := newSubnet(5, air{delay: 5 * tick})
	s.begin(100, together)
	s.play(3 * time.Minute)
	first := 0
	for range 20 {
		late := &station{id: "late"}
		s.nodes = append(s.nodes, late)
		s.start(late)
		for len(late.neighbours) < 3 {
			s.play(tick)
		}
		for _, d := range s.nodes[:3] {
			if late.neighbours[d.instance] != nil {
				first++
			}
		}
		s.play(5 * time.Second)
		late.talk = nil
		s.nodes = s.nodes[:100]
	}
	if first < 40 {
		t.Errorf("of the first three known each time, %d of 60 were delegates", first)
	}
}

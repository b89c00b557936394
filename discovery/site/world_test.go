package site

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A world is cores that speak with each other over links of a millisecond, in
// virtual time.
type world struct {
	t        testing.TB
	rand     *rand.Rand
	began    time.Time
	now      time.Time
	queue    events
	serial   int
	actors   map[peer.ID]*actor
	ids      []peer.ID          // sorted
	admitted map[peer.ID]string // the site of a credential
	frames   map[kind]int
	bytes    int
	dials    int
	apart    func(a, b peer.ID) bool // can't reach each other
}

// An actor is a core with the connections of its node.
type actor struct {
	*core
	id    peer.ID
	dead  bool
	conns map[peer.ID]*wire
	timer time.Time
}

// A wire is a connection of two; stream counts the streams there were.
type wire struct {
	a, b   peer.ID
	up     bool
	stream bool
}

type occasion struct {
	at     time.Time
	serial int
	do     func()
}

type events []occasion

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].serial < q[j].serial
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(occasion)) }
func (q *events) Pop() any {
	o := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return o
}

const hop = time.Millisecond

func newWorld(t testing.TB, seed uint64) *world {
	now := time.Unix(1_700_000_000, 0)
	return &world{t: t, rand: rand.New(rand.NewPCG(seed, 1)), began: now, now: now, actors: make(map[peer.ID]*actor), frames: make(map[kind]int), admitted: make(map[peer.ID]string), apart: func(a, b peer.ID) bool { return false }}
}

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.queue, occasion{w.now.Add(d), w.serial, do})
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.queue) > 0 && !w.queue[0].at.After(end) {
		o := heap.Pop(&w.queue).(occasion)
		w.now = o.at
		o.do()
	}
	w.now = end
}

// testID makes a peer id that can be decoded, of a number.
func testID(n int) peer.ID {
	return peer.ID("\x00\x08" + fmt.Sprintf("%08d", n)) // an identity multihash
}

func (w *world) join(n int, change func(*Member)) *actor {
	id := testID(n)
	m := Member{Peer: id, Home: true, Addrs: []ma.Multiaddr{ma.StringCast(fmt.Sprintf("/ip4/10.0.%d.%d/tcp/4740", n>>8, n&255))}}
	m.Report = Report{Name: fmt.Sprint("n", n), Started: w.now, Mains: true, Wired: true, Willing: true, Free: 1 << 40}
	if change != nil {
		change(&m)
	}
	w.admitted[id] = "here"
	if !m.Home {
		w.admitted[id] = "elsewhere"
	}
	a := &actor{core: newCore("here", m, func(p peer.ID) string { return w.admitted[p] }, w.now), id: id, conns: make(map[peer.ID]*wire)}
	w.actors[id] = a
	at, _ := slices.BinarySearch(w.ids, id)
	w.ids = slices.Insert(w.ids, at, id)
	w.step(a)
	return a
}

func (w *world) connect(a, b peer.ID) {
	x, y := w.actors[a], w.actors[b]
	if a == b || x == nil || y == nil || x.dead || y.dead || x.conns[b] != nil || w.apart(a, b) {
		return
	}
	c := &wire{a: a, b: b, up: true}
	x.conns[b], y.conns[a] = c, c
	x.connected(b, w.now)
	y.connected(a, w.now)
	w.step(x)
	w.step(y)
}

func (w *world) cut(c *wire) {
	if !c.up {
		return
	}
	c.up, c.stream = false, false
	x, y := w.actors[c.a], w.actors[c.b]
	delete(x.conns, c.b)
	delete(y.conns, c.a)
	for _, e := range []struct {
		a *actor
		p peer.ID
	}{{x, c.b}, {y, c.a}} {
		if !e.a.dead {
			e.a.disconnected(e.p, w.now)
			w.step(e.a)
		}
	}
}

// crash ends a node; its connections are closed if it dies cleanly, else the others
// don't hear of it.
func (w *world) crash(a *actor, clean bool) {
	a.dead = true
	if clean {
		for _, p := range w.ids {
			if c := a.conns[p]; c != nil {
				w.cut(c)
			}
		}
	}
}

// step ticks a core and does what it wants done.
func (w *world) step(a *actor) {
	if a.dead {
		return
	}
	next := a.tick(w.now)
	for _, e := range a.effects() {
		w.perform(a, e)
	}
	if next.IsZero() {
		return
	}
	a.timer = next
	w.after(max(0, next.Sub(w.now)), func() {
		if !a.dead && a.timer.Equal(next) {
			w.step(a)
		}
	})
}

func (w *world) perform(a *actor, e effect) {
	c := a.conns[e.to]
	switch e.do {
	case doDial:
		w.dials++
		w.after(2*hop, func() { w.connect(a.id, e.to) })
	case doSend:
		w.frames[e.kind]++
		w.bytes += len(e.frame)
		w.after(hop, func() {
			if to := w.actors[e.to]; c != nil && c.up && c.stream && !to.dead {
				if err := to.frame(a.id, e.frame[2:], w.now); err != nil {
					w.t.Errorf("%s: %v", a.self.Name, err)
				}
				if !to.idle() {
					w.step(to)
				}
			}
		})
	case doOpen:
		w.after(hop, func() {
			if c == nil || !c.up || c.stream {
				return
			}
			to := w.actors[e.to]
			if to.dead || a.dead {
				return
			}
			c.stream = true
			a.opened(e.to, w.now)
			to.opened(a.id, w.now)
			w.step(a)
			w.step(to)
		})
	case doClose:
		w.after(2*hop, func() { // what was said before arrives
			if c == nil || !c.up || !c.stream {
				return
			}
			c.stream = false
			for _, x := range []*actor{a, w.actors[e.to]} {
				other := e.to
				if x != a {
					other = a.id
				}
				if !x.dead {
					x.closed(other, w.now)
					w.step(x)
				}
			}
		})
	}
}

// agree returns the delegates if all live nodes have the same, and are in touch with
// them; else what is wrong.
func (w *world) agree(among func(*actor) bool) (delegates []peer.ID, problem string) {
	first := true
	for _, id := range w.ids {
		a := w.actors[id]
		if a.dead || !among(a) {
			continue
		}
		if first {
			delegates, first = a.chosen, false
		}
		if !slices.Equal(a.chosen, delegates) {
			return nil, fmt.Sprintf("%s has %q, others %q", a.self.Name, a.chosen, delegates)
		}
	}
	for _, d := range delegates {
		if w.actors[d].dead {
			return nil, fmt.Sprintf("%s is dead", w.actors[d].self.Name)
		}
	}
	return delegates, ""
}

func everyone(*actor) bool { return true }

// settled lets time pass until all agree, and returns how long it took.
func (w *world) settled(limit time.Duration, among func(*actor) bool) time.Duration {
	w.t.Helper()
	for began := w.now; ; w.run(10 * time.Millisecond) {
		_, problem := w.agree(among)
		if problem == "" {
			return w.now.Sub(began)
		}
		if w.now.Sub(began) > limit {
			w.t.Fatalf("no agreement after %s: %s", limit, problem)
		}
	}
}

// crowd makes a site of n nodes, each of which is told of k others.
func (w *world) crowd(n, k int) {
	for i := range n {
		w.join(i, nil)
	}
	for i := 1; i < n; i++ {
		w.connect(testID(i), testID(w.rand.IntN(i))) // in one piece
		for range k - 1 {
			w.connect(testID(i), testID(w.rand.IntN(n)))
		}
	}
}

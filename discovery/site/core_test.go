package site

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestSiteAgreesOnItsDelegates(t *testing.T) {
	sizes := []int{1, 2, 3, 5, 50}
	if !raced {
		sizes = append(sizes, 200)
	}
	if os.Getenv("P2PNODE_SIM") == "full" {
		sizes = append(sizes, 1000) // in ten seconds
	}
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, uint64(n))
			w.crowd(n, min(8, n))
			took := w.settled(20*time.Second, everyone)
			w.run(2 * settle)
			chosen, problem := w.agree(everyone)
			if problem != "" || len(chosen) != min(n, Seats) {
				t.Fatalf("%q, %s", chosen, problem)
			}
			joined := fmt.Sprintf("agreed after %s, %d dials, %s", took, w.dials, w.said())
			w.frames, w.bytes = make(map[kind]int), 0
			w.run(time.Minute)
			if again, problem := w.agree(everyone); problem != "" || !slices.Equal(again, chosen) {
				t.Fatalf("%q became %q, %s", chosen, again, problem)
			}
			t.Logf("%d nodes: %s; a settled minute: %s", n, joined, w.said())
			if hellos := w.frames[kindHello]; hellos > 0 {
				t.Errorf("%d hellos when all was settled", hellos)
			}

			if n < 5 {
				return
			}
			// All delegates at once: the others are told by closed connections, then by
			// silence.
			for _, clean := range []bool{true, false} {
				for _, d := range chosen {
					w.crash(w.actors[d], clean)
				}
				noticed := w.settled(silent+5*time.Second, everyone)
				w.run(2 * settle)
				next, problem := w.agree(everyone)
				if problem != "" || slices.ContainsFunc(next, func(p peer.ID) bool { return slices.Contains(chosen, p) }) {
					t.Fatalf("%q after %q, %s", next, chosen, problem)
				}
				t.Logf("%d nodes: all delegates gone (cleanly: %v), new ones agreed on after %s", n, clean, noticed)
				chosen = next
			}
		})
	}
}

// Who waits for a delegate in vain goes by another at once; the others hear of it, ask
// and do so too. It counts again when it is heard again.
func TestSilentDelegateIsMissed(t *testing.T) {
	w := newWorld(t, 7)
	w.crowd(20, 5)
	w.run(3 * settle)
	chosen, _ := w.agree(everyone)
	gone := w.actors[chosen[0]]
	w.crash(gone, false)
	waiting := 0
	for _, id := range w.ids {
		a := w.actors[id]
		if a == gone {
			continue
		}
		if waiting++; waiting > 5 {
			break
		}
		a.missed(gone.id, w.now)
		w.step(a)
		if slices.Contains(a.chosen, gone.id) || len(a.chosen) != Seats {
			t.Fatalf("%s goes by %q at once, %q were before", a.self.Name, a.chosen, chosen)
		}
	}
	w.run(2 * time.Second)
	if next, problem := w.agree(everyone); problem != "" || !slices.Contains(next, chosen[1]) || !slices.Contains(next, chosen[2]) {
		t.Errorf("%q after %q, %s", next, chosen, problem)
	}
	gone.dead = false // it only stood still
	w.step(gone)
	w.run(openMost)
	if again, problem := w.agree(everyone); problem != "" || !slices.Equal(again, chosen) {
		t.Errorf("%q are delegates, %q were before; %s", again, chosen, problem)
	}
}

// A node that dies closes connections of TCP and none of QUIC: all go by the same
// delegates soon all the same. Where a single one is told by the kernel, some hear of
// it from those who have asked in vain.
func TestDelegateThatSomeLostIsLostToAll(t *testing.T) {
	for _, test := range []struct {
		nodes, oneIn int // connections that are closed
		within       time.Duration
	}{
		{5, 2, 2 * time.Second},
		{20, 2, 2 * time.Second},
		{50, 2, 2 * time.Second},
		{5, 5, 3 * time.Second},
		{20, 20, 3 * time.Second},
		{50, 50, 3 * time.Second},
	} {
		w := newWorld(t, uint64(test.nodes))
		w.crowd(test.nodes, min(8, test.nodes))
		w.run(3 * settle)
		chosen, _ := w.agree(everyone)
		gone := w.actors[chosen[0]]
		w.crash(gone, false)
		n := 0
		for _, p := range w.ids {
			if c := gone.conns[p]; c != nil {
				if n%test.oneIn == 0 {
					w.cut(c)
				}
				n++
			}
		}
		w.run(test.within)
		if next, problem := w.agree(everyone); problem != "" || slices.Contains(next, gone.id) || len(next) != Seats {
			t.Errorf("%d nodes, one in %d lost it: %q after %q, %s", test.nodes, test.oneIn, next, chosen, problem)
		}
	}
}

// A node that just came goes by no planner until it has met three delegates that sit,
// or looked for them for a while; so does one that moved.
func TestNewcomerWaitsForItsDelegates(t *testing.T) {
	w := newWorld(t, 7)
	w.crowd(5, 5)
	w.run(acquaint - time.Millisecond)
	if a := w.any(); a.settled {
		t.Errorf("%s goes by %q, of whom none sits yet", a.self.Name, a.chosen)
	}
	w.run(3 * settle)
	chosen, _ := w.agree(everyone)
	met := w.join(5, nil)
	if met.settled {
		t.Errorf("it goes by %q, and has met nobody", met.chosen)
	}
	w.connect(met.id, chosen[0])
	w.run(100 * time.Millisecond) // and it is told of the others
	if !met.settled || !slices.Equal(met.chosen, chosen) {
		t.Errorf("it goes by %q (settled: %v), and has met %q", met.chosen, met.settled, chosen)
	}
	met.be("there", met.self, w.now)
	w.step(met)
	w.run(acquaint / 2)
	if met.settled {
		t.Errorf("it moved, and goes by %q at once", met.chosen)
	}
	w.run(acquaint / 2)
	if !met.settled || len(met.chosen) != 1 {
		t.Errorf("it moved, is alone, and goes by %q (settled: %v)", met.chosen, met.settled)
	}
}

// A delegate to which one member lost its connection is asked by the others once in a
// while, and stays.
func TestDelegateThatOneMemberCantReachStays(t *testing.T) {
	w := newWorld(t, 7)
	w.crowd(20, 20)
	w.run(3 * settle)
	chosen, _ := w.agree(everyone)
	d := w.actors[chosen[0]]
	var one *wire
	for _, p := range w.ids {
		if c := d.conns[p]; c != nil && !slices.Contains(chosen, p) {
			one = c
			break
		}
	}
	cut := one.a
	if cut == d.id {
		cut = one.b
	}
	w.run(missGap)
	asks := w.frames[kindAsk]
	w.apart = func(a, b peer.ID) bool { return a == d.id && b == cut || a == cut && b == d.id }
	w.cut(one)
	for range 40 {
		w.run(50 * time.Millisecond)
		if next, problem := w.agree(func(a *actor) bool { return a.id != cut }); problem != "" || !slices.Equal(next, chosen) {
			t.Fatalf("%q after %q, %s", next, chosen, problem)
		}
	}
	if asked := w.frames[kindAsk] - asks; asked < 10 || asked > 25 {
		t.Errorf("it was asked %d times by 18 members", asked)
	}
}

// A delegate that was missed for something else says at once that it is there, and
// isn't missed time and again.
func TestDelegateThatAnswersIsNotMissed(t *testing.T) {
	w := newWorld(t, 7)
	w.crowd(5, 4)
	w.run(3 * settle)
	chosen, _ := w.agree(everyone)
	a := w.actors[testID(0)]
	if chosen[0] == a.id {
		a = w.actors[testID(1)]
	}
	out := 0
	for range 20 {
		a.missed(chosen[0], w.now)
		w.step(a)
		if !slices.Equal(a.chosen, chosen) {
			out++
		}
		w.run(100 * time.Millisecond)
		if !slices.Equal(a.chosen, chosen) {
			t.Fatalf("it goes by %q, %q are there", a.chosen, chosen)
		}
	}
	if out != 1 {
		t.Errorf("in two seconds it went by others %d times, want once", out)
	}
}

// A node that stood still itself takes nobody for silent.
func TestNodeThatStoodStillMissesNobody(t *testing.T) {
	w := newWorld(t, 8)
	w.crowd(5, 4)
	w.run(3 * settle)
	a := w.actors[testID(0)]
	version := a.version
	a.due = a.due.Add(-time.Minute) // it should have looked a minute ago
	for _, l := range a.links {
		l.heard = l.heard.Add(-time.Minute)
	}
	w.step(a)
	if a.version != version {
		t.Error("it takes others for silent")
	}
}

// Nodes that were told of one and the same come to know some others each, not all; in
// a small site all know all, and soon nobody asks any more.
func TestNodesComeToHaveNeighbours(t *testing.T) {
	for _, n := range []int{6, 40} {
		w := newWorld(t, 14)
		w.join(0, nil)
		w.run(2 * settle)
		for i := 1; i < n; i++ {
			w.join(i, nil)
			w.connect(testID(i), testID(0))
		}
		w.run(30 * time.Second)
		chosen, problem := w.agree(everyone)
		if problem != "" {
			t.Fatal(problem)
		}
		links := 0
		for _, a := range w.actors {
			links += len(a.conns)
			if len(a.members) <= min(n-1, neighbours) {
				t.Errorf("%s of %d nodes knows %d", a.self.Name, n, len(a.members))
			}
		}
		if n > 2*neighbours && links > n*(3*neighbours)+len(chosen)*n {
			t.Errorf("%d nodes have %d connections", n, links/2)
		}
		w.run(10 * time.Minute)
		w.frames = make(map[kind]int)
		w.run(10 * time.Minute)
		if asks := w.frames[kindAsk]; asks > 2*n {
			t.Errorf("%d nodes ask %d times in ten minutes", n, asks)
		}
	}
}

// Who was a delegate elsewhere for long takes nobody's seat where it comes to.
func TestDelegateThatMovesStartsAnew(t *testing.T) {
	w := newWorld(t, 15)
	old := w.join(0, nil)
	old.be("there", old.self, w.now)
	w.step(old)
	w.run(time.Minute)
	for i := range 4 {
		w.join(1+i, nil)
		for j := range i + 1 {
			w.connect(testID(1+i), testID(j))
		}
	}
	w.run(time.Minute)
	before := slices.Clone(w.actors[testID(1)].chosen)
	if old.self.Sits.IsZero() || len(before) != Seats {
		t.Fatalf("%+v, delegates %q", old.self, before)
	}
	old.be("here", old.self, w.now)
	w.step(old)
	w.run(time.Minute)
	if after, problem := w.agree(everyone); problem != "" || !slices.Equal(after, before) {
		t.Errorf("%q became %q, %s", before, after, problem)
	}
}

// A member that was admitted for another site gets no seat by what it says.
func TestGuestSpeaksForNobody(t *testing.T) {
	w := newWorld(t, 17)
	for i := range 6 {
		w.join(i, func(m *Member) { m.Wired = i < 2 })
	}
	guest := w.join(9, func(m *Member) { m.Home, m.Sits = false, time.Unix(1, 0) })
	for i := range 6 {
		w.connect(guest.id, testID(i))
		w.connect(testID(0), testID(i))
	}
	w.run(time.Minute)
	chosen, problem := w.agree(everyone)
	if problem != "" || len(chosen) != Seats || slices.Contains(chosen, guest.id) || !guest.self.Sits.IsZero() {
		t.Errorf("delegates %q, the guest is %q and sits since %v; %s", chosen, guest.id, guest.self.Sits, problem)
	}
}

// A candidate that can't be reached is dialled ever more rarely.
func TestUnreachableCandidateIsLeftAlone(t *testing.T) {
	w := newWorld(t, 16)
	a, b := w.join(0, nil), w.join(1, nil)
	w.connect(a.id, b.id)
	w.run(settle)
	dead := someMember(99)
	dead.Mains, dead.Wired, dead.Willing, dead.Sits = true, true, true, time.Unix(1, 0)
	list := encodeFrame(kindKnown, []candidate{{[]byte(dead.Peer), sayHello("here", dead)}})[2:]
	dials := w.dials
	for range 600 { // ten minutes
		if err := a.frame(b.id, list, w.now); err != nil {
			t.Fatal(err)
		}
		w.step(a)
		w.run(time.Second)
	}
	if n := w.dials - dials; n < 5 || n > 15 {
		t.Errorf("%d dials in ten minutes", n)
	}
}

// Who moves to another site tells everyone at once, those at other sites too, with
// whom there is no stream; and is told that they are where it comes to.
func TestMoveIsToldAtOnce(t *testing.T) {
	w := newWorld(t, 12)
	w.crowd(6, 5)
	a, elsewhere := w.actors[testID(0)], w.actors[testID(3)]
	elsewhere.be("there", elsewhere.self, w.now)
	w.step(elsewhere)
	w.connect(a.id, elsewhere.id)
	w.run(300 * time.Millisecond)
	if w.hasStream(a, elsewhere) || a.siteOf(elsewhere.id) != "there" || elsewhere.siteOf(a.id) != "here" {
		t.Fatalf("stream %v, at %q and %q", w.hasStream(a, elsewhere), a.siteOf(elsewhere.id), elsewhere.siteOf(a.id))
	}
	for _, moves := range []*actor{a, elsewhere} { // one has the lesser id
		moves.be("third", moves.self, w.now)
		w.step(moves)
		w.run(100 * time.Millisecond)
		for _, id := range w.ids {
			if o := w.actors[id]; moves.conns[id] != nil && o.siteOf(moves.id) != "third" {
				t.Errorf("%s takes it to be at %q", o.self.Name, o.siteOf(moves.id))
			}
		}
		w.run(300 * time.Millisecond)
	}
	if !w.hasStream(a, elsewhere) || len(a.members) != 2 || len(elsewhere.chosen) != 2 {
		t.Errorf("both are at the third site: %+v", a.members)
	}
}

func (w *world) hasStream(a, b *actor) bool { return a.conns[b.id] != nil && a.conns[b.id].stream }

// Who breaks the protocol has no stream for a while.
func TestBreachOfTheProtocolEndsTheStream(t *testing.T) {
	w := newWorld(t, 13)
	a := w.join(0, nil)
	for _, first := range [][]byte{beatFrame[2:], {9}, {}} {
		p := testID(1 + len(first))
		a.opened(p, w.now)
		if err := a.frame(p, first, w.now); !errors.Is(err, ErrProtocol) {
			t.Errorf("%x as its first word: %v", first, err)
		}
		a.closed(p, w.now)
		a.effects()
		a.opened(p, w.now.Add(banned/2))
		if e := a.effects(); len(e) == 0 || e[len(e)-1].do != doClose {
			t.Errorf("it has another stream: %+v", e)
		}
		a.opened(p, w.now.Add(banned))
		if e := a.effects(); len(e) == 0 || e[0].do == doClose {
			t.Errorf("it has no stream later: %+v", e)
		}
	}
}

// Halves that can't see each other work as two sites, each with delegates of its own,
// and are one again soon after they can.
func TestHalvesOfASiteWorkApartAndHeal(t *testing.T) {
	w := newWorld(t, 9)
	w.crowd(40, 6)
	w.run(3 * settle)
	half := func(p peer.ID) bool { return p < testID(20) }
	w.apart = func(a, b peer.ID) bool { return half(a) != half(b) }
	for _, id := range w.ids {
		for _, other := range w.ids {
			if c := w.actors[id].conns[other]; c != nil && w.apart(id, other) {
				w.cut(c)
			}
		}
	}
	left, right := func(a *actor) bool { return half(a.id) }, func(a *actor) bool { return !half(a.id) }
	t.Logf("halves agree after %s and %s", w.settled(5*time.Second, left), w.settled(5*time.Second, right))
	w.run(10 * time.Minute)
	for _, side := range []func(*actor) bool{left, right} {
		chosen, problem := w.agree(side)
		if problem != "" || len(chosen) != Seats || slices.ContainsFunc(chosen, func(p peer.ID) bool { return !side(w.actors[p]) }) {
			t.Fatalf("%q: %s", chosen, problem)
		}
	}
	w.apart = func(a, b peer.ID) bool { return false }
	t.Logf("one site again after %s", w.settled(2*seekEvery, everyone))
	w.run(time.Minute)
	if chosen, problem := w.agree(everyone); problem != "" || len(chosen) != Seats {
		t.Errorf("%q: %s", chosen, problem)
	}
}

// A connection that is lost while both live comes back: the delegate looks for the
// member, and the member hears of the delegate from others.
func TestLostConnectionToADelegateComesBack(t *testing.T) {
	w := newWorld(t, 10)
	w.crowd(20, 5)
	w.run(3 * settle)
	chosen, _ := w.agree(everyone)
	for _, id := range w.ids {
		if c := w.actors[chosen[0]].conns[id]; c != nil && !slices.Contains(chosen, id) {
			w.cut(c)
		}
	}
	t.Logf("all have it again after %s", w.settled(time.Second, everyone))
}

// A member that names others as the best there are, day and night, has each other
// node dial a few of them, and nobody takes them for members.
func TestNamesOfOthersLeadToAFewDials(t *testing.T) {
	w := newWorld(t, 11)
	w.crowd(10, 9)
	w.run(3 * settle)
	chosen, _ := w.agree(everyone)
	victim := w.actors[testID(0)]
	var liar *actor
	for _, id := range w.ids {
		if victim.conns[id] != nil {
			liar = w.actors[id]
		}
	}
	dials, members, named := w.dials, len(victim.members), 1000
	began := w.now
	for range 600 { // a minute
		var all []candidate
		for range maxKnown {
			named++
			m := someMember(named)
			m.Mains, m.Wired, m.Willing, m.Sits = true, true, true, time.Unix(1, 0)
			all = append(all, candidate{[]byte(m.Peer), sayHello("here", m)})
		}
		if err := victim.frame(liar.id, encodeFrame(kindKnown, all)[2:], w.now); err != nil {
			t.Fatal(err)
		}
		w.step(victim)
		w.run(100 * time.Millisecond)
	}
	most := dialsBurst + int(w.now.Sub(began).Seconds())*dialsPerSecond
	if n := w.dials - dials; n == 0 || n > most {
		t.Errorf("%d dials in a minute, want at most %d", n, most)
	}
	if len(victim.tries) > maxTries || len(victim.members) != members || !slices.Equal(victim.chosen, chosen) {
		t.Errorf("%d attempts remembered, %d members, delegates %q", len(victim.tries), len(victim.members), victim.chosen)
	}
}

func (w *world) said() string {
	var s []string
	for _, k := range []struct {
		kind kind
		name string
	}{{kindHello, "hellos"}, {kindKnown, "lists"}, {kindBeat, "beats"}} {
		s = append(s, fmt.Sprintf("%d %s", w.frames[k.kind], k.name))
	}
	return strings.Join(s, ", ") + fmt.Sprintf(" of %d bytes", w.bytes)
}

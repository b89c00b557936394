package carry

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
)

var epoch = time.Unix(1_800_000_000, 0)

// A table is a plan under test, and the orders that came.
type table struct {
	*Plan
	t   *testing.T
	now time.Time
}

func newTable(t *testing.T) *table { return &table{NewPlan(), t, epoch} }

func (p *table) join(id string, chunks int, has ...uint32) {
	p.Join(p.now, peer.ID(id), Joining{Chunks: chunks, Willing: true, Has: roaring.BitmapOf(has...)})
}

func (p *table) after(d time.Duration) { p.now = p.now.Add(d); p.Tick(p.now) }

// propose returns what a member is granted.
func (p *table) propose(id string, n int, chunks ...int) []int {
	p.t.Helper()
	p.Ready()
	p.Propose(p.now, peer.ID(id), n, chunks, false)
	for _, o := range p.Ready() {
		if o.Answer != nil && string(o.To) == id {
			return o.Answer.Granted
		}
	}
	p.t.Fatalf("%s was not answered", id)
	return nil
}

// story writes orders for comparison.
func story(orders []Order) (out []string) {
	for _, o := range orders {
		switch {
		case o.Crew != nil && o.Crew.Carrier:
			out = append(out, fmt.Sprintf("%s carries", string(o.To)))
		case o.Free != nil:
			out = append(out, fmt.Sprintf("%s: free %v", string(o.To), o.Free))
		case o.Revoke != nil:
			out = append(out, fmt.Sprintf("%s: revoked %v", string(o.To), o.Revoke))
		}
	}
	return out
}

func (p *table) want(what string, want ...string) {
	p.t.Helper()
	if got := story(p.Ready()); !slices.Equal(got, want) {
		p.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func (p *table) grants(id string, n int, chunks []int, want ...int) {
	p.t.Helper()
	if got := p.propose(id, n, chunks...); !slices.Equal(got, want) {
		p.t.Errorf("%s proposed %d of %v and got %v, want %v", id, n, chunks, got, want)
	}
}

func TestEachChunkIsCarriedByOne(t *testing.T) {
	p := newTable(t)
	p.join("a", 10, 9)
	p.join("b", 10)
	p.grants("a", 3, []int{1, 2, 3, 4}, 1, 2, 3)
	p.grants("b", 3, []int{3, 9, 2, 5, 6}, 5, 6)
	p.grants("a", 3, []int{5, 6, 7}, 7)
	p.Has(p.now, "a", roaring.BitmapOf(1))
	p.grants("b", 3, []int{1, 8}, 8)
}

func TestAFewMembersCarry(t *testing.T) {
	p := newTable(t)
	for i := range 10 {
		p.join(fmt.Sprint("m", i), 10)
	}
	p.want("of ten", "m0 carries", "m0 carries", "m1 carries", "m0 carries", "m1 carries", "m2 carries")
	p.grants("m7", 3, []int{1, 2})
	p.Leave(p.now, "m1")
	if got := story(p.Ready()); !slices.Contains(got, "m3 carries") {
		t.Errorf("one left: %q", got)
	}
}

func TestWhatACarrierLeavesIsFree(t *testing.T) {
	p := newTable(t)
	p.join("a", 10)
	p.join("b", 10)
	p.propose("a", 2, 1, 2)
	p.Has(p.now, "a", roaring.BitmapOf(1)) // and nobody else has it
	p.Leave(p.now, "a")
	p.want("a left", "b carries", "b: free [2]", "b: free [1]", "b carries") // at first: somebody has some of it
	p.grants("b", 5, []int{1, 2}, 1, 2)
}

func TestNoChunkMovesWhileThereIsOtherWork(t *testing.T) {
	p := newTable(t)
	p.join("a", 4)
	p.join("b", 4)
	p.propose("a", 2, 0, 1)
	p.propose("b", 1, 2)
	p.Progress(p.now, "b", 0, 1<<20)
	p.after(firstStall + time.Second)
	p.Progress(p.now, "b", 64<<10, 1<<20)
	p.grants("b", 1, []int{3}, 3)
	p.grants("b", 1, nil, 1) // nothing else: a's last, which it is likeliest not to have begun
	p.want("a is stalled")   // told with the answer
	p.Release(p.now, "b", []int{1})
	p.grants("a", 1, []int{1}, 1)
	p.grants("b", 1, nil, 0) // not what it gave back
}

func TestASlowCarrierIsRelieved(t *testing.T) {
	p := newTable(t)
	p.join("a", 4)
	p.join("b", 4)
	p.propose("a", 2, 0, 1)
	p.propose("b", 2, 2, 3)
	for i := range int64(8) {
		p.after(250 * time.Millisecond)
		p.Progress(p.now, "a", (i+1)*25_000, 2<<20-(i+1)*25_000) // 100 kB/s
		p.Progress(p.now, "b", (i+1)*262_144, 2<<20-(i+1)*262_144)
	}
	p.Has(p.now, "b", roaring.BitmapOf(2, 3))
	p.grants("b", 1, nil, 1)
	p.Progress(p.now, "b", 3<<20, 0)
	p.Has(p.now, "b", roaring.BitmapOf(1))
	p.grants("b", 1, nil, 0)
	// Of two that are alike nothing moves.
	p.Progress(p.now, "a", 1<<20, 0)
	p.join("c", 8)
	p.propose("b", 2, 4, 5)
	p.grants("c", 1, nil)
}

// All are silent while the link is down: nothing is moved, but for who has nothing
// to do, and what comes later comes once.
func TestOutageMovesNothingAround(t *testing.T) {
	p := newTable(t)
	for _, id := range []string{"a", "b", "c"} {
		p.join(id, 30)
	}
	p.propose("a", 2, 0, 1)
	p.propose("b", 2, 2, 3)
	p.propose("c", 2, 4, 5)
	p.Ready()
	for range 40 {
		p.after(250 * time.Millisecond)
		for _, id := range []peer.ID{"a", "b", "c"} {
			p.Propose(p.now, id, 1, nil, false) // each could do more
		}
	}
	for _, o := range p.Ready() {
		if o.Revoke != nil || o.Free != nil {
			t.Errorf("moved: %+v", o)
		}
	}
	// One that has nothing to do tries, but with one of them, and it becomes rarer.
	p.join("d", 30)
	if !p.byID["d"].carrier {
		t.Fatal("nobody carries in place of those that have stalled")
	}
	p.Ready()
	moves := 0
	for range 40 {
		p.after(250 * time.Millisecond)
		for _, id := range []peer.ID{"a", "b", "c", "d"} {
			p.Propose(p.now, id, 5, nil, false)
		}
	}
	for _, o := range p.Ready() {
		moves += len(o.Revoke)
	}
	if moves != 1 {
		t.Errorf("%d chunks were moved", moves)
	}
	// The first one for which it is over takes from those that are silent still.
	p.Progress(p.now, "b", 0, 2<<20)
	p.Progress(p.now, "b", 64<<10, 2<<20)
	p.grants("b", 1, nil, 0) // d has the other one
}

// A member that says it has what it doesn't give holds nobody up for ever.
func TestWhoInsistsGetsWhatOthersHave(t *testing.T) {
	p := newTable(t)
	p.join("liar", 3, 0, 1, 2)
	p.join("b", 3)
	p.grants("b", 2, []int{0, 1})
	p.Ready()
	p.Propose(p.now, "b", 2, []int{0, 1}, true)
	if o := p.Ready(); len(o) == 0 || o[0].Answer == nil || !slices.Equal(o[0].Answer.Granted, []int{0, 1}) {
		t.Errorf("b got %+v", o)
	}
	p.Leave(p.now, "b") // and the books are right
	p.Leave(p.now, "liar")
	if p.vacant != 3 {
		t.Errorf("%d chunks are vacant, want 3", p.vacant)
	}
}

func TestWhoReachesNobodyMakesRoom(t *testing.T) {
	p := newTable(t)
	for i := range 5 {
		p.join(fmt.Sprint("m", i), 10)
	}
	p.propose("m0", 2, 1, 2)
	p.propose("m1", 2, 3, 4)
	for i := range int64(20) { // m2 proposes nothing
		p.after(250 * time.Millisecond)
		p.Progress(p.now, "m0", i+1, 1)
		p.Progress(p.now, "m1", i+1, 1)
	}
	if s := p.state(); len(s.Carriers) != 3 || s.Carriers["m0"] != 2 || s.Carriers["m1"] != 2 {
		t.Fatalf("carriers %v", s.Carriers)
	}
	if _, still := p.state().Carriers["m2"]; still {
		t.Error("m2 is a carrier still")
	}
}

// Who moves to another planner keeps what it carries, unless somebody there brings it.
func TestWhatIsCarriedMovesWithItsCarrier(t *testing.T) {
	p := newTable(t)
	p.join("a", 5)
	p.propose("a", 1, 2)
	p.Ready()
	p.Join(p.now, "b", Joining{Chunks: 5, Willing: true, Carrying: []int{1, 2, 3}})
	if got := story(p.Ready()); !slices.Contains(got, "b: revoked [2]") {
		t.Errorf("%q", got)
	}
	p.grants("a", 5, []int{1, 2, 3, 4}, 2, 4)
}

// What a carrier brought before it joined says nothing of how fast it is: it would
// take away what others are about to bring.
func TestWhatWasBroughtBeforeIsNoSpeed(t *testing.T) {
	p := newTable(t)
	p.join("a", 8)
	p.join("b", 8)
	p.propose("a", 4, 0, 1, 2, 3)
	p.Progress(p.now, "a", 0, 4<<20)
	p.Progress(p.now, "b", 1<<30, 1<<20)
	for i := range int64(4) {
		p.after(250 * time.Millisecond)
		p.Progress(p.now, "a", (i+1)*100_000, 4<<20) // 400 kB/s: 10 s to go
		p.Progress(p.now, "b", 1<<30+(i+1)*100_000, 0)
	}
	p.grants("b", 1, nil)
}

// Who joins again and again, with what it carries, stalls like others.
func TestWhoJoinsAgainStallsAllTheSame(t *testing.T) {
	p := newTable(t)
	p.join("a", 2)
	p.join("b", 2)
	p.propose("a", 2, 0, 1)
	for range 11 {
		p.after(250 * time.Millisecond)
		p.Join(p.now, "a", Joining{Chunks: 2, Willing: true, Carrying: []int{0, 1}})
	}
	p.grants("b", 1, nil, 1)
}

// Whoever says it has all, and gives nothing, is believed for three chunks.
func TestWhoIsInsistedOnIsNotBelieved(t *testing.T) {
	p := newTable(t)
	p.join("liar", 8, 0, 1, 2, 3, 4, 5)
	p.join("c", 8, 5)
	p.join("b", 8)
	p.Propose(p.now, "b", 2, []int{0, 1}, true)
	p.grants("b", 1, []int{2, 3})
	p.Ready()
	p.Propose(p.now, "b", 1, []int{2, 3}, true)
	p.want("three were insisted on", "c: free [3 4]", "b: free [3 4]")
	p.grants("b", 4, []int{3, 4, 5}, 3, 4)
	p.Has(p.now, "liar", roaring.BitmapOf(6))
	p.grants("c", 1, []int{6}, 6)
	p.Leave(p.now, "liar") // and the books are right
	if p.vacant != 1 {
		t.Errorf("%d chunks are vacant, want 1", p.vacant)
	}
}

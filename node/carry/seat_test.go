package carry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

// named returns a peer's id with a name in it.
func named(name string) peer.ID { return peer.ID("\x00" + string(rune(len(name))) + name) }

// A village is a site of planners that seats reach over pipes.
type village struct {
	mu       sync.Mutex
	planners map[peer.ID]*Planner
	lines    []net.Conn
	chief    peer.ID // who plans
	changed  chan struct{}
	down     bool // nobody can be reached
	frozen   bool // planners neither speak nor answer
}

func newVillage(ctx context.Context, wg *sync.WaitGroup, planners ...peer.ID) *village {
	v := &village{planners: map[peer.ID]*Planner{}, changed: make(chan struct{}), chief: planners[0]}
	for _, id := range planners {
		p := NewPlanner(zap.NewNop())
		v.planners[id] = p
		wg.Go(func() { p.Run(ctx) })
	}
	return v
}

func (v *village) appoint(p peer.ID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.chief = p
	close(v.changed)
	v.changed = make(chan struct{})
}

// cut ends all lines as a killed planner does.
func (v *village) cut(down bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.down = down
	for _, l := range v.lines {
		l.Close()
	}
	v.lines = nil
}

// resident is a member of a village.
type resident struct {
	village *village
	id      peer.ID
	seat    *Seat

	mu   sync.Mutex
	said []string
}

func (r *resident) Planner(content.ID) (peer.ID, bool) {
	r.village.mu.Lock()
	defer r.village.mu.Unlock()
	return r.village.chief, r.village.chief != ""
}

func (r *resident) Changed() <-chan struct{} {
	r.village.mu.Lock()
	defer r.village.mu.Unlock()
	return r.village.changed
}

func (r *resident) Missed(p peer.ID) { r.note("missed %s", string(p[2:])) }

// freeze has a planner stand still, or go on.
func (v *village) freeze(frozen bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.frozen = frozen
}

// A slowLine is a line on which nothing more arrives while its planner stands still.
type slowLine struct {
	net.Conn
	village *village
}

func (l slowLine) Read(b []byte) (int, error) {
	for {
		n, err := l.Conn.Read(b)
		l.village.mu.Lock()
		frozen := l.village.frozen
		l.village.mu.Unlock()
		if err != nil || !frozen {
			return n, err
		}
	}
}

func (r *resident) Open(ctx context.Context, p peer.ID) (Line, error) {
	v := r.village
	v.mu.Lock()
	if v.frozen {
		v.mu.Unlock()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	defer v.mu.Unlock()
	if v.down {
		return nil, errors.New("nobody answers")
	}
	here, there := net.Pipe()
	v.lines = append(v.lines, here)
	go v.planners[p].Serve(r.id, there)
	return slowLine{here, v}, nil
}

func (r *resident) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

// heard returns what was said since, but for who is in the crew.
func (r *resident) heard() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	said := r.said
	r.said = nil
	return said
}

func (r *resident) Seated()                   { r.note("seated") }
func (r *resident) Alone()                    { r.note("alone") }
func (r *resident) Crew(c Crew)               { r.note("carrier %v", c.Carrier) }
func (r *resident) Answered(granted, _ []int) { r.note("granted %v", granted) }
func (r *resident) Freed(chunks []int)        { r.note("freed %v", chunks) }
func (r *resident) Revoked(chunks []int)      { r.note("revoked %v", chunks) }
func (r *resident) Meet(ids []peer.ID)        { r.note("meet %d", len(ids)) }

func (v *village) move(ctx context.Context, wg *sync.WaitGroup, id string) *resident {
	r := &resident{village: v, id: named(id)}
	r.seat = NewSeat(SeatConfig{
		Content: content.ID{1}, Site: r, Member: r, Log: zap.NewNop(),
		Joining: func() Joining { return Joining{Chunks: 10, Willing: true, Has: roaring.New()} },
	})
	wg.Go(func() { r.seat.Run(ctx) })
	synctest.Wait()
	return r
}

// live runs f in virtual time, and ends what it began.
func live(t *testing.T, f func(ctx context.Context, wg *sync.WaitGroup)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		f(ctx, &wg)
		cancel()
		wg.Wait()
	})
}

func expect(t *testing.T, who *resident, what string) {
	t.Helper()
	if said := who.heard(); !slices.Contains(said, what) {
		t.Errorf("%s heard %q, want %q among it", string(who.id), said, what)
	}
}

func TestMembersShareTheWork(t *testing.T) {
	live(t, func(ctx context.Context, wg *sync.WaitGroup) {
		v := newVillage(ctx, wg, named("p"))
		a, b := v.move(ctx, wg, "a"), v.move(ctx, wg, "b")
		expect(t, a, "carrier true")
		a.seat.Propose(2, []int{1, 2, 3}, false)
		synctest.Wait()
		expect(t, a, "granted [1 2]")
		b.seat.Propose(2, []int{1, 2, 3}, false)
		synctest.Wait()
		expect(t, b, "granted [3]")
		a.seat.Release([]int{2})
		synctest.Wait()
		expect(t, b, "freed [2]")
	})
}

// The planner is killed: the next one is told what is carried.
func TestPlannerIsReplaced(t *testing.T) {
	live(t, func(ctx context.Context, wg *sync.WaitGroup) {
		v := newVillage(ctx, wg, named("p"), named("q"))
		a, b := v.move(ctx, wg, "a"), v.move(ctx, wg, "b")
		a.seat.Propose(2, []int{1, 2}, false)
		synctest.Wait()
		a.seat.Has(roaring.BitmapOf(1))
		a.heard()
		v.appoint(named("q"))
		v.cut(false)
		synctest.Wait()
		expect(t, a, "seated")
		b.heard()
		b.seat.Propose(3, []int{1, 2, 3}, false)
		synctest.Wait()
		// Chunk 1 is here at a, but Joining says it isn't; 2 is on its way.
		expect(t, b, "granted [1 3]")
		if s := v.planners[named("p")].States(); len(s) != 0 {
			t.Errorf("the old planner still has %+v", s)
		}
	})
}

func TestSilentPlannerIsLeft(t *testing.T) {
	live(t, func(ctx context.Context, wg *sync.WaitGroup) {
		v := newVillage(ctx, wg, named("p"))
		a := v.move(ctx, wg, "a")
		a.heard()
		v.cut(true)
		start := time.Now()
		synctest.Wait()
		if said := a.heard(); len(said) != 0 {
			t.Errorf("at once: %q", said)
		}
		time.Sleep(Patience + lookAgain)
		synctest.Wait()
		expect(t, a, "alone")
		v.mu.Lock()
		v.down = false
		v.mu.Unlock()
		a.seat.Took([]int{4})
		time.Sleep(2 * lookAgain)
		synctest.Wait()
		expect(t, a, "carrier true")
		if s := v.planners[named("p")].States(); len(s) != 1 || s[0].Carriers[named("a")] != 1 {
			t.Errorf("after %v: %+v, want a to carry what it took", time.Since(start), s)
		}
	})
}

// A planner that says nothing more is missed before 2 s are over, and so is one that
// doesn't answer; one that hangs up isn't.
func TestSilentPlannerIsMissedInTwoSeconds(t *testing.T) {
	live(t, func(ctx context.Context, wg *sync.WaitGroup) {
		v := newVillage(ctx, wg, named("p"))
		a := v.move(ctx, wg, "a")
		a.heard()
		v.cut(false)
		time.Sleep(2 * lookAgain)
		synctest.Wait()
		if said := a.heard(); !slices.Contains(said, "carrier true") || slices.Contains(said, "missed p") {
			t.Errorf("it hung up: %q", said)
		}
		v.freeze(true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		expect(t, a, "missed p")
		time.Sleep(lookAgain + openWithin)
		synctest.Wait()
		expect(t, a, "missed p")
		v.freeze(false)
		time.Sleep(lookAgain + openWithin)
		synctest.Wait()
		expect(t, a, "carrier true")
	})
}

// A member that hangs is left out after a while, and what it carries is free.
func TestMemberThatHangsIsLeftOut(t *testing.T) {
	live(t, func(ctx context.Context, wg *sync.WaitGroup) {
		v := newVillage(ctx, wg, named("p"))
		b := v.move(ctx, wg, "b")
		here, there := net.Pipe()
		defer here.Close()
		go v.planners[named("p")].Serve(named("hung"), there)
		for _, m := range []*message{
			{kind: kindJoin, content: content.ID{1}, joining: Joining{Chunks: 10, Willing: true}},
			{kind: kindPropose, n: 1, chunks: []int{5}},
		} {
			here.Write(m.encode())
		}
		synctest.Wait()
		b.heard()
		time.Sleep(silence + beat)
		synctest.Wait()
		expect(t, b, "freed [5]")
	})
}

// Who is done is known as a holder until it is gone.
func TestWhoIsDoneIsRemembered(t *testing.T) {
	live(t, func(ctx context.Context, wg *sync.WaitGroup) {
		v := newVillage(ctx, wg, named("p"))
		first, stop := context.WithCancel(ctx)
		a := v.move(first, wg, "a")
		a.seat.Done()
		stop()
		synctest.Wait()
		b := v.move(ctx, wg, "b")
		expect(t, b, "meet 1")
		b.seat.Propose(2, []int{1, 2}, false)
		synctest.Wait()
		expect(t, b, "granted []")
		v.planners[named("p")].Forget(named("a"))
		synctest.Wait()
		expect(t, b, "freed [0 1 2 3 4 5 6 7 8 9]")
	})
}

// One member can't take all the seats there are.
func TestSeatsOfAMemberAreBounded(t *testing.T) {
	live(t, func(ctx context.Context, wg *sync.WaitGroup) {
		v := newVillage(ctx, wg, named("p"))
		p := v.planners[named("p")]
		var lines []net.Conn
		join := func(i int) (seated bool) {
			here, there := net.Pipe()
			lines = append(lines, here)
			go p.Serve(named("greedy"), there)
			here.Write((&message{kind: kindJoin, content: content.ID{1, byte(i), byte(i >> 8)}}).encode())
			m, err := readMessage(here)
			return err == nil && m.kind == kindAlive
		}
		for i := range maxOfMember {
			if !join(i) {
				t.Fatalf("no seat %d", i)
			}
		}
		if join(maxOfMember) {
			t.Errorf("a seat beyond %d", maxOfMember)
		}
		for _, l := range lines {
			l.Close()
		}
		synctest.Wait()
		if !join(maxOfMember) {
			t.Error("no seat after all others were left")
		}
		lines[len(lines)-1].Close()
		synctest.Wait()
		if len(p.seats) != 0 {
			t.Errorf("seats that nobody sits on: %v", p.seats)
		}
	})
}

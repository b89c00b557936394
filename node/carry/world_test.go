package carry

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery/site"
	"github.com/p2pnode/p2pnode/node/flow"
)

// A town is one site in virtual time: real planners, seats and deciders of flows, on a
// LAN and behind a WAN link made of arithmetic. All that happens is in its events, but
// for what seats and planners say to each other: their goroutines do that between two
// events. When the test fails, the town prints its seed and what happened when.
type town struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	start  time.Time
	events happenings
	serial int
	wake   chan struct{}
	group  sync.WaitGroup
	log    []string

	goods  []*good
	people []*person
	abroad []*abroad
	wan    *pipe // into the site
	cut    bool  // nothing passes it
	ids    flow.SourceID

	fault time.Time     // the last that something was done to the town
	gap   time.Duration // the longest that a fetch got nothing, from its begin or a fault on
	which string        // whose it was
	lans  time.Duration // latency of the LAN for who talks of plans, at most
}

// A good is a content.
type good struct {
	id      content.ID
	chunks  []content.Chunk
	total   int64
	crossed int64 // bytes of it that came over the WAN
	times   []int // that blocks of each chunk did
	spare   int64 // bytes that may have crossed twice, for what was done to the town
	before  int64 // the site fell apart: bytes that had crossed
}

const (
	townBlock, townBlocks = 128 << 10, 8
	townChunk             = townBlock * townBlocks
	// noticed is after how long a connection that carries nothing is closed.
	noticed = 20 * time.Second
)

type happening struct {
	at     time.Time
	serial int
	do     func()
}

type happenings []happening

func (h happenings) Len() int { return len(h) }
func (h happenings) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].serial < h[j].serial
}
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h *happenings) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

// newTown returns a town of nobody behind a link of so many bytes per second.
func newTown(t *testing.T, seed uint64, rate float64) *town {
	w := &town{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), start: time.Now(),
		wake: make(chan struct{}, 1), lans: time.Millisecond,
	}
	w.wan = &pipe{town: w, rate: rate}
	t.Cleanup(func() {
		if t.Failed() {
			tail := w.log[max(0, len(w.log)-2000):]
			name := fmt.Sprintf("%s/carry-%d.log", os.TempDir(), seed)
			_ = os.WriteFile(name, []byte(fmt.Sprintln(tail)), 0o600)
			t.Logf("seed %d, %d lines, the last of them:\n%s", seed, len(w.log), bytes.Join(lines(tail[max(0, len(tail)-60):]), []byte("\n")))
		}
	})
	return w
}

func lines(all []string) (out [][]byte) {
	for _, l := range all {
		out = append(out, []byte(l))
	}
	return out
}

func (w *town) logf(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("\n%9.3fs  ", time.Since(w.start).Seconds())+fmt.Sprintf(format, args...))
}

func (w *town) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, happening{time.Now().Add(d), w.serial, do})
}

// some returns a duration up to d.
func (w *town) some(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d) + 1)) }

// ring lets the town look who was told something.
func (w *town) ring() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// live lets time pass until over says so, at most until limit.
func (w *town) live(limit time.Duration, over func() bool) {
	w.t.Helper()
	for !over() {
		if time.Since(w.start) > limit {
			w.t.Errorf("seed %d: not over after %v: %s", w.seed, limit, w.missing())
			return
		}
		wait := time.Second // somebody is told something before
		if len(w.events) > 0 {
			wait = time.Until(w.events[0].at)
		}
		if wait <= 0 {
			heap.Pop(&w.events).(happening).do()
		} else {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-w.wake:
			}
			timer.Stop()
		}
		for {
			synctest.Wait()
			if !w.heed() {
				break
			}
		}
	}
}

// heed hands flows what their seats were told; it reports whether there was any.
func (w *town) heed() (any bool) {
	select {
	case <-w.wake:
	default:
	}
	for _, p := range w.people {
		for _, f := range p.fetches {
			f.mu.Lock()
			told := f.told
			f.told = nil
			f.mu.Unlock()
			for _, do := range told {
				any = true
				if !p.dead {
					do()
				}
			}
			if len(told) > 0 {
				f.act()
			}
		}
	}
	return any
}

// missing tells who lacks what.
func (w *town) missing() (s string) {
	for _, p := range w.people {
		for _, f := range p.fetches {
			if !f.done && !p.dead {
				s += fmt.Sprintf(" %s of content %d: %d of %d chunks (alone %v, carrier %v, flow %v);", p.name, f.good, f.has.GetCardinality(), len(w.goods[f.good].chunks), f.alone, f.crew.Carrier, f.flow != nil)
			}
		}
	}
	return s
}

// add puts a content of so many chunks into the world.
func (w *town) add(chunks int) int {
	g := &good{id: content.ID{byte(len(w.goods) + 1), byte(w.seed)}, times: make([]int, chunks)}
	for range chunks {
		g.chunks = append(g.chunks, content.Chunk{Size: townChunk})
		g.total += townChunk
	}
	w.goods = append(w.goods, g)
	return len(w.goods) - 1
}

// blame lets bytes cross the WAN again for what is done to the town now: all that is
// carried or asked of other sites, by whoever it is.
func (w *town) blame(what string) {
	w.fault = time.Now()
	for i, g := range w.goods {
		flying := make(map[int]struct{})
		for _, p := range w.people {
			for _, f := range p.fetches {
				if f.good != i || p.dead {
					continue
				}
				f.seat.mu.Lock()
				for c := range f.seat.carrying {
					flying[c] = struct{}{}
				}
				f.seat.mu.Unlock()
				for _, r := range f.open {
					if r.from.far() {
						flying[r.chunk] = struct{}{}
					}
				}
			}
		}
		g.spare += int64(len(flying)) * townChunk
		w.logf("%s; content %d has %d chunks on the way", what, i, len(flying))
	}
}

// A person is a node of the site.
type person struct {
	town    *town
	name    string
	id      peer.ID
	dead    bool
	half    atomic.Int64 // of the site: whom it sees
	noWAN   bool
	far     float64 // bytes per second from other sites at most; 0: as the link has
	lie     lie
	ctx     context.Context
	end     context.CancelFunc
	planner interface {
		Serve(peer.ID, Line)
		Forget(peer.ID)
	}
	knows   time.Time // from when on it knows all who are there
	fetches []*fetch
	up      *pipe

	mu      sync.Mutex
	view    []peer.ID
	changed chan struct{}
	wires   []*wire
}

// A lie is what a person does that it shouldn't.
type lie uint8

const (
	honest   lie = iota
	claims       // it says that it has all, and gives nothing
	spoils       // it says that it has all, and gives other bytes
	hoards       // it wants to carry all, and fetches nothing
	grantsTo     // as a planner it grants everybody everything
	answers      // as a planner it answers nothing
)

// move lets somebody come to the site. It knows its delegates after so long.
func (w *town) move(name string, l lie, knows time.Duration) *person {
	p := &person{town: w, name: name, id: named(name), lie: l, changed: make(chan struct{})}
	p.ctx, p.end = context.WithCancel(w.t.Context())
	p.up = &pipe{town: w, rate: 100e6}
	planner := NewPlanner(zap.NewNop())
	p.planner = planner
	switch l {
	case grantsTo:
		p.planner = &generous{ctx: p.ctx, town: w}
	case answers:
		p.planner = mute{}
	}
	w.group.Go(func() { _ = planner.Run(p.ctx) })
	w.people = append(w.people, p)
	p.view = []peer.ID{p.id}
	p.knows = time.Now().Add(knows)
	w.look(p, knows/2, 2)
	w.look(p, knows, 1)
	for _, o := range w.people {
		if o != p {
			w.look(o, w.some(300*time.Millisecond), 1)
		}
	}
	w.after(w.some(50*time.Millisecond), w.meet)
	return p
}

// look has p see who is there, after a while: all, or each of so many one.
func (w *town) look(p *person, after time.Duration, oneOf int) {
	w.after(after, func() {
		if oneOf == 1 && time.Now().Before(p.knows) {
			return
		}
		var view []peer.ID
		for _, o := range w.people {
			if !o.dead && o.half.Load() == p.half.Load() && len(view) < site.Seats && (o == p || w.rng.IntN(oneOf) == 0) {
				view = append(view, o.id)
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if !slices.Equal(view, p.view) {
			p.view = view
			close(p.changed)
			p.changed = make(chan struct{})
		}
	})
}

// meet connects all who see each other and aren't connected.
func (w *town) meet() {
	for _, p := range w.people {
		for _, f := range p.fetches {
			f.meet()
		}
	}
}

// sees reports whether two can talk to each other.
func (p *person) sees(o *person) bool { return !p.dead && !o.dead && p.half.Load() == o.half.Load() }

// kill ends a node at once; others see that.
func (w *town) kill(p *person) {
	if p.dead {
		return
	}
	w.blame("kill " + p.name)
	p.dead = true
	p.end()
	p.mu.Lock()
	for _, l := range p.wires {
		l.Close()
	}
	p.mu.Unlock()
	w.lose(p)
	for _, o := range w.people {
		w.look(o, w.some(50*time.Millisecond), 1)
	}
}

// lose closes the connections with p.
func (w *town) lose(p *person) {
	for _, o := range w.people {
		if o == p || o.dead {
			continue
		}
		o.planner.Forget(p.id)
		for _, f := range o.fetches {
			f.part(func(s *line) bool { return s.person == p })
		}
		if !p.dead {
			p.planner.Forget(o.id)
			for _, f := range p.fetches {
				f.part(func(s *line) bool { return s.person == o })
			}
		}
	}
}

// split moves people to a half of their own. Others see it when they wait for one of
// them, or when the connection is closed.
func (w *town) split(half int64, what string, people ...*person) {
	w.blame(what)
	for _, g := range w.goods {
		g.before = g.crossed
	}
	for _, p := range people {
		p.half.Store(half)
		p.noWAN = false
	}
	for _, o := range w.people {
		w.look(o, noticed, 1) // unless it waits for one of them before
	}
	w.after(noticed, func() {
		for _, p := range people {
			for _, o := range w.people {
				if !p.dead && !o.dead && o.half.Load() != p.half.Load() && p.half.Load() == half {
					o.planner.Forget(p.id)
					p.planner.Forget(o.id)
					for _, f := range o.fetches {
						f.part(func(s *line) bool { return s.person == p })
					}
					for _, f := range p.fetches {
						f.part(func(s *line) bool { return s.person == o })
					}
				}
			}
		}
	})
}

// heal lets all see each other again.
func (w *town) heal() {
	w.blame("heal")
	for _, g := range w.goods { // each half may have brought the same
		g.spare += g.crossed - g.before
	}
	for _, p := range w.people {
		p.half.Store(0)
		p.noWAN = false
		p.mu.Lock()
		for _, l := range p.wires {
			l.stir()
		}
		p.mu.Unlock()
		w.look(p, w.some(300*time.Millisecond), 1)
	}
	w.after(w.some(100*time.Millisecond), w.meet)
	w.kick()
}

// kick has all pipes look for work.
func (w *town) kick() {
	w.wan.kick()
	for _, p := range w.people {
		p.up.kick()
	}
}

// Planner implements Site.
func (p *person) Planner(id content.ID) (peer.ID, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return site.Planner(id, p.view)
}

// Changed implements Site.
func (p *person) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Missed implements Site: somebody is left out that doesn't answer.
func (p *person) Missed(id peer.ID) {
	w := p.town
	if i := slices.IndexFunc(w.people, func(o *person) bool { return o.id == id }); i >= 0 && p.sees(w.people[i]) {
		return // it answers at once
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.view, id); i >= 0 {
		p.view = slices.Delete(slices.Clone(p.view), i, i+1)
		close(p.changed)
		p.changed = make(chan struct{})
	}
}

var errNobody = errors.New("nobody answers")

// Open implements Site.
func (p *person) Open(ctx context.Context, id peer.ID) (Line, error) {
	w := p.town
	i := slices.IndexFunc(w.people, func(o *person) bool { return o.id == id })
	if i < 0 || w.people[i].dead {
		return nil, errNobody
	}
	o := w.people[i]
	if !p.sees(o) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	here, there := newWire(p, o)
	w.group.Go(func() { o.planner.Serve(p.id, there) })
	return here, nil
}

// generous is a planner that plans for each member as if it were alone.
type generous struct {
	ctx  context.Context
	town *town
	mu   sync.Mutex
	each map[peer.ID]*Planner
}

func (g *generous) Serve(id peer.ID, l Line) {
	g.mu.Lock()
	if g.each == nil {
		g.each = make(map[peer.ID]*Planner)
	}
	p := g.each[id]
	if p == nil {
		p = NewPlanner(zap.NewNop())
		g.each[id] = p
		g.town.group.Go(func() { _ = p.Run(g.ctx) })
	}
	g.mu.Unlock()
	p.Serve(id, l)
}

// mute is a planner that says it is alive, and nothing else.
type mute struct{}

func (mute) Serve(id peer.ID, l Line) {
	t := newTalk(l, id)
	defer t.close()
	go t.write()
	for {
		if _, err := t.read(); err != nil {
			return
		}
	}
}

func (mute) Forget(peer.ID) {}

func (g *generous) Forget(id peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.each[id]; p != nil {
		p.Forget(id)
	}
}

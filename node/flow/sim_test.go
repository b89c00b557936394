package flow

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/content"
	"github.com/p2pnode/p2pnode/discovery"
)

// A swarm runs a core against peers made of arithmetic, in virtual time. A peer
// has one stream: requests are answered in order, a block takes its size by the
// peer's rate, frames travel for half the latency. When the test fails, the swarm
// prints its seed and who sent what when.
type swarm struct {
	t         *testing.T
	seed      uint64
	rng       *rand.Rand
	core      *core
	now       time.Time
	start     time.Time
	events    eventHeap
	serial    int
	peers     []*simPeer
	ids       sourceID
	open      map[requestID]ask
	blocks    [][]uint32 // sizes, per chunk
	known     []bool     // the list of a chunk is here
	have      []uint64   // verified, per chunk
	log       []string
	decisions []Decision
	done      time.Time
	wire      int64 // bytes of blocks that peers sent
	needs     []time.Duration
	asked     map[int]int // times a chunk was asked
	disk      func(time.Duration) time.Duration
}

const (
	simBlock, simBlocks = 64 << 10, 16
	simHeld             = 32
)

// A simPeer is a peer in a swarm.
type simPeer struct {
	name    string
	link    bandwidth.Link
	rate    float64 // bytes per second; 0 sends nothing
	latency time.Duration
	has     *roaring.Bitmap // nil: everything
	// behave, if set, changes what is sent for a block: false and it is bad.
	honest  func(n int) bool
	refuse  bool // answers "not found" whatever it claims
	id      sourceID
	queue   []ask
	at      int // blocks of queue[0] that went
	sending bool
	life    int // grows when it leaves: what was on its way is lost
	held    int // blocks that wait for a verdict: beyond simHeld nothing is read
	sent    int // blocks
	bad     int // of these
	bans    int
}

type simEvent struct {
	at     time.Time
	serial int
	do     func()
}

type eventHeap []simEvent

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].serial < h[j].serial
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(simEvent)) }
func (h *eventHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	*h = old[:len(old)-1]
	return e
}

var epoch = time.Unix(1_800_000_000, 0)

func newSwarm(t *testing.T, seed uint64, chunks int) *swarm {
	w := &swarm{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), now: epoch, start: epoch,
		open: map[requestID]ask{}, known: make([]bool, chunks), have: make([]uint64, chunks),
		asked: map[int]int{},
	}
	list := make([]content.Chunk, chunks)
	for i := range list {
		var sizes []uint32
		n := 4 + w.rng.IntN(2*simBlocks-7)
		for range n {
			size := uint32(simBlock/2 + w.rng.IntN(simBlock))
			sizes = append(sizes, size)
			list[i].Size += size
		}
		w.blocks = append(w.blocks, sizes)
	}
	w.core = newCore(rules{
		content: content.ID{1}, seed: seed, flying: DefaultFlying, banFor: time.Hour, rank: simpleRank,
	}, list)
	t.Cleanup(func() {
		if t.Failed() {
			tail := w.log[max(0, len(w.log)-400):]
			t.Logf("seed %d, %d lines, the last of them:\n%s", seed, len(w.log), strings.Join(tail, "\n"))
		}
	})
	return w
}

// simpleRank: own site first, then who would be done first.
func simpleRank(cs []discovery.Candidate, _ time.Time) []discovery.Choice {
	out := make([]discovery.Choice, 0, len(cs))
	for _, c := range cs {
		why := discovery.Faster
		if c.Rate == 0 {
			why = discovery.Untried
		}
		if len(cs) == 1 {
			why = discovery.OnlySource
		}
		out = append(out, discovery.Choice{Candidate: c, Reason: why})
	}
	slices.SortStableFunc(out, func(a, b discovery.Choice) int {
		if a.Link != b.Link {
			return int(a.Link) - int(b.Link)
		}
		return int(b.Rate/(bandwidth.Rate(b.Pending)+1e6)) - int(a.Rate/(bandwidth.Rate(a.Pending)+1e6))
	})
	return out
}

func (w *swarm) logf(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%9.3fs  ", w.now.Sub(w.start).Seconds())+fmt.Sprintf(format, args...))
}

func (w *swarm) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, simEvent{w.now.Add(d), w.serial, do})
}

func (w *swarm) total() (n int64) {
	for _, sizes := range w.blocks {
		for _, s := range sizes {
			n += int64(s)
		}
	}
	return n
}

// join lets p join now and tell what it has after half its latency.
func (w *swarm) join(p *simPeer) *simPeer {
	if !slices.Contains(w.peers, p) {
		w.peers = append(w.peers, p)
	}
	w.ids++
	p.id = w.ids
	w.logf("%s joins", p.name)
	w.step(joined{Source: p.id, Peer: peer.ID(p.name), Link: p.link})
	life := p.life
	w.after(p.latency/2, func() {
		if life == p.life {
			w.tell(p)
		}
	})
	return p
}

func (w *swarm) tell(p *simPeer) {
	has := p.has
	if has == nil {
		has = roaring.New()
		has.AddRange(0, uint64(len(w.blocks)))
	}
	w.step(have{p.id, has.Clone()})
}

func (w *swarm) leave(p *simPeer) {
	w.logf("%s leaves", p.name)
	p.life++
	p.queue, p.at, p.sending, p.held = nil, 0, false, 0
	w.step(left{p.id})
}

func (w *swarm) step(ev event) {
	w.core.step(w.now, ev)
	w.act()
}

func (w *swarm) act() {
	fx := w.core.ready(w.now)
	for _, c := range fx.cancels {
		if c.Keep == 0 {
			delete(w.open, c.Request)
		}
		if p := w.peer(c.Source); p != nil {
			life := p.life
			w.after(p.latency/2, func() {
				if life == p.life {
					w.cancelled(p, c.Request, c.Keep)
				}
			})
		}
	}
	for _, a := range fx.asks {
		w.check(a)
		w.open[a.Request] = a
		w.asked[a.Chunk]++
		if p := w.peer(a.Source); p != nil {
			life := p.life
			w.after(p.latency/2, func() {
				if life == p.life {
					w.request(p, a)
				}
			})
		}
	}
	for _, b := range fx.bans {
		for _, p := range w.peers {
			if p.name == string(b.Peer) {
				p.bans++
			}
		}
	}
	if fx.need {
		w.needs = append(w.needs, w.now.Sub(w.start))
	}
	w.decisions = append(w.decisions, fx.decisions...)
	for _, d := range fx.decisions {
		w.logf("%s %s %d: %s", d.Verb, string(d.Peer), d.Chunk, d.Reason)
	}
	if fx.done && w.done.IsZero() {
		w.done = w.now
	}
}

// check holds a request against what must be true of every one.
func (w *swarm) check(a ask) {
	w.t.Helper()
	s := w.core.byID[a.Source]
	switch {
	case s == nil:
		w.t.Fatalf("chunk %d asked of a source that left", a.Chunk)
	case w.now.Before(s.banned):
		w.t.Fatalf("chunk %d asked of %s, which is banned", a.Chunk, s.peer)
	case !s.claimed.Contains(uint32(a.Chunk)):
		w.t.Fatalf("chunk %d asked of %s, which doesn't have it", a.Chunk, s.peer)
	case a.Want&w.have[a.Chunk] != 0 && !a.List:
		w.t.Fatalf("chunk %d: verified blocks asked again", a.Chunk)
	case len(s.open) > minWindow && s.outstanding() > maxWindow:
		w.t.Fatalf("%s has %d bytes outstanding", s.peer, s.outstanding())
	case s.bad > 0 && len(s.open) > 1:
		w.t.Fatalf("%s gave a bad block and has %d requests", s.peer, len(s.open))
	}
	if n := w.core.aloft(); n > DefaultFlying && len(w.core.requests) > 1 {
		w.t.Fatalf("%d bytes under way", n)
	}
}

func (w *swarm) peer(id sourceID) *simPeer {
	for _, p := range w.peers {
		if p.id == id {
			return p
		}
	}
	return nil
}

// request: a reached p.
func (w *swarm) request(p *simPeer, a ask) {
	if p.refuse || p.has != nil && !p.has.Contains(uint32(a.Chunk)) {
		w.answer(p, func() { w.end(p, a, Refused) })
		return
	}
	p.queue = append(p.queue, a)
	if !p.sending {
		w.send(p, true)
	}
}

// answer runs do when a frame that p sends now arrives.
func (w *swarm) answer(p *simPeer, do func()) {
	life := p.life
	w.after(p.latency/2, func() {
		if life == p.life {
			do()
		}
	})
}

func (w *swarm) cancelled(p *simPeer, r requestID, keep uint64) {
	i := slices.IndexFunc(p.queue, func(a ask) bool { return a.Request == r })
	if i >= 0 && keep != 0 {
		p.queue[i].Want &= keep
	} else if i == 0 && p.sending {
		p.at = 1 << 20 // ends after the block that is being sent
	} else if i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
	}
}

// send sends the next block of what p was asked.
func (w *swarm) send(p *simPeer, first bool) {
	p.sending = false
	for len(p.queue) > 0 {
		a := p.queue[0]
		sizes := w.blocks[a.Chunk]
		if first && a.List {
			w.answer(p, func() { w.list(p, a) })
		}
		for p.at < len(sizes) && a.Want&(1<<p.at) == 0 {
			p.at++
		}
		if p.at >= len(sizes) {
			w.answer(p, func() { w.end(p, a, Sent) })
			p.queue, p.at, first = p.queue[1:], 0, true
			continue
		}
		if p.rate == 0 || p.held >= simHeld {
			p.sending = true
			return
		}
		block := p.at
		p.sending = true
		life := p.life
		w.after(seconds(float64(sizes[block])/p.rate), func() {
			if life != p.life {
				return
			}
			w.wire += int64(sizes[block])
			p.sent++
			good := p.honest == nil || p.honest(p.sent)
			if !good {
				p.bad++
			}
			w.answer(p, func() { w.block(p, a, block, good) })
			p.at++
			w.send(p, false)
		})
		return
	}
}

func (w *swarm) list(p *simPeer, a ask) {
	if _, ok := w.open[a.Request]; !ok {
		return
	}
	w.known[a.Chunk] = true
	w.step(list{Source: p.id, Request: a.Request, Chunk: a.Chunk, Blocks: uint8(len(w.blocks[a.Chunk]))})
}

// block: a block arrived; of a cancelled request it is dropped, as sessions do.
func (w *swarm) block(p *simPeer, a ask, block int, good bool) {
	if _, ok := w.open[a.Request]; !ok {
		return
	}
	size := w.blocks[a.Chunk][block]
	w.step(arrived{Source: p.id, Request: a.Request, Chunk: a.Chunk, Block: uint8(block), Bytes: size})
	ev := judged{Source: p.id, Peer: peer.ID(p.name), Link: p.link, Chunk: a.Chunk, Block: uint8(block), Bytes: size}
	w.logf("%s sent %d/%d", p.name, a.Chunk, block)
	delay := time.Millisecond
	if w.disk != nil {
		delay = w.disk(w.now.Sub(w.start))
	}
	p.held++
	life := p.life
	w.after(delay, func() {
		if life == p.life {
			if p.held--; p.held == simHeld-1 && p.sending && p.rate > 0 {
				defer w.send(p, false)
			}
		}
		switch bit := uint64(1) << block; {
		case !good:
			ev.Verdict = Corrupt
		case w.have[a.Chunk]&bit != 0:
			ev.Verdict = Duplicate
		default:
			w.have[a.Chunk] |= bit
		}
		w.step(ev)
	})
}

func (w *swarm) end(p *simPeer, a ask, o Outcome) {
	if _, ok := w.open[a.Request]; ok {
		delete(w.open, a.Request)
		w.step(ended{p.id, a.Request, o})
	}
}

// run lets time pass until all is verified, at most for limit; it returns how
// long it took.
func (w *swarm) run(limit time.Duration) time.Duration {
	w.t.Helper()
	var tock func()
	tock = func() {
		w.step(tick{})
		w.after(100*time.Millisecond, tock)
	}
	tock()
	for w.done.IsZero() {
		e := heap.Pop(&w.events).(simEvent)
		if e.at.Sub(w.start) > limit {
			w.t.Fatalf("not done after %v: %d of %d bytes are missing, waiting: %v", limit, w.core.tally.missing, w.total(), w.core.waiting)
		}
		w.now = e.at
		e.do()
	}
	for i, sizes := range w.blocks {
		if w.have[i] != allBlocks(uint8(len(sizes))) {
			w.t.Fatalf("done, and chunk %d has blocks %b", i, w.have[i])
		}
	}
	return w.done.Sub(w.start)
}

// waste is what was sent beyond the content, as a share of it.
func (w *swarm) waste() float64 { return float64(w.wire-w.total()) / float64(w.total()) }

package carry

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/bandwidth"
	"github.com/p2pnode/p2pnode/discovery/rank"
	"github.com/p2pnode/p2pnode/node/flow"
)

// A fetch is one person's of one content: the decider of a flow, and a seat. It is
// what node.fetch and node.crewman are, without a network and a disk.
type fetch struct {
	*person
	good int
	seat *Seat
	stop context.CancelFunc

	flow   *flow.Decider // nil until the manifest is here
	has    *roaring.Bitmap
	blocks []uint64
	lines  []*line
	open   map[flow.RequestID]*request
	done   bool
	ticks  bool // a tick is due
	said   time.Time
	fresh  time.Time // the last that it got something that it lacked
	isFar  bool      // it looks at other sites

	seated, alone bool
	crew          Crew

	mu   sync.Mutex
	told []func()
}

// An abroad is a source at another site: it has all.
type abroad struct {
	name string
	last bool
}

// A line is a source of a fetch.
type line struct {
	to     *fetch
	id     flow.SourceID
	person *person // nil if it is abroad
	abroad *abroad
	pipe   *pipe
	queue  []*request
	at     int       // blocks of queue[0] that went
	ready  time.Time // not before, for a source that is slow
	gone   bool
}

// A request is what a flow asked for.
type request struct {
	id    flow.RequestID
	from  *line
	chunk int
	want  uint64
}

func (s *line) far() bool { return s.person == nil }

// want lets p fetch a content from now on.
func (p *person) want(good int) *fetch {
	f := &fetch{person: p, good: good, has: roaring.New(), open: make(map[flow.RequestID]*request), fresh: time.Now(), blocks: make([]uint64, len(p.town.goods[good].chunks))}
	p.fetches = append(p.fetches, f)
	f.seat = NewSeat(SeatConfig{Content: p.town.goods[good].id, Site: p, Member: f, Log: zap.NewNop(), Joining: f.joining})
	ctx, stop := context.WithCancel(p.ctx)
	f.stop = stop
	p.town.group.Go(func() { _ = f.seat.Run(ctx) })
	if p.lie != honest {
		f.done = true // as far as anybody waits for it
	}
	p.town.after(time.Millisecond, p.town.meet)
	return f
}

func (f *fetch) joining() Joining {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.lie == claims || f.lie == spoils:
		return Joining{Chunks: len(f.blocks), Has: f.all(), Willing: true}
	case f.flow == nil && f.lie == honest:
		return Joining{Willing: true}
	}
	return Joining{Chunks: len(f.blocks), Willing: true, Has: f.has.Clone()}
}

func (f *fetch) all() *roaring.Bitmap {
	m := roaring.New()
	m.AddRange(0, uint64(len(f.blocks)))
	return m
}

// gives returns what f says it has.
func (f *fetch) gives() *roaring.Bitmap {
	if f.lie == claims || f.lie == spoils {
		return f.all()
	}
	return f.has.Clone()
}

// meet lets f know those that it sees and doesn't know, and the manifest.
func (f *fetch) meet() {
	if f.dead || f.lie != honest {
		return
	}
	for _, p := range f.town.people {
		i := slices.IndexFunc(p.fetches, func(o *fetch) bool { return o.good == f.good })
		if p == f.person || !f.sees(p) || i < 0 {
			continue
		}
		if p.fetches[i].flow != nil && f.flow == nil {
			f.town.after(10*time.Millisecond, f.begin)
		}
		if f.flow != nil && !slices.ContainsFunc(f.lines, func(s *line) bool { return s.person == p }) {
			f.join(&line{to: f, person: p, pipe: p.up}, p.fetches[i].gives())
		}
	}
	if f.isFar && f.flow == nil {
		f.town.after(200*time.Millisecond, f.begin)
	}
	if f.isFar && f.flow != nil {
		for _, a := range f.town.abroad {
			if !slices.ContainsFunc(f.lines, func(s *line) bool { return s.abroad == a }) {
				f.join(&line{to: f, abroad: a, pipe: f.town.wan}, f.all())
			}
		}
	}
}

// begin lets the flow begin: the manifest is here.
func (f *fetch) begin() {
	if f.dead || f.flow != nil {
		return
	}
	f.mu.Lock()
	g := f.town.goods[f.good]
	f.flow = flow.NewDecider(flow.Rules{
		Content: g.id, Seed: f.town.rng.Uint64(), Flying: flow.DefaultFlying, BanFor: flow.DefaultBanFor, Rank: rank.Rank, Shares: true,
	}, g.chunks)
	f.mu.Unlock()
	for i := range g.chunks {
		f.flow.Resume(i, townBlocks, 0, townChunk)
	}
	f.seat.Chunks(len(g.chunks))
	f.seat.Has(roaring.New())
	switch {
	case f.alone:
		f.flow.Step(time.Now(), flow.Unseated{})
	case f.seated:
		f.flow.Step(time.Now(), flow.Crewed{Carrier: f.crew.Carrier, Found: f.crew.Found})
	}
	f.town.logf("%s has the manifest of %d", f.name, f.good)
	f.town.meet()
	f.act()
}

func (f *fetch) join(s *line, has *roaring.Bitmap) {
	link, id := bandwidth.LAN, peer.ID("")
	lag := time.Millisecond
	if s.far() {
		link, id, lag = bandwidth.WAN, named(s.abroad.name), 40*time.Millisecond
	} else {
		id = s.person.id
	}
	f.town.ids++
	s.id = f.town.ids
	f.lines = append(f.lines, s)
	s.pipe.lines = append(s.pipe.lines, s)
	f.flow.Step(time.Now(), flow.Joined{Source: s.id, Peer: id, Link: link, Last: s.far() && s.abroad.last})
	f.town.after(lag, func() { f.hear(s, has) })
	f.act()
}

// hear takes what a source says it has.
func (f *fetch) hear(s *line, has *roaring.Bitmap) {
	if f.dead || f.done || s.gone {
		return
	}
	if !s.far() && !f.sees(s.person) {
		f.town.after(100*time.Millisecond, func() { f.hear(s, has) })
		return
	}
	f.flow.Step(time.Now(), flow.Have{Source: s.id, Chunks: has.Clone()})
	f.act()
}

// part ends lines.
func (f *fetch) part(which func(*line) bool) {
	for _, s := range slices.Clone(f.lines) {
		if which(s) {
			f.drop(s)
		}
	}
}

func (f *fetch) drop(s *line) {
	s.gone = true
	s.queue = nil
	f.lines = slices.DeleteFunc(f.lines, func(o *line) bool { return o == s })
	s.pipe.lines = slices.DeleteFunc(s.pipe.lines, func(o *line) bool { return o == s })
	for id, r := range f.open {
		if r.from == s {
			delete(f.open, id)
		}
	}
	if f.flow != nil && !f.done {
		f.flow.Step(time.Now(), flow.Left{Source: s.id})
		f.act()
	}
}

// act does what the flow wants.
func (f *fetch) act() {
	if f.flow == nil || f.done || f.dead {
		return
	}
	now := time.Now()
	todo := f.flow.Ready(now)
	for _, x := range todo.Cancels {
		delete(f.open, x.Request)
		for _, s := range f.lines {
			if s.id == x.Source {
				s.cancel(x.Request)
			}
		}
	}
	for _, a := range todo.Asks {
		i := slices.IndexFunc(f.lines, func(s *line) bool { return s.id == a.Source })
		r := &request{a.Request, f.lines[i], a.Chunk, a.Want}
		f.open[r.id] = r
		lag := time.Millisecond / 2
		if r.from.far() {
			lag = 20 * time.Millisecond
			if !f.alone {
				f.seat.mu.Lock()
				_, carries := f.seat.carrying[a.Chunk]
				f.seat.mu.Unlock()
				if !carries {
					f.town.t.Errorf("seed %d: %s asks another site for chunk %d and doesn't carry it", f.town.seed, f.name, a.Chunk)
				}
			}
		}
		f.town.after(lag, func() {
			if f.open[r.id] == r {
				r.from.queue = append(r.from.queue, r)
				r.from.pipe.kick()
			}
		})
	}
	f.tell(now, todo)
	if todo.Done {
		f.town.logf("%s has all of %d", f.name, f.good)
		f.done = true
		f.seat.Done()
		f.stop()
		f.part(func(*line) bool { return true })
	}
	if !f.ticks {
		f.ticks = true
		period := time.Second
		if len(f.open) > 0 {
			period = 100 * time.Millisecond
		}
		f.town.after(period, func() {
			f.ticks = false
			if !f.done && !f.dead {
				f.flow.Step(time.Now(), flow.Tick{})
				f.act()
			}
		})
	}
}

// tell is Flow.tell.
func (f *fetch) tell(now time.Time, todo flow.Orders) {
	if len(todo.Took) > 0 {
		f.seat.Took(slices.Clone(todo.Took))
	}
	if len(todo.Released) > 0 {
		f.seat.Release(slices.Clone(todo.Released))
	}
	if len(todo.Gained) > 0 {
		has := roaring.New()
		f.mu.Lock()
		for _, c := range todo.Gained {
			has.Add(uint32(c))
			f.has.Add(uint32(c))
		}
		f.mu.Unlock()
		f.seat.Has(has)
		all := f.has.Clone()
		for _, p := range f.town.people {
			for _, o := range p.fetches {
				for _, s := range o.lines {
					if s.person == f.person && o.good == f.good {
						f.town.after(2*time.Millisecond, func() { o.hear(s, all) })
					}
				}
			}
		}
	}
	if bytes, left := f.flow.Progress(); left > 0 && now.Sub(f.said) >= 250*time.Millisecond {
		f.said = now
		f.seat.Progress(bytes, left)
	}
	if p := todo.Proposal; p != nil {
		f.seat.Propose(p.N, p.Chunks, p.Insist)
	}
}

// note has the town hand something to the flow.
func (f *fetch) note(do func()) {
	f.mu.Lock()
	f.told = append(f.told, do)
	f.mu.Unlock()
	f.town.ring()
}

func (f *fetch) step(ev flow.Event) {
	if f.flow != nil && !f.done {
		f.flow.Step(time.Now(), ev)
	}
}

// Seated implements Member, and so do those below: they do what node.crewman does.
func (f *fetch) Seated() {
	f.note(func() {
		f.town.logf("%s is seated", f.name)
		f.seated, f.alone, f.crew = true, false, Crew{Found: f.crew.Found}
		f.step(flow.Seated{})
	})
}

func (f *fetch) Alone() {
	f.note(func() {
		f.town.logf("%s is alone", f.name)
		f.seated, f.alone, f.crew, f.isFar = false, true, Crew{}, true
		f.meet()
		f.step(flow.Unseated{})
	})
}

func (f *fetch) Crew(c Crew) {
	f.note(func() {
		f.crew = c
		if c.Carrier && !f.isFar {
			f.isFar = true
			f.town.after(100*time.Millisecond, f.meet)
		}
		if c.Carrier && f.lie == hoards {
			f.seat.Propose(MaxGrants, slices.Collect(func(yield func(int) bool) {
				for i := range f.blocks {
					if !yield(i) {
						return
					}
				}
			}), false)
		}
		f.step(flow.Crewed{Carrier: c.Carrier, Found: c.Found})
	})
}

func (f *fetch) Answered(granted, taken []int) {
	f.note(func() {
		f.town.logf("%s is granted %v, taken %d", f.name, granted, len(taken))
		f.step(flow.Answered{Granted: granted, Taken: taken})
	})
}

func (f *fetch) Freed(chunks []int) { f.note(func() { f.step(flow.Freed{Chunks: chunks}) }) }

func (f *fetch) Revoked(chunks []int) {
	f.note(func() {
		f.town.logf("%s loses %v", f.name, chunks)
		f.step(flow.Revoked{Chunks: chunks})
	})
}

func (f *fetch) Meet([]peer.ID) {}

// A pipe sends one block at a time, of each line that wants one in turn: the uplink of
// a member, or the link into the site.
type pipe struct {
	town  *town
	rate  float64
	busy  bool
	lines []*line
	timer time.Time // of a kick that is due
}

// able reports whether a line has something to send now.
func (s *line) able(now time.Time) bool {
	switch {
	case s.gone || s.to.dead || len(s.queue) == 0:
		return false
	case s.far():
		return !s.to.town.cut && !s.to.noWAN && !now.Before(s.ready)
	}
	return s.person.lie != claims && s.person.lie != hoards && s.to.sees(s.person)
}

func (p *pipe) kick() {
	if p.busy {
		return
	}
	now := time.Now()
	for i, s := range p.lines {
		if s.able(now) {
			p.lines = append(slices.Delete(p.lines, i, i+1), s)
			p.send(s)
			return
		}
	}
	for _, s := range p.lines {
		if s.ready.After(now) && len(s.queue) > 0 && (!p.timer.After(now) || s.ready.Before(p.timer)) {
			p.timer = s.ready
			p.town.after(s.ready.Sub(now), p.kick)
		}
	}
}

func (p *pipe) send(s *line) {
	r, w := s.queue[0], p.town
	for s.at < townBlocks && r.want&(1<<s.at) == 0 {
		s.at++
	}
	if s.at >= townBlocks {
		s.queue, s.at = s.queue[1:], 0
		s.deliver(func() {
			if s.to.open[r.id] == r {
				delete(s.to.open, r.id)
				s.to.step(flow.Ended{Source: s.id, Request: r.id, Outcome: flow.Sent})
				s.to.act()
			}
		})
		p.kick()
		return
	}
	p.busy = true
	block := s.at
	s.at++
	w.after(time.Duration(townBlock/p.rate*1e9), func() {
		p.busy = false
		if s.far() {
			g := w.goods[s.to.good]
			g.crossed += townBlock
			g.times[r.chunk]++
			if s.to.person.far > 0 {
				s.ready = time.Now().Add(time.Duration(townBlock / s.to.person.far * 1e9))
			}
		}
		s.deliver(func() { s.to.take(s, r, block) })
		p.kick()
	})
}

// deliver lets something arrive, once the two see each other.
func (s *line) deliver(do func()) {
	lag := time.Millisecond / 2
	if s.far() {
		lag = 20 * time.Millisecond
	}
	var arrive func()
	arrive = func() {
		switch {
		case s.gone || s.to.dead || s.to.done:
		case !s.far() && !s.to.sees(s.person), s.far() && s.to.noWAN:
			s.to.town.after(50*time.Millisecond, arrive)
		default:
			do()
		}
	}
	s.to.town.after(lag, arrive)
}

// cancel ends a request at its source, after the block that is being sent.
func (s *line) cancel(id flow.RequestID) {
	s.deliver(func() {
		i := slices.IndexFunc(s.queue, func(r *request) bool { return r.id == id })
		if i == 0 {
			s.at = 0
		}
		if i >= 0 {
			s.queue = slices.Delete(s.queue, i, i+1)
			s.pipe.kick()
		}
	})
}

// take takes a block.
func (f *fetch) take(s *line, r *request, block int) {
	if f.open[r.id] != r {
		return
	}
	w := f.town
	f.flow.Step(time.Now(), flow.Arrived{Source: s.id, Request: r.id, Chunk: r.chunk, Block: uint8(block), Bytes: townBlock})
	ev := flow.Judged{Source: s.id, Chunk: r.chunk, Block: uint8(block), Bytes: townBlock, Link: bandwidth.WAN}
	if s.far() {
		ev.Peer = named(s.abroad.name)
	} else {
		ev.Peer, ev.Link = s.person.id, bandwidth.LAN
	}
	w.after(time.Millisecond, func() {
		if f.dead || f.done {
			return
		}
		switch bit := uint64(1) << block; {
		case !s.far() && s.person.lie == spoils:
			ev.Verdict = flow.Corrupt
		case f.blocks[r.chunk]&bit != 0:
			ev.Verdict = flow.Duplicate
		default:
			f.blocks[r.chunk] |= bit
			f.fed(time.Now())
		}
		f.step(ev)
		f.act()
	})
	f.act()
}

// fed notes that something came.
func (f *fetch) fed(now time.Time) {
	w, since := f.town, f.fresh
	if w.fault.After(since) {
		since = w.fault
	}
	if d := now.Sub(since); d > w.gap {
		w.gap, w.which = d, fmt.Sprintf("%s of %d at %v", f.name, f.good, now.Sub(w.start))
	}
	f.fresh = now
}

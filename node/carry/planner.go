package carry

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"go.uber.org/zap"

	"github.com/p2pnode/p2pnode/content"
)

const (
	// planTick is how often plans look at who is late.
	planTick = 250 * time.Millisecond
	// linger is how long a plan without anybody who fetches remembers who has the
	// content: whoever asks next is told of them.
	linger = 30 * time.Minute
	// maxPlans bounds the plans of one planner, maxSeats the members of one plan, and
	// maxOfMember the plans in which one member sits: a member that wants more brings
	// what it lacks itself.
	maxPlans    = 1024
	maxSeats    = 2048
	maxOfMember = 128
)

// A Planner has the plans of which this node is in charge. It is in charge of
// whatever a member of its site joins with: members find who plans by themselves.
type Planner struct {
	log *zap.Logger

	mu    sync.Mutex
	plans map[content.ID]*desk
	seats map[peer.ID]int // in how many plans a member sits
}

// A desk is where the members of a plan sit.
type desk struct {
	plan  *Plan
	talks map[peer.ID]*talk
	used  time.Time // the last time that somebody fetched
}

// NewPlanner returns a planner without plans. It works while Run does.
func NewPlanner(log *zap.Logger) *Planner {
	return &Planner{log: log, plans: make(map[content.ID]*desk), seats: make(map[peer.ID]int)}
}

// Run looks after the plans until ctx ends, and then ends the talk with all members.
func (p *Planner) Run(ctx context.Context) error {
	tick := time.NewTicker(planTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, d := range p.plans {
				for _, t := range d.talks {
					t.close()
				}
			}
			return nil
		case now := <-tick.C:
			p.tick(now)
		}
	}
}

func (p *Planner) tick(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, d := range p.plans {
		d.plan.Tick(now)
		d.deliver()
		if d.plan.Active() > 0 {
			d.used = now
		} else if now.Sub(d.used) > linger && len(d.talks) == 0 {
			delete(p.plans, id)
		}
	}
}

// Serve talks with a member until it leaves. The member is who the connection says;
// that it is of this site is the caller's to know.
func (p *Planner) Serve(member peer.ID, l Line) {
	t := newTalk(l, member)
	defer t.close()
	first, err := t.read()
	if err != nil || first.kind != kindJoin {
		p.log.Debug("no member of a plan", zap.Stringer("peer", member), zap.Error(err))
		return
	}
	d := p.join(t, first)
	if d == nil {
		return
	}
	go t.write()
	for {
		m, err := t.read()
		if err != nil {
			break
		}
		if !p.take(d, t, m) {
			p.log.Warn("member of a plan breaks the protocol", zap.Stringer("peer", member), zap.Uint8("kind", m.kind))
			break
		}
		if m.kind == kindDone {
			break // and the member knows by that
		}
	}
	p.leave(d, t)
}

func (p *Planner) join(t *talk, m *message) *desk {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	d := p.plans[m.content]
	if d == nil {
		if len(p.plans) >= maxPlans && !p.forgetOne() {
			p.log.Warn("no plan: too many", zap.Stringer("content", m.content))
			return nil
		}
		d = &desk{plan: NewPlan(), talks: make(map[peer.ID]*talk), used: now}
		p.plans[m.content] = d
	}
	if old := d.talks[t.peer]; old != nil {
		old.close()
	} else if len(d.talks) >= maxSeats || p.seats[t.peer] >= maxOfMember {
		p.log.Warn("no seat: too many", zap.Stringer("peer", t.peer), zap.Stringer("content", m.content))
		return nil
	} else {
		p.seats[t.peer]++
	}
	d.talks[t.peer] = t
	t.say(&message{kind: kindAlive}) // it is seated, whatever follows
	d.plan.Join(now, t.peer, m.joining)
	d.deliver()
	return d
}

// forgetOne drops the plan that was needed longest ago, if nobody sits there.
func (p *Planner) forgetOne() bool {
	var oldest *content.ID
	for id, d := range p.plans {
		if len(d.talks) == 0 && (oldest == nil || d.used.Before(p.plans[*oldest].used)) {
			oldest = &id
		}
	}
	if oldest == nil {
		return false
	}
	delete(p.plans, *oldest)
	return true
}

// take takes what a member says; it reports whether that makes sense.
func (p *Planner) take(d *desk, t *talk, m *message) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.talks[t.peer] != t {
		return true // replaced meanwhile
	}
	now := time.Now()
	switch m.kind {
	case kindChunks:
		d.plan.Chunks(now, t.peer, m.n)
	case kindHas:
		d.plan.Has(now, t.peer, m.has)
	case kindPropose:
		d.plan.Propose(now, t.peer, m.n, m.chunks, m.insist)
	case kindProgress:
		d.plan.Progress(now, t.peer, m.bytes, m.left)
	case kindRelease:
		d.plan.Release(now, t.peer, m.chunks)
	case kindDone:
		d.plan.Done(now, t.peer)
	case kindAlive:
		return true
	default:
		return false
	}
	d.deliver()
	return true
}

// leave ends a talk. A member that is done stays known as a holder.
func (p *Planner) leave(d *desk, t *talk) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.talks[t.peer] != t {
		return
	}
	p.stand(d, t.peer)
	if !d.plan.Holds(t.peer) {
		d.plan.Leave(time.Now(), t.peer)
		d.deliver()
	}
}

// stand takes a member's seat away.
func (p *Planner) stand(d *desk, member peer.ID) {
	delete(d.talks, member)
	if p.seats[member]--; p.seats[member] == 0 {
		delete(p.seats, member)
	}
}

// Forget takes a member out of all plans: it isn't at the site any more.
func (p *Planner) Forget(member peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.plans {
		if t := d.talks[member]; t != nil {
			t.close()
			p.stand(d, member)
		}
		d.plan.Leave(time.Now(), member)
		d.deliver()
	}
}

// deliver hands the orders of a plan to those they are for.
func (d *desk) deliver() {
	for _, o := range d.plan.Ready() {
		t := d.talks[o.To]
		if t == nil {
			continue
		}
		switch {
		case o.Crew != nil:
			t.say(&message{kind: kindCrew, crew: *o.Crew})
		case o.Answer != nil:
			t.say(&message{kind: kindAnswer, chunks: o.Answer.Granted, taken: o.Answer.Taken})
		case o.Meet != nil:
			t.say(&message{kind: kindMeet, peers: o.Meet})
		default:
			for part := range slices.Chunk(o.Free, maxList) {
				t.say(&message{kind: kindFree, chunks: part})
			}
			if o.Revoke != nil {
				t.say(&message{kind: kindRevoke, chunks: o.Revoke})
			}
		}
	}
}

// A State is what a plan is like, for people.
type State struct {
	Content  content.ID
	Chunks   int
	Here     int             // chunks that some member has
	Members  int             // that fetch
	Carriers map[peer.ID]int // how many chunks each carries
}

// States returns the plans with somebody who fetches.
func (p *Planner) States() []State {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []State
	for id, d := range p.plans {
		if s := d.plan.state(); s.Members > 0 {
			s.Content = id
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b State) int { return slices.Compare(a.Content[:], b.Content[:]) })
	return all
}

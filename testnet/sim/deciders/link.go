package deciders

import (
	"math/bits"
	"time"

	"github.com/p2pnode/p2pnode/bandwidth"
)

// Links are packetised, not fluid. A fluid model shares every link max-min among
// its flows, and has to find all shares anew whenever a flow begins or ends: with
// 100,000 flows through the publisher's link, each of them limited elsewhere, that
// is 100,000 shares for each of 10,000,000 transfers. Serving one block after the
// other, in turn among the connections that have one, costs a moment in the heap
// for each block and link, and comes to the same shares (E. Hahne, "Round-Robin
// Scheduling for Max-Min Fairness in Data Networks", IEEE JSAC 9:7, 1991), to
// within a block per connection. The tests hold it to the closed forms.

// A link carries blocks, one at a time.
type link struct {
	block  time.Duration // that one takes
	last   bool          // the last of its connections' two
	busy   bool
	turns  ring  // connections that have a block to send here, the next first
	served int64 // blocks
}

func newLink(r bandwidth.Rate, block int, last bool) link {
	return link{block: time.Duration(float64(block) / r.BytesPerSecond() * float64(time.Second)), last: last}
}

// A packet is a block on its way.
type packet struct {
	request int32
	block   uint8
}

// A conn is what goes from one node to another: requests are answered in the order
// in which they came, and blocks overtake no others.
type conn struct {
	from, to int32
	links    [2]int32
	asked    fifo[int32]   // requests
	flight   fifo[packet]  // sent and not here: those before the second link are last
	waiting  int32         // of these, how many wait for their turn at the second link
	queued   bool          // waits for its turn at the first link
	phase    phase         // of its turns at the node that sends
	since    time.Duration // its turn began
	broken   bool          // one of the ends went off: what is in flight is lost
	at       [2]int32      // its places in the lists of its ends
}

// A request is an Ask under way.
type request struct {
	Ask
	left   uint64 // blocks not sent
	flying uint64 // blocks on their way
	conn   int32  // -1: not at its source yet
	over   bool   // cancelled, or its node went off
	refs   int32  // moments, queues and packets that name it
}

// connect returns the connection between two nodes.
func (s *sim) connect(from, to int32) int32 {
	key := uint64(uint32(from))<<32 | uint64(uint32(to))
	if c, ok := s.byEnds[key]; ok {
		return c
	}
	c := s.conns.get()
	x := &s.conns.all[c]
	x.from, x.to, x.waiting, x.queued, x.broken, x.phase = from, to, 0, false, false, resting
	if a, b := s.nodes[from].site, s.nodes[to].site; a == b {
		x.links = [2]int32{s.port(from), s.port(to) + 1}
	} else {
		x.links = [2]int32{s.wan(a), s.wan(b) + 1}
	}
	s.byEnds[key] = c
	for side, n := range [2]int32{from, to} {
		x.at[side] = int32(len(s.nodes[n].conns))
		s.nodes[n].conns = append(s.nodes[n].conns, 2*c+int32(side))
	}
	return c
}

// port and wan return the links out of a node and of a site; those in come next.
func (s *sim) port(node int32) int32 { return 2 * node }
func (s *sim) wan(site int32) int32  { return 2 * (int32(len(s.nodes)) + site) }

// disconnect forgets an idle connection.
func (s *sim) disconnect(c int32) {
	x := &s.conns.all[c]
	if x.queued || x.asked.len() > 0 || x.flight.len() > 0 || x.phase == waiting {
		return
	}
	if x.phase != resting {
		s.endTurn(x)
	}
	if !x.broken {
		delete(s.byEnds, uint64(uint32(x.from))<<32|uint64(uint32(x.to)))
	}
	for side, n := range [2]int32{x.from, x.to} {
		list := s.nodes[n].conns
		last := list[len(list)-1]
		list[x.at[side]] = last
		s.conns.all[last/2].at[last%2] = x.at[side]
		s.nodes[n].conns = list[:len(list)-1]
	}
	s.conns.put(c)
}

// line lets the connection wait for its turn at its first link, if it has
// something to send and room on the way.
func (s *sim) line(c int32) {
	x := &s.conns.all[c]
	if x.queued || x.broken || x.asked.len() == 0 || x.flight.len() >= s.window || !s.turn(c) {
		return
	}
	x.queued = true
	s.links[x.links[0]].turns.push(c)
}

// kick lets an idle link begin the next block.
func (s *sim) kick(l int32) {
	for !s.links[l].busy && s.links[l].turns.len() > 0 {
		c := s.links[l].turns.pop()
		x := &s.conns.all[c]
		if s.links[l].last {
			if x.waiting--; x.waiting > 0 {
				s.links[l].turns.push(c)
			}
			s.carry(l, c)
			continue
		}
		x.queued = false
		sent, whole := s.send(c)
		if sent {
			s.carry(l, c)
		}
		if s.ends(x, whole) {
			s.endTurn(x)
		}
		if sent {
			s.line(c)
		} else {
			s.disconnect(c)
		}
	}
}

// carry lets a link be busy with a block.
func (s *sim) carry(l, c int32) {
	k := &s.links[l]
	k.busy = true
	k.served++
	s.heap.push(s.now+k.block, served, l, c)
}

// send puts the next block of a connection on its way, and reports whether it is the last
// of a chunk; false if there is none.
func (s *sim) send(c int32) (sent, whole bool) {
	x := &s.conns.all[c]
	for x.asked.len() > 0 {
		r := x.asked.first()
		q := &s.requests.all[r]
		if q.left == 0 { // cancelled
			x.asked.pop()
			s.unref(r)
			continue
		}
		b := uint8(bits.TrailingZeros64(q.left))
		bit := uint64(1) << b
		if s.has[int(x.from)*s.plan.Chunks+int(q.Chunk)]&bit == 0 {
			s.tally.Forged++
		}
		q.left &^= bit
		q.flying |= bit
		q.refs++
		x.flight.push(packet{r, b})
		s.nodes[x.from].backlog--
		s.tally.Sent++
		if q.left == 0 {
			x.asked.pop()
			s.unref(r)
			return true, true
		}
		return true, false
	}
	return false, false
}

// serve: link l has carried a block of connection c.
func (s *sim) serve(l, c int32) {
	s.links[l].busy = false
	if s.links[l].last {
		s.deliver(c)
	} else {
		x := &s.conns.all[c]
		next := x.links[1]
		if x.waiting++; x.waiting == 1 {
			s.links[next].turns.push(c)
		}
		s.setAside(x)
		s.kick(next)
	}
	s.kick(l)
}

// deliver: the oldest block in flight is here.
func (s *sim) deliver(c int32) {
	x := &s.conns.all[c]
	pkt, broken := x.flight.pop(), x.broken
	from := x.links[0]
	s.line(c)
	s.kick(from)
	s.disconnect(c)

	q := &s.requests.all[pkt.request]
	bit := uint64(1) << pkt.block
	switch {
	case broken:
		s.tally.Lost++
	case q.over:
		s.tally.Late++
	default:
		q.flying &^= bit
		s.arrive(pkt.request, pkt.block)
	}
	s.unref(pkt.request)
}

// stop ends all that goes on over a connection, one end of which went off. What it
// was asked for is asked again elsewhere, if it is Neighbours that were asked.
func (s *sim) stop(c int32) {
	x := &s.conns.all[c]
	delete(s.byEnds, uint64(uint32(x.from))<<32|uint64(uint32(x.to)))
	x.broken = true
	var again []int32
	end := func(r int32) {
		q := &s.requests.all[r]
		if q.conn == c {
			s.nodes[x.from].backlog -= int64(bits.OnesCount64(q.left))
			q.left |= q.flying
			q.flying, q.conn = 0, -1
			if q.Source == Neighbours && s.nodes[q.Node].on && !q.over {
				q.refs++
				again = append(again, r)
			} else {
				q.left = 0
				s.over(r)
			}
		}
	}
	for i := range x.flight.len() {
		end(x.flight.at(i).request)
	}
	for x.asked.len() > 0 {
		r := x.asked.pop()
		end(r)
		s.unref(r)
	}
	for _, r := range again {
		s.heap.push(s.now+2*s.plan.LANDelay, asked, r, 0)
	}
	s.disconnect(c)
}

func (s *sim) unref(r int32) {
	q := &s.requests.all[r]
	if q.refs--; q.refs == 0 {
		s.requests.put(r)
	}
}

// over: nobody waits for the request any more.
func (s *sim) over(r int32) {
	q := &s.requests.all[r]
	if !q.over {
		q.over = true
		delete(s.byRequest, requestKey{q.Node, q.Request})
	}
}

package exchange

import (
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// What turns are given by.
const (
	// round is how long a peer waits at most until something comes to it, as long as
	// the link carries a block for each of them in that time. A peer that hears
	// nothing for a second asks elsewhere (node/flow).
	round = 800 * time.Millisecond

	// A write that takes longer than usual shows a peer that can't take more at the
	// moment, whose turn is no reason for others to wait: unusual is slowTimes the
	// median, between the two others. A block takes 2 ms of a gigabit that four
	// share, and 200 ms of 10 Mbit/s.
	slowTimes   = 4
	leastUnwell = 20 * time.Millisecond
	mostUnwell  = 500 * time.Millisecond

	// maxBeside bounds how many peers may be slow at one time beside those who have
	// their turn: each has a block in memory. More take their turns as all do.
	maxBeside = 64
)

// turns decides who is sent something next. The peers that ask share what this node
// sends, each the same number of bytes, whatever and however much each asks for:
// start-time fair queueing (Goyal, Vin, Cheng: SIGCOMM 1996), where a packet is a
// turn.
//
// A turn lasts until a chunk is sent, so that it can be passed on while the next is
// under way: who sends to eight in parts has eight chunks late. Where chunks take long
// a turn ends in between, see round. As many peers have their turn at one time as
// there are slots; one more wouldn't make the wire faster.
//
// It holds no goroutine, lock or clock, so it replays from a text file (testdata).
//
// Invariants, between calls:
//   - a peer has one turn at most, however many streams it has;
//   - a seat waits, has its turn, or neither;
//   - those beside have their turn, and don't count for the slots.
type turns struct {
	slots    int
	accounts map[peer.ID]*account
	waiting  []*seat // by no order
	serving  []*seat // those beside included
	beside   int
	clock    int64 // what the one who got the last turn had been sent
	last     uint64
	usual    time.Duration // median of what a write takes
}

// An account is what a peer has been sent while others waited, in bytes, plus what those
// had been sent who were there when it came: nobody saves up a share that it didn't want,
// and nobody pays for what no other wanted.
type account struct {
	peer  peer.ID
	sent  int64
	seats int
	busy  bool // one of its seats has its turn
}

// A seat is a stream on which a peer is sent what it asked for.
type seat struct {
	account *account
	phase   phase
	order   uint64    // of those that want; who came first breaks a tie
	since   time.Time // its turn began
	mark    time.Time // its turn began, or its last write ended
	aside   bool      // it is slow, and beside
}

type phase uint8

const (
	resting phase = iota // nothing to send
	waiting
	serving
)

func newTurns(slots int) *turns {
	return &turns{slots: slots, accounts: make(map[peer.ID]*account), usual: leastUnwell / slowTimes}
}

// enter returns a seat for a stream of p. It is given back by leave.
func (t *turns) enter(p peer.ID) *seat {
	a := t.accounts[p]
	if a == nil {
		a = &account{peer: p, sent: t.clock}
		t.accounts[p] = a
	}
	a.seats++
	return &seat{account: a}
}

// leave ends a seat.
func (t *turns) leave(s *seat) {
	t.rest(s)
	s.account.seats--
	t.sweep()
}

// sweep forgets peers that are gone, once nothing would follow from what they were
// sent: a peer that comes again at once is no new one.
func (t *turns) sweep() {
	for p, a := range t.accounts {
		if a.seats == 0 && (a.sent <= t.clock || len(t.waiting)+len(t.serving) == 0) {
			delete(t.accounts, p)
		}
	}
}

// want tells that there is something to send on s.
func (t *turns) want(s *seat) {
	if s.phase != resting {
		return
	}
	s.phase = waiting
	s.account.sent = max(s.account.sent, t.clock)
	t.last++
	s.order = t.last
	t.waiting = append(t.waiting, s)
}

// rest tells that there is nothing to send on s.
func (t *turns) rest(s *seat) {
	switch s.phase {
	case waiting:
		t.waiting = remove(t.waiting, s)
	case serving:
		t.end(s)
	}
	s.phase = resting
}

func (t *turns) end(s *seat) {
	t.serving = remove(t.serving, s)
	s.account.busy = false
	if s.aside {
		s.aside = false
		t.beside--
	}
}

func remove(from []*seat, s *seat) []*seat {
	i := slices.Index(from, s)
	last := len(from) - 1
	from[i], from[last] = from[last], nil
	return from[:last]
}

// next gives as many turns as there are free slots, and returns who got one. Whoever
// is slow makes way.
func (t *turns) next(now time.Time, got []*seat) []*seat {
	got = got[:0]
	if len(t.waiting) > 0 {
		t.setAside(now)
	}
	for len(t.serving)-t.beside < t.slots {
		s := t.first()
		if s == nil {
			break
		}
		t.waiting = remove(t.waiting, s)
		t.serving = append(t.serving, s)
		s.phase, s.since, s.mark = serving, now, now
		s.account.busy = true
		t.clock = max(t.clock, s.account.sent)
		got = append(got, s)
	}
	return got
}

// first returns who has been sent least of those that wait, nil if nobody may have
// a turn.
func (t *turns) first() (least *seat) {
	for _, s := range t.waiting {
		if s.account.busy {
			continue
		}
		if least == nil || s.account.sent < least.account.sent ||
			s.account.sent == least.account.sent && s.order < least.order {
			least = s
		}
	}
	return least
}

// wrote tells that so many bytes have been written on s, in its turn, and whether
// a whole chunk or answer ended with them. It reports whether s goes on; if it
// doesn't, it waits for its next turn.
func (t *turns) wrote(now time.Time, s *seat, bytes int, whole bool) (goOn bool) {
	took := now.Sub(s.mark)
	s.mark = now
	t.learn(took)
	goOn = len(t.waiting) == 0
	if !goOn {
		s.account.sent += int64(bytes)
	}
	switch {
	case s.aside && took >= t.unwell():
		// Whoever is slow by itself goes on beside the others, and takes what it can.
		return true
	case s.aside:
		if goOn = goOn && len(t.serving)-t.beside < t.slots; goOn {
			s.aside = false
			t.beside--
		}
	case !whole && now.Sub(s.since) < t.longest():
		return true
	}
	if goOn {
		s.since = now // it is as if its turn began now
		return true
	}
	t.end(s)
	s.phase = resting
	t.want(s)
	return false
}

// learn takes what a write took into account: usual goes up as often as down.
func (t *turns) learn(took time.Duration) {
	const step = 4
	if took > t.usual {
		t.usual += t.usual/step + 1
	} else {
		t.usual -= t.usual / step
	}
}

// unwell is how long a write takes at least by which a peer counts as slow.
func (t *turns) unwell() time.Duration {
	return min(max(t.usual*slowTimes, leastUnwell), mostUnwell)
}

// longest is how long a turn lasts that has not come to the end of a chunk.
func (t *turns) longest() time.Duration {
	return round * time.Duration(t.slots) / time.Duration(len(t.waiting)+len(t.serving))
}

// setAside puts those beside whose write takes unusually long.
func (t *turns) setAside(now time.Time) {
	limit := t.unwell()
	for _, s := range t.serving {
		if !s.aside && t.beside < maxBeside && now.Sub(s.mark) >= limit {
			s.aside = true
			t.beside++
		}
	}
}

// due returns when next may have a turn to give that it hasn't now, unless something
// happens before; the zero time if nobody waits for one.
func (t *turns) due(now time.Time) (at time.Time) {
	if len(t.waiting) == 0 {
		return time.Time{}
	}
	limit := t.unwell()
	for _, s := range t.serving {
		if slow := s.mark.Add(limit); !s.aside && slow.After(now) && (at.IsZero() || slow.Before(at)) {
			at = slow
		}
	}
	if at.IsZero() {
		at = now.Add(limit)
	}
	return at
}

package mdns

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Times of a talk. Where RFC 6762 gives one it is that one.
const (
	announceWithin = 250 * time.Millisecond // of the start
	announceAgain  = time.Second            // twice in all (section 8.3)
	askAfter       = 20 * time.Millisecond  // of the start, and up to 100 ms more (section 5.2)
	askWithin      = 100 * time.Millisecond
	askAgain       = time.Second // then ever more rarely,
	askEvery       = time.Minute // up to this
	answerAfter    = 20 * time.Millisecond
	// answerSpread is multiplied by the number of nodes known, so that of a
	// thousand only the first few answer before the others hear them.
	answerSpread    = 10 * time.Millisecond
	answerWithin    = 2 * time.Second // the longest spread
	answerApart     = time.Second     // section 6
	tellApart       = 20 * time.Second
	maxNeighbours   = 256
	enoughToAsk     = 32 // who knows so many doesn't ask
	enoughAnswers   = 8  // who heard so many answers to a question doesn't give one
	maxKnown        = 36 // answers listed in a question: 31 bytes each, in a packet of 1,200
	announcesInAll  = 2
	slowerEachTime  = 3 // by which the time between two questions grows
	freshWhileAbove = 2 // what has more than 1/2 of its life left counts as known (section 7.1)
)

// A talk decides what one node says on one link, and remembers whom it heard.
// It is pure: time comes in, and what is to be said goes out.
type talk struct {
	instance   string // our own
	random     *rand.Rand
	neighbours map[string]*neighbour

	announces  int // left to be made
	announceAt time.Time
	askAt      time.Time
	askPause   time.Duration
	answerAt   time.Time // zero if nobody waits for our answer
	answeredAt time.Time
	answers    int // of others, since we were asked
}

// A neighbour is a node that was heard.
type neighbour struct {
	instance string
	info     peer.AddrInfo
	until    time.Time
	life     time.Duration
	toldAt   time.Time // when the callback was last given it
}

func newTalk(now time.Time, instance string, random *rand.Rand) *talk {
	t := &talk{instance: instance, random: random, neighbours: make(map[string]*neighbour), announces: announcesInAll, askPause: askAgain}
	t.announceAt = now.Add(t.upTo(announceWithin))
	t.askAt = now.Add(askAfter + t.upTo(askWithin))
	return t
}

// upTo returns a random time below d.
func (t *talk) upTo(d time.Duration) time.Duration { return time.Duration(t.random.Int64N(int64(d))) }

// An act is something to be said.
type act uint8

const (
	ask act = iota + 1 // who is there
	say                // where we are
)

// next returns when due has something to do.
func (t *talk) next() time.Time {
	at := t.askAt
	if t.announces > 0 && t.announceAt.Before(at) {
		at = t.announceAt
	}
	if !t.answerAt.IsZero() && t.answerAt.Before(at) {
		at = t.answerAt
	}
	return at
}

// due returns what is to be said now.
func (t *talk) due(now time.Time) []act {
	t.forget(now)
	var acts []act
	if t.announces > 0 && !now.Before(t.announceAt) {
		t.announces--
		t.announceAt = now.Add(announceAgain)
		t.answeredAt, t.answerAt = now, time.Time{}
		acts = append(acts, say)
	}
	if !t.answerAt.IsZero() && !now.Before(t.answerAt) {
		if t.answers < enoughAnswers {
			t.answeredAt = now
			acts = append(acts, say)
		}
		t.answerAt = time.Time{}
	}
	if !now.Before(t.askAt) {
		if len(t.neighbours) < enoughToAsk {
			acts = append(acts, ask)
		}
		// A twentieth either way, or nodes that started together ask together.
		t.askAt = now.Add(t.askPause*19/20 + t.upTo(t.askPause/10))
		t.askPause = min(slowerEachTime*t.askPause, askEvery)
	}
	return acts
}

// hear takes what was heard and returns those who may be dialled.
func (t *talk) hear(now time.Time, m message) []peer.AddrInfo {
	var found []peer.AddrInfo
	for _, s := range m.says {
		switch {
		case s.instance == t.instance:
			continue // ourselves, or someone who would be
		case s.life == 0:
			delete(t.neighbours, s.instance)
			continue
		}
		t.answers++
		n := t.neighbours[s.instance]
		if n == nil {
			t.makeRoom()
			n = &neighbour{instance: s.instance}
			t.neighbours[s.instance] = n
		}
		n.info, n.until, n.life = s.info, now.Add(s.life), s.life
		if n.toldAt.IsZero() || now.Sub(n.toldAt) >= tellApart {
			n.toldAt = now
			found = append(found, n.info)
		}
	}
	if m.asks && !slices.Contains(m.known, t.instance) && t.answerAt.IsZero() {
		spread := min(answerSpread*time.Duration(1+len(t.neighbours)), answerWithin)
		t.answerAt = later(now.Add(answerAfter+t.upTo(spread)), t.answeredAt.Add(answerApart))
		t.answers = 0
	}
	return found
}

// makeRoom drops a neighbour if there are too many. Any one: a flood of
// forgeries would find its way around every preference.
func (t *talk) makeRoom() {
	if len(t.neighbours) < maxNeighbours {
		return
	}
	for instance := range t.neighbours {
		delete(t.neighbours, instance)
		return
	}
}

// forget drops those whose life is over.
func (t *talk) forget(now time.Time) {
	for instance, n := range t.neighbours {
		if !n.until.After(now) {
			delete(t.neighbours, instance)
		}
	}
}

// known returns the neighbours that needn't answer a question now: those heard
// lately. The others get the chance to be heard again.
func (t *talk) known(now time.Time) []neighbour {
	var fresh []neighbour
	for _, n := range t.neighbours {
		if n.until.Sub(now) > n.life/freshWhileAbove {
			fresh = append(fresh, *n)
		}
	}
	slices.SortFunc(fresh, func(a, b neighbour) int { return cmp.Or(b.until.Compare(a.until), cmp.Compare(a.instance, b.instance)) })
	return fresh[:min(len(fresh), maxKnown)]
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

package site

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Whom a core dials: those that others name as better than who is a delegate now;
// some members to be its neighbours, if it knows few; and, if it is a delegate itself,
// those that were lost.

// A lostMember is one whose connections were closed.
type lostMember struct {
	Member
	at time.Time
}

// wantDials has candidates looked through as soon as may be.
func (c *core) wantDials(now time.Time) {
	c.nextDials = now
	if at := c.lastDials.Add(dialGap); at.After(now) {
		c.nextDials = at
	}
}

// dialFittest dials whoever would be a delegate if what others say is true.
func (c *core) dialFittest(now time.Time) {
	if now.Before(c.nextDials) {
		return
	}
	c.nextDials = now.Add(seekEvery)
	var said []Member
	for _, l := range c.links {
		for _, m := range l.told {
			if c.links[m.Peer] != nil || slices.ContainsFunc(said, func(o Member) bool { return o.Peer == m.Peer }) {
				continue // what one says of it has to do
			}
			if a := c.tries[m.Peer]; a == nil || !now.Before(a.next) {
				m.Home = true // its credential will tell
				said = append(said, m)
			}
		}
	}
	if len(said) == 0 {
		return
	}
	seats := Seats
	for _, m := range fittest(append(said, c.best...), Seats+maxKnown) {
		if seats == 0 {
			return
		}
		if !c.justLost(m.Peer, now) {
			seats-- // who was just lost may be dead: the next is dialled too
		}
		if m.Peer != c.self.Peer && c.links[m.Peer] == nil {
			c.dial(m, now)
		}
	}
}

// justLost reports whether a member's connections closed a moment ago.
func (c *core) justLost(p peer.ID, now time.Time) bool {
	return slices.ContainsFunc(c.lost, func(m lostMember) bool { return m.Peer == p && now.Sub(m.at) < dialGap })
}

func (c *core) dial(m Member, now time.Time) {
	c.dials = min(dialsBurst, c.dials+now.Sub(c.dialsAt).Seconds()*dialsPerSecond)
	c.dialsAt = now
	if c.dials < 1 {
		return // what has it named will be told again, or is reached from another
	}
	c.dials--
	c.lastDials = now
	a := c.tries[m.Peer]
	if a == nil {
		if len(c.tries) >= maxTries {
			clear(c.tries)
		}
		a = &attempt{}
		c.tries[m.Peer] = a
	}
	a.again(now, seekEvery, openMost)
	c.do(effect{do: doDial, to: m.Peer, known: m})
}

// seekLost dials the one of those lost whose turn it is.
func (c *core) seekLost(now time.Time) {
	for range len(c.lost) {
		m := c.lost[0]
		c.lost = append(c.lost[1:], m)
		if now.Sub(m.at) < seekFor && c.links[m.Peer] == nil {
			c.do(effect{do: doDial, to: m.Peer, known: m.Member})
			return
		}
		c.lost = c.lost[:len(c.lost)-1]
	}
}

// few reports whether this node should be in touch with more members. A delegate is
// in touch with all.
func (c *core) few() bool {
	return len(c.members) <= neighbours && len(c.chosen) > 0 && !slices.Contains(c.chosen, c.self.Peer)
}

// ask asks a delegate who else is here.
func (c *core) ask(now time.Time) {
	if now.Before(c.asking.next) {
		return
	}
	c.asking.again(now, askLeast, askMost)
	c.asked++
	c.do(effect{do: doSend, to: c.chosen[c.asked%len(c.chosen)], kind: kindAsk, frame: askFrame})
}

var askFrame = encodeFrame(kindAsk, nil)

// answer tells a member of some others, of each other ones. One that was told a moment
// ago hears that this node is there.
func (c *core) answer(l *link, now time.Time) {
	if !c.here(l) {
		return
	}
	if now.Before(l.answered.Add(answerGap)) {
		c.do(effect{do: doSend, to: l.peer, kind: kindBeat, frame: beatFrame})
		return
	}
	l.answered = now
	c.asked++
	type drawn struct {
		Member
		lot [sha256.Size]byte
	}
	var all []drawn
	purpose := binary.BigEndian.AppendUint64([]byte(l.peer), uint64(c.asked))
	for _, m := range c.members {
		if m.Peer != c.self.Peer && m.Peer != l.peer && !m.Silent && len(m.Addrs) > 0 {
			all = append(all, drawn{m, draw(purpose, m.Peer)})
		}
	}
	slices.SortFunc(all, func(a, b drawn) int { return bytes.Compare(a.lot[:], b.lot[:]) })
	some := make([]candidate, 0, maxKnown)
	for _, m := range all[:min(len(all), maxKnown)] {
		some = append(some, candidate{Peer: []byte(m.Peer), Hello: sayHello(c.site, m.Member)})
	}
	c.do(effect{do: doSend, to: l.peer, kind: kindSome, frame: encodeFrame(kindSome, some)})
}

// meetSome dials members that a delegate told of, as far as this node knows few.
func (c *core) meetSome(some []Member, now time.Time) {
	for _, m := range some {
		if a := c.tries[m.Peer]; m.Peer == c.self.Peer || c.links[m.Peer] != nil || a != nil && now.Before(a.next) || !c.few() {
			continue
		}
		c.asking.pause = 0 // there are others: it is worth asking again
		c.dial(m, now)
	}
}
